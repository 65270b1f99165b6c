//! A model's client of the MCP endpoint, on the local listener with a ServiceAccount's token, in both eras of the protocol.

use super::{
    bench::{AUDIENCE, Bench, LIMIT},
    caller::token,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;

const STATELESS: &str = "2026-07-28";
const SESSIONS: &str = "2025-11-25";

/// One who asks over MCP.
pub(crate) struct Model {
    url: String,
    token: String,
    http: reqwest::Client,
    ids: AtomicU64,
}

/// A session of the era that has them.
pub(crate) struct Session<'a> {
    pub(crate) model: &'a Model,
    pub(crate) id: String,
}

/// What comes over a stream, one message after the other.
pub(crate) struct Events {
    response: reqwest::Response,
    text: String,
}

/// A question for the person at the client: its id, and what it says.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: Value,
    pub(crate) params: Value,
}

/// What is sent with a call besides.
#[derive(Default)]
pub(crate) struct With<'a> {
    /// Whether the client says that it can ask its user.
    pub(crate) mute: bool,
    /// What the user has answered.
    pub(crate) said: Option<Value>,
    /// In a header.
    pub(crate) traceparent: Option<&'a str>,
    /// In `_meta`.
    pub(crate) own_traceparent: Option<&'a str>,
}

// === impl Model ===

impl Model {
    pub(crate) async fn new(bench: &Bench, name: &str) -> Self {
        let token = token(bench, name, &[AUDIENCE]).await;
        let url = format!("http://{}/mcp", bench.served.at.local);
        Self { url, token, http: reqwest::Client::new(), ids: AtomicU64::new(1) }
    }

    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string())
    }

    fn request(&self, method: &str, params: &Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// Calls a tool without a session; gives the result.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value, with: With<'_>) -> Value {
        let capabilities = if with.mute { json!({}) } else { json!({"elicitation": {}}) };
        let mut params = json!({"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        }});
        if let Some(traceparent) = with.own_traceparent {
            params["_meta"]["traceparent"] = traceparent.into();
        }
        if let Some(said) = with.said {
            params["inputResponses"] = json!({"confirm": said});
        }
        let mut request = self
            .post(&self.request("tools/call", &params))
            .header("mcp-protocol-version", STATELESS)
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool);
        if let Some(traceparent) = with.traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = timeout(LIMIT, request.send()).await.unwrap().unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let data = text.lines().rev().find_map(|it| it.strip_prefix("data: ")).unwrap_or(&text);
        let answer: Value =
            serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {status} {text}"));
        assert!(answer["result"].is_object(), "{status} {text}");
        answer["result"].clone()
    }

    /// Opens a session as a client that can ask its user, or cannot.
    pub(crate) async fn open(&self, asks: bool) -> Session<'_> {
        let capabilities = if asks { json!({"elicitation": {}}) } else { json!({}) };
        let params = json!({
            "protocolVersion": SESSIONS,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        });
        let opened = self.post(&self.request("initialize", &params)).send().await.unwrap();
        assert_eq!(opened.status(), 200);
        let id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let mut events = Events { response: opened, text: String::new() };
        let said = events.next().await;
        assert_eq!(said["result"]["protocolVersion"], SESSIONS, "{said}");
        let session = Session { model: self, id };
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(session.send(&told).send().await.unwrap().status(), 202);
        session
    }

    /// Somebody's session in the hands of this one.
    pub(crate) fn with(&self, session: &Session<'_>) -> Session<'_> {
        Session { model: self, id: session.id.clone() }
    }
}

// === impl Session ===

impl Session<'_> {
    fn send(&self, body: &Value) -> reqwest::RequestBuilder {
        self.model.post(body).header("mcp-session-id", &self.id).header("mcp-protocol-version", SESSIONS)
    }

    /// Calls a tool: the status, and what then comes.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: &Value,
        traceparent: Option<&str>,
    ) -> (u16, Events) {
        let body = self.model.request("tools/call", &json!({"name": tool, "arguments": arguments}));
        let mut request = self.send(&body);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = timeout(LIMIT, request.send()).await.unwrap().unwrap();
        (response.status().as_u16(), Events { response, text: String::new() })
    }

    /// Calls a tool that asks nothing; gives the result.
    pub(crate) async fn result(&self, tool: &str, arguments: &Value) -> Value {
        let (status, mut events) = self.call(tool, arguments, None).await;
        assert_eq!(status, 200);
        events.result().await
    }

    /// Answers a question; gives the status of that.
    pub(crate) async fn answer(&self, question: &Question, said: &Value) -> u16 {
        let body = json!({"jsonrpc": "2.0", "id": question.id, "result": said});
        timeout(LIMIT, self.send(&body).send()).await.unwrap().unwrap().status().as_u16()
    }

    /// Calls a tool that asks, and answers what `said` makes of the word to type.
    pub(crate) async fn confirmed(
        &self,
        tool: &str,
        arguments: &Value,
        said: impl FnOnce(&str) -> Value,
    ) -> Value {
        let (status, mut events) = self.call(tool, arguments, None).await;
        assert_eq!(status, 200);
        let question = events.question().await;
        let said = said(&word(&question.params));
        assert_eq!(self.answer(&question, &said).await, 202);
        events.result().await
    }
}

// === impl Events ===

impl Events {
    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data: String = event.lines().filter_map(|it| it.strip_prefix("data:")).collect();
                let message = serde_json::from_str(data.trim()).ok();
                self.text = rest.to_owned();
                match message {
                    Some(message) => return message,
                    // Something to keep the stream open, or to say where it is.
                    None => continue,
                }
            }
            match timeout(LIMIT, self.response.chunk()).await.expect("the stream says something").unwrap() {
                Some(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                None => return serde_json::from_str(&self.text).expect("a message, or a stream of them"),
            }
        }
    }

    /// A question for the person.
    pub(crate) async fn question(&mut self) -> Question {
        let message = self.next().await;
        assert_eq!(message["method"], "elicitation/create", "{message}");
        Question { id: message["id"].clone(), params: message["params"].clone() }
    }

    /// The result of the call.
    pub(crate) async fn result(&mut self) -> Value {
        let message = self.next().await;
        assert!(message["result"].is_object(), "{message}");
        message["result"].clone()
    }
}

/// What has to be typed, as the person is told at the end of the question.
pub(crate) fn word(params: &Value) -> String {
    let message = params["message"].as_str().unwrap();
    let (_, rest) = message.rsplit_once("\nType ").unwrap_or_else(|| panic!("{message}"));
    rest.strip_suffix(" to do it.").unwrap().to_owned()
}

/// A person who types this and says yes.
pub(crate) fn typed(word: &str) -> Value {
    json!({"action": "accept", "content": {"type_to_confirm": word}})
}

/// All that is no yes, whatever the word is.
pub(crate) fn noes(word: &str) -> Vec<(&'static str, Value, &'static str)> {
    let with = |action: &str| json!({"action": action, "content": {"type_to_confirm": word}});
    vec![
        ("declined", with("decline"), "the user declined"),
        ("cancelled", with("cancel"), "closed the question without an answer"),
        ("mistyped", typed("yes"), "the user did not type"),
        ("nearly", typed(&word[..word.len() - 1]), "the user did not type"),
        ("empty", json!({"action": "accept", "content": {}}), "the user did not type"),
        ("bare", json!({"action": "accept"}), "the user did not type"),
    ]
}

/// The text of a result, which is one of failure or is not.
pub(crate) fn text(result: &Value, failed: bool) -> &str {
    assert_eq!(result["isError"].as_bool().unwrap_or_default(), failed, "{result}");
    result["content"][0]["text"].as_str().unwrap()
}
