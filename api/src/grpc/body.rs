//! gRPC over HTTP/2 in its smallest form: one request message in, messages and a status in trailers out. Nothing is
//! compressed: answers are shared bytes, and compressing them per caller would cost more than sending them.

use crate::encode::message::Message;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited, StreamBody};
use std::{convert::Infallible, pin::Pin};
use tonic::{Status, body::Body};

/// Requests are a few names; nobody needs more.
const MAX_REQUEST: usize = 64 << 10;

/// What a method answers.
pub(crate) enum Reply {
    /// One message.
    One(Message),
    /// Messages until a status.
    Stream(Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>),
}

/// The one message of a unary or server-streaming request.
pub(crate) async fn read_request<M: prost::Message + Default>(request: Request<Body>) -> Result<M, Status> {
    read_request_within(request, MAX_REQUEST, Status::invalid_argument).await
}

/// The same of at most `most` bytes; a longer one is refused as `too_long` says, before more of it is read.
pub(crate) async fn read_request_within<M: prost::Message + Default>(
    request: Request<Body>,
    most: usize,
    too_long: fn(String) -> Status,
) -> Result<M, Status> {
    let is_grpc =
        request.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return Err(Status::invalid_argument(
            "this path speaks gRPC; JSON is at /v1/graph and /v1/callgraph",
        ));
    }
    let body = Limited::new(request.into_body(), most).collect().await;
    let body = body.map_err(|error| {
        too_long(format!("the request cannot be read, or is longer than {most} bytes: {error}"))
    })?;
    message(body.to_bytes())
}

fn message<M: prost::Message + Default>(mut bytes: Bytes) -> Result<M, Status> {
    let cut = || Status::invalid_argument("the request ends in the middle of its message");
    let compressed = bytes.try_get_u8().map_err(|_| cut())?;
    let len = bytes.try_get_u32().map_err(|_| cut())?;
    if compressed != 0 {
        return Err(Status::unimplemented("compressed requests are not understood; send them as they are"));
    }
    if bytes.len() != len as usize {
        return Err(cut());
    }
    M::decode(bytes)
        .map_err(|error| Status::invalid_argument(format!("the request is not valid protobuf: {error}")))
}

// === impl Reply ===

impl Reply {
    pub(crate) fn into_response(self) -> Response<Body> {
        let frames = match self {
            Self::One(message) => {
                stream::iter(pieces(message).chain([trailers(&Status::ok(""))])).left_stream()
            }
            Self::Stream(messages) => until_status(messages).right_stream(),
        };
        let body = Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)));
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

type Frame = hyper::body::Frame<Bytes>;

fn until_status(
    messages: impl Stream<Item = Result<Message, Status>> + Send,
) -> impl Stream<Item = Frame> + Send {
    messages
        .chain(stream::iter([Err(Status::ok(""))]))
        .scan(false, |ended, item| {
            let item = if *ended { None } else { Some(item) };
            *ended |= matches!(item, Some(Err(_)));
            std::future::ready(item)
        })
        .flat_map(|item| {
            stream::iter(match item {
                Ok(message) => pieces(message).collect::<Vec<_>>(),
                Err(status) => vec![trailers(&status)],
            })
        })
}

fn pieces(message: Message) -> impl Iterator<Item = Frame> {
    [message.head, message.shared].into_iter().filter(|bytes| !bytes.is_empty()).map(Frame::data)
}

fn trailers(status: &Status) -> Frame {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        // Only a message that is no header value can do that, and then the code alone must do.
        headers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    Frame::trailers(headers)
}
