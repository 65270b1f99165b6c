//! Random small graphs and numbers for property tests. Names come from small pools, so that two random graphs have
//! entries in common, and hold the characters that a JSON pointer must escape.

use crate::{
    fact::{ContainerPort, Probe},
    id::{Destination, EdgeId, ExternalId, ObjectId, PolicyId, Source, Text, WorkloadId},
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{
        Edge, External, Graph, Meshed, Namespace, ObservedBy, Policy, Protocol, Service, ServicePort,
        Template, Tls, Workload, WorkloadPort,
    },
    policy::{DefaultPolicy, PolicyCluster},
    status::{MetricsStatus, TopologyStatus, WatchState},
};
use imbl::OrdMap;
use proptest::{collection, option, prelude::*, sample::select};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const NAMES: [&str; 5] = ["web", "api", "a~b", "x~1y", "db.v2"];
const NAMESPACES: [&str; 3] = ["shop", "kube-system", "n~0"];

/// A graph with a handful of everything.
pub(crate) fn graph() -> impl Strategy<Value = Graph> {
    let nodes = (
        map(object_id(), service()),
        map(workload_id(), workload()),
        map(external_id(), external()),
        map(namespace_name(), namespace()),
    );
    let rest = (edges(), map(object_id(), policy()), map(policy_id(), policy()), status(), cluster());
    (nodes, rest).prop_map(
        |(
            (services, workloads, externals, namespaces),
            (edges, auth_policies, policies, status, cluster),
        )| Graph {
            services,
            workloads,
            externals,
            edges,
            auth_policies,
            policies,
            namespaces,
            status: Arc::new(status),
            cluster,
        },
    )
}

/// Settings of a control plane, or none.
fn cluster() -> impl Strategy<Value = Option<Arc<PolicyCluster>>> {
    option::of(select(&DefaultPolicy::ALL[..])).prop_map(|policy| {
        policy.map(|default_policy| Arc::new(PolicyCluster { default_policy, ..PolicyCluster::default() }))
    })
}

/// A graph and numbers for some of its edges, as exact as a float can be.
pub(crate) fn measured() -> impl Strategy<Value = (Graph, Metrics)> {
    graph().prop_flat_map(|graph| {
        let ids: Vec<EdgeId> = graph.edges.keys().cloned().collect();
        let rows = collection::vec(option::of(edge_metrics()), ids.len());
        (Just(graph), rows, metrics_status()).prop_map(move |(graph, rows, status)| {
            let rows = ids.iter().cloned().zip(rows).filter_map(|(id, row)| Some((id, row?)));
            (graph, Metrics::new(status, rows.collect()))
        })
    })
}

/// The numbers of one edge; at least one of them is there.
pub(crate) fn edge_metrics() -> impl Strategy<Value = EdgeMetrics> {
    let number = || option::of(0.0..1e7_f64);
    let share = || option::of(0.0..=1.0_f64);
    let http = (0.0..1e5_f64, share(), number(), number(), number());
    let tcp = (number(), number(), number(), number());
    let policy = (number(), number(), share(), number(), number());
    let rest = (option::of(1.7e12 as i64..1.8e12 as i64), collection::vec(name(), 0..3));
    (http, tcp, policy, rest).prop_map(|(http, tcp, policy, (last_seen_ms, authorized_by))| EdgeMetrics {
        rps: Some(http.0),
        success_rate: http.1,
        p50_ms: http.2,
        p95_ms: http.3,
        p99_ms: http.4,
        tcp_open: tcp.0,
        tcp_opened: tcp.1,
        sent: tcp.2,
        received: tcp.3,
        allowed: policy.0,
        denied: policy.1,
        mtls_share: policy.2,
        retries: policy.3,
        unrouted: policy.4,
        last_seen_ms,
        authorized_by: authorized_by.into(),
    })
}

fn metrics_status() -> impl Strategy<Value = MetricsStatus> {
    (any::<bool>(), option::of(1.7e12 as i64..1.8e12 as i64), 15_u32..120).prop_map(
        |(stale, as_of_ms, window_s)| {
            let reason = if stale { "Prometheus answered with \"403\"".to_owned() } else { String::new() };
            MetricsStatus { stale, reason, as_of_ms, window_s, ..MetricsStatus::default() }
        },
    )
}

fn map<K: Ord + Clone + std::fmt::Debug, V: std::fmt::Debug>(
    key: impl Strategy<Value = K>,
    value: impl Strategy<Value = V>,
) -> impl Strategy<Value = OrdMap<K, Arc<V>>> {
    collection::vec((key, value.prop_map(Arc::new)), 0..5).prop_map(|entries| entries.into_iter().collect())
}

fn name() -> impl Strategy<Value = Text> {
    select(&NAMES[..]).prop_map(Text::from)
}

fn namespace_name() -> impl Strategy<Value = Text> {
    select(&NAMESPACES[..]).prop_map(Text::from)
}

fn object_id() -> impl Strategy<Value = ObjectId> {
    (select(&NAMESPACES[..]), select(&NAMES[..])).prop_map(|(namespace, name)| ObjectId::new(namespace, name))
}

fn workload_id() -> impl Strategy<Value = WorkloadId> {
    (select(&NAMESPACES[..]), select(&["Deployment", "CronJob"][..]), select(&NAMES[..]))
        .prop_map(|(namespace, kind, name)| WorkloadId::new(namespace, kind, name))
}

fn external_id() -> impl Strategy<Value = ExternalId> {
    select(&["203.0.113.10:443", "[2001:db8::1]:443", "api.example.com:443"][..]).prop_map(ExternalId::new)
}

fn policy_kind() -> impl Strategy<Value = Kind> {
    select(&[Kind::Server, Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::NetworkAuthentication][..])
}

fn policy_id() -> impl Strategy<Value = PolicyId> {
    (policy_kind(), select(&NAMESPACES[..]), select(&NAMES[..]))
        .prop_map(|(kind, namespace, name)| PolicyId::new(kind.policy_prefix(), namespace, name))
}

fn identity() -> impl Strategy<Value = Text> {
    name().prop_map(|name| format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local").into())
}

fn meshed() -> impl Strategy<Value = Meshed> {
    select(&[Meshed::None, Meshed::Some, Meshed::All][..])
}

fn service() -> impl Strategy<Value = Service> {
    let port = (any::<u16>(), name(), any::<bool>()).prop_map(|(port, name, opaque)| ServicePort {
        port,
        target: name.clone(),
        name,
        protocol: "TCP".into(),
        opaque,
    });
    let ip = any::<[u8; 4]>().prop_map(std::net::IpAddr::from);
    (
        meshed(),
        collection::vec(port, 0..3),
        collection::vec(workload_id(), 0..3),
        option::of(name()),
        any::<bool>(),
        collection::vec(ip, 0..2),
    )
        .prop_map(|(meshed, ports, workloads, mirror_of, service_profile, cluster_ips)| Service {
            meshed,
            ports,
            workloads,
            mirror_of,
            service_profile,
            cluster_ips,
        })
}

fn workload() -> impl Strategy<Value = Workload> {
    let port =
        (any::<u16>(), name()).prop_map(|(port, name)| WorkloadPort { port, name, protocol: "TCP".into() });
    let labels = collection::btree_map(name(), name(), 0..3);
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    let policy = (collection::vec(policy_id(), 0..2), collection::vec(policy_id(), 0..2), option::of(name()));
    (
        meshed(),
        counts,
        name(),
        option::of(identity()),
        collection::vec(object_id(), 0..2),
        policy,
        port,
        labels,
    )
        .prop_map(|(meshed, counts, service_account, identity, services, policy, port, labels)| {
            Workload {
                meshed,
                pods: counts.0,
                pods_meshed: counts.1,
                pods_ready: counts.2,
                service_account,
                identity,
                services,
                servers: policy.0,
                policies: policy.1,
                default_inbound_policy: policy.2,
                templates: vec![Template {
                    first: "pod-1".into(),
                    addresses: vec![[10, 0, 0, counts.2 as u8].into()],
                    count: counts.0,
                    annotations: Arc::new(labels.clone()),
                    ports: [ContainerPort {
                        port: port.port,
                        name: port.name.clone(),
                        protocol: port.protocol.clone(),
                    }]
                    .into(),
                    probes: [Probe { port: port.port, path: "/ready".into() }].into(),
                    proxy: counts.1 > 0,
                    ..Template::default()
                }],
                ports: vec![port],
                labels: Arc::new(labels),
            }
        })
}

fn external() -> impl Strategy<Value = External> {
    option::of(object_id()).prop_map(|egress_network| External { egress_network })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    option::of(name()).prop_map(|extension| Namespace { extension })
}

fn policy() -> impl Strategy<Value = Policy> {
    let text = select(&["", "a \"quoted\" word", "\u{202e}bidi\u{0}", "/slash/~tilde"][..]);
    let spec = (any::<i64>(), any::<bool>(), text).prop_map(
        |(number, flag, text)| json!({"port": number, "nested": {"flag": flag, "list": [text, null]}}),
    );
    let status = prop_oneof![Just(Value::Null), Just(json!({"conditions": []}))];
    (policy_kind(), option::of(any::<i64>()), spec, status).prop_map(|(kind, created_ms, spec, status)| {
        Policy {
            kind,
            api_version: "policy.linkerd.io/v1beta3".into(),
            created_ms,
            labels: Arc::default(),
            spec: Arc::new(spec),
            status: Arc::new(status),
        }
    })
}

fn status() -> impl Strategy<Value = TopologyStatus> {
    let state = prop_oneof![
        Just(WatchState::Syncing),
        Just(WatchState::Synced),
        Just(WatchState::Absent),
        Just(WatchState::Failing { detail: "connection refused".into() }),
    ];
    let kind = select(&[Kind::Pod, Kind::Service, Kind::Link][..]);
    collection::btree_map(kind, state, 0..3).prop_map(|kinds: BTreeMap<_, _>| TopologyStatus { kinds })
}

fn edges() -> impl Strategy<Value = OrdMap<EdgeId, Arc<Edge>>> {
    collection::vec(edge(), 0..8).prop_map(|edges| {
        edges.into_iter().map(|edge| (EdgeId::new(&edge.src, &edge.dst), Arc::new(edge))).collect()
    })
}

fn edge() -> impl Strategy<Value = Edge> {
    let source = prop_oneof![
        workload_id().prop_map(Source::Workload),
        identity().prop_map(Source::Identity),
        Just(Source::Unmeshed("no_tls_from_remote".into())),
    ];
    let port = || option::of(1_u16..);
    let destination = prop_oneof![
        (object_id(), port()).prop_map(|(id, port)| Destination::Service(id, port)),
        (workload_id(), port()).prop_map(|(id, port)| Destination::Workload(id, port)),
        external_id().prop_map(Destination::External),
    ];
    let tls = prop_oneof![
        Just(Tls::Mutual),
        Just(Tls::Unknown),
        Just(Tls::No { reason: "not_provided_by_service_discovery".into() }),
    ];
    let lists = (
        collection::vec(identity(), 0..2),
        collection::vec(workload_id(), 0..2),
        collection::vec(object_id(), 0..2),
        collection::vec(workload_id(), 0..2),
    );
    (
        (source, destination, tls),
        select(&[Protocol::Http, Protocol::Grpc, Protocol::Tcp][..]),
        select(&[ObservedBy::Client, ObservedBy::Server][..]),
        option::of(identity()),
        option::of(name()),
        lists,
    )
        .prop_map(|((src, dst, tls), protocol, observed_by, client_identity, target_cluster, lists)| {
            Edge {
                src,
                dst,
                protocol,
                tls,
                client_identity,
                server_identities: lists.0,
                workloads: lists.1,
                backends: lists.2,
                observed_by,
                candidates: lists.3,
                target_cluster,
            }
        })
}
