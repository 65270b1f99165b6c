//! An HTTP server that answers a scrape as a linkerd-proxy does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::time::Instant;

use crate::background::Background;

/// A running exporter on a port of its own.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    _server: Background,
}

impl Exporter {
    /// Serves `/metrics`; `body` gets the time since the start, which is what
    /// [`Recording::after`](crate::exposition::Recording::after) wants.
    pub fn start(body: impl Fn(Duration) -> String + Send + Sync + 'static) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let server = Background::spawn("exporter", move || serve(listener, Arc::new(body)))?;
        Ok(Self { address, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve<F>(listener: std::net::TcpListener, body: Arc<F>)
where
    F: Fn(Duration) -> String + Send + Sync + 'static,
{
    let started = Instant::now();
    let metrics = move || async move {
        // Bare, although half of the body is OpenMetrics: that is what the proxy says.
        ([(CONTENT_TYPE, "text/plain")], body(started.elapsed()))
    };
    let router = Router::new().route("/metrics", get(metrics));
    let listener = tokio::net::TcpListener::from_std(listener).expect("the listener does not block");
    axum::serve(listener, router).await.expect("serving ends only when it is dropped");
}
