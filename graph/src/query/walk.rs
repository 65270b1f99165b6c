//! Following edges: who calls whom to a depth, and the shortest way from one node to another.

use super::{
    Index, Node,
    edges::{self, EdgeRef},
};
use crate::{
    id::{EdgeId, Source},
    model::{Edge, Graph},
};
use std::collections::{BTreeMap, BTreeSet};

/// Which way edges are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Against the calls: who calls it.
    Callers,
    /// With the calls: whom it calls.
    Callees,
}

/// One edge of a call graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The edge.
    pub edge: EdgeId,
    /// How far from the root, 1 for the root's own calls.
    pub depth: u32,
    /// Which way it was found.
    pub direction: Direction,
}

/// What a node reaches, nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallGraph {
    /// Edges in order of direction, depth and id; each at most once per direction.
    pub hops: Vec<Hop>,
    /// True when there were more edges than the limit.
    pub truncated: bool,
}

/// Follows the edges of `root` in each of `directions` up to `depth` hops, each node once, and at most `limit` edges
/// in all.
pub fn call_graph(
    graph: &Graph,
    index: &Index,
    root: &Node,
    depth: u32,
    directions: &[Direction],
    limit: usize,
) -> CallGraph {
    let mut answer = CallGraph::default();
    for direction in directions {
        follow(graph, index, root, depth, *direction, limit, &mut answer);
    }
    answer
}

fn follow(
    graph: &Graph,
    index: &Index,
    root: &Node,
    depth: u32,
    direction: Direction,
    limit: usize,
    answer: &mut CallGraph,
) {
    let mut visited = BTreeSet::from([root.clone()]);
    let mut taken = BTreeSet::new();
    let mut frontier = vec![root.clone()];
    for depth in 1..=depth {
        let mut layer: Vec<EdgeRef<'_>> =
            frontier.iter().flat_map(|node| around(graph, index, node, direction)).collect();
        layer.sort_unstable_by_key(|(id, _)| *id);
        layer.dedup_by(|(a, _), (b, _)| a == b);
        layer.retain(|(id, _)| !taken.contains(*id));
        frontier = Vec::new();
        for (id, edge) in layer {
            if answer.hops.len() >= limit {
                answer.truncated = true;
                return;
            }
            taken.insert(id.clone());
            answer.hops.push(Hop { edge: id.clone(), depth, direction });
            frontier.extend(beyond(edge, direction).into_iter().filter(|node| visited.insert(node.clone())));
        }
        if frontier.is_empty() {
            return;
        }
    }
}

/// The edges of a shortest way from `from` to `to`; `None` when there is none. Empty when they are the same node.
pub fn shortest_path(graph: &Graph, from: &Node, to: &Node) -> Option<Vec<EdgeId>> {
    if from == to {
        return Some(Vec::new());
    }
    let mut came_by: BTreeMap<Node, (Node, EdgeId)> = BTreeMap::new();
    let mut frontier = vec![from.clone()];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for node in &frontier {
            for (id, edge) in edges::from(graph, node) {
                if reaches(edge, to) {
                    return Some(way(&came_by, from, node, id));
                }
                for found in beyond(edge, Direction::Callees) {
                    if found != *from && !came_by.contains_key(&found) {
                        came_by.insert(found.clone(), (node.clone(), id.clone()));
                        next.push(found);
                    }
                }
            }
        }
        frontier = next;
    }
    None
}

fn way(came_by: &BTreeMap<Node, (Node, EdgeId)>, from: &Node, last: &Node, edge: &EdgeId) -> Vec<EdgeId> {
    let mut way = vec![edge.clone()];
    let mut at = last;
    while at != from {
        let (before, edge) = &came_by[at];
        way.push(edge.clone());
        at = before;
    }
    way.reverse();
    way
}

fn reaches(edge: &Edge, node: &Node) -> bool {
    Node::of_destination(&edge.dst) == *node
        || match node {
            Node::Workload(id) => edge.workloads.contains(id),
            Node::Service(id) => edge.backends.contains(id),
            Node::External(_) => false,
        }
}

fn around<'a>(graph: &'a Graph, index: &Index, node: &Node, direction: Direction) -> Vec<EdgeRef<'a>> {
    match direction {
        Direction::Callers => edges::to(graph, index, node),
        Direction::Callees => edges::from(graph, node),
    }
}

/// The nodes to go on from after following `edge`: the caller, or what answered. Where no proxy says which workloads
/// answered, the called Service stands for all of its workloads.
fn beyond(edge: &Edge, direction: Direction) -> Vec<Node> {
    match direction {
        Direction::Callers => match &edge.src {
            Source::Workload(id) => vec![Node::Workload(id.clone())],
            // Several workloads may share it; naming one of them would be a guess.
            Source::Identity(_) | Source::Unmeshed(_) => Vec::new(),
        },
        Direction::Callees if !edge.workloads.is_empty() => {
            edge.workloads.iter().cloned().map(Node::Workload).collect()
        }
        Direction::Callees if !edge.backends.is_empty() => {
            edge.backends.iter().cloned().map(Node::Service).collect()
        }
        Direction::Callees => vec![Node::of_destination(&edge.dst)],
    }
}
