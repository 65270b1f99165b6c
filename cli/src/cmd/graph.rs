//! `linkerd-mcp graph`: who calls whom.

mod event;
mod mirror;
mod question;
mod watch;

use crate::{
    args::{Globals, Usage},
    client,
    output::{dot, freshness, json, mermaid, svg, table, wide, yaml},
    terminal::{self, Spinner},
};
use clap::{ArgGroup, Args, ValueEnum};
use linkerd_mcp_controller::args::duration::GoDuration;
use linkerd_mcp_proto::v1::{MeshGraph, View};
use question::{Answer, Question};
use std::time::Duration;

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("end").args(["from", "to"]).multiple(true))]
pub(crate) struct GraphArgs {
    /// Namespace to look at [default: that of the kubeconfig context; all of them with --api-addr]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Look at all namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,

    /// Only what this workload or Service calls, as in web, deploy/web or shop/deploy/web
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,

    /// Only what calls this workload or Service
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,

    /// How many calls in a row to follow from --from, or back from --to
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "end",
        value_parser = clap::value_parser!(u32).range(1..=16)
    )]
    pub(crate) depth: u32,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub(crate) output: Format,

    /// How long to wait for an API that has no graph yet
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) wait: GoDuration,

    /// Stay and print changes as they happen; json and yaml print one document for each
    #[arg(long, short = 'w')]
    pub(crate) watch: bool,
}

/// What the graph is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// One document, edges by id
    Json,
    /// The same as YAML
    Yaml,
    /// Graphviz
    Dot,
    /// Mermaid flowchart, for Markdown
    Mermaid,
    /// Drawing for a browser
    Svg,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: GraphArgs) -> anyhow::Result<()> {
    args.validate()?;
    let mut mesh = client::connect(globals).await?;
    mesh.patience = args.wait.0;
    let question = Question::new(&args, mesh.namespace.as_deref())?;
    if args.watch {
        return watch::run(&mesh, &question, args.output).await;
    }
    let spinner = Spinner::start("Asking for the graph");
    let Answer { graph, truncated } = question.ask(&mesh, args.output.view()).await?;
    drop(spinner);
    terminal::data(args.output.print(&graph).as_bytes())?;
    if graph.edges.is_empty() {
        terminal::say(&question.nothing());
    }
    if truncated {
        terminal::say(
            "Not all calls are shown: there are too many for one answer. Ask with a smaller --depth.",
        );
    }
    for sentence in freshness::sentences(graph.freshness.as_ref()) {
        terminal::say(&sentence);
    }
    Ok(())
}

// === impl GraphArgs ===

impl GraphArgs {
    /// The whole graph as a table.
    pub(crate) fn everything(watch: bool) -> Self {
        Self {
            namespace: None,
            all_namespaces: true,
            from: None,
            to: None,
            depth: 1,
            output: Format::Table,
            wait: GoDuration(Duration::from_secs(30)),
            watch,
        }
    }

    /// What clap cannot check.
    pub(crate) fn validate(&self) -> Result<(), Usage> {
        match self.output {
            Format::Dot | Format::Mermaid | Format::Svg if self.watch => {
                Err(Usage("--watch goes with table, wide, json and yaml; a drawing is made once".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

// === impl Format ===

impl Format {
    /// The graph in this format.
    pub(crate) fn print(self, graph: &MeshGraph) -> String {
        match self {
            Self::Table => table::print(graph),
            Self::Wide => wide::print(graph),
            Self::Json => json::print(graph),
            Self::Yaml => yaml::print(graph),
            Self::Dot => dot::print(graph),
            Self::Mermaid => mermaid::print(graph),
            Self::Svg => svg::print(graph),
        }
    }

    /// As much of the graph as this format shows.
    fn view(self) -> View {
        match self {
            Self::Table | Self::Wide => View::Edges,
            Self::Json | Self::Yaml => View::Unspecified,
            Self::Dot | Self::Mermaid | Self::Svg => View::Summary,
        }
    }
}
