//! Answers questions about the mesh: a replica of the graph behind gRPC and JSON over HTTP.
//!
//! ```text
//! feed ─► Replica ─► View (graph, numbers, index, encoded answers) ─┬─► grpc   GetMeshGraph, GetCallGraph, CheckAccess, …
//!            │                                                      └─► http   /v1/graph, /v1/callgraph, /v1/access, …
//!            └────► ring of changes ─► grpc WatchMeshGraph
//! ```
//!
//! Start at [`Api`]: bind, then serve from any [`linkerd_mcp_graph::feed::Subscription`].

pub mod access;
mod answer;
pub mod args;
pub mod audit;
mod authority;
pub mod authorization;
pub mod caller;
mod chain;
pub mod change;
mod encode;
pub mod feed;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod http;
mod kubernetes;
pub mod linkerd;
pub mod mcp;
pub mod metrics;
pub mod replica;
pub mod rights;
mod serve;
pub mod view;

/// The graph's values, under the name that this crate's modules use.
pub use linkerd_mcp_graph as graph;
pub use serve::{Api, BindError, Config, ServeError};
