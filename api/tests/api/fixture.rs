//! A small shop: the numbers and troubles that answers must carry.

use linkerd_mcp_graph::{
    delta::{self, Delta},
    feed::{Event, Position, Snapshot},
    id::{Destination, EdgeId, ObjectId, Source, WorkloadId},
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{
        Edge, External, Graph, Meshed, Namespace, ObservedBy, Policy, Protocol, Service, ServicePort, Tls,
        Workload, WorkloadPort,
    },
    status::{MetricsStatus, TopologyStatus, WatchState},
};
use serde_json::json;
use std::sync::Arc;

pub(crate) const AS_OF_MS: i64 = 1_760_000_000_000;
pub(crate) const WEB_TO_CART: &str = "shop/deployment/web->shop/cart:80";
pub(crate) const CART_TO_DB: &str = "shop/deployment/cart->data/db:5432";
pub(crate) const CART_TO_BANK: &str = "shop/deployment/cart->external:bank.example:443";
pub(crate) const PLAIN_TO_WEB: &str = "unmeshed:no_tls_from_remote->shop/web:80";

pub(crate) const fn at(seq: u64) -> Position {
    Position { epoch: 7, seq }
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot { position: at(1), as_of_ms: AS_OF_MS, graph: Arc::new(graph()), metrics: Arc::new(metrics()) }
}

pub(crate) fn graph() -> Graph {
    let mut graph = Graph::default();
    for name in ["shop", "data", "idle"] {
        graph.namespaces.insert(name.into(), Arc::new(Namespace::default()));
    }
    workload(&mut graph, "shop/deployment/web", Meshed::All);
    workload(&mut graph, "shop/deployment/cart", Meshed::All);
    workload(&mut graph, "data/statefulset/db", Meshed::None);
    service(&mut graph, "shop/web", "shop/deployment/web", Meshed::All, 80);
    service(&mut graph, "shop/cart", "shop/deployment/cart", Meshed::All, 80);
    service(&mut graph, "data/db", "data/statefulset/db", Meshed::None, 5432);
    graph.externals.insert("bank.example:443".parse().unwrap(), Arc::new(External::default()));
    let identity = |name: &str| format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local").into();
    edge(&mut graph, WEB_TO_CART, |edge| {
        edge.client_identity = Some(identity("web"));
        edge.server_identities = vec![identity("cart")];
    });
    edge(&mut graph, CART_TO_DB, |edge| {
        edge.protocol = Protocol::Tcp;
        edge.tls = Tls::No { reason: "not_provided_by_service_discovery".into() };
    });
    edge(&mut graph, CART_TO_BANK, |edge| edge.tls = Tls::Unknown);
    edge(&mut graph, PLAIN_TO_WEB, |edge| {
        edge.tls = Tls::No { reason: "no_tls_from_remote".into() };
        edge.observed_by = ObservedBy::Server;
    });
    let policy = |kind, spec| Policy {
        kind,
        api_version: "policy.linkerd.io/v1beta3".into(),
        created_ms: Some(AS_OF_MS - 60_000),
        labels: Arc::default(),
        spec: Arc::new(spec),
        status: Arc::default(),
    };
    let cart = policy(Kind::AuthorizationPolicy, json!({"targetRef": {"kind": "Server", "name": "cart"}}));
    graph.auth_policies.insert(ObjectId::new("shop", "cart"), Arc::new(cart));
    let server = policy(Kind::Server, json!({"port": "http", "podSelector": {}}));
    graph.policies.insert("server/shop/cart".parse().unwrap(), Arc::new(server));
    let mut status = TopologyStatus::default();
    status.kinds.insert(Kind::Pod, WatchState::Synced);
    status.kinds.insert(Kind::Link, WatchState::Forbidden { detail: "links is forbidden".into() });
    graph.status = Arc::new(status);
    graph
}

fn workload(graph: &mut Graph, id: &str, meshed: Meshed) {
    let id: WorkloadId = id.parse().unwrap();
    let all = meshed == Meshed::All;
    let workload = Workload {
        meshed,
        pods: 2,
        pods_meshed: if all { 2 } else { 0 },
        pods_ready: 2,
        service_account: id.name().into(),
        identity: all.then(|| {
            let (name, namespace) = (id.name(), id.namespace());
            format!("{name}.{namespace}.serviceaccount.identity.linkerd.cluster.local").into()
        }),
        services: vec![ObjectId::new(id.namespace(), id.name())],
        servers: if id.name() == "cart" { vec!["server/shop/cart".parse().unwrap()] } else { vec![] },
        policies: if id.name() == "cart" {
            vec!["authorizationpolicy/shop/cart".parse().unwrap()]
        } else {
            vec![]
        },
        ports: vec![WorkloadPort { port: 8080, name: "http".into(), protocol: "TCP".into() }],
        ..Workload::default()
    };
    graph.workloads.insert(id, Arc::new(workload));
}

fn service(graph: &mut Graph, id: &str, behind: &str, meshed: Meshed, port: u16) {
    let service = Service {
        meshed,
        ports: vec![ServicePort {
            port,
            name: "main".into(),
            protocol: "TCP".into(),
            target: "http".into(),
            opaque: port != 80,
        }],
        workloads: vec![behind.parse().unwrap()],
        cluster_ips: vec!["10.43.0.10".parse().unwrap()],
        ..Service::default()
    };
    graph.services.insert(id.parse().unwrap(), Arc::new(service));
}

pub(crate) fn edge(graph: &mut Graph, id: &str, change: impl FnOnce(&mut Edge)) {
    let (src, dst) = id.split_once("->").unwrap();
    let (src, dst): (Source, Destination) = (src.parse().unwrap(), dst.parse().unwrap());
    let workloads = match &dst {
        Destination::Service(id, _) => graph.services.get(id).map(|it| it.workloads.clone()),
        _ => None,
    };
    let mut edge = Edge {
        src,
        dst,
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: workloads.unwrap_or_default(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    change(&mut edge);
    graph.edges.insert(id.parse::<EdgeId>().unwrap(), Arc::new(edge));
}

pub(crate) fn metrics() -> Metrics {
    metrics_with_rps(12.5)
}

/// The fixture's numbers, with `rps` from web to cart.
pub(crate) fn metrics_with_rps(rps: f64) -> Metrics {
    let http = EdgeMetrics {
        rps: Some(rps),
        success_rate: Some(0.96),
        p50_ms: Some(4.0),
        p95_ms: Some(20.0),
        p99_ms: Some(48.5),
        mtls_share: Some(1.0),
        allowed: Some(12.0),
        denied: Some(0.5),
        authorized_by: vec!["authorizationpolicy/cart".into()].into(),
        last_seen_ms: Some(AS_OF_MS - 1_500),
        ..EdgeMetrics::default()
    };
    let tcp = EdgeMetrics {
        tcp_open: Some(3.0),
        tcp_opened: Some(0.1),
        sent: Some(2048.0),
        received: Some(65536.0),
        mtls_share: Some(0.0),
        last_seen_ms: Some(AS_OF_MS),
        ..EdgeMetrics::default()
    };
    let plain = EdgeMetrics { rps: Some(1.0), success_rate: Some(1.0), ..EdgeMetrics::default() };
    let rows = [(WEB_TO_CART, http), (CART_TO_DB, tcp), (PLAIN_TO_WEB, plain)];
    let status = MetricsStatus {
        stale: false,
        reason: String::new(),
        as_of_ms: Some(AS_OF_MS - 2_000),
        ..MetricsStatus::default()
    };
    Metrics::new(status, rows.into_iter().map(|(id, row)| (id.parse().unwrap(), row)).collect())
}

pub(crate) fn numbers(seq: u64, rps: f64) -> Event {
    Event::Metrics { position: at(seq), metrics: Arc::new(metrics_with_rps(rps)) }
}

/// The event that makes `graph` into what `change` makes of it.
pub(crate) fn delta(graph: &mut Graph, seq: u64, change: impl FnOnce(&mut Graph)) -> Event {
    let before = graph.clone();
    change(graph);
    let delta: Arc<Delta> = Arc::new(delta::diff(&before, graph));
    Event::Delta { position: at(seq), as_of_ms: AS_OF_MS + 1000 * i64::try_from(seq).unwrap(), delta }
}
