//! What the watches count.

use crate::graph::{kind::Kind, status::WatchState};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of all watches. Register once; every clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    events: Family<EventLabels, Counter>,
    lists: Family<KindLabels, Counter>,
    failures: Family<KindLabels, Counter>,
    unparsed_objects: Family<KindLabels, Counter>,
    state: Family<StateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: String,
    event: EventName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label's values")]
enum EventName {
    apply,
    delete,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    kind: String,
    state: &'static str,
}

/// The metrics of one kind's watch.
#[derive(Debug)]
pub(crate) struct KindMetrics {
    kind: String,
    state: Family<StateLabels, Gauge>,
    /// Objects that appeared or changed while watched.
    pub(super) applied: Counter,
    /// Objects that went while watched.
    pub(super) deleted: Counter,
    /// Complete lists.
    pub(super) lists: Counter,
    /// Requests that failed.
    pub(super) failures: Counter,
    /// Objects that could not be read.
    pub(super) unparsed_objects: Counter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics in `registry`, whose prefix is `mcp_watch`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("events", "Kubernetes objects that changed while watched", metrics.events.clone());
        registry.register(
            "lists",
            "Complete lists of a kind; more than one is a relist",
            metrics.lists.clone(),
        );
        registry.register("failures", "Failed list and watch requests", metrics.failures.clone());
        registry.register(
            "unparsed_objects",
            "Kubernetes objects skipped because they could not be read",
            metrics.unparsed_objects.clone(),
        );
        registry.register("state", "1 for the state the watch of a kind is in", metrics.state.clone());
        metrics
    }

    pub(crate) fn of(&self, kind: Kind) -> KindMetrics {
        let kind = kind.resource();
        let labels = KindLabels { kind: kind.clone() };
        let event = |event| EventLabels { kind: kind.clone(), event };
        // Owned: `get_or_create` returns a read lock, and a second one beside it in one expression waits for itself.
        KindMetrics {
            applied: self.events.get_or_create_owned(&event(EventName::apply)),
            deleted: self.events.get_or_create_owned(&event(EventName::delete)),
            lists: self.lists.get_or_create_owned(&labels),
            failures: self.failures.get_or_create_owned(&labels),
            unparsed_objects: self.unparsed_objects.get_or_create_owned(&labels),
            state: self.state.clone(),
            kind,
        }
    }
}

// === impl KindMetrics ===

impl KindMetrics {
    /// Moves the watch from one state to another.
    pub(super) fn enter(&self, from: Option<&WatchState>, to: &WatchState) {
        if let Some(from) = from {
            self.state_gauge(from).set(0);
        }
        self.state_gauge(to).set(1);
    }

    fn state_gauge(&self, state: &WatchState) -> Gauge {
        self.state.get_or_create_owned(&StateLabels { kind: self.kind.clone(), state: state.name() })
    }
}
