//! The mesh graph as values: facts and traffic go in, a graph, its changes and answers come out.
//!
//! ```text
//! Kubernetes object ─► Fact ─► Facts ─┐
//!                                     ├─► Graph ─► Delta ─► bytes ─► Delta ─► Graph ─► answer
//! Prometheus answer ─► Traffic ───────┘     └────► Metrics ─► frame ─► Metrics ─┘
//! ```
//!
//! Nothing here knows a clock, a socket, Kubernetes' client or Redis: the controller and the API do the I/O. Start at
//! [`model`] for what the graph is, at [`index`] for how it is kept up to date, at [`traffic`] for how proxy metrics
//! become edges, and at [`feed`] for how it reaches the replicas.

pub mod assemble;
pub mod change;
pub mod delta;
pub mod fact;
pub mod facts;
pub mod feed;
pub mod id;
pub mod index;
pub mod kind;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod promql;
pub mod query;
pub mod status;
pub mod traffic;
pub mod wire;

#[cfg(test)]
mod tests;
