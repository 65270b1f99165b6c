//! Flags of `linkerd-mcp-api`, and the wiring they ask for.

use crate::{
    Api, Config,
    authorization::Authorization,
    caller::args::{CallerArgs, Callers},
    change,
    feed::redis::{FeedMetrics, RedisSubscription, SubscribeOptions},
    kubernetes,
    linkerd::{
        LinkerdArgs,
        sample::{self, SampleMetrics},
    },
    rights::Rights,
};
use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use linkerd_mcp_feed::{End, RedisArgs, RedisMetrics};
use linkerd_mcp_prometheus::{Connection, EndpointArgs};
use prometheus_client::registry::Registry;
use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Answers questions about the mesh from the graph that the controller publishes through Redis.
#[derive(Debug, Parser)]
#[command(name = "linkerd-mcp-api", version)]
pub struct Args {
    /// Which Redis, and how to reach it.
    #[command(flatten)]
    pub redis: RedisArgs,

    /// Address for gRPC, JSON and MCP, a loopback address; port 0 picks one
    #[arg(long, env = "LINKERD_MCP_LISTEN", default_value = "127.0.0.1:8086", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,

    /// Address for metrics and probes; port 0 picks one
    #[arg(
        long,
        env = "LINKERD_MCP_ADMIN_LISTEN",
        default_value = "127.0.0.1:9995",
        value_name = "ADDR:PORT"
    )]
    pub admin_listen: SocketAddr,

    /// Seconds that requests under way may take after SIGTERM
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=300))]
    pub drain_seconds: u64,

    /// Watches that may be open at once; more are refused, with a time to come back
    #[arg(
        long,
        env = "LINKERD_MCP_MAX_WATCHERS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub max_watchers: u32,

    /// How callers are known
    #[command(flatten)]
    pub callers: CallerArgs,

    /// Which Prometheus, for questions in its own language
    #[command(flatten)]
    pub prometheus: EndpointArgs,

    /// The Model Context Protocol endpoint
    #[command(flatten)]
    pub mcp: McpArgs,

    /// Linkerd's own controllers
    #[command(flatten)]
    pub linkerd: LinkerdArgs,

    /// Change nothing in Kubernetes: plans are simulated only, and nothing is applied or rolled back
    #[arg(long, env = "LINKERD_MCP_READ_ONLY")]
    pub read_only: bool,

    /// How log lines look
    #[arg(long, env = "LINKERD_MCP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub log_format: LogFormat,
}

/// How the Model Context Protocol endpoint is set up.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct McpArgs {
    /// Whether models may read single pods, services and deployments from Kubernetes
    #[arg(
        long = "mcp-kubernetes-reads",
        env = "LINKERD_MCP_MCP_KUBERNETES_READS",
        value_enum,
        default_value_t = Reads::Auto,
        value_name = "WHEN"
    )]
    pub kubernetes_reads: Reads,

    /// Web page that may ask over MCP besides those of this machine, such as https://inspector.example; may be repeated
    #[arg(
        long = "mcp-allowed-origin",
        env = "LINKERD_MCP_MCP_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub allowed_origins: Vec<String>,

    /// MCP requests that one caller may make a second, twice as many at once; 0 is no limit
    #[arg(
        long = "mcp-calls-per-second",
        env = "LINKERD_MCP_MCP_CALLS_PER_SECOND",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    pub calls_per_second: u32,

    /// YAML file with settings of the MCP endpoint (toolsets, tools, callsPerSecond, allowedOrigins), which win over
    /// flags; it is read again when it changes
    #[arg(long = "mcp-config", env = "LINKERD_MCP_MCP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// When something is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// Where there is an API server to ask.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

// === impl LogFormat ===

impl LogFormat {
    /// Starts logging to stderr, filtered by `LINKERD_MCP_LOG`.
    pub fn start(self) {
        let filter = EnvFilter::try_from_env("LINKERD_MCP_LOG")
            .unwrap_or_else(|_| EnvFilter::new("warn,linkerd_mcp=info"));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match self {
            Self::Plain => builder.init(),
            Self::Json => builder.json().init(),
        }
    }
}

// === impl McpArgs ===

impl McpArgs {
    /// The same as a value, with the Prometheus to ask.
    pub fn options(
        self,
        prometheus: Option<Connection>,
        kubernetes: Option<kube::Client>,
    ) -> crate::mcp::Options {
        let Self { kubernetes_reads, allowed_origins, calls_per_second, config } = self;
        let kubernetes = kubernetes.filter(|_| kubernetes_reads != Reads::Off);
        crate::mcp::Options {
            prometheus,
            kubernetes,
            allowed_origins,
            calls_per_second,
            config,
            ..crate::mcp::Options::default()
        }
    }
}

// === impl Args ===

impl Args {
    /// Serves until SIGTERM or Ctrl-C.
    ///
    /// # Errors
    ///
    /// When it cannot start, or can go on no longer.
    pub fn run(self) -> anyhow::Result<()> {
        self.log_format.start();
        // Fails when somebody else in this process has chosen already, and then that choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let Self {
            redis,
            listen,
            admin_listen,
            drain_seconds,
            max_watchers,
            callers,
            prometheus,
            mcp,
            linkerd,
            read_only,
            log_format: _,
        } = self;
        // A wrong address ends the start, not the first question.
        let controllers = linkerd.controllers()?;
        let policy_controller = controllers.policy.clone();
        let mut registry = Registry::default();
        let redis_metrics = RedisMetrics::default();
        redis_metrics.register(&mut registry);
        let server = redis.server(End::Reads, redis_metrics.clone())?;
        let options = SubscribeOptions { prefix: redis.prefix()?, ..SubscribeOptions::new(server) };
        let feed_metrics = FeedMetrics::default();
        feed_metrics.register(&mut registry);
        let subscription = RedisSubscription::new(options, feed_metrics)?;

        let connection = match &prometheus.prometheus_url {
            Some(url) => Some(Connection::new(prometheus.endpoint(url))?),
            None => None,
        };
        let kubernetes = kubernetes::client().await;
        let Callers { local, mesh, tls, hosts } =
            callers.callers(kubernetes.as_ref(), &linkerd.linkerd_namespace, &linkerd.cluster_domain)?;
        let keep = match read_only {
            // Nothing is kept where nothing is changed, and the user at Redis needs no right to.
            true => change::Keep::Memory,
            false => change::Keep::Redis {
                server: Box::new(redis.server(End::Changes, redis_metrics)?),
                prefix: redis.prefix()?,
            },
        };
        let changes = match kubernetes.clone() {
            Some(client) => change::Options { keep, read_only, ..change::Options::kubernetes(client) },
            None => change::Options { read_only, ..change::Options::default() },
        };
        // In a pod, its name.
        let changes = match std::env::var("HOSTNAME") {
            Ok(pod) if (1..=100).contains(&pod.len()) => {
                change::Options { instance: format!("{pod}/{:08x}", rand::random::<u32>()), ..changes }
            }
            _ => changes,
        };
        let drain = Duration::from_secs(drain_seconds);
        let config = Config {
            listen,
            local,
            mesh,
            tls,
            hosts,
            admin_listen: Some(admin_listen),
            drain,
            authorization: match &kubernetes {
                Some(client) => Authorization::new(Rights::kubernetes(client.clone())),
                // Then callers that are known by Kubernetes or the mesh may do nothing.
                None => Authorization::machine(),
            },
            max_watchers: usize::try_from(max_watchers).context("so many watchers cannot be counted")?,
            mcp: mcp.options(connection, kubernetes),
            linkerd: Some(controllers),
            changes,
            ..Config::default()
        };
        let api = Api::bind(config, &mut registry).await?;
        tracing::info!(address = %api.local_addr(), "serving gRPC, JSON and MCP on this machine");
        for address in api.mesh_addrs() {
            tracing::info!(%address, "serving gRPC, JSON and MCP for callers in the mesh");
        }
        if let Some(address) = api.tls_addr() {
            tracing::info!(%address, "serving gRPC, JSON and MCP over TLS for callers with a certificate of the mesh");
        }
        if let Some(address) = api.admin_addr() {
            tracing::info!(%address, "serving metrics and probes");
        }
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("got SIGTERM"),
                _ = tokio::signal::ctrl_c() => tracing::info!("got Ctrl-C"),
            }
        };
        let samples = SampleMetrics::register(registry.sub_registry_with_prefix("mcp_linkerd"));
        if let Some(pace) = linkerd.pace() {
            tracing::info!(
                address = policy_controller.address(),
                "comparing with Linkerd's policy controller"
            );
            // Ends with the runtime: there is nothing to finish.
            tokio::spawn(sample::run(api.replica().clone(), policy_controller, pace, samples));
        }
        api.serve(subscription, Arc::new(registry), shutdown).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_redis_it_says_which_flag_is_missing() {
        let error = Args::try_parse_from(["linkerd-mcp-api"]).unwrap_err().to_string();
        assert!(error.contains("--redis-url <URL>"), "{error}");
    }
}
