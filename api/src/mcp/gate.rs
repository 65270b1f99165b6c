//! What every request to `/mcp` must pass before rmcp reads it: where a browser sent it from, how large and deep it is,
//! whether it is JSON-RPC, how often its caller asks, and whose session it is.
//!
//! Everything here is decided without looking at what is asked, so that it costs microseconds (performance of a refusal
//! is part of its worth).

use super::{
    budget::Budget,
    direct,
    metrics::{McpMetrics, RefusedLabels},
    server::Server,
    settings::Live,
};
use crate::{
    authorization::{self, Authorization},
    caller::Principal,
    replica::Replica,
    rights::table::Surface,
};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) mod origin;
pub(crate) mod rate;
pub(crate) mod rpc;
pub(crate) mod session;

use session::Sessions;

/// The most bytes of a request.
pub(super) const MAX_BODY: usize = 4 << 20;

/// What requests are held against.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) settings: Live,
    pub(crate) authorization: Authorization,
    pub(crate) replica: Replica,
    pub(crate) budget: Budget,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: McpMetrics,
    /// Answers what need not go to rmcp.
    pub(crate) server: Server,
}

/// Who asks, as far as limits and sessions are concerned: the user that stands for the [`Principal`], so that one caller
/// is one whichever way it comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Caller(pub(crate) Arc<str>);

/// Why a request does not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Caller(authorization::Refused),
    #[error(
        "requests of the web page {0} are not answered; an operator can allow it with --mcp-allowed-origin, or \
         with allowedOrigins in the settings of the endpoint"
    )]
    Origin(String),
    #[error("the request is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the request could not be read to its end")]
    Broken,
    #[error("{0}")]
    Rpc(rpc::Invalid),
    #[error("too many requests: at most {per_second} a second, {burst} at once; try again in {wait_s} s")]
    Rate { per_second: u32, burst: u32, wait_s: u64 },
    #[error("there is no such session: begin a new one with initialize")]
    Session,
    #[error(
        "too many sessions are open: end one with DELETE, or use a revision without sessions (2026-07-28)"
    )]
    Sessions,
}

pub(super) const SESSION: &str = "mcp-session-id";

/// Lets a request through, or says why not.
pub(super) async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match pass(&gate, request, next).await {
        Ok(response) => response,
        Err(refused) => {
            gate.metrics.refused.get_or_create(&RefusedLabels { reason: refused.reason() }).inc();
            tracing::debug!(reason = refused.reason(), "refused a request to the MCP endpoint");
            refused.into_response()
        }
    }
}

async fn pass(gate: &Arc<Gate>, request: Request, next: Next) -> Result<Response, Refused> {
    let settings = gate.settings.load();
    for origin in request.headers().get_all(header::ORIGIN) {
        if !settings.origins.allow(origin) {
            return Err(Refused::Origin(super::text::data(&String::from_utf8_lossy(origin.as_bytes()))));
        }
    }
    drop(settings);
    let asker = gate.authorization.asker(request.extensions(), request.headers());
    let granted = gate.authorization.admit(Surface::Http, super::PATH, &asker, &gate.replica);
    let who = Box::pin(granted).await.map_err(Refused::Caller)?.who;
    let caller = Caller::from(&who);
    let per_second = gate.settings.load().calls_per_second;
    if !gate.budget.request(&caller, per_second) {
        return Err(Refused::Rate { per_second, burst: rate::burst(per_second), wait_s: 1 });
    }
    let (mut parts, body) = request.into_parts();
    let session = session_of(&parts.headers);
    if let Some(id) = &session
        && !gate.sessions.owned(id, &caller)
    {
        return Err(Refused::Session);
    }
    let ending = parts.method == Method::DELETE;
    let mut opening = None;
    let body = if parts.method == Method::POST {
        let bytes = to_bytes(body, MAX_BODY).await.map_err(|error| {
            let full = std::error::Error::source(&error)
                .is_some_and(|it| it.is::<http_body_util::LengthLimitError>());
            if full { Refused::TooLarge } else { Refused::Broken }
        })?;
        let head = rpc::head(&bytes).map_err(Refused::Rpc)?;
        if head.method == Some(direct::METHOD)
            && let Some(question) = direct::read(&parts.headers, &bytes)
            && gate.server.answers_at_once(&question.name)
        {
            return Ok(question.ask(&gate.server, &asker, &caller).await);
        }
        if session.is_none() && head.method == Some("initialize") {
            opening = Some(gate.sessions.open(&caller).ok_or(Refused::Sessions)?);
        }
        Body::from(bytes)
    } else {
        body
    };
    parts.extensions.insert(caller.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Some(place) = opening
        && let Some(id) = session_of(response.headers())
    {
        place.taken(id);
    }
    if let Some(id) = session
        && (ending && response.status().is_success() || response.status() == StatusCode::NOT_FOUND)
    {
        gate.sessions.end(&id);
    }
    Ok(response)
}

pub(super) fn session_of(headers: &HeaderMap) -> Option<String> {
    headers.get(SESSION).and_then(|it| it.to_str().ok()).map(str::to_owned)
}

// === impl Caller ===

impl Caller {
    /// Whoever can reach the loopback address.
    pub(crate) fn local() -> Self {
        Self("local".into())
    }
}

impl From<&Principal> for Caller {
    fn from(principal: &Principal) -> Self {
        Self(principal.user.clone())
    }
}

// === impl Refused ===

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Self::Caller(refused) => refused.status(),
            Self::Origin(_) => "origin",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Rpc(_) => "invalid",
            Self::Rate { .. } => "rate",
            Self::Session => "session",
            Self::Sessions => "sessions",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Caller(authorization::Refused::Unknown) => StatusCode::UNAUTHORIZED,
            Self::Caller(refused) if refused.is_undecided() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Caller(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken | Self::Rpc(_) => StatusCode::BAD_REQUEST,
            Self::Rate { .. } | Self::Sessions => StatusCode::TOO_MANY_REQUESTS,
            Self::Session => StatusCode::NOT_FOUND,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (code, id) = match &self {
            Self::Rpc(invalid) => (invalid.code(), invalid.id()),
            // Ours: outside of what JSON-RPC and MCP have for themselves.
            _ => (-31_000, Value::Null),
        };
        let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": self.to_string()}});
        let mut response = (self.status(), axum::Json(body)).into_response();
        if let Self::Rate { wait_s, .. } = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        response
    }
}
