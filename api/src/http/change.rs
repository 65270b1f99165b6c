//! Changes of policy as JSON over HTTP. The answers are the messages of gRPC.
//!
//! What changes something takes a body of type `application/json`: a web page cannot send one here without asking
//! first, and nobody answers that it may.

use super::{Json, Problem, access::counted};
use crate::{authorization::Granted, change::Refusal, metrics::Method};
use axum::{
    Extension,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use http::{Response, StatusCode};
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PlanBody {
    manifest: String,
    removes: Vec<String>,
    namespace: String,
    force: bool,
    simulate_only: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApplyBody {
    plan: String,
    reason: String,
    guard: Option<GuardBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardBody {
    seconds: u32,
    denied_rps: Option<f64>,
    success_rate: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RollbackBody {
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProposalBody {
    target: String,
    namespace: String,
    enforce: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChangesParameters {
    namespace: String,
    limit: u32,
    change_id: String,
}

pub(super) type Answer = Result<Response<Body>, Problem>;
type Given<T> = Result<axum::Json<T>, JsonRejection>;
/// Who asks, as it was let through.
type Asker = Extension<Arc<Granted>>;

pub(super) async fn plan(State(state): State<Json>, asker: Asker, body: Given<PlanBody>) -> Answer {
    let answer = async {
        let PlanBody { manifest, removes, namespace, force, simulate_only } = body?.0;
        let asked = v1::PlanChangeRequest { manifest, removes, namespace, force, simulate_only };
        written(state.changes.answering(&asker).plan(&asker.who, asked).await)
    };
    counted(&state, Method::HttpPlan, answer).await
}

pub(super) async fn apply(State(state): State<Json>, asker: Asker, body: Given<ApplyBody>) -> Answer {
    let answer = async {
        let ApplyBody { plan, reason, guard } = body?.0;
        let guard = guard.map(|GuardBody { seconds, denied_rps, success_rate }| v1::Guard {
            seconds,
            denied_rps,
            success_rate,
        });
        let asked = v1::ApplyPlanRequest { plan, reason, guard };
        written(state.changes.answering(&asker).apply(&asker.who, asked).await)
    };
    counted(&state, Method::HttpApply, answer).await
}

pub(super) async fn rollback(
    State(state): State<Json>,
    Path(change_id): Path<String>,
    asker: Asker,
    body: Given<RollbackBody>,
) -> Answer {
    let answer = async {
        let RollbackBody { reason } = body?.0;
        let asked = v1::RollbackChangeRequest { change_id, reason };
        written(state.changes.answering(&asker).rollback(&asker.who, asked).await)
    };
    counted(&state, Method::HttpRollback, answer).await
}

pub(super) async fn propose(State(state): State<Json>, asker: Asker, body: Given<ProposalBody>) -> Answer {
    let answer = async {
        let ProposalBody { target, namespace, enforce } = body?.0;
        let asked = v1::ProposePolicyRequest { target, namespace, enforce };
        written(state.changes.answering(&asker).propose(&asker.who, asked).await)
    };
    counted(&state, Method::HttpProposal, answer).await
}

pub(super) async fn list(
    State(state): State<Json>,
    asker: Asker,
    asked: Result<Query<ChangesParameters>, QueryRejection>,
) -> Answer {
    let answer = async {
        let Query(ChangesParameters { namespace, limit, change_id }) = asked?;
        let asked = v1::ListChangesRequest { namespace, limit, change_id };
        written(state.changes.answering(&asker).list(&asker.who, asked).await)
    };
    counted(&state, Method::HttpChanges, answer).await
}

fn written<A: Serialize>(answer: Result<A, Refusal>) -> Answer {
    Ok(super::access::written(&answer?))
}

// === impl Problem ===

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let hint = "send a JSON object with the header `content-type: application/json`; docs/changes.md has examples";
        Self { status, error: rejection.body_text(), hint: hint.to_owned() }
    }
}
