//! The same over gRPC and HTTP: what is too large is refused before it is read, and without a cluster nothing is applied.

use linkerd_mcp_api::{Api, Config, feed::memory::memory_feed};
use linkerd_mcp_graph::{feed::Publisher as _, metrics::Metrics, model::Graph};
use linkerd_mcp_proto::v1::{self, mesh_context_client::MeshContextClient};
use linkerd_mcp_test::web::THREE;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

/// An API without a cluster, as `demo` has it.
async fn api() -> SocketAddr {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen: local, admin_listen: None, ..Config::default() };
    let api = Api::bind(config, &mut Registry::default()).await.unwrap();
    let (mut publisher, feed) = memory_feed(1);
    publisher.snapshot(0, Arc::new(Graph::default()), Arc::new(Metrics::default())).await.unwrap();
    let (address, mut ticks) = (api.local_addr(), api.replica().ticks());
    tokio::spawn(async move {
        let _publisher = publisher;
        api.serve(feed.subscribe(), Arc::new(Registry::default()), std::future::pending()).await
    });
    ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    address
}

async fn post(address: SocketAddr, path: &str, kind: &str, body: String) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("http://{address}{path}"));
    let answer = request.header("content-type", kind).body(body).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The status line and whatever came with it. The server answers without reading the body and closes, so a client that
/// only reads once it has sent everything may find the connection broken instead.
async fn post_and_read_meanwhile(address: SocketAddr, path: &str, body: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body.as_bytes()].concat();
    let sent = tokio::spawn(async move { to.write_all(&request).await });
    let mut answer = vec![0; 4 << 10];
    let read = from.read(&mut answer).await.unwrap();
    sent.abort();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_is_read() {
    // R26.
    let address = api().await;
    let manifest = "x".repeat(64 << 20);
    let head =
        post_and_read_meanwhile(address, "/v1/plans", &json!({"manifest": manifest}).to_string()).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    let mut client = MeshContextClient::connect(format!("http://{address}")).await.unwrap();
    let asked = v1::PlanChangeRequest { manifest, ..Default::default() };
    let refused = client.plan_change(asked).await.unwrap_err();
    // A server may also stop reading before the client has sent all.
    assert!(matches!(refused.code(), Code::ResourceExhausted | Code::Cancelled | Code::Unknown), "{refused}");
    let asked = v1::PlanChangeRequest { manifest: "x".repeat((1 << 20) + 1), ..Default::default() };
    let refused = client.plan_change(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("1 MiB"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_a_change_is_simulated_and_not_applied() {
    let address = api().await;
    let asked = json!({"manifest": THREE, "namespace": "shop"}).to_string();
    let (status, planned) = post(address, "/v1/plans", "application/json", asked.clone()).await;
    assert_eq!(status, 200, "{planned}");
    assert_eq!(planned["objects"][0]["action"], "create");
    assert!(planned["plan"].as_str().unwrap_or_default().is_empty(), "{planned}");
    assert!(
        planned["notes"].to_string().contains("there is no Kubernetes API behind this process"),
        "{planned}"
    );
    // What a web page can send without asking first.
    let (status, said) = post(address, "/v1/plans", "text/plain", asked).await;
    assert_eq!(status, 400, "{said}");
    let (status, said) =
        post(address, "/v1/changes", "application/json", json!({"plan": "plan-x"}).to_string()).await;
    assert_eq!(status, 412, "{said}");
    let rollback = "/v1/changes/c-1-00000000/rollback";
    let (status, said) = post(address, rollback, "application/json", "{}".to_owned()).await;
    assert_eq!(status, 412, "{said}");
    let mut client = MeshContextClient::connect(format!("http://{address}")).await.unwrap();
    let refused = client.apply_plan(v1::ApplyPlanRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let listed = client.list_changes(v1::ListChangesRequest::default()).await.unwrap().into_inner();
    assert_eq!((listed.changes, listed.truncated), (Vec::new(), false));
}
