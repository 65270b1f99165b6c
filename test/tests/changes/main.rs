//! Changes of policy on a real kube-apiserver with RBAC, admission policies and its audit log, and a real Redis whose
//! user has the rights of docs/redis.md and no more: what lands, what is refused, and that nothing is written then.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod applied;
mod bench;
mod guarded;
mod kept;
mod proposed;
mod refused;
mod surface;
mod undone;
