//! The API over real sockets, fed by a script.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

mod admin;
mod client;
mod fixture;
mod graph;
mod http;
mod identity;
mod mcp;
mod mcp_settings;
mod oauth;
mod prompts;
mod resources;
mod rig;
mod subscriptions;
mod watch;
mod watchers;
