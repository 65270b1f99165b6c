//! Questions about policy: CheckAccess, ListAccess and their kin.

use super::{
    MeshContext,
    body::{Reply, read_request},
};
use crate::{
    access::{self, Error},
    answer::Refusal,
    authority,
    encode::message::Message,
};
use http::Request;
use linkerd_mcp_graph::policy::ask::Mesh;
use linkerd_mcp_proto::v1;
use tonic::{Status, body::Body};

/// A response that says how fresh it is.
pub(crate) trait Dated {
    fn date(&mut self, freshness: v1::Freshness);
}

macro_rules! dated {
    ($($response:ty),* $(,)?) => {
        $(impl Dated for $response {
            fn date(&mut self, freshness: v1::Freshness) {
                self.freshness = Some(freshness);
            }
        })*
    };
}

dated!(
    v1::CheckAccessResponse,
    v1::ListAccessResponse,
    v1::ExplainDenialsResponse,
    v1::LintPoliciesResponse,
    v1::ResolvePolicyResponse,
    v1::CompareEndpointsResponse,
);

pub(super) async fn check_access(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    ask(service, request, access::check_access).await
}

pub(super) async fn list_access(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    ask(service, request, access::list_access).await
}

pub(super) async fn resolve_policy(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    ask(service, request, access::resolve_policy).await
}

pub(super) async fn explain_denials(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    ask(service, request, access::explain_denials).await
}

pub(super) async fn lint_policies(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let question = read_request(request).await?;
    let response = authority::lint_policies(&service.replica, service.linkerd.as_ref(), question).await?;
    Ok(Reply::One(Message::of(&response)))
}

pub(super) async fn compare_endpoints(
    service: &MeshContext,
    request: Request<Body>,
) -> Result<Reply, Status> {
    let question = read_request(request).await?;
    let response = authority::compare_endpoints(&service.replica, service.linkerd.as_ref(), question).await?;
    Ok(Reply::One(Message::of(&response)))
}

/// Reads the question, answers it on the newest view, and dates the answer.
async fn ask<Q, A>(
    service: &MeshContext,
    request: Request<Body>,
    answer: fn(&Mesh<'_>, &Q) -> Result<A, Error>,
) -> Result<Reply, Status>
where
    Q: prost::Message + Default + 'static,
    A: Dated + prost::Message + 'static,
{
    let question: Q = read_request(request).await?;
    let view = service.replica.view().ok_or(Refusal::NotReady)?;
    let mut response = view.ask(move |mesh| answer(mesh, &question)).await.map_err(Refusal::Access)?;
    response.date(service.replica.freshness(&view));
    Ok(Reply::One(Message::of(&response)))
}
