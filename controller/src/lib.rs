//! The controller: watches Kubernetes, polls Prometheus, keeps the mesh graph up to date and publishes it.
//!
//! Start at [`watch`] for what is watched and how an object becomes a fact.

use linkerd_mcp_graph as graph;

pub mod admin;
pub mod args;
mod chain;
pub mod cluster;
#[doc(hidden)]
pub mod fuzz;
pub mod index;
mod informer;
mod kube_error;
pub mod lead;
pub mod prometheus;
pub mod publish;
pub mod simulate;
pub mod watch;
