//! The one owner of the index: takes in what the watches and the polls bring, keeps the graph assembled, and
//! publishes what changed.
//!
//! ```text
//! watches ──► Message ─┐
//!                      ├─► Index ─► refresh ─► diff ─► Publisher
//! Prometheus ─► Poll ──┤  │    ▲
//!                      │  └─► edges of a poll, on a thread of their own
//! ```

use crate::graph::{
    assemble::Cluster,
    delta,
    feed::Publisher,
    index::Index,
    metrics::Metrics as Numbers,
    model::Graph,
    status::{MetricsStatus, WatchState},
    traffic::{Traffic, edges::Assembled},
};
use crate::{
    admin::{Readiness, SharedReadiness},
    chain::chain,
    prometheus::{MetricsSource, Poll},
    watch::Message,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use std::{
    future::{Future, pending},
    panic::resume_unwind,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep},
};

/// How often what happens.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the cluster is configured with.
    pub cluster: Cluster,
    /// Between polls of Prometheus.
    pub poll: Duration,
    /// Between snapshots.
    pub snapshot: Duration,
    /// Between signs of life while nothing else happens.
    pub heartbeat: Duration,
    /// How long an edge without traffic is kept.
    pub retain: Duration,
    /// Where to say whether the first lists are in.
    pub readiness: Option<SharedReadiness>,
    /// How long changes are gathered while the first lists come in; afterwards each is published at once.
    pub gather: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster: Cluster::default(),
            poll: Duration::from_secs(15),
            snapshot: Duration::from_secs(300),
            heartbeat: Duration::from_secs(1),
            // As long as a proxy keeps a series that does not move.
            retain: Duration::from_secs(600),
            gather: Duration::from_millis(100),
            readiness: None,
        }
    }
}

/// Metrics about the index.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    changes: Counter,
    deltas: Counter,
    frames: Counter,
    snapshots: Counter,
    failures: Counter,
    stale: Gauge,
    edges: Gauge,
    workloads: Gauge,
    services: Gauge,
}

impl Metrics {
    /// Registers the metrics; the caller gives the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("changes", "Changes of Kubernetes objects taken in", metrics.changes.clone());
        registry.register("deltas", "Topology changes published", metrics.deltas.clone());
        registry.register("metric_frames", "Metric frames published", metrics.frames.clone());
        registry.register("snapshots", "Snapshots published", metrics.snapshots.clone());
        registry.register("publish_failures", "Publications that failed", metrics.failures.clone());
        registry.register(
            "metrics_stale",
            "1 while the numbers are not from the latest poll",
            metrics.stale.clone(),
        );
        registry.register("edges", "Edges in the graph", metrics.edges.clone());
        registry.register("workloads", "Workloads in the graph", metrics.workloads.clone());
        registry.register("services", "Services in the graph", metrics.services.clone());
        metrics
    }
}

/// Why the index stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// Nothing watches Kubernetes any more, so the graph would go stale.
    Unwatched,
}

/// Runs until `shutdown` resolves or every watch has ended, and gives the publisher back.
pub async fn run<P: Publisher, M: MetricsSource>(
    options: Options,
    mut messages: mpsc::Receiver<Message>,
    source: M,
    publisher: P,
    metrics: Metrics,
    shutdown: impl Future<Output = ()>,
) -> (P, Ended) {
    let mut polls = polling(source, options.poll);
    let mut early = None;
    let mut owner = Owner {
        index: Index::new(options.cluster.clone()),
        published: Graph::default(),
        numbers: Arc::default(),
        publisher,
        behind: true,
        metrics,
        retain_ms: i64::try_from(options.retain.as_millis()).unwrap_or(i64::MAX),
        joining: None,
    };
    let mut snapshots = interval(options.snapshot);
    let mut heartbeats = interval(options.heartbeat);
    snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval is immediate; the first snapshot waits for the first lists.
    snapshots.tick().await;
    let mut shutdown = pin!(shutdown);
    let mut batch = Vec::new();
    let ended = loop {
        tokio::select! {
            () = &mut shutdown => break Ended::Told,
            received = messages.recv_many(&mut batch, 1024) => {
                if received == 0 {
                    break Ended::Unwatched;
                }
                owner.take_in(&mut batch);
                if !owner.readiness().ready && !options.gather.is_zero() {
                    sleep(options.gather).await;
                    while let Ok(message) = messages.try_recv() {
                        batch.push(message);
                    }
                    owner.take_in(&mut batch);
                }
                let readiness = owner.readiness();
                if readiness.ready && let Some(poll) = early.take() {
                    owner.poll(poll).await;
                }
                if let Some(shown) = &options.readiness {
                    *shown.write() = readiness;
                }
                owner.publish_topology().await;
            }
            joined = joined(&mut owner.joining) => owner.joined(joined).await,
            // One poll after the other. Without the pods, a client is but an identity: its edge would stand there twice.
            Some(poll) = polls.recv(), if owner.joining.is_none() => match owner.readiness().ready {
                true => owner.poll(poll).await,
                false => early = Some(poll),
            },
            _ = snapshots.tick() => owner.snapshot().await,
            _ = heartbeats.tick() => owner.heartbeat().await,
            () = owner.publisher.resync_requested() => {
                if !owner.behind {
                    tracing::info!("a replica asked for a snapshot");
                }
                owner.snapshot().await;
            }
        }
    };
    (owner.publisher, ended)
}

/// The edges of one poll, on their way.
type Joining = JoinHandle<(Assembled, MetricsStatus)>;

/// Waits for the edges of the poll that is being joined; for ever while there is none.
async fn joined(joining: &mut Option<Joining>) -> (Assembled, MetricsStatus) {
    let Some(under_way) = joining else { return pending().await };
    let outcome = under_way.await;
    *joining = None;
    match outcome {
        Ok(joined) => joined,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_cancelled) => pending().await,
        },
    }
}

/// Polls in a task of its own: a slow Prometheus must not hold up the watches. Polls never overlap.
fn polling<M: MetricsSource>(mut source: M, every: Duration) -> mpsc::Receiver<Poll> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let poll = source.poll(now_ms()).await;
            if sender.send(poll).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

struct Owner<P> {
    index: Index,
    /// The graph as the feed has it.
    published: Graph,
    numbers: Arc<Numbers>,
    publisher: P,
    /// A publication failed or none was made yet: the feed needs a snapshot before anything else.
    behind: bool,
    metrics: Metrics,
    retain_ms: i64,
    /// The edges of the last poll, while they are being made.
    joining: Option<Joining>,
}

// === impl Owner ===

impl<P: Publisher> Owner<P> {
    fn take_in(&mut self, batch: &mut Vec<Message>) {
        self.metrics.changes.inc_by(batch.len() as u64);
        for message in batch.drain(..) {
            match message {
                Message::Change(change) => self.index.change(change),
                Message::State(kind, state) => self.index.watch_state(kind, state),
            }
        }
        let graph = self.index.refresh();
        let count = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        self.metrics.edges.set(count(graph.edges.len()));
        self.metrics.workloads.set(count(graph.workloads.len()));
        self.metrics.services.set(count(graph.services.len()));
    }

    fn readiness(&self) -> Readiness {
        let status = &self.index.graph().status;
        let missing: Vec<String> =
            status.not_synced().map(|(kind, state)| format!("{kind} is {}", state.name())).collect();
        // A kind we may not read or that fails for now must not keep the rest from being served.
        let listing = status.kinds.values().any(|state| *state == WatchState::Syncing);
        Readiness { ready: !listing && !status.kinds.is_empty(), reason: missing.join(", ") }
    }

    async fn publish_topology(&mut self) {
        if self.behind {
            return self.snapshot().await;
        }
        let graph = self.index.graph();
        let delta = delta::diff(&self.published, graph);
        if delta.is_empty() {
            return;
        }
        let graph = graph.clone();
        match self.publisher.delta(now_ms(), Arc::new(delta)).await {
            Ok(_) => {
                self.metrics.deltas.inc();
                self.published = graph;
            }
            Err(error) => self.failed("a topology change", &error),
        }
    }

    async fn poll(&mut self, poll: Poll) {
        match poll {
            Poll::Answered { traffic, mut status } => {
                let coverage = traffic.coverage(self.index.facts());
                status.unscraped_count = u32::try_from(coverage.unscraped.len()).unwrap_or(u32::MAX);
                status.unscraped = coverage.unscraped.iter().take(20).map(ToString::to_string).collect();
                status.mislabelled_count = u32::try_from(coverage.mislabelled.len()).unwrap_or(u32::MAX);
                for pod in coverage.mislabelled.iter().take(5) {
                    tracing::warn!(%pod, "the labels of this pod's metrics name another workload than Kubernetes does");
                }
                if status.stale {
                    tracing::warn!(reason = %status.reason, "the poll of Prometheus is incomplete");
                }
                self.join(traffic, status).await;
            }
            Poll::Failed { reason } => {
                tracing::warn!(%reason, "the poll of Prometheus failed; numbers stay as they are and are marked stale");
                self.index.metrics_stale(reason);
                self.publish_poll().await;
            }
        }
    }

    /// Makes edges of a poll on a thread of their own: a hundred thousand take longer than a change may wait.
    async fn join(&mut self, traffic: Box<Traffic>, status: MetricsStatus) {
        let survey = self.index.survey(&traffic);
        let (now_ms, retain_ms) = (now_ms(), self.retain_ms);
        self.joining = Some(spawn_blocking(move || (survey.edges(&traffic, now_ms, retain_ms), status)));
        // A snapshot comes first: without these edges it would take those that replicas still have. No change waits
        // longer for this, because none is published before it.
        if self.behind {
            let joined = joined(&mut self.joining).await;
            self.joined(joined).await;
        }
    }

    async fn joined(&mut self, (assembled, status): (Assembled, MetricsStatus)) {
        self.index.polled(assembled, status);
        self.publish_poll().await;
    }

    async fn publish_poll(&mut self) {
        self.numbers = self.index.metrics().clone();
        self.metrics.stale.set(i64::from(self.numbers.status.stale));
        self.metrics.edges.set(i64::try_from(self.index.graph().edges.len()).unwrap_or(i64::MAX));
        self.publish_topology().await;
        if self.behind {
            return;
        }
        match self.publisher.metrics(&self.published, self.numbers.clone()).await {
            Ok(()) => drop(self.metrics.frames.inc()),
            Err(error) => self.failed("a metric frame", &error),
        }
    }

    /// Publishes the graph as it is; not before the first lists are in, for half a graph would replace the whole one
    /// that replicas may still have.
    async fn snapshot(&mut self) {
        if !self.readiness().ready {
            return;
        }
        let graph = self.index.graph().clone();
        match self.publisher.snapshot(now_ms(), Arc::new(graph.clone()), self.numbers.clone()).await {
            Ok(position) => {
                self.metrics.snapshots.inc();
                if self.behind {
                    tracing::info!(
                        epoch = position.epoch,
                        seq = position.seq,
                        "the feed has a snapshot of the graph"
                    );
                }
                self.published = graph;
                self.behind = false;
            }
            Err(error) => self.failed("a snapshot", &error),
        }
    }

    async fn heartbeat(&mut self) {
        if self.behind {
            // The feed was out of reach: this is the retry.
            return self.snapshot().await;
        }
        if let Err(error) = self.publisher.heartbeat(now_ms()).await {
            self.failed("a heartbeat", &error);
        }
    }

    fn failed(&mut self, what: &'static str, error: &P::Error) {
        self.metrics.failures.inc();
        if !self.behind {
            tracing::warn!(what, error = %chain(error), "publishing failed; a snapshot follows as soon as the feed is back");
        }
        self.behind = true;
    }
}

#[cfg(test)]
mod tests;
