//! Leads the feed, or stands by to lead it: a publisher that takes the lead as soon as nobody else has it.
//!
//! The index is kept either way, so a standby that takes over publishes a whole snapshot at once.

use crate::{
    graph::{
        delta::Delta,
        feed::{Position, Publisher},
        metrics::Metrics,
        model::Graph,
    },
    publish::{self, Lead, RedisPublisher},
};
use std::{future::Future, sync::Arc, time::Duration};

/// A publisher that leads whenever it can.
pub struct Leading {
    publisher: RedisPublisher,
    /// Who led when last we asked, to say it once.
    holder: Option<String>,
}

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
        Self { publisher, holder: None }
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

    fn resync_requested(&mut self) -> impl Future<Output = ()> + Send {
        self.publisher.resync_requested()
    }
}
