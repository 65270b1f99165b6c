//! What the simulated mesh is: workloads with pods, Services, policies and who calls whom. Plain values; everything
//! that is shown of them (Kubernetes objects, proxy metrics, the intended edges) is derived.

use crate::graph::model::Protocol;
use std::net::Ipv4Addr;

/// Namespace of the control plane.
pub(super) const LINKERD: &str = "linkerd";

/// Port of every proxy's metrics and probes.
pub(super) const ADMIN_PORT: u16 = 4191;

/// The default inbound policy of the simulated cluster.
pub(super) const DEFAULT_POLICY: &str = "all-unauthenticated";

/// Index of a workload in [`Mesh::workloads`].
pub(super) type WorkloadIndex = usize;
/// Index of a Service in [`Mesh::services`].
pub(super) type ServiceIndex = usize;

/// The simulated mesh. Owned by the simulation; incidents change it.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    pub(super) namespaces: Vec<Namespace>,
    pub(super) workloads: Vec<Workload>,
    pub(super) services: Vec<Service>,
    pub(super) servers: Vec<Server>,
    pub(super) egress_networks: Vec<EgressNetwork>,
    pub(super) calls: Vec<Call>,
    /// Pods ever made: names and addresses are never used twice at a time.
    pub(super) pods_made: u32,
}

#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) name: String,
    /// Its pods are injected.
    pub(super) meshed: bool,
    /// Label `linkerd.io/extension`.
    pub(super) extension: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkloadKind {
    Deployment,
    StatefulSet,
    /// Its pod belongs to a Job of the CronJob.
    CronJob,
    /// A pod without an owner.
    Pod,
}

#[derive(Debug)]
pub(super) struct Workload {
    /// Index of its namespace; pods get their addresses from its block.
    pub(super) namespace_index: usize,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) kind: WorkloadKind,
    pub(super) account: String,
    pub(super) meshed: bool,
    pub(super) ports: Vec<Port>,
    pub(super) pods: Vec<Pod>,
}

#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) name: &'static str,
    pub(super) number: u16,
    pub(super) opaque: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    /// Unique over the whole run.
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    pub(super) zone: &'static str,
    pub(super) node: &'static str,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) workload: WorkloadIndex,
    pub(super) port: u16,
    pub(super) target_port: u16,
    pub(super) cluster_ip: Ipv4Addr,
    pub(super) profile: bool,
    pub(super) route: Option<Route>,
}

/// A Gateway API route whose parent is the Service.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) grpc: bool,
    /// Services it sends requests to with their weights.
    pub(super) backends: Vec<(ServiceIndex, u32)>,
}

/// A policy.linkerd.io Server with what lets clients in; all others are denied.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) workload: WorkloadIndex,
    pub(super) port: u16,
    pub(super) protocol: &'static str,
    /// Name of the policy.linkerd.io HTTPRoute that its requests match.
    pub(super) route: Option<String>,
    pub(super) grants: Vec<Grant>,
    /// Seconds since the simulation began.
    pub(super) created_s: u64,
}

/// An AuthorizationPolicy for a Server.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) clients: Clients,
}

/// Whom a [`Grant`] lets in.
#[derive(Debug)]
pub(super) enum Clients {
    /// By a MeshTLSAuthentication of the grant's name: namespace and ServiceAccount.
    Identities(Vec<(String, String)>),
    /// By a reference to a ServiceAccount.
    Account(String, String),
    /// By a NetworkAuthentication of the grant's name: the address block of a namespace.
    Network(usize),
}

#[derive(Debug)]
pub(super) struct EgressNetwork {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) cidr: &'static str,
    pub(super) covers: Ipv4Addr,
}

/// Who calls whom, how often and how well.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) from: WorkloadIndex,
    pub(super) to: Target,
    pub(super) protocol: Protocol,
    pub(super) load: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Service(ServiceIndex),
    /// Each pod by its own address.
    Pods(WorkloadIndex, u16),
    External(Ipv4Addr, u16),
}

/// How a call behaves while no incident touches it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Requests, or connections opened, per second; all pods of the caller together.
    pub(super) rps: f64,
    /// Share that fails.
    pub(super) failing: f64,
    /// Median latency.
    pub(super) median_ms: f64,
    /// How much the rate rises and falls, as a share of it.
    pub(super) swing: f64,
    /// Seconds from one high to the next.
    pub(super) period_s: f64,
    /// Where in the period it starts, 0 to 1.
    pub(super) phase: f64,
}

/// One backend of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Backend {
    /// The Service whose endpoint answers; none for calls by pod address.
    pub(super) service: Option<ServiceIndex>,
    pub(super) workload: WorkloadIndex,
    pub(super) port: u16,
    /// Share of the calls, 0 to 1.
    pub(super) share: f64,
}

/// What a server's proxy decides about a client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decision<'a> {
    /// No Server: the default policy lets everybody in.
    Default,
    Allowed(&'a Server, &'a Grant),
    Denied(&'a Server),
}

// === impl Mesh ===

impl Mesh {
    /// What answers a call; nothing for destinations outside the cluster.
    pub(super) fn backends(&self, target: Target) -> Vec<Backend> {
        let backend = |index: ServiceIndex, share| {
            let service = &self.services[index];
            Backend { service: Some(index), workload: service.workload, port: service.target_port, share }
        };
        match target {
            Target::External(..) => Vec::new(),
            Target::Pods(workload, port) => vec![Backend { service: None, workload, port, share: 1.0 }],
            Target::Service(index) => match &self.services[index].route {
                Some(route) if !route.backends.is_empty() => {
                    let total: u32 = route.backends.iter().map(|(_, weight)| weight).sum();
                    let share = |weight| f64::from(weight) / f64::from(total);
                    route.backends.iter().map(|(index, weight)| backend(*index, share(*weight))).collect()
                }
                _ => vec![backend(index, 1.0)],
            },
        }
    }

    /// What the proxy of `workload` decides about a client at `port`.
    pub(super) fn decide(&self, workload: WorkloadIndex, port: u16, client: &Workload) -> Decision<'_> {
        let server = self.servers.iter().find(|server| server.workload == workload && server.port == port);
        match server {
            None => Decision::Default,
            Some(server) => match server.grants.iter().find(|grant| grant.admits(client)) {
                Some(grant) => Decision::Allowed(server, grant),
                None => Decision::Denied(server),
            },
        }
    }

    /// The calls that a change of this workload's pods or policies bears on.
    pub(super) fn calls_touching(&self, workload: WorkloadIndex) -> Vec<usize> {
        let touches = |call: &Call| {
            call.from == workload || self.backends(call.to).iter().any(|backend| backend.workload == workload)
        };
        self.calls.iter().enumerate().filter(|(_, call)| touches(call)).map(|(at, _)| at).collect()
    }

    /// Adds a pod to a workload and returns where it is in the list.
    pub(super) fn add_pod(&mut self, workload: WorkloadIndex) -> usize {
        const PLACES: [(&str, &str); 3] = [("node-1", "zone-a"), ("node-2", "zone-b"), ("node-3", "zone-c")];
        let block = self.workloads[workload].namespace_index;
        let taken: Vec<Ipv4Addr> = self
            .workloads
            .iter()
            .filter(|other| other.namespace_index == block)
            .flat_map(|other| other.pods.iter().map(|pod| pod.ip))
            .collect();
        let ip = (2..=254)
            .map(|host| address_in(block, host))
            .find(|ip| !taken.contains(ip))
            .expect("a namespace has far fewer pods than its block has addresses");
        let id = self.pods_made;
        self.pods_made += 1;
        let (node, zone) = PLACES[id as usize % PLACES.len()];
        let owner = &mut self.workloads[workload];
        let name = owner.pod_name(owner.pods.len(), id);
        owner.pods.push(Pod { id, name, ip, zone, node });
        owner.pods.len() - 1
    }
}

/// An address in the block of the namespace at `namespace`.
pub(super) fn address_in(namespace: usize, host: u8) -> Ipv4Addr {
    // 10.244.0.0 to 10.255.255.0: 3,072 namespaces.
    let block = u16::try_from(namespace % 3072).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(10, 244 + block[0], block[1], host)
}

// === impl Grant ===

impl Grant {
    fn admits(&self, client: &Workload) -> bool {
        let is = |namespace: &str, account: &str| {
            client.meshed && client.namespace == namespace && client.account == account
        };
        match &self.clients {
            Clients::Identities(identities) => {
                identities.iter().any(|(namespace, account)| is(namespace, account))
            }
            Clients::Account(namespace, account) => is(namespace, account),
            Clients::Network(namespace) => client.namespace_index == *namespace,
        }
    }
}

// === impl Workload ===

impl Workload {
    /// The mesh identity its proxies present.
    pub(super) fn identity(&self) -> String {
        identity(&self.namespace, &self.account)
    }

    /// Kind and name of what directly owns its pods.
    pub(super) fn owner(&self) -> Option<(&'static str, String)> {
        match self.kind {
            WorkloadKind::Deployment => {
                Some(("ReplicaSet", format!("{}-{}", self.name, self.template_hash())))
            }
            WorkloadKind::StatefulSet => Some(("StatefulSet", self.name.clone())),
            WorkloadKind::CronJob => Some(("Job", format!("{}-29465280", self.name))),
            WorkloadKind::Pod => None,
        }
    }

    /// As Kubernetes makes them: ten characters without vowels.
    pub(super) fn template_hash(&self) -> String {
        scrambled(&format!("{}/{}", self.namespace, self.name), 10)
    }

    fn pod_name(&self, ordinal: usize, id: u32) -> String {
        match (self.owner(), self.kind) {
            (Some((_, name)), WorkloadKind::StatefulSet) => format!("{name}-{ordinal}"),
            (Some((_, name)), _) => format!("{name}-{}", scrambled(&format!("{name}/{id}"), 5)),
            (None, _) => self.name.clone(),
        }
    }

    /// The workload as ids name it.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "statefulset",
            WorkloadKind::CronJob => "cronjob",
            WorkloadKind::Pod => "pod",
        }
    }

    /// The label by which a scraper names the workload. The injector knows none for CronJobs and bare pods.
    pub(super) fn owner_label(&self) -> Option<&'static str> {
        match self.kind {
            WorkloadKind::Deployment => Some("deployment"),
            WorkloadKind::StatefulSet => Some("statefulset"),
            WorkloadKind::CronJob | WorkloadKind::Pod => None,
        }
    }
}

// === impl Load ===

impl Load {
    /// Calls per second at `second`.
    pub(super) fn rate_at(&self, second: f64) -> f64 {
        let turn = std::f64::consts::TAU * (second / self.period_s + self.phase);
        self.rps * (1.0 + self.swing * turn.sin())
    }
}

/// The mesh identity of a ServiceAccount.
pub(super) fn identity(namespace: &str, account: &str) -> String {
    format!("{account}.{namespace}.serviceaccount.identity.{LINKERD}.cluster.local")
}

/// `length` characters of Kubernetes' alphabet for generated names, always the same for the same text.
pub(super) fn scrambled(text: &str, length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut state = crate::graph::wire::fnv1a(text.as_bytes());
    let mut name = String::with_capacity(length);
    for _ in 0..length {
        // FNV's low bits are weak: take from the middle, and stir.
        name.push(char::from(ALPHABET[(state >> 29) as usize % ALPHABET.len()]));
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    name
}
