//! The door for the fuzz targets to the gRPC service without its listener. Not part of the API.

use crate::{
    change::{Changes, Options, metrics::ChangeMetrics},
    grpc::{MeshContext, NAME},
    metrics::ApiMetrics,
    replica::Replica,
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, BodyStream, Full};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tonic::{Code, body::Body};
use tower::Service as _;

/// Calls are made one after the other.
const WATCHERS: usize = 16;

/// What a call was answered with.
#[derive(Debug)]
pub struct Answered {
    /// The first messages, as they were sent: each with its five bytes of prefix.
    pub messages: Bytes,
    /// The status, when it came within those.
    pub status: Option<Code>,
}

/// The gRPC service of a replica.
#[derive(Debug, Clone)]
pub struct Service(MeshContext);

impl Service {
    /// The service that answers from `replica`. Watchers to whom nothing happens hear so at once.
    pub fn new(replica: Replica, metrics: ApiMetrics) -> Self {
        let changes = Changes::new(Options::default(), replica.clone(), ChangeMetrics::default())
            .expect("the default has no URL that could be wrong");
        Self(MeshContext {
            replica,
            authorization: crate::authorization::Authorization::machine(),
            metrics,
            linkerd: None,
            changes,
            bookmarks: Duration::ZERO,
            max_watchers: WATCHERS,
            places: Arc::new(Semaphore::new(WATCHERS)),
        })
    }

    /// Calls `method` with `body`, the bytes of an HTTP/2 request's data, and takes at most `frames` data frames of
    /// the answer.
    pub async fn call(&mut self, method: &str, body: Bytes, frames: usize) -> Answered {
        let request = Request::post(format!("/{NAME}/{method}"))
            .header(CONTENT_TYPE, "application/grpc")
            .body(Body::new(Full::new(body)))
            .expect("the names of methods can stand in a path");
        let Ok(response) = self.0.call(request).await;
        let (head, body) = response.into_parts();
        let mut answered = Answered {
            messages: Bytes::new(),
            status: tonic::Status::from_header_map(&head.headers).map(|status| status.code()),
        };
        let mut messages = Vec::new();
        let mut frames = std::pin::pin!(BodyStream::new(body.map_err(drop)).take(frames));
        while let Some(Ok(frame)) = frames.next().await {
            match frame.into_data() {
                Ok(data) => messages.extend_from_slice(&data),
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(tonic::Status::from_header_map);
                    answered.status = status.map(|status| status.code());
                }
            }
        }
        answered.messages = messages.into();
        answered
    }
}
