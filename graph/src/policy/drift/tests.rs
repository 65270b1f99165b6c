//! Each kind of drift by itself, and what is none.

use super::*;
use crate::policy::answer::{
    Filter, GrpcMatch, HeaderModifier, Host, HttpMatch, HttpRoute, Network, Override, PathMatch, Rpc, Rule,
    Value as Match, ValueMatch,
};
use std::sync::Arc;

fn resource(group: &str, kind: &str, name: &str) -> Metadata {
    Metadata::Resource { group: group.into(), kind: kind.into(), name: name.into() }
}

fn labels(kind: &str, name: &str) -> Labels {
    let group = if kind == "default" { "" } else { "policy.linkerd.io" };
    Labels { group: group.into(), kind: kind.into(), name: name.into() }
}

fn mk_authorization(name: &str, networks: &[&str], identities: &[&str]) -> Authorization {
    Authorization {
        metadata: resource("policy.linkerd.io", "authorizationpolicy", name),
        labels: labels("authorizationpolicy", name),
        networks: networks.iter().map(|net| Network::whole(net.parse().unwrap())).collect(),
        authentication: Authentication::MeshTls(Clients::Identities {
            identities: identities.iter().map(|identity| (*identity).into()).collect(),
            suffixes: vec![vec!["ops".into(), "local".into()], vec!["local".into()]],
        }),
    }
}

fn mk_match(path: &str, headers: &[(&str, &str)]) -> HttpMatch {
    HttpMatch {
        path: Some(PathMatch::Prefix(path.into())),
        headers: headers
            .iter()
            .map(|(name, value)| ValueMatch { name: (*name).into(), value: Match::Exact((*value).into()) })
            .collect(),
        ..HttpMatch::default()
    }
}

fn mk_route(name: &str) -> HttpRoute {
    Route {
        metadata: resource("policy.linkerd.io", "HTTPRoute", name),
        hosts: vec![Host::Exact("a.example".into()), Host::Exact("b.example".into())],
        rules: vec![Rule {
            matches: vec![mk_match("/api", &[("x", "1"), ("y", "2")]), mk_match("/web", &[])],
            filters: vec![Filter::RequestHeaderModifier(HeaderModifier {
                add: vec![("a".into(), "1".into())],
                set: Vec::new(),
                remove: Vec::new(),
            })],
        }],
        authorizations: [mk_authorization("on-route", &["::/0"], &["r.shop"])].into(),
    }
}

fn mk_limit() -> RateLimit {
    let of = |rate, identities: [&str; 2]| Override {
        requests_per_second: rate,
        identities: identities.map(Into::into).into(),
    };
    RateLimit {
        metadata: resource("policy.linkerd.io", "HTTPLocalRateLimitPolicy", "limit"),
        total: Some(100),
        identity: None,
        overrides: vec![of(5, ["a", "b"]), of(7, ["c", "d"])],
    }
}

fn mk_server() -> Server {
    Server {
        labels: labels("server", "web"),
        protocol: Protocol::Detect {
            timeout_ms: 10_000,
            http_routes: [mk_route("one"), mk_route("two")].into(),
            rate_limit: Some(Arc::new(mk_limit())),
        },
        authorizations: [
            mk_authorization("allow", &["10.0.0.0/8", "192.168.0.0/16"], &["a.shop", "b.shop"]),
            mk_authorization("ops", &["0.0.0.0/0"], &["ops"]),
        ]
        .into(),
        server_ips: 0,
    }
}

fn changed(change: impl FnOnce(&mut Server)) -> Answer {
    let mut server = mk_server();
    change(&mut server);
    Answer::Ok(server)
}

/// What differs when the controller enforces `change` of what is written.
fn when_enforced(change: impl FnOnce(&mut Server)) -> Vec<String> {
    let enforced = changed(change);
    differences(&Answer::Ok(mk_server()), &enforced).iter().map(ToString::to_string).collect()
}

fn routes(server: &mut Server, change: impl FnOnce(&mut Vec<HttpRoute>)) {
    if let Protocol::Detect { http_routes, .. } = &mut server.protocol {
        let mut routes = http_routes.to_vec();
        change(&mut routes);
        *http_routes = routes.into();
    }
}

fn authorizations(server: &mut Server, change: impl FnOnce(&mut Vec<Authorization>)) {
    let mut all = server.authorizations.to_vec();
    change(&mut all);
    server.authorizations = all.into();
}

fn limit(server: &mut Server, change: impl FnOnce(&mut RateLimit)) {
    if let Protocol::Detect { rate_limit: Some(limit), .. } = &mut server.protocol {
        change(Arc::make_mut(limit));
    }
}

#[test]
fn equal_answers_do_not_drift() {
    for answer in [Answer::Ok(mk_server()), Answer::NotFound, Answer::InvalidArgument] {
        let drift = Drift::between(&answer, &answer);
        assert!(drift.is_none(), "{drift:?}");
    }
}

#[test]
fn order_is_no_drift_wherever_it_means_nothing() {
    let none = when_enforced(|server| {
        authorizations(server, |all| {
            all.reverse();
            let mut networks = all[1].networks.to_vec();
            networks.reverse();
            all[1].networks = networks.into();
            if let Authentication::MeshTls(Clients::Identities { identities, suffixes }) =
                &mut all[1].authentication
            {
                identities.reverse();
                suffixes.reverse();
            }
        });
        routes(server, |routes| {
            routes.reverse();
            routes[0].hosts.reverse();
            routes[0].rules[0].matches.reverse();
            routes[0].rules[0].matches[1].headers.reverse();
        });
        limit(server, |limit| {
            limit.overrides.reverse();
            limit.overrides[0].identities.reverse();
        });
    });
    assert_eq!(none, Vec::<String>::new());
}

#[test]
fn the_labels_of_a_suffix_and_the_filters_of_a_rule_have_an_order() {
    let suffix = when_enforced(|server| {
        authorizations(server, |all| {
            if let Authentication::MeshTls(Clients::Identities { suffixes, .. }) = &mut all[0].authentication
            {
                suffixes[0].reverse();
            }
        });
    });
    assert_eq!(suffix.len(), 1, "{suffix:?}");
    let set = |value: &str| {
        Filter::RequestHeaderModifier(HeaderModifier {
            add: Vec::new(),
            set: vec![("x".into(), value.into())],
            remove: Vec::new(),
        })
    };
    let with = |filters: Vec<Filter>| {
        changed(|server| routes(server, |routes| routes[0].rules[0].filters = filters))
    };
    let found = differences(&with(vec![set("1"), set("2")]), &with(vec![set("2"), set("1")]));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn an_authorization_that_the_controller_lacks_is_written_but_not_enforced() {
    let found = when_enforced(|server| authorizations(server, |all| drop(all.remove(0))));
    assert_eq!(found, ["authorization authorizationpolicy/allow is written but not enforced on the port"]);
}

#[test]
fn an_authorization_that_only_the_controller_has_is_still_enforced() {
    let found = when_enforced(|server| {
        authorizations(server, |all| all.push(mk_authorization("gone", &["::/0"], &[])));
    });
    assert_eq!(
        found,
        ["the controller still enforces authorizationpolicy/gone on the port, which no object says"]
    );
}

#[test]
fn networks_and_identities_of_an_authorization_are_compared() {
    let networks = when_enforced(|server| {
        authorizations(server, |all| all[1].networks = [Network::whole("0.0.0.0/1".parse().unwrap())].into());
    });
    let (written, enforced) =
        (r#"[{"net":"0.0.0.0/0","except":[]}]"#, r#"[{"net":"0.0.0.0/1","except":[]}]"#);
    let sentence = |field: &str, written: &str, enforced: &str| {
        format!(
            "authorization authorizationpolicy/ops on the port differs in {field}: {written} is written, {enforced} is enforced"
        )
    };
    let keys_sorted =
        |text: &str| serde_json::from_str::<Value>(text).map(|value| value.to_string()).unwrap_or_default();
    assert_eq!(networks, [sentence("networks", &keys_sorted(written), &keys_sorted(enforced))]);
    let anyone = when_enforced(|server| {
        authorizations(server, |all| all[1].authentication = Authentication::Unauthenticated {});
    });
    assert_eq!(
        anyone,
        [sentence(
            "authentication",
            r#"{"mesh_tls":{"identities":["ops"],"suffixes":[["local"],["ops","local"]]}}"#,
            r#"{"unauthenticated":{}}"#
        )]
    );
}

#[test]
fn two_authorizations_of_one_name_are_not_taken_for_one() {
    let found = when_enforced(|server| authorizations(server, |all| all.push(all[0].clone())));
    assert_eq!(
        found,
        ["authorization authorizationpolicy/allow on the port differs in count: 1 is written, 2 is enforced"]
    );
}

#[test]
fn a_default_in_the_place_of_a_server_is_named() {
    let found = when_enforced(|server| server.labels = labels("default", "all-unauthenticated"));
    assert_eq!(
        found,
        ["server web should decide about the port, but default policy all-unauthenticated is enforced"]
    );
}

#[test]
fn another_protocol_is_named_and_the_routes_of_both_still_compared() {
    let found = when_enforced(|server| {
        server.protocol = Protocol::Http1 {
            http_routes: [mk_route("one"), mk_route("two")].into(),
            rate_limit: Some(Arc::new(mk_limit())),
        };
    });
    assert_eq!(found, ["protocol differs: detect is written, http1 is enforced"]);
    let opaque = when_enforced(|server| server.protocol = Protocol::Opaque {});
    assert_eq!(opaque, ["protocol differs: detect is written, opaque is enforced"]);
}

#[test]
fn the_time_for_detection_and_addresses_are_compared() {
    let found = when_enforced(|server| {
        server.server_ips = 2;
        if let Protocol::Detect { timeout_ms, .. } = &mut server.protocol {
            *timeout_ms = 1_000;
        }
    });
    assert_eq!(
        found,
        [
            "the controller limits the port to 2 addresses, and 0 were expected",
            "the time to detect the protocol differs: 10000 ms expected, 1000 ms enforced"
        ]
    );
}

#[test]
fn a_route_missing_on_either_side_is_named() {
    let found = when_enforced(|server| routes(server, |routes| routes[0] = mk_route("three")));
    assert_eq!(
        found,
        [
            "route HTTPRoute/one is written but not enforced",
            "the controller still enforces route HTTPRoute/three, which no object says"
        ]
    );
}

#[test]
fn hosts_rules_and_authorizations_of_a_route_are_compared() {
    let found = when_enforced(|server| {
        routes(server, |routes| {
            routes[0].hosts.pop();
            routes[0].rules[0].matches.pop();
            routes[1].authorizations = [].into();
        });
    });
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("route HTTPRoute/one differs in hosts: "), "{found:?}");
    assert!(found[1].starts_with("route HTTPRoute/one differs in rules: "), "{found:?}");
    assert_eq!(
        found[2],
        "authorization authorizationpolicy/on-route is written but not enforced on route HTTPRoute/two"
    );
}

#[test]
fn grpc_routes_are_compared() {
    let grpc = |method: &str| {
        let matching =
            GrpcMatch { rpc: Some(Rpc { service: "S".into(), method: method.into() }), headers: Vec::new() };
        let route = Route {
            metadata: resource("gateway.networking.k8s.io", "GRPCRoute", "g"),
            hosts: Vec::new(),
            rules: vec![Rule { matches: vec![matching], filters: Vec::new() }],
            authorizations: [].into(),
        };
        changed(|server| server.protocol = Protocol::Grpc { grpc_routes: [route].into() })
    };
    assert_eq!(differences(&grpc("Get"), &grpc("Get")), []);
    let found = differences(&grpc("Get"), &grpc("Put"));
    assert!(matches!(found.as_slice(), [Difference::Route { field: "rules", .. }]), "{found:?}");
}

#[test]
fn a_rate_limit_that_differs_or_is_on_one_side_only_is_shown() {
    let other = when_enforced(|server| limit(server, |limit| limit.total = Some(1)));
    assert!(other.len() == 1 && other[0].starts_with("rate limits differ: "), "{other:?}");
    let missing = when_enforced(|server| {
        if let Protocol::Detect { rate_limit, .. } = &mut server.protocol {
            *rate_limit = None;
        }
    });
    assert!(missing.len() == 1 && missing[0].ends_with(" is written but not enforced"), "{missing:?}");
}

#[test]
fn a_workload_that_one_side_does_not_know_is_drift() {
    let ok = Answer::Ok(mk_server());
    let said = |written: &Answer, enforced: &Answer| {
        differences(written, enforced).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        said(&ok, &Answer::NotFound),
        [
            "by the objects the port has a policy, but for Linkerd's policy controller there is no such workload in the mesh"
        ]
    );
    assert_eq!(
        said(&Answer::NotFound, &ok),
        [
            "by the objects there is no such workload in the mesh, but for Linkerd's policy controller the port has a policy"
        ]
    );
    assert_eq!(said(&Answer::InvalidArgument, &Answer::NotFound).len(), 1);
}

#[test]
fn both_sides_are_there_for_display_and_each_difference_carries_its_kind() {
    let drift = Drift::between(&Answer::Ok(mk_server()), &Answer::NotFound);
    let json = serde_json::to_value(&drift).unwrap();
    assert_eq!(json["enforced"], json!({ "status": "not_found" }));
    assert_eq!(json["written"]["server"]["labels"]["name"], "web");
    assert_eq!(json["differences"], json!([{ "kind": "status", "written": "ok", "enforced": "not_found" }]));
    assert_eq!(json["differences"][0]["kind"], drift.differences[0].kind());
}
