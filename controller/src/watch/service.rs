//! A Service: its ports and addresses, what it mirrors, where it leads outside.

use super::{
    FactError,
    object::{self, Metadata},
};
use crate::graph::{
    fact::{Fact, Service, ServicePort},
    id::Text,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct Object {
    metadata: Metadata<Labels, Annotations>,
    #[serde(default)]
    spec: Spec,
}

/// Written by the multicluster extension's service mirror.
#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "mirror.linkerd.io/mirrored-service")]
    mirrored: Option<Text>,
    #[serde(rename = "mirror.linkerd.io/cluster-name")]
    cluster: Option<Text>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "config.linkerd.io/opaque-ports")]
    opaque_ports: Option<Text>,
    #[serde(rename = "mirror.linkerd.io/remote-svc-fq-name")]
    remote_name: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    r#type: Option<Text>,
    external_name: Option<Text>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<Text>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<Text>>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    port: u16,
    name: Option<Text>,
    protocol: Option<Text>,
    target_port: Option<NumberOrName>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrName {
    Number(u16),
    Name(Text),
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let mut object: Object = object::read(json)?;
    let annotations = object.metadata.take_annotations();
    let spec = object.spec;
    let addresses = spec.cluster_ips.or_else(|| spec.cluster_ip.map(|address| vec![address]));
    Ok(Fact::Service(Arc::new(Service {
        key: object.metadata.key()?,
        ports: spec.ports.unwrap_or_default().into_iter().map(Into::into).collect(),
        cluster_ips: object::ips(addresses.iter().flatten()),
        opaque_ports: annotations.opaque_ports,
        mirror_of: mirror_of(&object.metadata.take_labels(), annotations.remote_name.as_deref()),
        external_name: spec
            .external_name
            .filter(|name| spec.r#type.as_deref() == Some("ExternalName") && !name.is_empty()),
    })))
}

/// `namespace/name@cluster`. The annotation holds the Service's DNS name in its own cluster, `name.namespace.svc…`.
fn mirror_of(labels: &Labels, remote_name: Option<&str>) -> Option<Text> {
    labels.mirrored.as_deref().filter(|mirrored| *mirrored == "true")?;
    let cluster = labels.cluster.as_deref().filter(|cluster| !cluster.is_empty())?;
    let (name, rest) = remote_name?.split_once('.')?;
    let namespace = rest.split('.').next().filter(|namespace| !namespace.is_empty())?;
    Some(format!("{namespace}/{name}@{cluster}").into())
}

// === impl Port ===

impl From<Port> for ServicePort {
    fn from(port: Port) -> Self {
        Self {
            port: port.port,
            name: port.name.unwrap_or_default(),
            protocol: object::protocol(port.protocol),
            target: match port.target_port {
                Some(NumberOrName::Name(name)) if !name.is_empty() => name,
                // 0 is how an old API server writes "the same".
                Some(NumberOrName::Number(number)) if number != 0 => number.to_string().into(),
                _ => port.port.to_string().into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    fn service(json: &str) -> Service {
        let Fact::Service(service) = fact(json).expect("a Service") else { panic!("a Service") };
        Service::clone(&service)
    }

    fn mk_service(name: &str) -> Service {
        Service {
            key: Key::new("shop", name),
            ports: Vec::new(),
            cluster_ips: Vec::new(),
            opaque_ports: None,
            mirror_of: None,
            external_name: None,
        }
    }

    #[test]
    fn ports_keep_their_order_and_targets_are_numbers_or_names() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "web",
                "annotations": {"config.linkerd.io/opaque-ports": "3306,6000-6010"}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"],
                "selector": {"app": "web"}, "ports": [
                    {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"},
                    {"name": "grpc", "port": 8080, "targetPort": 9090, "appProtocol": "grpc"},
                    {"port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {}}}"#;
        let port = |port, name: &str, protocol: &str, target: &str| ServicePort {
            port,
            name: name.into(),
            protocol: protocol.into(),
            target: target.into(),
        };
        assert_eq!(
            service(json),
            Service {
                ports: vec![
                    port(80, "http", "TCP", "web"),
                    port(8080, "grpc", "TCP", "9090"),
                    port(53, "", "UDP", "53"),
                ],
                cluster_ips: vec![
                    "10.96.0.10".parse().expect("an address"),
                    "fd00::10".parse().expect("an address")
                ],
                opaque_ports: Some("3306,6000-6010".into()),
                ..mk_service("web")
            }
        );
    }

    #[test]
    fn a_headless_service_has_no_address() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "db"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}"#;
        assert_eq!(service(json), mk_service("db"));
    }

    #[test]
    fn a_mirror_names_the_service_and_the_cluster_it_stands_for() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "web-west",
                "labels": {"mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": "west"},
                "annotations": {"mirror.linkerd.io/remote-svc-fq-name": "web.store.svc.cluster.local"}},
            "spec": {"clusterIP": "10.96.0.11"}}"#;
        assert_eq!(
            service(json),
            Service {
                cluster_ips: vec!["10.96.0.11".parse().expect("an address")],
                mirror_of: Some("store/web@west".into()),
                ..mk_service("web-west")
            }
        );
    }

    #[test]
    fn the_annotation_alone_makes_no_mirror() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "web",
            "annotations": {"mirror.linkerd.io/remote-svc-fq-name": "web.store.svc.cluster.local"}}}"#;
        assert_eq!(service(json), mk_service("web"));
    }

    #[test]
    fn only_an_external_name_service_leads_outside() {
        let outside = r#"{"metadata": {"namespace": "shop", "name": "pay"},
            "spec": {"type": "ExternalName", "externalName": "pay.example.com"}}"#;
        assert_eq!(
            service(outside),
            Service { external_name: Some("pay.example.com".into()), ..mk_service("pay") }
        );
        let leftover = r#"{"metadata": {"namespace": "shop", "name": "pay"},
            "spec": {"type": "ClusterIP", "externalName": "pay.example.com"}}"#;
        assert_eq!(service(leftover), mk_service("pay"));
    }

    #[test]
    fn a_port_that_is_no_port_is_an_error() {
        let json =
            r#"{"metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": [{"port": 70000}]}}"#;
        assert!(matches!(fact(json), Err(FactError::Shape(_))));
    }
}
