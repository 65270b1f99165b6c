//! What is called: what was typed, and the ports of pods that answer.

use super::{Mesh, Unanswerable};
use crate::{
    fact::Key,
    id::{ExternalId, ServiceId, WorkloadId},
    model::{Graph, ServicePort, Template, Workload},
    query::{self, Node},
};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A target by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// A Service, and one of its ports; without one all of them.
    Service(ServiceId, Option<u16>),
    /// The pods of a workload, and one of their ports; without one all that they declare.
    Workload(WorkloadId, Option<u16>),
    /// An address outside the cluster.
    External(ExternalId),
}

/// One port of pods that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Their workload.
    pub workload: &'a WorkloadId,
    /// What they have in common.
    pub template: &'a Template,
    /// Their port.
    pub port: u16,
    /// The port that clients dial: the Service's.
    pub dialed: u16,
}

// === impl Callee ===

impl Callee {
    /// The target that `typed` names, with `:port` at its end or with `port` beside it. Names without a namespace are
    /// looked for in `namespace`, where there is one.
    ///
    /// # Errors
    ///
    /// When it names nothing, or more than one thing.
    pub fn resolve(
        graph: &Graph,
        typed: &str,
        port: Option<u16>,
        namespace: Option<&str>,
    ) -> Result<Self, Unanswerable> {
        if let Some(outside) = typed.strip_prefix("external:") {
            let written = match port {
                Some(port) if !outside.contains(':') => format!("{outside}:{port}"),
                _ => outside.to_owned(),
            };
            return written
                .parse()
                .map(Self::External)
                .map_err(|_| Unanswerable::NoExternal(typed.to_owned()));
        }
        let (name, own) = match typed.rsplit_once(':') {
            Some((name, digits)) => match digits.parse() {
                Ok(port) => (name, Some(port)),
                Err(_) => (typed, None),
            },
            None => (typed, None),
        };
        let port = own.or(port).filter(|port| *port != 0);
        Ok(match query::resolve_node(graph, name, namespace)? {
            Node::Service(id) => Self::Service(id, port),
            Node::Workload(id) => Self::Workload(id, port),
            Node::External(id) => Self::External(id),
        })
    }

    /// The ports of pods that answer.
    ///
    /// # Errors
    ///
    /// When there are none, with the reason. An external target has none.
    pub fn endpoints<'a>(&self, mesh: &Mesh<'a>) -> Result<Vec<Endpoint<'a>>, Unanswerable> {
        match self {
            Self::Service(id, port) => of_service(mesh, id, *port),
            Self::Workload(id, port) => {
                let Some((id, workload)) = mesh.graph.workloads.get_key_value(id) else {
                    return Ok(Vec::new());
                };
                let endpoints = of_workload(mesh, id, workload, *port);
                if endpoints.is_empty() { Err(Unanswerable::NoPorts(id.clone())) } else { Ok(endpoints) }
            }
            Self::External(id) => Err(Unanswerable::NoExternal(format!("external:{id}"))),
        }
    }

    /// The port that clients dial, where one is named.
    pub fn dialed(&self) -> Option<u16> {
        match self {
            Self::Service(_, port) | Self::Workload(_, port) => *port,
            Self::External(id) => id.port(),
        }
    }
}

fn of_service<'a>(
    mesh: &Mesh<'a>,
    id: &ServiceId,
    port: Option<u16>,
) -> Result<Vec<Endpoint<'a>>, Unanswerable> {
    let Some(service) = mesh.graph.services.get(id) else { return Ok(Vec::new()) };
    let wanted = |it: &&ServicePort| port.is_none_or(|port| it.port == port);
    let ports: Vec<&ServicePort> =
        service.ports.iter().filter(wanted).filter(|it| is_tcp(&it.protocol)).collect();
    if let Some(mirrored) = &service.mirror_of {
        return Err(Unanswerable::OtherCluster { service: id.clone(), mirrored: mirrored.to_string() });
    }
    if let (true, Some(port)) = (ports.is_empty(), port) {
        let there = service.ports.iter().map(|it| it.port).collect();
        return Err(Unanswerable::NoServicePort { service: id.clone(), port, ports: there });
    }
    let mut endpoints = Vec::new();
    let mut missing = None;
    for workload in &service.workloads {
        let Some((workload, node)) = mesh.graph.workloads.get_key_value(workload) else { continue };
        for template in &node.templates {
            for service_port in &ports {
                let before = endpoints.len();
                let targets = targets(service_port, template);
                endpoints.extend(targets.into_iter().map(|port| Endpoint {
                    workload,
                    template,
                    port,
                    dialed: service_port.port,
                }));
                if endpoints.len() == before {
                    missing.get_or_insert((workload.clone(), service_port.target.to_string()));
                }
            }
        }
    }
    match (endpoints.is_empty(), missing) {
        (false, _) => Ok(endpoints),
        (true, Some((workload, port))) => {
            Err(Unanswerable::NoTargetPort { service: id.clone(), workload, port })
        }
        (true, None) => Err(Unanswerable::NoEndpoints(id.clone())),
    }
}

/// The pod's ports that a Service's port leads to: a number as it is, a name by what containers declare.
fn targets(service: &ServicePort, template: &Template) -> BTreeSet<u16> {
    if service.target.is_empty() {
        return [service.port].into();
    }
    match service.target.parse() {
        Ok(number) => [number].into(),
        Err(_) => template
            .ports
            .iter()
            .filter(|port| port.name == service.target && is_tcp(&port.protocol))
            .map(|port| port.port)
            .collect(),
    }
}

/// The endpoints of a workload: a port that is named as it is, else those that its containers declare and those that
/// a Server of its namespace selects by number.
pub(super) fn of_workload<'a>(
    mesh: &Mesh<'a>,
    id: &'a WorkloadId,
    workload: &'a Workload,
    port: Option<u16>,
) -> Vec<Endpoint<'a>> {
    let mut endpoints = Vec::new();
    for template in &workload.templates {
        let ports: BTreeSet<u16> = match port {
            Some(port) => [port].into(),
            None => {
                let declared =
                    template.ports.iter().filter(|port| is_tcp(&port.protocol) && !of_proxy(&port.name));
                let key = Key::new(id.namespace(), template.first.clone());
                let served = mesh.policies.served_ports(&template.target(&key));
                declared.map(|port| port.port).chain(served).filter(|port| *port != 0).collect()
            }
        };
        endpoints.extend(ports.into_iter().map(|port| Endpoint {
            workload: id,
            template,
            port,
            dialed: port,
        }));
    }
    endpoints
}

fn is_tcp(protocol: &str) -> bool {
    protocol.is_empty() || protocol.eq_ignore_ascii_case("TCP")
}

/// The proxy's own ports are none of the workload's.
fn of_proxy(name: &str) -> bool {
    name.starts_with("linkerd-")
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |f: &mut fmt::Formatter<'_>, port: &Option<u16>| match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        };
        match self {
            Self::Service(id, own) => write!(f, "{id}").and_then(|()| port(f, own)),
            Self::Workload(id, own) => write!(f, "{id}").and_then(|()| port(f, own)),
            Self::External(id) => write!(f, "external:{id}"),
        }
    }
}

// === impl Endpoint ===

impl Endpoint<'_> {
    /// Namespace and name of the first pod.
    pub fn key(&self) -> Key {
        Key { namespace: self.workload.namespace().into(), name: Arc::clone(&self.template.first) }
    }

    /// The name of the port, where a container gives it one.
    pub fn port_name(&self) -> &str {
        let declared = self.template.ports.iter().find(|port| port.port == self.port);
        declared.map_or("", |port| &port.name)
    }
}
