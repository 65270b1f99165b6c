//! Authorizations without which the same clients would be let in.
//!
//! One makes no difference when, wherever it holds, another that holds there covers it. Of two that cover each other
//! one stays (that which is needed elsewhere, else the first by name), so all that are found can be taken away together.

use super::{
    Code, Finding, cover,
    scene::{Scene, Seen, object},
    words,
};
use crate::{
    id::PolicyId,
    policy::{
        answer::{Authorization, Metadata},
        verdict::{Origin, origin},
    },
};
use ahash::AHashSet;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one authorization after the places looked at so far.
enum Known {
    /// Somewhere it lets in clients that nothing else does.
    Needed,
    /// Covered by these everywhere.
    Covered(BTreeSet<String>),
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    // What nothing else covers somewhere stays for certain, so it wins against its equals elsewhere.
    let stays: AHashSet<PolicyId> = look_at_all(scene, None)
        .into_iter()
        .filter(|(_, known)| matches!(known, Known::Needed))
        .map(|(id, _)| id)
        .collect();
    look_at_all(scene, Some(&stays)).into_iter().filter_map(|(id, known)| finding(&id, known)).collect()
}

/// Without `stays` equals cover each other; with it, the first of them stays.
fn look_at_all(scene: &Scene<'_>, stays: Option<&AHashSet<PolicyId>>) -> BTreeMap<PolicyId, Known> {
    let mut known = BTreeMap::new();
    for server in &scene.servers {
        let own: Vec<&Authorization> = server.policy.authorizations.iter().collect();
        let place = Place { server, stays };
        place.look(scene, &own, &[], &mut known);
        for (route, rows) in server.policy.attached() {
            if server.uses(route) {
                let rows: Vec<&Authorization> = rows.iter().collect();
                place.look(scene, &rows, &own, &mut known);
            }
        }
    }
    known
}

/// A Server, or a route on it.
struct Place<'a> {
    server: &'a Seen<'a>,
    stays: Option<&'a AHashSet<PolicyId>>,
}

// === impl Place ===

impl Place<'_> {
    /// Compares each of `rows` with the others and with `above`, which holds there as well.
    fn look(
        &self,
        scene: &Scene<'_>,
        rows: &[&Authorization],
        above: &[&Authorization],
        known: &mut BTreeMap<PolicyId, Known>,
    ) {
        for row in rows {
            let Some(id) = object(self.server.namespace, &row.metadata) else { continue };
            if matches!(known.get(&id), Some(Known::Needed)) {
                continue;
            }
            scene.step(above.len() + rows.len());
            let cover = above
                .iter()
                .find(|wide| !is_audit(wide) && cover::covers(wide, row))
                .or_else(|| rows.iter().find(|wide| self.makes_needless(wide, row)));
            match cover {
                Some(wide) => {
                    let by = match origin(self.server.namespace, &wide.metadata) {
                        Origin::Object(id) => id.to_string(),
                        Origin::Default(name) => format!("the accessPolicy `{name}` of {}", self.server.id),
                    };
                    if let Known::Covered(all) = known.entry(id).or_insert(Known::Covered(BTreeSet::new())) {
                        all.insert(by);
                    }
                }
                None => {
                    known.insert(id, Known::Needed);
                }
            }
        }
    }

    fn makes_needless(&self, wide: &Authorization, row: &Authorization) -> bool {
        wide.metadata != row.metadata
            && !is_audit(wide)
            && cover::covers(wide, row)
            && self.stays.is_none_or(|stays| {
                !cover::covers(row, wide) || self.rank(stays, wide) < self.rank(stays, row)
            })
    }

    /// Of two equals the one of lower rank stays. The rank is the same at every place.
    fn rank<'r>(&self, stays: &AHashSet<PolicyId>, row: &'r Authorization) -> (bool, &'r Metadata) {
        let stays = object(self.server.namespace, &row.metadata).is_none_or(|id| stays.contains(&id));
        (!stays, &row.metadata)
    }
}

/// What `audit` lets in is logged unless something else lets it in, too: that is a difference.
fn is_audit(row: &Authorization) -> bool {
    row.metadata == Metadata::default_named("audit")
}

fn finding(id: &PolicyId, known: Known) -> Option<Finding> {
    let Known::Covered(by) = known else { return None };
    let verb = if by.len() == 1 { "lets" } else { "let" };
    let text = format!(
        "{id} makes no difference: {} already {verb} in every client that it lets in.",
        words::some(&by)
    );
    // The text names accessPolicies; the Server is the object.
    let others = by.iter().map(|name| name.rsplit(' ').next().unwrap_or_default().to_owned());
    let objects = [id.to_string()].into_iter().chain(others);
    let fix = "Delete it, or narrow what makes it needless if it was meant to be the only way in.";
    Some(Finding::new(Code::NoDifference, objects, text, fix))
}
