//! How fresh the graph is: which kinds are synced, and whether the numbers are current. Travels with the graph, so
//! that every answer of every replica can say it.

use crate::{id::Text, kind::Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of one watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum WatchState {
    /// The first list has not come in yet.
    Syncing,
    /// Listed and watched.
    Synced,
    /// The cluster does not serve this kind (its CRD is not installed). Looked for again from time to time.
    Absent,
    /// Kubernetes refuses us the list or watch.
    Forbidden {
        /// What Kubernetes said.
        detail: Text,
    },
    /// The watch fails and is being retried; what was known is kept.
    Failing {
        /// The last error.
        detail: Text,
    },
}

/// State of every watch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopologyStatus {
    /// By kind. A kind that is missing here has not been started.
    pub kinds: BTreeMap<Kind, WatchState>,
}

/// How current the numbers of the edges are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsStatus {
    /// True when the last poll did not bring all numbers.
    pub stale: bool,
    /// Why, in a sentence; empty when not stale.
    #[serde(default)]
    pub reason: String,
    /// When the numbers were measured, in milliseconds since the Unix epoch; absent when none ever were.
    #[serde(default)]
    pub as_of_ms: Option<i64>,
    /// The rate window in seconds.
    pub window_s: u32,
    /// Why the window is wider than asked for; empty when it is not.
    #[serde(default)]
    pub window_reason: String,
    /// Meshed pods that Prometheus has no series of, at most 20 of them as `namespace/pod`.
    #[serde(default)]
    pub unscraped: Vec<String>,
    /// How many meshed pods Prometheus has no series of.
    #[serde(default)]
    pub unscraped_count: u32,
    /// How many scraped pods carry labels that name another workload than Kubernetes does: a pod label overwrote the
    /// scraper's. Edges from and to them may bear the wrong name.
    #[serde(default)]
    pub mislabelled_count: u32,
}

impl Default for MetricsStatus {
    fn default() -> Self {
        Self {
            stale: true,
            reason: "no poll of Prometheus has finished yet".to_owned(),
            as_of_ms: None,
            window_s: 30,
            window_reason: String::new(),
            unscraped: Vec::new(),
            unscraped_count: 0,
            mislabelled_count: 0,
        }
    }
}

// === impl TopologyStatus ===

impl TopologyStatus {
    /// True when every kind the cluster serves has been listed and is being watched.
    pub fn synced(&self) -> bool {
        !self.kinds.is_empty() && self.not_synced().next().is_none()
    }

    /// The kinds that are not synced; an absent optional kind is not among them.
    pub fn not_synced(&self) -> impl Iterator<Item = (Kind, &WatchState)> {
        self.kinds.iter().filter_map(|(kind, state)| match state {
            WatchState::Synced => None,
            WatchState::Absent if kind.row().optional => None,
            _ => Some((*kind, state)),
        })
    }
}

// === impl WatchState ===

impl WatchState {
    /// The state as one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Synced => "synced",
            Self::Absent => "absent",
            Self::Forbidden { .. } => "forbidden",
            Self::Failing { .. } => "failing",
        }
    }

    /// What went wrong; empty when nothing did.
    pub fn detail(&self) -> &str {
        match self {
            Self::Forbidden { detail } | Self::Failing { detail } => detail,
            Self::Absent => "the cluster does not serve this kind",
            Self::Syncing | Self::Synced => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_started_is_not_synced_and_a_missing_crd_does_not_count_against_it() {
        let mut status = TopologyStatus::default();
        assert!(!status.synced());
        status.kinds.insert(Kind::Pod, WatchState::Synced);
        status.kinds.insert(Kind::Link, WatchState::Absent);
        assert!(status.synced());
        status.kinds.insert(Kind::Server, WatchState::Forbidden { detail: "no".into() });
        assert_eq!(status.not_synced().map(|(kind, _)| kind).collect::<Vec<_>>(), [Kind::Server]);
    }
}
