//! Ports that let in clients without a mesh identity, from everywhere or from all of the cluster.

use super::{
    Code, Finding, Severity, cover,
    scene::{Scene, Seen, object},
    words,
};
use crate::{
    id::PolicyId,
    policy::{
        DefaultPolicy,
        answer::{Authentication, Authorization, Network},
        spec::{ProxyProtocol, Target},
        verdict::{Origin, origin},
    },
};
use ahash::AHashSet;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let without_condition: AHashSet<&PolicyId> = scene
        .authorization_policies
        .iter()
        .filter(|policy| policy.spec.required.is_empty())
        .map(|policy| &policy.id)
        .collect();
    let mut findings = unconditional(scene);
    findings.extend(by_server(scene, &without_condition));
    findings.extend(by_default(scene));
    findings
}

/// AuthorizationPolicies that require nothing.
fn unconditional(scene: &Scene<'_>) -> Vec<Finding> {
    let all = scene.authorization_policies.iter().filter(|policy| {
        policy.spec.required.is_empty()
            && scene.covers(&policy.object.key.namespace)
            && scene.is_authorized(&policy.id)
    });
    all.map(|policy| {
        let (what, severity) = match &policy.spec.target {
            Target::Server(name) => (format!("Server {name}"), Severity::Warning),
            Target::Namespace => ("every Server of its namespace".to_owned(), Severity::Warning),
            Target::Route(kind, name) => (format!("{} {name}", kind.row().name), Severity::Info),
        };
        let text = format!(
            "{} lets in anybody from anywhere on {what}: its list of required authentications is empty, which means no condition and not nobody.",
            policy.id
        );
        let fix = "Refer to a MeshTLSAuthentication, a ServiceAccount or a NetworkAuthentication in requiredAuthenticationRefs; to let nobody in, delete the policy.";
        Finding::new(Code::OpenPort, [&policy.id], text, fix).with(severity)
    })
    .collect()
}

fn by_server(scene: &Scene<'_>, told: &AHashSet<&PolicyId>) -> Vec<Finding> {
    let servers = scene.servers.iter().enumerate();
    servers.filter_map(|(place, server)| open_server(scene, told, place, server)).collect()
}

fn open_server(
    scene: &Scene<'_>,
    told: &AHashSet<&PolicyId>,
    place: usize,
    server: &Seen<'_>,
) -> Option<Finding> {
    let rows: Vec<&Authorization> = server
        .policy
        .authorizations
        .iter()
        .filter(|row| is_open(scene, row))
        .filter(|row| object(server.namespace, &row.metadata).is_none_or(|id| !told.contains(&id)))
        .collect();
    let from =
        if rows.iter().any(|row| is_everywhere(&row.networks)) { "anywhere" } else { "all of the cluster" };
    let ports: BTreeSet<String> = server
        .won(place)
        .filter(|take| scene.pods[take.pods].is_enforced(take.port))
        .map(|take| format!("{}:{}", scene.pods[take.pods].id, take.port))
        .collect();
    if rows.is_empty() || ports.is_empty() {
        return None;
    }
    let origins: Vec<Origin> = rows.iter().map(|row| origin(server.namespace, &row.metadata)).collect();
    let by = origins.iter().map(|origin| match origin {
        Origin::Object(id) => id.to_string(),
        Origin::Default(name) => format!("its accessPolicy `{name}`"),
    });
    let audit = origins.iter().all(|origin| matches!(origin, Origin::Default(name) if &**name == "audit"));
    let ends_tls = matches!(server.policy.spec.protocol, ProxyProtocol::Tls);
    let severity = if audit || ends_tls { Severity::Info } else { Severity::Warning };
    let text = format!(
        "{} opens {} to clients without a mesh identity from {from}, by {}.",
        server.id,
        words::some(&ports),
        words::some(by)
    );
    let named = origins.iter().filter_map(|origin| match origin {
        Origin::Object(id) => Some(id.to_string()),
        Origin::Default(_) => None,
    });
    let objects = [server.id.to_string()].into_iter().chain(named).chain(ports.iter().cloned());
    let fix = match audit {
        true => {
            "When the log shows only the clients that you expect, authorize them and set accessPolicy: deny."
        }
        false => "Require a mesh identity or narrower networks, unless the port is meant for everybody.",
    };
    Some(Finding::new(Code::OpenPort, objects, text, fix).with(severity))
}

/// Ports without a Server, by namespace and default policy.
fn by_default(scene: &Scene<'_>) -> Vec<Finding> {
    let mut open: BTreeMap<(&str, &'static str), (usize, BTreeSet<String>)> = BTreeMap::new();
    for pods in &scene.pods {
        for (port, servers) in &pods.ports {
            if !servers.is_empty() || !pods.is_enforced(*port) {
                continue;
            }
            let server = scene.mesh.policies.server(pods.target(), *port);
            let policy = server.labels.name.parse::<DefaultPolicy>().ok();
            let is_open = server.authorizations.iter().any(|row| is_open(scene, row));
            if let Some(policy) = policy.filter(|_| is_open) {
                let (ports, workloads) = open.entry((pods.id.namespace(), policy.as_str())).or_default();
                *ports += 1;
                workloads.insert(pods.id.to_string());
            }
        }
    }
    open.into_iter()
        .map(|((namespace, policy), (ports, workloads))| {
            let cluster = policy == DefaultPolicy::ClusterUnauthenticated.as_str();
            let from = if cluster { "all of the cluster" } else { "anywhere" };
            let text = format!(
                "Clients without a mesh identity are let in from {from} at {} of {} of namespace {namespace} ({}): no Server selects them, and their default policy is {policy}.",
                words::count(ports, "port"),
                words::count(workloads.len(), "workload"),
                words::some(&workloads),
            );
            let fix = "Put a Server on each port and authorize its clients, or annotate the namespace with config.linkerd.io/default-inbound-policy (all-authenticated, deny) and restart the pods.";
            Finding::new(Code::OpenPort, workloads, text, fix).with(Severity::Info)
        })
        .collect()
}

/// Anybody, from everywhere or from all IPv4 or all IPv6 networks of the cluster.
fn is_open(scene: &Scene<'_>, row: &Authorization) -> bool {
    row.authentication == Authentication::Unauthenticated {}
        && (is_everywhere(&row.networks) || is_cluster(scene, &row.networks))
}

fn is_everywhere(networks: &[Network]) -> bool {
    networks.iter().any(|network| network.net.prefix_len() == 0)
}

fn is_cluster(scene: &Scene<'_>, networks: &[Network]) -> bool {
    [false, true].into_iter().any(|v6| {
        let own = scene.mesh.policies.cluster().cluster_networks.iter();
        let own: Vec<Network> =
            own.filter(|net| net.addr().is_ipv6() == v6).copied().map(Network::whole).collect();
        !own.is_empty() && cover::networks(networks, &own)
    })
}
