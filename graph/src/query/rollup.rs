//! Sums of the numbers of a node's edges.

use crate::{
    id::{Destination, Source},
    metrics::EdgeMetrics,
    query::edges::Numbered,
};
use std::collections::HashMap;

/// The numbers of several edges in one. What no edge knows is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rollup {
    /// Calls per second.
    pub rps: Option<f64>,
    /// Success rate, 0 to 1, of the calls whose success is known, weighted by calls per second.
    pub success_rate: Option<f64>,
    /// Denied per second.
    pub denied: Option<f64>,
}

/// The numbers of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeRollup {
    /// Calls it receives.
    pub inbound: Rollup,
    /// Calls it makes. Services make none.
    pub outbound: Rollup,
}

/// The numbers of many nodes, from one pass over their edges.
#[derive(Debug, Default)]
pub struct Rollups<'a> {
    nodes: HashMap<&'a str, Sums, ahash::RandomState>,
}

#[derive(Debug, Default)]
struct Sums {
    inbound: Sum,
    outbound: Sum,
    /// Some calls may have been answered by this workload or by another one: what it received is not known.
    shared: bool,
}

#[derive(Debug, Default)]
struct Sum {
    rps: Option<f64>,
    denied: Option<f64>,
    judged: f64,
    succeeded: f64,
}

// === impl Rollups ===

impl<'a> Rollups<'a> {
    /// Sums up `edges`; ask only for nodes all of whose edges are among them. Sums depend on the order in the last of
    /// their digits; that of ids is the usual one.
    pub fn of(edges: impl IntoIterator<Item = Numbered<'a>>) -> Self {
        let mut rollups = Self::default();
        for ((_, edge), numbers) in edges {
            let Some(numbers) = numbers else { continue };
            if let Source::Workload(source) = &edge.src {
                rollups.node(source.as_str()).outbound.add(numbers);
            }
            match &edge.dst {
                Destination::Service(id, _) => rollups.node(id.as_str()).inbound.add(numbers),
                Destination::Workload(id, _) => rollups.node(id.as_str()).inbound.add(numbers),
                Destination::External(_) => {}
            }
            if let Destination::Service(..) = &edge.dst {
                match edge.workloads.as_slice() {
                    [only] => rollups.node(only.as_str()).inbound.add(numbers),
                    several => several.iter().for_each(|id| rollups.node(id.as_str()).shared = true),
                }
            }
        }
        rollups
    }

    /// The numbers of the node with this key (see [`crate::query::Node::key`]).
    pub fn get(&self, key: &str) -> NodeRollup {
        self.nodes.get(key).map(Sums::rollup).unwrap_or_default()
    }

    fn node(&mut self, key: &'a str) -> &mut Sums {
        self.nodes.entry(key).or_default()
    }
}

// === impl Sums ===

impl Sums {
    fn rollup(&self) -> NodeRollup {
        let inbound = if self.shared { Rollup::default() } else { self.inbound.rollup() };
        NodeRollup { inbound, outbound: self.outbound.rollup() }
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, numbers: &EdgeMetrics) {
        let plus = |sum: Option<f64>, number: Option<f64>| match (sum, number) {
            (Some(sum), Some(number)) => Some(sum + number),
            (sum, number) => sum.or(number),
        };
        self.rps = plus(self.rps, numbers.rps);
        self.denied = plus(self.denied, numbers.denied);
        if let (Some(rps), Some(rate)) = (numbers.rps, numbers.success_rate) {
            self.judged += rps;
            self.succeeded += rps * rate;
        }
    }

    fn rollup(&self) -> Rollup {
        let success_rate = (self.judged > 0.0).then(|| self.succeeded / self.judged);
        Rollup { rps: self.rps, success_rate, denied: self.denied }
    }
}

// === impl Rollup ===

impl Rollup {
    /// True when no number is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
