//! The answers as a table: one row for each port.

use super::Row;
use crate::output::{
    columns::{self, Lean},
    text::clean,
};
use serde_json::Value;

const HEADER: [(&str, Lean); 6] = [
    ("NAMESPACE", Lean::Left),
    ("WORKLOAD", Lean::Left),
    ("PORT", Lean::Right),
    ("SERVER", Lean::Left),
    ("PROTOCOL", Lean::Left),
    ("LETS IN", Lean::Left),
];

/// Workloads outside the mesh have one row. Routes that let in more than their Server are named with what does so.
pub(super) fn print(rows: &[Row]) -> String {
    let mut cells: Vec<Vec<String>> = rows.iter().map(row).collect();
    cells.dedup();
    if cells.is_empty() { String::new() } else { columns::print(&HEADER, &cells) }
}

fn row(row: &Row) -> Vec<String> {
    let port = if row.known { row.port.to_string() } else { "other".to_owned() };
    let nothing = || "-".to_owned();
    let (port, server, protocol, lets_in) = match (&row.server, row.status.as_str()) {
        (Some(server), _) => (port, name(server), text(server, "/protocol/kind").to_owned(), lets_in(server)),
        (None, "not_found") => {
            (nothing(), nothing(), nothing(), "everybody: it is not in the mesh".to_owned())
        }
        (None, _) => (port, nothing(), nothing(), "nobody: no port has this number".to_owned()),
    };
    [row.namespace.as_str(), &row.workload, &port, &server, &protocol, &lets_in].map(clean).to_vec()
}

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

fn name(server: &Value) -> String {
    match text(server, "/labels/kind") {
        "default" => format!("default:{}", text(server, "/labels/name")),
        _ => text(server, "/labels/name").to_owned(),
    }
}

fn lets_in(server: &Value) -> String {
    let mut parts: Vec<String> = rows(server, "/authorizations").map(authorization).collect();
    if parts.is_empty() {
        parts.push("nobody".to_owned());
    }
    for place in ["/protocol/http_routes", "/protocol/grpc_routes"] {
        parts.extend(rows(server, place).filter_map(route));
    }
    parts.join(", ")
}

fn rows<'a>(value: &'a Value, place: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(place).and_then(Value::as_array).into_iter().flatten()
}

/// `None` for the default route, of which nothing is to be told.
fn route(route: &Value) -> Option<String> {
    let (kind, name) = match text(route, "/metadata/default") {
        "default" => return None,
        "" => (text(route, "/metadata/kind").to_ascii_lowercase(), text(route, "/metadata/name")),
        default => ("default".to_owned(), default),
    };
    let own: Vec<String> = rows(route, "/authorizations").map(authorization).collect();
    let also = if own.is_empty() { String::new() } else { format!(" also {}", own.join(", ")) };
    Some(format!("[{kind}/{name}{also}]"))
}

fn authorization(authorization: &Value) -> String {
    match text(authorization, "/metadata/default") {
        "" => format!("{}/{}", text(authorization, "/metadata/kind"), text(authorization, "/metadata/name")),
        default => format!("default/{default}"),
    }
}
