//! What is planned and approved lands, and nothing else.

use super::bench::{Bench, LIMIT, approval};
use kube::{Api, api::ListParams};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::wait;
use linkerd_mcp_test::web::THREE;

fn actions(objects: &[v1::AppliedObject]) -> Vec<String> {
    objects.iter().map(|it| format!("{} {}", it.action, it.id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editors_plan_is_applied_in_order_and_a_watcher_sees_it() {
    let bench = Bench::new("lands").await;
    let ns = &bench.namespace;
    let plan = bench.planned(THREE).await;
    let planned: Vec<_> = plan.objects.iter().map(|it| (it.action.as_str(), it.id.clone())).collect();
    assert_eq!(
        planned,
        [
            ("create", format!("server/{ns}/web")),
            ("create", format!("authorizationpolicy/{ns}/web")),
            ("create", format!("meshtlsauthentication/{ns}/clients")),
        ]
    );
    assert!(plan.objects[0].diff.contains("+  port: 8080\n"), "{}", plan.objects[0].diff);
    // What the API server would store, not what was written.
    assert!(plan.objects[0].diff.contains("+  accessPolicy: deny\n"), "{}", plan.objects[0].diff);
    assert_eq!(plan.payload_sha256.len(), 64);
    assert_eq!(bench.writes(), Vec::<String>::new(), "a plan writes nothing");
    assert_eq!(bench.server("web").await.map(drop), None);

    let mut ticks = bench.replica.ticks();
    let applied = bench.apply(&plan).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    // Speed is not asserted; that the watcher need not ask again is.
    let seen = tokio::time::timeout(LIMIT, async {
        while bench.in_graph().len() < 3 {
            ticks.changed().await.unwrap();
        }
    });
    seen.await.unwrap();
    assert_eq!(
        actions(&applied.objects),
        [
            format!("create meshtlsauthentication/{ns}/clients"),
            format!("create authorizationpolicy/{ns}/web"),
            format!("create server/{ns}/web"),
        ],
        "what lets in before what refuses"
    );
    assert_eq!(
        bench.writes(),
        [
            "patch meshtlsauthentications/clients 201",
            "patch authorizationpolicies/web 201",
            "patch servers/web 201",
        ]
    );
    let server = bench.server("web").await.unwrap();
    assert_eq!(server.metadata.resource_version.unwrap(), applied.objects[2].resource_version);
    let change = bench.change(&applied.change_id).await;
    assert_eq!(
        (&*change.outcome, &*change.proof, &*change.reason, &change.payload_sha256),
        ("applied", "token", "a test", &plan.payload_sha256)
    );
    assert_eq!(change.by, format!("system:serviceaccount:{ns}:editor"));
    assert_eq!(change.objects, applied.objects);
    assert!(change.diff.contains("+  port: 8080\n"), "{}", change.diff);

    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(bench.admin.clone(), ns);
    let seen = wait::until("every object has an Event", LIMIT, async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        (events.len() == 3).then_some(events)
    });
    for event in seen.await.unwrap() {
        assert_eq!(event.reason.as_deref(), Some("PolicyApplied"));
        let note = event.note.unwrap();
        assert!(
            note.contains(&applied.change_id) && note.contains("editor") && note.len() <= 1_000,
            "{note}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_a_deletion_and_what_stays_are_told_apart() {
    let bench = Bench::new("updates").await;
    let ns = bench.namespace.clone();
    bench.applied(THREE).await;
    let wait = wait::until("the graph has it", LIMIT, async || (bench.in_graph().len() == 3).then_some(()));
    wait.await.unwrap();
    let manifest = THREE.replace("port: 8080, proxyProtocol: HTTP/1", "port: 8080, proxyProtocol: HTTP/2");
    let asked = v1::PlanChangeRequest { removes: vec![], ..bench.request(&manifest) };
    let plan = bench.changes.plan(&bench.who("editor"), asked).await.unwrap();
    let planned: Vec<_> = plan.objects.iter().map(|it| it.action.as_str()).collect();
    assert_eq!(planned, ["update", "unchanged", "unchanged"], "{:#?}", plan.concerns);
    assert!(plan.objects[0].diff.contains("-  proxyProtocol: HTTP/1\n+  proxyProtocol: HTTP/2\n"));
    let applied = bench.apply(&plan).await.unwrap();
    assert_eq!(actions(&applied.objects), [format!("update server/{ns}/web")]);

    let asked = v1::PlanChangeRequest {
        removes: vec![
            format!("meshtlsauthentication/{ns}/clients"),
            format!("server/{ns}/web"),
            format!("authorizationpolicy/{ns}/web"),
        ],
        ..v1::PlanChangeRequest::default()
    };
    let plan = bench.changes.plan(&bench.who("editor"), asked).await.unwrap();
    assert!(!plan.plan.is_empty(), "{:#?}", plan.concerns);
    let applied = bench.apply(&plan).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    assert_eq!(
        actions(&applied.objects),
        [
            format!("delete server/{ns}/web"),
            format!("delete authorizationpolicy/{ns}/web"),
            format!("delete meshtlsauthentication/{ns}/clients"),
        ]
    );
    let gone =
        wait::until("it is gone from the graph", LIMIT, async || bench.in_graph().is_empty().then_some(()));
    gone.await.unwrap();

    let asked = v1::PlanChangeRequest {
        removes: vec![format!("server/{ns}/web")],
        ..v1::PlanChangeRequest::default()
    };
    let refused = bench.changes.plan(&bench.who("editor"), asked).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("there is no Server {ns}/web to delete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_what_an_admission_policy_says_is_the_reason_word_for_word() {
    // The dry run passes, and the write is refused.
    let bench = Bench::new("admission").await;
    let late = bench.planned(THREE).await;
    let policy = format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {ns}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}
    resourceRules: [{{apiGroups: [policy.linkerd.io], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [servers]}}]
  validations: [{{expression: 'object.spec.port != 8080', message: 'port 8080 is for the old gateway'}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {ns}}}
spec: {{policyName: {ns}, validationActions: [Deny]}}
",
        ns = bench.namespace
    );
    linkerd_mcp_test::mesh::apply(&bench.admin, &policy).await.unwrap();
    let said = wait::until("the policy is in force", LIMIT, async || {
        let planned = bench.changes.plan(&bench.who("editor"), bench.request(THREE)).await.unwrap();
        let concern = planned.concerns.into_iter().find(|it| it.code == "not-admitted")?;
        Some((planned.plan, concern))
    });
    let (token, concern) = said.await.unwrap();
    assert_eq!(token, "", "what is not admitted cannot be applied");
    assert!(concern.refuses && concern.text.contains("port 8080 is for the old gateway"), "{concern:#?}");
    assert_eq!(concern.objects, [format!("server/{}/web", bench.namespace)]);

    // The plan from before the policy: what was written before the Server is undone.
    let applied = bench.apply(&late).await.unwrap();
    assert!(!applied.accepted);
    assert!(applied.text.contains("port 8080 is for the old gateway"), "{}", applied.text);
    assert!(applied.text.contains("nothing is changed"), "{}", applied.text);
    let outcomes: Vec<_> = applied.objects.iter().map(|it| it.action.as_str()).collect();
    assert_eq!(outcomes, ["restored", "restored", "failed"]);
    for (version, kind, name) in
        [("v1alpha1", "AuthorizationPolicy", "web"), ("v1alpha1", "MeshTLSAuthentication", "clients")]
    {
        let objects = bench.objects("policy.linkerd.io", version, kind);
        assert!(objects.get_opt(name).await.unwrap().is_none(), "{kind} is left");
    }
    assert_eq!(bench.change(&applied.change_id).await.outcome, "failed");
    let refused = bench.rolled_back(&applied.change_id).await.unwrap_err();
    assert!(refused.to_string().contains("nothing of it is in force"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_manager_is_a_conflict_and_force_is_a_right_of_its_own() {
    let bench = Bench::new("conflict").await;
    bench.kubectl(&THREE.replace("HTTP/1", "HTTP/2")).await;
    let refused = bench.changes.plan(&bench.who("editor"), bench.request(THREE)).await.unwrap();
    let concern = refused.concerns.iter().find(|it| it.code == "field-conflict").unwrap();
    assert!(
        concern.text.contains("`.spec.proxyProtocol`") && concern.text.contains("linkerd-mcp-test"),
        "{concern:#?}"
    );
    assert_eq!(refused.plan, "");

    let forced = v1::PlanChangeRequest { force: true, ..bench.request(THREE) };
    let denied = bench.changes.plan(&bench.who("editor"), forced.clone()).await.unwrap_err();
    assert!(denied.to_string().contains("may not force changes.mcp.linkerd.io"), "{denied}");
    let chief = bench.who("chief");
    let plan =
        wait::until("the chief may", LIMIT, async || bench.changes.plan(&chief, forced.clone()).await.ok());
    let plan = plan.await.unwrap();
    assert!(!plan.plan.is_empty(), "{:#?}", plan.concerns);
    let applied = bench.changes.apply(&chief, approval(&plan)).await.unwrap();
    assert!(applied.accepted, "{applied:#?}");
    let server = bench.server("web").await.unwrap();
    assert_eq!(server.data["spec"]["proxyProtocol"], "HTTP/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flux_keeps_goes_to_the_repository() {
    let bench = Bench::new("owned").await;
    let manifest = THREE.replace("labels: {app: web}", "labels: {app: web, kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}");
    bench.kubectl(&manifest).await;
    let changed = THREE.replace("HTTP/1", "HTTP/2");
    let planned = bench.changes.plan(&bench.who("editor"), bench.request(&changed)).await.unwrap();
    assert_eq!(planned.plan, "");
    let server = &planned.objects[0];
    assert_eq!(server.owner, "Flux Kustomization flux-system/apps");
    assert!(server.repository_manifest.contains("proxyProtocol: HTTP/2"), "{}", server.repository_manifest);
    let concern = planned.concerns.iter().find(|it| it.code == "kept-elsewhere").unwrap();
    assert!(concern.refuses, "{concern:#?}");
    assert_eq!(bench.writes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_methods_for_some_kinds_plan_and_apply_those_alone() {
    let bench = Bench::new("kinds").await;
    let who = bench.who("editor");
    let asked = v1::ApplyAuthorizationPolicyRequest {
        manifest: THREE.to_owned(),
        namespace: bench.namespace.clone(),
        ..Default::default()
    };
    let planned = bench.changes.apply_authorization_policy(&who, asked.clone()).await.unwrap();
    assert!(!planned.accepted && planned.applied.is_none());
    let plan = planned.planned.unwrap().plan;
    let approved = v1::ApplyAuthorizationPolicyRequest { plan, ..asked.clone() };
    let other = v1::ApplyAuthorizationPolicyRequest { manifest: format!("{THREE} "), ..approved.clone() };
    let refused = bench.changes.apply_authorization_policy(&who, other).await.unwrap_err();
    assert!(refused.to_string().contains("not the one that was planned, to the byte"), "{refused}");
    let used = bench.changes.apply_authorization_policy(&who, approved).await.unwrap_err();
    assert!(used.to_string().contains("it was used"), "{used}");
    assert_eq!(bench.writes(), Vec::<String>::new());

    let planned =
        bench.changes.apply_authorization_policy(&who, asked.clone()).await.unwrap().planned.unwrap();
    let approved = v1::ApplyAuthorizationPolicyRequest { plan: planned.plan, ..asked };
    let applied = bench.changes.apply_authorization_policy(&who, approved).await.unwrap();
    assert!(applied.accepted && applied.applied.unwrap().objects.len() == 3);

    let route = v1::ApplyHttpRouteRequest {
        manifest: THREE.to_owned(),
        namespace: bench.namespace.clone(),
        ..Default::default()
    };
    let refused = bench.changes.apply_http_route(&who, route).await.unwrap_err();
    assert!(
        refused.to_string().contains("servers.policy.linkerd.io is none of what this method changes"),
        "{refused}"
    );
}
