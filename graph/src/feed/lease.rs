//! The lead of the feed, as decisions on values: how long it lasts, when to renew it, when to give it up unasked, and
//! which epoch a reign gets.
//!
//! The lease is a key in Redis that holds the leader's token and expires. It is taken when it is free, renewed when it
//! still holds our token, and deleted when it still does, each in one step on the server. The holder trusts it by its
//! own clock, which never goes back, counted from before the command was sent, and only for four fifths of its time: a
//! process that was halted finds out by itself that it must not publish. What it had sent before, the server refuses,
//! because every publication is checked against token and epoch there.
//!
//! Time is an argument: a [`Duration`] since any moment that stays the same.

use std::time::Duration;

/// The lead, as its holder may trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    lasts: Duration,
    /// `None` when it is lost.
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    until: Duration,
    renew_at: Duration,
}

/// What came of an attempt to renew a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It was still ours and lasts anew.
    Kept,
    /// It is not ours any more: somebody else has it, or Redis forgot it.
    Refused,
    /// Nobody knows: Redis was out of reach or too slow.
    Failed,
}

/// Why a lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Redis says so.
    Refused,
    /// It could not be renewed in time, and we trust it no longer.
    Late,
}

/// What a reign's epoch must be above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// The epoch of the reign before, as Redis has it; `None` when it lost its memory.
    pub previous: Option<u64>,
    /// The epoch of the newest entry of the log, if there is any.
    pub newest_in_log: Option<u64>,
    /// Redis' clock, in milliseconds since the Unix epoch.
    pub redis_ms: u64,
}

// === impl Lease ===

impl Lease {
    /// A lease that was taken by a command sent at `sent` and lasts `lasts` in Redis.
    pub fn taken(lasts: Duration, sent: Duration) -> Self {
        let mut lease = Self { lasts, held: None };
        lease.kept(sent);
        lease
    }

    /// Whether we may publish: it certainly has not ended in Redis.
    pub fn held(&self, now: Duration) -> bool {
        self.held.is_some_and(|held| now < held.until)
    }

    /// Whether it is over for good. A lease that is not held may still be renewed; a lost one has to be taken anew.
    pub fn lost(&self) -> bool {
        self.held.is_none()
    }

    /// When to renew it; `None` when it is lost.
    pub fn renew_at(&self) -> Option<Duration> {
        self.held.map(|held| held.renew_at)
    }

    /// How long an attempt to renew it may take before it counts as [`Renewal::Failed`].
    pub fn patience(&self) -> Duration {
        self.lasts / 3
    }

    /// Takes in what came of an attempt that was sent at `sent`; says when the lease is lost by it.
    pub fn renewed(&mut self, sent: Duration, now: Duration, renewal: Renewal) -> Option<Loss> {
        let held = self.held?;
        let loss = match renewal {
            Renewal::Kept => {
                self.kept(sent);
                return None;
            }
            Renewal::Refused => Loss::Refused,
            Renewal::Failed if now < held.until => {
                self.held = Some(Held { renew_at: now + self.lasts / 20, ..held });
                return None;
            }
            Renewal::Failed => Loss::Late,
        };
        self.held = None;
        Some(loss)
    }

    fn kept(&mut self, sent: Duration) {
        // A fifth is left for clocks that run differently and for a command that is on its way.
        self.held = Some(Held { until: sent + self.lasts * 4 / 5, renew_at: sent + self.lasts / 3 });
    }
}

// === impl Past ===

impl Past {
    /// The epoch of the next reign: above every reign there was, also when Redis lost its memory (then its clock is
    /// above it) and when its clock was set back (then the epoch before or the log is). The controller's script for
    /// taking the lead computes the same on the server.
    pub fn next_epoch(self) -> u64 {
        let above = |epoch: Option<u64>| epoch.unwrap_or(0).saturating_add(1);
        self.redis_ms.max(above(self.previous)).max(above(self.newest_in_log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn mk_lease() -> Lease {
        Lease::taken(s(30), s(100))
    }

    #[test]
    fn a_lease_is_trusted_for_four_fifths_of_its_time_from_when_it_was_asked_for() {
        let lease = mk_lease();
        assert_eq!((lease.held(s(100)), lease.held(s(123)), lease.held(s(124))), (true, true, false));
        assert_eq!((lease.renew_at(), lease.patience(), lease.lost()), (Some(s(110)), s(10), false));
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_not_from_when_it_was_answered() {
        let mut lease = mk_lease();
        assert_eq!(lease.renewed(s(110), s(119), Renewal::Kept), None);
        assert_eq!(lease, Lease::taken(s(30), s(110)));
    }

    #[test]
    fn a_failed_renewal_is_tried_again_until_the_lease_is_not_trusted_any_more() {
        let mut lease = mk_lease();
        assert_eq!(lease.renewed(s(110), s(120), Renewal::Failed), None);
        assert_eq!((lease.held(s(123)), lease.renew_at()), (true, Some(s(120) + s(30) / 20)));
        assert_eq!(lease.renewed(s(122), s(124), Renewal::Failed), Some(Loss::Late));
        assert_eq!((lease.lost(), lease.held(s(101)), lease.renew_at()), (true, false, None));
        assert_eq!(lease.renewed(s(122), s(125), Renewal::Kept), None, "a lost one stays lost");
        assert!(lease.lost());
    }

    #[test]
    fn a_refused_renewal_ends_the_lease_at_once() {
        let mut lease = mk_lease();
        assert_eq!(lease.renewed(s(110), s(111), Renewal::Refused), Some(Loss::Refused));
        assert!(lease.lost() && !lease.held(s(111)));
    }

    #[test]
    fn an_epoch_is_above_everything_that_is_remembered() {
        let epoch =
            |previous, newest_in_log, redis_ms| Past { previous, newest_in_log, redis_ms }.next_epoch();
        assert_eq!(epoch(None, None, 1000), 1000);
        assert_eq!(epoch(Some(1000), None, 1000), 1001);
        assert_eq!(epoch(Some(7), Some(2000), 1000), 2001);
        assert_eq!(epoch(Some(7), Some(9), 1000), 1000);
    }
}
