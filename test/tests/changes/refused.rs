//! What must not land: nothing is written, and the API server's audit log is asked.

use super::bench::{Bench, LIMIT, approval};
use linkerd_mcp_api::{
    caller::{Principal, Proof},
    change::Refusal,
};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::wait;
use linkerd_mcp_test::web::THREE;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_gets_no_plan() {
    let bench = Bench::new("rights").await;
    for name in ["viewer", "planner"] {
        let refused = bench.changes.plan(&bench.who(name), bench.request(THREE)).await.unwrap_err();
        assert!(matches!(refused, Refusal::Forbidden { .. }), "{name}: {refused}");
    }
    let elsewhere = Principal::service_account("elsewhere", "editor", "editor", Proof::Mesh);
    let refused = bench.changes.plan(&elsewhere, bench.request(THREE)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Forbidden { .. }), "{refused}");
    let nobody = bench.changes.caller(&http::Extensions::new()).unwrap_err();
    assert!(matches!(nobody, Refusal::Nobody), "{nobody}");
    // Who may plan and not write learns what would happen, and that it is not for them to do.
    let asked = v1::PlanChangeRequest { simulate_only: true, ..bench.request(THREE) };
    let planned = bench.changes.plan(&bench.who("planner"), asked).await.unwrap();
    assert_eq!(planned.plan, "");
    assert!(
        planned.notes.iter().any(|it| it.contains("may not create servers.policy.linkerd.io")),
        "{:?}",
        planned.notes
    );
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The control.
    bench.applied(THREE).await;
    assert_eq!(bench.writes().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_plan_is_good_once_for_its_maker_in_its_time_and_to_the_bit() {
    // Also the payload that is another by one byte.
    let bench = Bench::new("tokens").await;
    let other = bench.planned(THREE).await;
    let refused = bench.changes.apply(&bench.who("other"), approval(&other)).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotYours), "{refused}");
    assert!(matches!(bench.apply(&other).await, Err(Refusal::NoPlan(_))), "it was used up by that");

    let by_mesh = Principal { proof: Proof::Mesh, ..bench.who("editor") };
    let plan = bench.planned(THREE).await;
    let refused = bench.changes.apply(&by_mesh, approval(&plan)).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotYours), "another proof of the same identity: {refused}");

    let short = bench.another(|options| linkerd_mcp_api::change::Options {
        lifetime: Duration::from_millis(1),
        ..options
    });
    let plan = short.plan(&bench.who("editor"), bench.request(THREE)).await.unwrap();
    let expires = plan.expires.unwrap();
    let over = wait::until("the plan has expired", LIMIT, async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now > Duration::new(u64::try_from(expires.seconds).unwrap(), u32::try_from(expires.nanos).unwrap()))
            .then_some(())
    });
    over.await.unwrap();
    let refused = bench.changes.apply(&bench.who("editor"), approval(&plan)).await.unwrap_err();
    assert!(matches!(refused, Refusal::NoPlan(_)), "{refused}");

    for nonsense in ["", "plan-", "plan-AAAA", "chg-1", &"x".repeat(10_000)] {
        let asked = v1::ApplyPlanRequest { plan: nonsense.to_owned(), ..Default::default() };
        let refused = bench.changes.apply(&bench.who("editor"), asked).await.unwrap_err();
        assert!(matches!(refused, Refusal::NoPlan(_)), "{refused}");
    }

    // Whoever can write to Redis puts another Server into the plan.
    let mut connection = linkerd_mcp_test::redis::connect(&bench.redis.client().unwrap()).await.unwrap();
    let before: Vec<String> = bench.redis.run("KEYS mcp:plan:*").await.unwrap();
    let plan = bench.planned(THREE).await;
    let mut keys: Vec<String> = bench.redis.run("KEYS mcp:plan:*").await.unwrap();
    // Other tests keep plans there too; this one's stays what it is while they come and go.
    keys.retain(|key| !before.contains(key));
    let mut mine = Vec::new();
    for key in keys {
        let mut get = redis::cmd("GET");
        let text: Vec<u8> = get.arg(&key).query_async(&mut connection).await.unwrap();
        if String::from_utf8_lossy(&text).contains(&bench.namespace) {
            mine.push(key);
        }
    }
    let keys = mine;
    assert_eq!(keys.len(), 1);
    let mut sealed: Vec<u8> = redis::cmd("GET").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    let at = sealed.windows(4).position(|it| it == b"8080").unwrap();
    sealed[at + 3] = b'1';
    redis::cmd("SET").arg(&keys[0]).arg(&sealed).exec_async(&mut connection).await.unwrap();
    let refused = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(refused, Refusal::Altered(_)), "{refused}");

    assert_eq!(bench.writes(), Vec::<String>::new());
    // The control, and that a plan is good once.
    let plan = bench.planned(THREE).await;
    assert!(bench.apply(&plan).await.unwrap().accepted);
    assert!(matches!(bench.apply(&plan).await, Err(Refusal::NoPlan(_))));
    assert_eq!(bench.writes().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_apply_a_plan_at_once_one_does() {
    let bench = Bench::new("twice").await;
    let plan = bench.planned(THREE).await;
    let editor = bench.who("editor");
    let tries = (0..8).map(|_| bench.changes.apply(&editor, approval(&plan)));
    let outcomes = futures::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|it| it.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(bench.writes().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_an_object_that_changed_since_the_plan_is_left_alone() {
    let bench = Bench::new("changed").await;
    bench.applied(THREE).await;
    let before = bench.writes().len();
    let update = THREE.replace("HTTP/1", "HTTP/2");
    let changed = bench.planned(&update).await;
    bench.kubectl(&THREE.replace("8080", "8081")).await;
    let refused = bench.apply(&changed).await.unwrap_err();
    assert!(matches!(refused, Refusal::Changed(_)), "{refused}");
    assert!(refused.to_string().contains("was changed"), "{refused}");

    let forced = v1::PlanChangeRequest { force: true, ..bench.request(&update) };
    let deleted = bench.changes.plan(&bench.who("chief"), forced).await.unwrap();
    bench.servers().delete("web", &Default::default()).await.unwrap();
    let refused = bench.changes.apply(&bench.who("chief"), approval(&deleted)).await.unwrap_err();
    assert!(refused.to_string().contains("was deleted"), "{refused}");

    let appears = bench.planned(THREE).await;
    bench.kubectl(THREE).await;
    let refused = bench.apply(&appears).await.unwrap_err();
    assert!(refused.to_string().contains("was created by somebody else"), "{refused}");
    assert_eq!(bench.writes().len(), before, "nothing was written since");
    assert_eq!(
        bench.server("web").await.unwrap().data["spec"]["port"],
        8080,
        "what somebody else made stands"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_taken_away_since_the_plan_is_missed() {
    let bench = Bench::new("revoked").await;
    let plan = bench.planned(THREE).await;
    let bindings: kube::Api<k8s_openapi::api::rbac::v1::RoleBinding> =
        kube::Api::namespaced(bench.admin.clone(), &bench.namespace);
    bindings.delete("policies", &Default::default()).await.unwrap();
    let gone = wait::until("the authorizer has heard of it", LIMIT, async || {
        bench.changes.plan(&bench.who("editor"), bench.request(THREE)).await.err()
    });
    gone.await.unwrap();
    let refused = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(refused, Refusal::Forbidden { .. }), "{refused}");
    assert_eq!(bench.writes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_api_simulates_and_changes_nothing() {
    let bench = Bench::new("readonly").await;
    let applied = bench.applied(THREE).await;
    let read_only = bench.another(|options| linkerd_mcp_api::change::Options { read_only: true, ..options });
    let editor = bench.who("editor");
    let before = bench.writes();
    let update = bench.request(&THREE.replace("HTTP/1", "HTTP/2"));
    assert!(matches!(read_only.plan(&editor, update.clone()).await, Err(Refusal::ReadOnly)));
    let simulated = v1::PlanChangeRequest { simulate_only: true, ..update.clone() };
    let known = wait::until("the graph has it", LIMIT, async || (bench.in_graph().len() == 3).then_some(()));
    known.await.unwrap();
    let planned = read_only.plan(&editor, simulated).await.unwrap();
    assert_eq!((planned.plan.as_str(), planned.objects[0].action.as_str()), ("", "update"));
    assert!(planned.notes.iter().any(|it| it.contains("--read-only")), "{:?}", planned.notes);
    let plan = bench.planned(&update.manifest).await;
    assert!(matches!(read_only.apply(&editor, approval(&plan)).await, Err(Refusal::ReadOnly)));
    let rollback = v1::RollbackChangeRequest { change_id: applied.change_id, ..Default::default() };
    assert!(matches!(read_only.rollback(&editor, rollback).await, Err(Refusal::ReadOnly)));
    assert_eq!(bench.writes(), before);
    assert!(bench.apply(&plan).await.unwrap().accepted, "the plan was not used up by that");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused_with_what_to_do() {
    let bench = Bench::new("nonsense").await;
    let refused = async |asked: v1::PlanChangeRequest| {
        bench.changes.plan(&bench.who("editor"), asked).await.unwrap_err().to_string()
    };
    let twice = format!("{THREE}---{THREE}");
    for (manifest, expected) in [
        ("", "there is nothing to change"),
        ("a: [", "document 1 of the manifest is neither YAML nor JSON"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}", "cannot be changed here"),
        (&twice, "is in the request twice"),
        (&"x".repeat((1 << 20) + 1), "1 MiB"),
    ] {
        let said = refused(bench.request(manifest)).await;
        assert!(said.contains(expected), "{said}");
    }
    let ns = &bench.namespace;
    for id in ["server/x", "pod/a/b", "server/../web", &format!("server/{ns}/web?x"), ""] {
        let asked = v1::PlanChangeRequest { removes: vec![id.to_owned()], ..Default::default() };
        let said = refused(asked).await;
        assert!(said.contains("no id of an object that can be deleted"), "{id}: {said}");
    }
    let guard = |seconds, denied_rps, success_rate| v1::ApplyPlanRequest {
        plan: String::new(),
        reason: String::new(),
        guard: Some(v1::Guard { seconds, denied_rps, success_rate }),
    };
    for asked in [
        guard(29, None, None),
        guard(3_601, None, None),
        guard(60, Some(-1.0), None),
        guard(60, Some(f64::NAN), None),
        guard(60, None, Some(1.1)),
        v1::ApplyPlanRequest { reason: "x".repeat(257), ..Default::default() },
    ] {
        let refused = bench.changes.apply(&bench.who("editor"), asked).await.unwrap_err();
        assert!(matches!(refused, Refusal::Invalid(_)), "{refused}");
    }
    assert_eq!(bench.writes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_the_api_server_itself_refuses_a_write_on_another_version() {
    // What every write of ours is made of, without the look before it, in the last millisecond.
    let bench = Bench::new("versions").await;
    let apply = async |resource_version: &str| {
        let body = serde_json::json!({
            "apiVersion": "policy.linkerd.io/v1beta3",
            "kind": "Server",
            "metadata": {"name": "web", "namespace": bench.namespace, "resourceVersion": resource_version},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "port": 8080},
        });
        let params = kube::api::PatchParams::apply("linkerd-mcp");
        bench.servers().patch("web", &params, &kube::api::Patch::Apply(&body)).await
    };
    let code = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        error => panic!("{error}"),
    };
    let made = apply("1").await.unwrap();
    assert_eq!(code(apply("1").await.unwrap_err()), 409, "what is there is not made");
    let version = made.metadata.resource_version.unwrap();
    bench.kubectl(&THREE.replace("HTTP/1", "HTTP/2")).await;
    assert_eq!(code(apply(&version).await.unwrap_err()), 409, "another version is not overwritten");
    let now = bench.server("web").await.unwrap().metadata.resource_version.unwrap();
    apply(&now).await.unwrap();
}
