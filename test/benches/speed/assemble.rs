//! Facts and traffic into the graph, and Prometheus' answers into rows.

use crate::{
    measure::{Table, compare, size},
    mesh::{self, LARGE, NOW_MS, SMALL, Size},
};
use ahash::AHashMap;
use linkerd_mcp_graph::{
    delta,
    fact::{Change, Fact, Key, OwnerRef, Pod, PolicyObject},
    index::Index,
    kind::Kind,
    promql::{Ask, answer},
    traffic::Traffic,
};
use serde::{Deserialize, de};
use serde_json::json;
use std::{fmt, marker::PhantomData, sync::Arc};

/// Ten thousand pods.
const PODS: Size = Size { services: 2_500, edges: 25_000, pods_per_service: 4 };

pub(crate) fn assemble(table: &mut Table) {
    one_change(table);
    for (size, rounds) in
        [(Size { services: 100, edges: 1_000, pods_per_service: 2 }, 15), (SMALL, 11), (LARGE, 5)]
    {
        one_poll(table, size, rounds);
    }
    for (size, rounds) in [(SMALL, 15), (LARGE, 7)] {
        parse(table, size, rounds);
    }
}

/// One object changes in a mesh of ten thousand pods.
fn one_change(table: &mut Table) {
    let mut index = PODS.mesh().index;
    // A Deployment of a hundred pods, and pods of an owner that is no kind of Kubernetes' own.
    for nth in 0..100 {
        index.change(Change::Apply(Fact::Pod(Arc::new(Pod { ..mesh::pod(1, 1_000 + nth) }))));
        index.change(Change::Apply(Fact::Pod(Arc::new(exotic(nth)))));
    }
    index.change(Change::Apply(server("warm-up", 1)));
    index.refresh();
    let rows: AHashMap<Key, Arc<Pod>> = (0..10_000)
        .map(|at| (at / 4, at % 4))
        .map(|(at, nth)| Arc::new(mesh::pod(at, nth)))
        .map(|pod| (pod.key.clone(), pod))
        .collect();

    let mut steps: Vec<(&str, Vec<Change>)> = Vec::new();
    let apply = |fact| Change::Apply(fact);
    let toggled = |pod: Pod| {
        let pod = |ready| apply(Fact::Pod(Arc::new(Pod { ready, ..pod.clone() })));
        vec![pod(false), pod(true)]
    };
    steps.push(("one pod of 4 ready or not", toggled(mesh::pod(1_200, 1))));
    steps.push(("one pod of a Deployment of 104", toggled(mesh::pod(1, 1))));
    steps.push(("one pod of 100 of an owner of another kind", toggled(exotic(3))));
    steps.push((
        "a Server in a namespace of 25 workloads and 100 pods",
        (0..2).map(|n| apply(server("s", n))).collect(),
    ));
    for (what, changes) in steps {
        let mut map = rows.clone();
        let pod = Arc::new(mesh::pod(1_200, 1));
        let mut published = index.graph().clone();
        let mut turn = 0;
        let candidate = || {
            index.change(changes[turn % changes.len()].clone());
            turn += 1;
            let graph = index.refresh();
            let delta = delta::diff(&published, graph);
            assert!(!delta.is_empty());
            published = graph.clone();
            delta
        };
        let compared = compare(15, 100, candidate, || map.insert(pod.key.clone(), pod.clone()));
        table.compared(
            &format!("change, refresh and diff: {what}; floor: upsert of a pod into a HashMap"),
            compared,
            "",
        );
    }
}

fn exotic(nth: usize) -> Pod {
    let owner = OwnerRef { kind: "CloneSet".into(), name: "clones".into() };
    Pod {
        key: Key::new("team-090", format!("clones-{nth:05}")),
        owner: Some(owner),
        ..mesh::pod(2_250, 2_000 + nth)
    }
}

fn server(name: &str, variant: usize) -> Fact {
    Fact::Policy(Arc::new(PolicyObject {
        kind: Kind::Server,
        key: Key::new("team-050", name),
        api_version: "policy.linkerd.io/v1beta3".into(),
        labels: Arc::default(),
        created_ms: Some(NOW_MS),
        spec: Arc::new(
            json!({"podSelector": {"matchLabels": {"app": mesh::name(1_250 + variant)}}, "port": "http", "proxyProtocol": "HTTP/1"}),
        ),
        status: Arc::default(),
    }))
}

/// One poll: edges and numbers from rows, then what of it is news.
fn one_poll(table: &mut Table, mesh_size: Size, rounds: u32) {
    let name = mesh_size.name();
    let traffic = mesh_size.traffic();
    let mut index: Index = mesh_size.mesh().index;
    let body = mesh_size.answer(Ask::Responses).unwrap();
    let survey = mesh_size.objects().survey(&traffic);
    let alone = compare(rounds, 1, || survey.edges(&traffic, NOW_MS, 0), || borrowed(&body));
    table.compared(
        &format!("Survey::edges, none known before, {name}, 13 answers; floor: borrowed parse of one answer"),
        alone,
        "",
    );
    let whole = compare(
        rounds,
        1,
        || {
            let before = index.graph().clone();
            index.traffic(&traffic, mesh::status(), NOW_MS, 600_000);
            assert!(delta::diff(&before, index.graph()).is_empty());
        },
        || borrowed(&body),
    );
    table.compared(&format!("Index::traffic and diff, nothing new, {name}; floor: the same"), whole, "");
    let made = index.survey(&traffic).edges(&traffic, NOW_MS, 600_000);
    let own = compare(
        rounds,
        1,
        || {
            let before = index.graph().clone();
            let survey = index.survey(&traffic);
            index.polled(made.clone(), mesh::status());
            assert!(delta::diff(&before, index.graph()).is_empty());
            survey
        },
        || borrowed(&body),
    );
    table.compared(&format!("what of it holds up changes of objects, {name}; floor: the same"), own, "");
}

/// One answer of Prometheus.
fn parse(table: &mut Table, mesh_size: Size, rounds: u32) {
    let body = mesh_size.answer(Ask::Responses).unwrap();
    let note = size(body.len());
    let compared = compare(rounds, 1, || answer::parse(&body, usize::MAX).unwrap(), || borrowed(&body));
    let rows = mesh_size.edges;
    table.compared(
        &format!("PromQL answer, {rows} rows; floor: serde_json into borrowed rows"),
        compared,
        &note,
    );
    let parsed = answer::parse(&body, usize::MAX).unwrap();
    let read = || {
        let mut traffic = Traffic::default();
        traffic.read(Ask::Responses, &parsed);
        traffic
    };
    table.compared(
        &format!("Traffic::read, {rows} rows; floor: the same"),
        compare(rounds, 1, read, || borrowed(&body)),
        "",
    );
}

/// The least that reading the body with serde_json takes: labels borrowed, values parsed.
fn borrowed(body: &str) -> Vec<(Vec<(&str, &str)>, f64)> {
    let answer: FloorAnswer<'_> = serde_json::from_str(body).unwrap();
    answer.data.result.into_iter().map(|row| (row.metric.0, row.value.1.parse().unwrap())).collect()
}

#[derive(Deserialize)]
struct FloorAnswer<'a> {
    #[serde(borrow)]
    data: FloorData<'a>,
}

#[derive(Deserialize)]
struct FloorData<'a> {
    #[serde(borrow)]
    result: Vec<FloorRow<'a>>,
}

#[derive(Deserialize)]
struct FloorRow<'a> {
    #[serde(borrow)]
    metric: FloorLabels<'a>,
    value: (f64, &'a str),
}

struct FloorLabels<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for FloorLabels<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> de::Visitor<'de> for Visitor<'a> {
            type Value = FloorLabels<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(16);
                while let Some(label) = map.next_entry()? {
                    labels.push(label);
                }
                Ok(FloorLabels(labels))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}
