//! All else that lint finds after the edits and did not before, or finds about an edited object.

use super::{Concern, Scene, Severity, missing, no_change};
use crate::policy::lint::{self, Code};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    // Objects that another check has said enough about.
    let told: Vec<String> = [missing::check(scene), no_change::check(scene), super::unusable::check(scene)]
        .concat()
        .into_iter()
        .filter_map(|concern| concern.ids.into_iter().next())
        .collect();
    let dangling = super::dangling::check(scene);
    let is_left = |finding: &lint::Finding| {
        finding.objects.first().is_some_and(|first| {
            told.contains(first) || dangling.iter().any(|concern| concern.ids.contains(first))
        })
    };
    let concern = |finding: &lint::Finding| {
        let edited = scene.edit_of(finding).is_some();
        let severity = match (finding.code, finding.severity) {
            // Other checks have these.
            (
                Code::Shadowed
                | Code::ProbeLockedOut
                | Code::ScrapeLockedOut
                | Code::WrongTrustDomain
                | Code::UnknownIdentity,
                _,
            ) => return None,
            (Code::OpenPort, _) if edited => return None,
            (Code::Ignored | Code::SelectsNothing, _) if is_left(finding) => return None,
            // An authentication that nobody uses yet, a mixed rollout: often meant.
            (_, lint::Severity::Info) => return None,
            (_, lint::Severity::Error) if edited => Severity::Refuse,
            _ => Severity::Warn,
        };
        Some(Concern::of_finding("lint", severity, finding))
    };
    scene.findings.iter().filter_map(concern).collect()
}
