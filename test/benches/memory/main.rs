//! What ten thousand meshed pods cost in memory, by kind, next to the same pods as Kubernetes' own type.
//!
//! Counts what is allocated and not freed, as asked of the allocator. An allocator adds its own 8 to 16 bytes to each
//! allocation, so these are counted as well.

#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a failing helper ends the benchmark")]

mod objects;

use k8s_openapi::api::core::v1::Pod;
use linkerd_mcp_controller::watch::fact_from_json;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact},
    facts::{Facts, Touched},
    index::Index,
    kind::Kind,
};
use objects::{account, namespace, pod, replica_set, service, slice};
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEPLOYMENTS: usize = 2_500;
const PODS_EACH: usize = 4;
/// The present one and two that a roll-back could return to.
const REPLICA_SETS_EACH: usize = 3;
/// How many pods are kept as Kubernetes' own type; ten thousand of them would need more than a gigabyte.
const WHOLE: usize = 1_000;

/// Live bytes and allocations.
#[derive(Debug, Clone, Copy, Default)]
struct Live {
    bytes: usize,
    allocations: usize,
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing measured: this is run by `cargo bench`");
        return;
    }
    println!(
        "\n### memory\n\n| what | live | allocations | with 16 B each | per object |\n|---|---|---|---|---|"
    );
    let lists = lists();
    let mut facts = Facts::default();
    let mut total = Live::default();
    for (name, kind, list) in &lists {
        let (kept, ()) =
            live(|| facts.change(Change::Reset(*kind, read(*kind, list)), &mut Touched::default()));
        row(&format!("{} x {name}", list.len()), kept, list.len());
        total = Live { bytes: total.bytes + kept.bytes, allocations: total.allocations + kept.allocations };
    }
    row("all facts of the above, per pod", total, DEPLOYMENTS * PODS_EACH);
    drop(facts);
    let (whole, index) = live(|| {
        let mut index = Index::new(Cluster::default());
        lists.iter().for_each(|(_, kind, list)| index.change(Change::Reset(*kind, read(*kind, list))));
        index.refresh();
        index
    });
    let nodes = index.graph().services.len() + index.graph().workloads.len();
    row(&format!("the graph's {nodes} nodes besides"), whole.without(total), nodes);
    drop(index);

    let (as_pods, pods) = live(|| {
        let read = |at| serde_json::from_str::<Pod>(&pod(at / PODS_EACH, at % PODS_EACH)).unwrap();
        (0..WHOLE).map(read).collect::<Vec<_>>()
    });
    row(&format!("{} pods as k8s_openapi::Pod", pods.len()), as_pods, WHOLE);
    drop(pods);
    let (parsed, values) =
        live(|| (0..100).map(|at| serde_json::from_str::<Value>(&pod(at, 0)).unwrap()).collect::<Vec<_>>());
    row(&format!("{} pods as serde_json::Value", values.len()), parsed, values.len());
    println!(
        "\nAll kinds against k8s_openapi::Pod alone, for as many pods: 1 to {:.0}\n",
        as_pods.bytes as f64 * (DEPLOYMENTS * PODS_EACH / WHOLE) as f64 / total.bytes as f64
    );
}

/// What `work` left behind.
fn live<T>(work: impl FnOnce() -> T) -> (Live, T) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    (Live { bytes, allocations: change.allocations - change.deallocations }, result)
}

/// Every object as JSON, as the API server sends it.
fn lists() -> Vec<(String, Kind, Vec<String>)> {
    let all = || 0..DEPLOYMENTS;
    let pods: Vec<_> = all().flat_map(|at| (0..PODS_EACH).map(move |nth| pod(at, nth))).collect();
    let replica_sets = all().flat_map(|at| (0..REPLICA_SETS_EACH).map(move |nth| replica_set(at, nth)));
    let namespaces = (0..DEPLOYMENTS / objects::PER_NAMESPACE).map(namespace);
    let list = |name: &str, kind, objects| (name.to_owned(), kind, objects);
    vec![
        list("Namespace", Kind::Namespace, namespaces.collect()),
        list("ServiceAccount", Kind::ServiceAccount, all().map(account).collect()),
        list("ReplicaSet", Kind::ReplicaSet, replica_sets.collect()),
        list(&format!("Pod of {} B of JSON", pods[0].len()), Kind::Pod, pods),
        list("Service", Kind::Service, all().map(service).collect()),
        list("EndpointSlice", Kind::EndpointSlice, all().map(|at| slice(at, PODS_EACH)).collect()),
    ]
}

fn read(kind: Kind, list: &[String]) -> Vec<Fact> {
    list.iter().map(|json| fact_from_json(kind, json.as_bytes()).unwrap()).collect()
}

fn row(name: &str, live: Live, objects: usize) {
    let mb = |bytes: usize| format!("{:.2} MB", bytes as f64 / 1e6);
    let with_overhead = live.bytes + 16 * live.allocations;
    println!(
        "| {name} | {} | {} | {} | {} B |",
        mb(live.bytes),
        live.allocations,
        mb(with_overhead),
        live.bytes / objects.max(1)
    );
}

impl Live {
    fn without(self, other: Self) -> Self {
        let allocations = self.allocations.saturating_sub(other.allocations);
        Self { bytes: self.bytes.saturating_sub(other.bytes), allocations }
    }
}
