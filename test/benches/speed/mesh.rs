//! A mesh of any size: namespaces of 25 Services with a Deployment each, and calls that prefer a few.

use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{
        Change, ContainerPort, EndpointSlice, EndpointTarget, Fact, Key, Namespace, Owner, OwnerRef, Pod,
        Proxy, Service, ServicePort,
    },
    id::Text,
    index::Index,
    kind::Kind,
    metrics::Metrics,
    model::Graph,
    promql::{Ask, answer},
    status::MetricsStatus,
    traffic::Traffic,
};
use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Services per namespace.
pub(crate) const PER_NAMESPACE: usize = 25;
pub(crate) const NOW_MS: i64 = 1_767_600_000_000;
const SUFFIX: &str = "serviceaccount.identity.linkerd.cluster.local";

/// How large a mesh is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) edges: usize,
    pub(crate) pods_per_service: usize,
}

pub(crate) const SMALL: Size = Size { services: 1_000, edges: 10_000, pods_per_service: 2 };
pub(crate) const LARGE: Size = Size { services: 10_000, edges: 100_000, pods_per_service: 2 };

/// Everything a mesh is made of.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) index: Index,
    pub(crate) graph: Arc<Graph>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Size {
    pub(crate) fn name(self) -> String {
        let count =
            |count: usize| if count < 1_000 { count.to_string() } else { format!("{}k", count / 1_000) };
        format!("{} services, {} edges", count(self.services), count(self.edges))
    }

    /// The mesh before the first poll.
    pub(crate) fn objects(self) -> Index {
        let mut index = Index::new(Cluster::default());
        for (kind, facts) in self.facts() {
            index.change(Change::Reset(kind, facts));
        }
        index
    }

    /// The mesh with the numbers of one poll.
    pub(crate) fn mesh(self) -> Mesh {
        let mut index = self.objects();
        index.traffic(&self.traffic(), status(), NOW_MS, 0);
        let (graph, metrics) = (Arc::new(index.graph().clone()), index.metrics().clone());
        assert_eq!((graph.edges.len(), metrics.ids.len()), (self.edges, self.edges));
        Mesh { index, graph, metrics }
    }

    /// All objects by kind.
    pub(crate) fn facts(self) -> Vec<(Kind, Vec<Fact>)> {
        let namespaces: Vec<Fact> = (0..self.services.div_ceil(PER_NAMESPACE))
            .map(|at| {
                Fact::Namespace(Arc::new(Namespace {
                    key: Key::new("", namespace(at * PER_NAMESPACE)),
                    extension: None,
                    external_prometheus: None,
                }))
            })
            .collect();
        let all = || 0..self.services;
        vec![
            (Kind::Namespace, namespaces),
            (
                Kind::ServiceAccount,
                all().map(|at| Fact::ServiceAccount(Arc::new(Key::new(namespace(at), name(at))))).collect(),
            ),
            (Kind::ReplicaSet, all().map(replica_set).collect()),
            (
                Kind::Pod,
                all()
                    .flat_map(|at| {
                        (0..self.pods_per_service).map(move |nth| Fact::Pod(Arc::new(pod(at, nth))))
                    })
                    .collect(),
            ),
            (Kind::Service, all().map(service).collect()),
            (Kind::EndpointSlice, all().map(|at| slice(at, self.pods_per_service)).collect()),
        ]
    }

    /// Caller and callee of every edge, by their numbers. Low numbers are called more.
    fn calls(self) -> Vec<(usize, usize)> {
        let mut random = random(7);
        let mut calls = BTreeSet::new();
        while calls.len() < self.edges {
            let from = calls.len() % self.services;
            let to = (random().powi(2) * self.services as f64) as usize;
            calls.insert((from, to));
        }
        calls.into_iter().collect()
    }

    /// The body that Prometheus would answer `ask` with; none for what this mesh has no series of.
    pub(crate) fn answer(self, ask: Ask) -> Option<String> {
        let calls = self.calls();
        let mut random = random(ask as u64 + 1);
        let mut body = String::from(r#"{"status":"success","data":{"resultType":"vector","result":["#);
        for (at, (from, to)) in calls.into_iter().enumerate() {
            let (src, dst) = (namespace(from), namespace(to));
            let (caller, callee) = (name(from), name(to));
            let value = value(ask, &mut random);
            let labels = match ask {
                Ask::Responses => format!(
                    r#""authority":"{callee}.{dst}.svc.cluster.local:80","classification":"success","deployment":"{caller}","dst_deployment":"{callee}","dst_namespace":"{dst}","dst_service":"{callee}","namespace":"{src}","server_id":"{callee}.{dst}.{SUFFIX}","target_port":"8080","tls":"true""#
                ),
                Ask::Requests | Ask::TcpOpen | Ask::TcpSent | Ask::TcpReceived | Ask::TcpOpened => format!(
                    r#""authority":"{callee}.{dst}.svc.cluster.local:80","deployment":"{caller}","dst_deployment":"{callee}","dst_namespace":"{dst}","dst_service":"{callee}","namespace":"{src}","server_id":"{callee}.{dst}.{SUFFIX}","target_port":"8080","tls":"true""#
                ),
                Ask::LatencyP50 | Ask::LatencyP95 | Ask::LatencyP99 => format!(
                    r#""authority":"{callee}.{dst}.svc.cluster.local:80","deployment":"{caller}","dst_namespace":"{dst}","dst_service":"{callee}","namespace":"{src}""#
                ),
                Ask::HttpCalls => format!(
                    r#""deployment":"{caller}","http_status":"200","namespace":"{src}","parent_name":"{callee}","parent_namespace":"{dst}","parent_port":"80""#
                ),
                Ask::HttpBackends => format!(
                    r#""backend_name":"{callee}","backend_namespace":"{dst}","backend_port":"80","deployment":"{caller}","namespace":"{src}","parent_name":"{callee}","parent_namespace":"{dst}","parent_port":"80""#
                ),
                Ask::ServedResponses => format!(
                    r#""classification":"success","client_id":"{caller}.{src}.{SUFFIX}","deployment":"{callee}","namespace":"{dst}","target_port":"8080","tls":"true""#
                ),
                Ask::HttpAllowed => format!(
                    r#""authz_kind":"default","authz_name":"all-unauthenticated","client_id":"{caller}.{src}.{SUFFIX}","deployment":"{callee}","namespace":"{dst}","target_port":"8080","tls":"true""#
                ),
                _ => return None,
            };
            let comma = if at == 0 { "" } else { "," };
            write!(body, r#"{comma}{{"metric":{{{labels}}},"value":[1767600000.123,"{value}"]}}"#).unwrap();
        }
        body.push_str("]}}");
        Some(body)
    }

    /// One poll: the nine questions that plain HTTP over mutual TLS has answers to.
    pub(crate) fn traffic(self) -> Traffic {
        let mut traffic = Traffic::default();
        for ask in [
            Ask::Responses,
            Ask::Requests,
            Ask::LatencyP50,
            Ask::LatencyP95,
            Ask::LatencyP99,
            Ask::TcpOpen,
            Ask::TcpSent,
            Ask::TcpReceived,
            Ask::TcpOpened,
            Ask::HttpCalls,
            Ask::HttpBackends,
            Ask::ServedResponses,
            Ask::HttpAllowed,
        ] {
            let body = self.answer(ask).unwrap();
            traffic.read(ask, &answer::parse(&body, usize::MAX).unwrap());
        }
        traffic
    }
}

/// Numbers from 0 to 1 without order, the same ones at every run.
fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a proxy may count: rates and latencies that differ by orders of magnitude, few of them large.
fn value(ask: Ask, random: &mut impl FnMut() -> f64) -> f64 {
    let skewed = random().powi(4);
    match ask {
        Ask::LatencyP50 => 1.0 + 50.0 * skewed,
        Ask::LatencyP95 => 5.0 + 200.0 * skewed,
        Ask::LatencyP99 => 10.0 + 900.0 * skewed,
        Ask::TcpOpen => (1.0 + 20.0 * skewed).round(),
        Ask::TcpSent | Ask::TcpReceived => 100.0 + 1e6 * skewed,
        _ => 0.1 + 200.0 * skewed,
    }
}

pub(crate) fn status() -> MetricsStatus {
    MetricsStatus { stale: false, as_of_ms: Some(NOW_MS), window_s: 30, ..MetricsStatus::default() }
}

pub(crate) fn namespace(at: usize) -> String {
    format!("team-{:03}", at / PER_NAMESPACE)
}

pub(crate) fn name(at: usize) -> String {
    const TRADES: [&str; 10] = [
        "gateway", "accounts", "orders", "catalog", "payments", "search", "cart", "pricing", "stock", "mail",
    ];
    format!("{}-{at}", TRADES[at % TRADES.len()])
}

fn pod_name(at: usize, nth: usize) -> String {
    format!("{}-7d9f8b6c5d-{nth:05}", name(at))
}

fn ip(at: usize) -> IpAddr {
    let [_, b, c, d] = u32::try_from(at).unwrap().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, b, c, d))
}

/// A meshed pod.
pub(crate) fn pod(at: usize, nth: usize) -> Pod {
    let text = |text: &str| -> Text { text.into() };
    let labels = [
        ("app", name(at)),
        ("pod-template-hash", "7d9f8b6c5d".to_owned()),
        ("linkerd.io/control-plane-ns", "linkerd".to_owned()),
        ("linkerd.io/proxy-deployment", name(at)),
        ("linkerd.io/workload-ns", namespace(at)),
    ];
    let port = |port, name| ContainerPort { port, name: text(name), protocol: text("TCP") };
    Pod {
        key: Key::new(namespace(at), pod_name(at, nth)),
        owner: Some(OwnerRef { kind: text("ReplicaSet"), name: format!("{}-7d9f8b6c5d", name(at)).into() }),
        service_account: name(at).into(),
        ips: vec![ip(at * 10 + nth)],
        labels: Arc::new(labels.into_iter().map(|(name, value)| (text(name), value.into())).collect()),
        annotations: Arc::default(),
        control_plane: Some(text("linkerd")),
        proxy: Proxy::NativeSidecar,
        ports: [port(8080, "http"), port(4143, "linkerd-proxy"), port(4191, "linkerd-admin")].into(),
        probes: [].into(),
        ready: true,
        ended: false,
        host_network: false,
    }
}

fn replica_set(at: usize) -> Fact {
    Fact::Owner(Arc::new(Owner {
        kind: Kind::ReplicaSet,
        key: Key::new(namespace(at), format!("{}-7d9f8b6c5d", name(at))),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: name(at).into() }),
    }))
}

fn service(at: usize) -> Fact {
    Fact::Service(Arc::new(Service {
        key: Key::new(namespace(at), name(at)),
        ports: vec![ServicePort {
            port: 80,
            name: "http".into(),
            protocol: "TCP".into(),
            target: "8080".into(),
        }],
        cluster_ips: vec![ip(0xa0_0000 + at)],
        opaque_ports: None,
        mirror_of: None,
        external_name: None,
    }))
}

fn slice(at: usize, pods: usize) -> Fact {
    let target = |nth| EndpointTarget::Pod(pod_name(at, nth).into());
    Fact::EndpointSlice(Arc::new(EndpointSlice {
        key: Key::new(namespace(at), format!("{}-x7k2p", name(at))),
        service: Some(name(at).into()),
        targets: (0..pods).map(target).collect(),
    }))
}
