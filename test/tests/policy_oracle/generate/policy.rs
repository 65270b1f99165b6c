//! Servers, authorizations, authentications and rate limits.

use super::{DEFAULTS, Dice, GATEWAY, POLICY, Theme, labels, namespace, object, selector};
use serde_json::{Value, json};

/// Also for the properties, which add one.
pub(crate) fn server(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let odd = [json!("admin"), json!("Http"), json!("nope"), json!("8080"), json!(80), json!(70_000)];
    let port = if dice.one_in(3) { dice.pick(&odd) } else { dice.pick(&[json!("http"), json!(8080)]) };
    let mut spec = json!({"port": port});
    let by = if dice.one_in(6) { "externalWorkloadSelector" } else { "podSelector" };
    spec[by] = selector(dice);
    if !dice.one_in(6) {
        let protocols = ["unknown", "unknown", "HTTP/1", "HTTP/2", "gRPC", "gRPC", "opaque", "TLS"];
        spec["proxyProtocol"] = json!(if dice.one_in(15) { "http/1" } else { dice.pick(&protocols) });
    }
    match dice.roll(8) {
        0 => {}
        1 => {
            spec["accessPolicy"] =
                json!(dice.pick(&["audit", "all-authenticated", "cluster-authenticated", "Audit"]))
        }
        2 => spec["accessPolicy"] = json!(dice.pick(&DEFAULTS)),
        _ => spec["accessPolicy"] = json!("deny"),
    }
    if dice.theme.has_closed_server() && at == 0 {
        let protocol = dice.pick(&["unknown", "unknown", "HTTP/1", "HTTP/2", "gRPC"]);
        spec = json!({"podSelector": {}, "port": 8080, "proxyProtocol": protocol, "accessPolicy": "deny"});
    }
    let version = format!("{POLICY}/{}", dice.pick(&["v1beta3", "v1beta2", "v1beta1"]));
    let mut server = object(&version, "Server", namespace, &format!("s{at}"), dice, spec);
    server["metadata"]["labels"] = labels(dice);
    server
}

/// Also for the properties, which add one.
pub(crate) fn server_authorization(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let mut spec = json!({});
    spec["server"] = if dice.one_in(2) {
        json!({"name": dice.pick(&["s0", "s1", "s2", "S0", "s9"])})
    } else {
        json!({"selector": selector(dice)})
    };
    let mut client = json!({});
    if dice.one_in(2) {
        client["networks"] = json!(dice.some(1..=2, network));
    }
    let accounts = [json!({"name": "web"}), json!({"name": "bot", "namespace": "b"})];
    match dice.roll(8) {
        0 => {}
        1 | 2 => client["unauthenticated"] = json!(true),
        3 => client["meshTLS"] = json!({}),
        4 => client["meshTLS"] = json!({"unauthenticatedTLS": true}),
        5 => client["meshTLS"] = json!({"serviceAccounts": dice.some(1..=2, |dice| dice.pick(&accounts))}),
        6 => {
            client["meshTLS"] = json!({"identities": dice.some(0..=2, pattern)});
            client["unauthenticated"] = json!(false);
        }
        _ => {
            client["unauthenticated"] = json!(dice.one_in(2));
            client["meshTLS"] = json!({
                "identities": dice.some(1..=2, pattern),
                "serviceAccounts": dice.some(0..=1, |dice| dice.pick(&accounts)),
            });
        }
    }
    spec["client"] = client;
    object("policy.linkerd.io/v1beta1", "ServerAuthorization", namespace, &format!("z{at}"), dice, spec)
}

/// Also for the properties, which add one.
pub(crate) fn authorization_policy(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let server_name = dice.pick(&["s0", "s0", "s0", "s1", "s1", "s2", "S0", "s9"]);
    // Most routes of even number are Linkerd's, the others the Gateway API's.
    let route_name = dice.pick(&["r0", "r0", "r2", "r2", "R0", "r1", "s0"]);
    let gateway_name = dice.pick(&["r1", "r1", "r3", "r3", "R1", "r0", "s1"]);
    let strays = dice.one_in(6);
    let roll = match dice.theme {
        Theme::Anything => dice.roll(14),
        Theme::Authorizations => dice.roll(7),
        Theme::Routes if strays => dice.roll(7),
        Theme::Routes => 7 + dice.roll(6),
    };
    let target = match roll {
        0..=3 => json!({"group": POLICY, "kind": dice.pick(&["Server", "server"]), "name": server_name}),
        4 => json!({"group": dice.pick(&["", "core", GATEWAY]), "kind": "Server", "name": server_name}),
        5 | 6 => {
            let mut target =
                json!({"kind": dice.pick(&["Namespace", "namespace"]), "name": dice.pick(&["a", "b", "s0"])});
            if dice.one_in(2) {
                target["group"] = json!(dice.pick(&["", "core", "Core", POLICY]));
            }
            target
        }
        7..=9 => json!({"group": POLICY, "kind": dice.pick(&["HTTPRoute", "httproute"]), "name": route_name}),
        10 | 11 => json!({"group": GATEWAY, "kind": "HTTPRoute", "name": gateway_name}),
        12 => json!({"group": GATEWAY, "kind": "GRPCRoute", "name": dice.pick(&["g0", "g1", "G0"])}),
        _ => {
            json!({"group": dice.pick(&[POLICY, ""]), "kind": dice.pick(&["HTTPRoute", "Pod"]), "name": route_name})
        }
    };
    let references = match dice.roll(8) {
        0 => vec![],
        1 | 2 => vec![mesh_reference(dice)],
        3 | 4 => vec![network_reference(dice)],
        5 => vec![account_reference(dice)],
        6 => vec![dice.pick(&[mesh_reference, account_reference])(dice), network_reference(dice)],
        _ => {
            dice.some(2..=3, |dice| dice.pick(&[mesh_reference, network_reference, account_reference])(dice))
        }
    };
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": references});
    object("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", namespace, &format!("p{at}"), dice, spec)
}

fn mesh_reference(dice: &mut Dice) -> Value {
    let kind = dice.pick(&["MeshTLSAuthentication", "MeshTLSAuthentication", "meshtlsauthentication"]);
    reference(dice, POLICY, kind, &["m0", "m0", "m0", "m0", "m1", "m1", "m1", "m2", "m2", "M0", "m9"])
}

fn network_reference(dice: &mut Dice) -> Value {
    reference(
        dice,
        POLICY,
        "NetworkAuthentication",
        &["n0", "n0", "n0", "n0", "n1", "n1", "n1", "n2", "n2", "N0", "n9"],
    )
}

fn account_reference(dice: &mut Dice) -> Value {
    let group = dice.pick(&["", "", "", "", "core", POLICY]);
    reference(dice, group, "ServiceAccount", &["web", "bot"])
}

fn reference(dice: &mut Dice, group: &str, kind: &str, names: &[&str]) -> Value {
    let mut reference = json!({"group": group, "kind": kind, "name": dice.pick(names)});
    if group.is_empty() && dice.one_in(2) {
        reference.as_object_mut().unwrap().remove("group");
    }
    if dice.one_in(3) {
        reference["namespace"] = json!(dice.pick(&["a", "b", "b"]));
    }
    reference
}

fn pattern(dice: &mut Dice) -> String {
    let account = dice.pick(&["web", "web", "bot"]);
    let namespace = dice.pick(&["a", "a", "b"]);
    let end = if dice.one_in(8) { "linkerd.cluster.local" } else { dice.identities_end };
    match dice.roll(10) {
        0 => "*".to_owned(),
        1 => "spiffe://root.example/vm".to_owned(),
        2 => format!("*.{namespace}.serviceaccount.identity.{end}"),
        3 => "*.mesh.example".to_owned(),
        4 => format!("{account}.*.serviceaccount.identity.{end}"),
        5 => format!("*.*.serviceaccount.identity.{end}"),
        _ => format!("{account}.{namespace}.serviceaccount.identity.{end}"),
    }
}

/// Also for the properties, which add one.
pub(super) fn mesh_tls_authentication(dice: &mut Dice, at: usize) -> Value {
    let mut spec = json!({});
    let form = dice.roll(6);
    if form < 3 || form == 5 {
        spec["identities"] = json!(dice.some(1..=2, pattern));
    }
    if form >= 3 {
        spec["identityRefs"] = json!(dice.some(1..=2, |dice| match dice.roll(5) {
            0 | 1 => json!({"kind": "Namespace", "name": dice.pick(&["a", "a", "b"])}),
            2 if dice.one_in(4) => json!({"kind": "Pod", "name": "web"}),
            _ => account_reference_in_core(dice),
        }));
    }
    match dice.roll(20) {
        0 => spec = json!({"identities": []}),
        1 | 2 => spec = json!({"identities": ["*", "spiffe://root.example/vm"]}),
        _ => {}
    }
    object(
        "policy.linkerd.io/v1alpha1",
        "MeshTLSAuthentication",
        ["a", "b"][at % 2],
        &format!("m{}", at / 2),
        dice,
        spec,
    )
}

fn account_reference_in_core(dice: &mut Dice) -> Value {
    let mut account = json!({"kind": "ServiceAccount", "name": dice.pick(&["web", "web", "bot"])});
    if dice.one_in(2) {
        account["namespace"] = json!(dice.pick(&["a", "b"]));
    }
    account
}

fn network(dice: &mut Dice) -> Value {
    let cidrs = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.9.9/8",
        "10.1.0.5",
        "192.168.0.0/16",
        "0.0.0.0/0",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "2001:db8::1",
    ];
    let mut network = json!({"cidr": dice.pick(&cidrs)});
    if dice.one_in(2) {
        let except = ["10.1.0.0/16", "10.1.9.9/32", "10.1.0.5", "192.168.7.0/24", "fd00::/16"];
        network["except"] = json!(dice.some(1..=2, |dice| dice.pick(&except)));
    }
    network
}

/// Also for the properties, which add one.
pub(super) fn network_authentication(dice: &mut Dice, at: usize) -> Value {
    let mut networks = dice.some(1..=2, network);
    match dice.roll(20) {
        0 => networks.clear(),
        1 => networks.push(json!({"cidr": "10.0.0.0/33"})),
        _ => {}
    }
    let spec = json!({"networks": networks});
    object(
        "policy.linkerd.io/v1alpha1",
        "NetworkAuthentication",
        ["a", "b"][at % 2],
        &format!("n{}", at / 2),
        dice,
        spec,
    )
}

pub(super) fn rate_limit(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let spec = json!({
        "targetRef": {"group": POLICY, "kind": "Server", "name": dice.pick(&["s0", "s1", "S0"])},
        "total": {"requestsPerSecond": 100},
        "overrides": [{"requestsPerSecond": 10, "clientRefs": [{"kind": "ServiceAccount", "name": "web"}]}],
    });
    object("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy", namespace, &format!("l{at}"), dice, spec)
}
