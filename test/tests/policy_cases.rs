//! Compares our reading of Linkerd's policy with what its real policy controller answered: every answer of every
//! recorded case, from the objects' JSON through the watch's own parsing to the answer's JSON.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use flate2::read::GzDecoder;
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    fact::{Change, Fact, Key},
    facts::{Facts, Touched},
    kind::{KINDS, Kind},
    policy::{Answer, Objects, Policies, PolicyCluster, Target, WorkloadKey},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
};

const CASES: &[u8] = include_bytes!("../fixtures/policy-controller/cases.jsonl.gz");

#[derive(Deserialize)]
struct Case {
    name: String,
    why: String,
    cluster: PolicyCluster,
    objects: Vec<Value>,
    answers: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    namespace: String,
    pod: Option<String>,
    external_workload: Option<String>,
    port: u32,
    status: String,
    server: Option<Value>,
}

fn cases() -> Vec<Case> {
    let lines = BufReader::new(GzDecoder::new(CASES)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// The kind of an object, by its group and name.
fn kind(object: &Value) -> Kind {
    let api_version = object["apiVersion"].as_str().unwrap();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let named = |row: &&linkerd_mcp_graph::kind::KindRow| row.group == group && object["kind"] == row.name;
    KINDS.iter().find(named).unwrap_or_else(|| panic!("no kind for {group} {}", object["kind"])).kind
}

fn fact(object: &Value) -> Fact {
    fact_from_value(kind(object), object).unwrap()
}

fn facts(changes: impl IntoIterator<Item = Change>) -> Facts {
    let (mut facts, mut touched) = (Facts::default(), Touched::default());
    for change in changes {
        facts.change(change, &mut touched);
    }
    facts
}

impl Recorded {
    fn workload(&self) -> WorkloadKey {
        match (&self.pod, &self.external_workload) {
            (Some(pod), None) => WorkloadKey::Pod(Key::new(self.namespace.as_str(), pod.as_str())),
            (None, Some(name)) => {
                WorkloadKey::ExternalWorkload(Key::new(self.namespace.as_str(), name.as_str()))
            }
            other => panic!("an answer is about one workload: {other:?}"),
        }
    }

    /// What differs, `None` when nothing does.
    fn difference(&self, answer: &Answer) -> Option<String> {
        let ours = json!(answer.server());
        let recorded = self.server.clone().unwrap_or(Value::Null);
        (answer.status() != self.status || ours != recorded).then(|| {
            format!(
                "{:?} port {}:\n  ours     {} {ours}\n  recorded {} {recorded}",
                self.workload(),
                self.port,
                answer.status(),
                self.status
            )
        })
    }
}

/// Compares all answers of a case, as one text with what differs.
fn differences(case: &Case, policies: &Policies, facts: &Facts) -> Vec<String> {
    case.answers
        .iter()
        .filter_map(|recorded| {
            recorded.difference(&policies.answer(facts, &recorded.workload(), recorded.port))
        })
        .map(|difference| format!("{} ({})\n  {difference}", case.name, case.why))
        .collect()
}

/// Shuffles by a fixed rule, another one for each seed.
fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for at in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(at, usize::try_from(state % (at as u64 + 1)).unwrap());
    }
    items
}

fn check(all: Vec<String>) {
    assert!(all.is_empty(), "{} answers differ:\n{}", all.len(), all[..all.len().min(20)].join("\n"));
}

#[test]
fn every_recorded_answer_is_the_one_we_resolve() {
    let cases = cases();
    let (mut compared, mut different, mut by_status) = (0, Vec::new(), BTreeMap::<&str, u32>::new());
    for case in &cases {
        let facts = facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        different.extend(differences(case, &Policies::read(&facts, &case.cluster), &facts));
        compared += case.answers.len();
        case.answers.iter().for_each(|answer| *by_status.entry(&answer.status).or_default() += 1);
    }
    println!(
        "{} cases, {compared} answers compared ({by_status:?}), {} differ",
        cases.len(),
        different.len()
    );
    assert_eq!((cases.len(), compared), (299, 3_698));
    check(different);
}

#[test]
fn acceptance_computed_by_rule_is_the_one_that_linkerd_writes_into_status() {
    let mut different = Vec::new();
    for mut case in cases() {
        case.cluster.trust_status = false;
        let read = facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        different.extend(differences(&case, &Policies::read(&read, &case.cluster), &read));
        case.cluster.trust_status = true;
        let bare = facts(case.objects.iter().map(|object| {
            let mut object = object.clone();
            object.as_object_mut().unwrap().remove("status");
            Change::Apply(fact(&object))
        }));
        different.extend(differences(&case, &Policies::read(&bare, &case.cluster), &bare));
    }
    check(different);
}

#[test]
fn one_namespace_alone_gives_the_same_answers_as_all_of_them() {
    let mut different = Vec::new();
    for case in cases() {
        let facts = facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        for recorded in &case.answers {
            let answer = linkerd_mcp_graph::policy::resolve(
                &facts,
                &case.cluster,
                &recorded.workload(),
                recorded.port,
            );
            different.extend(recorded.difference(&answer).map(|what| format!("{} {what}", case.name)));
        }
    }
    check(different);
}

/// Objects come in any order, some twice, some first as what they are not, and beside objects of the next case, which
/// then go.
#[test]
fn the_order_of_events_does_not_matter() {
    let cases = cases();
    let mut different = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let others = &cases[(at + 1) % cases.len()].objects;
        let stray: Vec<Fact> = others.iter().map(fact).collect();
        let mut events: Vec<Change> = stray.iter().cloned().map(Change::Apply).collect();
        let kept: Vec<Fact> = case.objects.iter().map(fact).collect();
        events.extend(shuffled(kept.clone(), at as u64).into_iter().map(Change::Apply));
        let ours = |fact: &Fact| kept.iter().any(|own| own.kind() == fact.kind() && own.key() == fact.key());
        let gone = stray.iter().filter(|fact| !ours(fact));
        let deletions: Vec<Change> =
            gone.map(|fact| Change::Delete(fact.kind(), fact.key().clone())).collect();
        events.extend(shuffled(deletions, at as u64 + 1));
        events.extend(shuffled(kept.clone(), at as u64 + 2).into_iter().take(3).map(Change::Apply));
        let facts = facts(events);
        different.extend(differences(case, &Policies::read(&facts, &case.cluster), &facts));
    }
    check(different);
}

/// 9999 was asked everywhere as a port that nothing is said about.
#[test]
fn the_ports_of_a_workload_are_those_the_controller_was_asked_about() {
    for case in cases() {
        let facts = facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        let mut asked = BTreeMap::<WorkloadKey, BTreeSet<u32>>::new();
        for recorded in &case.answers {
            asked.entry(recorded.workload()).or_default().insert(recorded.port);
        }
        for (workload, asked) in asked {
            if let Some(target) = Target::find(&facts, &workload) {
                let mut ports = target.ports(&Objects::of_facts(&facts));
                ports.insert(9_999);
                assert_eq!(ports, asked, "{} {workload:?}", case.name);
            }
        }
    }
}
