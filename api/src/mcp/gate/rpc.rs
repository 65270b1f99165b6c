//! Whether bytes are one JSON-RPC message, decided before they are read as one: JSON-RPC 2.0, MCP 2025-06-18 and later
//! (no batches), and no deeper than anything that means something here.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// Nothing that is asked here nests deeper than a dozen levels.
const MAX_DEPTH: usize = 64;

/// What the gate needs to know of a message.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// None for an answer of the client.
    pub(crate) method: Option<&'a str>,
}

/// Why it is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("the request is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the request nests deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("batches are not part of MCP any more: send one message a request")]
    Batch,
    #[error("the request is no JSON-RPC 2.0 message: {what}")]
    Message { what: &'static str, id: Value },
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Something, be it `null`: which is not the same as nothing.
fn some<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Checks one message.
///
/// # Errors
///
/// When it is none.
pub(crate) fn head(bytes: &[u8]) -> Result<Head<'_>, Invalid> {
    if depth(bytes) > MAX_DEPTH {
        return Err(Invalid::Depth);
    }
    if bytes.iter().find(|it| !it.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Invalid::Batch);
    }
    let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Invalid::Message { what: "it is no object", id: Value::Null },
        _ => Invalid::Json(error),
    })?;
    let id = match raw.id.map(RawValue::get) {
        None => None,
        Some(text) => match serde_json::from_str::<Value>(text) {
            Ok(id @ (Value::String(_) | Value::Number(_))) if !id.is_f64() => Some(id),
            _ => return Err(wrong("`id` must be text or a whole number", None)),
        },
    };
    if raw.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(wrong("`jsonrpc` must be \"2.0\"", id));
    }
    match raw.method.map(RawValue::get) {
        None if raw.result.is_some() != raw.error.is_some() => Ok(Head { method: None }),
        None => Err(wrong("`method` is missing", id)),
        Some(text) => match text.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            Some(method) => Ok(Head { method: Some(method) }),
            None => Err(wrong("`method` must be text", id)),
        },
    }
}

fn wrong(what: &'static str, id: Option<Value>) -> Invalid {
    Invalid::Message { what, id: id.unwrap_or_default() }
}

/// How deep brackets nest, without recursion and without believing that they match.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0usize, 0, false, false);
    for byte in bytes {
        if text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

// === impl Invalid ===

impl Invalid {
    /// The code of JSON-RPC.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Json(_) => -32_700,
            Self::Depth | Self::Batch | Self::Message { .. } => -32_600,
        }
    }

    /// The id to answer to, where there is one.
    pub(crate) fn id(&self) -> Value {
        match self {
            Self::Message { id, .. } => id.clone(),
            Self::Json(_) | Self::Depth | Self::Batch => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<i32> {
        head(text.as_bytes()).err().map(|it| it.code())
    }

    #[test]
    fn requests_notifications_and_answers_pass() {
        let request = head(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
        assert_eq!(request.method, Some("ping"));
        for text in [
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"a":[[[]]]}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        ] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_message_has_the_code_of_json_rpc() {
        for (text, expected) in [
            ("", -32_700),
            ("{", -32_700),
            ("nonsense", -32_700),
            ("1", -32_600),
            ("[]", -32_600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32_600),
            ("{}", -32_600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32_600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32_600),
        ] {
            assert_eq!(code(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(head(deep.as_bytes()), Err(Invalid::Depth)));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "[{".repeat(100));
        assert_eq!(code(&text), None, "brackets in text are text");
    }
}
