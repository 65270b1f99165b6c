//! Changes of policy as callers make them: through the listeners of an API on a real kube-apiserver, by ServiceAccounts
//! with the chart's roles. What lands, who is refused, and that nothing reaches the API server then, by its audit log.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod bench;
mod caller;
mod lands;
mod lines;
mod model;
mod model_asks;
mod refused;
