//! References to what is not there: Linkerd's webhook does not look whether it is.

use super::{Concern, Scene, id_of};
use crate::{
    fact::{Key, PolicyObject},
    kind::Kind,
    policy::refers,
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for (_, object) in scene.put() {
        concerns.extend(references(scene, object));
        concerns.extend(target(scene, object));
        concerns.extend(parents(scene, object));
    }
    concerns
}

fn references(scene: &Scene<'_>, object: &PolicyObject) -> Option<Concern> {
    let refers = refers::of_policy(object)?;
    let (objects, cluster) = (scene.trial.after.objects(), scene.trial.after.cluster());
    let missing: Vec<String> = refers
        .authentications
        .iter()
        .filter_map(|(kind, key)| match objects.policy(*kind, key) {
            None => Some(format!("{} {key} (there is none)", kind.row().name)),
            Some(found) => {
                refers::fault(found, cluster).map(|fault| format!("{} {key} ({fault})", kind.row().name))
            }
        })
        .collect();
    if missing.is_empty() {
        return None;
    }
    let id = id_of(object);
    let text = format!(
        "{id} refers to {}. Linkerd ignores such a policy as a whole, so it lets nobody in. Put what it refers to into \
         the same change, or correct name and namespace; without a namespace its own is meant.",
        missing.join(" and ")
    );
    Some(Concern::refuse("missing-reference", [id], text))
}

fn target(scene: &Scene<'_>, object: &PolicyObject) -> Option<Concern> {
    let refers = refers::of_policy(object)?;
    let (objects, id) = (scene.trial.after.objects(), id_of(object));
    match refers.target {
        None => {
            let mut servers = objects.policies(Kind::Server, &object.key.namespace);
            let none = servers.next().is_none();
            none.then(|| {
                let text = format!(
                    "{id} is about the namespace {}, which has no Server. A policy on a namespace reaches its Servers \
                     only, never ports on which the default policy holds, so it does nothing.",
                    object.key.namespace
                );
                Concern::refuse("missing-target", [id.clone()], text)
            })
        }
        Some((kind, key)) if is_there(scene, kind, &key) => None,
        Some((kind, key)) => {
            let text = format!(
                "{id} is about {} {key}, which does not exist, so it does nothing. Put it into the same change, or \
                 correct the name; the target is always in the policy's own namespace.",
                kind.row().name
            );
            Some(Concern::refuse("missing-target", [id], text))
        }
    }
}

/// Routes are found whatever the letter case, Servers exactly.
fn is_there(scene: &Scene<'_>, kind: Kind, key: &Key) -> bool {
    let objects = scene.trial.after.objects();
    match kind {
        Kind::Server => objects.policy(kind, key).is_some(),
        _ => {
            let mut routes = objects.policies(kind, &key.namespace);
            routes.any(|route| route.key.name.eq_ignore_ascii_case(&key.name))
        }
    }
}

fn parents(scene: &Scene<'_>, object: &PolicyObject) -> Option<Concern> {
    let objects = scene.trial.after.objects();
    let parents = refers::parents(object);
    let missing: Vec<String> = parents
        .iter()
        .filter(|parent| objects.policy(Kind::Server, parent).is_none())
        .map(|parent| format!("Server {parent}"))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let id = id_of(object);
    let names = missing.join(" and ");
    if missing.len() < parents.len() {
        let text = format!("{id} names {names} as parent, which does not exist; there it does nothing.");
        return Some(Concern::warn("missing-target", [id], text));
    }
    let text = format!(
        "{id} names {names} as parent, which does not exist, so it does nothing inbound. Put the Server into the same \
         change, or correct the name."
    );
    Some(Concern::refuse("missing-target", [id], text))
}
