//! A Pod: how it is meshed, what it declares, whether it lives.

use super::{
    FactError,
    object::{self, Condition, LabelMap, Metadata, PolicyAnnotations, Port},
    probe::{self, Action},
};
use crate::graph::{
    fact::{ContainerPort, Fact, Pod, Probe, Proxy},
    id::Text,
};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// The name that the injector gives the proxy's container.
const PROXY: &str = "linkerd-proxy";

/// The label that the injector puts on a meshed pod.
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";

#[derive(Deserialize)]
struct Object {
    metadata: Metadata<LabelMap, PolicyAnnotations>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
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
    liveness_probe: Option<Action>,
    readiness_probe: Option<Action>,
    startup_probe: Option<Action>,
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
        probes: object.spec.probes(),
        ports: object.spec.into_ports(),
    })))
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

    /// The HTTP probes of all containers, init containers included.
    fn probes(&self) -> Arc<[Probe]> {
        let containers = self.containers.iter().flatten().chain(self.init_containers.iter().flatten());
        let probes: BTreeSet<Probe> = containers.flat_map(Container::probes).collect();
        probes.into_iter().collect()
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
    fn probes(&self) -> impl Iterator<Item = Probe> + '_ {
        let actions = [&self.liveness_probe, &self.readiness_probe, &self.startup_probe];
        let ports = self.ports.as_deref().unwrap_or_default();
        actions.into_iter().flatten().filter_map(|action| probe::http(action, ports))
    }

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
