//! What the controller reads from Prometheus.

use crate::{mesh, seed, split};
use linkerd_mcp_controller::fuzz::scrape_interval;
use linkerd_mcp_graph::{
    index::Index,
    promql::{answer, queries},
    traffic::Traffic,
    wire::{Limits, frame, snapshot},
};
use std::cell::RefCell;

/// Rows of one answer.
const MAX_SERIES: usize = 50;

thread_local! {
    static INDEX: RefCell<Index> = RefCell::new(mesh::index());
}

/// Form `y`: an answer about Prometheus' configuration. Other: answers to queries, a line each, whose first byte says
/// to which query.
pub fn run(input: &[u8]) {
    match split(input) {
        (b'y', text) => {
            let interval = scrape_interval(&String::from_utf8_lossy(text));
            assert!(interval.is_none_or(|seconds| seconds > 0.0), "an interval is a time");
        }
        (_, lines) => polled(lines),
    }
}

fn polled(lines: &[u8]) {
    let queries = queries::all();
    let mut traffic = Traffic::default();
    let mut any = false;
    for line in lines.split(|byte| *byte == b'\n').take(queries.len()) {
        let (nth, body) = split(line);
        let body = String::from_utf8_lossy(body);
        if let Ok(answer) = answer::parse(&body, MAX_SERIES) {
            assert!(answer.rows.len() + answer.not_finite <= MAX_SERIES, "the limit holds");
            assert!(answer.rows.iter().all(|row| row.value.is_finite()), "numbers are numbers");
            traffic.read(queries[usize::from(nth.wrapping_sub(b'0')) % queries.len()].ask, &answer);
            any = true;
        }
    }
    if !any {
        return;
    }
    INDEX.with_borrow_mut(|index| published(index, &traffic));
}

/// Whatever Prometheus says: what is published can be read.
fn published(index: &mut Index, traffic: &Traffic) {
    mesh::forget(index);
    mesh::poll(index, traffic);
    let _ = traffic.coverage(index.facts());
    let graph = index.graph();
    let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, graph);
    let back = snapshot::decode(&bytes, Limits::SNAPSHOT).expect("replicas can read what is published");
    assert_eq!(back.graph, *graph);
    let frame = frame::encode(mesh::AT, graph, graph.edges_hash(), index.metrics());
    let frame = frame::decode(&frame, Limits::FRAME).expect("replicas can read the numbers");
    frame.fit(graph, graph.edges_hash()).expect("and they belong to the graph");
}

/// The recorded answers to every query, alone and all together, and what is no answer.
pub fn seeds() -> Vec<Vec<u8>> {
    let line = |(nth, (_, body)): (u8, &(_, String))| [&[b'0' + nth], body.as_bytes()].concat();
    let answers = mesh::answers();
    let lines: Vec<_> = (0..).zip(&answers).map(line).collect();
    let mut seeds: Vec<_> = lines.iter().map(|line| seed(b'a', line)).collect();
    seeds.push(seed(b'a', lines.join(&b'\n')));
    for other in [
        "0<html><body>Sign in",
        r#"0{"status":"error","errorType":"bad_data","error":"parse error"}"#,
        r#"0{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
        r#"0{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]},"warnings":["x"]}"#,
    ] {
        seeds.push(seed(b'a', other));
    }
    // Labels that are no names: a scraper may write anything into them.
    for name in ["a/b", "a b", "\u{e9}", "->", "external:x>y", &"a".repeat(600)] {
        for (nth, (_, body)) in (0..).zip(&answers).step_by(3) {
            for real in ["web", "voting", "emojivoto", "vote-bot"] {
                let body = body.replace(&format!("\"{real}\""), &serde_json::json!(name).to_string());
                seeds.push(seed(b'a', [&[b'0' + nth], body.as_bytes()].concat()));
            }
        }
    }
    let yaml = "global:\n  scrape_interval: 1m30s\nscrape_configs:\n- job_name: linkerd/linkerd-proxy\n  scrape_interval: 10s\n";
    seeds.push(seed(b'y', serde_json::json!({"status": "success", "data": {"yaml": yaml}}).to_string()));
    seeds
}
