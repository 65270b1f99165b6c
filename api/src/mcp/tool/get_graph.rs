//! The graph of calls, summed up and cut to what matters.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, describe_workload::MeshedShare, effect::Effect,
    input, output,
};
use crate::{
    answer::Refusal,
    mcp::{
        page::{Page, Paging},
        share::{Rows, Share},
        text::{data, number, quoted},
    },
    view::View,
};
use linkerd_mcp_graph::query::{
    aggregate::{Aggregate, AggregateEdge, AggregateNode, Level, Sum, aggregate},
    check_namespace,
    edges::{self, EdgeRef},
    resolve_node,
    walk::{Direction, call_graph},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt::Write as _};

pub(super) const TOOL: Tool = Tool {
    name: "get_graph",
    title: "Graph of calls",
    description: "The graph of who calls whom, summed up by namespace, Service or workload, with requests per second, \
                  success rate, slowest p99, denials and calls without mutual TLS, the heaviest first. Follows calls \
                  from or to one workload up to `depth` hops. Use it for \"how do the namespaces depend on each other\", \
                  \"what does a request to X touch\", \"draw the mesh\". For single calls use find_edges.",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Shown>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// What is summed up: `namespace`, `service` or `workload` [default: namespace for the whole mesh, else service].
    by: Option<By>,
    /// Only calls that begin or end in this namespace.
    namespace: Option<String>,
    /// What this workload or Service calls, and what those call, up to `depth`. Example: `shop/deployment/web`.
    from: Option<String>,
    /// What calls this workload or Service, and what calls those, up to `depth`. With `from`: what leads from there to
    /// here. Example: `shop/cart`.
    to: Option<String>,
    /// How many hops to follow from `from` or `to` [default: 1].
    #[schemars(range(min = 1, max = 8))]
    depth: Option<u32>,
    /// What comes first [default: rps].
    sort: Option<Sort>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    Namespace,
    Service,
    Workload,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// Requests per second.
    #[default]
    Rps,
    /// Requests per second that fail.
    Errors,
    /// The slowest p99.
    Latency,
    /// Denied per second.
    Denied,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// How many single calls are summed up here.
    calls: usize,
    /// True when there are more calls within `depth` than were followed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    edges: Vec<EdgeRow>,
    #[serde(flatten)]
    page: Page,
    /// The ends of these edges, with their sums over all edges of the answer, not only those of this page.
    nodes: Rows<NodeRow>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EdgeRow {
    from: String,
    to: String,
    /// How many single calls this is.
    #[serde(skip_serializing_if = "is_one")]
    calls: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    /// Of the slowest.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
    /// How many of them are not mutual TLS.
    #[serde(skip_serializing_if = "is_zero")]
    no_mtls: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NodeRow {
    /// A namespace, Service or workload; `unmeshed` and `outside` stand for what is in no namespace.
    name: String,
    /// How many of its pods have a proxy: `all`, `some` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    meshed: Option<MeshedShare>,
    /// Requests per second it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_rps: Option<f64>,
    /// Share of those that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_success_rate: Option<f64>,
    /// Requests per second it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_rps: Option<f64>,
}

/// The most single calls that are followed.
const MAX_CALLS: usize = 10_000;
/// The share of an answer in percent that goes to edges; their ends take the rest.
const EDGES: usize = 60;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let arguments: Arguments = call.arguments()?;
    if arguments.depth.is_some() && arguments.from.is_none() && arguments.to.is_none() {
        let hint = "`depth` is how far to follow calls, so it needs `from` or `to`";
        return Err(ToolError::Arguments(hint.to_owned()));
    }
    let view = call.view()?;
    // Summing up 100,000 edges takes longer than other requests should wait.
    let inside = view.clone();
    let found = view.ask(move |_| show(&inside, &arguments, &asked)).await?;
    Ok(call.dated(&view, found))
}

fn show(view: &View, arguments: &Arguments, asked: &str) -> Result<Shown, ToolError> {
    let (chosen, truncated) = choose(view, arguments)?;
    let calls = chosen.len();
    let Aggregate { nodes, mut edges } = aggregate(&view.graph, &view.metrics, chosen, arguments.level());
    let sort = arguments.sort.unwrap_or_default();
    // Those without the number come last, in the order of their names.
    edges.sort_by(|a, b| sort.of(&b.sum).total_cmp(&sort.of(&a.sum)));
    let paging = &arguments.paging;
    let room = paging.detail.bytes() * EDGES / 100;
    let (rows, page) = paging.rows_within(room, asked, &edges, EdgeRow::of)?;
    let end = edges.len() - page.more;
    let shown: BTreeSet<&str> =
        edges[end - rows.len()..end].iter().flat_map(|it| [&*it.from, &*it.to]).collect();
    let mut share = Share::of(paging.detail);
    let touched: Vec<&AggregateNode> = nodes.iter().filter(|it| shown.contains(&*it.name)).collect();
    let nodes = share.rows(100 - EDGES, touched, NodeRow::of);
    Ok(Shown { calls, truncated, edges: rows, page, nodes })
}

fn choose<'a>(view: &'a View, arguments: &Arguments) -> Result<(Vec<EdgeRef<'a>>, bool), Refusal> {
    let (graph, index) = (&*view.graph, &view.index);
    let namespace = arguments.namespace.as_deref();
    if let Some(namespace) = namespace {
        check_namespace(graph, namespace)?;
    }
    let depth = arguments.depth.unwrap_or(1);
    let follow = |name: &str, direction| -> Result<(BTreeSet<_>, bool), Refusal> {
        let node = resolve_node(graph, name, namespace)?;
        let calls = call_graph(graph, index, &node, depth, &[direction], MAX_CALLS);
        Ok((calls.hops.into_iter().map(|hop| hop.edge).collect(), calls.truncated))
    };
    let (ids, truncated) = match (arguments.from.as_deref(), arguments.to.as_deref()) {
        (None, None) => {
            let all = match namespace {
                Some(namespace) => edges::of_namespace(graph, index, namespace),
                None => graph.edges.iter().collect(),
            };
            return Ok((all, false));
        }
        (Some(from), None) => follow(from, Direction::Callees)?,
        (None, Some(to)) => follow(to, Direction::Callers)?,
        (Some(from), Some(to)) => {
            let (ahead, cut) = follow(from, Direction::Callees)?;
            let (back, cut_too) = follow(to, Direction::Callers)?;
            (ahead.intersection(&back).cloned().collect(), cut || cut_too)
        }
    };
    Ok((ids.iter().filter_map(|id| graph.edges.get_key_value(id)).collect(), truncated))
}

fn rate(rate: f64) -> f64 {
    (rate * 10_000.0).round() / 10_000.0
}

// === impl Arguments ===

impl Arguments {
    fn level(&self) -> Level {
        match self.by {
            Some(By::Namespace) => Level::Namespace,
            Some(By::Service) => Level::Service,
            Some(By::Workload) => Level::Workload,
            None if self.namespace.is_none() && self.from.is_none() && self.to.is_none() => Level::Namespace,
            None => Level::Service,
        }
    }
}

// === impl Sort ===

impl Sort {
    fn of(self, sum: &Sum) -> f64 {
        let number = match self {
            Self::Rps => sum.rps,
            Self::Errors => sum.failing(),
            Self::Latency => sum.p99_ms,
            Self::Denied => sum.denied,
        };
        number.unwrap_or(-1.0)
    }
}

// === impl EdgeRow ===

impl EdgeRow {
    fn of(it: &AggregateEdge) -> Self {
        let sum = &it.sum;
        Self {
            from: data(&it.from),
            to: data(&it.to),
            calls: sum.edges,
            rps: sum.rps.map(number),
            success_rate: sum.success_rate.map(rate),
            p99_ms: sum.p99_ms.map(number),
            denied_per_s: sum.denied.filter(|it| *it > 0.0).map(number),
            no_mtls: sum.no_mtls,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} -> {}", quoted(&self.from), quoted(&self.to));
        // Writing to a String does not fail.
        if self.calls > 1 {
            let _ = write!(line, " ({} calls)", self.calls);
        }
        if let Some(rps) = self.rps {
            let _ = write!(line, " {rps} rps");
        }
        if let Some(rate) = self.success_rate {
            let _ = write!(line, " {}% ok", number(rate * 100.0));
        }
        if let Some(p99) = self.p99_ms {
            let _ = write!(line, " p99 {p99} ms");
        }
        if let Some(denied) = self.denied_per_s {
            let _ = write!(line, " DENIED {denied}/s");
        }
        if self.no_mtls > 0 {
            let _ = write!(line, " {} without mTLS", self.no_mtls);
        }
        line
    }
}

// === impl NodeRow ===

impl NodeRow {
    fn of(it: &AggregateNode) -> Self {
        Self {
            name: data(&it.name),
            meshed: it.meshed.map(MeshedShare::of),
            in_rps: it.inbound.rps.map(number),
            in_success_rate: it.inbound.success_rate.map(rate),
            out_rps: it.outbound.rps.map(number),
        }
    }
}

// === impl Shown ===

impl Output for Shown {
    fn text(&self) -> String {
        let mut text = format!("{} calls, {} edges when summed up.\n", self.calls, self.page.total);
        if self.truncated {
            text.push_str("There are more within this depth than were followed; ask with a smaller one.\n");
        }
        text.extend(self.edges.iter().map(|it| it.line() + "\n"));
        text.push_str(&self.page.text("choose with namespace, from or to"));
        for it in &self.nodes.rows {
            // Writing to a String does not fail.
            let _ = write!(text, "{}:", quoted(&it.name));
            if let Some(meshed) = it.meshed {
                let _ = write!(text, " meshed {}", meshed.word());
            }
            for (what, rps) in [("in", it.in_rps), ("out", it.out_rps)] {
                if let Some(rps) = rps {
                    let _ = write!(text, " {what} {rps} rps");
                }
            }
            text.push('\n');
        }
        text.push_str(&self.nodes.rest());
        text
    }
}
