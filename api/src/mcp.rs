//! The mesh for language models: a Model Context Protocol server at `/mcp`, on the port that speaks gRPC and JSON too.
//!
//! ```text
//! POST /mcp ─► host ─► gate (origin, size, rate, session) ─► rmcp ─► Server ─► TOOLS ─► one file per tool ─► View
//!                                                        └──► direct (plain calls of tools) ─┘
//! ```
//!
//! Both eras of the protocol are spoken at once: 2026-07-28, without sessions, and what begins with `initialize`.
//! Start at [`tool::TOOLS`], the table of what a model can ask; [`server`] is what rmcp calls, and [`offer`] is where
//! resources, prompts, completion and subscriptions are plugged in.

mod absent;
pub(crate) mod arguments;
pub(crate) mod ask;
pub mod budget;
pub(crate) mod change;
pub(crate) mod completion;
#[cfg(feature = "conformance")]
mod conformance;
pub(crate) mod consent;
mod direct;
pub(crate) mod freshness;
mod gate;
pub(crate) mod history;
mod kubernetes;
pub mod metrics;
pub(crate) mod offer;
pub(crate) mod page;
mod prompt;
mod promql;
pub(crate) mod resource;
pub(crate) mod schema;
mod server;
pub mod settings;
pub(crate) mod share;
pub(crate) mod subscription;
pub(crate) mod text;
mod tool;
mod tool_list;

#[cfg(test)]
mod tests;

use crate::{
    authorization::{Authorization, Granted},
    change::Changes,
    replica::Replica,
};
use axum::Router;
use budget::{Budget, Limits};
use gate::{Gate, session::Sessions};
use linkerd_mcp_prometheus::Connection;
use metrics::McpMetrics;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use settings::{Live, Settings};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// The path.
pub(crate) const PATH: &str = "/mcp";

/// How the endpoint is set up.
#[derive(Clone)]
pub struct Options {
    /// Prometheus, where there is one: without it nothing can be asked of it.
    pub prometheus: Option<Connection>,
    /// The Kubernetes API, where it can be asked for single objects.
    pub kubernetes: Option<kube::Client>,
    /// Web pages besides those of this machine that may ask, such as `https://inspector.example`.
    pub allowed_origins: Vec<String>,
    /// Requests that one caller may make a second, twice as many at once; 0 is no limit.
    pub calls_per_second: u32,
    /// A YAML file with settings that win over these two, and that may change while this runs ([`settings`]).
    pub config: Option<PathBuf>,
    /// How often that file is looked at. Kubernetes itself takes up to a minute to bring a changed ConfigMap.
    pub look_every: Duration,
    /// How many calls that ask Prometheus or Kubernetes may be under way.
    pub outside: Limits,
}

/// What tools answer from. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Context {
    /// The whole mesh; in what a request is answered from, what its caller may see.
    pub(crate) replica: Replica,
    pub(crate) authorization: Authorization,
    /// What the request that is answered was granted; none before.
    pub(crate) granted: Option<Arc<Granted>>,
    /// Who is told of what, and what happened last.
    pub(crate) subscriptions: subscription::Subscriptions,
    pub(crate) prometheus: Option<Connection>,
    pub(crate) kubernetes: Option<kube::Client>,
    pub(crate) settings: Live,
    pub(crate) budget: Budget,
    /// Plans, applies and undoes changes of policy.
    pub(crate) changes: Changes,
    /// What the replica was an hour ago and since.
    pub(crate) history: history::History,
}

/// The route, with all that stands before it but the check of the Host header. Streams end with `stop`.
pub(crate) fn route(context: Context, metrics: McpMetrics, stop: CancellationToken) -> Router {
    let server = server::Server::new(context.clone(), metrics.clone());
    let gate = Gate {
        settings: context.settings,
        authorization: context.authorization,
        replica: context.replica,
        budget: context.budget,
        sessions: Sessions::new(metrics.sessions.clone()),
        metrics,
        server: server.clone(),
    };
    // Any replica answers a request of the stateless revision; older clients get a session, which elicitation and
    // subscriptions need. Answers are JSON unless there is something to say before the end.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(true)
        .with_json_response(true)
        .with_max_request_body_bytes(gate::MAX_BODY)
        .with_cancellation_token(stop)
        // The gate has checked both.
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(gate::session::IDLE);
    let sessions = Arc::new(sessions);
    let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    Router::new()
        .route_service(PATH, service)
        .layer(axum::middleware::from_fn_with_state(Arc::new(gate), gate::check))
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("prometheus", &self.prometheus)
            .field("kubernetes", &self.kubernetes.is_some())
            .field("allowed_origins", &self.allowed_origins)
            .field("calls_per_second", &self.calls_per_second)
            .field("config", &self.config)
            .finish()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("prometheus", &self.prometheus)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

// === impl Context ===

impl Context {
    /// It as one sees it who was granted this.
    pub(crate) fn scoped(&self, granted: &Arc<Granted>) -> Self {
        let replica = self.replica.scoped(&granted.scope);
        let changes = self.changes.answering(granted);
        Self { replica, changes, granted: Some(granted.clone()), ..self.clone() }
    }
}

/// The names of all that can be asked here, for the test that each has a row in the table of rights.
#[cfg(test)]
pub(crate) struct Names {
    pub(crate) tools: Vec<&'static str>,
    pub(crate) resources: Vec<&'static str>,
    pub(crate) prompts: Vec<&'static str>,
}

#[cfg(test)]
pub(crate) fn asked() -> Names {
    Names {
        tools: tool::TOOLS.iter().map(|tool| tool.name).collect(),
        resources: resource::uri::ALL.to_vec(),
        prompts: prompt::PROMPTS.iter().map(prompt::Prompt::name).collect(),
    }
}

// === impl Options ===

impl Options {
    /// The settings that these lead to, with the file read for the first time.
    pub(crate) async fn settings(&self, metrics: &McpMetrics) -> Result<Live, settings::Error> {
        let flags = Settings::new(self.calls_per_second, &self.allowed_origins)?;
        Live::open(flags, self.config.clone(), metrics.settings.clone()).await
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prometheus: None,
            kubernetes: None,
            allowed_origins: Vec::new(),
            calls_per_second: 100,
            config: None,
            look_every: Duration::from_secs(3),
            outside: Limits::default(),
        }
    }
}
