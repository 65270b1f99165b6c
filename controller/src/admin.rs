//! The admin listener: `/metrics` for Prometheus, `/healthz`, `/livez`, `/health` and `/ready` for the kubelet.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use parking_lot::RwLock;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Serialize;
use std::{future::Future, io, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What `/ready` says.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// True once every kind the cluster serves has been listed.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reason: String,
}

/// Shared between the index, which sets it, and the listener, which shows it.
pub type SharedReadiness = Arc<RwLock<Readiness>>;

/// Not ready: nothing has been listed yet.
pub fn not_ready() -> SharedReadiness {
    let reason = "the first lists of Kubernetes objects have not all come in yet".to_owned();
    Arc::new(RwLock::new(Readiness { ready: false, reason }))
}

#[derive(Clone)]
struct Admin {
    registry: Arc<Registry>,
    readiness: SharedReadiness,
    closing: CancellationToken,
}

/// Serves until `shutdown`; nothing is ready any more once `closing` is cancelled.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    readiness: SharedReadiness,
    closing: CancellationToken,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let alive = || get(async || "ok\n");
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/healthz", alive())
        .route("/livez", alive())
        .route("/health", alive())
        .with_state(Admin { registry, readiness, closing });
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => {
            let kind = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let readiness = match admin.closing.is_cancelled() {
        true => Readiness { ready: false, reason: "the process is shutting down".to_owned() },
        false => admin.readiness.read().clone(),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
