//! What the graph is: nodes, edges and policies in ordered maps keyed by stable ids.
//!
//! The maps are persistent: a copy of a graph shares all that did not change with the original, so readers keep an
//! old one while a new one is made. Numbers of edges are not here but in [`crate::metrics`]: nearly all of them
//! change at every poll, while this changes when the mesh does.

use crate::{
    fact::{ContainerPort, Labels, Probe},
    id::{Destination, EdgeId, ExternalId, ObjectId, PolicyId, ServiceId, Source, Text, WorkloadId, as_text},
    kind::Kind,
    policy::PolicyCluster,
    status::TopologyStatus,
    wire::{FNV1A, fnv1a_of_all},
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};

/// The mesh at one moment, without numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Graph {
    /// Services by `namespace/name`.
    pub services: OrdMap<ServiceId, Arc<Service>>,
    /// Workloads by `namespace/kind/name`.
    pub workloads: OrdMap<WorkloadId, Arc<Workload>>,
    /// Destinations outside the cluster by `host:port`.
    pub externals: OrdMap<ExternalId, Arc<External>>,
    /// Edges by `source->destination`.
    pub edges: OrdMap<EdgeId, Arc<Edge>>,
    /// AuthorizationPolicies by `namespace/name`.
    pub auth_policies: OrdMap<ObjectId, Arc<Policy>>,
    /// Every other policy object and route by `kind/namespace/name`.
    pub policies: OrdMap<PolicyId, Arc<Policy>>,
    /// Namespaces by name.
    pub namespaces: OrdMap<Text, Arc<Namespace>>,
    /// Which kinds are synced.
    pub status: Arc<TopologyStatus>,
    /// What the control plane is configured with, where it bears on policy; absent when it could not be read.
    pub cluster: Option<Arc<PolicyCluster>>,
}

/// How many of a node's pods carry a Linkerd proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meshed {
    /// None of them, or it has no pods.
    #[default]
    None,
    /// Some, not all.
    Some,
    /// All of them.
    All,
}

/// A Namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// The Linkerd extension that lives there, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Text>,
}

/// A Kubernetes Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Share of the pods behind it that are meshed.
    pub meshed: Meshed,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Workloads behind it, sorted.
    pub workloads: Vec<WorkloadId>,
    /// `namespace/name@cluster` of the Service it mirrors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_of: Option<Text>,
    /// A ServiceProfile exists for it; it then takes precedence over routes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service_profile: bool,
    /// ClusterIPs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<IpAddr>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Number.
    pub port: u16,
    /// Name; empty when unnamed.
    #[serde(default)]
    pub name: Text,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text,
    /// Container port number or name.
    pub target: Text,
    /// Marked opaque on the Service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
}

/// What runs pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Share of its pods that are meshed.
    pub meshed: Meshed,
    /// Pods that have not ended.
    pub pods: u32,
    /// Of these, with a proxy.
    pub pods_meshed: u32,
    /// Of these, ready.
    pub pods_ready: u32,
    /// ServiceAccount of its pods.
    pub service_account: Text,
    /// Mesh identity its proxies present; absent when unmeshed, or when the trust domain is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Text>,
    /// Services in front of it, sorted.
    pub services: Vec<ServiceId>,
    /// Servers that select a port of its pods, sorted.
    pub servers: Vec<PolicyId>,
    /// Authorizations that bear on those Servers or their routes, sorted.
    pub policies: Vec<PolicyId>,
    /// Declared ports, those of native sidecars included.
    pub ports: Vec<WorkloadPort>,
    /// Pod annotation `config.linkerd.io/default-inbound-policy`; absent means the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_inbound_policy: Option<Text>,
    /// Labels of its pods, where they all agree.
    #[serde(skip_serializing_if = "labels_empty")]
    pub labels: Labels,
    /// What policy looks at of its pods that have not ended, in the order of the names of their first pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Template>,
}

/// What policy looks at of a workload's pods or ExternalWorkloads. Those that are alike to policy share one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Template {
    /// The first of them by name.
    pub first: Text,
    /// Their addresses, in the order of their names; one that is not known is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// How many they are.
    pub count: u32,
    /// Labels.
    #[serde(skip_serializing_if = "labels_empty")]
    pub labels: Labels,
    /// The annotations that bear on policy, see [`crate::fact::Pod`].
    #[serde(skip_serializing_if = "labels_empty")]
    pub annotations: Labels,
    /// Declared ports, those of the proxy included: Servers select them too.
    #[serde(skip_serializing_if = "ports_empty")]
    pub ports: Arc<[ContainerPort]>,
    /// Where the kubelet probes over HTTP.
    #[serde(skip_serializing_if = "probes_empty")]
    pub probes: Arc<[Probe]>,
    /// Its traffic goes through a Linkerd proxy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy: bool,
    /// Runs in the host's network, so it is never meshed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Stands for ExternalWorkloads.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

fn ports_empty(ports: &Arc<[ContainerPort]>) -> bool {
    ports.is_empty()
}

fn probes_empty(probes: &Arc<[Probe]>) -> bool {
    probes.is_empty()
}

fn labels_empty(labels: &Labels) -> bool {
    labels.is_empty()
}

/// A declared container port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkloadPort {
    /// Number.
    pub port: u16,
    /// Name; empty when unnamed.
    #[serde(default)]
    pub name: Text,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text,
}

/// A destination outside the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct External {
    /// The EgressNetwork that covers it, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_network: Option<ObjectId>,
}

/// What an edge carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1 or HTTP/2.
    Http,
    /// gRPC.
    Grpc,
    /// Bytes the proxies do not look into.
    Tcp,
}

/// Whose proxy counted the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObservedBy {
    /// The client's: the usual case.
    Client,
    /// Only the server's: the client is unmeshed, in another cluster, or not scraped.
    Server,
}

/// Whether an edge is mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "tls", rename_all = "lowercase")]
pub enum Tls {
    /// All traffic is.
    Mutual,
    /// Some or all is not; the reason as the proxy gives it.
    No {
        /// For example `not_provided_by_service_discovery`.
        reason: Text,
    },
    /// No series says.
    Unknown,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Caller.
    #[serde(with = "as_text")]
    pub src: Source,
    /// Callee.
    #[serde(with = "as_text")]
    pub dst: Destination,
    /// What it carries.
    pub protocol: Protocol,
    /// Mutual TLS or not.
    #[serde(flatten)]
    pub tls: Tls,
    /// The identity the client presents; absent when unmeshed or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_identity: Option<Text>,
    /// Identities the servers proved, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_identities: Vec<Text>,
    /// What answered: workloads, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadId>,
    /// For a Service whose route sends requests elsewhere: the Services they were sent to, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<ServiceId>,
    /// Whose proxy counted.
    pub observed_by: ObservedBy,
    /// For an identity several workloads share: those workloads, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<WorkloadId>,
    /// The cluster that a mirrored Service leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cluster: Option<Text>,
}

/// A policy object or route as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Kind.
    pub kind: Kind,
    /// `group/version` as served.
    pub api_version: Text,
    /// Creation time in milliseconds since the Unix epoch; Linkerd breaks ties by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// Labels.
    #[serde(default, skip_serializing_if = "labels_empty")]
    pub labels: Labels,
    /// The spec, unchanged.
    pub spec: Arc<Value>,
    /// The status, unchanged; null when there is none.
    #[serde(default, skip_serializing_if = "is_null")]
    pub status: Arc<Value>,
}

fn is_null(value: &Arc<Value>) -> bool {
    value.is_null()
}

// === impl Meshed ===

impl Meshed {
    /// From how many pods there are and how many of them are meshed.
    pub fn of(pods: u32, meshed: u32) -> Self {
        match meshed {
            0 => Self::None,
            _ if meshed >= pods => Self::All,
            _ => Self::Some,
        }
    }
}

// === impl Graph ===

impl Graph {
    /// The edge with this id.
    pub fn edge(&self, id: &EdgeId) -> Option<&Arc<Edge>> {
        self.edges.get(id)
    }

    /// XOR of the FNV-1a 64 hashes of the edge ids: equal sets of edges have equal hashes, in any order.
    pub fn edges_hash(&self) -> u64 {
        let (_, hash) = fnv1a_of_all(FNV1A, self.edges.keys().map(EdgeId::as_str));
        hash
    }
}
