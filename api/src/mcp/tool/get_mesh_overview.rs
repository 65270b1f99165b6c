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
use linkerd_mcp_graph::{
    model::{Meshed, Tls},
    query::edges::{self, Rank},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _};

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

#[derive(Debug, Default)]
struct Sums {
    services: usize,
    workloads: usize,
    meshed: usize,
    rps: Option<f64>,
    judged: f64,
    succeeded: f64,
    denied: f64,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let overview = overview(&view, &arguments.paging)?;
    Ok(call.dated(&view, overview))
}

fn overview(view: &View, paging: &Paging) -> Result<Overview, ToolError> {
    let graph = &*view.graph;
    let mut all = Sums::default();
    let mut namespaces: BTreeMap<&str, Sums> = BTreeMap::new();
    for id in graph.services.keys() {
        namespaces.entry(id.namespace()).or_default().services += 1;
    }
    for (id, workload) in &graph.workloads {
        let sums = namespaces.entry(id.namespace()).or_default();
        sums.workloads += 1;
        if workload.meshed == Meshed::All {
            sums.meshed += 1;
            all.meshed += 1;
        }
    }
    let (mut mutual, mut plain) = (0, 0);
    for (id, edge) in &graph.edges {
        match edge.tls {
            Tls::Mutual => mutual += 1,
            Tls::No { .. } => plain += 1,
            Tls::Unknown => {}
        }
        let Some(numbers) = view.metrics.get(id) else { continue };
        all.add(numbers.rps, numbers.success_rate, numbers.denied);
        if let Some(namespace) = edge.dst.namespace() {
            let sums = namespaces.entry(namespace).or_default();
            sums.add(numbers.rps, numbers.success_rate, numbers.denied);
        }
    }
    let mut rows: Vec<(&str, Sums)> = namespaces.into_iter().collect();
    rows.sort_by(|(a, x), (b, y)| {
        y.rps.unwrap_or(-1.0).total_cmp(&x.rps.unwrap_or(-1.0)).then_with(|| a.cmp(b))
    });
    let worst = edges::top(&graph.edges, &view.metrics, Rank::ErrorRate, 3);
    let (namespaces, page) = paging.rows("overview", &rows, |(name, sums)| NamespaceRow {
        name: data(name),
        services: sums.services,
        workloads: sums.workloads,
        workloads_meshed: sums.meshed,
        rps: sums.rps.map(number),
        success_rate: sums.success_rate(),
        denied_per_s: sums.denied(),
    })?;
    Ok(Overview {
        services: graph.services.len(),
        workloads: graph.workloads.len(),
        workloads_meshed: all.meshed,
        edges: graph.edges.len(),
        edges_mtls: mutual,
        edges_no_mtls: plain,
        policies: graph.policies.len() + graph.auth_policies.len(),
        rps: all.rps.map(number),
        success_rate: all.success_rate(),
        denied_per_s: all.denied(),
        worst: worst.into_iter().map(|(edge, _)| EdgeRow::of(view, edge)).collect(),
        namespaces,
        page,
    })
}

// === impl Sums ===

impl Sums {
    fn add(&mut self, rps: Option<f64>, success_rate: Option<f64>, denied: Option<f64>) {
        if let Some(rps) = rps {
            *self.rps.get_or_insert(0.0) += rps;
            if let Some(rate) = success_rate {
                self.judged += rps;
                self.succeeded += rps * rate;
            }
        }
        self.denied += denied.unwrap_or(0.0);
    }

    fn success_rate(&self) -> Option<f64> {
        (self.judged > 0.0).then(|| (self.succeeded / self.judged * 10_000.0).round() / 10_000.0)
    }

    fn denied(&self) -> Option<f64> {
        (self.denied > 0.0).then(|| number(self.denied))
    }
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
