//! ApplyPlan: the approval of a plan, by the one who made it, once.

use super::{
    Inner, Refusal, audit,
    by_kind::other_kind,
    cluster::{Cluster, Fault, Mode, Version},
    deed, event,
    guard::{self, Terms},
    now_ms,
    plan::{Plan, payload, request_sha256},
    record::{Action, Done, Image, Outcome, Record, Who, kept},
    seal::Token,
    write::Write,
};
use crate::{audit::Trace, caller::Principal, chain::chain, encode::timestamp, graph::kind::Kind};
use linkerd_mcp_proto::v1;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// The longest reason.
pub(super) const MOST_REASON: usize = 256;

/// What else an approval has to fit.
#[derive(Debug, Default)]
pub(super) struct Only {
    /// Only objects of these kinds.
    pub(super) kinds: Option<&'static [Kind]>,
    /// The manifest and namespace, once more.
    pub(super) request: Option<(String, String)>,
}

pub(super) async fn apply(
    inner: &Arc<Inner>,
    who: &Principal,
    asked: v1::ApplyPlanRequest,
    only: Only,
    trace: Trace,
) -> Result<v1::ApplyPlanResponse, Refusal> {
    let v1::ApplyPlanRequest { plan, reason, guard } = asked;
    inner.cluster()?;
    let reason = checked_reason(reason)?;
    let terms = guard.map(|guard| Terms::read(&guard)).transpose()?;
    if terms.is_some() {
        let view = inner.view()?;
        guard::can_see(&view)?;
    }
    let expired = || Refusal::NoPlan(format!("{} s", inner.lifetime.as_secs()));
    let token = Token::read(&plan).ok_or_else(expired)?;
    // From here on the plan is used up.
    let sealed = inner.store.take_plan(&token.name()).await?.ok_or_else(expired)?;
    let plan = opened(&token, &sealed)?;
    if plan.who != Who::of(who) {
        return Err(Refusal::NotYours);
    }
    if plan.expires_ms <= now_ms() {
        return Err(expired());
    }
    if payload(&plan.writes) != plan.payload_sha256 {
        return Err(Refusal::Altered("its objects are not those of its hash".to_owned()));
    }
    if let Some((manifest, namespace)) = &only.request
        && request_sha256(manifest, namespace) != plan.request_sha256
    {
        return Err(Refusal::OtherManifest);
    }
    if let Some(kinds) = only.kinds
        && let Some(other) = plan.writes.iter().find(|write| !kinds.contains(&write.target.kind))
    {
        return Err(other_kind(other.target.kind, kinds));
    }
    // A caller who goes away, or a time limit of the listener, must not leave half a change behind.
    let (task, who) = (inner.clone(), who.clone());
    let applying = tokio::spawn(async move { task.carry_out(&who, plan, reason, terms, trace).await });
    match applying.await {
        Ok(answer) => answer,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

pub(super) fn checked_reason(reason: String) -> Result<String, Refusal> {
    if reason.len() > MOST_REASON {
        return Err(Refusal::Invalid(format!(
            "the reason has {} bytes, and {MOST_REASON} are the most",
            reason.len()
        )));
    }
    Ok(reason.chars().map(|it| if it.is_control() { ' ' } else { it }).collect())
}

pub(super) fn opened(token: &Token, sealed: &[u8]) -> Result<Plan, Refusal> {
    let plan = token.open(sealed).ok_or_else(|| Refusal::Altered("its seal is broken".to_owned()))?;
    serde_json::from_slice(plan)
        .map_err(|_| Refusal::Altered("another version of linkerd-mcp has made it".to_owned()))
}

/// What came of writing.
pub(super) struct Written {
    pub(super) done: Vec<Done>,
    pub(super) outcome: Outcome,
    pub(super) text: String,
}

impl Inner {
    async fn carry_out(
        self: &Arc<Self>,
        who: &Principal,
        plan: Plan,
        reason: String,
        terms: Option<Terms>,
        trace: Trace,
    ) -> Result<v1::ApplyPlanResponse, Refusal> {
        let cluster = self.cluster()?;
        self.may_write(who, &plan).await?;
        let live = unchanged(cluster, &plan.writes).await?;
        let mut images: Vec<Image> =
            plan.writes.iter().zip(&live).map(|(write, live)| write.image(live.as_ref())).collect();
        let guard = match terms {
            Some(terms) => Some(terms.begin(&*self.view()?, &plan.touched)?),
            None => None,
        };
        let mut record = Record {
            id: change_id(),
            at_ms: now_ms(),
            by: plan.who.clone(),
            outcome: Outcome::Unknown,
            text: "It was begun, and what came of it was not written down.".to_owned(),
            plan_id: plan.id.clone(),
            payload_sha256: plan.payload_sha256.clone(),
            reason,
            objects: plan
                .writes
                .iter()
                .zip(&live)
                .map(|(write, live)| Done::of(&write.target, write.action, live.as_ref()))
                .collect(),
            diff: plan.diff.clone(),
            undone_by: String::new(),
            undoes: String::new(),
            guarded_until_ms: guard.as_ref().map(|guard| guard.until_ms),
        };
        // What was there before is kept before anything is changed.
        self.store.begin(&record, &images).await?;
        let Written { done, outcome, text } = write_all(cluster, &plan.writes, &mut images).await;
        (record.objects, record.outcome, record.text) = (done, outcome, text);
        if outcome != Outcome::Applied {
            record.guarded_until_ms = None;
        }
        if let (Some(guard), Outcome::Applied) = (&guard, outcome) {
            self.begin_guard(&mut record, guard).await;
        }
        if let Err(error) = self.store.finish(&record, Some(&images)).await {
            tracing::error!(change = %record.id, error = %chain(&error), "what came of a change cannot be written down");
            record.text.push_str(
                " What came of it could not be written down: it stands in the list of changes as unknown.",
            );
        }
        event::of_change(self, cluster, &record, &images).await;
        audit::done(self, who, "ApplyPlan", &record, trace);
        Ok(v1::ApplyPlanResponse {
            accepted: outcome == Outcome::Applied,
            change_id: record.id.clone(),
            objects: record.objects.iter().map(Done::message).collect(),
            text: record.text.clone(),
            guarded_until: record.guarded_until_ms.map(timestamp),
        })
    }

    async fn begin_guard(&self, record: &mut Record, guard: &guard::Watched) {
        if let Err(error) = self.store.watch(&record.id, guard).await {
            tracing::error!(change = %record.id, error = %chain(&error), "a change cannot be guarded");
            record.guarded_until_ms = None;
            record.text.push_str(" It is NOT guarded: the guard could not be written down.");
        }
    }

    /// Asks for every right once more: minutes have passed.
    async fn may_write(&self, who: &Principal, plan: &Plan) -> Result<(), Refusal> {
        let namespaces: BTreeSet<&str> =
            plan.writes.iter().map(|write| write.target.namespace.as_str()).collect();
        for namespace in namespaces {
            self.demand_anew(who, &deed("create", "changes", namespace)).await?;
        }
        for write in &plan.writes {
            self.demand_anew(who, &write.target.deed(write.action.verb())).await?;
        }
        Ok(())
    }
}

pub(super) fn change_id() -> String {
    format!("c-{}-{:08x}", now_ms() / 1_000, rand::random::<u32>())
}

/// The objects as they are, if they are those that the plan was made on.
async fn unchanged(cluster: &Cluster, writes: &[Write]) -> Result<Vec<Option<Value>>, Refusal> {
    let live = cluster.get_all(writes.iter().map(|write| write.target.clone()).collect()).await?;
    let changed: Vec<String> =
        writes.iter().zip(&live).filter_map(|(write, live)| difference(write, live.as_ref())).collect();
    if changed.is_empty() { Ok(live) } else { Err(Refusal::Changed(changed)) }
}

fn difference(write: &Write, live: Option<&Value>) -> Option<String> {
    let target = &write.target;
    match (&write.version, live.map(Version::of)) {
        (Some(planned), Some(now)) if *planned == now => None,
        (None, None) => None,
        (Some(planned), Some(now)) if planned.uid == now.uid => Some(format!(
            "{target} was changed (version {} is now {})",
            planned.resource_version, now.resource_version
        )),
        (Some(_), Some(_)) => Some(format!("{target} was deleted and made anew")),
        (Some(_), None) => Some(format!("{target} was deleted")),
        (None, Some(_)) => Some(format!("{target} was created by somebody else")),
    }
}

/// Makes the writes in their order. When one fails those before it are undone.
async fn write_all(cluster: &Cluster, writes: &[Write], images: &mut [Image]) -> Written {
    let mut done = Vec::new();
    for (write, image) in writes.iter().zip(images.iter_mut()) {
        match write.send(cluster, Mode::Make).await {
            Ok(after) => {
                done.push(Done::of(&write.target, write.action, after.as_ref()));
                image.after = after.as_ref().map(kept);
                image.written = true;
            }
            Err(fault) => {
                let uncertain = uncertain(cluster, write, image, &fault).await;
                done.push(Done::failed(&write.target, image.after.as_ref(), chain(&fault)));
                return undo_all(cluster, writes, images, done, &fault, uncertain).await;
            }
        }
    }
    let count = writes.len();
    let text = format!(
        "{count} {} written; the API server has taken all of it.",
        if count == 1 { "object was" } else { "objects were" }
    );
    Written { done, outcome: Outcome::Applied, text }
}

/// After a request that was not answered: whether it cannot be said that nothing was written. When it was, the image
/// says what is there.
async fn uncertain(cluster: &Cluster, write: &Write, image: &mut Image, fault: &Fault) -> bool {
    if !matches!(fault, Fault::Unreachable { sent: true, .. }) {
        return false;
    }
    let Ok(now) = cluster.get(&write.target).await else { return true };
    if difference(write, now.as_ref()).is_some() {
        // Nobody else was seen writing, so it was us; undoing takes the version into account.
        image.after = now.as_ref().map(kept);
        image.written = true;
    }
    false
}

async fn undo_all(
    cluster: &Cluster,
    writes: &[Write],
    images: &mut [Image],
    mut done: Vec<Done>,
    fault: &Fault,
    uncertain: bool,
) -> Written {
    let failed = done.len() - 1;
    let mut left = Vec::new();
    for (at, image) in images.iter_mut().enumerate().take(failed + 1).rev().filter(|(_, it)| it.written) {
        let after = image.after.clone();
        match image.undo(cluster, after.as_ref()).await {
            Ok(now) => {
                image.written = false;
                if at < failed {
                    done[at] = Done::of(&image.target, Action::Restored, now.as_ref());
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(object = %image.target, %error, "an object of a failed change cannot be put back");
                done[at].error =
                    format!("{} It could not be put back: {error}", done[at].error).trim().to_owned();
                left.push(image.target.to_string());
            }
        }
    }
    for write in &writes[failed + 1..] {
        done.push(Done { action: Action::Unchanged, ..Done::of(&write.target, Action::Unchanged, None) });
    }
    let at = &writes[failed].target;
    let why = chain(fault);
    let (outcome, then) = match (left.is_empty(), uncertain) {
        (true, false) => {
            (Outcome::Failed, "What was written before it is undone; nothing is changed.".to_owned())
        }
        (true, true) => (
            Outcome::Partial,
            format!("Whether {at} was written is not known. What was written before it is undone."),
        ),
        (false, _) => (Outcome::Partial, format!("These could not be put back: {}.", left.join(", "))),
    };
    Written { done, outcome, text: format!("{at} was not written: {why}. {then}") }
}
