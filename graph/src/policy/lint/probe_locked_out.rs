//! Probes of the kubelet that policy refuses or answers with 404.

use super::{
    Code, Finding,
    scene::{Pods, Scene},
    words,
};
use crate::policy::{
    Decision, Request,
    verdict::{Origin, Verdict},
};
use std::collections::{BTreeMap, BTreeSet};

/// Probes of one port that fare alike.
#[derive(Default)]
struct Probes {
    paths: BTreeSet<String>,
    /// What decided about them, in the order in which the proxy comes to it.
    origins: Vec<Origin>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let mut locked: BTreeMap<(String, u16, Decision), Probes> = BTreeMap::new();
    for pods in scene.pods.iter().filter(|pods| !pods.template.probes.is_empty()) {
        for probe in pods.template.probes.iter().filter(|probe| pods.is_enforced(probe.port)) {
            let verdict = ask(scene, pods, probe.port, &probe.path);
            if !verdict.is_let_in() {
                let key = (pods.id.to_string(), probe.port, verdict.decision);
                let probes = locked.entry(key).or_default();
                probes.paths.insert(probe.path.to_string());
                for origin in verdict.origins() {
                    if !probes.origins.contains(&origin) {
                        probes.origins.push(origin);
                    }
                }
            }
        }
    }
    locked
        .into_iter()
        .map(|((workload, port, decision), probes)| finding(&workload, port, decision, &probes))
        .collect()
}

/// The kubelet has no mesh identity. A path without its leading slash is known only as empty, and the route for
/// probes does not take it.
fn ask(scene: &Scene<'_>, pods: &Pods<'_>, port: u16, path: &str) -> Verdict {
    let request = Request::new("GET", if path.is_empty() { "/" } else { path });
    scene.check(pods, port, None, &[], &request)
}

fn finding(workload: &str, port: u16, decision: Decision, probes: &Probes) -> Finding {
    let paths = probes.paths.iter().map(|path| match &**path {
        "" => "a path without a leading slash".to_owned(),
        path => format!("GET {path}"),
    });
    let what = match decision {
        Decision::UnmatchedRoute => "answered with 404, because no route takes them",
        _ => "refused, because nothing lets in clients without a mesh identity there",
    };
    let server = probes.origins.iter().map(|origin| match origin {
        Origin::Object(id) => id.to_string(),
        Origin::Default(name) => format!("the default `{name}`"),
    });
    let text = format!(
        "The kubelet's probes of {workload}:{port} ({}) are {what} ({}). Linkerd lets probes in by itself only where the port has no route of its own and speaks HTTP.",
        words::some(paths),
        words::some(server)
    );
    let named = probes.origins.iter().filter_map(|origin| match origin {
        Origin::Object(id) => Some(id.to_string()),
        Origin::Default(_) => None,
    });
    let objects = named.chain([format!("{workload}:{port}")]);
    let fix = "Add an HTTPRoute that matches GET on these exact paths to the Server, and an AuthorizationPolicy on that route with a NetworkAuthentication for the nodes' networks; or probe another port.";
    Finding::new(Code::ProbeLockedOut, objects, text, fix)
}
