//! The answers as a table: one row for each port.

use super::Row;
use crate::{
    name::short_kind,
    output::{
        columns::{self, Lean},
        text::clean,
    },
};
use linkerd_mcp_graph::policy::{
    Answer,
    answer::{Authorization, Metadata, Protocol, Route, Server},
};

const HEADER: [(&str, Lean); 6] = [
    ("NAMESPACE", Lean::Left),
    ("WORKLOAD", Lean::Left),
    ("PORT", Lean::Right),
    ("SERVER", Lean::Left),
    ("PROTOCOL", Lean::Left),
    ("LETS IN", Lean::Left),
];

/// Workloads outside the mesh have one row. Routes that let in more than their Server are named with what does so.
pub(super) fn print(rows: &[Row<'_>]) -> String {
    let mut cells: Vec<Vec<String>> = rows.iter().map(row).collect();
    cells.dedup();
    if cells.is_empty() { String::new() } else { columns::print(&HEADER, &cells) }
}

fn row(row: &Row<'_>) -> Vec<String> {
    let workload = format!("{}/{}", short_kind(&row.workload.kind), row.workload.name);
    let port = if row.known { row.port.to_string() } else { "other".to_owned() };
    let (port, server, protocol, lets_in) = match &row.answer {
        Answer::Ok(server) => (port, name(server), server.protocol.kind(), lets_in(server)),
        Answer::NotFound => {
            ("-".to_owned(), "-".to_owned(), "-", "everybody: it is not in the mesh".to_owned())
        }
        Answer::InvalidArgument => (port, "-".to_owned(), "-", "nobody: no port has this number".to_owned()),
    };
    let namespace = clean(&row.workload.key.key().namespace);
    vec![namespace, clean(&workload), port, clean(&server), protocol.to_owned(), clean(&lets_in)]
}

fn name(server: &Server) -> String {
    match &*server.labels.kind {
        "default" => format!("default:{}", server.labels.name),
        _ => server.labels.name.to_string(),
    }
}

fn lets_in(server: &Server) -> String {
    let mut parts: Vec<String> = server.authorizations.iter().map(authorization).collect();
    if parts.is_empty() {
        parts.push("nobody".to_owned());
    }
    parts.extend(match &server.protocol {
        Protocol::Detect { http_routes, .. }
        | Protocol::Http1 { http_routes, .. }
        | Protocol::Http2 { http_routes, .. } => routes(http_routes),
        Protocol::Grpc { grpc_routes } => routes(grpc_routes),
        Protocol::Opaque {} | Protocol::Tls {} => Vec::new(),
    });
    parts.join(", ")
}

fn routes<M>(routes: &[Route<M>]) -> Vec<String> {
    let told = |route: &&Route<M>| route.metadata != Metadata::default_named("default");
    let row = |route: &Route<M>| {
        let own: Vec<String> = route.authorizations.iter().map(authorization).collect();
        let also = if own.is_empty() { String::new() } else { format!(" also {}", own.join(", ")) };
        let kind = match &route.metadata {
            Metadata::Default { .. } => "default",
            Metadata::Resource { kind, .. } => kind,
        };
        format!("[{}/{}{also}]", kind.to_ascii_lowercase(), route.metadata.name())
    };
    routes.iter().filter(told).map(row).collect()
}

fn authorization(authorization: &Authorization) -> String {
    match &authorization.metadata {
        Metadata::Default { default } => format!("default/{default}"),
        Metadata::Resource { kind, name, .. } => format!("{kind}/{name}"),
    }
}
