//! The built command, as a shell runs it, against an API and a Kubernetes in this process.

mod change;
mod check;
mod cluster;
mod demo;
#[path = "../../src/golden.rs"]
mod golden;
mod graph;
mod mcp;
mod offline;
mod policy;
#[path = "../sample/mod.rs"]
mod sample;
mod support;
