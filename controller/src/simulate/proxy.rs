//! The metrics of one simulated proxy: counters as a real one keeps them, the samples a scraper took of them, and the
//! text it would have been given.

use crate::graph::{id::Text, promql::eval::Samples};
use ahash::{AHashMap, AHashSet};
use std::{fmt::Write as _, sync::Arc};

/// Upper bounds of the buckets of `response_latency_ms`, in milliseconds; the last one is `+Inf`.
pub(super) const BOUNDS_MS: [f64; 26] = [
    1.0,
    2.0,
    3.0,
    4.0,
    5.0,
    10.0,
    20.0,
    30.0,
    40.0,
    50.0,
    100.0,
    200.0,
    300.0,
    400.0,
    500.0,
    1e3,
    2e3,
    3e3,
    4e3,
    5e3,
    1e4,
    2e4,
    3e4,
    4e4,
    5e4,
    f64::INFINITY,
];

/// Samples that are kept of each series.
pub(super) const KEPT: usize = 4;

/// Families in the order of a body: name, name in the `TYPE` line, type and help. Those of the newer encoder
/// have no `_total` in the `TYPE` line.
const FAMILIES: [(&str, &str, &str, &str); 20] = [
    (
        "inbound_http_authz_allow_total",
        "inbound_http_authz_allow_total",
        "counter",
        "Inbound HTTP requests that were authorized",
    ),
    (
        "inbound_http_authz_deny_total",
        "inbound_http_authz_deny_total",
        "counter",
        "Inbound HTTP requests that were denied",
    ),
    (
        "inbound_tcp_authz_allow_total",
        "inbound_tcp_authz_allow_total",
        "counter",
        "Inbound TCP connections that were authorized",
    ),
    (
        "inbound_tcp_authz_deny_total",
        "inbound_tcp_authz_deny_total",
        "counter",
        "Inbound TCP connections that were denied",
    ),
    ("request_total", "request_total", "counter", "Count of HTTP requests"),
    ("response_latency_ms", "response_latency_ms", "histogram", "Time from request headers to response"),
    ("response_total", "response_total", "counter", "Count of HTTP responses"),
    ("route_request_total", "route_request_total", "counter", "Count of HTTP requests by route of a profile"),
    (
        "route_response_total",
        "route_response_total",
        "counter",
        "Count of HTTP responses by route of a profile",
    ),
    ("tcp_open_total", "tcp_open_total", "counter", "Count of opened connections"),
    ("tcp_open_connections", "tcp_open_connections", "gauge", "Currently open connections"),
    ("tcp_read_bytes_total", "tcp_read_bytes_total", "counter", "Bytes read from peers"),
    ("tcp_write_bytes_total", "tcp_write_bytes_total", "counter", "Bytes written to peers"),
    ("proxy_build_info", "proxy_build_info", "gauge", "Proxy build"),
    (
        "outbound_http_route_backend_requests_total",
        "outbound_http_route_backend_requests",
        "counter",
        "Requests dispatched to a backend",
    ),
    (
        "outbound_http_route_request_statuses_total",
        "outbound_http_route_request_statuses",
        "counter",
        "Completed request-response streams",
    ),
    (
        "outbound_grpc_route_backend_requests_total",
        "outbound_grpc_route_backend_requests",
        "counter",
        "Requests dispatched to a backend",
    ),
    (
        "outbound_grpc_route_request_statuses_total",
        "outbound_grpc_route_request_statuses",
        "counter",
        "Completed request-response streams",
    ),
    ("outbound_tcp_route_open_total", "outbound_tcp_route_open", "counter", "Connections opened"),
    ("process_start_time_seconds", "process_start_time_seconds", "gauge", "When the process started"),
];

/// The family whose rows have buckets.
const LATENCY: &str = "response_latency_ms";

/// Label values repeat in thousands of rows: each is held once.
#[derive(Debug, Default)]
pub(super) struct Texts(AHashSet<Text>);

/// Labels of a row as the proxy prints them, empty ones included.
pub(super) type Labels = Arc<[(Text, Text)]>;

/// Index of a row in its proxy.
pub(super) type RowIndex = usize;

/// One simulated proxy. Owned by the simulation.
#[derive(Debug)]
pub(super) struct Proxy {
    /// What a scraper adds: namespace, pod, workload, the pod's labels.
    pub(super) target: Vec<(Text, Text)>,
    rows: Vec<Option<Row>>,
    free: Vec<RowIndex>,
    by_labels: AHashMap<(&'static str, Labels), RowIndex>,
}

#[derive(Debug)]
struct Row {
    metric: &'static str,
    labels: Labels,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    One(Track),
    /// One per bucket, `+Inf` last, then the sum.
    Latency(Box<[Track; BOUNDS_MS.len() + 1]>),
}

/// A number and its last samples: seconds and value, oldest first.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    /// What has come together so far. Buckets get parts of requests; only whole ones are shown.
    value: f64,
    samples: [(f64, f64); KEPT],
    taken: usize,
}

// === impl Texts ===

impl Texts {
    pub(super) fn get(&mut self, text: &str) -> Text {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Text = text.into();
        self.0.insert(new.clone());
        new
    }

    pub(super) fn labels(&mut self, labels: &[(&str, &str)]) -> Labels {
        labels.iter().map(|(name, value)| (self.get(name), self.get(value))).collect()
    }
}

// === impl Track ===

impl Track {
    fn shown(&self) -> f64 {
        self.value.floor()
    }

    fn sample(&mut self, second: f64) {
        if self.taken == KEPT {
            self.samples.rotate_left(1);
            self.taken -= 1;
        }
        self.samples[self.taken] = (second, self.shown());
        self.taken += 1;
    }

    fn samples(&self) -> &[(f64, f64)] {
        &self.samples[..self.taken]
    }
}

// === impl Proxy ===

impl Proxy {
    pub(super) fn new(target: Vec<(Text, Text)>) -> Self {
        Self { target, rows: Vec::new(), free: Vec::new(), by_labels: AHashMap::new() }
    }

    /// The row of `metric` with these labels, made when there is none.
    pub(super) fn row(&mut self, metric: &'static str, labels: Labels) -> RowIndex {
        let key = (metric, labels);
        if let Some(at) = self.by_labels.get(&key) {
            return *at;
        }
        let numbers = if metric == LATENCY {
            Numbers::Latency(Box::new([Track::default(); BOUNDS_MS.len() + 1]))
        } else {
            Numbers::One(Track::default())
        };
        let row = Some(Row { metric, labels: key.1.clone(), numbers });
        let at = match self.free.pop() {
            Some(at) => {
                self.rows[at] = row;
                at
            }
            None => {
                self.rows.push(row);
                self.rows.len() - 1
            }
        };
        self.by_labels.insert(key, at);
        at
    }

    /// Adds to a counter.
    pub(super) fn add(&mut self, at: RowIndex, amount: f64) {
        if let Some(Row { numbers: Numbers::One(track), .. }) = self.rows.get_mut(at).and_then(Option::as_mut)
        {
            track.value += amount;
        }
    }

    /// Sets a gauge.
    pub(super) fn set(&mut self, at: RowIndex, value: f64) {
        if let Some(Row { numbers: Numbers::One(track), .. }) = self.rows.get_mut(at).and_then(Option::as_mut)
        {
            track.value = value;
        }
    }

    /// Adds `count` responses whose latencies are spread around `median_ms` (log-logistic: the 95th percentile is 2.7
    /// times the median, the 99th 4.6 times).
    pub(super) fn observe(&mut self, at: RowIndex, count: f64, median_ms: f64) {
        let Some(Row { numbers: Numbers::Latency(tracks), .. }) =
            self.rows.get_mut(at).and_then(Option::as_mut)
        else {
            return;
        };
        for (track, bound) in tracks.iter_mut().zip(BOUNDS_MS) {
            track.value += count / (1.0 + (median_ms / bound).powi(3));
        }
        tracks[BOUNDS_MS.len()].value += count * median_ms * 1.2;
    }

    /// Forgets what led to a pod that is gone, as a proxy does with what has been idle for ten minutes.
    pub(super) fn forget_destination(&mut self, pod: &str) {
        for at in 0..self.rows.len() {
            let leads_there =
                |row: &Row| row.labels.iter().any(|(name, value)| &**name == "dst_pod" && &**value == pod);
            if self.rows[at].as_ref().is_some_and(leads_there)
                && let Some(row) = self.rows[at].take()
            {
                self.by_labels.remove(&(row.metric, row.labels));
                self.free.push(at);
            }
        }
    }

    /// A scraper takes a sample of every series.
    pub(super) fn sample(&mut self, second: f64) {
        for row in self.rows.iter_mut().flatten() {
            match &mut row.numbers {
                Numbers::One(track) => track.sample(second),
                Numbers::Latency(tracks) => tracks.iter_mut().for_each(|track| track.sample(second)),
            }
        }
    }

    /// Adds every series with its samples to `samples`.
    pub(super) fn push_to<'a>(&'a self, samples: &mut Samples<'a>) {
        for row in self.rows.iter().flatten() {
            match &row.numbers {
                Numbers::One(track) => {
                    samples.push(row.metric, &self.target, &row.labels, [(None, track.samples())]);
                }
                Numbers::Latency(tracks) => {
                    let [buckets @ .., sum] = &**tracks;
                    let bounded =
                        buckets.iter().zip(BOUNDS_MS).map(|(track, bound)| (Some(bound), track.samples()));
                    samples.push("response_latency_ms_bucket", &self.target, &row.labels, bounded);
                    let count = buckets.last().map_or(&[][..], Track::samples);
                    samples.push("response_latency_ms_count", &self.target, &row.labels, [(None, count)]);
                    samples.push(
                        "response_latency_ms_sum",
                        &self.target,
                        &row.labels,
                        [(None, sum.samples())],
                    );
                }
            }
        }
    }

    /// The body of `GET /metrics`.
    pub(super) fn exposition(&self) -> String {
        let mut text = String::new();
        for (metric, family, kind, help) in FAMILIES {
            let mut rows = self.rows.iter().flatten().filter(|row| row.metric == metric).peekable();
            if rows.peek().is_some() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "# HELP {family} {help}.\n# TYPE {family} {kind}");
            }
            rows.for_each(|row| row.print(&mut text));
        }
        text.push_str("# EOF\n");
        text
    }
}

// === impl Row ===

impl Row {
    fn print(&self, text: &mut String) {
        match &self.numbers {
            Numbers::One(track) => self.line(text, "", None, track),
            Numbers::Latency(tracks) => {
                let [buckets @ .., sum] = &**tracks;
                for (track, bound) in buckets.iter().zip(BOUNDS_MS) {
                    let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                    self.line(text, "_bucket", Some(&bound), track);
                }
                if let Some(all) = buckets.last() {
                    self.line(text, "_count", None, all);
                }
                self.line(text, "_sum", None, sum);
            }
        }
    }

    fn line(&self, text: &mut String, suffix: &str, le: Option<&str>, track: &Track) {
        text.push_str(self.metric);
        text.push_str(suffix);
        let labels =
            self.labels.iter().map(|(name, value)| (&**name, &**value)).chain(le.map(|le| ("le", le)));
        let mut open = '{';
        for (name, value) in labels {
            let _ = write!(text, "{open}{name}=\"{value}\"");
            open = ',';
        }
        let _ = writeln!(text, "{} {}", if open == ',' { "}" } else { "" }, track.shown());
    }
}
