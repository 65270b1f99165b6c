//! The commands, one file each. A new one is a variant and an arm here.

pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod graph;
pub(crate) mod resolve;
pub(crate) mod serve;
pub(crate) mod version;

use crate::args::Globals;
use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print who calls whom, with rates, latencies and mTLS
    Graph(graph::GraphArgs),
    /// Print what Linkerd's policy makes of the ports of workloads in manifests; needs no cluster
    Resolve(resolve::ResolveArgs),
    /// Run controller and API in this process against the current kubeconfig
    Serve(serve::ServeArgs),
    /// Run controller and API in this process against a simulated mesh; needs no cluster
    Demo(demo::DemoArgs),
    /// Print the version of this command and of the API it reaches
    Version(version::VersionArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

// === impl Command ===

impl Command {
    /// True for what runs until it is stopped and says in logs what it does. A demo draws on the same terminal.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Serve(_))
    }
}

/// Runs one command.
pub(crate) async fn run(globals: &Globals, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Graph(args) => graph::run(globals, args).await,
        Command::Resolve(args) => resolve::run(globals, &args),
        Command::Serve(args) => serve::run(globals, args).await,
        Command::Demo(args) => demo::run(globals, args).await,
        Command::Version(args) => version::run(globals, args).await,
        Command::Completion(args) => completion::run(&args),
    }
}
