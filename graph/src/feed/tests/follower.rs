//! A simulated API replica: the reader with an inbox, the graph that follows it, and what it keeps for watchers.

use super::{
    Arms,
    history::{History, Rule},
    server::Server,
};
use crate::{
    delta::{self, Delta},
    feed::{
        Event, Position, Snapshot,
        reader::{Command, Input, Notice, Options, Output, Reader},
    },
    metrics::Metrics,
    model::Graph,
    wire::{Limits, envelope, patch},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// So few that a slow reader overflows now and then.
const INBOX: usize = 12;
const RING: usize = 16;

pub(super) struct Follower {
    pub(super) reading: Reading,
    pub(super) link: u64,
    pub(super) linked: bool,
    /// What is pushed over this link is lost, and nobody says so.
    pub(super) deaf_link: u64,
    pub(super) inbox: VecDeque<Vec<u8>>,
    pub(super) frame: Option<Vec<u8>>,
    pub(super) overflow: bool,
    pub(super) closed: bool,
    pub(super) call: Option<u64>,
    /// Something broken or unasked happened since the last snapshot, so that one more may be needed.
    pub(super) tainted: bool,
    pub(super) replica: Replica,
}

/// As `api/src/replica.rs` keeps it.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) position: Option<Position>,
    pub(super) graph: Arc<Graph>,
    pub(super) numbers: Arc<Metrics>,
    generation: u64,
    start: Position,
    ring: VecDeque<(Position, Arc<Delta>)>,
}

pub(super) enum Reading {
    Real(Box<Reader>),
    /// For a control arm: believes whatever is whole and fits.
    Careless(Careless),
}

#[derive(Default)]
pub(super) struct Careless {
    connected: bool,
    retry_at: Duration,
    position: Option<Position>,
    outputs: VecDeque<Output>,
}

/// Follows a replica as a client of `WatchMeshGraph` does.
#[derive(Default)]
pub(super) struct Watcher {
    pub(super) name: String,
    pub(super) of: usize,
    generation: Option<u64>,
    position: Option<Position>,
    pub(super) graph: Arc<Graph>,
}

// === impl Follower ===

impl Follower {
    pub(super) fn new(name: String, seed: u64, arms: Arms) -> Self {
        let options = Options {
            frame: Limits::FRAME,
            silence: Duration::from_secs(5),
            between_requests: Duration::from_secs(2),
        };
        let reading = match arms.dense {
            true => Reading::Real(Box::new(Reader::new(options, seed))),
            false => Reading::Careless(Careless::default()),
        };
        Self {
            reading,
            link: 0,
            linked: false,
            deaf_link: 0,
            inbox: VecDeque::new(),
            frame: None,
            overflow: false,
            closed: false,
            call: None,
            tainted: false,
            replica: Replica { name, ..Replica::default() },
        }
    }

    pub(super) fn pushed(&mut self, bytes: Vec<u8>) {
        self.inbox.push_back(bytes);
        if self.inbox.len() > INBOX {
            self.inbox.clear();
            self.overflow = true;
        }
    }

    /// Forgets the connection.
    pub(super) fn unlink(&mut self) {
        self.linked = false;
        self.closed = false;
        self.overflow = false;
        self.inbox.clear();
        self.frame = None;
    }

    /// Hands what the reader says to the replica.
    pub(super) fn hear(&mut self, now: u64, server: &Server, history: &mut History) {
        while let Some(output) = self.reading.output() {
            history.trace(now, || match &output {
                Output::Notice(notice) => format!("{}: {notice:?}", self.replica.name),
                Output::Event(Event::Snapshot(snapshot)) => {
                    format!("{}: snapshot of {:?}", self.replica.name, snapshot.position)
                }
                Output::Event(Event::Delta { position, .. }) => {
                    format!("{}: change to {position:?}", self.replica.name)
                }
                Output::Event(Event::Metrics { .. }) => format!("{}: numbers", self.replica.name),
                Output::Event(Event::Heartbeat { .. }) => format!("{}: heartbeat", self.replica.name),
            });
            match output {
                Output::Notice(notice) => self.note(&notice, history),
                Output::Event(Event::Snapshot(snapshot)) => {
                    if let Some(from) = self.replica.position
                        && !self.tainted
                        && from.seq < snapshot.position.seq
                        && server.logged(from, snapshot.position)
                    {
                        let to = snapshot.position;
                        let who = &self.replica.name;
                        let what = format!("{who} jumps from {from:?} to {to:?} though the log has all");
                        history.broken(Rule::Resumable, now, what);
                    }
                    self.tainted = false;
                    self.replica.start_over(now, snapshot, history);
                }
                Output::Event(Event::Delta { position, delta, .. }) => {
                    self.replica.apply(now, position, delta, history);
                }
                Output::Event(Event::Metrics { metrics, .. }) => self.replica.numbers = metrics,
                Output::Event(Event::Heartbeat { position, .. }) => {
                    if self.replica.position != Some(position) {
                        let at = self.replica.position;
                        let what = format!("a heartbeat of {position:?} for a replica at {at:?}");
                        history.broken(Rule::Ordered, now, what);
                    }
                }
            }
        }
    }

    fn note(&mut self, notice: &Notice, history: &mut History) {
        history.count(match notice {
            Notice::Applied(_) => "applied",
            Notice::Began(_) => "began",
            Notice::Numbers => "numbers",
            Notice::Duplicate => "duplicate",
            Notice::Outdated => "outdated",
            Notice::Gap => "gap",
            Notice::Refused(_) => "refused",
            Notice::BadSnapshot => "bad snapshot",
            Notice::Unhydrated(_) => "unhydrated",
            Notice::Requested => "requested",
            Notice::LateFrame => "late frame",
            Notice::Silence => "silence",
        });
    }
}

// === impl Replica ===

impl Replica {
    fn start_over(&mut self, now: u64, snapshot: Snapshot, history: &mut History) {
        let Snapshot { position, graph, metrics, .. } = snapshot;
        history.started(now, &self.name, self.position, position, &graph);
        let same = self.position == Some(position) && self.graph == graph;
        (self.position, self.graph, self.numbers) = (Some(position), graph, metrics);
        if !same {
            self.ring.clear();
            self.start = position;
            self.generation += 1;
        }
    }

    fn apply(&mut self, now: u64, position: Position, delta: Arc<Delta>, history: &mut History) {
        match delta::apply(&self.graph, &delta) {
            Ok(graph) => self.graph = Arc::new(graph),
            Err(error) => history.broken(Rule::Reliable, now, format_args!("{}: {error}", self.name)),
        }
        history.applied(now, &self.name, self.position, position, &self.graph);
        self.position = Some(position);
        self.ring.push_back((position, delta));
        if self.ring.len() > RING
            && let Some((oldest, _)) = self.ring.pop_front()
        {
            self.start = oldest;
        }
    }

    /// What follows a position, as `Ring::after` says it.
    fn after(&self, position: Position, generation: Option<u64>) -> Option<&[(Position, Arc<Delta>)]> {
        let known = generation.is_none_or(|generation| generation == self.generation)
            && position.epoch == self.start.epoch
            && position.seq >= self.start.seq;
        let nth = usize::try_from(position.seq.wrapping_sub(self.start.seq)).ok()?;
        let (ring, _) = self.ring.as_slices();
        if known { ring.get(nth..) } else { None }
    }
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(name: String, of: usize) -> Self {
        Self { name, of, ..Self::default() }
    }

    /// Goes to another replica, with the position as its token.
    pub(super) fn resume_at(&mut self, of: usize) {
        self.of = of;
        self.generation = None;
    }

    /// Takes everything that its replica has for it.
    pub(super) fn catch_up(&mut self, now: u64, replica: &mut Replica, history: &mut History) {
        let Some(here) = replica.position else { return };
        replica.ring.make_contiguous();
        let missed = self.position.and_then(|position| replica.after(position, self.generation));
        let Some(missed) = missed else {
            // Another replica may be behind the one before: a watcher goes back then, and is told so.
            let from = self.position.filter(|_| self.generation.is_some());
            history.count("watch resync");
            history.started(now, &self.name, from, here, &replica.graph);
            (self.position, self.graph) = (Some(here), replica.graph.clone());
            self.generation = Some(replica.generation);
            return;
        };
        if self.generation.is_none() {
            history.count("watch resumed");
        }
        for (position, delta) in missed {
            match delta::apply(&self.graph, delta) {
                Ok(graph) => self.graph = Arc::new(graph),
                Err(error) => history.broken(Rule::Reliable, now, format_args!("{}: {error}", self.name)),
            }
            history.applied(now, &self.name, self.position, *position, &self.graph);
            self.position = Some(*position);
        }
        self.generation = Some(replica.generation);
        if self.position != Some(here) {
            let what = format!("{} is at {:?}, its replica at {here:?}", self.name, self.position);
            history.broken(Rule::Resumable, now, what);
        }
    }
}

// === impl Reading ===

impl Reading {
    pub(super) fn command(&self, now: Duration) -> Command {
        match self {
            Self::Real(reader) => reader.command(now),
            Self::Careless(careless) => careless.command(now),
        }
    }

    pub(super) fn take(&mut self, now: Duration, input: Input<'_>) {
        match self {
            Self::Real(reader) => reader.take(now, input),
            Self::Careless(careless) => careless.take(now, input),
        }
    }

    pub(super) fn resync(&mut self) {
        if let Self::Real(reader) = self {
            reader.resync();
        }
    }

    fn output(&mut self) -> Option<Output> {
        match self {
            Self::Real(reader) => reader.output(),
            Self::Careless(careless) => careless.outputs.pop_front(),
        }
    }
}

// === impl Careless ===

impl Careless {
    fn command(&self, now: Duration) -> Command {
        match self.position {
            _ if !self.connected => Command::Connect { not_before: self.retry_at },
            None if now >= self.retry_at => Command::Snapshot,
            None => Command::Listen { until: self.retry_at },
            Some(_) => Command::Listen { until: now + Duration::from_secs(60) },
        }
    }

    fn take(&mut self, now: Duration, input: Input<'_>) {
        match input {
            Input::Connected => self.connected = true,
            Input::Lost => {
                self.connected = false;
                self.retry_at = now + Duration::from_millis(100);
            }
            Input::Snapshot { snapshot: Some(Ok(topology)), .. } => {
                self.position = Some(topology.position);
                self.outputs.push_back(Output::Event(Event::Snapshot(Snapshot {
                    position: topology.position,
                    as_of_ms: topology.as_of_ms,
                    graph: Arc::new(topology.graph),
                    metrics: Arc::default(),
                })));
            }
            Input::Snapshot { .. } => self.retry_at = now + Duration::from_secs(1),
            Input::Envelope(bytes) => {
                if let Ok(envelope) = envelope::decode(bytes)
                    && let Some(Ok(delta)) = envelope.patch.map(patch::decode)
                    && self.position.is_some()
                {
                    let (position, as_of_ms) = (envelope.position, envelope.as_of_ms);
                    self.position = Some(position);
                    let delta = Arc::new(delta);
                    self.outputs.push_back(Output::Event(Event::Delta { position, as_of_ms, delta }));
                }
            }
            _ => {}
        }
    }
}
