//! What holds for all policies.

use super::*;
use proptest::{option, prelude::*};

fn client() -> impl Strategy<Value = Client> {
    let from = option::of(prop_oneof!["10\\.1\\.0\\.[1-9]", "10\\.2\\.0\\.[1-9]", "203\\.0\\.113\\.[1-9]"]);
    let identity = prop_oneof![Just(None), Just(Some(WEB)), Just(Some(BOT)), Just(Some(SPIFFE))];
    (from, any::<bool>(), identity).prop_map(|(from, tls, identity)| Client {
        address: from.and_then(|text| text.parse().ok()),
        tls,
        identity: identity.filter(|_| tls).map(Text::from),
    })
}

fn request() -> impl Strategy<Value = Option<Request>> {
    option::of(("GET|POST", "/(live|a|b|a/b)?").prop_map(|(method, path)| Request::new(method, path)))
}

/// A Server `s` on the port, or none; a protocol that may be nonsense.
fn server() -> impl Strategy<Value = Option<Value>> {
    let protocol = prop_oneof!["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS", "HTTP"];
    let access = prop_oneof!["deny", "audit", "all-authenticated", "cluster-unauthenticated"];
    let fields = (protocol, access)
        .prop_map(|(protocol, access)| json!({"proxyProtocol": protocol, "accessPolicy": access}));
    option::of(fields)
}

fn route() -> impl Strategy<Value = (Kind, Value)> {
    let matching = prop_oneof![
        "/[ab]?".prop_map(|value| path("PathPrefix", &value)),
        "/(a/b|live)".prop_map(|value| path("Exact", &value)),
        Just(json!({"method": "POST"})),
    ];
    let http = (any::<bool>(), matching).prop_map(|(gateway, matching)| {
        let kind = if gateway { Kind::GatewayHTTPRoute } else { Kind::LinkerdHTTPRoute };
        (kind, json!({"parentRefs": [on_server("s")], "rules": [{"matches": [matching]}]}))
    });
    let grpc = Just((Kind::GRPCRoute, json!({"parentRefs": [on_server("s")], "rules": [{}]})));
    prop_oneof![4 => http, 1 => grpc]
}

fn path(kind: &str, value: &str) -> Value {
    json!({"path": {"type": kind, "value": value}})
}

/// A ServerAuthorization or an AuthorizationPolicy; some are such as Linkerd ignores.
fn authorization() -> impl Strategy<Value = (Kind, Value)> {
    let target = prop_oneof![
        Just(on_server("s")),
        Just(on_server("gone")),
        Just(json!({"kind": "Namespace", "name": "shop"})),
        "[xyz]".prop_map(|name| on_route(&name)),
        "[xyz]".prop_map(
            |name| json!({"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": name})
        ),
    ];
    let reference = prop_oneof![
        "web|bot".prop_map(|name| json!({"kind": "ServiceAccount", "name": name})),
        "m|gone".prop_map(
            |name| json!({"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": name})
        ),
        "n|gone".prop_map(
            |name| json!({"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": name})
        ),
    ];
    let policy = (target, proptest::collection::vec(reference, 0..3)).prop_map(|(target, references)| {
        (Kind::AuthorizationPolicy, json!({"targetRef": target, "requiredAuthenticationRefs": references}))
    });
    let clients = prop_oneof![
        Just(json!({})),
        Just(json!({"unauthenticated": true})),
        Just(json!({"unauthenticated": true, "networks": [{"cidr": "203.0.113.0/24"}]})),
        Just(json!({"meshTLS": {"unauthenticatedTLS": true}})),
        Just(json!({"meshTLS": {"identities": ["*"]}})),
    ];
    let old = clients.prop_map(|client| {
        (Kind::ServerAuthorization, json!({"server": {"selector": {}}, "client": client}))
    });
    prop_oneof![3 => policy, 2 => old]
}

fn world(
    server: Option<Value>,
    default: &str,
    routes: Vec<(Kind, Value)>,
    authorizations: &[(Kind, Value)],
) -> World {
    let mut world = World::with_annotations(&[("default-inbound-policy", default)])
        .object(Kind::MeshTLSAuthentication, "m", 1, json!({"identities": ["*.cluster.local", SPIFFE]}))
        .object(
            Kind::NetworkAuthentication,
            "n",
            1,
            json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.2.0.0/16"]}]}),
        );
    if let Some(server) = server {
        world = world.server("s", server);
    }
    for ((kind, spec), name) in routes.into_iter().zip(["x", "y", "z"]) {
        world = world.object(kind, name, 4, spec);
    }
    for (at, (kind, spec)) in authorizations.iter().enumerate() {
        world = world.object(*kind, &format!("authorization-{at}"), 5, spec.clone());
    }
    world
}

proptest! {
    #[test]
    fn adding_an_authorization_never_removes_a_permission_nor_changes_the_route(
        (server, default) in (server(), prop_oneof!["deny", "audit", "cluster-authenticated", "all-unauthenticated"]),
        routes in proptest::collection::vec(route(), 0..4),
        authorizations in proptest::collection::vec(authorization(), 1..5),
        calls in proptest::collection::vec((client(), request()), 8),
    ) {
        let before = world(server.clone(), &default, routes.clone(), &authorizations[1..]);
        // As many as before under the same names, and the first one under a new name.
        let (kind, spec) = authorizations[0].clone();
        let after = world(server, &default, routes, &authorizations[1..]).object(kind, "added", 6, spec);
        for (client, request) in calls {
            let (old, new) = (before.check(&client, request.as_ref()), after.check(&client, request.as_ref()));
            prop_assert!(new.is_let_in() || !old.is_let_in(), "{old:?}\n{new:?}");
            let unmatched = |verdict: &Verdict| verdict.decision == Decision::UnmatchedRoute;
            prop_assert_eq!(unmatched(&old), unmatched(&new));
        }
    }

    #[test]
    fn every_verdict_has_reasons_and_those_that_let_in_name_who_does(
        (server, default) in (server(), prop_oneof!["deny", "audit", "cluster-authenticated", "all-unauthenticated"]),
        routes in proptest::collection::vec(route(), 0..4),
        authorizations in proptest::collection::vec(authorization(), 0..5),
        (client, request) in (client(), request()),
    ) {
        let verdict = world(server, &default, routes, &authorizations).check(&client, request.as_ref());
        let admits = verdict.reasons.iter().any(|reason| matches!(reason, Reason::Admits { .. }));
        prop_assert_eq!(admits, verdict.is_let_in(), "{:?}", verdict);
        let first = verdict.reasons.first();
        prop_assert!(matches!(first, Some(Reason::Server { .. })), "{:?}", verdict);
    }
}
