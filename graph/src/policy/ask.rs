//! Questions about who may call whom in a whole mesh, and the answers as values.
//!
//! ```text
//! typed name ─► Caller ─► Appearance: who the target's proxy sees        ┐
//! typed name ─► Callee ─► Endpoint: one port of one kind of pod          ├─► check(): Access with its Verdict
//!                                                    Policies (verdict)  ┘   list(): who may use which port
//! ```
//!
//! Everything is asked of a [`Mesh`]: a graph with its numbers and policies at one moment.

use super::{Policies, policies::Target};
use crate::{
    fact::Key,
    id::{ServiceId, WorkloadId},
    metrics::Metrics,
    model::{Graph, Template},
    query::{self, ResolveError},
};

mod callee;
mod caller;
mod check;
mod egress;
mod list;
mod matrix;

pub(in crate::policy) use egress::lets_out;
pub(crate) use list::all_endpoints;
pub(crate) use matrix::Columns;

pub use callee::{Callee, Endpoint};
pub use caller::{Appearance, Caller};
pub use check::{Access, Checked, check};
pub use list::{
    CallRow, Grant, GrantNumbers, Listed, OpenTo, PortAccess, RouteAccess, list_from, list_namespace, list_to,
};
pub use matrix::{Admitted, Matrix, Row, matrix};

/// A mesh at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Mesh<'a> {
    /// Its nodes, edges and objects.
    pub graph: &'a Graph,
    /// The reverse directions of its edges.
    pub index: &'a query::Index,
    /// The numbers of its edges.
    pub metrics: &'a Metrics,
    /// The policies of the same graph.
    pub policies: &'a Policies,
}

/// Why a question about access has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// A name stands for nothing, or for more than one thing.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// Text that should name a client and does not.
    #[error(
        "`{0}` names no client: write a workload (`namespace/kind/name`), a ServiceAccount (`namespace/sa/name`), a \
         mesh identity, or an IP address"
    )]
    NoClient(String),
    /// The Service has no such port.
    #[error("Service {service} has no port {port}; it has {}", or_none(ports))]
    NoServicePort {
        /// The Service.
        service: ServiceId,
        /// What was asked for.
        port: u16,
        /// What there is.
        ports: Vec<u16>,
    },
    /// No pod stands behind the Service.
    #[error("no pod stands behind Service {0}, so there is nobody to decide about calls to it")]
    NoEndpoints(ServiceId),
    /// The Service stands for one of another cluster.
    #[error(
        "Service {service} mirrors {mirrored}: the policies of that cluster decide, and they see the identity of its \
         gateway. Ask there"
    )]
    OtherCluster {
        /// The Service here.
        service: ServiceId,
        /// `namespace/name@cluster`.
        mirrored: String,
    },
    /// The Service is a name for something outside.
    #[error("no pod of {workload} has the port `{port}` that Service {service} sends calls to")]
    NoTargetPort {
        /// The Service.
        service: ServiceId,
        /// A workload behind it.
        workload: WorkloadId,
        /// Its target port, a name.
        port: String,
    },
    /// The workload declares no ports.
    #[error("{0} declares no ports: name one, as in `{0}:8080`")]
    NoPorts(WorkloadId),
    /// A destination outside without its port, or a name instead of an address.
    #[error("`{0}` cannot be judged: write external:IP:PORT, because EgressNetworks go by address")]
    NoExternal(String),
}

fn or_none(ports: &[u16]) -> String {
    match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

// === impl Template ===

impl Template {
    /// The template as something that policies are asked about; `key` names its first pod.
    pub fn target<'a>(&'a self, key: &'a Key) -> Target<'a> {
        Target::Template(key, self)
    }
}
