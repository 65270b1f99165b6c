//! The same answers as JSON over HTTP, for curl and scripts, on the port that speaks gRPC too.

use crate::{
    answer::{self, BOTH, CALLEES, CALLERS, CallGraphQuestion, Fault, GraphQuestion, Refusal},
    authorization::{Authorization, Refused},
    change::{Changes, Fault as ChangeFault, MAX_REQUEST, Refusal as ChangeRefusal},
    encode::{Detail, json},
    linkerd::Controllers,
    metrics::{ApiMetrics, Method},
    replica::Replica,
    view::{Format, View},
};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, rejection::QueryRejection},
    response::IntoResponse,
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use futures::stream;
use granted::Scoped;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use linkerd_mcp_graph::query::walk::{Direction, Hop};
use serde::Deserialize;
use serde_json::json;
use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};
use tokio::time::Instant;

mod access;
pub(crate) mod admin;
mod change;
mod granted;
pub(crate) mod host;

/// What handlers need. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Json {
    /// The whole mesh; where a handler has it, what its caller may see.
    pub(crate) replica: Replica,
    pub(crate) authorization: Authorization,
    pub(crate) metrics: ApiMetrics,
    /// Linkerd's own, where they can be asked.
    pub(crate) linkerd: Option<Controllers>,
    /// Plans, applies and undoes changes of policy.
    pub(crate) changes: Changes,
    /// Tells this process from others in ETags: revisions are counted per process.
    pub(crate) boot: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GraphParameters {
    namespace: String,
    view: DetailName,
    from: String,
    to: String,
}

impl Default for GraphParameters {
    fn default() -> Self {
        Self { namespace: String::new(), view: DetailName::Full, from: String::new(), to: String::new() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CallGraphParameters {
    root: String,
    namespace: String,
    depth: u32,
    direction: DirectionName,
}

impl Default for CallGraphParameters {
    fn default() -> Self {
        let (root, namespace) = (String::new(), String::new());
        Self { root, namespace, depth: 1, direction: DirectionName::Both }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DetailName {
    Full,
    Summary,
    Edges,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DirectionName {
    Both,
    Callers,
    Callees,
}

/// A refusal with its status: what went wrong and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) hint: String,
}

const WHAT_THERE_IS: &str = "GET /v1/graph?namespace=&view=full|summary|edges&from=&to= or \
                             GET /v1/callgraph?root=&depth=&direction=both|callers|callees&namespace= or \
                             GET /v1/access?from=&to=&port=&namespace=&method=&path=&host=&address= or \
                             GET /v1/access/list?from=&to=&namespace=&limit= or \
                             GET /v1/denials?from=&to=&namespace= or \
                             GET /v1/lint?namespace=&enforced=true|false or \
                             GET /v1/endpoints?service=&port=&client_namespace= or \
                             GET /v1/policy?workload=&namespace=&port= or \
                             GET /v1/changes?namespace=&limit=&change_id= or \
                             POST /v1/plans, /v1/changes, /v1/changes/ID/rollback or /v1/proposals with a JSON body";

/// A path, and what answers there.
type Route = (&'static str, fn() -> MethodRouter<Json>);

/// The JSON routes. Each has a row in [`crate::rights::table::TABLE`].
pub(crate) const ROUTES: &[Route] = &[
    ("/v1/graph", || get(graph)),
    ("/v1/callgraph", || get(callgraph)),
    ("/v1/access", || get(access::check)),
    ("/v1/access/list", || get(access::list)),
    ("/v1/denials", || get(access::denials)),
    ("/v1/lint", || get(access::lint)),
    ("/v1/endpoints", || get(access::endpoints)),
    ("/v1/policy", || get(access::policy)),
    ("/v1/changes", || get(change::list).post(change::apply)),
    ("/v1/changes/{id}/rollback", || post(change::rollback)),
    ("/v1/plans", || post(change::plan)),
    ("/v1/proposals", || post(change::propose)),
];

/// The JSON routes and the MCP endpoint. Who asks, and by which name, is found out before ([`crate::caller`]).
pub(crate) fn routes(state: Json, mcp: Router) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |routes, (path, method)| routes.route(path, method()));
    routes
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .method_not_allowed_fallback(not_allowed)
        .route_layer(axum::middleware::from_fn_with_state(state.clone(), granted::check))
        .with_state(state)
        .merge(mcp)
}

/// For every path that is none of ours, in the language of whoever asks.
pub(crate) async fn not_found(request: axum::extract::Request) -> Response<Body> {
    let is_grpc = request.headers().get(header::CONTENT_TYPE);
    if is_grpc.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
        let path = request.uri().path();
        let status = tonic::Status::unimplemented(format!("nothing here answers `{path}`"));
        return status.into_http();
    }
    let error = format!("there is nothing at `{}`", request.uri().path());
    Problem { status: StatusCode::NOT_FOUND, error, hint: WHAT_THERE_IS.to_owned() }.into_response()
}

async fn not_allowed() -> Problem {
    let error = "this method is not understood here".to_owned();
    Problem { status: StatusCode::METHOD_NOT_ALLOWED, error, hint: WHAT_THERE_IS.to_owned() }
}

async fn graph(
    Scoped(state): Scoped,
    headers: HeaderMap,
    parameters: Result<Query<GraphParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    let started = Instant::now();
    let answer = graph_answer(&state, &headers, parameters).await;
    state.metrics.answered(Method::HttpGraph, code(&answer), started.elapsed());
    answer
}

async fn graph_answer(
    state: &Json,
    headers: &HeaderMap,
    parameters: Result<Query<GraphParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    let Query(GraphParameters { namespace, view: detail, from, to }) = parameters?;
    let view = state.replica.view().ok_or(Refusal::NotReady)?;
    let tag = state.tag(&view);
    if matches(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    let detail = match detail {
        DetailName::Full => Detail::Full,
        DetailName::Summary => Detail::Summary,
        DetailName::Edges => Detail::Edges,
    };
    let question = GraphQuestion { namespace, from, to, detail };
    let body = answer::graph(&view, &question, Format::Json, &state.metrics).await?;
    Ok(answer(json::pieces("", body, &state.replica.freshness(&view)), &tag))
}

async fn callgraph(
    Scoped(state): Scoped,
    headers: HeaderMap,
    parameters: Result<Query<CallGraphParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    let started = Instant::now();
    let answer = callgraph_answer(&state, &headers, parameters);
    state.metrics.answered(Method::HttpCallGraph, code(&answer), started.elapsed());
    answer
}

fn callgraph_answer(
    state: &Json,
    headers: &HeaderMap,
    parameters: Result<Query<CallGraphParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    let Query(CallGraphParameters { root, namespace, depth, direction }) = parameters?;
    let view = state.replica.view().ok_or(Refusal::NotReady)?;
    let tag = state.tag(&view);
    if matches(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    let directions = match direction {
        DirectionName::Both => BOTH,
        DirectionName::Callers => CALLERS,
        DirectionName::Callees => CALLEES,
    };
    let question = CallGraphQuestion { root, namespace, depth, directions };
    let (root, calls, part) = answer::calls(&view, &question)?;
    let body = view.body_of(part, Format::Json, Detail::Full, &state.metrics);
    let hops: Vec<_> = calls.hops.iter().map(hop).collect();
    let first = format!(
        "\"root\":{},\"truncated\":{},\"hops\":{}",
        json!(root.to_string()),
        calls.truncated,
        json!(hops)
    );
    Ok(answer(json::pieces(&first, body, &state.replica.freshness(&view)), &tag))
}

fn hop(hop: &Hop) -> serde_json::Value {
    let direction = match hop.direction {
        Direction::Callers => "callers",
        Direction::Callees => "callees",
    };
    json!({"edge_id": hop.edge.as_str(), "depth": hop.depth, "direction": direction})
}

/// The pieces as they are: the large one is shared with every other answer of this revision.
fn answer(pieces: [Bytes; 3], tag: &HeaderValue) -> Response<Body> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn not_modified(tag: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, tag.clone());
    response
}

fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let wanted = tag.to_str().unwrap_or_default();
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok()).any(|tags| {
        tags.split(',').map(|it| it.trim().trim_start_matches("W/")).any(|it| it == wanted || it == "*")
    })
}

fn code(answer: &Result<Response<Body>, Problem>) -> &'static str {
    match answer {
        Ok(response) if response.status() == StatusCode::NOT_MODIFIED => "NotModified",
        Ok(_) => "Ok",
        Err(problem) => match problem.status {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::SERVICE_UNAVAILABLE => "Unavailable",
            StatusCode::BAD_REQUEST => "InvalidArgument",
            StatusCode::UNAUTHORIZED => "Unauthenticated",
            StatusCode::FORBIDDEN => "PermissionDenied",
            StatusCode::CONFLICT => "Aborted",
            StatusCode::PRECONDITION_FAILED => "FailedPrecondition",
            StatusCode::PAYLOAD_TOO_LARGE => "ResourceExhausted",
            _ => "Other",
        },
    }
}

// === impl Json ===

impl Json {
    /// Names one revision of this process: the same tag, the same graph and numbers. How old they are is not in it.
    /// Those who see other namespaces have other tags.
    fn tag(&self, view: &View) -> HeaderValue {
        let (position, revision, boot) = (view.position, view.revision, self.boot);
        let seen = view.scope.namespaces().map(|namespaces| {
            let mut hasher = DefaultHasher::new();
            namespaces.hash(&mut hasher);
            format!("-{:016x}", hasher.finish())
        });
        let seen = seen.unwrap_or_default();
        let tag = format!("\"{}-{}-{revision}-{boot:08x}{seen}\"", position.epoch, position.seq);
        HeaderValue::try_from(tag).expect("hexadecimal digits and dashes")
    }
}

// === impl Problem ===

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.fault() {
            Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Precondition => StatusCode::NOT_IMPLEMENTED,
            Fault::NotFound => StatusCode::NOT_FOUND,
            Fault::Invalid => StatusCode::BAD_REQUEST,
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self { status, error: refusal.to_string(), hint: refusal.hint().to_owned() }
    }
}

impl From<ChangeRefusal> for Problem {
    fn from(refusal: ChangeRefusal) -> Self {
        let status = match refusal.fault() {
            ChangeFault::Unauthenticated => StatusCode::UNAUTHORIZED,
            ChangeFault::Forbidden => StatusCode::FORBIDDEN,
            ChangeFault::Invalid => StatusCode::BAD_REQUEST,
            ChangeFault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ChangeFault::NotFound => StatusCode::NOT_FOUND,
            ChangeFault::Precondition => StatusCode::PRECONDITION_FAILED,
            ChangeFault::Conflict => StatusCode::CONFLICT,
            ChangeFault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, error: refusal.to_string(), hint: refusal.hint().to_owned() }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, hint) = match refused {
            Refused::Unknown => {
                (StatusCode::UNAUTHORIZED, "docs/authorization.md says how a caller is known")
            }
            Refused::Undecided { .. } => (StatusCode::SERVICE_UNAVAILABLE, "try again in a moment"),
            _ => (StatusCode::FORBIDDEN, "docs/authorization.md says which right each question needs"),
        };
        Self { status, error: refused.to_string(), hint: hint.to_owned() }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let error = rejection.body_text();
        Self { status: StatusCode::BAD_REQUEST, error, hint: WHAT_THERE_IS.to_owned() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = json!({"error": self.error, "hint": self.hint});
        (self.status, axum::Json(body)).into_response()
    }
}
