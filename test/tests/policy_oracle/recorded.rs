//! The oracle by itself: what it derives from the recorded objects is what the real controller answered.

use flate2::read::GzDecoder;
use linkerd_mcp_test::oracle::{Oracle, Workload};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

const CASES: &[u8] = include_bytes!("../../fixtures/policy-controller/cases.jsonl.gz");

/// The recorded cases.
pub(crate) fn cases() -> Vec<Value> {
    let lines = BufReader::new(GzDecoder::new(CASES)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// Takes away what decides nothing (filters), and sorts what has no order (authorizations).
pub(crate) fn comparable(mut answer: Value) -> Value {
    normalize(&mut answer);
    answer
}

fn normalize(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("filters");
            map.values_mut().for_each(normalize);
            if let Some(Value::Array(authorizations)) = map.get_mut("authorizations") {
                authorizations.sort_by_key(Value::to_string);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        _ => {}
    }
}

#[test]
fn the_oracle_gives_every_recorded_answer() {
    let (mut compared, mut different) = (0, Vec::new());
    for case in cases() {
        let oracle =
            Oracle { objects: case["objects"].as_array().unwrap(), cluster: &case["cluster"], flaw: None };
        for recorded in case["answers"].as_array().unwrap() {
            let kind = if recorded["pod"].is_string() { "Pod" } else { "ExternalWorkload" };
            let name = recorded["pod"].as_str().or(recorded["external_workload"].as_str()).unwrap();
            let namespace = recorded["namespace"].as_str().unwrap().to_owned();
            let workload = Workload { kind, namespace, name: name.to_owned() };
            let port = u32::try_from(recorded["port"].as_u64().unwrap()).unwrap();
            let ours = comparable(oracle.answer(&workload, port));
            let mut expected = json!({"status": recorded["status"]});
            if let Some(server) = recorded.get("server") {
                expected["server"] = server.clone();
            }
            let expected = comparable(expected);
            compared += 1;
            if ours != expected {
                different.push(format!(
                    "{} {workload:?} {port}\n  oracle   {ours}\n  recorded {expected}",
                    case["name"]
                ));
            }
        }
    }
    assert_eq!(compared, 3_698);
    assert!(
        different.is_empty(),
        "{} answers differ:\n{}",
        different.len(),
        different[..different.len().min(10)].join("\n")
    );
}
