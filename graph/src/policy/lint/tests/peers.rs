//! What the other tool that lints Linkerd's policies gets wrong, one test for each of its errors: valid objects have no
//! finding, and what it overlooks has one.

use super::*;

/// Nothing but the usual warnings on what the world itself lacks.
fn assert_nothing(world: &World) {
    assert_eq!(world.findings(), []);
}

#[test]
fn error_1_policies_on_namespaces_and_routes_are_valid_and_a_route_is_no_server_of_its_name() {
    let probes = json!([refer("NetworkAuthentication", "nodes")]);
    let route = json!({"parentRefs": [on_server("s")], "rules": [{"matches": [{"path": {"type": "Exact", "value": "/live"}, "method": "GET"}]}]});
    let world = World::new()
        .nodes()
        .server("s", json!({}))
        .policy("wide", on_namespace(), of_web())
        .object(Kind::LinkerdHTTPRoute, "probes", 2, route)
        .policy("probes", on_route("probes"), probes);
    assert_nothing(&world);
    // Only a route is called so: a policy on a Server of that name leads nowhere.
    assert_eq!(
        world.policy("odd", on_server("probes"), of_web()).says(),
        ["selects-nothing authorizationpolicy/shop/odd"]
    );
}

#[test]
fn error_2_references_of_one_policy_must_all_hold_so_the_port_is_not_open_to_the_network() {
    let both = json!([refer("NetworkAuthentication", "all"), {"kind": "ServiceAccount", "name": "web"}]);
    let all = json!({"networks": [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]});
    let world = World::new().object(Kind::NetworkAuthentication, "all", 1, all).server("s", json!({}));
    assert_nothing(&world.policy("both", on_server("s"), both));
}

#[test]
fn error_3_references_have_namespaces() {
    let mut elsewhere = refer("MeshTLSAuthentication", "clients");
    let clients = json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web", "namespace": "shop"}]});
    let world = || {
        World::new()
            .object_in("auth", Kind::MeshTLSAuthentication, "clients", 1, clients.clone())
            .server("s", json!({}))
    };
    let without = world().policy("p", on_server("s"), json!([elsewhere]));
    let finding = without.one(Code::Ignored);
    assert_eq!(finding.objects, ["authorizationpolicy/shop/p", "meshtlsauthentication/shop/clients"]);
    assert!(finding.text.contains("one of that name is in namespace auth"), "{}", finding.text);
    elsewhere["namespace"] = json!("auth");
    assert_nothing(&world().policy("p", on_server("s"), json!([elsewhere])));
}

#[test]
fn error_4_an_empty_list_of_references_is_everybody() {
    let finding =
        World::new().server("s", json!({})).policy("p", on_server("s"), json!([])).one(Code::OpenPort);
    assert_eq!((finding.severity, &*finding.objects[0]), (Severity::Warning, "authorizationpolicy/shop/p"));
}

#[test]
fn error_5_identity_refs_without_identities_are_valid() {
    let refs = json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web"}, {"kind": "Namespace", "name": "shop"}]});
    let required = json!([refer("MeshTLSAuthentication", "clients")]);
    let world = World::new().object(Kind::MeshTLSAuthentication, "clients", 1, refs).server("s", json!({}));
    assert_nothing(&world.policy("p", on_server("s"), required));
}

#[test]
fn error_6_service_account_references_and_named_ports_are_valid() {
    let world = World::new().server("s", json!({"port": "http"})).policy("p", on_server("s"), of_web());
    assert_nothing(&world);
}

#[test]
fn error_7_network_authentications_have_networks_and_not_identities() {
    let required = json!([refer("NetworkAuthentication", "nodes")]);
    assert_nothing(&World::new().nodes().server("s", json!({})).policy("p", on_server("s"), required));
}

#[test]
fn error_8_suffixes_are_valid_and_the_trust_domain_is_the_clusters_own() {
    let identities = |list: Value| {
        let mut world = World::new();
        world.cluster.identity_domain = "prod.example".into();
        world.cluster.control_plane_namespace = "mesh".into();
        let required = json!([refer("MeshTLSAuthentication", "clients")]);
        let world = world.object(Kind::MeshTLSAuthentication, "clients", 1, json!({"identities": list}));
        world.server("s", json!({})).policy("p", on_server("s"), required)
    };
    let own = "web.shop.serviceaccount.identity.mesh.prod.example";
    let world = identities(json!(["*", own]));
    assert_nothing(&world);
    let other = "web.shop.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(
        identities(json!([other.replace("linkerd", "other")])).one(Code::WrongTrustDomain).severity,
        Severity::Warning
    );
    let suffix = json!(["*.shop.serviceaccount.identity.linkerd.cluster.local"]);
    let required = json!([refer("MeshTLSAuthentication", "clients")]);
    let world = World::new().object(Kind::MeshTLSAuthentication, "clients", 1, json!({"identities": suffix}));
    assert_nothing(&world.server("s", json!({})).policy("p", on_server("s"), required));
}

#[test]
fn error_9_defaults_access_policies_and_server_authorizations_count() {
    let clients =
        json!({"server": {"name": "s"}, "client": {"meshTLS": {"serviceAccounts": [{"name": "web"}]}}});
    let world = World::new()
        .server("s", json!({}))
        .object(Kind::ServerAuthorization, "z", 2, clients)
        .object(
            Kind::HTTPLocalRateLimitPolicy,
            "r",
            2,
            json!({"targetRef": on_server("s"), "total": {"requestsPerSecond": 10}}),
        )
        .object(Kind::EgressNetwork, "e", 2, json!({"trafficPolicy": "Allow"}));
    assert_nothing(&world);
    // By default the same port is open, and that is said of the default policy.
    let open = World::new().pod("open", |pod| pod.annotations = Labels::default()).one(Code::OpenPort);
    assert_eq!((open.severity, &*open.objects[0]), (Severity::Info, "shop/statefulset/open"));
}

#[test]
fn error_10_servers_are_found_by_their_whole_selector_and_not_by_an_app_label() {
    let labels = texts(&[("tier", "data"), ("linkerd.io/control-plane-ns", "linkerd")]);
    let selector =
        json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["data", "cache"]}]});
    let world = World::new().pod("store", |pod| pod.labels = labels);
    assert_nothing(&world.server("s", json!({"podSelector": selector})));
}

#[test]
fn error_11_services_workloads_and_service_accounts_may_have_different_names() {
    let world =
        World::new().pod("frontend", |pod| pod.service_account = "robot".into()).server("s", json!({}));
    assert_nothing(&world.policy("p", on_server("s"), json!([{"kind": "ServiceAccount", "name": "robot"}])));
}

#[test]
fn error_12_no_service_account_object_is_needed_to_know_that_a_workload_runs_as_it() {
    let world = World::new().server("s", json!({})).policy("p", on_server("s"), of_web());
    assert!(world.facts.iter().all(|fact| fact.kind() != Kind::ServiceAccount));
    assert_nothing(&world);
}

#[test]
fn error_13_what_could_not_be_read_is_reported_and_never_counts_as_valid() {
    let world =
        World::new().object(Kind::Server, "s", 1, json!({"podSelector": {"matchLabels": 1}, "port": 80}));
    assert_eq!(world.says(), ["ignored server/shop/s"]);
}
