//! What a change would do, as messages.

use crate::{
    access::message::{decision, origin},
    graph::change::{
        Concern, Flow, Flows, Impact,
        concern::Severity,
        simulate::{Permission, Unknown, Who},
    },
    rights::Scope,
};
use linkerd_mcp_graph::id::{Text, service_account};
use linkerd_mcp_proto::v1;

/// The most flows or permissions of each list.
const MOST: usize = 100;

pub(super) fn concern(concern: &Concern) -> v1::Concern {
    let (severity, refuses) = match concern.severity {
        Severity::Warn => (v1::Severity::Warning, false),
        Severity::Refuse => (v1::Severity::Error, true),
    };
    v1::Concern {
        code: concern.code.to_owned(),
        severity: severity.into(),
        refuses,
        objects: concern.ids.clone(),
        text: concern.text.clone(),
        fix: String::new(),
    }
}

/// Flows begin or end where the change is; clients that only could call are named where the caller may know of them.
pub(super) fn impact(impact: &Impact, scope: &Scope) -> v1::Impact {
    let flows = |flows: &Flows| flows.flows.iter().take(MOST).map(flow).collect();
    let (gained, gained_count) = permissions(&impact.permissions, scope, |permission| &permission.gains);
    let (lost, lost_count) = permissions(&impact.permissions, scope, |permission| &permission.loses);
    v1::Impact {
        newly_denied: flows(&impact.newly_denied),
        newly_allowed: flows(&impact.newly_allowed),
        newly_denied_count: count(impact.newly_denied.count),
        newly_allowed_count: count(impact.newly_allowed.count),
        newly_denied_rps: impact.newly_denied.rps,
        newly_allowed_rps: impact.newly_allowed.rps,
        unchanged: count(impact.unchanged + impact.still_denied.count + impact.audited.count),
        unknown: impact.unknown.iter().take(MOST).map(unknown).collect(),
        unknown_count: count(impact.unknown_count),
        gained,
        lost,
        gained_count,
        lost_count,
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn flow(flow: &Flow) -> v1::ImpactFlow {
    let workloads: Vec<String> = flow.workloads.iter().map(ToString::to_string).collect();
    v1::ImpactFlow {
        edge_id: flow.edge.to_string(),
        from: flow.from.to_string(),
        to: flow.to.to_string(),
        workload: workloads.join(", "),
        port: flow.port.into(),
        before: decision(flow.before).into(),
        after: decision(flow.after).into(),
        rps: flow.rps,
        reasons: flow
            .reasons
            .iter()
            .map(|reason| v1::Reason {
                reason: reason.name().to_owned(),
                text: reason.to_string(),
                origins: reason.origins().iter().map(origin).collect(),
            })
            .collect(),
    }
}

fn unknown(unknown: &Unknown) -> v1::UnknownFlow {
    v1::UnknownFlow { edge_id: unknown.edge.to_string(), text: unknown.sentence.clone(), rps: unknown.rps }
}

/// One row for each client at each port, and how many there are.
fn permissions(
    permissions: &[Permission],
    scope: &Scope,
    side: impl Fn(&Permission) -> &Who,
) -> (Vec<v1::ImpactPermission>, u32) {
    let (mut rows, mut all) = (Vec::new(), 0);
    for permission in permissions {
        let who = side(permission);
        let outside = who.unmeshed.then(|| "clients outside the mesh".to_owned());
        let meshed = who.any_meshed.then(|| "every other client of the mesh".to_owned());
        all += outside.iter().len() + meshed.iter().len() + who.count;
        let may_know = |identity: &&Text| match service_account(identity) {
            Some((namespace, _)) => scope.has(namespace),
            None => *scope == Scope::All,
        };
        let names = who.identities.iter().filter(may_know).map(ToString::to_string);
        for from in outside.into_iter().chain(meshed).chain(names) {
            if rows.len() < MOST {
                let (workload, port) = (permission.workload.to_string(), permission.port.into());
                rows.push(v1::ImpactPermission { from, workload, port });
            }
        }
    }
    (rows, count(all))
}
