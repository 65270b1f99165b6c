//! An ExternalWorkload: a machine outside the cluster that is in the mesh.

use super::{
    FactError,
    object::{self, Condition, LabelMap, Metadata, PolicyAnnotations, Port},
};
use crate::graph::{
    fact::{ExternalWorkload, Fact},
    id::Text,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct Object {
    metadata: Metadata<LabelMap, PolicyAnnotations>,
    #[serde(default)]
    spec: Spec,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(rename = "meshTLS")]
    mesh_tls: Option<MeshTls>,
    ports: Option<Vec<Port>>,
    #[serde(rename = "workloadIPs")]
    workload_ips: Option<Vec<Ip>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MeshTls {
    identity: Option<Text>,
    server_name: Option<Text>,
}

#[derive(Deserialize)]
struct Ip {
    ip: Text,
}

#[derive(Deserialize)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let mut object: Object = object::read(json)?;
    let mesh_tls = object.spec.mesh_tls.unwrap_or_default();
    let ips = object.spec.workload_ips.unwrap_or_default();
    let conditions = object.status.and_then(|status| status.conditions);
    Ok(Fact::ExternalWorkload(Arc::new(ExternalWorkload {
        key: object.metadata.key()?,
        identity: object::present(mesh_tls.identity),
        server_name: object::present(mesh_tls.server_name),
        ips: object::ips(ips.iter().map(|ip| &ip.ip)),
        ports: object.spec.ports.unwrap_or_default().into_iter().map(Into::into).collect(),
        labels: Arc::new(object.metadata.take_labels()),
        annotations: Arc::new(object.metadata.take_annotations().into_map()),
        ready: object::ready(conditions.as_deref()),
        owner: object.metadata.controller(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::{ContainerPort, Key};

    #[test]
    fn identity_addresses_ports_and_readiness_are_read() {
        let json = r#"{
            "apiVersion": "workload.linkerd.io/v1beta1",
            "kind": "ExternalWorkload",
            "metadata": {"namespace": "shop", "name": "db-vm-1", "labels": {"app": "db"},
                "annotations": {"config.linkerd.io/default-inbound-policy": "deny", "team": "store"}},
            "spec": {
                "meshTLS": {"identity": "spiffe://root.linkerd.cluster.local/db", "serverName": "db.cluster.local"},
                "workloadIPs": [{"ip": "192.0.2.10"}, {"ip": "2001:db8::10"}],
                "ports": [{"port": 5432, "name": "pg"}, {"port": 53, "protocol": "UDP"}]
            },
            "status": {"conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}]}
        }"#;
        assert_eq!(
            fact(json).expect("an ExternalWorkload"),
            Fact::ExternalWorkload(Arc::new(ExternalWorkload {
                key: Key::new("shop", "db-vm-1"),
                identity: Some("spiffe://root.linkerd.cluster.local/db".into()),
                server_name: Some("db.cluster.local".into()),
                ips: vec![
                    "192.0.2.10".parse().expect("an address"),
                    "2001:db8::10".parse().expect("an address")
                ],
                ports: Arc::new([
                    ContainerPort { port: 5432, name: "pg".into(), protocol: "TCP".into() },
                    ContainerPort { port: 53, name: "".into(), protocol: "UDP".into() },
                ]),
                labels: Arc::new(LabelMap::from([("app".into(), "db".into())])),
                annotations: Arc::new(LabelMap::from([(
                    "config.linkerd.io/default-inbound-policy".into(),
                    "deny".into()
                )])),
                ready: true,
                owner: None,
            }))
        );
    }

    #[test]
    fn one_that_never_reported_is_not_ready() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "new"}, "spec": {"meshTLS": {}}}"#;
        assert_eq!(
            fact(json).expect("an ExternalWorkload"),
            Fact::ExternalWorkload(Arc::new(ExternalWorkload {
                key: Key::new("shop", "new"),
                identity: None,
                server_name: None,
                ips: Vec::new(),
                ports: Arc::new([]),
                labels: Arc::default(),
                annotations: Arc::default(),
                ready: false,
                owner: None,
            }))
        );
    }
}
