//! How often one caller may ask: a bucket of tokens for each, refilled all the time.

use super::Caller;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::time::Instant;

/// The most callers that are remembered; one that has not asked for a while is as good as new.
const MAX_CALLERS: usize = 10_000;

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    buckets: Mutex<HashMap<Caller, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// A bucket holds what comes in this many seconds.
const BURST_SECONDS: u32 = 2;

/// The most tokens that a bucket holds.
pub(crate) fn burst(per_second: u32) -> u32 {
    per_second.saturating_mul(BURST_SECONDS)
}

// === impl Rates ===

impl Rates {
    /// Takes so many tokens, of which `per_second` come a second; 0 is no limit. The rate may be another one each time.
    /// False when there are not enough.
    pub(crate) fn take(&self, caller: &Caller, per_second: u32, tokens: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let (rate, burst) = (f64::from(per_second), burst(per_second));
        let tokens = f64::from(tokens);
        let now = Instant::now();
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MAX_CALLERS && !buckets.contains_key(caller) {
            let full = |it: &Bucket| {
                now.duration_since(it.filled).as_secs_f64() * rate + it.tokens < f64::from(burst)
            };
            buckets.retain(|_, bucket| full(bucket));
            if buckets.len() >= MAX_CALLERS {
                return false;
            }
        }
        let fresh = Bucket { tokens: f64::from(burst), filled: now };
        let bucket = buckets.entry(caller.clone()).or_insert(fresh);
        let gained = now.duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(f64::from(burst));
        bucket.filled = now;
        if bucket.tokens < tokens {
            return false;
        }
        bucket.tokens -= tokens;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_asks_too_often_waits_and_others_do_not() {
        let rates = Rates::default();
        let (busy, other) = (Caller("busy".into()), Caller("other".into()));
        assert_eq!((0..100).filter(|_| rates.take(&busy, 5, 1)).count(), 10);
        assert!(rates.take(&other, 5, 1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..100).filter(|_| rates.take(&busy, 5, 1)).count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_have_rested_are_forgotten_for_new_ones() {
        let rates = Rates::default();
        for at in 0..MAX_CALLERS {
            assert!(rates.take(&Caller(at.to_string().into()), 5, 1));
        }
        assert!(!rates.take(&Caller("one too many".into()), 5, 1));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(rates.take(&Caller("one more".into()), 5, 1));
    }
}
