//! The built command, as a shell runs it, against an API and a Kubernetes in this process.

mod cluster;
mod demo;
mod graph;
#[path = "../sample/mod.rs"]
mod sample;
mod support;
