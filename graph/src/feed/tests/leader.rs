//! A simulated controller: the lease and the reign, driven as `controller/src/{index,lead,publish}.rs` drive them.

use super::{
    Arms,
    oracle::Oracle,
    server::{Answer, Ask, Publication},
};
use crate::{
    delta,
    feed::{
        lease::{Lease, Renewal},
        reign::{LogLimits, Reign},
    },
    wire::{EdgesHash, envelope, frame, patch, snapshot},
};
use std::{sync::Arc, time::Duration};

pub(super) const LEASE: Duration = Duration::from_secs(3);
const HEARTBEAT: u64 = 1000;
/// Rare: making a frame is most of what a simulation costs.
const POLL: u64 = 5000;
const SNAPSHOT: u64 = 8000;

pub(super) struct Leader {
    number: usize,
    arms: Arms,
    boots: u32,
    pub(super) alive: bool,
    /// Thousandths of the true speed that its clock runs with, and what it showed at the beginning.
    clock: (u64, u64),
    log: LogLimits,
    lead: Option<(Reign, Lease)>,
    behind: bool,
    dirty: bool,
    published: usize,
    pub(super) seen: usize,
    wanted: bool,
    doing: Option<(u64, Doing)>,
    renewing: Option<(u64, Duration)>,
    next_request: u64,
    next_heartbeat: u64,
    next_poll: u64,
    next_snapshot: u64,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    Acquire { sent: Duration },
    Snapshot { version: usize },
    Delta { version: usize },
    Else,
}

// === impl Leader ===

impl Leader {
    pub(super) fn new(number: usize, arms: Arms, clock: (u64, u64), log: LogLimits) -> Self {
        Self {
            number,
            arms,
            boots: 0,
            alive: true,
            clock,
            log,
            lead: None,
            behind: true,
            dirty: true,
            published: 0,
            seen: 0,
            wanted: false,
            doing: None,
            renewing: None,
            next_request: 0,
            next_heartbeat: 0,
            next_poll: 0,
            next_snapshot: SNAPSHOT,
        }
    }

    fn token(&self) -> String {
        format!("controller-{}/{}", self.number, self.boots)
    }

    fn local(&self, now: u64) -> Duration {
        Duration::from_millis(self.clock.1 + now * self.clock.0 / 1000)
    }

    /// True time, rounded up, at which its clock shows `local`.
    fn global(&self, local: Duration) -> u64 {
        let local = u64::try_from(local.as_millis()).expect("simulations are short");
        local.saturating_sub(self.clock.1) * 1000 / self.clock.0 + 2
    }

    /// A process that has just started knows what the cluster has now.
    pub(super) fn boot(&mut self, now: u64, version: usize) {
        let (number, arms, clock, log, boots) =
            (self.number, self.arms, self.clock, self.log, self.boots + 1);
        *self = Self { boots, seen: version, ..Self::new(number, arms, clock, log) };
        self.next_heartbeat = now;
    }

    pub(super) fn learn(&mut self, version: usize) {
        self.seen = self.seen.max(version);
        self.dirty = true;
    }

    pub(super) fn wanted(&mut self) {
        self.wanted = true;
    }

    /// How long to wait for the answer to a call.
    pub(super) fn patience(&self, now: u64, call: u64) -> u64 {
        match &self.lead {
            Some((_, lease)) if self.renewing.is_some_and(|(renewing, _)| renewing == call) => {
                self.global(self.local(now) + lease.patience()) - now
            }
            _ => 1000,
        }
    }

    /// What to renew with, if it is time to.
    pub(super) fn keep(&mut self, now: u64, call: u64) -> Option<Ask> {
        let local = self.local(now);
        let renew_at = self.lead.as_ref().and_then(|(_, lease)| lease.renew_at())?;
        if self.renewing.is_some() || local < renew_at {
            return None;
        }
        self.renewing = Some((call, local));
        Some(Ask::Renew { token: self.token(), lasts_ms: lasts_ms() })
    }

    /// What to ask next, if there is anything to do.
    pub(super) fn act(&mut self, now: u64, call: u64, oracle: &Oracle) -> Option<Ask> {
        if self.doing.is_some() {
            return None;
        }
        let tick = now >= self.next_heartbeat;
        if tick {
            self.next_heartbeat = now + HEARTBEAT;
        }
        let dirty = std::mem::take(&mut self.dirty);
        if self.behind {
            return if tick || dirty {
                self.snapshot(now, call, oracle)
            } else {
                self.on_request(now, call, oracle)
            };
        }
        if self.seen != self.published {
            return self.delta(now, call, oracle);
        }
        if now >= self.next_poll {
            self.next_poll = now + POLL;
            return self.metrics(now, call, oracle);
        }
        if now >= self.next_snapshot {
            self.next_snapshot = now + SNAPSHOT;
            return self.snapshot(now, call, oracle);
        }
        if tick {
            return self.heartbeat(now, call);
        }
        self.on_request(now, call, oracle)
    }

    /// Gives the lead up and ends.
    pub(super) fn stop(&mut self) -> Option<Ask> {
        self.alive = false;
        self.lead.take().map(|_| Ask::Release { token: self.token() })
    }

    /// When it has something to do again without anything happening.
    pub(super) fn due(&self, now: u64) -> u64 {
        let mut due = self.next_heartbeat;
        if let Some((_, lease)) = &self.lead {
            if let Some(renew_at) = lease.renew_at().filter(|_| self.renewing.is_none()) {
                due = due.min(self.global(renew_at));
            }
            if self.wanted {
                due = due.min(self.next_request);
            }
        }
        if !self.behind {
            due = due.min(self.next_poll).min(self.next_snapshot);
        }
        due.max(now + 1)
    }

    pub(super) fn answered(
        &mut self,
        now: u64,
        call: u64,
        answer: Answer,
        next_call: u64,
        oracle: &Oracle,
    ) -> Option<Ask> {
        let local = self.local(now);
        if let Some((_, sent)) = self.renewing.take_if(|(renewing, _)| *renewing == call) {
            let renewal = match answer {
                Answer::Done => Renewal::Kept,
                Answer::No => Renewal::Refused,
                _ => Renewal::Failed,
            };
            if let Some((_, lease)) = &mut self.lead {
                lease.renewed(sent, local, renewal);
            }
            return None;
        }
        let (_, doing) = self.doing.take_if(|(doing, _)| *doing == call)?;
        match (doing, answer) {
            (Doing::Acquire { sent }, Answer::Led { epoch }) => {
                self.lead = Some((Reign::new(epoch), Lease::taken(LEASE, sent)));
                self.renewing = None;
                self.next_request = now + 1000;
                return self.snapshot(now, next_call, oracle);
            }
            (Doing::Acquire { .. }, _) => self.behind = true,
            (doing, Answer::Done) => {
                self.settle();
                if let Doing::Snapshot { version } | Doing::Delta { version } = doing {
                    self.published = version;
                    self.behind = false;
                }
            }
            (doing, Answer::No) => {
                self.lead = None;
                self.renewing = None;
                self.behind = true;
                if matches!(doing, Doing::Snapshot { .. }) {
                    return self.acquire(now, next_call);
                }
            }
            _ => self.failed(),
        }
        None
    }

    fn settle(&mut self) {
        if let Some((reign, _)) = &mut self.lead {
            reign.settle();
        }
    }

    fn failed(&mut self) {
        self.behind = true;
        if let Some((reign, _)) = &mut self.lead {
            if self.arms.numbers { reign.unsettle() } else { reign.settle() }
        }
    }

    fn leading(&mut self, now: u64) -> Option<&mut Reign> {
        let local = self.local(now);
        self.lead.as_mut().filter(|(_, lease)| lease.held(local)).map(|(reign, _)| reign)
    }

    fn acquire(&mut self, now: u64, call: u64) -> Option<Ask> {
        self.lead = None;
        self.renewing = None;
        self.doing = Some((call, Doing::Acquire { sent: self.local(now) }));
        Some(Ask::Acquire { token: self.token(), lasts_ms: lasts_ms() })
    }

    fn on_request(&mut self, now: u64, call: u64, oracle: &Oracle) -> Option<Ask> {
        let next_request = self.next_request;
        let wanted = self.wanted;
        let unsure = self.leading(now).is_some_and(|reign| reign.heartbeat().is_err());
        if (unsure || (wanted && self.lead.is_some())) && now >= next_request {
            self.next_request = now + 1000;
            return self.snapshot(now, call, oracle);
        }
        None
    }

    fn publish(&mut self, call: u64, doing: Doing, what: Publication) -> Option<Ask> {
        let epoch = self.lead.as_ref().map(|(reign, _)| reign.position().epoch)?;
        self.doing = Some((call, doing));
        Some(Ask::Publish { token: self.token(), epoch, what })
    }

    fn snapshot(&mut self, now: u64, call: u64, oracle: &Oracle) -> Option<Ask> {
        let Some(reign) = self.leading(now) else { return self.acquire(now, call) };
        let position = reign.snapshot();
        self.wanted = false;
        let version = self.seen;
        let graph = oracle.at(version).clone();
        let numbers = oracle.numbers(version);
        let hash = EdgesHash::default().of(&graph);
        let what = Publication::Snapshot {
            position,
            snapshot: snapshot::encode(position, as_of(now), &graph),
            frame: frame::encode(position, &graph, hash, &numbers),
            heartbeat: envelope::encode(position, as_of(now), None).into_bytes(),
            graph,
        };
        self.publish(call, Doing::Snapshot { version }, what)
    }

    fn delta(&mut self, now: u64, call: u64, oracle: &Oracle) -> Option<Ask> {
        let (version, limits) = (self.seen, self.log);
        let delta = delta::diff(oracle.at(self.published), oracle.at(version));
        if delta.is_empty() {
            self.published = version;
            return None;
        }
        let Some(Ok(position)) = self.leading(now).map(Reign::delta) else {
            self.failed();
            return None;
        };
        let envelope = envelope::encode(position, as_of(now), Some(&patch::encode(&delta)));
        let oldest = self.leading(now)?.logged(envelope.len(), limits);
        let graph: Arc<_> = oracle.at(version).clone();
        let envelope = envelope.into_bytes();
        let what = Publication::Delta { position, envelope, whole: true, oldest, graph };
        self.publish(call, Doing::Delta { version }, what)
    }

    fn metrics(&mut self, now: u64, call: u64, oracle: &Oracle) -> Option<Ask> {
        let version = self.published;
        let Some(Ok(position)) = self.leading(now).map(|reign| reign.heartbeat()) else {
            self.failed();
            return None;
        };
        let graph = oracle.at(version);
        let hash = EdgesHash::default().of(graph);
        let frame = frame::encode(position, graph, hash, &oracle.numbers(version));
        self.publish(call, Doing::Else, Publication::Metrics { frame })
    }

    fn heartbeat(&mut self, now: u64, call: u64) -> Option<Ask> {
        let Some(Ok(position)) = self.leading(now).map(|reign| reign.heartbeat()) else {
            self.failed();
            return None;
        };
        let envelope = envelope::encode(position, as_of(now), None).into_bytes();
        self.publish(call, Doing::Else, Publication::Heartbeat { envelope })
    }
}

fn lasts_ms() -> u64 {
    u64::try_from(LEASE.as_millis()).expect("it is short")
}

fn as_of(now: u64) -> i64 {
    i64::try_from(now).expect("simulations are short")
}
