//! Changes of policy as JSON over HTTP. The answers are the messages of gRPC.
//!
//! What changes something takes a body of type `application/json`: a web page cannot send one here without asking
//! first, and nobody answers that it may.

use super::{Json, Problem, access::counted};
use crate::{
    change::{MAX_REQUEST, Refusal},
    metrics::Method,
};
use axum::{
    Extension, Router,
    body::Body,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, post},
};
use http::{Response, StatusCode};
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlanBody {
    manifest: String,
    removes: Vec<String>,
    namespace: String,
    force: bool,
    simulate_only: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ApplyBody {
    plan: String,
    reason: String,
    guard: Option<GuardBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardBody {
    seconds: u32,
    denied_rps: Option<f64>,
    success_rate: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollbackBody {
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProposalBody {
    target: String,
    namespace: String,
    enforce: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChangesParameters {
    namespace: String,
    limit: u32,
    change_id: String,
}

type Answer = Result<Response<Body>, Problem>;
type Given<T> = Result<axum::Json<T>, JsonRejection>;
/// What the listener has put there of who asks.
type Asker = Option<Extension<crate::caller::Principal>>;

/// The routes, with the limit of what is read of a request.
pub(super) fn routes() -> Router<Json> {
    Router::new()
        .route("/v1/plans", post(plan))
        .route("/v1/changes", get(list).post(apply))
        .route("/v1/changes/{id}/rollback", post(rollback))
        .route("/v1/proposals", post(propose))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
}

async fn plan(State(state): State<Json>, asker: Asker, body: Given<PlanBody>) -> Answer {
    let answer = async {
        let PlanBody { manifest, removes, namespace, force, simulate_only } = body?.0;
        let asked = v1::PlanChangeRequest { manifest, removes, namespace, force, simulate_only };
        written(state.changes.plan(&state.asker(asker)?, asked).await)
    };
    counted(&state, Method::HttpPlan, answer).await
}

async fn apply(State(state): State<Json>, asker: Asker, body: Given<ApplyBody>) -> Answer {
    let answer = async {
        let ApplyBody { plan, reason, guard } = body?.0;
        let guard = guard.map(|GuardBody { seconds, denied_rps, success_rate }| v1::Guard {
            seconds,
            denied_rps,
            success_rate,
        });
        let asked = v1::ApplyPlanRequest { plan, reason, guard };
        written(state.changes.apply(&state.asker(asker)?, asked).await)
    };
    counted(&state, Method::HttpApply, answer).await
}

async fn rollback(
    State(state): State<Json>,
    Path(change_id): Path<String>,
    asker: Asker,
    body: Given<RollbackBody>,
) -> Answer {
    let answer = async {
        let RollbackBody { reason } = body?.0;
        let asked = v1::RollbackChangeRequest { change_id, reason };
        written(state.changes.rollback(&state.asker(asker)?, asked).await)
    };
    counted(&state, Method::HttpRollback, answer).await
}

async fn propose(State(state): State<Json>, asker: Asker, body: Given<ProposalBody>) -> Answer {
    let answer = async {
        let ProposalBody { target, namespace, enforce } = body?.0;
        let asked = v1::ProposePolicyRequest { target, namespace, enforce };
        written(state.changes.propose(&state.asker(asker)?, asked).await)
    };
    counted(&state, Method::HttpProposal, answer).await
}

async fn list(
    State(state): State<Json>,
    asker: Asker,
    asked: Result<Query<ChangesParameters>, QueryRejection>,
) -> Answer {
    let answer = async {
        let Query(ChangesParameters { namespace, limit, change_id }) = asked?;
        let asked = v1::ListChangesRequest { namespace, limit, change_id };
        written(state.changes.list(&state.asker(asker)?, asked).await)
    };
    counted(&state, Method::HttpChanges, answer).await
}

fn written<A: Serialize>(answer: Result<A, Refusal>) -> Answer {
    Ok(super::access::written(&answer?))
}

// === impl Json ===

impl Json {
    fn asker(&self, asker: Asker) -> Result<crate::caller::Principal, Refusal> {
        self.changes.known(asker.map(|Extension(who)| who))
    }
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
