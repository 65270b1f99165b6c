//! The replica: follows the feed and holds the newest [`View`].
//!
//! One task applies events; everybody else reads an atomically swapped `Arc`. When the feed is out of reach the last
//! view goes on answering, and its freshness says so.

use crate::{
    encode::{
        freshness::{Lag, freshness},
        message::framed,
        position as position_of, proto,
    },
    metrics::{ApiMetrics, FeedEvent},
    rights::Scope,
    view::View,
};
use arc_swap::ArcSwapOption;
use linkerd_mcp_graph::{
    delta::{self, Delta},
    feed::{Event, Position, Snapshot, Subscription},
    id::Text,
    metrics::Metrics,
    query::Index,
};
use linkerd_mcp_proto::v1;
use parking_lot::Mutex;
use ring::Ring;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

mod ring;
#[cfg(test)]
mod tests;

pub(crate) use ring::Next;
pub use ring::{RingLimits, WatchEvent};

/// A handle to the replica; clones share it.
#[derive(Debug, Clone)]
pub struct Replica {
    shared: Arc<Shared>,
    /// What is seen through this handle.
    scope: Scope,
}

/// Written by the task in [`Replica::follow`], read by everybody.
#[derive(Debug)]
struct Shared {
    view: ArcSwapOption<View>,
    /// Held for a push or a look-up, never across an await.
    ring: Mutex<Ring>,
    pulse: Pulse,
    tick: watch::Sender<Tick>,
    metrics: ApiMetrics,
}

/// What last came over the feed.
#[derive(Debug)]
struct Pulse {
    heard: Mutex<Instant>,
    as_of_ms: AtomicI64,
    connected: AtomicBool,
}

/// Tells waiting watchers that there is something new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Revision of the newest view; 0 before the first snapshot.
    pub revision: u64,
    /// The process is going away: watchers should leave.
    pub closing: bool,
}

/// Pauses after failures of the feed grow from the first to the last, so that a Redis that is away is not stormed.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// A snapshot that was asked for and did not come is asked for again after this long.
const RESYNC_PATIENCE: Duration = Duration::from_secs(5);

// === impl Replica ===

impl Replica {
    /// A replica that knows nothing yet.
    pub fn new(limits: RingLimits, metrics: ApiMetrics) -> Self {
        let pulse = Pulse {
            heard: Mutex::new(Instant::now()),
            as_of_ms: AtomicI64::new(0),
            connected: AtomicBool::new(false),
        };
        let shared = Shared {
            view: ArcSwapOption::empty(),
            ring: Mutex::new(Ring::new(limits)),
            pulse,
            tick: watch::Sender::default(),
            metrics,
        };
        Self { shared: Arc::new(shared), scope: Scope::All }
    }

    /// The newest view, of what may be seen through this handle; none before the first snapshot.
    pub fn view(&self) -> Option<Arc<View>> {
        let view = self.shared.view.load_full()?;
        match &self.scope {
            Scope::All => Some(view),
            Scope::Only(namespaces) => Some(view.only(namespaces)),
        }
    }

    /// A handle through which no more is seen than this and what could be seen before.
    #[must_use]
    pub fn scoped(&self, scope: &Scope) -> Self {
        Self { shared: self.shared.clone(), scope: self.scope.and(scope) }
    }

    /// What is seen through this handle.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// All namespaces of the mesh, whatever is seen through this handle: those that are known by themselves, and those in
    /// which something is. For asking where somebody has rights.
    pub(crate) fn namespaces(&self) -> BTreeSet<Text> {
        let Some(view) = self.shared.view.load_full() else { return BTreeSet::new() };
        let graph = &view.graph;
        let mut all: BTreeSet<Text> = graph.namespaces.keys().cloned().collect();
        let services = graph.services.keys().map(|id| id.namespace());
        let workloads = graph.workloads.keys().map(|id| id.namespace());
        let policies = graph.policies.keys().map(|id| id.namespace());
        let authorizations = graph.auth_policies.keys().map(|id| id.namespace());
        for namespace in services.chain(workloads).chain(policies).chain(authorizations) {
            if !all.contains(namespace) {
                all.insert(namespace.into());
            }
        }
        all
    }

    /// Changes with every new view, and when the process is going away.
    pub fn ticks(&self) -> watch::Receiver<Tick> {
        self.shared.tick.subscribe()
    }

    /// How fresh `view` is at this moment.
    pub fn freshness(&self, view: &View) -> v1::Freshness {
        let pulse = &self.shared.pulse;
        let age = pulse.heard.lock().elapsed().as_millis();
        let lag = Lag {
            as_of_ms: pulse.as_of_ms.load(Ordering::Relaxed),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            connected: pulse.connected.load(Ordering::Relaxed),
            position: view.position,
        };
        let mut freshness = freshness(lag, &view.metrics.status, &view.graph.status);
        if let Some(namespaces) = view.scope.namespaces() {
            freshness.limited_to = namespaces.iter().map(ToString::to_string).collect();
        }
        freshness
    }

    /// The change after `position`. A watcher that has a view gives the view's generation.
    pub(crate) fn after(&self, position: Position, generation: Option<u64>) -> Next {
        self.shared.ring.lock().after(position, generation)
    }

    /// Tells watchers to leave.
    pub fn close(&self) {
        self.shared.tick.send_modify(|tick| tick.closing = true);
    }

    /// Follows the feed for ever. Cancel by dropping.
    pub async fn follow<S: Subscription>(&self, mut subscription: S) {
        let mut pause = PAUSES[0];
        let mut asked: Option<Instant> = None;
        loop {
            match subscription.next().await {
                Ok(event) => {
                    pause = PAUSES[0];
                    self.heard();
                    if self.apply(event).is_ok() {
                        continue;
                    }
                    if asked.is_some_and(|at| at.elapsed() < RESYNC_PATIENCE) {
                        continue;
                    }
                    asked = Some(Instant::now());
                    self.shared.metrics.feed_resyncs.inc();
                    if let Err(error) = subscription.resync().await {
                        tracing::warn!(%error, "cannot ask the leader for a snapshot; asking again at the next gap");
                        asked = None;
                    }
                }
                Err(error) => {
                    self.lost(&error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES[1]);
                }
            }
        }
    }

    fn heard(&self) {
        let pulse = &self.shared.pulse;
        *pulse.heard.lock() = Instant::now();
        if !pulse.connected.swap(true, Ordering::Relaxed) {
            self.shared.metrics.feed_connected.set(1);
            tracing::info!("the feed delivers");
        }
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) {
        self.shared.metrics.feed_errors.inc();
        self.shared.metrics.feed_connected.set(0);
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        if self.shared.pulse.connected.swap(false, Ordering::Relaxed) || self.view().is_none() {
            tracing::warn!(%error, %cause, "the feed is out of reach; answering from the last known graph");
        } else {
            tracing::debug!(%error, %cause, "the feed is still out of reach");
        }
    }

    /// Takes one event in. `Err` when something is missing before it.
    fn apply(&self, event: Event) -> Result<(), Gap> {
        let metrics = &self.shared.metrics;
        match event {
            Event::Snapshot(snapshot) => {
                metrics.event(FeedEvent::Snapshot);
                self.snapshot(snapshot);
                Ok(())
            }
            Event::Delta { position, as_of_ms, delta } => {
                metrics.event(FeedEvent::Delta);
                self.delta(position, as_of_ms, &delta)
            }
            Event::Metrics { metrics: numbers, .. } => {
                metrics.event(FeedEvent::Metrics);
                self.numbers(numbers);
                Ok(())
            }
            Event::Heartbeat { position, as_of_ms } => {
                metrics.event(FeedEvent::Heartbeat);
                self.heartbeat(position, as_of_ms)
            }
        }
    }

    fn snapshot(&self, snapshot: Snapshot) {
        let Snapshot { position, as_of_ms, graph, metrics } = snapshot;
        let old = self.view();
        let same = old.as_ref().filter(|old| {
            old.position == position && (Arc::ptr_eq(&old.graph, &graph) || old.graph == graph)
        });
        let (index, generation) = match same {
            Some(old) => (old.index.clone(), old.generation),
            None => (Index::of(&graph), self.shared.ring.lock().restart(position)),
        };
        if same.is_none() {
            let (services, edges) = (graph.services.len(), graph.edges.len());
            tracing::info!(epoch = position.epoch, seq = position.seq, services, edges, "took a snapshot");
        }
        let frame = old.as_ref().map_or(0, |old| old.frame) + 1;
        let mut view = View::new(graph, metrics, position, as_of_ms, index);
        if let Some(same) = same {
            view.follow_policies(same, None);
        }
        (view.frame, view.generation) = (frame, generation);
        self.publish(view);
    }

    fn delta(&self, position: Position, as_of_ms: i64, change: &Arc<Delta>) -> Result<(), Gap> {
        let old = self.view().ok_or(Gap)?;
        // Seen already, or from a leader whose reign is over.
        if position <= old.position {
            return Ok(());
        }
        if position.epoch != old.position.epoch || position.seq != old.position.seq + 1 {
            tracing::warn!(?position, have = ?old.position, "changes are missing; asking for a snapshot");
            return Err(Gap);
        }
        let graph = delta::apply(&old.graph, change).map_err(|error| {
            tracing::warn!(%error, ?position, "a change does not fit the graph; asking for a snapshot");
            Gap
        })?;
        let mut index = old.index.clone();
        index.apply(&old.graph, change);
        let mut view = View::new(Arc::new(graph), old.metrics.clone(), position, as_of_ms, index);
        view.follow_policies(&old, Some(change));
        (view.frame, view.generation) = (old.frame, old.generation);
        let event = self.watch_event(&view, change);
        // First the ring and then the view: a watcher that has seen the view finds what led to it.
        self.shared.ring.lock().push(Arc::new(event));
        self.publish(view);
        Ok(())
    }

    fn watch_event(&self, view: &View, change: &Arc<Delta>) -> WatchEvent {
        self.shared.metrics.encoded(crate::metrics::Encoded::Delta);
        let message = delta_message(
            proto::delta(change, &view.graph, &view.metrics, None),
            view.position,
            self.freshness(view),
        );
        WatchEvent { position: view.position, delta: change.clone(), message: framed(&message) }
    }

    fn numbers(&self, metrics: Arc<Metrics>) {
        // Numbers before the first snapshot belong to a graph that is not known; the snapshot brings its own.
        let Some(old) = self.view() else { return };
        let as_of_ms = self.shared.pulse.as_of_ms.load(Ordering::Relaxed);
        let mut view = View::new(old.graph.clone(), metrics, old.position, as_of_ms, old.index.clone());
        view.follow_policies(&old, None);
        (view.frame, view.generation) = (old.frame + 1, old.generation);
        self.publish(view);
    }

    fn heartbeat(&self, position: Position, as_of_ms: i64) -> Result<(), Gap> {
        let view = self.view().ok_or(Gap)?;
        if position < view.position {
            return Ok(());
        }
        if position > view.position {
            tracing::warn!(?position, have = ?view.position, "the leader is elsewhere; asking for a snapshot");
            return Err(Gap);
        }
        self.shared.pulse.as_of_ms.store(as_of_ms, Ordering::Relaxed);
        Ok(())
    }

    fn publish(&self, mut view: View) {
        let revision = self.shared.tick.borrow().revision + 1;
        view.revision = revision;
        let metrics = &self.shared.metrics;
        let size = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        metrics.services.set(size(view.graph.services.len()));
        metrics.workloads.set(size(view.graph.workloads.len()));
        metrics.edges.set(size(view.graph.edges.len()));
        self.shared.pulse.as_of_ms.store(view.as_of_ms, Ordering::Relaxed);
        self.shared.view.store(Some(Arc::new(view)));
        self.shared.tick.send_modify(|tick| tick.revision = revision);
    }
}

/// Something is missing between the graph and what came.
#[derive(Debug, PartialEq, Eq)]
struct Gap;

/// A change as a message to a watcher.
pub(crate) fn delta_message(
    delta: v1::Delta,
    position: Position,
    freshness: v1::Freshness,
) -> v1::WatchMeshGraphResponse {
    let delta = v1::Delta { position: Some(position_of(position)), freshness: Some(freshness), ..delta };
    v1::WatchMeshGraphResponse { event: Some(v1::watch_mesh_graph_response::Event::Delta(delta)) }
}
