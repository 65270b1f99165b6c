//! Policy: what Linkerd's policy controller answers for a port of a workload, and whom its proxy lets in, from the
//! objects alone.
//!
//! ```text
//! Facts ─► Policies ─► Answer: the Server that selects the port (or the default policy), its protocol,
//!             │                its routes, and who is let in by which object
//!             ├─► Verdict: whether a client may make a call, and the objects that decide it
//!             │     ├─► Flip: the smallest change after which it is another one
//!             │     └─► Denial: what is denied now, and why
//!             └─► Ignored: objects that Linkerd does as if they were not there
//! ```
//!
//! One file per rule: `server.rs` for which Server selects a port, `authorization.rs` and `authentication.rs` for who
//! is let in, `route.rs` for which routes are attached, `probe.rs` for the default routes, `rate_limit.rs`;
//! `verdict.rs` for what a proxy makes of it. `spec/` reads the objects, as strictly as the controller does. The rules
//! were recorded from the real controller; the test `policy_cases` compares with the recordings.

use crate::facts::Facts;

pub mod answer;
pub mod ask;
mod authentication;
mod authorization;
mod cluster;
pub mod denial;
pub mod drift;
pub mod flip;
pub mod lint;
pub mod objects;
mod pattern;
mod policies;
mod ports;
mod probe;
mod rate_limit;
pub(crate) mod refers;
mod route;
pub mod selector;
mod server;
mod spec;
mod status;
mod targets;
pub mod verdict;

pub use answer::Answer;
pub use cluster::{DefaultPolicy, PolicyCluster, UnknownPolicy};
pub use lint::{Finding, Severity, lint};
pub use objects::{ObjectChange, Objects};
pub use pattern::Pattern;
pub use policies::{Ignored, Policies, Target, WorkloadKey};
pub use ports::{ParseError as PortsError, Ports};
pub use spec::Fault;
pub(crate) use targets::labels_selected;
pub use targets::{authorizations_on, servers_of};
pub use verdict::{Client, Decision, Reason, Request, Verdict, check_access};

/// What Linkerd's policy controller answers for a port of a workload. Reads the policies of its namespace anew; ask
/// [`Policies`] for many ports.
pub fn resolve(facts: &Facts, cluster: &PolicyCluster, workload: &WorkloadKey, port: u32) -> Answer {
    Policies::of_namespace(facts, cluster, &workload.key().namespace).answer(facts, workload, port)
}
