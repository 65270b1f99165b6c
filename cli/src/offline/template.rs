//! Pods as they will be made: manifests usually hold what makes pods, not pods.
//!
//! The injector puts a label and some annotations on pods; policy depends on both. Pods made from a template are taken
//! for injected unless something says they are not.

use super::Defaults;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Between kind and name in the names of pods that are made of templates: no pod in a cluster can have it in its name.
const SEPARATOR: char = '_';

/// True for the name of a pod that was made of a template.
pub(super) fn is_made(pod: &str) -> bool {
    pod.contains(SEPARATOR)
}

/// The name of what a pod with this name was made of; of others their own.
pub(super) fn owner(pod: &str) -> &str {
    pod.split_once(SEPARATOR).map_or(pod, |(_, name)| name)
}

/// Annotations that the injector copies from a namespace to its pods.
const COPIED: [&str; 4] = [
    "config.linkerd.io/default-inbound-policy",
    "config.linkerd.io/skip-inbound-ports",
    "config.linkerd.io/opaque-ports",
    "config.linkerd.io/proxy-require-identity-inbound-ports",
];
const OPAQUE: &str = "config.linkerd.io/opaque-ports";
const INJECT: &str = "linkerd.io/inject";
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";

/// Annotations of the namespaces in the manifests.
#[derive(Debug, Default)]
pub(super) struct Namespaces(BTreeMap<String, Map<String, Value>>);

// === impl Namespaces ===

impl Namespaces {
    pub(super) fn of<'a>(objects: impl Iterator<Item = &'a Value>) -> Self {
        let namespace = |object: &Value| {
            let namespace = object.get("kind")? == "Namespace" && object.get("apiVersion")? == "v1";
            let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
            namespace.then(|| (name, mapping(object.pointer("/metadata/annotations"))))
        };
        Self(objects.filter_map(namespace).collect())
    }

    fn annotation(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.0.get(namespace)?.get(name)
    }
}

/// Where a kind has its template.
fn path(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("", "ReplicationController")
        | ("batch", "Job")
        | ("argoproj.io", "Rollout") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// True for kinds that make pods.
pub(super) fn makes_pods(group: &str, kind: &str) -> bool {
    path(group, kind).is_some()
}

/// The pod that an object will make, named after it as no pod in a cluster can be: `deployment_web`. `None` when it makes none, or belongs to
/// something that does.
pub(super) fn pod(
    group: &str,
    kind: &str,
    object: &Value,
    namespaces: &Namespaces,
    defaults: &Defaults,
) -> Result<Option<Value>, String> {
    let Some(template) = path(group, kind).and_then(|path| object.pointer(path)) else { return Ok(None) };
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    if owners.is_some_and(|owners| !owners.is_empty()) {
        return Ok(None);
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).ok_or("it has no metadata.name")?;
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let mut labels = mapping(template.pointer("/metadata/labels"));
    let mut annotations = mapping(template.pointer("/metadata/annotations"));
    let inject = annotations.get(INJECT).or_else(|| namespaces.annotation(namespace, INJECT));
    let host_network = template.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    if inject.and_then(Value::as_str) != Some("disabled") && !host_network {
        labels.entry(CONTROL_PLANE).or_insert_with(|| defaults.control_plane.as_str().into());
        for name in COPIED {
            if let Some(value) = namespaces.annotation(namespace, name) {
                annotations.entry(name).or_insert_with(|| value.clone());
            }
        }
        let opaque = opaque(template, defaults);
        if !opaque.is_empty() {
            annotations.entry(OPAQUE).or_insert_with(|| opaque.into());
        }
    }
    Ok(Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{}{SEPARATOR}{name}", kind.to_ascii_lowercase()),
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": object.get("apiVersion"),
                "kind": kind,
                "name": name,
                "controller": true,
            }],
        },
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })))
}

/// Those of the declared ports that the injector makes opaque by default.
fn opaque(template: &Value, defaults: &Defaults) -> String {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let ports = containers.into_iter().flatten().filter_map(|container| container.get("ports")?.as_array());
    let opaque: Vec<String> = ports
        .flatten()
        .filter_map(|port| u16::try_from(port.get("containerPort")?.as_u64()?).ok())
        .filter(|port| defaults.opaque_ports.contains(*port))
        .map(|port| port.to_string())
        .collect();
    opaque.join(",")
}

fn mapping(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
