//! What the API counts about itself.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::time::Duration;

/// Counters of one API process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<MethodLabels, Histogram>,
    encodes: Family<EncodeLabels, Counter>,
    events: Family<EventLabels, Counter>,
    watch_resyncs: Family<ResyncLabels, Counter>,
    pub(crate) feed_errors: Counter,
    pub(crate) feed_resyncs: Counter,
    pub(crate) feed_connected: Gauge,
    pub(crate) watchers: Gauge,
    pub(crate) services: Gauge,
    pub(crate) workloads: Gauge,
    pub(crate) edges: Gauge,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Method {
    /// gRPC GetMeshGraph.
    GetMeshGraph,
    /// gRPC GetCallGraph.
    GetCallGraph,
    /// gRPC WatchMeshGraph; the duration is the time to the start of the stream.
    WatchMeshGraph,
    /// gRPC CheckAccess.
    CheckAccess,
    /// gRPC ListAccess.
    ListAccess,
    /// gRPC ExplainDenials.
    ExplainDenials,
    /// gRPC LintPolicies.
    LintPolicies,
    /// gRPC ResolvePolicy.
    ResolvePolicy,
    /// gRPC CompareEndpoints.
    CompareEndpoints,
    /// gRPC PlanChange.
    PlanChange,
    /// gRPC ApplyPlan.
    ApplyPlan,
    /// gRPC RollbackChange.
    RollbackChange,
    /// gRPC ListChanges.
    ListChanges,
    /// gRPC ProposePolicy.
    ProposePolicy,
    /// gRPC ApplyAuthorizationPolicy.
    ApplyAuthorizationPolicy,
    /// gRPC ApplyHTTPRoute.
    ApplyHttpRoute,
    /// HTTP POST `/v1/plans`.
    HttpPlan,
    /// HTTP POST `/v1/changes`.
    HttpApply,
    /// HTTP POST `/v1/changes/{id}/rollback`.
    HttpRollback,
    /// HTTP GET `/v1/changes`.
    HttpChanges,
    /// HTTP POST `/v1/proposals`.
    HttpProposal,
    /// HTTP `/v1/access`.
    HttpCheckAccess,
    /// HTTP `/v1/access/list`.
    HttpListAccess,
    /// HTTP `/v1/denials`.
    HttpDenials,
    /// HTTP `/v1/lint`.
    HttpLint,
    /// HTTP `/v1/endpoints`.
    HttpEndpoints,
    /// HTTP `/v1/policy`.
    HttpPolicy,
    /// HTTP `/v1/graph`.
    HttpGraph,
    /// HTTP `/v1/callgraph`.
    HttpCallGraph,
}

/// What was turned into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Encoded {
    /// A whole graph as protobuf, for all callers of one revision.
    GraphProtobuf,
    /// A whole graph as JSON, for all callers of one revision.
    GraphJson,
    /// A change, for all watchers of the whole graph.
    Delta,
    /// New numbers, for all watchers of the whole graph.
    MetricFrame,
    /// A part of a graph: of a namespace for all callers of one revision, while there is room to keep it, of other parts
    /// for one caller.
    Part,
}

/// What came over the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the variants of graph::feed::Event")]
pub enum FeedEvent {
    Snapshot,
    Delta,
    Metrics,
    Heartbeat,
}

/// Why a watcher had to start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ResyncCause {
    /// It wanted to resume from a position whose changes are not kept, or not known here.
    Resume,
    /// It read slower than the graph changed.
    Slow,
    /// This replica itself started over from a snapshot.
    Replica,
    /// What its caller may see is not what it was.
    Rights,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Method,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: Method,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EncodeLabels {
    what: Encoded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: FeedEvent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResyncLabels {
    cause: ResyncCause,
}

/// From the 57 µs of an empty call on loopback to the request timeout.
const SECONDS: [f64; 9] = [0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 10.0];

// === impl ApiMetrics ===

impl ApiMetrics {
    /// Registers everything under the prefix `mcp_api`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            encodes: Family::default(),
            events: Family::default(),
            watch_resyncs: Family::default(),
            feed_errors: Counter::default(),
            feed_resyncs: Counter::default(),
            feed_connected: Gauge::default(),
            watchers: Gauge::default(),
            services: Gauge::default(),
            workloads: Gauge::default(),
            edges: Gauge::default(),
        };
        let it = &metrics;
        let api = registry.sub_registry_with_prefix("mcp_api");
        api.register("requests", "Requests answered, by method and result", it.requests.clone());
        let duration = "Time from a request to the start of its answer";
        api.register_with_unit("request_duration", duration, Unit::Seconds, it.duration.clone());
        api.register("encodes", "Answers turned into bytes, by what they carry", it.encodes.clone());
        api.register("feed_events", "Events read from the feed", it.events.clone());
        api.register("feed_errors", "Failures to read from the feed", it.feed_errors.clone());
        let resyncs = "Snapshots asked of the leader because changes were missing";
        api.register("feed_resync_requests", resyncs, it.feed_resyncs.clone());
        let connected = "1 while the feed delivers, 0 while answers come from the last known graph";
        api.register("feed_connected", connected, it.feed_connected.clone());
        api.register("watchers", "Open WatchMeshGraph streams", it.watchers.clone());
        let told = "Watchers told to start over, by cause";
        api.register("watch_resyncs", told, it.watch_resyncs.clone());
        api.register("graph_services", "Services in the graph", it.services.clone());
        api.register("graph_workloads", "Workloads in the graph", it.workloads.clone());
        api.register("graph_edges", "Edges in the graph", it.edges.clone());
        metrics
    }

    /// How often something was encoded.
    pub fn encodes(&self, what: Encoded) -> u64 {
        self.encodes.get_or_create(&EncodeLabels { what }).get()
    }

    pub(crate) fn encoded(&self, what: Encoded) {
        self.encodes.get_or_create(&EncodeLabels { what }).inc();
    }

    pub(crate) fn event(&self, event: FeedEvent) {
        self.events.get_or_create(&EventLabels { event }).inc();
    }

    pub(crate) fn told_to_resync(&self, cause: ResyncCause) {
        self.watch_resyncs.get_or_create(&ResyncLabels { cause }).inc();
    }

    pub(crate) fn answered(&self, method: Method, code: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { method, code }).inc();
        self.duration.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }
}
