//! What the graph of the simulated mesh should show, from the mesh alone and by none of the ways a graph is made.

use super::{
    flow::Effects,
    mesh::{Backend, Call, Decision, Mesh, Target, Workload},
};
use crate::graph::{
    id::{Destination, EdgeId, ExternalId, ServiceId, Source, WorkloadId},
    model::Protocol,
};
use std::collections::BTreeMap;

/// An edge that the simulated mesh intends.
#[derive(Debug, Clone, PartialEq)]
pub struct Intended {
    /// What it carries.
    pub protocol: Protocol,
    /// Mutual TLS.
    pub mutual: bool,
    /// The server's proxy denies all of it.
    pub denied: bool,
    /// Calls, or connections opened, per second now.
    pub rps: f64,
    /// Share of the calls that fails now, denials not counted.
    pub failing: f64,
}

pub(super) fn edges(mesh: &Mesh, effects: &Effects, second: f64) -> BTreeMap<EdgeId, Intended> {
    let mut edges = BTreeMap::new();
    for call in mesh.calls.iter().filter(|call| !mesh.workloads[call.from].pods.is_empty()) {
        if mesh.workloads[call.from].meshed {
            let (id, edge) = by_client(mesh, effects, call, second);
            edges.insert(id, edge);
        } else {
            by_servers(mesh, effects, call, second, &mut edges);
        }
    }
    edges
}

/// Meshed callers are seen by their own proxies, under the Service they call.
fn by_client(mesh: &Mesh, effects: &Effects, call: &Call, second: f64) -> (EdgeId, Intended) {
    let from = &mesh.workloads[call.from];
    let destination = match call.to {
        Target::Service(index) => {
            let service = &mesh.services[index];
            Destination::Service(ServiceId::new(&service.namespace, &service.name), Some(service.port))
        }
        Target::Pods(workload, port) => Destination::Workload(id(&mesh.workloads[workload]), Some(port)),
        Target::External(ip, port) => Destination::External(ExternalId::new(&format!("{ip}:{port}"))),
    };
    let backends = mesh.backends(call.to);
    let denies = |workload, port| matches!(mesh.decide(workload, port, from), Decision::Denied(_));
    let own =
        |workload| matches!(call.to, Target::Service(_)).then(|| effects.failing.get(&workload)).flatten();
    let failing = backends
        .iter()
        .map(|backend| backend.share * call.load.failing.max(own(backend.workload).copied().unwrap_or(0.0)))
        .sum::<f64>();
    let edge = Intended {
        protocol: call.protocol,
        mutual: !backends.is_empty()
            && backends.iter().all(|backend| mesh.workloads[backend.workload].meshed),
        denied: !backends.is_empty()
            && backends.iter().all(|backend| {
                mesh.workloads[backend.workload].meshed && denies(backend.workload, backend.port)
            }),
        rps: call.load.rate_at(second),
        failing: if backends.is_empty() { call.load.failing } else { failing },
    };
    (EdgeId::new(&Source::Workload(id(from)), &destination), edge)
}

/// Callers without a proxy are seen by the proxies of the workloads that answer, if these have one, and are not told
/// apart. A denial does not say whether it was gRPC; only what others are let in with on the port does.
fn by_servers(
    mesh: &Mesh,
    effects: &Effects,
    call: &Call,
    second: f64,
    edges: &mut BTreeMap<EdgeId, Intended>,
) {
    let from = &mesh.workloads[call.from];
    for backend in mesh.backends(call.to).iter().filter(|backend| mesh.workloads[backend.workload].meshed) {
        let source = Source::Unmeshed("no_tls_from_remote".into());
        let workload = id(&mesh.workloads[backend.workload]);
        let denied = matches!(mesh.decide(backend.workload, backend.port, from), Decision::Denied(_));
        let rps = call.load.rate_at(second) * backend.share;
        let failing = call.load.failing.max(effects.failing.get(&backend.workload).copied().unwrap_or(0.0));
        let protocol = match call.protocol {
            Protocol::Grpc if denied && !admits_somebody(mesh, backend) => Protocol::Http,
            protocol => protocol,
        };
        let new = Intended { protocol, mutual: false, denied, rps, failing };
        edges
            .entry(EdgeId::new(&source, &Destination::Workload(workload, Some(backend.port))))
            .and_modify(|edge: &mut Intended| {
                let total = edge.rps + new.rps;
                edge.failing = (edge.failing * edge.rps + new.failing * new.rps) / total;
                edge.denied &= new.denied;
                edge.rps = total;
            })
            .or_insert(new);
    }
}

fn admits_somebody(mesh: &Mesh, at: &Backend) -> bool {
    mesh.calls.iter().any(|call| {
        let from = &mesh.workloads[call.from];
        let here = |backend: &Backend| (backend.workload, backend.port) == (at.workload, at.port);
        !from.pods.is_empty()
            && mesh.backends(call.to).iter().any(here)
            && !matches!(mesh.decide(at.workload, at.port, from), Decision::Denied(_))
    })
}

fn id(workload: &Workload) -> WorkloadId {
    WorkloadId::new(&workload.namespace, workload.kind_name(), &workload.name)
}
