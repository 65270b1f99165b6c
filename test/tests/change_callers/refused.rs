//! Who must not change anything: each is refused, and the API server's audit log has no write of any of them.

use super::{
    bench::{AUDIENCE, Bench, LANDED, LIMIT},
    caller::{Caller, OTHER_POD, POD, account, identity, token},
};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use linkerd_mcp_api::change;
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::web::THREE;
use linkerd_mcp_test::{
    certs::{self, Authority},
    wait,
};
use std::time::Duration;
use tonic::{Code, Status};

/// How a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refused {
    With(Code),
    /// By TLS: there is no answer at all.
    Unheard,
    /// Not at all.
    No,
}

fn how<T>(answer: &Result<T, Status>) -> Refused {
    match answer {
        Ok(_) => Refused::No,
        // What the server has said has no cause on this side.
        Err(status) if std::error::Error::source(status).is_some() => Refused::Unheard,
        Err(status) => Refused::With(status.code()),
    }
}

/// A good token of a ServiceAccount that is no more.
async fn revoked(bench: &Bench) -> Caller {
    let token = token(bench, "gone", &[AUDIENCE]).await;
    let good = async || {
        let spec = TokenReviewSpec { token: Some(token.clone()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(bench.admin.clone());
        let status = reviews.create(&PostParams::default(), &review).await.unwrap().status;
        status.and_then(|it| it.authenticated).unwrap_or_default()
    };
    assert!(good().await, "the token was never good");
    let accounts: Api<ServiceAccount> = Api::namespaced(bench.admin.clone(), &bench.namespace);
    accounts.delete("gone", &Default::default()).await.unwrap();
    // The API server itself remembers tokens for ten seconds.
    let over = wait::until("the token is good no more", LIMIT, async || (!good().await).then_some(()));
    over.await.unwrap();
    Caller::token(&token)
}

/// Callers who are not the editor, with all that may make them look like it.
async fn strangers(bench: &Bench) -> Vec<(&'static str, Caller, Refused)> {
    let unknown = Refused::With(Code::Unauthenticated);
    let denied = Refused::With(Code::PermissionDenied);
    let viewer = token(bench, "viewer", &[AUDIENCE]).await;
    let editor = identity(bench, "editor");
    let mesh = &bench.authority;
    let other = Authority::new("mesh").unwrap();
    let tls = |leaf| Caller::tls(mesh, Some(&leaf));
    let forged = |caller: Caller| caller.with("l5d-client-id", &editor);
    vec![
        ("a viewer", Caller::token(&viewer), denied),
        (
            "a viewer over the mesh",
            Caller::mesh(POD).with("l5d-client-id", &identity(bench, "viewer")),
            denied,
        ),
        ("a viewer with a certificate", tls(bench.certificate("viewer")), denied),
        ("no token", Caller::local(), unknown),
        ("a forged header on the local listener", forged(Caller::local()), unknown),
        ("a viewer with a forged header", forged(Caller::token(&viewer)), denied),
        ("a forged header past the proxy", forged(Caller::mesh(OTHER_POD)), unknown),
        ("not in the mesh", Caller::mesh(POD), unknown),
        ("two identities", forged(forged(Caller::mesh(POD))), unknown),
        ("a forged header over TLS", forged(tls(bench.certificate("viewer"))), denied),
        ("a forged header without a certificate", forged(Caller::tls(mesh, None)), Refused::Unheard),
        ("no certificate", Caller::tls(mesh, None), Refused::Unheard),
        ("an expired certificate", tls(mesh.workload(Some(&editor), -120..-60).unwrap()), Refused::Unheard),
        (
            "a certificate of another authority",
            tls(other.workload(Some(&editor), -60..3_600).unwrap()),
            Refused::Unheard,
        ),
        ("a certificate of itself", tls(certs::self_signed(&editor).unwrap()), Refused::Unheard),
        (
            "the name of a user of Kubernetes",
            tls(mesh.workload(Some("system.masters"), -60..3_600).unwrap()),
            denied,
        ),
        ("a token for the API server", Caller::token(&token(bench, "editor", &[]).await), unknown),
        ("a token for another audience", Caller::token(&token(bench, "editor", &["other"]).await), unknown),
        ("the token of a deleted account", revoked(bench).await, unknown),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_editor_changes_nothing_and_the_plan_stays_the_editors() {
    let bench = Bench::new("strangers").await;
    let editor = account(&bench, "editor").await;
    let callers = strangers(&bench).await;
    let plan = bench.planned(&editor, THREE).await;
    let mut wrong = Vec::new();
    for (what, caller, expected) in &callers {
        let planned = bench.plan(caller, THREE).await;
        let applied = bench.apply(caller, &plan).await;
        let undone = caller.client(&bench).rollback_change(v1::RollbackChangeRequest::default()).await;
        let manifest = v1::ApplyAuthorizationPolicyRequest {
            manifest: THREE.to_owned(),
            namespace: bench.namespace.clone(),
            plan: plan.clone(),
            ..Default::default()
        };
        let by_kind = caller.client(&bench).apply_authorization_policy(manifest).await;
        let all = [how(&planned), how(&applied), how(&undone), how(&by_kind)];
        println!("{what}: {:?}", all[1]);
        if all != [*expected; 4] {
            wrong.push(format!("{what}: {all:?} ({:?})", applied.err().map(|it| it.to_string())));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(bench.metric("mcp_caller_refused_total{listener=\"tls\",reason=\"certificate\"}") >= 5);
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The control: the same plan, in the hands of the one who made it.
    let applied = bench.apply(&editor, &plan).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    assert_eq!(bench.writes(), LANDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_plan_is_good_once_for_its_maker_as_it_was_proved_then() {
    let bench = Bench::new("plans").await;
    let editor = account(&bench, "editor").await;
    let denied = Refused::With(Code::PermissionDenied);
    let unknown = Refused::With(Code::NotFound);
    // Somebody else with the same rights; the same person, proved otherwise; somebody with the role and no more.
    let thieves = [
        ("another editor", account(&bench, "other").await),
        ("the editor by a certificate", Caller::tls(&bench.authority, Some(&bench.certificate("editor")))),
        ("the editor over the mesh", Caller::mesh(POD).with("l5d-client-id", &identity(&bench, "editor"))),
        ("an editor of other objects", account(&bench, "clerk").await),
    ];
    for (what, thief) in &thieves {
        let plan = bench.planned(&editor, THREE).await;
        assert_eq!(how(&bench.apply(thief, &plan).await), denied, "{what}");
        assert_eq!(how(&bench.apply(&editor, &plan).await), unknown, "{what}: it was used up by that");
    }
    assert_eq!(
        how(&bench.plan(&thieves[3].1, THREE).await),
        denied,
        "a role of ours is no right to the objects"
    );

    // One byte of the token, wherever it is; one byte of what comes with it.
    let plan = bench.planned(&editor, THREE).await;
    for at in [0, 4, 5, 6, plan.len() / 2, plan.len() - 2, plan.len() - 1] {
        let mut other = plan.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(how(&bench.apply(&editor, &other).await), unknown, "byte {at}");
    }
    let manifest = v1::ApplyAuthorizationPolicyRequest {
        manifest: THREE.replace("8080", "8081"),
        namespace: bench.namespace.clone(),
        plan: plan.clone(),
        ..Default::default()
    };
    let by_kind = editor.client(&bench).apply_authorization_policy(manifest).await;
    assert_eq!(how(&by_kind), Refused::With(Code::FailedPrecondition), "another manifest");
    assert_eq!(how(&bench.apply(&editor, &plan).await), unknown, "it was used up by that");

    // Expired: another replica, which gives its plans less time, over the same Redis.
    let short =
        bench.another(|options| change::Options { lifetime: Duration::from_millis(1), ..options }).await;
    let plan = editor.client_at(short.at).plan_change(bench.request(THREE)).await.unwrap().into_inner();
    let expires = plan.expires.unwrap();
    let over = wait::until("the plan has expired", LIMIT, async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let until =
            Duration::new(u64::try_from(expires.seconds).unwrap(), u32::try_from(expires.nanos).unwrap());
        (now > until).then_some(())
    });
    over.await.unwrap();
    assert_eq!(how(&bench.apply(&editor, &plan.plan).await), unknown, "expired");
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The control, and that it is good once: what another replica has planned in time is applied here.
    let replica = bench.another(|options| options).await;
    let plan =
        editor.client_at(replica.at).plan_change(bench.request(THREE)).await.unwrap().into_inner().plan;
    assert!(bench.apply(&editor, &plan).await.unwrap().accepted);
    assert_eq!(how(&bench.apply(&editor, &plan).await), unknown, "replayed");
    assert_eq!(bench.writes(), LANDED);
}
