//! The graph as one document for programs: what `json` and `yaml` print.
//!
//! Maps are keyed by stable ids, names are those of `GET /v1/graph`, and what is not known is left out.

use linkerd_mcp_proto::v1::{
    Edge, EdgeMetrics, Freshness, MeshGraph, Meshed, NodeMetrics, ObservedBy, Policy, Position, Service,
    Workload,
};
use prost_types::{Struct, Timestamp, Value, value::Kind};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// A value of a document. Maps keep the order they were made in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A map under construction, without what is absent.
#[derive(Default)]
struct Map(Vec<(String, Node)>);

/// The whole graph.
pub(crate) fn graph(graph: &MeshGraph) -> Node {
    let (auth_policies, policies): (Vec<_>, Vec<_>) =
        graph.policies.iter().partition(|policy| policy.id.starts_with("authorizationpolicy/"));
    Map::default()
        .put("services", by_id(&graph.services, |service| (service.id.clone(), self::service(service))))
        .put("workloads", by_id(&graph.workloads, |workload| (workload.id.clone(), self::workload(workload))))
        .put(
            "externals",
            by_id(&graph.externals, |external| {
                let node = Map::default().text("egress_network", &external.egress_network).node();
                (external.id.clone(), node)
            }),
        )
        .put("edges", by_id(&graph.edges, |edge| (edge.id.clone(), self::edge(edge))))
        .put(
            "authPolicies",
            by_id(auth_policies, |policy| {
                (format!("{}/{}", policy.namespace, policy.name), self::policy(policy))
            }),
        )
        .put("policies", by_id(policies, |policy| (policy.id.clone(), self::policy(policy))))
        .put("freshness", graph.freshness.as_ref().map(freshness))
        .node()
}

/// How fresh an answer is.
pub(crate) fn freshness(freshness: &Freshness) -> Node {
    let metrics = freshness.metrics.as_ref().map(|metrics| {
        Map::default()
            .put("stale", Node::Bool(metrics.stale))
            .text("reason", &metrics.reason)
            .put("as_of", metrics.as_of.as_ref().map(timestamp))
            .put("window_seconds", unsigned(metrics.window_seconds))
            .text("window_reason", &metrics.window_reason)
            .put(
                "unscraped",
                (metrics.unscraped_count > 0).then(|| {
                    Map::default()
                        .put("count", unsigned(metrics.unscraped_count))
                        .put("some", list(&metrics.unscraped))
                        .node()
                }),
            )
            .node()
    });
    let topology = freshness.topology.as_ref().map(|topology| {
        let not_synced = topology.not_synced.iter().map(|kind| {
            Map::default()
                .text("kind", &kind.kind)
                .text("state", &kind.state)
                .text("detail", &kind.detail)
                .node()
        });
        Map::default()
            .put("synced", Node::Bool(topology.synced))
            .put("not_synced", Node::List(not_synced.collect()))
            .node()
    });
    let feed = freshness.feed.as_ref().map(|feed| {
        Map::default()
            .put("connected", Node::Bool(feed.connected))
            .put("age_ms", Node::Unsigned(feed.age_ms))
            .put("epoch", feed.position.map(|position| Node::Unsigned(position.epoch)))
            .put("seq", feed.position.map(|position| Node::Unsigned(position.seq)))
            .node()
    });
    Map::default()
        .put("as_of", freshness.as_of.as_ref().map(timestamp))
        .put("metrics", metrics)
        .put("topology", topology)
        .put("feed", feed)
        .put("limited_to", (!freshness.limited_to.is_empty()).then(|| list(&freshness.limited_to)))
        .node()
}

/// A place in the stream.
pub(crate) fn position(position: Position) -> Node {
    Map::default()
        .put("epoch", Node::Unsigned(position.epoch))
        .put("seq", Node::Unsigned(position.seq))
        .node()
}

/// One edge with its numbers.
pub(crate) fn edge(edge: &Edge) -> Node {
    let none = EdgeMetrics::default();
    let metrics = edge.metrics.as_ref().unwrap_or(&none);
    let observed_by = match edge.observed_by() {
        ObservedBy::Client => "client",
        ObservedBy::Server => "server",
        ObservedBy::Unspecified => "",
    };
    let protocol = super::wide::protocol(edge.protocol());
    // One list on the wire; workloads have a kind in their id.
    let (workloads, backends): (Vec<_>, Vec<_>) =
        edge.backends.iter().cloned().partition(|id| id.matches('/').count() == 2);
    Map::default()
        .text("src", &edge.src)
        .text("dst", &edge.dst)
        .text("src_namespace", &edge.src_namespace)
        .text("dst_namespace", &edge.dst_namespace)
        .put("dst_port", (edge.dst_port > 0).then(|| unsigned(edge.dst_port)))
        .text("protocol", if protocol == super::number::UNKNOWN { "" } else { protocol })
        .and(traffic(metrics))
        .put("tls", edge.tls.map(Node::Bool))
        .text("no_tls_reason", &edge.no_tls_reason)
        .number("mtls_share", metrics.mtls_share)
        .text("client_identity", &edge.client_identity)
        .texts("server_identities", &edge.server_identities)
        .and(decisions(metrics))
        .texts("workloads", &workloads)
        .texts("backends", &backends)
        .text("observed_by", observed_by)
        .texts("src_candidates", &edge.src_candidates)
        .text("target_cluster", &edge.target_cluster)
        .put("last_seen", last_seen(metrics))
        .node()
}

/// The numbers of an edge by themselves.
pub(crate) fn metrics(metrics: &EdgeMetrics) -> Node {
    traffic(metrics)
        .number("mtls_share", metrics.mtls_share)
        .and(decisions(metrics))
        .put("last_seen", last_seen(metrics))
        .node()
}

fn traffic(metrics: &EdgeMetrics) -> Map {
    let latency = Map::default()
        .number("p50", metrics.latency_p50_ms)
        .number("p95", metrics.latency_p95_ms)
        .number("p99", metrics.latency_p99_ms);
    let tcp = Map::default()
        .number("open", metrics.tcp_open)
        .number("opened_per_s", metrics.tcp_opened_per_s)
        .number("sent_bytes_per_s", metrics.bytes_sent_per_s)
        .number("received_bytes_per_s", metrics.bytes_received_per_s);
    Map::default()
        .number("rps", metrics.rps)
        .number("success_rate", metrics.success_rate)
        .filled("latency_ms", latency)
        .filled("tcp", tcp)
}

fn decisions(metrics: &EdgeMetrics) -> Map {
    let authorized = Map::default()
        .number("allowed_per_s", metrics.allowed_per_s)
        .number("denied_per_s", metrics.denied_per_s)
        .texts("by", &metrics.authorized_by);
    Map::default()
        .filled("authorized", authorized)
        .number("retries_per_s", metrics.retries_per_s)
        .number("unrouted_per_s", metrics.unrouted_per_s)
}

fn last_seen(metrics: &EdgeMetrics) -> Option<Node> {
    metrics.last_seen_ms.map(|ms| timestamp(&moment(ms)))
}

fn service(service: &Service) -> Node {
    let ports = service.ports.iter().map(|port| {
        Map::default()
            .put("port", unsigned(port.port))
            .text("name", &port.name)
            .text("protocol", &port.protocol)
            .text("target_port", &port.target_port)
            .put("opaque", port.opaque.then_some(Node::Bool(true)))
            .node()
    });
    Map::default()
        .text("namespace", &service.namespace)
        .text("name", &service.name)
        .and(meshed(service.meshed()))
        .put("ports", Node::List(ports.collect()))
        .put("workloads", list(&service.workloads))
        .text("mirror_of", &service.mirror_of)
        .put("service_profile", service.has_service_profile.then_some(Node::Bool(true)))
        .texts("cluster_ips", &service.cluster_ips)
        .put("inbound", service.inbound.as_ref().map(rollup))
        .node()
}

fn workload(workload: &Workload) -> Node {
    let ports = workload.ports.iter().map(|port| {
        Map::default()
            .put("port", unsigned(port.port))
            .text("name", &port.name)
            .text("protocol", &port.protocol)
            .node()
    });
    Map::default()
        .text("namespace", &workload.namespace)
        .text("kind", &workload.kind)
        .text("name", &workload.name)
        .and(meshed(workload.meshed()))
        .put("pods", unsigned(workload.pods))
        .put("pods_meshed", unsigned(workload.pods_meshed))
        .put("pods_ready", unsigned(workload.pods_ready))
        .put("service_account", Node::Text(workload.service_account.clone()))
        .text("identity", &workload.identity)
        .put("services", list(&workload.services))
        .put("servers", list(&workload.servers))
        .put("policies", list(&workload.policies))
        .put("ports", Node::List(ports.collect()))
        .text("default_inbound_policy", &workload.default_inbound_policy)
        .put("inbound", workload.inbound.as_ref().map(rollup))
        .put("outbound", workload.outbound.as_ref().map(rollup))
        .node()
}

fn rollup(metrics: &NodeMetrics) -> Node {
    Map::default()
        .number("rps", metrics.rps)
        .number("success_rate", metrics.success_rate)
        .number("denied_per_s", metrics.denied_per_s)
        .node()
}

fn policy(policy: &Policy) -> Node {
    Map::default()
        .text("kind", &policy.kind)
        .text("api_version", &policy.api_version)
        .text("namespace", &policy.namespace)
        .text("name", &policy.name)
        .put("created", policy.created.as_ref().map(timestamp))
        .put("spec", policy.spec.as_ref().map(structure))
        .node()
}

/// A map of `items` by their ids, in the order of the ids.
pub(crate) fn by_id<T>(items: impl IntoIterator<Item = T>, entry: impl Fn(T) -> (String, Node)) -> Node {
    let mut entries: Vec<_> = items.into_iter().map(entry).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.dedup_by(|(a, _), (b, _)| a == b);
    Node::Map(entries)
}

/// Whether all pods are meshed, and how many are.
fn meshed(meshed: Meshed) -> Map {
    let pods = match meshed {
        Meshed::All => "all",
        Meshed::Some => "some",
        Meshed::None => "none",
        Meshed::Unspecified => return Map::default(),
    };
    Map::default().put("meshed", Node::Bool(meshed == Meshed::All)).text("meshed_pods", pods)
}

fn list(texts: &[String]) -> Node {
    Node::List(texts.iter().cloned().map(Node::Text).collect())
}

fn structure(structure: &Struct) -> Node {
    Node::Map(structure.fields.iter().map(|(key, field)| (key.clone(), value(field))).collect())
}

fn value(field: &Value) -> Node {
    match &field.kind {
        None | Some(Kind::NullValue(_)) => Node::Null,
        Some(Kind::BoolValue(flag)) => Node::Bool(*flag),
        // Struct knows no integers; Kubernetes wrote one.
        Some(Kind::NumberValue(number)) => match number_to_unsigned(*number) {
            Some(unsigned) => Node::Unsigned(unsigned),
            None => Node::Number(*number),
        },
        Some(Kind::StringValue(text)) => Node::Text(text.clone()),
        Some(Kind::ListValue(list)) => Node::List(list.values.iter().map(value).collect()),
        Some(Kind::StructValue(map)) => structure(map),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a small whole number"
)]
fn number_to_unsigned(number: f64) -> Option<u64> {
    let exact = (0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
    exact.then_some(number as u64)
}

fn timestamp(at: &Timestamp) -> Node {
    Node::Text(at.to_string())
}

fn moment(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: ms.div_euclid(1000), nanos }
}

fn unsigned(number: u32) -> Node {
    Node::Unsigned(u64::from(number))
}

// === impl Map ===

impl Map {
    fn put(mut self, key: &str, node: impl Into<Option<Node>>) -> Self {
        if let Some(node) = node.into() {
            self.0.push((key.to_owned(), node));
        }
        self
    }

    fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        let node = (!text.is_empty()).then(|| Node::Text(text.to_owned()));
        self.put(key, node)
    }

    fn texts(self, key: &str, texts: &[String]) -> Self {
        let node = (!texts.is_empty()).then(|| list(texts));
        self.put(key, node)
    }

    fn number(self, key: &str, number: Option<f64>) -> Self {
        self.put(key, super::number::known(number).map(Node::Number))
    }

    fn filled(self, key: &str, map: Self) -> Self {
        let node = (!map.0.is_empty()).then_some(Node::Map(map.0));
        self.put(key, node)
    }

    fn node(self) -> Node {
        Node::Map(self.0)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
