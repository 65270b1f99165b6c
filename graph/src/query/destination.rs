//! What a proxy is told about a Service held against what the graph says.
//!
//! An endpoint is found in the graph by its address; one whose address no pod is known to have, by the labels that the
//! destination controller puts on it for metrics. Weights are held against each other: the graph has none.

use crate::{
    id::{ServiceId, Text, WorkloadId},
    model::{Graph, Meshed, Template, Workload},
    policy::Ports,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

/// The labels of an endpoint that name what runs it, and the kind each stands for.
const OWNERS: [(&str, &str); 9] = [
    ("deployment", "deployment"),
    ("statefulset", "statefulset"),
    ("daemonset", "daemonset"),
    ("cronjob", "cronjob"),
    ("rollout", "rollout"),
    ("replicationcontroller", "replicationcontroller"),
    ("replicaset", "replicaset"),
    ("k8s_job", "job"),
    ("external_workload", "externalworkload"),
];

/// What Linkerd's destination controller tells a proxy about a port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The controller knows the Service.
    pub exists: bool,
    /// False when the stream went on, or broke off, before it was quiet: there may be more endpoints.
    pub complete: bool,
    /// Endpoints by address.
    pub endpoints: BTreeMap<SocketAddr, Endpoint>,
}

/// An endpoint as a proxy is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its share of the calls relative to the others; 10,000 unless something says otherwise.
    pub weight: u32,
    /// The identity that the client's proxy demands: a DNS-like name or a SPIFFE URI. Without one it speaks plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Text>,
    /// The name it asks for in the TLS handshake, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Text>,
    /// What the client's proxy may speak.
    pub hint: Hint,
    /// The port of the endpoint's own proxy for wrapped traffic, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque_transport: Option<u16>,
    /// Zone, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Text>,
    /// The authority that replaces the caller's, on the way through a multicluster gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<Text>,
    /// Labels of its metrics, without the zone.
    pub labels: BTreeMap<Text, Text>,
}

/// What a proxy may speak to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// What the caller speaks.
    #[default]
    None,
    /// HTTP/2 between the proxies, even for HTTP/1.
    H2,
    /// Bytes: nobody looks into them.
    Opaque,
}

/// Something in which proxies are told otherwise than the graph says, or that deserves a look. As text it is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mismatch {
    /// The graph has the Service, the destination controller does not.
    ServiceNotTold {
        /// The Service.
        service: ServiceId,
    },
    /// The destination controller has the Service, the graph does not.
    ServiceUnknown {
        /// The Service.
        service: ServiceId,
    },
    /// No workload that the graph has behind the Service runs this endpoint.
    EndpointUnknown {
        /// Its address.
        address: SocketAddr,
        /// What the controller says it is, as far as it says.
        target: Text,
    },
    /// A workload behind the Service has ready pods, and proxies are told of none.
    WorkloadNotTold {
        /// The workload.
        workload: WorkloadId,
        /// Its ready pods.
        ready: u32,
    },
    /// Proxies demand another identity than the graph says the workload has.
    Identity {
        /// The endpoint's address.
        address: SocketAddr,
        /// The workload.
        workload: WorkloadId,
        /// What proxies demand.
        told: Text,
        /// What the graph says; absent when it says that the workload has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        graph: Option<Text>,
    },
    /// The endpoint has a proxy, and yet proxies are told no identity: they call it in plaintext.
    NoIdentity {
        /// The endpoint's address.
        address: SocketAddr,
        /// The workload.
        workload: WorkloadId,
    },
    /// The port is in the pod's skip-inbound-ports: proxies call it in plaintext. Both sides agree on it.
    Skipped {
        /// The endpoint's address.
        address: SocketAddr,
        /// The workload.
        workload: WorkloadId,
    },
    /// The endpoint has no proxy: proxies call it in plaintext. Both sides agree on it.
    Unmeshed {
        /// The endpoint's address.
        address: SocketAddr,
        /// The workload.
        workload: WorkloadId,
    },
    /// The endpoint gets another share of the calls than most others.
    Weight {
        /// The endpoint's address.
        address: SocketAddr,
        /// Its weight.
        weight: u32,
        /// The weight of most.
        usual: u32,
    },
}

/// All mismatches, in a stable order.
pub fn mismatches(graph: &Graph, service: &ServiceId, told: &Told) -> Vec<Mismatch> {
    let node = match (graph.services.get(service), told.exists) {
        (Some(node), true) => node,
        (Some(_), false) => return vec![Mismatch::ServiceNotTold { service: service.clone() }],
        (None, true) => return vec![Mismatch::ServiceUnknown { service: service.clone() }],
        (None, false) => return Vec::new(),
    };
    let behind: Vec<(&WorkloadId, &Workload)> =
        node.workloads.iter().filter_map(|id| Some((id, &**graph.workloads.get(id)?))).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (address, endpoint) in &told.endpoints {
        match behind.iter().find_map(|(id, workload)| found_in(*address, endpoint, id, workload)) {
            Some(runs) => {
                seen.insert(runs.id);
                found.extend(between(*address, endpoint, &runs));
            }
            // Mirrored Services lead to gateways, which run in no workload here.
            None if node.mirror_of.is_some() => {}
            None => found.push(Mismatch::EndpointUnknown { address: *address, target: endpoint.target() }),
        }
    }
    if told.complete {
        found.extend(
            behind.iter().filter(|(id, workload)| !seen.contains(id) && workload.pods_ready > 0).map(
                |(id, workload)| Mismatch::WorkloadNotTold {
                    workload: (*id).clone(),
                    ready: workload.pods_ready,
                },
            ),
        );
    }
    found.extend(weights(told));
    found.sort();
    found
}

/// What runs an endpoint.
struct Runs<'a> {
    id: &'a WorkloadId,
    workload: &'a Workload,
    /// What is known of the very pod; none when only its labels say whose it is.
    template: Option<&'a Template>,
}

/// By address; by labels as long as the graph does not know the addresses of all pods of the workload.
fn found_in<'a>(
    address: SocketAddr,
    endpoint: &Endpoint,
    id: &'a WorkloadId,
    workload: &'a Workload,
) -> Option<Runs<'a>> {
    let has = |template: &&Template| template.addresses.contains(&address.ip());
    let template = workload.templates.iter().find(has);
    let all_known = !workload.templates.is_empty()
        && workload.templates.iter().all(|template| {
            u32::try_from(template.addresses.len()).is_ok_and(|known| known >= template.count)
        });
    let runs = template.is_some() || (!all_known && endpoint.is_of(id));
    runs.then_some(Runs { id, workload, template })
}

fn between(address: SocketAddr, endpoint: &Endpoint, runs: &Runs<'_>) -> Option<Mismatch> {
    let Runs { id, workload, template } = runs;
    let id = (*id).clone();
    let (proxy, unmeshed) = match template {
        Some(template) => (template.has_proxy(), !template.has_proxy()),
        None => (workload.meshed == Meshed::All, workload.meshed == Meshed::None),
    };
    match (&endpoint.identity, &workload.identity) {
        (Some(told), _) if unmeshed => {
            Some(Mismatch::Identity { address, workload: id, told: told.clone(), graph: None })
        }
        // Without the trust domain the graph has no identities at all.
        (Some(_), None) => None,
        (Some(told), Some(graph)) if told == graph => None,
        (Some(told), Some(graph)) => {
            Some(Mismatch::Identity { address, workload: id, told: told.clone(), graph: Some(graph.clone()) })
        }
        (None, _) if template.is_some_and(|template| template.skips(address.port())) => {
            Some(Mismatch::Skipped { address, workload: id })
        }
        (None, _) if proxy => Some(Mismatch::NoIdentity { address, workload: id }),
        (None, _) => Some(Mismatch::Unmeshed { address, workload: id }),
    }
}

/// Endpoints whose weight is not that of most; of weights that are equally frequent the largest counts as usual.
fn weights(told: &Told) -> impl Iterator<Item = Mismatch> + '_ {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for endpoint in told.endpoints.values() {
        *counts.entry(endpoint.weight).or_default() += 1;
    }
    let usual = counts.iter().max_by_key(|(weight, count)| (**count, **weight)).map(|(weight, _)| *weight);
    told.endpoints.iter().filter_map(move |(address, endpoint)| {
        let usual = usual.filter(|usual| *usual != endpoint.weight)?;
        Some(Mismatch::Weight { address: *address, weight: endpoint.weight, usual })
    })
}

// === impl Template ===

impl Template {
    /// True when calls to it go through a proxy. Of ExternalWorkloads all do.
    fn has_proxy(&self) -> bool {
        (self.proxy && !self.host_network) || self.external
    }

    /// True when calls to the port go past the proxy.
    fn skips(&self, port: u16) -> bool {
        let ports = self.annotations.get("config.linkerd.io/skip-inbound-ports");
        let ports = ports.and_then(|ports| ports.parse::<Ports>().ok());
        self.has_proxy() && ports.is_some_and(|ports| ports.contains(port))
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(|value| &**value).filter(|value| !value.is_empty())
    }

    /// True when this workload runs it. The controller follows a ReplicaSet or Job to its owner only where it knows the
    /// owner's kind; the names of those it does not follow begin with the owner's.
    fn is_of(&self, workload: &WorkloadId) -> bool {
        if self.label("namespace").is_some_and(|namespace| namespace != workload.namespace()) {
            return false;
        }
        let owner = OWNERS.iter().find_map(|(label, kind)| Some((*kind, self.label(label)?)));
        match owner {
            Some((kind @ ("replicaset" | "job"), name)) => {
                let of_owner =
                    || name.strip_prefix(workload.name()).is_some_and(|rest| rest.starts_with('-'));
                let same = workload.kind() == kind && workload.name() == name;
                same || (!matches!(workload.kind(), "replicaset" | "job" | "pod") && of_owner())
            }
            Some((kind, name)) => workload.kind() == kind && workload.name() == name,
            None => workload.kind() == "pod" && self.label("pod") == Some(workload.name()),
        }
    }

    /// What runs it by the controller's labels, as `kind/name` in the Service's namespace; none when it names nothing.
    pub fn owner(&self) -> Option<String> {
        OWNERS.iter().find_map(|(label, kind)| Some(format!("{kind}/{}", self.label(label)?)))
    }

    /// What the controller says it is: its owner, else its pod.
    fn target(&self) -> Text {
        let pod = self.label("pod").map(|pod| format!("pod/{pod}"));
        self.owner().or(pod).map_or_else(|| "nothing it names".into(), Text::from)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceNotTold { service } => {
                write!(f, "Service {service} exists, and Linkerd's destination controller does not know it")
            }
            Self::ServiceUnknown { service } => {
                write!(
                    f,
                    "Linkerd's destination controller knows Service {service}, which the graph does not"
                )
            }
            Self::EndpointUnknown { address, target } => write!(
                f,
                "proxies are told of {address} ({target}), which the graph has not among the workloads behind the Service"
            ),
            Self::WorkloadNotTold { workload, ready } => write!(
                f,
                "proxies are told of no endpoint of {workload}, which has {ready} ready pods behind the Service"
            ),
            Self::Identity { address, workload, told, graph: Some(graph) } => write!(
                f,
                "proxies demand the identity {told} of {address}, but {workload} has the identity {graph}"
            ),
            Self::Identity { address, workload, told, graph: None } => {
                write!(
                    f,
                    "proxies demand the identity {told} of {address}, but {workload} is not meshed there"
                )
            }
            Self::NoIdentity { address, workload } => write!(
                f,
                "proxies call {address} in plaintext although {workload} is meshed: the port may be in its \
                 skip-inbound-ports, or the pod belongs to another control plane"
            ),
            Self::Skipped { address, workload } => write!(
                f,
                "proxies call {address} in plaintext: the port is in the skip-inbound-ports of {workload}"
            ),
            Self::Unmeshed { address, workload } => {
                write!(f, "proxies call {address} in plaintext: {workload} has pods without a proxy")
            }
            Self::Weight { address, weight: 0, .. } => {
                write!(f, "{address} gets no calls: its weight is 0")
            }
            Self::Weight { address, weight, usual } => {
                write!(f, "{address} has the weight {weight}, most others have {usual}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
