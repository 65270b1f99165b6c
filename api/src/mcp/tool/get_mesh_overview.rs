//! What is in the mesh, how healthy it is, and how fresh that is.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, find_edges::EdgeRow, input, output,
};
use crate::{
    mcp::{
        page::{Page, Paging},
        text::{data, number, quoted},
    },
    view::View,
};
use linkerd_mcp_graph::query::overview::Share;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "get_mesh_overview",
    title: "Mesh overview",
    description: "Summarises the whole Linkerd mesh: how many services, workloads and calls there are, what share is \
                  meshed and over mutual TLS, requests and success rate per namespace, and the worst calls. Call it \
                  first to learn what is there and how fresh the data is.",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Overview>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Overview {
    services: usize,
    workloads: usize,
    /// Workloads all of whose pods have a proxy.
    workloads_meshed: usize,
    /// Calls: pairs of caller and callee.
    edges: usize,
    edges_mtls: usize,
    /// Calls that are not mutual TLS.
    edges_no_mtls: usize,
    /// Policy objects and routes.
    policies: usize,
    /// Requests per second in all, as the callers count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Share of them that succeeded, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    /// Denied per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
    /// The calls with the most errors, at most three.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    worst: Vec<EdgeRow>,
    /// Namespaces, those with the most requests first.
    namespaces: Vec<NamespaceRow>,
    #[serde(flatten)]
    page: Page,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NamespaceRow {
    name: String,
    services: usize,
    workloads: usize,
    workloads_meshed: usize,
    /// Requests per second that come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Share of them that succeeded, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    /// Denied per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let shown = shown(&view, &arguments.paging)?;
    Ok(call.dated(&view, shown))
}

fn shown(view: &View, paging: &Paging) -> Result<Overview, ToolError> {
    let (found, graph) = (view.overview(), &*view.graph);
    let (namespaces, page) = paging.rows("overview", &found.namespaces, |(name, share)| NamespaceRow {
        name: data(name),
        services: share.services,
        workloads: share.workloads,
        workloads_meshed: share.meshed,
        rps: share.rps.map(number),
        success_rate: success_rate(share),
        denied_per_s: denied(share),
    })?;
    let worst = found.worst.iter().filter_map(|id| graph.edges.get_key_value(id));
    Ok(Overview {
        services: found.all.services,
        workloads: found.all.workloads,
        workloads_meshed: found.all.meshed,
        edges: found.edges,
        edges_mtls: found.edges_mtls,
        edges_no_mtls: found.edges_no_mtls,
        policies: graph.policies.len() + graph.auth_policies.len(),
        rps: found.all.rps.map(number),
        success_rate: success_rate(&found.all),
        denied_per_s: denied(&found.all),
        worst: worst.map(|edge| EdgeRow::of(view, edge)).collect(),
        namespaces,
        page,
    })
}

fn success_rate(share: &Share) -> Option<f64> {
    share.success_rate().map(|rate| (rate * 10_000.0).round() / 10_000.0)
}

fn denied(share: &Share) -> Option<f64> {
    (share.denied > 0.0).then(|| number(share.denied))
}

// === impl Overview ===

impl Output for Overview {
    fn text(&self) -> String {
        let mut text = format!(
            "{} services, {} workloads ({} meshed), {} calls ({} mTLS, {} not), {} policy objects.\n",
            self.services,
            self.workloads,
            self.workloads_meshed,
            self.edges,
            self.edges_mtls,
            self.edges_no_mtls,
            self.policies
        );
        text.push_str(&traffic("In all", self.rps, self.success_rate, self.denied_per_s));
        for edge in &self.worst {
            // Writing to a String does not fail.
            let _ = writeln!(text, "Worst: {}", edge.line());
        }
        for it in &self.namespaces {
            let what = format!("{}: {} services, {} workloads", quoted(&it.name), it.services, it.workloads);
            text.push_str(&traffic(&what, it.rps, it.success_rate, it.denied_per_s));
        }
        text + &self.page.text("ask find_edges with a namespace")
    }
}

fn traffic(what: &str, rps: Option<f64>, success_rate: Option<f64>, denied: Option<f64>) -> String {
    let mut line = what.to_owned();
    match rps {
        Some(rps) => {
            let _ = write!(line, ", {rps} rps");
        }
        None => line.push_str(", no requests seen"),
    }
    if let Some(rate) = success_rate {
        let _ = write!(line, ", {}% ok", number(rate * 100.0));
    }
    if let Some(denied) = denied {
        let _ = write!(line, ", DENIED {denied}/s");
    }
    line + "\n"
}
