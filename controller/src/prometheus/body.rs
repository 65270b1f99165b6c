//! One request and its body, bounded in time and bytes.

use super::{Error, Options};
use futures::StreamExt as _;
use serde::Deserialize;

/// A body that came in whole and in order.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Sends `request`; the answer must be 200 with at most `options.max_bytes` of text.
pub(super) async fn fetch(request: reqwest::RequestBuilder, options: &Options) -> Result<Body, Error> {
    let url = || options.url.clone();
    let failed = |source: reqwest::Error| match source.is_timeout() {
        true => Error::Timeout { url: url(), seconds: options.timeout.as_secs() },
        false => Error::Unreachable { url: url(), source: source.without_url() },
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    // A refusal is read only as far as its message could go.
    let limit = if status == 200 { options.max_bytes } else { options.max_bytes.min(64 << 10) };
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| match source.is_timeout() {
            true => Error::Timeout { url: url(), seconds: options.timeout.as_secs() },
            false => Error::Body { url: url(), source: source.without_url() },
        })?;
        if bytes.len() + chunk.len() > limit {
            if status == 200 {
                return Err(Error::TooLarge { url: url(), limit });
            }
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    // Label values may hold anything; what is no UTF-8 is shown as such, not refused.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match status {
        200 => Ok(Body { text }),
        401 | 403 => Err(Error::Forbidden { url: url(), status }),
        _ => Err(Error::Status { url: url(), status, message: message(&text) }),
    }
}

/// Prometheus' own message, else the start of the body.
fn message(text: &str) -> String {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) => refusal.error,
        Err(_) => text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect(),
    }
}
