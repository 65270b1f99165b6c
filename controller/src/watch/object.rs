//! What objects of every kind have in common, cut down to what facts need. Fields that are not named here
//! (managedFields above all) are skipped by the parser and never allocated.

use super::FactError;
use crate::graph::{
    fact::{ContainerPort, Key, OwnerRef},
    id::{Text, is_name},
};
use serde::{Deserialize, de::IgnoredAny};
use std::{collections::BTreeMap, net::IpAddr};

/// Labels that are all kept, for selectors.
pub(super) type LabelMap = BTreeMap<Text, Text>;

/// `metadata`, with only the labels that `L` and the annotations that `A` names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<L = IgnoredAny, A = IgnoredAny> {
    name: Option<Text>,
    namespace: Option<Text>,
    labels: Option<L>,
    annotations: Option<A>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Text>,
}

#[derive(Debug, Deserialize)]
struct OwnerReference {
    kind: Text,
    name: Text,
    controller: Option<bool>,
}

/// An object of which only `metadata` is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct MetadataOnly<L = IgnoredAny, A = IgnoredAny> {
    pub(super) metadata: Metadata<L, A>,
}

/// The annotations that bear on policy; each field is one, under its own name.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PolicyAnnotations {
    #[serde(rename = "config.linkerd.io/default-inbound-policy")]
    default_inbound_policy: Option<Text>,
    #[serde(rename = "config.linkerd.io/skip-inbound-ports")]
    skip_inbound_ports: Option<Text>,
    #[serde(rename = "config.linkerd.io/opaque-ports")]
    opaque_ports: Option<Text>,
    #[serde(rename = "config.linkerd.io/proxy-require-identity-inbound-ports")]
    require_identity_ports: Option<Text>,
    #[serde(rename = "config.linkerd.io/skip-outbound-ports")]
    skip_outbound_ports: Option<Text>,
}

/// One of `status.conditions`.
#[derive(Debug, Deserialize)]
pub(super) struct Condition {
    r#type: Text,
    status: Text,
}

/// One of `ports` of an ExternalWorkload, or of a container under the name `containerPort`.
#[derive(Debug, Deserialize)]
pub(super) struct Port {
    #[serde(alias = "containerPort")]
    pub(super) port: u16,
    pub(super) name: Option<Text>,
    pub(super) protocol: Option<Text>,
}

/// Reads `json` as a `T`.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, FactError> {
    serde_json::from_str(json).map_err(FactError::Shape)
}

/// True when the condition `Ready` is `True`.
pub(super) fn ready(conditions: Option<&[Condition]>) -> bool {
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| &*condition.r#type == "Ready" && &*condition.status == "True")
}

/// The addresses of `texts` that are IP addresses; Kubernetes also writes `None` and host names in their place.
pub(super) fn ips<'a>(texts: impl IntoIterator<Item = &'a Text>) -> Vec<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

/// `text` unless it is empty, which is how Kubernetes and Linkerd write an absent string.
pub(super) fn present(text: Option<Text>) -> Option<Text> {
    text.filter(|text| !text.is_empty())
}

/// `name` if it is one.
fn checked(name: Text) -> Result<Text, FactError> {
    match is_name(&name) {
        true => Ok(name),
        false => Err(FactError::Name(name.chars().take(80).collect())),
    }
}

/// The protocol, TCP when none is named.
pub(super) fn protocol(name: Option<Text>) -> Text {
    present(name).unwrap_or_else(|| "TCP".into())
}

// === impl Metadata ===

impl<L: Default, A: Default> Metadata<L, A> {
    /// Key of a namespaced object.
    pub(super) fn key(&self) -> Result<Key, FactError> {
        let namespace = present(self.namespace.clone()).ok_or(FactError::NoNamespace)?;
        Ok(Key { namespace: checked(namespace)?, name: self.name()? })
    }

    /// Key of a cluster-scoped object.
    pub(super) fn cluster_key(&self) -> Result<Key, FactError> {
        Ok(Key::new("", self.name()?))
    }

    fn name(&self) -> Result<Text, FactError> {
        checked(present(self.name.clone()).ok_or(FactError::NoName)?)
    }

    /// Takes the labels out.
    pub(super) fn take_labels(&mut self) -> L {
        self.labels.take().unwrap_or_default()
    }

    /// Takes the annotations out.
    pub(super) fn take_annotations(&mut self) -> A {
        self.annotations.take().unwrap_or_default()
    }

    /// The owner that controls the object; Kubernetes allows one. It does not check the owner's kind and name: one
    /// that nothing can be called is no owner.
    pub(super) fn controller(&self) -> Option<OwnerRef> {
        self.owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .filter(|owner| is_name(&owner.kind) && is_name(&owner.name))
            .map(|owner| OwnerRef { kind: owner.kind.clone(), name: owner.name.clone() })
    }

    /// Creation time in milliseconds since the Unix epoch.
    pub(super) fn created_ms(&self) -> Option<i64> {
        let time: k8s_openapi::jiff::Timestamp = self.creation_timestamp.as_ref()?.parse().ok()?;
        Some(time.as_millisecond())
    }
}

// === impl PolicyAnnotations ===

impl PolicyAnnotations {
    /// The annotations that are set, under their full names.
    pub(super) fn into_map(self) -> LabelMap {
        let Self {
            default_inbound_policy,
            skip_inbound_ports,
            opaque_ports,
            require_identity_ports,
            skip_outbound_ports,
        } = self;
        [
            ("config.linkerd.io/default-inbound-policy", default_inbound_policy),
            ("config.linkerd.io/skip-inbound-ports", skip_inbound_ports),
            ("config.linkerd.io/opaque-ports", opaque_ports),
            ("config.linkerd.io/proxy-require-identity-inbound-ports", require_identity_ports),
            ("config.linkerd.io/skip-outbound-ports", skip_outbound_ports),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), value?)))
        .collect()
    }
}

// === impl Port ===

impl From<Port> for ContainerPort {
    fn from(port: Port) -> Self {
        Self { port: port.port, name: port.name.unwrap_or_default(), protocol: protocol(port.protocol) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> Metadata {
        read::<MetadataOnly>(json).expect("the literal is an object").metadata
    }

    #[test]
    fn only_the_controlling_owner_counts() {
        let metadata = metadata(
            r#"{"metadata": {"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "seen", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "2", "controller": true}
            ]}}"#,
        );
        assert_eq!(metadata.controller(), Some(OwnerRef { kind: "ReplicaSet".into(), name: "web-1".into() }));
    }

    #[test]
    fn creation_time_is_in_milliseconds_and_absent_when_it_is_null() {
        let at = metadata(r#"{"metadata": {"creationTimestamp": "1970-01-01T00:01:00Z"}}"#);
        assert_eq!(at.created_ms(), Some(60_000));
        assert_eq!(metadata(r#"{"metadata": {"creationTimestamp": null}}"#).created_ms(), None);
    }

    #[test]
    fn an_object_without_name_or_namespace_is_refused() {
        let nameless = metadata(r#"{"metadata": {"namespace": "shop"}}"#);
        assert!(matches!(nameless.key(), Err(FactError::NoName)));
        let homeless = metadata(r#"{"metadata": {"name": "web"}}"#);
        assert!(matches!(homeless.key(), Err(FactError::NoNamespace)));
        assert_eq!(homeless.cluster_key().expect("it has a name"), Key::new("", "web"));
    }
}
