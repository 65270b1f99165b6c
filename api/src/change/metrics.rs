//! What is counted about changes.

use super::{Refusal, record::Outcome};
use linkerd_mcp_proto::v1;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counters of one process. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct ChangeMetrics {
    plans: Family<Labels, Counter>,
    applies: Family<Labels, Counter>,
    rollbacks: Family<Labels, Counter>,
    pub(super) guards: Family<Labels, Counter>,
    pub(super) guarded: Gauge,
}

/// What came of it: of a fixed set of words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    pub(super) outcome: &'static str,
}

// === impl ChangeMetrics ===

impl ChangeMetrics {
    /// Registers everything under the prefix `mcp_change`.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        let changes = registry.sub_registry_with_prefix("mcp_change");
        changes.register("plans", "Changes planned, by what came of it", it.plans.clone());
        changes.register("applies", "Plans applied, by what came of it", it.applies.clone());
        changes.register(
            "rollbacks",
            "Changes rolled back on request, by what came of it",
            it.rollbacks.clone(),
        );
        changes.register("guards", "Guards that have ended, by what came of them", it.guards.clone());
        changes.register("guarded", "Changes that are watched now by this replica", it.guarded.clone());
        it
    }

    pub(super) fn planned(&self, planned: &Result<v1::PlanChangeResponse, Refusal>, simulated: bool) {
        let outcome = match planned {
            Ok(_) if simulated => "simulated",
            Ok(response) if response.plan.is_empty() => "refused",
            Ok(_) => "planned",
            Err(refusal) => refusal.code(),
        };
        self.plans.get_or_create(&Labels { outcome }).inc();
    }

    pub(super) fn applied(&self, applied: &Result<v1::ApplyPlanResponse, Refusal>) {
        let outcome = match applied {
            Ok(response) if response.accepted => Outcome::Applied.as_str(),
            Ok(_) => Outcome::Failed.as_str(),
            Err(refusal) => refusal.code(),
        };
        self.applies.get_or_create(&Labels { outcome }).inc();
    }

    pub(super) fn rolled_back(&self, rolled_back: &Result<v1::RollbackChangeResponse, Refusal>) {
        let outcome = match rolled_back {
            Ok(response) if response.accepted => Outcome::Applied.as_str(),
            Ok(_) => Outcome::Failed.as_str(),
            Err(refusal) => refusal.code(),
        };
        self.rollbacks.get_or_create(&Labels { outcome }).inc();
    }
}
