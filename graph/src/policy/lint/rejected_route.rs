//! Routes that name a Server and are not in force on it, and the AuthorizationPolicies that do nothing with them.

use super::{
    Code, Finding, Severity, ignored,
    scene::{Scene, Seen, id_of, kind_of},
    words,
};
use crate::{
    fact::{Key, PolicyObject},
    id::PolicyId,
    kind::Kind,
    policy::spec::{self, Fault, ProxyProtocol, Target},
};
use ahash::AHashMap;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

const ROUTES: [Kind; 3] = [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute];

/// The AuthorizationPolicies on routes.
type OnRoutes<'a> = AHashMap<PolicyId, Vec<&'a PolicyId>>;

/// What bears on routes.
struct Around<'a> {
    policies: OnRoutes<'a>,
    grpc: AHashMap<Key, PolicyId>,
}

/// True for faults of routes that this check tells of; one that cannot be read at all is told of as such.
pub(super) fn is_about(id: &PolicyId, fault: &Fault) -> bool {
    kind_of(id).is_some_and(|kind| ROUTES.contains(&kind)) && !matches!(fault, Fault::Shape(_))
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let around = Around { policies: policies_on_routes(scene), grpc: grpc_routes(scene) };
    let routes = ROUTES.into_iter().flat_map(|kind| scene.objects(kind));
    routes.filter_map(|object| route(scene, &around, object)).collect()
}

/// A GRPCRoute for each Server that one names as parent, be it usable or not.
fn grpc_routes(scene: &Scene<'_>) -> AHashMap<Key, PolicyId> {
    let routes = scene.mesh.policies.objects().all(Kind::GRPCRoute);
    let parents = |route: &Arc<PolicyObject>| {
        let id = id_of(route);
        let parents = spec::parents_of(&route.spec, &route.key.namespace);
        parents.into_iter().map(move |parent| (parent, id.clone())).collect::<Vec<_>>()
    };
    routes.flat_map(parents).collect()
}

fn policies_on_routes<'a>(scene: &'a Scene<'_>) -> OnRoutes<'a> {
    let mut policies = OnRoutes::new();
    for policy in &scene.authorization_policies {
        if let Target::Route(kind, name) = &policy.spec.target {
            let namespace = &policy.object.key.namespace;
            let route = PolicyId::new(kind.policy_prefix(), namespace, &name.to_ascii_lowercase());
            policies.entry(route).or_default().push(&policy.id);
        }
    }
    policies
}

/// Why a route is not in force on a Server, and what to do.
struct Rejection {
    server: PolicyId,
    /// Another object that is the reason.
    beside: Option<PolicyId>,
    why: String,
    fix: &'static str,
}

fn route(scene: &Scene<'_>, around: &Around<'_>, object: &Arc<PolicyObject>) -> Option<Finding> {
    let id = id_of(object);
    let on_it = around.policies.get(&id).map(Vec::as_slice).unwrap_or_default();
    match scene.fault(&id) {
        Some(Fault::Shape(_)) => return None,
        Some(fault) => {
            let text = format!(
                "Linkerd does not use {id} on any Server, whatever its status says: {}.{}{} If no other route is attached, the Server takes all requests and probes as before.",
                ignored::why(fault),
                nothing_from(on_it),
                ignored::older(fault),
            );
            let parents = spec::parents_of(&object.spec, &object.key.namespace);
            let prefix = Kind::Server.policy_prefix();
            let parents = parents
                .iter()
                .map(|parent| PolicyId::new(prefix, &parent.namespace, &parent.name).to_string());
            let objects =
                [id.to_string()].into_iter().chain(on_it.iter().map(ToString::to_string)).chain(parents);
            return Some(Finding::new(Code::RejectedRoute, objects, text, fix(fault)));
        }
        None => {}
    }
    let parents: BTreeSet<Key> = spec::parents_of(&object.spec, &object.key.namespace).into_iter().collect();
    let servers: Vec<(usize, &Seen<'_>)> = parents
        .iter()
        .filter_map(|parent| scene.place(&parent.namespace, &parent.name))
        .map(|place| (place, &scene.servers[place]))
        .collect();
    let mut rejections: Vec<Rejection> = servers
        .iter()
        .filter_map(|(place, server)| rejection(scene, around, object, *place, server))
        .collect();
    let in_force = servers.len() > rejections.len();
    rejections.extend(wrong_groups(object));
    let first = rejections.first()?;
    let fix = first.fix;
    let reasons = words::some(rejections.iter().map(|it| format!("on {} because {}", it.server, it.why)));
    let silent = if in_force { String::new() } else { nothing_from(on_it) };
    let text = format!("{id} is not in force {reasons}.{silent}");
    let mut objects = vec![id.to_string()];
    if !in_force {
        objects.extend(on_it.iter().map(ToString::to_string));
    }
    for Rejection { server, beside, .. } in &rejections {
        objects.push(server.to_string());
        objects.extend(beside.iter().map(ToString::to_string));
    }
    let severity = if in_force { Severity::Warning } else { Severity::Error };
    Some(Finding::new(Code::RejectedRoute, objects, text, fix).with(severity))
}

fn nothing_from(policies: &[&PolicyId]) -> String {
    match policies {
        [] => String::new(),
        [one] => format!(" {one} on it does nothing then."),
        several => format!(" {} on it do nothing then.", words::some(several)),
    }
}

fn rejection(
    scene: &Scene<'_>,
    around: &Around<'_>,
    object: &PolicyObject,
    place: usize,
    server: &Seen<'_>,
) -> Option<Rejection> {
    let id = &id_of(object);
    let rejected = |why: String, fix| Some(Rejection { server: server.id.clone(), beside: None, why, fix });
    let is_grpc = object.kind == Kind::GRPCRoute;
    if !scene.is_attached(place, id) {
        let key = Key { namespace: server.namespace.clone(), name: server.policy.name.clone() };
        return match around.grpc.get(&key).filter(|_| !is_grpc).cloned() {
            Some(grpc) => Some(Rejection {
                server: server.id.clone(),
                why: format!("{grpc} names that Server, and beside a GRPCRoute no HTTPRoute is accepted"),
                beside: Some(grpc),
                fix: "Delete one of them, or give each a Server of its own; after that Linkerd takes some seconds to accept the HTTPRoute.",
            }),
            None => rejected(
                "Linkerd's policy controller has not accepted it there (see the route's status)".to_owned(),
                "Read the conditions in the route's status; if it is stale, check that the policy controller runs.",
            ),
        };
    }
    let protocol = match server.policy.spec.protocol {
        ProxyProtocol::Opaque => "opaque",
        ProxyProtocol::Tls => "TLS",
        ProxyProtocol::Grpc if is_grpc => return header_only(id, server),
        ProxyProtocol::Grpc => "gRPC",
        ProxyProtocol::Http1 if is_grpc => "HTTP/1",
        ProxyProtocol::Http2 if is_grpc => "HTTP/2",
        ProxyProtocol::Unknown if is_grpc => "unknown",
        _ => return None,
    };
    let name = object.kind.row().name;
    rejected(
        format!("its proxyProtocol is {protocol}, with which no {name} is used, though Linkerd accepts it"),
        match is_grpc {
            true => "Set proxyProtocol: gRPC on the Server, or write HTTPRoutes.",
            false => "Set an HTTP proxyProtocol on the Server, or write GRPCRoutes if it speaks gRPC.",
        },
    )
}

fn header_only(id: &PolicyId, server: &Seen<'_>) -> Option<Rejection> {
    server.policy.has_unreadable_match(id.name()).then(|| Rejection {
        server: server.id.clone(),
        beside: None,
        why: "it has a match on headers without a method, which the proxy cannot read: the proxy then refuses every call on the Server's ports".to_owned(),
        fix: "Add a method with a service to every match, or take the headers out.",
    })
}

/// Parents of kind Server in a group that has no Servers.
fn wrong_groups(object: &PolicyObject) -> Vec<Rejection> {
    let parents = object.spec.get("parentRefs").and_then(Value::as_array);
    let text = |parent: &Value, field: &str| parent.get(field).and_then(Value::as_str).map(str::to_owned);
    parents
        .into_iter()
        .flatten()
        .filter_map(|parent| {
            let (kind, name) = (text(parent, "kind")?, text(parent, "name")?);
            let group = text(parent, "group").unwrap_or_default();
            let odd = kind.eq_ignore_ascii_case("Server") && !group.eq_ignore_ascii_case("policy.linkerd.io");
            odd.then(|| Rejection {
                server: PolicyId::new(Kind::Server.policy_prefix(), &object.key.namespace, &name),
                beside: None,
                why: match &*group {
                    "" => "its parentRef names no group, which is the Gateway API's".to_owned(),
                    group => format!("its parentRef is of group {group}"),
                },
                fix: "Write group: policy.linkerd.io in the parentRef.",
            })
        })
        .collect()
}

fn fix(fault: &Fault) -> &'static str {
    match fault {
        Fault::ParentElsewhere(_) => {
            "Take the parent of the other namespace out of parentRefs, and write a route in that namespace for it."
        }
        Fault::ParentPart(_) => "Take port and sectionName out of the parentRef.",
        Fault::Filter(_) => {
            "Take the filter out; on routes of a Server RequestHeaderModifier and RequestRedirect work."
        }
        Fault::RelativePath(_) => "Begin the path with a slash.",
        Fault::MethodPattern => "Match the method exactly.",
        Fault::Header(_) => "Write header names and values that HTTP allows.",
        Fault::Pattern(..) => "Correct the regular expression.",
        _ => "Correct the route and apply it again.",
    }
}
