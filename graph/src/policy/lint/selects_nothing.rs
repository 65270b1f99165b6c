//! Objects that reach nothing.

use super::{
    Code, Finding, Severity, ignored,
    scene::{Scene, Seen, Written, id_of, is_tcp},
    words,
};
use crate::{
    fact::{Key, PolicyObject},
    id::PolicyId,
    kind::Kind,
    policy::{
        selector::Selector,
        spec::{
            self, AuthorizationPolicySpec, Port, RateLimitSpec, Required, Selected, ServerAuthorizationSpec,
            Servers, Target,
        },
    },
};
use ahash::AHashSet;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = servers(scene);
    findings.extend(server_authorizations(scene));
    findings.extend(authorization_policies(scene));
    findings.extend(routes(scene));
    findings.extend(rate_limits(scene));
    findings.extend(authentications(scene));
    findings
}

/// Values by label of the pods, or of the ExternalWorkloads, of each namespace.
type LabelValues<'a> = BTreeMap<(&'a str, bool), BTreeMap<&'a str, BTreeSet<&'a str>>>;

fn servers(scene: &Scene<'_>) -> Vec<Finding> {
    let values = OnceCell::new();
    let idle = scene.servers.iter().filter(|server| server.takes.is_empty());
    idle.map(|server| match server.labelled.is_empty() {
        true => wrong_labels(scene, server, values.get_or_init(|| label_values(scene))),
        false => wrong_port(scene, server),
    })
    .collect()
}

fn label_values<'a>(scene: &Scene<'a>) -> LabelValues<'a> {
    let mut values = LabelValues::new();
    for pods in &scene.pods {
        let template = pods.template;
        let own = values.entry((pods.id.namespace(), template.external)).or_default();
        for (name, value) in template.labels.iter() {
            own.entry(name).or_default().insert(value);
        }
    }
    values
}

fn wrong_labels(scene: &Scene<'_>, server: &Seen<'_>, values: &LabelValues<'_>) -> Finding {
    let (selector, external) = match &server.policy.spec.selected {
        Selected::Pods(selector) => (selector, false),
        Selected::ExternalWorkloads(selector) => (selector, true),
    };
    let what = if external { "ExternalWorkload" } else { "pod" };
    let field = if external { "externalWorkloadSelector" } else { "podSelector" };
    let own = values.get(&(&**server.namespace, external));
    let why = match own {
        None => format!("namespace {} has no {what}", server.namespace),
        Some(own) => format!("no {what} of namespace {} {}", server.namespace, unmet(scene, selector, own)),
    };
    let text = format!("{} selects nothing by its labels: {}", server.id, words::end(why));
    let fix = format!(
        "Write {field} for labels that the {what}s have, or delete the Server if they are gone for good. It counts again as soon as one appears."
    );
    Finding::new(Code::SelectsNothing, [&server.id], text, fix)
}

/// The first condition that nothing meets, else all of them.
fn unmet(scene: &Scene<'_>, selector: &Selector, own: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    for (name, value) in selector.match_labels.iter().flatten() {
        match own.get(name.as_str()) {
            None => {
                return format!("has a label `{name}`{}", scene.near(own.keys().copied(), name));
            }
            Some(values) if !values.contains(value.as_str()) => {
                let near = scene.near(values.iter().copied(), value);
                return format!("has the label `{name}` with the value `{value}`{near}");
            }
            Some(_) => {}
        }
    }
    let expressions = selector.match_expressions.iter().flatten().count();
    let labels = selector.match_labels.iter().flatten().count();
    format!(
        "meets all conditions of its selector at once ({}, {})",
        words::count(labels, "label"),
        words::count(expressions, "expression")
    )
}

fn wrong_port(scene: &Scene<'_>, server: &Seen<'_>) -> Finding {
    let name = match &server.policy.spec.port {
        Port::Name(name) => name.to_string(),
        Port::Number(number) => number.to_string(),
    };
    let labelled = || server.labelled.iter().map(|at| &scene.pods[*at]);
    let declared = || labelled().flat_map(|pods| pods.template.ports.iter());
    let tcp: BTreeSet<&str> = declared()
        .filter(|port| is_tcp(&port.protocol) && !port.name.is_empty())
        .map(|port| &*port.name)
        .collect();
    let other = declared().find(|port| *port.name == *name && !is_tcp(&port.protocol));
    let why = match other {
        _ if name.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => format!(
            "its port \"{name}\" is written as text, so it is the name of a port and not the number {name}"
        ),
        Some(port) => format!("their port `{name}` is {}, and Servers select TCP ports", port.protocol),
        None if tcp.is_empty() => format!("they name no TCP ports, so none is called `{name}`"),
        None => format!(
            "none of their TCP ports is called `{name}`; they have {}{}",
            words::some(&tcp),
            scene.near(tcp.iter().copied(), &name)
        ),
    };
    let workloads: BTreeSet<_> = labelled().map(|pods| pods.id.to_string()).collect();
    let text = format!(
        "{} selects no port of {}, which it selects by labels: {}",
        server.id,
        words::some(&workloads),
        words::end(why)
    );
    let objects = [server.id.to_string()].into_iter().chain(workloads);
    let fix = "Write the port's number without quotes, or the name that the container gives it.";
    Finding::new(Code::SelectsNothing, objects, text, fix)
}

fn server_authorizations(scene: &Scene<'_>) -> Vec<Finding> {
    let finding = |object: &Arc<PolicyObject>| {
        let (id, namespace) = (id_of(object), &object.key.namespace);
        if scene.fault(&id).is_some() || (scene.is_authorized(&id) && !scene.is_idle(&id)) {
            return None;
        }
        let cluster = scene.mesh.policies.cluster();
        let spec = ServerAuthorizationSpec::read(&object.spec, namespace, cluster).ok()?;
        Some(match spec.servers {
            Servers::Named(_) if scene.is_authorized(&id) => return None,
            Servers::Selected(_) if scene.is_authorized(&id) => idle(&id),
            Servers::Named(name) => dangling_server(scene, id, &Key::new(namespace.clone(), name)),
            Servers::Selected(_) => {
                let text = format!(
                    "{id} lets nobody in: its selector matches the labels of no Server of namespace {namespace}. It goes by the Servers' own labels, not by those of pods."
                );
                let fix = "Select labels that the Server has, or name it with server.name.";
                Finding::new(Code::SelectsNothing, [id], text, fix)
            }
        })
    };
    scene.objects(Kind::ServerAuthorization).filter_map(finding).collect()
}

/// An object on a Server that does not exist, or cannot be read.
fn dangling_server(scene: &Scene<'_>, id: PolicyId, server: &Key) -> Finding {
    let named = PolicyId::new(Kind::Server.policy_prefix(), &server.namespace, &server.name);
    let (text, fix) = match ignored::is_unreadable_server(scene, server) {
        Some(server) => (
            format!("{id} does nothing: its Server {server} is there, but Linkerd ignores it."),
            "Correct the Server.",
        ),
        None => {
            let near = scene.near(scene.names(Kind::Server, &server.namespace), &server.name);
            let text =
                words::end(format!("{id} does nothing: there is no {named}, in exactly these letters{near}"));
            (text, "Correct the name, or create the Server. Servers of other namespaces cannot be named.")
        }
    };
    let objects = [id.to_string(), named.to_string()];
    Finding::new(Code::SelectsNothing, objects, text, fix).with(Severity::Error)
}

fn authorization_policies(scene: &Scene<'_>) -> Vec<Finding> {
    let all = scene.authorization_policies.iter();
    all.filter(|policy| scene.covers(&policy.object.key.namespace))
        .filter_map(|policy| authorization_policy(scene, policy))
        .collect()
}

fn authorization_policy(scene: &Scene<'_>, policy: &Written<'_, AuthorizationPolicySpec>) -> Option<Finding> {
    let (id, namespace) = (&policy.id, &policy.object.key.namespace);
    match &policy.spec.target {
        Target::Server(name) if scene.place(namespace, name).is_none() => {
            Some(dangling_server(scene, id.clone(), &Key::new(namespace.clone(), name.clone())))
        }
        Target::Namespace if !has_servers(scene, namespace) => {
            let text = format!(
                "{id} does nothing: it holds on the Servers of namespace {namespace}, which has none. It does not change the default policy of ports without a Server."
            );
            let fix = "Create a Server for the ports that it is meant for.";
            Some(Finding::new(Code::SelectsNothing, [id], text, fix))
        }
        Target::Namespace if scene.is_idle(id) => Some(idle(id)),
        Target::Route(kind, name) => on_route(scene, policy, *kind, name),
        _ => None,
    }
}

/// An authorization that reaches Servers, but none with a port. Where it names one, the Server's own finding is enough.
fn idle(id: &PolicyId) -> Finding {
    let text = format!(
        "{id} lets nobody in: it holds on Servers, but none of them has a port of any workload, because they select none or an older Server has it."
    );
    let fix = "See the findings on these Servers.";
    Finding::new(Code::SelectsNothing, [id], text, fix)
}

fn has_servers(scene: &Scene<'_>, namespace: &str) -> bool {
    scene.mesh.policies.servers_in(namespace).is_some_and(|(_, servers)| !servers.is_empty())
}

/// A policy on a route that does not exist, or that has no Server to be attached to. What is wrong with the route
/// itself is said where the route is.
fn on_route(
    scene: &Scene<'_>,
    policy: &Written<'_, AuthorizationPolicySpec>,
    kind: Kind,
    name: &str,
) -> Option<Finding> {
    let (id, namespace) = (&policy.id, &policy.object.key.namespace);
    let key = |name: &str| Key::new(namespace.clone(), name.to_ascii_lowercase());
    let route = PolicyId::new(kind.policy_prefix(), namespace, &name.to_ascii_lowercase());
    let Some(object) = scene.object(kind, &key(name)) else {
        let other = match kind {
            Kind::LinkerdHTTPRoute => Some(Kind::GatewayHTTPRoute),
            Kind::GatewayHTTPRoute => Some(Kind::LinkerdHTTPRoute),
            _ => None,
        };
        let other = other.and_then(|kind| scene.object(kind, &key(name)));
        let hint = match other {
            Some(other) => format!("; the one of that name is of group {}", other.kind.row().group),
            None => scene.near(scene.names(kind, &policy.object.key.namespace), name),
        };
        let text = words::end(format!("{id} does nothing: there is no {route}{hint}"));
        let fix = "Correct group and name in targetRef, or create the route.";
        let objects = [id.to_string(), route.to_string()];
        return Some(Finding::new(Code::SelectsNothing, objects, text, fix).with(Severity::Error));
    };
    let parents = spec::parents_of(&object.spec, &object.key.namespace);
    if scene.is_authorized(id) {
        // A route that is in force nowhere is told of with its policies.
        let in_force = |parent: &Key| {
            scene.place(&parent.namespace, &parent.name).is_some_and(|place| {
                scene.is_attached(place, &route) && scene.servers[place].uses_routes(kind == Kind::GRPCRoute)
            })
        };
        return (scene.is_idle(id) && parents.iter().any(in_force)).then(|| idle(id));
    }
    let is_there = |parent: &Key| scene.place(&parent.namespace, &parent.name).is_some();
    if scene.fault(id).is_some() || scene.fault(&route).is_some() || parents.iter().any(is_there) {
        return None;
    }
    let text = format!(
        "{id} does nothing: {route} has no Server that exists among its parents, and policies hold on routes of Servers only."
    );
    let fix =
        "Name a Server of its namespace in the route's parentRefs (group policy.linkerd.io, kind Server).";
    Some(Finding::new(Code::SelectsNothing, [id, &route], text, fix).with(Severity::Error))
}

fn routes(scene: &Scene<'_>) -> Vec<Finding> {
    let kinds = [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute];
    let dangling = |object: &Arc<PolicyObject>| -> Vec<Finding> {
        let id = id_of(object);
        let parents: BTreeSet<Key> =
            spec::parents_of(&object.spec, &object.key.namespace).into_iter().collect();
        let missing = parents.into_iter().filter(|parent| {
            scene.object(Kind::Server, parent).is_none()
                || ignored::is_unreadable_server(scene, parent).is_some()
        });
        missing.map(|parent| dangling_server(scene, id.clone(), &parent)).collect()
    };
    kinds.into_iter().flat_map(|kind| scene.objects(kind)).flat_map(dangling).collect()
}

fn rate_limits(scene: &Scene<'_>) -> Vec<Finding> {
    let finding = |object: &Arc<PolicyObject>| {
        let namespace = &object.key.namespace;
        let spec = RateLimitSpec::read(&object.spec, namespace, scene.mesh.policies.cluster()).ok()?;
        let dangles = scene.place(namespace, &spec.server).is_none();
        dangles.then(|| dangling_server(scene, id_of(object), &Key::new(namespace.clone(), spec.server)))
    };
    scene.objects(Kind::HTTPLocalRateLimitPolicy).filter_map(finding).collect()
}

fn authentications(scene: &Scene<'_>) -> Vec<Finding> {
    let mut referred: AHashSet<(Kind, &Key)> = AHashSet::new();
    for required in scene.authorization_policies.iter().flat_map(|policy| &policy.spec.required) {
        match required {
            Required::MeshTls(key) => referred.insert((Kind::MeshTLSAuthentication, key)),
            Required::Network(key) => referred.insert((Kind::NetworkAuthentication, key)),
            Required::ServiceAccount(_) => false,
        };
    }
    let kinds = [Kind::MeshTLSAuthentication, Kind::NetworkAuthentication];
    let unused = kinds
        .into_iter()
        .flat_map(|kind| scene.objects(kind))
        .filter(|object| !referred.contains(&(object.kind, &object.key)));
    unused
        .map(|object| {
            let id = id_of(object);
            let text = format!("No AuthorizationPolicy refers to {id}, so it lets nobody in.");
            let fix = "Refer to it in requiredAuthenticationRefs, or delete it.";
            Finding::new(Code::SelectsNothing, [id], text, fix).with(Severity::Info)
        })
        .collect()
}
