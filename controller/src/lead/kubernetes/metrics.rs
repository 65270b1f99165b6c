//! What is counted about the Lease.

use crate::graph::feed::election::{Answer, Step};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics about the Kubernetes Lease; only where it says who leads.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    held: Gauge,
    taken: Counter,
    lost: Family<LostLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LostLabels {
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: Verb,
    outcome: Outcome,
}

/// Why the Lease is not ours any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label's values")]
pub(super) enum Reason {
    refused,
    late,
    given_up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label's values")]
pub(super) enum Verb {
    get,
    create,
    update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label's values")]
pub(super) enum Outcome {
    ok,
    absent,
    conflict,
    failed,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics; the caller gives the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("held", "1 while this controller holds the Lease", metrics.held.clone());
        registry.register("taken", "Times that this controller got the Lease", metrics.taken.clone());
        let lost = "Times that this controller lost the Lease or gave it up, by cause";
        registry.register("lost", lost, metrics.lost.clone());
        let requests = "Requests about the Lease, by what came of them";
        registry.register("requests", requests, metrics.requests.clone());
        metrics
    }

    pub(super) fn holds(&self, held: bool) {
        self.held.set(i64::from(held));
    }

    pub(super) fn won(&self) {
        self.taken.inc();
    }

    pub(super) fn lost(&self, reason: Reason) {
        self.lost.get_or_create(&LostLabels { reason }).inc();
    }

    pub(super) fn requested(&self, verb: Verb, outcome: Outcome) {
        self.requests.get_or_create(&RequestLabels { verb, outcome }).inc();
    }
}

// === impl Verb ===

impl Verb {
    /// What the step needs, as RBAC names it. The steps that ask nothing do not come here.
    pub(super) fn of(step: &Step) -> Self {
        match step {
            Step::Look | Step::Wait { .. } | Step::Done => Self::get,
            Step::Create(_) => Self::create,
            Step::Replace { .. } => Self::update,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Found(_) => Self::ok,
            Answer::Absent => Self::absent,
            Answer::Conflict => Self::conflict,
            Answer::Failed => Self::failed,
        }
    }
}
