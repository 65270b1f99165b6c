//! Start, end, and what Kubernetes, Prometheus and grpcurl ask.

use crate::{
    fixture,
    rig::{Rig, config, within},
};
use linkerd_mcp_api::{Api, BindError, Config};
use linkerd_mcp_graph::feed::Event;
use prometheus_client::registry::Registry;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

async fn health(rig: &Rig, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(rig.channel().await).check(request).await.unwrap().into_inner().status
}

#[tokio::test]
async fn it_is_alive_at_once_and_ready_with_the_first_snapshot() {
    let mut rig = Rig::waiting(config()).await;
    let ready = rig.get_with(rig.admin, "/ready", &[]).await;
    let why = serde_json::json!({
        "status": "waiting",
        "reason": "no snapshot of the graph has come from the controller yet",
        "tools": ready.json()["tools"].as_u64(),
    });
    assert_eq!((ready.status, ready.json()), (503, why.clone()));
    let health = rig.get_with(rig.admin, "/health", &[]).await;
    assert_eq!((health.status, health.json()), (200, why));
    for path in ["/livez", "/healthz"] {
        assert_eq!(rig.get_with(rig.admin, path, &[]).await.status, 200, "{path}");
    }

    rig.send(Event::Snapshot(fixture::snapshot())).await;
    let ready = rig.get_with(rig.admin, "/ready", &[]).await;
    let json = ready.json();
    assert_eq!((ready.status, &json["status"]), (200, &"ready".into()));
    assert_eq!(json["graph"], serde_json::json!({"services": 3, "workloads": 3, "edges": 4}));

    rig.stop.take().unwrap().send(()).unwrap();
    within(&mut rig.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn grpc_health_serves_when_there_is_a_graph() {
    let rig = Rig::waiting(config()).await;
    for service in ["", "mcp.v1.MeshContext"] {
        assert_eq!(health(&rig, service).await, NOT_SERVING, "{service:?}");
    }
    rig.send(Event::Snapshot(fixture::snapshot())).await;
    for service in ["", "mcp.v1.MeshContext"] {
        within(async {
            while health(&rig, service).await != SERVING {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn reflection_lists_the_service_and_describes_it() {
    let rig = Rig::ready(config()).await;
    let mut client = ServerReflectionClient::new(rig.channel().await);
    let mut ask = async |message: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        within(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap()
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let names: Vec<_> = listed.service.iter().map(|it| it.name.as_str()).collect();
    assert!(names.contains(&"mcp.v1.MeshContext"), "{names:?}");
    let symbol = "mcp.v1.MeshContext".to_owned();
    let file = ask(MessageRequest::FileContainingSymbol(symbol)).await;
    assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{file:?}");
}

#[tokio::test]
async fn what_it_counts_is_there_for_prometheus() {
    let rig = Rig::ready(config()).await;
    rig.get("/v1/graph").await;
    let text = rig.get_with(rig.admin, "/metrics", &[]).await.text;
    for line in [
        "mcp_api_graph_edges 4",
        "mcp_api_feed_connected 1",
        "mcp_api_encodes_total{what=\"GraphJson\"} 1",
        "mcp_api_requests_total{method=\"HttpGraph\",code=\"Ok\"} 1",
        "mcp_api_feed_events_total{event=\"Snapshot\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "no `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused() {
    let listen = "0.0.0.0:8086".parse().unwrap();
    let error = Api::bind(Config { listen, ..config() }, &mut Registry::default()).await.unwrap_err();
    assert!(matches!(error, BindError::NotLoopback(address) if address == listen));
    assert_eq!(
        error.to_string(),
        "refusing to listen on 0.0.0.0:8086: this listener is for this machine, so only loopback addresses such as \
         127.0.0.1:8086 are allowed; callers in the mesh have one of their own (--mesh-port)"
    );
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let rig = Rig::waiting(config()).await;
    let taken = Config { listen: rig.address, ..config() };
    let error = Api::bind(taken, &mut Registry::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}; is something else using it?", rig.address));
}
