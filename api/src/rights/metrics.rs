//! What is counted of decisions about callers.

use super::Verdict;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{fmt, time::Duration};

/// Counters of [`super::Rights`]. Cloning shares them.
#[derive(Clone)]
pub struct RightsMetrics {
    decisions: Family<DecisionLabels, Counter>,
    reviews: Histogram,
}

/// Who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum From {
    /// It was decided a moment ago.
    Memory,
    /// It was asked.
    Judge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    verdict: &'static str,
    from: From,
}

/// From an API server next door to the most that is waited for.
const SECONDS: [f64; 7] = [0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 3.0];

// === impl RightsMetrics ===

impl RightsMetrics {
    /// Registers everything under the prefix `mcp_authorization`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("mcp_authorization");
        let decisions = "Decisions about what callers may do, by verdict and by who said so";
        registry.register("decisions", decisions, self.decisions.clone());
        let reviews = "Time that the API server took to decide";
        registry.register_with_unit("review_duration", reviews, Unit::Seconds, self.reviews.clone());
    }

    pub(super) fn decided(&self, verdict: &Verdict, from: From) {
        let verdict = match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Undecided(_) => "undecided",
        };
        self.decisions.get_or_create(&DecisionLabels { verdict, from }).inc();
    }

    pub(super) fn reviewed(&self, took: Duration) {
        self.reviews.observe(took.as_secs_f64());
    }
}

impl Default for RightsMetrics {
    fn default() -> Self {
        Self { decisions: Family::default(), reviews: Histogram::new(SECONDS) }
    }
}

impl fmt::Debug for RightsMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RightsMetrics").finish_non_exhaustive()
    }
}
