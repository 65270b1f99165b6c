//! A replica with three kinds of pods: in the mesh, outside of it, and outside of the cluster.

use super::*;
use crate::{
    graph::{
        fact::{ContainerPort, Labels},
        feed::{Event, Position, Snapshot, Subscription},
        kind::Kind,
        model::{Policy, Workload},
        policy::PolicyCluster,
        status::{TopologyStatus, WatchState},
    },
    metrics::ApiMetrics,
    replica::RingLimits,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// Gives one snapshot, breaks when it is told to, and gives nothing any more.
struct Once {
    snapshot: Option<Snapshot>,
    breaks: Option<oneshot::Receiver<()>>,
}

#[derive(Debug, thiserror::Error)]
#[error("broken by the test")]
struct Broken;

impl Subscription for Once {
    type Error = Broken;

    async fn next(&mut self) -> Result<Event, Broken> {
        match (self.snapshot.take(), self.breaks.take()) {
            (Some(snapshot), breaks) => {
                self.breaks = breaks;
                Ok(Event::Snapshot(snapshot))
            }
            (None, Some(breaks)) => {
                let _ = breaks.await;
                Err(Broken)
            }
            (None, None) => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Arc::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

fn mk_template(first: &str, meshed: bool, port: u16) -> Template {
    let mesh: &[_] = if meshed { &[("linkerd.io/control-plane-ns", "linkerd"), ("app", "web")] } else { &[] };
    let ports = [ContainerPort { port, name: "http".into(), protocol: "TCP".into() }];
    let (labels, ports) = (labels(mesh), ports.into());
    Template { first: first.into(), count: 1, labels, ports, proxy: meshed, ..Template::default() }
}

fn mk_graph() -> Graph {
    let mut graph = Graph::default();
    let external = Template { external: true, ..mk_template("vm", false, 9090) };
    for (kind, name, template) in [
        ("deployment", "web", mk_template("web-1", true, 8080)),
        ("deployment", "old", mk_template("old-1", false, 8080)),
        ("externalworkload", "vm", external),
    ] {
        let workload = Workload { pods: 1, templates: vec![template], ..Workload::default() };
        graph.workloads.insert(WorkloadId::new("shop", kind, name), Arc::new(workload));
    }
    let server = Policy {
        kind: Kind::Server,
        api_version: "policy.linkerd.io/v1beta3".into(),
        created_ms: Some(1),
        labels: labels(&[]),
        spec: Arc::new(json!({ "podSelector": { "matchLabels": { "app": "web" } }, "port": 8080 })),
        status: Arc::default(),
    };
    graph.policies.insert("server/shop/web".parse().unwrap(), Arc::new(server));
    graph.status = Arc::new(TopologyStatus { kinds: [(Kind::Pod, WatchState::Synced)].into() });
    graph.cluster = Some(Arc::new(PolicyCluster::default()));
    graph
}

/// A replica that has this graph, and what breaks its feed.
async fn fed(graph: Graph) -> (Replica, oneshot::Sender<()>) {
    let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    let position = Position { epoch: 1, seq: 1 };
    let snapshot = Snapshot { position, as_of_ms: 1, graph: Arc::new(graph), metrics: Arc::default() };
    let mut ticks = replica.ticks();
    let follower = replica.clone();
    let (breaker, breaks) = oneshot::channel();
    let feed = Once { snapshot: Some(snapshot), breaks: Some(breaks) };
    tokio::spawn(async move { follower.follow(feed).await });
    ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    (replica, breaker)
}

fn pod(name: &str) -> WorkloadKey {
    WorkloadKey::Pod(Key::new("shop", name))
}

#[tokio::test]
async fn ports_of_what_is_in_the_mesh_are_sampled_with_the_server_that_decides() {
    let (replica, _feed) = fed(mk_graph()).await;
    let sampled = replica.sample(10).await;
    let vm = WorkloadKey::ExternalWorkload(Key::new("shop", "vm"));
    let all: BTreeSet<_> = sampled.iter().map(|(workload, _, _)| workload.clone()).collect();
    assert_eq!(all, [pod("web-1"), vm].into());
    for (workload, port, server) in sampled {
        let expected = match (workload, port) {
            (WorkloadKey::Pod(_), 8080) => "web",
            // The number in the Server is a port that something is said about, of this workload too.
            (WorkloadKey::ExternalWorkload(_), 8080 | 9090) => "all-unauthenticated",
            other => panic!("{other:?}"),
        };
        assert_eq!(&*server.labels.name, expected);
    }
    assert_eq!(replica.sample(1).await.len(), 1);
}

#[tokio::test]
async fn one_port_is_resolved_as_of_now_and_nothing_is_said_of_pods_that_are_not_known_by_name() {
    let (replica, _feed) = fed(mk_graph()).await;
    let server = replica.resolve(&pod("web-1"), 8080).await.unwrap();
    assert_eq!(server.server().map(|server| &*server.labels.name), Some("web"));
    assert_eq!(replica.resolve(&pod("old-1"), 8080).await, Some(Answer::NotFound));
    assert_eq!(replica.resolve(&pod("web-2"), 8080).await, None);
    assert_eq!(replica.resolve(&pod("vm"), 9090).await, None, "an ExternalWorkload is no pod");
}

#[tokio::test]
async fn a_graph_that_may_lack_policies_is_held_against_nothing() {
    let mut failing = mk_graph();
    let state = WatchState::Failing { detail: "forbidden".into() };
    failing.status = Arc::new(TopologyStatus { kinds: [(Kind::Server, state)].into() });
    let settings_unknown = Graph { cluster: None, ..mk_graph() };
    for graph in [failing, settings_unknown] {
        let (replica, _feed) = fed(graph).await;
        assert_eq!(replica.sample(10).await, []);
        assert_eq!(replica.resolve(&pod("web-1"), 8080).await, None);
    }
    let unfed = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    assert_eq!(unfed.sample(10).await, []);
}

#[tokio::test]
async fn a_replica_that_lost_its_feed_is_held_against_nothing() {
    let (replica, feed) = fed(mk_graph()).await;
    assert_eq!(replica.sample(1).await.len(), 1);
    feed.send(()).unwrap();
    let lost = async {
        while !replica.sample(1).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), lost).await.unwrap();
    assert_eq!(replica.resolve(&pod("web-1"), 8080).await, None);
}
