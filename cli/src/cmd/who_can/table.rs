//! Ports and who is let in; calls and how they are decided.

use crate::output::{
    columns::{self, Lean},
    number,
    policy::{NONE, client, grantee, lets_in, list, object, on_some_routes, port, word},
    text::clean,
};
use linkerd_mcp_proto::v1::{AccessCall, Grant, PortAccess};

const PORTS: [(&str, Lean); 6] = [
    ("PORT", Lean::Left),
    ("SERVICES", Lean::Left),
    ("SERVER", Lean::Left),
    ("PROTOCOL", Lean::Left),
    ("OPEN TO", Lean::Left),
    ("LETS IN", Lean::Left),
];

const MORE: [(&str, Lean); 3] = [("PODS", Lean::Right), ("DENIED", Lean::Right), ("UNROUTED", Lean::Right)];

const CALLS: [(&str, Lean); 5] = [
    ("FROM", Lean::Left),
    ("TO", Lean::Left),
    ("DECISION", Lean::Left),
    ("RPS", Lean::Right),
    ("BY", Lean::Left),
];

/// One row for each port; wide ones have the numbers before the last column. Empty for none.
pub(super) fn ports(ports: &[PortAccess], home: &str, wide: bool) -> String {
    if ports.is_empty() {
        return String::new();
    }
    let (first, last) = PORTS.split_at(PORTS.len() - 1);
    let header = if wide { [first, &MORE, last].concat() } else { PORTS.to_vec() };
    let row = |it: &PortAccess| {
        let mut row = vec![
            port(&it.workload, it.port, home),
            list(it.services.iter().map(|service| clean(service))),
            if it.server.is_empty() { NONE.to_owned() } else { object(&it.server, home) },
            if it.protocol.is_empty() { NONE.to_owned() } else { clean(&it.protocol) },
            open_to(&it.open_to),
        ];
        if wide {
            row.extend([it.pods.to_string(), number::rate(it.denied_per_s), number::rate(it.unrouted_per_s)]);
        }
        row.push(lets_in_cell(it, home));
        row
    };
    let mut rows: Vec<Vec<String>> = ports.iter().map(row).collect();
    rows.dedup();
    columns::print(&header, &rows)
}

/// One word for people.
fn open_to(word: &str) -> String {
    match word {
        "not_enforced" => "everyone (not enforced)".to_owned(),
        "listed" => "listed clients".to_owned(),
        "meshed" => "the mesh".to_owned(),
        "networks" => "some networks".to_owned(),
        other => clean(other),
    }
}

fn lets_in_cell(port: &PortAccess, home: &str) -> String {
    let mut parts: Vec<String> = port.grants.iter().map(|it| grant(it, home)).collect();
    for route in &port.routes {
        let matches = list(route.matches.iter().map(|it| clean(it)));
        let also = match &route.grants[..] {
            [] => String::new(),
            grants => format!(": {}", list(grants.iter().map(|it| grant(it, home)))),
        };
        parts.push(format!("[{} {matches}{also}]", object(&route.route, home)));
    }
    list(parts)
}

fn grant(grant: &Grant, home: &str) -> String {
    let who = list(grant.clients.iter().map(|it| grantee(it, home)));
    let networks = match &grant.networks[..] {
        [] => String::new(),
        networks => format!(" from {}", list(networks.iter().map(|net| clean(net)))),
    };
    format!("{} ({who}{networks})", object(&grant.authorization, home))
}

/// One row for each call, what is let in first. Without `all` only that.
pub(super) fn calls(calls: &[AccessCall], home: &str, all: bool) -> String {
    let mut rows: Vec<(u8, Vec<String>)> =
        calls.iter().map(|call| (rank(call), row(call, home))).filter(|(rank, _)| all || *rank < 3).collect();
    rows.sort();
    rows.dedup();
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    if rows.is_empty() { String::new() } else { columns::print(&CALLS, &rows) }
}

/// How many calls are denied on every route.
pub(super) fn denied(calls: &[AccessCall]) -> usize {
    calls.iter().filter(|call| rank(call) == 3).count()
}

fn rank(call: &AccessCall) -> u8 {
    match call.decision() {
        decision if lets_in(decision) => 0,
        _ if on_some_routes(call) => 1,
        _ => 3,
    }
}

fn row(call: &AccessCall, home: &str) -> Vec<String> {
    let decision = if on_some_routes(call) { "some routes" } else { word(call.decision()) };
    let mut by = list(call.by.iter().map(|id| object(id, home)));
    if !call.only_routes.is_empty() {
        by.push_str(&format!(" on {}", list(call.only_routes.iter().map(|id| object(id, home)))));
    }
    if call.by.is_empty() && lets_in(call.decision()) {
        "no policy is enforced there".clone_into(&mut by);
    }
    vec![
        client(&call.from, home),
        port(&call.workload, call.port, home),
        decision.to_owned(),
        number::rate(call.rps),
        by,
    ]
}
