//! The feed without Redis: the controller runs in this process and hands its values over as they are.
//!
//! The feed keeps the graph and the numbers of the present, so whoever subscribes starts at once, and whoever reads
//! too slowly starts over from the present instead of missing changes. Nothing grows with the number of changes.

use crate::graph::{
    delta::{self, Delta, Misfit},
    feed::{Event, Position, Publisher, Snapshot, Subscription},
    metrics::Metrics,
    model::Graph,
};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, broadcast};

/// Events that a reader may be behind by before it has to start over. They share their contents with the graph.
const BEHIND: usize = 256;

/// The writing end.
#[derive(Debug)]
pub struct MemoryPublisher {
    shared: Arc<Shared>,
}

/// Where to subscribe.
#[derive(Debug, Clone)]
pub struct MemoryFeed {
    shared: Arc<Shared>,
}

/// The reading end.
#[derive(Debug)]
pub struct MemorySubscription {
    shared: Arc<Shared>,
    events: broadcast::Receiver<Event>,
    /// The next event is a snapshot of the present.
    start_over: bool,
}

/// The writing end is gone; nothing more will come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the controller in this process has stopped")]
pub struct Stopped;

/// Owned by both ends: the writer replaces the present, readers copy it.
#[derive(Debug)]
struct Shared {
    // A plain lock: held for as long as it takes to swap some pointers, never across an await.
    present: Mutex<Present>,
    snapshot_wanted: Notify,
}

#[derive(Debug)]
struct Present {
    position: Position,
    as_of_ms: i64,
    /// Absent until something was published.
    graph: Option<Arc<Graph>>,
    metrics: Arc<Metrics>,
    /// A delta did not fit: the graph is not the writer's until its next snapshot.
    broken: bool,
    /// Gone when the writer is. It is here so that sending is under the lock: whoever holds it sees a present and a
    /// place in the events that belong together.
    events: Option<broadcast::Sender<Event>>,
}

/// A feed within this process. `epoch` is its start in milliseconds since the Unix epoch.
pub fn memory_feed(epoch: u64) -> (MemoryPublisher, MemoryFeed) {
    let (events, _) = broadcast::channel(BEHIND);
    let present = Present {
        position: Position { epoch, seq: 0 },
        as_of_ms: 0,
        graph: None,
        metrics: Arc::default(),
        broken: false,
        events: Some(events),
    };
    let shared = Arc::new(Shared { present: Mutex::new(present), snapshot_wanted: Notify::new() });
    (MemoryPublisher { shared: shared.clone() }, MemoryFeed { shared })
}

// === impl MemoryFeed ===

impl MemoryFeed {
    /// A new reader; its first event is a snapshot of the present, as soon as there is one.
    pub fn subscribe(&self) -> MemorySubscription {
        let events = match &self.shared.present.lock().events {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        };
        MemorySubscription { shared: self.shared.clone(), events, start_over: true }
    }
}

// === impl MemorySubscription ===

impl MemorySubscription {
    /// The present, and from here on the events after it.
    fn begin(&mut self) -> Option<Snapshot> {
        let present = self.shared.present.lock();
        let snapshot = present.snapshot()?;
        if let Some(events) = &present.events {
            self.events = events.subscribe();
        }
        self.start_over = false;
        Some(snapshot)
    }
}

impl Subscription for MemorySubscription {
    type Error = Stopped;

    async fn next(&mut self) -> Result<Event, Stopped> {
        loop {
            if self.start_over
                && let Some(snapshot) = self.begin()
            {
                return Ok(Event::Snapshot(snapshot));
            }
            match self.events.recv().await {
                Ok(_) if self.start_over => {}
                Ok(event) => return Ok(event),
                Err(broadcast::error::RecvError::Lagged(_)) => self.start_over = true,
                Err(broadcast::error::RecvError::Closed) => return Err(Stopped),
            }
        }
    }

    async fn resync(&mut self) -> Result<(), Stopped> {
        self.start_over = true;
        Ok(())
    }
}

// === impl MemoryPublisher ===

impl Publisher for MemoryPublisher {
    type Error = Misfit;

    /// # Errors
    ///
    /// When the delta does not fit the graph; then a snapshot is asked for, and readers see nothing until it comes.
    async fn delta(&mut self, as_of_ms: i64, delta: Arc<Delta>) -> Result<Position, Misfit> {
        let mut present = self.shared.present.lock();
        let graph = present.graph.clone().unwrap_or_default();
        match delta::apply(&graph, &delta) {
            Ok(graph) => {
                let position = present.advance(as_of_ms, Arc::new(graph));
                present.send(Event::Delta { position, as_of_ms, delta });
                Ok(position)
            }
            Err(misfit) => {
                present.broken = true;
                self.shared.snapshot_wanted.notify_one();
                Err(misfit)
            }
        }
    }

    async fn metrics(&mut self, _: &Graph, metrics: Arc<Metrics>) -> Result<(), Misfit> {
        let mut present = self.shared.present.lock();
        present.metrics = metrics.clone();
        let position = present.position;
        present.send(Event::Metrics { position, metrics });
        Ok(())
    }

    /// Readers see a snapshot only when it is not what the deltas have led them to.
    async fn snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Misfit> {
        let mut present = self.shared.present.lock();
        present.as_of_ms = as_of_ms;
        present.metrics = metrics;
        if present.graph.as_ref() == Some(&graph) && !present.broken {
            return Ok(present.position);
        }
        let position = match present.graph {
            Some(_) => present.advance(as_of_ms, graph),
            None => present.begin(graph),
        };
        present.broken = false;
        if let Some(snapshot) = present.snapshot() {
            present.send(Event::Snapshot(snapshot));
        }
        Ok(position)
    }

    async fn heartbeat(&mut self, as_of_ms: i64) -> Result<(), Misfit> {
        let mut present = self.shared.present.lock();
        present.as_of_ms = as_of_ms;
        let position = present.position;
        present.send(Event::Heartbeat { position, as_of_ms });
        Ok(())
    }

    /// Only after a delta that did not fit: readers start over by themselves.
    async fn resync_requested(&mut self) {
        self.shared.snapshot_wanted.notified().await;
    }
}

impl Drop for MemoryPublisher {
    fn drop(&mut self) {
        self.shared.present.lock().events = None;
    }
}

// === impl Present ===

impl Present {
    fn begin(&mut self, graph: Arc<Graph>) -> Position {
        self.graph = Some(graph);
        self.position
    }

    fn advance(&mut self, as_of_ms: i64, graph: Arc<Graph>) -> Position {
        self.position.seq += 1;
        self.as_of_ms = as_of_ms;
        self.begin(graph)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let graph = self.graph.clone().filter(|_| !self.broken)?;
        Some(Snapshot {
            position: self.position,
            as_of_ms: self.as_of_ms,
            graph,
            metrics: self.metrics.clone(),
        })
    }

    fn send(&self, event: Event) {
        if let Some(events) = &self.events {
            // An error means that nobody listens.
            let _ = events.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{
        id::{ServiceId, Text},
        model::{Namespace, Service},
        status::MetricsStatus,
    };

    const EPOCH: u64 = 1_735_689_600_000;

    fn mk_graph(namespaces: &[&str]) -> Arc<Graph> {
        let namespaces =
            namespaces.iter().map(|name| (Text::from(*name), Arc::new(Namespace::default()))).collect();
        Arc::new(Graph { namespaces, ..Graph::default() })
    }

    fn between(old: &Graph, new: &Graph) -> Arc<Delta> {
        Arc::new(delta::diff(old, new))
    }

    fn at(seq: u64) -> Position {
        Position { epoch: EPOCH, seq }
    }

    async fn snapshot_of(subscription: &mut MemorySubscription) -> Snapshot {
        match subscription.next().await.unwrap() {
            Event::Snapshot(snapshot) => snapshot,
            other => panic!("expected a snapshot, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_subscriber_gets_the_present_and_then_what_happens() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut early = feed.subscribe();
        let (one, two) = (mk_graph(&["a"]), mk_graph(&["a", "b"]));
        assert_eq!(publisher.snapshot(1, one.clone(), Arc::default()).await, Ok(at(0)));
        assert_eq!(publisher.delta(2, between(&one, &two)).await, Ok(at(1)));
        let mut late = feed.subscribe();
        assert_eq!(publisher.heartbeat(3).await, Ok(()));
        for subscription in [&mut early, &mut late] {
            let snapshot = snapshot_of(subscription).await;
            assert_eq!(snapshot.position, at(1));
            assert_eq!(snapshot.graph, two);
        }
        publisher.delta(4, between(&two, &one)).await.unwrap();
        for subscription in [&mut early, &mut late] {
            match subscription.next().await.unwrap() {
                Event::Delta { position, as_of_ms: 4, delta } => {
                    assert_eq!(position, at(2));
                    assert_eq!(delta, between(&two, &one));
                }
                other => panic!("expected a delta, got {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_subscriber_waits_for_the_first_graph() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut subscription = feed.subscribe();
        let graph = mk_graph(&["a"]);
        let publish = async {
            publisher.heartbeat(1).await.unwrap();
            publisher.delta(2, between(&Graph::default(), &graph)).await.unwrap();
        };
        let (snapshot, ()) = tokio::join!(snapshot_of(&mut subscription), publish);
        assert_eq!((snapshot.position, snapshot.graph), (at(1), graph));
    }

    #[tokio::test]
    async fn a_subscriber_that_lags_starts_over_instead_of_missing_changes() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut subscription = feed.subscribe();
        let (one, two) = (mk_graph(&["a"]), mk_graph(&["a", "b"]));
        publisher.snapshot(0, one.clone(), Arc::default()).await.unwrap();
        snapshot_of(&mut subscription).await;
        for _ in 0..BEHIND {
            publisher.delta(1, between(&one, &two)).await.unwrap();
            publisher.delta(1, between(&two, &one)).await.unwrap();
        }
        let snapshot = snapshot_of(&mut subscription).await;
        assert_eq!((snapshot.position, snapshot.graph), (at(2 * BEHIND as u64), one.clone()));
        publisher.delta(1, between(&one, &two)).await.unwrap();
        let next = subscription.next().await.unwrap();
        assert!(
            matches!(next, Event::Delta { position, .. } if position == at(2 * BEHIND as u64 + 1)),
            "{next:?}"
        );
    }

    #[tokio::test]
    async fn a_delta_that_does_not_fit_is_repaired_by_a_snapshot() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut subscription = feed.subscribe();
        let (one, two) = (mk_graph(&["a"]), mk_graph(&["b"]));
        publisher.snapshot(0, one.clone(), Arc::default()).await.unwrap();
        snapshot_of(&mut subscription).await;
        let mut misfit = Delta::default();
        misfit.services.removed.push(ServiceId::new("shop", "web"));
        assert!(publisher.delta(1, Arc::new(misfit)).await.is_err());
        publisher.resync_requested().await;
        assert_eq!(publisher.snapshot(2, two.clone(), Arc::default()).await, Ok(at(1)));
        let snapshot = snapshot_of(&mut subscription).await;
        assert_eq!((snapshot.position, snapshot.graph), (at(1), two));
    }

    #[tokio::test]
    async fn a_periodic_snapshot_disturbs_nobody() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut subscription = feed.subscribe();
        let one = mk_graph(&["a"]);
        publisher.snapshot(0, one.clone(), Arc::default()).await.unwrap();
        snapshot_of(&mut subscription).await;
        // Equal, but not the same: made anew.
        assert_eq!(publisher.snapshot(1, mk_graph(&["a"]), Arc::default()).await, Ok(at(0)));
        publisher.heartbeat(2).await.unwrap();
        let next = subscription.next().await.unwrap();
        assert!(matches!(next, Event::Heartbeat { as_of_ms: 2, .. }), "{next:?}");
    }

    #[tokio::test]
    async fn numbers_arrive_as_they_are_and_a_resync_brings_them_again() {
        let (mut publisher, feed) = memory_feed(EPOCH);
        let mut subscription = feed.subscribe();
        let mut graph = Graph::default();
        graph.services.insert(ServiceId::new("shop", "web"), Arc::new(Service::default()));
        let graph = Arc::new(graph);
        publisher.snapshot(0, graph.clone(), Arc::default()).await.unwrap();
        snapshot_of(&mut subscription).await;
        let status = MetricsStatus { stale: false, as_of_ms: Some(5), ..MetricsStatus::default() };
        let metrics = Arc::new(Metrics::new(status, Vec::new()));
        publisher.metrics(&graph, metrics.clone()).await.unwrap();
        match subscription.next().await.unwrap() {
            Event::Metrics { position, metrics: found } => {
                assert_eq!(position, at(0));
                assert!(Arc::ptr_eq(&found, &metrics));
            }
            other => panic!("expected numbers, got {other:?}"),
        }
        subscription.resync().await.unwrap();
        assert_eq!(snapshot_of(&mut subscription).await.metrics, metrics);
    }

    #[tokio::test]
    async fn a_subscription_ends_with_its_publisher() {
        let (publisher, feed) = memory_feed(EPOCH);
        let mut before = feed.subscribe();
        drop(publisher);
        assert_eq!(before.next().await.unwrap_err(), Stopped);
        assert_eq!(feed.subscribe().next().await.unwrap_err(), Stopped);
    }
}
