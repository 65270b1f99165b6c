//! Every question about policy over gRPC and over HTTP, put to a running API that has stand-ins for Linkerd's
//! controllers: both protocols give one answer, and a question that has none says why.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_api::{
    Api, Config,
    feed::memory::{MemoryPublisher, memory_feed},
    linkerd::{Controllers, DestinationController, Limits, PolicyController},
};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::Change,
    facts::{Facts, Touched},
    feed::Publisher as _,
    id::{EdgeId, WorkloadId},
    index::assemble_all,
    kind::{KINDS, Kind},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, ObservedBy, Protocol, Tls},
    policy::{Policies, PolicyCluster, WorkloadKey},
    status::{MetricsStatus, TopologyStatus, WatchState},
};
use linkerd_mcp_proto::v1::{self, Decision, Severity, mesh_context_client::MeshContextClient};
use linkerd_mcp_test::linkerd::{DestinationStub, PolicyStub, Reply, Stream, Then, message};
use linkerd2_proxy_api::destination::{Update, WeightedAddr, WeightedAddrSet, update::Update as Message};
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Code, transport::Channel};

const DENIED_EDGE: &str = "other/pod/guest->shop/cart:80";

/// `web` and `cart` of `shop`, and a `guest`, all meshed; `cart` lets `web` in and nobody else; `lost` is ignored.
fn objects() -> Vec<Value> {
    let pod = |namespace: &str, name: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "uid": name, "labels": {"app": name, "linkerd.io/control-plane-ns": "linkerd"},
                         "annotations": {"linkerd.io/inject": "enabled"}},
            "spec": {
                "serviceAccountName": name, "nodeName": "node",
                "containers": [
                    {"name": name, "ports": [{"name": "http", "containerPort": 8080}]},
                    {"name": "linkerd-proxy", "ports": [{"name": "linkerd-admin", "containerPort": 4191}],
                     "env": [{"name": "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "value": "all-unauthenticated"}]},
                ],
            },
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    let policy = |kind: &str, version: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": format!("policy.linkerd.io/{version}"), "kind": kind,
            "metadata": {"namespace": "shop", "name": name, "uid": format!("{kind}-{name}"),
                         "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        })
    };
    let refer = |kind: &str, name: &str| json!({"group": "policy.linkerd.io", "kind": kind, "name": name});
    let authorize = |name: &str, by: &str| {
        policy(
            "AuthorizationPolicy",
            "v1alpha1",
            name,
            json!({"targetRef": refer("Server", "cart"),
                   "requiredAuthenticationRefs": [refer("MeshTLSAuthentication", by)]}),
        )
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
        pod("shop", "web", "10.244.0.1"),
        pod("shop", "cart", "10.244.0.2"),
        pod("other", "guest", "10.244.0.3"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "cart"},
               "spec": {"selector": {"app": "cart"}, "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1"],
                        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
               "metadata": {"namespace": "shop", "name": "cart-1", "labels": {"kubernetes.io/service-name": "cart"},
                            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "cart",
                                                 "uid": "cart", "controller": true}]},
               "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
               "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true},
                              "targetRef": {"kind": "Pod", "namespace": "shop", "name": "cart"}}]}),
        policy(
            "Server",
            "v1beta3",
            "cart",
            json!({"podSelector": {"matchLabels": {"app": "cart"}}, "port": "http", "proxyProtocol": "HTTP/1"}),
        ),
        policy(
            "MeshTLSAuthentication",
            "v1alpha1",
            "web",
            json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web"}]}),
        ),
        authorize("cart", "web"),
        authorize("lost", "wbe"),
    ]
}

fn facts() -> Facts {
    let (mut facts, mut touched) = (Facts::default(), Touched::default());
    for object in objects() {
        let group = object["apiVersion"].as_str().unwrap().split_once('/').map_or("", |(group, _)| group);
        let row = KINDS.iter().find(|row| row.group == group && object["kind"] == row.name).unwrap();
        facts.change(Change::Apply(fact_from_value(row.kind, &object).unwrap()), &mut touched);
    }
    facts
}

/// The graph with an edge on which half of a request a second is denied.
fn mesh() -> (Graph, Metrics) {
    let cluster = Cluster { policy: Some(Arc::new(PolicyCluster::default())), ..Cluster::default() };
    let mut graph = assemble_all(facts(), &cluster);
    graph.status = Arc::new(TopologyStatus { kinds: [(Kind::Pod, WatchState::Synced)].into() });
    let (src, dst) = DENIED_EDGE.split_once("->").unwrap();
    let edge = Edge {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: Some("guest.other.serviceaccount.identity.linkerd.cluster.local".into()),
        server_identities: Vec::new(),
        workloads: vec![WorkloadId::new("shop", "pod", "cart")],
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    let id: EdgeId = DENIED_EDGE.parse().unwrap();
    graph.edges.insert(id.clone(), Arc::new(edge));
    let row = EdgeMetrics { rps: Some(0.5), denied: Some(0.5), ..EdgeMetrics::default() };
    (graph, Metrics::new(MetricsStatus::default(), [(id, row)].into()))
}

/// An API with that mesh.
struct Rig {
    address: SocketAddr,
    _publisher: MemoryPublisher,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Rig {
    async fn start(linkerd: Option<Controllers>) -> Self {
        // The HTTP client wants one, though nothing here speaks TLS. Another test may have chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen: any, admin_listen: None, linkerd, ..Config::default() };
        let mut registry = Registry::default();
        let api = Api::bind(config, &mut registry).await.unwrap();
        let (mut publisher, feed) = memory_feed(1);
        let (graph, metrics) = mesh();
        publisher.snapshot(1, Arc::new(graph), Arc::new(metrics)).await.unwrap();
        let (address, mut ticks) = (api.local_addr(), api.replica().ticks());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            api.serve(feed.subscribe(), Arc::new(registry), stopped).await.unwrap();
        });
        ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
        Self { address, _publisher: publisher, stop: Some(stop), served }
    }

    async fn client(&self) -> MeshContextClient<Channel> {
        MeshContextClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap();
    }
}

/// Without its age, which is another one each time.
fn ageless(message: &impl Serialize) -> Value {
    undated(serde_json::to_value(message).unwrap())
}

fn undated(mut json: Value) -> Value {
    assert!(json["freshness"].is_object(), "every answer says how fresh it is: {json}");
    json.as_object_mut().unwrap().remove("freshness");
    json
}

/// What the policy controller would answer: what follows from the objects, but for the port of `cart`, which is enforced
/// as if nothing were written.
fn enforced(stub: &PolicyStub) -> usize {
    let facts = facts();
    let policies = Policies::read(&facts, &PolicyCluster::default());
    let known = |namespace: &str, pod: &str, port: u32| {
        let key = WorkloadKey::Pod(linkerd_mcp_graph::fact::Key::new(namespace, pod));
        let asked = if pod == "cart" && port == 8080 { 8081 } else { port };
        let server = json!(policies.answer(&facts, &key, asked).server().unwrap());
        let token = format!(r#"{{"ns":"{namespace}","pod":"{pod}"}}"#);
        ((token, port), Reply::Server(Box::new(message::server(&server).unwrap())))
    };
    let pods = [("shop", "web"), ("shop", "cart"), ("other", "guest")];
    stub.know(pods.into_iter().flat_map(|(ns, pod)| [known(ns, pod, 8080), known(ns, pod, 4191)]));
    pods.len() * 2
}

fn limits() -> Limits {
    Limits { time: Duration::from_secs(5), quiet: Duration::from_millis(50), ..Limits::default() }
}

fn controllers(policy: &str, destination: &str) -> Controllers {
    Controllers {
        policy: PolicyController::new(policy, limits()).unwrap(),
        destination: DestinationController::new(destination, "cluster.local", limits()).unwrap(),
    }
}

fn told() -> Stream {
    let labels = [("pod", "cart"), ("serviceaccount", "cart")];
    let endpoint = WeightedAddr {
        addr: Some(SocketAddr::from(([10, 244, 0, 2], 8080)).into()),
        weight: 10_000,
        metric_labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..WeightedAddr::default()
    };
    let labels = [("namespace", "shop"), ("service", "cart")];
    let metric_labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let update = Message::Add(WeightedAddrSet { addrs: vec![endpoint], metric_labels });
    Stream::Updates(vec![Ok(Update { update: Some(update) })], Then::Open)
}

#[tokio::test]
async fn a_check_names_what_decides_and_what_would_change_it_in_both_protocols() {
    let rig = Rig::start(None).await;
    let request = v1::CheckAccessRequest {
        from: "other/pod/guest".into(),
        to: "shop/cart:80".into(),
        ..Default::default()
    };
    let answer = rig.client().await.check_access(request).await.unwrap().into_inner();
    assert_eq!((answer.decision(), answer.mixed), (Decision::Deny, false));
    let [access] = &answer.accesses[..] else { panic!("{answer:?}") };
    assert_eq!((&*access.workload, access.port, access.pods), ("shop/pod/cart", 8080, 1));
    let origins: Vec<&str> = access.reasons.iter().flat_map(|it| &it.origins).map(String::as_str).collect();
    assert_eq!(origins[0], "server/shop/cart");
    assert!(origins.contains(&"authorizationpolicy/shop/cart"), "{origins:?}");
    let flip = &access.flips[0];
    assert_eq!(flip.becomes(), Decision::Allow);
    assert!(flip.manifest.contains("name: guest"), "{}", flip.manifest);
    for document in flip.manifest.split("---\n") {
        let object: Value = serde_yaml::from_str(document).unwrap();
        assert!(object["apiVersion"].as_str().unwrap().starts_with("policy.linkerd.io/"), "{document}");
    }
    let (status, json) = rig.get("/v1/access?from=other/pod/guest&to=shop/cart:80").await;
    assert_eq!((status, undated(json)), (200, ageless(&answer)));

    let request = v1::CheckAccessRequest {
        from: "shop/pod/web".into(),
        to: "shop/cart:80".into(),
        ..Default::default()
    };
    let answer = rig.client().await.check_access(request).await.unwrap().into_inner();
    assert_eq!(answer.decision(), Decision::Allow, "the control: {answer:?}");
    rig.stop().await;
}

#[tokio::test]
async fn clients_that_are_not_workloads_here_are_judged_by_what_the_proxy_sees_of_them() {
    let rig = Rig::start(None).await;
    for (from, decision, note) in [
        ("web.shop.serviceaccount.identity.linkerd.cluster.local", "allow", None),
        ("shop/sa/web", "allow", None),
        ("203.0.113.7", "deny", None),
        (
            "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local",
            "deny",
            Some("clients of other clusters"),
        ),
    ] {
        let (status, json) = rig.get(&format!("/v1/access?from={from}&to=shop/cart:80")).await;
        assert_eq!((status, &json["decision"]), (200, &json!(decision)), "{from}: {json}");
        let notes = json["notes"].to_string();
        assert_eq!(notes.contains("multicluster gateway"), note.is_some(), "{from}: {notes}");
        assert!(note.is_none_or(|note| notes.contains(note)), "{from}: {notes}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn who_may_call_whom_and_what_linkerd_resolves_are_the_same_in_both_protocols() {
    let rig = Rig::start(None).await;
    let request = v1::ListAccessRequest { to: "shop/cart".into(), ..Default::default() };
    let answer = rig.client().await.list_access(request).await.unwrap().into_inner();
    let calls: Vec<_> = answer.calls.iter().map(|it| (it.from.as_str(), it.decision())).collect();
    assert_eq!(calls, [("other/pod/guest", Decision::Deny), ("shop/pod/web", Decision::Allow)]);
    assert_eq!(answer.ports[0].open_to, "listed");
    let (status, json) = rig.get("/v1/access/list?to=shop/cart").await;
    assert_eq!((status, undated(json)), (200, ageless(&answer)));

    let request =
        v1::ResolvePolicyRequest { workload: "shop/pod/cart".into(), port: 8080, ..Default::default() };
    let answer = rig.client().await.resolve_policy(request).await.unwrap().into_inner();
    let server: Value = serde_json::from_str(&answer.ports[0].server_json).unwrap();
    assert_eq!(server["labels"]["name"], "cart");
    let (status, json) = rig.get("/v1/policy?workload=shop/pod/cart&port=8080").await;
    assert_eq!((status, undated(json)), (200, ageless(&answer)));
    rig.stop().await;
}

#[tokio::test]
async fn what_is_denied_now_is_explained_with_what_would_let_it_in() {
    let rig = Rig::start(None).await;
    let request = v1::ExplainDenialsRequest::default();
    let answer = rig.client().await.explain_denials(request).await.unwrap().into_inner();
    let [denial] = &answer.denials[..] else { panic!("{answer:?}") };
    assert_eq!((&*denial.edge_id, denial.denied_per_s), (DENIED_EDGE, Some(0.5)));
    assert_eq!((&*denial.src, &*denial.dst), ("other/pod/guest", "shop/cart:80"));
    assert_eq!(denial.accesses[0].decision(), Decision::Deny);
    assert_eq!(denial.accesses[0].flips[0].becomes(), Decision::Allow);
    let (status, json) = rig.get("/v1/denials").await;
    assert_eq!((status, undated(json)), (200, ageless(&answer)));
    for (question, denials) in [
        ("to=shop/cart", 1),
        ("from=other/pod/guest", 1),
        ("from=shop/pod/web", 0),
        ("namespace=shop", 1),
        ("namespace=other", 0),
        ("namespace=other&from=pod/guest", 1),
    ] {
        let (status, json) = rig.get(&format!("/v1/denials?{question}")).await;
        assert_eq!((status, json["denials"].as_array().map(Vec::len)), (200, Some(denials)), "{question}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn lint_finds_what_is_ignored_and_on_demand_what_is_enforced_otherwise() {
    let policy = PolicyStub::start().unwrap();
    let ports = enforced(&policy);
    let rig = Rig::start(Some(controllers(&policy.address(), "127.0.0.1:1"))).await;
    let request = v1::LintPoliciesRequest::default();
    let written = rig.client().await.lint_policies(request).await.unwrap().into_inner();
    assert_eq!((written.objects, written.compared, written.notes.len()), (4, 0, 0));
    let first = &written.findings[0];
    assert_eq!((&*first.code, first.severity()), ("ignored", Severity::Error));
    assert_eq!(first.objects[0], "authorizationpolicy/shop/lost");
    let (status, json) = rig.get("/v1/lint").await;
    assert_eq!((status, undated(json)), (200, ageless(&written)));

    let request = v1::LintPoliciesRequest { enforced: true, ..Default::default() };
    let compared = rig.client().await.lint_policies(request).await.unwrap().into_inner();
    assert_eq!(compared.compared as usize, ports);
    let (drift, rest) = compared.findings.split_first().unwrap();
    assert_eq!(rest, written.findings);
    assert_eq!((&*drift.code, &drift.objects[..]), ("drift", &["pod/shop/cart:8080".to_owned()][..]));
    let side = |json: &str| serde_json::from_str::<Value>(json).unwrap()["server"]["labels"]["name"].clone();
    assert_eq!(
        (side(&drift.written_json), side(&drift.enforced_json)),
        (json!("cart"), json!("all-unauthenticated"))
    );
    let (status, json) = rig.get("/v1/lint?enforced=true").await;
    assert_eq!((status, undated(json)), (200, ageless(&compared)));
    let (_, json) = rig.get("/v1/lint?enforced=true&namespace=other").await;
    let codes: Vec<&str> =
        json["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    assert_eq!((&json["compared"], &codes[..]), (&json!(2), &["open-port"][..]), "the control: no drift");
    rig.stop().await;
}

#[tokio::test]
async fn what_proxies_are_told_of_a_service_is_held_against_the_graph() {
    let destination = DestinationStub::start(told()).unwrap();
    let rig = Rig::start(Some(controllers("127.0.0.1:1", &destination.address()))).await;
    let request = v1::CompareEndpointsRequest { service: "shop/cart".into(), ..Default::default() };
    let answer = rig.client().await.compare_endpoints(request).await.unwrap().into_inner();
    let [endpoint] = &answer.endpoints[..] else { panic!("{answer:?}") };
    assert_eq!(
        (&*endpoint.address, endpoint.weight, &*endpoint.pod, &*endpoint.identity),
        ("10.244.0.2:8080", 10_000, "cart", "")
    );
    let [difference] = &answer.differences[..] else { panic!("{answer:?}") };
    assert!(difference.contains("plaintext"), "it is meshed, and no identity is told: {difference}");
    let asked = destination.asked();
    assert_eq!(asked[0].path, "cart.shop.svc.cluster.local:80");
    assert_eq!(asked[0].context_token, r#"{"ns":"shop"}"#);
    let (status, json) = rig.get("/v1/endpoints?service=shop/cart:80&client_namespace=other").await;
    assert_eq!((status, undated(json)), (200, ageless(&answer)));
    assert_eq!(destination.asked()[1].context_token, r#"{"ns":"other"}"#);
    rig.stop().await;
}

#[tokio::test]
async fn a_question_without_an_answer_says_what_to_do() {
    // Nobody listens on port 1.
    let rig = Rig::start(Some(controllers("127.0.0.1:1", "127.0.0.1:1"))).await;
    for (path, status, said) in [
        ("/v1/access?from=shop/pod/web", 400, "`to` is required"),
        ("/v1/access?from=shop/pod/web&to=shop/cart:80&method=GET", 400, "needs method and path"),
        ("/v1/access?from=shop/pod/wbe&to=shop/cart:80", 404, "wbe"),
        ("/v1/access?from=shop/pod/web&to=shop/cart:81", 404, "has no port 81"),
        ("/v1/access/list", 400, "name what to list"),
        ("/v1/denials?namespace=nowhere", 404, "nowhere"),
        ("/v1/lint?namespace=nowhere", 404, "nowhere"),
        ("/v1/lint?enforced=perhaps", 400, "enforced"),
        ("/v1/lint?enforced=true", 503, "cannot reach"),
        ("/v1/endpoints", 400, "`service` is required"),
        ("/v1/endpoints?service=shop/pod/web:8080", 400, "is no Service"),
        ("/v1/endpoints?service=shop/cart:81", 404, "has no port 81"),
        ("/v1/endpoints?service=shop/cart", 503, "cannot reach"),
    ] {
        let (code, json) = rig.get(path).await;
        assert_eq!(code, status, "{path}: {json}");
        assert!(json["error"].as_str().unwrap().contains(said), "{path}: {json}");
        assert!(!json["hint"].as_str().unwrap().is_empty(), "{path}: {json}");
    }
    rig.stop().await;

    let rig = Rig::start(None).await;
    let mut client = rig.client().await;
    let request = v1::LintPoliciesRequest { enforced: true, ..Default::default() };
    let refused = client.lint_policies(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--policy-addr"), "{}", refused.message());
    let request = v1::CompareEndpointsRequest { service: "shop/cart".into(), ..Default::default() };
    assert_eq!(client.compare_endpoints(request).await.unwrap_err().code(), Code::FailedPrecondition);
    let (status, _) = rig.get("/v1/endpoints?service=shop/cart").await;
    assert_eq!(status, 501);
    rig.stop().await;
}
