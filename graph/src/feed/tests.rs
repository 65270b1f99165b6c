//! The replication protocol under faults: leaders, replicas and watchers around a simulated Redis, thousands of times.
//!
//! What runs here is what runs in production, [`reader`](super::reader), [`lease`](super::lease),
//! [`reign`](super::reign) and the wire forms; simulated are the network, Redis and what drives the state machines.
//! Each seed is one run with its own faults. To see one again:
//!
//! ```text
//! FEED_SEED=1234 cargo test -p linkerd-mcp-graph --lib feed::tests::no_fault -- --nocapture
//! FEED_SEEDS=100000 cargo test -p linkerd-mcp-graph --lib feed::tests::no_fault
//! ```

mod faults;
mod follower;
mod history;
mod leader;
mod oracle;
mod server;
mod world;

use history::{History, Rule};
use std::collections::BTreeMap;
use world::World;

/// What is switched on. Without one of them something has to go wrong, or the simulation would prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arms {
    /// Redis checks that who publishes leads.
    fencing: bool,
    /// Redis keeps a log.
    log: bool,
    /// Replicas look at the numbers of what they apply.
    dense: bool,
    /// Leaders give up a number when something was not published.
    numbers: bool,
}

impl Arms {
    const REAL: Self = Self { fencing: true, log: true, dense: true, numbers: true };
}

/// What came of many seeds.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    /// Violations by rule, with the first seed that shows one.
    broken: BTreeMap<Rule, (u64, u64)>,
    failed: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, history: &History) {
        for (what, count) in &history.counts {
            *self.counts.entry(what).or_default() += count;
        }
        for violation in &history.violations {
            let (count, first) = self.broken.entry(violation.rule).or_insert((0, seed));
            *count += 1;
            *first = seed.min(*first);
        }
        self.failed += u64::from(!history.violations.is_empty());
    }

    fn merge(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        for (rule, (count, first)) in other.broken {
            let (known, known_first) = self.broken.entry(rule).or_insert((0, first));
            *known += count;
            *known_first = first.min(*known_first);
        }
        self.failed += other.failed;
    }

    fn of(&self, rule: Rule) -> u64 {
        self.broken.get(&rule).map_or(0, |(count, _)| *count)
    }
}

/// What has to happen somewhere in so many simulations.
const EVERYTHING: [&str; 16] = [
    "applied",
    "bad snapshot",
    "began",
    "duplicate",
    "gap",
    "late frame",
    "lost",
    "numbers",
    "outdated",
    "refused",
    "reigns",
    "requested",
    "silence",
    "unhydrated",
    "watch resumed",
    "watch resync",
];

/// Enough to show a fault that bites, for a control arm.
const SOME: u64 = 150;

fn simulate(seeds: u64, arms: Arms) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for seed in (part..seeds).step_by(threads as usize) {
                        tally.add(seed, &World::new(seed, arms).run());
                    }
                    tally
                })
            })
            .collect();
        let mut tally = Tally::default();
        for part in parts {
            tally.merge(part.join().expect("a simulation does not panic"));
        }
        tally
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "which seed to run again is for the person who runs the test to say"
)]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("it is a number"))
}

#[test]
fn no_fault_makes_a_replica_wrong_or_keeps_it_behind() {
    if let Some(seed) = setting("FEED_SEED") {
        let mut world = World::new(seed, Arms::REAL);
        world.history.traced = true;
        let history = world.run();
        println!("{:?}", history.counts);
        assert!(history.violations.is_empty(), "seed {seed} shows {} violations", history.violations.len());
        return;
    }
    let tally = simulate(setting("FEED_SEEDS").unwrap_or(10_000), Arms::REAL);
    println!("{:?}", tally.counts);
    let rare: Vec<_> = EVERYTHING.into_iter().filter(|what| !tally.counts.contains_key(what)).collect();
    assert_eq!(rare, Vec::<&str>::new(), "never happened, so nothing is known about it");
    assert_eq!(
        (tally.failed, &tally.broken),
        (0, &BTreeMap::new()),
        "rule: (violations, first seed); run FEED_SEED=<seed> cargo test -p linkerd-mcp-graph --lib feed::tests::no_fault"
    );
}

#[test]
fn without_fencing_a_leader_that_was_halted_publishes_into_its_successors_reign() {
    let tally = simulate(SOME, Arms { fencing: false, ..Arms::REAL });
    assert!(tally.of(Rule::Fenced) > 0, "{:?}", tally.broken);
}

#[test]
fn without_the_log_replicas_cannot_go_on_from_where_they_were() {
    let tally = simulate(SOME, Arms { log: false, ..Arms::REAL });
    assert!(tally.of(Rule::Resumable) > 0, "{:?}", tally.broken);
}

#[test]
fn without_looking_at_the_numbers_replicas_are_wrong_and_stay_so() {
    let tally = simulate(SOME, Arms { dense: false, ..Arms::REAL });
    let found = [Rule::Ordered, Rule::Reliable, Rule::Converged].map(|rule| tally.of(rule) > 0);
    assert_eq!(found, [true; 3], "{:?}", tally.broken);
}

/// The leader did so before the simulation was there.
#[test]
fn a_number_that_is_used_again_after_a_failure_makes_replicas_wrong() {
    let tally = simulate(SOME, Arms { numbers: false, ..Arms::REAL });
    let found = [Rule::Unique, Rule::Reliable].map(|rule| tally.of(rule) > 0);
    assert_eq!(found, [true; 2], "{:?}", tally.broken);
}
