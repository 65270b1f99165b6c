//! The least privilege that lets in what is seen: for each port that is called a Server, the identities that call it, and
//! a policy that joins the two.
//!
//! ```text
//! edges to a workload ─► seen: who calls which port ─► objects: what is missing ─► Edits ─► simulate ─► Proposal
//! ```
//!
//! Nothing is let in that is refused now, and nobody without an identity unless a network is named for them: those calls
//! are listed. Ports where routes decide are left alone, and so are the ports of the proxies themselves. A Server without
//! routes keeps letting the kubelet's probes in.

use super::{Edit, Impact, diff::yaml, edit::MOST_EDITS, simulate};
use crate::{
    id::{EdgeId, Source, Text, WorkloadId, as_text},
    model::Workload,
    policy::{ask::Mesh, flip},
    query,
};
use ipnet::IpNet;
use seen::Seen;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

mod objects;
mod readiness;
mod seen;

pub use readiness::Readiness;

/// The most flows in one list of a [`Proposal`]; the counts are of all of them.
pub const MOST_FLOWS: usize = 500;

/// For what a proposal is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The ports of one workload.
    Workload(WorkloadId),
    /// Those of all workloads of a namespace.
    Namespace(Text),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// For what.
    pub scope: Scope,
    /// Let everybody in as before, and count whom the policies would refuse. Without it they are enforced.
    pub audit: bool,
    /// Where clients without a mesh identity may call from, on ports where such clients are seen; none lets none in.
    pub networks: Vec<IpNet>,
}

/// Why nothing can be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// There is no such workload.
    #[error("there is no workload {0} now: write `namespace/kind/name`, as in `shop/deployment/web`")]
    NoWorkload(WorkloadId),
    /// No workload is there.
    #[error("namespace {0} has no workloads now, so nothing is seen that could be let in")]
    NoNamespace(Text),
    /// More objects than are changed at once.
    #[error(
        "that would take {0} objects, and {MOST_EDITS} are the most at once: ask for one workload after the other"
    )]
    TooMany(usize),
}

/// Policies that let in what is seen, and no more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Whether it audits, or enforces.
    pub audit: bool,
    /// What to do, in the order in which it should be applied: what lets clients in before what shuts others out.
    #[serde(skip)]
    pub edits: Vec<Edit>,
    /// The objects as they should be, in the same order.
    pub manifests: Vec<Value>,
    /// The same as a stream of YAML documents.
    pub yaml: String,
    /// Whether enforcing it would refuse nothing that is seen, as far as that can be known.
    pub readiness: Readiness,
    /// The calls that are let in by it, the most frequent first.
    pub covered: Vec<Covered>,
    /// How many those are.
    pub covered_count: usize,
    /// The calls that are not, the most frequent first.
    pub left_out: Vec<LeftOut>,
    /// How many those are.
    pub left_out_count: usize,
    /// When the numbers were measured, in milliseconds since the Unix epoch; absent when none ever were.
    pub as_of_ms: Option<i64>,
    /// The window of their rates, in seconds.
    pub window_s: u32,
    /// What it would do to the calls that are seen.
    pub impact: Impact,
}

/// Calls that a proposal lets in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Covered {
    /// The edge.
    pub edge: EdgeId,
    /// Who calls.
    #[serde(with = "as_text")]
    pub from: Source,
    /// Whose port.
    pub workload: WorkloadId,
    /// Which port.
    pub port: u16,
    /// The identity that is let in; absent for clients that are let in by their network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Text>,
    /// Calls per second, where known.
    pub rps: Option<f64>,
}

/// Calls that a proposal does not let in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// The edge.
    pub edge: EdgeId,
    /// Who calls.
    #[serde(with = "as_text")]
    pub from: Source,
    /// Whose port.
    pub workload: WorkloadId,
    /// Which port, where that is known.
    pub port: Option<u16>,
    /// Calls per second, where known.
    pub rps: Option<f64>,
    /// True when they are refused now as well.
    pub refused_now: bool,
    /// Why, and what to do, as a sentence.
    pub why: String,
}

/// The least privilege that lets in what is seen.
///
/// # Errors
///
/// When there is nothing to look at, or too much.
pub fn propose(mesh: &Mesh<'_>, wanted: &Wanted) -> Result<Proposal, ProposeError> {
    let workloads = workloads(mesh, &wanted.scope)?;
    let scope: BTreeSet<&WorkloadId> = workloads.iter().map(|(id, _)| *id).collect();
    let mut all = Vec::new();
    for (id, workload) in &workloads {
        all.push(seen::of(mesh, id, workload, wanted));
    }
    let mut made = objects::Made::default();
    for seen in &all {
        objects::make(mesh, wanted, &scope, seen, &mut made);
    }
    let edits = made.edits();
    if edits.len() > MOST_EDITS {
        return Err(ProposeError::TooMany(edits.len()));
    }
    let impact = simulate(mesh, &edits);
    let readiness = readiness::of(mesh, wanted, &workloads, &all, &made, &impact);
    Ok(finish(mesh, wanted, edits, all, readiness, impact))
}

type Workloads<'a> = Vec<(&'a WorkloadId, &'a Workload)>;

fn workloads<'a>(mesh: &Mesh<'a>, scope: &Scope) -> Result<Workloads<'a>, ProposeError> {
    let all = &mesh.graph.workloads;
    match scope {
        Scope::Workload(id) => match all.get_key_value(id) {
            Some((id, workload)) => Ok(vec![(id, &**workload)]),
            None => Err(ProposeError::NoWorkload(id.clone())),
        },
        Scope::Namespace(namespace) => {
            let there: Workloads<'a> =
                query::edges::under(all, namespace, '/').map(|(id, workload)| (id, &**workload)).collect();
            if there.is_empty() { Err(ProposeError::NoNamespace(namespace.clone())) } else { Ok(there) }
        }
    }
}

fn finish(
    mesh: &Mesh<'_>,
    wanted: &Wanted,
    edits: Vec<Edit>,
    all: Vec<Seen<'_>>,
    readiness: Readiness,
    impact: Impact,
) -> Proposal {
    let (mut covered, mut left_out) = (Vec::new(), Vec::new());
    for seen in all {
        covered.extend(seen.covered);
        left_out.extend(seen.left_out);
    }
    let rate = |rps: Option<f64>| rps.unwrap_or(0.0);
    covered.sort_by(|a, b| rate(b.rps).total_cmp(&rate(a.rps)).then_with(|| a.edge.cmp(&b.edge)));
    left_out.sort_by(|a, b| rate(b.rps).total_cmp(&rate(a.rps)).then_with(|| a.edge.cmp(&b.edge)));
    let (covered_count, left_out_count) = (covered.len(), left_out.len());
    covered.truncate(MOST_FLOWS);
    left_out.truncate(MOST_FLOWS);
    let manifests: Vec<Value> =
        edits.iter().filter_map(|edit| edit.after.as_deref()).map(flip::manifest).collect();
    Proposal {
        audit: wanted.audit,
        yaml: manifests.iter().map(|manifest| format!("---\n{}", yaml(manifest))).collect(),
        edits,
        manifests,
        readiness,
        covered,
        covered_count,
        left_out,
        left_out_count,
        as_of_ms: mesh.metrics.status.as_of_ms,
        window_s: mesh.metrics.status.window_s,
        impact,
    }
}
