//! Polls Prometheus: every query of [`graph::promql::queries`] once, within a byte, series and time limit.
//!
//! Start at [`Prometheus`] for the real thing; the simulated mesh implements the same [`MetricsSource`].

mod discover;
mod forward;
mod read;
mod window;

pub use crate::graph::promql::ExtraMatcher;
pub use discover::{Found, find};
pub use forward::{Forwarded, forward};
pub(crate) use window::configured as configured_interval;

use crate::chain::chain;
use crate::graph::{
    promql::{Query, answer, queries},
    status::MetricsStatus,
    traffic::Traffic,
};
use futures::{StreamExt as _, stream};
use linkerd_mcp_prometheus::{Body, Connection, Endpoint, Error as RequestError};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use read::Read;
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::{Instant, timeout};

/// Where the numbers of edges come from.
pub trait MetricsSource: Send + 'static {
    /// Asks everything once. `now_ms` is milliseconds since the Unix epoch.
    fn poll(&mut self, now_ms: i64) -> impl Future<Output = Poll> + Send;
}

/// The outcome of one poll.
#[derive(Debug)]
pub enum Poll {
    /// All that edges are made of came in; what else is missing is said in the status.
    Answered {
        /// The rows.
        traffic: Box<Traffic>,
        /// How current and complete they are.
        status: MetricsStatus,
    },
    /// No use: numbers stay as they are.
    Failed {
        /// Why, in a sentence that says what to do.
        reason: String,
    },
}

/// No Prometheus: topology only. Every answer says so.
#[derive(Debug)]
pub struct NoMetrics {
    /// Why there is none and what to do.
    pub reason: String,
}

/// How to reach Prometheus and how much to take from it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which, and how to ask it.
    pub endpoint: Endpoint,
    /// The rate window asked for, in seconds.
    pub window_s: u32,
    /// Limit for a whole poll. Numbers that take longer to get than this are marked as not current.
    pub poll_timeout: Duration,
    /// Limit for all answers of a poll, in series.
    pub max_series: usize,
    /// Queries under way at once.
    pub concurrency: usize,
}

impl Options {
    /// The defaults, for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            endpoint: Endpoint::new(url),
            window_s: 30,
            poll_timeout: Duration::from_secs(30),
            max_series: 2_000_000,
            // A stock Prometheus runs 20 queries at once for everybody; we leave most of them to others.
            concurrency: 4,
        }
    }
}

/// Why a query brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request failed.
    #[error(transparent)]
    Request(#[from] linkerd_mcp_prometheus::Error),
    /// Values, but no numbers.
    #[error(
        "Prometheus at {url} gave {count} values and none is a number that can be: all are NaN, infinite or negative"
    )]
    NoNumbers {
        /// Where.
        url: String,
        /// How many.
        count: usize,
    },
    /// Not an answer to a query.
    #[error("Prometheus at {url} gave no usable answer")]
    Answer {
        /// Where.
        url: String,
        /// What it gave.
        #[source]
        source: answer::Error,
    },
}

/// Metrics about polling.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    queries: Family<Outcome, Counter>,
    series: Gauge,
    bytes: Counter,
    poll_ms: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// A Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    options: Options,
    connection: Connection,
    queries: Vec<Query>,
    window: window::Window,
    metrics: Metrics,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics; the caller gives the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("queries", "Queries of Prometheus by outcome", metrics.queries.clone());
        registry.register("series", "Series in the answers of the last poll", metrics.series.clone());
        registry.register("bytes", "Bytes of answers of Prometheus", metrics.bytes.clone());
        registry.register(
            "poll_duration_ms",
            "How long the last poll took in milliseconds",
            metrics.poll_ms.clone(),
        );
        metrics
    }
}

// === impl Prometheus ===

impl Prometheus {
    /// Checks the options; connects at the first poll.
    pub fn new(options: Options, metrics: Metrics) -> Result<Self, Error> {
        let connection = Connection::new(options.endpoint.clone())?;
        let window = window::Window::new(options.window_s);
        Ok(Self { options, connection, queries: queries::all(), window, metrics })
    }

    /// The connection, for others in this process who ask the same Prometheus.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    async fn ask(&self, query: &Query, window_s: u32, at: Option<&str>) -> Result<Body, RequestError> {
        let endpoint = &self.options.endpoint;
        let text = query.text(window_s, &endpoint.matchers);
        let timeout = format!("{}s", endpoint.timeout.as_secs().max(1));
        let form = [("query", Some(text.as_str())), ("timeout", Some(timeout.as_str())), ("time", at)];
        self.post("query", &form).await
    }

    /// The time by Prometheus' own clock. All queries of a poll are evaluated at this one instant: rates of two
    /// families that a scrape apart would differ, most of all while series are young, can then be held against each
    /// other.
    /// None where it is not told, as by something that only resembles Prometheus or wants a matcher in every query.
    async fn now(&self) -> Result<Option<String>, RequestError> {
        let body = match self.post("query", &[("query", Some("time()"))]).await {
            Err(RequestError::Status { .. } | RequestError::Forbidden { .. }) => return Ok(None),
            body => body?,
        };
        let answer: serde_json::Value = serde_json::from_str(&body.text).unwrap_or_default();
        Ok(answer["data"]["result"][0].as_f64().map(|seconds| format!("{seconds:.3}")))
    }

    async fn post(&self, path: &str, form: &[(&str, Option<&str>)]) -> Result<Body, RequestError> {
        self.counted(self.connection.post(path, form).await)
    }

    async fn get(&self, path: &str) -> Result<Body, RequestError> {
        self.counted(self.connection.get(path).await)
    }

    fn counted(&self, outcome: Result<Body, RequestError>) -> Result<Body, RequestError> {
        let label = match &outcome {
            Ok(body) => {
                self.metrics.bytes.inc_by(body.text.len() as u64);
                "ok"
            }
            Err(error) => error.outcome(),
        };
        self.metrics.queries.get_or_create(&Outcome { outcome: label }).inc();
        outcome
    }

    async fn poll_all(&mut self, now_ms: i64) -> Result<(Traffic, MetricsStatus), Error> {
        // Asked first: a Prometheus that does not answer this does not answer the rest either.
        let at = self.now().await?;
        if self.window.due() {
            let interval = window::scrape_interval(self).await;
            self.window.learn(interval);
        }
        let (window_s, window_reason) = self.window.seconds();
        let (this, at) = (&*self, at.as_deref());
        let mut answers = pin!(
            stream::iter(0..this.queries.len())
                .map(|nth| async move {
                    (this.queries[nth].ask, this.ask(&this.queries[nth], window_s, at).await)
                })
                .buffered(this.options.concurrency.max(1))
        );
        let mut read = Read::new(&this.options.endpoint.url, this.options.max_series);
        // The first query that fails and that we cannot do without ends the poll, and what it still asks.
        while let Some((ask, body)) = answers.next().await {
            // Reading 100,000 rows takes tens of milliseconds: not on a thread that answers others.
            let taken = tokio::task::spawn_blocking(move || read.take(ask, body)).await;
            read = match taken {
                Ok(taken) => taken?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
        }
        let Read { traffic, series, problems, .. } = read.end()?;
        self.metrics.series.set(i64::try_from(series).unwrap_or(i64::MAX));
        let reason = match (problems.is_empty(), traffic.is_empty(), series) {
            (false, ..) => problems.join("; "),
            (true, true, 0) => {
                "Prometheus has no series of any linkerd-proxy: check that it scrapes the proxies' port linkerd-admin"
                    .to_owned()
            }
            (true, true, _) => {
                "Prometheus has series of linkerd-proxy, but they lack the labels namespace and pod: add them where it \
                 is told what to scrape"
                    .to_owned()
            }
            (true, false, _) => String::new(),
        };
        let status = MetricsStatus {
            stale: !reason.is_empty(),
            reason,
            as_of_ms: Some(now_ms),
            window_s,
            window_reason,
            ..MetricsStatus::default()
        };
        Ok((traffic, status))
    }
}

impl MetricsSource for Prometheus {
    async fn poll(&mut self, now_ms: i64) -> Poll {
        let started = Instant::now();
        let (url, limit) = (self.options.endpoint.url.clone(), self.options.poll_timeout);
        let outcome = timeout(limit, self.poll_all(now_ms)).await;
        let outcome = outcome.unwrap_or(Err(RequestError::Timeout { url, seconds: limit.as_secs() }.into()));
        self.metrics.poll_ms.set(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX));
        match outcome {
            Ok((traffic, status)) => Poll::Answered { traffic: Box::new(traffic), status },
            Err(error) => Poll::Failed { reason: chain(&error) },
        }
    }
}

impl MetricsSource for NoMetrics {
    async fn poll(&mut self, _now_ms: i64) -> Poll {
        Poll::Failed { reason: self.reason.clone() }
    }
}

/// Either of two sources, for callers that decide at run time.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The one.
    Left(A),
    /// The other.
    Right(B),
}

impl<A: MetricsSource, B: MetricsSource> MetricsSource for Either<A, B> {
    async fn poll(&mut self, now_ms: i64) -> Poll {
        match self {
            Self::Left(source) => source.poll(now_ms).await,
            Self::Right(source) => source.poll(now_ms).await,
        }
    }
}

#[cfg(test)]
mod tests;
