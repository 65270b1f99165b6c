//! Which Servers select a pod or ExternalWorkload, and which authorizations and routes hang on these Servers.

use super::{
    selector::Selector,
    spec::{Selected, ServerSpec},
};
use crate::{
    fact::{ContainerPort, Key, Labels, PolicyObject},
    facts::Facts,
    id::PolicyId,
    kind::Kind,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// The Servers of `namespace` that select a workload with these labels on at least one port.
///
/// A numbered port is selected always, a named one where a container declares it. `external` asks for Servers with an
/// externalWorkloadSelector.
pub fn servers_of(
    facts: &Facts,
    namespace: &str,
    labels: &Labels,
    ports: &[ContainerPort],
    external: bool,
) -> BTreeSet<PolicyId> {
    facts
        .policies(Kind::Server, namespace)
        .filter(|server| selects(server, labels, ports, external))
        .map(|server| policy_id(server))
        .collect()
}

fn selects(server: &PolicyObject, labels: &Labels, ports: &[ContainerPort], external: bool) -> bool {
    ServerSpec::read(&server.spec)
        .is_ok_and(|spec| spec.selects_workload(external, labels) && spec.selects_some_port(ports))
}

/// The labels that Servers of `namespace` select workloads by. Nothing else of policy looks at labels of pods.
pub(crate) fn labels_selected(facts: &Facts, namespace: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for server in facts.policies(Kind::Server, namespace) {
        if let Ok(spec) = ServerSpec::read(&server.spec) {
            let (Selected::Pods(selector) | Selected::ExternalWorkloads(selector)) = &spec.selected;
            labels.extend(selector.keys().map(str::to_owned));
        }
    }
    labels
}

/// The authorizations that bear on any of `servers`, all of one namespace.
///
/// These are ServerAuthorizations that name or select one, and AuthorizationPolicies that target one, a route attached
/// to one, or the namespace. A policy on a namespace reaches Servers only, so without Servers there are none.
pub fn authorizations_on(facts: &Facts, namespace: &str, servers: &BTreeSet<PolicyId>) -> BTreeSet<PolicyId> {
    if servers.is_empty() {
        return BTreeSet::new();
    }
    let names: BTreeSet<&str> = servers.iter().map(|server| server.name()).collect();
    let routes = attached_routes(facts, namespace, &names);
    let policies = facts
        .policies(Kind::AuthorizationPolicy, namespace)
        .filter(|policy| targets(policy, &names, &routes));
    let server_authorizations = facts
        .policies(Kind::ServerAuthorization, namespace)
        .filter(|authorization| authorizes(facts, authorization, namespace, &names));
    policies.chain(server_authorizations).map(|policy| policy_id(policy)).collect()
}

/// Names of routes of the namespace with one of the Servers as parent, in lower case with their kinds: target
/// references match both without letter case.
fn attached_routes(
    facts: &Facts,
    namespace: &str,
    servers: &BTreeSet<&str>,
) -> BTreeSet<(&'static str, String)> {
    let kinds = [
        (Kind::LinkerdHTTPRoute, "httproute"),
        (Kind::GatewayHTTPRoute, "httproute"),
        (Kind::GRPCRoute, "grpcroute"),
    ];
    let mut routes = BTreeSet::new();
    for (kind, name) in kinds {
        for route in facts.policies(kind, namespace) {
            let parents = route.spec.get("parentRefs").and_then(Value::as_array);
            let attached = parents.into_iter().flatten().any(|parent| {
                text(parent, "kind").is_some_and(|kind| kind.eq_ignore_ascii_case("Server"))
                    && text(parent, "name").is_some_and(|name| servers.contains(name))
            });
            if attached {
                routes.insert((name, route.key.name.to_ascii_lowercase()));
            }
        }
    }
    routes
}

fn targets(
    policy: &PolicyObject,
    servers: &BTreeSet<&str>,
    routes: &BTreeSet<(&'static str, String)>,
) -> bool {
    let Some(target) = policy.spec.get("targetRef") else { return false };
    let (kind, name) = (text(target, "kind").unwrap_or_default(), text(target, "name").unwrap_or_default());
    match kind.to_ascii_lowercase().as_str() {
        "server" => servers.contains(name),
        "namespace" => true,
        "httproute" => routes.contains(&("httproute", name.to_ascii_lowercase())),
        "grpcroute" => routes.contains(&("grpcroute", name.to_ascii_lowercase())),
        _ => false,
    }
}

fn authorizes(
    facts: &Facts,
    authorization: &PolicyObject,
    namespace: &str,
    servers: &BTreeSet<&str>,
) -> bool {
    let Some(server) = authorization.spec.get("server") else { return false };
    if let Some(name) = text(server, "name") {
        return servers.contains(name);
    }
    let Some(Ok(selector)) =
        server.get("selector").map(|json| serde_json::from_value::<Selector>(json.clone()))
    else {
        return false;
    };
    servers.iter().any(|name| {
        facts
            .policy(Kind::Server, &Key::new(namespace, *name))
            .is_some_and(|server| selector.matches(&server.labels))
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

/// The id of a policy object.
fn policy_id(policy: &PolicyObject) -> PolicyId {
    PolicyId::new(policy.kind.policy_prefix(), &policy.key.namespace, &policy.key.name)
}
