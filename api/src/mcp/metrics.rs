//! What the MCP endpoint counts. Labels are names from our own tables; what clients write is never one.

use super::settings::live::ReloadMetrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::time::Duration;

/// Counters of the endpoint. Cloning shares them.
#[derive(Debug, Clone)]
pub struct McpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<MethodLabels, Histogram>,
    tools: Family<ToolLabels, Counter>,
    tool_duration: Family<ToolNameLabels, Histogram>,
    pub(crate) refused: Family<RefusedLabels, Counter>,
    pub(crate) sessions: Gauge,
    pub(crate) settings: ReloadMetrics,
    pub(crate) subscriptions: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolLabels {
    tool: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolNameLabels {
    tool: &'static str,
}

/// Why a request did not come through the gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabels {
    pub(crate) reason: &'static str,
}

/// From an answer out of memory to the longest a tool may take.
const SECONDS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

// === impl McpMetrics ===

impl McpMetrics {
    /// Registers everything under the prefix `mcp`.
    pub fn register(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(SECONDS);
        let mcp = registry.sub_registry_with_prefix("mcp");
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            tools: Family::default(),
            tool_duration: Family::new_with_constructor(histogram),
            refused: Family::default(),
            sessions: Gauge::default(),
            settings: ReloadMetrics::register(mcp),
            subscriptions: Gauge::default(),
        };
        let it = &metrics;
        mcp.register(
            "requests",
            "Requests of the Model Context Protocol, by method and result",
            it.requests.clone(),
        );
        let duration = "Time from a request of the Model Context Protocol to its result";
        mcp.register_with_unit("request_duration", duration, Unit::Seconds, it.duration.clone());
        mcp.register("tool_calls", "Calls of tools, by tool and result", it.tools.clone());
        let duration = "Time that a tool takes";
        mcp.register_with_unit("tool_duration", duration, Unit::Seconds, it.tool_duration.clone());
        let refused = "Requests that were refused before they were read as MCP, by reason";
        mcp.register("refused", refused, it.refused.clone());
        mcp.register(
            "sessions",
            "Open sessions of clients that speak a revision with sessions",
            it.sessions.clone(),
        );
        mcp.register(
            "subscriptions",
            "Resources that clients are told changes of, those of each client counted",
            it.subscriptions.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, method: &'static str, status: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { method, status }).inc();
        self.duration.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }

    pub(crate) fn called(&self, tool: &'static str, status: &'static str, took: Duration) {
        self.tools.get_or_create(&ToolLabels { tool, status }).inc();
        self.tool_duration.get_or_create(&ToolNameLabels { tool }).observe(took.as_secs_f64());
    }
}
