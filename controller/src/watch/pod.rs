//! A Pod: how it is meshed, what it declares, whether it lives.

use super::{
    FactError,
    object::{self, Condition, LabelMap, Metadata, Port},
};
use crate::graph::{
    fact::{ContainerPort, Fact, Pod, Proxy},
    id::Text,
};
use serde::Deserialize;
use std::sync::Arc;

/// The name that the injector gives the proxy's container.
const PROXY: &str = "linkerd-proxy";

/// The label that the injector puts on a meshed pod.
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";

#[derive(Deserialize)]
struct Object {
    metadata: Metadata<LabelMap, Annotations>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

/// The annotations that bear on policy; each field is one, under its own name.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "config.linkerd.io/default-inbound-policy")]
    default_inbound_policy: Option<Text>,
    #[serde(rename = "config.linkerd.io/skip-inbound-ports")]
    skip_inbound_ports: Option<Text>,
    #[serde(rename = "config.linkerd.io/opaque-ports")]
    opaque_ports: Option<Text>,
    #[serde(rename = "config.linkerd.io/proxy-require-identity-inbound-ports")]
    require_identity_ports: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    service_account_name: Option<Text>,
    host_network: Option<bool>,
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: Text,
    restart_policy: Option<Text>,
    ports: Option<Vec<Port>>,
}

#[derive(Default, Deserialize)]
struct Status {
    phase: Option<Text>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Text>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Ip>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Ip {
    ip: Text,
}

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    let mut object: Object = object::read(json)?;
    let labels = object.metadata.take_labels();
    Ok(Fact::Pod(Arc::new(Pod {
        key: object.metadata.key()?,
        owner: object.metadata.controller(),
        ips: object.status.ips(),
        control_plane: object::present(labels.get(CONTROL_PLANE).cloned()),
        annotations: Arc::new(object.metadata.take_annotations().into_map()),
        labels: Arc::new(labels),
        proxy: object.spec.proxy(),
        ready: object::ready(object.status.conditions.as_deref()),
        ended: object.status.ended(),
        host_network: object.spec.host_network.unwrap_or(false),
        // The API server fills the name in, so only a manifest that was never applied lacks it.
        service_account: object::present(object.spec.service_account_name.take())
            .unwrap_or_else(|| "default".into()),
        ports: object.spec.into_ports(),
    })))
}

// === impl Annotations ===

impl Annotations {
    fn into_map(self) -> LabelMap {
        let Self { default_inbound_policy, skip_inbound_ports, opaque_ports, require_identity_ports } = self;
        [
            ("config.linkerd.io/default-inbound-policy", default_inbound_policy),
            ("config.linkerd.io/skip-inbound-ports", skip_inbound_ports),
            ("config.linkerd.io/opaque-ports", opaque_ports),
            ("config.linkerd.io/proxy-require-identity-inbound-ports", require_identity_ports),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), value?)))
        .collect()
    }
}

// === impl Spec ===

impl Spec {
    fn proxy(&self) -> Proxy {
        let named = |container: &&Container| &*container.name == PROXY;
        if self.init_containers.iter().flatten().filter(named).any(Container::is_sidecar) {
            Proxy::NativeSidecar
        } else if self.containers.iter().flatten().any(|container| named(&container)) {
            Proxy::Container
        } else {
            Proxy::Absent
        }
    }

    /// The ports that Servers select from. Those of plain init containers and of the proxy itself count as well, as
    /// they do for Linkerd's policy controller: viz's Server `proxy-admin` selects the proxy's port `linkerd-admin`.
    fn into_ports(self) -> Arc<[ContainerPort]> {
        self.containers
            .into_iter()
            .flatten()
            .chain(self.init_containers.into_iter().flatten())
            .flat_map(|container| container.ports.into_iter().flatten())
            .map(Into::into)
            .collect()
    }
}

// === impl Container ===

impl Container {
    /// For an init container: it goes on running beside the pod's containers.
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

// === impl Status ===

impl Status {
    fn ips(&self) -> Vec<std::net::IpAddr> {
        match &self.pod_ips {
            Some(ips) if !ips.is_empty() => object::ips(ips.iter().map(|ip| &ip.ip)),
            _ => object::ips(&self.pod_ip),
        }
    }

    fn ended(&self) -> bool {
        matches!(self.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

#[cfg(test)]
mod tests;
