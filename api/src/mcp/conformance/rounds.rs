//! Tools that need something of the client before they can answer (2026-07-28): they say what, and are called again with
//! it.

use super::{Asked, complete, text, typed};
use rmcp::{
    ErrorData,
    model::{CallToolRequestParams, CallToolResponse, ErrorCode, InputResponses, RequestStateCodec},
};
use serde_json::{Value, json};

/// Seals what comes back with the next round.
#[derive(Debug)]
pub(super) struct States(RequestStateCodec);

// === impl States ===

impl States {
    pub(super) fn new() -> Self {
        let key = rand::random::<[u8; 32]>();
        Self(RequestStateCodec::try_new(key).expect("32 bytes are enough"))
    }

    fn seal(&self, state: &str) -> String {
        self.0.seal(state.as_bytes())
    }

    fn open(&self, sealed: &str) -> Result<Vec<u8>, ErrorData> {
        let refused = |_| ErrorData::new(ErrorCode::INVALID_PARAMS, "requestState is not one of ours", None);
        self.0.open(sealed).map_err(refused)
    }
}

/// One round.
pub(super) fn call(
    states: &States,
    request: CallToolRequestParams,
    asked: &Asked,
) -> Result<CallToolResponse, ErrorData> {
    let answers = request.input_responses.as_ref();
    let given = |key: &str| answers.and_then(|it| it.get(key));
    // Whatever came back must be ours, also where it would not be looked at.
    let state = request.request_state.as_deref().map(|it| states.open(it)).transpose()?;
    let done = |said: String| Ok(CallToolResponse::Complete(complete(text(&said))));
    let need = |requests: Value, state: Option<&str>| {
        let mut required = json!({"resultType": "input_required", "inputRequests": requests});
        if let Some(state) = state {
            required["requestState"] = states.seal(state).into();
        }
        Ok(CallToolResponse::InputRequired(typed(required)))
    };
    let name = || form("What is your name?", "name", "string");
    match &*request.name {
        "test_input_required_result_elicitation" => match content(answers, "user_name", "name") {
            Some(name) => done(format!("Hello, {name}!")),
            None => need(json!({"user_name": name()}), None),
        },
        "test_input_required_result_sampling" => match given("capital_question") {
            Some(answer) => done(format!("The model says: {}", answer["content"]["text"])),
            None => need(json!({"capital_question": sample("What is the capital of France?", 100)}), None),
        },
        "test_input_required_result_list_roots" => match given("client_roots") {
            Some(answer) => done(format!("Roots: {}", answer["roots"])),
            None => need(json!({"client_roots": roots()}), None),
        },
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            let confirmed = given("confirm").is_some() && state.as_deref() == Some(b"confirm");
            match confirmed {
                true => done("state-ok".to_owned()),
                false => need(json!({"confirm": form("Please confirm", "ok", "boolean")}), Some("confirm")),
            }
        }
        "test_input_required_result_multiple_inputs" => {
            let keys = ["user_name", "greeting", "client_roots"];
            if state.is_some() && keys.iter().all(|key| given(key).is_some()) {
                return done("All three answers are here.".to_owned());
            }
            let greeting = sample("Generate a greeting", 50);
            need(json!({"user_name": name(), "greeting": greeting, "client_roots": roots()}), Some("several"))
        }
        "test_input_required_result_multi_round" => match state.as_deref() {
            Some(b"first") if given("step1").is_some() => {
                let ask = form("Step 2: What is your favorite color?", "color", "string");
                need(json!({"step2": ask}), Some("second"))
            }
            Some(b"second") if given("step2").is_some() => done("Both steps are done.".to_owned()),
            _ => need(json!({"step1": form("Step 1: What is your name?", "name", "string")}), Some("first")),
        },
        "test_input_required_result_capabilities" => {
            let can = asked.client_capabilities().unwrap_or_default();
            let mut requests = serde_json::Map::new();
            if can.elicitation.is_some() {
                requests.insert("user_name".to_owned(), name());
            }
            if can.sampling.is_some() {
                requests.insert("greeting".to_owned(), sample("Generate a greeting", 50));
            }
            match requests.is_empty() {
                true => done("There is nothing that the client could be asked.".to_owned()),
                false => need(requests.into(), None),
            }
        }
        _ => Err(ErrorData::invalid_params("there is no such tool", None)),
    }
}

/// A field of an accepted form.
pub(super) fn content<'a>(answers: Option<&'a InputResponses>, key: &str, field: &str) -> Option<&'a str> {
    let answer = answers?.get(key)?;
    (answer["action"] == "accept").then_some(())?;
    answer["content"][field].as_str()
}

/// Asks for one field.
pub(super) fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

fn sample(question: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": question}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": tokens}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}
