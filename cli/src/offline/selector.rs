//! Which pods Services select. In a cluster EndpointSlices say it; manifests have none.

use linkerd_mcp_graph::{
    fact::{Change, EndpointSlice, EndpointTarget, Fact, Key, Labels},
    facts::{Facts, Touched},
    id::Text,
    kind::Kind,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The selectors of Services that have one.
#[derive(Debug, Default)]
pub(super) struct Selectors(BTreeMap<Key, BTreeMap<Text, Text>>);

// === impl Selectors ===

impl Selectors {
    /// Takes the selector of a Service that has its namespace. Of a Service that comes twice the last counts.
    pub(super) fn read(&mut self, service: &Value) -> Result<(), String> {
        let name = |field: &str| service.pointer(field).and_then(Value::as_str).unwrap_or_default();
        let key = Key::new(name("/metadata/namespace"), name("/metadata/name"));
        let selector = match service.pointer("/spec/selector") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(selector) => serde_json::from_value(selector.clone())
                .map_err(|_| "its spec.selector is no mapping of labels to values")?,
        };
        // ExternalName goes elsewhere, whatever it selects.
        let outside = service.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName");
        match selector.is_empty() || outside {
            true => drop(self.0.remove(&key)),
            false => drop(self.0.insert(key, selector)),
        }
        Ok(())
    }

    /// Adds the EndpointSlices that Kubernetes and Linkerd would make.
    pub(super) fn apply(&self, facts: &mut Facts) {
        for (service, selector) in &self.0 {
            let slice = EndpointSlice {
                // No object has a slash in its name.
                key: Key::new(service.namespace.clone(), format!("selected/{}", service.name)),
                service: Some(service.name.clone()),
                targets: targets(facts, &service.namespace, selector),
            };
            facts.change(Change::Apply(Fact::EndpointSlice(Arc::new(slice))), &mut Touched::default());
        }
    }
}

fn targets(facts: &Facts, namespace: &str, selector: &BTreeMap<Text, Text>) -> Vec<EndpointTarget> {
    let selected = |labels: &Labels| selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    let pods = facts.in_namespace(Kind::Pod, namespace).filter_map(|fact| match fact {
        Fact::Pod(pod) if !pod.ended && selected(&pod.labels) => {
            Some(EndpointTarget::Pod(pod.key.name.clone()))
        }
        _ => None,
    });
    let externals = facts.in_namespace(Kind::ExternalWorkload, namespace).filter_map(|fact| match fact {
        Fact::ExternalWorkload(it) if selected(&it.labels) => {
            Some(EndpointTarget::ExternalWorkload(it.key.name.clone()))
        }
        _ => None,
    });
    pods.chain(externals).collect()
}

/// Every namespace that an object is in exists, whether the manifests hold it or not.
pub(super) fn apply_namespaces(facts: &mut Facts) {
    let rows = linkerd_mcp_graph::kind::KINDS.iter().map(|row| row.kind);
    let named: BTreeSet<Text> = rows
        .flat_map(|kind| facts.all(kind))
        .map(|fact| fact.key().namespace.clone())
        .filter(|namespace| !namespace.is_empty() && facts.namespace(namespace).is_none())
        .collect();
    for name in named {
        let namespace = linkerd_mcp_graph::fact::Namespace {
            key: Key::new("", name),
            extension: None,
            external_prometheus: None,
        };
        facts.change(Change::Apply(Fact::Namespace(Arc::new(namespace))), &mut Touched::default());
    }
}
