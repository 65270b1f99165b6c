//! The table: one row per edge. What a server denied stands at the end of its row.

use super::{
    columns::{self, Lean},
    number, place,
};
use linkerd_mcp_proto::v1::{Edge, EdgeMetrics, MeshGraph};

const HEADER: [(&str, Lean); 9] = [
    ("SRC", Lean::Left),
    ("DST", Lean::Left),
    ("NS", Lean::Left),
    ("RPS", Lean::Right),
    ("SUCCESS", Lean::Right),
    ("P50", Lean::Right),
    ("P95", Lean::Right),
    ("P99", Lean::Right),
    ("mTLS", Lean::Left),
];

/// The graph as a table; empty for a graph without edges.
pub(crate) fn print(graph: &MeshGraph) -> String {
    print_first(graph, usize::MAX)
}

/// The first `most` rows, and how many there are beyond them.
pub(crate) fn print_first(graph: &MeshGraph, most: usize) -> String {
    let edges = sorted(graph);
    if edges.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = edges.iter().take(most).map(|edge| row(edge)).collect();
    let mut out = columns::print(&HEADER, &rows);
    if edges.len() > rows.len() {
        let more = edges.len() - rows.len();
        out.push_str(&format!("… and {more} more; -n, --from or --to show fewer\n"));
    }
    out
}

/// Edges in the order of rows: by namespace, caller, callee.
pub(crate) fn sorted(graph: &MeshGraph) -> Vec<&Edge> {
    let mut edges: Vec<&Edge> = graph.edges.iter().collect();
    edges.sort_by_cached_key(|edge| {
        (place::namespace(edge).to_owned(), edge.src.clone(), edge.dst.clone(), edge.id.clone())
    });
    edges
}

fn row(edge: &Edge) -> Vec<String> {
    let mut row = first_cells(edge);
    row.extend(denied(edge.metrics.as_ref()));
    row
}

/// The cells under [`HEADER`].
pub(crate) fn first_cells(edge: &Edge) -> Vec<String> {
    let unknown = EdgeMetrics::default();
    let metrics = edge.metrics.as_ref().unwrap_or(&unknown);
    vec![
        place::source(edge),
        place::destination(edge),
        super::text::clean(place::namespace(edge)),
        number::rate(metrics.rps),
        number::percent(metrics.success_rate),
        number::latency(metrics.latency_p50_ms),
        number::latency(metrics.latency_p95_ms),
        number::latency(metrics.latency_p99_ms),
        mtls(edge.tls).to_owned(),
    ]
}

/// The columns of [`first_cells`].
pub(crate) fn first_columns() -> &'static [(&'static str, Lean)] {
    &HEADER
}

fn mtls(tls: Option<bool>) -> &'static str {
    match tls {
        Some(true) => "√",
        Some(false) => "×",
        None => number::UNKNOWN,
    }
}

/// `denied 1.20/s`, where calls are being denied.
pub(crate) fn denied(metrics: Option<&EdgeMetrics>) -> Option<String> {
    let denied = number::known(metrics?.denied_per_s).filter(|denied| *denied > 0.0)?;
    Some(format!("denied {}/s", number::rate(Some(denied))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_table_is_as_checked_in() {
        golden::compare("table.txt", &print(&sample::graph()));
    }

    #[test]
    fn no_edges_are_no_table() {
        assert_eq!(print(&MeshGraph::default()), "");
    }

    #[test]
    fn a_short_table_says_how_much_is_missing() {
        let all = sample::graph();
        let table = print_first(&all, 2);
        assert_eq!(table.lines().count(), 4);
        assert!(
            table.ends_with(&format!("… and {} more; -n, --from or --to show fewer\n", all.edges.len() - 2))
        );
    }

    #[test]
    fn no_text_of_the_cluster_moves_the_cursor() {
        for table in [print(&sample::graph()), super::super::wide::print(&sample::graph())] {
            assert!(!table.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
