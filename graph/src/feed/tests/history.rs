//! What happened, and whether it may: the validators.
//!
//! Ordered: what a replica or a watcher gets leads on from where it is, without a gap and never back.
//! Unique: one position names one graph, whoever publishes it.
//! Reliable: whoever is at a position has exactly the graph that was published there.
//! Resumable: whoever was away goes on from its position while what it missed is still kept.
//! Fenced: nothing is published in a reign after the next one has begun.
//! Converged: some time after the last fault everybody has the graph and the numbers of the oracle.

use crate::{feed::Position, model::Graph};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Ordered,
    Unique,
    Reliable,
    Resumable,
    Fenced,
    Converged,
    /// The state machine asks for something new for ever without waiting.
    Idle,
}

pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) at_ms: u64,
    pub(super) what: String,
}

#[derive(Default)]
pub(super) struct History {
    pub(super) violations: Vec<Violation>,
    graphs: HashMap<Position, Arc<Graph>>,
    /// Reigns by epoch, with their place in the order in which they began.
    reigns: HashMap<u64, usize>,
    newest: u64,
    /// What happened how often, to know that a simulation is one.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Say what happens while it does.
    pub(super) traced: bool,
}

// === impl History ===

impl History {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn trace(&self, at_ms: u64, what: impl FnOnce() -> String) {
        if self.traced {
            println!("{at_ms:>6} {}", what());
        }
    }

    pub(super) fn broken(&mut self, rule: Rule, at_ms: u64, what: impl fmt::Display) {
        let violation = Violation { rule, at_ms, what: what.to_string() };
        self.trace(at_ms, || violation.to_string());
        self.violations.push(violation);
    }

    pub(super) fn acquired(&mut self, now: u64, epoch: u64) {
        self.count("reigns");
        let place = self.reigns.len();
        if self.reigns.insert(epoch, place).is_some() {
            self.broken(Rule::Unique, now, format_args!("the epoch {epoch} is given to a second reign"));
        }
        self.newest = epoch;
    }

    pub(super) fn published(&mut self, now: u64, position: Position, graph: Arc<Graph>) {
        self.count("publications");
        self.trace(now, || format!("published {position:?}"));
        let newest = self.newest;
        if position.epoch != newest {
            self.broken(Rule::Fenced, now, format_args!("{position:?} is published in reign {newest}"));
        }
        match self.graphs.get(&position) {
            Some(known) if *known != graph => {
                self.broken(Rule::Unique, now, format_args!("{position:?} names a second graph"));
            }
            _ => drop(self.graphs.insert(position, graph)),
        }
    }

    /// Somebody starts over at `to`.
    pub(super) fn started(
        &mut self,
        now: u64,
        who: &str,
        from: Option<Position>,
        to: Position,
        graph: &Graph,
    ) {
        let place = |position: Position| self.reigns.get(&position.epoch).copied();
        let back = from.is_some_and(|from| {
            if from.epoch == to.epoch { to.seq < from.seq } else { place(to) < place(from) }
        });
        if back {
            self.broken(Rule::Ordered, now, format_args!("{who} goes back from {from:?} to {to:?}"));
        }
        self.is_true(now, who, to, graph);
    }

    /// Somebody applied a change.
    pub(super) fn applied(
        &mut self,
        now: u64,
        who: &str,
        from: Option<Position>,
        to: Position,
        graph: &Graph,
    ) {
        if from != to.seq.checked_sub(1).map(|seq| Position { seq, ..to }) {
            self.broken(Rule::Ordered, now, format_args!("{who} goes from {from:?} to {to:?}"));
        }
        self.is_true(now, who, to, graph);
    }

    fn is_true(&mut self, now: u64, who: &str, position: Position, graph: &Graph) {
        match self.graphs.get(&position) {
            Some(known) if **known == *graph => {}
            Some(_) => {
                self.broken(Rule::Reliable, now, format_args!("{who} has another graph at {position:?}"))
            }
            None => {
                self.broken(Rule::Reliable, now, format_args!("{who} is at {position:?}, where nobody was"))
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms: {}", self.rule, self.at_ms, self.what)
    }
}
