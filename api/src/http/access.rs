//! Questions about policy as JSON over HTTP. The answers are the messages of gRPC.

use super::{Json, Problem, Scoped};
use crate::{
    access::{self, Error},
    answer::Refusal,
    authority,
    grpc::access::Dated,
    metrics::Method,
};
use axum::{
    body::Body,
    extract::{Query, rejection::QueryRejection},
};
use http::{HeaderValue, Response, header};
use linkerd_mcp_graph::policy::ask::Mesh;
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};
use std::future::Future;
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DenialsParameters {
    from: String,
    to: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LintParameters {
    namespace: String,
    enforced: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EndpointsParameters {
    service: String,
    port: u32,
    client_namespace: String,
}

type Answer = Result<Response<Body>, Problem>;
type Parameters<T> = Result<Query<T>, QueryRejection>;

pub(super) async fn check(Scoped(state): Scoped, asked: Parameters<CheckParameters>) -> Answer {
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

pub(super) async fn list(Scoped(state): Scoped, asked: Parameters<ListParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::ListAccessRequest {
        from: asked.from,
        to: asked.to,
        namespace: asked.namespace,
        limit: asked.limit,
    });
    answered(&state, Method::HttpListAccess, question, access::list_access).await
}

pub(super) async fn policy(Scoped(state): Scoped, asked: Parameters<PolicyParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::ResolvePolicyRequest {
        workload: asked.workload,
        namespace: asked.namespace,
        port: asked.port,
    });
    answered(&state, Method::HttpPolicy, question, access::resolve_policy).await
}

pub(super) async fn denials(Scoped(state): Scoped, asked: Parameters<DenialsParameters>) -> Answer {
    let question = asked.map(|Query(asked)| v1::ExplainDenialsRequest {
        from: asked.from,
        to: asked.to,
        namespace: asked.namespace,
    });
    answered(&state, Method::HttpDenials, question, access::explain_denials).await
}

pub(super) async fn lint(Scoped(state): Scoped, asked: Parameters<LintParameters>) -> Answer {
    let answer = async {
        let Query(LintParameters { namespace, enforced }) = asked?;
        let question = v1::LintPoliciesRequest { namespace, enforced };
        Ok(written(&authority::lint_policies(&state.replica, state.linkerd.as_ref(), question).await?))
    };
    counted(&state, Method::HttpLint, answer).await
}

pub(super) async fn endpoints(Scoped(state): Scoped, asked: Parameters<EndpointsParameters>) -> Answer {
    let answer = async {
        let Query(EndpointsParameters { service, port, client_namespace }) = asked?;
        let question = v1::CompareEndpointsRequest { service, port, client_namespace };
        Ok(written(&authority::compare_endpoints(&state.replica, state.linkerd.as_ref(), question).await?))
    };
    counted(&state, Method::HttpEndpoints, answer).await
}

/// Answers, dates, and counts.
async fn answered<Q: Send + 'static, A: Dated + Serialize + Send + 'static>(
    state: &Json,
    method: Method,
    question: Result<Q, QueryRejection>,
    answer: fn(&Mesh<'_>, &Q) -> Result<A, Error>,
) -> Answer {
    counted(state, method, ask(state, question, answer)).await
}

pub(super) async fn counted(state: &Json, method: Method, answer: impl Future<Output = Answer>) -> Answer {
    let started = Instant::now();
    let answer = answer.await;
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
    Ok(written(&response))
}

pub(super) fn written(response: &impl Serialize) -> Response<Body> {
    let mut body = serde_json::to_vec(response).expect("messages have text keys");
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Policies and numbers change at any moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
