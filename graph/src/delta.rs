//! The difference between two graphs, and its application. `apply(a, diff(a, b)) == b`.
//!
//! A delta replaces whole entries. Persistent maps make the difference cheap: what two graphs share is not looked at.

use crate::{
    id::{EdgeId, ExternalId, ObjectId, PolicyId, ServiceId, Text, WorkloadId},
    model::{Edge, External, Graph, Namespace, Policy, Service, Workload},
    policy::PolicyCluster,
    status::TopologyStatus,
};
use imbl::{OrdMap, ordmap::DiffItem};
use std::sync::Arc;

/// What to put and what to remove in one map.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes<K, V> {
    /// Entries that are new or different.
    pub put: Vec<(K, Arc<V>)>,
    /// Keys that are gone.
    pub removed: Vec<K>,
}

/// What makes one graph into another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Changed Services.
    pub services: Changes<ServiceId, Service>,
    /// Changed workloads.
    pub workloads: Changes<WorkloadId, Workload>,
    /// Changed externals.
    pub externals: Changes<ExternalId, External>,
    /// Changed edges.
    pub edges: Changes<EdgeId, Edge>,
    /// Changed AuthorizationPolicies.
    pub auth_policies: Changes<ObjectId, Policy>,
    /// Other changed policy objects and routes.
    pub policies: Changes<PolicyId, Policy>,
    /// Changed namespaces.
    pub namespaces: Changes<Text, Namespace>,
    /// The new status, where it changed.
    pub status: Option<Arc<TopologyStatus>>,
    /// What the control plane is configured with, where that changed.
    pub cluster: Option<Option<Arc<PolicyCluster>>>,
}

/// A delta that does not fit the graph it is applied to: the two have parted, take a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the delta removes `{0}`, which this graph does not have")]
pub struct Misfit(String);

/// What makes `old` into `new`.
pub fn diff(old: &Graph, new: &Graph) -> Delta {
    Delta {
        services: changes(&old.services, &new.services),
        workloads: changes(&old.workloads, &new.workloads),
        externals: changes(&old.externals, &new.externals),
        edges: changes(&old.edges, &new.edges),
        auth_policies: changes(&old.auth_policies, &new.auth_policies),
        policies: changes(&old.policies, &new.policies),
        namespaces: changes(&old.namespaces, &new.namespaces),
        status: (old.status != new.status).then(|| new.status.clone()),
        cluster: (old.cluster != new.cluster).then(|| new.cluster.clone()),
    }
}

/// `graph` with `delta` applied. On an error `graph` is as it was.
pub fn apply(graph: &Graph, delta: &Delta) -> Result<Graph, Misfit> {
    Ok(Graph {
        services: applied(&graph.services, &delta.services)?,
        workloads: applied(&graph.workloads, &delta.workloads)?,
        externals: applied(&graph.externals, &delta.externals)?,
        edges: applied(&graph.edges, &delta.edges)?,
        auth_policies: applied(&graph.auth_policies, &delta.auth_policies)?,
        policies: applied(&graph.policies, &delta.policies)?,
        namespaces: applied(&graph.namespaces, &delta.namespaces)?,
        status: delta.status.clone().unwrap_or_else(|| graph.status.clone()),
        cluster: delta.cluster.clone().unwrap_or_else(|| graph.cluster.clone()),
    })
}

fn changes<K: Ord + Clone, V: PartialEq>(old: &OrdMap<K, Arc<V>>, new: &OrdMap<K, Arc<V>>) -> Changes<K, V> {
    let mut changes = Changes::default();
    for item in old.diff(new) {
        match item {
            DiffItem::Add(key, value) => changes.put.push((key.clone(), value.clone())),
            DiffItem::Update { new: (key, value), old: (_, before) } => {
                if before != value {
                    changes.put.push((key.clone(), value.clone()));
                }
            }
            DiffItem::Remove(key, _) => changes.removed.push(key.clone()),
        }
    }
    changes
}

fn applied<K, V>(map: &OrdMap<K, Arc<V>>, changes: &Changes<K, V>) -> Result<OrdMap<K, Arc<V>>, Misfit>
where
    K: Ord + Clone + ToString,
{
    let mut map = map.clone();
    for key in &changes.removed {
        map.remove(key).ok_or_else(|| Misfit(key.to_string()))?;
    }
    for (key, value) in &changes.put {
        map.insert(key.clone(), value.clone());
    }
    Ok(map)
}

// === impl Changes ===

impl<K, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self { put: Vec::new(), removed: Vec::new() }
    }
}

impl<K, V> Changes<K, V> {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }

    /// How many entries change.
    pub fn len(&self) -> usize {
        self.put.len() + self.removed.len()
    }
}

// === impl Delta ===

impl Delta {
    /// True when the two graphs were equal.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries change.
    pub fn len(&self) -> usize {
        self.services.len()
            + self.workloads.len()
            + self.externals.len()
            + self.edges.len()
            + self.auth_policies.len()
            + self.policies.len()
            + self.namespaces.len()
            + usize::from(self.status.is_some())
            + usize::from(self.cluster.is_some())
    }
}
