//! Who calls: what was typed, and as whom the target's proxy sees it.

use super::{Mesh, Unanswerable};
use crate::{
    id::{ObjectId, Text, WorkloadId},
    model::{Graph, Workload},
    policy::{Client, PolicyCluster, Ports},
    query::{self, Node, ResolveError},
};
use std::{fmt, net::IpAddr, sync::Arc};

/// A client by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The pods of a workload.
    Workload(WorkloadId),
    /// Whatever runs as a ServiceAccount, `namespace/name`.
    ServiceAccount(ObjectId),
    /// Whoever has this mesh identity.
    Identity(Text),
    /// A client outside the mesh at this address.
    Address(IpAddr),
}

/// One way in which a client shows up: some pods of a workload may be meshed and others not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appearance {
    /// The identity it presents, over mesh TLS; `None` when it is not meshed.
    pub identity: Option<Text>,
    /// The addresses it may call from; none when they are not known.
    pub addresses: Vec<IpAddr>,
}

// === impl Caller ===

impl Caller {
    /// The client that `typed` names. Names without a namespace are looked for in `namespace`, where there is one.
    ///
    /// # Errors
    ///
    /// When it names no client, nothing, or more than one thing.
    pub fn resolve(graph: &Graph, typed: &str, namespace: Option<&str>) -> Result<Self, Unanswerable> {
        if let Ok(address) = typed.parse() {
            return Ok(Self::Address(address));
        }
        if typed.starts_with("spiffe://") || typed.contains(".serviceaccount.identity.") {
            return Ok(Self::Identity(typed.into()));
        }
        if let Some(account) = service_account(typed, namespace) {
            return Ok(Self::ServiceAccount(account));
        }
        let of_workloads = |workloads: &[WorkloadId], name: &str| match workloads {
            [only] => Ok(Self::Workload(only.clone())),
            [] => Err(Unanswerable::NoClient(typed.to_owned())),
            several => Err(Unanswerable::Name(ResolveError::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().take(5).map(ToString::to_string).collect(),
            })),
        };
        match query::resolve_node(graph, typed, namespace)? {
            Node::Workload(id) => Ok(Self::Workload(id)),
            // A Service does not call; what is meant is the workload behind it.
            Node::Service(id) => {
                let service = graph.services.get(&id);
                of_workloads(service.map_or(&[], |service| &service.workloads), typed)
            }
            Node::External(id) => match id.host().parse() {
                Ok(address) => Ok(Self::Address(address)),
                Err(_) => Err(Unanswerable::NoClient(typed.to_owned())),
            },
        }
    }

    /// As whom the proxy of a target may see this client when it dials `port`.
    pub fn appearances(&self, mesh: &Mesh<'_>, port: Option<u16>) -> Vec<Appearance> {
        let cluster = mesh.policies.cluster();
        match self {
            Self::Address(address) => vec![Appearance { identity: None, addresses: vec![*address] }],
            Self::Identity(identity) => {
                vec![Appearance {
                    identity: Some(identity.clone()),
                    addresses: with_identity(mesh.graph, identity),
                }]
            }
            Self::ServiceAccount(account) => {
                let identity = cluster.identity(account.namespace(), account.name());
                let addresses = with_identity(mesh.graph, &identity);
                vec![Appearance { identity: Some(identity), addresses }]
            }
            Self::Workload(id) => match mesh.graph.workloads.get(id) {
                Some(workload) => of_workload(id, workload, cluster, port),
                None => Vec::new(),
            },
        }
    }

    /// The namespace it lives in, for what is in the cluster.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Workload(id) => Some(id.namespace()),
            Self::ServiceAccount(id) => Some(id.namespace()),
            Self::Identity(identity) => crate::id::service_account(identity).map(|(namespace, _)| namespace),
            Self::Address(_) => None,
        }
    }
}

/// `namespace/sa/name`, or `sa/name` in a namespace.
fn service_account(typed: &str, namespace: Option<&str>) -> Option<ObjectId> {
    let is_kind = |text: &str| {
        matches!(text.to_ascii_lowercase().as_str(), "sa" | "serviceaccount" | "serviceaccounts")
    };
    match (&*typed.split('/').collect::<Vec<_>>(), namespace) {
        ([namespace, kind, name], _) if is_kind(kind) => Some(ObjectId::new(namespace, name)),
        ([kind, name], Some(namespace)) if is_kind(kind) => Some(ObjectId::new(namespace, name)),
        _ => None,
    }
}

/// Addresses of the meshed pods that present an identity.
fn with_identity(graph: &Graph, identity: &str) -> Vec<IpAddr> {
    // Most identities name their namespace; the others are looked for everywhere.
    let namespace = crate::id::service_account(identity).map(|(namespace, _)| namespace);
    graph
        .workloads
        .iter()
        .filter(|(id, _)| namespace.is_none_or(|namespace| id.namespace() == namespace))
        .filter(|(_, workload)| workload.identity.as_deref() == Some(identity))
        .flat_map(|(_, workload)| &workload.templates)
        .filter(|template| template.proxy)
        .flat_map(|template| template.addresses.iter().copied())
        .collect()
}

fn of_workload(
    id: &WorkloadId,
    workload: &Workload,
    cluster: &PolicyCluster,
    port: Option<u16>,
) -> Vec<Appearance> {
    let mut appearances: Vec<Appearance> = Vec::new();
    for template in &workload.templates {
        let in_mesh = template.proxy
            || (!template.host_network && template.labels.contains_key("linkerd.io/control-plane-ns"));
        // What a proxy does not see go out does not leave as mesh TLS.
        let skipped = port.is_some_and(|port| {
            let ports = template.annotations.get("config.linkerd.io/skip-outbound-ports");
            ports.and_then(|text| text.parse::<Ports>().ok()).is_some_and(|ports| ports.contains(port))
        });
        let identity = (in_mesh && !skipped).then(|| {
            let own = workload.identity.clone();
            own.unwrap_or_else(|| cluster.identity(id.namespace(), &workload.service_account))
        });
        let addresses = template.addresses.iter().copied();
        match appearances.iter_mut().find(|appearance| appearance.identity == identity) {
            Some(known) => known.addresses.extend(addresses),
            None => appearances.push(Appearance { identity, addresses: addresses.collect() }),
        }
    }
    appearances
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => write!(f, "{id}"),
            Self::ServiceAccount(id) => write!(f, "{}/serviceaccount/{}", id.namespace(), id.name()),
            Self::Identity(identity) => f.write_str(identity),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

// === impl Appearance ===

impl Appearance {
    /// The client at one address.
    pub fn client(&self, address: Option<IpAddr>) -> Client {
        Client { address, tls: self.identity.is_some(), identity: self.identity.as_ref().map(Arc::clone) }
    }
}
