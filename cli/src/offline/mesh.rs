//! A mesh made of manifests: the same graph that a controller would make of the objects in a cluster, without traffic.

use super::{Manifests, selector, template};
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact, Key},
    facts::{Facts, Touched},
    index,
    kind::Kind,
    metrics::Metrics,
    model::Graph,
    policy::{Objects, Policies, PolicyCluster, ask},
    query,
};
use std::sync::Arc;

/// A mesh to ask.
pub(crate) struct OfflineMesh {
    graph: Graph,
    index: query::Index,
    metrics: Metrics,
    policies: Policies,
}

// === impl OfflineMesh ===

impl OfflineMesh {
    /// The mesh that the manifests describe, under a control plane with these settings.
    pub(crate) fn new(manifests: Manifests, settings: &PolicyCluster) -> Self {
        let Manifests { mut facts, selectors, .. } = manifests;
        forget_templates_with_pods(&mut facts);
        selectors.apply(&mut facts);
        selector::apply_namespaces(&mut facts);
        let cluster = Cluster {
            linkerd_namespace: settings.control_plane_namespace.clone(),
            trust_domain: settings.identity_domain.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            policy: Some(Arc::new(settings.clone())),
        };
        let graph = index::assemble_all(facts, &cluster);
        let index = query::Index::of(&graph);
        let policies = Policies::of(Objects::of_graph(&graph), settings);
        Self { graph, index, metrics: Metrics::default(), policies }
    }

    /// What questions are asked of.
    pub(crate) fn mesh(&self) -> ask::Mesh<'_> {
        ask::Mesh { graph: &self.graph, index: &self.index, metrics: &self.metrics, policies: &self.policies }
    }

    /// The namespaces that have workloads or Services, in order.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let workloads = self.graph.workloads.keys().map(|id| id.namespace().to_owned());
        let services = self.graph.services.keys().map(|id| id.namespace().to_owned());
        let mut names: Vec<String> = workloads.chain(services).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// A template stands for the pods that it will make. Where these are in the manifests too, as in a dump of a cluster,
/// they stand for themselves.
fn forget_templates_with_pods(facts: &mut Facts) {
    let made = |key: &Key| template::is_made(&key.name);
    let forgotten: Vec<Key> = facts
        .all(Kind::Pod)
        .filter_map(|fact| match fact {
            Fact::Pod(pod) if made(&pod.key) => Some(pod),
            _ => None,
        })
        .filter(|pod| {
            let pods = facts.pods_of(&facts.workload_of(pod));
            pods.iter().any(|other| !made(&other.key) && !other.ended)
        })
        .map(|pod| pod.key.clone())
        .collect();
    for key in forgotten {
        facts.change(Change::Delete(Kind::Pod, key), &mut Touched::default());
    }
}
