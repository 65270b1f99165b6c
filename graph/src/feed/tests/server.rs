//! A simulated Redis: keys that expire, a log, subscribers, and the controller's scripts, each in one step.

use super::{Arms, history::History};
use crate::{
    feed::{
        Position,
        lease::Past,
        reader::{BATCH, Entry},
    },
    model::Graph,
};
use std::{collections::BTreeMap, sync::Arc};

/// The wall clock at the beginning of every simulation.
const WALL_MS: u64 = 1_700_000_000_000;
const EXPIRY_MS: u64 = 600_000;

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Subscribe { link: u64 },
    Snapshot,
    Log { after: Position },
    Reign,
    Request,
    Acquire { token: String, lasts_ms: u64 },
    Renew { token: String, lasts_ms: u64 },
    Release { token: String },
    Publish { token: String, epoch: u64, what: Publication },
}

#[derive(Debug, Clone)]
pub(super) enum Publication {
    Delta { position: Position, envelope: Vec<u8>, whole: bool, oldest: Position, graph: Arc<Graph> },
    Snapshot { position: Position, snapshot: Vec<u8>, frame: Vec<u8>, heartbeat: Vec<u8>, graph: Arc<Graph> },
    Metrics { frame: Vec<u8> },
    Heartbeat { envelope: Vec<u8> },
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Done,
    /// The script refuses, or somebody else has the lease.
    No,
    /// A command was refused, or the server cannot be reached.
    Failed,
    Led {
        epoch: u64,
    },
    Keys {
        snapshot: Option<Vec<u8>>,
        frame: Option<Vec<u8>>,
    },
    Entries {
        reign: Option<u64>,
        entries: Vec<Entry>,
    },
    Reign(Option<u64>),
}

/// Something for all subscribers.
#[derive(Debug, Clone)]
pub(super) enum Push {
    Envelope(Vec<u8>),
    Frame(Vec<u8>),
    Request,
}

struct Logged {
    position: Position,
    envelope: Vec<u8>,
    /// As its leader meant it.
    whole: bool,
}

#[derive(Default)]
pub(super) struct Server {
    /// Until then it is down.
    pub(super) down_until: u64,
    /// How far its wall clock is off, in milliseconds.
    pub(super) clock_ms: i64,
    pub(super) leader: Option<(String, u64)>,
    pub(super) epoch: Option<u64>,
    pub(super) snapshot: Option<(Vec<u8>, u64)>,
    pub(super) frame: Option<(Vec<u8>, u64)>,
    log: Vec<Logged>,
    newest: Option<Position>,
    /// Followers by number, with their link.
    pub(super) subscribers: BTreeMap<usize, u64>,
}

// === impl Server ===

impl Server {
    /// Starts anew without any memory.
    pub(super) fn restart(&mut self, up_at: u64, clock_ms: i64) {
        *self = Self { down_until: up_at, clock_ms, ..Self::default() };
    }

    pub(super) fn evict_log(&mut self) {
        self.log.clear();
        self.newest = None;
    }

    fn wall(&self, now: u64) -> u64 {
        (WALL_MS + now).saturating_add_signed(self.clock_ms)
    }

    fn expire(&mut self, now: u64) {
        let wall = self.wall(now);
        self.leader.take_if(|(_, until)| *until <= wall);
        self.snapshot.take_if(|(_, until)| *until <= wall);
        self.frame.take_if(|(_, until)| *until <= wall);
    }

    /// Does one thing, in one step.
    pub(super) fn run(
        &mut self,
        now: u64,
        from: usize,
        ask: Ask,
        arms: Arms,
        history: &mut History,
    ) -> (Answer, Option<Push>) {
        self.expire(now);
        let wall = self.wall(now);
        let answer = match ask {
            Ask::Subscribe { link } => {
                self.subscribers.insert(from, link);
                Answer::Done
            }
            Ask::Snapshot => Answer::Keys {
                snapshot: self.snapshot.as_ref().map(|(bytes, _)| bytes.clone()),
                frame: self.frame.as_ref().map(|(bytes, _)| bytes.clone()),
            },
            Ask::Log { after } => {
                let entries = self.log.iter().filter(|entry| {
                    arms.log && entry.position > after && entry.position.epoch == after.epoch
                });
                let entries = entries
                    .take(BATCH)
                    .map(|entry| Entry { position: entry.position, envelope: entry.envelope.clone() });
                Answer::Entries { reign: self.epoch, entries: entries.collect() }
            }
            Ask::Reign => Answer::Reign(self.epoch),
            Ask::Request => return (Answer::Done, Some(Push::Request)),
            Ask::Acquire { token, lasts_ms } => match &self.leader {
                Some((holder, _)) if *holder != token => Answer::No,
                _ => {
                    let past = Past {
                        previous: self.epoch,
                        newest_in_log: self.log.last().map(|entry| entry.position.epoch),
                        redis_ms: wall,
                    };
                    let epoch = past.next_epoch();
                    self.leader = Some((token, wall + lasts_ms));
                    self.epoch = Some(epoch);
                    history.acquired(now, epoch);
                    Answer::Led { epoch }
                }
            },
            Ask::Renew { token, lasts_ms } => match &mut self.leader {
                Some((holder, until)) if *holder == token => {
                    *until = wall + lasts_ms;
                    Answer::Done
                }
                _ => Answer::No,
            },
            Ask::Release { token } => {
                self.leader.take_if(|(holder, _)| *holder == token);
                Answer::Done
            }
            Ask::Publish { token, epoch, what } => {
                let leads = self.leader.as_ref().is_some_and(|(holder, _)| *holder == token);
                if arms.fencing && (!leads || self.epoch != Some(epoch)) {
                    return (Answer::No, None);
                }
                return self.publish(now, what, wall, history);
            }
        };
        (answer, None)
    }

    fn publish(
        &mut self,
        now: u64,
        what: Publication,
        wall: u64,
        history: &mut History,
    ) -> (Answer, Option<Push>) {
        let push = match what {
            Publication::Delta { position, envelope, whole, oldest, graph } => {
                if self.newest.is_some_and(|newest| newest >= position) {
                    return (Answer::Failed, None);
                }
                self.newest = Some(position);
                self.log.retain(|entry| entry.position >= oldest);
                self.log.push(Logged { position, envelope: envelope.clone(), whole });
                history.published(now, position, graph);
                Push::Envelope(envelope)
            }
            Publication::Snapshot { position, snapshot, frame, heartbeat, graph } => {
                self.snapshot = Some((snapshot, wall + EXPIRY_MS));
                self.frame = Some((frame, wall + EXPIRY_MS));
                history.published(now, position, graph);
                Push::Envelope(heartbeat)
            }
            Publication::Metrics { frame } => {
                self.frame = Some((frame.clone(), wall + EXPIRY_MS));
                Push::Frame(frame)
            }
            Publication::Heartbeat { envelope } => Push::Envelope(envelope),
        };
        (Answer::Done, Some(push))
    }

    /// Whether the log holds everything that leads from the one position to the other.
    pub(super) fn logged(&self, from: Position, to: Position) -> bool {
        let whole = |seq| {
            let position = Position { epoch: from.epoch, seq };
            self.log.iter().any(|entry| entry.position == position && entry.whole)
        };
        from.epoch == to.epoch && (from.seq + 1..=to.seq).all(whole)
    }
}
