//! Policy: which Servers select a workload and which authorizations bear on them. Who may call whom is decided from
//! the same pieces.

pub mod selector;
mod targets;

pub use targets::{authorizations_on, servers_of};
