//! How much of the traffic is mutual TLS, and why is the rest not?

use super::{Argument, Choice, Given, Prompt, Source, Step};
use crate::{
    mcp::{
        resource::few::few,
        text::{data, number},
    },
    view::View,
};
use linkerd_mcp_graph::{
    model::{Meshed, Tls},
    query::edges::{EdgeRef, of_namespace},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const PROMPT: Prompt = Prompt {
    name: "check_mtls_coverage",
    title: "How much is mutual TLS?",
    description: "Says what share of calls is mutual TLS, in the mesh or one namespace, why the rest is not, and what to do first.",
    arguments: &[Argument {
        name: "namespace",
        description: "Only calls that begin or end here; leave it out for the whole mesh",
        required: false,
        choice: Choice::Namespace,
    }],
    task: "Say how much of the traffic is mutual TLS (of the namespace under `asked.namespace`, or of the whole mesh when \
           none is asked for), why the rest is not, and what to mend first.",
    sources: |given| {
        let namespace = [("namespace", "namespace")];
        vec![
            Source::Tool {
                label: "not_mtls",
                tool: "find_edges",
                arguments: given.to(json!({"only": "no_mtls", "limit": 15}), &namespace),
                blames: &["namespace"],
            },
            Source::View { label: "coverage", read: coverage },
            Source::Tool {
                label: "unmeshed",
                tool: "find_edges",
                arguments: given.to(json!({"only": "unmeshed", "limit": 10}), &namespace),
                blames: &[],
            },
        ]
    },
    steps: &[
        Step::think(
            "Give the shares from `coverage`, by calls and by rate, and say how many are not known. Not known is neither.",
        ),
        Step::think(
            "Sort what is not mutual TLS by `coverage.reasons`: a client without a proxy, a server without one, a port \
             skipped or opaque by mistake, destinations outside the cluster. Each has another remedy.",
        ),
        Step::think(
            "Name what to mend first: the busiest calls whose both ends are in the cluster. Workloads with only some pods \
             meshed need a restart with injection on; those with none need it switched on.",
        ),
        Step::call(
            "describe_workload",
            "Look at one end with describe_workload when the cause is not clear.",
        ),
        Step::think("Do not call the mesh covered when proxies are not scraped: `freshness` says how many."),
    ],
};

/// Counts and rates by mutual TLS or the reason against it.
fn coverage(view: &View, given: &Given) -> Value {
    let graph = &*view.graph;
    let edges: Vec<EdgeRef<'_>> = match given.get("namespace") {
        Some(namespace) => of_namespace(graph, &view.index, namespace),
        None => graph.edges.iter().collect(),
    };
    let mut sums: BTreeMap<&str, (usize, Option<f64>)> = BTreeMap::new();
    let (mut mutual, mut unknown) = ((0, None), 0);
    for (id, edge) in &edges {
        let rps = view.metrics.get(id).and_then(|it| it.rps);
        let sum = match &edge.tls {
            Tls::Mutual => &mut mutual,
            Tls::No { reason } => sums.entry(reason).or_default(),
            Tls::Unknown => {
                unknown += 1;
                continue;
            }
        };
        sum.0 += 1;
        if let Some(rps) = rps {
            *sum.1.get_or_insert(0.0) += rps;
        }
    }
    let mut reasons: Vec<_> = sums.into_iter().collect();
    reasons.sort_by(|(a, (x, _)), (b, (y, _))| y.cmp(x).then_with(|| a.cmp(b)));
    let here = |namespace: &str| given.get("namespace").is_none_or(|it| it == namespace);
    let workloads = graph.workloads.iter().filter(|(id, _)| here(id.namespace()));
    let partly: Vec<_> = workloads.filter(|(_, it)| it.meshed != Meshed::All).collect();
    json!({
        "calls": edges.len(),
        "mtls": sum(mutual),
        "not_known": unknown,
        "reasons": few(&reasons, reasons.len(), |(reason, it)| {
            let mut row = sum(*it);
            row["reason"] = data(reason).into();
            row
        }),
        "workloads_not_fully_meshed": few(&partly, partly.len(), |(id, it)| json!({
            "workload": data(id.as_str()), "pods": it.pods, "pods_meshed": it.pods_meshed,
        })),
    })
}

fn sum((calls, rps): (usize, Option<f64>)) -> Value {
    let mut sum = json!({"calls": calls});
    if let Some(rps) = rps {
        sum["rps"] = number(rps).into();
    }
    sum
}
