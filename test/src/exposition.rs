//! Two scrapes of one proxy, continued in time.
//!
//! Counters and histograms go on at the rate they had between the two scrapes, gauges stay as they were in the second.
//! Values become fractions, unlike those of a real proxy: whole numbers would add an error of rounding to every rate.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A scrape is not in the Prometheus text format.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line has no value.
    #[error("line {0} has no number at its end")]
    NoValue(usize),
}

/// What one proxy exposes, as a function of time.
#[derive(Clone, Debug)]
pub struct Recording {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    /// A comment, or a gauge.
    Fixed(String),
    /// A counter, or a part of a histogram.
    Moving { series: String, start: f64, per_second: f64 },
}

// === impl Recording ===

impl Recording {
    /// Takes the text of two scrapes and the time between them.
    pub fn new(first: &str, second: &str, between: Duration) -> Result<Self, Error> {
        let before = samples(first)?;
        let types = types(second);
        let line = |(n, text): (usize, &str)| {
            if text.is_empty() || text.starts_with('#') {
                return Ok(Line::Fixed(text.to_string()));
            }
            let (series, start) = sample(text).ok_or(Error::NoValue(n + 1))?;
            if !accumulates(series, &types) {
                return Ok(Line::Fixed(text.to_string()));
            }
            let grown = start - before.get(series).unwrap_or(&start);
            Ok(Line::Moving { series: series.to_string(), start, per_second: grown / between.as_secs_f64() })
        };
        let lines = second.lines().enumerate().map(line).collect::<Result<_, _>>()?;
        Ok(Self { lines })
    }

    /// The text a scrape would have got this long after the second one.
    pub fn after(&self, time: Duration) -> String {
        let time = time.as_secs_f64();
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Fixed(line) => text.push_str(line),
                Line::Moving { series, start, per_second } => {
                    write!(text, "{series} {}", start + per_second * time).expect("a String takes all text");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Splits a line into the series (name and labels) and its value. Proxies write no timestamps.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    Some((series, value.parse().ok()?))
}

fn samples(text: &str) -> Result<HashMap<&str, f64>, Error> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| sample(line).ok_or(Error::NoValue(n + 1)))
        .collect()
}

/// The declared type of each family.
fn types(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

fn accumulates(series: &str, types: &HashMap<&str, &str>) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    // The newer families declare `x` and write `x_total`; a histogram `x` writes three kinds of series.
    let stem = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let declared = types.get(name).or_else(|| types.get(stem?));
    matches!(declared, Some(&"counter" | &"histogram"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "\
# TYPE calls_total counter
calls_total{path=\"a b\"} 10
# TYPE open gauge
open 3
# TYPE frames counter
frames_total 5
# TYPE wait histogram
wait_bucket{le=\"1\"} 1
wait_sum 2
wait_count 1
# EOF
";

    #[test]
    fn counters_and_histograms_go_on_and_gauges_stay() {
        let second =
            FIRST.replace("b\"} 10", "b\"} 30").replace("open 3", "open 4").replace("_sum 2", "_sum 12");
        let recording = Recording::new(FIRST, &second, Duration::from_secs(20)).unwrap();
        let later = second.replace("b\"} 30", "b\"} 40").replace("_sum 12", "_sum 17");
        assert_eq!(recording.after(Duration::from_secs(10)), later);
    }

    #[test]
    fn a_line_without_a_number_is_named() {
        let error = Recording::new("", "# a comment\ncalls_total\n", Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "line 2 has no number at its end");
    }
}
