//! The numbers of the edges at one poll. A number that is not known is absent, never zero.

use crate::{
    id::{EdgeId, Text},
    status::MetricsStatus,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The numbers of all edges at one poll.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// How current they are.
    pub status: MetricsStatus,
    /// Edge ids in order; `rows` has the numbers in the same order.
    pub ids: Arc<[EdgeId]>,
    /// Numbers of the edge at the same place in `ids`.
    pub rows: Arc<[EdgeMetrics]>,
}

/// The numbers of one edge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeMetrics {
    /// Calls per second as the caller counts them: a retried call is one call.
    pub rps: Option<f64>,
    /// Share of calls that neither failed nor were denied, 0 to 1.
    pub success_rate: Option<f64>,
    /// Milliseconds to the first frame of the response body, median.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Open connections.
    pub tcp_open: Option<f64>,
    /// Connections opened per second.
    pub tcp_opened: Option<f64>,
    /// Bytes per second, client to server.
    pub sent: Option<f64>,
    /// Bytes per second, server to client.
    pub received: Option<f64>,
    /// Requests or connections per second that the server's proxy let in.
    pub allowed: Option<f64>,
    /// Requests or connections per second that the server's proxy denied.
    pub denied: Option<f64>,
    /// Share of the traffic over mutual TLS, 0 to 1.
    pub mtls_share: Option<f64>,
    /// Retries per second, beyond `rps`.
    pub retries: Option<f64>,
    /// Requests per second answered 404 by the server's proxy because no route matched.
    pub unrouted: Option<f64>,
    /// When traffic was last seen, in milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// What let the calls in: `authorizationpolicy/name`, `serverauthorization/name` or the default policy's name.
    pub authorized_by: Arc<[Text]>,
}

/// Numbers for those who ask in the order of ids, see [`Metrics::in_order`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// The ids that are not behind the last one asked for, and their rows.
    ids: &'a [EdgeId],
    rows: &'a [EdgeMetrics],
}

// === impl Metrics ===

impl Metrics {
    /// From rows in any order.
    pub fn new(status: MetricsStatus, mut edges: Vec<(EdgeId, EdgeMetrics)>) -> Self {
        edges.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (ids, rows): (Vec<_>, Vec<_>) = edges.into_iter().unzip();
        Self { status, ids: ids.into(), rows: rows.into() }
    }

    /// The numbers of one edge.
    pub fn get(&self, id: &EdgeId) -> Option<&EdgeMetrics> {
        self.ids.binary_search(id).ok().and_then(|at| self.rows.get(at))
    }

    /// The same for many edges, which must be asked for in the order of their ids, each once.
    pub fn in_order(&self) -> Rows<'_> {
        Rows { ids: &self.ids, rows: &self.rows }
    }

    /// Every edge with its numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeId, &EdgeMetrics)> {
        self.ids.iter().zip(self.rows.iter())
    }
}

// === impl Rows ===

impl<'a> Rows<'a> {
    /// The numbers of one edge.
    pub fn get(&mut self, id: &EdgeId) -> Option<&'a EdgeMetrics> {
        // The next row is the wanted one for all edges of a stretch, and its id is often the very same text.
        if self.ids.first() != Some(id) {
            let before = self.before(id);
            self.skip(before);
            if self.ids.first() != Some(id) {
                return None;
            }
        }
        let row = self.rows.first();
        self.skip(1);
        row
    }

    /// How many ids are below `id`: looked for in steps that double, and then between the last two. That costs what
    /// the distance weighs, and not what the mesh weighs.
    fn before(&self, id: &EdgeId) -> usize {
        let (mut below, mut step) = (0, 1);
        while self.ids.get(below + step - 1).is_some_and(|it| it < id) {
            below += step;
            step *= 2;
        }
        let end = (below + step - 1).min(self.ids.len());
        below + self.ids[below..end].partition_point(|it| it < id)
    }

    fn skip(&mut self, count: usize) {
        self.ids = self.ids.get(count..).unwrap_or_default();
        self.rows = self.rows.get(count..).unwrap_or_default();
    }
}

// === impl EdgeMetrics ===

impl EdgeMetrics {
    /// True when any number says that traffic flows now.
    pub fn active(&self) -> bool {
        let flows = |number: Option<f64>| number.is_some_and(|number| number > 0.0);
        [self.rps, self.tcp_open, self.tcp_opened, self.sent, self.received, self.denied]
            .into_iter()
            .any(flows)
    }
}
