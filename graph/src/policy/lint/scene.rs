//! What the checks look at, read once: who selects what, which authorizations and routes hang where.

use super::words;
use crate::{
    fact::{Key, PolicyObject},
    id::{PolicyId, Text, WorkloadId},
    kind::Kind,
    model::{Template, Workload},
    policy::{
        Client,
        answer::{Authorization, Metadata},
        ask::Mesh,
        objects::INBOUND,
        policies::{Ignored, Policies, Target},
        server::ServerPolicy,
        spec::{AuthorizationPolicySpec, Fault, Port, ProxyProtocol},
        verdict::{Origin, Reason, Request, Verdict, origin},
    },
    query,
};
use ahash::{AHashMap, AHashSet};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// How many names are compared with misspelt ones before suggestions stop.
const COMPARISONS: usize = 20_000;

/// The most addresses that one client is tried with.
const ADDRESSES: usize = 8;

/// The policies of a mesh, or of one namespace of it, and what they select.
pub(super) struct Scene<'a> {
    pub(super) mesh: Mesh<'a>,
    pub(super) namespace: Option<&'a str>,
    /// In the order of their workloads.
    pub(super) pods: Vec<Pods<'a>>,
    /// By namespace, and in it the one that wins a port first.
    pub(super) servers: Vec<Seen<'a>>,
    places: AHashMap<&'a str, AHashMap<&'a str, usize>>,
    faults: AHashMap<&'a PolicyId, &'a Fault>,
    /// AuthorizationPolicies that can be read, in scope or not.
    pub(super) authorization_policies: Vec<Written<'a, AuthorizationPolicySpec>>,
    /// Authorizations that hold on a Server or a route of one.
    authorized: AHashSet<PolicyId>,
    /// Of these, the ones that hold on a Server that has a port.
    effective: AHashSet<PolicyId>,
    /// Routes attached to a Server, by its place.
    attached: AHashSet<(usize, PolicyId)>,
    comparisons: Cell<usize>,
    /// How often anything was compared with anything: what a test holds against the size of the mesh.
    steps: Cell<usize>,
}

/// An object with its spec.
pub(super) struct Written<'a, S> {
    pub(super) id: PolicyId,
    pub(super) object: &'a Arc<PolicyObject>,
    pub(super) spec: S,
}

/// Pods of one workload that are alike.
pub(super) struct Pods<'a> {
    pub(super) id: &'a WorkloadId,
    pub(super) template: &'a Template,
    key: Key,
    /// The ports that containers declare and those that Servers select, with the Servers, the winner first.
    pub(super) ports: BTreeMap<u16, Vec<usize>>,
}

/// A Server that can be read.
pub(super) struct Seen<'a> {
    pub(super) id: PolicyId,
    pub(super) namespace: &'a Text,
    pub(super) policy: &'a ServerPolicy,
    /// Pods with labels that it selects.
    pub(super) labelled: Vec<usize>,
    /// Their ports that it selects.
    pub(super) takes: Vec<Take>,
}

/// A port that a Server selects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Take {
    pub(super) pods: usize,
    pub(super) port: u16,
    /// The place of the Server that has the port.
    pub(super) winner: usize,
}

// === impl Scene ===

impl<'a> Scene<'a> {
    pub(super) fn of(mesh: &Mesh<'a>, namespace: Option<&'a str>) -> Self {
        let objects = mesh.policies.objects();
        let names: BTreeSet<Text> = match namespace {
            Some(namespace) => [namespace.into()].into(),
            None => objects.namespaces(),
        };
        let mut scene = Self {
            mesh: *mesh,
            namespace,
            pods: Vec::new(),
            servers: Vec::new(),
            places: AHashMap::new(),
            faults: mesh.policies.ignored().map(|ignored| (&ignored.id, &ignored.fault)).collect(),
            authorization_policies: in_reach(mesh.policies, namespace)
                .filter_map(|object| {
                    let spec = AuthorizationPolicySpec::read(&object.spec, &object.key.namespace).ok()?;
                    Some(Written { id: id_of(object), object, spec })
                })
                .collect(),
            authorized: AHashSet::new(),
            effective: AHashSet::new(),
            attached: AHashSet::new(),
            comparisons: Cell::new(COMPARISONS),
            steps: Cell::new(0),
        };
        let mut first_of = AHashMap::new();
        for name in &names {
            first_of.insert(name.clone(), scene.servers.len());
            scene.read_servers(name);
        }
        scene.read_pods(namespace, &first_of);
        scene.read_takes();
        scene.read_effective();
        scene
    }

    fn read_servers(&mut self, namespace: &str) {
        let policies: &'a Policies = self.mesh.policies;
        let Some((namespace, servers)) = policies.servers_in(namespace) else { return };
        for policy in servers {
            let place = self.servers.len();
            let id = PolicyId::new(Kind::Server.policy_prefix(), namespace, &policy.name);
            self.places.entry(namespace).or_default().insert(&policy.name, place);
            let on_server = policy.authorizations.iter();
            self.authorized.extend(on_server.filter_map(|row| object(namespace, &row.metadata)));
            for (metadata, authorizations) in policy.attached() {
                self.authorized
                    .extend(authorizations.iter().filter_map(|row| object(namespace, &row.metadata)));
                self.attached.extend(object(namespace, metadata).map(|route| (place, route)));
            }
            self.servers.push(Seen { id, namespace, policy, labelled: Vec::new(), takes: Vec::new() });
        }
    }

    fn read_pods(&mut self, namespace: Option<&str>, first_of: &AHashMap<Text, usize>) {
        let graph = self.mesh.graph;
        let mut read = |id: &'a WorkloadId, workload: &'a Arc<Workload>| {
            let first = first_of.get(id.namespace()).copied();
            for template in &workload.templates {
                let key = Key::new(id.namespace(), template.first.clone());
                let mut pods = Pods { id, template, key, ports: BTreeMap::new() };
                let own =
                    template.ports.iter().filter(|port| is_tcp(&port.protocol) && !is_of_proxy(&port.name));
                pods.ports.extend(own.map(|port| (port.port, Vec::new())));
                if let Some(first) = first {
                    let taken = pods.take(&mut self.servers, first, self.pods.len(), self.mesh.policies);
                    self.steps.set(self.steps.get() + taken);
                }
                pods.ports.remove(&0);
                self.pods.push(pods);
            }
        };
        match namespace {
            Some(namespace) => {
                query::edges::under(&graph.workloads, namespace, '/').for_each(|(id, it)| read(id, it));
            }
            None => graph.workloads.iter().for_each(|(id, it)| read(id, it)),
        }
    }

    fn read_takes(&mut self) {
        for (at, pods) in self.pods.iter().enumerate() {
            for (port, places) in &pods.ports {
                let Some(winner) = places.first() else { continue };
                for place in places {
                    self.servers[*place].takes.push(Take { pods: at, port: *port, winner: *winner });
                }
            }
        }
    }

    fn read_effective(&mut self) {
        for (place, server) in self.servers.iter().enumerate() {
            if server.won(place).next().is_none() {
                continue;
            }
            let on_routes = server.policy.attached().filter(|(route, _)| server.uses(route));
            let rows = server.policy.authorizations.iter().chain(on_routes.flat_map(|(_, rows)| rows));
            self.effective.extend(rows.filter_map(|row| object(server.namespace, &row.metadata)));
        }
    }

    /// Counts comparisons.
    pub(super) fn step(&self, count: usize) {
        self.steps.set(self.steps.get() + count);
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps.get()
    }

    /// True for namespaces that the question is about.
    pub(super) fn covers(&self, namespace: &str) -> bool {
        self.namespace.is_none_or(|only| only == namespace)
    }

    /// The objects of a kind that the question is about.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = &'a Arc<PolicyObject>> + use<'a> {
        let policies: &'a Policies = self.mesh.policies;
        let (all, some) = match self.namespace {
            None => (Some(policies.objects().all(kind)), None),
            Some(namespace) => (None, Some(policies.objects().policies(kind, namespace))),
        };
        all.into_iter().flatten().chain(some.into_iter().flatten())
    }

    /// One object of any namespace.
    pub(super) fn object(&self, kind: Kind, key: &Key) -> Option<&'a Arc<PolicyObject>> {
        let policies: &'a Policies = self.mesh.policies;
        policies.objects().policy(kind, key)
    }

    /// What Linkerd ignores of what the question is about.
    pub(super) fn ignored(&self) -> impl Iterator<Item = &'a Ignored> + use<'a> {
        let policies: &'a Policies = self.mesh.policies;
        let only = self.namespace;
        policies.ignored().filter(move |ignored| only.is_none_or(|only| only == ignored.id.namespace()))
    }

    /// Why an object is ignored; `None` when it is not.
    pub(super) fn fault(&self, id: &PolicyId) -> Option<&'a Fault> {
        self.faults.get(id).copied()
    }

    /// The place of a Server that can be read.
    pub(super) fn place(&self, namespace: &str, name: &str) -> Option<usize> {
        self.places.get(namespace)?.get(name).copied()
    }

    /// True when the authorization holds on a Server or a route of one.
    pub(super) fn is_authorized(&self, id: &PolicyId) -> bool {
        self.authorized.contains(id)
    }

    /// True when the authorization holds on Servers or routes of them, and none of these has a port.
    pub(super) fn is_idle(&self, id: &PolicyId) -> bool {
        self.authorized.contains(id) && !self.effective.contains(id)
    }

    /// True when the route is attached to the Server at this place.
    pub(super) fn is_attached(&self, place: usize, route: &PolicyId) -> bool {
        self.attached.contains(&(place, route.clone()))
    }

    /// The ids of Servers, authorizations and other objects of a namespace by which names are suggested.
    pub(super) fn names(&self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let policies: &'a Policies = self.mesh.policies;
        policies.objects().policies(kind, namespace).map(|object| &*object.key.name)
    }

    /// `; did you mean …?` with the names most like `wanted`, whatever its letter case, while the budget of comparisons
    /// lasts.
    pub(super) fn near<'n>(&self, names: impl Iterator<Item = &'n str>, wanted: &str) -> String {
        // Nearly every name contains one or two letters.
        if wanted.len() < 3 {
            return String::new();
        }
        let (left, wanted) = (self.comparisons.get(), &*wanted.to_ascii_lowercase());
        let names: Vec<&str> = names.take(left).collect();
        self.comparisons.set(left - names.len());
        self.step(names.len());
        words::did_you_mean(&query::near(names.iter().map(|name| ((*name).to_owned(), *name)), wanted))
    }

    /// What happens to a request of a client with this identity, or without one. Where its address is not known, it is
    /// tried with addresses that authorizations of the port let in, and the first that is let in counts.
    pub(super) fn check(
        &self,
        pods: &Pods<'_>,
        port: u16,
        identity: Option<&Text>,
        known: &[IpAddr],
        request: &Request,
    ) -> Verdict {
        self.step(1);
        let client = |address: Option<IpAddr>| match identity {
            Some(identity) => Client::meshed(identity.clone(), address),
            None => Client::unmeshed(address),
        };
        let check =
            |address| self.mesh.policies.check_access(&client(address), pods.target(), port, Some(request));
        if let Some(address) = known.first() {
            return check(Some(*address));
        }
        let without = check(None);
        if without.is_let_in() {
            return without;
        }
        let server = self.mesh.policies.server(pods.target(), port);
        let rows = server.authorizations.iter().chain(server.route_authorizations());
        let addresses: BTreeSet<IpAddr> = rows.flat_map(inside).take(ADDRESSES).collect();
        addresses.into_iter().map(|address| check(Some(address))).find(Verdict::is_let_in).unwrap_or(without)
    }
}

/// The AuthorizationPolicies of a namespace and of those that refer to authentications of it, or all of them.
fn in_reach<'a>(
    policies: &'a Policies,
    namespace: Option<&'a str>,
) -> impl Iterator<Item = &'a Arc<PolicyObject>> {
    let (kind, objects) = (Kind::AuthorizationPolicy, policies.objects());
    let all = namespace.is_none().then(|| objects.all(kind));
    let others = namespace.map(|own| policies.referring_to(own).filter(move |other| &***other != own));
    let near = namespace.into_iter().chain(others.into_iter().flatten().map(|other| &**other));
    all.into_iter().flatten().chain(near.flat_map(move |namespace| objects.policies(kind, namespace)))
}

/// An address in each network of an authorization.
fn inside(row: &Authorization) -> impl Iterator<Item = IpAddr> {
    row.networks.iter().filter_map(|network| {
        let mut hosts = network.net.hosts().take(ADDRESSES).chain([network.net.broadcast()]);
        hosts.find(|address| network.contains(*address) && !address.is_loopback())
    })
}

// === impl Pods ===

impl<'a> Pods<'a> {
    /// Notes the Servers that select these pods and the ports that they select; says how many Servers these are.
    fn take(&mut self, servers: &mut [Seen<'a>], first: usize, at: usize, policies: &Policies) -> usize {
        let target = self.template.target(&self.key);
        let places = policies.places_of_servers(&target);
        let (template, external, selecting) = (self.template, self.template.external, places.len());
        for place in places {
            let Some(server) = servers.get_mut(first + place) else { continue };
            server.labelled.push(at);
            let spec = &server.policy.spec;
            let ports: BTreeSet<u16> = match &spec.port {
                Port::Number(number) => [number.get()].into(),
                Port::Name(_) => {
                    let declared = template.ports.iter().map(|port| port.port);
                    declared.filter(|port| spec.selects_port(external, &template.ports, *port)).collect()
                }
            };
            for port in ports {
                self.ports.entry(port).or_default().push(first + place);
            }
        }
        selecting
    }

    /// As something that policies are asked about.
    pub(super) fn target(&self) -> Target<'_> {
        self.template.target(&self.key)
    }

    /// True when a proxy judges calls to the port.
    pub(super) fn is_enforced(&self, port: u16) -> bool {
        self.target().is_enforced(port)
    }

    /// The annotation that lets the port bypass the proxy; `None` when there is no proxy at all.
    pub(super) fn skips(&self, port: u16, policies: &Policies) -> Option<Text> {
        let verdict = policies.check_access(&Client::unmeshed(None), self.target(), port, None);
        verdict.reasons.into_iter().find_map(|reason| match reason {
            Reason::PortSkipped { ports } => Some(ports),
            _ => None,
        })
    }
}

// === impl Seen ===

impl Seen<'_> {
    /// True when its protocol uses routes of that kind.
    pub(super) fn uses(&self, route: &Metadata) -> bool {
        self.uses_routes(matches!(route, Metadata::Resource { kind, .. } if &**kind == "GRPCRoute"))
    }

    /// True when its protocol uses GRPCRoutes, or HTTPRoutes.
    pub(super) fn uses_routes(&self, is_grpc: bool) -> bool {
        match self.policy.spec.protocol {
            ProxyProtocol::Grpc => is_grpc,
            ProxyProtocol::Unknown | ProxyProtocol::Http1 | ProxyProtocol::Http2 => !is_grpc,
            ProxyProtocol::Opaque | ProxyProtocol::Tls => false,
        }
    }

    /// The ports that it selects and has.
    pub(super) fn won(&self, place: usize) -> impl Iterator<Item = &Take> {
        self.takes.iter().filter(move |take| take.winner == place)
    }
}

/// The id of a policy object.
pub(super) fn id_of(object: &PolicyObject) -> PolicyId {
    PolicyId::new(object.kind.policy_prefix(), &object.key.namespace, &object.key.name)
}

/// The id of the object that a part of an answer stands for; `None` for defaults.
pub(super) fn object(namespace: &str, metadata: &Metadata) -> Option<PolicyId> {
    match origin(namespace, metadata) {
        Origin::Object(id) => Some(id),
        Origin::Default(_) => None,
    }
}

/// The kind of an object by its id.
pub(super) fn kind_of(id: &PolicyId) -> Option<Kind> {
    INBOUND.into_iter().find(|kind| kind.policy_prefix() == id.kind())
}

/// True for TCP, which a port without a protocol is.
pub(super) fn is_tcp(protocol: &str) -> bool {
    protocol.is_empty() || protocol.eq_ignore_ascii_case("TCP")
}

/// True for ports of the proxy itself.
pub(super) fn is_of_proxy(name: &str) -> bool {
    name.starts_with("linkerd-")
}
