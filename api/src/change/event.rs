//! A Kubernetes Event on every object that was changed, for those who look there.

use super::{
    Inner,
    cluster::{Cluster, Version},
    record::{Action, Image, Outcome, Record},
};
use serde_json::{Value, json};

/// The most bytes of a note; Kubernetes refuses more than 1 kB.
const MOST_NOTE: usize = 1_000;

/// Creates one for each object. A failure is in the log and nowhere else: the change itself is made.
pub(super) async fn of_change(inner: &Inner, cluster: &Cluster, record: &Record, images: &[Image]) {
    for (done, image) in record.objects.iter().zip(images) {
        if done.action == Action::Unchanged {
            continue;
        }
        let object = image.after.as_ref().or(image.before.as_ref());
        let event = event(inner, record, image, object);
        if let Err(error) = cluster.event(&image.target.namespace, &event).await {
            tracing::warn!(%error, object = %image.target, change = %record.id, "no Event could be created of a change");
            // They fail for the same reason.
            return;
        }
    }
}

fn event(inner: &Inner, record: &Record, image: &Image, object: Option<&Value>) -> Value {
    let target = &image.target;
    let (reason, kind) = match (record.outcome, record.undoes.is_empty()) {
        (Outcome::Applied, true) => ("PolicyApplied", "Normal"),
        (Outcome::Applied, false) => ("PolicyRolledBack", "Normal"),
        _ => ("PolicyNotApplied", "Warning"),
    };
    let mut regarding = json!({
        "apiVersion": target.api_version,
        "kind": target.kind.row().name,
        "namespace": target.namespace,
        "name": target.name,
    });
    if let Some(object) = object {
        let Version { uid, resource_version } = Version::of(object);
        regarding["uid"] = uid.into();
        regarding["resourceVersion"] = resource_version.into();
    }
    let seconds = record.at_ms.div_euclid(1_000);
    let micros = record.at_ms.rem_euclid(1_000) * 1_000;
    let time = prost_types::Timestamp { seconds, nanos: 0 }.to_string();
    // `MicroTime` wants six digits.
    let time = format!("{}.{micros:06}Z", time.trim_end_matches('Z'));
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "linkerd-mcp-", "namespace": target.namespace},
        "eventTime": time,
        "reportingController": "linkerd.io/mcp",
        "reportingInstance": inner.instance,
        "action": if record.undoes.is_empty() { "Apply" } else { "RollBack" },
        "reason": reason,
        "regarding": regarding,
        "note": note(record),
        "type": kind,
    })
}

/// Who, what became of it, and the change. What the caller has written stays in the list of changes.
fn note(record: &Record) -> String {
    let Record { id, by, text, undoes, .. } = record;
    let undoes = if undoes.is_empty() { String::new() } else { format!(", which undoes {undoes}") };
    let note = format!("Change {id}{undoes}, by {} ({}): {text}", by.identity, by.proof);
    let end = (0..=MOST_NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
    note[..end].to_owned()
}
