//! Times, medians and the table they are printed in.

use rustix::time::{ClockId, clock_gettime};
use std::{fmt::Write, hint::black_box, time::Duration};

/// Printed as Markdown, a row at a time.
pub(crate) struct Table;

/// A candidate and its floor, measured in turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) candidate: Duration,
    pub(crate) floor: Duration,
    /// Median of the ratios of each round: noise that lasts longer than a round cancels out.
    pub(crate) ratio: f64,
}

/// Time that this thread was running: on a shared machine the only compute time that means anything.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// CPU time of one of `times` calls. What the calls return is dropped afterwards.
fn cost<T>(times: u32, mut call: impl FnMut() -> T) -> Duration {
    let mut results = Vec::with_capacity(times as usize);
    let began = thread_time();
    for _ in 0..times {
        results.push(black_box(call()));
    }
    (thread_time() - began) / times
}

/// The median; the upper one of an even count.
pub(crate) fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    quantile(values, 0.5)
}

/// A quantile of at least one value.
pub(crate) fn quantile<T: PartialOrd + Copy>(values: &mut [T], share: f64) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("times and ratios can be ordered"));
    values[((values.len() as f64 * share) as usize).min(values.len() - 1)]
}

/// CPU time of `candidate` and `floor` in turns, `times` calls each in every one of `rounds` rounds.
pub(crate) fn compare<T, U>(
    rounds: u32,
    times: u32,
    mut candidate: impl FnMut() -> T,
    mut floor: impl FnMut() -> U,
) -> Compared {
    let pairs = (0..=rounds).map(|_| (cost(times, &mut candidate), cost(times, &mut floor))).skip(1);
    Compared::of(pairs.collect())
}

// === impl Compared ===

impl Compared {
    /// From the times of each round.
    pub(crate) fn of(pairs: Vec<(Duration, Duration)>) -> Self {
        let (mut candidates, mut floors): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let mut ratios: Vec<f64> =
            pairs.iter().map(|(candidate, floor)| candidate.as_secs_f64() / floor.as_secs_f64()).collect();
        Self { candidate: median(&mut candidates), floor: median(&mut floors), ratio: median(&mut ratios) }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn new(name: &str) -> Self {
        println!("\n### {name}\n\n| what | ours | floor | ratio | note |\n|---|---|---|---|---|");
        Self
    }

    pub(crate) fn compared(&mut self, what: &str, compared: Compared, note: &str) {
        let Compared { candidate, floor, ratio } = compared;
        println!("| {what} | {} | {} | {ratio:.2} | {note} |", time(candidate), time(floor));
    }

    /// A row of something that is no time, or has no floor.
    pub(crate) fn plain(&mut self, what: &str, ours: &str, floor: &str, note: &str) {
        println!("| {what} | {ours} | {floor} | | {note} |");
    }

    pub(crate) fn end(self) {
        println!();
    }
}

/// With three digits and a unit.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        _ if micros < 1.0 => (micros * 1e3, "ns"),
        _ if micros < 1e3 => (micros, "µs"),
        _ if micros < 1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let mut text = String::new();
    write!(text, "{value:.digits$} {unit}").unwrap();
    text
}

/// Bytes, in the unit that fits.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}
