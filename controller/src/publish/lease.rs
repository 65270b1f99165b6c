//! The lead, kept: a task renews the lease when [`Lease`] says so, and tells when it is lost.

use crate::graph::feed::lease::{Lease, Loss, Renewal};
use linkerd_mcp_feed::Connection;
use redis::Script;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// What a lease is renewed with.
pub(super) struct Terms {
    pub(super) key: String,
    pub(super) token: String,
    pub(super) lasts: Duration,
    /// The moment that the lease's time is counted from.
    pub(super) origin: Instant,
}

// === impl Terms ===

impl Terms {
    /// Renews the lease in time, until it is lost or nobody asks any more.
    pub(super) async fn keep(self, mut redis: Connection, lease: watch::Sender<Lease>) {
        loop {
            let mut held = *lease.borrow();
            let Some(renew_at) = held.renew_at().filter(|_| !lease.is_closed()) else { return };
            tokio::time::sleep_until(self.origin + renew_at).await;
            let sent = self.origin.elapsed();
            let renewal = tokio::time::timeout(held.patience(), self.renew(&mut redis)).await;
            let renewal = renewal.unwrap_or_else(|_| {
                tracing::warn!("Redis is too slow to renew the lead of the feed, trying again");
                Renewal::Failed
            });
            match held.renewed(sent, self.origin.elapsed(), renewal) {
                None => {}
                Some(Loss::Refused) => tracing::warn!(
                    "the lead of the feed is lost: another controller has it, or Redis restarted"
                ),
                Some(Loss::Late) => {
                    tracing::warn!("the lead of the feed is given up: it could not be renewed in time");
                }
            }
            lease.send_replace(held);
        }
    }

    async fn renew(&self, redis: &mut Connection) -> Renewal {
        let script = Script::new(include_str!("renew.lua"));
        let mut invocation = script.key(&self.key);
        match super::invoke::<i64>(redis, invocation.arg(&self.token).arg(millis(self.lasts))).await {
            Ok(1) => Renewal::Kept,
            Ok(_) => Renewal::Refused,
            Err(error) => {
                tracing::warn!(%error, "cannot renew the lead of the feed, trying again");
                Renewal::Failed
            }
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
