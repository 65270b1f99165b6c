//! The flags that say which Prometheus, and how to ask it: the same for the controller, the API and `serve`.

use crate::Endpoint;
use clap::Args;
use linkerd_mcp_graph::promql::ExtraMatcher;
use std::path::PathBuf;

/// Which Prometheus, and how to ask it.
#[derive(Debug, Clone, Default, Args)]
pub struct EndpointArgs {
    /// Prometheus to ask, as in http://127.0.0.1:9090 [default: the one of linkerd-viz]
    #[arg(long, env = "LINKERD_MCP_PROMETHEUS_URL", value_name = "URL")]
    pub prometheus_url: Option<String>,

    /// User for Prometheus' basic auth
    #[arg(long, value_name = "USER", requires = "prometheus_password_file")]
    pub prometheus_user: Option<String>,

    /// File with the password for Prometheus' basic auth
    #[arg(long, value_name = "FILE", requires = "prometheus_user", conflicts_with = "prometheus_token_file")]
    pub prometheus_password_file: Option<PathBuf>,

    /// File with a bearer token for Prometheus
    #[arg(long, value_name = "FILE")]
    pub prometheus_token_file: Option<PathBuf>,

    /// File with the certificates (PEM) to verify Prometheus against, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub prometheus_ca_file: Option<PathBuf>,

    /// Label matcher to add to every query, as in cluster="east"; may be repeated
    #[arg(long, value_name = "LABEL=\"VALUE\"")]
    pub prometheus_matcher: Vec<ExtraMatcher>,
}

// === impl EndpointArgs ===

impl EndpointArgs {
    /// The same as a value, for a Prometheus at `url`.
    pub fn endpoint(&self, url: impl Into<String>) -> Endpoint {
        Endpoint {
            user: self.prometheus_user.clone(),
            password_file: self.prometheus_password_file.clone(),
            token_file: self.prometheus_token_file.clone(),
            ca_file: self.prometheus_ca_file.clone(),
            matchers: self.prometheus_matcher.clone(),
            ..Endpoint::new(url)
        }
    }
}
