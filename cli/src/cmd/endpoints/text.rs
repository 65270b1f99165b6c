//! Endpoints for people, and what of them differs from the graph.

use crate::output::{
    columns::{self, Lean},
    policy::{NONE, client},
    text::{clean, clean_line},
};
use linkerd_mcp_proto::v1::{CompareEndpointsResponse, ToldEndpoint};

const HEADER: [(&str, Lean); 7] = [
    ("ADDRESS", Lean::Left),
    ("WEIGHT", Lean::Right),
    ("POD", Lean::Left),
    ("WORKLOAD", Lean::Left),
    ("IDENTITY", Lean::Left),
    ("HINT", Lean::Left),
    ("ZONE", Lean::Left),
];

/// A row per endpoint, then a line per difference; empty for neither.
pub(super) fn print(answer: &CompareEndpointsResponse) -> String {
    let rows: Vec<_> = answer.endpoints.iter().map(row).collect();
    let mut out = if rows.is_empty() { String::new() } else { columns::print(&HEADER, &rows) };
    for difference in &answer.differences {
        out.push_str(&format!("Difference: {}\n", clean_line(difference)));
    }
    out
}

/// Identities stand there whole: their trust domain is part of what proxies demand.
fn row(endpoint: &ToldEndpoint) -> Vec<String> {
    vec![
        clean(&endpoint.address),
        endpoint.weight.to_string(),
        cell(clean(&endpoint.pod)),
        cell(client(&endpoint.workload, "")),
        cell(clean(&endpoint.identity)),
        cell(clean(&endpoint.protocol_hint)),
        cell(clean(&endpoint.zone)),
    ]
}

fn cell(text: String) -> String {
    if text.is_empty() { NONE.to_owned() } else { text }
}

/// What an empty place on stdout means.
pub(super) fn summary(answer: &CompareEndpointsResponse) -> Option<&'static str> {
    match (answer.endpoints.is_empty(), answer.differences.is_empty()) {
        (true, true) => Some("Proxies are told of no endpoints. Nothing differs from the graph."),
        (true, false) => Some("Proxies are told of no endpoints."),
        (false, true) => Some("Nothing differs from the graph."),
        (false, false) => None,
    }
}
