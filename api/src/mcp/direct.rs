//! The short way of `tools/call`: what nearly every request of 2026-07-28 is, answered without rmcp.
//!
//! rmcp reads a request into values of its own twice, starts four tasks for it and makes the answer three times; that
//! costs several times what a tool does. Here the request is read once, where it lies, and the answer written once.
//!
//! Only what is plain goes this way ([`read`]): the headers say what the body says, and everything in the body is known
//! here. All else (other revisions, sessions, progress, retries with input, whatever is wrong) is rmcp's, so that there is
//! one place that refuses. Both ways lead through [`Server::tool`](super::server::Server::tool), which decides and counts.

use super::{
    gate::Caller,
    server::Server,
    tool::{self, Answer, ToolError},
};
use crate::authorization::Asker;
use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use rmcp::{
    ErrorData,
    model::{ClientCapabilities, JsonObject},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The one method that may go this way.
pub(crate) const METHOD: &str = "tools/call";
const REVISION: &str = "2026-07-28";

/// A call as it was asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// As it is to be repeated.
    id: &'a RawValue,
    pub(super) name: Cow<'a, str>,
    arguments: Option<JsonObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Option<JsonObject>,
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

/// What every client says with every request, and nothing that asks for more than an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Cow<'a, str>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    _capabilities: ClientCapabilities,
    #[serde(default, rename = "io.modelcontextprotocol/clientInfo")]
    _client: Option<IgnoredAny>,
}

/// The call that a request is, if it is a plain one.
pub(crate) fn read<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<Question<'a>> {
    let plain = only(headers, "mcp-protocol-version") == Some(REVISION)
        && only(headers, "mcp-method") == Some(METHOD)
        && !headers.contains_key(super::gate::SESSION)
        && only(headers, "content-type") == Some("application/json")
        && only(headers, "accept").is_some_and(accepts_both);
    if !plain {
        return None;
    }
    let Request { jsonrpc, id, method, params } = serde_json::from_slice(body).ok()?;
    let Params { name, arguments, meta } = params;
    let same = jsonrpc == "2.0" && method == METHOD && meta.revision == REVISION;
    // Names that a header would have to encode are none of our tools.
    if !same || only(headers, "mcp-name") != Some(&name) || !is_id(id) {
        return None;
    }
    Some(Question { id, name, arguments })
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Both forms of answers, as MCP wants it, without weights.
fn accepts_both(accept: &str) -> bool {
    let has = |wanted: &str| accept.split(',').any(|it| it.trim() == wanted);
    has("application/json") && has("text/event-stream") && !accept.contains(';')
}

/// Text, or a whole number that is written as one.
fn is_id(id: &RawValue) -> bool {
    id.get().starts_with('"') || id.get().parse::<i64>().is_ok()
}

// === the answer ===

#[derive(Serialize)]
struct Reply<'a, T> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: T,
}

#[derive(Serialize)]
struct Failed<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    error: &'a ErrorData,
}

/// As rmcp writes a `CallToolResult`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    result_type: &'static str,
    content: [Text<'a>; 1],
    structured_content: Box<RawValue>,
    is_error: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    r#type: &'static str,
    text: &'a str,
}

// === impl Question ===

impl Question<'_> {
    /// Asks, and gives what the client is answered. A client that goes away drops this, and the call with it.
    pub(crate) async fn ask(self, server: &Server, asker: &Asker, caller: &Caller) -> Response<Body> {
        let Self { id, name, arguments } = self;
        let answer = server.tool(&name, arguments, asker, caller, None, std::future::pending()).await;
        // Those that ask a person go the other way.
        reply(id, &answer.map(|answered| answered.and_then(tool::Reply::answer)))
    }
}

fn reply(id: &RawValue, answer: &Result<Result<Answer, ToolError>, ErrorData>) -> Response<Body> {
    let jsonrpc = "2.0";
    match answer {
        Ok(Ok(Answer { structured, text })) => {
            let content = [Text { r#type: "text", text }];
            let structured_content = structured.json();
            let result = Outcome { result_type: "complete", content, structured_content, is_error: false };
            json(&Reply { jsonrpc, id, result })
        }
        Ok(Err(error)) => json(&Reply { jsonrpc, id, result: error.result() }),
        Err(error) => json(&Failed { jsonrpc, id, error }),
    }
}

fn json(message: &impl Serialize) -> Response<Body> {
    // Most answers fit.
    let mut body = BytesMut::with_capacity(8 << 10).writer();
    serde_json::to_writer(&mut body, message).expect("answers have text keys");
    let body: Bytes = body.into_inner().freeze();
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn headers(changed: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", REVISION),
            ("mcp-method", METHOD),
            ("mcp-name", "find_edges"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changed {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn body(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut body = json!({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": {
            "name": "find_edges",
            "arguments": {"limit": 1},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            },
        }});
        change(&mut body);
        body.to_string().into_bytes()
    }

    #[test]
    fn a_plain_call_is_read_where_it_lies() {
        let body = body(|_| {});
        let question = read(&headers(&[]), &body).unwrap();
        assert_eq!((question.id.get(), &*question.name), ("1", "find_edges"));
        assert_eq!(question.arguments, json!({"limit": 1}).as_object().cloned());
    }

    #[test]
    fn whatever_is_not_plain_is_left_to_rmcp() {
        for changed in [
            ("content-type", "text/plain"),
            ("accept", "application/json"),
            ("accept", "application/json, text/event-stream;q=0"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/list"),
            ("mcp-name", "get_graph"),
            ("mcp-session-id", "0123"),
        ] {
            assert!(read(&headers(&[changed]), &body(|_| {})).is_none(), "{changed:?}");
        }
        let mut twice = headers(&[]);
        twice.append("mcp-name", HeaderValue::from_static("find_edges"));
        assert!(read(&twice, &body(|_| {})).is_none());

        type Change = fn(&mut Value);
        let changes: [(&str, Change); 10] = [
            ("a notification", |it| drop(it.as_object_mut().unwrap().remove("id"))),
            ("an id of another kind", |it| it["id"] = json!(1.5)),
            ("another method", |it| it["method"] = "tools/list".into()),
            ("another tool", |it| it["params"]["name"] = "get_graph".into()),
            ("arguments that are none", |it| it["params"]["arguments"] = json!([1])),
            ("an answer to a question", |it| it["params"]["inputResponses"] = json!({})),
            ("a wish for progress", |it| it["params"]["_meta"]["progressToken"] = 1.into()),
            ("another revision", |it| {
                it["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2025-11-25".into();
            }),
            ("capabilities that are none", |it| {
                it["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = 7.into();
            }),
            ("no capabilities", |it| {
                let meta = it["params"]["_meta"].as_object_mut().unwrap();
                meta.remove("io.modelcontextprotocol/clientCapabilities");
            }),
        ];
        for (what, change) in changes {
            assert!(read(&headers(&[]), &body(change)).is_none(), "{what}");
        }
        assert!(read(&headers(&[]), b"{").is_none());
    }
}
