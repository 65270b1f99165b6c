//! Polls Prometheus: every query of [`graph::promql::queries`] once, within a byte, series and time limit.
//!
//! Start at [`Prometheus`] for the real thing; the simulated mesh implements the same [`MetricsSource`].

mod body;
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
use body::Body;
use futures::{StreamExt as _, stream};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use read::Read;
use std::{future::Future, path::PathBuf, pin::pin, time::Duration};
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
    /// Base URL, for example `http://prometheus.linkerd-viz.svc.cluster.local:9090`. A path is kept.
    pub url: String,
    /// User for basic authentication.
    pub user: Option<String>,
    /// File with the password, read at each poll so that it can be rotated.
    pub password_file: Option<PathBuf>,
    /// File with a bearer token, read at each poll so that it can be rotated.
    pub token_file: Option<PathBuf>,
    /// PEM file with the CAs to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Matchers for every selector, for a Prometheus that holds several clusters.
    pub matchers: Vec<ExtraMatcher>,
    /// The rate window asked for, in seconds.
    pub window_s: u32,
    /// Limit for one query.
    pub timeout: Duration,
    /// Limit for a whole poll. Numbers that take longer to get than this are marked as not current.
    pub poll_timeout: Duration,
    /// Limit for the answers that are held at a time, in bytes after decompression.
    pub max_bytes: usize,
    /// Limit for all answers of a poll, in series.
    pub max_series: usize,
    /// Queries under way at once.
    pub concurrency: usize,
}

impl Options {
    /// The defaults, for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password_file: None,
            token_file: None,
            ca_file: None,
            matchers: Vec::new(),
            window_s: 30,
            timeout: Duration::from_secs(10),
            poll_timeout: Duration::from_secs(30),
            max_bytes: 256 << 20,
            max_series: 2_000_000,
            // A stock Prometheus runs 20 queries at once for everybody; we leave most of them to others.
            concurrency: 4,
        }
    }
}

/// Why a query brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are of no use.
    #[error("{what} of Prometheus is of no use: {why}")]
    Options {
        /// Which option.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No answer.
    #[error("Prometheus at {url} cannot be reached: check the URL, and that it is running")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("Prometheus at {url} did not answer within {seconds} s")]
    Timeout {
        /// Where.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// 401 or 403.
    #[error(
        "Prometheus at {url} refuses us with {status}: give credentials, or, for the Prometheus of linkerd-viz, an \
         AuthorizationPolicy for its Server prometheus-admin that admits us"
    )]
    Forbidden {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Another error status.
    #[error("Prometheus at {url} answered {status}: {message}")]
    Status {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the body, or Prometheus' own message.
        message: String,
    },
    /// More bytes than allowed.
    #[error("Prometheus at {url} answered with more than {limit} bytes: narrow it with --prometheus-matcher")]
    TooLarge {
        /// Where.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The body broke off or is no text.
    #[error("the answer of Prometheus at {url} could not be read to its end")]
    Body {
        /// Where.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
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
    client: reqwest::Client,
    queries: Vec<Query>,
    window: window::Window,
    held: body::Held,
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
        let refuse = |what, why: String| Error::Options { what, why };
        let url = reqwest::Url::parse(&options.url)
            .map_err(|error| refuse("the URL", format!("{error}: {}", options.url)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("the URL", format!("its scheme is {}, not http or https", url.scheme())));
        }
        if options.user.is_some() && options.token_file.is_some() {
            return Err(refuse("authentication", "a user and a token are both given; take one".to_owned()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(options.timeout.min(Duration::from_secs(5)))
            .timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("linkerd-mcp/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &options.ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| refuse("the CA file", format!("{}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| refuse("the CA file", format!("{}: {error}", path.display())))?;
            if certificates.is_empty() {
                return Err(refuse("the CA file", format!("{} holds no certificate", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|error| refuse("the client", error.to_string()))?;
        let window = window::Window::new(options.window_s);
        Ok(Self { options, client, queries: queries::all(), window, held: body::Held::default(), metrics })
    }

    async fn ask(&self, query: &Query, window_s: u32, at: Option<&str>) -> Result<Body, Error> {
        let text = query.text(window_s, &self.options.matchers);
        let timeout = format!("{}s", self.options.timeout.as_secs().max(1));
        let request = self.client.post(self.endpoint("query")).form(&[
            ("query", Some(text.as_str())),
            ("timeout", Some(timeout.as_str())),
            ("time", at),
        ]);
        self.fetch(request).await
    }

    /// The time by Prometheus' own clock. All queries of a poll are evaluated at this one instant: rates of two
    /// families that a scrape apart would differ, most of all while series are young, can then be held against each
    /// other.
    /// None where it is not told, as by something that only resembles Prometheus or wants a matcher in every query.
    async fn now(&self) -> Result<Option<String>, Error> {
        let request = self.client.post(self.endpoint("query")).form(&[("query", "time()")]);
        let body = match self.fetch(request).await {
            Err(Error::Status { .. } | Error::Forbidden { .. }) => return Ok(None),
            body => body?,
        };
        let answer: serde_json::Value = serde_json::from_str(&body.text).unwrap_or_default();
        Ok(answer["data"]["result"][0].as_f64().map(|seconds| format!("{seconds:.3}")))
    }

    async fn fetch(&self, request: reqwest::RequestBuilder) -> Result<Body, Error> {
        let outcome = body::fetch(self.authenticated(request).await?, &self.options, &self.held).await;
        let label = match &outcome {
            Ok(body) => {
                self.metrics.bytes.inc_by(body.text.len() as u64);
                "ok"
            }
            Err(Error::Timeout { .. }) => "timeout",
            Err(Error::Forbidden { .. }) => "forbidden",
            Err(Error::Unreachable { .. }) => "unreachable",
            Err(_) => "error",
        };
        self.metrics.queries.get_or_create(&Outcome { outcome: label }).inc();
        outcome
    }

    async fn authenticated(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let read = async |what: &'static str, path: &PathBuf| {
            let text = tokio::fs::read_to_string(path).await;
            text.map(|text| text.trim().to_owned())
                .map_err(|error| Error::Options { what, why: format!("{}: {error}", path.display()) })
        };
        Ok(match (&self.options.user, &self.options.password_file, &self.options.token_file) {
            (Some(user), Some(path), _) => {
                request.basic_auth(user, Some(read("the password file", path).await?))
            }
            (Some(user), None, _) => request.basic_auth(user, None::<&str>),
            (None, _, Some(path)) => request.bearer_auth(read("the token file", path).await?),
            (None, _, None) => request,
        })
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.options.url.trim_end_matches('/'))
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
        let mut read = Read::new(&this.options.url, this.options.max_series);
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
        let reason = match (problems.is_empty(), traffic.is_empty()) {
            (false, _) => problems.join("; "),
            (true, true) => {
                "Prometheus has no series of any linkerd-proxy: check that it scrapes the proxies' port linkerd-admin"
                    .to_owned()
            }
            (true, false) => String::new(),
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
        let (url, limit) = (self.options.url.clone(), self.options.poll_timeout);
        let outcome = timeout(limit, self.poll_all(now_ms)).await;
        let outcome = outcome.unwrap_or(Err(Error::Timeout { url, seconds: limit.as_secs() }));
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
