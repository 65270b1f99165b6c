//! A multicluster Link: another cluster's name and its gateway's identity.

use super::{
    FactError,
    object::{self, Metadata},
};
use crate::graph::{
    fact::{Fact, Link},
    id::Text,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    target_cluster_name: Text,
    gateway_identity: Option<Text>,
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let object: Object = object::read(json)?;
    Ok(Fact::Link(Arc::new(Link {
        key: object.metadata.key()?,
        target_cluster: object.spec.target_cluster_name,
        gateway_identity: object::present(object.spec.gateway_identity),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn the_target_and_the_gateways_identity_are_read() {
        let identity = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.west.local";
        let json = serde_json::json!({
            "apiVersion": "multicluster.linkerd.io/v1alpha3",
            "kind": "Link",
            "metadata": {"namespace": "linkerd-multicluster", "name": "west"},
            "spec": {
                "targetClusterName": "west",
                "targetClusterDomain": "west.local",
                "gatewayAddress": "203.0.113.7",
                "gatewayPort": "4143",
                "gatewayIdentity": identity,
                "clusterCredentialsSecret": "cluster-credentials-west"
            }
        });
        assert_eq!(
            fact(&json.to_string()).expect("a Link"),
            Fact::Link(Arc::new(Link {
                key: Key::new("linkerd-multicluster", "west"),
                target_cluster: "west".into(),
                gateway_identity: Some(identity.into()),
            }))
        );
    }

    #[test]
    fn a_link_without_a_gateway_has_no_identity() {
        let json = r#"{"metadata": {"namespace": "mc", "name": "flat"},
            "spec": {"targetClusterName": "flat", "gatewayIdentity": ""}}"#;
        assert_eq!(
            fact(json).expect("a Link"),
            Fact::Link(Arc::new(Link {
                key: Key::new("mc", "flat"),
                target_cluster: "flat".into(),
                gateway_identity: None,
            }))
        );
    }
}
