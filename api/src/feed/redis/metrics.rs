//! What the reader of the feed counts.

use crate::graph::feed::Position;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters and gauges of one subscription. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct FeedMetrics {
    /// Changes applied.
    pub deltas: Counter,
    /// Changes that came again and were ignored.
    pub duplicates: Counter,
    /// Messages of a reign that is over, ignored.
    pub outdated: Counter,
    /// Times that a change was missing and the log was read.
    pub gaps: Counter,
    /// Times that the graph was taken from a snapshot, the first time included.
    pub resyncs: Counter,
    /// Requests for a snapshot sent to the leader.
    pub requests: Counter,
    /// Messages, log entries and metric frames that were refused.
    pub bad_messages: Counter,
    /// Snapshots that were refused.
    pub bad_snapshots: Counter,
    /// Metric frames applied.
    pub frames: Counter,
    /// Connections to Redis after the first.
    pub reconnects: Counter,
    /// The reign of the last position.
    pub epoch: Gauge,
    /// The number of the last change.
    pub seq: Gauge,
}

// === impl FeedMetrics ===

impl FeedMetrics {
    /// The reader is at `position`.
    pub(super) fn at(&self, position: Position) {
        self.epoch.set(i64::try_from(position.epoch).unwrap_or(i64::MAX));
        self.seq.set(i64::try_from(position.seq).unwrap_or(i64::MAX));
    }

    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let feed = registry.sub_registry_with_prefix("mcp_feed");
        feed.register("deltas", "Topology changes applied", self.deltas.clone());
        feed.register(
            "duplicates",
            "Topology changes that came again and were ignored",
            self.duplicates.clone(),
        );
        feed.register("outdated", "Messages of a reign that is over, ignored", self.outdated.clone());
        feed.register("gaps", "Times that a change was missing and the log was read", self.gaps.clone());
        feed.register("resyncs", "Times that the graph was taken from a snapshot", self.resyncs.clone());
        feed.register("resync_requests", "Snapshots asked for", self.requests.clone());
        feed.register(
            "bad_messages",
            "Messages, log entries and metric frames refused",
            self.bad_messages.clone(),
        );
        feed.register("bad_snapshots", "Snapshots refused", self.bad_snapshots.clone());
        feed.register("frames", "Metric frames applied", self.frames.clone());
        feed.register("reconnects", "Connections to Redis after the first", self.reconnects.clone());
        feed.register("epoch", "Reign of the last position", self.epoch.clone());
        feed.register("seq", "Number of the last topology change", self.seq.clone());
    }
}
