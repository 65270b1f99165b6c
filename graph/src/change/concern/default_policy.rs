//! Ports that fall back to the default policy.

use super::{Concern, Scene};
use crate::policy::lint::words;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let mut fallen: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for port in &scene.trial.ports {
        let (before, after) = (&port.before.labels, &port.after.labels);
        if &*before.kind == "server" && &*after.kind == "default" {
            let server = format!("server/{}/{}", port.endpoint.workload.namespace(), before.name);
            let at = format!("{}:{}", port.endpoint.workload, port.endpoint.port);
            fallen.entry((server, after.name.to_string())).or_default().insert(at);
        }
    }
    let concern = |((server, policy), ports): ((String, String), BTreeSet<String>)| {
        let open = match &*policy {
            "all-unauthenticated" => ", which lets everybody in",
            "cluster-unauthenticated" => ", which lets everybody in the cluster's networks in",
            "audit" => ", which lets everybody in and counts it",
            "deny" => ", which lets nobody in",
            _ => "",
        };
        let text =
            format!("Without {server} the default policy `{policy}` holds on {}{open}.", words::some(&ports));
        Concern::warn("default-policy", [server].into_iter().chain(ports), text)
    };
    fallen.into_iter().map(concern).collect()
}
