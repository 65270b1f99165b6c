//! `linkerd-mcp demo`: the same pipeline as `serve`, against a simulated mesh.

use crate::{
    args::Globals,
    client,
    cmd::{
        graph::{self, GraphArgs},
        serve::try_next,
    },
    embedded,
    terminal::{self, Spinner},
};
use anyhow::Context as _;
use clap::{Args, builder::RangedU64ValueParser};
use linkerd_mcp_api::{change, mcp};
use linkerd_mcp_controller::{args::stopped, index, simulate};
use linkerd_mcp_proto::v1::{GetMeshGraphRequest, View};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::sync::mpsc;

/// A demo is looked at for minutes; numbers that move every 15 s would look broken.
const POLL: Duration = Duration::from_secs(2);
/// What an incident brought should go soon after it.
const RETAIN: Duration = Duration::from_secs(60);
/// For the largest mesh on a slow machine.
const START: Duration = Duration::from_secs(60);

/// As many as Kubernetes itself supports in one cluster.
pub(crate) const MOST_SERVICES: u64 = simulate::MAX_SERVICES as u64;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Simulate a mesh of this many services [default: a small one in the manner of emojivoto]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=MOST_SERVICES))]
    pub(crate) services: Option<u32>,

    /// Seed of the simulation: the same seed gives the same mesh
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Address to answer gRPC and HTTP on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8086")]
    pub(crate) listen: SocketAddr,

    /// YAML file with settings of the MCP endpoint (toolsets, tools, callsPerSecond, allowedOrigins); it is read again when
    /// it changes
    #[arg(long, env = "LINKERD_MCP_MCP_CONFIG", value_name = "FILE")]
    pub(crate) mcp_config: Option<PathBuf>,

    /// Print the graph once and exit
    #[arg(long, conflicts_with = "no_follow")]
    pub(crate) once: bool,

    /// Serve without printing the graph as it moves
    #[arg(long)]
    pub(crate) no_follow: bool,
}

// === impl DemoArgs ===

impl DemoArgs {
    /// One that only serves, on a free port.
    pub(crate) fn quiet(services: Option<u32>) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { services, seed: 1, listen, mcp_config: None, once: false, no_follow: true }
    }
}

/// Serves until SIGTERM or Ctrl-C, and prints the graph as it moves.
pub(crate) async fn run(globals: &Globals, args: DemoArgs) -> anyhow::Result<()> {
    let (running, here) = start(globals, &args).await?;
    if args.once {
        graph::run(&here, GraphArgs::everything(false)).await?;
        return running.until(std::future::ready(())).await;
    }
    terminal::say(&format!("Serving a simulated mesh on {}; nothing here is real", running.address));
    terminal::say(&try_next(running.address));
    if args.no_follow {
        return running.until(stopped()).await;
    }
    let followed = async {
        tokio::select! {
            followed = graph::run(&here, GraphArgs::everything(true)) => followed,
            () = stopped() => Ok(()),
        }
    };
    let mut outcome = Ok(());
    running.until(async { outcome = followed.await }).await?;
    outcome
}

/// Starts it, waits for its first numbers, and gives the flags that lead to it.
pub(crate) async fn start(
    globals: &Globals,
    args: &DemoArgs,
) -> anyhow::Result<(embedded::Running, Globals)> {
    let mcp = mcp::Options { config: args.mcp_config.clone(), ..mcp::Options::default() };
    let bound = embedded::bind(args.listen, None, None, mcp, change::Options::default()).await?;
    let (sender, messages) = mpsc::channel(4096);
    let options = simulate::Options {
        services: args.services.map_or(0, |services| services as usize),
        seed: args.seed,
    };
    let source = simulate::start(options, sender);
    let options = index::Options { poll: POLL, retain: RETAIN, ..index::Options::default() };
    let running = bound.start(options, messages, source);
    let here = Globals { api_addr: Some(running.address.to_string().parse()?), ..globals.clone() };
    first_numbers(&here).await?;
    Ok((running, here))
}

/// Waits until the first poll's numbers are in, so that the first thing printed is a graph.
async fn first_numbers(here: &Globals) -> anyhow::Result<()> {
    let spinner = Spinner::start("The simulated mesh starts");
    let ready = async {
        loop {
            if let Ok(mesh) = client::connect(here).await
                && let Ok(graph) =
                    mesh.graph(GetMeshGraphRequest { view: View::Edges.into(), ..Default::default() }).await
                && !graph.edges.is_empty()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START, ready).await.context("the simulated mesh did not start within a minute")?;
    drop(spinner);
    Ok(())
}
