//! RollbackChange: what was there before a change is put back, if the change is still what is there.

use super::{
    Inner, Refusal,
    apply::{change_id, checked_reason},
    audit,
    cluster::{Cluster, FIELD_MANAGER},
    deed, event, list, now_ms,
    record::{Action, Done, Image, Outcome, Record, Who, kept},
    seal::{canonical, sha256},
};
use crate::{audit::Trace, caller::Principal, chain::chain, graph::change::diff::yaml};
use linkerd_mcp_proto::v1;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// On whose behalf something is undone.
#[derive(Debug, Clone)]
pub(super) enum On {
    /// Somebody's who asks, and needs the rights.
    Caller(Principal),
    /// The author's of the change, who has asked for it beforehand, with what was seen.
    Guard(String),
}

/// One object to put back.
struct Step {
    image: Image,
    now: Option<Value>,
}

pub(super) async fn rollback(
    inner: &Arc<Inner>,
    who: &Principal,
    asked: v1::RollbackChangeRequest,
    trace: Trace,
) -> Result<v1::RollbackChangeResponse, Refusal> {
    inner.cluster()?;
    let reason = checked_reason(asked.reason)?;
    let id = list::checked(&asked.change_id)?.to_owned();
    let (task, on) = (inner.clone(), On::Caller(who.clone()));
    // As when a plan is applied: what is begun is brought to its end.
    let undoing = tokio::spawn(async move { task.undo(&id, on, reason, trace).await });
    let record = match undoing.await {
        Ok(undone) => undone?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    Ok(v1::RollbackChangeResponse {
        accepted: record.outcome == Outcome::Applied,
        change_id: record.id.clone(),
        objects: record.objects.iter().map(Done::message).collect(),
        text: record.text,
    })
}

impl Inner {
    /// Undoes a change; what comes of it is a change of its own.
    pub(super) async fn undo(
        self: &Arc<Self>,
        id: &str,
        on: On,
        reason: String,
        trace: Trace,
    ) -> Result<Record, Refusal> {
        let cluster = self.cluster()?;
        let unknown = || {
            Refusal::NotFound(format!(
                "no change `{id}` is known; ListChanges has those that are, {}",
                self.store.note()
            ))
        };
        let mut undone = self.store.change(id).await?.ok_or_else(unknown)?;
        if let On::Caller(who) = &on {
            let namespaces: BTreeSet<&str> =
                undone.objects.iter().map(|done| done.target.namespace.as_str()).collect();
            for namespace in namespaces {
                self.demand_anew(who, &deed("delete", "changes", namespace)).await?;
            }
        }
        can_be_undone(&undone)?;
        let images = self.store.images(id).await?.ok_or_else(unknown)?;
        let steps = steps(cluster, &undone, images).await?;
        if let On::Caller(who) = &on {
            for step in &steps {
                let verb = step.image.undoing(step.now.as_ref()).verb();
                self.demand_anew(who, &step.image.target.deed(verb)).await?;
            }
        }
        let (by, reason) = match &on {
            On::Caller(who) => (Who::of(who), reason),
            On::Guard(seen) => (Who::guard(), seen.chars().take(super::apply::MOST_REASON).collect()),
        };
        let mut record = begun(&undone, by, reason, &steps);
        let mut images: Vec<Image> = steps.iter().map(Step::image).collect();
        self.store.begin(&record, &images).await?;
        put_back(cluster, &steps, &mut images, &mut record).await;
        self.written_down(&record, Some(&images)).await;
        if record.outcome == Outcome::Applied {
            undone.undone_by = record.id.clone();
            undone.outcome = match &on {
                On::Caller(_) => Outcome::RolledBack,
                On::Guard(_) => Outcome::GuardReverted,
            };
            self.written_down(&undone, None).await;
            if let Err(error) = self.store.unwatch(id).await {
                tracing::warn!(change = id, error = %chain(&error), "the guard of an undone change cannot be ended");
            }
        }
        event::of_change(self, cluster, &record, &images).await;
        match &on {
            On::Caller(who) => audit::done(self, who, "RollbackChange", &record, trace),
            On::Guard(_) => audit::done(self, &audit::guard(), "RollbackChange", &record, trace),
        }
        Ok(record)
    }

    async fn written_down(&self, record: &Record, images: Option<&[Image]>) {
        if let Err(error) = self.store.finish(record, images).await {
            tracing::error!(change = %record.id, error = %chain(&error), "what came of a change cannot be written down");
        }
    }
}

fn can_be_undone(record: &Record) -> Result<(), Refusal> {
    let id = &record.id;
    match record.outcome {
        Outcome::Applied | Outcome::Partial | Outcome::Unknown => Ok(()),
        Outcome::Failed => Err(Refusal::Unable(format!("change {id} failed, and nothing of it is in force"))),
        Outcome::RolledBack | Outcome::GuardReverted => Err(Refusal::Unable(format!(
            "change {id} was undone already, by {}; roll that one back to have it again",
            record.undone_by
        ))),
    }
}

/// What is to be put back, the last write first.
async fn steps(cluster: &Cluster, record: &Record, images: Vec<Image>) -> Result<Vec<Step>, Refusal> {
    let live = cluster.get_all(images.iter().map(|image| image.target.clone()).collect()).await?;
    let (mut steps, mut overtaken) = (Vec::new(), Vec::new());
    for (image, now) in images.into_iter().zip(live).rev() {
        match stands(record, &image, now.as_ref()) {
            Stands::AsLeft => steps.push(Step { image, now }),
            Stands::AsBefore => {}
            Stands::Otherwise => overtaken.push(since(&image, now.as_ref())),
        }
    }
    match (overtaken.is_empty(), steps.is_empty()) {
        (false, _) => Err(Refusal::Overtaken(overtaken.join("; "))),
        (true, true) => Err(Refusal::Unable(format!("nothing of change {} is in force", record.id))),
        (true, false) => Ok(steps),
    }
}

/// How an object is, next to what a change made of it.
#[derive(Debug, PartialEq, Eq)]
enum Stands {
    AsLeft,
    AsBefore,
    Otherwise,
}

fn stands(record: &Record, image: &Image, now: Option<&Value>) -> Stands {
    let as_before = match (&image.before, now) {
        (None, None) => true,
        (Some(before), Some(now)) => same_content(before, now),
        _ => false,
    };
    if image.written {
        return if image.is_as_left(now) { Stands::AsLeft } else { Stands::Otherwise };
    }
    match record.outcome {
        _ if as_before => Stands::AsBefore,
        // Nobody has written down how far it came: what we wrote last since then is ours.
        Outcome::Unknown if now.is_none_or(|now| is_ours_since(now, record.at_ms)) => Stands::AsLeft,
        Outcome::Unknown => Stands::Otherwise,
        // It was never come to, or was put back; what others did to it is theirs.
        _ => Stands::AsBefore,
    }
}

fn same_content(one: &Value, other: &Value) -> bool {
    let (a, b) = (&one["metadata"], &other["metadata"]);
    one["spec"] == other["spec"] && ["uid", "labels", "annotations"].iter().all(|field| a[field] == b[field])
}

/// True when we are the last who wrote to the object, and did so since then. The API server keeps whole seconds.
fn is_ours_since(object: &Value, at_ms: i64) -> bool {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    let entries = object["metadata"]["managedFields"].clone();
    let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(entries).unwrap_or_default();
    let written = entries.iter().filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let times = written.filter_map(|entry| Some((entry.time.as_ref()?.0.as_millisecond(), entry)));
    let Some(last) = times.clone().map(|(time, _)| time).max() else { return false };
    let mut latest = times.filter(|(time, _)| *time == last);
    last >= at_ms - 1_000 && latest.all(|(_, entry)| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// What is other than the change left it, for whoever wanted it undone.
fn since(image: &Image, now: Option<&Value>) -> String {
    let target = &image.target;
    match (&image.after, now) {
        (_, None) => format!("{target} was deleted since"),
        (None, Some(_)) => format!("{target} was made anew since"),
        (Some(left), Some(now)) => {
            let spec = |value: &Value| yaml(&value["spec"]);
            let (left, now) = (spec(left), spec(now));
            let gone =
                left.lines().filter(|line| !now.lines().any(|it| it == *line)).map(|it| format!("- {it}"));
            let come =
                now.lines().filter(|line| !left.lines().any(|it| it == *line)).map(|it| format!("+ {it}"));
            let lines: Vec<String> = gone.chain(come).take(20).collect();
            format!("{target} was changed since:\n{}\n", lines.join("\n"))
        }
    }
}

fn begun(undone: &Record, by: Who, reason: String, steps: &[Step]) -> Record {
    let objects = steps.iter().map(|step| {
        let action = step.image.undoing(step.now.as_ref());
        Done::of(&step.image.target, action, step.now.as_ref())
    });
    let before: Vec<_> = steps.iter().map(|step| json!([step.image.target, step.image.before])).collect();
    Record {
        id: change_id(),
        at_ms: now_ms(),
        by,
        outcome: Outcome::Unknown,
        text: "It was begun, and what came of it was not written down.".to_owned(),
        plan_id: String::new(),
        payload_sha256: sha256(&canonical(&json!(before))),
        reason,
        objects: objects.collect(),
        diff: reversed(&undone.diff),
        undone_by: String::new(),
        undoes: undone.id.clone(),
        guarded_until_ms: None,
    }
}

/// A difference the other way round.
fn reversed(diff: &str) -> String {
    let line = |line: &str| match line.split_at_checked(1) {
        Some(("-", rest)) => format!("+{rest}\n"),
        Some(("+", rest)) => format!("-{rest}\n"),
        _ => format!("{line}\n"),
    };
    diff.lines().map(line).collect()
}

async fn put_back(cluster: &Cluster, steps: &[Step], images: &mut [Image], record: &mut Record) {
    let mut failed = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let (target, now) = (&step.image.target, step.now.as_ref());
        match step.image.undo(cluster, now).await {
            Ok(after) => {
                images[at].after = after.as_ref().map(kept);
                images[at].written = true;
                let action = match step.image.undoing(now) {
                    Action::Delete => Action::Delete,
                    _ => Action::Restored,
                };
                record.objects[at] = Done::of(target, action, after.as_ref());
            }
            Err(fault) => {
                let error = chain(&fault);
                failed.push(format!("{target}: {error}"));
                record.objects[at] = Done::failed(target, now, error);
            }
        }
    }
    let undone = &record.undoes;
    let anew = steps.iter().any(|step| step.image.undoing(step.now.as_ref()) == Action::Create);
    let anew = match anew {
        true => {
            " What had been deleted is there anew, as the youngest of its kind: of two Servers on a port the older wins."
        }
        false => "",
    };
    (record.outcome, record.text) = match failed.len() {
        0 => (Outcome::Applied, format!("Everything is as it was before change {undone}.{anew}")),
        count if count == steps.len() => {
            (Outcome::Failed, format!("Nothing was put back: {}.", failed.join("; ")))
        }
        _ => (Outcome::Partial, format!("Not everything was put back: {}.{anew}", failed.join("; "))),
    };
}

// === impl Step ===

impl Step {
    /// What is there before it is put back.
    fn image(&self) -> Image {
        let before = self.now.as_ref().map(kept);
        Image { target: self.image.target.clone(), before, after: None, written: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_can_be_read_the_other_way_round() {
        assert_eq!(reversed("# update x\n a\n-b\n+c\n@@\n"), "# update x\n a\n+b\n-c\n@@\n");
    }

    #[test]
    fn an_object_is_ours_when_nobody_wrote_after_us() {
        let entry =
            |manager: &str, time: &str| json!({"manager": manager, "operation": "Apply", "time": time});
        let object = |entries: Vec<Value>| json!({"metadata": {"managedFields": entries}});
        let at = 1_767_323_045_000; // 2026-01-02T03:04:05Z
        let ours = entry(FIELD_MANAGER, "2026-01-02T03:04:05Z");
        let earlier = entry("kubectl", "2026-01-02T03:00:00Z");
        assert!(is_ours_since(&object(vec![earlier.clone(), ours.clone()]), at));
        assert!(!is_ours_since(&object(vec![ours.clone(), entry("kubectl", "2026-01-02T03:04:06Z")]), at));
        assert!(!is_ours_since(&object(vec![earlier, ours]), at + 60_000), "an earlier change of ours");
        assert!(!is_ours_since(&object(Vec::new()), at));
        let mut status = entry("policy-controller", "2026-01-02T03:05:00Z");
        status["subresource"] = "status".into();
        let ours = entry(FIELD_MANAGER, "2026-01-02T03:04:05Z");
        assert!(is_ours_since(&object(vec![ours, status]), at), "a new status is nobody's change");
    }
}
