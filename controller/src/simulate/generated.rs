//! Services on request: namespaces of 25, a gateway in each, and calls that prefer a few.

use super::{
    builder::NewWorkload,
    mesh::{Clients, Load, Mesh, Port, Target, WorkloadIndex, WorkloadKind},
};
use crate::graph::model::Protocol;
use rand::{Rng, rngs::StdRng};
use std::collections::BTreeSet;

/// Services per generated namespace.
const PER_NAMESPACE: usize = 25;

const TRADES: [&str; 25] = [
    "gateway", "accounts", "orders", "catalog", "payments", "search", "cart", "pricing", "stock", "shipping",
    "reviews", "offers", "tax", "fraud", "mail", "media", "audit", "ledger", "returns", "loyalty", "geo",
    "feeds", "export", "sync", "store",
];

/// Adds `count` Services with their workloads, policies and calls.
pub(super) fn add(mesh: &mut Mesh, count: usize, rng: &mut StdRng) {
    let first = mesh.services.len();
    let mut made = 0;
    while made < count {
        let team = made / PER_NAMESPACE + 1;
        // One namespace in twelve has not been meshed yet.
        let namespace = mesh.namespace(&format!("team-{team:03}"), team % 12 != 7, None);
        for trade in TRADES.iter().take(count - made) {
            add_service(mesh, namespace, trade, rng);
            made += 1;
        }
    }
    for at in 0..made {
        add_calls(mesh, first, at, made, rng);
    }
    add_servers(mesh, first, rng);
}

fn add_service(mesh: &mut Mesh, namespace: usize, trade: &str, rng: &mut StdRng) {
    let pods = match rng.random_range(0..10) {
        0..7 => 1,
        7..9 => 2,
        _ => 3,
    };
    let workload = if trade == "store" {
        let kind = WorkloadKind::StatefulSet;
        let ports = [Port::opaque("postgres", 5432)];
        mesh.workload(&NewWorkload { namespace, name: trade, kind, account: trade, ports: &ports, pods: 1 })
    } else if rng.random_bool(0.3) {
        mesh.deployment(namespace, trade, &[Port::new("grpc", 8080)], pods)
    } else {
        mesh.deployment(namespace, trade, &[Port::new("http", 8080)], pods)
    };
    let port = match mesh.workloads[workload].ports[0].name {
        "postgres" => 5432,
        "grpc" => 8080,
        _ => 80,
    };
    mesh.service(workload, trade, port);
}

/// One to five calls of the workload behind the Service at `first + at`.
fn add_calls(mesh: &mut Mesh, first: usize, at: usize, made: usize, rng: &mut StdRng) {
    let from = mesh.services[first + at].workload;
    if mesh.workloads[from].name == "store" {
        return;
    }
    let team = at / PER_NAMESPACE * PER_NAMESPACE;
    let wanted = rng.random_range(1..=5);
    let mut called = BTreeSet::new();
    for _ in 0..wanted {
        // The square of a uniform number prefers low indexes: few Services have most of the callers.
        let skewed = rng.random::<f64>().powi(2);
        let (start, among) =
            if rng.random_bool(0.8) { (team, PER_NAMESPACE.min(made - team)) } else { (0, made) };
        let callee = first + start + (skewed * among as f64) as usize;
        if callee != first + at && called.insert(callee) {
            add_call(mesh, from, callee, rng);
        }
    }
}

fn add_call(mesh: &mut Mesh, from: WorkloadIndex, callee: usize, rng: &mut StdRng) {
    let protocol = match mesh.workloads[mesh.services[callee].workload].ports[0].name {
        "postgres" => Protocol::Tcp,
        "grpc" => Protocol::Grpc,
        _ => Protocol::Http,
    };
    // At least one call per second and pair of pods, so that an edge is seen in every window.
    let pairs = mesh.workloads[from].pods.len() * mesh.workloads[mesh.services[callee].workload].pods.len();
    let rps = pairs as f64 * (1.0 + 20.0 * rng.random::<f64>().powi(4));
    let mut load = Load::new(rps, 2.0 + 60.0 * rng.random::<f64>().powi(3));
    if rng.random_bool(0.1) {
        load = load.failing(0.2 * rng.random::<f64>());
    }
    let load = load.swinging(rng.random_range(60.0..240.0), rng.random());
    mesh.call(from, Target::Service(callee), protocol, load);
}

/// One meshed Service in five has a Server; one of these in five has forgotten one of its callers.
fn add_servers(mesh: &mut Mesh, first: usize, rng: &mut StdRng) {
    for index in first..mesh.services.len() {
        let service = &mesh.services[index];
        let (workload, port) = (service.workload, service.target_port);
        if !mesh.workloads[workload].meshed || !rng.random_bool(0.2) {
            continue;
        }
        let mut callers: BTreeSet<(String, String)> = mesh
            .calls
            .iter()
            .filter(|call| call.to == Target::Service(index))
            .map(|call| &mesh.workloads[call.from])
            .filter(|caller| caller.meshed)
            .map(|caller| (caller.namespace.clone(), caller.account.clone()))
            .collect();
        if rng.random_bool(0.2) {
            callers.pop_last();
        }
        let protocol = match mesh.workloads[workload].ports[0].name {
            "postgres" => "opaque",
            "grpc" => "gRPC",
            _ => "HTTP/1",
        };
        let name = mesh.workloads[workload].name.clone();
        let grant = format!("{name}-callers");
        let clients = Clients::Identities(callers.into_iter().collect());
        mesh.server(workload, &name, (port, protocol), vec![(&grant, clients)]);
    }
}
