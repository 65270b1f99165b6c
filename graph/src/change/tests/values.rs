//! Manifests, differences, owners, and single simulations as whole values.

use super::world::{World, account, edge, identity, manifest, on, policy_spec, server_spec};
use crate::{
    change::{
        CHANGEABLE, Edit, Impact, Manifest, diff,
        diff::FieldChange,
        edit::Verb,
        owner,
        owner::{Tool, patch_for_repository},
        simulate,
    },
    id::WorkloadId,
    kind::Kind,
    metrics::EdgeMetrics,
    policy::{Decision, Objects},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn server() -> Value {
    json!({
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "Server",
        "metadata": {"name": "s", "namespace": "shop", "creationTimestamp": null},
        "spec": {"podSelector": {}, "port": 8080}
    })
}

fn wrong(change: impl FnOnce(&mut Value)) -> String {
    let mut value = server();
    change(&mut value);
    Manifest::read(&value).unwrap_err().sentence()
}

#[test]
fn a_manifest_is_read_and_written_again() {
    let mut value = server();
    value["metadata"]["labels"] = json!({"team": "x"});
    value["metadata"]["annotations"] =
        json!({"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let manifest = Manifest::read(&value).unwrap();
    assert_eq!((manifest.kind, manifest.key().to_string()), (Kind::Server, "shop/s".to_owned()));
    let written = json!({
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "Server",
        "metadata": {"name": "s", "namespace": "shop", "labels": {"team": "x"}, "annotations": {"a": "b"}},
        "spec": {"podSelector": {}, "port": 8080}
    });
    assert_eq!(manifest.value(), written);
    assert_eq!(Manifest::read(&written).unwrap(), manifest);
}

#[test]
fn every_changeable_kind_is_read_in_every_version_it_is_known_in() {
    for kind in CHANGEABLE {
        let spec = match kind {
            Kind::AuthorizationPolicy => policy_spec(on("Server", "s"), &[account("web")]),
            Kind::MeshTLSAuthentication => json!({"identities": ["*"]}),
            Kind::NetworkAuthentication => json!({"networks": [{"cidr": "10.0.0.0/8"}]}),
            Kind::Server => json!({"podSelector": {}, "port": 80}),
            _ => json!({"parentRefs": [on("Server", "s")], "rules": []}),
        };
        for version in kind.row().versions {
            let mut value = manifest(kind, "x", spec.clone()).value();
            value["apiVersion"] = json!(format!("{}/{version}", kind.row().group));
            assert_eq!(Manifest::read(&value).unwrap().kind, kind);
        }
    }
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_with_what_to_do() {
    let cases: [(&str, String); 18] = [
        ("this is a list", Manifest::read(&json!([])).unwrap_err().sentence()),
        ("`apiVersion` is missing", wrong(|it| it["apiVersion"] = json!(""))),
        (
            "v1 Secret cannot be changed here; what can: policy.linkerd.io AuthorizationPolicy,",
            wrong(|it| {
                it["apiVersion"] = json!("v1");
                it["kind"] = json!("Secret");
            }),
        ),
        (
            "policy.linkerd.io/v1beta1 ServerAuthorization cannot be changed here",
            wrong(|it| {
                it["apiVersion"] = json!("policy.linkerd.io/v1beta1");
                it["kind"] = json!("ServerAuthorization");
            }),
        ),
        (
            "give each by itself",
            wrong(|it| {
                it["kind"] = json!("ServerList");
                it["items"] = json!([]);
            }),
        ),
        (
            "no version `v9` that is known here: write policy.linkerd.io/v1beta3 or",
            wrong(|it| {
                it["apiVersion"] = json!("policy.linkerd.io/v9");
            }),
        ),
        ("`metadata.name` is missing", wrong(|it| it["metadata"]["name"] = Value::Null)),
        ("`metadata.namespace` is missing", wrong(|it| it["metadata"]["namespace"] = json!(""))),
        ("`metadata` is missing", wrong(|it| it["metadata"] = Value::Null)),
        ("generateName", wrong(|it| it["metadata"]["generateName"] = json!("s-"))),
        ("`status` is written by Linkerd", wrong(|it| it["status"] = json!({}))),
        (
            "`metadata.resourceVersion` is set by the API server",
            wrong(|it| it["metadata"]["resourceVersion"] = json!("7")),
        ),
        ("`metadata.ownerReferences` is set by", wrong(|it| it["metadata"]["ownerReferences"] = json!([]))),
        ("`metadata.nmae` is no field", wrong(|it| it["metadata"]["nmae"] = json!("s"))),
        ("`sepc` is no field", wrong(|it| it["sepc"] = json!({}))),
        (
            "`metadata.labels.a` must be an object of texts",
            wrong(|it| it["metadata"]["labels"] = json!({"a": 1})),
        ),
        ("`metadata.name` is `S`, which is no name", wrong(|it| it["metadata"]["name"] = json!("S"))),
        ("256", wrong(|it| it["spec"]["x"] = json!("y".repeat(300_000)))),
    ];
    for (part, sentence) in cases {
        assert!(
            sentence.contains(part) || part == "256" && sentence.contains("262144 are the most"),
            "{sentence}"
        );
    }
    let namespace = wrong(|it| it["metadata"]["namespace"] = json!("a.b"));
    assert!(namespace.contains("no name for Kubernetes"), "{namespace}");
}

#[test]
fn a_spec_that_linkerd_would_ignore_is_said_to_be_one() {
    assert_eq!(
        wrong(|it| it["spec"] = json!({"port": 80})),
        "the spec of Server shop/s is one that Linkerd ignores: it has neither podSelector nor externalWorkloadSelector"
    );
    let route = json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "HTTPRoute",
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": {"parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "s", "port": 80}]}
    });
    let sentence = Manifest::read(&route).unwrap_err().sentence();
    assert!(sentence.contains("names a port or section of its parent Server `s`"), "{sentence}");
}

#[test]
fn an_object_of_the_api_server_is_read_without_what_the_server_set() {
    let mut live = server();
    live["metadata"]["uid"] = json!("1");
    live["metadata"]["managedFields"] = json!([{}]);
    live["status"] = json!({});
    assert_eq!(Manifest::of_live(&live).unwrap(), Manifest::read(&server()).unwrap());
}

#[test]
fn a_difference_shows_lines_with_context_and_names_fields() {
    let objects = World::new().object(Kind::Server, "s", server_spec(json!("http"), json!({}))).made();
    let edit = objects.put(Kind::Server, "s", server_spec(json!("http"), json!({"accessPolicy": "audit"})));
    let diff = diff(&edit);
    assert_eq!((diff.verb, diff.added, diff.removed, diff.left_out), (Verb::Update, 1, 0, 0));
    assert_eq!(
        diff.text,
        "   name: s\n   namespace: shop\n spec:\n+  accessPolicy: audit\n   podSelector:\n     matchLabels:\n       app: db\n"
    );
    let field = FieldChange { path: "spec.accessPolicy".into(), before: None, after: Some(json!("audit")) };
    assert_eq!(diff.fields, [field]);
    assert!(
        super::super::diff(&objects.put(Kind::Server, "s", server_spec(json!("http"), json!({})))).is_empty()
    );
}

#[test]
fn fields_are_named_by_their_paths() {
    let objects =
        World::new().object(Kind::MeshTLSAuthentication, "m", json!({"identities": ["a", "b", "c"]})).made();
    let mut after = manifest(Kind::MeshTLSAuthentication, "m", json!({"identities": ["a", "x"]}));
    after.labels = Arc::new([("app.kubernetes.io/name".into(), "y".into())].into_iter().collect());
    let edit = Edit::put(objects.policies.objects(), &after);
    let paths: Vec<String> = diff(&edit).fields.into_iter().map(|field| field.path).collect();
    assert_eq!(paths, ["metadata.labels", "spec.identities[1]", "spec.identities[2]"]);
}

#[test]
fn a_long_difference_says_how_many_lines_it_left_out() {
    let many: Vec<String> = (0..5_000).map(|at| format!("x{at}")).collect();
    let after = manifest(Kind::MeshTLSAuthentication, "m", json!({"identities": many}));
    let diff = diff(&Edit::put(&Objects::default(), &after));
    assert_eq!(diff.text.lines().count(), 400);
    assert_eq!(diff.left_out, 5_000 + 7 - 400);
    assert_eq!(diff.verb, Verb::Create);
}

#[test]
fn tools_that_keep_an_object_are_known_by_their_marks() {
    let of = |metadata: Value| owner(&json!({"metadata": metadata})).map(|owner| (owner.tool, owner.name));
    let cases = [
        (json!({"labels": {"argocd.argoproj.io/instance": "shop"}}), Tool::ArgoCd, "shop"),
        (
            json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:policy.linkerd.io/Server:shop/s"}}),
            Tool::ArgoCd,
            "shop",
        ),
        (
            json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}),
            Tool::Flux,
            "Kustomization flux-system/apps",
        ),
        (
            json!({"labels": {"app.kubernetes.io/managed-by": "Helm", "helm.toolkit.fluxcd.io/name": "web"}}),
            Tool::Flux,
            "HelmRelease web",
        ),
        (
            json!({"labels": {"app.kubernetes.io/managed-by": "Helm"},
                   "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}}),
            Tool::Helm,
            "shop/web",
        ),
        (
            json!({"managedFields": [{"manager": "kubectl"}, {"manager": "kustomize-controller"}]}),
            Tool::Flux,
            "",
        ),
        (json!({"managedFields": [{"manager": "argocd-controller"}]}), Tool::ArgoCd, ""),
        (
            json!({"ownerReferences": [{"kind": "Policy", "name": "p", "controller": true}]}),
            Tool::Controller,
            "Policy p",
        ),
    ];
    for (metadata, tool, name) in cases {
        assert_eq!(of(metadata.clone()), Some((tool, name.to_owned())), "{metadata}");
    }
    for nobody in [
        json!({}),
        json!({"labels": {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "somebody"}}),
        json!({"managedFields": [{"manager": "linkerd-mcp"}, {"manager": "kubectl-client-side-apply"}]}),
    ] {
        assert_eq!(of(nobody.clone()), None, "{nobody}");
    }
    let sentence =
        owner(&json!({"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}})).unwrap().sentence;
    assert_eq!(
        sentence,
        "The object is kept by Argo CD (Application shop): it would undo a change made here; make it in the repository that it reads instead."
    );
}

#[test]
fn the_patch_for_a_repository_is_the_manifest_and_a_deletion_is_a_comment() {
    let made = World::new().object(Kind::Server, "s", server_spec(json!("http"), json!({}))).made();
    let put = made.put(Kind::Server, "s", server_spec(json!(9090), json!({})));
    let read: Value = serde_yaml::from_str(&patch_for_repository(&put)).unwrap();
    assert_eq!(Manifest::read(&read).unwrap().object().spec, put.after.clone().unwrap().spec);
    let gone = patch_for_repository(&made.delete(Kind::Server, "s"));
    assert!(gone.lines().all(|line| line.starts_with('#')) && gone.contains("#   name: s"), "{gone}");
}

fn flows(impact: &Impact) -> [Vec<String>; 3] {
    let ids = |flows: &crate::change::Flows| flows.flows.iter().map(|flow| flow.edge.to_string()).collect();
    [ids(&impact.newly_denied), ids(&impact.newly_allowed), ids(&impact.audited)]
}

/// The wrong policy: whoever wrote it forgot the caller in the other namespace and the unmeshed one.
#[test]
fn a_wrong_policy_is_foretold_with_the_calls_that_it_breaks() {
    let made = World::new().with_calls().made();
    let edits = [
        made.put(Kind::Server, "s", server_spec(json!("http"), json!({}))),
        made.put(Kind::AuthorizationPolicy, "a", policy_spec(on("Server", "s"), &[account("web")])),
    ];
    let impact = simulate(&made.mesh(), &edits);
    let denied = [
        "other/deployment/web->shop/deployment/db:8080",
        "shop/deployment/bot->shop/db:80",
        "identity:spiffe://root/vm->shop/deployment/db:8080",
        "legacy/deployment/old->shop/db:80",
        "unmeshed:no_tls_from_remote->shop/deployment/db:8080",
    ];
    assert_eq!(flows(&impact), [denied.map(str::to_owned).to_vec(), Vec::new(), Vec::new()]);
    assert_eq!((impact.newly_denied.count, impact.newly_denied.rps), (5, Some(32.0)));
    // `web` is let in; of the edge without a port nothing can be said.
    assert_eq!((impact.unchanged, impact.unknown_count, impact.unknown_rps), (1, 1, Some(3.0)));
    let first = &impact.newly_denied.flows[0];
    assert_eq!((first.before, first.after, first.port), (Decision::Allow, Decision::Deny, 8080));
    assert_eq!(first.workloads, [WorkloadId::new("shop", "deployment", "db")]);
    let reasons: Vec<String> = first.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "server/shop/s selects the port (detect)",
            "authorizationpolicy/shop/a does not let the client in: the client has another identity",
            "requests like the kubelet's probes would be let in",
        ]
    );
    // Nobody calls from `prometheus`, and it loses the permission.
    let permission = &impact.permissions[0];
    assert!(permission.gains.is_nobody());
    assert!(permission.loses.any_meshed && !permission.loses.unmeshed);
    assert_eq!(permission.loses.identities, [identity("shop", "db"), identity("linkerd-viz", "prometheus")]);
}

#[test]
fn an_audited_server_denies_nothing_and_shows_who_would_be_denied() {
    let made = World::new().with_calls().made();
    let edits = [
        made.put(Kind::Server, "s", server_spec(json!("http"), json!({"accessPolicy": "audit"}))),
        made.put(Kind::AuthorizationPolicy, "a", policy_spec(on("Server", "s"), &[account("web")])),
    ];
    let impact = simulate(&made.mesh(), &edits);
    assert_eq!((impact.newly_denied.count, impact.audited.count, impact.unchanged), (0, 5, 1));
}

#[test]
fn calls_that_a_probe_alone_lets_in_are_judged_as_probes() {
    let numbers =
        EdgeMetrics { rps: Some(0.2), authorized_by: ["probe".into()].into(), ..EdgeMetrics::default() };
    let kubelet = edge("unmeshed:no_tls_from_remote", "shop/deployment/db:8080", None);
    let world = World::new()
        .object(Kind::Server, "s", server_spec(json!("http"), json!({})))
        .measured(kubelet, numbers);
    let made = world.made();
    let policy = made.put(Kind::AuthorizationPolicy, "a", policy_spec(on("Server", "s"), &[account("web")]));
    let impact = simulate(&made.mesh(), &[policy]);
    assert_eq!((impact.judged(), impact.unchanged), (1, 1));
    let route = json!({"parentRefs": [on("Server", "s")], "rules": [{"matches": [{"path": {"type": "Exact", "value": "/x"}}]}]});
    let impact = simulate(&made.mesh(), &[made.put(Kind::LinkerdHTTPRoute, "x", route)]);
    assert_eq!(impact.newly_denied.flows[0].after, Decision::UnmatchedRoute);
}

#[test]
fn requests_that_fare_differently_by_route_are_unknown_and_those_that_agree_are_not() {
    let call = || edge("shop/deployment/web", "shop/db:80", Some(&identity("shop", "web")));
    let route = |name: &str, path: &str| {
        let rule = json!([{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}]);
        (name.to_owned(), json!({"parentRefs": [on("Server", "s")], "rules": rule}))
    };
    let mut world =
        World::new().object(Kind::Server, "s", server_spec(json!("http"), json!({}))).calls(call(), 1.0);
    for (name, spec) in [route("x", "/x"), route("all", "/")] {
        world = world.object(Kind::LinkerdHTTPRoute, &name, spec);
    }
    let made = world.made();
    let on_route = |name: &str| {
        made.put(Kind::AuthorizationPolicy, name, policy_spec(on("HTTPRoute", name), &[account("web")]))
    };
    let one = simulate(&made.mesh(), &[on_route("x")]);
    assert_eq!((one.unknown_count, one.newly_allowed.count), (1, 0));
    assert_eq!(
        one.unknown[0].sentence,
        "requests fare differently by route, and paths and methods are not known: now refused on HTTPRoute/x, refused on \
         HTTPRoute/all; after it let in on HTTPRoute/x, refused on HTTPRoute/all"
    );
    let both = simulate(&made.mesh(), &[on_route("x"), on_route("all")]);
    assert_eq!((both.unknown_count, both.newly_allowed.count), (0, 1));
}

#[test]
fn a_deletion_of_nothing_and_an_edit_elsewhere_touch_no_port() {
    let made = World::new().with_calls().made();
    let gone = simulate(&made.mesh(), &[made.delete(Kind::Server, "x")]);
    assert!(gone.is_nothing() && gone.judged() == 0);
    assert_eq!(gone.notes, ["No port of a workload that runs now is served otherwise after this."]);
}
