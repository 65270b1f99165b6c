//! From a snapshot and the log after it to the present.

use super::{BATCH, Candidate, Entry, Known, Notice, Reader, Step, chain, following};
use crate::{
    feed::{Event, Position, Snapshot},
    wire::snapshot::{self, Topology},
};
use std::{sync::Arc, time::Duration};

/// While a snapshot is waited for: the least time between two looks, and the time after which we look unasked.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

/// How the search for a snapshot goes.
#[derive(Debug, Default)]
pub(super) struct Hydration {
    /// Not before then is a snapshot asked for again.
    next_request: Duration,
    /// Not before then do we look again.
    soonest: Duration,
    /// Then we look again even if nothing was published.
    latest: Duration,
    /// Something was published since the last look.
    news: bool,
    /// The last complaint, so that it is made once and not at every look.
    complaint: Option<String>,
    /// A snapshot that did not lead to where the leader was said to be. When the leader has written another one since,
    /// that is where it is, whatever was said: a position may have been damaged on its way.
    unreached: Option<(Position, i64)>,
}

// === impl Hydration ===

impl Hydration {
    /// When to look at the snapshot next.
    pub(super) fn look_at(&self) -> Duration {
        if self.complaint.is_none() || self.news { self.soonest } else { self.latest }
    }

    pub(super) fn news(&mut self) {
        self.news = true;
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn take_snapshot(
        &mut self,
        now: Duration,
        snapshot: Option<Result<Topology, snapshot::Error>>,
        frame: Option<&[u8]>,
    ) {
        let Step::Look(wanted) = self.step else { return };
        self.hydration.soonest = now + SOON;
        self.hydration.latest = now + SOON + self.chance.spread(LATER, 0.8, 1.2);
        self.hydration.news = false;
        match snapshot {
            None => self.unhydrated(now, wanted, "there is no snapshot".to_owned()),
            Some(Err(error)) => {
                self.notice(Notice::BadSnapshot);
                self.unhydrated(now, wanted, format!("the snapshot is refused: {}", chain(&error)));
            }
            Some(Ok(Topology { position, as_of_ms, graph })) => {
                if let Some(bytes) = frame {
                    self.keep_frame(bytes);
                }
                let known = Known { position, as_of_ms, graph: Arc::new(graph) };
                self.step = Step::Hydrate(Candidate { known, wanted, origin: (position, as_of_ms) });
            }
        }
    }

    /// Applies the log to a snapshot, and begins from the result if it is the present.
    pub(super) fn hydrate(
        &mut self,
        now: Duration,
        mut candidate: Candidate,
        reign: Option<u64>,
        entries: &[Entry],
    ) {
        let wanted = candidate.wanted;
        if reign.is_some_and(|epoch| epoch != candidate.known.position.epoch) {
            return self.unhydrated(now, wanted, "the snapshot is of a reign that is over".to_owned());
        }
        for entry in entries {
            if entry.position != following(candidate.known.position) {
                // Older than the log, or a number was given up by the leader, who then owes a snapshot.
                return self.unhydrated(now, wanted, "the log begins after the snapshot".to_owned());
            }
            match entry.on(&candidate.known.graph) {
                Ok((as_of_ms, graph)) => {
                    candidate.known = Known { position: entry.position, as_of_ms, graph: Arc::new(graph) };
                }
                Err(error) => {
                    self.refused(&error);
                    let why = "the log after the snapshot has an entry that cannot be used";
                    return self.unhydrated(now, wanted, why.to_owned());
                }
            }
        }
        if entries.len() >= BATCH {
            self.step = Step::Hydrate(candidate);
            return;
        }
        // A position of another reign than the present one is nowhere to get to any more.
        let at = candidate.known.position;
        let short = wanted.is_some_and(|wanted| wanted.epoch == at.epoch && wanted.seq > at.seq);
        if short && self.hydration.unreached.is_none_or(|unreached| unreached == candidate.origin) {
            self.hydration.unreached = Some(candidate.origin);
            let why = "the snapshot and the log do not reach the present";
            return self.unhydrated(now, wanted, why.to_owned());
        }
        self.start_from(now, candidate.known);
    }

    fn start_from(&mut self, now: Duration, known: Known) {
        self.known = Some(known.clone());
        self.hydration.complaint = None;
        self.hydration.unreached = None;
        self.live(now);
        self.notice(Notice::Began(known.position));
        // The numbers of the frame if it is of this topology, else those we had: they are newer than none.
        self.fit_numbers();
        self.event(Event::Snapshot(Snapshot {
            position: known.position,
            as_of_ms: known.as_of_ms,
            graph: known.graph,
            metrics: self.numbers.clone(),
        }));
    }

    /// Waits for another snapshot, asks the leader for it if that was not done lately, and says why.
    fn unhydrated(&mut self, now: Duration, wanted: Option<Position>, why: String) {
        if self.hydration.complaint.as_ref() != Some(&why) {
            self.notice(Notice::Unhydrated(why.clone()));
            self.hydration.complaint = Some(why);
        }
        self.step = if now >= self.hydration.next_request { Step::Ask(wanted) } else { Step::Look(wanted) };
    }

    pub(super) fn requested(&mut self, now: Duration) {
        let Step::Ask(wanted) = self.step else { return };
        let pause = self.chance.spread(self.options.between_requests, 0.8, 1.2);
        self.hydration.next_request = now + pause;
        self.notice(Notice::Requested);
        self.step = Step::Look(wanted);
    }
}
