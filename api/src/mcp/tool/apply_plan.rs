//! Does what was planned, once a person has said yes.

use super::{Call, Output, Reply, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::{
    change::Unconfirmed,
    mcp::{
        consent::{Consent, Question},
        text::{data, longer, quoted},
    },
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "apply_plan",
    title: "Apply a planned change of policy",
    description: "Carries out a plan of plan_policy, once. The person at the client is shown what it does and has to \
                  confirm it; a client that cannot ask gets nothing changed. Objects that have changed since the plan \
                  are never overwritten: plan again. With guard_seconds the touched calls are watched, and the change is \
                  undone when more of them are denied than before. Undo it with rollback_change.",
    set: Toolset::Changes,
    effect: Effect::Changes,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Applied>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Arguments {
    /// The plan, from plan_policy.
    plan: String,
    /// Why, in the person's words, for the audit log.
    reason: Option<String>,
    /// Watch the touched calls for so many seconds, 30 to 3600, and undo the change when they suffer.
    guard_seconds: Option<u32>,
    /// With guard_seconds: undo when so many more calls per second are denied than before. Left out: 1.
    guard_denied_rps: Option<f64>,
    /// With guard_seconds: undo when the success rate falls below this, 0 to 1. Left out: not.
    guard_success_rate: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Applied {
    /// True when every object was written.
    accepted: bool,
    /// For rollback_change and list_changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    change_id: String,
    objects: Vec<Object>,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    /// Until when it is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    guarded_until: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Object {
    pub(super) id: String,
    /// `create`, `update`, `delete`, `unchanged`, `restored` or `failed`.
    pub(super) action: String,
    /// What the API server said when it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) error: String,
}

const MAX_OBJECTS: usize = 50;
const MAX_TEXT: usize = 600;

async fn run(mut call: Call) -> Result<Reply, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let (view, changes) = (call.view()?, call.changes());
    let planned = changes.describe(call.caller()?, &arguments.plan).await?;
    let guard = arguments.guard_seconds.map(|seconds| v1::Guard {
        seconds,
        denied_rps: arguments.guard_denied_rps,
        success_rate: arguments.guard_success_rate,
    });
    let message = format!("{planned}\nType {} to do it.", quoted(&data(&planned.id)));
    let question = Question { message, word: planned.id.clone() };
    match call.consent(&question).await {
        Ok(Consent::Given) => {}
        Ok(Consent::Ask(ask)) => return Ok(Reply::Ask(ask)),
        Err(refused) => {
            changes.unconfirmed(call.caller()?, Unconfirmed::Plan(&planned.id), &refused);
            return Err(refused.into());
        }
    }
    let request =
        v1::ApplyPlanRequest { plan: arguments.plan, reason: arguments.reason.unwrap_or_default(), guard };
    let applied = changes.apply(call.caller()?, request).await?;
    let answer = Applied::new(applied.accepted, &applied.change_id, &applied.objects, &applied.text);
    let guarded_until = applied.guarded_until.as_ref().map(ToString::to_string);
    Ok(call.dated(&view, Applied { guarded_until, ..answer }).into())
}

// === impl Applied ===

impl Applied {
    pub(super) fn new(accepted: bool, change: &str, objects: &[v1::AppliedObject], text: &str) -> Self {
        Self {
            accepted,
            change_id: data(change),
            objects: objects.iter().take(MAX_OBJECTS).map(Object::of).collect(),
            text: longer(text, MAX_TEXT),
            guarded_until: None,
        }
    }
}

impl Output for Applied {
    fn text(&self) -> String {
        let mut text = match self.accepted {
            true => format!("DONE: change {}\n", quoted(&self.change_id)),
            false => "NOT DONE\n".to_owned(),
        };
        for it in &self.objects {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{} {}", it.action, quoted(&it.id));
            if !it.error.is_empty() {
                let _ = writeln!(text, "  because {}", quoted(&it.error));
            }
        }
        if !self.text.is_empty() {
            let _ = writeln!(text, "{}", quoted(&self.text));
        }
        if let Some(until) = &self.guarded_until {
            let _ = writeln!(text, "watched until {until}");
        }
        text
    }
}

// === impl Object ===

impl Object {
    pub(super) fn of(it: &v1::AppliedObject) -> Self {
        Self { id: data(&it.id), action: data(&it.action), error: longer(&it.error, MAX_TEXT) }
    }
}
