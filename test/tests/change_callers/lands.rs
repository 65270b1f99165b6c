//! An editor's change lands, whichever listener it comes by, and whoever watches hears of it.

use super::{
    bench::{Bench, LANDED, LIMIT, told},
    caller::{Caller, POD, account, identity},
};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::web::THREE;

#[tokio::test(flavor = "multi_thread")]
async fn an_editors_plan_lands_and_is_seen_by_who_watched_before() {
    let bench = Bench::new("lands").await;
    let (editor, viewer) = (account(&bench, "editor").await, account(&bench, "viewer").await);
    let mut watch = bench.watch().await;
    let mut ours = viewer.client(&bench);
    let mut ours = ours.watch_mesh_graph(v1::WatchMeshGraphRequest::default()).await.unwrap().into_inner();
    let first = ours.message().await.unwrap().unwrap();
    let id = format!("server/{}/web", bench.namespace);
    assert!(!format!("{first:?}").contains(&id), "it is there already");

    let plan = bench.planned(&editor, THREE).await;
    assert_eq!(bench.writes(), Vec::<String>::new(), "a plan writes nothing");
    assert!(bench.tries().len() >= 3, "what is tried is not seen in the audit log");
    let applied = bench.apply(&editor, &plan).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    assert_eq!(bench.writes(), LANDED);
    told(&mut watch, Some(8080)).await;
    let seen = tokio::time::timeout(LIMIT, async {
        while !format!("{:?}", ours.message().await.unwrap().unwrap()).contains(&id) {}
    });
    seen.await.expect("a watcher of ours is told of it");

    // Who did it is in the list, which a viewer may see.
    let asked = v1::ListChangesRequest { change_id: applied.change_id, ..Default::default() };
    let listed = viewer.client(&bench).list_changes(asked).await.unwrap().into_inner().changes;
    let by: Vec<_> = listed.iter().map(|it| (it.by.as_str(), it.proof.as_str())).collect();
    assert_eq!(by, [(format!("system:serviceaccount:{}:editor", bench.namespace).as_str(), "token")]);

    // To plan a deletion is to try it, and the audit log says so too.
    let asked = v1::PlanChangeRequest { removes: vec![id], ..v1::PlanChangeRequest::default() };
    let planned = editor.client(&bench).plan_change(asked).await.unwrap().into_inner();
    assert!(!planned.plan.is_empty(), "{:#?}", planned.concerns);
    assert_eq!(bench.tries().last().unwrap(), "delete servers/web 200");
    assert_eq!(bench.writes(), LANDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_person_changes_policy_over_the_mesh_and_with_a_certificate() {
    let bench = Bench::new("ways").await;
    let mut watch = bench.watch().await;
    let over_tls = Caller::tls(&bench.authority, Some(&bench.certificate("editor")));
    let over_mesh = Caller::mesh(POD).with("l5d-client-id", &identity(&bench, "editor"));
    for (caller, port) in [(&over_tls, 8080), (&over_mesh, 8081)] {
        let plan = bench.planned(caller, &THREE.replace("8080", &port.to_string())).await;
        let applied = bench.apply(caller, &plan).await.unwrap();
        assert!(applied.accepted, "{applied:#?}");
        told(&mut watch, Some(port)).await;
    }
    let asked = v1::ListChangesRequest { namespace: bench.namespace.clone(), ..Default::default() };
    let listed = over_mesh.client(&bench).list_changes(asked).await.unwrap().into_inner().changes;
    let proofs: Vec<_> = listed.iter().map(|it| it.proof.as_str()).collect();
    assert_eq!(proofs, ["mesh", "certificate"]);
}
