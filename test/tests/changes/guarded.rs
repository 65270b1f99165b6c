//! A guard undoes its change when calls suffer, and only then. The cluster is real; the numbers are made up.

use super::bench::{Bench, LIMIT, approval};
use linkerd_mcp_api::{
    change::{Changes, Keep, Options, Refusal, metrics::ChangeMetrics},
    feed::memory::{MemoryPublisher, memory_feed},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
};
use linkerd_mcp_graph::{
    feed::Publisher as _,
    id::{Destination, EdgeId, Source, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, ObservedBy, Protocol, Tls},
    status::MetricsStatus,
};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::wait;
use linkerd_mcp_test::web::THREE;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The namespace with calls from `web` to itself, and numbers as the test wants them.
pub(crate) struct Watched {
    pub(crate) bench: Bench,
    replica: Replica,
    publisher: MemoryPublisher,
    graph: Arc<Graph>,
    edge: EdgeId,
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

impl Watched {
    pub(crate) async fn new(name: &str) -> Self {
        let bench = Bench::new(name).await;
        let mut graph = Graph::clone(&bench.replica.view().unwrap().graph);
        let web: WorkloadId = format!("{}/pod/web", bench.namespace).parse().unwrap();
        let (src, dst) = (Source::Workload(web.clone()), Destination::Workload(web.clone(), Some(8080)));
        let edge = EdgeId::new(&src, &dst);
        let identity = format!("web.{}.serviceaccount.identity.linkerd.cluster.local", bench.namespace);
        let calls = Edge {
            src,
            dst,
            protocol: Protocol::Http,
            tls: Tls::Mutual,
            client_identity: Some(identity.into()),
            server_identities: Vec::new(),
            workloads: vec![web],
            backends: Vec::new(),
            observed_by: ObservedBy::Client,
            candidates: Vec::new(),
            target_cluster: None,
        };
        graph.edges.insert(edge.clone(), Arc::new(calls));
        let (mut publisher, feed) = memory_feed(1);
        let graph = Arc::new(graph);
        let metrics = Arc::new(Self::metrics(&edge, 0.0, false));
        publisher.snapshot(now_ms(), graph.clone(), metrics).await.unwrap();
        let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
        let follower = replica.clone();
        tokio::spawn(async move { follower.follow(feed.subscribe()).await });
        replica.ticks().wait_for(|tick| tick.revision > 0).await.unwrap();
        Self { bench, replica, publisher, graph, edge }
    }

    fn metrics(edge: &EdgeId, denied: f64, stale: bool) -> Metrics {
        let status = MetricsStatus {
            stale,
            reason: if stale { "Prometheus is away".to_owned() } else { String::new() },
            as_of_ms: Some(now_ms()),
            ..MetricsStatus::default()
        };
        let numbers = EdgeMetrics {
            rps: Some(10.0),
            success_rate: Some(1.0 - denied / 10.0),
            denied: Some(denied),
            ..EdgeMetrics::default()
        };
        Metrics::new(status, vec![(edge.clone(), numbers)])
    }

    /// New numbers come.
    async fn publish(&mut self, denied: f64, stale: bool) {
        let metrics = Arc::new(Self::metrics(&self.edge, denied, stale));
        self.publisher.metrics(&self.graph, metrics).await.unwrap();
    }

    /// A replica that watches.
    pub(crate) fn changes(&self, options: impl FnOnce(Options) -> Options) -> Changes {
        let options = self.bench.options(options);
        Changes::new(options, self.replica.clone(), ChangeMetrics::default()).unwrap()
    }

    async fn applied(&self, changes: &Changes) -> v1::ApplyPlanResponse {
        let editor = self.bench.who("editor");
        let plan = changes.plan(&editor, self.bench.request(THREE)).await.unwrap();
        let guard = v1::Guard { seconds: 3_600, denied_rps: Some(2.0), success_rate: None };
        let asked = v1::ApplyPlanRequest { guard: Some(guard), ..approval(&plan) };
        let applied = changes.apply(&editor, asked).await.unwrap();
        assert!(applied.accepted && applied.guarded_until.is_some(), "{applied:#?}");
        applied
    }

    /// Waits until a whole look of the guard has begun and ended: it renews its lease at each.
    async fn until_looked(&self, id: &str) {
        let mut last: i64 = i64::MAX;
        let mut renewed = 0;
        for _ in 0..2_400 {
            let left: i64 = self.bench.redis.run(&format!("PTTL mcp:guard:{id}")).await.unwrap();
            renewed += u32::from(left > last);
            last = left;
            if renewed == 3 {
                return;
            }
            tokio::time::sleep(wait::EVERY).await;
        }
        panic!("the guard does not look");
    }

    async fn until_reverted(&self, id: &str) -> v1::Change {
        let reverted = wait::until("the guard has undone it", LIMIT, async || {
            let change = self.bench.change(id).await;
            (change.outcome == "guard_reverted").then_some(change)
        });
        reverted.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_undoes_its_change_when_calls_are_denied_and_not_before() {
    let mut watched = Watched::new("guarded").await;
    let changes = watched.changes(|it| it);
    let applied = watched.applied(&changes).await;
    let guard = tokio::spawn(changes.clone().guard());
    let key = "mcp:guards".to_owned();
    // The control: fewer denials than allowed, and more of them in numbers that are stale.
    watched.publish(1.9, false).await;
    watched.publish(9.0, true).await;
    let stale = wait::until("the stale numbers are in", LIMIT, async || {
        watched.replica.view()?.metrics.status.stale.then_some(())
    });
    stale.await.unwrap();
    watched.until_looked(&applied.change_id).await;
    let before = watched.bench.change(&applied.change_id).await;
    assert_eq!(before.outcome, "applied");
    assert!(watched.bench.server("web").await.is_some());

    watched.publish(2.1, false).await;
    let change = watched.until_reverted(&applied.change_id).await;
    assert!(watched.bench.server("web").await.is_none(), "what it made is gone");
    let rollback = watched.bench.change(&change.undone_by).await;
    assert_eq!((rollback.by.as_str(), rollback.outcome.as_str()), ("linkerd-mcp guard", "applied"));
    assert!(rollback.reason.contains("2.10 calls per second are denied"), "{}", rollback.reason);
    let left: Vec<String> = watched.bench.redis.run(&format!("HKEYS {key}")).await.unwrap();
    assert!(!left.contains(&applied.change_id), "it is watched no longer");
    guard.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_the_guard_of_one_that_died() {
    let mut watched = Watched::new("orphaned").await;
    let first = watched.changes(|it| it);
    let applied = watched.applied(&first).await;
    let guard = tokio::spawn(first.guard());
    watched.until_looked(&applied.change_id).await;
    // The one that applied dies. While its lease lasts nobody else acts: the control.
    guard.abort();
    assert!(guard.await.unwrap_err().is_cancelled());
    watched.publish(9.0, false).await;
    let second = watched.changes(|options| Options { instance: "second".to_owned(), ..options });
    let guard = tokio::spawn(second.guard());
    let lease = format!("mcp:guard:{}", applied.change_id);
    let holder: String = watched.bench.redis.run(&format!("GET {lease}")).await.unwrap();
    assert_ne!(holder, "second");
    assert_eq!(watched.bench.change(&applied.change_id).await.outcome, "applied");
    // As if 15 s had gone by.
    watched.bench.redis.run::<()>(&format!("DEL {lease}")).await.unwrap();
    watched.until_reverted(&applied.change_id).await;
    guard.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_numbers_a_guard_is_refused_before_the_plan_is_used_up() {
    let mut watched = Watched::new("blind").await;
    let changes = watched.changes(|options| Options { keep: Keep::Memory, ..options });
    let editor = watched.bench.who("editor");
    let plan = changes.plan(&editor, watched.bench.request(THREE)).await.unwrap();
    watched.publish(0.0, true).await;
    let stale = wait::until("the numbers are stale", LIMIT, async || {
        watched.replica.view()?.metrics.status.stale.then_some(())
    });
    stale.await.unwrap();
    let guard = v1::Guard { seconds: 60, denied_rps: None, success_rate: None };
    let asked = v1::ApplyPlanRequest { guard: Some(guard), ..approval(&plan) };
    let refused = changes.apply(&editor, asked.clone()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Blind(_)), "{refused}");
    assert!(refused.to_string().contains("Prometheus is away"), "{refused}");
    watched.publish(0.0, false).await;
    let fresh = wait::until("the numbers are back", LIMIT, async || {
        (!watched.replica.view()?.metrics.status.stale).then_some(())
    });
    fresh.await.unwrap();
    assert!(changes.apply(&editor, asked).await.unwrap().accepted);
}
