//! Changes that may harm Linkerd itself: without its control plane nothing can be changed back.

use super::{Concern, Scene};
use crate::{id::service_account, policy::lint::words};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let control_plane = &*scene.trial.mesh.policies.cluster().control_plane_namespace;
    let mut concerns = Vec::new();
    let inside: Vec<_> = scene
        .trial
        .edits
        .iter()
        .filter(|edit| &*edit.key.namespace == control_plane)
        .map(|edit| edit.id())
        .collect();
    if !inside.is_empty() {
        let text = format!(
            "{} of Linkerd's control plane ({control_plane}). Its webhooks, its identity and destination services are \
             called by clients without a mesh identity and by every proxy; a policy that refuses one of them can stop \
             all of the mesh, and cannot be taken back through it. Use Linkerd's own chart for them.",
            match inside.len() {
                1 => format!("{} is in the namespace", inside[0]),
                _ => format!("{} are in the namespace", words::some(&inside)),
            }
        );
        concerns.push(Concern::refuse("control-plane", &inside, text));
    }
    let shut_out: Vec<&crate::change::Flow> = scene
        .impact
        .newly_denied
        .flows
        .iter()
        .filter(|flow| flow.from.namespace() == Some(control_plane))
        .collect();
    if !shut_out.is_empty() {
        let edges: Vec<String> = shut_out.iter().map(|flow| flow.edge.to_string()).collect();
        let text = format!(
            "Calls of Linkerd's control plane would be refused: {}. Let its identities in ({}).",
            words::some(&edges),
            words::some(identities(&shut_out)),
        );
        concerns.push(Concern::refuse("control-plane", edges, text));
    }
    for edit in scene.trial.edits {
        let namespace = scene.trial.mesh.graph.namespaces.get(&edit.key.namespace);
        if let Some(extension) = namespace.and_then(|namespace| namespace.extension.as_ref()) {
            let text = format!(
                "{} is in the namespace of Linkerd's extension {extension}, whose own chart brings the policies that it \
                 needs.",
                edit.id()
            );
            concerns.push(Concern::warn("control-plane", [edit.id()], text));
        }
    }
    concerns
}

fn identities(flows: &[&crate::change::Flow]) -> Vec<String> {
    let mut names: Vec<String> = flows.iter().map(|flow| flow.from.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    let account = |name: String| match name.strip_prefix("identity:").and_then(service_account) {
        Some((namespace, account)) => format!("ServiceAccount {namespace}/{account}"),
        None => name,
    };
    names.into_iter().map(account).collect()
}
