//! What travels over Redis: snapshots, deltas and metric frames.

use crate::{
    measure::{Table, compare, size},
    mesh::{LARGE, Mesh, SMALL, Size},
};
use ahash::AHashMap;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use linkerd_mcp_graph::{
    delta::{self, Delta},
    feed::Position,
    id::EdgeId,
    metrics::EdgeMetrics,
    model::{Edge, Graph, Protocol},
    query,
    wire::{EdgesHash, Limits, envelope, frame, patch, snapshot as form},
};
use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read, Write as _},
    sync::Arc,
};

const AT: Position = Position { epoch: 1, seq: 1 };
const WIDE: Limits = Limits { compressed: 1 << 30, decompressed: 1 << 31 };

/// Encode, decode, and all that it takes until a replica can answer.
pub(crate) fn snapshot(table: &mut Table) {
    let million =
        std::env::var_os("MILLION").map(|_| Size { services: 50_000, edges: 1_000_000, pods_per_service: 1 });
    for (mesh_size, rounds) in [(SMALL, 15), (LARGE, 7)].into_iter().chain(million.map(|size| (size, 2))) {
        let mesh = mesh_size.mesh();
        let name = mesh_size.name();
        let graph = &*mesh.graph;
        let bytes = form::encode(AT, 0, graph);
        let frame = frame::encode(AT, graph, graph.edges_hash(), &mesh.metrics);
        let json = gunzip(&bytes);
        let per_edge = |bytes: usize| bytes as f64 / graph.edges.len() as f64;
        let note = format!(
            "{} gzip = {:.1} B/edge, of {} JSON; the frame with the numbers {} = {:.1} B/edge",
            size(bytes.len()),
            per_edge(bytes.len()),
            size(json.len()),
            size(frame.len()),
            per_edge(frame.len()),
        );
        let encode = compare(rounds, 1, || form::encode(AT, 0, graph), || gzip(&json));
        table.compared(&format!("snapshot encode, {name}; floor: gzip-1 of that JSON"), encode, &note);
        let decode = compare(rounds, 1, || form::decode(&bytes, WIDE).unwrap(), || gunzip(&bytes));
        table.compared(&format!("snapshot decode, {name}; floor: gunzip alone"), decode, "");
        let columns = zstd::bulk::compress(&columns(&mesh), 1).unwrap();
        let plain = columns_len(&mesh);
        let hydrate = compare(
            rounds,
            1,
            || hydrate(&bytes, &frame),
            || zstd::bulk::decompress(&columns, plain).unwrap().to_vec(),
        );
        let parts = compare(rounds, 1, || query::Index::of(graph), || EdgesHash::default().of(graph));
        table.compared(&format!("of it the indexes, {name}; floor: hash of all edge ids"), parts, "");
        let note = format!("floor {} = {:.1} B/edge", size(columns.len()), per_edge(columns.len()));
        table.compared(
            &format!("hydrate (snapshot, frame, indexes), {name}; floor: zstd-1 and memcpy of columns"),
            hydrate,
            &note,
        );
        if let Err(refused) = form::decode(&bytes, Limits::SNAPSHOT) {
            table.plain(&format!("snapshot, {name}"), "REFUSED by its own reader", "", &refused.to_string());
        }
    }
}

/// What a replica does before its first answer.
fn hydrate(bytes: &[u8], numbers: &[u8]) -> (Graph, query::Index, linkerd_mcp_graph::metrics::Metrics) {
    let graph = form::decode(bytes, WIDE).unwrap().graph;
    let index = query::Index::of(&graph);
    let hash = EdgesHash::default().of(&graph);
    let metrics = frame::decode(numbers, WIDE).unwrap().fit(&graph, hash).unwrap();
    (graph, index, metrics)
}

/// The same knowledge in its plainest form: names once, then 28 bytes for each edge.
fn columns(mesh: &Mesh) -> Vec<u8> {
    let graph = &*mesh.graph;
    let names: Vec<&str> = graph
        .workloads
        .keys()
        .map(|id| id.as_str())
        .chain(graph.services.keys().map(|id| id.as_str()))
        .collect();
    let places: HashMap<String, u32> =
        names.iter().zip(0..).map(|(name, at)| ((*name).to_owned(), at)).collect();
    let place = |name: String| places.get(name.split(':').next().unwrap()).copied().unwrap_or_default();
    let mut bytes = names.join("\n").into_bytes();
    let edges = || graph.edges.values();
    edges().for_each(|edge| bytes.extend(place(edge.src.to_string()).to_le_bytes()));
    edges().for_each(|edge| bytes.extend(place(edge.dst.to_string()).to_le_bytes()));
    for get in NUMBERS {
        mesh.metrics.rows.iter().for_each(|row| bytes.extend(fixed(get(row)).to_le_bytes()));
    }
    bytes
}

fn columns_len(mesh: &Mesh) -> usize {
    columns(mesh).len()
}

const NUMBERS: [fn(&EdgeMetrics) -> Option<f64>; 5] =
    [|row| row.rps, |row| row.success_rate, |row| row.p50_ms, |row| row.p95_ms, |row| row.p99_ms];

/// All numbers that the mesh has.
const ALL_NUMBERS: [fn(&EdgeMetrics) -> Option<f64>; 11] = [
    |row| row.rps,
    |row| row.success_rate,
    |row| row.p50_ms,
    |row| row.p95_ms,
    |row| row.p99_ms,
    |row| row.tcp_open,
    |row| row.tcp_opened,
    |row| row.sent,
    |row| row.received,
    |row| row.allowed,
    |row| row.mtls_share,
];

fn fixed(value: Option<f64>) -> u32 {
    (value.unwrap_or_default() * 1000.0).round() as u32
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// One changed edge, and one more edge.
pub(crate) fn delta(table: &mut Table) {
    for mesh_size in [Size { services: 100, edges: 1_000, pods_per_service: 2 }, SMALL, LARGE] {
        let graph = mesh_size.mesh().graph;
        let (changed, added) = (with_changed_edge(&graph), with_another_edge(&graph));
        let mut map: AHashMap<EdgeId, Arc<Edge>> =
            graph.edges.iter().map(|(id, edge)| (id.clone(), edge.clone())).collect();
        let (id, edge) = middle(&graph);
        let mut upsert = || map.insert(id.clone(), edge.clone());
        let edges = graph.edges.len();
        let name = |what: &str| format!("{what}, {edges} edges; floor: upsert into a HashMap");

        let diff = compare(15, 200, || delta::diff(&graph, &changed), &mut upsert);
        table.compared(&name("diff, one edge changed"), diff, "");
        let diff = compare(15, 200, || delta::diff(&graph, &added), &mut upsert);
        table.compared(&name("diff, one edge more"), diff, "");
        let mut hash = EdgesHash::default();
        hash.of(&graph);
        let both = compare(15, 100, || (hash.of(&added), hash.of(&graph)), &mut upsert);
        table.compared(&name("hash of the edges, there and back"), both, "");
        let change = delta::diff(&graph, &changed);
        assert_eq!(change.len(), 1);
        let text = encoded(&change);
        let encode = compare(15, 200, || encoded(&change), &mut upsert);
        table.compared(&name("patch and envelope, encode"), encode, &size(text.len()));
        let take_in = || {
            let envelope = envelope::decode(text.as_bytes()).unwrap();
            delta::apply(&graph, &patch::decode(envelope.patch.unwrap()).unwrap()).unwrap()
        };
        table.compared(
            &name("patch and envelope, decode and apply"),
            compare(15, 200, take_in, &mut upsert),
            "",
        );
        let apply = compare(15, 200, || delta::apply(&graph, &change).unwrap(), &mut upsert);
        table.compared(&name("apply alone"), apply, "");
    }
}

fn encoded(delta: &Delta) -> String {
    envelope::encode(AT, 0, Some(&patch::encode(delta)))
}

fn middle(graph: &Graph) -> (EdgeId, Arc<Edge>) {
    let (id, edge) = graph.edges.iter().nth(graph.edges.len() / 2).unwrap();
    (id.clone(), edge.clone())
}

fn with_changed_edge(graph: &Graph) -> Graph {
    let (id, edge) = middle(graph);
    let mut graph = graph.clone();
    graph.edges.insert(id, Arc::new(Edge { protocol: Protocol::Grpc, ..Edge::clone(&edge) }));
    graph
}

fn with_another_edge(graph: &Graph) -> Graph {
    let (_, edge) = middle(graph);
    let dst = "team-000/another:80".parse().unwrap();
    let mut graph = graph.clone();
    let id = EdgeId::new(&edge.src, &dst);
    graph.edges.insert(id, Arc::new(Edge { dst, ..Edge::clone(&edge) }));
    graph
}

/// The numbers of all edges.
pub(crate) fn frame(table: &mut Table) {
    for (mesh_size, rounds) in [(SMALL, 21), (LARGE, 11)] {
        let mesh = mesh_size.mesh();
        let name = mesh_size.name();
        let graph = &*mesh.graph;
        let hash = graph.edges_hash();
        let bytes = frame::encode(AT, graph, hash, &mesh.metrics);
        let mut columns = Vec::new();
        for get in ALL_NUMBERS {
            mesh.metrics.rows.iter().for_each(|row| columns.extend(fixed(get(row)).to_le_bytes()));
        }
        let floor = zstd::bulk::compress(&columns, 1).unwrap();
        let patch = json_patch(&mesh);
        let note = format!(
            "{} = {:.1} B/edge; floor {}; the same as JSON Patch {} = {:.0} times as much",
            size(bytes.len()),
            bytes.len() as f64 / graph.edges.len() as f64,
            size(floor.len()),
            size(patch),
            patch as f64 / bytes.len() as f64,
        );
        let encode = compare(
            rounds,
            1,
            || frame::encode(AT, graph, hash, &mesh.metrics),
            || zstd::bulk::compress(&columns, 1).unwrap(),
        );
        table.compared(&format!("frame encode, {name}; floor: zstd-1 of raw columns"), encode, &note);
        let decode = compare(
            rounds,
            1,
            || frame::decode(&bytes, WIDE).unwrap().fit(graph, hash).unwrap(),
            || zstd::bulk::decompress(&floor, columns.len()).unwrap(),
        );
        table.compared(&format!("frame decode and fit, {name}; floor: unzstd of raw columns"), decode, "");
    }
}

/// Bytes of a JSON Patch that replaces the five best known numbers of every edge, in the precision of the frame.
fn json_patch(mesh: &Mesh) -> usize {
    let names = ["rps", "success_rate", "latency_ms/p50", "latency_ms/p95", "latency_ms/p99"];
    let mut text = String::new();
    for (id, row) in mesh.metrics.iter() {
        let id = id.as_str().replace('~', "~0").replace('/', "~1");
        for (name, get) in names.iter().zip(NUMBERS) {
            let value = (get(row).unwrap() * 1000.0).round() / 1000.0;
            write!(text, r#"{{"op":"replace","path":"/edges/{id}/{name}","value":{value}}},"#).unwrap();
        }
    }
    text.len()
}
