//! Changes of policy with everything that an output can meet.

use linkerd_mcp_proto::v1::{
    AppliedObject, ApplyPlanResponse, Change, Concern, Decision, Impact, ImpactFlow, ImpactPermission,
    ListChangesResponse, PlanChangeResponse, PlannedObject, ProposePolicyResponse, ProposedFlow, Reason,
    Severity, UnknownFlow,
};
use prost_types::Timestamp;

/// 2026-11-01T12:05:00Z.
const UNTIL: i64 = 1793534700;

const DIFF: &str = "--- before\n+++ after\n@@\n spec:\n-  accessPolicy: audit\n+  accessPolicy: deny\n   port: 80\u{1b}[2J\n";

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn flow(from: &str, before: Decision, after: Decision, rps: Option<f64>) -> ImpactFlow {
    let text = "authorizationpolicy/shop/cart does not let the client in: its identity is not listed";
    ImpactFlow {
        edge_id: format!("{from}->shop/cart"),
        from: from.into(),
        to: "shop/cart".into(),
        workload: "shop/deployment/cart".into(),
        port: 8080,
        before: before.into(),
        after: after.into(),
        rps,
        reasons: vec![Reason { reason: "refuses".into(), text: text.into(), origins: Vec::new() }],
    }
}

fn impact() -> Impact {
    Impact {
        newly_denied: vec![
            flow("shop/deployment/books", Decision::Allow, Decision::Deny, Some(12.5)),
            flow("10.4.0.7", Decision::Audit, Decision::Deny, None),
        ],
        newly_allowed: vec![flow("shop/deployment/web", Decision::Deny, Decision::Allow, Some(0.25))],
        newly_denied_count: 3,
        newly_allowed_count: 1,
        newly_denied_rps: Some(12.5),
        newly_allowed_rps: Some(0.25),
        unchanged: 40,
        unknown: vec![UnknownFlow {
            edge_id: "unmeshed:shop->shop/cart".into(),
            text: "the client's address is not known".into(),
            rps: Some(2.0),
        }],
        unknown_count: 2,
        gained: vec![
            permission("shop/deployment/admin", "shop/deployment/cart"),
            permission("shop/deployment/admin", "shop/deployment/web"),
            permission("every other client of the mesh", "shop/deployment/cart"),
        ],
        gained_count: 4,
        lost: vec![permission("shop/deployment/old", "shop/deployment/cart")],
        lost_count: 8,
    }
}

fn permission(from: &str, workload: &str) -> ImpactPermission {
    ImpactPermission { from: from.into(), workload: workload.into(), port: 8080 }
}

/// A change that may be applied.
pub(crate) fn planned() -> PlanChangeResponse {
    PlanChangeResponse {
        freshness: Some(super::freshness()),
        plan: "p-7.secret".into(),
        expires: at(UNTIL),
        plan_id: "p-7".into(),
        payload_sha256: "ab".repeat(32),
        objects: vec![
            PlannedObject {
                id: "server/shop/cart".into(),
                action: "update".into(),
                diff: DIFF.into(),
                resource_version: "1234".into(),
                ..PlannedObject::default()
            },
            PlannedObject {
                id: "authorizationpolicy/shop/old".into(),
                action: "delete".into(),
                resource_version: "1200".into(),
                ..PlannedObject::default()
            },
        ],
        concerns: vec![Concern {
            code: "probe-locked-out".into(),
            severity: Severity::Warning.into(),
            refuses: false,
            objects: vec!["server/shop/cart".into()],
            text: "the kubelet's probes of shop/deployment/cart would be refused".into(),
            fix: "authorize the probes' path".into(),
        }],
        impact: Some(impact()),
        notes: vec!["Addresses of clients are those of now.".into()],
    }
}

/// One that something else manages.
pub(crate) fn refused() -> PlanChangeResponse {
    PlanChangeResponse {
        objects: vec![PlannedObject {
            id: "server/shop/cart".into(),
            action: "update".into(),
            diff: DIFF.into(),
            resource_version: "1234".into(),
            owner: "Flux Kustomization flux-system/apps".into(),
            repository_manifest: "kind: Server\nmetadata:\n  name: cart\n".into(),
        }],
        concerns: vec![Concern {
            code: "managed-elsewhere".into(),
            severity: Severity::Error.into(),
            refuses: true,
            objects: vec!["server/shop/cart".into()],
            text: "Flux would put it back".into(),
            fix: "change it in its repository".into(),
        }],
        impact: Some(Impact { unchanged: 3, ..Impact::default() }),
        ..PlanChangeResponse::default()
    }
}

fn objects() -> Vec<AppliedObject> {
    let object = |id: &str, action: &str, version: &str| AppliedObject {
        id: id.into(),
        action: action.into(),
        resource_version: version.into(),
        error: String::new(),
    };
    vec![
        object("server/shop/cart", "update", "1240"),
        object("authorizationpolicy/shop/cart", "create", "1241"),
        object("authorizationpolicy/shop/old", "delete", ""),
    ]
}

/// A plan that was done.
pub(crate) fn applied() -> ApplyPlanResponse {
    ApplyPlanResponse {
        accepted: true,
        change_id: "c-7f3a".into(),
        objects: objects(),
        text: String::new(),
        guarded_until: at(UNTIL),
    }
}

/// A plan of which a part was refused.
pub(crate) fn failed() -> ApplyPlanResponse {
    let mut answer = applied();
    answer.accepted = false;
    answer.guarded_until = None;
    answer.text = "Nothing is left of it: what had been written was put back.".into();
    answer.objects[0].action = "restored".into();
    answer.objects[1].action = "failed".into();
    answer.objects[1].error = "the API server refused it: denied by \u{1b}[31mno-friday-changes".into();
    answer.objects.truncate(2);
    answer
}

/// Two changes, one of which undoes the other.
pub(crate) fn listed() -> ListChangesResponse {
    let by = "web.shop.serviceaccount.identity.linkerd.cluster.local";
    let change = Change {
        change_id: "c-7f3a".into(),
        at: at(UNTIL - 60),
        by: by.into(),
        proof: "mesh".into(),
        outcome: "applied".into(),
        text: String::new(),
        plan_id: "p-7".into(),
        payload_sha256: "ab".repeat(32),
        reason: "OPS-1: \u{202e}lock down".into(),
        objects: objects(),
        diff: DIFF.into(),
        undone_by: "c-8000".into(),
        undoes: String::new(),
        guarded_until: at(UNTIL),
    };
    let undo = Change {
        change_id: "c-8000".into(),
        at: None,
        outcome: "guard_reverted".into(),
        by: "linkerd-mcp".into(),
        undoes: "c-7f3a".into(),
        ..Change::default()
    };
    ListChangesResponse {
        changes: vec![change, undo],
        truncated: true,
        since: at(UNTIL - 3_600),
        notes: Vec::new(),
    }
}

/// Policy for a workload that somebody without an identity calls too.
pub(crate) fn proposed() -> ProposePolicyResponse {
    let flow = |from: &str, rps, text: &str| ProposedFlow {
        edge_id: format!("{from}->shop/cart"),
        from: from.into(),
        workload: "shop/deployment/cart".into(),
        port: 8080,
        identity: String::new(),
        rps,
        text: text.into(),
    };
    ProposePolicyResponse {
        freshness: Some(super::freshness()),
        manifest: "kind: Server\n---\nkind: AuthorizationPolicy\n".into(),
        ready: false,
        blockers: vec!["unmeshed:shop calls without an identity".into()],
        covered: vec![flow("shop/deployment/books", Some(12.5), "")],
        left_out: vec![flow("10.4.0.7", None, "it has no identity")],
        notes: Vec::new(),
    }
}
