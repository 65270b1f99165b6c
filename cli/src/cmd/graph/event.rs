//! Events of a watch as documents: what `--watch -o json` prints, one on a line.

use crate::output::document::{self, Node};
use linkerd_mcp_proto::v1::{MeshGraph, Position, watch_mesh_graph_response::Event};

/// The event as a document with a field `event` that says which it is.
pub(crate) fn document(event: &Event) -> Node {
    match event {
        Event::Snapshot(snapshot) => {
            let graph = snapshot.graph.clone().unwrap_or_default();
            named("snapshot", snapshot.position, [("graph", document::graph(&graph))])
        }
        Event::Delta(delta) => {
            let put = MeshGraph {
                freshness: delta.freshness.clone(),
                services: delta.services.clone(),
                workloads: delta.workloads.clone(),
                externals: delta.externals.clone(),
                edges: delta.edges.clone(),
                policies: delta.policies.clone(),
            };
            let removed = [
                ("services", &delta.removed_services),
                ("workloads", &delta.removed_workloads),
                ("externals", &delta.removed_externals),
                ("edges", &delta.removed_edges),
                ("policies", &delta.removed_policies),
            ];
            let removed = removed.into_iter().filter(|(_, ids)| !ids.is_empty()).map(|(kind, ids)| {
                (kind.to_owned(), Node::List(ids.iter().cloned().map(Node::Text).collect()))
            });
            let removed = Node::Map(removed.collect());
            named("delta", delta.position, [("put", filled(document::graph(&put))), ("removed", removed)])
        }
        Event::Metrics(frame) => {
            let edges = document::by_id(&frame.edges, |numbers| {
                let metrics = numbers.metrics.clone().unwrap_or_default();
                (numbers.edge_id.clone(), document::metrics(&metrics))
            });
            let freshness = frame.freshness.as_ref().map(document::freshness).unwrap_or(Node::Null);
            named("metrics", frame.position, [("freshness", freshness), ("edges", edges)])
        }
        Event::Resync(resync) => named("resync", None, [("reason", Node::Text(resync.reason.clone()))]),
        Event::Bookmark(bookmark) => {
            let freshness = bookmark.freshness.as_ref().map(document::freshness).unwrap_or(Node::Null);
            named("bookmark", bookmark.position, [("freshness", freshness)])
        }
    }
}

/// A whole answer as if it were an event.
pub(crate) fn answer(graph: &MeshGraph) -> Node {
    named("snapshot", None, [("graph", document::graph(graph))])
}

fn named<const N: usize>(event: &str, position: Option<Position>, fields: [(&str, Node); N]) -> Node {
    let mut entries = vec![("event".to_owned(), Node::Text(event.to_owned()))];
    entries.extend(position.map(|position| ("position".to_owned(), document::position(position))));
    let present = fields.into_iter().filter(|(_, node)| *node != Node::Null);
    entries.extend(present.map(|(key, node)| (key.to_owned(), node)));
    Node::Map(entries)
}

/// Without the empty maps: most changes touch one of them.
fn filled(node: Node) -> Node {
    match node {
        Node::Map(entries) => {
            Node::Map(entries.into_iter().filter(|(_, node)| *node != Node::Map(Vec::new())).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json;
    use linkerd_mcp_proto::v1::{Delta, Edge, EdgeMetrics, EdgeNumbers, MetricFrame, Resync};

    #[test]
    fn each_event_is_one_line_that_says_what_it_is() {
        let position = Some(Position { epoch: 1, seq: 2 });
        let delta = Delta {
            position,
            edges: vec![Edge { id: "a->b".into(), src: "a".into(), dst: "b".into(), ..Edge::default() }],
            removed_edges: vec!["c->d".into()],
            ..Delta::default()
        };
        assert_eq!(
            json::line(&document(&Event::Delta(delta))),
            "{\"event\":\"delta\",\"position\":{\"epoch\":1,\"seq\":2},\"put\":{\"edges\":{\"a->b\":{\"src\":\"a\",\
             \"dst\":\"b\"}}},\"removed\":{\"edges\":[\"c->d\"]}}\n"
        );
        let metrics = Some(EdgeMetrics { rps: Some(1.5), ..EdgeMetrics::default() });
        let frame = MetricFrame {
            position,
            edges: vec![EdgeNumbers { edge_id: "a->b".into(), metrics }],
            ..MetricFrame::default()
        };
        assert_eq!(
            json::line(&document(&Event::Metrics(frame))),
            "{\"event\":\"metrics\",\"position\":{\"epoch\":1,\"seq\":2},\"edges\":{\"a->b\":{\"rps\":1.5}}}\n"
        );
        let resync = Event::Resync(Resync { reason: "gap".into() });
        assert_eq!(json::line(&document(&resync)), "{\"event\":\"resync\",\"reason\":\"gap\"}\n");
    }
}
