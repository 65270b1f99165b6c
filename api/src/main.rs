//! The API process: answers questions about the mesh from a replica of the graph.

use clap::Parser as _;
use linkerd_mcp_api::args::Args;
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
