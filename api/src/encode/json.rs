//! Graph values as the JSON that people and scripts read. Maps are keyed by stable ids; what is not known is not
//! there.

use super::{Detail, Source, timestamp};
use bytes::Bytes;
use linkerd_mcp_graph::{
    id::{ServiceId, Text, WorkloadId},
    metrics::EdgeMetrics,
    model::{Edge, Meshed, Policy, Service, ServicePort, Tls, Workload},
    query::{NodeRollup, Rollup},
};
use linkerd_mcp_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};

/// The members of a graph's JSON object, without the braces and without `freshness`.
pub(crate) fn body(source: &Source<'_>) -> Bytes {
    let part = &source.part;
    let mut out = Vec::with_capacity(512 * part.edges.len());
    if source.detail != Detail::Edges {
        let rollup = |key: &str| source.rollups.get(key);
        section(
            &mut out,
            "services",
            part.services.iter().map(|(id, it)| (id.as_str(), service(id, it, &rollup(id.as_str())))),
        );
        section(
            &mut out,
            "workloads",
            part.workloads.iter().map(|(id, it)| (id.as_str(), workload(id, it, &rollup(id.as_str())))),
        );
        section(&mut out, "externals", part.externals.iter().map(|(id, it)| (id.as_str(), it)));
    }
    section(
        &mut out,
        "edges",
        source.numbered.iter().map(|((id, it), numbers)| (id.as_str(), edge(it, *numbers))),
    );
    if source.detail != Detail::Edges {
        let spec = source.detail == Detail::Full;
        section(
            &mut out,
            "authPolicies",
            part.auth_policies
                .iter()
                .map(|(id, it)| (id.as_str(), policy(id.namespace(), id.name(), it, spec))),
        );
        section(
            &mut out,
            "policies",
            part.policies.iter().map(|(id, it)| (id.as_str(), policy(id.namespace(), id.name(), it, spec))),
        );
    }
    out.into()
}

/// The pieces of a JSON object: `first` members, a shared body, and how fresh it is.
pub(crate) fn pieces(first: &str, body: Bytes, freshness: &v1::Freshness) -> [Bytes; 3] {
    let start = if first.is_empty() { "{".to_owned() } else { format!("{{{first},") };
    [
        start.into(),
        body,
        format!(",\"freshness\":{}}}\n", linkerd_mcp_proto::json::freshness_of(freshness)).into(),
    ]
}

fn section<'a, T: Serialize>(out: &mut Vec<u8>, name: &str, entries: impl Iterator<Item = (&'a str, T)>) {
    if !out.is_empty() {
        out.push(b',');
    }
    write(out, &name);
    out.extend_from_slice(b":{");
    for (nth, (key, value)) in entries.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write(out, &key);
        out.push(b':');
        write(out, &value);
    }
    out.push(b'}');
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("a vector takes every byte and every value here is JSON");
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    namespace: &'a str,
    name: &'a str,
    /// All pods are meshed.
    meshed: bool,
    meshed_pods: Meshed,
    ports: Vec<PortJson<'a>>,
    workloads: &'a [WorkloadId],
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror_of: Option<&'a Text>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    service_profile: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cluster_ips: &'a [std::net::IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    inbound: Option<RollupJson>,
}

#[derive(Serialize)]
struct PortJson<'a> {
    port: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    protocol: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target_port: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    opaque: bool,
}

#[derive(Serialize)]
struct RollupJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
}

#[derive(Serialize)]
struct WorkloadJson<'a> {
    namespace: &'a str,
    kind: &'a str,
    name: &'a str,
    meshed: bool,
    meshed_pods: Meshed,
    pods: u32,
    pods_meshed: u32,
    pods_ready: u32,
    service_account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a Text>,
    services: &'a [ServiceId],
    servers: &'a [linkerd_mcp_graph::id::PolicyId],
    policies: &'a [linkerd_mcp_graph::id::PolicyId],
    ports: Vec<PortJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_inbound_policy: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inbound: Option<RollupJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound: Option<RollupJson>,
}

#[derive(Serialize)]
struct EdgeJson<'a> {
    src: String,
    dst: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
    protocol: linkerd_mcp_graph::model::Protocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_tls_reason: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtls_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_identity: Option<&'a Text>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    server_identities: &'a [Text],
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unrouted_per_s: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    workloads: &'a [WorkloadId],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    backends: &'a [ServiceId],
    observed_by: linkerd_mcp_graph::model::ObservedBy,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    src_candidates: &'a [WorkloadId],
    #[serde(skip_serializing_if = "Option::is_none")]
    target_cluster: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
}

#[derive(Serialize)]
struct PolicyJson<'a> {
    kind: &'static str,
    api_version: &'a str,
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a Value>,
}

fn rollup(it: &Rollup) -> Option<RollupJson> {
    (!it.is_empty()).then_some(RollupJson {
        rps: it.rps,
        success_rate: it.success_rate,
        denied_per_s: it.denied,
    })
}

fn service<'a>(id: &'a ServiceId, it: &'a Service, numbers: &NodeRollup) -> ServiceJson<'a> {
    ServiceJson {
        namespace: id.namespace(),
        name: id.name(),
        meshed: it.meshed == Meshed::All,
        meshed_pods: it.meshed,
        ports: it.ports.iter().map(port).collect(),
        workloads: &it.workloads,
        mirror_of: it.mirror_of.as_ref(),
        service_profile: it.service_profile,
        cluster_ips: &it.cluster_ips,
        inbound: rollup(&numbers.inbound),
    }
}

fn port(it: &ServicePort) -> PortJson<'_> {
    PortJson {
        port: it.port,
        name: &it.name,
        protocol: &it.protocol,
        target_port: &it.target,
        opaque: it.opaque,
    }
}

fn workload<'a>(id: &'a WorkloadId, it: &'a Workload, numbers: &NodeRollup) -> WorkloadJson<'a> {
    let ports = it.ports.iter().map(|port| PortJson {
        port: port.port,
        name: &port.name,
        protocol: &port.protocol,
        target_port: "",
        opaque: false,
    });
    WorkloadJson {
        namespace: id.namespace(),
        kind: id.kind(),
        name: id.name(),
        meshed: it.meshed == Meshed::All,
        meshed_pods: it.meshed,
        pods: it.pods,
        pods_meshed: it.pods_meshed,
        pods_ready: it.pods_ready,
        service_account: &it.service_account,
        identity: it.identity.as_ref(),
        services: &it.services,
        servers: &it.servers,
        policies: &it.policies,
        ports: ports.collect(),
        default_inbound_policy: it.default_inbound_policy.as_ref(),
        inbound: rollup(&numbers.inbound),
        outbound: rollup(&numbers.outbound),
    }
}

fn edge<'a>(it: &'a Edge, numbers: Option<&EdgeMetrics>) -> EdgeJson<'a> {
    let none = EdgeMetrics::default();
    let numbers = numbers.unwrap_or(&none);
    let (tls, no_tls_reason) = match &it.tls {
        Tls::Mutual => (Some(true), None),
        Tls::No { reason } => (Some(false), Some(reason)),
        Tls::Unknown => (None, None),
    };
    EdgeJson {
        src: it.src.to_string(),
        dst: it.dst.to_string(),
        src_namespace: it.src.namespace(),
        dst_namespace: it.dst.namespace(),
        dst_port: it.dst.port(),
        protocol: it.protocol,
        rps: numbers.rps,
        success_rate: numbers.success_rate,
        latency_ms: known([("p50", numbers.p50_ms), ("p95", numbers.p95_ms), ("p99", numbers.p99_ms)]),
        tcp: known([
            ("open", numbers.tcp_open),
            ("opened_per_s", numbers.tcp_opened),
            ("sent_bytes_per_s", numbers.sent),
            ("received_bytes_per_s", numbers.received),
        ]),
        tls,
        no_tls_reason,
        mtls_share: numbers.mtls_share,
        client_identity: it.client_identity.as_ref(),
        server_identities: &it.server_identities,
        authorized: authorized(numbers),
        retries_per_s: numbers.retries,
        unrouted_per_s: numbers.unrouted,
        workloads: &it.workloads,
        backends: &it.backends,
        observed_by: it.observed_by,
        src_candidates: &it.candidates,
        target_cluster: it.target_cluster.as_ref(),
        last_seen: numbers.last_seen_ms.map(|ms| timestamp(ms).to_string()),
    }
}

fn authorized(numbers: &EdgeMetrics) -> Option<Value> {
    let rates = known([("allowed_per_s", numbers.allowed), ("denied_per_s", numbers.denied)]);
    if numbers.authorized_by.is_empty() {
        return rates;
    }
    let mut value = rates.unwrap_or_else(|| json!({}));
    value["by"] = numbers.authorized_by.iter().map(|name| &**name).collect();
    Some(value)
}

/// An object of the numbers that are known; none when there are none.
fn known<const N: usize>(numbers: [(&str, Option<f64>); N]) -> Option<Value> {
    let known = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?))));
    let known: serde_json::Map<_, _> = known.collect();
    (!known.is_empty()).then_some(Value::Object(known))
}

fn policy<'a>(namespace: &'a str, name: &'a str, it: &'a Policy, spec: bool) -> PolicyJson<'a> {
    PolicyJson {
        kind: it.kind.row().name,
        api_version: &it.api_version,
        namespace,
        name,
        created: it.created_ms.map(|ms| timestamp(ms).to_string()),
        spec: spec.then_some(&*it.spec),
    }
}
