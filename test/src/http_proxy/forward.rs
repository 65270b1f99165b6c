//! Hands a request on and its answer back, and makes up answers.

use super::{Body, HungUp, Interrupt, Shared};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use http::{
    HeaderMap, Method, Request, Response,
    header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use std::{io, sync::Arc};
use tokio::sync::mpsc;

/// Whom the proxy stands before.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    url: String,
    client: reqwest::Client,
}

/// An open watch is listed as long as this lives.
#[derive(Debug)]
pub(super) struct Entry {
    shared: Arc<Shared>,
    id: u64,
}

/// A watch on its way through.
struct Watch {
    pieces: BoxStream<'static, reqwest::Result<Bytes>>,
    interrupts: mpsc::UnboundedReceiver<Interrupt>,
    stalled: bool,
    _entry: Entry,
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(url: &str, ca: Option<&str>) -> reqwest::Result<Self> {
        crate::certs::use_ring();
        let mut builder = reqwest::Client::builder().no_gzip().http1_only().no_proxy();
        if let Some(pem) = ca {
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes())?]);
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client: builder.build()? })
    }

    async fn ask(&self, asked: Asked) -> Result<reqwest::Response, HungUp> {
        let Asked { method, path, headers, body } = asked;
        let request = self.client.request(method, format!("{}{path}", self.url)).headers(headers).body(body);
        // Nobody there looks the same through us: no answer.
        request.send().await.map_err(|_| HungUp)
    }
}

struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

// === impl Asked ===

impl Asked {
    async fn read(request: Request<Incoming>, path: &str) -> Result<Self, HungUp> {
        let (mut head, body) = request.into_parts();
        // These are between two neighbours. Without compression an answer can be rewritten.
        for name in [HOST, CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, ACCEPT_ENCODING] {
            head.headers.remove(name);
        }
        let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
        Ok(Self { method: head.method, path: path.to_owned(), headers: head.headers, body })
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.watches.lock().remove(&self.id);
    }
}

// === impl Watch ===

impl Watch {
    /// The next piece; an error breaks the connection.
    async fn next(mut self) -> Option<(io::Result<Frame<Bytes>>, Self)> {
        loop {
            let piece = tokio::select! {
                biased;
                interrupt = self.interrupts.recv() => match interrupt? {
                    Interrupt::End => return None,
                    Interrupt::Cut => Err(io::Error::other("the proxy cuts the watch")),
                    Interrupt::Say(line) => Ok(line.into()),
                    Interrupt::Stall => {
                        self.stalled = true;
                        continue;
                    }
                },
                piece = self.pieces.next(), if !self.stalled => piece?.map_err(io::Error::other),
            };
            return Some((piece.map(Frame::data), self));
        }
    }
}

/// The answer of whom the proxy stands before.
pub(super) async fn hand_on(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    path: &str,
) -> Result<Response<Body>, HungUp> {
    let upstream = shared.upstream.lock().clone();
    let answer = upstream.ask(Asked::read(request, path).await?).await?;
    let head = head(&answer);
    let pieces = answer.bytes_stream().boxed();
    let body = if path.contains("watch=true") {
        let (entry, interrupts) = shared.open_watch(path);
        let watch = Watch { pieces, interrupts, stalled: false, _entry: entry };
        StreamBody::new(stream::unfold(watch, Watch::next)).boxed_unsync()
    } else {
        StreamBody::new(pieces.map_ok(Frame::data).map_err(io::Error::other)).boxed_unsync()
    };
    Ok(head.map(|()| body))
}

/// That answer with another text.
pub(super) async fn rewritten(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    path: &str,
    rewrite: fn(&str) -> String,
) -> Result<Response<Body>, HungUp> {
    let upstream = shared.upstream.lock().clone();
    let answer = upstream.ask(Asked::read(request, path).await?).await?;
    let head = head(&answer);
    let text = answer.text().await.map_err(|_| HungUp)?;
    Ok(head.map(|()| full(rewrite(&text).into())))
}

/// An answer of our own.
pub(super) fn own(status: u16, headers: &[(&'static str, String)], body: Bytes) -> Response<Body> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, value);
    }
    answer.body(full(body)).expect("the test gave a valid status and valid headers")
}

/// An answer that does not end.
pub(super) fn endless(piece: Bytes) -> Response<Body> {
    let pieces = stream::repeat_with(move || Ok(Frame::data(piece.clone())));
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Status and headers, without those between two neighbours.
fn head(answer: &reqwest::Response) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = answer.status();
    *head.headers_mut() = answer.headers().clone();
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        head.headers_mut().remove(name);
    }
    head
}
