//! What a guard decides, on values.
//!
//! Numbers that are stale, or older than the change, say nothing: neither that all is well nor that it is not. A guard
//! that has seen none at its end says so.

use serde::{Deserialize, Serialize};

/// A change that is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// When the change was made, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Until when it is watched.
    pub until_ms: i64,
    /// Undo it when so many more calls per second are denied than before.
    pub denied_rps: f64,
    /// Undo it when the share of calls that succeed falls below this.
    pub success_rate: Option<f64>,
    /// Calls per second that were denied before; nobody was seen refused where there is no number.
    pub denied_before: f64,
    /// The workloads whose calls are watched.
    pub workloads: Vec<String>,
}

/// The touched flows at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When they were measured; `None` when they never were.
    pub as_of_ms: Option<i64>,
    /// The numbers are not the latest, or not all.
    pub stale: bool,
    /// Calls per second that are denied; `None` when of no flow it is known.
    pub denied_rps: Option<f64>,
    /// The share of calls that succeed, over all flows; `None` when of no flow it is known.
    pub success_rate: Option<f64>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Go on watching.
    Keep,
    /// Undo the change, because of this.
    Revert(String),
    /// The time is over and the change stays; what was seen.
    Done(String),
}

/// What a guard remembers from sample to sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GuardState {
    /// The last numbers that said something.
    seen_ms: Option<i64>,
    samples: u32,
}

// === impl GuardState ===

impl GuardState {
    /// Takes in what is seen at `now_ms`.
    pub fn step(&mut self, watched: &Watched, sample: &Sample, now_ms: i64) -> Step {
        // A rate is measured over a window, which may begin before the change: what it still holds of the time before
        // makes the numbers better than they are, never worse.
        let new =
            sample.as_of_ms.filter(|at| !sample.stale && *at > watched.since_ms && Some(*at) > self.seen_ms);
        if let Some(at) = new {
            self.seen_ms = Some(at);
            self.samples += 1;
            if let Some(why) = breach(watched, sample) {
                return Step::Revert(why);
            }
        }
        if now_ms < watched.until_ms {
            return Step::Keep;
        }
        Step::Done(match self.samples {
            0 => "No new numbers came while it was guarded, so whether calls suffer is not known.".to_owned(),
            1 => "It was guarded, and the one time numbers came they were within its limits.".to_owned(),
            count => format!("It was guarded, and {count} times numbers came and were within its limits."),
        })
    }
}

fn breach(watched: &Watched, sample: &Sample) -> Option<String> {
    let Watched { denied_rps, denied_before, success_rate, .. } = watched;
    if let Some(now) = sample.denied_rps.filter(|now| now - denied_before > *denied_rps) {
        return Some(format!(
            "{now:.2} calls per second are denied, {denied_before:.2} were before the change; the guard allows {denied_rps:.2} more"
        ));
    }
    let least = (*success_rate)?;
    let now = sample.success_rate.filter(|now| *now < least)?;
    Some(format!("{:.2} % of calls succeed; the guard wants at least {:.2} %", now * 100.0, least * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched {
            since_ms: 1_000,
            until_ms: 61_000,
            denied_rps: 1.0,
            success_rate: Some(0.95),
            denied_before: 0.5,
            workloads: Vec::new(),
        }
    }

    fn sample(as_of_ms: i64, denied: f64, success: f64) -> Sample {
        let (denied_rps, success_rate) = (Some(denied), Some(success));
        Sample { as_of_ms: Some(as_of_ms), stale: false, denied_rps, success_rate }
    }

    fn step(sample: &Sample, now_ms: i64) -> Step {
        GuardState::default().step(&watched(), sample, now_ms)
    }

    #[test]
    fn more_denials_or_less_success_than_allowed_undo_the_change() {
        assert_eq!(step(&sample(2_000, 1.5, 0.95), 2_000), Step::Keep, "the limits themselves are allowed");
        let Step::Revert(why) = step(&sample(2_000, 1.51, 1.0), 2_000) else { panic!("not undone") };
        assert_eq!(
            why,
            "1.51 calls per second are denied, 0.50 were before the change; the guard allows 1.00 more"
        );
        let Step::Revert(why) = step(&sample(2_000, 0.0, 0.949), 2_000) else { panic!("not undone") };
        assert_eq!(why, "94.90 % of calls succeed; the guard wants at least 95.00 %");
        let mut without = watched();
        without.success_rate = None;
        let kept = GuardState::default().step(&without, &sample(2_000, 0.0, 0.0), 2_000);
        assert_eq!(kept, Step::Keep);
    }

    #[test]
    fn numbers_that_are_stale_or_older_than_the_change_say_nothing() {
        let bad = sample(2_000, 100.0, 0.0);
        assert!(matches!(step(&bad, 2_000), Step::Revert(_)), "the control");
        let stale = Sample { stale: true, ..bad };
        let old = Sample { as_of_ms: Some(1_000), ..bad };
        let never = Sample { as_of_ms: None, ..bad };
        let unknown = Sample { denied_rps: None, success_rate: None, ..bad };
        for silent in [stale, old, never, unknown] {
            assert_eq!(step(&silent, 2_000), Step::Keep, "{silent:?}");
        }
        for silent in [stale, old, never] {
            let Step::Done(text) = step(&silent, 61_000) else { panic!("goes on after its end") };
            assert!(text.contains("is not known"), "{text}");
        }
    }

    #[test]
    fn the_same_numbers_count_once_and_at_the_end_the_change_stays() {
        let mut state = GuardState::default();
        for now in [2_000, 3_000, 4_000] {
            assert_eq!(state.step(&watched(), &sample(2_000, 0.0, 1.0), now), Step::Keep);
        }
        assert_eq!(state.step(&watched(), &sample(17_000, 0.0, 1.0), 17_000), Step::Keep);
        let ended = state.step(&watched(), &sample(17_000, 0.0, 1.0), 61_000);
        let text = "It was guarded, and 2 times numbers came and were within its limits.";
        assert_eq!(ended, Step::Done(text.to_owned()));
        let late = GuardState::default().step(&watched(), &sample(61_500, 9.0, 1.0), 62_000);
        assert!(matches!(late, Step::Revert(_)), "the last look counts");
    }
}
