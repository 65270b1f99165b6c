//! Changes as they are kept: what was asked, what came of it, and what was there before.

use super::target::Target;
use crate::{caller::Principal, encode::timestamp};
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change, applied or tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    pub(crate) by: Who,
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    pub(crate) plan_id: String,
    pub(crate) payload_sha256: String,
    pub(crate) reason: String,
    pub(crate) objects: Vec<Done>,
    pub(crate) diff: String,
    pub(crate) undone_by: String,
    pub(crate) undoes: String,
    pub(crate) guarded_until_ms: Option<i64>,
}

/// Who it was, by proven identity. A plan is only good for the same again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    pub(crate) user: String,
    pub(crate) identity: String,
    pub(crate) proof: String,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was begun; whoever began it has not said what came of it.
    Unknown,
    Applied,
    /// Nothing of it is in force.
    Failed,
    /// Some of it is in force.
    Partial,
    /// It was applied and undone by somebody.
    RolledBack,
    /// It was applied and undone by its guard.
    GuardReverted,
}

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) target: Target,
    pub(crate) action: Action,
    pub(crate) resource_version: String,
    pub(crate) error: String,
}

/// What a change does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Create,
    Update,
    Delete,
    Unchanged,
    Restored,
    Failed,
}

/// One object before a change and after it, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) target: Target,
    pub(crate) before: Option<Value>,
    /// As the change left it; `None` where it deleted it, or never came to it (then `written` is false).
    pub(crate) after: Option<Value>,
    pub(crate) written: bool,
}

// === impl Who ===

impl Who {
    pub(crate) fn of(who: &Principal) -> Self {
        Self {
            user: who.user.to_string(),
            identity: who.identity.to_string(),
            proof: who.proof.as_str().to_owned(),
        }
    }

    /// The guard itself, which acts on what the author of a change has asked for.
    pub(crate) fn guard() -> Self {
        Self { user: String::new(), identity: "linkerd-mcp guard".to_owned(), proof: "machine".to_owned() }
    }
}

// === impl Record ===

impl Record {
    pub(crate) fn message(&self) -> v1::Change {
        v1::Change {
            change_id: self.id.clone(),
            at: Some(timestamp(self.at_ms)),
            by: self.by.identity.clone(),
            proof: self.by.proof.clone(),
            outcome: self.outcome.as_str().to_owned(),
            text: self.text.clone(),
            plan_id: self.plan_id.clone(),
            payload_sha256: self.payload_sha256.clone(),
            reason: self.reason.clone(),
            objects: self.objects.iter().map(Done::message).collect(),
            diff: self.diff.clone(),
            undone_by: self.undone_by.clone(),
            undoes: self.undoes.clone(),
            guarded_until: self.guarded_until_ms.map(timestamp),
        }
    }

    /// True when one of its objects is in the namespace.
    pub(crate) fn touches(&self, namespace: &str) -> bool {
        self.objects.iter().any(|done| done.target.namespace == namespace)
    }
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::RolledBack => "rolled_back",
            Self::GuardReverted => "guard_reverted",
        }
    }
}

// === impl Action ===

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Unchanged => "unchanged",
            Self::Restored => "restored",
            Self::Failed => "failed",
        }
    }

    /// What the caller must be allowed to do with the object.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            _ => "patch",
        }
    }
}

// === impl Done ===

impl Done {
    pub(crate) fn message(&self) -> v1::AppliedObject {
        v1::AppliedObject {
            id: self.target.id().to_string(),
            action: self.action.as_str().to_owned(),
            resource_version: self.resource_version.clone(),
            error: self.error.clone(),
        }
    }
}

// === impl Image ===

impl Image {
    /// True when the object is as the change left it: nobody has written to it since, but for its status.
    pub(crate) fn is_as_left(&self, now: Option<&Value>) -> bool {
        match (&self.after, now) {
            (None, None) => true,
            (Some(left), Some(now)) => {
                let (left, now) = (&left["metadata"], &now["metadata"]);
                // The generation counts changes of the spec. Labels and annotations are not counted.
                left["resourceVersion"] == now["resourceVersion"]
                    || ["uid", "generation", "labels", "annotations"].iter().all(|it| left[it] == now[it])
            }
            _ => false,
        }
    }
}

/// An object without what is never put back: who manages which field, what kubectl applied last, and its status.
pub(crate) fn kept(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_graph::kind::Kind;
    use serde_json::json;

    fn object(resource_version: &str, generation: u32, label: &str) -> Value {
        json!({"metadata": {
            "uid": "1", "resourceVersion": resource_version, "generation": generation, "labels": {"a": label},
        }})
    }

    #[test]
    fn an_object_is_as_it_was_left_when_only_its_status_has_changed() {
        let target = Target::new(Kind::Server, "policy.linkerd.io/v1beta3", "shop", "web");
        let mut image = Image { target, before: None, after: Some(object("5", 2, "x")), written: true };
        assert!(image.is_as_left(Some(&object("5", 2, "x"))));
        assert!(image.is_as_left(Some(&object("6", 2, "x"))), "a new status");
        assert!(!image.is_as_left(Some(&object("6", 3, "x"))), "a new spec");
        assert!(!image.is_as_left(Some(&object("6", 2, "y"))), "a new label");
        let mut anew = object("6", 2, "x");
        anew["metadata"]["uid"] = "2".into();
        assert!(!image.is_as_left(Some(&anew)), "another object");
        assert!(!image.is_as_left(None), "deleted");
        image.after = None;
        assert!(image.is_as_left(None));
        assert!(!image.is_as_left(Some(&object("1", 1, "x"))), "made anew");
    }
}
