//! Probes of the kubelet that the edits would shut out: the pods would be restarted, or never become ready.

use super::{Concern, Scene, Severity};
use crate::policy::lint::Code;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let locked = scene.findings.iter().filter(|finding| finding.code == Code::ProbeLockedOut);
    locked.map(|finding| Concern::of_finding("probe-locked-out", Severity::Refuse, finding)).collect()
}
