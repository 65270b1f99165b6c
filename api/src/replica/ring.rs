//! The last changes, for watchers that are a little behind and for those that come back.

use bytes::Bytes;
use linkerd_mcp_graph::{delta::Delta, feed::Position};
use std::{collections::VecDeque, sync::Arc};

/// One topology change, encoded once for everybody who watches the whole graph.
#[derive(Debug)]
pub struct WatchEvent {
    /// The position after the change.
    pub position: Position,
    /// The change.
    pub delta: Arc<Delta>,
    /// It as one gRPC message of a watch.
    pub(crate) message: Bytes,
}

/// How much of the past a replica keeps for watchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Changes.
    pub events: usize,
    /// Bytes of encoded changes.
    pub bytes: usize,
}

impl Default for RingLimits {
    /// At 20 changes per second, a busy cluster's usual, this is the last 100 seconds.
    fn default() -> Self {
        Self { events: 2_048, bytes: 32 << 20 }
    }
}

/// What follows a position.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next change.
    Event(Arc<WatchEvent>),
    /// Nothing yet.
    UpToDate,
    /// The position is not, or no longer, in the ring.
    Lost,
}

/// Changes in order without gaps, all of one epoch.
#[derive(Debug)]
pub(crate) struct Ring {
    limits: RingLimits,
    /// The position before the first event.
    start: Position,
    generation: u64,
    events: VecDeque<Arc<WatchEvent>>,
    bytes: usize,
}

impl Ring {
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self { limits, start: Position::default(), generation: 0, events: VecDeque::new(), bytes: 0 }
    }

    /// Forgets everything: the graph now is what a snapshot said. Returns the new generation.
    pub(crate) fn restart(&mut self, position: Position) -> u64 {
        self.events.clear();
        self.bytes = 0;
        self.start = position;
        self.generation += 1;
        self.generation
    }

    /// Appends the change after the last one, and drops what is over the limits.
    pub(crate) fn push(&mut self, event: Arc<WatchEvent>) {
        self.bytes += event.message.len();
        self.events.push_back(event);
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.message.len();
            self.start = oldest.position;
        }
    }

    /// What follows `position`; with a generation, as long as it is still that one.
    pub(crate) fn after(&self, position: Position, generation: Option<u64>) -> Next {
        let known = generation.is_none_or(|generation| generation == self.generation)
            && position.epoch == self.start.epoch
            && position.seq >= self.start.seq;
        let ahead = position.seq.wrapping_sub(self.start.seq);
        match usize::try_from(ahead) {
            Ok(nth) if known && nth < self.events.len() => Next::Event(self.events[nth].clone()),
            Ok(nth) if known && nth == self.events.len() => Next::UpToDate,
            _ => Next::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    fn mk_event(seq: u64, len: usize) -> Arc<WatchEvent> {
        Arc::new(WatchEvent {
            position: at(7, seq),
            delta: Arc::default(),
            message: Bytes::from(vec![0; len]),
        })
    }

    fn mk_ring(limits: RingLimits, seqs: std::ops::RangeInclusive<u64>) -> Ring {
        let mut ring = Ring::new(limits);
        ring.restart(at(7, seqs.start() - 1));
        seqs.for_each(|seq| ring.push(mk_event(seq, 10)));
        ring
    }

    fn next(ring: &Ring, position: Position) -> String {
        match ring.after(position, None) {
            Next::Event(event) => event.position.seq.to_string(),
            Next::UpToDate => "up to date".into(),
            Next::Lost => "lost".into(),
        }
    }

    #[test]
    fn what_follows_a_position_is_the_next_change_or_nothing_yet_or_lost() {
        let ring = mk_ring(RingLimits { events: 3, bytes: 1000 }, 1..=5);
        let found: Vec<_> = (0..=7).map(|seq| next(&ring, at(7, seq))).collect();
        assert_eq!(found, ["lost", "lost", "3", "4", "5", "up to date", "lost", "lost"]);
        assert_eq!(next(&ring, at(6, 3)), "lost", "another leader's reign");
    }

    #[test]
    fn the_bytes_are_bounded_too_even_against_one_huge_change() {
        let mut ring = mk_ring(RingLimits { events: 100, bytes: 25 }, 1..=5);
        assert_eq!((ring.events.len(), ring.bytes), (2, 20));
        ring.push(mk_event(6, 1000));
        assert_eq!((ring.events.len(), ring.bytes), (0, 0));
        assert_eq!((next(&ring, at(7, 5)).as_str(), next(&ring, at(7, 6)).as_str()), ("lost", "up to date"));
    }

    #[test]
    fn after_starting_over_at_the_same_position_only_newcomers_may_go_on() {
        let mut ring = mk_ring(RingLimits::default(), 1..=5);
        let before = ring.generation;
        let after = ring.restart(at(7, 5));
        assert!(matches!(ring.after(at(7, 5), Some(before)), Next::Lost));
        assert!(matches!(ring.after(at(7, 5), Some(after)), Next::UpToDate));
    }
}
