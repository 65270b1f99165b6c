//! The lead, kept: a task renews the lease in time and says so when it is lost.
//!
//! The lease is trusted by our own monotonic clock, counted from before the renewal was sent, and given up before it
//! can have ended in Redis: a process that was halted finds out by itself that it must not publish.

use super::connection::Connection;
use redis::Script;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// Whether we lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// Until then for certain, longer if it is renewed.
    Held(Instant),
    /// Not any more.
    Lost,
}

/// What a lease is renewed with.
pub(super) struct Terms {
    pub(super) key: String,
    pub(super) token: String,
    pub(super) lasts: Duration,
}

// === impl Lease ===

impl Lease {
    pub(super) fn held(self) -> bool {
        matches!(self, Self::Held(until) if Instant::now() < until)
    }
}

// === impl Terms ===

impl Terms {
    /// Until when a lease that was taken or renewed by a command sent at `sent` holds for certain. A fifth of it is
    /// left for clocks that run differently and for a command that is on its way.
    pub(super) fn until(&self, sent: Instant) -> Lease {
        Lease::Held(sent + self.lasts.mul_f64(0.8))
    }

    /// Renews the lease every third of its time, until it is lost or nobody asks any more.
    pub(super) async fn keep(self, mut redis: Connection, lease: watch::Sender<Lease>) {
        let script = Script::new(include_str!("renew.lua"));
        let mut next = Instant::now() + self.lasts / 3;
        while !lease.is_closed() {
            tokio::time::sleep_until(next).await;
            let sent = Instant::now();
            let mut invocation = script.key(&self.key);
            let renewal =
                super::invoke::<i64>(&mut redis, invocation.arg(&self.token).arg(millis(self.lasts)));
            match tokio::time::timeout(self.lasts / 3, renewal).await {
                Ok(Ok(1)) => {
                    lease.send_replace(self.until(sent));
                    next = sent + self.lasts / 3;
                    continue;
                }
                Ok(Ok(_)) => {
                    tracing::warn!(
                        "the lead of the feed is lost: another controller has it, or Redis restarted"
                    );
                    lease.send_replace(Lease::Lost);
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lead of the feed, trying again"),
                Err(_) => tracing::warn!("Redis is too slow to renew the lead of the feed, trying again"),
            }
            if !lease.borrow().held() {
                tracing::warn!("the lead of the feed is given up: it could not be renewed in time");
                lease.send_replace(Lease::Lost);
                return;
            }
            next = Instant::now() + self.lasts / 20;
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
