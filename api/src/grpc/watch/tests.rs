//! Watches of callers with rights in some namespaces, and of callers whose rights change.

use crate::{
    authorization::Authorization,
    caller::{Principal, Proof},
    change::{self, Changes, metrics::ChangeMetrics},
    grpc::MeshContext,
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
    rights::{Rights, Verdict},
};
use bytes::{Buf as _, Bytes};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use linkerd_mcp_graph::{
    delta,
    feed::{Event, Position, Snapshot, Subscription},
    id::ServiceId,
    model::{Graph, Namespace, Service},
};
use linkerd_mcp_proto::v1::{WatchMeshGraphResponse, watch_mesh_graph_response::Event as Message};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message as _;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};
use tonic::body::Body;
use tower::Service as _;

struct Script(mpsc::UnboundedReceiver<Event>);

impl Subscription for Script {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Event, Infallible> {
        match self.0.recv().await {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A mesh that changes, and one watcher whose rights are what `namespaces` says.
struct Rig {
    graph: Graph,
    seq: u64,
    feed: mpsc::UnboundedSender<Event>,
    replica: Replica,
    namespaces: Arc<Mutex<Verdicts>>,
    body: Body,
}

/// In which namespaces there is the right, or that nobody can say.
#[derive(Clone)]
enum Verdicts {
    In(Vec<&'static str>),
    Undecided,
}

fn put(graph: &mut Graph, namespace: &str, name: &str) {
    graph.namespaces.insert(namespace.into(), Arc::new(Namespace::default()));
    graph.services.insert(ServiceId::new(namespace, name), Arc::new(Service::default()));
}

impl Rig {
    async fn new() -> Self {
        let mut graph = Graph::default();
        put(&mut graph, "shop", "web");
        put(&mut graph, "data", "db");
        let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
        let (feed, events) = mpsc::unbounded_channel();
        let follower = replica.clone();
        tokio::spawn(async move { follower.follow(Script(events)).await });
        let first = Snapshot {
            position: Position { epoch: 1, seq: 1 },
            as_of_ms: 1,
            graph: Arc::new(graph.clone()),
            metrics: Arc::default(),
        };
        feed.send(Event::Snapshot(first)).unwrap();
        replica.ticks().wait_for(|tick| tick.revision > 0).await.unwrap();
        let namespaces = Arc::new(Mutex::new(Verdicts::In(vec!["shop"])));
        let now = namespaces.clone();
        let rights = Rights::decided_by(move |_, deed| {
            let verdict = match (&*now.lock(), deed.namespace.as_deref()) {
                (Verdicts::Undecided, _) => Verdict::Undecided("down".to_owned()),
                (Verdicts::In(namespaces), Some(it)) if namespaces.contains(&it) => Verdict::Allowed,
                (Verdicts::In(_), _) => Verdict::Denied,
            };
            Box::pin(std::future::ready(verdict))
        });
        let mut service = MeshContext {
            replica: replica.clone(),
            authorization: Authorization::new(rights),
            metrics: ApiMetrics::register(&mut Registry::default()),
            linkerd: None,
            changes: Changes::new(change::Options::default(), replica.clone(), ChangeMetrics::default())
                .unwrap(),
            bookmarks: Duration::from_secs(5),
            max_watchers: 1,
            places: Arc::new(Semaphore::new(1)),
        };
        let mut request = Request::post("/mcp.v1.MeshContext/WatchMeshGraph")
            .header("content-type", "application/grpc")
            .body(Body::new(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0]))))
            .unwrap();
        request.extensions_mut().insert(Principal::service_account("shop", "web", "web", Proof::Token));
        let body = service.call(request).await.unwrap().into_body();
        Self { graph, seq: 1, feed, replica, namespaces, body }
    }

    async fn change(&mut self, change: impl FnOnce(&mut Graph)) {
        let mut graph = self.graph.clone();
        change(&mut graph);
        self.seq += 1;
        let (position, delta) = (Position { epoch: 1, seq: self.seq }, delta::diff(&self.graph, &graph));
        self.feed.send(Event::Delta { position, as_of_ms: 1, delta: Arc::new(delta) }).unwrap();
        self.graph = graph;
        let mut ticks = self.replica.ticks();
        ticks.wait_for(|_| self.replica.view().is_some_and(|view| view.position == position)).await.unwrap();
    }

    /// The next message in a few words, or the status that ends the watch. What says nothing new is passed over.
    async fn next(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            let frame = match self.body.frame().await {
                Some(frame) => frame.unwrap(),
                None => return "end".to_owned(),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return format!("status {:?}", frame.trailers_ref().unwrap()["grpc-status"]),
            };
            bytes.extend_from_slice(&data);
            let mut head = &bytes[..];
            if bytes.len() < 5
                || bytes.len()
                    < 5 + {
                        head.advance(1);
                        head.get_u32() as usize
                    }
            {
                continue;
            }
            let message = WatchMeshGraphResponse::decode(&bytes[5..]).unwrap();
            bytes.clear();
            let names = |services: &[linkerd_mcp_proto::v1::Service]| {
                services
                    .iter()
                    .map(|it| format!("{}/{}", it.namespace, it.name))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            match message.event.unwrap() {
                Message::Snapshot(it) => {
                    let graph = it.graph.unwrap();
                    let limited = graph.freshness.unwrap().limited_to.join(",");
                    return format!("snapshot of {limited}: {}", names(&graph.services));
                }
                Message::Delta(it) => {
                    let seq = it.position.unwrap().seq;
                    return format!("{seq}: +{} -{}", names(&it.services), it.removed_services.join(","));
                }
                Message::Resync(_) => return "resync".to_owned(),
                Message::Metrics(_) | Message::Bookmark(_) => {}
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_some_namespaces_has_their_changes_and_no_others() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.next().await, "snapshot of shop: shop/web");
    rig.change(|graph| put(graph, "data", "cache")).await;
    rig.change(|graph| put(graph, "shop", "cart")).await;
    // The change elsewhere is not to be seen, not even as an empty one.
    assert_eq!(rig.next().await, "3: +shop/cart -");
    rig.change(|graph| _ = graph.services.remove("shop/web")).await;
    assert_eq!(rig.next().await, "4: + -shop/web");
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_its_callers_rights_and_ends_with_them() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.next().await, "snapshot of shop: shop/web");
    *rig.namespaces.lock() = Verdicts::In(vec!["data", "shop"]);
    assert_eq!(rig.next().await, "resync");
    assert_eq!(rig.next().await, "snapshot of data,shop: data/db,shop/web");
    *rig.namespaces.lock() = Verdicts::In(vec![]);
    assert_eq!(rig.next().await, r#"status "7""#);
    assert_eq!(rig.next().await, "end");
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_a_short_silence_of_the_judge_and_no_long_one() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.next().await, "snapshot of shop: shop/web");
    let began = tokio::time::Instant::now();
    *rig.namespaces.lock() = Verdicts::Undecided;
    assert_eq!(rig.next().await, r#"status "14""#);
    let lasted = began.elapsed();
    assert!(lasted >= super::TRUST && lasted < super::TRUST * 2, "{lasted:?}");
}
