//! What manifests need of a cluster, besides rights: the kinds that are not Kubernetes' own, and namespaces.

use crate::install::{
    live,
    manifest::{Document, Reference},
};
use std::collections::BTreeSet;

/// Groups of kinds that come with something else, and only if that is installed. Those of Linkerd's policy have a check of
/// their own.
const OTHERS: [&str; 2] = ["monitoring.coreos.com", "gateway.networking.k8s.io"];

/// What manifests need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// CustomResourceDefinitions by name.
    pub(super) crds: BTreeSet<String>,
    /// Namespaces that they put something into and do not create.
    pub(super) namespaces: BTreeSet<String>,
}

/// What these need. The namespace of Linkerd is not among it: whether that is there is another question.
pub(super) fn of(documents: &[Document], linkerd_namespace: &str) -> Needs {
    let mut needs = Needs::default();
    let references: Vec<Reference> = documents.iter().map(Document::reference).collect();
    for Reference { group, kind, namespace, .. } in &references {
        if OTHERS.contains(&group.as_str())
            && let Some(plural) = live::plural(group, kind)
        {
            needs.crds.insert(format!("{plural}.{group}"));
        }
        if !namespace.is_empty() && namespace != linkerd_namespace {
            needs.namespaces.insert(namespace.clone());
        }
    }
    for created in references.iter().filter(|it| it.group.is_empty() && it.kind == "Namespace") {
        needs.namespaces.remove(&created.name);
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install;
    use serde_json::{Value, json};

    fn needs(values: Value) -> Needs {
        let Value::Object(values) = values else { panic!("no map") };
        of(&install::render(values, "linkerd-mcp").unwrap(), "linkerd")
    }

    #[test]
    fn the_chart_as_it_is_needs_nothing_but_linkerd() {
        assert_eq!(needs(json!({})), Needs::default());
    }

    #[test]
    fn who_wants_monitors_needs_the_operator_and_who_wants_viz_its_namespace() {
        let values = json!({
            "metrics": {"podMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}},
            "viz": {"enabled": true, "namespace": "viz-of-ours"},
        });
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let expected = Needs {
            crds: set(&["podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"]),
            namespaces: set(&["viz-of-ours"]),
        };
        assert_eq!(needs(values), expected);
    }
}
