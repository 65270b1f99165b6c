//! Workloads whose pods are judged differently.

use super::{
    Code, Finding,
    scene::{Pods, Scene},
    words,
};
use crate::policy::spec::Port;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let of_workloads = scene.pods.chunk_by(|a, b| a.id == b.id);
    of_workloads.filter(|alike| alike.len() > 1).filter_map(|alike| finding(scene, alike)).collect()
}

fn finding(scene: &Scene<'_>, alike: &[Pods<'_>]) -> Option<Finding> {
    // By port: what holds there, with the first pod for which it does.
    let mut holds: BTreeMap<u16, BTreeMap<String, &str>> = BTreeMap::new();
    // Servers select numbers whether a container declares them or not, so these are compared in all pods.
    let numbered: BTreeSet<u16> = alike.iter().flat_map(|pods| numbered(scene, pods)).collect();
    for pods in alike {
        for port in pods.ports.keys().copied().chain(numbered.iter().copied()).collect::<BTreeSet<_>>() {
            holds.entry(port).or_default().entry(rule(scene, pods, port)).or_insert(&pods.template.first);
        }
    }
    let differing: Vec<_> = holds.into_iter().filter(|(_, rules)| rules.len() > 1).collect();
    let workload = alike.first()?.id;
    let (port, rules) = differing.first()?;
    let differences: BTreeSet<String> =
        rules.iter().map(|(rule, pod)| format!("{rule} (as for {pod})")).collect();
    let more = match differing.len() {
        1 => String::new(),
        ports => format!(" So it is on {}.", words::count(ports, "port")),
    };
    let text = format!(
        "The pods of {workload} are judged differently at port {port}: {}, because their labels or annotations differ.{more}",
        words::some(&differences)
    );
    let fix = "Give all pods of the workload the same labels and annotations; if a rollout is under way, wait for its end.";
    Some(Finding::new(Code::Mixed, [workload], text, fix))
}

/// The ports of these pods that Servers have by number.
fn numbered<'a>(scene: &'a Scene<'_>, pods: &'a Pods<'_>) -> impl Iterator<Item = u16> + 'a {
    let by_number = |place: &usize| matches!(scene.servers[*place].policy.spec.port, Port::Number(_));
    pods.ports.iter().filter(move |(_, servers)| servers.iter().any(by_number)).map(|(port, _)| *port)
}

/// What decides on a port, in a few words.
fn rule(scene: &Scene<'_>, pods: &Pods<'_>, port: u16) -> String {
    if !pods.is_enforced(port) {
        return "no policy is enforced".to_owned();
    }
    match pods.ports.get(&port).and_then(|servers| servers.first()) {
        Some(place) => format!("{} holds", scene.servers[*place].id),
        None => {
            let server = scene.mesh.policies.server(pods.target(), port);
            format!("the default policy {} holds ({})", server.labels.name, server.protocol.kind())
        }
    }
}
