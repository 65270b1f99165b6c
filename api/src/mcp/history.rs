//! What this replica remembers of the last hour: a sample a minute, in memory, bounded.
//!
//! A sample takes 8 bytes an edge, and 16 more when the set of edges is another one than a minute before. At 100,000
//! edges an hour is 48 MB where edges stay the same; where they change every minute, [`MAX_BYTES`] is reached and holds
//! about 28 minutes. The replica has it for itself: after a restart it begins anew, and answers say how far it reaches.

use crate::{replica::Replica, view::View};
use linkerd_mcp_graph::{
    id::{Destination, EdgeId, PolicyId, Source},
    query::{
        Node, bearing,
        compare::{self, Difference, Sample},
    },
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a sample is taken.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// The most samples: an hour and the one that ends it.
const MAX_SAMPLES: usize = 61;

/// The most bytes of all samples together.
const MAX_BYTES: usize = 64 << 20;

/// Samples of the recent past. Cloning shares them.
///
/// Written by the task in [`History::follow`], read by tools; held for as long as it takes to clone an `Arc`.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<VecDeque<Arc<Moment>>>>);

/// The mesh at one moment of the past.
#[derive(Debug)]
pub(crate) struct Moment {
    at: Instant,
    /// When that was true, in milliseconds since the Unix epoch.
    pub(crate) as_of_ms: i64,
    sample: Sample,
}

/// What has changed in a shorter time than this is left to the next sample.
const LEAST_AGE: Duration = Duration::from_secs(30);

// === impl History ===

impl History {
    /// Takes a sample every minute, the first one as soon as there are numbers. Never ends; cancel by dropping.
    pub(crate) async fn follow(self, replica: Replica) {
        let mut ticks = replica.ticks();
        // Held against a mesh without numbers, every edge would be new.
        let has_numbers = || replica.view().is_some_and(|it| it.metrics.status.as_of_ms.is_some());
        if ticks.wait_for(|_| has_numbers()).await.is_err() {
            return;
        }
        let mut minute = interval(EVERY);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minute.tick().await;
            if let Some(view) = replica.view() {
                let history = self.clone();
                // A large mesh takes some milliseconds. An error means that the runtime ends.
                let _ = tokio::task::spawn_blocking(move || history.take(&view)).await;
            }
        }
    }

    /// Remembers `view` as what is now.
    pub(crate) fn take(&self, view: &View) {
        let previous = self.0.lock().back().cloned();
        let sample = Sample::of(&view.graph, &view.metrics, previous.as_ref().map(|it| &it.sample));
        let as_of_ms = view.metrics.status.as_of_ms.unwrap_or(view.as_of_ms);
        let mut moments = self.0.lock();
        moments.push_back(Arc::new(Moment { at: Instant::now(), as_of_ms, sample }));
        trim(&mut moments, MAX_SAMPLES, MAX_BYTES);
    }

    /// The moment nearest to so long ago; none before there is one that is old enough to be held against the present.
    pub(crate) fn ago(&self, wanted: Duration) -> Option<Arc<Moment>> {
        let moments = self.0.lock();
        let old = moments.iter().filter(|it| it.age() >= LEAST_AGE);
        old.min_by_key(|it| it.age().abs_diff(wanted)).cloned()
    }

    /// How far the history reaches back.
    pub(crate) fn reach(&self) -> Option<Duration> {
        self.0.lock().front().map(|it| it.age())
    }

    /// Edges that were mutual TLS ten minutes or an hour ago, and are known not to be now.
    pub(crate) fn mtls_lost(&self, view: &View) -> BTreeSet<EdgeId> {
        let moments = [self.ago(Duration::from_secs(3_600)), self.ago(Duration::from_secs(600))];
        moments.iter().flatten().flat_map(|it| it.sample.mtls_lost(&view.graph)).collect()
    }
}

/// Takes away the oldest until there is not too much; the newest stays.
fn trim(moments: &mut VecDeque<Arc<Moment>>, samples: usize, most: usize) {
    while moments.len() > samples || (moments.len() > 1 && bytes(moments) > most) {
        moments.pop_front();
    }
}

fn bytes(moments: &VecDeque<Arc<Moment>>) -> usize {
    let before = std::iter::once(None).chain(moments.iter().map(|it| Some(&it.sample)));
    moments.iter().zip(before).map(|(it, previous)| it.sample.bytes(previous)).sum()
}

// === impl Moment ===

impl Moment {
    /// How long ago it was.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// True when the numbers were not current then.
    pub(crate) fn is_stale(&self) -> bool {
        self.sample.stale
    }

    /// What is different in `view`. The sample is of the whole mesh, so what is not to be seen in the view is left out of
    /// both; the same goes for the comparisons below.
    pub(crate) fn compare(&self, view: &View) -> Difference {
        self.among(view, |_, _| true, |_| true)
    }

    fn among(
        &self,
        view: &View,
        wanted: impl Fn(&Source, &Destination) -> bool,
        concerns: impl Fn(&PolicyId) -> bool,
    ) -> Difference {
        let scope = &view.scope;
        compare::compare(
            &self.sample,
            &view.graph,
            &view.metrics,
            |from, to| scope.has_either(from, to) && wanted(from, to),
            |id| scope.has(id.namespace()) && concerns(id),
        )
    }

    /// As [`Moment::compare`], on edges from or to `node`, and of policies that bear on it. What is gone bears on
    /// nothing any more, so of that it is all in its namespace.
    pub(crate) fn compare_node(&self, view: &View, node: &Node) -> Difference {
        let bearing: BTreeSet<PolicyId> =
            bearing::bearing_on(&view.graph, node).into_iter().map(|(id, _)| id).collect();
        let wanted = |from: &Source, to: &Destination| touches(view, node, from, to);
        let concerns = |id: &PolicyId| {
            bearing.contains(id)
                || node.namespace() == Some(id.namespace()) && !bearing::is_known(&view.graph, id)
        };
        self.among(view, wanted, concerns)
    }

    /// As [`Moment::compare`], for what lies in a namespace or calls into it.
    pub(crate) fn compare_in(&self, view: &View, namespace: &str) -> Difference {
        let wanted = |from: &Source, to: &Destination| {
            from.namespace() == Some(namespace) || to.namespace() == Some(namespace)
        };
        let concerns = |id: &PolicyId| id.namespace() == namespace;
        self.among(view, wanted, concerns)
    }
}

/// True for edges that begin at a node or end there. A Service stands for the workloads behind it.
fn touches(view: &View, node: &Node, from: &Source, to: &Destination) -> bool {
    let called = Node::of_destination(to) == *node;
    let calls = match (from, node) {
        (Source::Workload(id), Node::Workload(wanted)) => id == wanted,
        (Source::Workload(id), Node::Service(wanted)) => {
            view.graph.services.get(wanted).is_some_and(|it| it.workloads.contains(id))
        }
        _ => false,
    };
    let through = match (to, node) {
        (Destination::Service(id, _), Node::Workload(wanted)) => {
            view.graph.workloads.get(wanted).is_some_and(|it| it.services.contains(id))
        }
        _ => false,
    };
    called || calls || through
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::ApiMetrics, replica::RingLimits};
    use linkerd_mcp_graph::{
        feed::{Event, Position, Snapshot, Subscription},
        metrics::Metrics,
        model::Graph,
        query::Index,
        status::MetricsStatus,
    };
    use prometheus_client::registry::Registry;

    fn mk_view() -> View {
        let position = Position { epoch: 1, seq: 1 };
        View::new(Arc::new(Graph::default()), Arc::new(Metrics::default()), position, 1_000, Index::default())
    }

    #[tokio::test(start_paused = true)]
    async fn the_nearest_moment_answers_and_the_oldest_ones_go() {
        let history = History::default();
        assert!(history.ago(Duration::ZERO).is_none() && history.reach().is_none());
        for _ in 0..70 {
            history.take(&mk_view());
            tokio::time::advance(EVERY).await;
        }
        let minutes = |ago: u64| history.ago(Duration::from_secs(ago * 60)).unwrap().age().as_secs() / 60;
        assert_eq!([0, 1, 10, 61, 300].map(minutes), [1, 1, 10, 61, 61]);
        assert_eq!(history.reach(), Some(EVERY * 61));
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_that_takes_too_much_loses_its_oldest_samples_but_never_the_newest() {
        let moment = |_| Arc::new(Moment { at: Instant::now(), as_of_ms: 0, sample: mk_sample() });
        let mut moments: VecDeque<Arc<Moment>> = (0..10).map(moment).collect();
        let one = bytes(&moments) / 10;
        trim(&mut moments, 100, 3 * one);
        assert_eq!(moments.len(), 3);
        trim(&mut moments, 2, usize::MAX);
        assert_eq!(moments.len(), 2);
        trim(&mut moments, 100, 1);
        assert_eq!(moments.len(), 1);
    }

    fn mk_sample() -> Sample {
        Sample::of(&Graph::default(), &Metrics::default(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_taken_every_minute_from_the_first_numbers_on() {
        let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
        let (feed, events) = tokio::sync::mpsc::unbounded_channel();
        let (follower, history) = (replica.clone(), History::default());
        tokio::spawn(async move { follower.follow(Script(events)).await });
        tokio::spawn(history.clone().follow(replica));
        feed.send(snapshot(1, None)).unwrap();
        tokio::time::sleep(EVERY * 3).await;
        assert_eq!(history.reach(), None, "nothing is known that could be compared");
        feed.send(snapshot(2, Some(1_000))).unwrap();
        tokio::time::sleep(EVERY * 3 + LEAST_AGE).await;
        assert_eq!(history.reach(), Some(EVERY * 3 + LEAST_AGE));
        assert_eq!(history.0.lock().len(), 4);
    }

    /// What is sent to it.
    struct Script(tokio::sync::mpsc::UnboundedReceiver<Event>);

    impl Subscription for Script {
        type Error = std::convert::Infallible;

        async fn next(&mut self) -> Result<Event, Self::Error> {
            match self.0.recv().await {
                Some(event) => Ok(event),
                None => std::future::pending().await,
            }
        }

        async fn resync(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn snapshot(seq: u64, as_of_ms: Option<i64>) -> Event {
        let status = MetricsStatus { as_of_ms, ..MetricsStatus::default() };
        Event::Snapshot(Snapshot {
            position: Position { epoch: 1, seq },
            as_of_ms: 1_000,
            graph: Arc::default(),
            metrics: Arc::new(Metrics::new(status, Vec::new())),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_young_is_not_held_against_the_present() {
        let history = History::default();
        history.take(&mk_view());
        assert!(history.ago(Duration::from_secs(60)).is_none());
        tokio::time::advance(LEAST_AGE).await;
        assert!(history.ago(Duration::from_secs(60)).is_some());
    }
}
