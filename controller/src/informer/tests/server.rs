//! An API server that the test plays itself: each request waits until the test answers it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use std::{convert::Infallible, io};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

type Answer = http::Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The requests that have been made.
pub(super) struct Server(mpsc::Receiver<Asked>);

/// A request that waits for its answer.
pub(super) struct Asked {
    /// Path and query.
    pub(super) uri: String,
    /// The header `Accept`.
    pub(super) accept: String,
    reply: oneshot::Sender<Answer>,
}

/// The open end of a watch; dropping it ends the watch as a server does.
pub(super) struct Events(mpsc::Sender<Result<Frame<Bytes>, io::Error>>);

/// The server and a client of it.
pub(super) fn server() -> (Server, kube::Client) {
    let (asked, requests) = mpsc::channel(64);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let asked = asked.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let accept = request.headers().get(http::header::ACCEPT);
            let request = Asked {
                uri: request.uri().to_string(),
                accept: accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default().to_owned(),
                reply,
            };
            let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
            asked.send(request).await.map_err(|_| refused())?;
            answer.await.map_err(|_| refused())
        }
    });
    (Server(requests), kube::Client::new(service, "default"))
}

/// A line of a watch.
pub(super) fn event(name: &str, object: &Value) -> Value {
    json!({"type": name, "object": object})
}

/// A page of a list, the last one unless `next` says how to go on.
pub(super) fn page(version: &str, next: &str, items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": version, "continue": next}, "items": items})
}

// === impl Server ===

impl Server {
    /// The next request; its path and query must be `uri`.
    pub(super) async fn asked(&mut self, uri: &str) -> Asked {
        let asked = self.0.recv().await.expect("the client lives");
        assert_eq!(asked.uri, uri);
        asked
    }

    /// The next request, whatever it is.
    pub(super) async fn any(&mut self) -> Option<Asked> {
        self.0.recv().await
    }
}

// === impl Asked ===

impl Asked {
    pub(super) fn json(self, body: &Value) {
        self.answer(200, body.to_string());
    }

    /// Refuses with a Status.
    pub(super) fn refuse(self, code: u16, message: &str) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Reason", "code": code});
        self.answer(code, status.to_string());
    }

    pub(super) fn answer(self, code: u16, body: String) {
        let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {}).boxed_unsync();
        self.reply(code, body);
    }

    /// Cuts the connection.
    pub(super) fn cut(self) {
        drop(self.reply);
    }

    /// Begins a watch.
    pub(super) fn events(self) -> Events {
        let (events, frames) = mpsc::channel(16);
        self.reply(200, StreamBody::new(ReceiverStream::new(frames)).boxed_unsync());
        Events(events)
    }

    fn reply(self, code: u16, body: UnsyncBoxBody<Bytes, io::Error>) {
        let answer = http::Response::builder().status(code).body(body).expect("a valid answer");
        // The client may have given up waiting.
        let _ = self.reply.send(answer);
    }
}

// === impl Events ===

impl Events {
    pub(super) async fn send(&self, event: &Value) {
        let frame = Frame::data(Bytes::from(format!("{event}\n")));
        self.0.send(Ok(frame)).await.expect("the watch is read");
    }

    /// Ends the watch as a broken connection does.
    pub(super) async fn cut(self) {
        self.0.send(Err(io::Error::other("connection reset"))).await.expect("the watch is read");
    }
}
