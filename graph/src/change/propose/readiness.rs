//! Whether a proposal can be enforced.

use super::{Scope, Wanted, Workloads, objects::Made, seen::Seen};
use crate::{
    change::Impact,
    model::Meshed,
    policy::{ask::Mesh, lint::words},
};
use serde::Serialize;

/// Whether enforcing a proposal would refuse nothing that is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// True when nothing is known to be in the way.
    pub ready: bool,
    /// What is in the way; each a sentence.
    pub blockers: Vec<String>,
    /// What else to know; each a sentence.
    pub notes: Vec<String>,
}

pub(super) fn of(
    mesh: &Mesh<'_>,
    wanted: &Wanted,
    workloads: &Workloads<'_>,
    all: &[Seen<'_>],
    made: &Made,
    impact: &Impact,
) -> Readiness {
    let mut blockers = of_the_picture(mesh);
    blockers.extend(of_the_pods(workloads));
    blockers.extend(of_the_calls(wanted, all));
    blockers.extend(made.obstacles.iter().cloned());
    if !made.unaudited.is_empty() {
        blockers.push(format!(
            "{} {} not been audited: apply the proposal in audit mode first, and look after some days who is let in by \
             `audit` alone.",
            words::some(&made.unaudited),
            if made.unaudited.len() == 1 { "has" } else { "have" },
        ));
    }
    if impact.unknown_count > 0 {
        blockers.push(format!(
            "Of {} it cannot be known what becomes of them.",
            words::count(impact.unknown_count, "flow")
        ));
    }
    let mut notes = vec![
        "Seen is what calls now or did in the last ten minutes: jobs, failovers and callers that are down are not. In \
         audit mode the counters of the proxies go on looking."
            .to_owned(),
    ];
    notes.extend(unused(all));
    notes.extend(all.iter().flat_map(|seen| seen.notes.iter().cloned()));
    notes.extend(made.notes.iter().cloned());
    Readiness { ready: blockers.is_empty(), blockers, notes }
}

/// What the mesh is known by.
fn of_the_picture(mesh: &Mesh<'_>) -> Vec<String> {
    let (status, graph) = (&mesh.metrics.status, mesh.graph);
    let mut blockers = Vec::new();
    if status.stale {
        blockers.push(format!("The numbers are stale, so callers may be missing: {}.", status.reason));
    }
    if status.unscraped_count > 0 {
        blockers.push(format!(
            "Prometheus has no metrics of {}: calls between such pods are not seen.",
            words::count(status.unscraped_count as usize, "meshed pod")
        ));
    }
    if status.mislabelled_count > 0 {
        blockers.push(format!(
            "The metrics of {} name another workload than Kubernetes does, so callers may be mistaken for others.",
            words::count(status.mislabelled_count as usize, "pod")
        ));
    }
    if graph.cluster.is_none() {
        blockers.push(
            "The trust domain of the cluster is assumed, because its settings could not be read.".to_owned(),
        );
    }
    blockers
}

fn of_the_pods(workloads: &Workloads<'_>) -> Vec<String> {
    let bare: Vec<String> = workloads
        .iter()
        .filter(|(_, workload)| workload.pods > 0 && workload.meshed != Meshed::All)
        .map(|(id, workload)| {
            format!(
                "{id} ({} of {} pods)",
                workload.pods - workload.pods_meshed.min(workload.pods),
                workload.pods
            )
        })
        .collect();
    match bare.is_empty() {
        true => Vec::new(),
        false => vec![format!("Pods without a proxy enforce no policy: {}.", words::some(&bare))],
    }
}

fn of_the_calls(wanted: &Wanted, all: &[Seen<'_>]) -> Vec<String> {
    let mut blockers = Vec::new();
    if all.iter().all(|seen| seen.ports.is_empty()) {
        let what = match &wanted.scope {
            Scope::Workload(id) => id.to_string(),
            Scope::Namespace(namespace) => format!("namespace {namespace}"),
        };
        blockers.push(format!("No call to {what} is seen for which anything could be proposed."));
    }
    let left: Vec<_> = all.iter().flat_map(|seen| &seen.left_out).filter(|left| !left.refused_now).collect();
    if let Some(first) = left.first() {
        let rps: f64 = left.iter().filter_map(|left| left.rps).sum();
        blockers.push(format!(
            "{} that {} let in now would be refused ({rps:.1} calls/s), among them {}: {}.",
            words::count(left.len(), "flow"),
            if left.len() == 1 { "is" } else { "are" },
            first.edge,
            first.why,
        ));
    }
    blockers
}

/// Declared ports that nobody calls: without a Server the default policy stays there.
fn unused(all: &[Seen<'_>]) -> Option<String> {
    let mut unused = Vec::new();
    for seen in all {
        for port in &seen.workload.ports {
            let of_proxy = port.name.starts_with("linkerd-");
            if port.protocol.eq_ignore_ascii_case("TCP") && !of_proxy && !seen.ports.contains_key(&port.port)
            {
                unused.push(format!("{}:{}", seen.id, port.port));
            }
        }
    }
    match unused.is_empty() {
        true => None,
        false => Some(format!(
            "No call that a Server could be proposed for is seen at {}: the policies there stay as they are.",
            words::some(&unused)
        )),
    }
}
