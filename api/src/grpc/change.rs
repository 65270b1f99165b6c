//! Changes of policy: PlanChange, ApplyPlan and their kin.

use super::{
    MeshContext,
    body::{Reply, read_request_within},
};
use crate::{
    authorization::Granted,
    caller::Principal,
    change::{Changes, MAX_REQUEST, Refusal},
    encode::message::Message,
};
use http::Request;
use std::sync::Arc;
use tonic::{Status, body::Body};

pub(super) async fn plan_change(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.plan(&who, asked).await)
}

pub(super) async fn apply_plan(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.apply(&who, asked).await)
}

pub(super) async fn rollback_change(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.rollback(&who, asked).await)
}

pub(super) async fn list_changes(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.list(&who, asked).await)
}

pub(super) async fn propose_policy(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.propose(&who, asked).await)
}

pub(super) async fn apply_authorization_policy(
    service: &MeshContext,
    request: Request<Body>,
) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.apply_authorization_policy(&who, asked).await)
}

pub(super) async fn apply_http_route(service: &MeshContext, request: Request<Body>) -> Result<Reply, Status> {
    let (changes, who, asked) = read(service, request).await?;
    answer(changes.apply_http_route(&who, asked).await)
}

/// Who asks, and what.
async fn read<M: prost::Message + Default>(
    service: &MeshContext,
    request: Request<Body>,
) -> Result<(Changes, Principal, M), Status> {
    let Some(granted) = request.extensions().get::<Arc<Granted>>() else {
        return Err(Status::internal("nothing was granted to this request"));
    };
    let (changes, who) = (service.changes.answering(granted), granted.who.clone());
    Ok((changes, who, read_request_within(request, MAX_REQUEST, Status::resource_exhausted).await?))
}

fn answer<M: prost::Message + 'static>(answer: Result<M, Refusal>) -> Result<Reply, Status> {
    Ok(Reply::One(Message::of(&answer?)))
}
