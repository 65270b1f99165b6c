//! Where the graph comes from: a subscription to what the controller publishes.
//!
//! [`memory`] is for a controller in this process, [`redis`] for one elsewhere. Both give the same
//! [events](crate::graph::feed::Event) of the same types; the replica does not know which it reads.

pub mod memory;
pub mod redis;
