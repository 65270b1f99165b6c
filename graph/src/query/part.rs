//! The piece of a graph that an answer carries.

use super::{
    Index, Node, Rollups,
    edges::{self, EdgeRef, Numbered, under},
};
use crate::{
    id::{Destination, EdgeId, ExternalId, ObjectId, PolicyId, ServiceId, Source, WorkloadId},
    kind::KINDS,
    metrics::Metrics,
    model::{External, Graph, Policy, Service, Workload},
};
use ahash::AHashSet;
use std::{collections::BTreeSet, sync::Arc};

/// Entries of a graph, each list ordered by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part<'a> {
    /// Services.
    pub services: Vec<(&'a ServiceId, &'a Arc<Service>)>,
    /// Workloads.
    pub workloads: Vec<(&'a WorkloadId, &'a Arc<Workload>)>,
    /// Destinations outside the cluster.
    pub externals: Vec<(&'a ExternalId, &'a Arc<External>)>,
    /// Edges.
    pub edges: Vec<EdgeRef<'a>>,
    /// AuthorizationPolicies.
    pub auth_policies: Vec<(&'a ObjectId, &'a Arc<Policy>)>,
    /// Other policy objects and routes.
    pub policies: Vec<(&'a PolicyId, &'a Arc<Policy>)>,
}

impl<'a> Part<'a> {
    /// All of it.
    pub fn all(graph: &'a Graph) -> Self {
        Self {
            services: graph.services.iter().collect(),
            workloads: graph.workloads.iter().collect(),
            externals: graph.externals.iter().collect(),
            edges: graph.edges.iter().collect(),
            auth_policies: graph.auth_policies.iter().collect(),
            policies: graph.policies.iter().collect(),
        }
    }

    /// Nodes and policies of `namespace`, edges that start or end in it, and the externals they lead to. Costs what
    /// the answer weighs.
    pub fn of_namespace(graph: &'a Graph, index: &Index, namespace: &str) -> Self {
        let edges = edges::of_namespace(graph, index, namespace);
        let externals: BTreeSet<_> = edges
            .iter()
            .filter_map(|(_, edge)| match &edge.dst {
                Destination::External(id) => Some(id),
                _ => None,
            })
            .collect();
        // No kind's prefix is needed twice, and those of kinds that are no policies are empty.
        let prefixes: BTreeSet<_> = KINDS.iter().map(|row| row.kind.policy_prefix()).collect();
        Self {
            services: under(&graph.services, namespace, '/').collect(),
            workloads: under(&graph.workloads, namespace, '/').collect(),
            externals: externals.into_iter().filter_map(|id| graph.externals.get_key_value(id)).collect(),
            auth_policies: under(&graph.auth_policies, namespace, '/').collect(),
            policies: prefixes
                .into_iter()
                .filter(|prefix| !prefix.is_empty())
                .flat_map(|prefix| under(&graph.policies, &format!("{prefix}/{namespace}"), '/'))
                .collect(),
            edges,
        }
    }

    /// `edges` with the nodes they touch and `nodes`, and the policies that bear on those workloads.
    pub fn of_edges(graph: &'a Graph, mut edges: Vec<EdgeRef<'a>>, nodes: &[Node]) -> Self {
        edges.sort_unstable_by_key(|(id, _)| *id);
        edges.dedup_by(|(a, _), (b, _)| a == b);
        let mut touched: BTreeSet<Node> = nodes.iter().cloned().collect();
        for (_, edge) in &edges {
            if let Source::Workload(id) = &edge.src {
                touched.insert(Node::Workload(id.clone()));
            }
            touched.insert(Node::of_destination(&edge.dst));
            touched.extend(edge.workloads.iter().cloned().map(Node::Workload));
            touched.extend(edge.backends.iter().cloned().map(Node::Service));
        }
        let mut part = Self { edges, ..Self::default() };
        for node in &touched {
            match node {
                Node::Service(id) => part.services.extend(graph.services.get_key_value(id)),
                Node::Workload(id) => part.workloads.extend(graph.workloads.get_key_value(id)),
                Node::External(id) => part.externals.extend(graph.externals.get_key_value(id)),
            }
        }
        part.add_policies(graph);
        part
    }

    /// The edges with their numbers, where they are known.
    pub fn numbered(&self, metrics: &'a Metrics) -> Vec<Numbered<'a>> {
        edges::numbered(self.edges.iter().copied(), metrics).collect()
    }

    /// The numbers of the nodes of this part, from all of their edges, in the part or not. `own` are those of the part,
    /// as [`Part::numbered`] gives them.
    pub fn rollups(
        &self,
        graph: &'a Graph,
        index: &Index,
        metrics: &'a Metrics,
        own: &[Numbered<'a>],
    ) -> Rollups<'a> {
        if self.edges.len() == graph.edges.len() {
            return Rollups::of(own.iter().copied());
        }
        // Most of them are in the part already, and finding an edge in the graph costs more than all else here.
        let mut known: AHashSet<&EdgeId> = self.edges.iter().map(|(id, _)| *id).collect();
        let mut around = Vec::new();
        let services = self.services.iter().map(|(id, _)| id.as_str());
        let workloads = self.workloads.iter().map(|(id, _)| id.as_str());
        for id in services.chain(workloads).flat_map(|key| index.callers(key)) {
            if !known.contains(id)
                && let Some(edge) = graph.edges.get_key_value(id)
            {
                known.insert(edge.0);
                around.push(edge);
            }
        }
        for (id, _) in &self.workloads {
            let calls = edges::from(graph, &Node::Workload((*id).clone()));
            around.extend(calls.into_iter().filter(|(id, _)| known.insert(id)));
        }
        if around.is_empty() {
            return Rollups::of(own.iter().copied());
        }
        let mut all: Vec<Numbered<'a>> = own.to_vec();
        all.extend(around.into_iter().map(|edge| (edge, metrics.get(edge.0))));
        all.sort_unstable_by_key(|((id, _), _)| *id);
        Rollups::of(all)
    }

    /// Keeps only these edges and drops everything else.
    pub fn edges_only(self) -> Self {
        Self { edges: self.edges, ..Self::default() }
    }

    fn add_policies(&mut self, graph: &'a Graph) {
        let ids: BTreeSet<_> = self
            .workloads
            .iter()
            .flat_map(|(_, workload)| workload.servers.iter().chain(&workload.policies))
            .collect();
        for id in ids {
            if id.kind() == crate::kind::Kind::AuthorizationPolicy.policy_prefix() {
                let id = ObjectId::new(id.namespace(), id.name());
                self.auth_policies.extend(graph.auth_policies.get_key_value(&id));
            } else {
                self.policies.extend(graph.policies.get_key_value(id));
            }
        }
    }
}
