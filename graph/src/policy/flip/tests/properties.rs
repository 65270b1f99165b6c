//! What holds for every flip of every mesh.

use super::{
    world::{World, account, on},
    *,
};
use proptest::{collection, option, prelude::*};

const CALLERS: [&str; 6] = [WEB, BOT, OLD, SPIFFE, "other/deployment/web", "10.9.0.1"];

fn caller() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&CALLERS[..])
}

fn request() -> impl Strategy<Value = Option<Request>> {
    option::of(("GET|POST", "/(live|a|b|pkg.Db/Get)?").prop_map(|(method, path)| Request::new(method, path)))
}

fn server() -> impl Strategy<Value = Option<Value>> {
    let protocol = prop_oneof!["unknown", "HTTP/1", "gRPC", "opaque"];
    let access = prop_oneof!["deny", "deny", "audit", "all-authenticated", "cluster-unauthenticated"];
    let fields = (protocol, access)
        .prop_map(|(protocol, access)| json!({"proxyProtocol": protocol, "accessPolicy": access}));
    option::weighted(0.8, fields)
}

fn route() -> impl Strategy<Value = (Kind, Value)> {
    let matching = prop_oneof![
        "/[ab]?".prop_map(|value| json!({"path": {"type": "PathPrefix", "value": value}})),
        Just(json!({"method": "POST"})),
    ];
    let http = (matching, any::<bool>()).prop_map(|(matching, whole)| {
        let mut parent = on("Server", "s");
        if !whole {
            parent["port"] = json!(8080);
        }
        (Kind::LinkerdHTTPRoute, json!({"parentRefs": [parent], "rules": [{"matches": [matching]}]}))
    });
    let matching = prop_oneof![
        Just(json!({"headers": [{"name": "x", "value": "y"}]})),
        Just(json!({"method": {"service": "pkg.Db"}})),
    ];
    let grpc = matching.prop_map(|matching| {
        (Kind::GRPCRoute, json!({"parentRefs": [on("Server", "s")], "rules": [{"matches": [matching]}]}))
    });
    prop_oneof![3 => http, 2 => grpc]
}

fn authorization() -> impl Strategy<Value = (Kind, Value)> {
    let gateway =
        |name: String| json!({"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": name});
    let target = prop_oneof![
        3 => Just(on("Server", "s")),
        1 => Just(json!({"kind": "Namespace", "name": "shop"})),
        1 => "[xy]".prop_map(|name| on("HTTPRoute", &name)),
        1 => "[xy]".prop_map(gateway),
    ];
    let reference = prop_oneof![
        "web|bot".prop_map(|name| account(&name)),
        "m|gone".prop_map(|name| on("MeshTLSAuthentication", &name)),
        "n|gone".prop_map(|name| on("NetworkAuthentication", &name)),
    ];
    let policy = (target, collection::vec(reference, 0..3)).prop_map(|(target, references)| {
        (Kind::AuthorizationPolicy, json!({"targetRef": target, "requiredAuthenticationRefs": references}))
    });
    let clients = prop_oneof![
        Just(json!({})),
        Just(json!({"meshTLS": {"serviceAccounts": [{"name": "web"}, {"name": "bot"}]}})),
        Just(json!({"unauthenticated": true, "networks": [{"cidr": "10.2.0.0/16"}]})),
        Just(json!({"meshTLS": {"identities": ["*"]}})),
    ];
    let old = clients.prop_map(|client| {
        (Kind::ServerAuthorization, json!({"server": {"selector": {}}, "client": client}))
    });
    prop_oneof![3 => policy, 1 => old]
}

fn world() -> impl Strategy<Value = World> {
    let default = prop_oneof!["deny", "audit", "all-authenticated", "cluster-unauthenticated"];
    let second = any::<bool>();
    let objects = (collection::vec(route(), 0..3), collection::vec(authorization(), 0..4));
    (server(), default, second, objects).prop_map(|(server, default, second, (routes, authorizations))| {
        let mut world = World::with_annotations(&[("default-inbound-policy", &default)])
            .object(
                Kind::MeshTLSAuthentication,
                "m",
                json!({"identities": [identity("web"), identity("bot"), SPIFFE]}),
            )
            .object(
                Kind::NetworkAuthentication,
                "n",
                json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}]}),
            );
        if let Some(server) = server {
            world = world.server(server);
        }
        if second {
            let spec = json!({"podSelector": {"matchLabels": {"app": "bot"}}, "port": 8080});
            world = world.object(Kind::Server, "t", spec).policy(
                "on-t",
                on("Server", "t"),
                &[on("MeshTLSAuthentication", "m")],
            );
        }
        for ((kind, spec), name) in routes.into_iter().zip(["x", "y"]) {
            world = world.object(kind, name, spec);
        }
        for (at, (kind, spec)) in authorizations.into_iter().enumerate() {
            world = world.object(kind, &format!("authorization-{at}"), spec);
        }
        world
    })
}

fn is_let_in(decision: Decision) -> bool {
    matches!(decision, Decision::Allow | Decision::Audit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_flip_flips_when_all_objects_are_read_anew(world in world(), from in caller(), request in request()) {
        let before = world.decision(from, request.as_ref());
        for flip in world.flips(from, request.as_ref()) {
            if flip.put.is_empty() && flip.removes.is_empty() {
                continue;
            }
            let after = world.after(&flip).decision(from, request.as_ref());
            prop_assert_eq!(after, flip.becomes, "{:?}", flip);
            prop_assert!(after != before, "{:?}", flip);
            let audited = before == Decision::Audit;
            prop_assert!(audited || is_let_in(after) != is_let_in(before), "{:?}", flip);
        }
    }

    #[test]
    fn whoever_else_a_flip_shuts_out_or_lets_in_is_in_its_text(
        world in world(), from in caller(), request in request(),
    ) {
        let before = world.made();
        let own = before.check(from, None).accesses[0].client.clone();
        for flip in world.flips(from, request.as_ref()) {
            let after = world.after(&flip).made();
            for other in CALLERS {
                for to in ["shop/deployment/db:8080", "shop/deployment/bot:8080"] {
                    let (old, new) = (before.check_to(other, to, None), after.check_to(other, to, None));
                    let (old, new) = (&old.accesses[0], &new.accesses[0]);
                    let same = old.client.identity == own.identity
                        && (own.identity.is_some() || old.client.address == own.address);
                    // The mesh has no workload for these, so nobody could name them.
                    if same || [SPIFFE, "10.9.0.1"].contains(&other) {
                        continue;
                    }
                    let (was, is) = (is_let_in(old.verdict.decision), is_let_in(new.verdict.decision));
                    let phrase = match (was, is) {
                        (true, false) => "It also shuts out",
                        (false, true) => "It also lets in",
                        _ => continue,
                    };
                    prop_assert!(flip.text.contains(phrase), "{} {}: {:?}", other, to, flip);
                    let named = flip.text.contains(other) || flip.text.contains(" more");
                    prop_assert!(named, "{} {}: {:?}", other, to, flip);
                }
            }
        }
    }

    #[test]
    fn manifests_are_what_kubectl_applies_and_nothing_else(world in world(), from in caller()) {
        for flip in world.flips(from, None) {
            for (manifest, object) in flip.manifests().iter().zip(&flip.put) {
                let fields: Vec<&String> = manifest.as_object().unwrap().keys().collect();
                prop_assert_eq!(fields, ["apiVersion", "kind", "metadata", "spec"]);
                let name = &*object.key.name;
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                prop_assert!(name.len() <= 66 && name.bytes().all(plain) && !name.ends_with('-'), "{}", name);
            }
        }
    }
}
