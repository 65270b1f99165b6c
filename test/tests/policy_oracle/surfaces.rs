//! The evaluator's other ways to the same answers, on random objects: policies that follow events, a replica that has
//! the graph alone, quick decisions, and the matrix.

use crate::{
    evaluator::{Evaluator, decision, outcome, policy_cluster, policy_facts, read_facts, title_of},
    generate::{Dice, Question, World, clients},
    properties::{QUESTIONS, few, worlds},
};
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Key, PolicyObject},
    index::assemble_all,
    kind::Kind,
    metrics::Metrics,
    model::{Graph, Template},
    policy::{
        ObjectChange, Objects, Policies, Target,
        ask::{Mesh, matrix},
        verdict::origin,
    },
    query,
};
use linkerd_mcp_test::oracle::{Caller, Decision, Oracle, Outcome, Workload};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// Addresses of which each network of the worlds has one, and its exceptions leave one.
const ADDRESSES: [&str; 8] =
    ["10.1.0.5", "10.1.9.9", "10.2.0.1", "10.1.77.7", "192.168.7.7", "203.0.113.9", "fd00::5", "2001:db8::1"];

/// Policies of another world become those of this one, object by object in any order, some in a wrong version first.
#[test]
fn policies_that_follow_events_decide_as_those_read_at_once() {
    for seed in 0..worlds() / 10 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let other = World { cluster: world.cluster.clone(), ..World::random(&mut dice) };
        let (wanted, stray) = (policy_facts(&world), policy_facts(&other));
        let is_wanted =
            |object: &ObjectChange| wanted.iter().any(|own| own.kind == object.kind && own.key == object.key);
        let mut early: Vec<ObjectChange> = stray.iter().cloned().map(ObjectChange::put).collect();
        for object in &wanted {
            let mut alike = stray.iter().filter(|other| other.kind == object.kind);
            if let Some(wrong) = alike.next().filter(|_| dice.one_in(2)) {
                let mut wrong = wrong.clone();
                wrong.key = object.key.clone();
                early.push(ObjectChange::put(wrong));
            }
        }
        let mut late: Vec<ObjectChange> = wanted.iter().cloned().map(ObjectChange::put).collect();
        let gone = stray.iter().map(|object| ObjectChange::remove(object.kind, object.key.clone()));
        late.extend(gone.filter(|object| !is_wanted(object)));
        dice.shuffle(&mut early);
        dice.shuffle(&mut late);
        let mut policies = Policies::of(Objects::default(), &policy_cluster(&world));
        for event in early.into_iter().chain(late) {
            policies = policies.changed([event]);
        }
        let read = Evaluator::new(&world);
        let followed = Evaluator::with_policies(&world, policies);
        for _ in 0..QUESTIONS {
            let question = Question::random(&mut dice, &world);
            let (read, followed) = (read.verdict(&question), followed.verdict(&question));
            assert_eq!(read, followed, "seed {seed} {question:?}\n{:#?}", world.objects);
        }
    }
}

/// After a single event, so that none that follows hides what it left undone. GRPCRoutes reach into other namespaces.
#[test]
fn what_goes_or_comes_counts_at_once() {
    let mut changed = 0;
    for seed in 0..worlds() / 2 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let questions: Vec<Question> = (0..QUESTIONS).map(|_| Question::random(&mut dice, &world)).collect();
        let all = Policies::read(&read_facts(&world), &policy_cluster(&world));
        let whole = Evaluator::with_policies(&world, all.clone());
        let (mut objects, mut others): (Vec<_>, Vec<_>) =
            policy_facts(&world).into_iter().partition(|object| object.kind == Kind::GRPCRoute);
        dice.shuffle(&mut others);
        objects.extend(others.into_iter().take(1));
        for object in objects {
            let gone = all.changed([ObjectChange::remove(object.kind, object.key.clone())]);
            let back = gone.changed([ObjectChange::put(object.clone())]);
            let mut less = world.clone();
            less.objects.retain(|own| !is_same(own, &object));
            let without = Evaluator::new(&less);
            let (gone, back) =
                (Evaluator::with_policies(&world, gone), Evaluator::with_policies(&world, back));
            for question in &questions {
                let told = || format!("seed {seed} {:?} {} {question:?}", object.kind, object.key);
                let (before, expected) = (whole.verdict(question), without.verdict(question));
                assert_eq!(gone.verdict(question), expected, "{}", told());
                assert_eq!(back.verdict(question), before, "{}", told());
                changed += usize::from(before != expected);
            }
        }
    }
    assert!(changed > 5 * few(), "only {changed} calls depend on an object");
}

fn is_same(object: &Value, fact: &PolicyObject) -> bool {
    let metadata = &object["metadata"];
    object["apiVersion"] == *fact.api_version
        && object["kind"] == fact.kind.row().name
        && metadata["namespace"] == *fact.key.namespace
        && metadata["name"] == *fact.key.name
}

/// A world as a replica has it.
struct Replica {
    graph: Graph,
    policies: Policies,
}

// === impl Replica ===

impl Replica {
    fn new(world: &World) -> Self {
        let cluster = Arc::new(policy_cluster(world));
        let setting = |name: &str| world.cluster[name].as_str().unwrap().into();
        let settings = Cluster {
            linkerd_namespace: setting("control_plane_namespace"),
            trust_domain: setting("identity_domain"),
            cluster_domain: setting("cluster_domain"),
            policy: Some(cluster.clone()),
        };
        let graph = assemble_all(read_facts(world), &settings);
        Self { policies: Policies::of(Objects::of_graph(&graph), &cluster), graph }
    }

    /// Pods and ExternalWorkloads: each kind of them, by the first that is of it.
    fn templates(&self) -> impl Iterator<Item = (Key, &Template)> {
        self.graph.workloads.iter().flat_map(|(id, workload)| {
            let key = |template: &Template| Key::new(id.namespace(), &*template.first);
            workload.templates.iter().map(move |template| (key(template), template))
        })
    }
}

fn workload(key: &Key, template: &Template) -> Workload {
    let kind = if template.external { "ExternalWorkload" } else { "Pod" };
    Workload { kind, namespace: key.namespace.to_string(), name: key.name.to_string() }
}

fn is_let_in(outcome: &Outcome) -> bool {
    matches!(outcome.decision, Decision::Allow | Decision::Audit)
}

/// What a replica knows of pods is their templates.
#[test]
fn a_replica_decides_as_the_oracle() {
    let mut decided = 0;
    for seed in 0..worlds() / 3 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let oracle = Oracle { objects: &world.objects, cluster: &world.cluster, flaw: None };
        let replica = Replica::new(&world);
        for (key, template) in replica.templates() {
            for _ in 0..QUESTIONS / 2 {
                let question =
                    Question { workload: workload(&key, template), ..Question::random(&mut dice, &world) };
                let (client, request) = question.in_words_of_the_evaluator();
                let (target, port) = (Target::Template(&key, template), question.port.try_into().unwrap());
                let verdict = replica.policies.check_access(&client, target, port, request.as_ref());
                assert_eq!(outcome(&verdict), question.ask(&oracle), "seed {seed} {question:?}");
                decided += 1;
            }
        }
    }
    assert!(decided > 50 * few(), "{decided}");
}

/// Lists of clients come from decisions without reasons, which must be the same.
#[test]
fn a_quick_decision_is_the_oracles_and_names_the_same_authorizations() {
    let (mut let_in, mut on_routes) = (0, 0);
    for seed in 0..worlds() / 3 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let oracle = Oracle { objects: &world.objects, cluster: &world.cluster, flaw: None };
        let replica = Replica::new(&world);
        for (key, template) in replica.templates() {
            let target = Target::Template(&key, template);
            for _ in 0..QUESTIONS / 2 {
                let asked =
                    Question { workload: workload(&key, template), ..Question::random(&mut dice, &world) };
                let port = asked.port.try_into().unwrap();
                if !target.is_enforced(port) || asked.caller.address.is_loopback() {
                    continue;
                }
                let server = replica.policies.server(target, port);
                let quick = asked.in_words_of_the_evaluator().0.decide(&server);
                let connection = Question { call: None, ..asked.clone() }.ask(&oracle);
                assert_eq!(decision(quick.decision), connection.decision, "seed {seed} {asked:?}");
                if is_let_in(&connection) {
                    let names = quick.by.iter().map(|row| title_of(&origin(&key.namespace, &row.metadata)));
                    let names: BTreeSet<String> = names.collect();
                    assert_eq!(names, connection.admitted_by, "seed {seed} {asked:?}");
                    let_in += 1;
                } else if is_let_in(&asked.ask(&oracle)) {
                    assert!(!quick.only_routes.is_empty(), "seed {seed} {asked:?}");
                    on_routes += 1;
                }
            }
        }
    }
    assert!(let_in > 10 * few() && on_routes > few() / 2, "{let_in} {on_routes}");
}

/// A field of the matrix that does not depend on the address says what holds from everywhere; others, from somewhere.
#[test]
fn the_matrix_has_those_whom_the_oracle_lets_in() {
    let mut fields = [0, 0];
    for seed in 0..worlds() / 4 {
        let mut world = World::random(&mut Dice::new(seed));
        world.objects.extend(clients(&world));
        let oracle = Oracle { objects: &world.objects, cluster: &world.cluster, flaw: None };
        let Replica { graph, policies } = &Replica::new(&world);
        let (index, metrics) = (&query::Index::of(graph), &Metrics::default());
        let matrix = matrix(&Mesh { graph, index, metrics, policies }, None);
        for row in &matrix.rows {
            let workload = workload(&row.endpoint.key(), row.endpoint.template);
            for (place, identity) in (0..).zip(&matrix.identities) {
                let from = |address: &&&str| {
                    let (address, identity) = (address.parse().unwrap(), Some(identity.to_string()));
                    let caller = Caller { address, tls: true, identity };
                    is_let_in(&oracle.decide(&caller, &workload, row.endpoint.port.into(), None).unwrap())
                };
                // Where addresses do not matter, two that are far apart will do.
                let addresses = if row.by_address { &ADDRESSES[..] } else { &ADDRESSES[..2] };
                let places = addresses.iter().filter(from).count();
                let admits = matrix.admits(row, place);
                let agree = if row.by_address {
                    admits || places == 0
                } else {
                    places == if admits { addresses.len() } else { 0 }
                };
                assert!(agree, "seed {seed} {identity} from {places} addresses {admits}: {row:?}");
                fields[usize::from(!row.by_address && admits)] += 1;
            }
        }
    }
    assert!(fields.iter().all(|count| *count > 10 * few()), "{fields:?}");
}
