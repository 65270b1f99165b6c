use super::*;
use linkerd_mcp_graph::{
    delta::diff,
    fact::Labels,
    model::{Graph, Namespace, Workload},
};
use prometheus_client::registry::Registry;
use std::collections::VecDeque;

/// Gives its events and then nothing any more.
struct Script {
    events: VecDeque<Result<Event, Broken>>,
    resyncs: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("broken by the test")]
struct Broken;

impl Subscription for &mut Script {
    type Error = Broken;

    async fn next(&mut self) -> Result<Event, Broken> {
        match self.events.pop_front() {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Broken> {
        self.resyncs += 1;
        Ok(())
    }
}

const fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch, seq }
}

fn mk_graph(pods: u32) -> Arc<Graph> {
    let mut graph = Graph::default();
    graph.namespaces.insert("shop".into(), Arc::new(Namespace::default()));
    let workload = Workload { pods, labels: Labels::default(), ..Workload::default() };
    graph.workloads.insert("shop/deployment/web".parse().unwrap(), Arc::new(workload));
    Arc::new(graph)
}

fn snapshot(position: Position, pods: u32) -> Result<Event, Broken> {
    let (graph, metrics) = (mk_graph(pods), Arc::default());
    Ok(Event::Snapshot(Snapshot { position, as_of_ms: 1_000, graph, metrics }))
}

fn delta(position: Position, from: u32, to: u32) -> Result<Event, Broken> {
    let delta = Arc::new(diff(&mk_graph(from), &mk_graph(to)));
    Ok(Event::Delta { position, as_of_ms: 2_000, delta })
}

fn misfit(position: Position) -> Result<Event, Broken> {
    let mut delta = Delta::default();
    delta.workloads.removed.push("shop/deployment/nobody".parse().unwrap());
    Ok(Event::Delta { position, as_of_ms: 2_000, delta: Arc::new(delta) })
}

/// Where the replica is after the script, how many pods it then knows, and how often it asked for a snapshot.
async fn after(events: impl IntoIterator<Item = Result<Event, Broken>>) -> (Position, u32, usize) {
    let (replica, resyncs) = replay(events).await;
    let view = replica.view().unwrap();
    (view.position, view.graph.workloads["shop/deployment/web"].pods, resyncs)
}

async fn replay(events: impl IntoIterator<Item = Result<Event, Broken>>) -> (Replica, usize) {
    let metrics = ApiMetrics::register(&mut Registry::default());
    let replica = Replica::new(RingLimits::default(), metrics);
    let mut script = Script { events: events.into_iter().collect(), resyncs: 0 };
    // The clock is paused: the time runs out once the script has.
    let over = tokio::time::timeout(Duration::from_secs(3600), replica.follow(&mut script)).await;
    assert!(over.is_err() && script.events.is_empty());
    (replica, script.resyncs)
}

#[tokio::test(start_paused = true)]
async fn changes_lead_from_the_snapshot_to_the_present() {
    let events = [snapshot(at(7, 4), 1), delta(at(7, 5), 1, 2), delta(at(7, 6), 2, 3)];
    assert_eq!(after(events).await, (at(7, 6), 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_came_twice_or_late_or_from_an_old_leader_changes_nothing() {
    let late = [delta(at(7, 5), 1, 2), delta(at(7, 4), 5, 1), delta(at(6, 99), 1, 9)];
    let events = [snapshot(at(7, 4), 1), delta(at(7, 5), 1, 2)].into_iter().chain(late);
    assert_eq!(after(events).await, (at(7, 5), 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_gap_a_misfit_and_a_leader_that_is_ahead_each_ask_for_a_snapshot() {
    let gap = [snapshot(at(7, 4), 1), delta(at(7, 6), 2, 3)];
    assert_eq!(after(gap).await, (at(7, 4), 1, 1));
    assert_eq!(after([snapshot(at(7, 4), 1), misfit(at(7, 5))]).await, (at(7, 4), 1, 1));
    let ahead = Ok(Event::Heartbeat { position: at(7, 5), as_of_ms: 3_000 });
    assert_eq!(after([snapshot(at(7, 4), 1), ahead]).await, (at(7, 4), 1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_snapshot_is_asked_for_however_many_changes_do_not_fit() {
    let burst = (6..100).map(|seq| delta(at(7, seq), 1, 2));
    let events = std::iter::once(snapshot(at(7, 4), 1)).chain(burst).chain([snapshot(at(7, 99), 8)]);
    assert_eq!(after(events).await, (at(7, 99), 8, 1));
}

#[tokio::test(start_paused = true)]
async fn a_broken_feed_is_tried_again_after_growing_pauses_and_its_age_is_told() {
    let started = Instant::now();
    let failures = (0..3).map(|_| Err(Broken));
    let events: Vec<_> = std::iter::once(snapshot(at(7, 4), 1)).chain(failures).collect();
    let (replica, _) = replay(events).await;
    let view = replica.view().unwrap();
    let feed = replica.freshness(&view).feed.unwrap();
    let age = u64::try_from(started.elapsed().as_millis()).unwrap();
    assert_eq!((feed.connected, feed.age_ms), (false, age));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_the_graph_fresh() {
    let alive = Ok(Event::Heartbeat { position: at(7, 4), as_of_ms: 9_000 });
    let (replica, _) = replay([snapshot(at(7, 4), 1), alive]).await;
    let view = replica.view().unwrap();
    assert_eq!(view.revision, 1, "nothing is encoded or sent for it");
    assert_eq!(replica.freshness(&view).as_of, Some(crate::encode::timestamp(9_000)));
}
