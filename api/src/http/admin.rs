//! What Kubernetes and Prometheus ask: are you alive, are you ready, how do you do. On a listener of its own.

use crate::{mcp, replica::Replica};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::sync::Arc;

/// What handlers need. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) replica: Replica,
    pub(crate) mcp: mcp::Context,
    pub(crate) registry: Arc<Registry>,
}

/// The admin routes.
pub(crate) fn routes(state: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .with_state(state)
}

/// True as long as the process answers at all.
async fn live() -> &'static str {
    "ok\n"
}

/// As `/ready`, for people: always 200, says how things are.
async fn health(State(state): State<Admin>) -> Response {
    let (_, report) = state.report();
    axum::Json(report).into_response()
}

async fn ready(State(state): State<Admin>) -> Response {
    let (ready, report) = state.report();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(report)).into_response()
}

async fn metrics(State(state): State<Admin>) -> Response {
    let mut text = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        tracing::error!(%error, "metrics cannot be written as text");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

impl Admin {
    /// Whether requests should come here, why not, and how many tools models have. None of them is no reason not to be
    /// ready: that is how operators have set it up, and others ask over gRPC.
    fn report(&self) -> (bool, Value) {
        let tools = self.mcp.offered().count();
        if self.replica.ticks().borrow().closing {
            return (false, json!({"status": "closing", "reason": "the process is shutting down"}));
        }
        let Some(view) = self.replica.view() else {
            let reason = "no snapshot of the graph has come from the controller yet";
            return (false, json!({"status": "waiting", "reason": reason, "tools": tools}));
        };
        let freshness = linkerd_mcp_proto::json::freshness_of(&self.replica.freshness(&view));
        let graph = &view.graph;
        let size = json!({
            "services": graph.services.len(),
            "workloads": graph.workloads.len(),
            "edges": graph.edges.len(),
        });
        (true, json!({"status": "ready", "graph": size, "tools": tools, "freshness": freshness}))
    }
}
