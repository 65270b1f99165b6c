//! Annotations of pods that bear on policy and cannot be read.

use super::{Code, Finding, scene::Scene};
use crate::policy::{DefaultPolicy, Ports};

const DEFAULT_POLICY: &str = "config.linkerd.io/default-inbound-policy";
/// Lists of ports.
const LISTS: [&str; 2] =
    ["config.linkerd.io/opaque-ports", "config.linkerd.io/proxy-require-identity-inbound-ports"];

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for pods in scene.pods.iter().filter(|pods| pods.target().in_mesh()) {
        let annotation = |name: &'static str| pods.template.annotations.get(name).map(|value| (name, value));
        if let Some((name, value)) = annotation(DEFAULT_POLICY)
            && let Err(error) = value.parse::<DefaultPolicy>()
        {
            let default = scene.mesh.policies.cluster().default_policy;
            let text = format!(
                "{} has the annotation {name}: {value:?}, but {error}. The cluster's default policy holds instead, {default}.",
                pods.id
            );
            let fix = "Write one of these words in the pod template (or in the namespace's annotation) and restart the pods.";
            findings.push(Finding::new(Code::BadAnnotation, [pods.id], text, fix));
        }
        for (name, value) in LISTS.into_iter().filter_map(annotation) {
            if let Err(error) = value.parse::<Ports>() {
                let text = format!(
                    "{} has the annotation {name}: {value:?}, but {error}. Linkerd drops the whole list, so it holds for no port.",
                    pods.id
                );
                let fix = "List numbers and ranges, such as 3306,8000-8010, in the pod template and restart the pods; names of ports do not work there.";
                findings.push(Finding::new(Code::BadAnnotation, [pods.id], text, fix));
            }
        }
    }
    // Pods of one workload that differ otherwise say the same.
    findings.dedup();
    findings
}
