//! The edges of a whole view that come first by a number, of all or of those with some trouble. That takes a look at
//! every edge, so the first of each list are kept for the next who asks.

use linkerd_mcp_graph::{
    id::EdgeId,
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph},
    query::edges::{Numbered, Rank, Trouble, has, rank, with_numbers},
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Which edges, and in which order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Order {
    pub(crate) only: Option<Trouble>,
    pub(crate) by: Rank,
}

/// A list of edges, of which the first are known.
#[derive(Debug)]
pub(crate) struct List {
    /// How many there are in all.
    pub(crate) total: usize,
    first: Vec<(EdgeId, Arc<Edge>, Option<EdgeMetrics>)>,
}

/// The lists of one view that were asked for.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<Vec<(Order, Arc<List>)>>);

/// So many edges of each list are kept: as many as a page may have.
pub(crate) const FIRST: usize = 200;

/// The most lists of a view: each edge takes some 300 bytes, so these are 1 MB.
const MAX_LISTS: usize = 16;

// === impl Lists ===

impl Lists {
    pub(super) fn get(&self, graph: &Graph, metrics: &Metrics, order: Order) -> Arc<List> {
        let known = self.0.lock().iter().find(|(of, _)| *of == order).map(|(_, list)| list.clone());
        known.unwrap_or_else(|| {
            // Two who ask at once both look, and find the same.
            let list = Arc::new(List::of(graph, metrics, order));
            let mut lists = self.0.lock();
            if lists.len() >= MAX_LISTS {
                lists.remove(0);
            }
            lists.push((order, list.clone()));
            list
        })
    }
}

// === impl List ===

impl List {
    fn of(graph: &Graph, metrics: &Metrics, order: Order) -> Self {
        let mut found: Vec<Numbered<'_>> = with_numbers(graph, metrics)
            .filter(|((_, edge), numbers)| order.only.is_none_or(|only| has(only, graph, edge, *numbers)))
            .collect();
        rank(&mut found, order.by, FIRST);
        let first = found
            .iter()
            .take(FIRST)
            .map(|((id, edge), numbers)| ((*id).clone(), Arc::clone(edge), numbers.cloned()));
        Self { total: found.len(), first: first.collect() }
    }

    /// The first [`FIRST`] edges, or all if there are fewer.
    pub(crate) fn first(&self) -> Vec<Numbered<'_>> {
        self.first.iter().map(|(id, edge, numbers)| ((id, edge), numbers.as_ref())).collect()
    }
}
