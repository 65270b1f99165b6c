//! The commands, one file each. A new one is a variant and an arm here.

pub(crate) mod apply;
pub(crate) mod authz;
pub(crate) mod can;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod denials;
pub(crate) mod endpoints;
pub(crate) mod extension_metadata;
pub(crate) mod graph;
pub(crate) mod install;
pub(crate) mod lint;
pub(crate) mod mcp;
pub(crate) mod plan;
pub(crate) mod propose;
pub(crate) mod prune;
pub(crate) mod resolve;
pub(crate) mod rollback;
pub(crate) mod serve;
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod who_can;

use crate::args::Globals;
use clap::Subcommand;
use std::process::ExitCode;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print who calls whom, with rates, latencies and mTLS
    Graph(graph::GraphArgs),
    /// Say whether a client may make a call, why, and what would change that; also of manifests
    Can(can::CanArgs),
    /// Print who may call a Service or workload, what a client may call, or the whole of a namespace
    WhoCan(who_can::WhoCanArgs),
    /// Print which authorizations let calls in to a resource, and how many, as linkerd viz does
    Authz(authz::AuthzArgs),
    /// Print what is being denied now, why, and what to do
    Denials(denials::DenialsArgs),
    /// Find policies that are likely not meant as they are
    Lint(lint::LintArgs),
    /// Print what Linkerd's policy makes of the ports of workloads, in a mesh or in manifests
    Resolve(resolve::ResolveArgs),
    /// Print what proxies are told about the endpoints of a Service, and what of it differs from the mesh
    Endpoints(endpoints::EndpointsArgs),
    /// Print the least policy that lets in what a workload or namespace is seen being called by
    Propose(propose::ProposeArgs),
    /// Say what a change of policy would do to the mesh, and get a plan to apply; writes nothing
    Plan(plan::PlanArgs),
    /// Do what was planned
    Apply(apply::ApplyArgs),
    /// Put back what was there before a change
    Rollback(rollback::RollbackArgs),
    /// Print what was changed through linkerd-mcp, and by whom
    Changes(changes::ChangesArgs),
    /// Check the installation, or with --pre whether there can be one; `linkerd check` runs it too
    Check(check::CheckArgs),
    /// Print the manifests of this extension, for kubectl apply -f -
    Install(install::InstallArgs),
    /// Print what this extension has in the cluster, for kubectl delete -f -
    Uninstall(uninstall::UninstallArgs),
    /// Print what this extension has in the cluster and install with the same flags does not print
    Prune(install::InstallArgs),
    /// Run controller and API in this process against the current kubeconfig
    Serve(serve::ServeArgs),
    /// Run controller and API in this process against a simulated mesh; needs no cluster
    Demo(demo::DemoArgs),
    /// Speak the Model Context Protocol over stdin and stdout, for clients that start a process
    Mcp(mcp::McpArgs),
    /// Print the version of this command and of the API it reaches
    Version(version::VersionArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Answer `linkerd check`
    #[command(name = "_extension-metadata", hide = true)]
    ExtensionMetadata,
}

// === impl Command ===

impl Command {
    /// True for what runs until it is stopped and says in logs what it does. A demo draws on the same terminal.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Serve(_))
    }

    /// The exit code when there is no answer. Where 1 is an answer, that is 2.
    pub(crate) fn unanswered(&self) -> u8 {
        match self {
            Self::Can(_)
            | Self::Lint(_)
            | Self::Endpoints(_)
            | Self::Plan(_)
            | Self::Apply(_)
            | Self::Rollback(_) => 2,
            _ => 1,
        }
    }
}

/// Runs one command. Most have no answer but what they print.
pub(crate) async fn run(globals: &Globals, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::ExtensionMetadata => return Ok(extension_metadata::run()),
        Command::Can(args) => return can::run(globals, args).await,
        Command::Check(args) => return check::run(globals, args).await,
        Command::Lint(args) => return lint::run(globals, args).await,
        Command::Endpoints(args) => return endpoints::run(globals, args).await,
        Command::Plan(args) => return plan::run(globals, args).await,
        Command::Apply(args) => return apply::run(globals, args).await,
        Command::Rollback(args) => return rollback::run(globals, args).await,
        Command::Changes(args) => changes::run(globals, args).await,
        Command::Propose(args) => propose::run(globals, args).await,
        Command::Graph(args) => graph::run(globals, args).await,
        Command::WhoCan(args) => who_can::run(globals, args).await,
        Command::Authz(args) => authz::run(globals, args).await,
        Command::Denials(args) => denials::run(globals, args).await,
        Command::Resolve(args) => resolve::run(globals, &args).await,
        Command::Install(args) => install::run(globals, &args).await,
        Command::Uninstall(args) => uninstall::run(globals, &args).await,
        Command::Prune(args) => prune::run(globals, &args).await,
        Command::Serve(args) => serve::run(globals, args).await,
        Command::Demo(args) => demo::run(globals, args).await,
        Command::Mcp(args) => mcp::run(globals, args).await,
        Command::Version(args) => version::run(globals, args).await,
        Command::Completion(args) => completion::run(&args),
    }
    .map(|()| ExitCode::SUCCESS)
}
