//! Graph values as messages of `mcp.v1`.

use super::{Detail, Source, timestamp};
use bytes::Bytes;
use linkerd_mcp_graph::{
    delta::{Changes, Delta},
    id::{Destination, EdgeId, ExternalId, ObjectId, ServiceId, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, External, Graph, Meshed, ObservedBy, Policy, Protocol, Service, Tls, Workload},
    query::{NodeRollup, Rollup},
};
use linkerd_mcp_proto::v1;
use prost::encoding::message;
use std::collections::BTreeMap;

mod written;

/// Fields of [`v1::MeshGraph`].
const SERVICES: u32 = 2;
const WORKLOADS: u32 = 3;
const EXTERNALS: u32 = 4;
const EDGES: u32 = 5;
const POLICIES: u32 = 6;

/// A [`v1::MeshGraph`] without its freshness. Entries are encoded one by one: the whole graph as a message would be
/// several times as large as its bytes.
pub(crate) fn body(source: &Source<'_>) -> Bytes {
    let mut bytes = Vec::with_capacity(256 * source.part.edges.len());
    if source.detail != Detail::Edges {
        for (id, it) in &source.part.services {
            message::encode(SERVICES, &service(id, it, &source.rollups.get(id.as_str())), &mut bytes);
        }
        for (id, it) in &source.part.workloads {
            message::encode(WORKLOADS, &workload(id, it, &source.rollups.get(id.as_str())), &mut bytes);
        }
        for (id, it) in &source.part.externals {
            message::encode(EXTERNALS, &external(id, it), &mut bytes);
        }
    }
    for ((id, it), numbers) in &source.numbered {
        written::edge(EDGES, id, it, *numbers, &mut bytes);
    }
    if source.detail != Detail::Edges {
        let spec = source.detail == Detail::Full;
        for (id, it) in &source.part.auth_policies {
            message::encode(
                POLICIES,
                &policy(auth_policy_id(id), id.namespace(), id.name(), it, spec),
                &mut bytes,
            );
        }
        for (id, it) in &source.part.policies {
            message::encode(
                POLICIES,
                &policy(id.to_string(), id.namespace(), id.name(), it, spec),
                &mut bytes,
            );
        }
    }
    bytes.into()
}

/// A change. With a namespace, what of it concerns that namespace.
pub(crate) fn delta(change: &Delta, graph: &Graph, metrics: &Metrics, namespace: Option<&str>) -> v1::Delta {
    let wanted = |of: &str| namespace.is_none_or(|namespace| namespace == of);
    let edges: Vec<_> = change.edges.put.iter().filter(|(_, edge)| touches(edge, namespace)).collect();
    let mut externals: BTreeMap<&ExternalId, _> = BTreeMap::new();
    if namespace.is_none() {
        externals.extend(change.externals.put.iter().map(|(id, it)| (id, it)));
    } else {
        // An external is part of a namespace's graph by the edges that lead to it.
        let of_edges = edges.iter().filter_map(|(_, edge)| match &edge.dst {
            Destination::External(id) => graph.externals.get_key_value(id),
            _ => None,
        });
        externals.extend(of_edges);
    }
    let none = NodeRollup::default();
    let auth_policies = change.auth_policies.put.iter().filter(|(id, _)| wanted(id.namespace()));
    let policies = change.policies.put.iter().filter(|(id, _)| wanted(id.namespace()));
    v1::Delta {
        position: None,
        services: puts(&change.services, |id, it| wanted(id.namespace()).then(|| service(id, it, &none))),
        workloads: puts(&change.workloads, |id, it| wanted(id.namespace()).then(|| workload(id, it, &none))),
        externals: externals.into_iter().map(|(id, it)| external(id, it)).collect(),
        edges: edges.into_iter().map(|(id, it)| edge(id, it, metrics.get(id))).collect(),
        policies: auth_policies
            .map(|(id, it)| policy(auth_policy_id(id), id.namespace(), id.name(), it, true))
            .chain(policies.map(|(id, it)| policy(id.to_string(), id.namespace(), id.name(), it, true)))
            .collect(),
        removed_services: removed(&change.services.removed, |id| wanted(id.namespace())),
        removed_workloads: removed(&change.workloads.removed, |id| wanted(id.namespace())),
        removed_externals: removed(&change.externals.removed, |_| true),
        removed_edges: removed(&change.edges.removed, |id| edge_id_touches(id, namespace)),
        removed_policies: {
            let auth = change.auth_policies.removed.iter().filter(|id| wanted(id.namespace()));
            let other = change.policies.removed.iter().filter(|id| wanted(id.namespace()));
            auth.map(auth_policy_id).chain(other.map(ToString::to_string)).collect()
        },
        freshness: None,
    }
}

/// True when nothing is in it but where and when.
pub(crate) fn is_empty(delta: &v1::Delta) -> bool {
    *delta
        == v1::Delta { position: delta.position, freshness: delta.freshness.clone(), ..v1::Delta::default() }
}

pub(crate) fn numbers<'a>(
    edges: impl IntoIterator<Item = &'a EdgeId>,
    metrics: &Metrics,
) -> Vec<v1::EdgeNumbers> {
    edges
        .into_iter()
        .filter_map(|id| metrics.get(id).map(|numbers| (id, numbers)))
        .map(|(id, numbers)| v1::EdgeNumbers {
            edge_id: id.to_string(),
            metrics: Some(edge_metrics(numbers)),
        })
        .collect()
}

fn touches(edge: &Edge, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| [edge.src.namespace(), edge.dst.namespace()].contains(&Some(namespace)))
}

/// As [`touches`], for an edge that is gone: its id names both ends.
fn edge_id_touches(id: &EdgeId, namespace: Option<&str>) -> bool {
    let Some(namespace) = namespace else { return true };
    let Some((source, destination)) = id.as_str().split_once("->") else { return false };
    let source = source.parse::<linkerd_mcp_graph::id::Source>().ok();
    let destination = destination.parse::<Destination>().ok();
    source.as_ref().and_then(|it| it.namespace()) == Some(namespace)
        || destination.as_ref().and_then(|it| it.namespace()) == Some(namespace)
}

fn puts<K, V, M>(changes: &Changes<K, V>, message: impl Fn(&K, &V) -> Option<M>) -> Vec<M> {
    changes.put.iter().filter_map(|(id, it)| message(id, it)).collect()
}

fn removed<K: ToString>(ids: &[K], wanted: impl Fn(&K) -> bool) -> Vec<String> {
    ids.iter().filter(|id| wanted(id)).map(ToString::to_string).collect()
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn text(text: Option<&linkerd_mcp_graph::id::Text>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

fn meshed(meshed: Meshed) -> i32 {
    match meshed {
        Meshed::None => v1::Meshed::None,
        Meshed::Some => v1::Meshed::Some,
        Meshed::All => v1::Meshed::All,
    }
    .into()
}

fn rollup(rollup: &Rollup) -> Option<v1::NodeMetrics> {
    (!rollup.is_empty()).then_some(v1::NodeMetrics {
        rps: rollup.rps,
        success_rate: rollup.success_rate,
        denied_per_s: rollup.denied,
    })
}

fn service(id: &ServiceId, it: &Service, numbers: &NodeRollup) -> v1::Service {
    v1::Service {
        id: id.to_string(),
        namespace: id.namespace().to_owned(),
        name: id.name().to_owned(),
        meshed: meshed(it.meshed),
        ports: it
            .ports
            .iter()
            .map(|port| v1::ServicePort {
                port: port.port.into(),
                name: port.name.to_string(),
                protocol: port.protocol.to_string(),
                target_port: port.target.to_string(),
                opaque: port.opaque,
            })
            .collect(),
        workloads: strings(&it.workloads),
        mirror_of: text(it.mirror_of.as_ref()),
        has_service_profile: it.service_profile,
        cluster_ips: strings(&it.cluster_ips),
        inbound: rollup(&numbers.inbound),
    }
}

fn workload(id: &WorkloadId, it: &Workload, numbers: &NodeRollup) -> v1::Workload {
    v1::Workload {
        id: id.to_string(),
        namespace: id.namespace().to_owned(),
        kind: id.kind().to_owned(),
        name: id.name().to_owned(),
        meshed: meshed(it.meshed),
        pods: it.pods,
        pods_meshed: it.pods_meshed,
        pods_ready: it.pods_ready,
        service_account: it.service_account.to_string(),
        identity: text(it.identity.as_ref()),
        services: strings(&it.services),
        servers: strings(&it.servers),
        policies: strings(&it.policies),
        ports: it
            .ports
            .iter()
            .map(|port| v1::WorkloadPort {
                port: port.port.into(),
                name: port.name.to_string(),
                protocol: port.protocol.to_string(),
            })
            .collect(),
        default_inbound_policy: text(it.default_inbound_policy.as_ref()),
        inbound: rollup(&numbers.inbound),
        outbound: rollup(&numbers.outbound),
    }
}

fn external(id: &ExternalId, it: &External) -> v1::External {
    let egress_network = it.egress_network.as_ref().map(ToString::to_string).unwrap_or_default();
    v1::External { id: id.to_string(), egress_network }
}

fn protocol(protocol: Protocol) -> i32 {
    match protocol {
        Protocol::Http => v1::Protocol::Http,
        Protocol::Grpc => v1::Protocol::Grpc,
        Protocol::Tcp => v1::Protocol::Tcp,
    }
    .into()
}

fn observed_by(observed_by: ObservedBy) -> i32 {
    match observed_by {
        ObservedBy::Client => v1::ObservedBy::Client,
        ObservedBy::Server => v1::ObservedBy::Server,
    }
    .into()
}

/// In a change. Those of a graph are [`written`] without a message.
fn edge(id: &EdgeId, it: &Edge, numbers: Option<&EdgeMetrics>) -> v1::Edge {
    let (tls, no_tls_reason) = match &it.tls {
        Tls::Mutual => (Some(true), String::new()),
        Tls::No { reason } => (Some(false), reason.to_string()),
        Tls::Unknown => (None, String::new()),
    };
    v1::Edge {
        id: id.to_string(),
        src: it.src.to_string(),
        dst: it.dst.to_string(),
        src_namespace: it.src.namespace().unwrap_or_default().to_owned(),
        dst_namespace: it.dst.namespace().unwrap_or_default().to_owned(),
        dst_port: it.dst.port().unwrap_or_default().into(),
        protocol: protocol(it.protocol),
        tls,
        no_tls_reason,
        client_identity: text(it.client_identity.as_ref()),
        server_identities: strings(&it.server_identities),
        backends: strings(&it.workloads).into_iter().chain(strings(&it.backends)).collect(),
        observed_by: observed_by(it.observed_by),
        src_candidates: strings(&it.candidates),
        metrics: numbers.map(edge_metrics),
        target_cluster: text(it.target_cluster.as_ref()),
    }
}

fn edge_metrics(it: &EdgeMetrics) -> v1::EdgeMetrics {
    v1::EdgeMetrics {
        rps: it.rps,
        success_rate: it.success_rate,
        latency_p50_ms: it.p50_ms,
        latency_p95_ms: it.p95_ms,
        latency_p99_ms: it.p99_ms,
        tcp_open: it.tcp_open,
        tcp_opened_per_s: it.tcp_opened,
        bytes_sent_per_s: it.sent,
        bytes_received_per_s: it.received,
        allowed_per_s: it.allowed,
        denied_per_s: it.denied,
        mtls_share: it.mtls_share,
        retries_per_s: it.retries,
        last_seen_ms: it.last_seen_ms,
        authorized_by: strings(&it.authorized_by),
        unrouted_per_s: it.unrouted,
    }
}

/// The graph keeps AuthorizationPolicies apart; on the wire they are policies like the others.
fn auth_policy_id(id: &ObjectId) -> String {
    format!("authorizationpolicy/{id}")
}

fn policy(id: String, namespace: &str, name: &str, it: &Policy, spec: bool) -> v1::Policy {
    v1::Policy {
        id,
        kind: it.kind.row().name.to_owned(),
        api_version: it.api_version.to_string(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        spec: if spec { struct_of(&it.spec) } else { None },
        created: it.created_ms.map(timestamp),
    }
}

fn struct_of(value: &serde_json::Value) -> Option<prost_types::Struct> {
    let fields = value.as_object()?;
    let fields = fields.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
    Some(prost_types::Struct { fields })
}

fn value_of(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or_default()),
        Value::String(it) => Kind::StringValue(it.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(value_of).collect() })
        }
        Value::Object(_) => Kind::StructValue(struct_of(value).unwrap_or_default()),
    };
    prost_types::Value { kind: Some(kind) }
}
