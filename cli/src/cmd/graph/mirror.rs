//! A copy of the graph that follows a watch.

use linkerd_mcp_proto::v1::{
    Delta, Edge, External, Freshness, MeshGraph, MetricFrame, Policy, Position, Service, Snapshot, Workload,
    watch_mesh_graph_response::Event,
};
use std::collections::BTreeMap;

/// The graph as far as the watch has told it.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    position: Option<Position>,
    freshness: Option<Freshness>,
    services: BTreeMap<String, Service>,
    workloads: BTreeMap<String, Workload>,
    externals: BTreeMap<String, External>,
    edges: BTreeMap<String, Edge>,
    policies: BTreeMap<String, Policy>,
}

// === impl Mirror ===

impl Mirror {
    /// Where to resume; `None` before the first snapshot, and after a resync was announced.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Takes in one event.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Snapshot(snapshot) => self.replace(snapshot),
            Event::Delta(delta) => self.change(delta),
            Event::Metrics(frame) => self.measure(frame),
            // What there is stays on the screen until the snapshot comes.
            Event::Resync(_) => self.position = None,
            Event::Bookmark(bookmark) => {
                self.position = bookmark.position.or(self.position);
                self.freshness = bookmark.freshness.or(self.freshness.take());
            }
        }
    }

    /// The whole as a message.
    pub(crate) fn graph(&self) -> MeshGraph {
        MeshGraph {
            freshness: self.freshness.clone(),
            services: self.services.values().cloned().collect(),
            workloads: self.workloads.values().cloned().collect(),
            externals: self.externals.values().cloned().collect(),
            edges: self.edges.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
        }
    }

    fn replace(&mut self, snapshot: Snapshot) {
        let graph = snapshot.graph.unwrap_or_default();
        *self = Self {
            position: snapshot.position,
            freshness: graph.freshness,
            services: by_id(graph.services, |service| &service.id),
            workloads: by_id(graph.workloads, |workload| &workload.id),
            externals: by_id(graph.externals, |external| &external.id),
            edges: by_id(graph.edges, |edge| &edge.id),
            policies: by_id(graph.policies, |policy| &policy.id),
        };
    }

    fn change(&mut self, delta: Delta) {
        self.position = delta.position.or(self.position);
        self.freshness = delta.freshness.or(self.freshness.take());
        replace_some(&mut self.services, delta.services, &delta.removed_services, |service| &service.id);
        replace_some(&mut self.workloads, delta.workloads, &delta.removed_workloads, |workload| &workload.id);
        replace_some(&mut self.externals, delta.externals, &delta.removed_externals, |external| &external.id);
        replace_some(&mut self.edges, delta.edges, &delta.removed_edges, |edge| &edge.id);
        replace_some(&mut self.policies, delta.policies, &delta.removed_policies, |policy| &policy.id);
    }

    /// A frame has all the numbers there are: an edge that is not in it has none now. Numbers of an edge that is gone
    /// meanwhile say nothing.
    fn measure(&mut self, frame: MetricFrame) {
        self.freshness = frame.freshness.or(self.freshness.take());
        self.edges.values_mut().for_each(|edge| edge.metrics = None);
        for numbers in frame.edges {
            if let Some(edge) = self.edges.get_mut(&numbers.edge_id) {
                edge.metrics = numbers.metrics;
            }
        }
    }
}

fn by_id<T>(items: Vec<T>, id: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    items.into_iter().map(|item| (id(&item).clone(), item)).collect()
}

fn replace_some<T>(
    map: &mut BTreeMap<String, T>,
    put: Vec<T>,
    removed: &[String],
    id: impl Fn(&T) -> &String,
) {
    for gone in removed {
        map.remove(gone);
    }
    map.extend(put.into_iter().map(|item| (id(&item).clone(), item)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use linkerd_mcp_proto::v1::{Bookmark, EdgeMetrics, EdgeNumbers, Resync};

    fn at(seq: u64) -> Option<Position> {
        Some(Position { epoch: 1, seq })
    }

    fn mk_edge(id: &str, rps: Option<f64>) -> Edge {
        let metrics = Some(EdgeMetrics { rps, ..EdgeMetrics::default() });
        Edge { id: id.into(), metrics, ..Edge::default() }
    }

    #[test]
    fn events_in_order_leave_the_graph_they_tell_of() {
        let mut mirror = Mirror::default();
        let graph = MeshGraph {
            edges: vec![mk_edge("a->b", Some(1.0)), mk_edge("b->c", Some(3.0))],
            ..MeshGraph::default()
        };
        mirror.apply(Event::Snapshot(Snapshot { position: at(1), graph: Some(graph) }));
        mirror.apply(Event::Delta(Delta {
            position: at(2),
            edges: vec![mk_edge("a->d", None)],
            removed_edges: vec!["a->b".into()],
            ..Delta::default()
        }));
        let measured = |id: &str| EdgeNumbers {
            edge_id: id.into(),
            metrics: Some(EdgeMetrics { rps: Some(7.0), ..EdgeMetrics::default() }),
        };
        mirror.apply(Event::Metrics(MetricFrame {
            position: at(2),
            edges: vec![measured("a->d"), measured("a->b")],
            ..MetricFrame::default()
        }));
        let unmeasured = Edge { metrics: None, ..mk_edge("b->c", None) };
        assert_eq!(mirror.graph().edges, [mk_edge("a->d", Some(7.0)), unmeasured]);
        assert_eq!(mirror.position(), at(2));
    }

    #[test]
    fn a_resync_forgets_the_place_but_keeps_the_picture() {
        let mut mirror = Mirror::default();
        mirror.apply(Event::Snapshot(Snapshot { position: at(5), graph: Some(sample::graph()) }));
        mirror.apply(Event::Bookmark(Bookmark { position: at(9), freshness: None }));
        assert_eq!((mirror.position(), mirror.graph().freshness), (at(9), sample::graph().freshness));
        mirror.apply(Event::Resync(Resync { reason: "too far behind".into() }));
        assert_eq!((mirror.position(), mirror.graph().edges.len()), (None, sample::graph().edges.len()));
    }
}
