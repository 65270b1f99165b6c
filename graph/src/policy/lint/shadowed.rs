//! Servers that lose ports to older ones, and rate limits that lose their Server.

use super::{
    Code, Finding, Severity,
    scene::{Scene, Seen, id_of},
    words,
};
use crate::{
    fact::PolicyObject,
    id::PolicyId,
    kind::Kind,
    policy::{spec::RateLimitSpec, verdict::origin},
};
use std::{collections::BTreeSet, sync::Arc};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let servers = scene.servers.iter().enumerate().filter_map(|(place, server)| lost(scene, place, server));
    servers.chain(rate_limits(scene)).collect()
}

fn lost(scene: &Scene<'_>, place: usize, server: &Seen<'_>) -> Option<Finding> {
    let lost: Vec<_> = server.takes.iter().filter(|take| take.winner != place).collect();
    if lost.is_empty() {
        return None;
    }
    let winners: BTreeSet<&PolicyId> = lost.iter().map(|take| &scene.servers[take.winner].id).collect();
    let ports: BTreeSet<String> =
        lost.iter().map(|take| format!("{}:{}", scene.pods[take.pods].id, take.port)).collect();
    let wholly = lost.len() == server.takes.len();
    let (how, severity) = match wholly {
        true => ("does nothing", Severity::Error),
        false => ("does nothing on some of its ports", Severity::Warning),
    };
    let text = format!(
        "{} {how}: {} {}, and of several Servers the oldest holds, among equally old ones the first by name. Its accessPolicy, authorizations and routes are not used there.",
        server.id,
        words::some(&winners),
        format_args!("{} {}", if winners.len() == 1 { "has" } else { "have" }, words::some(&ports)),
    );
    let fix = match wholly {
        true => "Delete one of them, or narrow the selector of the one that should give way.",
        false => "Narrow one of the selectors so that each port has one Server.",
    };
    let objects =
        [server.id.to_string()].into_iter().chain(winners.iter().map(ToString::to_string)).chain(ports);
    Some(Finding::new(Code::Shadowed, objects, text, fix).with(severity))
}

fn rate_limits(scene: &Scene<'_>) -> Vec<Finding> {
    let finding = |object: &Arc<PolicyObject>| {
        let namespace = &object.key.namespace;
        let spec = RateLimitSpec::read(&object.spec, namespace, scene.mesh.policies.cluster()).ok()?;
        let server = &scene.servers[scene.place(namespace, &spec.server)?];
        let held = server.policy.rate_limit.as_ref()?;
        if held.metadata.name() == &*object.key.name {
            return None;
        }
        let (id, other) = (id_of(object), origin(namespace, &held.metadata));
        let text = format!(
            "{id} limits nothing: {other} limits {}, and of several rate limits on a Server the oldest that Linkerd accepted holds.",
            server.id
        );
        let objects = [id.to_string(), other.to_string(), server.id.to_string()];
        Some(Finding::new(Code::Shadowed, objects, text, "Join the two into one."))
    };
    scene.objects(Kind::HTTPLocalRateLimitPolicy).filter_map(finding).collect()
}
