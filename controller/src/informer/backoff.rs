//! How long to wait before the next try.

use rand::Rng;
use std::time::Duration;
use tokio::time::Instant;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(30);
/// Failures further apart than this have nothing to do with each other.
const FORGET: Duration = Duration::from_secs(60);

/// Doubles from [`FIRST`] to [`LONGEST`], each wait between half and all of that, so that replicas that lost the
/// same API server do not come back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

// === impl Backoff ===

impl Backoff {
    /// The wait after a failure at `now`; at least `asked`, as far as that is reasonable. All who were told the same
    /// wait at the same moment spread over a quarter of it.
    pub(super) fn next(&mut self, now: Instant, asked: Duration) -> Duration {
        if self.last.is_some_and(|last| now.duration_since(last) > FORGET) {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        self.last = Some(now);
        let (own, spread) = (rand::rng().random_range(0.5..=1.0), rand::rng().random_range(1.0..=1.25));
        ceiling.mul_f64(own).max(asked.min(LONGEST).mul_f64(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_are_forgotten_after_a_minute() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for ceiling_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let ceiling = Duration::from_millis(ceiling_ms);
            let wait = backoff.next(start, Duration::ZERO);
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} of {ceiling:?}");
        }
        let later = start + FORGET + Duration::from_secs(1);
        assert!(backoff.next(later, Duration::ZERO) <= FIRST);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_to_within_reason_and_not_in_step() {
        let now = Instant::now();
        let waits: Vec<_> = (0..20).map(|_| Backoff::default().next(now, Duration::from_secs(8))).collect();
        let allowed = Duration::from_secs(8)..=Duration::from_secs(10);
        assert!(waits.iter().all(|wait| allowed.contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "all at once");
        let most = Backoff::default().next(now, Duration::from_secs(3600));
        assert!(most >= LONGEST && most <= LONGEST.mul_f64(1.25), "{most:?}");
    }
}
