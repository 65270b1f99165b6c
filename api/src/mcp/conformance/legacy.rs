//! Tools that speak while they run: progress, logs, and requests to the client, which revisions with sessions have.
#![expect(deprecated, reason = "sampling and logging are going, and are still judged")]

use super::{Asked, complete, text, typed};
use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two things that are said, as the suite wants it.
const PAUSE: Duration = Duration::from_millis(50);

/// A client that never answers must not hold up its call for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls one.
pub(super) async fn call(
    request: &CallToolRequestParams,
    asked: &Asked,
) -> Result<CallToolResponse, ErrorData> {
    let argument = |name: &str| {
        let given = request.arguments.as_ref().and_then(|it| it.get(name)).and_then(Value::as_str);
        given.ok_or_else(|| ErrorData::invalid_params(format!("`{name}` is required"), None))
    };
    let said = match &*request.name {
        "test_tool_with_progress" => progress(asked).await?,
        "test_tool_with_logging" | "test_logging_tool" => log(asked).await?,
        "test_missing_capability" => {
            if asked.client_capabilities().unwrap_or_default().sampling.is_none() {
                let required: ClientCapabilities = typed(json!({"sampling": {}}));
                return Err(ErrorData::missing_required_client_capability(required));
            }
            "The client can sample.".to_owned()
        }
        "test_streaming_elicitation" => {
            progress(asked).await?;
            let ask = super::rounds::form("What is your name?", "name", "string");
            let required = json!({"resultType": "input_required", "inputRequests": {"user_name": ask}});
            return Ok(CallToolResponse::InputRequired(typed(required)));
        }
        "test_sampling" => {
            let message = json!({"role": "user", "content": {"type": "text", "text": argument("prompt")?}});
            let params = typed(json!({"messages": [message], "maxTokens": 100}));
            let answer = timeout(PATIENCE, asked.peer.create_message(params)).await;
            let answer = answer.map_err(|_| failed("the client did not answer"))?.map_err(failed)?;
            let answer = serde_json::to_value(answer).map_err(failed)?;
            format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default())
        }
        "test_elicitation" => {
            let field = |what: &str| json!({"type": "string", "description": what});
            let properties =
                json!({"username": field("User's response"), "email": field("User's email address")});
            let answer = elicit(asked, argument("message")?, properties, &["username", "email"]).await?;
            format!("User response: {answer}")
        }
        "test_elicitation_sep1034_defaults" => {
            let properties = json!({
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true},
            });
            let answer = elicit(asked, "Please check these values", properties, &[]).await?;
            format!("Elicitation completed: {answer}")
        }
        "test_elicitation_sep1330_enums" => {
            let titled = |values: [(&str, &str); 3]| {
                values.map(|(value, title)| json!({"const": value, "title": title}))
            };
            let options = ["option1", "option2", "option3"];
            let single =
                [("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")];
            let multi = [("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice")];
            let properties = json!({
                "untitledSingle": {"type": "string", "enum": options},
                "titledSingle": {"type": "string", "oneOf": titled(single)},
                "legacyEnum": {
                    "type": "string",
                    "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"],
                },
                "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
                "titledMulti": {"type": "array", "items": {"anyOf": titled(multi)}},
            });
            let answer = elicit(asked, "Please choose", properties, &[]).await?;
            format!("Elicitation completed: {answer}")
        }
        _ => return Err(ErrorData::invalid_params("there is no such tool", None)),
    };
    Ok(CallToolResponse::Complete(complete(text(&said))))
}

/// From 0 to 100 in three steps, for a client that wants to know.
async fn progress(asked: &Asked) -> Result<String, ErrorData> {
    let token = asked.meta.get_progress_token();
    for (step, at) in [0.0, 50.0, 100.0].into_iter().enumerate() {
        if step > 0 {
            sleep(PAUSE).await;
        }
        if let Some(token) = &token {
            let progress = ProgressNotificationParam::new(token.clone(), at).with_total(100.0);
            asked.peer.notify_progress(progress).await.map_err(failed)?;
        }
    }
    Ok("It has come to its end.".to_owned())
}

/// Three lines; since 2026-07-28 only for a request that asks for them.
async fn log(asked: &Asked) -> Result<String, ErrorData> {
    let stateless = asked.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28);
    let wanted = !stateless || asked.meta.log_level().is_some();
    let lines = ["Tool execution started", "Tool processing data", "Tool execution completed"];
    for (step, line) in lines.into_iter().enumerate() {
        if step > 0 {
            sleep(PAUSE).await;
        }
        if wanted {
            let line = LoggingMessageNotificationParam::new(LoggingLevel::Info, line.into());
            asked.peer.notify_logging_message(line).await.map_err(failed)?;
        }
    }
    Ok("It has said what it did.".to_owned())
}

/// Asks the person at the client.
async fn elicit(
    asked: &Asked,
    message: &str,
    properties: Value,
    required: &[&str],
) -> Result<String, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    let params = typed(json!({"mode": "form", "message": message, "requestedSchema": schema}));
    let answer = asked.peer.create_elicitation_with_timeout(params, Some(PATIENCE)).await.map_err(failed)?;
    let answer = serde_json::to_value(answer).map_err(failed)?;
    Ok(format!("action={}, content={}", answer["action"].as_str().unwrap_or_default(), answer["content"]))
}

fn failed(error: impl ToString) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
