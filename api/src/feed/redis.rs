//! The feed over Redis: the graph as a controller elsewhere publishes it. Names and forms are in [`wire`].
//!
//! ```text
//!            ┌──────────────── connection lost ─────────────────┐
//!            ▼                                                  │
//!   connect, subscribe ─► snapshot + log ─► live ─► (dense?) ───┤
//!                              ▲             │ gap              │
//!                              │             ▼                  │
//!                     does not reach ◄── log after our seq ─────┘
//! ```
//!
//! Pub/sub only wakes us up; Redis drops it silently when we are slow. Each change has a number one above the last, so
//! a missing one is noticed at the next message, at the latest at the next heartbeat, and read from the log. What the
//! log no longer has is in a snapshot. What was refused (a bad checksum, a change that does not fit) is not guessed at:
//! the graph is taken anew, and the caller keeps the one it has until then.
//!
//! [`RedisSubscription::next`](Subscription::next) may be dropped and called again at any time: what it is about to do
//! is in the value, not in the future.

mod connection;
mod inbox;
mod metrics;
mod reading;

pub use metrics::FeedMetrics;

use crate::graph::{
    feed::{Event, Position, Subscription},
    metrics::Metrics,
    model::Graph,
    wire::{EdgesHash, Limits, Names, frame::Frame},
};
use connection::{Dialer, Link};
use redis::RedisError;
use std::{collections::VecDeque, fmt, mem, sync::Arc, time::Duration};
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
    /// After how much silence to look whether the connection still delivers; several heartbeats of the leader.
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
    /// What failed last and was told to the caller, who need not hear it again at every attempt.
    reported: Option<mem::Discriminant<Fault>>,
    failures: u32,
    retry_at: Option<Instant>,
    linked_before: bool,
    next: Next,
    ready: VecDeque<Event>,
    /// What the caller has, once it has applied what is ready.
    known: Option<Known>,
    hash: EdgesHash,
    /// The newest metric frame, while its topology has not come yet.
    frame: Option<Frame>,
    numbers: Arc<Metrics>,
    next_request: Instant,
    next_look: Instant,
    /// The last complaint about a snapshot, so that it is logged once and not at every look.
    complaint: Option<String>,
}

/// A graph at its position.
#[derive(Debug, Clone)]
struct Known {
    position: Position,
    as_of_ms: i64,
    graph: Arc<Graph>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Take a snapshot that leads, with the log, at least to this position; any when there is none.
    Snapshot(Option<Position>),
    /// Read the log after our position, which should lead to this one.
    Log(Option<Position>),
    /// A message is of another reign: find out whose word counts.
    Reign(Position),
    /// Take what is pushed.
    Live,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
        let now = Instant::now();
        Ok(Self {
            names: Names::new(&options.prefix),
            dialer: Dialer::new(options.server.clone())?,
            options,
            metrics,
            link: None,
            reported: None,
            failures: 0,
            retry_at: None,
            linked_before: false,
            next: Next::Snapshot(None),
            ready: VecDeque::new(),
            known: None,
            hash: EdgesHash::default(),
            frame: None,
            numbers: Arc::default(),
            next_request: now,
            next_look: now,
            complaint: None,
        })
    }

    async fn step(&mut self) -> Result<(), Fault> {
        self.linked().await?;
        match self.next {
            Next::Snapshot(at_least) => self.take_snapshot(at_least).await,
            Next::Log(target) => self.read_log(target).await,
            Next::Reign(seen) => self.check_reign(seen).await,
            Next::Live => self.live().await,
        }
    }

    /// Connects if we are not.
    async fn linked(&mut self) -> Result<(), Fault> {
        if self.link.is_some() {
            return Ok(());
        }
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
        }
        self.link = Some(self.dialer.dial(&self.names).await?);
        if mem::replace(&mut self.linked_before, true) {
            self.metrics.reconnects.inc();
            tracing::info!(address = %self.dialer.address(), "connected to the feed again");
        }
        self.reported = None;
        self.next = match self.next {
            Next::Live | Next::Reign(_) => Next::Log(None),
            unfinished => unfinished,
        };
        Ok(())
    }

    /// Ends the connection and says whether the caller has to hear of it.
    fn cut(&mut self, fault: &Fault) -> bool {
        self.link = None;
        let pause = (SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(10))).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0)));
        self.reported.replace(mem::discriminant(fault)) != Some(mem::discriminant(fault))
    }

    /// The connection; it is there after [`Self::linked`].
    fn link(&self) -> Result<&Link, Fault> {
        self.link.as_ref().ok_or_else(|| Fault::Cut { address: self.dialer.address().to_owned() })
    }
}

impl Subscription for RedisSubscription {
    type Error = Fault;

    /// An error is returned once per cause; then this waits until the feed can be read again.
    async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.step().await {
                Ok(()) => {}
                Err(fault) if self.cut(&fault) => return Err(fault),
                Err(fault) => tracing::debug!(error = %fault, "the feed still cannot be read"),
            }
        }
    }

    async fn resync(&mut self) -> Result<(), Fault> {
        self.ready.clear();
        self.next = Next::Snapshot(self.known.as_ref().map(|known| known.position));
        Ok(())
    }
}
