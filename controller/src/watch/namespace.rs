//! A Namespace: which extension it belongs to, and where viz's Prometheus was put. Only its metadata is asked for.

use super::{
    FactError,
    object::{self, MetadataOnly},
};
use crate::graph::{
    fact::{Fact, Namespace},
    id::Text,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "linkerd.io/extension")]
    extension: Option<Text>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "viz.linkerd.io/external-prometheus")]
    external_prometheus: Option<Text>,
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let mut object: MetadataOnly<Labels, Annotations> = object::read(json)?;
    Ok(Fact::Namespace(Arc::new(Namespace {
        key: object.metadata.cluster_key()?,
        extension: object::present(object.metadata.take_labels().extension),
        external_prometheus: object::present(object.metadata.take_annotations().external_prometheus),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn the_extension_and_its_prometheus_are_read() {
        let json = r#"{"metadata": {
            "name": "linkerd-viz",
            "labels": {"kubernetes.io/metadata.name": "linkerd-viz", "linkerd.io/extension": "viz"},
            "annotations": {"viz.linkerd.io/external-prometheus": "http://prometheus.monitoring:9090"}
        }}"#;
        assert_eq!(
            fact(json).expect("a Namespace"),
            Fact::Namespace(Arc::new(Namespace {
                key: Key::new("", "linkerd-viz"),
                extension: Some("viz".into()),
                external_prometheus: Some("http://prometheus.monitoring:9090".into()),
            }))
        );
    }

    #[test]
    fn a_plain_namespace_has_neither() {
        let json = r#"{"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}"#;
        assert_eq!(
            fact(json).expect("a Namespace"),
            Fact::Namespace(Arc::new(Namespace {
                key: Key::new("", "shop"),
                extension: None,
                external_prometheus: None,
            }))
        );
    }
}
