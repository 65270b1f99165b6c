//! What one Kubernetes object told us, trimmed to what the graph needs. No Kubernetes types: the controller's
//! `watch/<kind>.rs` turns objects into these.

use crate::{id::Text, kind::Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Namespace (empty for cluster-scoped kinds) and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Text,
    /// Name.
    pub name: Text,
}

/// Labels or annotations; objects made from one template share one map.
pub type Labels = Arc<BTreeMap<Text, Text>>;

/// One watched object.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A ReplicaSet or Job: what stands between a pod and its topmost owner.
    Owner(Arc<Owner>),
    /// A ServiceAccount; only its existence matters.
    ServiceAccount(Arc<Key>),
    /// Any policy.linkerd.io kind or Gateway API route, with its spec.
    Policy(Arc<PolicyObject>),
    /// A ServiceProfile; only its existence matters, its name is the Service's DNS name.
    ServiceProfile(Arc<Key>),
    /// A workload outside the cluster that is in the mesh.
    ExternalWorkload(Arc<ExternalWorkload>),
    /// A multicluster Link.
    Link(Arc<Link>),
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// Its name; the namespace part is empty.
    pub key: Key,
    /// Label `linkerd.io/extension`, where set.
    pub extension: Option<Text>,
    /// Annotation `viz.linkerd.io/external-prometheus`, where set.
    pub external_prometheus: Option<Text>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Namespace and name.
    pub key: Key,
    /// Ports in order.
    pub ports: Vec<ServicePort>,
    /// ClusterIPs; empty for headless Services.
    pub cluster_ips: Vec<IpAddr>,
    /// Annotation `config.linkerd.io/opaque-ports`, unparsed.
    pub opaque_ports: Option<Text>,
    /// `namespace/name@cluster` of the Service it mirrors, from the multicluster labels.
    pub mirror_of: Option<Text>,
    /// Name of the external host, for type ExternalName.
    pub external_name: Option<Text>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePort {
    /// Port number clients use.
    pub port: u16,
    /// Name; empty when unnamed.
    pub name: Text,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text,
    /// Container port number or name.
    pub target: Text,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: Key,
    /// The Service it belongs to (label `kubernetes.io/service-name`); without one it is of no use to us.
    pub service: Option<Text>,
    /// What its endpoints stand for. Endpoints that are bare addresses are left out, and so is what the objects say
    /// themselves: address and readiness.
    pub targets: Vec<EndpointTarget>,
}

/// The object behind an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum EndpointTarget {
    /// A pod of the slice's namespace.
    Pod(Text),
    /// An ExternalWorkload of the slice's namespace.
    ExternalWorkload(Text),
}

/// Kind and name of a controlling owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerRef {
    /// Kind as in manifests, for example `ReplicaSet`.
    pub kind: Text,
    /// Name.
    pub name: Text,
}

/// How a pod carries a Linkerd proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// None: unmeshed.
    Absent,
    /// A regular container `linkerd-proxy`.
    Container,
    /// An init container `linkerd-proxy` with restartPolicy Always (the default since Linkerd 2.20).
    NativeSidecar,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// The controlling owner.
    pub owner: Option<OwnerRef>,
    /// ServiceAccount.
    pub service_account: Text,
    /// Pod IPs.
    pub ips: Vec<IpAddr>,
    /// Labels, for selectors.
    pub labels: Labels,
    /// Annotations under `config.linkerd.io/` that bear on policy: default-inbound-policy, skip-inbound-ports,
    /// opaque-ports, proxy-require-identity-inbound-ports, skip-outbound-ports.
    pub annotations: Labels,
    /// Label `linkerd.io/control-plane-ns`: the control plane that injected it.
    pub control_plane: Option<Text>,
    /// How it carries a proxy.
    pub proxy: Proxy,
    /// Declared container ports, those of native sidecars included.
    pub ports: Arc<[ContainerPort]>,
    /// Where the kubelet probes over HTTP: Linkerd lets these requests in by itself. In order, each once.
    pub probes: Arc<[Probe]>,
    /// Condition Ready.
    pub ready: bool,
    /// Phase Succeeded or Failed: it takes no part in the mesh any more.
    pub ended: bool,
    /// Runs in the host's network: it is never meshed and its IP is the node's.
    pub host_network: bool,
}

/// A declared container port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerPort {
    /// Number.
    pub port: u16,
    /// Name; empty when unnamed.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub name: Text,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text,
}

/// An HTTP probe of a container, its port looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Probe {
    /// Port number.
    pub port: u16,
    /// Path without its query, as Linkerd's policy controller reads it; empty when it does not begin with a slash.
    pub path: Text,
}

/// A ReplicaSet or Job.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// `ReplicaSet` or `Job`.
    pub kind: Kind,
    /// Namespace and name.
    pub key: Key,
    /// Its own controlling owner.
    pub owner: Option<OwnerRef>,
}

/// A policy object or route.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyObject {
    /// Which kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: Key,
    /// API version, `group/version`, as served.
    pub api_version: Text,
    /// Labels: ServerAuthorizations select Servers by them.
    pub labels: Labels,
    /// Creation time, milliseconds since the Unix epoch: Linkerd breaks ties between Servers by it.
    pub created_ms: Option<i64>,
    /// The spec as it is.
    pub spec: Arc<Value>,
    /// The status as it is (routes: accepted parents); null when there is none.
    pub status: Arc<Value>,
}

/// An ExternalWorkload.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalWorkload {
    /// Namespace and name.
    pub key: Key,
    /// `spec.meshTLS.identity`.
    pub identity: Option<Text>,
    /// `spec.meshTLS.serverName`.
    pub server_name: Option<Text>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Arc<[ContainerPort]>,
    /// Labels, for selectors.
    pub labels: Labels,
    /// The annotations that a [`Pod`] keeps as well.
    pub annotations: Labels,
    /// Condition Ready.
    pub ready: bool,
    /// The controlling owner (an ExternalGroup of vendors' distributions).
    pub owner: Option<OwnerRef>,
}

/// A multicluster Link.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Namespace and name.
    pub key: Key,
    /// `spec.targetClusterName`.
    pub target_cluster: Text,
    /// `spec.gatewayIdentity`.
    pub gateway_identity: Option<Text>,
}

// === impl Key ===

impl Key {
    /// A namespaced key.
    pub fn new(namespace: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

// === impl Fact ===

impl Fact {
    /// The kind of object it came from.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Owner(owner) => owner.kind,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::Policy(policy) => policy.kind,
            Self::ServiceProfile(_) => Kind::ServiceProfile,
            Self::ExternalWorkload(_) => Kind::ExternalWorkload,
            Self::Link(_) => Kind::Link,
        }
    }

    /// Namespace and name of the object it came from.
    pub fn key(&self) -> &Key {
        match self {
            Self::Namespace(fact) => &fact.key,
            Self::Service(fact) => &fact.key,
            Self::EndpointSlice(fact) => &fact.key,
            Self::Pod(fact) => &fact.key,
            Self::Owner(fact) => &fact.key,
            Self::ServiceAccount(key) | Self::ServiceProfile(key) => key,
            Self::Policy(fact) => &fact.key,
            Self::ExternalWorkload(fact) => &fact.key,
            Self::Link(fact) => &fact.key,
        }
    }
}

// === impl Pod ===

impl Pod {
    /// True when its traffic goes through a Linkerd proxy.
    pub fn meshed(&self) -> bool {
        self.proxy != Proxy::Absent && !self.host_network
    }
}

/// What happened to one kind: the three verbs every watch speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An object appeared or changed.
    Apply(Fact),
    /// An object is gone.
    Delete(Kind, Key),
    /// A full list: these and only these objects of the kind exist.
    Reset(Kind, Vec<Fact>),
}
