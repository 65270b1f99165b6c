//! The reading end of the feed over Redis, without Redis: what arrived goes in, what to do next and what the replica
//! is to hear come out. Whoever drives it does the I/O and nothing else.
//!
//! ```text
//!            ┌──────────────── connection lost ─────────────────┐
//!            ▼                                                  │
//!   connect, subscribe ─► snapshot + log ─► live ─► (dense?) ───┤
//!                          ▲    │  ▲          │ gap             │
//!              wait, ask ◄─┘    │  │          ▼                 │
//!            does not reach ◄───┘  └── log after our seq ───────┘
//! ```
//!
//! ```text
//! loop {
//!     hand over reader.output() until there is none
//!     do reader.command(now), and give what came of it to reader.take(now, …)
//! }
//! ```
//!
//! Pub/sub only wakes us up; Redis drops it silently when we are slow. Each change has a number one above the last, so
//! a missing one is noticed at the next message, at the latest at the next heartbeat, and read from the log. What the
//! log no longer has is in a snapshot, and what the snapshot does not reach the leader is asked for. What was refused
//! (a bad checksum, a change that does not fit) is not guessed at: the graph is taken anew, and the caller keeps the
//! one it has until then.
//!
//! Which reign counts is for Redis to say, by its [epoch](crate::wire::EPOCH): a message of another reign than ours is
//! ignored unless that is the present one. A leader that was fenced off cannot change what Redis says.
//!
//! Time is an argument: a [`Duration`] since any moment that stays the same, by a clock that never goes back.

mod hydrate;
mod numbers;
#[cfg(test)]
mod tests;

use super::{Event, Position, chance::Chance};
use crate::{
    delta::{self, Misfit},
    metrics::Metrics,
    model::Graph,
    wire::{
        EdgesHash, Limits, envelope,
        frame::Frame,
        patch,
        snapshot::{self, Topology},
    },
};
use hydrate::Hydration;
use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

/// How many entries of the log are read at a time. A reply with fewer is the end of the log.
pub const BATCH: usize = 256;

/// Pauses before a new connection grow from the first to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// How to read.
#[derive(Debug, Clone)]
pub struct Options {
    /// How large a metric frame may be.
    pub frame: Limits,
    /// After how much silence a connection is not believed to deliver any more; several heartbeats of the leader.
    pub silence: Duration,
    /// The least time between two requests for a snapshot. A fifth more or less is chosen by chance, so that replicas
    /// do not ask all at once.
    pub between_requests: Duration,
}

/// What to do next. It stays the same until something is taken in or time passes, so a driver that was interrupted
/// asks again and loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Drop the connection if there is one, wait until then, connect, and subscribe to changes and metric frames.
    /// Answer with [`Input::Connected`] once the subscription stands.
    Connect {
        /// When, at the earliest.
        not_before: Duration,
    },
    /// Read the keys of the snapshot and of the newest metric frame. Answer with [`Input::Snapshot`].
    Snapshot,
    /// Read the epoch and, in one step with it, the next [`BATCH`] entries of the log of this reign after this
    /// position. Answer with [`Input::Log`].
    Log {
        /// The position of the last entry that is not wanted.
        after: Position,
    },
    /// Read the epoch. Answer with [`Input::Reign`].
    Reign,
    /// Publish an empty message on the channel for requests. Answer with [`Input::Requested`].
    Request,
    /// Take the next thing that is pushed: [`Input::Envelope`], [`Input::Frame`], [`Input::Overflow`]; or
    /// [`Input::Silence`] when nothing was until then.
    Listen {
        /// How long.
        until: Duration,
    },
}

/// What came of a command. [`Input::Lost`] is an answer to every command. An answer to another command than the last
/// one is ignored.
#[derive(Debug)]
pub enum Input<'a> {
    /// The subscription stands.
    Connected,
    /// The connection failed, was closed, or a command on it was refused or not answered in time.
    Lost,
    /// What the keys hold.
    Snapshot {
        /// The snapshot, decoded by [`snapshot::decode`].
        snapshot: Option<Result<Topology, snapshot::Error>>,
        /// The bytes of the newest metric frame.
        frame: Option<&'a [u8]>,
    },
    /// What follows in the log.
    Log {
        /// The present reign; `None` when Redis knows of none.
        reign: Option<u64>,
        /// At most [`BATCH`] entries, in their order.
        entries: &'a [Entry],
    },
    /// The present reign; `None` when Redis knows of none.
    Reign(Option<u64>),
    /// The request is on its way.
    Requested,
    /// An envelope was pushed.
    Envelope(&'a [u8]),
    /// A metric frame was pushed.
    Frame(&'a [u8]),
    /// Envelopes were pushed faster than they were taken, and some are gone.
    Overflow,
    /// Nothing was pushed until the time the command named.
    Silence,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of its id.
    pub position: Position,
    /// The envelope in it.
    pub envelope: Vec<u8>,
}

/// What a reader has to say.
#[derive(Debug, Clone)]
pub enum Output {
    /// For the replica.
    Event(Event),
    /// For the log and the counters.
    Notice(Notice),
}

/// What happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A change was applied; it led to this position.
    Applied(Position),
    /// The graph was taken from a snapshot, at this position.
    Began(Position),
    /// The numbers of a frame are in use.
    Numbers,
    /// A change came again and was ignored.
    Duplicate,
    /// A message or a frame of a reign that is over was ignored.
    Outdated,
    /// A change is missing; the log is read.
    Gap,
    /// A message, an entry of the log or a frame cannot be used, for this reason.
    Refused(String),
    /// A snapshot cannot be used.
    BadSnapshot,
    /// There is no snapshot to begin from yet, for this reason. Said once for each reason.
    Unhydrated(String),
    /// The leader is asked for a snapshot.
    Requested,
    /// A frame is not of the topology that is here, and not of one to come.
    LateFrame,
    /// Nothing was pushed for a while, not even a heartbeat. Either there is no leader or the connection only looks
    /// alive, so a new one is made.
    Silence,
}

/// A change that cannot be applied.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    #[error(transparent)]
    Patch(#[from] patch::Error),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("the entry is not of the form that the feed writes")]
    Form,
}

/// The reading end of the feed. Owned and driven by one subscription.
#[derive(Debug)]
pub struct Reader {
    options: Options,
    chance: Chance,
    connected: bool,
    /// Connections that failed in a row.
    failures: u32,
    retry_at: Duration,
    step: Step,
    /// When something last came in while live.
    heard_at: Duration,
    hydration: Hydration,
    outputs: VecDeque<Output>,
    /// What the replica has, once it has applied what is in `outputs`.
    known: Option<Known>,
    hash: EdgesHash,
    /// The newest metric frame, while its topology has not come yet.
    frame: Option<Frame>,
    numbers: Arc<Metrics>,
    /// Where the frame belongs that `numbers` are from.
    numbers_at: Option<Position>,
}

/// A graph at its position.
#[derive(Debug, Clone)]
struct Known {
    position: Position,
    as_of_ms: i64,
    graph: Arc<Graph>,
}

/// Where we are. Every step but the first three needs a graph that is known.
#[derive(Debug, Clone)]
enum Step {
    /// Take a snapshot that leads, with the log, at least to this position; any of the present reign when there is
    /// none.
    Look(Option<Position>),
    /// Read the log after this snapshot.
    Hydrate(Candidate),
    /// Ask the leader for a snapshot, then look for it.
    Ask(Option<Position>),
    /// Read the log after our position, which should lead to this one.
    Log(Option<Position>),
    /// A message is of another reign: find out whose word counts.
    Reign(Position),
    /// Take what is pushed.
    Live,
}

/// A snapshot on its way to the present.
#[derive(Debug, Clone)]
struct Candidate {
    known: Known,
    wanted: Option<Position>,
    /// The snapshot's own position and time.
    origin: (Position, i64),
}

// === impl Reader ===

impl Reader {
    /// A reader that knows nothing. Readers with different seeds do not act all at once.
    pub fn new(options: Options, seed: u64) -> Self {
        Self {
            options,
            chance: Chance::new(seed),
            connected: false,
            failures: 0,
            retry_at: Duration::ZERO,
            step: Step::Look(None),
            heard_at: Duration::ZERO,
            hydration: Hydration::default(),
            outputs: VecDeque::new(),
            known: None,
            hash: EdgesHash::default(),
            frame: None,
            numbers: Arc::default(),
            numbers_at: None,
        }
    }

    /// Where the replica is once it has taken all output.
    pub fn position(&self) -> Option<Position> {
        self.known.as_ref().map(|known| known.position)
    }

    /// The next thing to hand over. Take all of it before the next command.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What to do now.
    pub fn command(&self, now: Duration) -> Command {
        if !self.connected {
            return Command::Connect { not_before: self.retry_at };
        }
        match (&self.step, self.position()) {
            (Step::Hydrate(candidate), _) => Command::Log { after: candidate.known.position },
            (Step::Ask(_), _) => Command::Request,
            (Step::Log(_), Some(after)) => Command::Log { after },
            (Step::Reign(_), Some(_)) => Command::Reign,
            (Step::Live, Some(_)) => Command::Listen { until: self.heard_at + self.options.silence },
            (Step::Look(_), _) | (_, None) => match self.hydration.look_at() {
                until if now < until => Command::Listen { until },
                _ => Command::Snapshot,
            },
        }
    }

    /// Takes in what came of the last command.
    pub fn take(&mut self, now: Duration, input: Input<'_>) {
        match input {
            Input::Connected => self.connected(now),
            Input::Lost => self.lost(now),
            Input::Snapshot { snapshot, frame } => self.take_snapshot(now, snapshot, frame),
            Input::Log { reign, entries } => self.take_log(now, reign, entries),
            Input::Reign(reign) => self.take_reign(now, reign),
            Input::Requested => self.requested(now),
            Input::Envelope(bytes) => self.take_envelope(now, bytes),
            Input::Frame(bytes) => {
                self.heard_at = now;
                self.keep_frame(bytes);
                self.fit_frame();
            }
            Input::Overflow => self.overflow(now),
            Input::Silence => {
                // Once connected, the log tells what was not pushed, and the next heartbeat what is not in the log.
                if matches!(self.step, Step::Live) {
                    self.notice(Notice::Silence);
                    self.connected = false;
                    self.retry_at = now;
                }
            }
        }
    }

    /// Forgets what was not handed over yet and starts over with a snapshot, because the replica could not apply
    /// something.
    pub fn resync(&mut self) {
        self.outputs.retain(|output| matches!(output, Output::Notice(_)));
        self.step = Step::Look(self.position());
    }

    fn connected(&mut self, now: Duration) {
        self.connected = true;
        self.heard_at = now;
        self.step = match mem::replace(&mut self.step, Step::Live) {
            Step::Live | Step::Reign(_) => Step::Log(None),
            // The Redis we come back to may not be the one we left.
            Step::Hydrate(Candidate { wanted, .. }) => Step::Look(wanted),
            unfinished => unfinished,
        };
    }

    fn lost(&mut self, now: Duration) {
        self.connected = false;
        let pause = (PAUSES[0] * 2_u32.saturating_pow(self.failures.min(10))).min(PAUSES[1]);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + self.chance.spread(pause, 0.5, 1.0);
    }

    fn live(&mut self, now: Duration) {
        self.step = Step::Live;
        self.heard_at = now;
        self.failures = 0;
        self.retry_at = now;
    }

    fn overflow(&mut self, now: Duration) {
        self.heard_at = now;
        match self.step {
            Step::Live => {
                self.notice(Notice::Gap);
                self.step = Step::Log(None);
            }
            _ => self.hydration.news(),
        }
    }

    fn take_log(&mut self, now: Duration, reign: Option<u64>, entries: &[Entry]) {
        match mem::replace(&mut self.step, Step::Live) {
            Step::Hydrate(candidate) => self.hydrate(now, candidate, reign, entries),
            Step::Log(target) => self.catch_up(now, target, reign, entries),
            other => self.step = other,
        }
    }

    /// Applies the entries after our position.
    fn catch_up(&mut self, now: Duration, target: Option<Position>, reign: Option<u64>, entries: &[Entry]) {
        let Some(position) = self.position() else {
            self.step = Step::Look(None);
            return;
        };
        if let Some(epoch) = reign.filter(|epoch| *epoch != position.epoch) {
            self.step = Step::Look(Some(Position { epoch, seq: 0 }));
            return;
        }
        for entry in entries {
            if Some(entry.position) != self.following() {
                // The log begins after what we miss, or a number was given up by the leader.
                self.step = Step::Look(Some(entry.position.max(target.unwrap_or_default())));
                return;
            }
            if let Err(error) = entry.open().and_then(|envelope| self.apply(&envelope)) {
                self.refused(&error);
                self.step = Step::Look(Some(entry.position));
                return;
            }
        }
        match target {
            _ if entries.len() >= BATCH => self.step = Step::Log(target),
            Some(target) if !self.position().is_some_and(|position| reaches(position, target)) => {
                self.step = Step::Look(Some(target));
            }
            _ => self.live(now),
        }
    }

    /// Decides about a message of another reign than ours. Only the leader can publish, but the message may have
    /// waited longer than we have known its successor.
    fn take_reign(&mut self, now: Duration, reign: Option<u64>) {
        let Step::Reign(seen) = self.step else { return };
        let ours = self.position().map(|position| position.epoch);
        match reign {
            Some(epoch) if epoch == seen.epoch => self.step = Step::Look(Some(seen)),
            Some(epoch) if Some(epoch) != ours => self.step = Step::Look(Some(Position { epoch, seq: 0 })),
            _ => {
                self.notice(Notice::Outdated);
                self.live(now);
            }
        }
    }

    fn take_envelope(&mut self, now: Duration, bytes: &[u8]) {
        self.heard_at = now;
        let position = match (&self.step, self.position()) {
            (Step::Live, Some(position)) => position,
            // What it says is in the log as well, which is read after the snapshot.
            _ => return self.hydration.news(),
        };
        let envelope = match envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                // Which change it was is not known; the log has it whole, or else the snapshot.
                self.refused(&error);
                self.step = Step::Log(None);
                return;
            }
        };
        let at = envelope.position;
        if at.epoch != position.epoch {
            self.step = Step::Reign(at);
        } else if envelope.patch.is_none() && at.seq <= position.seq {
            if let Some(known) = &mut self.known {
                known.as_of_ms = known.as_of_ms.max(envelope.as_of_ms);
            }
            self.event(Event::Heartbeat { position, as_of_ms: envelope.as_of_ms });
        } else if at.seq <= position.seq {
            self.notice(Notice::Duplicate);
        } else if envelope.patch.is_some() && Some(at) == self.following() {
            if let Err(error) = self.apply(&envelope) {
                self.refused(&error);
                self.step = Step::Look(Some(at));
            }
        } else {
            self.notice(Notice::Gap);
            self.step = Step::Log(Some(at));
        }
    }

    /// Applies the change that follows on our position.
    fn apply(&mut self, envelope: &envelope::Envelope<'_>) -> Result<(), Unfit> {
        let known = self.known.as_mut().ok_or(Unfit::Form)?;
        let delta = patch::decode(envelope.patch.ok_or(Unfit::Form)?)?;
        known.graph = Arc::new(delta::apply(&known.graph, &delta)?);
        known.position = envelope.position;
        known.as_of_ms = envelope.as_of_ms;
        let (position, as_of_ms) = (known.position, known.as_of_ms);
        self.notice(Notice::Applied(position));
        self.event(Event::Delta { position, as_of_ms, delta: Arc::new(delta) });
        self.fit_frame();
        Ok(())
    }

    fn following(&self) -> Option<Position> {
        self.position().map(following)
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn refused(&mut self, error: &dyn std::error::Error) {
        self.notice(Notice::Refused(chain(error)));
    }
}

// === impl Entry ===

impl Entry {
    fn open(&self) -> Result<envelope::Envelope<'_>, Unfit> {
        let envelope = envelope::decode(&self.envelope)?;
        if envelope.position == self.position { Ok(envelope) } else { Err(Unfit::Form) }
    }

    /// The time of the change and the graph with it.
    fn on(&self, graph: &Graph) -> Result<(i64, Graph), Unfit> {
        let envelope = self.open()?;
        let delta = patch::decode(envelope.patch.ok_or(Unfit::Form)?)?;
        Ok((envelope.as_of_ms, delta::apply(graph, &delta)?))
    }
}

fn following(position: Position) -> Position {
    Position { epoch: position.epoch, seq: position.seq.saturating_add(1) }
}

/// True when whoever is at `position` has what was published up to `wanted`.
fn reaches(position: Position, wanted: Position) -> bool {
    position.epoch == wanted.epoch && position.seq >= wanted.seq
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
