//! How fresh an answer is, as a message.

use super::{position, timestamp};
use linkerd_mcp_graph::{
    feed::Position,
    status::{MetricsStatus, TopologyStatus},
};
use linkerd_mcp_proto::v1;

/// What the replica knows about its own lag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    pub(crate) as_of_ms: i64,
    pub(crate) age_ms: u64,
    pub(crate) connected: bool,
    pub(crate) position: Position,
}

pub(crate) fn freshness(lag: Lag, metrics: &MetricsStatus, topology: &TopologyStatus) -> v1::Freshness {
    let not_synced = topology.not_synced().map(|(kind, state)| v1::KindState {
        kind: kind.to_string(),
        state: state.name().to_owned(),
        detail: state.detail().to_owned(),
    });
    v1::Freshness {
        as_of: Some(timestamp(lag.as_of_ms)),
        metrics: Some(v1::MetricsFreshness {
            stale: metrics.stale,
            reason: metrics.reason.clone(),
            as_of: metrics.as_of_ms.map(timestamp),
            window_seconds: metrics.window_s,
            window_reason: metrics.window_reason.clone(),
            unscraped: metrics.unscraped.clone(),
            unscraped_count: metrics.unscraped_count,
        }),
        topology: Some(v1::TopologyFreshness { synced: topology.synced(), not_synced: not_synced.collect() }),
        feed: Some(v1::FeedFreshness {
            age_ms: lag.age_ms,
            position: Some(position(lag.position)),
            connected: lag.connected,
        }),
        limited_to: Vec::new(),
    }
}
