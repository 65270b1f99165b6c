//! What Redis pushed and nobody has looked at yet.
//!
//! The client library would queue pushed messages without bound while the replica is busy. Here envelopes are bounded:
//! when there are too many they are dropped, which the reader is told, and the log has them. Of metric frames only the
//! newest is kept.

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Filled by the task that reads the connection, emptied by the subscription.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    // A plain lock: held to move some pointers, never across an await.
    waiting: Mutex<Waiting>,
    bell: Notify,
}

/// The next thing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Envelope(Vec<u8>),
    Frame(Vec<u8>),
    /// Envelopes were dropped.
    Overflow,
    /// The connection has ended.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    envelopes: VecDeque<Vec<u8>>,
    bytes: usize,
    overflow: bool,
    frame: Option<Vec<u8>>,
    closed: bool,
}

const MOST_ENVELOPES: usize = 4096;
const MOST_BYTES: usize = 32 << 20;

// === impl Inbox ===

impl Inbox {
    pub(super) fn envelope(&self, bytes: Vec<u8>) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += bytes.len();
        waiting.envelopes.push_back(bytes);
        if waiting.envelopes.len() > MOST_ENVELOPES || waiting.bytes > MOST_BYTES {
            waiting.envelopes.clear();
            waiting.bytes = 0;
            waiting.overflow = true;
        }
        self.bell.notify_one();
    }

    pub(super) fn frame(&self, bytes: Vec<u8>) {
        self.waiting.lock().frame = Some(bytes);
        self.bell.notify_one();
    }

    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.bell.notify_one();
    }

    /// The next thing; envelopes before frames, so that topology is ahead of numbers. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&self) -> Arrival {
        loop {
            let arrival = self.waiting.lock().take();
            match arrival {
                Some(arrival) => return arrival,
                None => self.bell.notified().await,
            }
        }
    }
}

// === impl Waiting ===

impl Waiting {
    fn take(&mut self) -> Option<Arrival> {
        if std::mem::take(&mut self.overflow) {
            return Some(Arrival::Overflow);
        }
        if let Some(bytes) = self.envelopes.pop_front() {
            self.bytes -= bytes.len();
            return Some(Arrival::Envelope(bytes));
        }
        if let Some(bytes) = self.frame.take() {
            return Some(Arrival::Frame(bytes));
        }
        self.closed.then_some(Arrival::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_newest_frame_waits_and_topology_goes_before_it() {
        let inbox = Inbox::default();
        inbox.frame(vec![1]);
        inbox.frame(vec![2]);
        inbox.envelope(vec![3]);
        inbox.close();
        assert_eq!(inbox.next().await, Arrival::Envelope(vec![3]));
        assert_eq!(inbox.next().await, Arrival::Frame(vec![2]));
        assert_eq!(inbox.next().await, Arrival::Closed);
    }

    #[tokio::test]
    async fn too_many_envelopes_are_dropped_and_the_reader_is_told() {
        let inbox = Inbox::default();
        for _ in 0..=MOST_ENVELOPES {
            inbox.envelope(vec![1]);
        }
        inbox.envelope(vec![2]);
        assert_eq!(inbox.next().await, Arrival::Overflow);
        assert_eq!(inbox.next().await, Arrival::Envelope(vec![2]));
        inbox.envelope(vec![0; MOST_BYTES + 1]);
        assert_eq!(inbox.next().await, Arrival::Overflow);
    }
}
