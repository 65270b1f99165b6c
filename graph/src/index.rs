//! Facts and traffic in, graph and numbers out: what the controller drives.
//!
//! Changes are cheap because only what they touch is assembled anew; a property test holds the result against an
//! index that was built from the final objects at once.

use crate::{
    assemble::{self, Cluster},
    fact::Change,
    facts::{Facts, Touched},
    id::{ExternalId, ObjectId, PolicyId, ServiceId, Text},
    kind::Kind,
    metrics::Metrics,
    model::{Graph, Policy},
    status::{MetricsStatus, TopologyStatus, WatchState},
    traffic::{MoreIdentities, Survey, Traffic, edges::Assembled},
};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Holds all facts and keeps the graph assembled.
#[derive(Debug)]
pub struct Index {
    facts: Facts,
    cluster: Cluster,
    graph: Graph,
    metrics: Arc<Metrics>,
    touched: Touched,
    /// Namespaces that call each external: which EgressNetwork covers it depends on who asks.
    callers: BTreeMap<ExternalId, BTreeSet<Text>>,
    more_identities: MoreIdentities,
}

impl Index {
    /// An empty index for a cluster.
    pub fn new(cluster: Cluster) -> Self {
        let graph = Graph { cluster: cluster.policy.clone(), ..Graph::default() };
        Self {
            facts: Facts::default(),
            cluster,
            graph,
            metrics: Arc::default(),
            touched: Touched::default(),
            callers: BTreeMap::new(),
            more_identities: MoreIdentities::new(),
        }
    }

    /// The facts, for questions about single objects.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What the cluster is configured with.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Learns the cluster's configuration; identities are assembled anew when it differs.
    pub fn set_cluster(&mut self, cluster: Cluster) {
        if self.cluster != cluster {
            self.graph.cluster = cluster.policy.clone();
            self.cluster = cluster;
            self.touched.workloads.extend(self.facts.workloads());
        }
    }

    /// Takes in a change. The graph follows at the next [`Index::refresh`].
    pub fn change(&mut self, change: Change) {
        self.facts.change(change, &mut self.touched);
    }

    /// Takes in the state of a watch. The graph follows at once.
    pub fn watch_state(&mut self, kind: Kind, state: WatchState) {
        let mut status = TopologyStatus::clone(&self.graph.status);
        status.kinds.insert(kind, state);
        self.graph.status = Arc::new(status);
    }

    /// Assembles what has been touched since the last call and returns the graph.
    pub fn refresh(&mut self) -> &Graph {
        let mut touched = std::mem::take(&mut self.touched);
        for namespace in &touched.policed {
            touched.workloads.extend(self.facts.workloads_in(namespace));
        }
        for id in &touched.services {
            put(&mut self.graph.services, id, assemble::service(&self.facts, id));
        }
        for id in &touched.workloads {
            let (workload, more) = assemble::workload(&self.facts, &self.cluster, id);
            put(&mut self.graph.workloads, id, workload);
            match more.is_empty() {
                true => drop(self.more_identities.remove(id)),
                false => drop(self.more_identities.insert(id.clone(), more.into_iter().collect())),
            }
        }
        for (kind, key) in &touched.policies {
            let policy = assemble::policy(&self.facts, *kind, key);
            put_policy(&mut self.graph, *kind, &key.namespace, &key.name, policy);
        }
        for name in &touched.namespaces {
            put(&mut self.graph.namespaces, name, assemble::namespace(&self.facts, name));
        }
        if touched.egress {
            self.refresh_externals();
        }
        &self.graph
    }

    /// What the edges of one poll are made from beside its traffic. They may be made elsewhere, by [`Survey::edges`],
    /// while this index takes in changes, and come back by [`Index::polled`]. One poll after the other.
    pub fn survey(&mut self, traffic: &Traffic) -> Survey {
        self.refresh();
        Survey::new(
            traffic,
            &self.facts,
            &self.graph.workloads,
            &self.more_identities,
            (&self.graph.edges, &self.metrics),
            &self.cluster.linkerd_namespace,
        )
    }

    /// Takes in the edges and numbers of one poll.
    pub fn polled(&mut self, assembled: Assembled, status: MetricsStatus) {
        let Assembled { edges, ids, rows, externals } = assembled;
        self.graph.edges = edges;
        self.callers = externals;
        self.refresh_externals();
        self.metrics = Arc::new(Metrics { status, ids, rows });
    }

    /// Takes in the answers of one poll: edges and their numbers are assembled anew.
    ///
    /// `now_ms` is milliseconds since the Unix epoch; edges without traffic are kept for `retain_ms` after they were
    /// last seen, without numbers.
    pub fn traffic(&mut self, traffic: &Traffic, status: MetricsStatus, now_ms: i64, retain_ms: i64) {
        let assembled = self.survey(traffic).edges(traffic, now_ms, retain_ms);
        self.polled(assembled, status);
    }

    /// A poll that brought nothing: numbers stay as they are and are marked.
    pub fn metrics_stale(&mut self, reason: String) {
        let status = MetricsStatus { stale: true, reason, ..self.metrics.status.clone() };
        self.metrics = Arc::new(Metrics { status, ..Metrics::clone(&self.metrics) });
    }

    /// The graph as of the last [`Index::refresh`] or [`Index::traffic`].
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The numbers of the last poll.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn refresh_externals(&mut self) {
        let gone: Vec<_> =
            self.graph.externals.keys().filter(|id| !self.callers.contains_key(*id)).cloned().collect();
        for id in gone {
            self.graph.externals.remove(&id);
        }
        for (id, from) in &self.callers {
            put(&mut self.graph.externals, id, Some(assemble::external(&self.facts, id, from)));
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new(Cluster::default())
    }
}

/// Puts or removes an entry; one that is equal stays the same value.
fn put<K: Ord + Clone, V: PartialEq>(map: &mut OrdMap<K, Arc<V>>, key: &K, value: Option<V>) {
    match value {
        Some(value) if map.get(key).is_some_and(|known| **known == value) => {}
        Some(value) => drop(map.insert(key.clone(), Arc::new(value))),
        None => drop(map.remove(key)),
    }
}

fn put_policy(graph: &mut Graph, kind: Kind, namespace: &str, name: &str, policy: Option<Policy>) {
    match kind {
        Kind::AuthorizationPolicy => put(&mut graph.auth_policies, &ObjectId::new(namespace, name), policy),
        _ => put(&mut graph.policies, &PolicyId::new(kind.policy_prefix(), namespace, name), policy),
    }
}

/// What an index would hold after these objects and nothing else: for tests and offline use.
pub fn assemble_all(facts: Facts, cluster: &Cluster) -> Graph {
    let mut index = Index { facts, ..Index::new(cluster.clone()) };
    let touched = &mut index.touched;
    touched.workloads = index.facts.workloads();
    touched.services = index
        .facts
        .all(Kind::Service)
        .map(|fact| ServiceId::new(&fact.key().namespace, &fact.key().name))
        .collect();
    touched.namespaces = index.facts.all(Kind::Namespace).map(|fact| fact.key().name.clone()).collect();
    for row in crate::kind::KINDS.iter().filter(|row| !row.kind.policy_prefix().is_empty()) {
        touched.policies.extend(index.facts.all(row.kind).map(|fact| (row.kind, fact.key().clone())));
    }
    index.refresh();
    index.graph
}

#[cfg(test)]
mod tests;
