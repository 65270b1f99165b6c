//! Lines of the audit log about changes: what was planned, what became of it, and every refusal.
//!
//! That somebody asked at all stands there already, with the way by which they did. These lines have the same trace; they
//! name the RPC, whichever way it was asked.

use super::{
    Fault, Inner, Refusal, Unconfirmed,
    record::{Done, Outcome, Record},
};
use crate::{
    audit::{self, Trace},
    caller::{Principal, Proof},
    rights::table::Surface,
};
use linkerd_mcp_proto::v1;
use std::collections::BTreeSet;

/// What was planned, or why nothing was.
pub(super) fn planned(
    inner: &Inner,
    who: &Principal,
    planned: &Result<v1::PlanChangeResponse, Refusal>,
    trace: Trace,
) {
    let response = match planned {
        Ok(response) => response,
        Err(refusal) => return refused(inner, who, "PlanChange", refusal, trace),
    };
    let refusing: Vec<&str> =
        response.concerns.iter().filter(|it| it.refuses).map(|it| it.code.as_str()).collect();
    let (outcome, reason) = match (refusing.is_empty(), response.plan.is_empty()) {
        (false, _) => {
            (audit::Outcome::Refused, format!("the change may not be applied: {}", refusing.join(", ")))
        }
        (true, true) => (audit::Outcome::Done, "it was simulated, and nothing was kept".to_owned()),
        (true, false) => (audit::Outcome::Done, String::new()),
    };
    let versions = response.objects.iter().map(|it| format!("{}@{}", it.id, it.resource_version));
    let line = line("PlanChange", outcome, trace)
        .by(who)
        .because(reason)
        .plan(response.plan_id.as_str(), response.payload_sha256.as_str())
        .versions(versions);
    inner.audit.write(&line);
}

/// Why nothing was written.
pub(super) fn refused(inner: &Inner, who: &Principal, method: &'static str, refusal: &Refusal, trace: Trace) {
    let outcome = match refusal.fault() {
        Fault::Unavailable => audit::Outcome::Undecided,
        _ => audit::Outcome::Refused,
    };
    inner.audit.write(&line(method, outcome, trace).by(who).because(refusal.to_string()));
}

/// That nothing was written because nobody said yes.
pub(super) fn unconfirmed(
    inner: &Inner,
    who: &Principal,
    what: Unconfirmed<'_>,
    why: &impl std::fmt::Display,
    trace: Trace,
) {
    let refused = |method| line(method, audit::Outcome::Refused, trace).by(who).because(why.to_string());
    let line = match what {
        Unconfirmed::Plan(id) => audit::Record { plan_id: Some(id.to_owned()), ..refused("ApplyPlan") },
        Unconfirmed::Change(id) => refused("RollbackChange").change(id),
    };
    inner.audit.write(&line);
}

/// What became of a change. What the caller has written as its reason is in the list of changes and not here.
pub(super) fn done(inner: &Inner, who: &Principal, method: &'static str, record: &Record, trace: Trace) {
    let outcome = match record.outcome {
        Outcome::Applied => audit::Outcome::Done,
        _ => audit::Outcome::Failed,
    };
    let version = |done: &Done| format!("{}@{}", done.target.id(), done.resource_version);
    let namespaces: BTreeSet<&str> =
        record.objects.iter().map(|done| done.target.namespace.as_str()).collect();
    let line = line(method, outcome, trace)
        .by(who)
        .within(namespaces)
        .because(record.text.as_str())
        .plan(record.plan_id.as_str(), record.payload_sha256.as_str())
        .change(record.id.as_str())
        .versions(record.objects.iter().map(version));
    inner.audit.write(&line);
}

/// The guard, which nobody can be: no listener makes one.
pub(super) fn guard() -> Principal {
    Principal {
        user: "linkerd-mcp:guard".into(),
        groups: [].into(),
        identity: "linkerd-mcp guard".into(),
        proof: Proof::Machine,
    }
}

fn line(method: &'static str, outcome: audit::Outcome, trace: Trace) -> audit::Record {
    audit::Record::new(Surface::Grpc, method, outcome, trace)
}
