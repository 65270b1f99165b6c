//! Makes traffic of answers, one after the other, so that an answer's text is held no longer than it is read.

use super::{Body, Error, RequestError};
use crate::{
    chain::chain,
    graph::{
        promql::{Ask, answer},
        traffic::Traffic,
    },
};

/// What has been read so far.
pub(super) struct Read {
    pub(super) traffic: Traffic,
    /// Rows with numbers.
    pub(super) series: usize,
    /// What is missing, each in a sentence.
    pub(super) problems: Vec<String>,
    /// Rows of essential answers with numbers, and without.
    essential: (usize, usize),
    url: String,
    max_series: usize,
}

/// Without these an edge would be missing, wrong or made up; without the others only a number is absent.
fn essential(ask: Ask) -> bool {
    !matches!(
        ask,
        Ask::LatencyP50
            | Ask::LatencyP95
            | Ask::LatencyP99
            | Ask::HttpRetries
            | Ask::GrpcRetries
            | Ask::Unrouted
            | Ask::Scraped
    )
}

// === impl Read ===

impl Read {
    pub(super) fn new(url: &str, max_series: usize) -> Self {
        Self {
            traffic: Traffic::default(),
            series: 0,
            problems: Vec::new(),
            essential: (0, 0),
            url: url.to_owned(),
            max_series,
        }
    }

    /// Reads one answer; fails when it is an essential one and of no use.
    pub(super) fn take(mut self, ask: Ask, body: Result<Body, RequestError>) -> Result<Self, Error> {
        match body.map_err(Error::Request).and_then(|body| self.read(ask, &body)) {
            Ok(()) => Ok(self),
            Err(error) if essential(ask) => Err(error),
            Err(error) => {
                self.problems.push(format!("{ask:?} is missing: {}", chain(&error)));
                Ok(self)
            }
        }
    }

    /// What was read, unless there was not one number in it.
    pub(super) fn end(self) -> Result<Self, Error> {
        match self.essential {
            (0, count @ 1..) => Err(Error::NoNumbers { url: self.url, count }),
            _ => Ok(self),
        }
    }

    fn read(&mut self, ask: Ask, body: &Body) -> Result<(), Error> {
        let parsed = answer::parse(&body.text, self.max_series.saturating_sub(self.series));
        let answer = parsed.map_err(|source| Error::Answer { url: self.url.clone(), source })?;
        self.series += answer.rows.len();
        self.traffic.read(ask, &answer);
        let warnings = answer.warnings.first();
        self.problems.extend(warnings.map(|warning| format!("Prometheus warns about {ask:?}: {warning}")));
        // A quantile of nothing is NaN as a matter of course, a rate is not.
        if essential(ask) {
            self.essential.0 += answer.rows.len();
            self.essential.1 += answer.not_finite;
            if answer.not_finite > 0 {
                self.problems.push(format!("{ask:?} has {} values that are no numbers", answer.not_finite));
            }
        }
        Ok(())
    }
}
