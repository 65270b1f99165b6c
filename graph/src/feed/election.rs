//! Who leads when a Kubernetes Lease says so: what a candidate does next, as decisions on values.
//!
//! The Lease is an object of `coordination.k8s.io/v1` that names its holder. Every write names the version that it is
//! based on, and the API server refuses it when somebody else wrote in between. A candidate takes the Lease when nobody
//! holds it, or when it has not seen it change for as long as its holder claimed it, by the candidate's own clock. Times
//! that others wrote into it are never read. The holder trusts it as it would trust one in Redis ([`Lease`]): by its own
//! clock, counted from before the write was sent, and a fifth less. So clocks may differ by any time, and may run
//! differently by a tenth each.
//!
//! That is exclusive as long as nobody is halted between looking at the clock and writing. What such a leader still
//! writes, Redis refuses: whoever takes the Lease begins a reign there, over the one it saw *before* it made sure of the
//! Lease ([`Election::confirm`]), and only if it is still that one. A leader that lost the Lease in between cannot take
//! the reign from its successor.
//!
//! Time is an argument: a [`Duration`] since any moment that stays the same.

use super::lease::{Lease, Loss, Renewal};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One candidate, and what it knows of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    me: String,
    lasts: Duration,
    sight: Sight,
    /// The version that was seen last, also when it is not the newest any more.
    version: Option<String>,
    /// Until then another's claim stands.
    claimed_until: Duration,
    /// Who held it when it was seen last; empty for nobody.
    holder: String,
    /// Ours, while it is.
    lease: Option<Lease>,
    /// When the last write was sent that gave us the Lease or kept it.
    confirmed: Option<Duration>,
    aim: Aim,
    next: Duration,
    not_before: Duration,
}

/// What the next write can be based on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sight {
    /// It has to be looked at first.
    Unknown,
    /// There is none.
    Absent,
    /// It was like this.
    Record(Record),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Lead,
    /// Give it up, then lead again if nobody else does.
    StandBack,
    /// Give it up for good.
    Leave,
}

/// A Lease, as far as it decides who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The token of who holds it; empty when nobody does.
    pub holder: String,
    /// How long the claim stands without a change.
    pub lasts: Duration,
    /// How often the holder changed.
    pub transitions: u32,
    /// Another one after every write.
    pub version: String,
}

/// What to write into the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The token of who holds it; empty to give it up.
    pub holder: String,
    /// How often the holder changed.
    pub transitions: u32,
    /// It begins with this write; otherwise it goes on.
    pub begins: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time.
    Wait {
        /// When to ask again.
        until: Duration,
    },
    /// Read the Lease.
    Look,
    /// Make the Lease; it must not be there.
    Create(Claim),
    /// Write the Lease; it must still have this version.
    Replace {
        /// The version that it is based on.
        version: String,
        /// What to write.
        claim: Claim,
    },
    /// Nothing, for ever: it is given up.
    Done,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease as it is now, after the write if it was one.
    Found(Record),
    /// There is no Lease.
    Absent,
    /// Not written: it has another version, or is there already.
    Conflict,
    /// Nobody knows.
    Failed,
}

/// What changed for the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It holds the Lease since now.
    Won,
    /// It does not hold it any more.
    Lost(Loss),
}

/// A claim of another is believed for at most this long without a change, whatever it says: as long as ours may be.
pub const LONGEST: Duration = Duration::from_secs(300);

// === impl Election ===

impl Election {
    /// A candidate with this token, who claims the Lease for `lasts` at a time.
    pub fn new(me: impl Into<String>, lasts: Duration) -> Self {
        Self {
            me: me.into(),
            lasts,
            sight: Sight::Unknown,
            version: None,
            claimed_until: Duration::ZERO,
            holder: String::new(),
            lease: None,
            confirmed: None,
            aim: Aim::Lead,
            next: Duration::ZERO,
            not_before: Duration::ZERO,
        }
    }

    /// What to do at `now`.
    pub fn step(&self, now: Duration) -> Step {
        if now < self.next {
            return Step::Wait { until: self.next };
        }
        let leads = self.aim == Aim::Lead;
        match &self.sight {
            Sight::Unknown => Step::Look,
            Sight::Record(record) if record.holder == self.me => {
                let holder = if leads { self.me.clone() } else { String::new() };
                // Not trusted any more, it is taken anew, though nobody else had it.
                let claim = Claim { holder, transitions: record.transitions, begins: false };
                Step::Replace { version: record.version.clone(), claim }
            }
            _ if !leads => Step::Done,
            _ if now < self.claimed_until.max(self.not_before) => Step::Look,
            Sight::Absent => Step::Create(self.claim(0)),
            Sight::Record(record) => Step::Replace {
                version: record.version.clone(),
                claim: self.claim(record.transitions.saturating_add(1)),
            },
        }
    }

    /// Takes in what came of `step`, which was sent at `sent`.
    pub fn take(&mut self, step: &Step, sent: Duration, now: Duration, answer: Answer) -> Option<Turn> {
        let wrote = matches!(step, Step::Create(_) | Step::Replace { .. });
        match answer {
            Answer::Found(record) => self.found(record, wrote, sent, now),
            Answer::Absent => {
                self.sight = Sight::Absent;
                self.holder.clear();
                self.stood_back(now);
                self.next = if wrote { now + self.pause() } else { self.when_free(now) };
                self.lost(Loss::Refused)
            }
            Answer::Conflict => {
                self.sight = Sight::Unknown;
                self.next = now;
                None
            }
            Answer::Failed => {
                self.sight = Sight::Unknown;
                self.next = now + self.pause();
                let lease = self.lease.as_mut()?;
                let loss = lease.renewed(sent, now, Renewal::Failed);
                self.next = lease.renew_at().unwrap_or(self.next);
                loss.and_then(|loss| self.lost(loss))
            }
        }
    }

    /// Whether we may act as the leader: nobody else can hold the Lease.
    pub fn held(&self, now: Duration) -> bool {
        self.lease.is_some_and(|lease| lease.held(now))
    }

    /// Ours, while it is, for those who ask later.
    pub fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// When the last write was sent that gave us the Lease or kept it.
    pub fn confirmed(&self) -> Option<Duration> {
        self.lease.and(self.confirmed)
    }

    /// Who held it when it was seen last; empty for nobody.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// How long one step may take before it counts as [`Answer::Failed`].
    pub fn patience(&self) -> Duration {
        self.lasts / 3
    }

    /// Writes at once, to make sure that the Lease is still ours.
    pub fn confirm(&mut self, now: Duration) {
        if self.lease.is_some() {
            self.next = self.next.min(now);
        }
    }

    /// Gives the Lease up at once, because this candidate is of no use as a leader; if nobody else takes it, it tries
    /// again.
    pub fn stand_back(&mut self, now: Duration) {
        if self.aim == Aim::Lead && self.lease.is_some() {
            self.give_up(Aim::StandBack, now);
        }
    }

    /// Gives the Lease up for good.
    pub fn leave(&mut self, now: Duration) {
        self.give_up(Aim::Leave, now);
    }

    fn give_up(&mut self, aim: Aim, now: Duration) {
        self.aim = aim;
        self.lease = None;
        self.next = now;
    }

    fn found(&mut self, record: Record, wrote: bool, sent: Duration, now: Duration) -> Option<Turn> {
        let ours = record.holder == self.me;
        if self.version.as_ref() != Some(&record.version) {
            // A change is a sign of life, whatever it was. Counted from when we heard of it: later than it was made.
            let others = !ours && !record.holder.is_empty();
            self.claimed_until = if others { now + record.lasts.min(LONGEST) } else { Duration::ZERO };
            self.version = Some(record.version.clone());
        }
        self.holder.clone_from(&record.holder);
        self.sight = Sight::Record(record);
        if !ours {
            self.stood_back(now);
            self.next = self.when_free(now);
            return self.lost(Loss::Refused);
        }
        self.next = now;
        if !wrote || self.aim != Aim::Lead {
            // A look does not prolong anything: write.
            return None;
        }
        let lease = Lease::taken(self.lasts, sent);
        self.next = lease.renew_at().unwrap_or(now);
        self.confirmed = Some(sent);
        self.lease.replace(lease).is_none().then_some(Turn::Won)
    }

    /// Ours no longer; others look several times before we try again.
    fn stood_back(&mut self, now: Duration) {
        if self.aim == Aim::StandBack {
            self.aim = Aim::Lead;
            self.not_before = now + 4 * self.pause();
        }
    }

    fn lost(&mut self, loss: Loss) -> Option<Turn> {
        self.lease.take().map(|_| Turn::Lost(loss))
    }

    fn claim(&self, transitions: u32) -> Claim {
        Claim { holder: self.me.clone(), transitions, begins: true }
    }

    /// When it can be taken, or looked at again, whichever comes first.
    fn when_free(&self, now: Duration) -> Duration {
        let free = self.claimed_until.max(self.not_before);
        if free <= now { now } else { free.min(now + self.pause()) }
    }

    /// Between two looks: short enough that a Lease that was given up is taken within a second, and long enough that
    /// the API server does not notice.
    fn pause(&self) -> Duration {
        (self.lasts / 20).clamp(Duration::from_millis(100), Duration::from_millis(500))
    }
}
