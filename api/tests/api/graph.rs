//! GetMeshGraph and GetCallGraph, and the same as JSON.

use crate::{
    fixture::{self, CART_TO_DB, PLAIN_TO_WEB, WEB_TO_CART},
    rig::{Rig, assert_golden, config, within},
};
use linkerd_mcp_api::metrics::Encoded;
use linkerd_mcp_proto::v1::{Direction, GetCallGraphRequest, GetMeshGraphRequest, MeshGraph, View};
use serde_json::Value;
use tonic::Code;

/// The age is measured; everything else is known.
fn ageless(mut graph: MeshGraph) -> MeshGraph {
    let feed = graph.freshness.as_mut().unwrap().feed.as_mut().unwrap();
    assert!(feed.age_ms < 20_000, "{}", feed.age_ms);
    feed.age_ms = 0;
    graph
}

fn ageless_json(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    assert!(value["freshness"]["feed"]["age_ms"].as_u64().unwrap() < 20_000);
    value["freshness"]["feed"]["age_ms"] = 0.into();
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

fn edge_ids(graph: &MeshGraph) -> Vec<&str> {
    graph.edges.iter().map(|edge| edge.id.as_str()).collect()
}

#[tokio::test]
async fn the_whole_graph_says_everything_there_is_to_know_in_both_formats() {
    let rig = Rig::ready(config()).await;
    let request = GetMeshGraphRequest::default();
    let graph = rig.client().await.get_mesh_graph(request).await.unwrap().into_inner().graph.unwrap();
    assert_golden("graph.grpc.txt", &format!("{:#?}\n", ageless(graph)));
    assert_golden("graph.json", &ageless_json(&rig.get("/v1/graph").await.text));
}

#[tokio::test]
async fn a_revision_is_encoded_once_however_often_it_is_asked_for() {
    let rig = Rig::ready(config()).await;
    let client = rig.client().await;
    let ask = async || {
        let calls = (0..100).map(|_| {
            let mut client = client.clone();
            async move { client.get_mesh_graph(GetMeshGraphRequest::default()).await.unwrap().into_inner() }
        });
        let mut answers: Vec<_> = within(futures::future::join_all(calls))
            .await
            .into_iter()
            .map(|it| ageless(it.graph.unwrap()))
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "all callers get the same");
        for _ in 0..10 {
            assert_eq!(rig.get("/v1/graph").await.status, 200);
        }
        [Encoded::GraphProtobuf, Encoded::GraphJson, Encoded::Part].map(|what| rig.metrics.encodes(what))
    };
    assert_eq!(ask().await, [1, 1, 0]);
    rig.send(fixture::numbers(1, 99.0)).await;
    assert_eq!(ask().await, [2, 2, 0]);
}

#[tokio::test]
async fn a_namespace_is_encoded_once_per_revision_too() {
    let rig = Rig::ready(config()).await;
    let mut client = rig.client().await;
    let mut ask = async || {
        let mut answers = Vec::new();
        for _ in 0..10 {
            let request = GetMeshGraphRequest { namespace: "shop".into(), ..GetMeshGraphRequest::default() };
            answers.push(ageless(client.get_mesh_graph(request).await.unwrap().into_inner().graph.unwrap()));
            assert_eq!(rig.get("/v1/graph?namespace=shop").await.status, 200);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "all callers get the same");
        let rps =
            answers[0].edges.iter().find(|edge| edge.id == WEB_TO_CART).unwrap().metrics.clone().unwrap().rps;
        (rps, rig.metrics.encodes(Encoded::Part))
    };
    let before = ask().await;
    assert_eq!(before.1, 2, "once in each format");
    rig.send(fixture::numbers(1, 99.0)).await;
    assert_eq!(ask().await, (Some(99.0), 4));
}

#[tokio::test]
async fn a_namespace_is_answered_with_its_nodes_and_the_edges_that_touch_it() {
    let rig = Rig::ready(config()).await;
    let request = GetMeshGraphRequest { namespace: "data".into(), ..GetMeshGraphRequest::default() };
    let graph = rig.client().await.get_mesh_graph(request).await.unwrap().into_inner().graph.unwrap();
    assert_eq!(edge_ids(&graph), [CART_TO_DB]);
    let ids = |ids: Vec<&String>| ids.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(ids(graph.services.iter().map(|it| &it.id).collect()), ["data/db"]);
    assert_eq!(ids(graph.workloads.iter().map(|it| &it.id).collect()), ["data/statefulset/db"]);
    assert_eq!(graph.policies, []);

    let idle = rig.get("/v1/graph?namespace=idle").await.json();
    assert_eq!((&idle["services"], &idle["edges"]), (&serde_json::json!({}), &serde_json::json!({})));
}

#[tokio::test]
async fn views_leave_out_specs_or_all_but_edges() {
    let rig = Rig::ready(config()).await;
    let mut client = rig.client().await;
    let mut ask = async |view: View| {
        let request = GetMeshGraphRequest { view: view.into(), ..GetMeshGraphRequest::default() };
        client.get_mesh_graph(request).await.unwrap().into_inner().graph.unwrap()
    };
    let full = ageless(ask(View::Unspecified).await);
    let mut summary = full.clone();
    summary.policies.iter_mut().for_each(|policy| policy.spec = None);
    assert_ne!(summary, full);
    assert_eq!(ageless(ask(View::Summary).await), summary);
    let edges = MeshGraph { edges: full.edges, freshness: full.freshness, ..MeshGraph::default() };
    assert_eq!(ageless(ask(View::Edges).await), edges);

    let summary = rig.get("/v1/graph?view=summary").await.json();
    assert_eq!(summary["authPolicies"]["shop/cart"].get("spec"), None);
    let edges = rig.get("/v1/graph?view=edges").await.json();
    assert_eq!(edges.as_object().unwrap().keys().collect::<Vec<_>>(), ["edges", "freshness"]);
}

#[tokio::test]
async fn from_and_to_keep_the_edges_of_a_node_and_what_they_touch() {
    let rig = Rig::ready(config()).await;
    let edges = async |query: &str| {
        let answer = rig.get(&format!("/v1/graph?{query}")).await.json();
        answer["edges"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(edges("from=shop/web").await, [WEB_TO_CART]);
    assert_eq!(edges("to=web&namespace=shop").await, [PLAIN_TO_WEB]);
    assert_eq!(edges("from=deploy/cart&to=data/db").await, [CART_TO_DB]);
    assert_eq!(edges("from=deploy/web&to=data/db").await, [""; 0]);
    let answer = rig.get("/v1/graph?from=deploy/web").await.json();
    assert_eq!(
        answer["policies"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["server/shop/cart"],
        "the policies that bear on what is called come along"
    );
}

#[tokio::test]
async fn a_call_graph_goes_as_deep_as_asked() {
    let rig = Rig::ready(config()).await;
    let ask = async |depth| {
        let request = GetCallGraphRequest {
            root: "shop/deploy/web".into(),
            depth,
            direction: Direction::Callees.into(),
        };
        let answer = rig.client().await.get_call_graph(request).await.unwrap().into_inner();
        let hops: Vec<_> = answer.edges.iter().map(|hop| (hop.edge_id.clone(), hop.depth)).collect();
        let graph = answer.graph.unwrap();
        let mut ids: Vec<_> = hops.iter().map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(edge_ids(&graph), ids, "the graph has the edges of the hops");
        (answer.root, answer.truncated, hops)
    };
    let (root, web) = ("shop/deployment/web".to_owned(), (WEB_TO_CART.to_owned(), 1));
    assert_eq!(ask(1).await, (root.clone(), false, vec![web.clone()]));
    assert_eq!(ask(0).await, (root.clone(), false, vec![web.clone()]), "0 means 1");
    let deeper = vec![web, (CART_TO_DB.to_owned(), 2), (fixture::CART_TO_BANK.to_owned(), 2)];
    assert_eq!(ask(16).await, (root, false, deeper));
    let json = rig.get("/v1/callgraph?root=shop/cart&depth=2").await.text;
    assert_golden("callgraph.json", &ageless_json(&json));
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_told_what_to_do() {
    let rig = Rig::ready(config()).await;
    let mut client = rig.client().await;
    let request = GetMeshGraphRequest { namespace: "shp".into(), ..GetMeshGraphRequest::default() };
    let status = client.get_mesh_graph(request).await.unwrap_err();
    let unknown = "there is no namespace `shp` in the graph; did you mean shop?";
    assert_eq!((status.code(), status.message()), (Code::NotFound, unknown));

    let mut call = async |root: &str, depth| {
        let request = GetCallGraphRequest { root: root.into(), depth, direction: 0 };
        let status = client.get_call_graph(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let (code, message) = call("shop/cat", 1).await;
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("did you mean shop/cart"), "{message}");
    let (code, message) = call("shop/cart", 17).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("more than 16"), "{message}");
    let (code, message) = call("", 1).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("`root` is required"), "{message}");

    for (path, status, error) in [
        ("/v1/graph?namespace=shp", 404, unknown),
        ("/v1/graph?nmespace=shop", 400, "unknown field `nmespace`"),
        ("/v1/graph?view=all", 400, "unknown variant `all`"),
        ("/v1/callgraph", 400, "`root` is required"),
        ("/v1/callgraph?root=shop/cart&depth=99", 400, "more than 16"),
        ("/v2/graph", 404, "there is nothing at `/v2/graph`"),
    ] {
        let answer = rig.get(path).await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{path}: {json}");
        assert!(json["error"].as_str().unwrap().contains(error), "{path}: {json}");
        assert!(!json["hint"].as_str().unwrap().is_empty(), "{path}: {json}");
    }
}

#[tokio::test]
async fn before_the_first_snapshot_every_question_is_refused_as_unavailable() {
    let rig = Rig::waiting(config()).await;
    let mut client = rig.client().await;
    let graph = client.get_mesh_graph(GetMeshGraphRequest::default()).await.unwrap_err();
    let watch =
        client.watch_mesh_graph(linkerd_mcp_proto::v1::WatchMeshGraphRequest::default()).await.unwrap_err();
    assert_eq!((graph.code(), watch.code()), (Code::Unavailable, Code::Unavailable));
    assert!(graph.message().contains("no graph yet"), "{}", graph.message());
    assert_eq!(rig.get("/v1/graph").await.status, 503);
}

#[tokio::test]
async fn a_feed_that_breaks_leaves_the_graph_and_says_so() {
    let rig = Rig::ready(config()).await;
    let connected = async || rig.get("/v1/graph").await.json()["freshness"]["feed"]["connected"].clone();
    assert_eq!(connected().await, true);
    rig.feed.send(Err(crate::rig::Broken)).unwrap();
    within(async {
        while connected().await == true {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let graph = rig.get("/v1/graph").await.json();
    assert_eq!(graph["edges"].as_object().unwrap().len(), 4, "what was known is still answered");
    rig.send(fixture::numbers(1, 1.0)).await;
    assert_eq!(connected().await, true);
}
