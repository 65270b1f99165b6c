//! Adds parts to a mesh while it is being made.

use super::mesh::{
    ADMIN_PORT, Call, Clients, Grant, Load, Mesh, Namespace, Port, Server, Service, ServiceIndex, Target,
    Workload, WorkloadIndex, WorkloadKind,
};
use crate::graph::model::Protocol;
use std::net::Ipv4Addr;

/// How often Prometheus scrapes each proxy, per second: viz scrapes every 10 s.
const SCRAPES_PER_SECOND: f64 = 0.1;

/// Namespace index, name, kind, ServiceAccount, ports and number of pods of a workload to be made.
pub(super) struct NewWorkload<'a> {
    pub(super) namespace: usize,
    pub(super) name: &'a str,
    pub(super) kind: WorkloadKind,
    pub(super) account: &'a str,
    pub(super) ports: &'a [Port],
    pub(super) pods: usize,
}

// === impl Port ===

impl Port {
    pub(super) const fn new(name: &'static str, number: u16) -> Self {
        Self { name, number, opaque: false }
    }

    pub(super) const fn opaque(name: &'static str, number: u16) -> Self {
        Self { name, number, opaque: true }
    }
}

// === impl Load ===

impl Load {
    /// So many calls per second that take so long.
    pub(super) const fn new(rps: f64, median_ms: f64) -> Self {
        Self { rps, failing: 0.0, median_ms, swing: 0.0, period_s: 120.0, phase: 0.0 }
    }

    /// The share that fails.
    pub(super) const fn failing(self, failing: f64) -> Self {
        Self { failing, ..self }
    }

    /// Rises and falls by 40 %.
    pub(super) const fn swinging(self, period_s: f64, phase: f64) -> Self {
        Self { swing: 0.4, period_s, phase, ..self }
    }
}

// === impl Mesh ===

impl Mesh {
    pub(super) fn namespace(&mut self, name: &str, meshed: bool, extension: Option<&'static str>) -> usize {
        self.namespaces.push(Namespace { name: name.to_owned(), meshed, extension });
        self.namespaces.len() - 1
    }

    pub(super) fn workload(&mut self, new: &NewWorkload<'_>) -> WorkloadIndex {
        let namespace = &self.namespaces[new.namespace];
        self.workloads.push(Workload {
            namespace_index: new.namespace,
            namespace: namespace.name.clone(),
            name: new.name.to_owned(),
            kind: new.kind,
            account: new.account.to_owned(),
            meshed: namespace.meshed,
            ports: new.ports.to_vec(),
            pods: Vec::new(),
        });
        let index = self.workloads.len() - 1;
        for _ in 0..new.pods {
            self.add_pod(index);
        }
        index
    }

    /// A Deployment whose ServiceAccount has its name.
    pub(super) fn deployment(
        &mut self,
        namespace: usize,
        name: &str,
        ports: &[Port],
        pods: usize,
    ) -> WorkloadIndex {
        let kind = WorkloadKind::Deployment;
        self.workload(&NewWorkload { namespace, name, kind, account: name, ports, pods })
    }

    /// A Service in front of the first port of a workload.
    pub(super) fn service(&mut self, workload: WorkloadIndex, name: &str, port: u16) -> ServiceIndex {
        let owner = &self.workloads[workload];
        let [high, low] = u16::try_from(self.services.len()).unwrap_or(u16::MAX).to_be_bytes();
        self.services.push(Service {
            namespace: owner.namespace.clone(),
            name: name.to_owned(),
            workload,
            port,
            target_port: owner.ports.first().map_or(port, |first| first.number),
            cluster_ip: Ipv4Addr::new(10, 96, high, low),
            profile: false,
            route: None,
        });
        self.services.len() - 1
    }

    pub(super) fn call(&mut self, from: WorkloadIndex, to: Target, protocol: Protocol, load: Load) -> usize {
        self.calls.push(Call { from, to, protocol, load });
        self.calls.len() - 1
    }

    /// A Server on a workload's port that lets in whom `grants` name, and nobody else.
    pub(super) fn server(
        &mut self,
        workload: WorkloadIndex,
        name: &str,
        (port, protocol): (u16, &'static str),
        grants: Vec<(&str, Clients)>,
    ) -> usize {
        let grants =
            grants.into_iter().map(|(name, clients)| Grant { name: name.to_owned(), clients }).collect();
        let name = name.to_owned();
        self.servers.push(Server { name, workload, port, protocol, route: None, grants, created_s: 0 });
        self.servers.len() - 1
    }

    /// Prometheus scrapes the proxy of every meshed pod but its own, whose traffic does not pass a proxy.
    pub(super) fn scrape_from(&mut self, prometheus: WorkloadIndex) {
        for workload in 0..self.workloads.len() {
            if workload != prometheus && self.workloads[workload].meshed {
                let pods = self.workloads[workload].pods.len().max(1);
                let load = Load::new(SCRAPES_PER_SECOND * pods as f64, 2.0);
                self.call(prometheus, Target::Pods(workload, ADMIN_PORT), Protocol::Http, load);
            }
        }
    }
}
