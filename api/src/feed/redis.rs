//! The feed over Redis: the graph as a controller elsewhere publishes it. Names and forms are in [`wire`].
//!
//! What to read next and what to believe is decided by [`Reader`], a value without I/O; here is what connects it to
//! Redis.
//!
//! [`RedisSubscription::next`](Subscription::next) may be dropped and called again at any time: what it is about to do
//! is in the value, not in the future.

mod connection;
mod inbox;
mod metrics;
mod reading;

pub use metrics::FeedMetrics;

use crate::graph::{
    feed::{
        Event, Subscription,
        reader::{self, Input, Output, Reader},
    },
    wire::{Limits, Names},
};
use connection::{Dialer, Link};
use redis::RedisError;
use std::{fmt, mem, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Where Redis is and how long we wait for it.
#[derive(Clone)]
pub struct RedisServer {
    /// `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS.
    pub url: String,
    /// PEM of the authority that signed the server's certificate, where the system does not know it.
    pub ca_pem: Option<Vec<u8>>,
    /// How long connecting may take, login and subscription included.
    pub connect_timeout: Duration,
    /// How long a command may take. A snapshot of a large mesh has some 10 MB.
    pub command_timeout: Duration,
}

/// How to subscribe.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    /// Where Redis is.
    pub server: RedisServer,
    /// What stands before the names of all keys and channels, as the controller has it.
    pub prefix: String,
    /// How large a snapshot may be.
    pub snapshot: Limits,
    /// How large a metric frame may be.
    pub frame: Limits,
    /// After how much silence a connection is not believed to deliver any more; several heartbeats of the leader.
    pub silence: Duration,
    /// The least time between two requests for a snapshot. A fifth more or less is chosen by chance, so that replicas
    /// do not ask all at once.
    pub between_requests: Duration,
}

/// Why the feed cannot be read at the moment. It is tried again by itself; until then the last graph stands.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The URL or the certificate cannot be used. The URL is not repeated: it may hold the password.
    #[error(
        "the Redis URL cannot be used; write redis://[user:password@]host:port[/db], or rediss:// for TLS"
    )]
    Url(#[source] Arc<RedisError>),
    /// No connection.
    #[error(
        "cannot reach Redis at {address}; check that it runs and that nothing between us refuses the connection"
    )]
    Unreachable {
        /// Where we look for it.
        address: String,
        /// Why not.
        #[source]
        source: Arc<RedisError>,
    },
    /// It does not answer in time.
    #[error("Redis at {address} did not answer within {limit:?}; check its load and the network")]
    Timeout {
        /// Where it is.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The password is missing or wrong.
    #[error("Redis at {address} refuses our login; check the user and the password in the Redis URL")]
    Login {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// We are logged in but may not do what we need to.
    #[error(
        "Redis at {address} does not permit what the feed needs; the ACL of the user must allow the keys and channels `mcp:*` and `mesh:*` and the commands GET, XRANGE, SUBSCRIBE and PUBLISH"
    )]
    Permission {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// It refuses a command: loading, or not a Redis we know.
    #[error("Redis at {address} refuses a command")]
    Command {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// The connection that is pushed to has ended, or has stopped delivering.
    #[error("the subscription at Redis {address} was cut off; what was missed is read from the log")]
    Cut {
        /// Where it is.
        address: String,
    },
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// The reading end of the feed.
pub struct RedisSubscription {
    options: SubscribeOptions,
    names: Names,
    metrics: FeedMetrics,
    dialer: Dialer,
    link: Option<Link>,
    linked_before: bool,
    /// What failed last and was told to the caller, who need not hear it again at every attempt.
    reported: Option<mem::Discriminant<Fault>>,
    reader: Reader,
    /// The moment that the reader's time is counted from.
    origin: Instant,
}

// === impl RedisServer ===

impl RedisServer {
    /// The server at `url`, with timeouts of 3 s to connect and 5 s for a command.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for RedisServer {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

// === impl SubscribeOptions ===

impl SubscribeOptions {
    /// The defaults: no prefix, the limits of [`Limits`], 10 s of silence, 5 s between requests.
    pub fn new(server: RedisServer) -> Self {
        Self {
            server,
            prefix: String::new(),
            snapshot: Limits::SNAPSHOT,
            frame: Limits::FRAME,
            silence: Duration::from_secs(10),
            between_requests: Duration::from_secs(5),
        }
    }
}

// === impl RedisSubscription ===

impl RedisSubscription {
    /// A subscription that connects at the first call of `next`.
    ///
    /// # Errors
    ///
    /// When the URL or the certificate cannot be used.
    pub fn new(options: SubscribeOptions, metrics: FeedMetrics) -> Result<Self, Fault> {
        let reading = reader::Options {
            frame: options.frame,
            silence: options.silence,
            between_requests: options.between_requests,
        };
        Ok(Self {
            names: Names::new(&options.prefix),
            dialer: Dialer::new(options.server.clone())?,
            options,
            metrics,
            link: None,
            linked_before: false,
            reported: None,
            reader: Reader::new(reading, rand::random()),
            origin: Instant::now(),
        })
    }

    /// The reader's time.
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Ends the connection and says whether the caller has to hear of it.
    fn cut(&mut self, fault: &Fault) -> bool {
        self.link = None;
        let now = self.now();
        self.reader.take(now, Input::Lost);
        self.reported.replace(mem::discriminant(fault)) != Some(mem::discriminant(fault))
    }

    /// The connection; it is there when the reader is connected.
    fn link(&self) -> Result<&Link, Fault> {
        self.link.as_ref().ok_or_else(|| Fault::Cut { address: self.dialer.address().to_owned() })
    }
}

impl Subscription for RedisSubscription {
    type Error = Fault;

    /// An error is returned once per cause; then this waits until the feed can be read again.
    async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            match self.reader.output() {
                Some(Output::Event(event)) => return Ok(event),
                Some(Output::Notice(notice)) => self.heed(notice),
                None => match self.step().await {
                    Ok(()) => {}
                    Err(fault) if self.cut(&fault) => return Err(fault),
                    Err(fault) => tracing::debug!(error = %fault, "the feed still cannot be read"),
                },
            }
        }
    }

    async fn resync(&mut self) -> Result<(), Fault> {
        self.reader.resync();
        Ok(())
    }
}
