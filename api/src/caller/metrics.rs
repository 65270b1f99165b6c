//! What is counted of callers. No label says who they are.

use super::{listener::Listener, refused::Reason};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of who calls. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct CallerMetrics {
    refused: Family<RefusedLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: Listener,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    result: Review,
}

/// What became of the question whether a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as they are written in metrics")]
pub(crate) enum Review {
    accepted,
    refused,
    failed,
}

// === impl CallerMetrics ===

impl CallerMetrics {
    /// Registers everything under the prefix `mcp_caller`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let caller = registry.sub_registry_with_prefix("mcp_caller");
        let refused = "Requests refused because it is not known who asks, by listener and reason";
        caller.register("refused", refused, metrics.refused.clone());
        let reviews = "Questions to the Kubernetes API whether a token is good, by what became of them";
        caller.register("token_reviews", reviews, metrics.reviews.clone());
        metrics
    }

    pub(crate) fn refused(&self, listener: Listener, reason: Reason) {
        self.refused.get_or_create(&RefusedLabels { listener, reason }).inc();
    }

    pub(crate) fn reviewed(&self, result: Review) {
        self.reviews.get_or_create(&ReviewLabels { result }).inc();
    }
}
