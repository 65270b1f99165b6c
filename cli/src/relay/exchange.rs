//! One message over HTTP, and what comes of it: one JSON document or a stream of events, as lines.

use super::{
    event::{Events, TooLarge},
    message,
};
use crate::{
    args::Globals,
    client,
    client::way::{self, Ahead},
    output::text::clean_line,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longer than a tool may take, and than a way through a cluster takes to find.
const BEGIN: Duration = Duration::from_secs(60);
/// The API writes a comment to a silent stream every 15 s.
const IDLE: Duration = Duration::from_secs(60);
/// The most bytes of one answer.
const MAX: usize = super::event::MAX;
/// The most characters that are repeated of an answer that is no JSON.
const ECHO: usize = 300;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// No connection, or one that broke.
    #[error("{0}")]
    Connection(String),
    /// There is nobody who knows the session.
    #[error("the API does not know the session any more; connect anew")]
    Session,
    /// An answer of HTTP, not of MCP.
    #[error("the API answered {status}: {said}")]
    Status { status: StatusCode, said: String },
    /// The stream ended, or the answer was empty.
    #[error("the API ended its answer too early; it may be restarting: ask again")]
    Cut,
    #[error("the API did not answer within {} seconds", BEGIN.as_secs())]
    Slow,
    #[error("the answer of the API is larger than {MAX} bytes")]
    TooLarge,
    #[error(transparent)]
    Event(#[from] TooLarge),
    /// It is not as it was when the session began.
    #[error("the API was replaced by one that speaks another revision ({0}); connect anew")]
    Replaced(String),
    /// Whoever reads stdout has gone.
    #[error("nobody reads the answers any more")]
    Unread,
}

/// The client, whose type would name the connector's.
type Send = Box<dyn Fn(Request<Full<Bytes>>) -> Sent + std::marker::Send + Sync>;
type Sent = BoxFuture<'static, Result<Response<Incoming>, legacy::Error>>;

/// Connections to the API.
pub(crate) struct Http {
    send: Send,
    url: http::Uri,
    ahead: Arc<Ahead>,
}

/// What a POST came to.
pub(crate) enum Reply {
    /// It was taken, and there is nothing to say.
    Accepted,
    /// One line.
    Line(String),
    /// Lines to come.
    Stream(Stream),
}

/// Lines of a stream of events.
pub(crate) struct Stream {
    body: Incoming,
    pub(crate) events: Events,
    ready: std::collections::VecDeque<Vec<u8>>,
}

// === impl Http ===

impl Http {
    /// Connections that are made when they are needed, along the way that the flags lead.
    pub(crate) fn new(globals: &Globals) -> Self {
        let ahead = Arc::new(Ahead::new(globals.clone()));
        // One connection for everything: a port-forward takes long to open, and HTTP/2 shares it.
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(way::connector(ahead.clone()));
        // The API answers to the names of this machine only. Behind a forwarded port it is that too.
        let authority = globals.api_addr.as_ref().map_or_else(|| "localhost".to_owned(), ToString::to_string);
        let url = format!("http://{authority}/mcp").parse().expect("an address makes a URL");
        Self { send: Box::new(move |request| Box::pin(client.request(request))), url, ahead }
    }

    /// Sends one, and waits until its answer begins.
    pub(crate) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Trouble> {
        let authorization = timeout(BEGIN, self.ahead.authorization()).await.map_err(|_| Trouble::Slow)?;
        let authorization = authorization.map_err(|error| Trouble::Connection(unreachable(&error)))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        if let Some(token) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let sent = timeout(BEGIN, (self.send)(request)).await.map_err(|_| Trouble::Slow)?;
        sent.map_err(|error| Trouble::Connection(told(&error)))
    }

    /// Posts a message. `id` is the request's, where it is one.
    pub(crate) async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
        id: Option<&Value>,
    ) -> Result<(HeaderMap, Reply), Trouble> {
        let in_session = headers.contains_key(message::SESSION);
        let response = self.send(Method::POST, headers, body).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status == StatusCode::NOT_FOUND && in_session {
            return Err(Trouble::Session);
        }
        if status.is_success() && is_stream(&headers) {
            return Ok((headers, Reply::Stream(Stream::new(response))));
        }
        let body = whole(response.into_body()).await?;
        if !status.is_success() {
            // Errors of MCP have a status of HTTP too. One that came before the request was read has no id.
            if let Some(line) = id.and_then(|id| message::with_id(&body, id)) {
                return Ok((headers, Reply::Line(line)));
            }
            let said: String = String::from_utf8_lossy(&body).chars().take(ECHO).collect();
            return Err(Trouble::Status { status, said: clean_line(said.trim()) });
        }
        match message::one_line(&body) {
            Some(line) => Ok((headers, Reply::Line(line))),
            None => Ok((headers, Reply::Accepted)),
        }
    }
}

/// True for a stream of events.
pub(crate) fn is_stream(headers: &HeaderMap<HeaderValue>) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}

async fn whole(body: Incoming) -> Result<Bytes, Trouble> {
    let read = timeout(IDLE, Limited::new(body, MAX).collect()).await.map_err(|_| Trouble::Cut)?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Trouble::TooLarge),
        Err(_) => Err(Trouble::Cut),
    }
}

/// Why there is no way to the API, each cause once, with what to do about it.
fn unreachable(error: &client::Error) -> String {
    let mut told = clean_line(&error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = clean_line(&error.to_string());
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    let hint = error.hint().map(|hint| format!(". Hint: {hint}")).unwrap_or_default();
    format!("linkerd-mcp cannot be reached: {told}{hint}")
}

/// What went wrong, each cause once, with what to do about it.
fn told(error: &legacy::Error) -> String {
    let (mut told, mut hint) = (String::new(), None);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = clean_line(&error.to_string());
        if !told.contains(&text) {
            let separator = if told.is_empty() { "" } else { ": " };
            told = format!("{told}{separator}{text}");
        }
        hint = hint.or_else(|| error.downcast_ref::<client::Error>()?.hint());
        cause = error.source();
    }
    if told.is_empty() {
        told = clean_line(&error.to_string());
    }
    match (hint, error.is_connect()) {
        (Some(hint), _) => format!("linkerd-mcp cannot be reached: {told}. Hint: {hint}"),
        (None, true) => format!("linkerd-mcp cannot be reached: {told}"),
        (None, false) => format!("the connection to linkerd-mcp broke: {told}; ask again"),
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), events: Events::default(), ready: Default::default() }
    }

    /// The next line; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Trouble> {
        loop {
            while let Some(data) = self.ready.pop_front() {
                if let Some(line) = message::one_line(&data) {
                    return Ok(Some(line));
                }
                tracing::debug!("left out an event that is no JSON");
            }
            match timeout(IDLE, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.ready.extend(self.events.push(&bytes)?);
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return Err(Trouble::Cut),
            }
        }
    }
}

/// Shares connections.
pub(crate) type Connections = Arc<Http>;
