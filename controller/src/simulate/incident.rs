//! What goes wrong in the simulated mesh for a while, and passes.

use super::{
    Event,
    flow::{Effects, Network},
    mesh::{
        Backend, Call, Clients, Grant, Mesh, Server, ServiceIndex, Target, Workload, WorkloadIndex,
        WorkloadKind,
    },
    objects,
};
use crate::graph::{fact::Key, kind::Kind, model::Protocol};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use std::fmt;

/// The share of calls that a failing workload fails.
pub(super) const FAILING: f64 = 0.3;
/// How many times longer calls of a slow workload take.
pub(super) const SLOWER: f64 = 2.0;
/// Calls per second of a visitor.
pub(super) const VISITS: f64 = 3.0;
/// How many may visit at once.
pub(super) const VISITORS: usize = 8;

/// Namespaces in which nothing goes wrong, so that the demo keeps its eyes.
const SPARED: [&str; 2] = ["linkerd", "linkerd-viz"];

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentKind {
    /// A workload answers 30 % of its calls with an error.
    Failing,
    /// A workload takes twice as long.
    Slow,
    /// A new Server and its AuthorizationPolicy leave out a caller.
    Denied,
    /// A Deployment gets more pods.
    Scaled,
    /// A pod without a proxy calls in.
    Visited,
}

/// Every kind of incident.
pub const INCIDENTS: [IncidentKind; 5] = [
    IncidentKind::Failing,
    IncidentKind::Slow,
    IncidentKind::Denied,
    IncidentKind::Scaled,
    IncidentKind::Visited,
];

/// An incident that goes on.
#[derive(Debug)]
pub(super) struct Incident {
    pub(super) workload: WorkloadIndex,
    pub(super) until_s: u64,
    what: String,
    change: Change,
}

/// What has to be undone.
#[derive(Debug)]
enum Change {
    None,
    /// The name of the Server.
    Server(String),
    /// How many pods were added.
    Pods(usize),
    /// The visitor.
    Visitor(WorkloadIndex),
}

/// What an incident changes.
pub(super) struct Stage<'a> {
    pub(super) mesh: &'a mut Mesh,
    pub(super) network: &'a mut Network,
    pub(super) effects: &'a mut Effects,
    pub(super) rng: &'a mut StdRng,
    pub(super) second: u64,
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Adds the workloads of visitors, without pods for now: pods and targets come with incidents.
pub(super) fn add_visitors(mesh: &mut Mesh) {
    let legacy = mesh.namespaces.iter().position(|namespace| namespace.name == "legacy").unwrap_or(0);
    for nth in 0..VISITORS {
        let name = format!("import-{}", nth + 1);
        let kind = WorkloadKind::Pod;
        let new = super::builder::NewWorkload {
            namespace: legacy,
            name: &name,
            kind,
            account: "default",
            ports: &[],
            pods: 0,
        };
        let workload = mesh.workload(&new);
        let load = super::mesh::Load::new(VISITS, 20.0);
        mesh.call(workload, Target::Service(0), Protocol::Http, load);
    }
}

// === impl Stage ===

impl Stage<'_> {
    /// Lets something go wrong until `until_s`; none when there is nothing left that could.
    pub(super) fn begin(
        &mut self,
        kind: IncidentKind,
        until_s: u64,
        going_on: &[Incident],
    ) -> Option<(Incident, Vec<Event>)> {
        let free = |workload: WorkloadIndex| going_on.iter().all(|incident| incident.workload != workload);
        let (service, caller, backend) = self.pick(kind, &free)?;
        let workload = backend.workload;
        let name = {
            let workload = &self.mesh.workloads[workload];
            format!("{}/{}", workload.namespace, workload.name)
        };
        let (what, change, events) = match kind {
            IncidentKind::Failing => {
                self.effects.failing.insert(workload, FAILING);
                (format!("{name} fails {:.0} % of its calls", FAILING * 100.0), Change::None, Vec::new())
            }
            IncidentKind::Slow => {
                self.effects.slower.insert(workload, SLOWER);
                (format!("{name} takes {SLOWER} times as long"), Change::None, Vec::new())
            }
            IncidentKind::Denied => {
                let (server, events) = self.lock_out(caller, &backend);
                let caller = &self.mesh.workloads[caller];
                let what = format!("a new policy of {name} leaves out {}/{}", caller.namespace, caller.name);
                (what, Change::Server(server), events)
            }
            IncidentKind::Scaled => {
                let pods = self.rng.random_range(1..=2);
                (format!("{name} is scaled up by {pods}"), Change::Pods(pods), self.scale_up(workload, pods))
            }
            IncidentKind::Visited => {
                let (visitor, events) = self.visit(service)?;
                (format!("a pod without a proxy calls {name}"), Change::Visitor(visitor), events)
            }
        };
        Some((Incident { workload, until_s, what, change }, events))
    }

    /// Puts everything back.
    pub(super) fn end(&mut self, incident: &Incident) -> Vec<Event> {
        let mut events = Vec::new();
        match &incident.change {
            Change::None => {
                self.effects.failing.remove(&incident.workload);
                self.effects.slower.remove(&incident.workload);
            }
            Change::Server(name) => {
                let of = |server: &Server| server.workload == incident.workload && server.name == *name;
                if let Some(at) = self.mesh.servers.iter().position(of) {
                    let server = self.mesh.servers.remove(at);
                    let keys = objects::policy::server_keys(self.mesh, &server);
                    events.extend(keys.into_iter().map(|(kind, key)| Event::Deleted(kind, key)));
                }
            }
            Change::Pods(pods) => {
                for _ in 0..*pods {
                    self.remove_pod(incident.workload, &mut events);
                }
                events.extend(self.slices(incident.workload));
            }
            Change::Visitor(visitor) => self.remove_pod(*visitor, &mut events),
        }
        let changed = match incident.change {
            Change::Visitor(visitor) => visitor,
            _ => incident.workload,
        };
        self.rewire(changed);
        events
    }

    /// A Service that a meshed workload calls, that caller, and what answers.
    fn pick(
        &mut self,
        kind: IncidentKind,
        free: &dyn Fn(WorkloadIndex) -> bool,
    ) -> Option<(ServiceIndex, WorkloadIndex, Backend)> {
        let mesh = &*self.mesh;
        let policed =
            |backend: &Backend| mesh.servers.iter().any(|server| server.workload == backend.workload);
        let fits = |call: &Call, backend: &Backend| {
            let of = |index: WorkloadIndex| -> &Workload { &mesh.workloads[index] };
            let (caller, workload) = (of(call.from), of(backend.workload));
            let meshed = caller.meshed && workload.meshed;
            let http = call.protocol != Protocol::Tcp;
            let spared = SPARED.iter().any(|spared| *spared == workload.namespace);
            let wanted = match kind {
                IncidentKind::Failing | IncidentKind::Slow => http,
                IncidentKind::Denied => !policed(backend),
                IncidentKind::Scaled => workload.kind == WorkloadKind::Deployment,
                IncidentKind::Visited => call.protocol == Protocol::Http && !policed(backend),
            };
            meshed && wanted && !spared && free(backend.workload)
        };
        let candidates: Vec<_> = mesh
            .calls
            .iter()
            .filter_map(|call| match call.to {
                Target::Service(service) => {
                    let backend = *mesh.backends(call.to).first()?;
                    fits(call, &backend).then_some((service, call.from, backend))
                }
                _ => None,
            })
            .collect();
        candidates.choose(self.rng).copied()
    }

    /// A Server that lets in every meshed caller but one.
    fn lock_out(&mut self, caller: WorkloadIndex, backend: &Backend) -> (String, Vec<Event>) {
        let mesh = &mut *self.mesh;
        let out = &mesh.workloads[caller];
        let out = (out.namespace.clone(), out.account.clone());
        let mut protocol = Protocol::Http;
        let mut callers = Vec::new();
        for call in &mesh.calls {
            if mesh
                .backends(call.to)
                .iter()
                .any(|other| (other.workload, other.port) == (backend.workload, backend.port))
            {
                protocol = call.protocol;
                let from = &mesh.workloads[call.from];
                let account = (from.namespace.clone(), from.account.clone());
                if from.meshed && account != out && !callers.contains(&account) {
                    callers.push(account);
                }
            }
        }
        callers.sort();
        let name = format!("{}-lockdown", mesh.workloads[backend.workload].name);
        mesh.servers.push(Server {
            name: name.clone(),
            workload: backend.workload,
            port: backend.port,
            protocol: match protocol {
                Protocol::Http => "HTTP/1",
                Protocol::Grpc => "gRPC",
                Protocol::Tcp => "opaque",
            },
            route: None,
            grants: vec![Grant { name: name.clone(), clients: Clients::Identities(callers) }],
            created_s: self.second,
        });
        let server =
            mesh.servers.last().map(|server| objects::policy::server(mesh, server)).unwrap_or_default();
        self.rewire(backend.workload);
        (name, server.into_iter().map(|(kind, object)| Event::Applied(kind, object)).collect())
    }

    fn scale_up(&mut self, workload: WorkloadIndex, pods: usize) -> Vec<Event> {
        let mut events: Vec<_> = (0..pods).map(|_| self.add_pod(workload)).collect();
        events.extend(self.slices(workload));
        self.rewire(workload);
        events
    }

    fn visit(&mut self, service: ServiceIndex) -> Option<(WorkloadIndex, Vec<Event>)> {
        let mesh = &mut *self.mesh;
        let idle = |call: &Call| {
            let from = &mesh.workloads[call.from];
            from.kind == WorkloadKind::Pod && from.pods.is_empty()
        };
        let at = mesh.calls.iter().position(idle)?;
        mesh.calls[at].to = Target::Service(service);
        let visitor = mesh.calls[at].from;
        let event = self.add_pod(visitor);
        self.rewire(visitor);
        Some((visitor, vec![event]))
    }

    fn add_pod(&mut self, workload: WorkloadIndex) -> Event {
        let at = self.mesh.add_pod(workload);
        let workload = &self.mesh.workloads[workload];
        let pod = &workload.pods[at];
        self.network.start_proxy(workload, pod);
        Event::Applied(Kind::Pod, objects::pod(workload, pod, self.second))
    }

    fn remove_pod(&mut self, workload: WorkloadIndex, events: &mut Vec<Event>) {
        let workload = &mut self.mesh.workloads[workload];
        if let Some(pod) = workload.pods.pop() {
            events.push(Event::Deleted(Kind::Pod, Key::new(workload.namespace.as_str(), pod.name.as_str())));
            self.network.stop_proxy(&pod);
        }
    }

    fn slices(&self, workload: WorkloadIndex) -> impl Iterator<Item = Event> + use<> {
        objects::slices_of(self.mesh, workload).into_iter().map(|(kind, object)| Event::Applied(kind, object))
    }

    fn rewire(&mut self, workload: WorkloadIndex) {
        for call in self.mesh.calls_touching(workload) {
            self.network.wire(self.mesh, call);
        }
    }
}
