//! What tools answer, for resources and prompts: these show what a tool would, so they ask it.

use super::{
    Context,
    tool::{Answer, Call, Reply, TOOLS, ToolError},
};
use crate::{
    authorization::{Asker, Refused},
    rights::table::Surface,
};
use rmcp::model::JsonObject;
use serde_json::Value;

/// What the tool answers, to the caller of the request that it is a part of: bounded, and made of data that is safe to
/// show. None when there is no such tool.
///
/// # Errors
///
/// Those of the tool.
pub(crate) async fn ask(
    context: &Context,
    tool: &str,
    arguments: JsonObject,
) -> Option<Result<Value, ToolError>> {
    let tool = TOOLS.iter().find(|it| it.name == tool)?;
    let context = match again(context, tool.name).await {
        Ok(context) => context,
        Err(refused) => return Some(Err(refused.into())),
    };
    let call = Call { context, arguments: Some(arguments), schema: (tool.input)(), person: None };
    Some((tool.run)(call).await.and_then(Reply::answer).map(|Answer { structured, .. }| structured.value()))
}

/// The context as far as the caller may use the tool too.
async fn again(context: &Context, tool: &str) -> Result<Context, Refused> {
    let granted = context.granted.as_ref().ok_or(Refused::Unknown)?;
    let asker = Asker { who: Some(granted.who.clone()), trace: granted.trace };
    let more = context.authorization.may_use(Surface::Tool, tool, &asker, &context.replica).await?;
    Ok(context.scoped(&std::sync::Arc::new(more)))
}

/// True when there is such a tool.
pub(crate) fn has(tool: &str) -> bool {
    TOOLS.iter().any(|it| it.name == tool)
}

/// An answer as a part of another one: without what only its tool can go on from, and without a date of its own.
pub(crate) fn part(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("next_cursor");
        fields.remove("freshness");
    }
    answer
}
