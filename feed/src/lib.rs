//! How both ends of the feed reach Redis or Valkey.
//!
//! ```text
//! RedisArgs ─► RedisServer ─► Dialer ─► Node (one server, found by URL, Sentinel or Cluster)
//!  (flags)      (values)        │         ├─► commands   checked first: rights, eviction
//!                               │         └─► subscribe  ends when the master is another one
//!                               └─ Connection: commands, made again after they broke (the controller's)
//! ```
//!
//! What is said over the connection is not here: the controller's `publish` writes the feed, the API's `feed::redis`
//! reads it. Nothing here shows a password: not in errors, not in `Debug`, not in logs.

mod check;
mod connection;
mod dial;
mod fault;
mod flags;
mod rights;
mod secret;
mod sentinel;
mod server;
mod tls;

pub use check::{MemoryPolicy, RedisMetrics};
pub use connection::Connection;
pub use dial::{Dialer, Node, Subscribed};
pub use fault::RedisFault;
pub use flags::{FlagError, RedisArgs};
pub use rights::{End, Rights};
pub use secret::{Redacted, Secret};
pub use server::{Login, Place, RedisServer, Sentinels};
pub use tls::Tls;
