//! What was changed through here, by whom, and what came of it.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, apply_plan::Object, boxed, effect::Effect, input, output,
};
use crate::mcp::text::{data, longer, quoted};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "list_changes",
    title: "What was changed, and by whom",
    description: "Lists changes of policy that were made through here, the newest first: when, by whom and how they were \
                  identified, which objects, what came of it, and what undid it. Use it for \"who changed the policy of \
                  cart\" and to find the change for rollback_change. Changes made with other tools are not in it.",
    set: Toolset::Changes,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Listed>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// Only changes of objects of this namespace.
    namespace: Option<String>,
    /// Only this change, with what was different.
    change_id: Option<String>,
    /// The most changes; 10 when left out.
    #[schemars(range(min = 1, max = 50))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    changes: Vec<Change>,
    /// True when there are more.
    truncated: bool,
    /// What was before this is no longer known.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    change_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    by: String,
    /// What proved who it was: `mesh`, `certificate`, `token`, `oauth` or `machine`.
    proof: String,
    /// `applied`, `failed`, `partial`, `rolled_back` or `guard_reverted`.
    outcome: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    /// In the words of the one who asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    objects: Vec<Object>,
    #[serde(skip_serializing_if = "String::is_empty")]
    undone_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    undoes: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diff: Vec<String>,
}

const MAX_OBJECTS: usize = 5;
const MAX_TEXT: usize = 200;
const MAX_DIFF_LINES: usize = 60;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let one = arguments.change_id.is_some();
    let request = v1::ListChangesRequest {
        namespace: arguments.namespace.unwrap_or_default(),
        limit: arguments.limit.unwrap_or(10),
        change_id: arguments.change_id.unwrap_or_default(),
    };
    let view = call.view()?;
    let found = call.changes().list(call.caller()?, request).await?;
    let answer = Listed {
        changes: found.changes.iter().map(|it| Change::of(it, one)).collect(),
        truncated: found.truncated,
        since: found.since.as_ref().map(ToString::to_string),
        notes: found.notes.iter().map(|note| data(note)).collect(),
    };
    Ok(call.dated(&view, answer))
}

// === impl Change ===

impl Change {
    fn of(it: &v1::Change, whole: bool) -> Self {
        let objects = if whole { usize::MAX } else { MAX_OBJECTS };
        let lines = if whole { MAX_DIFF_LINES } else { 0 };
        Self {
            change_id: data(&it.change_id),
            at: it.at.as_ref().map(ToString::to_string),
            by: data(&it.by),
            proof: data(&it.proof),
            outcome: data(&it.outcome),
            text: longer(&it.text, MAX_TEXT),
            reason: longer(&it.reason, MAX_TEXT),
            objects: it.objects.iter().take(objects).map(Object::of).collect(),
            undone_by: data(&it.undone_by),
            undoes: data(&it.undoes),
            diff: it.diff.lines().take(lines).map(|line| longer(line, MAX_TEXT)).collect(),
        }
    }
}

impl Output for Listed {
    fn text(&self) -> String {
        let mut text = String::new();
        for it in &self.changes {
            let at = it.at.as_deref().unwrap_or("at an unknown time");
            // Writing to a String does not fail.
            let _ = writeln!(text, "{} {at} {} by {}", quoted(&it.change_id), it.outcome, quoted(&it.by));
            for object in &it.objects {
                let _ = writeln!(text, "  {} {}", object.action, quoted(&object.id));
            }
            if !it.reason.is_empty() {
                let _ = writeln!(text, "  reason given: {}", quoted(&it.reason));
            }
            for line in &it.diff {
                let _ = writeln!(text, "  | {line}");
            }
        }
        if self.changes.is_empty() {
            text.push_str("Nothing was changed through here, as far back as is known.\n");
        }
        if self.truncated {
            text.push_str("There are more: name a namespace, or ask with a higher limit.\n");
        }
        if let Some(since) = &self.since {
            let _ = writeln!(text, "What was before {since} is no longer known.");
        }
        text
    }
}
