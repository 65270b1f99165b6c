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

    /// Every edge with its numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeId, &EdgeMetrics)> {
        self.ids.iter().zip(self.rows.iter())
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
