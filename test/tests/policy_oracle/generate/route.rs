//! HTTPRoutes of both groups and GRPCRoutes, most of them attached.

use super::{Dice, GATEWAY, POLICY, namespace, object};
use serde_json::{Value, json};

fn parent(dice: &mut Dice, namespace: &str) -> Value {
    let name = dice.pick(&["s0", "s0", "s0", "s0", "s1", "s1", "s2", "S0", "s9"]);
    let mut parent = json!({"group": POLICY, "kind": "Server", "name": name});
    if dice.theme.has_closed_server() {
        parent["name"] = json!("s0");
    }
    match dice.roll(32) {
        0 => parent["kind"] = json!("server"),
        1 => parent["group"] = json!(GATEWAY),
        2 => drop(parent.as_object_mut().unwrap().remove("kind")),
        3 => parent["namespace"] = json!(dice.pick(&["a", "b"])),
        4 => parent["namespace"] = json!(namespace),
        5 => parent["port"] = json!(8080),
        6 => parent["sectionName"] = json!("http"),
        7 => parent = json!({"group": "", "kind": "Service", "name": "svc", "port": 80}),
        _ => {}
    }
    parent
}

/// Of either group.
pub(super) fn http_route(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let is_gateway = (at % 2 == 1) != dice.one_in(6);
    let rules = dice.some(1..=2, |dice| {
        let mut rule = json!({"matches": dice.some(1..=2, http_match)});
        match dice.roll(12) {
            0 => rule = json!({"matches": []}),
            1 => {
                rule["filters"] = json!([{
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {"set": [{"name": "x-a", "value": "1"}]},
                }])
            }
            2 if is_gateway && dice.one_in(2) => {
                rule["filters"] = json!([{
                    "type": "URLRewrite",
                    "urlRewrite": {"hostname": "other.example"},
                }])
            }
            _ => {}
        }
        rule
    });
    let mut spec = json!({"parentRefs": dice.some(1..=2, |dice| parent(dice, namespace)), "rules": rules});
    if dice.one_in(6) {
        let hosts = ["web.example", "*.apps.example", "x.apps.example", "*.b.apps.example"];
        spec["hostnames"] = json!(dice.some(1..=2, |dice| dice.pick(&hosts)));
    }
    let group = if is_gateway { "gateway.networking.k8s.io/v1" } else { "policy.linkerd.io/v1beta3" };
    // Some have the name of a Server.
    let name = if dice.one_in(6) { format!("s{at}") } else { format!("r{at}") };
    object(group, "HTTPRoute", namespace, &name, dice, spec)
}

fn http_match(dice: &mut Dice) -> Value {
    let paths = [
        ("PathPrefix", "/"),
        ("PathPrefix", "/"),
        ("PathPrefix", "/api"),
        ("PathPrefix", "/api/v1"),
        ("PathPrefix", "/api/"),
        ("Exact", "/api"),
        ("Exact", "/live"),
        ("RegularExpression", "/api.*"),
        ("RegularExpression", "/(api|live)(/v[0-9])?"),
    ];
    let (how, path) = if dice.one_in(40) { ("PathPrefix", "api") } else { dice.pick(&paths) };
    let mut item = json!({"path": {"type": how, "value": path}});
    if dice.one_in(12) {
        item = json!({});
    }
    if dice.one_in(3) {
        item["method"] = json!(dice.pick(&["GET", "POST"]));
    }
    if dice.one_in(4) {
        item["headers"] = headers(dice);
    }
    if dice.one_in(5) {
        let parameters = [
            json!([{"type": "Exact", "name": "q", "value": "1"}]),
            json!([{"type": "RegularExpression", "name": "q", "value": "[0-9]+"}, {"type": "Exact", "name": "r", "value": "2"}]),
        ];
        item["queryParams"] = dice.pick(&parameters);
    }
    item
}

fn headers(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!([{"type": "Exact", "name": "x-role", "value": "admin"}]),
        json!([{"type": "RegularExpression", "name": "X-Role", "value": "adm.*"}]),
        json!([{"type": "RegularExpression", "name": "x-v", "value": "v"}]),
        json!([{"name": "x-role", "value": "admin"}, {"type": "RegularExpression", "name": "x-v", "value": "^v[12]$"}]),
    ])
}

pub(super) fn grpc_route(dice: &mut Dice, at: usize) -> Value {
    // From elsewhere it attaches to nothing, and keeps HTTPRoutes off the Server all the same.
    let strays = dice.one_in(5);
    let namespace = if strays { "b" } else { namespace(dice) };
    let methods = [
        json!({"type": "Exact", "service": "pkg.Svc", "method": "Get"}),
        json!({"service": "pkg.Svc"}),
        json!({"type": "Exact", "method": "Get"}),
        json!({"type": "Exact", "service": "pkg.Other"}),
    ];
    let rules = dice.some(1..=2, |dice| {
        if dice.one_in(6) {
            return json!({});
        }
        json!({"matches": dice.some(1..=2, |dice| {
            let mut item = json!({"method": dice.pick(&methods)});
            match dice.roll(12) {
                0 => item = json!({"headers": headers(dice)}),
                1 => item["method"] = json!({"type": "RegularExpression", "service": "pkg.Svc"}),
                2 | 3 => item["headers"] = headers(dice),
                _ => {}
            }
            item
        })})
    });
    let mut spec = json!({"parentRefs": dice.some(1..=2, |dice| parent(dice, namespace)), "rules": rules});
    if strays {
        spec["parentRefs"][0]["namespace"] = json!("a");
    }
    if dice.one_in(5) {
        spec["hostnames"] = json!([dice.pick(&["web.example", "*.apps.example"])]);
    }
    object("gateway.networking.k8s.io/v1", "GRPCRoute", namespace, &format!("g{at}"), dice, spec)
}

/// A status that Linkerd's controller may have written at another time.
pub(super) fn status(route: &Value, accepted: &str) -> Value {
    let parents = route["spec"]["parentRefs"].as_array().unwrap();
    let parents: Vec<Value> = parents
        .iter()
        .map(|parent| {
            json!({
                "parentRef": parent,
                "controllerName": "linkerd.io/policy-controller",
                "conditions": [{"type": "Accepted", "status": accepted, "reason": "Accepted", "message": "",
                                "lastTransitionTime": "2026-01-02T00:00:00Z"}],
            })
        })
        .collect();
    json!({"parents": parents})
}
