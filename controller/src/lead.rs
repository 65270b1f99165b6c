//! Leads the feed, or stands by to lead it: a publisher that takes the lead as soon as nobody else has it.
//!
//! Who leads is decided in Redis, or by a Kubernetes [Lease](kubernetes). Either way Redis refuses what an earlier
//! leader still publishes. The index is kept either way too, so a standby that takes over publishes a whole snapshot at
//! once. It tries when the leader's time is due to end, and when the leader says that it goes, not only with every
//! heartbeat.

use crate::{
    graph::{
        delta::Delta,
        feed::{Position, Publisher},
        metrics::Metrics,
        model::Graph,
    },
    publish::{self, Lead, RedisPublisher},
};
use kubernetes::KubernetesLease;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};

pub mod kubernetes;

/// A publisher that leads whenever it can.
pub struct Leading {
    publisher: RedisPublisher,
    /// What says who leads; Redis where there is none.
    lease: Option<KubernetesLease>,
    /// Who led when last we asked, to say it once.
    holder: Option<String>,
    /// Since when Redis fails.
    failing: Option<Instant>,
    /// While we stand by, and Redis says who leads.
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
        /// When its lease ends unless it is renewed; not known of a Kubernetes Lease.
        expires_in: Option<Duration>,
    },
    /// The Kubernetes Lease is not ours, and nobody's that we know of.
    #[error("not published: this controller does not hold the Lease {lease}")]
    NotHeld {
        /// Its namespace and name.
        lease: String,
    },
    /// Publishing failed.
    #[error(transparent)]
    Publish(#[from] publish::Error),
}

/// How often a reign is tried to be taken over at once, when others take it at the same time.
const ATTEMPTS: usize = 3;

// === impl Leading ===

impl Leading {
    /// Leads with `publisher`; Redis says who leads.
    pub fn new(publisher: RedisPublisher) -> Self {
        Self { publisher, lease: None, holder: None, failing: None, next_try: None }
    }

    /// Leads with `publisher` while we hold `lease`, whose token is the publisher's.
    pub fn by_lease(publisher: RedisPublisher, lease: KubernetesLease) -> Self {
        Self { lease: Some(lease), ..Self::new(publisher) }
    }

    /// Gives up the lead, so that a standby takes over at once.
    ///
    /// # Errors
    ///
    /// When Redis cannot be told.
    pub async fn release(&mut self) -> Result<(), publish::Error> {
        // First the Lease: Redis may be what is slow.
        if let Some(lease) = &self.lease
            && !lease.leave().await
        {
            tracing::warn!(lease = lease.name(), "the Lease could not be given up; it ends by itself");
        }
        self.publisher.release().await
    }

    async fn lead(&mut self) -> Result<(), Error> {
        self.next_try = None;
        let lead = match &mut self.lease {
            None => self.publisher.acquire().await?,
            Some(lease) => seize(&mut self.publisher, lease).await?,
        };
        match lead {
            Lead::Ours { epoch } => {
                tracing::info!(epoch, "this controller leads the feed");
                self.holder = None;
                Ok(())
            }
            Lead::Theirs { holder, expires_in } => {
                if self.lease.is_none() {
                    let now = Instant::now();
                    let due = expires_in.map(|lasts| now + lasts + MARGIN);
                    self.next_try = Some(NextTry { earliest: now + BETWEEN_TRIES, due });
                }
                Err(self.standing_by(holder, expires_in))
            }
        }
    }

    fn standing_by(&mut self, holder: String, expires_in: Option<Duration>) -> Error {
        if self.holder.as_deref() != Some(&holder) {
            tracing::info!(%holder, "another controller leads the feed; standing by");
            self.holder = Some(holder.clone());
        }
        Error::StandingBy { holder, expires_in }
    }

    /// Whether we may publish, as far as the Lease says.
    fn permitted(&mut self) -> Result<(), Error> {
        let Some(lease) = self.lease.as_ref().filter(|lease| !lease.held()) else { return Ok(()) };
        let (name, holder) = (lease.name().to_owned(), lease.holder());
        if self.publisher.position().is_some() {
            tracing::warn!(
                lease = name,
                "this controller does not lead the feed any more: the Lease is not ours"
            );
            self.publisher.abandon();
        }
        self.failing = None;
        if holder.is_empty() || holder == self.publisher.token() {
            return Err(Error::NotHeld { lease: name });
        }
        Err(self.standing_by(holder, None))
    }

    /// Takes note of whether Redis works for us. A leader by the Lease that cannot publish has to go by itself: nobody
    /// takes the Lease from it.
    async fn noted<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        let Some(lease) = &self.lease else { return result };
        match &result {
            Err(Error::Publish(publish::Error::Redis(_))) => {
                let since = *self.failing.get_or_insert_with(Instant::now);
                if since.elapsed() >= lease.lasts() {
                    tracing::warn!(
                        lease = lease.name(),
                        "Redis has been out of reach for as long as the Lease lasts; giving it up, for another \
                         controller may reach it"
                    );
                    lease.stand_back().await;
                    self.publisher.abandon();
                    self.failing = None;
                }
            }
            Ok(_) => self.failing = None,
            // Says nothing about Redis: what could not be sent, or was not for us to send.
            Err(_) => {}
        }
        result
    }

    async fn lead_and_snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Error> {
        if let Some(lease) = &mut self.lease {
            lease.stand().await;
        }
        self.permitted()?;
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
}

/// Begins a reign in Redis for whoever holds the Lease. The reign that is taken over is read before the Lease is made
/// sure of: if both have gone to another meanwhile, the reign we would take is not the one we read.
async fn seize(publisher: &mut RedisPublisher, lease: &mut KubernetesLease) -> Result<Lead, Error> {
    let mut lead = None;
    for _ in 0..ATTEMPTS {
        let current = publisher.current().await?;
        if !lease.confirm().await {
            return Err(Error::NotHeld { lease: lease.name().to_owned() });
        }
        match publisher.seize(current).await? {
            theirs @ Lead::Theirs { .. } => lead = Some(theirs),
            ours => return Ok(ours),
        }
    }
    lead.ok_or_else(|| Error::NotHeld { lease: lease.name().to_owned() })
}

impl Publisher for Leading {
    type Error = Error;

    async fn delta(&mut self, as_of_ms: i64, delta: Arc<Delta>) -> Result<Position, Error> {
        self.permitted()?;
        let published = self.publisher.delta(as_of_ms, delta).await.map_err(Error::from);
        self.noted(published).await
    }

    async fn metrics(&mut self, graph: &Graph, metrics: Arc<Metrics>) -> Result<(), Error> {
        self.permitted()?;
        let published = self.publisher.metrics(graph, metrics).await.map_err(Error::from);
        self.noted(published).await
    }

    /// A reign begins with a snapshot, so this is where the lead is taken.
    async fn snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Error> {
        let published = self.lead_and_snapshot(as_of_ms, graph, metrics).await;
        self.noted(published).await
    }

    async fn heartbeat(&mut self, as_of_ms: i64) -> Result<(), Error> {
        self.permitted()?;
        let published = self.publisher.heartbeat(as_of_ms).await.map_err(Error::from);
        self.noted(published).await
    }

    /// While we stand by: also when the lead may be free, or the Lease was won.
    async fn resync_requested(&mut self) {
        match (&mut self.lease, self.next_try) {
            (Some(lease), _) if self.publisher.position().is_none() => return lease.won().await,
            (None, Some(NextTry { earliest, due })) => {
                sleep_until(earliest).await;
                match due {
                    // In time or not, it is time to try.
                    Some(due) => drop(timeout_at(due, self.publisher.asked()).await),
                    None => self.publisher.asked().await,
                }
            }
            _ => return self.publisher.resync_requested().await,
        }
        // Once only: if nothing comes of it, the next heartbeat tries again.
        self.next_try = None;
    }
}
