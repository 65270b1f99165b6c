//! What was there before is put back, if nobody has changed it since.

use super::bench::Bench;
use linkerd_mcp_api::change::Refusal;
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::web::THREE;
use serde_json::json;

fn labels(object: &kube::api::DynamicObject) -> serde_json::Value {
    json!(object.metadata.labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_created_goes_and_comes_back_when_that_is_undone() {
    let bench = Bench::new("created").await;
    let applied = bench.applied(THREE).await;
    let undone = bench.rolled_back(&applied.change_id).await.unwrap();
    assert!(undone.accepted, "{undone:#?}");
    assert!(undone.objects.iter().all(|it| it.action == "delete"), "{undone:#?}");
    assert!(bench.server("web").await.is_none());
    let change = bench.change(&applied.change_id).await;
    assert_eq!((change.outcome.as_str(), &change.undone_by), ("rolled_back", &undone.change_id));
    let rollback = bench.change(&undone.change_id).await;
    assert_eq!((rollback.outcome.as_str(), &rollback.undoes), ("applied", &applied.change_id));
    assert!(rollback.diff.contains("-  port: 8080\n"), "{}", rollback.diff);

    let again = bench.rolled_back(&applied.change_id).await.unwrap_err();
    assert!(again.to_string().contains("was undone already"), "{again}");
    let back = bench.rolled_back(&undone.change_id).await.unwrap();
    assert!(back.accepted && back.text.contains("youngest"), "{back:#?}");
    assert_eq!(bench.server("web").await.unwrap().data["spec"]["port"], 8080);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_or_deleted_is_as_it_was() {
    let bench = Bench::new("restored").await;
    bench.applied(THREE).await;
    let before = bench.server("web").await.unwrap();
    let update =
        THREE.replace("labels: {app: web}", "labels: {app: web, tier: front}").replace("HTTP/1", "HTTP/2");
    let updated = bench.applied(&update).await;
    assert_ne!(bench.server("web").await.unwrap().data["spec"], before.data["spec"]);
    let undone = bench.rolled_back(&updated.change_id).await.unwrap();
    assert!(undone.accepted, "{undone:#?}");
    assert_eq!(undone.objects[0].action, "restored");
    let after = bench.server("web").await.unwrap();
    assert_eq!((&after.data["spec"], labels(&after)), (&before.data["spec"], labels(&before)));

    // What was put back is ours in another role, which is no conflict with ourselves.
    let updated = bench.applied(&update).await;
    assert!(bench.rolled_back(&updated.change_id).await.unwrap().accepted);

    let removes = vec![format!("server/{}/web", bench.namespace)];
    let asked = v1::PlanChangeRequest { removes, ..Default::default() };
    let plan = bench.changes.plan(&bench.who("editor"), asked).await.unwrap();
    let deleted = bench.apply(&plan).await.unwrap();
    assert!(deleted.accepted, "{deleted:#?}");
    let undone = bench.rolled_back(&deleted.change_id).await.unwrap();
    assert!(undone.accepted, "{undone:#?}");
    assert_eq!(bench.server("web").await.unwrap().data["spec"], before.data["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_changed_since_is_left_alone_and_shown() {
    let bench = Bench::new("overtaken").await;
    let applied = bench.applied(THREE).await;
    bench.kubectl(&THREE.replace("HTTP/1", "HTTP/2")).await;
    let before = bench.writes().len();
    let refused = bench.rolled_back(&applied.change_id).await.unwrap_err();
    assert!(matches!(refused, Refusal::Overtaken(_)), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("- proxyProtocol: HTTP/1") && said.contains("+ proxyProtocol: HTTP/2"), "{said}");
    assert_eq!(bench.writes().len(), before);
    assert_eq!(bench.change(&applied.change_id).await.outcome, "applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_takes_the_same_rights_as_doing() {
    let bench = Bench::new("undoing").await;
    let applied = bench.applied(THREE).await;
    let before = bench.writes().len();
    for name in ["viewer", "planner"] {
        let asked = v1::RollbackChangeRequest { change_id: applied.change_id.clone(), ..Default::default() };
        let refused = bench.changes.rollback(&bench.who(name), asked).await.unwrap_err();
        assert!(matches!(refused, Refusal::Forbidden { .. }), "{name}: {refused}");
    }
    for id in ["", "c-1-00000000", "../plan", "c-1:images"] {
        let refused = bench.rolled_back(id).await.unwrap_err();
        assert!(matches!(refused, Refusal::NotFound(_) | Refusal::Invalid(_)), "{id}: {refused}");
    }
    assert_eq!(bench.writes().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_end_was_not_written_down_can_be_undone() {
    let bench = Bench::new("unknown").await;
    bench.kubectl(&THREE.replace("name: web, labels", "name: other, labels").replace("8080", "9090")).await;
    let applied = bench.applied(THREE).await;
    // As if the process had ended after its last write.
    let id = &applied.change_id;
    let mut connection = linkerd_mcp_test::redis::connect(&bench.redis.client().unwrap()).await.unwrap();
    let keys = [format!("mcp:change:{id}"), format!("mcp:change:{id}:images")];
    for key in &keys {
        let text: String = redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        match value.as_array_mut() {
            Some(images) => {
                for image in images {
                    (image["after"], image["written"]) = (json!(null), json!(false));
                }
            }
            None => value["outcome"] = json!("unknown"),
        }
        redis::cmd("SET").arg(key).arg(value.to_string()).exec_async(&mut connection).await.unwrap();
    }
    assert_eq!(bench.change(id).await.outcome, "unknown");
    let undone = bench.rolled_back(id).await.unwrap();
    assert!(undone.accepted, "{undone:#?}");
    assert!(bench.server("web").await.is_none());
    assert!(bench.server("other").await.is_some(), "what was not of the change stays");
}
