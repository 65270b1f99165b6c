//! What is counted of callers. No label says who they are.

use super::{listener::Listener, refused::Reason};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Counters of who calls. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct CallerMetrics {
    refused: Family<RefusedLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
    certificates: Family<CertificateLabels, Counter>,
    certificate_end: Gauge,
    roots_failures: Counter,
    keys: Family<CertificateLabels, Counter>,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    result: Got,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as they are written in metrics")]
enum Got {
    new,
    failed,
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
        let certificates = "Certificates of our own that were read or asked for, by what became of it";
        caller.register("certificates", certificates, metrics.certificates.clone());
        let end = "When our own certificate ends, since 1970; 0 without one";
        caller.register_with_unit("certificate_end", end, Unit::Seconds, metrics.certificate_end.clone());
        let roots = "Failures to read the trust roots of the mesh";
        caller.register("trust_roots_failures", roots, metrics.roots_failures.clone());
        let keys = "Fetches of the keys of the authorization server, by what became of them";
        caller.register("oauth_keys", keys, metrics.keys.clone());
        metrics
    }

    pub(crate) fn refused(&self, listener: Listener, reason: Reason) {
        self.refused.get_or_create(&RefusedLabels { listener, reason }).inc();
    }

    pub(crate) fn certified(&self, new: bool) {
        let result = if new { Got::new } else { Got::failed };
        self.certificates.get_or_create(&CertificateLabels { result }).inc();
    }

    pub(crate) fn fetched_keys(&self, new: bool) {
        let result = if new { Got::new } else { Got::failed };
        self.keys.get_or_create(&CertificateLabels { result }).inc();
    }

    pub(crate) fn certificate_ends(&self, at: i64) {
        self.certificate_end.set(at);
    }

    pub(crate) fn roots_failed(&self) {
        self.roots_failures.inc();
    }

    pub(crate) fn reviewed(&self, result: Review) {
        self.reviews.get_or_create(&ReviewLabels { result }).inc();
    }
}
