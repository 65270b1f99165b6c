//! Leads the feed, or stands by to lead it: a publisher that takes the lead as soon as nobody else has it.
//!
//! The index is kept either way, so a standby that takes over publishes a whole snapshot at once. It tries when the
//! lease of the leader is due to end, and when the leader says that it goes, not only with every heartbeat.

use crate::{
    graph::{
        delta::Delta,
        feed::{Position, Publisher},
        metrics::Metrics,
        model::Graph,
    },
    publish::{self, Lead, RedisPublisher},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};

/// A publisher that leads whenever it can.
pub struct Leading {
    publisher: RedisPublisher,
    /// Who led when last we asked, to say it once.
    holder: Option<String>,
    /// While we stand by.
    next_try: Option<NextTry>,
}

/// When to try to take the lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NextTry {
    /// Not earlier, whoever asks.
    earliest: Instant,
    /// Then the leader's lease has ended, unless it was renewed; `None` when it never does.
    due: Option<Instant>,
}

/// After the end of a lease, so that Redis has seen it too.
const MARGIN: Duration = Duration::from_millis(5);

/// Between two tries. Readers ask for snapshots on the channel that a leader says goodbye on.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller leads; this one stands by.
    #[error("not published: {holder} leads the feed")]
    StandingBy {
        /// The leader's token.
        holder: String,
        /// When its lease ends unless it is renewed.
        expires_in: Option<Duration>,
    },
    /// Publishing failed.
    #[error(transparent)]
    Publish(#[from] publish::Error),
}

// === impl Leading ===

impl Leading {
    /// Leads with `publisher`.
    pub fn new(publisher: RedisPublisher) -> Self {
        Self { publisher, holder: None, next_try: None }
    }

    /// Gives up the lead, so that a standby takes over at once.
    ///
    /// # Errors
    ///
    /// When Redis cannot be told.
    pub async fn release(&mut self) -> Result<(), publish::Error> {
        self.publisher.release().await
    }

    async fn lead(&mut self) -> Result<(), Error> {
        self.next_try = None;
        match self.publisher.acquire().await? {
            Lead::Ours { epoch } => {
                tracing::info!(epoch, "this controller leads the feed");
                self.holder = None;
                Ok(())
            }
            Lead::Theirs { holder, expires_in } => {
                if self.holder.as_deref() != Some(&holder) {
                    tracing::info!(%holder, "another controller leads the feed; standing by");
                    self.holder = Some(holder.clone());
                }
                let now = Instant::now();
                let due = expires_in.map(|lasts| now + lasts + MARGIN);
                self.next_try = Some(NextTry { earliest: now + BETWEEN_TRIES, due });
                Err(Error::StandingBy { holder, expires_in })
            }
        }
    }
}

impl Publisher for Leading {
    type Error = Error;

    async fn delta(&mut self, as_of_ms: i64, delta: Arc<Delta>) -> Result<Position, Error> {
        Ok(self.publisher.delta(as_of_ms, delta).await?)
    }

    async fn metrics(&mut self, graph: &Graph, metrics: Arc<Metrics>) -> Result<(), Error> {
        Ok(self.publisher.metrics(graph, metrics).await?)
    }

    /// A reign begins with a snapshot, so this is where the lead is taken.
    async fn snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Error> {
        if self.publisher.position().is_none() {
            self.lead().await?;
        }
        match self.publisher.snapshot(as_of_ms, graph.clone(), metrics.clone()).await {
            Err(publish::Error::Fenced { reason }) => {
                tracing::warn!(reason, "the lead is lost; trying to take it again");
                self.lead().await?;
                Ok(self.publisher.snapshot(as_of_ms, graph, metrics).await?)
            }
            other => Ok(other?),
        }
    }

    async fn heartbeat(&mut self, as_of_ms: i64) -> Result<(), Error> {
        Ok(self.publisher.heartbeat(as_of_ms).await?)
    }

    /// While we stand by: also when the lead may be free.
    async fn resync_requested(&mut self) {
        let Some(NextTry { earliest, due }) = self.next_try else {
            return self.publisher.resync_requested().await;
        };
        sleep_until(earliest).await;
        match due {
            // In time or not, it is time to try.
            Some(due) => drop(timeout_at(due, self.publisher.asked()).await),
            None => self.publisher.asked().await,
        }
        // Once only: if nothing comes of it, the next heartbeat tries again.
        self.next_try = None;
    }
}
