//! What is left referring to an object that goes.

use super::{Concern, Scene, id_of};
use crate::{
    change::trial::users,
    fact::PolicyObject,
    kind::Kind,
    policy::{lint::words, refers},
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let concern = |object: &PolicyObject| match object.kind {
        Kind::MeshTLSAuthentication | Kind::NetworkAuthentication => authentication(scene, object),
        _ => target(scene, object),
    };
    scene.removed().filter_map(|(_, object)| concern(object)).collect()
}

/// A policy with a reference that leads nowhere is ignored as a whole.
fn authentication(scene: &Scene<'_>, object: &PolicyObject) -> Option<Concern> {
    let left: Vec<String> = users(&scene.trial.after)
        .filter(|(kind, key, _)| *kind == object.kind && *key == object.key)
        .map(|(_, _, user)| format!("authorizationpolicy/{user}"))
        .collect();
    if left.is_empty() {
        return None;
    }
    let id = id_of(object);
    let text = format!(
        "{id} goes, and {} still {} to it. Linkerd ignores such a policy as a whole, so everybody whom it lets in is \
         shut out. Delete or change the policy in the same change.",
        words::some(&left),
        if left.len() == 1 { "refers" } else { "refer" },
    );
    Some(Concern::refuse("dangling", [id.to_string()].into_iter().chain(left), text))
}

fn target(scene: &Scene<'_>, object: &PolicyObject) -> Option<Concern> {
    let objects = scene.trial.after.objects();
    let namespace = &object.key.namespace;
    let is_target = |policy: &PolicyObject| {
        refers::of_policy(policy).and_then(|refers| refers.target).is_some_and(|(kind, key)| {
            kind == object.kind
                && match kind {
                    Kind::Server => key == object.key,
                    _ => key.name.eq_ignore_ascii_case(&object.key.name),
                }
        })
    };
    let policies = objects.policies(Kind::AuthorizationPolicy, namespace).filter(|policy| is_target(policy));
    let routes = [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute]
        .into_iter()
        .filter(|_| object.kind == Kind::Server)
        .flat_map(|kind| objects.policies(kind, namespace))
        .filter(|route| refers::parents(route).contains(&object.key));
    let left: Vec<String> = policies.chain(routes).map(|left| id_of(left).to_string()).collect();
    if left.is_empty() {
        return None;
    }
    let id = id_of(object);
    let text = format!(
        "{id} goes, and {} {} about it: left without it, {} nothing.",
        words::some(&left),
        if left.len() == 1 { "is" } else { "are" },
        if left.len() == 1 { "it does" } else { "they do" },
    );
    Some(Concern::warn("dangling", [id.to_string()].into_iter().chain(left), text))
}
