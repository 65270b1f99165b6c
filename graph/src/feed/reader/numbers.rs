//! Metric frames: each supersedes the one before, and each belongs to a topology that may not be here yet.

use super::{Notice, Reader};
use crate::{
    feed::{Event, Position},
    wire::frame,
};
use std::sync::Arc;

// === impl Reader ===

impl Reader {
    /// Keeps a frame until its topology is here, unless a later one is kept or in use already.
    pub(super) fn keep_frame(&mut self, bytes: &[u8]) {
        match frame::decode(bytes, self.options.frame) {
            Ok(frame) if self.frame.as_ref().is_some_and(|kept| overtaken(frame.position, kept.position)) => {
                self.notice(Notice::LateFrame);
            }
            Ok(frame) => self.frame = Some(frame),
            Err(error) => self.refused(&error),
        }
    }

    /// Hands over the frame if its topology is ours.
    pub(super) fn fit_frame(&mut self) {
        if let Some(position) = self.position()
            && self.fit_numbers()
        {
            self.event(Event::Metrics { position, metrics: self.numbers.clone() });
        }
    }

    /// Takes the numbers of the frame over if its topology is ours. If its topology is still to come it is kept, and
    /// if that has passed it is dropped: the next poll brings another. True when there are new numbers.
    pub(super) fn fit_numbers(&mut self) -> bool {
        let (Some(frame), Some(known)) = (&self.frame, &self.known) else { return false };
        let (at, here) = (frame.position, known.position);
        if at.epoch < here.epoch {
            self.frame = None;
            self.notice(Notice::Outdated);
            return false;
        }
        if at.epoch > here.epoch {
            return false;
        }
        if self.numbers_at.is_some_and(|newer| overtaken(at, newer)) {
            self.frame = None;
            self.notice(Notice::LateFrame);
            return false;
        }
        match frame.fit(&known.graph, self.hash.of(&known.graph)) {
            Ok(numbers) => {
                self.numbers = Arc::new(numbers);
                self.numbers_at = Some(at);
                self.frame = None;
                self.notice(Notice::Numbers);
                true
            }
            Err(_) if at.seq > here.seq => false,
            Err(_) => {
                self.frame = None;
                self.notice(Notice::LateFrame);
                false
            }
        }
    }
}

/// True when a frame at `position` is older than one at `newer`. Of different reigns neither is: Redis says which reign
/// counts, not the number.
fn overtaken(position: Position, newer: Position) -> bool {
    position.epoch == newer.epoch && position.seq < newer.seq
}
