//! The reverse directions of [`Graph::edges`]. Edges are ordered by source, so "from" is a range of the map itself;
//! "to" and "of a namespace" need an index.

mod ids;

use crate::{
    delta::Delta,
    id::{Destination, EdgeId, Source, Text},
    model::{Edge, Graph},
};
use ahash::AHashMap;
use ids::Ids;
use imbl::OrdMap;

/// Which edges lead to a node, and which concern a namespace without starting at one of its workloads.
///
/// Kept up to date by [`Index::apply`] at the cost of the delta; a copy shares what did not change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index {
    callers: OrdMap<Text, Ids>,
    namespaces: OrdMap<Text, Ids>,
}

impl Index {
    /// The index of `graph`, from nothing.
    pub fn of(graph: &Graph) -> Self {
        let mut callers: AHashMap<&str, Vec<EdgeId>> = AHashMap::new();
        let mut in_namespaces: AHashMap<&str, Vec<EdgeId>> = AHashMap::new();
        for (id, edge) in &graph.edges {
            for key in caller_keys(edge) {
                callers.entry(key).or_default().push(id.clone());
            }
            for name in namespaces(edge).into_iter().flatten() {
                in_namespaces.entry(name).or_default().push(id.clone());
            }
        }
        Self { callers: sorted(callers), namespaces: sorted(in_namespaces) }
    }

    /// Follows a change. `before` is the graph that this is the index of and that `delta` applies to.
    pub fn apply(&mut self, before: &Graph, delta: &Delta) {
        let gone = delta.edges.removed.iter().chain(delta.edges.put.iter().map(|(id, _)| id));
        for id in gone {
            if let Some(edge) = before.edges.get(id) {
                self.remove(id, edge);
            }
        }
        for (id, edge) in &delta.edges.put {
            self.insert(id, edge);
        }
    }

    /// Edges that lead to the node with this key (see [`crate::query::Node::key`]): to a Service by name or as a
    /// route's backend, to a workload by pod address or through a Service.
    pub(super) fn callers(&self, key: &str) -> impl Iterator<Item = &EdgeId> {
        self.callers.get(key).into_iter().flat_map(Ids::iter)
    }

    /// Edges that end in `namespace`, or start at an identity of it, and are not in its range of sources.
    pub(super) fn beyond_sources(&self, namespace: &str) -> impl Iterator<Item = &EdgeId> {
        self.namespaces.get(namespace).into_iter().flat_map(Ids::iter)
    }

    fn insert(&mut self, id: &EdgeId, edge: &Edge) {
        for key in caller_keys(edge) {
            put(&mut self.callers, key, id);
        }
        for namespace in namespaces(edge).into_iter().flatten() {
            put(&mut self.namespaces, namespace, id);
        }
    }

    fn remove(&mut self, id: &EdgeId, edge: &Edge) {
        for key in caller_keys(edge) {
            take(&mut self.callers, key, id);
        }
        for namespace in namespaces(edge).into_iter().flatten() {
            take(&mut self.namespaces, namespace, id);
        }
    }
}

/// Keys of all nodes that the edge leads to.
fn caller_keys(edge: &Edge) -> impl Iterator<Item = &str> {
    let called = match &edge.dst {
        Destination::Service(id, _) => id.as_str(),
        Destination::Workload(id, _) => id.as_str(),
        Destination::External(id) => id.as_str(),
    };
    let workloads = edge.workloads.iter().map(|id| id.as_str());
    let backends = edge.backends.iter().map(|id| id.as_str());
    std::iter::once(called).chain(workloads).chain(backends)
}

/// Namespaces that the edge concerns, without the one whose range of sources it is in.
fn namespaces(edge: &Edge) -> [Option<&str>; 2] {
    let source = edge.src.namespace();
    let target = edge.dst.namespace();
    match &edge.src {
        Source::Workload(_) => [None, target.filter(|target| Some(*target) != source)],
        _ => [source, target.filter(|target| Some(*target) != source)],
    }
}

/// Ids come in the order of the edges, so each list is in order already.
fn sorted(lists: AHashMap<&str, Vec<EdgeId>>) -> OrdMap<Text, Ids> {
    let mut lists: Vec<_> = lists.into_iter().collect();
    lists.sort_unstable_by_key(|(key, _)| *key);
    lists.into_iter().map(|(key, ids)| (Text::from(key), Ids::of_sorted(ids))).collect()
}

fn put(map: &mut OrdMap<Text, Ids>, key: &str, id: &EdgeId) {
    match map.get_mut(key) {
        Some(ids) => ids.insert(id),
        None => drop(map.insert(key.into(), Ids::of_sorted(vec![id.clone()]))),
    }
}

fn take(map: &mut OrdMap<Text, Ids>, key: &str, id: &EdgeId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
