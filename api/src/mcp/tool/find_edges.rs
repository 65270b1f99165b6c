//! Calls between workloads and services, chosen by what is wrong with them or by who makes them.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::mcp::{
    page::{Page, Paging},
    text::{data, number, quoted},
};
use crate::{
    answer::Refusal,
    view::{View, ranked},
};
use linkerd_mcp_graph::{
    metrics::EdgeMetrics,
    model::{ObservedBy, Protocol, Tls},
    query::{
        check_namespace,
        edges::{self, EdgeRef, Numbered, Rank, Trouble},
        resolve_node,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "find_edges",
    title: "Find calls in the mesh",
    description: "Lists edges of the mesh graph (who calls whom) with request rate, success rate, latency, mTLS and \
                  denials, chosen by what is wrong with them and ranked. Use it for \"which calls fail\", \"what is \
                  not mTLS\", \"which are slowest\", \"who is denied\". For everything about one workload use \
                  describe_workload.",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Found>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// Only edges that begin or end here.
    namespace: Option<String>,
    /// Only calls made by this workload or Service, for example `shop/deployment/web`.
    from: Option<String>,
    /// Only calls to this workload or Service, for example `shop/cart`.
    to: Option<String>,
    /// Only edges of which this is true.
    only: Option<Only>,
    /// With `only` = `failing`: success rate below this, 0 to 1 [default: 0.99].
    #[schemars(range(min = 0, max = 1))]
    below: Option<f64>,
    /// What comes first [default: the rate of requests].
    sort: Option<Sort>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Only {
    /// Not mutual TLS.
    NoMtls,
    /// An end is not in the mesh.
    Unmeshed,
    /// Requests are being denied.
    Denied,
    /// The success rate is too low.
    Failing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Rps,
    ErrorRate,
    LatencyP99,
    Denied,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    edges: Vec<EdgeRow>,
    #[serde(flatten)]
    page: Page,
}

/// One edge. What is not known is absent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct EdgeRow {
    /// Who calls.
    from: String,
    /// Who is called, with the port.
    to: String,
    /// `http`, `grpc` or `tcp`.
    protocol: Protocol1,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Share of requests that succeeded, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    /// Milliseconds, median.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    /// Milliseconds, 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
    /// True for mutual TLS; absent when no proxy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtls: Option<bool>,
    /// Why it is not mutual TLS, as the proxy gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_mtls_reason: Option<String>,
    /// Denied per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
    /// Open TCP connections, for raw TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_connections: Option<f64>,
    /// True when only the server's proxy counted: the client is unmeshed or its proxy has no metrics.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    seen_by_server_only: bool,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Protocol1 {
    Http,
    Grpc,
    Tcp,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let paging = &arguments.paging;
    let (edges, page) = if arguments.is_whole() && paging.reach() <= ranked::FIRST {
        let list = view.ranked(arguments.order());
        let room = paging.detail.bytes();
        paging.rows_of(list.total, room, &asked, &list.first(), |edge| EdgeRow::numbered(*edge))?
    } else {
        paging.rows(&asked, &find(&view, &arguments)?, |edge| EdgeRow::numbered(*edge))?
    };
    Ok(call.dated(&view, Found { edges, page }))
}

/// What is asked for, of which those that may be shown are in order.
fn find<'a>(view: &'a View, arguments: &Arguments) -> Result<Vec<Numbered<'a>>, Refusal> {
    let (graph, index) = (&*view.graph, &view.index);
    let namespace = arguments.namespace.as_deref();
    if let Some(namespace) = namespace {
        check_namespace(graph, namespace)?;
    }
    let node =
        |name: &Option<String>| name.as_deref().map(|name| resolve_node(graph, name, namespace)).transpose();
    let (from, to) = (node(&arguments.from)?, node(&arguments.to)?);
    let numbered =
        |found: Vec<EdgeRef<'a>>| -> Vec<Numbered<'a>> { edges::numbered(found, &view.metrics).collect() };
    let mut found = match (&from, &to, namespace) {
        (Some(from), _, _) => numbered(edges::from(graph, from)),
        (None, Some(to), _) => numbered(edges::to(graph, index, to)),
        (None, None, Some(namespace)) => numbered(edges::of_namespace(graph, index, namespace)),
        (None, None, None) => edges::with_numbers(graph, &view.metrics).collect(),
    };
    if let (Some(_), Some(to)) = (&from, &to) {
        let reaching: std::collections::BTreeSet<_> =
            edges::to(graph, index, to).into_iter().map(|(id, _)| id).collect();
        found.retain(|((id, _), _)| reaching.contains(id));
    }
    let order = arguments.order();
    if let Some(only) = order.only {
        found.retain(|((_, edge), numbers)| edges::has(only, graph, edge, *numbers));
    }
    edges::rank(&mut found, order.by, arguments.paging.reach());
    Ok(found)
}

// === impl Arguments ===

impl Arguments {
    /// True when all of the mesh is looked at.
    fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.namespace.is_none()
    }

    fn order(&self) -> ranked::Order {
        let only = self.only.map(|only| match only {
            Only::NoMtls => Trouble::NoMtls,
            Only::Unmeshed => Trouble::Unmeshed,
            Only::Denied => Trouble::Denied,
            Only::Failing => Trouble::Failing { below: self.below.unwrap_or(0.99) },
        });
        let by = match (self.sort, self.only) {
            (Some(Sort::Rps), _) => Rank::Rps,
            (Some(Sort::ErrorRate), _) | (None, Some(Only::Failing)) => Rank::ErrorRate,
            (Some(Sort::LatencyP99), _) => Rank::LatencyP99,
            (Some(Sort::Denied), _) | (None, Some(Only::Denied)) => Rank::Denied,
            (None, _) => Rank::Rps,
        };
        ranked::Order { only, by }
    }
}

// === impl EdgeRow ===

impl EdgeRow {
    /// An edge with its numbers.
    pub(super) fn of(view: &View, edge: EdgeRef<'_>) -> Self {
        Self::numbered((edge, view.metrics.get(edge.0)))
    }

    fn numbered(((_, edge), numbers): Numbered<'_>) -> Self {
        let none = EdgeMetrics::default();
        let numbers = numbers.unwrap_or(&none);
        let tcp = edge.protocol == Protocol::Tcp;
        Self {
            from: data(&edge.src.to_string()),
            to: data(&edge.dst.to_string()),
            protocol: match edge.protocol {
                Protocol::Http => Protocol1::Http,
                Protocol::Grpc => Protocol1::Grpc,
                Protocol::Tcp => Protocol1::Tcp,
            },
            rps: numbers.rps.map(number),
            success_rate: numbers.success_rate.map(|rate| (rate * 10_000.0).round() / 10_000.0),
            p50_ms: numbers.p50_ms.map(number),
            p99_ms: numbers.p99_ms.map(number),
            mtls: match edge.tls {
                Tls::Mutual => Some(true),
                Tls::No { .. } => Some(false),
                Tls::Unknown => None,
            },
            no_mtls_reason: match &edge.tls {
                Tls::No { reason } => Some(data(reason)),
                Tls::Mutual | Tls::Unknown => None,
            },
            denied_per_s: numbers.denied.filter(|it| *it > 0.0).map(number),
            open_connections: numbers.tcp_open.filter(|_| tcp).map(number),
            seen_by_server_only: edge.observed_by == ObservedBy::Server,
        }
    }

    /// One line.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} -> {}", quoted(&self.from), quoted(&self.to));
        // Writing to a String does not fail.
        if let Some(rps) = self.rps {
            let _ = write!(line, " {rps} rps");
        }
        if let Some(rate) = self.success_rate {
            let _ = write!(line, " {}% ok", number(rate * 100.0));
        }
        if let (Some(p50), Some(p99)) = (self.p50_ms, self.p99_ms) {
            let _ = write!(line, " p50 {p50} ms p99 {p99} ms");
        }
        if let Some(open) = self.open_connections {
            let _ = write!(line, " {open} open connections");
        }
        match (self.mtls, &self.no_mtls_reason) {
            (Some(true), _) => line.push_str(" mTLS"),
            (Some(false), Some(reason)) => {
                let _ = write!(line, " NO mTLS ({})", quoted(reason));
            }
            (Some(false), None) => line.push_str(" NO mTLS"),
            (None, _) => {}
        }
        if let Some(denied) = self.denied_per_s {
            let _ = write!(line, " DENIED {denied}/s");
        }
        line
    }
}

// === impl Found ===

impl Output for Found {
    fn text(&self) -> String {
        if self.edges.is_empty() {
            return "No edge is like that. Edges are there while calls are made, and ten minutes after.\n"
                .to_owned();
        }
        let lines: String = self.edges.iter().map(|edge| edge.line() + "\n").collect();
        lines + &self.page.text("choose with namespace, from, to or only")
    }
}
