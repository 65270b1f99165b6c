//! Evaluates our queries over samples in memory, as Prometheus would over its own.
//!
//! Without its extrapolation to the edges of the window: a rate is the increase between the first and the last sample
//! over the time between them.

use super::{
    Branch, Of, Query,
    answer::{Answer, Row},
};
use crate::id::Text;
use ahash::AHashMap;
use std::borrow::Cow;

/// A series with its samples in order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Metric name.
    pub metric: Text,
    /// Labels.
    pub labels: Vec<(Text, Text)>,
    /// Time in seconds and value.
    pub samples: Vec<(f64, f64)>,
}

impl Series {
    /// A label's value; empty when absent.
    pub fn get(&self, label: &str) -> &str {
        self.labels.iter().find(|(name, _)| &**name == label).map_or("", |(_, value)| value)
    }

    /// Increase per second between first and last sample; a falling counter has restarted from zero. None with fewer
    /// than two samples.
    pub fn rate(&self) -> Option<f64> {
        rate(&self.samples)
    }
}

/// Series made ready for many queries: found by their metric, and with the labels that several of them share (the
/// buckets of a histogram) looked at once.
#[derive(Debug, Default)]
pub struct Samples<'a> {
    metrics: AHashMap<&'a str, Vec<Shared<'a>>>,
}

/// The upper bound of a series' bucket, where it is one, and its samples: seconds and value, in order of time.
pub type Sampled<'a> = (Option<f64>, &'a [(f64, f64)]);

/// Series of one metric that differ in nothing but their bucket.
#[derive(Debug)]
struct Shared<'a> {
    target: &'a [(Text, Text)],
    own: &'a [(Text, Text)],
    series: Vec<Sampled<'a>>,
}

// === impl Samples ===

impl<'a> Samples<'a> {
    /// `series` made ready, each with labels of its own.
    pub fn of(series: &'a [Series]) -> Self {
        let mut samples = Self::default();
        for one in series {
            samples.push(&one.metric, &[], &one.labels, [(bound(one.get("le")), one.samples.as_slice())]);
        }
        samples
    }

    /// Adds series of `metric` that all have the labels `target` (the scraper's, which win over labels of the same
    /// name) and `own`.
    pub fn push(
        &mut self,
        metric: &'a str,
        target: &'a [(Text, Text)],
        own: &'a [(Text, Text)],
        series: impl IntoIterator<Item = Sampled<'a>>,
    ) {
        let series = series.into_iter().collect();
        self.metrics.entry(metric).or_default().push(Shared { target, own, series });
    }

    /// The answer to `query`; rows come in the order of the series they are made of.
    pub fn evaluate(&self, query: &Query) -> Answer<'a> {
        let mut answer = Answer::default();
        for branch in &query.branches {
            for (values, value) in self.grouped(branch) {
                if !value.is_finite() {
                    answer.not_finite += 1;
                    continue;
                }
                let labels = branch.by.iter().zip(values).filter(|(_, value)| !value.is_empty());
                let mut labels: Vec<_> =
                    labels.map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(value))).collect();
                if !branch.tag.is_empty() {
                    labels.push((Cow::Borrowed("branch"), Cow::Borrowed(branch.tag)));
                }
                answer.rows.push(Row { labels, value });
            }
        }
        answer
    }

    fn grouped(&self, branch: &Branch) -> Vec<(Group<'a>, f64)> {
        let shared = self.metrics.get(branch.metric).map_or(&[][..], Vec::as_slice);
        let mut groups: Groups<'a> = Groups::default();
        for one in shared.iter().filter(|one| one.selected(branch)) {
            let group: Group<'a> = branch.by.iter().map(|label| one.get(label)).collect();
            groups.add(branch.of, group, &one.series);
        }
        groups.finish(branch.of)
    }
}

// === impl Shared ===

impl<'a> Shared<'a> {
    fn get(&self, label: &str) -> &'a str {
        let labels = self.target.iter().chain(self.own);
        labels.into_iter().find(|(name, _)| &**name == label).map_or("", |(_, value)| value)
    }

    fn selected(&self, branch: &Branch) -> bool {
        branch.matchers.iter().all(|matcher| matcher.accepts(self.get(matcher.label())))
    }
}

/// The answer to `query` over `series`.
pub fn evaluate<'a>(query: &Query, series: &'a [Series]) -> Answer<'a> {
    Samples::of(series).evaluate(query)
}

/// The values of the labels to keep, in their order.
type Group<'a> = Vec<&'a str>;

/// Sums by group, in the order in which the groups came up.
#[derive(Default)]
struct Groups<'a> {
    at: AHashMap<Group<'a>, usize>,
    sums: Vec<Sum>,
}

#[derive(Default)]
struct Sum {
    value: f64,
    /// Upper bound and sum of each bucket, in the order in which they came up.
    buckets: Vec<(f64, f64)>,
}

// === impl Groups ===

impl<'a> Groups<'a> {
    fn add(&mut self, of: Of, group: Group<'a>, series: &[Sampled<'_>]) {
        let values = series.iter().filter_map(|(bound, samples)| {
            let value = match of {
                Of::Rate | Of::Quantile(_) => rate(samples)?,
                Of::Last => samples.last()?.1,
                Of::Presence => 1.0,
            };
            Some((*bound, value))
        });
        let mut values =
            values.filter(|(bound, _)| !matches!(of, Of::Quantile(_)) || bound.is_some()).peekable();
        if values.peek().is_none() {
            return;
        }
        let next = self.sums.len();
        let at = *self.at.entry(group).or_insert(next);
        if at == next {
            self.sums.push(Sum::default());
        }
        let sum = &mut self.sums[at];
        for (nth, (bound, value)) in values.enumerate() {
            match (of, bound) {
                (Of::Presence, _) => sum.value = 1.0,
                (Of::Quantile(_), Some(bound)) => sum.add_to_bucket(nth, bound, value),
                _ => sum.value += value,
            }
        }
    }

    fn finish(self, of: Of) -> Vec<(Group<'a>, f64)> {
        let Self { at, mut sums } = self;
        if let Of::Quantile(q) = of {
            for sum in &mut sums {
                sum.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                sum.value = quantile(q, &sum.buckets);
            }
        }
        let mut groups: Vec<_> = at.into_iter().collect();
        groups.sort_unstable_by_key(|(_, at)| *at);
        groups.into_iter().map(|(group, at)| (group, sums[at].value)).collect()
    }
}

// === impl Sum ===

impl Sum {
    /// Histograms of one family have the same buckets, so the `nth` is nearly always the one.
    fn add_to_bucket(&mut self, nth: usize, bound: f64, value: f64) {
        let same = |(known, _): &(f64, f64)| known.total_cmp(&bound).is_eq();
        let at = match self.buckets.get(nth) {
            Some(bucket) if same(bucket) => Some(nth),
            _ => self.buckets.iter().position(same),
        };
        match at {
            Some(at) => self.buckets[at].1 += value,
            None => self.buckets.push((bound, value)),
        }
    }
}

/// Increase per second between first and last sample; a falling counter has restarted from zero.
fn rate(samples: &[(f64, f64)]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let seconds = last.0 - first.0;
    let increase: f64 = samples
        .windows(2)
        .map(|pair| if pair[1].1 >= pair[0].1 { pair[1].1 - pair[0].1 } else { pair[1].1 })
        .sum();
    (seconds > 0.0).then(|| increase / seconds)
}

fn bound(le: &str) -> Option<f64> {
    if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() }
}

/// `histogram_quantile`: linear within a bucket, the highest finite bound when it falls into the last; NaN of nothing.
fn quantile(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    if total <= 0.0 || buckets.len() < 2 {
        return f64::NAN;
    }
    let rank = q * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank).unwrap_or(buckets.len() - 1);
    let (upper, count) = buckets[at];
    if upper.is_infinite() {
        return buckets[buckets.len() - 2].0;
    }
    let (lower, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    lower + (upper - lower) * (rank - below) / (count - below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Ask, Matcher};

    fn series(labels: &[(&str, &str)], samples: &[(f64, f64)]) -> Series {
        Series {
            metric: "x".into(),
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            samples: samples.to_vec(),
        }
    }

    fn branch(of: Of) -> Query {
        let branch =
            Branch { metric: "x", matchers: vec![Matcher::not("a", "")], of, by: vec!["a"], tag: "" };
        Query { ask: Ask::Responses, branches: vec![branch] }
    }

    #[test]
    fn rates_are_summed_by_label_and_a_counter_reset_counts_from_zero() {
        let data = [
            series(&[("a", "1")], &[(0.0, 10.0), (10.0, 30.0)]),
            series(&[("a", "1"), ("b", "2")], &[(0.0, 100.0), (5.0, 110.0), (10.0, 10.0)]),
            series(&[("b", "2")], &[(0.0, 0.0), (10.0, 9.0)]),
            series(&[("a", "2")], &[(0.0, 9.0)]),
        ];
        let answer = evaluate(&branch(Of::Rate), &data);
        assert_eq!(answer.rows.iter().map(|row| (row.get("a"), row.value)).collect::<Vec<_>>(), [("1", 4.0)]);
    }

    #[test]
    fn series_with_shared_labels_answer_as_series_with_labels_of_their_own() {
        let label = |name: &str, value: &str| (Text::from(name), Text::from(value));
        let bucket = |le, rate: f64| series(&[("a", "1"), ("le", le)], &[(0.0, 0.0), (1.0, rate)]);
        let own = [bucket("10", 5.0), bucket("20", 10.0), bucket("+Inf", 10.0)];
        // The scraper's labels win, here over a label `a` of the proxy's own.
        let (target, shared) = ([label("a", "1")], [label("a", "liar")]);
        let mut samples = Samples::default();
        let bounds = [Some(10.0), Some(20.0), Some(f64::INFINITY)];
        samples.push(
            "x",
            &target,
            &shared,
            bounds.into_iter().zip(own.iter().map(|one| one.samples.as_slice())),
        );
        for of in [Of::Rate, Of::Last, Of::Presence, Of::Quantile(0.75)] {
            assert_eq!(samples.evaluate(&branch(of)), evaluate(&branch(of), &own), "{of:?}");
        }
        assert_eq!(samples.evaluate(&branch(Of::Quantile(0.75))).rows[0].value, 15.0);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket_and_that_of_nothing_is_left_out() {
        let bucket = |a, le, rate: f64| series(&[("a", a), ("le", le)], &[(0.0, 0.0), (1.0, rate)]);
        let data = [
            bucket("1", "10", 5.0),
            bucket("1", "20", 10.0),
            bucket("1", "+Inf", 10.0),
            bucket("2", "10", 0.0),
            bucket("2", "+Inf", 0.0),
        ];
        let answer = evaluate(&branch(Of::Quantile(0.75)), &data);
        assert_eq!(
            answer.rows.iter().map(|row| (row.get("a"), row.value)).collect::<Vec<_>>(),
            [("1", 15.0)]
        );
        assert_eq!(answer.not_finite, 1);
    }
}
