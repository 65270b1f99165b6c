//! What is proposed from the calls that are seen can be planned as it is.

use super::guarded::Watched;
use linkerd_mcp_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_lets_in_what_is_seen_and_can_be_planned_and_applied() {
    let watched = Watched::new("proposed").await;
    let (changes, ns) = (watched.changes(|it| it), &watched.bench.namespace);
    let editor = watched.bench.who("editor");
    let asked = v1::ProposePolicyRequest { target: format!("{ns}/pod/web"), ..Default::default() };
    let proposed = changes.propose(&editor, asked.clone()).await.unwrap();
    let covered: Vec<_> = proposed.covered.iter().map(|it| (it.from.clone(), it.port)).collect();
    assert_eq!(covered, [(format!("{ns}/pod/web"), 8080)], "{proposed:#?}");
    assert!(proposed.manifest.contains("accessPolicy: audit"), "{}", proposed.manifest);
    let planned = changes.plan(&editor, watched.bench.request(&proposed.manifest)).await.unwrap();
    assert!(!planned.plan.is_empty(), "{:#?}", planned.concerns);
    assert_eq!(planned.impact.unwrap().newly_denied_count, 0);
    let refused = changes.propose(&watched.bench.who("viewer"), asked).await.unwrap_err();
    assert!(refused.to_string().contains("that you may plan for"), "{refused}");
    for (target, namespace) in [("", ""), ("nobody", ns.as_str()), ("", "../x"), ("external:1.2.3.4:80", "")]
    {
        let asked = v1::ProposePolicyRequest {
            target: target.to_owned(),
            namespace: namespace.to_owned(),
            ..Default::default()
        };
        changes.propose(&editor, asked).await.unwrap_err();
    }
}
