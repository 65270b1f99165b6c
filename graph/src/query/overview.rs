//! What is in a whole mesh, in numbers: by namespace, and in all.

use super::edges::{Rank, top, with_numbers};
use crate::{
    id::{EdgeId, Text},
    metrics::{EdgeMetrics, Metrics},
    model::{Graph, Meshed, Tls},
};
use std::collections::BTreeMap;

/// What is in a mesh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overview {
    /// All of it.
    pub all: Share,
    /// By namespace: those with the most calls per second first, then by name.
    pub namespaces: Vec<(Text, Share)>,
    /// Calls: pairs of caller and callee.
    pub edges: usize,
    /// Those known to be mutual TLS.
    pub edges_mtls: usize,
    /// Those known not to be.
    pub edges_no_mtls: usize,
    /// Those that fail or are denied most, the worst first: [`WORST`] at most.
    pub worst: Vec<EdgeId>,
}

/// What is in a namespace, or in all of them, and the calls that come in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Share {
    /// Services.
    pub services: usize,
    /// Workloads.
    pub workloads: usize,
    /// Workloads all of whose pods have a proxy.
    pub meshed: usize,
    /// Calls per second, as the callers count them.
    pub rps: Option<f64>,
    /// Denied per second.
    pub denied: f64,
    /// Calls per second whose outcome is known.
    judged: f64,
    succeeded: f64,
}

/// The most calls that are named.
pub const WORST: usize = 3;

/// Looks at everything once.
pub fn overview(graph: &Graph, metrics: &Metrics) -> Overview {
    let mut found = Overview { edges: graph.edges.len(), ..Overview::default() };
    let mut namespaces: BTreeMap<&str, Share> = BTreeMap::new();
    for id in graph.services.keys() {
        namespaces.entry(id.namespace()).or_default().services += 1;
    }
    for (id, workload) in &graph.workloads {
        let share = namespaces.entry(id.namespace()).or_default();
        share.workloads += 1;
        share.meshed += usize::from(workload.meshed == Meshed::All);
    }
    for ((_, edge), numbers) in with_numbers(graph, metrics) {
        match edge.tls {
            Tls::Mutual => found.edges_mtls += 1,
            Tls::No { .. } => found.edges_no_mtls += 1,
            Tls::Unknown => {}
        }
        let Some(numbers) = numbers else { continue };
        found.all.add(numbers);
        if let Some(namespace) = edge.dst.namespace() {
            namespaces.entry(namespace).or_default().add(numbers);
        }
    }
    found.all.services = graph.services.len();
    found.all.workloads = graph.workloads.len();
    found.all.meshed = namespaces.values().map(|it| it.meshed).sum();
    let worst = top(with_numbers(graph, metrics), Rank::ErrorRate, WORST);
    found.worst = worst.into_iter().map(|((id, _), _)| id.clone()).collect();
    found.namespaces = namespaces.into_iter().map(|(name, share)| (name.into(), share)).collect();
    found.namespaces.sort_by(|(a, x), (b, y)| {
        y.rps.unwrap_or(-1.0).total_cmp(&x.rps.unwrap_or(-1.0)).then_with(|| a.cmp(b))
    });
    found
}

// === impl Share ===

impl Share {
    fn add(&mut self, numbers: &EdgeMetrics) {
        if let Some(rps) = numbers.rps {
            *self.rps.get_or_insert(0.0) += rps;
            if let Some(rate) = numbers.success_rate {
                self.judged += rps;
                self.succeeded += rps * rate;
            }
        }
        self.denied += numbers.denied.unwrap_or(0.0);
    }

    /// Share of the calls whose outcome is known that succeeded, 0 to 1.
    pub fn success_rate(&self) -> Option<f64> {
        (self.judged > 0.0).then(|| self.succeeded / self.judged)
    }
}
