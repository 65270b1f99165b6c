//! Servers that lose ports to older ones, or take them.

use super::{Concern, Scene, Severity};
use crate::{
    kind::Kind,
    policy::lint::{self, Code},
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let shadowed = scene.findings.iter().filter(|finding| finding.code == Code::Shadowed);
    let concern = |finding: &lint::Finding| match scene.edit_of(finding) {
        Some(edit) if edit.kind == Kind::Server => {
            let severity = match finding.severity {
                lint::Severity::Error => Severity::Refuse,
                _ => Severity::Warn,
            };
            Some(Concern::of_finding("shadowed", severity, finding))
        }
        // A Server that is not edited: an edited one has taken its ports.
        None => Some(Concern::of_finding("shadows", Severity::Warn, finding)),
        Some(_) => None,
    };
    shadowed.filter_map(concern).collect()
}
