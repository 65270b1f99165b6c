//! Questions about a graph and its numbers, and the answers as values.
//!
//! [`resolve()`] turns what a person types into a node; [`Index`] makes the questions below cost what the answer
//! weighs and not what the mesh weighs; [`edges`] lists, ranks and filters edges; [`walk`] follows them; [`Part`] is
//! the piece of a graph that an answer carries; [`destination`] holds a graph against what proxies are told; [`aggregate`]
//! sums edges up by namespace or Service, [`overview`] counts all there is; [`bearing`] finds the policies of a node;
//! [`problems`] ranks what is wrong; [`compare`] holds a graph against an earlier one, and [`changes`] says what happened
//! between two states; [`limited()`] is the part that somebody with rights in some namespaces sees.

use crate::id::{Destination, ExternalId, ServiceId, WorkloadId};
use std::fmt;

pub mod aggregate;
pub mod bearing;
pub mod changes;
pub mod compare;
pub mod destination;
pub mod edges;
mod index;
mod limit;
pub mod overview;
mod part;
pub mod problems;
mod resolve;
mod rollup;
pub mod walk;

pub use index::Index;
pub use limit::limited;
pub use part::Part;
pub(crate) use resolve::near;
pub use resolve::{ResolveError, Target, check_namespace, resolve, resolve_node};
pub use rollup::{NodeRollup, Rollup, Rollups};

#[cfg(test)]
mod tests;

/// Something that edges start or end at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A Service: its callers call it by name, its calls are those of the workloads behind it.
    Service(ServiceId),
    /// A workload.
    Workload(WorkloadId),
    /// A destination outside the cluster.
    External(ExternalId),
}

// === impl Node ===

impl Node {
    /// The node an edge leads to, without its port.
    pub fn of_destination(destination: &Destination) -> Self {
        match destination {
            Destination::Service(id, _) => Self::Service(id.clone()),
            Destination::Workload(id, _) => Self::Workload(id.clone()),
            Destination::External(id) => Self::External(id.clone()),
        }
    }

    /// The id by which the graph's maps know the node. Ids of the three kinds never look alike: one slash, two
    /// slashes, or none.
    pub fn key(&self) -> &str {
        match self {
            Self::Service(id) => id.as_str(),
            Self::Workload(id) => id.as_str(),
            Self::External(id) => id.as_str(),
        }
    }

    /// The namespace, for what is in the cluster.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Service(id) => Some(id.namespace()),
            Self::Workload(id) => Some(id.namespace()),
            Self::External(_) => None,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(id) => write!(f, "{id}"),
            Self::Workload(id) => write!(f, "{id}"),
            Self::External(id) => write!(f, "external:{id}"),
        }
    }
}
