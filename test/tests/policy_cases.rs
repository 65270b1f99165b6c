//! Compares our reading of Linkerd's policy with what its real policy controller answered: every answer of every
//! recorded case, from the objects' JSON through the watch's own parsing to the answer's JSON.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use flate2::read::GzDecoder;
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, ContainerPort, Fact, Key, Labels, PolicyObject, Probe},
    facts::{Facts, Touched},
    feed::Position,
    id::WorkloadId,
    index::assemble_all,
    kind::{KINDS, Kind},
    model::Template,
    policy::{Answer, ObjectChange, Objects, Policies, PolicyCluster, Target, WorkloadKey, objects},
    wire::{Limits, snapshot},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    sync::Arc,
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

/// The pods' templates and the policies, as they come out of a snapshot at a replica.
#[test]
fn a_replica_gives_every_recorded_answer_from_the_graph_alone() {
    let (mut different, mut compared) = (Vec::new(), 0);
    for case in cases() {
        let read = || facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        let settings = Cluster { policy: Some(Arc::new(case.cluster.clone())), ..Cluster::default() };
        let graph = assemble_all(read(), &settings);
        let bytes = snapshot::encode(Position { epoch: 1, seq: 1 }, 0, &graph);
        let graph = snapshot::decode(&bytes, Limits::SNAPSHOT).unwrap().graph;
        let policies = Policies::of(Objects::of_graph(&graph), graph.cluster.as_ref().unwrap());
        let facts = read();
        for recorded in &case.answers {
            let Some(pod) = alive(&facts, &recorded.workload()) else { continue };
            let workload = graph.workloads.get(&pod.workload).unwrap();
            let template = workload.templates.iter().find(|template| pod.is_like(template)).unwrap();
            let key = Key::new(recorded.namespace.as_str(), &*template.first);
            let answer = policies.answer_of(Target::Template(&key, template), recorded.port);
            compared += 1;
            different.extend(recorded.difference(&answer).map(|what| format!("{} {what}", case.name)));
        }
    }
    println!("{compared} answers compared");
    assert!(compared > 3_500, "{compared}");
    check(different);
}

/// A pod or ExternalWorkload that has not ended.
struct Alive {
    workload: WorkloadId,
    labels: Labels,
    annotations: Labels,
    ports: Arc<[ContainerPort]>,
    probes: Arc<[Probe]>,
}

fn alive(facts: &Facts, workload: &WorkloadKey) -> Option<Alive> {
    match Target::find(facts, workload)? {
        Target::Pod(pod) if pod.ended => None,
        Target::Pod(pod) => Some(Alive {
            workload: facts.workload_of(pod),
            labels: pod.labels.clone(),
            annotations: pod.annotations.clone(),
            ports: pod.ports.clone(),
            probes: pod.probes.clone(),
        }),
        Target::ExternalWorkload(external) => Some(Alive {
            workload: facts.external_workload_id(external),
            labels: external.labels.clone(),
            annotations: external.annotations.clone(),
            ports: external.ports.clone(),
            probes: Arc::default(),
        }),
        Target::Template(..) => None,
    }
}

impl Alive {
    fn is_like(&self, template: &Template) -> bool {
        template.labels == self.labels
            && template.annotations == self.annotations
            && template.ports == self.ports
            && template.probes == self.probes
    }
}

/// Policies of one case are changed object by object into those of the next.
#[test]
fn policies_that_follow_changes_are_those_read_from_the_final_objects() {
    let cases = cases();
    let mut different = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let others = &cases[(at + 1) % cases.len()].objects;
        let before = facts(others.iter().map(|object| Change::Apply(fact(object))));
        let after = facts(case.objects.iter().map(|object| Change::Apply(fact(object))));
        let objects = |facts: &Facts| -> Vec<Arc<PolicyObject>> {
            let of = |kind: &Kind| facts.all(*kind).cloned().collect::<Vec<_>>();
            let all = objects::INBOUND.iter().flat_map(of);
            all.filter_map(|fact| if let Fact::Policy(object) = fact { Some(object) } else { None }).collect()
        };
        let (old, new) = (objects(&before), objects(&after));
        let kept =
            |object: &PolicyObject| new.iter().any(|own| own.kind == object.kind && own.key == object.key);
        let gone = old.iter().filter(|object| !kept(object));
        let changes = gone.map(|object| ObjectChange::remove(object.kind, object.key.clone()));
        let changes: Vec<ObjectChange> =
            changes.chain(new.iter().map(|object| ObjectChange::put((**object).clone()))).collect();
        let mut policies = Policies::read(&before, &case.cluster);
        let all_at_once = policies.changed(changes.clone());
        for change in shuffled(changes, at as u64) {
            policies = policies.changed([change]);
        }
        different.extend(differences(case, &policies, &after));
        different.extend(differences(case, &all_at_once, &after));
        let ignored = |policies: &Policies| -> BTreeSet<String> {
            policies.ignored().map(|ignored| ignored.id.to_string()).collect()
        };
        assert_eq!(ignored(&policies), ignored(&Policies::read(&after, &case.cluster)), "{}", case.name);
    }
    check(different);
}
