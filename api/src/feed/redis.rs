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

pub use linkerd_mcp_feed::{RedisFault, RedisServer};
pub use metrics::FeedMetrics;

use crate::graph::{
    feed::{
        Event, Subscription,
        reader::{self, Input, Output, Reader},
    },
    wire::{Limits, Names},
};
use connection::{Dialer, Link};
use std::{mem, time::Duration};
use tokio::time::Instant;

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
    /// Redis cannot be reached, or refuses us.
    #[error(transparent)]
    Redis(#[from] RedisFault),
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
    reported: Option<Cause>,
    reader: Reader,
    /// The moment that the reader's time is counted from.
    origin: Instant,
}

/// What kind of fault it is.
type Cause = (mem::Discriminant<Fault>, Option<mem::Discriminant<RedisFault>>);

// === impl Fault ===

impl Fault {
    fn cause(&self) -> Cause {
        let redis = match self {
            Self::Redis(fault) => Some(mem::discriminant(fault)),
            Self::Cut { .. } | Self::Ending => None,
        };
        (mem::discriminant(self), redis)
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
        let cause = fault.cause();
        self.reported.replace(cause) != Some(cause)
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
