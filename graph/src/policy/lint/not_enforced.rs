//! Policies for calls that no proxy judges by them.

use super::{
    Code, Finding,
    scene::{Scene, Seen, id_of},
    words,
};
use crate::{
    fact::PolicyObject,
    kind::Kind,
    policy::{
        spec::{ProxyProtocol, RateLimitSpec},
        status,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let servers = scene.servers.iter().flat_map(|server| server_findings(scene, server));
    servers.chain(rate_limits(scene)).collect()
}

fn server_findings(scene: &Scene<'_>, server: &Seen<'_>) -> Vec<Finding> {
    let mut unmeshed: BTreeSet<String> = BTreeSet::new();
    let mut skipped: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for take in &server.takes {
        let pods = &scene.pods[take.pods];
        if pods.is_enforced(take.port) {
            continue;
        }
        match pods.skips(take.port, scene.mesh.policies) {
            Some(annotation) => {
                let port = format!("{}:{}", pods.id, take.port);
                skipped.entry(annotation.to_string()).or_default().insert(port);
            }
            None => {
                unmeshed.insert(pods.id.to_string());
            }
        }
    }
    let mut findings = Vec::new();
    if !unmeshed.is_empty() {
        let text = format!(
            "{} is not enforced on {}: pods that it selects there have no Linkerd proxy, so everybody is let in.",
            server.id,
            words::some(&unmeshed)
        );
        let objects = [server.id.to_string()].into_iter().chain(unmeshed);
        let fix = "Inject the pods (annotate them or the namespace with linkerd.io/inject: enabled and restart them), or leave them out of the Server's selector.";
        findings.push(Finding::new(Code::NotEnforced, objects, text, fix));
    }
    for (annotation, ports) in skipped {
        let text = format!(
            "{} is not enforced on {}: the annotation config.linkerd.io/skip-inbound-ports: {annotation:?} lets calls bypass the proxy.",
            server.id,
            words::some(&ports)
        );
        let objects = [server.id.to_string()].into_iter().chain(ports);
        let fix = "Take the port out of skip-inbound-ports and restart the pods, or delete the Server.";
        findings.push(Finding::new(Code::NotEnforced, objects, text, fix));
    }
    findings
}

/// Rate limits that the protocol of their Server does not have, or that Linkerd has not accepted.
fn rate_limits(scene: &Scene<'_>) -> Vec<Finding> {
    let finding = |object: &Arc<PolicyObject>| {
        let (id, namespace) = (id_of(object), &object.key.namespace);
        let cluster = scene.mesh.policies.cluster();
        let spec = RateLimitSpec::read(&object.spec, namespace, cluster).ok()?;
        let server = &scene.servers[scene.place(namespace, &spec.server)?];
        let protocol = match server.policy.spec.protocol {
            ProxyProtocol::Grpc => Some("gRPC"),
            ProxyProtocol::Opaque => Some("opaque"),
            ProxyProtocol::Tls => Some("TLS"),
            ProxyProtocol::Unknown | ProxyProtocol::Http1 | ProxyProtocol::Http2 => None,
        };
        let refused = server.policy.rate_limit.is_none()
            && cluster.trust_status
            && status::limit_accepted(&object.status) == Some(false);
        let (why, fix) = match protocol {
            Some(protocol) => (
                format!("the proxyProtocol of {} is {protocol}, and only HTTP is limited", server.id),
                "Set an HTTP proxyProtocol on the Server, or delete the rate limit.",
            ),
            None if refused => (
                format!("Linkerd's policy controller has not accepted it on {} (see its status)", server.id),
                "Read the conditions in its status.",
            ),
            None => return None,
        };
        let text = format!("{id} limits nothing: {why}.");
        Some(Finding::new(Code::NotEnforced, [&id, &server.id], text, fix))
    };
    scene.objects(Kind::HTTPLocalRateLimitPolicy).filter_map(finding).collect()
}
