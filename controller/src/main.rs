//! The controller process: watches Kubernetes, polls Prometheus and publishes the mesh graph through Redis.

use clap::Parser as _;
use linkerd_mcp_controller::args::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
