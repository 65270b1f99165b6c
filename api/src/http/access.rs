//! Questions about policy as JSON over HTTP. The answers are the messages of gRPC.

use super::{Json, Problem};
use crate::{
    access::{self, Error},
    answer::Refusal,
    grpc::access::Dated,
    metrics::Method,
};
use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
};
use http::{HeaderValue, Response, header};
use linkerd_mcp_graph::policy::ask::Mesh;
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CheckParameters {
    from: String,
    to: String,
    port: u32,
    namespace: String,
    method: String,
    path: String,
    host: String,
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListParameters {
    from: String,
    to: String,
    namespace: String,
    limit: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyParameters {
    workload: String,
    namespace: String,
    port: u32,
}

type Answer = Result<Response<Body>, Problem>;
type Parameters<T> = Result<Query<T>, QueryRejection>;

pub(super) async fn check(State(state): State<Json>, asked: Parameters<CheckParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::CheckAccessRequest {
        from: asked.from,
        to: asked.to,
        port: asked.port,
        namespace: asked.namespace,
        method: asked.method,
        path: asked.path,
        host: asked.host,
        headers: Vec::new(),
        address: asked.address,
    });
    answered(&state, Method::HttpCheckAccess, question, access::check_access).await
}

pub(super) async fn list(State(state): State<Json>, asked: Parameters<ListParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::ListAccessRequest {
        from: asked.from,
        to: asked.to,
        namespace: asked.namespace,
        limit: asked.limit,
    });
    answered(&state, Method::HttpListAccess, question, access::list_access).await
}

pub(super) async fn policy(State(state): State<Json>, asked: Parameters<PolicyParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::ResolvePolicyRequest {
        workload: asked.workload,
        namespace: asked.namespace,
        port: asked.port,
    });
    answered(&state, Method::HttpPolicy, question, access::resolve_policy).await
}

/// Answers, dates, and counts.
async fn answered<Q: Send + 'static, A: Dated + Serialize + Send + 'static>(
    state: &Json,
    method: Method,
    question: Result<Q, QueryRejection>,
    answer: fn(&Mesh<'_>, &Q) -> Result<A, Error>,
) -> Answer {
    let started = Instant::now();
    let answer = ask(state, question, answer).await;
    state.metrics.answered(method, super::code(&answer), started.elapsed());
    answer
}

async fn ask<Q: Send + 'static, A: Dated + Serialize + Send + 'static>(
    state: &Json,
    question: Result<Q, QueryRejection>,
    answer: fn(&Mesh<'_>, &Q) -> Result<A, Error>,
) -> Answer {
    let question = question?;
    let view = state.replica.view().ok_or(Refusal::NotReady)?;
    let mut response = view.ask(move |mesh| answer(mesh, &question)).await.map_err(Refusal::Access)?;
    response.date(state.replica.freshness(&view));
    let mut body = serde_json::to_vec(&response).expect("messages have text keys");
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Policies and numbers change at any moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
