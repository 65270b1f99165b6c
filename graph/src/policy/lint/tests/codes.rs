//! One case for each code, and beside it a near one that is fine.

use super::*;

const FRONT: &str = "httproute.policy.linkerd.io/shop/r";

fn probe_route(parent: Value, path: &str) -> Value {
    let matches = json!([{"path": {"type": "Exact", "value": path}, "method": "GET"}]);
    json!({"parentRefs": [parent], "rules": [{"matches": matches}]})
}

/// Without probes, so that routes lock none out.
fn without_probes() -> World {
    World::new().pod("db", |_| ())
}

#[test]
fn a_policy_whose_authentication_is_misspelt_is_ignored_and_the_near_one_named() {
    let world = |name: &str| {
        let required = json!([refer("NetworkAuthentication", name)]);
        World::new().nodes().server("s", json!({})).policy("p", on_server("s"), required)
    };
    let finding = world("ndoes").one(Code::Ignored);
    assert_eq!(
        finding,
        Finding {
            code: Code::Ignored,
            severity: Severity::Error,
            objects: vec!["authorizationpolicy/shop/p".into(), "networkauthentication/shop/ndoes".into()],
            text: "Linkerd ignores authorizationpolicy/shop/p: networkauthentication/shop/ndoes, which it refers to, does not exist; did you mean nodes? It lets nobody in.".into(),
            fix: "Create what it refers to, or correct name and namespace of the reference; without a namespace its own is meant.".into(),
        }
    );
    assert_eq!(world("nodes").findings(), []);
}

#[test]
fn an_authorization_that_lost_its_client_may_still_let_clients_in() {
    let world = |client: Value| {
        let spec = json!({"server": {"name": "s"}, "client": client});
        World::new().server("s", json!({})).object(Kind::ServerAuthorization, "z", 2, spec)
    };
    let finding = world(json!({"meshTLS": {}})).one(Code::Ignored);
    assert!(
        finding.text.contains("stays in force until Linkerd's policy controller restarts"),
        "{}",
        finding.text
    );
    assert_eq!(world(json!({"meshTLS": {"serviceAccounts": [{"name": "web"}]}})).findings(), []);
}

#[test]
fn an_access_policy_that_is_no_word_of_linkerd_is_ignored() {
    let finding = World::new().server("s", json!({"accessPolicy": "everyone"})).one(Code::Ignored);
    assert!(finding.text.contains("counts as deny"), "{}", finding.text);
    assert_eq!(World::new().server("s", json!({"accessPolicy": "deny"})).findings(), []);
}

#[test]
fn a_server_that_selects_nothing_is_told_whether_labels_or_port_are_at_fault() {
    let text = |fields: Value| World::new().server("s", fields).one(Code::SelectsNothing).text;
    let value = text(json!({"podSelector": {"matchLabels": {"app": "web1"}}}));
    assert_eq!(
        value,
        "server/shop/s selects nothing by its labels: no pod of namespace shop has the label `app` with the value `web1`; did you mean web?"
    );
    assert!(
        text(json!({"podSelector": {"matchLabels": {"apps": "db"}}}))
            .contains("has a label `apps`; did you mean app?")
    );
    assert!(text(json!({"externalWorkloadSelector": {}})).contains("namespace shop has no ExternalWorkload"));
    let port = text(json!({"port": "htpp"}));
    assert_eq!(
        port,
        "server/shop/s selects no port of shop/statefulset/db, which it selects by labels: none of their TCP ports is called `htpp`; they have http and linkerd-admin; did you mean http?"
    );
    assert!(text(json!({"port": "8080"})).contains("name of a port and not the number 8080"));
    assert_eq!(
        World::new().server("s", json!({"port": 9})).findings(),
        [],
        "a number is selected undeclared"
    );
}

#[test]
fn authorizations_routes_and_limits_on_a_server_that_does_not_exist_do_nothing() {
    let client = json!({"meshTLS": {"serviceAccounts": [{"name": "web"}]}});
    let world = |name: &str| {
        without_probes()
            .server("front", json!({}))
            .object(Kind::ServerAuthorization, "a", 2, json!({"server": {"name": name}, "client": client}))
            .policy("b", on_server(name), json!([{"kind": "ServiceAccount", "name": "db"}]))
            .object(Kind::LinkerdHTTPRoute, "r", 2, json!({"parentRefs": [on_server(name)]}))
            .object(Kind::HTTPLocalRateLimitPolicy, "l", 2, json!({"targetRef": on_server(name)}))
    };
    let findings = world("Front").findings();
    let said: Vec<&str> = findings.iter().map(|finding| &*finding.objects[0]).collect();
    let all = [
        "authorizationpolicy/shop/b",
        "httplocalratelimitpolicy/shop/l",
        FRONT,
        "serverauthorization/shop/a",
    ];
    assert_eq!(said, all);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Error
        && finding.code == Code::SelectsNothing
        && finding.text.contains("did you mean front?")));
    assert_eq!(world("front").findings(), []);
}

#[test]
fn an_authorization_that_selects_no_server_by_labels_or_namespace_does_nothing() {
    let client = json!({"meshTLS": {"serviceAccounts": [{"name": "web"}]}});
    let selected = |selector: Value| {
        let spec = json!({"server": {"selector": selector}, "client": client});
        World::new().server("s", json!({})).object(Kind::ServerAuthorization, "z", 2, spec)
    };
    let odd = selected(json!({"matchLabels": {"app": "db"}})).one(Code::SelectsNothing);
    assert!(odd.text.contains("not by those of pods"), "{}", odd.text);
    assert_eq!(selected(json!({})).findings(), []);
    let alone = World::new().policy("wide", on_namespace(), of_web()).one(Code::SelectsNothing);
    assert!(alone.text.contains("which has none"), "{}", alone.text);
    assert_eq!(World::new().server("s", json!({})).policy("wide", on_namespace(), of_web()).findings(), []);
    // Its only Server selects nothing.
    let idle = World::new().server("s", json!({"port": "no"})).policy("wide", on_namespace(), of_web());
    assert_eq!(
        idle.says(),
        ["selects-nothing authorizationpolicy/shop/wide", "selects-nothing server/shop/s"]
    );
}

#[test]
fn a_policy_on_a_route_that_does_not_exist_or_has_no_server_does_nothing() {
    let world = |parent: Value, target: Value| {
        let route = json!({"parentRefs": [parent]});
        let world = without_probes().server("s", json!({})).object(Kind::LinkerdHTTPRoute, "r", 2, route);
        world.policy("p", target, of_web())
    };
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"});
    let finding = world(on_server("s"), gateway).one(Code::SelectsNothing);
    assert!(finding.text.contains("the one of that name is of group policy.linkerd.io"), "{}", finding.text);
    let service = json!({"group": "", "kind": "Service", "name": "db"});
    let finding = world(service, on_route("r")).one(Code::SelectsNothing);
    assert!(finding.text.contains("has no Server"), "{}", finding.text);
    assert_eq!(world(on_server("s"), on_route("R")).findings(), [], "letter case does not matter");
}

#[test]
fn an_authentication_that_nobody_refers_to_is_worth_knowing() {
    let finding = World::new().nodes().one(Code::SelectsNothing);
    assert_eq!(
        (finding.severity, &*finding.objects[0]),
        (Severity::Info, "networkauthentication/shop/nodes")
    );
    let used = World::new().nodes().server("s", json!({}));
    assert_eq!(
        used.policy("p", on_server("s"), json!([refer("NetworkAuthentication", "nodes")])).findings(),
        []
    );
}

#[test]
fn a_server_loses_its_ports_to_an_older_one_wholly_or_in_part() {
    let old = json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": 8080});
    let wholly = World::new().object(Kind::Server, "old", 0, old.clone()).server("new", json!({}));
    let finding = wholly.one(Code::Shadowed);
    assert_eq!(finding.objects, ["server/shop/new", "server/shop/old", "shop/statefulset/db:8080"]);
    assert_eq!(finding.severity, Severity::Error);
    let partly =
        World::new().object(Kind::Server, "old", 0, old.clone()).server("new", json!({"podSelector": {}}));
    assert_eq!(partly.one(Code::Shadowed).severity, Severity::Warning);
    let beside = World::new().object(Kind::Server, "old", 0, old).server("new", json!({"port": 9}));
    assert_eq!(beside.findings(), []);
}

#[test]
fn of_two_rate_limits_on_a_server_the_younger_does_nothing() {
    let limit = json!({"targetRef": on_server("s"), "total": {"requestsPerSecond": 1}});
    let world =
        World::new().server("s", json!({})).object(Kind::HTTPLocalRateLimitPolicy, "b", 1, limit.clone());
    let two = world.object(Kind::HTTPLocalRateLimitPolicy, "a", 2, limit);
    let objects = two.one(Code::Shadowed).objects;
    assert_eq!(objects[..2], ["httplocalratelimitpolicy/shop/a", "httplocalratelimitpolicy/shop/b"]);
}

#[test]
fn routes_that_linkerd_does_not_use_are_reported_with_the_policies_on_them() {
    let world = |protocol: &str, kind: Kind, spec: Value| {
        without_probes().server("s", json!({"proxyProtocol": protocol})).object(kind, "r", 2, spec).policy(
            "p",
            on_route("r"),
            of_web(),
        )
    };
    let plain = json!({"parentRefs": [on_server("s")]});
    let mut with_port = on_server("s");
    with_port["port"] = json!(8080);
    let mut elsewhere = on_server("s");
    elsewhere["namespace"] = json!("other");
    for (protocol, spec) in [
        ("opaque", plain.clone()),
        ("TLS", plain.clone()),
        ("gRPC", plain.clone()),
        ("HTTP/1", json!({"parentRefs": [with_port]})),
        ("HTTP/1", json!({"parentRefs": [on_server("s"), elsewhere]})),
        (
            "HTTP/1",
            json!({"parentRefs": [on_server("s")], "rules": [{"matches": [{"path": {"value": "x"}}]}]}),
        ),
    ] {
        let finding = world(protocol, Kind::LinkerdHTTPRoute, spec.clone()).one(Code::RejectedRoute);
        assert_eq!(finding.objects[..2], [FRONT, "authorizationpolicy/shop/p"], "{protocol} {spec}");
        assert!(finding.text.contains("authorizationpolicy/shop/p on it does nothing"), "{}", finding.text);
        assert_eq!(finding.severity, Severity::Error);
    }
    assert_eq!(world("HTTP/1", Kind::LinkerdHTTPRoute, plain).findings(), []);
}

#[test]
fn a_grpc_route_takes_a_server_from_http_routes_and_a_match_on_headers_closes_the_port() {
    let route = json!({"parentRefs": [on_server("s")]});
    let beside = without_probes()
        .server("s", json!({"proxyProtocol": "gRPC"}))
        .object(Kind::LinkerdHTTPRoute, "r", 1, route.clone())
        .object(Kind::GRPCRoute, "g", 2, route.clone());
    // Linkerd has not written a status yet: what it will write is computed.
    let finding = beside.one(Code::RejectedRoute);
    assert_eq!(finding.objects, [FRONT, "server/shop/s", "grpcroute/shop/g"]);
    let grpc = |matches: Value| {
        let spec = json!({"parentRefs": [on_server("s")], "rules": [{"matches": [matches]}]});
        without_probes().server("s", json!({"proxyProtocol": "gRPC"})).object(Kind::GRPCRoute, "g", 2, spec)
    };
    let headers = json!([{"name": "x", "value": "y"}]);
    let finding = grpc(json!({"headers": headers})).one(Code::RejectedRoute);
    assert!(finding.text.contains("refuses every call"), "{}", finding.text);
    assert_eq!(grpc(json!({"headers": headers, "method": {"service": "s.S"}})).findings(), []);
    assert_eq!(
        without_probes().server("s", json!({})).object(Kind::GRPCRoute, "g", 2, route).says(),
        ["rejected-route grpcroute/shop/g"]
    );
}

#[test]
fn a_route_that_its_status_says_is_not_accepted_is_not_in_force() {
    let world = |accepted: &str| {
        let status = json!({"parents": [{
            "controllerName": "linkerd.io/policy-controller",
            "parentRef": on_server("s"),
            "conditions": [{"type": "Accepted", "status": accepted}]
        }]});
        let route = mk_object(Kind::LinkerdHTTPRoute, "r", 2, json!({"parentRefs": [on_server("s")]}));
        let route = PolicyObject { status: Arc::new(status), ..route };
        without_probes().server("s", json!({})).fact(Fact::Policy(Arc::new(route)))
    };
    assert!(world("False").one(Code::RejectedRoute).text.contains("has not accepted it"));
    assert_eq!(world("True").findings(), []);
}

#[test]
fn an_authorization_that_others_cover_wherever_it_holds_makes_no_difference() {
    let db = json!([{"kind": "ServiceAccount", "name": "db"}]);
    let twice = World::new().server("s", json!({})).policy("a", on_server("s"), of_web()).policy(
        "b",
        on_server("s"),
        of_web(),
    );
    let finding = twice.one(Code::NoDifference);
    assert_eq!(finding.objects, ["authorizationpolicy/shop/b", "authorizationpolicy/shop/a"]);
    let other = World::new().server("s", json!({})).policy("a", on_server("s"), of_web()).policy(
        "b",
        on_server("s"),
        db,
    );
    assert_eq!(other.findings(), []);
    // The one on the namespace is needed on the other Server.
    let wide = World::new()
        .server("s", json!({}))
        .server("t", json!({"port": 9}))
        .policy("a", on_server("s"), of_web())
        .policy("b", on_namespace(), of_web());
    assert_eq!(wide.says(), ["no-difference authorizationpolicy/shop/a"]);
}

#[test]
fn an_access_policy_makes_authorizations_needless_unless_it_only_audits() {
    let world = |access: &str| {
        World::new().server("s", json!({"accessPolicy": access})).policy("a", on_server("s"), of_web())
    };
    let finding = world("all-authenticated").one(Code::NoDifference);
    assert_eq!(finding.objects, ["authorizationpolicy/shop/a", "server/shop/s"]);
    assert_eq!(world("audit").says(), ["open-port server/shop/s"]);
}

#[test]
fn a_policy_on_a_route_makes_no_difference_under_one_on_the_server() {
    let world = |on_route_too: Value| {
        without_probes()
            .server("s", json!({}))
            .object(Kind::LinkerdHTTPRoute, "r", 2, json!({"parentRefs": [on_server("s")]}))
            .policy("a", on_server("s"), of_web())
            .policy("b", on_route("r"), on_route_too)
    };
    assert_eq!(world(of_web()).says(), ["no-difference authorizationpolicy/shop/b"]);
    assert_eq!(world(json!([{"kind": "ServiceAccount", "name": "db"}])).findings(), []);
}

#[test]
fn ports_opened_by_objects_are_warnings_and_by_the_default_policy_information() {
    let cidr = |cidr: &str| {
        World::new()
            .object(Kind::NetworkAuthentication, "n", 1, json!({"networks": [{"cidr": cidr}]}))
            .server("s", json!({}))
            .policy("p", on_server("s"), json!([refer("NetworkAuthentication", "n")]))
    };
    let finding = cidr("0.0.0.0/0").one(Code::OpenPort);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.objects, ["server/shop/s", "authorizationpolicy/shop/p", "shop/statefulset/db:8080"]);
    assert_eq!(cidr("10.0.0.0/16").findings(), []);
    let cluster = World::new().server("s", json!({"accessPolicy": "cluster-unauthenticated"}));
    assert!(cluster.one(Code::OpenPort).text.contains("all of the cluster"));
    assert_eq!(World::new().server("s", json!({"accessPolicy": "cluster-authenticated"})).findings(), []);
    let mut by_default = World::new();
    for at in 0..30 {
        by_default = by_default.pod(&format!("open{at}"), |pod| pod.annotations = Labels::default());
    }
    let finding = by_default.one(Code::OpenPort);
    assert_eq!((finding.severity, finding.objects.len()), (Severity::Info, MOST_OBJECTS));
    assert!(
        finding.text.contains("30 ports of 30 workloads") && finding.text.contains("and 25 more"),
        "{}",
        finding.text
    );
}

#[test]
fn servers_on_pods_without_proxy_or_on_skipped_ports_are_not_enforced() {
    let bare = |pod: &mut Pod| {
        pod.proxy = Proxy::Absent;
        pod.labels = texts(&[("app", "db")]);
    };
    let finding = World::new().pod("db", bare).server("s", json!({})).one(Code::NotEnforced);
    assert_eq!(finding.objects, ["server/shop/s", "shop/statefulset/db"]);
    let skips = |ports: &str| {
        let both = annotations(&[("default-inbound-policy", "deny"), ("skip-inbound-ports", ports)]);
        World::new().pod("db", |pod| pod.annotations = both).server("s", json!({}))
    };
    let finding = skips("8000-8100").one(Code::NotEnforced);
    assert!(finding.text.contains("bypass the proxy"), "{}", finding.text);
    assert_eq!(skips("25").findings(), []);
}

#[test]
fn a_rate_limit_on_a_protocol_that_has_none_limits_nothing() {
    let world = |protocol: &str| {
        let limit = json!({"targetRef": on_server("s"), "total": {"requestsPerSecond": 1}});
        without_probes().server("s", json!({"proxyProtocol": protocol})).object(
            Kind::HTTPLocalRateLimitPolicy,
            "l",
            1,
            limit,
        )
    };
    assert_eq!(world("opaque").says(), ["not-enforced httplocalratelimitpolicy/shop/l"]);
    assert_eq!(world("HTTP/2").findings(), []);
}

#[test]
fn probes_are_locked_out_by_routes_or_a_protocol_and_let_in_by_a_route_of_their_own() {
    let world = |path: &str| {
        World::new()
            .nodes()
            .server("s", json!({}))
            .object(Kind::LinkerdHTTPRoute, "r", 2, probe_route(on_server("s"), path))
            .policy("p", on_route("r"), json!([refer("NetworkAuthentication", "nodes")]))
    };
    let finding = world("/ready").one(Code::ProbeLockedOut);
    assert_eq!(finding.objects, ["server/shop/s", FRONT, "shop/statefulset/db:8080"]);
    assert!(finding.text.contains("GET /live") && finding.text.contains("404"), "{}", finding.text);
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(world("/live").findings(), [], "nodes' networks are enough");
    let closed = World::new().server("s", json!({})).object(
        Kind::LinkerdHTTPRoute,
        "r",
        2,
        probe_route(on_server("s"), "/live"),
    );
    assert!(closed.one(Code::ProbeLockedOut).text.contains("refused"));
    let opaque =
        World::new().server("s", json!({"proxyProtocol": "opaque"})).policy("p", on_server("s"), of_web());
    assert_eq!(opaque.says(), ["probe-locked-out server/shop/s"]);
    assert_eq!(World::new().server("s", json!({})).findings(), [], "the default route for probes is there");
}

#[test]
fn a_server_on_the_proxys_admin_port_must_let_prometheus_in() {
    let viz = |required: Option<Value>| {
        let prometheus = |pod: &mut Pod| {
            pod.key = Key::new("linkerd-viz", "prometheus-1");
            pod.owner = Some(OwnerRef { kind: "Deployment".into(), name: "prometheus".into() });
        };
        let world = World::new()
            .fact(mk_namespace("linkerd-viz", Some("viz")))
            .pod("prometheus", prometheus)
            .server("admin", json!({"podSelector": {}, "port": "linkerd-admin"}));
        match required {
            Some(required) => world.policy("p", on_server("admin"), required),
            None => world,
        }
    };
    let finding = viz(None).one(Code::ScrapeLockedOut);
    assert_eq!(
        finding.objects,
        ["server/shop/admin", "shop/statefulset/db:4191", "shop/statefulset/web:4191"]
    );
    assert!(finding.text.contains("linkerd-viz/deployment/prometheus"), "{}", finding.text);
    assert_eq!(viz(Some(of_web())).says(), ["scrape-locked-out server/shop/admin"]);
    let prometheus = json!([{"kind": "ServiceAccount", "name": "prometheus", "namespace": "linkerd-viz"}]);
    assert_eq!(viz(Some(prometheus)).findings(), []);
    // Without viz, whoever is let in may be the Prometheus.
    let other = World::new().server("admin", json!({"port": "linkerd-admin"}));
    assert_eq!(other.says(), ["scrape-locked-out server/shop/admin"]);
    let other = World::new().server("admin", json!({"port": "linkerd-admin"})).policy(
        "p",
        on_server("admin"),
        of_web(),
    );
    assert_eq!(other.findings(), []);
}

fn clients(spec: Value) -> World {
    let required = json!([refer("MeshTLSAuthentication", "clients")]);
    let world = World::new().object(Kind::MeshTLSAuthentication, "clients", 1, spec);
    world.server("s", json!({})).policy("p", on_server("s"), required)
}

#[test]
fn identities_of_another_trust_domain_are_reported_with_the_right_ending() {
    let identity =
        |ending: &str| clients(json!({"identities": [format!("web.shop.serviceaccount.identity.{ending}")]}));
    let finding = identity("linkerd.other.example").one(Code::WrongTrustDomain);
    assert!(finding.text.contains("end in linkerd.cluster.local."), "{}", finding.text);
    assert_eq!(identity("l5d.cluster.local").one(Code::WrongTrustDomain).severity, Severity::Warning);
    assert_eq!(identity("linkerd.cluster.local").findings(), []);
    // The settings are not known: the ending may well be right.
    let world = identity("linkerd.other.example");
    let graph = Graph { cluster: None, ..world.graph() };
    let found = with_mesh(&graph, &world.cluster, |mesh| lint(mesh, None));
    assert_eq!(
        found.iter().map(|it| (it.code, it.severity)).collect::<Vec<_>>(),
        [(Code::WrongTrustDomain, Severity::Info)]
    );
}

#[test]
fn identities_that_nobody_has_are_worth_knowing() {
    let finding = clients(json!({"identityRefs": [{"kind": "ServiceAccount", "name": "webb"}]}))
        .one(Code::UnknownIdentity);
    assert_eq!(
        (finding.severity, &*finding.text),
        (
            Severity::Info,
            "meshtlsauthentication/shop/clients names clients that no meshed workload is: ServiceAccount shop/webb (no workload runs as it; did you mean web)."
        )
    );
    for odd in [
        json!({"identities": ["web.shop"]}),
        json!({"identities": ["spiffe://root.example/vm"]}),
        json!({"identities": ["*.other.serviceaccount.identity.linkerd.cluster.local"]}),
        json!({"identityRefs": [{"kind": "Namespace", "name": "other"}]}),
        json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web", "namespace": "other"}]}),
    ] {
        assert_eq!(clients(odd.clone()).one(Code::UnknownIdentity).severity, Severity::Info, "{odd}");
    }
    let fine = json!({
        "identities": ["*", "*.cluster.local", "web.shop.serviceaccount.identity.linkerd.cluster.local"],
        "identityRefs": [{"kind": "Namespace", "name": "shop"}, {"kind": "ServiceAccount", "name": "web"}]
    });
    assert_eq!(clients(fine).findings(), []);
    let unmeshed = |pod: &mut Pod| {
        pod.proxy = Proxy::Absent;
        pod.labels = texts(&[("app", "web")]);
    };
    let spec = json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web"}]});
    assert!(clients(spec).pod("web", unmeshed).one(Code::UnknownIdentity).text.contains("are not meshed"));
}

#[test]
fn pods_of_one_workload_that_are_judged_differently_are_worth_knowing() {
    let second = |label: &'static str| {
        World::new().server("s", json!({"port": 8080})).pod("db", move |pod| {
            pod.key = Key::new("shop", "db-2");
            pod.labels = texts(&[("app", label), ("hash", "2"), ("linkerd.io/control-plane-ns", "linkerd")]);
        })
    };
    let finding = second("canary").one(Code::Mixed);
    assert_eq!(finding.objects, ["shop/statefulset/db"]);
    assert!(finding.text.contains("port 8080") && finding.text.contains("db-2"), "{}", finding.text);
    assert_eq!(second("db").findings(), [], "other labels that no policy looks at");
}

#[test]
fn annotations_that_do_not_parse_are_dropped_as_a_whole() {
    let annotated = |name: &'static str, value: &'static str| {
        World::new().pod("db", move |pod| {
            pod.annotations = annotations(&[("default-inbound-policy", "deny"), (name, value)]);
        })
    };
    for (name, value) in [
        ("default-inbound-policy", "Deny"),
        ("opaque-ports", "3306,mysql"),
        ("proxy-require-identity-inbound-ports", "80;81"),
    ] {
        let finding = annotated(name, value).one(Code::BadAnnotation);
        assert_eq!(
            (finding.severity, &*finding.objects[0]),
            (Severity::Warning, "shop/statefulset/db"),
            "{name}"
        );
    }
    assert_eq!(annotated("opaque-ports", "3306, 8000-8010").findings(), []);
}
