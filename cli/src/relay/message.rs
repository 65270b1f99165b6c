//! What the relay must know of a message: whether it wants an answer, of which era of the protocol it is, and which
//! headers HTTP wants for it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json, value::RawValue};

pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The key that makes a request one of a revision without sessions.
const PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";

/// Errors of the relay's own: outside of what JSON-RPC and MCP have for themselves.
pub(crate) const UNREACHABLE: i32 = -31_001;
pub(crate) const BUSY: i32 = -31_002;
pub(crate) const INVALID: i32 = -32_600;
const PARSE: i32 = -32_700;

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// It wants an answer.
    Request {
        id: Value,
        method: String,
        /// The revision it names: then it stands for itself and needs no session.
        version: Option<String>,
        /// Of the tool, prompt, resource or task.
        name: Option<String>,
    },
    /// It wants none. `cancels` is the request that is not waited for any more.
    Notification { method: String, cancels: Option<Value> },
    /// An answer to a request of the server.
    Answer,
}

/// Not a message; the text is the error to answer with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

/// Reads a line.
///
/// # Errors
/// When it is no message; what to answer.
pub(crate) fn read(line: &[u8]) -> Result<Message, Refusal> {
    let message: Value = serde_json::from_slice(line).map_err(|error| {
        Refusal(error_line(&Value::Null, PARSE, &format!("the line is not JSON: {error}")))
    })?;
    let id = message.get("id").filter(|it| it.is_string() || it.is_i64() || it.is_u64()).cloned();
    let refuse = |what: &str| Refusal(error_line(id.as_ref().unwrap_or(&Value::Null), INVALID, what));
    if message.is_array() {
        return Err(refuse("batches are not part of MCP any more: write one message a line"));
    }
    if !message.is_object() {
        return Err(refuse("a message is an object"));
    }
    let params = message.get("params");
    let text = |name: &str| params.and_then(|it| it.get(name)).and_then(Value::as_str).map(str::to_owned);
    match (message.get("method"), id.clone()) {
        (Some(Value::String(method)), Some(id)) => {
            let name = match method.as_str() {
                "tools/call" | "prompts/get" => text("name"),
                "resources/read" | "resources/subscribe" | "resources/unsubscribe" => text("uri"),
                "tasks/get" | "tasks/update" | "tasks/cancel" => text("taskId"),
                _ => None,
            };
            let version = params.and_then(|it| it.get("_meta")).and_then(|it| it.get(PROTOCOL));
            let version = version.and_then(Value::as_str).map(str::to_owned);
            Ok(Message::Request { id, method: method.clone(), version, name })
        }
        (Some(Value::String(_)), None) if message.get("id").is_some() => {
            Err(refuse("`id` must be text or a whole number"))
        }
        (Some(Value::String(method)), None) => {
            let cancels = match method.as_str() {
                "notifications/cancelled" => params.and_then(|it| it.get("requestId")).cloned(),
                _ => None,
            };
            Ok(Message::Notification { method: method.clone(), cancels })
        }
        (None, Some(_)) if message.get("result").is_some() || message.get("error").is_some() => {
            Ok(Message::Answer)
        }
        _ => Err(refuse("`method` is missing or no text")),
    }
}

/// What goes with every message.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers
}

/// What goes with a request that stands for itself: the same as in its body.
pub(crate) fn own_headers(version: &str, method: &str, name: Option<&str>) -> HeaderMap {
    let mut headers = headers();
    headers.insert(VERSION, value(version));
    headers.insert(METHOD, value(method));
    if let Some(name) = name {
        headers.insert(NAME, value(name));
    }
    headers
}

/// Text as the value of a header: as it is, or in the protocol's own base64 form where HTTP would not carry it.
fn value(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|it| (0x20..=0x7e).contains(&it))
        && text.trim_matches([' ', '\t']) == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    let encoded = || format!("=?base64?{}?=", STANDARD.encode(text));
    let text = if plain { text.to_owned() } else { encoded() };
    HeaderValue::try_from(text).expect("printable ASCII is a header's value")
}

/// The error that answers a request.
pub(crate) fn error_line(id: &Value, code: i32, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}

/// JSON on one line; none when it is no JSON.
pub(crate) fn one_line(json: &[u8]) -> Option<String> {
    let raw: &RawValue = serde_json::from_slice(json).ok()?;
    if raw.get().contains(['\n', '\r']) {
        let value: Value = serde_json::from_str(raw.get()).ok()?;
        return Some(value.to_string());
    }
    Some(raw.get().to_owned())
}

/// True when the line is the answer to the request.
pub(crate) fn answers(line: &str, id: &Value) -> bool {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        id: Option<Value>,
        #[serde(borrow)]
        method: Option<&'a RawValue>,
    }
    serde_json::from_str::<Head<'_>>(line).is_ok_and(|it| it.method.is_none() && it.id.as_ref() == Some(id))
}

/// An error that was sent without an id, as it is before a request is read, with the id of the request.
pub(crate) fn with_id(body: &[u8], id: &Value) -> Option<String> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    value.get("error")?.get("code")?;
    value.as_object_mut()?.insert("id".to_owned(), id.clone());
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: Value, method: &str, version: Option<&str>, name: Option<&str>) -> Message {
        let (version, name) = (version.map(str::to_owned), name.map(str::to_owned));
        Message::Request { id, method: method.to_owned(), version, name }
    }

    #[test]
    fn messages_are_told_apart() {
        let read = |text: &str| read(text.as_bytes()).unwrap();
        let modern = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","_meta":{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(read(modern), request("a".into(), "tools/call", Some("2026-07-28"), Some("t")));
        let reading = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"mesh://graph"}}"#;
        assert_eq!(read(reading), request(1.into(), "resources/read", None, Some("mesh://graph")));
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
        let method = "notifications/cancelled".to_owned();
        assert_eq!(read(cancelled), Message::Notification { method, cancels: Some(7.into()) });
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Message::Answer);
    }

    #[test]
    fn what_is_no_message_is_answered_with_an_error_and_its_id_where_it_has_one() {
        for (text, code, id) in [
            ("{", -32_700, Value::Null),
            ("[]", -32_600, Value::Null),
            ("7", -32_600, Value::Null),
            (r#"{"id":3}"#, -32_600, 3.into()),
            (r#"{"id":1.5,"method":"ping"}"#, -32_600, Value::Null),
            (r#"{"id":3,"method":7}"#, -32_600, 3.into()),
        ] {
            let Refusal(line) = read(text.as_bytes()).unwrap_err();
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((answer["error"]["code"].clone(), answer["id"].clone()), (code.into(), id), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_name_that_http_does_not_carry_goes_as_base64() {
        for (text, expected) in [
            ("find_edges", "find_edges"),
            ("two words", "two words"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("mesh://häuser", "=?base64?bWVzaDovL2jDpHVzZXI=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            let headers = own_headers("2026-07-28", "tools/call", Some(text));
            assert_eq!(headers["mcp-name"], expected, "{text:?}");
        }
    }

    #[test]
    fn only_json_becomes_a_line_and_it_is_one() {
        assert_eq!(one_line(b"{\n \"a\": \"b\\nc\"\r\n}").as_deref(), Some(r#"{"a":"b\nc"}"#));
        assert_eq!(one_line(b"not found"), None);
        assert!(answers(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &1.into()));
        assert!(!answers(r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create"}"#, &1.into()));
        assert!(!answers(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, &1.into()));
        let refused = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-31000,"message":"no"}}"#;
        assert!(answers(&with_id(refused, &5.into()).unwrap(), &5.into()));
    }
}
