//! Lists of edges: of a namespace, from or to a node, the heaviest, the troubled.

use super::{Index, Node};
use crate::{
    id::{Destination, EdgeId, Source, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Meshed, Tls},
};
use imbl::OrdMap;
use std::{borrow::Borrow, cmp::Ordering, ops::Bound, sync::Arc};

/// An edge of a graph with its id.
pub type EdgeRef<'a> = (&'a EdgeId, &'a Arc<Edge>);

/// An edge with its numbers, where they are known.
pub type Numbered<'a> = (EdgeRef<'a>, Option<&'a EdgeMetrics>);

/// By which number edges are ranked, highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Calls per second.
    Rps,
    /// Share of calls that failed or were denied: 1 - success rate.
    ErrorRate,
    /// 99th percentile of the latency in milliseconds.
    LatencyP99,
    /// Requests or connections denied per second.
    Denied,
}

/// What may be wrong with an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// The client, the called Service or a workload that answers has pods without a proxy.
    Unmeshed,
    /// Known to carry traffic that is not mutual TLS.
    NoMtls,
    /// The server's proxy denies some of it.
    Denied,
    /// The success rate is known and below this share.
    Failing {
        /// A share from 0 to 1.
        below: f64,
    },
}

/// Edges that start or end in `namespace`, ordered by id. Costs what the answer weighs.
pub fn of_namespace<'a>(graph: &'a Graph, index: &Index, namespace: &str) -> Vec<EdgeRef<'a>> {
    let beyond = index.beyond_sources(namespace).filter_map(|id| graph.edges.get_key_value(id));
    let mut edges: Vec<_> = under(&graph.edges, namespace, '/').chain(beyond).collect();
    edges.sort_unstable_by_key(|(id, _)| *id);
    edges
}

/// Edges that start at `node`, ordered by id. A Service's calls are those of the workloads behind it.
pub fn from<'a>(graph: &'a Graph, node: &Node) -> Vec<EdgeRef<'a>> {
    match node {
        Node::Workload(id) => from_workload(graph, id).collect(),
        Node::Service(id) => {
            let workloads = graph.services.get(id).map(|service| service.workloads.as_slice());
            let mut edges: Vec<_> =
                workloads.unwrap_or_default().iter().flat_map(|id| from_workload(graph, id)).collect();
            // `a-1->` comes before `a->`, while `a` comes before `a-1`.
            edges.sort_unstable_by_key(|(id, _)| *id);
            edges
        }
        Node::External(_) => Vec::new(),
    }
}

/// Edges that lead to `node`, ordered by id: to a Service by name or as a route's backend, to a workload by pod
/// address or through a Service that it answered for.
pub fn to<'a>(graph: &'a Graph, index: &Index, node: &Node) -> Vec<EdgeRef<'a>> {
    index.callers(node.key()).filter_map(|id| graph.edges.get_key_value(id)).collect()
}

/// All edges with their numbers, where they are known, ordered by id. Edges and numbers are both in that order, so
/// nothing is searched for.
pub fn with_numbers<'a>(graph: &'a Graph, metrics: &'a Metrics) -> impl Iterator<Item = Numbered<'a>> {
    numbered(&graph.edges, metrics)
}

/// `edges`, which are ordered by id, with their numbers, where they are known.
pub fn numbered<'a>(
    edges: impl IntoIterator<Item = EdgeRef<'a>>,
    metrics: &'a Metrics,
) -> impl Iterator<Item = Numbered<'a>> {
    let mut rows = metrics.in_order();
    edges.into_iter().map(move |edge| (edge, rows.get(edge.0)))
}

/// The `count` edges with the highest number, highest first, with that number. Edges whose number is zero or not
/// known are not ranked.
pub fn top<'a>(
    edges: impl IntoIterator<Item = Numbered<'a>>,
    rank: Rank,
    count: usize,
) -> Vec<(EdgeRef<'a>, f64)> {
    let number = |numbers: Option<&EdgeMetrics>| rank.of(numbers?).filter(|number| *number > 0.0);
    let ranked = edges.into_iter().filter_map(|(edge, numbers)| number(numbers).map(|number| (edge, number)));
    let mut ranked: Vec<_> = ranked.collect();
    first(&mut ranked, count, |((a, _), x), ((b, _), y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    ranked.truncate(count);
    ranked
}

/// Brings the `count` edges with the highest number to the beginning, highest first. The rest follows in no order.
///
/// Those whose number is not known come after all others, and among equals the order is that of ids.
pub fn rank(edges: &mut [Numbered<'_>], by: Rank, count: usize) {
    let value = |numbers: Option<&EdgeMetrics>| numbers.and_then(|it| by.of(it)).unwrap_or(-1.0);
    first(edges, count, |((a, _), x), ((b, _), y)| value(*y).total_cmp(&value(*x)).then_with(|| a.cmp(b)));
}

/// Brings the `count` first of `items` to the beginning and into order; the others follow in none.
pub fn first<T>(items: &mut [T], count: usize, order: impl Fn(&T, &T) -> Ordering) {
    let mut head = items;
    if count > 0 && count < head.len() {
        head = head.select_nth_unstable_by(count, &order).0;
    }
    if count > 0 {
        head.sort_unstable_by(order);
    }
}

/// True when the edge has this trouble. What is not known is not held against it.
pub fn has(trouble: Trouble, graph: &Graph, edge: &Edge, numbers: Option<&EdgeMetrics>) -> bool {
    match trouble {
        Trouble::Unmeshed => unmeshed(graph, edge),
        Trouble::NoMtls => matches!(edge.tls, Tls::No { .. }),
        Trouble::Denied => numbers.and_then(|numbers| numbers.denied).is_some_and(|denied| denied > 0.0),
        Trouble::Failing { below } => {
            numbers.and_then(|numbers| numbers.success_rate).is_some_and(|rate| rate < below)
        }
    }
}

fn unmeshed(graph: &Graph, edge: &Edge) -> bool {
    let workload = |id: &WorkloadId| graph.workloads.get(id).is_some_and(|it| it.meshed != Meshed::All);
    let source = match &edge.src {
        Source::Workload(id) => workload(id),
        Source::Identity(_) => false,
        Source::Unmeshed(_) => true,
    };
    let target = match &edge.dst {
        // Without pods a Service counts as not meshed; that it has nothing behind it is another trouble.
        Destination::Service(id, _) => graph
            .services
            .get(id)
            .is_some_and(|service| !service.workloads.is_empty() && service.meshed != Meshed::All),
        Destination::Workload(id, _) => workload(id),
        Destination::External(_) => false,
    };
    source || target || edge.workloads.iter().any(workload)
}

fn from_workload<'a>(graph: &'a Graph, id: &WorkloadId) -> impl Iterator<Item = EdgeRef<'a>> + use<'a> {
    under(&graph.edges, &format!("{id}-"), '>')
}

/// Entries whose key starts with `prefix` followed by `separator`.
pub(crate) fn under<'a, K, V>(
    map: &'a OrdMap<K, V>,
    prefix: &str,
    separator: char,
) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V>
where
    K: Ord + Borrow<str>,
{
    // The separators are ASCII, so the next character ends exactly the range of keys that start with this one.
    let end = char::from(separator as u8 + 1);
    let (low, high) = (format!("{prefix}{separator}"), format!("{prefix}{end}"));
    map.range::<_, str>((Bound::Included(low.as_str()), Bound::Excluded(high.as_str())))
}

// === impl Rank ===

impl Rank {
    /// The number that ranks an edge, where it is known.
    pub fn of(self, numbers: &EdgeMetrics) -> Option<f64> {
        match self {
            Self::Rps => numbers.rps,
            Self::ErrorRate => numbers.success_rate.map(|rate| 1.0 - rate),
            Self::LatencyP99 => numbers.p99_ms,
            Self::Denied => numbers.denied,
        }
    }
}
