//! The RPCs that are about some kinds only: both are plans and their approval.

use super::{Changes, Refusal, apply::Only, stream};
use crate::{caller::Principal, graph::kind::Kind};
use linkerd_mcp_proto::v1;

const AUTHORIZATION: &[Kind] =
    &[Kind::AuthorizationPolicy, Kind::MeshTLSAuthentication, Kind::NetworkAuthentication, Kind::Server];
const ROUTES: &[Kind] = &[Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute];

/// What both requests have.
struct Asked {
    manifest: String,
    namespace: String,
    plan: String,
    reason: String,
}

/// What came of it.
enum Answer {
    Planned(Box<v1::PlanChangeResponse>),
    Applied(v1::ApplyPlanResponse),
}

pub(super) async fn authorization_policy(
    changes: &Changes,
    who: &Principal,
    asked: v1::ApplyAuthorizationPolicyRequest,
) -> Result<v1::ApplyAuthorizationPolicyResponse, Refusal> {
    let v1::ApplyAuthorizationPolicyRequest { manifest, namespace, plan, reason } = asked;
    Ok(match run(changes, who, Asked { manifest, namespace, plan, reason }, AUTHORIZATION).await? {
        Answer::Planned(planned) => {
            v1::ApplyAuthorizationPolicyResponse { accepted: false, planned: Some(*planned), applied: None }
        }
        Answer::Applied(applied) => v1::ApplyAuthorizationPolicyResponse {
            accepted: applied.accepted,
            planned: None,
            applied: Some(applied),
        },
    })
}

pub(super) async fn http_route(
    changes: &Changes,
    who: &Principal,
    asked: v1::ApplyHttpRouteRequest,
) -> Result<v1::ApplyHttpRouteResponse, Refusal> {
    let v1::ApplyHttpRouteRequest { manifest, namespace, plan, reason } = asked;
    Ok(match run(changes, who, Asked { manifest, namespace, plan, reason }, ROUTES).await? {
        Answer::Planned(planned) => {
            v1::ApplyHttpRouteResponse { accepted: false, planned: Some(*planned), applied: None }
        }
        Answer::Applied(applied) => {
            v1::ApplyHttpRouteResponse { accepted: applied.accepted, planned: None, applied: Some(applied) }
        }
    })
}

async fn run(
    changes: &Changes,
    who: &Principal,
    asked: Asked,
    kinds: &'static [Kind],
) -> Result<Answer, Refusal> {
    let Asked { manifest, namespace, plan, reason } = asked;
    if plan.is_empty() {
        only(&manifest, kinds)?;
        let asked = v1::PlanChangeRequest { manifest, namespace, ..v1::PlanChangeRequest::default() };
        return changes.plan(who, asked).await.map(Box::new).map(Answer::Planned);
    }
    let only = Only { kinds: Some(kinds), request: (!manifest.is_empty()).then_some((manifest, namespace)) };
    let asked = v1::ApplyPlanRequest { plan, reason, guard: None };
    changes.approve(who, asked, only).await.map(Answer::Applied)
}

/// Refuses a manifest with other kinds. What is no kind at all is refused by the plan, which says more.
fn only(manifest: &str, kinds: &[Kind]) -> Result<(), Refusal> {
    for value in stream::read(manifest)? {
        let group = value["apiVersion"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
        let kind = value["kind"].as_str().unwrap_or_default();
        let is = |it: &&Kind| it.row().group == group && it.row().name == kind;
        let other = crate::graph::change::CHANGEABLE.iter().find(is).filter(|it| !kinds.contains(it));
        if let Some(other) = other {
            return Err(other_kind(*other, kinds));
        }
    }
    Ok(())
}

pub(super) fn other_kind(kind: Kind, kinds: &[Kind]) -> Refusal {
    let named: Vec<String> = kinds.iter().map(|kind| kind.resource()).collect();
    Refusal::Invalid(format!(
        "{} is none of what this method changes ({}): use PlanChange and ApplyPlan",
        kind.resource(),
        named.join(", ")
    ))
}
