//! The fixtures' prompts.

use super::{complete, content::PNG, rounds, typed};
use rmcp::{
    ErrorData,
    model::{GetPromptRequestParams, GetPromptResponse, GetPromptResult},
};
use serde_json::{Value, json};

/// All definitions.
pub(super) fn definitions() -> Value {
    let one = |name: &str, arguments: &[&str]| {
        let arguments: Vec<Value> = arguments
            .iter()
            .map(|it| json!({"name": it, "description": "An argument", "required": true}))
            .collect();
        json!({"name": name, "description": "A fixture of the conformance suite", "arguments": arguments})
    };
    json!([
        one("test_simple_prompt", &[]),
        one("test_prompt_with_arguments", &["arg1", "arg2"]),
        one("test_prompt_with_embedded_resource", &["resourceUri"]),
        one("test_prompt_with_image", &[]),
        one("test_input_required_result_prompt", &[]),
    ])
}

/// One of them.
pub(super) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let given = request.arguments.as_ref().and_then(|it| it.get(name)).and_then(Value::as_str);
        given.ok_or_else(|| ErrorData::invalid_params(format!("`{name}` is required"), None))
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let contents = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1")?, argument("arg2")?);
            vec![text(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let uri = argument("resourceUri")?;
            let inside = "Embedded resource content for testing.";
            vec![
                json!({"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": inside}}),
                text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
            text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            let answers = request.input_responses.as_ref();
            let Some(context) = rounds::content(answers, "user_context", "context") else {
                let ask = rounds::form("What context should the prompt use?", "context", "string");
                let required =
                    json!({"resultType": "input_required", "inputRequests": {"user_context": ask}});
                return Ok(GetPromptResponse::InputRequired(typed(required)));
            };
            vec![text(&format!("Use the context: {context}"))]
        }
        _ => return Err(ErrorData::invalid_params("there is no such prompt", None)),
    };
    let messages: Vec<Value> =
        contents.into_iter().map(|it| json!({"role": "user", "content": it})).collect();
    Ok(GetPromptResponse::Complete(complete::<GetPromptResult>(json!({"messages": messages}))))
}
