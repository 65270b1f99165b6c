//! An EndpointSlice: what a Service leads to.

use super::{
    FactError,
    object::{self, Metadata},
};
use crate::graph::{
    fact::{EndpointSlice, EndpointTarget, Fact},
    id::{Text, is_name},
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct Object {
    metadata: Metadata<Labels>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "kubernetes.io/service-name")]
    service: Option<Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    target_ref: Option<TargetRef>,
}

#[derive(Deserialize)]
struct TargetRef {
    kind: Option<Text>,
    name: Option<Text>,
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let mut object: Object = object::read(json)?;
    Ok(Fact::EndpointSlice(Arc::new(EndpointSlice {
        key: object.metadata.key()?,
        service: object.metadata.take_labels().service.filter(|name| is_name(name)),
        targets: object
            .endpoints
            .unwrap_or_default()
            .into_iter()
            .filter_map(|endpoint| endpoint.target_ref.and_then(target))
            .collect(),
    })))
}

fn target(reference: TargetRef) -> Option<EndpointTarget> {
    let name = object::present(reference.name)?;
    match &*reference.kind? {
        "Pod" => Some(EndpointTarget::Pod(name)),
        "ExternalWorkload" => Some(EndpointTarget::ExternalWorkload(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn pods_and_external_workloads_are_told_apart_and_bare_addresses_left_out() {
        let json = r#"{
            "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "web-x1", "labels": {
                "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "x"}},
            "endpoints": [
                {"addresses": ["10.1.0.7"], "conditions": {"ready": true, "serving": true, "terminating": false},
                 "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "1"}},
                {"addresses": ["192.0.2.10"], "conditions": {"ready": false},
                 "targetRef": {"kind": "ExternalWorkload", "name": "db-vm-1"}},
                {"addresses": ["198.51.100.1"], "conditions": {}}
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]
        }"#;
        assert_eq!(
            fact(json).expect("an EndpointSlice"),
            Fact::EndpointSlice(Arc::new(EndpointSlice {
                key: Key::new("shop", "web-x1"),
                service: Some("web".into()),
                targets: vec![
                    EndpointTarget::Pod("web-1".into()),
                    EndpointTarget::ExternalWorkload("db-vm-1".into()),
                ],
            }))
        );
    }

    #[test]
    fn a_slice_of_no_service_with_null_endpoints_is_empty() {
        let json =
            r#"{"addressType": "FQDN", "metadata": {"namespace": "shop", "name": "x"}, "endpoints": null}"#;
        assert_eq!(
            fact(json).expect("an EndpointSlice"),
            Fact::EndpointSlice(Arc::new(EndpointSlice {
                key: Key::new("shop", "x"),
                service: None,
                targets: Vec::new()
            }))
        );
    }
}
