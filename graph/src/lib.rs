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

pub mod delta;
pub mod fact;
pub mod feed;
pub mod id;
pub mod kind;
pub mod metrics;
pub mod model;
pub mod status;
pub mod wire;
