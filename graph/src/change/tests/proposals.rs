//! The least privilege from what is seen: as whole values, and what holds in every mesh.

use super::{
    properties,
    world::{Made, World, account, edge, identity, on, policy_spec, server_spec},
};
use crate::{
    change::{
        Edit, Proposal, assess, concern,
        propose::{ProposeError, Scope, Wanted, propose},
        simulate,
    },
    id::{EdgeId, WorkloadId},
    kind::Kind,
    policy::Policies,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn db(audit: bool) -> Wanted {
    let scope = Scope::Workload(WorkloadId::new("shop", "deployment", "db"));
    Wanted { scope, audit, networks: Vec::new() }
}

fn proposed(made: &Made, wanted: &Wanted) -> Proposal {
    propose(&made.mesh(), wanted).unwrap()
}

/// Kind, name and spec of each manifest.
fn manifests(proposal: &Proposal) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let read = |it: &Value| (text(&it["kind"]), text(&it["metadata"]["name"]), it["spec"].clone());
    proposal.manifests.iter().map(read).collect()
}

fn left_out(proposal: &Proposal) -> BTreeSet<EdgeId> {
    proposal.left_out.iter().map(|left| left.edge.clone()).collect()
}

/// A world with the objects of a proposal applied to it.
fn applied(mut world: World, proposal: &Proposal) -> World {
    for edit in &proposal.edits {
        world.objects.retain(|object| (object.kind, &object.key) != (edit.kind, &edit.key));
        let mut object = edit.after.as_deref().unwrap().clone();
        object.created_ms.get_or_insert(90 * 60_000);
        world.objects.push(object);
    }
    world
}

#[test]
fn a_workload_gets_a_server_for_each_port_that_is_called_and_those_who_call_it() {
    let made = World::new().with_calls().made();
    let proposal = proposed(&made, &db(true));
    let server = |port: u16| json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": port, "proxyProtocol": "unknown", "accessPolicy": "audit"});
    let ref_to =
        |name: &str, namespace: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let joined = |name: &str| policy_spec(on("Server", name), &[on("MeshTLSAuthentication", name)]);
    let named = |kind: &str, name: &str, spec: Value| (kind.to_owned(), name.to_owned(), spec);
    assert_eq!(
        manifests(&proposal),
        [
            named(
                "MeshTLSAuthentication",
                "db-8080",
                json!({"identities": ["spiffe://root/vm"],
                       "identityRefs": [ref_to("bot", "shop"), ref_to("web", "other"), ref_to("web", "shop")]})
            ),
            named(
                "MeshTLSAuthentication",
                "db-9090",
                json!({"identityRefs": [ref_to("prometheus", "linkerd-viz")]})
            ),
            named("AuthorizationPolicy", "db-8080", joined("db-8080")),
            named("AuthorizationPolicy", "db-9090", joined("db-9090")),
            named("Server", "db-8080", server(8080)),
            named("Server", "db-9090", server(9090)),
        ]
    );
    assert_eq!((proposal.covered_count, proposal.left_out_count), (5, 3));
    assert_eq!(proposal.covered[0].rps, Some(50.0));
    let why: Vec<&str> = proposal.left_out.iter().map(|left| &*left.why).collect();
    assert_eq!(
        why,
        [
            "the port of Service shop/db that is called is not known, so no Server can be proposed for it: name the port in the client",
            "it has no mesh identity (it calls from 10.2.0.9): put it in the mesh, or name its network",
            "it has no mesh identity: put it in the mesh, or name the networks that such clients call from",
        ]
    );
    assert_eq!((proposal.impact.newly_denied.count, proposal.impact.audited.count), (0, 2));
    assert!(!proposal.readiness.ready);
    assert_eq!(proposal.yaml.matches("---\n").count(), 6);
    let concerns = assess(&made.mesh(), &proposal.edits).unwrap();
    assert!(!concerns.is_refused(), "{:?}", concerns.concerns);
}

#[test]
fn what_was_audited_is_enforced_by_closing_its_servers_and_only_what_was_left_out_is_refused() {
    let world = World::new().with_calls();
    let audit = proposed(&world.made(), &db(true));
    let audited = applied(world, &audit).made();
    let enforce = proposed(&audited, &db(false));
    let kinds: Vec<(String, String)> = manifests(&enforce)
        .into_iter()
        .map(|(kind, name, spec)| (format!("{kind} {name}"), spec["accessPolicy"].to_string()))
        .collect();
    let deny = |name: &str| (format!("Server {name}"), "\"deny\"".to_owned());
    assert_eq!(kinds, [deny("db-8080"), deny("db-9090")]);
    let denied: BTreeSet<EdgeId> =
        enforce.impact.newly_denied.flows.iter().map(|flow| flow.edge.clone()).collect();
    assert_eq!(denied.len(), 2);
    assert!(denied.is_subset(&left_out(&enforce)));
    assert!(
        enforce
            .readiness
            .blockers
            .iter()
            .any(|blocker| blocker.contains("3 flows that are let in now would be refused (6.0 calls/s)"))
    );
}

#[test]
fn a_mesh_without_loose_ends_is_ready_once_it_was_audited() {
    let call = edge("shop/deployment/web", "shop/db:80", Some(&identity("shop", "web")));
    let world = World::new().calls(call, 5.0);
    let made = world.made();
    let at_once = proposed(&made, &db(false));
    assert_eq!(
        at_once.readiness.blockers,
        [
            "shop/deployment/db:8080 has not been audited: apply the proposal in audit mode first, and look after some days who is let in by `audit` alone."
        ]
    );
    let audited = applied(world, &proposed(&made, &db(true))).made();
    let enforce = proposed(&audited, &db(false));
    assert_eq!(enforce.readiness.blockers, Vec::<String>::new());
    assert!(enforce.readiness.ready);
    assert_eq!((enforce.impact.newly_denied.count, enforce.impact.unchanged), (0, 1));
    // Enforced, and asked again: there is nothing to do.
    let enforced = applied(
        applied(
            World::new()
                .calls(edge("shop/deployment/web", "shop/db:80", Some(&identity("shop", "web"))), 5.0),
            &proposed(&made, &db(true)),
        ),
        &enforce,
    )
    .made();
    assert_eq!(manifests(&proposed(&enforced, &db(false))), []);
}

#[test]
fn a_caller_that_is_new_since_the_last_proposal_is_added_to_what_that_made() {
    let call =
        |name: &str| edge(&format!("shop/deployment/{name}"), "shop/db:80", Some(&identity("shop", name)));
    let world = World::new().calls(call("web"), 5.0);
    let audited = applied(world.clone(), &proposed(&world.made(), &db(true))).calls(call("bot"), 1.0);
    let again = proposed(&audited.made(), &db(true));
    let [(kind, name, spec)] = &manifests(&again)[..] else { panic!("{:?}", manifests(&again)) };
    assert_eq!((&**kind, &**name), ("MeshTLSAuthentication", "db-8080"));
    assert_eq!(spec["identityRefs"].as_array().unwrap().len(), 2);
}

#[test]
fn clients_without_an_identity_are_let_in_from_networks_that_are_named() {
    let made = World::new().with_calls().made();
    let wanted = Wanted { networks: vec!["10.2.0.0/16".parse().unwrap()], ..db(false) };
    let proposal = proposed(&made, &wanted);
    let network =
        manifests(&proposal).into_iter().find(|(kind, ..)| kind == "NetworkAuthentication").unwrap();
    assert_eq!(
        (&*network.1, network.2),
        ("db-8080-networks", json!({"networks": [{"cidr": "10.2.0.0/16"}]}))
    );
    // Of the client without an address it cannot be known.
    assert_eq!((proposal.left_out_count, proposal.impact.newly_denied.count), (2, 0));
    assert_eq!(proposal.impact.unknown_count, 2);
}

#[test]
fn a_closed_port_stays_closed_and_what_is_refused_now_is_left_out() {
    let made = World::with_default("all-authenticated").with_calls().made();
    let proposal = proposed(&made, &db(true));
    let servers: Vec<Value> = manifests(&proposal)
        .into_iter()
        .filter(|(kind, ..)| kind == "Server")
        .map(|(_, _, spec)| spec["accessPolicy"].clone())
        .collect();
    assert_eq!(servers, [json!("all-authenticated"), json!("all-authenticated")]);
    assert_eq!((proposal.impact.newly_denied.count, proposal.impact.newly_allowed.count), (0, 0));
    let refused: Vec<bool> = proposal.left_out.iter().map(|left| left.refused_now).collect();
    // `*`, which the default policy means, matches no SPIFFE identity; of the edge without a port nothing is known.
    assert_eq!(refused, [true, false, true, true]);
}

#[test]
fn ports_with_routes_are_left_alone() {
    let route = json!({"parentRefs": [on("Server", "s")], "rules": [{}]});
    let made = World::new()
        .object(Kind::Server, "s", server_spec(json!("http"), json!({})))
        .object(Kind::LinkerdHTTPRoute, "x", route)
        .object(Kind::AuthorizationPolicy, "a", policy_spec(on("HTTPRoute", "x"), &[account("web")]))
        .with_calls()
        .made();
    let proposal = proposed(&made, &db(false));
    assert!(manifests(&proposal).iter().all(|(_, name, _)| name == "db-9090"));
    assert!(
        proposal
            .readiness
            .notes
            .iter()
            .any(|note| note.contains("shop/deployment/db:8080 is left alone: routes decide there"))
    );
}

#[test]
fn a_namespace_is_proposed_for_as_a_whole_and_what_is_not_there_is_said() {
    let made = World::new().with_calls().made();
    let of = |scope| propose(&made.mesh(), &Wanted { scope, ..db(true) });
    let names: BTreeSet<String> = manifests(&of(Scope::Namespace("shop".into())).unwrap())
        .into_iter()
        .map(|(_, name, _)| name)
        .collect();
    assert_eq!(names, ["db-8080", "db-9090", "web-8080"].map(str::to_owned).into());
    assert!(matches!(of(Scope::Namespace("gone".into())), Err(ProposeError::NoNamespace(_))));
    let nobody = WorkloadId::new("shop", "deployment", "nobody");
    assert!(matches!(of(Scope::Workload(nobody)), Err(ProposeError::NoWorkload(_))));
}

fn wanted() -> impl Strategy<Value = (Scope, Vec<ipnet::IpNet>)> {
    let scope = prop_oneof![
        Just(Scope::Namespace("shop".into())),
        Just(Scope::Workload(WorkloadId::new("shop", "deployment", "db"))),
    ];
    let networks = prop_oneof![Just(Vec::new()), Just(vec!["10.2.0.0/16".parse().unwrap()])];
    (scope, networks)
}

/// Flows that a proposal refuses and does not list.
fn unlisted(proposal: &Proposal) -> Vec<EdgeId> {
    let left_out = left_out(proposal);
    let denied = proposal.impact.newly_denied.flows.iter().map(|flow| flow.edge.clone());
    denied.filter(|edge| !left_out.contains(edge)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_audit_refuses_nothing_and_enforcing_refuses_only_what_is_listed(world in properties::world(), (scope, networks) in wanted()) {
        let made = world.made();
        for audit in [true, false] {
            let wanted = Wanted { scope: scope.clone(), audit, networks: networks.clone() };
            let proposal = proposed(&made, &wanted);
            if audit {
                prop_assert_eq!(&proposal.impact.newly_denied.flows, &Vec::new());
            }
            prop_assert_eq!(unlisted(&proposal), Vec::<EdgeId>::new());
            // What it makes is what Linkerd takes, and what it says is what holds afterwards.
            let after: Policies = made.anew(&proposal.edits);
            for edit in &proposal.edits {
                prop_assert!(after.ignored().all(|ignored| ignored.id != edit.id()), "{:?}", edit);
            }
            if !proposal.edits.is_empty() {
                let concerns = concern::concerns(&made.mesh(), &proposal.edits).unwrap();
                prop_assert!(!concerns.iter().any(|concern| ["unusable", "missing-reference", "missing-target", "dangling", "shadowed", "probe-locked-out"].contains(&concern.code) && concern.severity == concern::Severity::Refuse), "{:#?}", concerns);
            }
        }
    }

    #[test]
    fn no_proposal_lets_in_what_is_refused_now_unless_other_policies_do(world in properties::world(), (scope, _) in wanted()) {
        // A policy on the namespace, or one that waits for a Server of this name, holds on a new Server too.
        let waits = |object: &crate::fact::PolicyObject| object.kind == Kind::AuthorizationPolicy
            && object.spec["targetRef"]["kind"] == json!("Namespace");
        prop_assume!(!world.objects.iter().any(waits));
        let made = world.made();
        for audit in [true, false] {
            let proposal = proposed(&made, &Wanted { scope: scope.clone(), audit, networks: Vec::new() });
            prop_assert_eq!(&proposal.impact.newly_allowed.flows, &Vec::new());
        }
    }
}

/// The arm that shows that the property can fail: a proposal that forgets an authentication refuses calls that it does not
/// list.
#[test]
fn a_proposal_that_forgets_somebody_is_found() {
    let mut runner = TestRunner::deterministic();
    let mut found = 0;
    for _ in 0..100 {
        let made = properties::world().new_tree(&mut runner).unwrap().current().made();
        let mut proposal = proposed(&made, &db(false));
        let Some(at) = proposal.edits.iter().position(|edit| edit.kind == Kind::MeshTLSAuthentication) else {
            continue;
        };
        proposal.edits.remove(at);
        let edits: &[Edit] = &proposal.edits;
        proposal.impact = simulate(&made.mesh(), edits);
        found += usize::from(!unlisted(&proposal).is_empty());
    }
    assert!(found > 10, "{found}");
}
