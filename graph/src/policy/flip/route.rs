//! Changes of routes: what the proxy cannot read, what Linkerd does not attach, and what no route takes.

use super::{
    Call, Candidate, Decision, Kind, Origin, PolicyObject, Reason, Request,
    object::{edited, free_name, id_of, items, new, reference, with_field, with_item},
};
use crate::policy::{Fault, answer::Protocol, spec};
use serde_json::{Value, json};

/// The methods that the Gateway API can match.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// The most rules that the schema of routes allows.
const MAX_RULES: usize = 16;

/// Changes of routes that may be all that is needed, or the first half of it.
pub(super) fn repairs(call: Call<'_>) -> Vec<Candidate> {
    let mut repairs = Vec::new();
    repairs.extend(readable(call));
    if call.request.is_some() {
        repairs.extend(detached(call));
    }
    if let (Decision::UnmatchedRoute, Some(request)) = (call.verdict.decision, call.request) {
        repairs.extend(extended(call, request));
        repairs.extend(added(call, request));
    }
    repairs
}

/// Gives every match on headers alone of the port's GRPCRoutes what the proxy needs.
fn readable(call: Call<'_>) -> Option<Candidate> {
    let unreadable = call.verdict.reasons.iter().any(|reason| matches!(reason, Reason::InvalidRoute { .. }));
    let server = call.server_object().filter(|_| unreadable)?;
    let namespace = call.namespace();
    let routes = call.policies.objects().policies(Kind::GRPCRoute, &namespace);
    let parents =
        |route: &PolicyObject| spec::parents_of(&route.spec, &route.key.namespace).contains(&server.key);
    let rpc = call.request.and_then(rpc);
    let put: Vec<PolicyObject> =
        routes.filter(|route| parents(route)).filter_map(|route| with_methods(route, rpc.as_ref())).collect();
    let names: Vec<String> = put.iter().map(|route| id_of(route).to_string()).collect();
    let how = match &rpc {
        Some((service, _)) => format!("Give them `method: {{service: {service}}}`"),
        None => {
            "Without knowing the service that is meant they are taken out here; write it instead".to_owned()
        }
    };
    let text = format!(
        "{} matches on headers alone, which the proxy cannot read, so it refuses everybody on the port. {how}.",
        names.join(" and ")
    );
    let edits = put.len();
    (edits > 0).then(|| Candidate::put(text, edits, put))
}

fn with_methods(route: &PolicyObject, rpc: Option<&(String, String)>) -> Option<PolicyObject> {
    let mut spec = Value::clone(&route.spec);
    let mut changed = false;
    for rule in spec.get_mut("rules")?.as_array_mut()? {
        let Some(matches) = rule.get_mut("matches").and_then(Value::as_array_mut) else { continue };
        let lacks = |matching: &Value| matching.get("method").is_none_or(Value::is_null);
        changed |= matches.iter().any(lacks);
        match rpc {
            Some((service, _)) => {
                for matching in matches.iter_mut().filter(|matching| lacks(matching)) {
                    *matching = with_field(matching, "method", json!({"service": service}))?;
                }
            }
            None => matches.retain(|matching| !lacks(matching)),
        }
    }
    changed.then(|| edited(route, spec))
}

/// Routes that name the Server's port or section, and so are not attached.
fn detached(call: Call<'_>) -> Vec<Candidate> {
    let Some(server) = call.server_object() else { return Vec::new() };
    let namespace = call.namespace();
    let ignored = call.policies.ignored_in(&namespace).iter();
    let routes = ignored
        .filter(|it| matches!(it.fault, Fault::ParentPart(_) | Fault::ParentElsewhere(_)))
        .filter_map(|it| call.object(&it.id));
    routes.filter_map(|route| attached(call, route, server)).collect()
}

fn attached(call: Call<'_>, route: &PolicyObject, server: &PolicyObject) -> Option<Candidate> {
    let parents = items(&route.spec, "parentRefs");
    let named = |parent: &Value| {
        parent.get("kind").and_then(Value::as_str) == Some("Server")
            && parent.get("name").and_then(Value::as_str) == Some(&*server.key.name)
    };
    if !parents.iter().any(named) {
        return None;
    }
    // One bad parent spoils the route on all of them.
    let mended: Vec<Value> = parents
        .iter()
        .filter(|parent| named(parent) || parent.get("kind").and_then(Value::as_str) != Some("Server"))
        .map(|parent| if named(parent) { reference(server) } else { parent.clone() })
        .collect();
    let put = edited(route, with_field(&route.spec, "parentRefs", Value::Array(mended))?);
    let text = format!(
        "{} is not attached, because a parentRef to a Server may name neither port nor section nor another namespace. \
         Name {} as its only Server.{}",
        id_of(route),
        id_of(server),
        first_route(call)
    );
    Some(Candidate::put(text, 1, vec![put]))
}

/// The first route that is attached takes the default routes away.
fn first_route(call: Call<'_>) -> &'static str {
    match call.server().routes().any(|(metadata, _)| metadata.is_default()) {
        true => {
            " As the first route of the port it ends the default ones: all that it does not take is answered with 404, \
             probes included."
        }
        false => "",
    }
}

/// A rule that takes the request in a route that is attached already.
fn extended(call: Call<'_>, request: &Request) -> Vec<Candidate> {
    let routes = call.verdict.reasons.iter().find_map(|reason| match reason {
        Reason::NoRoute { routes } => Some(routes),
        _ => None,
    });
    let objects = routes.into_iter().flatten().filter_map(|route| match route {
        Origin::Object(id) => call.object(id),
        Origin::Default(_) => None,
    });
    objects
        .filter_map(|route| {
            let rule = rule(route.kind == Kind::GRPCRoute, request)?;
            if items(&route.spec, "rules").len() >= MAX_RULES {
                return None;
            }
            let put = edited(route, with_item(&route.spec, "rules", rule)?);
            let text = format!(
                "No route of the port takes {}. Add a rule for it to {}: whoever is let in on that route may then \
                 send it.",
                shown(request),
                id_of(route)
            );
            Some(Candidate::put(text, 1, vec![put]))
        })
        .collect()
}

/// A new route for the request alone.
fn added(call: Call<'_>, request: &Request) -> Option<Candidate> {
    let server = call.server_object()?;
    let grpc = matches!(call.server().protocol, Protocol::Grpc { .. });
    let put = for_rule(call, server, rule(grpc, request)?, grpc);
    let text =
        format!("No route of the port takes {}. Attach a route for it to {}.", shown(request), id_of(server));
    Some(Candidate::put(text, 2, vec![put]))
}

/// A new route for whatever no other route takes.
pub(super) fn for_all_the_rest(call: Call<'_>) -> Option<Candidate> {
    let server = call.server_object()?;
    let grpc = matches!(call.server().protocol, Protocol::Grpc { .. });
    let rule = match grpc {
        true => json!({}),
        false => json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}),
    };
    let put = for_rule(call, server, rule, grpc);
    let text = format!(
        "Attach a route to {} for all that its other routes do not take: whoever is let in there may then send any \
         request. Where only some paths are meant, name these instead.",
        id_of(server)
    );
    Some(Candidate::put(text, 2, vec![put]))
}

fn for_rule(call: Call<'_>, server: &PolicyObject, rule: Value, grpc: bool) -> PolicyObject {
    let kind = if grpc { Kind::GRPCRoute } else { Kind::LinkerdHTTPRoute };
    let namespace = call.namespace();
    let name = free_name(call.policies.objects(), kind, &namespace, &[&server.key.name, "more"]);
    let spec = json!({"parentRefs": [reference(server)], "rules": [rule]});
    new(kind, &namespace, name, spec)
}

fn rule(grpc: bool, request: &Request) -> Option<Value> {
    if grpc {
        let (service, method) = rpc(request)?;
        return Some(json!({"matches": [{"method": {"service": service, "method": method}}]}));
    }
    let path = path(request);
    if !path.starts_with('/') || !METHODS.contains(&&*request.method) {
        return None;
    }
    let path = json!({"type": "Exact", "value": path});
    Some(json!({"matches": [{"path": path, "method": request.method}]}))
}

fn path(request: &Request) -> &str {
    request.path.split_once('?').map_or(&*request.path, |(path, _)| path)
}

/// Service and method of a gRPC call.
fn rpc(request: &Request) -> Option<(String, String)> {
    let (service, method) = path(request).strip_prefix('/')?.split_once('/')?;
    let some = !service.is_empty() && !method.is_empty() && !method.contains('/');
    (&*request.method == "POST" && some).then(|| (service.to_owned(), method.to_owned()))
}

fn shown(request: &Request) -> String {
    format!("`{} {}`", request.method, path(request))
}
