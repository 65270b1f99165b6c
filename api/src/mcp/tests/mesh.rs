//! Meshes of any size with a bit of everything, and with text in them that an attacker might have written.

use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{
        Change, ContainerPort, EndpointSlice, EndpointTarget, Fact, Key, Labels, Namespace, OwnerRef, Pod,
        PolicyObject, Probe, Proxy, Service, ServicePort,
    },
    id::{EdgeId, Text},
    index::Index,
    kind::{KINDS, Kind},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, ObservedBy, Protocol, Tls},
    status::{MetricsStatus, WatchState},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const AS_OF_MS: i64 = 1_760_000_000_000;

/// A mesh at one moment.
#[derive(Debug, Clone)]
pub(super) struct Mesh {
    pub(super) graph: Graph,
    pub(super) metrics: Metrics,
}

/// Namespaces have so many services each.
const NAMESPACE: usize = 20;

/// `services` services, each before a Deployment of its name, which calls three others. What is wrong with the n-th goes
/// by its last digit: 3 fails, 4 denies, 5 is called without mutual TLS, 6 has no proxies, 7 is slow, 8 has no pods, 9 is
/// partly meshed and not ready.
pub(super) fn mk_mesh(services: usize) -> Mesh {
    let mut index = Index::new(Cluster::default());
    for n in 0..services.div_ceil(NAMESPACE) {
        let key = Key { namespace: "".into(), name: format!("team-{n:03}").into() };
        let namespace = Namespace { key, extension: None, external_prometheus: None };
        apply(&mut index, Fact::Namespace(Arc::new(namespace)));
    }
    for n in 0..services {
        service(&mut index, n);
    }
    for row in KINDS {
        index.watch_state(row.kind, WatchState::Synced);
    }
    let mut graph = index.refresh().clone();
    let mut rows = Vec::new();
    for n in 0..services {
        // 8 has no pods.
        let called = [(n + 1) % services, (n * 7 + 3) % services, 0];
        for (at, to) in called.into_iter().enumerate().filter(|(_, to)| *to != n && n % 10 != 8) {
            let id = format!("{}->{}:80", workload(n), name(to));
            if graph.edges.contains_key(id.as_str()) {
                continue;
            }
            edge(&mut graph, &id, tls(n, to));
            rows.push((id.parse::<EdgeId>().unwrap(), numbers(n, to, at)));
        }
    }
    let outside = format!("{}->external:bank.example:443", workload(0));
    edge(&mut graph, &outside, Tls::Unknown);
    rows.push((outside.parse().unwrap(), EdgeMetrics { tcp_open: Some(2.0), ..EdgeMetrics::default() }));
    let metrics = Metrics::new(fresh(), rows);
    Mesh { graph, metrics }
}

fn apply(index: &mut Index, fact: Fact) {
    index.change(Change::Apply(fact));
}

pub(super) fn fresh() -> MetricsStatus {
    MetricsStatus {
        stale: false,
        reason: String::new(),
        as_of_ms: Some(AS_OF_MS),
        ..MetricsStatus::default()
    }
}

fn namespace(n: usize) -> String {
    format!("team-{:03}", n / NAMESPACE)
}

pub(super) fn name(n: usize) -> String {
    format!("{}/service-{n}", namespace(n))
}

pub(super) fn workload(n: usize) -> String {
    format!("{}/deployment/service-{n}", namespace(n))
}

fn tls(from: usize, to: usize) -> Tls {
    match (from % 10, to % 10) {
        (_, 5) => Tls::No { reason: "not_provided_by_service_discovery".into() },
        (6, _) | (_, 6 | 8) => Tls::No { reason: "no_identity".into() },
        _ => Tls::Mutual,
    }
}

fn numbers(from: usize, to: usize, at: usize) -> EdgeMetrics {
    let rps = 1.0 + ((from * 31 + at * 7) % 97) as f64;
    let mut numbers = EdgeMetrics {
        rps: Some(rps),
        success_rate: Some(if to % 10 == 3 { 0.9 } else { 0.9995 }),
        p50_ms: Some(3.0),
        p95_ms: Some(12.0),
        p99_ms: Some(if to % 10 == 7 { 2_500.0 } else { 20.0 + (from % 5) as f64 }),
        allowed: Some(rps),
        denied: Some(0.0),
        ..EdgeMetrics::default()
    };
    if to % 10 == 4 {
        (numbers.denied, numbers.success_rate) = (Some(rps / 2.0), Some(0.5));
    }
    if to % 10 == 1 && from.is_multiple_of(2) {
        numbers.unrouted = Some(0.25);
    }
    numbers
}

pub(super) fn edge<'a>(graph: &'a mut Graph, id: &str, tls: Tls) -> &'a mut Edge {
    let (src, dst) = id.split_once("->").unwrap();
    let dst: linkerd_mcp_graph::id::Destination = dst.parse().unwrap();
    let workloads = match &dst {
        linkerd_mcp_graph::id::Destination::Service(id, _) => {
            graph.services.get(id).map(|it| it.workloads.clone()).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if let linkerd_mcp_graph::id::Destination::External(id) = &dst {
        graph.externals.insert(id.clone(), Arc::default());
    }
    let edge = Edge {
        src: src.parse().unwrap(),
        dst,
        protocol: Protocol::Http,
        tls,
        client_identity: None,
        server_identities: Vec::new(),
        workloads,
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    let id: EdgeId = id.parse().unwrap();
    graph.edges.insert(id.clone(), Arc::new(edge));
    Arc::make_mut(graph.edges.get_mut(&id).unwrap())
}

fn service(index: &mut Index, n: usize) {
    let (namespace, name) = (namespace(n), format!("service-{n}"));
    let key = || Key::new(namespace.as_str(), name.as_str());
    let port = ServicePort { port: 80, name: "http".into(), protocol: "TCP".into(), target: "http".into() };
    let service = Service {
        key: key(),
        ports: vec![port],
        cluster_ips: Vec::new(),
        opaque_ports: None,
        mirror_of: None,
        external_name: None,
    };
    apply(index, Fact::Service(Arc::new(service)));
    let pods: Vec<Pod> = (0..pods(n)).map(|at| mk_pod(&namespace, &name, n, at)).collect();
    let targets = pods.iter().map(|pod| EndpointTarget::Pod(pod.key.name.clone()));
    let slice = EndpointSlice { key: key(), service: Some(name.as_str().into()), targets: targets.collect() };
    apply(index, Fact::EndpointSlice(Arc::new(slice)));
    for pod in pods {
        apply(index, Fact::Pod(Arc::new(pod)));
    }
    if matches!(n % 10, 0 | 4) {
        policies(index, &namespace, &name);
    }
}

fn pods(n: usize) -> usize {
    if n % 10 == 8 { 0 } else { 2 }
}

fn mk_pod(namespace: &str, name: &str, n: usize, at: usize) -> Pod {
    let bare = n % 10 == 6 || n % 10 == 9 && at == 1;
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    Pod {
        key: Key::new(namespace, format!("{name}-7d9-{at}").as_str()),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: name.into() }),
        service_account: name.into(),
        ips: vec![std::net::IpAddr::from([10, high, low, u8::try_from(at).unwrap()])],
        labels: labels(&[("app", name)]),
        annotations: Labels::default(),
        control_plane: (!bare).then(|| "linkerd".into()),
        proxy: if bare { Proxy::Absent } else { Proxy::NativeSidecar },
        ports: [ContainerPort { port: 8080, name: "http".into(), protocol: "TCP".into() }].into(),
        probes: [Probe { port: 8080, path: "/live".into() }].into(),
        ready: !(n % 10 == 9 && at == 1),
        ended: false,
        host_network: false,
    }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Arc::new(pairs.iter().map(|(name, value)| (Text::from(*name), Text::from(*value))).collect())
}

/// A Server that lets in one client, a route on it, and an authorization that refers to nothing.
fn policies(index: &mut Index, namespace: &str, name: &str) {
    let server =
        json!({"podSelector": {"matchLabels": {"app": name}}, "port": "http", "proxyProtocol": "HTTP/1"});
    let clients = json!({"identityRefs": [{"kind": "ServiceAccount", "name": "service-2"}]});
    let on = |kind: &str, name: &str| json!({"group": "policy.linkerd.io", "kind": kind, "name": name});
    let policy = |clients: &str| json!({"targetRef": on("Server", name), "requiredAuthenticationRefs": [on("MeshTLSAuthentication", clients)]});
    let route = json!({
        "parentRefs": [on("Server", name)],
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}]}],
    });
    for (kind, suffix, spec) in [
        (Kind::Server, "", server),
        (Kind::MeshTLSAuthentication, "-clients", clients),
        (Kind::AuthorizationPolicy, "", policy(&format!("{name}-clients"))),
        (Kind::AuthorizationPolicy, "-dangling", policy("gone")),
        (Kind::LinkerdHTTPRoute, "-api", route),
    ] {
        apply(index, object(kind, namespace, &format!("{name}{suffix}"), spec, Value::Null));
    }
}

pub(super) fn object(kind: Kind, namespace: &str, name: &str, spec: Value, status: Value) -> Fact {
    let row = kind.row();
    Fact::Policy(Arc::new(PolicyObject {
        kind,
        key: Key::new(namespace, name),
        api_version: format!("{}/{}", row.group, row.versions[0]).into(),
        labels: Labels::default(),
        created_ms: Some(AS_OF_MS - 3_600_000),
        spec: Arc::new(spec),
        status: Arc::new(status),
    }))
}

/// A mesh in which `text` stands wherever a cluster, or who runs things in it, can put text. Ids take no spaces and no
/// control characters, so in those is what is left of it.
pub(super) fn mk_hostile(text: &str) -> Mesh {
    let graphic = |max: usize| -> String {
        text.chars().filter(|it| it.is_ascii_graphic() && !matches!(it, '>' | '/')).take(max).collect()
    };
    let word = graphic(60);
    let labels = labels(&[("app", "victim"), ("note", text)]);
    let mut index = Index::new(Cluster::default());
    for name in ["shop", word.as_str()] {
        let namespace =
            Namespace { key: Key::new("", name), extension: Some(text.into()), external_prometheus: None };
        apply(&mut index, Fact::Namespace(Arc::new(namespace)));
    }
    let pod = |namespace: &str, name: &str, at: u8| Pod {
        key: Key::new(namespace, format!("{name}-7d9-0").as_str()),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: name.into() }),
        service_account: text.into(),
        labels: labels.clone(),
        annotations: super::mesh::labels(&[
            ("config.linkerd.io/default-inbound-policy", text),
            ("config.linkerd.io/skip-inbound-ports", text),
        ]),
        ports: [ContainerPort { port: 8080, name: text.into(), protocol: text.into() }].into(),
        probes: [Probe { port: 8080, path: text.into() }].into(),
        ips: vec![std::net::IpAddr::from([10, 0, 0, at])],
        ..mk_pod("shop", "victim", 0, 0)
    };
    let pods = [pod("shop", "victim", 1), pod("shop", &word, 2)];
    for (pod, service) in pods.iter().zip(["victim", &word]) {
        apply(&mut index, Fact::Pod(Arc::new(pod.clone())));
        let port = ServicePort { port: 80, name: text.into(), protocol: text.into(), target: text.into() };
        let fact = Service {
            key: Key::new("shop", service),
            ports: vec![port],
            cluster_ips: Vec::new(),
            opaque_ports: Some(text.into()),
            mirror_of: Some(text.into()),
            external_name: Some(text.into()),
        };
        apply(&mut index, Fact::Service(Arc::new(fact)));
        let slice = EndpointSlice {
            key: Key::new("shop", service),
            service: Some(service.into()),
            targets: vec![EndpointTarget::Pod(pod.key.name.clone())],
        };
        apply(&mut index, Fact::EndpointSlice(Arc::new(slice)));
    }
    hostile_policies(&mut index, text, &word);
    index.watch_state(Kind::Pod, WatchState::Synced);
    index.watch_state(Kind::Link, WatchState::Forbidden { detail: text.into() });
    index.watch_state(Kind::Server, WatchState::Failing { detail: text.into() });
    let mut graph = index.refresh().clone();
    let mut rows = Vec::new();
    let victim = "shop/deployment/victim";
    for id in [
        format!("{victim}->shop/{word}:80"),
        format!("shop/deployment/{word}->shop/victim:80"),
        format!("identity:{}->shop/victim:80", graphic(400)),
        format!("unmeshed:{}->shop/victim:80", graphic(400)),
        format!("{victim}->external:{}:443", graphic(400)),
    ] {
        let edge = edge(&mut graph, &id, Tls::No { reason: text.into() });
        edge.client_identity = Some(text.into());
        edge.server_identities = vec![text.into()];
        edge.target_cluster = Some(text.into());
        let numbers = EdgeMetrics {
            unrouted: Some(1.0),
            denied: Some(3.0),
            authorized_by: vec![text.into()].into(),
            ..numbers(0, 3, 0)
        };
        rows.push((id.parse().unwrap(), numbers));
    }
    let status = MetricsStatus {
        stale: true,
        reason: text.to_owned(),
        window_reason: text.to_owned(),
        unscraped: vec![text.to_owned()],
        unscraped_count: 1,
        ..fresh()
    };
    Mesh { graph, metrics: Metrics::new(status, rows) }
}

fn hostile_policies(index: &mut Index, text: &str, word: &str) {
    let on = |kind: &str, name: &str| json!({"group": "policy.linkerd.io", "kind": kind, "name": name});
    let status = json!({
        "conditions": [{"type": text, "reason": text, "status": "False", "message": text}],
        "parents": [{"conditions": [{"type": "Accepted", "reason": text, "status": text}]}],
    });
    let server = json!({
        "podSelector": {"matchLabels": {"app": "victim"}, "matchExpressions": [{"key": text, "operator": "DoesNotExist"}]},
        "port": 8080,
        "proxyProtocol": "HTTP/1",
    });
    let route = json!({
        "parentRefs": [on("Server", "victim")],
        "hostnames": [text],
        "rules": [{
            "matches": [{
                "path": {"type": "PathPrefix", "value": format!("/{text}")},
                "headers": [{"name": "x-evil", "value": text}],
                "method": text,
            }],
            "filters": [{"type": text}],
        }],
    });
    let policy = json!({
        "targetRef": on("Server", "victim"),
        "requiredAuthenticationRefs": [on("MeshTLSAuthentication", "victim"), on("MeshTLSAuthentication", text)],
    });
    let server_authorization = json!({
        "server": {"name": "victim"},
        "client": {"meshTLS": {"identities": [text], "serviceAccounts": [{"name": text, "namespace": text}]}},
    });
    for (kind, name, spec) in [
        (Kind::Server, "victim", server),
        (Kind::Server, word, json!({"podSelector": {"matchLabels": {"app": text}}, "port": text})),
        (Kind::MeshTLSAuthentication, "victim", json!({"identities": [text]})),
        (Kind::NetworkAuthentication, word, json!({"networks": [{"cidr": text, "except": [text]}]})),
        (Kind::AuthorizationPolicy, "victim", policy),
        (
            Kind::AuthorizationPolicy,
            word,
            json!({"targetRef": on(text, text), "requiredAuthenticationRefs": []}),
        ),
        (Kind::ServerAuthorization, word, server_authorization),
        (Kind::LinkerdHTTPRoute, word, route.clone()),
        (Kind::GatewayHTTPRoute, word, route),
    ] {
        apply(index, object(kind, "shop", name, spec, status.clone()));
    }
}
