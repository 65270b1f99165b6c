//! The rows of `linkerd viz authz`.

use crate::output::{
    columns::{self, Lean},
    number,
    policy::{self, NONE, object},
};
use linkerd_mcp_proto::v1::{Grant, PortAccess};
use std::collections::BTreeMap;

const COLUMNS: [(&str, Lean); 9] = [
    ("ROUTE", Lean::Left),
    ("SERVER", Lean::Left),
    ("AUTHORIZATION", Lean::Left),
    ("UNAUTHORIZED", Lean::Right),
    ("SUCCESS", Lean::Right),
    ("RPS", Lean::Right),
    ("LATENCY_P50", Lean::Right),
    ("LATENCY_P95", Lean::Right),
    ("LATENCY_P99", Lean::Right),
];

const FIRST: [(&str, Lean); 1] = [("WORKLOAD", Lean::Left)];
const LAST: [(&str, Lean); 1] = [("UNROUTED", Lean::Right)];

/// What calls are let in by no authorization.
const UNAUTHORIZED: &str = "[UNAUTHORIZED]";

/// What is one row. Defaults sort behind objects, refusals last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    route: String,
    server: String,
    authorization: String,
}

/// The numbers of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    unauthorized: Option<f64>,
    unrouted: Option<f64>,
    rps: Option<f64>,
    /// The sum over calls of their success, and of the calls whose success is known.
    succeeded: f64,
    judged: f64,
    /// The rate of success of one row without calls.
    success: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// Rows that are about the same are one, whatever workload they are of.
pub(super) fn print(ports: &[PortAccess]) -> String {
    let mut order: Vec<Row> = Vec::new();
    let mut sums: BTreeMap<Row, Numbers> = BTreeMap::new();
    for (_, rows) in each(ports) {
        for (row, numbers) in rows {
            if !order.contains(&row) {
                order.push(row.clone());
            }
            sums.entry(row).or_default().add(numbers);
        }
    }
    let rows: Vec<Vec<String>> = order.iter().filter_map(|row| Some(cells(row, sums.get(row)?))).collect();
    if rows.is_empty() { String::new() } else { columns::print(&COLUMNS, &rows) }
}

/// A row for each port, with what is answered with 404.
pub(super) fn print_wide(ports: &[PortAccess]) -> String {
    let header = [&FIRST[..], &COLUMNS, &LAST].concat();
    let mut lines = Vec::new();
    for (port, rows) in each(ports) {
        let home = policy::namespace_of(&port.workload);
        for (row, numbers) in rows {
            let mut line = vec![policy::port(&port.workload, port.port, home)];
            line.extend(cells(&row, &numbers));
            line.push(number::rate(numbers.unrouted));
            lines.push(line);
        }
    }
    if lines.is_empty() { String::new() } else { columns::print(&header, &lines) }
}

/// The ports with their rows. Pods of one workload that are not alike share their numbers, which therefore count once.
fn each(ports: &[PortAccess]) -> Vec<(&PortAccess, Vec<(Row, Numbers)>)> {
    let mut seen: Vec<(&str, u32, Row)> = Vec::new();
    let mut all = Vec::new();
    for port in ports {
        let mut rows = rows(port);
        rows.retain(|(row, _)| {
            let key = (port.workload.as_str(), port.port, row.clone());
            let new = !seen.contains(&key);
            if new {
                seen.push(key);
            }
            new
        });
        all.push((port, rows));
    }
    all
}

fn rows(port: &PortAccess) -> Vec<(Row, Numbers)> {
    let home = policy::namespace_of(&port.workload);
    let server = match port.server.as_str() {
        "" => NONE.to_owned(),
        // As viz writes it: the column says that it is a Server.
        server => object(server, home).trim_start_matches("server/").to_owned(),
    };
    let row = |route: &str, authorization: String| Row {
        route: route.to_owned(),
        server: server.clone(),
        authorization,
    };
    let mut rows: Vec<(Row, Numbers)> =
        port.grants.iter().map(|it| (row("*", object(&it.authorization, home)), Numbers::of(it))).collect();
    for route in &port.routes {
        let name = object(&route.route, home);
        rows.extend(
            route.grants.iter().map(|it| (row(&name, object(&it.authorization, home)), Numbers::of(it))),
        );
    }
    if port.server.is_empty() {
        rows.push((row("*", "[NOT ENFORCED]".to_owned()), Numbers::default()));
    } else if rows.is_empty() || port.denied_per_s.is_some_and(|denied| denied > 0.0) {
        let numbers = Numbers { unauthorized: port.denied_per_s, ..Numbers::default() };
        rows.push((row("*", UNAUTHORIZED.to_owned()), numbers));
    }
    if let Some((_, first)) = rows.first_mut() {
        first.unrouted = port.unrouted_per_s;
    }
    rows
}

fn cells(row: &Row, numbers: &Numbers) -> Vec<String> {
    vec![
        row.route.clone(),
        row.server.clone(),
        row.authorization.clone(),
        number::rate(numbers.unauthorized),
        number::percent(numbers.success()),
        number::rate(numbers.rps),
        number::latency(numbers.p50),
        number::latency(numbers.p95),
        number::latency(numbers.p99),
    ]
}

// === impl Numbers ===

impl Numbers {
    fn of(grant: &Grant) -> Self {
        let metrics = grant.metrics.as_ref();
        let rps = metrics.and_then(|metrics| metrics.rps);
        let success = metrics.and_then(|metrics| metrics.success_rate);
        let judged = if success.is_some() { rps.unwrap_or(0.0) } else { 0.0 };
        Self {
            rps,
            succeeded: success.unwrap_or(0.0) * judged,
            judged,
            success,
            p50: grant.latency_p50_ms,
            p95: grant.latency_p95_ms,
            p99: grant.latency_p99_ms,
            ..Self::default()
        }
    }

    /// Rates add up; of latencies the slowest counts, because quantiles do not.
    fn add(&mut self, other: Self) {
        let sum = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        let slower = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        *self = Self {
            unauthorized: sum(self.unauthorized, other.unauthorized),
            unrouted: sum(self.unrouted, other.unrouted),
            rps: sum(self.rps, other.rps),
            succeeded: self.succeeded + other.succeeded,
            judged: self.judged + other.judged,
            success: self.success.or(other.success),
            p50: slower(self.p50, other.p50),
            p95: slower(self.p95, other.p95),
            p99: slower(self.p99, other.p99),
        };
    }

    /// The share that succeeded, weighted by calls where there are any.
    fn success(&self) -> Option<f64> {
        if self.judged > 0.0 { Some(self.succeeded / self.judged) } else { self.success }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_proto::v1::NodeMetrics;

    fn port(workload: &str, rps: f64, success: f64, p50: f64) -> PortAccess {
        PortAccess {
            workload: workload.into(),
            port: 80,
            server: "default:all-unauthenticated".into(),
            grants: vec![Grant {
                authorization: "default:all-unauthenticated".into(),
                metrics: Some(NodeMetrics {
                    rps: Some(rps),
                    success_rate: Some(success),
                    denied_per_s: None,
                }),
                latency_p50_ms: Some(p50),
                ..Grant::default()
            }],
            ..PortAccess::default()
        }
    }

    #[test]
    fn rates_of_workloads_add_up_and_those_of_one_workloads_pods_do_not() {
        let web = port("shop/deployment/web", 3.0, 1.0, 5.0);
        let ports = [web.clone(), web, port("shop/deployment/cart", 1.0, 0.5, 9.0)];
        let table = print(&ports);
        let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(row[3..], ["-", "87.5%", "4.00", "9ms", "-", "-"], "{table}");
        assert_eq!(table.lines().count(), 2);
        assert_eq!(print_wide(&ports).lines().count(), 3);
    }
}
