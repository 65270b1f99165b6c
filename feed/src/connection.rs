//! A connection for commands that is made when it is needed, and made again after it broke.

use crate::{Dialer, RedisFault, RedisServer, Subscribed};
use redis::{RedisError, aio::MultiplexedConnection};
use std::{future::Future, time::Duration};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The connection, and when to try again after it broke.
pub struct Connection {
    dialer: Dialer,
    open: Option<Open>,
    failures: u32,
    retry_at: Option<Instant>,
    last_fault: Option<RedisFault>,
}

struct Open {
    redis: MultiplexedConnection,
    /// Ends when the master is another one.
    moved: AbortOnDropHandle<()>,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

// === impl Connection ===

impl Connection {
    /// A connection that is not open yet.
    ///
    /// # Errors
    ///
    /// When the URL cannot be used.
    pub fn new(server: RedisServer) -> Result<Self, RedisFault> {
        Ok(Self::with(Dialer::new(server)?))
    }

    fn with(dialer: Dialer) -> Self {
        Self { dialer, open: None, failures: 0, retry_at: None, last_fault: None }
    }

    /// Another connection to the same server, not yet open.
    pub fn another(&self) -> Self {
        Self::with(self.dialer.clone())
    }

    /// Runs `command` on the connection. While the pause after a failure lasts, it fails at once with what failed.
    ///
    /// # Errors
    ///
    /// When there is no connection or the command fails.
    pub async fn run<T, F: Future<Output = Result<T, RedisError>>>(
        &mut self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, RedisFault> {
        if let (Some(retry_at), Some(fault)) = (self.retry_at, &self.last_fault)
            && Instant::now() < retry_at
        {
            return Err(fault.clone());
        }
        let connection = self.open().await?;
        match command(connection).await {
            Ok(value) => {
                self.failures = 0;
                Ok(value)
            }
            Err(error) => {
                let fault = self.dialer.fault(error);
                Err(self.failed(fault))
            }
        }
    }

    /// Waits until the pause after a failure is over.
    pub async fn pause(&self) {
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
        }
    }

    /// A connection of its own that listens on `channel`.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn listen(&mut self, channel: &str) -> Result<Subscribed, RedisFault> {
        let listening = async { self.dialer.find().await?.subscribe(&[channel]).await };
        match listening.await {
            Ok(subscribed) => {
                self.failures = 0;
                self.retry_at = None;
                self.last_fault = None;
                Ok(subscribed)
            }
            Err(fault) => Err(self.failed(fault)),
        }
    }

    async fn open(&mut self) -> Result<MultiplexedConnection, RedisFault> {
        if let Some(open) = self.open.take_if(|open| open.moved.is_finished()) {
            drop(open);
        }
        if let Some(open) = &self.open {
            return Ok(open.redis.clone());
        }
        let dialing = async {
            let node = self.dialer.find().await?;
            let redis = node.commands().await?;
            Ok(Open { redis, moved: AbortOnDropHandle::new(tokio::spawn(node.moved())) })
        };
        match dialing.await {
            Ok(open) => {
                let redis = open.redis.clone();
                self.open = Some(open);
                self.retry_at = None;
                self.last_fault = None;
                Ok(redis)
            }
            Err(fault) => Err(self.failed(fault)),
        }
    }

    fn failed(&mut self, fault: RedisFault) -> RedisFault {
        // A command that is refused says nothing against the connection.
        if !fault.leaves_connection() {
            self.open = None;
            let pause = (SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(10))).min(LONGEST_PAUSE);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0)));
            self.last_fault = Some(fault.clone());
        }
        fault
    }
}
