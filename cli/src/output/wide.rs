//! The table with everything that is known of an edge.

use super::{
    columns::{self, Lean},
    number, place, table,
    text::clean,
};
use linkerd_mcp_proto::v1::{Edge, EdgeMetrics, MeshGraph, ObservedBy, Protocol};

const MORE: [(&str, Lean); 16] = [
    ("PROTOCOL", Lean::Left),
    ("MTLS_SHARE", Lean::Right),
    ("NO_TLS_REASON", Lean::Left),
    ("CLIENT_ID", Lean::Left),
    ("SERVER_ID", Lean::Left),
    ("ALLOWED", Lean::Right),
    ("DENIED", Lean::Right),
    ("AUTHORIZED_BY", Lean::Left),
    ("RETRIES", Lean::Right),
    ("UNROUTED", Lean::Right),
    ("TCP_OPEN", Lean::Right),
    ("SENT", Lean::Right),
    ("RECEIVED", Lean::Right),
    ("LAST_SEEN", Lean::Right),
    ("SEEN_BY", Lean::Left),
    ("BACKENDS", Lean::Left),
];

/// The graph as a wide table; empty for a graph without edges.
pub(crate) fn print(graph: &MeshGraph) -> String {
    if graph.edges.is_empty() {
        return String::new();
    }
    let header = [table::first_columns(), &MORE].concat();
    let as_of = graph.freshness.as_ref().and_then(|freshness| freshness.as_of);
    let now_ms =
        as_of.map(|at| at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000));
    let rows: Vec<_> = table::sorted(graph).into_iter().map(|edge| row(edge, now_ms)).collect();
    columns::print(&header, &rows)
}

fn row(edge: &Edge, now_ms: Option<i64>) -> Vec<String> {
    let unknown = EdgeMetrics::default();
    let metrics = edge.metrics.as_ref().unwrap_or(&unknown);
    let backends = || edge.backends.iter().map(|id| place::short(id, place::namespace(edge)));
    let mut row = table::first_cells(edge);
    row.extend([
        protocol(edge.protocol()).to_owned(),
        number::percent(metrics.mtls_share),
        list(std::iter::once(clean(&edge.no_tls_reason))),
        list(std::iter::once(clean(&edge.client_identity))),
        list(edge.server_identities.iter().map(|identity| clean(identity))),
        number::rate(metrics.allowed_per_s),
        number::rate(metrics.denied_per_s),
        list(metrics.authorized_by.iter().map(|name| clean(name))),
        number::rate(metrics.retries_per_s),
        number::rate(metrics.unrouted_per_s),
        number::count(metrics.tcp_open),
        number::bytes(metrics.bytes_sent_per_s),
        number::bytes(metrics.bytes_received_per_s),
        number::age(metrics.last_seen_ms, now_ms),
        observed_by(edge.observed_by()).to_owned(),
        list(backends()),
    ]);
    row
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.filter(|item| !item.is_empty()).collect();
    if items.is_empty() { number::UNKNOWN.to_owned() } else { items.join(",") }
}

/// The protocol as one word.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
        Protocol::Unspecified => number::UNKNOWN,
    }
}

fn observed_by(observed_by: ObservedBy) -> &'static str {
    match observed_by {
        ObservedBy::Client => "client",
        ObservedBy::Server => "server",
        ObservedBy::Unspecified => number::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_wide_table_is_as_checked_in() {
        golden::compare("wide.txt", &print(&sample::graph()));
    }
}
