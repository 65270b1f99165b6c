//! What a replica reads from the key and the channel of metric frames.

use crate::{mesh, seed, split};
use linkerd_mcp_graph::wire::{Limits, frame};
use linkerd_mcp_proto::v1::MetricColumns;
use prost::Message as _;

/// Form `b`: the bytes of the key. `p`: the protobuf message, compressed here. Other: fields of a message, merged into
/// the frame of the recorded mesh and made to fit it.
pub fn run(input: &[u8]) {
    match split(input) {
        (b'b', bytes) => read(bytes),
        (b'p', message) => read(&compressed(message)),
        (_, fields) => {
            let mut columns = recorded();
            let (edges, hash) = (columns.edge_count, columns.edges_hash);
            if columns.merge(fields).is_err() {
                return;
            }
            (columns.edge_count, columns.edges_hash) = (edges, hash);
            let edges = usize::try_from(edges).expect("a small number");
            columns.columns.iter_mut().for_each(|column| column.values.resize(edges, 0));
            if !columns.authorization_index.is_empty() {
                columns.authorization_index.resize(edges, 0);
            }
            read(&compressed(&columns.encode_to_vec()));
        }
    }
}

fn read(bytes: &[u8]) {
    let (graph, hash) = (mesh::graph(), mesh::graph().edges_hash());
    let Ok(frame) = frame::decode(bytes, Limits::FRAME) else { return };
    let Ok(metrics) = frame.fit(graph, hash) else { return };
    assert_eq!(metrics.ids.len(), metrics.rows.len());
    assert!(metrics.ids.iter().all(|id| graph.edges.contains_key(id)), "numbers are of edges there are");
    for row in metrics.rows.iter() {
        let shares = [row.success_rate, row.mtls_share];
        assert!(shares.into_iter().flatten().all(|share| (0.0..=1.0).contains(&share)), "{row:?}");
        let numbers =
            [row.rps, row.p50_ms, row.p95_ms, row.p99_ms, row.sent, row.received, row.allowed, row.denied];
        assert!(numbers.into_iter().flatten().all(|number| number >= 0.0 && number.is_finite()), "{row:?}");
    }
    // What was rounded once stays as it is.
    let write = |metrics: &_| frame::encode(frame.position, graph, hash, metrics);
    let once = frame::decode(&write(&metrics), Limits::FRAME).expect("accepted numbers can be written");
    let once = once.fit(graph, hash).expect("the edges are the same");
    let twice = frame::decode(&write(&once), Limits::FRAME).expect("what was read can be written");
    assert_eq!(twice.fit(graph, hash).as_ref(), Ok(&once));
}

fn recorded() -> MetricColumns {
    let bytes = frame::encode(mesh::AT, mesh::graph(), mesh::graph().edges_hash(), mesh::metrics());
    let plain = zstd::bulk::decompress(&bytes, 1 << 20).expect("a frame is zstd");
    MetricColumns::decode(&*plain).expect("and protobuf")
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).expect("memory can be compressed")
}

/// The recorded numbers, one column at a time as well; and a bomb.
pub fn seeds() -> Vec<Vec<u8>> {
    let columns = recorded();
    let frame = frame::encode(mesh::AT, mesh::graph(), mesh::graph().edges_hash(), mesh::metrics());
    let mut seeds = vec![
        seed(b'b', frame),
        seed(b'p', columns.encode_to_vec()),
        seed(b'b', compressed(&vec![0; 128 << 20])),
        seed(b'm', MetricColumns { columns: Vec::new(), ..columns.clone() }.encode_to_vec()),
    ];
    for column in &columns.columns {
        let alone = MetricColumns { columns: vec![column.clone()], ..MetricColumns::default() };
        seeds.push(seed(b'm', alone.encode_to_vec()));
    }
    seeds
}
