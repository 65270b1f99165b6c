//! What ten thousand meshed pods cost in memory, by kind, next to the same pods as Kubernetes' own type.
//!
//! Counts what is allocated and not freed, as asked of the allocator. An allocator adds its own 8 to 16 bytes to each
//! allocation, so these are counted as well.

#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a failing helper ends the benchmark")]

use linkerd_mcp_controller::watch::fact_from_json;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact},
    index::Index,
    kind::Kind,
};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEPLOYMENTS: usize = 2_500;
const PODS_EACH: usize = 4;
/// The present one and two that a roll-back could return to.
const REPLICA_SETS_EACH: usize = 3;
const SERVICES_PER_NAMESPACE: usize = 25;
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
    let mut index = Index::new(Cluster::default());
    let mut total = Live::default();
    let all = || 0..DEPLOYMENTS;
    let bytes = pod(0, 0).len();
    total = total.and(take(
        &mut index,
        "Namespace",
        (0..DEPLOYMENTS / SERVICES_PER_NAMESPACE).map(namespace_object),
        Kind::Namespace,
    ));
    total = total.and(take(&mut index, "ServiceAccount", all().map(account), Kind::ServiceAccount));
    total = total.and(take(
        &mut index,
        "ReplicaSet",
        all().flat_map(|at| (0..REPLICA_SETS_EACH).map(move |nth| replica_set(at, nth))),
        Kind::ReplicaSet,
    ));
    total = total.and(take(
        &mut index,
        &format!("Pod, from {bytes} B of JSON"),
        all().flat_map(|at| (0..PODS_EACH).map(move |nth| pod(at, nth))),
        Kind::Pod,
    ));
    total = total.and(take(&mut index, "Service", all().map(service), Kind::Service));
    total = total.and(take(&mut index, "EndpointSlice", all().map(slice), Kind::EndpointSlice));
    row("all facts of the above", total, DEPLOYMENTS * PODS_EACH);
    let (graph, ()) = live(|| drop(index.refresh()));
    row("the graph's nodes made of them", graph, DEPLOYMENTS * 2);

    let (whole, pods) = live(|| {
        let read = |at| {
            serde_json::from_str::<k8s_openapi::api::core::v1::Pod>(&pod(at / PODS_EACH, at % PODS_EACH))
                .unwrap()
        };
        (0..WHOLE).map(read).collect::<Vec<_>>()
    });
    row(&format!("{} pods as k8s_openapi::Pod", pods.len()), whole, WHOLE);
    drop(pods);
    let (parsed, values) =
        live(|| (0..100).map(|at| serde_json::from_str::<Value>(&pod(at, 0)).unwrap()).collect::<Vec<_>>());
    row(&format!("{} pods as serde_json::Value", values.len()), parsed, values.len());
    println!(
        "\nAll kinds against k8s_openapi::Pod alone, for as many pods: 1 to {:.0}\n",
        whole.bytes as f64 * (DEPLOYMENTS * PODS_EACH / WHOLE) as f64 / total.bytes as f64
    );
}

/// What `work` left behind.
fn live<T>(work: impl FnOnce() -> T) -> (Live, T) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    // A reallocation frees the old bytes and allocates the new ones; the counter keeps the difference apart.
    let grown = change.bytes_reallocated;
    let bytes =
        change.bytes_allocated as isize - change.bytes_deallocated as isize + if false { grown } else { 0 };
    let allocations = change.allocations as isize - change.deallocations as isize;
    (Live { bytes: bytes.max(0) as usize, allocations: allocations.max(0) as usize }, result)
}

/// Takes a list in as a watch does: every object's JSON becomes a fact and is gone before the next one is read.
fn take(index: &mut Index, name: &str, objects: impl Iterator<Item = String>, kind: Kind) -> Live {
    let mut count = 0;
    let (kept, ()) = live(|| {
        let facts: Vec<Fact> = objects.map(|json| fact_from_json(kind, json.as_bytes()).unwrap()).collect();
        count = facts.len();
        index.change(Change::Reset(kind, facts));
    });
    // What is touched waits for the next refresh; it is no fact.
    let (freed, _) = live(|| ());
    let _ = freed;
    row(&format!("{count} x {name}"), kept, count);
    kept
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
    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, allocations: self.allocations + other.allocations }
    }
}
