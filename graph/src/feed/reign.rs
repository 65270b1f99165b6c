//! Which number a publication of the leader gets, and what readers know of where it is.
//!
//! One position names one graph, for ever. So when it is not certain what readers have seen (an answer did not come, or
//! something was not published that the graph has gone beyond), the next number is given up, nothing but a snapshot may
//! follow, and that snapshot has a number of its own: readers see the gap in the numbers and take it.

use super::Position;
use std::collections::VecDeque;

/// One leader's time: its position, and what is known of the log. Begins when the lead is taken, ends when it is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    position: Position,
    footing: Footing,
    log: Log,
}

/// What readers know of where we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footing {
    /// Nothing yet: the reign has just begun.
    Fresh,
    /// Our position.
    Firm,
    /// Perhaps our position, perhaps not.
    Unsure,
}

/// The sizes of the changes in the log, to know the oldest one that may stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Log {
    entries: VecDeque<(u64, usize)>,
    bytes: usize,
}

/// How much of the past the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Changes.
    pub entries: usize,
    /// Bytes of envelopes.
    pub bytes: usize,
}

/// A change or a heartbeat may not be published now: a reign begins with a snapshot, and so it goes on after something
/// whose fate is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot has to come first")]
pub struct SnapshotFirst;

// === impl Reign ===

impl Reign {
    /// The reign with this epoch, at its beginning.
    pub fn new(epoch: u64) -> Self {
        Self { position: Position { epoch, seq: 0 }, footing: Footing::Fresh, log: Log::default() }
    }

    /// Where we are.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The position of the change that is published next. From here on, until [`settle`](Self::settle), readers may or
    /// may not know of it.
    ///
    /// # Errors
    ///
    /// When a snapshot has to come first.
    pub fn delta(&mut self) -> Result<Position, SnapshotFirst> {
        self.heartbeat()?;
        self.footing = Footing::Unsure;
        self.position.seq += 1;
        Ok(self.position)
    }

    /// The position of the snapshot that is published next. From here on, until [`settle`](Self::settle), readers may
    /// or may not know of it.
    pub fn snapshot(&mut self) -> Position {
        if self.footing == Footing::Unsure {
            self.position.seq += 1;
        }
        self.footing = Footing::Unsure;
        self.position
    }

    /// The position to tell.
    ///
    /// # Errors
    ///
    /// When there is none to tell: a snapshot has to come first.
    pub fn heartbeat(&self) -> Result<Position, SnapshotFirst> {
        match self.footing {
            Footing::Firm => Ok(self.position),
            Footing::Fresh | Footing::Unsure => Err(SnapshotFirst),
        }
    }

    /// Readers have, or can have, what was published last.
    pub fn settle(&mut self) {
        self.footing = Footing::Firm;
    }

    /// Something was not published that should have been. The graph may have moved on by the time of the next
    /// snapshot, so that one needs a number of its own.
    pub fn unsettle(&mut self) {
        if self.footing == Footing::Firm {
            self.footing = Footing::Unsure;
        }
    }

    /// Adds the change at our position to what is known of the log, with the size of its envelope, and says which is
    /// the oldest one that the log is to keep.
    pub fn logged(&mut self, size: usize, limits: LogLimits) -> Position {
        let seq = self.log.add(self.position.seq, size, limits);
        Position { seq, ..self.position }
    }
}

// === impl Log ===

impl Log {
    fn add(&mut self, seq: u64, size: usize, limits: LogLimits) -> u64 {
        self.entries.push_back((seq, size));
        self.bytes += size;
        while self.entries.len() > limits.entries.max(1)
            || (self.bytes > limits.bytes && self.entries.len() > 1)
        {
            let Some((_, size)) = self.entries.pop_front() else { break };
            self.bytes -= size;
        }
        self.entries.front().map_or(seq, |(oldest, _)| *oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seq: u64) -> Position {
        Position { epoch: 7, seq }
    }

    #[test]
    fn a_reign_begins_with_a_snapshot_and_goes_on_with_dense_numbers() {
        let mut reign = Reign::new(7);
        assert_eq!((reign.delta(), reign.heartbeat()), (Err(SnapshotFirst), Err(SnapshotFirst)));
        assert_eq!(reign.snapshot(), at(0));
        reign.settle();
        assert_eq!((reign.heartbeat(), reign.delta()), (Ok(at(0)), Ok(at(1))));
        reign.settle();
        assert_eq!((reign.snapshot(), reign.heartbeat()), (at(1), Err(SnapshotFirst)));
        reign.settle();
        assert_eq!(reign.delta(), Ok(at(2)));
    }

    #[test]
    fn after_something_whose_fate_is_not_known_only_a_snapshot_follows_under_a_new_number() {
        let mut reign = Reign::new(7);
        assert_eq!((reign.snapshot(), reign.snapshot()), (at(0), at(1)), "the first may have been seen");
        reign.settle();
        assert_eq!((reign.delta(), reign.delta()), (Ok(at(2)), Err(SnapshotFirst)));
        assert_eq!(reign.snapshot(), at(3));
        reign.settle();
        reign.unsettle();
        assert_eq!((reign.heartbeat(), reign.snapshot()), (Err(SnapshotFirst), at(4)));
    }

    #[test]
    fn the_log_is_bounded_by_entries_and_by_bytes_and_keeps_the_newest() {
        let limits = LogLimits { entries: 2, bytes: 100 };
        let mut log = Log::default();
        let oldest: Vec<_> = [(1, 10), (2, 10), (3, 10), (4, 95), (5, 1000), (7, 10)]
            .into_iter()
            .map(|(seq, size)| log.add(seq, size, limits))
            .collect();
        assert_eq!(oldest, [1, 1, 2, 4, 5, 7]);
    }
}
