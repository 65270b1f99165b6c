//! The policies of namespaces, read once and asked many times.

use super::{
    answer::{Answer, Server},
    cluster::PolicyCluster,
    objects::{ObjectChange, Objects},
    server::{self, ServerPolicy, Workload},
    spec::{self, AuthorizationPolicySpec, Fault, Port, Required, Selected},
};
use crate::{
    fact::{ExternalWorkload, Fact, Key, Pod, PolicyObject},
    facts::Facts,
    id::{PolicyId, Text},
    kind::Kind,
    model::Template,
};
use ahash::AHashMap;
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// The label that the injector puts on a meshed pod.
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";

/// Policies ready for questions.
///
/// Reading them costs time for each object, a question only for the Servers that may select one workload. A copy
/// shares everything; [`Policies::changed`] reads anew what a change bears on and nothing else.
#[derive(Debug, Clone)]
pub struct Policies {
    cluster: Arc<PolicyCluster>,
    objects: Objects,
    namespaces: OrdMap<Text, Arc<Namespace>>,
}

/// The policies of one namespace.
#[derive(Debug)]
struct Namespace {
    /// The one that wins a port first.
    servers: Vec<ServerPolicy>,
    candidates: Candidates,
    ignored: Vec<Ignored>,
    /// The namespaces of the authentications that its policies refer to.
    refers_to: BTreeSet<Text>,
}

/// Which Servers of a namespace can select a workload at all, by one label that they ask for.
#[derive(Debug, Default)]
struct Candidates {
    by_label: AHashMap<String, AHashMap<String, Vec<usize>>>,
    /// Servers that ask for no label in particular.
    others: Vec<usize>,
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
    /// What a workload's pods have in common.
    Template(&'a Key, &'a Template),
}

/// Oldest first, then by name. An object without a creation time is yet to be created, so it is younger than all.
pub(super) fn age(object: &PolicyObject) -> (i64, &Text) {
    (object.created_ms.unwrap_or(i64::MAX), &object.key.name)
}

// === impl Policies ===

impl Policies {
    /// Reads the policies of every namespace that has any.
    pub fn read(facts: &Facts, cluster: &PolicyCluster) -> Self {
        Self::of(Objects::of_facts(facts), cluster)
    }

    /// Reads the policies of every namespace that has any.
    pub fn of(objects: Objects, cluster: &PolicyCluster) -> Self {
        let namespaces = objects.namespaces();
        let mut policies = Self { cluster: Arc::new(cluster.clone()), objects, namespaces: OrdMap::new() };
        for namespace in &namespaces {
            policies.read_namespace(namespace);
        }
        policies
    }

    /// Reads the policies of one namespace (and what they refer to in others): enough for questions about its
    /// workloads.
    pub fn of_namespace(facts: &Facts, cluster: &PolicyCluster, namespace: &str) -> Self {
        let objects = Objects::of_facts(facts);
        let mut policies = Self { cluster: Arc::new(cluster.clone()), objects, namespaces: OrdMap::new() };
        policies.read_namespace(&namespace.into());
        policies
    }

    /// The policies after these changes. What they do not bear on is shared with these.
    pub fn changed(&self, changes: impl IntoIterator<Item = ObjectChange>) -> Self {
        let mut next = self.clone();
        let mut touched = BTreeSet::new();
        for ObjectChange { kind, key, object } in changes {
            touched.insert(key.namespace.clone());
            let old = next.objects.remove(kind, &key);
            for object in old.iter().chain(&object).filter(|object| object.kind == Kind::GRPCRoute) {
                let parents = spec::parents_of(&object.spec, &object.key.namespace);
                touched.extend(parents.into_iter().map(|parent| parent.namespace));
            }
            if matches!(kind, Kind::MeshTLSAuthentication | Kind::NetworkAuthentication) {
                let refers =
                    |(_, namespace): &(&Text, &Arc<Namespace>)| namespace.refers_to.contains(&key.namespace);
                touched.extend(self.namespaces.iter().filter(refers).map(|(name, _)| name.clone()));
            }
            if let Some(object) = object {
                next.objects.put(object);
            }
        }
        for namespace in &touched {
            next.read_namespace(namespace);
        }
        next
    }

    fn read_namespace(&mut self, name: &Text) {
        let mut ignored = Vec::new();
        let servers = server::in_namespace(&self.objects, &self.cluster, name, &mut ignored);
        ignored.extend(ignored_authentications(&self.objects, &self.cluster, name));
        let refers_to = refers_to(&self.objects, name);
        if servers.is_empty() && ignored.is_empty() && refers_to.is_empty() {
            self.namespaces.remove(name);
        } else {
            let candidates = Candidates::of(&servers);
            let namespace = Namespace { servers, candidates, ignored, refers_to };
            self.namespaces.insert(name.clone(), Arc::new(namespace));
        }
    }

    /// The namespaces whose AuthorizationPolicies refer to authentications of this one.
    pub(crate) fn referring_to<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Text> {
        let refers = move |(_, other): &(&Text, &Arc<Namespace>)| other.refers_to.contains(namespace);
        self.namespaces.iter().filter(refers).map(|(name, _)| name)
    }

    /// The objects themselves.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The control plane's settings.
    pub fn cluster(&self) -> &PolicyCluster {
        &self.cluster
    }

    /// The objects that Linkerd ignores, each with the reason.
    pub fn ignored(&self) -> impl Iterator<Item = &Ignored> {
        self.namespaces.values().flat_map(|namespace| &namespace.ignored)
    }

    /// The same of one namespace.
    pub fn ignored_in(&self, namespace: &str) -> &[Ignored] {
        self.namespaces.get(namespace).map_or(&[], |namespace| &namespace.ignored)
    }

    /// What Linkerd's policy controller answers for a port of a workload.
    pub fn answer(&self, facts: &Facts, workload: &WorkloadKey, port: u32) -> Answer {
        let Some(port) = u16::try_from(port).ok().filter(|port| *port != 0) else {
            return Answer::InvalidArgument;
        };
        match Target::find(facts, workload) {
            Some(target) => self.answer_of(target, port.into()),
            None => Answer::NotFound,
        }
    }

    /// The same for a workload that is at hand.
    pub fn answer_of(&self, target: Target<'_>, port: u32) -> Answer {
        match u16::try_from(port).ok().filter(|port| *port != 0) {
            None => Answer::InvalidArgument,
            Some(port) if target.in_mesh() => Answer::Ok(self.server(target, port)),
            Some(_) => Answer::NotFound,
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

    /// The ports that Servers select by number in the workload.
    pub(super) fn served_ports(&self, target: &Target<'_>) -> Vec<u16> {
        let workload = target.workload();
        let Some(namespace) = self.namespaces.get(&target.key().namespace) else { return Vec::new() };
        let places = namespace.candidates.of_workload(&workload);
        let servers = places.into_iter().filter_map(|at| namespace.servers.get(at));
        servers
            .filter(|server| server.spec.selects_workload(workload.external, workload.labels))
            .filter_map(|server| match &server.spec.port {
                Port::Number(port) => Some(port.get()),
                Port::Name(_) => None,
            })
            .collect()
    }

    /// The Servers of a namespace that can be read, the one that wins a port first, with the namespace's name; `None`
    /// when it has no policies.
    pub(super) fn servers_in(&self, namespace: &str) -> Option<(&Text, &[ServerPolicy])> {
        let namespace = self.namespaces.get_key_value(namespace)?;
        Some((namespace.0, &namespace.1.servers))
    }

    /// The places in [`Self::servers_in`] of the Servers that select the workload by its labels, whatever their port.
    pub(super) fn places_of_servers(&self, target: &Target<'_>) -> Vec<usize> {
        let workload = target.workload();
        let Some(namespace) = self.namespaces.get(&target.key().namespace) else { return Vec::new() };
        let mut places = namespace.candidates.of_workload(&workload);
        let selects =
            |server: &ServerPolicy| server.spec.selects_workload(workload.external, workload.labels);
        places.retain(|at| namespace.servers.get(*at).is_some_and(selects));
        places
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
        let namespace = self.namespaces.get(&target.key().namespace);
        let candidates = namespace.map(|namespace| namespace.candidates.of_workload(&workload));
        let servers = namespace.map_or(&[][..], |namespace| &namespace.servers);
        candidates
            .into_iter()
            .flatten()
            .filter_map(|at| servers.get(at))
            .filter(move |server| server.selects(&workload, port))
    }
}

// === impl Candidates ===

impl Candidates {
    fn of(servers: &[ServerPolicy]) -> Self {
        let mut candidates = Self::default();
        for (at, server) in servers.iter().enumerate() {
            let (Selected::Pods(selector) | Selected::ExternalWorkloads(selector)) = &server.spec.selected;
            let wanted = selector.match_labels.iter().flatten().next();
            let list = match wanted {
                Some((name, value)) => {
                    candidates.by_label.entry(name.clone()).or_default().entry(value.clone()).or_default()
                }
                None => &mut candidates.others,
            };
            list.push(at);
        }
        candidates
    }

    /// Places of Servers in their order; some of them may select the workload, all others do not.
    fn of_workload(&self, workload: &Workload<'_>) -> Vec<usize> {
        let mut places = self.others.clone();
        for (name, by_value) in &self.by_label {
            let value = workload.labels.get(name.as_str());
            places.extend(value.and_then(|value| by_value.get(&**value)).into_iter().flatten());
        }
        places.sort_unstable();
        places
    }
}

/// Authentications that nothing can refer to.
fn ignored_authentications(objects: &Objects, cluster: &PolicyCluster, namespace: &str) -> Vec<Ignored> {
    let mesh_tls = objects.policies(Kind::MeshTLSAuthentication, namespace).filter_map(|object| {
        let fault = spec::mesh_tls_authentication(&object.spec, namespace, cluster).err()?;
        Some(Ignored::new(object, fault))
    });
    let networks = objects.policies(Kind::NetworkAuthentication, namespace).filter_map(|object| {
        let fault = spec::network_authentication(&object.spec).err()?;
        Some(Ignored::new(object, fault))
    });
    mesh_tls.chain(networks).collect()
}

fn refers_to(objects: &Objects, namespace: &str) -> BTreeSet<Text> {
    let refs = |object: &Arc<PolicyObject>| {
        let spec = AuthorizationPolicySpec::read(&object.spec, namespace).ok()?;
        let namespaces = spec.required.into_iter().filter_map(|required| match required {
            Required::MeshTls(key) | Required::Network(key) => Some(key.namespace),
            Required::ServiceAccount(_) => None,
        });
        Some(namespaces.collect::<Vec<_>>())
    };
    objects.policies(Kind::AuthorizationPolicy, namespace).filter_map(refs).flatten().collect()
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
            Self::Template(key, _) => key,
        }
    }

    /// True when the policy controller knows it: an ExternalWorkload always, a pod by a label, whatever its value,
    /// its phase or its network.
    pub fn in_mesh(&self) -> bool {
        match self {
            Self::Pod(pod) => pod.labels.contains_key(CONTROL_PLANE),
            Self::ExternalWorkload(_) => true,
            Self::Template(_, template) => template.external || template.labels.contains_key(CONTROL_PLANE),
        }
    }

    /// The ports that something is said about: those it declares, those it is probed at, every number in its
    /// annotations on ports, and every number that a Server of its namespace names. Not all need be ports.
    pub fn ports(&self, objects: &Objects) -> BTreeSet<u32> {
        let workload = self.workload();
        let declared = workload.ports.iter().map(|port| u32::from(port.port));
        let probed = workload.probes.iter().map(|probe| u32::from(probe.port));
        let on_ports = workload.annotations.iter().filter(|(name, _)| name.contains("port"));
        let annotated = on_ports.flat_map(|(_, text)| {
            let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            numbers.filter_map(|digits| digits.parse().ok())
        });
        let served = objects
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
            Self::Template(_, template) => Workload {
                labels: &template.labels,
                annotations: &template.annotations,
                ports: &template.ports,
                probes: &template.probes,
                external: template.external,
            },
        }
    }
}
