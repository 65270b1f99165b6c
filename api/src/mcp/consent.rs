//! Asking the person behind a client before something is changed. A model plans; only a person says yes.
//!
//! Since 2026-07-28 a server sends no requests: it answers that it needs something, and is called again with it. Before,
//! it asks over the session. A client that can do neither gets no change at all, and is told how a person can make it.
//! To say yes, the name of the plan or change is typed: an answer to another question, or a habit of accepting, is none.

use super::{offer::Asked, text::quoted};
use rmcp::{
    ErrorData,
    model::{CallToolResponse, InputResponses, ProtocolVersion},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// The name of the one question in `inputRequests`.
const KEY: &str = "confirm";

/// The one field of the form.
const FIELD: &str = "type_to_confirm";

/// How long a person may think, over a session. A plan is good for five minutes.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is about to happen, in lines.
    pub(crate) message: String,
    /// What must be typed: the name of what is about to happen.
    pub(crate) word: String,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Consent {
    /// Yes.
    Given,
    /// The client has to ask and call again.
    Ask(CallToolResponse),
}

/// Why there is no yes. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "nothing was changed: this client cannot ask its user, and only a person may confirm a change. A person can \
         make it: `linkerd-mcp plan -f FILE`, then `linkerd-mcp apply PLAN`"
    )]
    CannotAsk,
    #[error("nothing was changed: the user declined")]
    Declined,
    #[error("nothing was changed: the user closed the question without an answer")]
    Cancelled,
    #[error("nothing was changed: the user did not type {0}")]
    Mistyped(String),
    #[error("nothing was changed: the user did not answer in time")]
    Silent,
    #[error("nothing was changed: the client could not ask its user")]
    Failed,
}

/// Asks, or reads what was answered.
pub(crate) async fn consent(
    asked: &Asked,
    responses: Option<&InputResponses>,
    question: &Question,
) -> Result<Consent, Refused> {
    let stateless = asked.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28);
    if asked.client_capabilities().unwrap_or_default().elicitation.is_none() {
        return Err(Refused::CannotAsk);
    }
    if stateless {
        return match responses.and_then(|it| it.get(KEY)) {
            Some(answer) => said(answer, question).map(|()| Consent::Given),
            None => Ok(Consent::Ask(needed(question))),
        };
    }
    let params = typed(json!({
        "mode": "form",
        "message": question.message,
        "requestedSchema": schema(question),
    }));
    let answer = asked.peer.create_elicitation_with_timeout(params, Some(PATIENCE)).await.map_err(
        |error| match error {
            rmcp::service::ServiceError::Timeout { .. } => Refused::Silent,
            error => {
                tracing::debug!(%error, "the client could not ask its user");
                Refused::Failed
            }
        },
    )?;
    let answer = serde_json::to_value(answer).map_err(|_| Refused::Failed)?;
    said(&answer, question).map(|()| Consent::Given)
}

/// Reads one answer to a form. Nothing but the word, typed, is a yes.
fn said(answer: &Value, question: &Question) -> Result<(), Refused> {
    match answer["action"].as_str() {
        Some("accept") if answer["content"][FIELD].as_str().map(str::trim) == Some(&question.word) => Ok(()),
        Some("accept") => Err(Refused::Mistyped(quoted(&question.word).into_owned())),
        Some("decline") => Err(Refused::Declined),
        _ => Err(Refused::Cancelled),
    }
}

fn needed(question: &Question) -> CallToolResponse {
    let ask = json!({
        "method": "elicitation/create",
        "params": {"mode": "form", "message": question.message, "requestedSchema": schema(question)},
    });
    CallToolResponse::InputRequired(typed(json!({
        "resultType": "input_required",
        "inputRequests": {KEY: ask},
    })))
}

fn schema(question: &Question) -> Value {
    json!({
        "type": "object",
        "properties": {FIELD: {
            "type": "string",
            "title": format!("Type {} to confirm", question.word),
            "description": "Anything else changes nothing.",
        }},
        "required": [FIELD],
    })
}

/// Our own text in the form that rmcp has for it.
fn typed<T: DeserializeOwned>(ours: Value) -> T {
    serde_json::from_value(ours).expect("what is asked has the protocol's form")
}

impl From<Refused> for ErrorData {
    fn from(refused: Refused) -> Self {
        Self::invalid_params(refused.to_string(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question { message: "apply p-7?".to_owned(), word: "p-7".to_owned() }
    }

    #[test]
    fn only_the_word_typed_is_a_yes() {
        let yes = json!({"action": "accept", "content": {FIELD: " p-7 "}});
        assert_eq!(said(&yes, &question()), Ok(()));
        let mistyped = Err(Refused::Mistyped("p-7".to_owned()));
        for content in [
            json!({FIELD: "p-8"}),
            json!({FIELD: "yes"}),
            json!({FIELD: true}),
            json!({FIELD: ["p-7"]}),
            json!({"other": "p-7"}),
            json!({}),
            Value::Null,
            json!("p-7"),
        ] {
            let answer = json!({"action": "accept", "content": content});
            assert_eq!(said(&answer, &question()), mistyped, "{answer}");
        }
    }

    #[test]
    fn what_is_no_acceptance_is_a_no_whatever_was_typed() {
        let with = |action: Value| json!({"action": action, "content": {FIELD: "p-7"}});
        assert_eq!(said(&with("decline".into()), &question()), Err(Refused::Declined));
        for action in [json!("cancel"), json!("ACCEPT"), json!(true), Value::Null, json!("")] {
            assert_eq!(said(&with(action), &question()), Err(Refused::Cancelled));
        }
        for answer in [Value::Null, json!([]), json!("accept"), json!({"content": {FIELD: "p-7"}})] {
            assert_eq!(said(&answer, &question()), Err(Refused::Cancelled));
        }
    }

    #[test]
    fn the_client_is_told_what_to_ask() {
        let CallToolResponse::InputRequired(needed) = needed(&question()) else { panic!("no question") };
        let needed = serde_json::to_value(needed).unwrap();
        assert_eq!(needed["resultType"], "input_required");
        assert_eq!(needed["inputRequests"][KEY]["method"], "elicitation/create");
        assert_eq!(needed["inputRequests"][KEY]["params"]["message"], "apply p-7?");
        assert_eq!(needed["inputRequests"][KEY]["params"]["requestedSchema"]["required"], json!([FIELD]));
    }
}
