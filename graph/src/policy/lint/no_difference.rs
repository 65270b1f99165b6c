//! Authorizations without which the same clients would be let in.
//!
//! One makes no difference when, wherever it holds, another that holds there covers it. Of two that cover each other
//! the first by name stays, so all that are found can be taken away together.

use super::{
    Code, Finding, cover,
    scene::{Scene, Seen, object},
    words,
};
use crate::{
    id::PolicyId,
    policy::{
        answer::{Authorization, Metadata},
        spec::ProxyProtocol,
        verdict::{Origin, origin},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one authorization after the places looked at so far.
enum Known {
    /// Somewhere it lets in clients that nothing else does.
    Needed,
    /// Covered by these everywhere.
    Covered(BTreeSet<String>),
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let mut known: BTreeMap<PolicyId, Known> = BTreeMap::new();
    for server in &scene.servers {
        let own: Vec<&Authorization> = server.policy.authorizations.iter().collect();
        look(server, &own, &[], &mut known);
        for (route, rows) in server.policy.attached() {
            if uses(server, route) {
                let rows: Vec<&Authorization> = rows.iter().collect();
                look(server, &rows, &own, &mut known);
            }
        }
    }
    known.into_iter().filter_map(|(id, known)| finding(&id, known)).collect()
}

/// Compares each of `rows` with the others and with `above`, which holds there as well.
fn look(
    server: &Seen<'_>,
    rows: &[&Authorization],
    above: &[&Authorization],
    known: &mut BTreeMap<PolicyId, Known>,
) {
    for row in rows {
        let Some(id) = object(server.namespace, &row.metadata) else { continue };
        if matches!(known.get(&id), Some(Known::Needed)) {
            continue;
        }
        let cover = above
            .iter()
            .find(|wide| !is_audit(wide) && cover::covers(wide, row))
            .or_else(|| rows.iter().find(|wide| makes_needless(wide, row)));
        match cover {
            Some(wide) => {
                let by = match origin(server.namespace, &wide.metadata) {
                    Origin::Object(id) => id.to_string(),
                    Origin::Default(name) => format!("the accessPolicy `{name}` of {}", server.id),
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

fn makes_needless(wide: &Authorization, row: &Authorization) -> bool {
    wide.metadata != row.metadata
        && !is_audit(wide)
        && cover::covers(wide, row)
        && (wide.metadata < row.metadata || !cover::covers(row, wide))
}

/// What `audit` lets in is logged unless something else lets it in, too: that is a difference.
fn is_audit(row: &Authorization) -> bool {
    row.metadata == Metadata::default_named("audit")
}

/// True when the Server's protocol uses routes of that kind.
fn uses(server: &Seen<'_>, route: &Metadata) -> bool {
    let is_grpc = matches!(route, Metadata::Resource { kind, .. } if &**kind == "GRPCRoute");
    match server.policy.spec.protocol {
        ProxyProtocol::Grpc => is_grpc,
        ProxyProtocol::Unknown | ProxyProtocol::Http1 | ProxyProtocol::Http2 => !is_grpc,
        ProxyProtocol::Opaque | ProxyProtocol::Tls => false,
    }
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
