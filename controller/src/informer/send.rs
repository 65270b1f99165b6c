//! Sends a request to the API server, once, and sorts what went wrong.
//!
//! Not by kube's own functions for this: they drop the header `Retry-After`, which is all that a throttled client is
//! told when its request did not get as far as a handler.

use crate::kube_error::Failure;
use futures::{AsyncBufRead, AsyncReadExt as _, TryStreamExt as _};
use http::{HeaderMap, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use kube::client::Body;
use std::{io, pin::pin, time::Duration};

/// Largest page that is read. etcd takes objects up to 1.5 MiB, so only pages of giants come near it.
const MAX_PAGE: u64 = 128 * 1024 * 1024;

/// How much of a refusal is read: its message is at the start.
const MAX_REFUSAL: u64 = 64 * 1024;

/// Of a request that was never sent.
pub(super) const NOT_MADE: &str = "the request cannot be made";

/// The answer as it comes in, once its head says that it is one.
pub(super) async fn stream(
    client: &kube::Client,
    request: http::Request<Vec<u8>>,
) -> Result<impl AsyncBufRead + use<>, Failure> {
    let response = client.send(request.map(Body::from)).await?;
    let (status, wait) = (response.status(), asked_wait(response.headers()));
    let body = response.into_body().into_data_stream().map_err(io::Error::other).into_async_read();
    if status.is_success() {
        return Ok(body);
    }
    let mut said = Vec::new();
    // A refusal that breaks off is a refusal still.
    let _broken_off = pin!(body).take(MAX_REFUSAL).read_to_end(&mut said).await;
    Err(Failure::refused(status.as_u16(), wait, &said))
}

/// The whole answer, up to [`MAX_PAGE`].
pub(super) async fn body(client: &kube::Client, request: http::Request<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    let stream = stream(client, request).await?;
    let mut body = Vec::new();
    pin!(stream)
        .take(MAX_PAGE + 1)
        .read_to_end(&mut body)
        .await
        .map_err(|error| Failure::caused_by("the answer was cut off", &error))?;
    if body.len() as u64 > MAX_PAGE {
        return Err(Failure::unavailable(format!(
            "a page of the list is larger than {MAX_PAGE} bytes; ask for fewer objects per page"
        )));
    }
    Ok(body)
}

/// What `Retry-After` asks for, in whole seconds as Kubernetes writes it; zero without it.
fn asked_wait(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_wait_is_read_in_seconds_and_anything_else_is_none() {
        let wait = |value: &'static str| {
            asked_wait(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]))
        };
        assert_eq!(wait("7"), Duration::from_secs(7));
        assert_eq!(wait("Fri, 21 Nov 2026 07:28:00 GMT"), Duration::ZERO);
        assert_eq!(asked_wait(&HeaderMap::new()), Duration::ZERO);
    }
}
