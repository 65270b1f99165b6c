//! One request and its body, bounded in time and bytes.

use crate::{Endpoint, Error};
use futures::StreamExt as _;
use serde::Deserialize;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A body that came in whole and in order.
#[derive(Debug)]
pub struct Body {
    /// The text; what was no UTF-8 in it is replaced.
    pub text: String,
    _share: Share,
}

/// How many bytes of bodies are held at this moment, of all queries together: four answers that are each just within
/// the limit would be four times it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<AtomicUsize>);

/// One body's share of that, given back when dropped.
#[derive(Debug)]
struct Share {
    held: Held,
    bytes: usize,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Sends `request`; the answer must be 200 with text that, with what is held already, is at most `endpoint.max_bytes`.
pub(crate) async fn fetch(
    request: reqwest::RequestBuilder,
    endpoint: &Endpoint,
    held: &Held,
) -> Result<Body, Error> {
    let url = || endpoint.url.clone();
    let failed = |source: reqwest::Error| match source.is_timeout() {
        true => Error::Timeout { url: url(), seconds: endpoint.timeout.as_secs() },
        false => Error::Unreachable { url: url(), source: source.without_url() },
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    // A refusal is read only as far as its message could go.
    let limit = if status == 200 { endpoint.max_bytes } else { endpoint.max_bytes.min(64 << 10) };
    let mut bytes = Vec::new();
    let mut share = Share { held: held.clone(), bytes: 0 };
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| match source.is_timeout() {
            true => Error::Timeout { url: url(), seconds: endpoint.timeout.as_secs() },
            false => Error::Body { url: url(), source: source.without_url() },
        })?;
        if share.grow(chunk.len()) > endpoint.max_bytes || bytes.len() + chunk.len() > limit {
            if status == 200 {
                return Err(Error::TooLarge { url: url(), limit: endpoint.max_bytes });
            }
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    // Label values may hold anything; what is no UTF-8 is shown as such, not refused.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match status {
        200 => Ok(Body { text, _share: share }),
        401 | 403 => Err(Error::Forbidden { url: url(), status }),
        _ => Err(Error::Status { url: url(), status, message: message(&text) }),
    }
}

// === impl Share ===

impl Share {
    /// Takes more, and says how much is held by all.
    fn grow(&mut self, bytes: usize) -> usize {
        self.bytes += bytes;
        self.held.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Prometheus' own message, else the start of the body.
fn message(text: &str) -> String {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) => refusal.error,
        Err(_) => text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect(),
    }
}
