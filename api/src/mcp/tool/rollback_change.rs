//! Puts back what was there before a change, once a person has said yes.

use super::{
    Call, Reply, Tool, ToolError, Toolset, apply_plan::Applied, boxed, effect::Effect, input, output,
};
use crate::{
    change::Unconfirmed,
    mcp::{
        consent::{Consent, Question},
        text::{data, quoted},
    },
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) const TOOL: Tool = Tool {
    name: "rollback_change",
    title: "Undo a change of policy",
    description: "Puts back what was there before a change that was made through here. The person at the client has to \
                  confirm it; a client that cannot ask gets nothing changed. Objects that somebody has changed since are \
                  left as they are, and the answer says so. list_changes has the changes.",
    set: Toolset::Changes,
    effect: Effect::Changes,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Applied>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Arguments {
    /// The change, from apply_plan or list_changes.
    change_id: String,
    /// Why, in the person's words, for the audit log.
    reason: Option<String>,
}

async fn run(mut call: Call) -> Result<Reply, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let (view, changes) = (call.view()?, call.changes());
    let change = changes.find(call.caller()?, &arguments.change_id).await?;
    let mut message = format!("Undo change {}: put back", quoted(&data(&change.change_id)));
    for object in change.objects.iter().take(10) {
        message.push_str(&format!("\n  {}", quoted(&data(&object.id))));
    }
    if change.objects.len() > 10 {
        message.push_str(&format!("\n  and {} more", change.objects.len() - 10));
    }
    message.push_str(&format!("\nType {} to do it.", quoted(&data(&change.change_id))));
    let question = Question { message, word: change.change_id.clone() };
    match call.consent(&question).await {
        Ok(Consent::Given) => {}
        Ok(Consent::Ask(ask)) => return Ok(Reply::Ask(ask)),
        Err(refused) => {
            changes.unconfirmed(call.caller()?, Unconfirmed::Change(&change.change_id), &refused);
            return Err(refused.into());
        }
    }
    let request = v1::RollbackChangeRequest {
        change_id: arguments.change_id,
        reason: arguments.reason.unwrap_or_default(),
    };
    let undone = changes.rollback(call.caller()?, request).await?;
    let answer = Applied::new(undone.accepted, &undone.change_id, &undone.objects, &undone.text);
    Ok(call.dated(&view, answer).into())
}
