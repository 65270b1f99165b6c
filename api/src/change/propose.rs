//! ProposePolicy: the least that lets in what is seen. What it is decides [`crate::graph::change::propose`].

use super::{Inner, Refusal, deed, target::is_name};
use crate::{
    caller::Principal,
    graph::{
        change::{
            Proposal, Scope,
            propose::{self, Covered, LeftOut, ProposeError, Wanted},
        },
        model::Graph,
        query::{self, Node, ResolveError, Target},
    },
};
use linkerd_mcp_proto::v1;

/// The most flows of each list.
const MOST: usize = 100;

pub(super) async fn propose(
    inner: &Inner,
    who: &Principal,
    asked: v1::ProposePolicyRequest,
) -> Result<v1::ProposePolicyResponse, Refusal> {
    let v1::ProposePolicyRequest { target, namespace, enforce } = asked;
    if !namespace.is_empty() && !is_name(&namespace) {
        return Err(Refusal::Invalid("`namespace` is no name of a namespace".to_owned()));
    }
    let view = inner.view()?;
    let scope = permitted(inner, who, scope(&view.graph, &target, &namespace)).await?;
    // Networks are for people to name: an address that calls is not yet one that should.
    let wanted = Wanted { scope, audit: !enforce, networks: Vec::new() };
    let proposed = inner.ask(&view, move |mesh| propose::propose(mesh, &wanted)).await;
    let Proposal { yaml, readiness, covered, covered_count, left_out, left_out_count, window_s, .. } =
        proposed.map_err(refusal)?;
    let mut notes = readiness.notes;
    notes.push(format!("Rates are those of the last {window_s} s."));
    for (count, what) in [(covered_count, "flows that are let in"), (left_out_count, "flows that are not")] {
        if count > MOST {
            notes.push(format!("Of {count} {what}, the {MOST} most frequent are listed."));
        }
    }
    Ok(v1::ProposePolicyResponse {
        freshness: Some(inner.replica.freshness(&view)),
        manifest: yaml,
        ready: readiness.ready,
        blockers: readiness.blockers,
        covered: covered.into_iter().take(MOST).map(let_in).collect(),
        left_out: left_out.into_iter().take(MOST).map(not_let_in).collect(),
        notes,
    })
}

/// Refuses what the caller may not plan for. Who may not for all namespaces is not told what there is in others: not by a
/// suggestion, and not by another refusal for what is there than for what is not.
async fn permitted(inner: &Inner, who: &Principal, scope: Result<Scope, Refusal>) -> Result<Scope, Refusal> {
    match inner.demand(who, &deed("create", "plans", "")).await {
        Ok(()) => return scope,
        Err(Refusal::Forbidden { .. }) => {}
        Err(refusal) => return Err(refusal),
    }
    let hidden = || {
        Refusal::NotFound(
            "there is no such workload, Service or namespace that you may plan for (`create` on plans.mcp.linkerd.io)"
                .to_owned(),
        )
    };
    // The other refusals name what there is as well.
    let scope = scope.map_err(|_| hidden())?;
    let within = match &scope {
        Scope::Workload(id) => id.namespace(),
        Scope::Namespace(namespace) => namespace,
    };
    match inner.demand(who, &deed("create", "plans", within)).await {
        Ok(()) => Ok(scope),
        Err(Refusal::Forbidden { .. }) => Err(hidden()),
        Err(refusal) => Err(refusal),
    }
}

/// What is meant: one workload, or a whole namespace.
fn scope(graph: &Graph, target: &str, namespace: &str) -> Result<Scope, Refusal> {
    if target.is_empty() {
        return match namespace {
            "" => Err(Refusal::Invalid(
                "name a workload (`namespace/kind/name`), a Service (`namespace/name`) or a `namespace`"
                    .to_owned(),
            )),
            namespace => Ok(Scope::Namespace(namespace.into())),
        };
    }
    let within = (!namespace.is_empty()).then_some(namespace);
    match query::resolve(graph, target, within).map_err(unresolved)? {
        Target::Namespace(namespace) => Ok(Scope::Namespace(namespace)),
        Target::Node(Node::Workload(id)) => Ok(Scope::Workload(id)),
        Target::Node(Node::Service(id)) => {
            let behind: Vec<_> = graph
                .workloads
                .iter()
                .filter(|(_, it)| it.services.contains(&id))
                .map(|(id, _)| id)
                .collect();
            match &behind[..] {
                [one] => Ok(Scope::Workload((*one).clone())),
                [] => Err(Refusal::NotFound(format!("no workload stands behind Service {id}"))),
                several => {
                    let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                    Err(Refusal::Invalid(format!(
                        "several workloads stand behind Service {id}; name one of {}",
                        names.join(", ")
                    )))
                }
            }
        }
        Target::Node(_) => Err(Refusal::Invalid(format!(
            "`{target:.256}` is neither a workload nor a Service of this cluster"
        ))),
    }
}

fn unresolved(error: ResolveError) -> Refusal {
    match error {
        ResolveError::Namespace { .. } | ResolveError::Unknown { .. } => Refusal::NotFound(error.to_string()),
        error => Refusal::Invalid(error.to_string()),
    }
}

fn refusal(error: ProposeError) -> Refusal {
    match error {
        ProposeError::TooMany(_) => Refusal::TooLarge(error.to_string()),
        error => Refusal::NotFound(error.to_string()),
    }
}

fn let_in(covered: Covered) -> v1::ProposedFlow {
    let Covered { edge, from, workload, port, identity, rps } = covered;
    v1::ProposedFlow {
        edge_id: edge.to_string(),
        from: from.to_string(),
        workload: workload.to_string(),
        port: port.into(),
        identity: identity.map(|identity| identity.to_string()).unwrap_or_default(),
        rps,
        text: String::new(),
    }
}

fn not_let_in(left_out: LeftOut) -> v1::ProposedFlow {
    let LeftOut { edge, from, workload, port, rps, why, .. } = left_out;
    v1::ProposedFlow {
        edge_id: edge.to_string(),
        from: from.to_string(),
        workload: workload.to_string(),
        port: port.unwrap_or_default().into(),
        identity: String::new(),
        rps,
        text: why,
    }
}
