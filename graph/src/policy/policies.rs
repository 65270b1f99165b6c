//! The policies of namespaces, read once and asked many times.

use super::{
    answer::{Answer, Server},
    cluster::PolicyCluster,
    server::{self, ServerPolicy, Workload},
    spec::{self, Fault},
};
use crate::{
    fact::{ExternalWorkload, Fact, Key, Pod, PolicyObject},
    facts::Facts,
    id::{PolicyId, Text},
    kind::Kind,
};
use ahash::AHashMap;
use std::collections::BTreeSet;

/// The label that the injector puts on a meshed pod.
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";

/// Policies ready for questions.
///
/// Reading them costs time for each object, a question only for the Servers of one namespace. Facts that change after
/// the reading are not seen.
#[derive(Debug)]
pub struct Policies {
    cluster: PolicyCluster,
    servers: AHashMap<Text, Vec<ServerPolicy>>,
    ignored: Vec<Ignored>,
}

/// An object that Linkerd does as if it were not there.
#[derive(Debug)]
pub struct Ignored {
    /// The object.
    pub id: PolicyId,
    /// Why.
    pub fault: Fault,
}

/// A pod or ExternalWorkload by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKey {
    /// A pod.
    Pod(Key),
    /// An ExternalWorkload.
    ExternalWorkload(Key),
}

/// A pod or ExternalWorkload.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A pod.
    Pod(&'a Pod),
    /// An ExternalWorkload.
    ExternalWorkload(&'a ExternalWorkload),
}

/// Oldest first, then by name. An object without a creation time is yet to be created, so it is younger than all.
pub(super) fn age(object: &PolicyObject) -> (i64, &Text) {
    (object.created_ms.unwrap_or(i64::MAX), &object.key.name)
}

// === impl Policies ===

impl Policies {
    /// Reads the policies of every namespace that has any.
    pub fn read(facts: &Facts, cluster: &PolicyCluster) -> Self {
        const KINDS: [Kind; 9] = [
            Kind::Server,
            Kind::ServerAuthorization,
            Kind::AuthorizationPolicy,
            Kind::MeshTLSAuthentication,
            Kind::NetworkAuthentication,
            Kind::HTTPLocalRateLimitPolicy,
            Kind::LinkerdHTTPRoute,
            Kind::GatewayHTTPRoute,
            Kind::GRPCRoute,
        ];
        let namespaces: BTreeSet<&Text> =
            KINDS.iter().flat_map(|kind| facts.all(*kind)).map(|fact| &fact.key().namespace).collect();
        let mut policies = Self::empty(cluster);
        for namespace in namespaces {
            policies.read_namespace(facts, namespace);
        }
        policies
    }

    /// Reads the policies of one namespace (and what they refer to in others): enough for questions about its
    /// workloads.
    pub fn of_namespace(facts: &Facts, cluster: &PolicyCluster, namespace: &str) -> Self {
        let mut policies = Self::empty(cluster);
        policies.read_namespace(facts, &namespace.into());
        policies
    }

    fn empty(cluster: &PolicyCluster) -> Self {
        Self { cluster: cluster.clone(), servers: AHashMap::new(), ignored: Vec::new() }
    }

    fn read_namespace(&mut self, facts: &Facts, namespace: &Text) {
        let servers = server::in_namespace(facts, &self.cluster, namespace, &mut self.ignored);
        self.ignored.extend(ignored_authentications(facts, &self.cluster, namespace));
        if !servers.is_empty() {
            self.servers.insert(namespace.clone(), servers);
        }
    }

    /// The control plane's settings.
    pub fn cluster(&self) -> &PolicyCluster {
        &self.cluster
    }

    /// The objects that Linkerd ignores, each with the reason.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// What Linkerd's policy controller answers for a port of a workload.
    pub fn answer(&self, facts: &Facts, workload: &WorkloadKey, port: u32) -> Answer {
        let Some(port) = u16::try_from(port).ok().filter(|port| *port != 0) else {
            return Answer::InvalidArgument;
        };
        match Target::find(facts, workload) {
            Some(target) if target.in_mesh() => Answer::Ok(self.server(target, port)),
            _ => Answer::NotFound,
        }
    }

    /// The inbound server of a port (not 0) of a workload, in the mesh or not.
    pub fn server(&self, target: Target<'_>, port: u16) -> Server {
        let workload = target.workload();
        match self.selecting(&target, port).next() {
            Some(server) => server.answer(&workload, port, &self.cluster),
            None => server::default_server(&workload, port, &self.cluster),
        }
    }

    /// The names of all Servers that select a port: the first decides, the others are shadowed.
    pub fn servers_selecting<'a>(
        &'a self,
        target: &'a Target<'a>,
        port: u16,
    ) -> impl Iterator<Item = &'a Text> + 'a {
        self.selecting(target, port).map(|server| &server.name)
    }

    fn selecting<'a>(
        &'a self,
        target: &Target<'a>,
        port: u16,
    ) -> impl Iterator<Item = &'a ServerPolicy> + 'a + use<'a> {
        let workload: Workload<'a> = target.workload();
        let servers = self.servers.get(&target.key().namespace).into_iter().flatten();
        servers.filter(move |server| server.selects(&workload, port))
    }
}

/// Authentications that nothing can refer to.
fn ignored_authentications(facts: &Facts, cluster: &PolicyCluster, namespace: &str) -> Vec<Ignored> {
    let mesh_tls = facts.policies(Kind::MeshTLSAuthentication, namespace).filter_map(|object| {
        let fault = spec::mesh_tls_authentication(&object.spec, namespace, cluster).err()?;
        Some(Ignored::new(object, fault))
    });
    let networks = facts.policies(Kind::NetworkAuthentication, namespace).filter_map(|object| {
        let fault = spec::network_authentication(&object.spec).err()?;
        Some(Ignored::new(object, fault))
    });
    mesh_tls.chain(networks).collect()
}

// === impl Ignored ===

impl Ignored {
    pub(super) fn new(object: &PolicyObject, fault: Fault) -> Self {
        Self {
            id: PolicyId::new(object.kind.policy_prefix(), &object.key.namespace, &object.key.name),
            fault,
        }
    }
}

// === impl WorkloadKey ===

impl WorkloadKey {
    /// Namespace and name.
    pub fn key(&self) -> &Key {
        match self {
            Self::Pod(key) | Self::ExternalWorkload(key) => key,
        }
    }
}

// === impl Target ===

impl<'a> Target<'a> {
    /// Finds a workload by name.
    pub fn find(facts: &'a Facts, workload: &WorkloadKey) -> Option<Self> {
        match workload {
            WorkloadKey::Pod(key) => facts.pod(key).map(|pod| Self::Pod(pod)),
            WorkloadKey::ExternalWorkload(key) => match facts.get(Kind::ExternalWorkload, key) {
                Some(Fact::ExternalWorkload(external)) => Some(Self::ExternalWorkload(external)),
                _ => None,
            },
        }
    }

    /// Namespace and name.
    pub fn key(&self) -> &'a Key {
        match self {
            Self::Pod(pod) => &pod.key,
            Self::ExternalWorkload(external) => &external.key,
        }
    }

    /// True when the policy controller knows it: an ExternalWorkload always, a pod by a label, whatever its value,
    /// its phase or its network.
    pub fn in_mesh(&self) -> bool {
        match self {
            Self::Pod(pod) => pod.labels.contains_key(CONTROL_PLANE),
            Self::ExternalWorkload(_) => true,
        }
    }

    /// The ports that something is said about: those it declares, those it is probed at, every number in its
    /// annotations on ports, and every number that a Server of its namespace names. Not all need be ports.
    pub fn ports(&self, facts: &Facts) -> BTreeSet<u32> {
        let workload = self.workload();
        let declared = workload.ports.iter().map(|port| u32::from(port.port));
        let probed = workload.probes.iter().map(|probe| u32::from(probe.port));
        let on_ports = workload.annotations.iter().filter(|(name, _)| name.contains("port"));
        let annotated = on_ports.flat_map(|(_, text)| {
            let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            numbers.filter_map(|digits| digits.parse().ok())
        });
        let served = facts
            .policies(Kind::Server, &self.key().namespace)
            .filter_map(|server| u32::try_from(server.spec.get("port")?.as_u64()?).ok());
        declared.chain(probed).chain(annotated).chain(served).collect()
    }

    /// What policy looks at.
    pub(super) fn workload(&self) -> Workload<'a> {
        match self {
            Self::Pod(pod) => Workload {
                labels: &pod.labels,
                annotations: &pod.annotations,
                ports: &pod.ports,
                probes: &pod.probes,
                external: false,
            },
            Self::ExternalWorkload(external) => Workload {
                labels: &external.labels,
                annotations: &external.annotations,
                ports: &external.ports,
                probes: &[],
                external: true,
            },
        }
    }
}
