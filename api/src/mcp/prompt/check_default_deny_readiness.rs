//! Would this namespace go on working if nothing were allowed that no policy allows?

use super::{Argument, Choice, Given, Prompt, Source, Step};
use crate::{
    mcp::{
        resource::few::few,
        text::{data, number},
    },
    view::View,
};
use linkerd_mcp_graph::{
    metrics::EdgeMetrics,
    model::{Meshed, Tls},
    query::edges::{EdgeRef, of_namespace},
};
use serde_json::{Value, json};

pub(super) const PROMPT: Prompt = Prompt {
    name: "check_default_deny_readiness",
    title: "Is this namespace ready for default-deny?",
    description: "Finds which calls into a namespace would be refused if its default inbound policy became deny.",
    arguments: &[Argument {
        name: "namespace",
        description: "The namespace that is to deny by default, as in shop",
        required: true,
        choice: Choice::Namespace,
    }],
    task: "Decide whether the namespace under `asked.namespace` can set its default inbound policy to deny today without \
           breaking calls, and say what is missing.",
    sources: |given| {
        let namespace = [("namespace", "namespace")];
        vec![
            // First, because it refuses a namespace that is not there.
            Source::Tool {
                label: "not_mtls",
                tool: "find_edges",
                arguments: given.to(json!({"only": "no_mtls", "limit": 10}), &namespace),
                blames: &["namespace"],
            },
            Source::View { label: "live_calls", read: live_calls },
            Source::Tool {
                label: "access",
                tool: "list_access",
                arguments: given.to(json!({"limit": 20}), &namespace),
                blames: &[],
            },
            Source::Tool {
                label: "policies",
                tool: "get_policies",
                arguments: given.to(json!({"limit": 20}), &namespace),
                blames: &[],
            },
        ]
    },
    steps: &[
        Step::think(
            "`live_calls.let_in_by_default` are calls that only a default policy lets in: each would be refused. For each, \
             name the Server and AuthorizationPolicy that would be needed.",
        ),
        Step::think(
            "`live_calls.not_known` are calls of which no proxy says what let them in: usually to workloads without a \
             proxy, or not scraped. They are not proof of anything; say so.",
        ),
        Step::think(
            "Calls without mutual TLS (`not_mtls`) cannot be matched by identity: the client must be meshed first, or its \
             network be authenticated on purpose. Workloads without a proxy do not enforce anything.",
        ),
        Step::think(
            "Traffic that is rare (jobs at night, failover) may not be in the window. Ask for what was not seen before \
             calling it ready. Probes of the kubelet are let in by Linkerd unless a route says otherwise.",
        ),
        Step::call("check_access", "Check each call you rely on with check_access."),
        Step::think(
            "Answer ready, not ready, or cannot be known, then the list of policies to add in the order of the rate they \
             protect. Do not apply anything.",
        ),
    ],
};

/// Calls into the namespace, by what let them in.
fn live_calls(view: &View, given: &Given) -> Value {
    let namespace = given.required("namespace");
    let graph = &*view.graph;
    let (mut default, mut unknown, mut policy) = (Vec::new(), Vec::new(), 0);
    for (id, edge) in of_namespace(graph, &view.index, namespace) {
        if edge.dst.namespace() != Some(namespace) {
            continue;
        }
        let numbers = view.metrics.get(id);
        let by = numbers.map(|it| &*it.authorized_by).unwrap_or_default();
        if by.is_empty() {
            unknown.push(((id, edge), numbers));
        // Authorizations are `kind/name`; a default policy is only a name.
        } else if by.iter().any(|it| !it.contains('/')) {
            default.push(((id, edge), numbers));
        } else {
            policy += 1;
        }
    }
    let workloads = graph.workloads.iter().filter(|(id, _)| id.namespace() == namespace);
    let unmeshed: Vec<_> = workloads.filter(|(_, it)| it.meshed != Meshed::All).map(|(id, _)| id).collect();
    json!({
        "let_in_by_policy": policy,
        "let_in_by_default": ranked(default),
        "not_known": ranked(unknown),
        "workloads_not_fully_meshed": few(&unmeshed, unmeshed.len(), |id| data(id.as_str())),
    })
}

type Live<'a> = (EdgeRef<'a>, Option<&'a EdgeMetrics>);

/// The busiest first.
fn ranked(mut calls: Vec<Live<'_>>) -> Value {
    let rps = |numbers: &Option<&EdgeMetrics>| numbers.and_then(|it| it.rps).unwrap_or(-1.0);
    calls.sort_by(|((a, _), x), ((b, _), y)| rps(y).total_cmp(&rps(x)).then_with(|| a.cmp(b)));
    few(&calls, calls.len(), |((_, edge), numbers)| {
        let mut row = json!({"from": data(&edge.src.to_string()), "to": data(&edge.dst.to_string())});
        if let Some(rps) = numbers.and_then(|it| it.rps) {
            row["rps"] = number(rps).into();
        }
        match &edge.tls {
            Tls::Mutual => row["mtls"] = true.into(),
            Tls::No { .. } => row["mtls"] = false.into(),
            Tls::Unknown => {}
        }
        let by: Vec<String> =
            numbers.iter().flat_map(|it| it.authorized_by.iter()).take(4).map(|it| data(it)).collect();
        if !by.is_empty() {
            row["let_in_by"] = by.into();
        }
        row
    })
}
