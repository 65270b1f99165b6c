//! Where evaluator and oracle differ, told with no more objects than it takes.

use crate::{
    evaluator::{Evaluator, outcome},
    generate::{Question, World},
    recorded::comparable,
};
use linkerd_mcp_test::oracle::{Flaw, Oracle};
use serde_json::Value;
use std::fmt::Write;

/// How the two decide on a call, where they differ.
pub(crate) fn decided_otherwise(
    world: &World,
    evaluator: &Evaluator,
    question: &Question,
    flaw: Option<Flaw>,
) -> Option<String> {
    let oracle = Oracle { objects: &world.objects, cluster: &world.cluster, flaw };
    let verdict = evaluator.verdict(question);
    let expected = question.ask(&oracle);
    let ours = outcome(&verdict);
    (ours != expected)
        .then(|| format!("evaluator {ours:?}\noracle    {expected:?}\nreasons   {:?}", verdict.reasons))
}

/// What the two resolve for the port, where it differs.
pub(crate) fn resolved_otherwise(
    world: &World,
    evaluator: &Evaluator,
    question: &Question,
) -> Option<String> {
    let oracle = Oracle { objects: &world.objects, cluster: &world.cluster, flaw: None };
    let ours = comparable(evaluator.answer(&question.workload, question.port));
    let expected = comparable(oracle.answer(&question.workload, question.port));
    (ours != expected).then(|| format!("evaluator {ours}\noracle    {expected}"))
}

/// Takes away objects, annotations and members of lists for as long as the difference stays.
pub(crate) fn smallest(
    world: &World,
    question: &Question,
    differs: impl Fn(&World) -> Option<String>,
) -> World {
    let stays = |less: &World| less.workloads().contains(&question.workload) && differs(less).is_some();
    let mut world = world.clone();
    loop {
        let before = world.clone();
        let mut at = 0;
        while at < world.objects.len() {
            let mut less = world.clone();
            less.objects.remove(at);
            if stays(&less) {
                world = less;
            } else {
                at += 1;
            }
        }
        for at in 0..world.objects.len() {
            for part in removable(&world.objects[at]) {
                let mut less = world.clone();
                if remove(&mut less.objects[at], &part) && stays(&less) {
                    world = less;
                }
            }
        }
        if world.objects == before.objects {
            return world;
        }
    }
}

/// JSON pointers to what an object may do without: all annotations, and members of lists but the only one, since an
/// empty list often has a meaning of its own. The last come first, so that those before them keep their places.
fn removable(object: &Value) -> Vec<String> {
    fn members(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    let at = format!("{at}/{place}");
                    found.extend((items.len() > 1).then(|| at.clone()));
                    members(item, &at, found);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    members(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    members(&object["spec"], "/spec", &mut found);
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    found.extend(annotations.map(|(key, _)| format!("/metadata/annotations/{}", key.replace('/', "~1"))));
    found.reverse();
    found
}

/// False where nothing is there any more, or it is the last of its list.
fn remove(object: &mut Value, pointer: &str) -> bool {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    match object.pointer_mut(parent) {
        Some(Value::Array(items)) => {
            let place: usize = last.parse().unwrap();
            let is_one_of_several = items.len() > 1 && place < items.len();
            is_one_of_several.then(|| items.remove(place)).is_some()
        }
        Some(Value::Object(map)) => map.remove(&last.replace("~1", "/")).is_some(),
        _ => false,
    }
}

/// A difference for people: who calls what, what the two say, and manifests.
pub(crate) fn report(
    seed: u64,
    world: &World,
    question: &Question,
    differs: impl Fn(&World) -> Option<String>,
) -> String {
    let small = smallest(world, question, &differs);
    let Question { caller, workload, port, call } = question;
    let mut text = format!(
        "seed {seed}: {caller:?}\ncalls {} {}/{}:{port}, {call:?}\n{}\nsettings {}\n",
        workload.kind,
        workload.namespace,
        workload.name,
        differs(&small).unwrap(),
        small.cluster,
    );
    for object in &small.objects {
        write!(text, "---\n{}", serde_yaml::to_string(object).unwrap()).unwrap();
    }
    text
}
