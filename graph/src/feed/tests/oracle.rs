//! The mesh as it really is: a graph that changes by chance, every version of it kept.

use crate::{
    feed::chance::Chance,
    id::{Destination, EdgeId, Source, Text},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Namespace, ObservedBy, Protocol, Tls},
    status::MetricsStatus,
};
use std::sync::Arc;

pub(super) struct Oracle {
    versions: Vec<Arc<Graph>>,
    edges: Vec<(EdgeId, Arc<Edge>)>,
}

// === impl Oracle ===

impl Oracle {
    pub(super) fn new() -> Self {
        let edges = ["shop/api:80", "shop/db:5432", "bank/api:80"].map(mk_edge).to_vec();
        Self { versions: vec![Arc::default()], edges }
    }

    /// Changes something; the number of the new version.
    pub(super) fn change(&mut self, chance: &mut Chance) -> usize {
        let mut graph = (**self.now()).clone();
        let version = self.versions.len();
        // Most changes leave the edges alone, so that a frame is often of the topology of several versions.
        if chance.one_in(3) {
            let (id, edge) = &self.edges[chance.below(self.edges.len() as u64) as usize];
            if graph.edges.remove(id).is_none() {
                graph.edges.insert(id.clone(), edge.clone());
            }
        } else {
            let name = Text::from(["a", "b", "c", "d"][chance.below(4) as usize]);
            if !chance.one_in(3) || graph.namespaces.remove(&name).is_none() {
                let extension = Some(Text::from(version.to_string()));
                graph.namespaces.insert(name, Arc::new(Namespace { extension }));
            }
        }
        self.versions.push(Arc::new(graph));
        version
    }

    pub(super) fn now(&self) -> &Arc<Graph> {
        self.at(self.version())
    }

    pub(super) fn version(&self) -> usize {
        self.versions.len() - 1
    }

    pub(super) fn at(&self, version: usize) -> &Arc<Graph> {
        &self.versions[version]
    }

    /// The numbers of a version: every edge has the version's number as its rate.
    pub(super) fn numbers(&self, version: usize) -> Arc<Metrics> {
        let row = EdgeMetrics { rps: Some(version as f64), ..EdgeMetrics::default() };
        let rows = self.at(version).edges.keys().map(|id| (id.clone(), row.clone())).collect();
        let as_of_ms = i64::try_from(version).ok();
        Arc::new(Metrics::new(MetricsStatus { as_of_ms, ..MetricsStatus::default() }, rows))
    }
}

fn mk_edge(dst: &str) -> (EdgeId, Arc<Edge>) {
    let src: Source = "shop/deployment/web".parse().expect("it is a workload");
    let dst: Destination = dst.parse().expect("it is a port of a Service");
    let edge = Edge {
        src,
        dst,
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: Vec::new(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    (EdgeId::new(&edge.src, &edge.dst), Arc::new(edge))
}
