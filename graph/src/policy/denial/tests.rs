//! Ten recorded proxies under known traffic, with the policies they enforced: what was denied must be explained by the
//! objects that did it, each with a change that lets the client in. The objects are those of
//! `test/fixtures/mesh/40-inbound-policy.yaml`.

use super::*;
use crate::{
    assemble::Cluster,
    fact::{
        Change, ContainerPort, EndpointSlice, EndpointTarget, Fact, Key, Labels, OwnerRef, Pod, PolicyObject,
        Proxy, Service, ServicePort,
    },
    id::Text,
    index::Index,
    kind::Kind,
    metrics::Metrics,
    policy::{Objects, Policies},
    query,
    status::MetricsStatus,
    traffic,
};
use serde_json::{Value, json};

/// Namespace, workload, pod, owner's kind, address, port, and the ServiceAccount of meshed pods.
const PODS: [(&str, &str, &str, &str, &str, u16, &str); 8] = [
    ("emojivoto", "vote-bot", "vote-bot-6d7677bb68-9xk2l", "Deployment", "10.244.2.10", 0, "default"),
    ("emojivoto", "web", "web-6f8b9d7c5-tz8hq", "Deployment", "10.244.2.11", 8080, "web"),
    ("emojivoto", "emoji", "emoji-5c9d8f7b64-4jw7n", "Deployment", "10.244.2.12", 8801, "emoji"),
    ("emojivoto", "voting", "voting-7b6c5d9f8d-hk3pz", "Deployment", "10.244.2.14", 8080, "voting"),
    ("emojivoto", "db", "db-0", "StatefulSet", "10.244.2.15", 5432, "db"),
    ("sandbox", "intruder", "intruder-59c4bb7f9-r8d5s", "Deployment", "10.244.3.10", 0, "intruder"),
    ("legacy", "outsider", "outsider-84d9f6c7b-2lq6x", "Deployment", "10.244.4.10", 0, ""),
    ("legacy", "legacy", "legacy-66b7c8d9f-n5t4k", "Deployment", "10.244.4.11", 8080, ""),
];

/// Service, its port, its pod and the pod's port.
const SERVICES: [(&str, u16, &str, u16); 4] = [
    ("web-svc", 80, "web-6f8b9d7c5-tz8hq", 8080),
    ("web-sp-svc", 80, "web-6f8b9d7c5-tz8hq", 8080),
    ("voting-svc", 8080, "voting-7b6c5d9f8d-hk3pz", 8080),
    ("db-svc", 5432, "db-0", 5432),
];

const INTRUDER: &str = "sandbox/deployment/intruder";

/// The recorded mesh.
struct Recorded {
    index: Index,
    reverse: query::Index,
    metrics: Arc<Metrics>,
    policies: Policies,
}

fn pods() -> impl Iterator<Item = Fact> {
    PODS.into_iter().map(|(namespace, name, pod, kind, ip, port, account)| {
        let meshed = !account.is_empty();
        let mut labels = vec![("app", name)];
        if meshed {
            labels.push(("linkerd.io/control-plane-ns", "linkerd"));
        }
        let declared = ContainerPort { port, name: "app".into(), protocol: "TCP".into() };
        Fact::Pod(Arc::new(Pod {
            key: Key::new(namespace, pod),
            owner: Some(OwnerRef { kind: kind.into(), name: name.into() }),
            service_account: if meshed { account.into() } else { "default".into() },
            ips: vec![ip.parse().unwrap()],
            labels: Arc::new(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()),
            annotations: Labels::default(),
            control_plane: meshed.then(|| "linkerd".into()),
            proxy: if meshed { Proxy::NativeSidecar } else { Proxy::Absent },
            ports: [declared].into_iter().filter(|port| port.port > 0).collect(),
            probes: [].into(),
            ready: true,
            ended: false,
            host_network: false,
        }))
    })
}

fn services() -> impl Iterator<Item = Fact> {
    SERVICES.into_iter().flat_map(|(name, port, pod, target)| {
        let key = Key::new("emojivoto", name);
        let port =
            ServicePort { port, name: "".into(), protocol: "TCP".into(), target: target.to_string().into() };
        let service = Service {
            key: key.clone(),
            ports: vec![port],
            cluster_ips: Vec::new(),
            opaque_ports: None,
            mirror_of: None,
            external_name: None,
        };
        let slice =
            EndpointSlice { key, service: Some(name.into()), targets: vec![EndpointTarget::Pod(pod.into())] };
        [Fact::Service(Arc::new(service)), Fact::EndpointSlice(Arc::new(slice))]
    })
}

fn on(kind: &str, name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": name})
}

fn policy(target: Value, required: Value) -> Value {
    json!({"targetRef": target, "requiredAuthenticationRefs": [required]})
}

fn server(app: &str, port: u16, protocol: &str, access: &str) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": app}}, "port": port,
        "proxyProtocol": protocol, "accessPolicy": access,
    })
}

fn route(path: Value) -> Value {
    json!({"parentRefs": [on("Server", "web-http")], "rules": [{"matches": [{"path": path}]}]})
}

/// Kind, name and spec of all policies; everything is as old as the recording but for what a test makes younger.
fn policies() -> Vec<(Kind, &'static str, Value)> {
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name});
    let web = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
    vec![
        (Kind::Server, "web-http", server("web", 8080, "HTTP/1", "deny")),
        (Kind::LinkerdHTTPRoute, "web-page", route(json!({"type": "Exact", "value": "/"}))),
        (Kind::LinkerdHTTPRoute, "web-api", route(json!({"type": "PathPrefix", "value": "/api/"}))),
        (Kind::AuthorizationPolicy, "web-vote-bot", policy(on("Server", "web-http"), account("default"))),
        (Kind::NetworkAuthentication, "outsider", json!({"networks": [{"cidr": "10.244.4.10/32"}]})),
        (
            Kind::AuthorizationPolicy,
            "web-outsider-net",
            policy(on("HTTPRoute", "web-api"), on("NetworkAuthentication", "outsider")),
        ),
        (Kind::Server, "emoji-ops", server("emoji", 8801, "HTTP/1", "audit")),
        (Kind::Server, "voting-grpc", server("voting", 8080, "gRPC", "deny")),
        (Kind::MeshTLSAuthentication, "web", json!({"identities": [web]})),
        (
            Kind::AuthorizationPolicy,
            "voting-web",
            policy(on("Server", "voting-grpc"), on("MeshTLSAuthentication", "web")),
        ),
        (Kind::Server, "db-tcp", server("db", 5432, "opaque", "deny")),
        (Kind::AuthorizationPolicy, "db-web", policy(on("Server", "db-tcp"), account("web"))),
    ]
}

/// When the numbers were measured.
const AS_OF_MS: i64 = 1_000_000;

fn object(kind: Kind, name: &str, created_ms: i64, spec: Value) -> Fact {
    let row = kind.row();
    Fact::Policy(Arc::new(PolicyObject {
        kind,
        key: Key::new("emojivoto", name),
        api_version: format!("{}/{}", row.group, row.versions[0]).into(),
        labels: Labels::default(),
        created_ms: Some(created_ms),
        spec: Arc::new(spec),
        status: Arc::default(),
    }))
}

// === impl Recorded ===

impl Recorded {
    fn new() -> Self {
        Self::with([])
    }

    /// With objects more than were enforced at the time.
    fn with(more: impl IntoIterator<Item = Fact>) -> Self {
        let mut index = Index::new(Cluster::default());
        let written = policies().into_iter().map(|(kind, name, spec)| object(kind, name, 1_000, spec));
        for fact in pods().chain(services()).chain(written).chain(more) {
            index.change(Change::Apply(fact));
        }
        let status =
            MetricsStatus { stale: false, as_of_ms: Some(AS_OF_MS), window_s: 20, ..Default::default() };
        index.traffic(&traffic::tests::recorded_traffic(), status, AS_OF_MS, 0);
        let graph = index.graph();
        Self {
            reverse: query::Index::of(graph),
            metrics: Arc::clone(index.metrics()),
            policies: Policies::of(Objects::of_graph(graph), graph.cluster.as_deref().unwrap()),
            index,
        }
    }

    fn mesh(&self) -> Mesh<'_> {
        Mesh {
            graph: self.index.graph(),
            index: &self.reverse,
            metrics: &self.metrics,
            policies: &self.policies,
        }
    }

    fn all(&self) -> Vec<Denial<'_>> {
        denials(&self.mesh(), None, None, None)
    }

    fn one(&self, id: &str) -> Denial<'_> {
        let found = self.all().into_iter().find(|denial| denial.id.as_str() == id);
        found.unwrap_or_else(|| panic!("{id} is denied nothing"))
    }
}

/// `decision at workload:port, put or remove` of each case.
fn cases(denial: &Denial<'_>) -> Vec<String> {
    let case = |explained: &Explained<'_>| {
        let endpoint = explained.access.endpoint.unwrap();
        let flips: Vec<String> = explained
            .flips
            .iter()
            .map(|flip| {
                let put: Vec<String> = flip
                    .put
                    .iter()
                    .map(|object| format!("{}/{}", object.kind.row().name, object.key.name))
                    .collect();
                if put.is_empty() { "the workload".to_owned() } else { put.join("+") }
            })
            .collect();
        let decision = explained.access.verdict.decision;
        format!("{decision:?} at {}:{}, put {}", endpoint.workload.name(), endpoint.port, flips.join(" or "))
    };
    denial.accesses.iter().map(case).collect()
}

#[test]
fn what_the_applications_saw_refused_is_what_is_explained_and_the_most_frequent_comes_first() {
    let recorded = Recorded::new();
    let rows: Vec<(String, String)> = recorded
        .all()
        .iter()
        .map(|denial| {
            let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
            let (denied, unrouted) = (number(denial.denied), number(denial.unrouted));
            (denial.id.to_string(), format!("{denied} {unrouted}"))
        })
        .collect();
    // From truth.json: 20, 10 and 10 refusals of the intruder in 20 s, 5 of the outsider, and 5 answers with 404 that
    // two Services lead to. What the audit lets in is refused to nobody, so it comes last.
    let rows: Vec<(&str, &str)> = rows.iter().map(|(id, row)| (id.as_str(), row.as_str())).collect();
    assert_eq!(rows[0], ("sandbox/deployment/intruder->emojivoto/web-svc:80", "1.00 -"));
    assert_eq!(rows[1], ("sandbox/deployment/intruder->emojivoto/db-svc:5432", "0.50 -"));
    assert_eq!(rows[2], ("sandbox/deployment/intruder->emojivoto/voting-svc:8080", "0.50 -"));
    assert_eq!(rows[3], ("unmeshed:no_tls_from_remote->emojivoto/deployment/voting:8080", "0.25 -"));
    let unrouted: Vec<&str> = rows[4..rows.len() - 1].iter().map(|(id, _)| *id).collect();
    assert!(
        !unrouted.is_empty() && unrouted.iter().all(|id| id.starts_with("emojivoto/deployment/vote-bot->"))
    );
    assert_eq!(
        rows.last(),
        Some(&("sandbox/deployment/intruder->emojivoto/deployment/emoji:8801", "0.00 -"))
    );
}

#[test]
fn a_denied_http_client_is_told_the_server_the_route_it_lacks_and_a_policy_of_its_own() {
    let recorded = Recorded::new();
    let denial = recorded.one("sandbox/deployment/intruder->emojivoto/web-svc:80");
    assert_eq!(
        denial.text,
        "From sandbox/deployment/intruder to emojivoto/web-svc:80, 1.00 requests/s are denied, none is let in. The \
         policies say so: server/emojivoto/web-http selects the port (http1); authorizationpolicy/emojivoto/web-vote-bot \
         does not let the client in: the client has another identity."
    );
    assert_eq!(cases(&denial), ["Deny at web:8080, put AuthorizationPolicy/web-http-intruder"]);
}

#[test]
fn a_denied_grpc_client_gets_one_line_in_the_authentication() {
    let recorded = Recorded::new();
    let denial = recorded.one("sandbox/deployment/intruder->emojivoto/voting-svc:8080");
    assert!(denial.text.contains("authorizationpolicy/emojivoto/voting-web does not let"), "{}", denial.text);
    assert_eq!(
        cases(&denial),
        ["Deny at voting:8080, put MeshTLSAuthentication/web or AuthorizationPolicy/voting-grpc-intruder"]
    );
}

#[test]
fn a_denied_tcp_client_is_counted_in_connections() {
    let recorded = Recorded::new();
    let denial = recorded.one("sandbox/deployment/intruder->emojivoto/db-svc:5432");
    assert!(denial.text.contains("0.50 connections/s are denied, none is let in."), "{}", denial.text);
    assert_eq!(cases(&denial), ["Deny at db:5432, put AuthorizationPolicy/db-tcp-intruder"]);
}

#[test]
fn a_client_outside_the_mesh_may_be_any_of_the_workloads_there() {
    let recorded = Recorded::new();
    let denial = recorded.one("unmeshed:no_tls_from_remote->emojivoto/deployment/voting:8080");
    let clients: Vec<Option<std::net::IpAddr>> =
        denial.accesses.iter().map(|explained| explained.access.addresses.first().copied()).collect();
    assert_eq!(clients, [None, "10.244.4.11".parse().ok(), "10.244.4.10".parse().ok()]);
    assert_eq!(
        cases(&denial),
        [
            "Deny at voting:8080, put the workload",
            "Deny at voting:8080, put \
             NetworkAuthentication/voting-grpc-10-244-4-11+AuthorizationPolicy/voting-grpc-10-244-4-11",
            "Deny at voting:8080, put \
             NetworkAuthentication/voting-grpc-10-244-4-10+AuthorizationPolicy/voting-grpc-10-244-4-10"
        ]
    );
    assert!(denial.text.contains("the client does not speak mesh TLS"), "{}", denial.text);
}

#[test]
fn what_no_route_takes_gets_one_and_nobody_is_told_that_it_was_denied() {
    let recorded = Recorded::new();
    let denial = recorded.one("emojivoto/deployment/vote-bot->emojivoto/web-svc:80");
    assert!(denial.text.contains("answered with 404 because no route takes them"), "{}", denial.text);
    assert!(denial.text.contains("server/emojivoto/web-http lacks a route for it"), "{}", denial.text);
    assert!(!denial.text.contains("denied"), "{}", denial.text);
    assert_eq!(cases(&denial), ["Allow at web:8080, put HTTPRoute/web-http-more"]);
}

#[test]
fn what_only_an_audit_lets_in_gets_an_authorization_before_it_is_refused() {
    let recorded = Recorded::new();
    let denial = recorded.one("sandbox/deployment/intruder->emojivoto/deployment/emoji:8801");
    assert!(denial.text.contains("are let in by the policy `audit` alone, and logged"), "{}", denial.text);
    assert_eq!(cases(&denial), ["Audit at emoji:8801, put AuthorizationPolicy/emoji-ops-intruder"]);
}

/// A policy that would let the intruder in, written so many milliseconds before the numbers were measured.
fn letting_in(age_ms: i64) -> Fact {
    let account = json!({"kind": "ServiceAccount", "name": "intruder", "namespace": "sandbox"});
    object(Kind::AuthorizationPolicy, "late", AS_OF_MS - age_ms, policy(on("Server", "db-tcp"), account))
}

#[test]
fn where_policies_let_in_what_is_denied_the_likeliest_reason_comes_first() {
    let id = "sandbox/deployment/intruder->emojivoto/db-svc:5432";
    let recorded = Recorded::with([letting_in(5_000)]);
    let denial = recorded.one(id);
    let begins = "From sandbox/deployment/intruder to emojivoto/db-svc:5432, 0.50 connections/s are denied, none is let \
                  in. The policies would let it in: server/emojivoto/db-tcp selects the port (opaque); \
                  authorizationpolicy/emojivoto/late lets the client in. authorizationpolicy/emojivoto/late is newer \
                  than the 20 s that the numbers cover";
    assert!(denial.text.starts_with(begins), "{}", denial.text);
    assert!(denial.text.ends_with("asks Linkerd's policy controller."), "{}", denial.text);
    assert!(!denial.is_by_policy() && denial.accesses[0].flips.is_empty());
    // One that was there all the time is not blamed.
    let recorded = Recorded::with([letting_in(60_000)]);
    let text = recorded.one(id).text;
    assert!(text.contains("A policy may have changed within the last 20 s"), "{text}");
}

#[test]
fn workloads_that_share_the_identity_are_named_where_policies_and_counters_disagree() {
    let Some(Fact::Pod(pod)) = pods().find(|fact| fact.key().name.starts_with("intruder")) else {
        panic!("a pod")
    };
    let twin = Pod {
        key: Key::new("sandbox", "twin-1"),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: "twin".into() }),
        ..Pod::clone(&pod)
    };
    let recorded = Recorded::with([letting_in(5_000), Fact::Pod(Arc::new(twin))]);
    let text = recorded.one("sandbox/deployment/intruder->emojivoto/db-svc:5432").text;
    assert!(
        text.contains("sandbox/deployment/intruder, sandbox/deployment/twin have one identity"),
        "{text}"
    );
}

#[test]
fn only_denials_of_the_wanted_ends_are_told() {
    let recorded = Recorded::new();
    let mesh = recorded.mesh();
    let ids = |from: Option<&str>, to: Option<&str>, namespace: Option<&str>| -> Vec<Text> {
        let from = from.map(|typed| Caller::resolve(mesh.graph, typed, None).unwrap());
        let to = to.map(|typed| Callee::resolve(mesh.graph, typed, None, None).unwrap());
        let denials = denials(&mesh, from.as_ref(), to.as_ref(), namespace);
        denials.iter().map(|denial| denial.id.as_str().into()).collect()
    };
    let on_voting = [
        "sandbox/deployment/intruder->emojivoto/voting-svc:8080",
        "unmeshed:no_tls_from_remote->emojivoto/deployment/voting:8080",
    ]
    .map(Text::from);
    for to in ["emojivoto/voting-svc", "emojivoto/voting-svc:8080", "emojivoto/deployment/voting:8080"] {
        assert_eq!(ids(None, Some(to), None), on_voting, "{to}");
    }
    assert!(ids(None, Some("emojivoto/deployment/voting:8443"), None).is_empty());
    assert_eq!(ids(Some(INTRUDER), Some("emojivoto/voting-svc"), None), on_voting[..1]);
    assert_eq!(ids(Some("10.244.4.10"), None, None), on_voting[1..]);
    assert_eq!(ids(Some("sandbox/sa/intruder"), None, None).len(), 4);
    assert_eq!(ids(None, None, Some("emojivoto")).len(), recorded.all().len());
    assert!(ids(None, None, Some("sandbox")).is_empty());
}

#[test]
fn every_change_that_is_offered_lets_the_client_in_when_all_is_read_anew() {
    let recorded = Recorded::new();
    let mut tried = 0;
    for denial in recorded.all().iter().filter(|denial| denial.denied.is_some_and(|denied| denied > 0.0)) {
        for Explained { access, flips } in &denial.accesses {
            assert!(!flips.is_empty(), "{}", denial.id);
            for flip in flips.iter().filter(|flip| !flip.put.is_empty()) {
                let more = flip.put.iter().map(|object| Fact::Policy(Arc::new(object.clone())));
                let after = Recorded::with(more);
                let client = Client {
                    address: access.client.address.or(access.addresses.first().copied()),
                    ..access.client.clone()
                };
                let endpoint = access.endpoint.unwrap();
                let key = endpoint.key();
                let verdict =
                    after.policies.check_access(&client, endpoint.template.target(&key), endpoint.port, None);
                assert_eq!(verdict.decision, Decision::Allow, "{}", flip.text);
                tried += 1;
            }
        }
    }
    assert!(tried >= 6, "{tried}");
}
