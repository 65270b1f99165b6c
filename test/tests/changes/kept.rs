//! Where plans and changes are kept: any replica goes on, and without the store nothing is written.

use super::bench::{Bench, USER, approval};
use linkerd_mcp_api::{
    change::{Keep, Options, Refusal},
    feed::redis::RedisServer,
};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::proxy::{Behaviour, Proxy};
use linkerd_mcp_test::web::THREE;

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_one_replica_is_applied_by_another_and_undone_by_a_third() {
    let bench = Bench::new("replicas").await;
    let plan = bench.planned(THREE).await;
    let editor = bench.who("editor");
    let applied = bench.another(|it| it).apply(&editor, approval(&plan)).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    let asked = v1::RollbackChangeRequest { change_id: applied.change_id, ..Default::default() };
    assert!(bench.another(|it| it).rollback(&editor, asked).await.unwrap().accepted);
    let listed = v1::ListChangesRequest { namespace: bench.namespace.clone(), ..Default::default() };
    let listed = bench.changes.list(&editor, listed).await.unwrap();
    let outcomes: Vec<_> = listed.changes.iter().map(|it| it.outcome.as_str()).collect();
    assert_eq!(outcomes, ["applied", "rolled_back"], "the newest first");
    // Nothing that was asked of Redis was refused by its ACL.
    let denied: Vec<redis::Value> = bench.redis.run("ACL LOG").await.unwrap();
    assert_eq!(denied, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_by_those_who_may_see_their_namespace() {
    let (bench, other) = (Bench::new("mine").await, Bench::new("theirs").await);
    let applied = bench.applied(THREE).await;
    let everything = v1::ListChangesRequest::default();
    let mine = bench.changes.list(&bench.who("editor"), everything).await.unwrap();
    assert!(mine.changes.iter().flat_map(|it| &it.objects).all(|it| it.id.contains(&bench.namespace)));
    assert!(mine.notes.iter().any(|it| it.contains("limited to what you may see")), "{:?}", mine.notes);
    assert!(mine.changes.iter().any(|it| it.change_id == applied.change_id));
    let asked = v1::ListChangesRequest {
        change_id: applied.change_id.clone(),
        namespace: other.namespace.clone(),
        ..Default::default()
    };
    assert_eq!(other.changes.list(&other.who("editor"), asked).await.unwrap().changes, []);
    let by_id = v1::ListChangesRequest { change_id: applied.change_id.clone(), ..Default::default() };
    assert_eq!(bench.changes.list(&bench.who("editor"), by_id.clone()).await.unwrap().changes.len(), 1);
    assert_eq!(other.changes.list(&other.who("editor"), by_id).await.unwrap().changes, []);
    let asked = v1::ListChangesRequest { namespace: bench.namespace.clone(), ..Default::default() };
    let refused = other.changes.list(&other.who("editor"), asked).await.unwrap_err();
    assert!(matches!(refused, Refusal::Forbidden { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_planned_and_nothing_is_written() {
    let bench = Bench::new("away").await;
    let proxy = Proxy::start(bench.redis.address()).unwrap();
    let server = RedisServer {
        connect_timeout: std::time::Duration::from_millis(500),
        command_timeout: std::time::Duration::from_millis(500),
        ..RedisServer::new(format!("redis://{USER}:pw@{}", proxy.address()))
    };
    let keep = Keep::Redis { server: Box::new(server), prefix: String::new() };
    let changes = bench.another(|options| Options { keep, ..options });
    let editor = bench.who("editor");
    let plan = changes.plan(&editor, bench.request(THREE)).await.unwrap();
    proxy.behave(Behaviour::Refuse);
    proxy.cut();
    let refused = changes.plan(&editor, bench.request(THREE)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Store(_)), "{refused}");
    let refused = changes.apply(&editor, approval(&plan)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Store(_)), "{refused}");
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The plan was not taken, so another replica can still apply it.
    assert!(bench.apply(&plan).await.unwrap().accepted);
    assert_eq!(bench.writes().len(), 3);
}
