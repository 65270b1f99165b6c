//! Scrapes of Prometheus that the edits would shut out: what is computed from them, this tool's own picture of the mesh
//! included, would go dark.

use super::{Concern, Scene, Severity};
use crate::{
    id::{Source, service_account},
    policy::lint::{Code, words},
};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let on_admin = scene.findings.iter().filter(|finding| finding.code == Code::ScrapeLockedOut);
    let mut concerns: Vec<Concern> =
        on_admin.map(|finding| Concern::of_finding("scrape-locked-out", Severity::Refuse, finding)).collect();
    let denied: Vec<String> = scene
        .impact
        .newly_denied
        .flows
        .iter()
        .filter(|flow| is_prometheus(&flow.from))
        .map(|flow| flow.edge.to_string())
        .collect();
    if !denied.is_empty() {
        let text = format!(
            "Prometheus would no longer be let in: {}. Metrics of these ports are lost, unless its ServiceAccount is \
             authorized as well.",
            words::some(&denied)
        );
        concerns.push(Concern::warn("scrape-locked-out", denied, text));
    }
    concerns
}

/// By its name: nothing else tells a Prometheus from other clients.
pub(in crate::change) fn is_prometheus(source: &Source) -> bool {
    let name = match source {
        Source::Workload(id) => id.name(),
        Source::Identity(identity) => service_account(identity).map_or("", |(_, name)| name),
        Source::Unmeshed(_) => "",
    };
    name.contains("prometheus")
}
