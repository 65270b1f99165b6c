//! A case for each code, and a near miss.

use super::world::{Made, World, account, edge, identity, manifest_in, on, policy_spec, server_spec};
use crate::{
    change::{
        Concern, Edit, assess,
        concern::{Severity, codes, concerns},
    },
    fact::Key,
    kind::Kind,
    policy::ask::Mesh,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// The codes of what speaks against edits, with their severities.
fn said(made: &Made, edits: &[Edit]) -> Vec<(&'static str, Severity)> {
    let concerns = concerns(&made.mesh(), edits).unwrap();
    concerns.iter().map(|concern| (concern.code, concern.severity)).collect()
}

fn text_of(made: &Made, edits: &[Edit], code: &str) -> String {
    let concerns = concerns(&made.mesh(), edits).unwrap();
    let found: Vec<&Concern> = concerns.iter().filter(|concern| concern.code == code).collect();
    assert_eq!(found.len(), 1, "{concerns:#?}");
    found[0].text.clone()
}

const REFUSE: Severity = Severity::Refuse;
const WARN: Severity = Severity::Warn;

/// A closed Server `s` on port `http` of `db` that lets in `web`.
fn closed() -> World {
    World::new()
        .object(Kind::Server, "s", server_spec(json!("http"), json!({"accessPolicy": "deny"})))
        .object(Kind::MeshTLSAuthentication, "m", web())
        .object(Kind::AuthorizationPolicy, "a", policy_spec(on("Server", "s"), &[m()]))
}

fn m() -> Value {
    on("MeshTLSAuthentication", "m")
}

fn web() -> Value {
    json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web"}]})
}

fn route(rules: Value) -> Value {
    json!({"parentRefs": [on("Server", "s")], "rules": rules})
}

#[test]
fn an_edit_that_changes_nothing_is_refused_and_beside_others_told() {
    let made = closed().made();
    let same = made.put(Kind::MeshTLSAuthentication, "m", web());
    assert_eq!(said(&made, std::slice::from_ref(&same)), [("no-change", REFUSE)]);
    let other = made.put(
        Kind::MeshTLSAuthentication,
        "m2",
        json!({"identityRefs": [{"kind": "ServiceAccount", "name": "bot"}]}),
    );
    assert_eq!(said(&made, &[same, other]), [("no-change", WARN)]);
}

#[test]
fn deleting_what_is_not_there_is_refused() {
    let made = closed().made();
    assert_eq!(said(&made, &[made.delete(Kind::Server, "x")]), [("not-there", REFUSE)]);
}

#[test]
fn an_edit_that_nothing_observes_is_told() {
    let made = closed().made();
    let twice = json!({"identityRefs": [{"kind": "ServiceAccount", "name": "bot"}]});
    assert_eq!(said(&made, &[made.put(Kind::MeshTLSAuthentication, "unused", twice)]), [("no-effect", WARN)]);
}

#[test]
fn an_update_that_linkerd_skips_is_refused_with_what_stays_in_force() {
    let made = closed().made();
    let edits = [made.put(Kind::MeshTLSAuthentication, "m", json!({"identities": []}))];
    assert!(said(&made, &edits).contains(&("unusable", REFUSE)));
    let text = text_of(&made, &edits, "unusable");
    assert!(text.contains("stays in force until the controller restarts"), "{text}");
    let new = [made.put(Kind::MeshTLSAuthentication, "new", json!({"identities": []}))];
    assert!(!text_of(&made, &new, "unusable").contains("stays in force"));
}

#[test]
fn a_policy_is_refused_whose_reference_or_target_is_missing_unless_it_comes_with_it() {
    let made = closed().made();
    let policy = |target: Value| {
        made.put(Kind::AuthorizationPolicy, "b", policy_spec(target, &[on("NetworkAuthentication", "n")]))
    };
    let network = made.put(Kind::NetworkAuthentication, "n", json!({"networks": [{"cidr": "10.2.0.0/16"}]}));
    let alone = [policy(on("Server", "s"))];
    assert_eq!(said(&made, &alone), [("missing-reference", REFUSE), ("no-effect", WARN)]);
    let nowhere = [policy(on("Server", "x")), network.clone()];
    assert_eq!(said(&made, &nowhere), [("missing-target", REFUSE), ("no-effect", WARN)]);
    assert_eq!(said(&made, &[policy(on("Server", "s")), network]), []);
}

#[test]
fn a_policy_on_a_namespace_without_servers_and_a_route_without_its_server_are_refused() {
    let made = World::new().made();
    let all = policy_spec(json!({"kind": "Namespace", "name": "shop"}), &[account("web")]);
    let target = said(&made, &[made.put(Kind::AuthorizationPolicy, "all", all)]);
    assert!(target.contains(&("missing-target", REFUSE)), "{target:?}");
    let parent = said(&made, &[made.put(Kind::LinkerdHTTPRoute, "x", route(json!([])))]);
    assert!(parent.contains(&("missing-target", REFUSE)), "{parent:?}");
}

#[test]
fn deleting_an_authentication_that_is_used_is_refused_unless_its_user_goes_too() {
    let made = closed().made();
    let edits = [made.delete(Kind::MeshTLSAuthentication, "m")];
    assert!(said(&made, &edits).contains(&("dangling", REFUSE)));
    let text = text_of(&made, &edits, "dangling");
    assert!(text.contains("authorizationpolicy/shop/a"), "{text}");
    let both = [edits[0].clone(), made.delete(Kind::AuthorizationPolicy, "a")];
    assert!(!said(&made, &both).iter().any(|(code, _)| *code == "dangling"));
}

#[test]
fn deleting_a_server_tells_what_is_left_about_it_and_which_default_holds_then() {
    let made = closed().made();
    let edits = [made.delete(Kind::Server, "s")];
    let said = said(&made, &edits);
    assert!(said.contains(&("dangling", WARN)) && said.contains(&("default-policy", WARN)), "{said:?}");
    let text = text_of(&made, &edits, "default-policy");
    assert!(text.contains("`all-unauthenticated`") && text.contains("lets everybody in"), "{text}");
}

#[test]
fn a_server_that_is_shadowed_is_refused_and_one_that_shadows_is_told() {
    let made = closed().made();
    let younger = [made.put(Kind::Server, "a-first", server_spec(json!(8080), json!({})))];
    assert_eq!(said(&made, &younger), [("shadowed", REFUSE), ("no-effect", WARN)]);
    let partly = json!({"podSelector": {}, "port": "http"});
    assert!(said(&made, &[made.put(Kind::Server, "wide", partly)]).contains(&("shadowed", WARN)));
    let both = World::new()
        .object(Kind::Server, "old", server_spec(json!(9090), json!({})))
        .object(Kind::Server, "young", server_spec(json!(8080), json!({"accessPolicy": "all-authenticated"})))
        .made();
    let moved = [both.put(Kind::Server, "old", server_spec(json!(8080), json!({})))];
    assert!(said(&both, &moved).contains(&("shadows", WARN)));
}

#[test]
fn changes_of_the_control_planes_policies_are_refused_and_of_an_extensions_told() {
    let mut made = World::new().made();
    let viz = crate::model::Namespace { extension: Some("viz".into()) };
    made.graph.namespaces.insert("linkerd-viz".into(), Arc::new(viz));
    let edit = |namespace: &str| {
        let spec = json!({"podSelector": {}, "port": 8443});
        Edit::put(made.policies.objects(), &manifest_in(namespace, Kind::Server, "x", spec))
    };
    assert!(said(&made, &[edit("linkerd")]).contains(&("control-plane", REFUSE)));
    assert!(said(&made, &[edit("linkerd-viz")]).contains(&("control-plane", WARN)));
    assert!(!said(&made, &[edit("shop")]).iter().any(|(code, _)| *code == "control-plane"));
}

#[test]
fn shutting_out_calls_of_the_control_plane_is_refused() {
    let control = identity("linkerd", "linkerd-destination");
    let call = edge(&format!("identity:{control}"), "shop/deployment/db:8080", Some(&control));
    let made = World::new().calls(call, 1.0).made();
    let edits = [made.put(Kind::Server, "s", server_spec(json!("http"), json!({})))];
    assert!(said(&made, &edits).contains(&("control-plane", REFUSE)));
}

#[test]
fn the_first_route_of_a_server_shuts_probes_out_and_a_second_one_does_not() {
    let made = closed().made();
    let path = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/a"}}]}]);
    let first = [made.put(Kind::LinkerdHTTPRoute, "x", route(path.clone()))];
    let codes = said(&made, &first);
    assert!(
        codes.contains(&("probe-locked-out", REFUSE)) && codes.contains(&("first-route", WARN)),
        "{codes:?}"
    );
    let routed = closed().object(Kind::LinkerdHTTPRoute, "w", route(path.clone())).made();
    let second = [routed.put(Kind::LinkerdHTTPRoute, "x", route(path))];
    let codes: BTreeSet<_> = said(&routed, &second).into_iter().map(|(code, _)| code).collect();
    assert!(!codes.contains("probe-locked-out") && !codes.contains("first-route"), "{codes:?}");
}

#[test]
fn a_closed_server_without_routes_keeps_letting_probes_in() {
    let made = World::new().made();
    let edits = [made.put(Kind::Server, "s", server_spec(json!("http"), json!({"accessPolicy": "deny"})))];
    assert_eq!(said(&made, &edits), []);
}

#[test]
fn a_server_on_the_admin_port_of_proxies_is_refused_and_scrapes_of_the_application_are_told() {
    let made = World::new().with_calls().made();
    let admin = [made.put(Kind::Server, "s", server_spec(json!(4191), json!({})))];
    assert!(said(&made, &admin).contains(&("scrape-locked-out", REFUSE)));
    let own = [made.put(Kind::Server, "s", server_spec(json!("admin"), json!({})))];
    assert!(said(&made, &own).contains(&("scrape-locked-out", WARN)));
    let other = [made.put(Kind::Server, "s", server_spec(json!("http"), json!({})))];
    assert!(!said(&made, &other).iter().any(|(code, _)| *code == "scrape-locked-out"));
}

#[test]
fn identities_of_elsewhere_of_nobody_and_of_everybody_are_told() {
    let made = closed().made();
    let put = |identity: &str| {
        let spec = json!({"identities": [identity]});
        said(&made, &[made.put(Kind::MeshTLSAuthentication, "m", spec)])
    };
    let there = |said: &[(&str, Severity)], code: &str| said.contains(&(code, WARN));
    assert!(there(&put("web.shop.serviceaccount.identity.linkerd.example.org"), "wrong-trust-domain"));
    assert!(there(&put("nobody.shop.serviceaccount.identity.linkerd.cluster.local"), "unknown-identity"));
    assert!(there(&put("*"), "any-identity"));
    let known = put(&identity("shop", "bot"));
    assert!(!known.iter().any(|(code, _)| code.contains("identity") || code.contains("trust")), "{known:?}");
}

#[test]
fn what_lets_everybody_in_is_told() {
    let made = closed().made();
    let nothing = made.put(Kind::AuthorizationPolicy, "b", policy_spec(on("Server", "s"), &[]));
    let text = text_of(&made, std::slice::from_ref(&nothing), "lets-everybody-in");
    assert!(text.contains("LETS EVERYBODY IN"), "{text}");
    let open = server_spec(json!("http"), json!({"accessPolicy": "all-unauthenticated"}));
    let every = json!({"networks": [{"cidr": "0.0.0.0/0"}]});
    let some = json!({"networks": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]});
    let has = |edit| said(&made, &[edit]).contains(&("lets-everybody-in", WARN));
    assert!(has(made.put(Kind::Server, "s", open)));
    assert!(has(made.put(Kind::NetworkAuthentication, "n", every)));
    assert!(!has(made.put(Kind::NetworkAuthentication, "n", some)));
}

#[test]
fn a_route_between_services_is_told_to_be_another_thing() {
    let made = closed().made();
    let spec = json!({"parentRefs": [{"kind": "Service", "name": "db", "group": "core", "port": 80}]});
    assert!(said(&made, &[made.put(Kind::GatewayHTTPRoute, "x", spec)]).contains(&("outbound-route", WARN)));
}

#[test]
fn what_is_refused_or_in_doubt_among_the_calls_of_now_is_told() {
    let made = World::new().with_calls().made();
    let edits = [
        made.put(Kind::Server, "s", server_spec(json!("http"), json!({}))),
        made.put(Kind::NetworkAuthentication, "n", json!({"networks": [{"cidr": "10.0.0.0/8"}]})),
        made.put(
            Kind::AuthorizationPolicy,
            "a",
            policy_spec(on("Server", "s"), &[account("web"), on("NetworkAuthentication", "n")]),
        ),
    ];
    let codes = said(&made, &edits);
    assert!(
        codes.contains(&("denies-traffic", WARN)) && codes.contains(&("unknown-traffic", WARN)),
        "{codes:?}"
    );
}

#[test]
fn what_lint_finds_besides_is_told_once() {
    let made = closed().made();
    let elsewhere = json!({"podSelector": {"matchLabels": {"app": "gone"}}, "port": 8080});
    assert_eq!(said(&made, &[made.put(Kind::Server, "t", elsewhere)]), [("no-effect", WARN)]);
    let again = [made.put(Kind::AuthorizationPolicy, "b", policy_spec(on("Server", "s"), &[m()]))];
    assert_eq!(said(&made, &again), [("lint", WARN)]);
}

#[test]
fn what_was_wrong_before_and_is_not_edited_is_not_told() {
    let broken = closed().object(Kind::AuthorizationPolicy, "b", policy_spec(on("Server", "gone"), &[m()]));
    let made = broken.made();
    let edit = made.put(Kind::MeshTLSAuthentication, "m", json!({"identities": [identity("shop", "bot")]}));
    assert_eq!(said(&made, &[edit]), []);
}

/// This file has a case for every code.
#[test]
fn no_code_is_without_a_test() {
    let cases = include_str!("concerns.rs");
    for code in codes() {
        assert!(cases.contains(&format!("\"{code}\"")), "{code}");
    }
}

#[test]
fn an_assessment_is_refused_when_one_concern_refuses_and_edits_that_do_not_go_together_are_none() {
    let made = closed().made();
    let mesh: Mesh<'_> = made.mesh();
    let deleted = made.delete(Kind::MeshTLSAuthentication, "m");
    assert!(assess(&mesh, std::slice::from_ref(&deleted)).unwrap().is_refused());
    assert!(assess(&mesh, &[]).is_err());
    let twice = assess(&mesh, &[deleted.clone(), deleted]).unwrap_err();
    assert_eq!(twice.to_string(), "meshtlsauthentication/shop/m is changed twice: give each object once");
    let many: Vec<Edit> = (0..301)
        .map(|at| {
            Edit::delete(made.policies.objects(), Kind::Server, Key::new("shop", format!("s{at}").as_str()))
        })
        .collect();
    assert!(assess(&mesh, &many).is_err());
}

/// What the API server and the repository say comes before these on the page.
#[test]
fn the_documentation_has_a_row_for_every_code() {
    let page = include_str!("../../../../docs/changes.md");
    let table = page.split("| `not-permitted` |").nth(1).expect("the last code that is not decided here");
    let listed: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let listed = &listed[..listed.iter().position(|code| *code == "lint").expect("the last code") + 1];
    assert_eq!(listed, codes().collect::<Vec<_>>(), "docs/changes.md has a row for each, in this order");
}
