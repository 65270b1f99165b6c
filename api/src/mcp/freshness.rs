//! How fresh an answer is, in as few words as a model needs.

use crate::{
    mcp::text::{data, quoted},
    replica::Replica,
    view::View,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// How fresh an answer is.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Freshness {
    /// When this was true, UTC.
    as_of: String,
    /// Milliseconds since this server last heard that nothing is newer.
    age_ms: u64,
    /// The window of rates and quantiles in seconds.
    window_s: u32,
    /// Present when the numbers are not from the last poll: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_stale: Option<String>,
    /// Present when kinds of objects are not known: which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topology_not_synced: Vec<String>,
    /// Present when the feed from the controller is broken, so that this may be old.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    feed_disconnected: bool,
    /// Present when so many meshed pods have no metrics: their traffic is not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pods_without_metrics: Option<u32>,
    /// Present when the caller may see some namespaces only: the first of these. Nothing is said of others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limited_to: Vec<String>,
}

/// The most namespaces that are listed.
const MAX_LISTED: usize = 20;

// === impl Freshness ===

impl Freshness {
    pub(crate) fn of(replica: &Replica, view: &View) -> Self {
        let it = replica.freshness(view);
        let metrics = it.metrics.unwrap_or_default();
        let feed = it.feed.unwrap_or_default();
        let not_synced = it.topology.unwrap_or_default().not_synced;
        Self {
            as_of: it.as_of.map(|it| it.to_string()).unwrap_or_default(),
            age_ms: feed.age_ms,
            window_s: metrics.window_seconds,
            metrics_stale: metrics.stale.then(|| data(&metrics.reason)),
            topology_not_synced: not_synced.iter().map(|it| format!("{} {}", it.kind, it.state)).collect(),
            feed_disconnected: !feed.connected,
            pods_without_metrics: (metrics.unscraped_count > 0).then_some(metrics.unscraped_count),
            limited_to: it.limited_to.iter().take(MAX_LISTED).map(|name| data(name)).collect(),
        }
    }

    /// One line.
    pub(crate) fn text(&self) -> String {
        let mut line = format!("As of {}, rates over {} s", self.as_of, self.window_s);
        // Writing to a String does not fail.
        if let Some(reason) = &self.metrics_stale {
            let _ = write!(line, "; NUMBERS ARE STALE: {}", quoted(reason));
        }
        if !self.topology_not_synced.is_empty() {
            let _ = write!(line, "; NOT SYNCED: {}", self.topology_not_synced.join(", "));
        }
        if self.feed_disconnected {
            let _ = write!(line, "; NO FEED for {} ms", self.age_ms);
        }
        if let Some(count) = self.pods_without_metrics {
            let _ = write!(line, "; {count} meshed pods have no metrics");
        }
        if !self.limited_to.is_empty() {
            let more = if self.limited_to.len() == MAX_LISTED { " and more" } else { "" };
            let _ = write!(line, "; LIMITED to what you may see: {}{more}", self.limited_to.join(", "));
        }
        line.push('.');
        line
    }
}
