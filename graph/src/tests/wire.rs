use super::arbitrary;
use crate::{
    delta,
    feed::Position,
    id::{Destination, EdgeId, Source, Text},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Namespace, ObservedBy, Protocol, Tls},
    status::MetricsStatus,
    wire::{self, EdgesHash, Limits, Names, envelope, frame, patch, snapshot},
};
use flate2::{Compression, write::GzEncoder};
use linkerd_mcp_proto::v1::{Column, MetricColumns};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use std::{io::Write, sync::Arc};

const AT: Position = Position { epoch: 1_735_689_600_000, seq: 7 };
const AS_OF_MS: i64 = 1_735_689_601_000;

proptest! {
    #[test]
    fn the_patch_does_to_the_json_of_a_graph_what_the_delta_does_to_the_graph(
        old in arbitrary::graph(),
        new in arbitrary::graph(),
    ) {
        let delta = delta::diff(&old, &new);
        let text = patch::encode(&delta);
        let mut document = serde_json::to_value(&old).unwrap();
        let operations: json_patch::Patch = serde_json::from_str(&text).unwrap();
        json_patch::patch(&mut document, &operations).unwrap();
        prop_assert_eq!(document, serde_json::to_value(&new).unwrap());
        prop_assert_eq!(patch::decode(&text).unwrap(), delta.clone());
        prop_assert_eq!(delta::apply(&old, &delta).unwrap(), new);
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was(graph in arbitrary::graph(), epoch: u64, seq: u64, as_of_ms: i64) {
        let position = Position { epoch, seq };
        let bytes = snapshot::encode(position, as_of_ms, &graph);
        let back = snapshot::decode(&bytes, Limits::SNAPSHOT).unwrap();
        let topology = snapshot::Topology { position, as_of_ms, graph };
        prop_assert_eq!(&back, &topology);
        let bytes = written_out(document(&bytes), &topology.graph);
        let back = snapshot::decode(&gzip(bytes.to_string().as_bytes()), Limits::SNAPSHOT).unwrap();
        prop_assert_eq!(back, topology, "of version 1");
    }

    #[test]
    fn an_envelope_comes_back_as_it_was(epoch: u64, seq: u64, as_of_ms: i64, graph in arbitrary::graph()) {
        let position = Position { epoch, seq };
        let patch = patch::encode(&delta::diff(&Graph::default(), &graph));
        let text = envelope::encode(position, as_of_ms, Some(&patch));
        let wanted = envelope::Envelope { position, as_of_ms, patch: Some(&patch) };
        prop_assert_eq!(envelope::decode(text.as_bytes()).unwrap(), wanted);
        let heartbeat = envelope::encode(position, as_of_ms, None);
        let wanted = envelope::Envelope { position, as_of_ms, patch: None };
        prop_assert_eq!(envelope::decode(heartbeat.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn numbers_come_back_as_exact_as_their_scale((graph, metrics) in arbitrary::measured()) {
        let bytes = frame::encode(AT, &graph, graph.edges_hash(), &metrics);
        let frame = frame::decode(&bytes, Limits::FRAME).unwrap();
        prop_assert_eq!(frame.position, AT);
        let back = frame.fit(&graph, graph.edges_hash()).unwrap();
        prop_assert_eq!(&back.status, &metrics.status);
        prop_assert_eq!(&back.ids, &metrics.ids);
        for (wanted, found) in metrics.rows.iter().zip(back.rows.iter()) {
            for (name, unit, wanted, found) in columns(wanted, found) {
                match (wanted, found) {
                    (Some(wanted), Some(found)) => {
                        prop_assert!((wanted - found).abs() <= unit, "{name}: {wanted} became {found}");
                        prop_assert_eq!(wanted > 0.0, found > 0.0, "{}", name);
                    }
                    _ => prop_assert_eq!(wanted, found, "{}", name),
                }
            }
            prop_assert_eq!(wanted.last_seen_ms, found.last_seen_ms);
            prop_assert_eq!(&wanted.authorized_by, &found.authorized_by);
        }
        // What was rounded once stays as it is.
        let again = frame::encode(AT, &graph, graph.edges_hash(), &back);
        prop_assert_eq!(frame::decode(&again, Limits::FRAME).unwrap().fit(&graph, graph.edges_hash()), Ok(back));
    }

    #[test]
    fn bytes_that_were_tampered_with_never_panic_a_reader(
        (graph, metrics) in arbitrary::measured(),
        at: prop::sample::Index,
        bit in 0_u8..8,
        cut: prop::sample::Index,
    ) {
        let patch = patch::encode(&delta::diff(&Graph::default(), &graph));
        for mut bytes in [
            snapshot::encode(AT, AS_OF_MS, &graph),
            frame::encode(AT, &graph, graph.edges_hash(), &metrics),
            envelope::encode(AT, AS_OF_MS, Some(&patch)).into_bytes(),
        ] {
            let cut = &bytes[..cut.index(bytes.len())];
            prop_assert!(snapshot::decode(cut, Limits::SNAPSHOT).is_err());
            prop_assert!(frame::decode(cut, Limits::FRAME).is_err());
            prop_assert!(envelope::decode(cut).is_err());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // The header of gzip has bits that mean nothing; wherever the text is touched, the checksum tells.
            if let Ok(back) = snapshot::decode(&bytes, Limits::SNAPSHOT) {
                prop_assert_eq!(&back.graph, &graph);
            }
            if let Ok(back) = frame::decode(&bytes, Limits::FRAME) {
                prop_assert_eq!(back.position, AT);
            }
            if let Ok(back) = envelope::decode(&bytes) {
                prop_assert_eq!((back.position, back.as_of_ms, back.patch), (AT, AS_OF_MS, Some(&*patch)));
            }
            let _ = patch::decode(&String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_hash_that_is_kept_is_the_hash_of_the_edges(graphs in prop::collection::vec(arbitrary::graph(), 1..4)) {
        let mut kept = EdgesHash::default();
        for graph in &graphs {
            prop_assert_eq!(kept.of(graph), graph.edges_hash());
            let plainly = |hash, id: &EdgeId| hash ^ wire::fnv1a(id.as_str().as_bytes());
            prop_assert_eq!(graph.edges_hash(), graph.edges.keys().fold(0, plainly));
        }
    }

    #[test]
    fn hashes_made_four_at_a_time_are_those_made_one_at_a_time(texts in prop::collection::vec(".{0,9}", 0..12)) {
        let plainly = texts.iter().fold(0, |sum, text| sum ^ wire::fnv1a(text.as_bytes()));
        let count = u64::try_from(texts.len()).unwrap();
        let together = wire::fnv1a_of_all(wire::FNV1A, texts.iter().map(String::as_str));
        prop_assert_eq!(together, (count, plainly));
    }
}

fn columns(a: &EdgeMetrics, b: &EdgeMetrics) -> [(&'static str, f64, Option<f64>, Option<f64>); 14] {
    [
        ("rps", 1e-3, a.rps, b.rps),
        ("success_rate", 1e-6, a.success_rate, b.success_rate),
        ("p50_ms", 1e-3, a.p50_ms, b.p50_ms),
        ("p95_ms", 1e-3, a.p95_ms, b.p95_ms),
        ("p99_ms", 1e-3, a.p99_ms, b.p99_ms),
        ("tcp_open", 0.1, a.tcp_open, b.tcp_open),
        ("tcp_opened", 1e-3, a.tcp_opened, b.tcp_opened),
        ("sent", 0.1, a.sent, b.sent),
        ("received", 0.1, a.received, b.received),
        ("allowed", 1e-3, a.allowed, b.allowed),
        ("denied", 1e-3, a.denied, b.denied),
        ("mtls_share", 1e-6, a.mtls_share, b.mtls_share),
        ("retries", 1e-3, a.retries, b.retries),
        ("unrouted", 1e-3, a.unrouted, b.unrouted),
    ]
}

fn mk_edge(source: &str, destination: &str) -> (EdgeId, Arc<Edge>) {
    let src: Source = source.parse().unwrap();
    let dst: Destination = destination.parse().unwrap();
    let id = EdgeId::new(&src, &dst);
    let edge = Edge {
        src,
        dst,
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: Vec::new(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    (id, Arc::new(edge))
}

fn mk_graph(destinations: &[&str]) -> Graph {
    Graph {
        edges: destinations.iter().map(|to| mk_edge("shop/deployment/web", to)).collect(),
        namespaces: imbl::OrdMap::unit(Text::from("shop"), Arc::new(Namespace::default())),
        ..Graph::default()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn a_prefix_stands_before_every_name() {
    assert_eq!(Names::default().deltas, "mesh:deltas");
    assert_eq!(Names::new("{mesh}:").leader, "{mesh}:mcp:leader");
}

#[test]
fn a_patch_names_entries_by_id_and_replaces_them_whole() {
    let old = mk_graph(&["shop/api:80"]);
    let mut new = Graph { edges: imbl::OrdMap::new(), ..old.clone() };
    new.namespaces.insert(Text::from("shop"), Arc::new(Namespace { extension: Some("viz".into()) }));
    let patch: Value = serde_json::from_str(&patch::encode(&delta::diff(&old, &new))).unwrap();
    let wanted = json!([
        {"op": "remove", "path": "/edges/shop~1deployment~1web->shop~1api:80"},
        {"op": "add", "path": "/namespaces/shop", "value": {"extension": "viz"}},
    ]);
    assert_eq!(patch, wanted);
}

#[test]
fn a_patch_that_we_do_not_write_is_refused_by_name() {
    let edge = serde_json::to_value(&mk_edge("shop/deployment/web", "shop/api:80").1).unwrap();
    for (patch, wanted) in [
        (json!({}), "not a JSON Patch: invalid type: map, expected a sequence at line 1 column 0"),
        (
            json!([{"op": "replace", "path": "/services/shop~1web", "value": {}}]),
            "the operation `replace` on `/services/shop~1web` is not one this feed uses",
        ),
        (
            json!([{"op": "remove", "path": "/status"}]),
            "the operation `remove` on `/status` is not one this feed uses",
        ),
        (
            json!([{"op": "remove", "path": "/edges/1"}]),
            "the path `/edges/1` is not one of an entry of the graph",
        ),
        (json!([{"op": "remove", "path": ""}]), "the path `` is not one of an entry of the graph"),
        (
            json!([{"op": "add", "path": "/pods/shop~1web", "value": {}}]),
            "the path `/pods/shop~1web` is not one of an entry of the graph",
        ),
        (
            json!([{"op": "remove", "path": "/services/shop~2web"}]),
            "the path `/services/shop~2web` is not one of an entry of the graph",
        ),
        (
            json!([{"op": "add", "path": "/services/shop~1web"}]),
            "`add` on `/services/shop~1web` comes without a value",
        ),
        (
            json!([{"op": "add", "path": "/services/shop~1web", "value": 1}]),
            "the value at `/services/shop~1web` is not what belongs there: invalid type: integer `1`, expected struct Service at line 1 column 1",
        ),
        (
            json!([{"op": "add", "path": "/edges/shop~1deployment~1web->shop~1db:80", "value": edge}]),
            "the edge at `/edges/shop~1deployment~1web->shop~1db:80` has other ends than its id says",
        ),
    ] {
        assert_eq!(chain(&patch::decode(&patch.to_string()).unwrap_err()), wanted);
    }
}

#[test]
fn an_envelope_whose_patch_or_position_was_changed_is_refused() {
    let text = envelope::encode(AT, AS_OF_MS, Some("[]"));
    assert_eq!(
        text,
        r#"{"epoch":1735689600000,"seq":7,"as_of":1735689601000,"head":"12f8990d367af38e","sum":"09612b07b5ecb5a5","patch":[]}"#
    );
    let error = envelope::decode(text.replace(":7,", ":8,").as_bytes()).unwrap_err().to_string();
    assert!(error.ends_with("and should be `12f8990d367af38e`"), "{error}");
    let older = text.replace(r#""head":"12f8990d367af38e","#, "");
    assert_eq!(
        envelope::decode(older.as_bytes()).unwrap().position,
        AT,
        "of a controller that writes no head"
    );
    let error = envelope::decode(text.replace("[]", "[ ]").as_bytes()).unwrap_err().to_string();
    assert!(error.ends_with("and should be `09612b07b5ecb5a5`"), "{error}");
    assert_eq!(envelope::decode(b"hello").unwrap_err().to_string(), "not an envelope of the feed");
}

#[test]
fn a_snapshot_is_json_that_a_person_can_read() {
    let mut graph = mk_graph(&["shop/api:80", "shop/db"]);
    let (id, edge) = mk_edge("shop/deployment/web", "shop/api:80");
    graph.edges.insert(
        id,
        Arc::new(Edge { client_identity: Some("web.shop.example".into()), ..Edge::clone(&edge) }),
    );
    let document = document(&snapshot::encode(AT, AS_OF_MS, &graph));
    assert_eq!(
        (&document["version"], &document["epoch"], &document["entries"]),
        (&json!(2), &json!(AT.epoch), &json!(3))
    );
    assert_eq!(
        (&document["graph"]["edges"], &document["graph"]["namespaces"]["shop"]),
        (&json!({}), &json!({}))
    );
    assert_eq!(
        document["edges"],
        json!({
            "sources": ["shop/deployment/web"],
            "destinations": ["shop/api:80", "shop/db"],
            "clients": ["web.shop.example"],
            "calls": [{"protocol": "http", "tls": "mutual", "observed_by": "client"}],
            "source": [0, 0],
            "destination": [0, 1],
            "client": [0, null],
            "call": [0, 0],
        })
    );
}

fn document(bytes: &[u8]) -> Value {
    serde_json::from_reader(flate2::read::GzDecoder::new(bytes)).unwrap()
}

/// The document as version 1 has it: with the edges in the graph.
fn written_out(mut document: Value, graph: &Graph) -> Value {
    document["version"] = json!(snapshot::WRITTEN_OUT);
    document["graph"] = serde_json::to_value(graph).unwrap();
    document.as_object_mut().unwrap().remove("edges");
    document
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn read(document: &Value) -> Result<Graph, snapshot::Error> {
    snapshot::decode(&gzip(document.to_string().as_bytes()), Limits::SNAPSHOT).map(|it| it.graph)
}

fn tampered(change: impl FnOnce(&mut Value)) -> String {
    let mut document = document(&snapshot::encode(AT, AS_OF_MS, &mk_graph(&["shop/api:80"])));
    change(&mut document);
    chain(&read(&document).unwrap_err())
}

/// A newer controller feeds an older replica during an upgrade, and the other way round.
#[test]
fn fields_that_a_reader_does_not_know_are_read_past_and_missing_ones_have_their_default() {
    let graph = mk_graph(&["shop/api:80"]);
    let document = document(&snapshot::encode(AT, AS_OF_MS, &graph));
    let mut newer = document.clone();
    newer["edges"]["spin"] = json!([{"up": 1}]);
    newer["edges"]["calls"][0]["spin"] = json!({"up": 1});
    newer["graph"]["namespaces"]["shop"]["mood"] = json!("fine");
    newer["written_by"] = json!("a newer one");
    assert_eq!(read(&newer).unwrap(), graph);
    let mut older = written_out(document.clone(), &graph);
    assert_eq!(read(&older).unwrap(), graph);
    let fields = older["graph"]["edges"]["shop/deployment/web->shop/api:80"].as_object_mut().unwrap();
    fields.insert("spin".to_owned(), json!({"up": 1}));
    assert_eq!(read(&older).unwrap(), graph);
    // A whole map that the reader does not know may hold what answers depend on.
    let mut maps = document;
    maps["graph"]["wormholes"] = json!({"a": {}});
    maps["entries"] = json!(3);
    assert!(read(&maps).is_err());

    let patch = json!([{"op": "add", "path": "/namespaces/shop", "value": {"mood": "fine"}}]);
    let delta = patch::decode(&patch.to_string()).unwrap();
    assert_eq!(delta::diff(&Graph::default(), &Graph { edges: imbl::OrdMap::new(), ..graph }), delta);
}

#[test]
fn a_poisoned_snapshot_is_refused_with_what_is_wrong() {
    assert_eq!(
        tampered(|document| *document = json!({"version": 3, "shape": "other"})),
        "the snapshot has version 3 and this program reads versions 1 and 2; run the same version everywhere"
    );
    assert_eq!(
        tampered(|document| document["entries"] = json!(1_000_000_000)),
        "the snapshot has 2 entries and says it has 1000000000"
    );
    let sum = tampered(|document| document["sum"] = json!("0"));
    assert!(
        sum.starts_with("the checksum of the snapshot's keys is `") && sum.ends_with("should be `0`"),
        "{sum}"
    );
    assert_eq!(
        tampered(|document| {
            *document = written_out(document.clone(), &mk_graph(&["shop/api:80"]));
            document["graph"]["edges"]["shop/deployment/web->shop/api:80"]["dst"] = json!("shop/db");
        }),
        "the edge `shop/deployment/web->shop/api:80` has other ends than its id says"
    );
    let key = tampered(|document| document["graph"]["services"]["web"] = json!({}));
    assert!(key.contains("`web` is not of the form `namespace/name`"), "{key}");
    let garbage = chain(&snapshot::decode(b"hello", Limits::SNAPSHOT).unwrap_err());
    assert!(garbage.starts_with("the snapshot is not whole gzip data: "), "{garbage}");
}

#[test]
fn a_poisoned_table_of_edges_is_refused_with_what_is_wrong() {
    let said = "the edges of the snapshot cannot be put together: ";
    for (change, wanted) in [
        ((|edges| edges["call"] = json!([0, 0])) as fn(&mut Value), "the columns have [1, 1, 1, 2] rows"),
        (|edges| edges["source"] = json!([1]), "row 0 names entry 1 of a list that has 1"),
        (|edges| edges["destination"] = json!([7]), "row 0 names entry 7 of a list that has 1"),
        (|edges| edges["client"] = json!([0]), "row 0 names entry 0 of a list that has 0"),
        (|edges| edges["calls"] = json!([]), "row 0 names entry 0 of a list that has 0"),
        (
            |edges| edges["sources"] = json!(["web"]),
            "an end of an edge cannot be read: `web` is not of the form `namespace/kind/name`",
        ),
    ] {
        assert_eq!(tampered(|document| change(&mut document["edges"])), format!("{said}{wanted}"));
    }
    assert_eq!(
        tampered(|document| document["graph"] = serde_json::to_value(mk_graph(&["shop/api:80"])).unwrap()),
        format!("{said}they are there twice")
    );
    let twice = |edges: &mut Value| {
        ["source", "destination", "call"].into_iter().for_each(|column| edges[column] = json!([0, 0]));
        edges["client"] = json!([null, null]);
    };
    assert_eq!(
        tampered(|document| {
            twice(&mut document["edges"]);
            document["entries"] = json!(3);
        }),
        "the snapshot has 2 entries and says it has 3"
    );
    assert_eq!(
        tampered(|document| drop(document.as_object_mut().unwrap().remove("edges"))),
        "the snapshot has 1 entries and says it has 2"
    );
    let other = tampered(|document| document["edges"]["destinations"] = json!(["shop/db"]));
    assert!(other.starts_with("the checksum of the snapshot's keys is `"), "{other}");
}

/// A row of a few bytes may name a list of thousands.
#[test]
fn a_table_of_edges_is_put_together_up_to_the_limit() {
    let workloads: Vec<_> = (0..1000).map(|at| format!("shop/deployment/w{at}")).collect();
    let mut document = document(&snapshot::encode(AT, AS_OF_MS, &mk_graph(&["shop/api:80"])));
    document["edges"]["calls"][0]["workloads"] = json!(workloads);
    assert!(read(&document).is_ok());
    for column in ["source", "destination", "call"] {
        document["edges"][column] = json!(vec![0; 100]);
    }
    document["edges"]["client"] = json!(vec![Value::Null; 100]);
    let limits = Limits { compressed: 1 << 20, decompressed: 1 << 20 };
    assert!(document.to_string().len() < limits.decompressed / 10);
    assert_eq!(
        snapshot::decode(&gzip(document.to_string().as_bytes()), limits).unwrap_err().to_string(),
        "the snapshot has more than 1048576 bytes in its edges; raise the limit if the mesh is really that large"
    );
}

#[test]
fn decompression_stops_at_the_limit() {
    let limits = Limits { compressed: 1 << 20, decompressed: 1 << 20 };
    let bomb = vec![b' '; 8 << 20];
    assert_eq!(
        snapshot::decode(&gzip(&bomb), limits).unwrap_err().to_string(),
        "the snapshot has more than 1048576 bytes decompressed; raise the limit if the mesh is really that large"
    );
    assert_eq!(
        frame::decode(&zstd::bulk::compress(&bomb, 1).unwrap(), limits).unwrap_err().to_string(),
        "the metric frame has more than 1048576 bytes decompressed"
    );
    assert!(matches!(
        snapshot::decode(&bomb, limits),
        Err(snapshot::Error::TooLarge { form: "compressed", .. })
    ));
    assert!(matches!(frame::decode(&bomb, limits), Err(frame::Error::TooLarge { form: "compressed", .. })));
}

#[test]
fn a_frame_fits_only_the_edges_it_was_written_for() {
    let (before, after) = (mk_graph(&["shop/api:80"]), mk_graph(&["shop/api:80", "shop/db:80"]));
    let other = mk_graph(&["shop/db:80"]);
    let row = EdgeMetrics { rps: Some(1.5), ..EdgeMetrics::default() };
    let (id, _) = mk_edge("shop/deployment/web", "shop/api:80");
    let metrics = Metrics::new(MetricsStatus::default(), vec![(id, row)]);
    let bytes = frame::encode(AT, &after, after.edges_hash(), &metrics);
    let frame = frame::decode(&bytes, Limits::FRAME).unwrap();
    assert_eq!(frame.fit(&before, before.edges_hash()), Err(frame::OtherEdges { wanted: 2, found: 1 }));
    assert_eq!(frame.fit(&other, other.edges_hash()), Err(frame::OtherEdges { wanted: 2, found: 1 }));
    assert_eq!(frame.fit(&after, after.edges_hash()), Ok(metrics));
}

#[test]
fn numbers_that_cannot_be_are_absent_and_small_ones_are_not_zero() {
    let graph = mk_graph(&["shop/api:80"]);
    let (id, _) = mk_edge("shop/deployment/web", "shop/api:80");
    let row = EdgeMetrics {
        rps: Some(1e-9),
        success_rate: Some(1.5),
        p50_ms: Some(f64::NAN),
        p95_ms: Some(f64::INFINITY),
        p99_ms: Some(-1.0),
        sent: Some(1e300),
        denied: Some(0.0),
        ..EdgeMetrics::default()
    };
    let metrics = Metrics::new(MetricsStatus::default(), vec![(id.clone(), row)]);
    let bytes = frame::encode(AT, &graph, graph.edges_hash(), &metrics);
    let back = frame::decode(&bytes, Limits::FRAME).unwrap().fit(&graph, graph.edges_hash()).unwrap();
    let wanted = EdgeMetrics { rps: Some(0.001), denied: Some(0.0), ..EdgeMetrics::default() };
    assert_eq!(back.get(&id), Some(&wanted));
}

#[test]
fn a_poisoned_frame_is_refused_with_what_is_wrong() {
    let column = |field, scale, values: &[u64]| Column { field, scale, values: values.to_vec() };
    let mk_frame = |change: &dyn Fn(&mut MetricColumns)| {
        let mut columns = MetricColumns {
            edge_count: 1,
            status_json: serde_json::to_vec(&MetricsStatus::default()).unwrap().into(),
            ..MetricColumns::default()
        };
        change(&mut columns);
        let bytes = zstd::bulk::compress(&columns.encode_to_vec(), 1).unwrap();
        frame::decode(&bytes, Limits::FRAME).map(|_| ()).map_err(|error| error.to_string())
    };
    // A column of a later version is skipped, so that old replicas can read a new controller.
    assert_eq!(mk_frame(&|columns| columns.columns = vec![column(99, 1, &[3])]), Ok(()));
    for (columns, wanted) in [
        (vec![column(1, 1000, &[1, 1])], "column 1 of the metric frame has 2 values for 1 edges"),
        (vec![column(1, 0, &[1])], "column 1 of the metric frame comes twice or has the scale 0"),
        (vec![column(1, 9, &[1]); 2], "column 1 of the metric frame comes twice or has the scale 9"),
        (vec![column(14, 10, &[1])], "column 14 of the metric frame comes twice or has the scale 10"),
        (vec![column(1, 1000, &[2])], "column 1 of the metric frame has a number out of range"),
        (vec![column(2, 1, &[5])], "column 2 of the metric frame has a number out of range"),
    ] {
        assert_eq!(mk_frame(&|frame| frame.columns = columns.clone()), Err(wanted.to_owned()));
    }
    assert_eq!(
        mk_frame(&|frame| frame.authorization_index = vec![0]),
        Err("the metric frame names list 0 of authorizations, which it does not have".to_owned())
    );
    assert_eq!(
        mk_frame(&|frame| frame.status_json = "no".into()),
        Err("the status in the metric frame is not one".to_owned())
    );
    assert_eq!(
        frame::decode(b"hello", Limits::FRAME).unwrap_err().to_string(),
        "the metric frame is not whole zstd data"
    );
}
