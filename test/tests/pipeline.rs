//! The whole line on real components: objects in a real API server and series of recorded proxies in a real
//! Prometheus come out as the true edges, through a real Redis, from an API process of its own, by JSON, by gRPC and
//! by the CLI.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use linkerd_mcp_proto::v1::{
    WatchMeshGraphRequest, WatchMeshGraphResponse, mesh_context_client::MeshContextClient,
    watch_mesh_graph_response::Event,
};
use linkerd_mcp_test::{
    ours::{self, Controller, ControllerOptions, Serve},
    prometheus::Options,
    rig::Rig,
    wait,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Streaming;

/// Edge id, protocol, tls, rps and success rate.
type TrueEdge = (&'static str, &'static str, Option<bool>, Option<f64>, Option<f64>);

/// The edges as the applications counted them (see `truth.json`).
const TRUTH: &[TrueEdge] = &[
    ("emojivoto/deployment/vote-bot->emojivoto/web-svc:80", "http", Some(true), Some(5.0), Some(0.91)),
    ("emojivoto/deployment/vote-bot->emojivoto/web-sp-svc:80", "http", Some(true), Some(1.0), Some(1.0)),
    ("emojivoto/deployment/vote-bot->emojivoto/front-svc:80", "http", Some(true), Some(2.0), Some(1.0)),
    ("emojivoto/deployment/vote-bot->emojivoto/web-svc-east:80", "http", Some(true), Some(0.5), Some(1.0)),
    ("emojivoto/deployment/web->emojivoto/emoji-svc:8080", "grpc", Some(true), Some(5.0), Some(1.0)),
    ("emojivoto/deployment/web->emojivoto/voting-svc:8080", "grpc", Some(true), Some(2.0), Some(0.825)),
    ("emojivoto/deployment/web->legacy/legacy-svc:80", "http", Some(false), Some(1.0), Some(0.9)),
    ("emojivoto/deployment/web->legacy/legacy-retry-svc:80", "http", Some(false), Some(1.0), Some(1.0)),
    ("emojivoto/deployment/web->legacy/legacy-timeout-svc:80", "http", Some(false), Some(0.5), Some(0.0)),
    ("emojivoto/deployment/web->legacy/legacy-abort-svc:80", "http", Some(false), Some(0.25), Some(0.0)),
    ("emojivoto/deployment/web->legacy/dead-svc:80", "http", Some(false), Some(0.2), Some(0.0)),
    ("emojivoto/deployment/web->emojivoto/ghost-svc:80", "http", None, Some(0.2), Some(0.0)),
    ("emojivoto/deployment/web->emojivoto/db-svc:5432", "tcp", Some(true), None, None),
    ("emojivoto/deployment/web->external:203.0.113.10:80", "http", Some(false), Some(1.0), Some(1.0)),
    ("emojivoto/deployment/web->external:203.0.113.10:443", "tcp", Some(false), None, None),
    ("emojivoto/deployment/web->external:198.51.100.20:80", "http", Some(false), Some(0.5), Some(1.0)),
    ("sandbox/deployment/intruder->emojivoto/web-svc:80", "http", Some(true), Some(1.0), Some(0.0)),
    ("sandbox/deployment/intruder->emojivoto/voting-svc:8080", "grpc", Some(true), Some(0.5), Some(0.0)),
    ("sandbox/deployment/intruder->emojivoto/db-svc:5432", "tcp", Some(true), None, None),
    (
        "sandbox/deployment/intruder->emojivoto/deployment/emoji:8801",
        "http",
        Some(true),
        Some(2.0),
        Some(1.0),
    ),
    ("unmeshed:no_tls_from_remote->emojivoto/deployment/web:8080", "http", Some(false), Some(1.0), Some(1.0)),
    (
        "unmeshed:no_tls_from_remote->emojivoto/deployment/voting:8080",
        "grpc",
        Some(false),
        Some(0.25),
        Some(0.0),
    ),
    ("unmeshed:application_tls->emojivoto/deployment/voting:8443", "tcp", Some(false), None, None),
];

struct Line {
    rig: Rig,
    _controller: Controller,
    api: ours::Api,
}

async fn start() -> Line {
    let rig =
        Rig::start(Options { scrape_interval: Duration::from_secs(1), basic_auth: false }).await.unwrap();
    let options = ControllerOptions {
        kubeconfig: rig.kubernetes.apiserver.kubeconfig(),
        redis_url: rig.redis.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: vec!["--window=10s".to_owned()],
    };
    let controller = Controller::start(&options).await.unwrap();
    let api = ours::Api::start(&rig.redis.url()).await.unwrap();
    Line { rig, _controller: controller, api }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_objects_and_real_series_come_out_as_the_true_edges_everywhere() {
    let line = start().await;
    let graph = line
        .api
        .until("every edge has its true numbers", |graph| differs(graph).is_none().then(|| graph.clone()))
        .await;
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => panic!("{error}: {}", differs(&line.api.graph("").await.unwrap()).unwrap_or_default()),
    };
    // The nodes are those of the API server.
    let web = &graph["workloads"]["emojivoto/deployment/web"];
    assert_eq!(web["identity"], "web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(web["servers"], json!(["server/emojivoto/web-http"]));
    assert!(
        graph["services"]["emojivoto/web-svc"].is_object()
            && graph["authPolicies"]["emojivoto/web-vote-bot"].is_object()
    );
    assert_eq!(graph["externals"]["203.0.113.10:80"]["egress_network"], "emojivoto/partner-api");
    let freshness = &graph["freshness"];
    assert_eq!(
        (&freshness["topology"]["synced"], &freshness["metrics"]["stale"]),
        (&json!(true), &json!(false)),
        "{freshness:#}"
    );

    let address = line.api.address().to_string();
    let printed = ours::cli(&["graph", "-A", "-o", "json", "--api-addr", &address]).await.unwrap();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(differs(&printed), None, "the CLI prints the same edges");
    let table = ours::cli(&["graph", "-n", "emojivoto", "--api-addr", &address]).await.unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["SRC", "DST", "NS", "RPS", "SUCCESS", "P50", "P95", "P99", "mTLS"]);
    let kubeconfig = line.rig.kubernetes.apiserver.kubeconfig();
    let serve = Serve::start(&kubeconfig, &line.rig.traffic.prometheus.url()).await.unwrap();
    let here = serve.address().to_string();
    let same = wait::until("one process says the same", Duration::from_secs(60), async || {
        let printed = ours::cli(&["graph", "-A", "-o", "json", "--api-addr", &here]).await.ok()?;
        let graph: Value = serde_json::from_slice(&printed.stdout).ok()?;
        differs(&graph).is_none().then_some(())
    });
    same.await.unwrap();
    serve.stop().await;

    let version = ours::cli(&["version", "--api-addr", &address]).await.unwrap();
    let expected = concat!("Server version: ", env!("CARGO_PKG_VERSION"));
    assert!(String::from_utf8_lossy(&version.stdout).contains(expected), "{version:?}");
    let unknown = ours::cli(&["graph", "-n", "nowhere", "--api-addr", &address]).await.unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_service_and_a_new_policy_show_in_a_watcher() {
    let line = start().await;
    let mut client = MeshContextClient::connect(format!("http://{}", line.api.address()))
        .await
        .unwrap()
        .max_decoding_message_size(64 << 20);
    let mut watcher = client.watch_mesh_graph(WatchMeshGraphRequest::default()).await.unwrap().into_inner();
    let first = next(&mut watcher).await;
    assert!(matches!(first, Event::Snapshot(_)), "the first event of a fresh watch is a snapshot");

    let kubernetes = line.rig.kubernetes.client().await.unwrap();
    let service = GroupVersionKind::gvk("", "v1", "Service");
    let started = Instant::now();
    apply(
        &kubernetes,
        &service,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "fresh", "namespace": "emojivoto"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 81, "targetPort": 8080}]}
        }),
    )
    .await;
    until(&mut watcher, |event| match event {
        Event::Delta(delta) => delta
            .services
            .iter()
            .any(|service| service.id == "emojivoto/fresh" && service.ports[0].port == 81),
        _ => false,
    })
    .await;
    println!("a new Service was in the watcher {} ms after its apply began", started.elapsed().as_millis());

    let policy = GroupVersionKind::gvk("policy.linkerd.io", "v1alpha1", "AuthorizationPolicy");
    let started = Instant::now();
    apply(&kubernetes, &policy, json!({
        "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "fresh", "namespace": "emojivoto"},
        "spec": {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"}, "requiredAuthenticationRefs": []}
    })).await;
    until(&mut watcher, |event| match event {
        Event::Delta(delta) => {
            let known =
                delta.policies.iter().any(|policy| policy.id == "authorizationpolicy/emojivoto/fresh");
            let bears = delta.workloads.iter().any(|workload| {
                workload.id == "emojivoto/deployment/web"
                    && workload.policies.iter().any(|policy| policy == "authorizationpolicy/emojivoto/fresh")
            });
            known && bears
        }
        _ => false,
    })
    .await;
    println!(
        "a new AuthorizationPolicy was in the watcher {} ms after its apply began",
        started.elapsed().as_millis()
    );
}

/// How the edges of a graph differ from the true ones; None when they do not. Rates may be off by a tenth: the window
/// begins and ends between scrapes.
fn differs(graph: &Value) -> Option<String> {
    let edges = graph["edges"].as_object()?;
    for (id, protocol, tls, rps, success) in TRUTH {
        let Some(edge) = edges.get(*id) else { return Some(format!("{id} is missing")) };
        let near = |field: &str, wanted: &Option<f64>| match (edge[field].as_f64(), wanted) {
            (Some(actual), Some(wanted)) => (actual - wanted).abs() <= 0.1 * wanted.max(0.1),
            (actual, wanted) => actual == *wanted,
        };
        if edge["protocol"] != *protocol
            || edge["tls"].as_bool() != *tls
            || !near("rps", rps)
            || !near("success_rate", success)
        {
            return Some(format!("{id} is {edge:#}"));
        }
    }
    let scrape = |id: &str| id.starts_with("linkerd-viz/deployment/prometheus->") && id.ends_with(":4191");
    edges
        .keys()
        .find(|id| !scrape(id) && !TRUTH.iter().any(|(known, ..)| known == id))
        .map(|id| format!("{id} is nobody's"))
}

async fn apply(client: &kube::Client, kind: &GroupVersionKind, object: Value) {
    let resource = ApiResource::from_gvk(kind);
    let resource = if kind.kind == "AuthorizationPolicy" {
        ApiResource { plural: "authorizationpolicies".to_owned(), ..resource }
    } else {
        resource
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "emojivoto", &resource);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();
}

async fn next(watcher: &mut Streaming<WatchMeshGraphResponse>) -> Event {
    let message = tokio::time::timeout(Duration::from_secs(30), watcher.message()).await;
    message
        .expect("the watcher hears something within 30 s")
        .unwrap()
        .expect("the watch goes on")
        .event
        .unwrap()
}

async fn until(watcher: &mut Streaming<WatchMeshGraphResponse>, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&next(watcher).await) {}
}
