//! The evaluator against the oracle, and properties that need none.

use crate::{
    difference::{decided_otherwise, report, resolved_otherwise, smallest},
    evaluator::{Evaluator, outcome},
    generate::{Dice, Question, World, authorization_policy, server, server_authorization},
};
use linkerd_mcp_graph::policy::Decision;
use linkerd_mcp_test::oracle::Flaw;
use serde_json::Value;

/// How many sets of objects, from the seeds 0, 1, 2 and so on; `POLICY_ORACLE_WORLDS` for a longer search.
pub(crate) fn worlds() -> u64 {
    std::env::var("POLICY_ORACLE_WORLDS").map_or(500, |count| count.parse().unwrap())
}

/// What must happen more often than this is not rare: 10 for the usual count of worlds.
pub(crate) fn few() -> usize {
    usize::try_from(worlds()).unwrap() / 50
}

pub(crate) const QUESTIONS: usize = 16;

#[test]
fn the_evaluator_decides_every_call_as_the_oracle_does() {
    let mut decisions = [0; 4];
    for seed in 0..worlds() {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let evaluator = Evaluator::new(&world);
        for _ in 0..QUESTIONS {
            let question = Question::random(&mut dice, &world);
            let differs = |world: &World| {
                let evaluator = Evaluator::new(world);
                resolved_otherwise(world, &evaluator, &question)
                    .or_else(|| decided_otherwise(world, &evaluator, &question, None))
            };
            let different = resolved_otherwise(&world, &evaluator, &question)
                .or_else(|| decided_otherwise(&world, &evaluator, &question, None));
            assert!(different.is_none(), "{}", report(seed, &world, &question, differs));
            decisions[outcome(&evaluator.verdict(&question)).decision as usize] += 1;
        }
    }
    // All decisions occur, none of them rarely: what never happens is not tested.
    println!("allow, deny, audit, unmatched-route: {decisions:?}");
    assert!(decisions.iter().all(|count| *count > 5 * few()), "{decisions:?}");
}

/// The comparison bites: with any one rule of the oracle broken, it finds a call that is decided otherwise.
#[test]
fn a_broken_rule_is_found() {
    let mut unfound: Vec<Flaw> = Flaw::ALL.to_vec();
    let mut first: Vec<(Flaw, u64)> = Vec::new();
    for seed in 0..worlds() * 2 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let evaluator = Evaluator::new(&world);
        for _ in 0..QUESTIONS {
            let question = Question::random(&mut dice, &world);
            unfound.retain(|flaw| {
                let found = decided_otherwise(&world, &evaluator, &question, Some(*flaw)).is_some();
                first.extend(found.then_some((*flaw, seed)));
                !found
            });
        }
        if unfound.is_empty() {
            break;
        }
    }
    println!("found at set of objects: {first:?}");
    assert!(unfound.is_empty(), "no call of {} sets of objects shows {unfound:?}", worlds() * 2);
}

/// A difference is told with nothing that it does without: five objects at most, of twenty.
#[test]
fn a_counterexample_is_made_small() {
    let flaw = Some(Flaw::ExceptIgnored);
    let mut told = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let evaluator = Evaluator::new(&world);
        let question = Question::random(&mut dice, &world);
        if decided_otherwise(&world, &evaluator, &question, flaw).is_none() {
            continue;
        }
        let differs = |world: &World| decided_otherwise(world, &Evaluator::new(world), &question, flaw);
        let small = smallest(&world, &question, differs);
        // The pod, its Server, perhaps a route, the policy, and the networks with the exception.
        assert!(small.objects.len() <= 5, "seed {seed}: {:#?}", small.objects);
        assert!(report(seed, &world, &question, differs).contains("except:\n"), "seed {seed}");
        told += 1;
    }
    assert!(told > 0);
}

/// What lists policies first, and what last, is nothing to a verdict, reasons and their order included.
#[test]
fn the_order_of_objects_does_not_matter() {
    for seed in 0..worlds() / 3 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let mut shuffled = world.clone();
        dice.shuffle(&mut shuffled.objects);
        let (one, other) = (Evaluator::new(&world), Evaluator::new(&shuffled));
        for _ in 0..QUESTIONS {
            let question = Question::random(&mut dice, &world);
            let (one, other) = (one.verdict(&question), other.verdict(&question));
            assert_eq!(one, other, "seed {seed} {question:?}\n{:#?}\n{:#?}", world.objects, shuffled.objects);
        }
    }
}

/// Asks the same with and without an object. Returns how many calls are let in only with it, and tells which are let
/// in only without it.
fn with_and_without(worlds: u64, pair: impl Fn(&mut Dice, World) -> (World, World)) -> (usize, Vec<String>) {
    let (mut gained, mut lost) = (0, Vec::new());
    for seed in 0..worlds {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let (less, more) = pair(&mut dice, world);
        let (before, after) = (Evaluator::new(&less), Evaluator::new(&more));
        for _ in 0..QUESTIONS {
            let question = Question::random(&mut dice, &less);
            let (before, after) = (before.verdict(&question), after.verdict(&question));
            gained += usize::from(!before.is_let_in() && after.is_let_in());
            if before.is_let_in() && !after.is_let_in() {
                lost.push(format!("seed {seed} {question:?}\nwithout {before:?}\nwith {after:?}"));
            }
        }
    }
    (gained, lost)
}

/// A world, and the same with one more object.
fn added(make: fn(&mut Dice, usize) -> Value) -> impl Fn(&mut Dice, World) -> (World, World) {
    move |dice, world| {
        let mut more = world.clone();
        more.objects.push(make(dice, 90));
        (world, more)
    }
}

/// A world without the objects of a kind, and the same with them.
fn removed(kind: &'static str) -> impl Fn(&mut Dice, World) -> (World, World) {
    move |_, world| {
        let mut less = world.clone();
        less.objects.retain(|object| object["kind"] != kind);
        (less, world)
    }
}

/// Without exception: a call that `audit` let in may become one that is allowed, which is let in all the same.
#[test]
fn adding_an_authorization_takes_no_permission_away() {
    for make in [authorization_policy as fn(&mut Dice, usize) -> Value, server_authorization] {
        let (gained, lost) = with_and_without(worlds() / 2, added(make));
        assert!(lost.is_empty(), "{} permissions lost, such as\n{}", lost.len(), lost[0]);
        // Nothing would be lost either if additions did nothing.
        assert!(gained > few(), "only {gained} calls gained");
    }
}

/// An authorization without what it refers to is as if it were not there.
#[test]
fn adding_what_authorizations_refer_to_takes_no_permission_away() {
    for kind in ["MeshTLSAuthentication", "NetworkAuthentication"] {
        let (gained, lost) = with_and_without(worlds() / 2, removed(kind));
        assert!(lost.is_empty(), "{} permissions lost, such as\n{}", lost.len(), lost[0]);
        assert!(gained > few(), "only {gained} calls gained");
    }
}

/// The control of the two above: Servers and routes do take permissions away, and the same search sees it.
#[test]
fn adding_a_server_or_a_route_may_take_a_permission_away() {
    let (_, by_server) = with_and_without(worlds() / 2, added(server));
    let (_, by_routes) = with_and_without(worlds() / 2, removed("HTTPRoute"));
    assert!(
        by_server.len() > few() && by_routes.len() > few(),
        "{} and {}",
        by_server.len(),
        by_routes.len()
    );
}

#[test]
fn a_call_let_in_by_audit_alone_is_marked() {
    let mut seen = 0;
    for seed in 0..worlds() / 3 {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let evaluator = Evaluator::new(&world);
        for _ in 0..QUESTIONS {
            let verdict = evaluator.verdict(&Question::random(&mut dice, &world));
            let admitted_by = outcome(&verdict).admitted_by;
            let audit_alone = admitted_by.len() == 1 && admitted_by.contains("default audit");
            assert_eq!(verdict.decision == Decision::Audit, audit_alone, "seed {seed} {verdict:?}");
            seen += usize::from(audit_alone);
        }
    }
    assert!(seen > few(), "{seen}");
}
