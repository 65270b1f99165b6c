//! A mesh for inputs to meet: the objects of `test/fixtures/mesh` and the traffic of the recorded proxies.

use flate2::read::GzDecoder;
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact},
    feed::Position,
    id::Text,
    index::Index,
    kind::{KINDS, Kind},
    metrics::Metrics,
    model::Graph,
    promql::{
        Ask,
        eval::{Samples, Series},
        exposition, queries,
    },
    status::MetricsStatus,
    traffic::Traffic,
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::{io::Read as _, sync::LazyLock};

/// Where the mesh's graph stands in the feed.
pub(crate) const AT: Position = Position { epoch: 1_735_689_600_000, seq: 7 };

/// When it was taken, in milliseconds since the Unix epoch.
pub(crate) const AS_OF_MS: i64 = 1_735_689_601_000;

/// How long edges without traffic are kept, in milliseconds.
const RETAIN_MS: i64 = 600_000;

/// The objects, as manifests.
const MANIFESTS: [&str; 12] = [
    include_str!("../../test/fixtures/mesh/00-cluster.yaml"),
    include_str!("../../test/fixtures/mesh/10-linkerd.yaml"),
    include_str!("../../test/fixtures/mesh/11-viz.yaml"),
    include_str!("../../test/fixtures/mesh/20-vote-bot.yaml"),
    include_str!("../../test/fixtures/mesh/21-web.yaml"),
    include_str!("../../test/fixtures/mesh/22-emoji.yaml"),
    include_str!("../../test/fixtures/mesh/23-voting.yaml"),
    include_str!("../../test/fixtures/mesh/24-db.yaml"),
    include_str!("../../test/fixtures/mesh/30-intruder.yaml"),
    include_str!("../../test/fixtures/mesh/31-legacy.yaml"),
    include_str!("../../test/fixtures/mesh/40-inbound-policy.yaml"),
    include_str!("../../test/fixtures/mesh/41-outbound-policy.yaml"),
];

macro_rules! recorded {
    ($($pod:literal),*) => {
        [$((
            $pod,
            include_bytes!(concat!("../../test/fixtures/linkerd-proxy/", $pod, "-1.prom.gz")).as_slice(),
            include_bytes!(concat!("../../test/fixtures/linkerd-proxy/", $pod, "-2.prom.gz")).as_slice(),
        )),*]
    };
}

/// File prefix, first and second capture.
const RECORDED: [(&str, &[u8], &[u8]); 6] =
    recorded!["vote-bot", "web", "emoji-a", "voting", "db", "intruder"];

const TARGETS: &str = include_str!("../../test/fixtures/linkerd-proxy/targets.json");

static GRAPH: LazyLock<(Graph, Metrics)> = LazyLock::new(|| {
    let mut index = index();
    let mut traffic = Traffic::default();
    let series = series();
    let samples = Samples::of(&series);
    for query in queries::all() {
        traffic.read(query.ask, &samples.evaluate(&query));
    }
    index.traffic(&traffic, MetricsStatus::default(), AS_OF_MS, RETAIN_MS);
    assert!(index.graph().edges.len() > 5, "the recordings make edges");
    (index.graph().clone(), Metrics::clone(index.metrics()))
});

/// The mesh with its edges.
pub(crate) fn graph() -> &'static Graph {
    &GRAPH.0
}

/// The numbers of its edges.
pub(crate) fn metrics() -> &'static Metrics {
    &GRAPH.1
}

/// Every object with its kind.
pub(crate) fn objects() -> Vec<(Kind, Value)> {
    let documents = MANIFESTS.iter().flat_map(|text| serde_yaml::Deserializer::from_str(text));
    let values = documents.map(|one| Value::deserialize(one).expect("the fixtures are YAML"));
    values.filter_map(|object| Some((kind_of(&object)?, object))).collect()
}

/// An index that knows the objects and has no edges.
pub(crate) fn index() -> Index {
    let mut index = Index::new(Cluster::default());
    for fact in facts() {
        index.change(Change::Apply(fact));
    }
    index.refresh();
    index
}

/// Takes in one poll as the controller does.
pub(crate) fn poll(index: &mut Index, traffic: &Traffic) {
    index.traffic(traffic, MetricsStatus::default(), AS_OF_MS, RETAIN_MS);
}

/// Drops all edges: long after the last poll nothing has been seen.
pub(crate) fn forget(index: &mut Index) {
    let later = AS_OF_MS + 2 * RETAIN_MS;
    index.traffic(&Traffic::default(), MetricsStatus::default(), later, RETAIN_MS);
    assert!(index.graph().edges.is_empty(), "edges without traffic go");
}

/// The kind that a manifest is of.
pub(crate) fn kind_of(object: &Value) -> Option<Kind> {
    let name = object.get("kind")?.as_str()?;
    let group = object.get("apiVersion")?.as_str()?.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().find(|row| row.name == name && row.group == group).map(|row| row.kind)
}

/// What Prometheus answers to each query about the recordings, a few rows of each.
pub(crate) fn answers() -> Vec<(Ask, String)> {
    let series = series();
    let samples = Samples::of(&series);
    let body = |ask, rows: &[_]| {
        let body = json!({"status": "success", "data": {"resultType": "vector", "result": rows}});
        (ask, body.to_string())
    };
    queries::all()
        .into_iter()
        .map(|query| {
            let answer = samples.evaluate(&query);
            let row = |row: &linkerd_mcp_graph::promql::answer::Row<'_>| {
                let labels: serde_json::Map<String, Value> =
                    row.labels.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
                json!({"metric": labels, "value": [1_735_689_601.5, row.value.to_string()]})
            };
            body(query.ask, &answer.rows.iter().take(3).map(row).collect::<Vec<_>>())
        })
        .collect()
}

fn facts() -> impl Iterator<Item = Fact> {
    objects()
        .into_iter()
        .map(|(kind, object)| fact_from_value(kind, &object).expect("the fixtures are objects"))
}

fn series() -> Vec<Series> {
    let targets: Value = serde_json::from_str(TARGETS).expect("the targets are JSON");
    let mut all = Vec::new();
    for (pod, first, second) in RECORDED {
        let labels = targets[pod]["labels"].as_object().expect("every recording has labels");
        let labels: Vec<(Text, Text)> = labels
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        let read =
            |bytes, at| exposition::parse(&inflated(bytes), at, &labels).expect("recordings can be read");
        for (mut before, after) in read(first, 0.0).into_iter().zip(read(second, 20.0)) {
            before.samples.extend(after.samples);
            all.push(before);
        }
    }
    all
}

/// What was gzipped.
pub(crate) fn inflated(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).expect("the fixtures are gzipped text");
    text
}
