//! What a replica reads from the key of the snapshot.

use crate::{mesh, seed, split};
use flate2::{Compression, write::GzEncoder};
use linkerd_mcp_graph::{
    feed::Position,
    id::EdgeId,
    model::Graph,
    wire::{Limits, snapshot},
};
use serde_json::Value;
use std::io::Write as _;

/// Small, so that inputs come near them.
const LIMITS: Limits = Limits { compressed: 1 << 20, decompressed: 4 << 20 };

/// Form `b`: the bytes of the key. `j`: the document, gzipped here. `g`: a graph, written and read. Seeds have the
/// document in both versions.
pub fn run(input: &[u8]) {
    match split(input) {
        (b'j', text) => drop(read(&gzip(text))),
        (b'g', text) => {
            let Ok(graph) = serde_json::from_slice::<Graph>(text) else { return };
            let sound = graph.edges.iter().all(|(id, edge)| *id == EdgeId::new(&edge.src, &edge.dst));
            let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, &graph);
            match snapshot::decode(&bytes, LIMITS) {
                Ok(back) => assert!(sound && back.graph == graph, "what was written is read"),
                // The ids that are read are made of the ends, so the checksum is of others.
                Err(snapshot::Error::Sum { .. } | snapshot::Error::Entries { .. }) => {
                    assert!(!sound, "a sound edge is refused");
                }
                Err(error) => panic!("a snapshot cannot be read again: {error:?}"),
            }
        }
        (_, bytes) => drop(read(bytes)),
    }
}

/// Reads a snapshot; one that is accepted must come back as it is.
fn read(bytes: &[u8]) -> Option<snapshot::Topology> {
    let topology = snapshot::decode(bytes, LIMITS).ok()?;
    let Position { epoch, seq } = topology.position;
    let again = snapshot::encode(Position { epoch, seq }, topology.as_of_ms, &topology.graph);
    assert_eq!(snapshot::decode(&again, LIMITS).expect("an accepted snapshot can be written"), topology);
    Some(topology)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
    gzip.write_all(text).and_then(|()| gzip.finish()).expect("writing to memory does not fail")
}

/// The recorded mesh and some small graphs, in all forms; and a bomb.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut small = mesh::graph().clone();
    let edges: Vec<_> = small.edges.keys().skip(2).cloned().collect();
    edges.iter().for_each(|id| drop(small.edges.remove(id)));
    let workloads: Vec<_> = small.workloads.keys().skip(2).cloned().collect();
    workloads.iter().for_each(|id| drop(small.workloads.remove(id)));
    let policies: Vec<_> = small.policies.keys().skip(2).cloned().collect();
    policies.iter().for_each(|id| drop(small.policies.remove(id)));
    let services: Vec<_> = small.services.keys().skip(2).cloned().collect();
    services.iter().for_each(|id| drop(small.services.remove(id)));
    small.auth_policies =
        small.auth_policies.iter().take(1).map(|(id, it)| (id.clone(), it.clone())).collect();

    let mut seeds = vec![seed(b'b', gzip(&vec![b' '; 8 << 20]))];
    for graph in [&Graph::default(), &small, mesh::graph()] {
        let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, graph);
        let document = mesh::inflated(&bytes);
        seeds.push(seed(b'j', written_out(&document, graph)));
        seeds.push(seed(b'j', document));
        seeds.push(seed(b'b', bytes));
        seeds.push(seed(b'g', serde_json::to_vec(graph).expect("a graph is JSON")));
    }
    seeds
}

/// The document as version 1 has it: with the edges in the graph.
fn written_out(document: &str, graph: &Graph) -> Vec<u8> {
    let mut document: Value = serde_json::from_str(document).expect("a snapshot is JSON");
    document["version"] = snapshot::WRITTEN_OUT.into();
    document["graph"] = serde_json::to_value(graph).expect("a graph is JSON");
    document.as_object_mut().expect("a snapshot is an object").remove("edges");
    serde_json::to_vec(&document).expect("a value is JSON")
}
