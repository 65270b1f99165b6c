//! WatchMeshGraph.

use crate::{
    fixture::{self, CART_TO_DB, PLAIN_TO_WEB, WEB_TO_CART, at},
    rig::{Rig, config, until, within},
};
use linkerd_mcp_api::{Config, metrics::Encoded, replica::RingLimits};
use linkerd_mcp_graph::{
    feed::{Event as FeedEvent, Snapshot},
    id::ObjectId,
    kind::Kind,
    model::{Graph, Policy},
};
use linkerd_mcp_proto::v1::{
    Delta, GetMeshGraphRequest, MetricFrame, Position, Resync, WatchMeshGraphRequest, WatchMeshGraphResponse,
    mesh_context_client::MeshContextClient, watch_mesh_graph_response::Event,
};
use std::{sync::Arc, time::Duration};
use tonic::{Code, Streaming, transport::Endpoint};

type Watch = Streaming<WatchMeshGraphResponse>;

async fn watch(rig: &Rig, resume_from: Option<Position>, namespace: &str) -> Watch {
    let request = WatchMeshGraphRequest { resume_from, namespace: namespace.into() };
    rig.client().await.watch_mesh_graph(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Watch) -> Event {
    within(watch.message()).await.unwrap().unwrap().event.unwrap()
}

fn position(seq: u64) -> Option<Position> {
    Some(Position { epoch: 7, seq })
}

/// What the tests look at in an event.
fn gist(event: &Event) -> String {
    match event {
        Event::Snapshot(it) => {
            format!(
                "snapshot {} of {} edges",
                it.position.unwrap().seq,
                it.graph.as_ref().unwrap().edges.len()
            )
        }
        Event::Delta(it) => {
            let put: Vec<_> = it.edges.iter().map(|edge| edge.id.as_str()).collect();
            format!("delta {} +{put:?} -{:?}", it.position.unwrap().seq, it.removed_edges)
        }
        Event::Metrics(MetricFrame { position, edges, .. }) => {
            let rps: Vec<_> = edges.iter().filter_map(|it| it.metrics.as_ref()?.rps).collect();
            format!("numbers at {} rps {rps:?}", position.unwrap().seq)
        }
        Event::Resync(Resync { reason }) => format!("resync: {reason}"),
        Event::Bookmark(it) => format!("bookmark {}", it.position.unwrap().seq),
    }
}

/// Removes or puts back the edge to the database.
fn without_db(graph: &mut Graph) {
    graph.edges.remove(CART_TO_DB);
}

fn with_db(graph: &mut Graph) {
    fixture::edge(graph, CART_TO_DB, |_| {});
}

#[tokio::test]
async fn a_fresh_watch_gets_a_snapshot_then_changes_and_numbers_as_they_happen() {
    let rig = Rig::ready(config()).await;
    let mut graph = fixture::graph();
    let mut watch = watch(&rig, None, "").await;
    let Event::Snapshot(snapshot) = next(&mut watch).await else { panic!("a snapshot comes first") };
    let asked = rig.client().await.get_mesh_graph(GetMeshGraphRequest::default()).await.unwrap();
    let (mut seen, mut asked) = (snapshot.graph.unwrap(), asked.into_inner().graph.unwrap());
    (seen.freshness, asked.freshness) = (None, None);
    assert_eq!(seen, asked, "the snapshot is the graph");

    rig.send(fixture::delta(&mut graph, 2, without_db)).await;
    let Event::Delta(delta) = next(&mut watch).await else { panic!("a change is a delta") };
    let freshness = delta.freshness.clone().unwrap();
    assert_eq!(freshness.feed.unwrap().position, position(2));
    let wanted = Delta {
        position: position(2),
        removed_edges: vec![CART_TO_DB.into()],
        freshness: delta.freshness.clone(),
        ..Delta::default()
    };
    assert_eq!(delta, wanted);

    rig.send(fixture::delta(&mut graph, 3, with_db)).await;
    assert_eq!(gist(&next(&mut watch).await), format!("delta 3 +[{CART_TO_DB:?}] -[]"));
    rig.send(fixture::numbers(3, 77.0)).await;
    assert_eq!(gist(&next(&mut watch).await), "numbers at 3 rps [77.0, 1.0]");
}

#[tokio::test]
async fn a_watch_resumes_with_the_changes_it_missed() {
    let rig = Rig::ready(config()).await;
    let mut graph = fixture::graph();
    rig.send(fixture::delta(&mut graph, 2, without_db)).await;
    rig.send(fixture::delta(&mut graph, 3, with_db)).await;
    let mut resumed = watch(&rig, position(2), "").await;
    assert_eq!(gist(&next(&mut resumed).await), format!("delta 3 +[{CART_TO_DB:?}] -[]"));
    assert_eq!(gist(&next(&mut resumed).await), "numbers at 3 rps [12.5, 1.0]");
    let mut current = watch(&rig, position(3), "").await;
    assert_eq!(gist(&next(&mut current).await), "numbers at 3 rps [12.5, 1.0]", "nothing was missed");
}

#[tokio::test]
async fn a_watch_that_cannot_resume_is_told_so_and_gets_a_snapshot() {
    let rig = Rig::ready(config()).await;
    for elsewhere in [position(9), position(0), Some(Position { epoch: 6, seq: 1 })] {
        let mut watch = watch(&rig, elsewhere, "").await;
        let told = gist(&next(&mut watch).await);
        assert!(told.starts_with("resync: this replica does not have the changes after"), "{told}");
        assert_eq!(gist(&next(&mut watch).await), "snapshot 1 of 4 edges");
    }
}

#[tokio::test]
async fn a_change_is_encoded_once_for_all_watchers() {
    let rig = Rig::ready(config()).await;
    let mut graph = fixture::graph();
    let mut watches = Vec::new();
    for _ in 0..20 {
        let mut watch = watch(&rig, None, "").await;
        next(&mut watch).await;
        watches.push(watch);
    }
    rig.send(fixture::delta(&mut graph, 2, without_db)).await;
    for watch in &mut watches {
        assert_eq!(gist(&next(watch).await), format!("delta 2 +[] -[{CART_TO_DB:?}]"));
    }
    rig.send(fixture::numbers(2, 3.0)).await;
    for watch in &mut watches {
        assert_eq!(gist(&next(watch).await), "numbers at 2 rps [3.0, 1.0]");
    }
    let encodes = [Encoded::GraphProtobuf, Encoded::Delta, Encoded::MetricFrame];
    assert_eq!(encodes.map(|what| rig.metrics.encodes(what)), [1, 1, 1]);
}

#[tokio::test]
async fn a_watch_of_a_namespace_hears_of_nothing_else() {
    let rig = Rig::ready(config()).await;
    let mut graph = fixture::graph();
    let mut watch = watch(&rig, None, "data").await;
    assert_eq!(gist(&next(&mut watch).await), "snapshot 1 of 1 edges");
    let elsewhere = |graph: &mut Graph| {
        graph.edges.remove(PLAIN_TO_WEB);
    };
    rig.send(fixture::delta(&mut graph, 2, elsewhere)).await;
    rig.send(fixture::delta(&mut graph, 3, without_db)).await;
    assert_eq!(gist(&next(&mut watch).await), format!("delta 3 +[] -[{CART_TO_DB:?}]"));
    rig.send(fixture::delta(&mut graph, 4, with_db)).await;
    assert_eq!(gist(&next(&mut watch).await), format!("delta 4 +[{CART_TO_DB:?}] -[]"));
    rig.send(fixture::numbers(4, 5.0)).await;
    let Event::Metrics(frame) = next(&mut watch).await else { panic!("numbers come next") };
    let ids: Vec<_> = frame.edges.iter().map(|it| it.edge_id.as_str()).collect();
    assert_eq!(ids, [CART_TO_DB]);
}

#[tokio::test]
async fn an_idle_watch_hears_how_fresh_its_graph_is() {
    let rig = Rig::ready(Config { bookmarks: Duration::from_millis(20), ..config() }).await;
    let mut watch = watch(&rig, None, "").await;
    next(&mut watch).await;
    for _ in 0..2 {
        let Event::Bookmark(bookmark) = next(&mut watch).await else { panic!("nothing happened") };
        assert_eq!(bookmark.position, position(1));
        assert!(bookmark.freshness.unwrap().feed.unwrap().connected);
    }
}

/// A policy of 64 KiB: a few of them fill what a connection may have under way.
fn big_policy(graph: &mut Graph, mark: u64) {
    let policy = Policy {
        kind: Kind::AuthorizationPolicy,
        api_version: "policy.linkerd.io/v1alpha1".into(),
        created_ms: None,
        labels: Arc::default(),
        spec: Arc::new(serde_json::json!({"mark": mark, "fill": "x".repeat(64 << 10)})),
        status: Arc::default(),
    };
    graph.auth_policies.insert(ObjectId::new("shop", "big"), Arc::new(policy));
}

#[tokio::test]
async fn a_watch_that_is_read_too_slowly_is_told_so_and_goes_on_from_a_snapshot() {
    const CHANGES: u64 = 40;
    let ring = RingLimits { events: 4, bytes: 1 << 20 };
    let rig = Rig::ready(Config { ring, ..config() }).await;
    let endpoint = Endpoint::try_from(format!("http://{}", rig.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = MeshContextClient::new(endpoint.connect().await.unwrap());
    let request = WatchMeshGraphRequest::default();
    let mut watch = client.watch_mesh_graph(request).await.unwrap().into_inner();
    assert_eq!(gist(&next(&mut watch).await), "snapshot 1 of 4 edges");

    let mut graph = fixture::graph();
    for seq in 2..=CHANGES {
        rig.send(fixture::delta(&mut graph, seq, |graph| big_policy(graph, seq))).await;
    }
    let mut seen = Vec::new();
    loop {
        match next(&mut watch).await {
            Event::Delta(delta) => seen.push(delta.position.unwrap().seq),
            Event::Resync(Resync { reason }) => {
                assert!(reason.contains("faster than this watch was read"), "{reason}");
                break;
            }
            other => panic!("{}", gist(&other)),
        }
    }
    let expected: Vec<_> = (2..2 + seen.len() as u64).collect();
    assert_eq!(seen, expected, "what came before was complete");
    assert!(seen.len() < 30, "it was behind, yet it got {} of {CHANGES} changes", seen.len());
    assert_eq!(gist(&next(&mut watch).await), format!("snapshot {CHANGES} of 4 edges"));
}

#[tokio::test]
async fn watchers_start_over_when_the_replica_does() {
    let rig = Rig::ready(config()).await;
    let mut watch = watch(&rig, None, "").await;
    next(&mut watch).await;
    let mut graph = fixture::graph();
    without_db(&mut graph);
    let position = linkerd_mcp_graph::feed::Position { epoch: 8, seq: 0 };
    rig.send(FeedEvent::Snapshot(Snapshot { position, graph: Arc::new(graph), ..fixture::snapshot() })).await;
    let told = gist(&next(&mut watch).await);
    assert!(told.starts_with("resync: the leader changed"), "{told}");
    assert_eq!(gist(&next(&mut watch).await), "snapshot 0 of 3 edges");
}

#[tokio::test]
async fn the_same_snapshot_again_disturbs_no_watcher() {
    let rig = Rig::ready(config()).await;
    let mut watch = watch(&rig, None, "").await;
    next(&mut watch).await;
    let metrics = Arc::new(fixture::metrics_with_rps(4.0));
    rig.send(FeedEvent::Snapshot(Snapshot { metrics, ..fixture::snapshot() })).await;
    assert_eq!(gist(&next(&mut watch).await), "numbers at 1 rps [4.0, 1.0]");
}

#[tokio::test]
async fn a_missing_change_is_never_skipped_over() {
    let rig = Rig::ready(config()).await;
    let mut graph = fixture::graph();
    let lost = fixture::delta(&mut graph, 2, without_db);
    drop(lost);
    let after = fixture::delta(&mut graph, 3, |graph| {
        graph.edges.remove(WEB_TO_CART);
    });
    rig.feed.send(Ok(after)).unwrap();
    until(|| rig.resyncs() == 1).await;
    let view = rig.replica.view().unwrap();
    assert_eq!((view.position, view.graph.edges.len()), (at(1), 4), "the old graph is still whole");
    rig.send(FeedEvent::Snapshot(Snapshot {
        position: at(3),
        graph: Arc::new(graph.clone()),
        ..fixture::snapshot()
    }))
    .await;
    assert_eq!(*rig.replica.view().unwrap().graph, graph);
}

#[tokio::test]
async fn a_watcher_is_told_when_the_process_goes_away() {
    let mut rig = Rig::ready(config()).await;
    let mut watch = watch(&rig, None, "").await;
    next(&mut watch).await;
    rig.stop.take().unwrap().send(()).unwrap();
    let status = within(watch.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("resumes from position 7/1"), "{}", status.message());
    within(&mut rig.served).await.unwrap().unwrap();
}
