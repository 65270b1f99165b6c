//! Flags of `linkerd-mcp-controller`, and the wiring they ask for.

pub mod duration;

use crate::{
    admin, cluster, index,
    lead::{
        Leading,
        kubernetes::{KubernetesLease, LeaseOptions, Metrics as LeaseMetrics},
    },
    prometheus::{self, Either, NoMetrics, Prometheus},
    publish::{PublishOptions, RedisPublisher},
    watch,
};
use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, ValueEnum};
use duration::GoDuration;
use linkerd_mcp_feed::{End, RedisArgs, RedisMetrics};
use linkerd_mcp_prometheus::EndpointArgs;
use prometheus_client::registry::Registry;
use std::{io::IsTerminal as _, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Watches Kubernetes, polls Prometheus and publishes the mesh graph through Redis.
#[derive(Debug, Parser)]
#[command(name = "linkerd-mcp-controller", version)]
pub struct Args {
    /// Which Redis, and how to reach it.
    #[command(flatten)]
    pub redis: RedisArgs,

    /// Who this controller is, for people who look into Redis: the pod's uid
    #[arg(long, env = "LINKERD_MCP_HOLDER", value_name = "NAME")]
    pub holder: Option<String>,

    /// How long the lead lasts without being renewed: how long the feed stands still after a crash
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = between(1, 300))]
    pub lease: GoDuration,

    /// What says which controller leads
    #[arg(long, env = "LINKERD_MCP_LEAD_BY", value_enum, default_value_t = LeadBy::Redis)]
    pub lead_by: LeadBy,

    /// Namespace of the Lease, with --lead-by kubernetes [default: the one this controller runs in]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", value_parser = name)]
    pub lease_namespace: Option<String>,

    /// Name of the Lease, with --lead-by kubernetes
    #[arg(
        long,
        env = "LINKERD_MCP_LEASE_NAME",
        default_value = "linkerd-mcp-controller",
        value_name = "NAME",
        value_parser = name
    )]
    pub lease_name: String,

    /// Seconds that giving up the lead may take after SIGTERM
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=300))]
    pub drain_seconds: u64,

    /// Namespace of the Linkerd control plane
    #[arg(long, env = "LINKERD_NAMESPACE", default_value = "linkerd", value_name = "NAMESPACE")]
    pub linkerd_namespace: String,

    /// Watch this namespace only
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace_only: Option<String>,

    /// Which Prometheus, and how to ask it.
    #[command(flatten)]
    pub prometheus: PrometheusArgs,

    /// Address for metrics and probes
    #[arg(
        long,
        env = "LINKERD_MCP_ADMIN_LISTEN",
        default_value = "127.0.0.1:9996",
        value_name = "ADDR:PORT"
    )]
    pub admin_listen: SocketAddr,

    /// How log lines look
    #[arg(long, env = "LINKERD_MCP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub log_format: LogFormat,
}

/// How to reach Prometheus; the same flags for the controller and for `linkerd-mcp serve`.
#[derive(Debug, Clone, ClapArgs)]
pub struct PrometheusArgs {
    /// Which, and how to ask it
    #[command(flatten)]
    pub endpoint: EndpointArgs,

    /// Window that rates are computed over; widened where Prometheus scrapes too seldom for it
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = between(5, 3600))]
    pub window: GoDuration,

    /// Time between polls of Prometheus
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = between(1, 3600))]
    pub poll: GoDuration,
}

/// What says which controller leads. Redis refuses what earlier leaders publish either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LeadBy {
    /// A key in Redis
    Redis,
    /// A Lease of coordination.k8s.io
    Kubernetes,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// The name of an object in Kubernetes, which becomes a part of a path.
fn name(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = text.len() <= 253 && text.chars().all(valid);
    match fits && ends(text.chars().next()) && ends(text.chars().next_back()) {
        true => Ok(text.to_owned()),
        false => Err("a name has lower-case letters, digits, `-` and `.`, at most 253 of them".to_owned()),
    }
}

/// A duration of at least `least` and at most `most` seconds.
fn between(least: u64, most: u64) -> impl Fn(&str) -> Result<GoDuration, String> + Clone {
    move |text| {
        let duration: GoDuration = text.parse().map_err(|error: duration::ParseError| error.to_string())?;
        let allowed = Duration::from_secs(least)..=Duration::from_secs(most);
        match allowed.contains(&duration.0) {
            true => Ok(duration),
            false => Err(format!("it must be between {least}s and {most}s")),
        }
    }
}

// === impl PrometheusArgs ===

impl PrometheusArgs {
    /// The options, for a Prometheus at `url`.
    pub fn options(&self, url: impl Into<String>) -> prometheus::Options {
        prometheus::Options {
            endpoint: self.endpoint.endpoint(url),
            window_s: u32::try_from(self.window.0.as_secs()).unwrap_or(u32::MAX),
            ..prometheus::Options::new(String::new())
        }
    }
}

// === impl LogFormat ===

impl LogFormat {
    /// Starts logging to stderr, filtered by `LINKERD_MCP_LOG`.
    pub fn start(self) {
        let filter = EnvFilter::try_from_env("LINKERD_MCP_LOG")
            .unwrap_or_else(|_| EnvFilter::new("warn,linkerd_mcp=info"));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self {
            Self::Plain => builder.init(),
            Self::Json => builder.json().init(),
        }
    }
}

// === impl Args ===

impl Args {
    /// Runs until SIGTERM or Ctrl-C.
    ///
    /// # Errors
    ///
    /// When it cannot start, or can go on no longer.
    pub fn run(self) -> anyhow::Result<()> {
        self.log_format.start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("no threads to run on")?;
        runtime.block_on(self.start())
    }

    /// Works until it is told to stop, and not much longer whatever it waits for then.
    async fn start(self) -> anyhow::Result<()> {
        let closing = CancellationToken::new();
        let (told, drain) = (closing.clone(), Duration::from_secs(self.drain_seconds));
        tokio::spawn(async move {
            stopped().await;
            told.cancel();
        });
        let late = async {
            closing.cancelled().await;
            sleep(drain).await;
        };
        tokio::select! {
            ended = self.work(closing.clone()) => ended,
            () = late => {
                tracing::warn!(waited = ?drain, "still not done after the request to stop; the lead, if it is ours, ends by itself");
                Ok(())
            }
        }
    }

    async fn work(self, closing: CancellationToken) -> anyhow::Result<()> {
        let Self {
            redis,
            holder,
            lease,
            lead_by,
            lease_namespace,
            lease_name,
            drain_seconds: _,
            linkerd_namespace,
            namespace_only,
            prometheus,
            admin_listen,
            log_format: _,
        } = self;
        // A second installation in one process (tests) is none of our concern: the provider is there.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut registry = Registry::default();
        let watch_metrics = watch::Metrics::register(registry.sub_registry_with_prefix("mcp_watch"));
        let index_metrics = index::Metrics::register(registry.sub_registry_with_prefix("mcp_index"));
        let prometheus_metrics =
            prometheus::Metrics::register(registry.sub_registry_with_prefix("mcp_prometheus"));

        let config = kube::Config::infer()
            .await
            .context("no way to Kubernetes: run in a cluster, or set KUBECONFIG")?;
        // Sends each request once: who asks knows best when to ask again.
        let client = watch::client(config).context("no usable way to Kubernetes")?;
        let cluster = match cluster::read_when_reachable(&client, &linkerd_namespace).await {
            Ok(cluster) => cluster,
            Err(error) => {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "Linkerd's configuration is not readable; taking cluster.local for cluster and trust domain"
                );
                graph_cluster(&linkerd_namespace)
            }
        };
        let source = source(&client, &cluster.cluster_domain, &prometheus, prometheus_metrics).await?;

        let redis_metrics = RedisMetrics::default();
        redis_metrics.register(&mut registry);
        let server = redis.server(End::Writes, redis_metrics)?;
        let holder =
            holder.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "controller".to_owned());
        let options =
            PublishOptions { prefix: redis.prefix()?, lease: lease.0, ..PublishOptions::new(server, holder) };
        let mut publisher = RedisPublisher::new(options)?;
        if let Err(error) = publisher.check().await {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "Redis is not usable yet; trying again"
            );
        }

        let leading = match lead_by {
            LeadBy::Redis => Leading::new(publisher),
            LeadBy::Kubernetes => {
                let options = LeaseOptions {
                    namespace: lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
                    name: lease_name,
                    token: publisher.token().to_owned(),
                    lasts: lease.0,
                };
                tracing::info!(namespace = %options.namespace, name = %options.name, "a Lease in Kubernetes says who leads");
                let metrics = LeaseMetrics::register(registry.sub_registry_with_prefix("mcp_lease"));
                Leading::by_lease(publisher, KubernetesLease::new(client.clone(), options, metrics))
            }
        };

        let admin = TcpListener::bind(admin_listen)
            .await
            .with_context(|| format!("cannot listen on {admin_listen}; is something else using it?"))?;
        let readiness = admin::not_ready();
        let (sender, messages) = mpsc::channel(4096);
        let watch_options = watch::Options { namespace: namespace_only, ..watch::Options::default() };
        let options = index::Options {
            cluster,
            poll: prometheus.poll.0,
            readiness: Some(readiness.clone()),
            ..index::Options::default()
        };
        let watching = tokio::spawn(watch::watch_all(client, watch_options, sender, watch_metrics));
        let never = std::future::pending();
        let serving =
            tokio::spawn(admin::serve(admin, Arc::new(registry), readiness, closing.clone(), never));
        let told = closing.cancelled_owned();
        let (mut publisher, ended) =
            index::run(options, messages, source, leading, index_metrics, told).await;
        tracing::info!("stopping: giving up the lead");
        if let Err(error) = publisher.release().await {
            tracing::warn!(%error, "the lead could not be given up; it ends by itself");
        }
        serving.abort();
        if ended == index::Ended::Unwatched {
            watching.await.context("watching Kubernetes failed")?;
            anyhow::bail!("nothing watches Kubernetes any more, so the graph would go stale");
        }
        watching.abort();
        Ok(())
    }
}

fn graph_cluster(linkerd_namespace: &str) -> crate::graph::assemble::Cluster {
    crate::graph::assemble::Cluster {
        linkerd_namespace: linkerd_namespace.into(),
        policy: None,
        ..Default::default()
    }
}

/// The Prometheus that was named, else that of linkerd-viz, else none.
async fn source(
    client: &kube::Client,
    cluster_domain: &str,
    args: &PrometheusArgs,
    metrics: prometheus::Metrics,
) -> anyhow::Result<Either<Prometheus, NoMetrics>> {
    let url = match &args.endpoint.prometheus_url {
        Some(url) => Some(url.clone()),
        None => match prometheus::find(client).await {
            Ok(found) => found.url(cluster_domain),
            Err(error) => {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "could not look for linkerd-viz"
                );
                None
            }
        },
    };
    Ok(match url {
        Some(url) => {
            tracing::info!(%url, "numbers come from this Prometheus");
            Either::Left(Prometheus::new(args.options(url), metrics)?)
        }
        None => {
            let reason =
                "no Prometheus: linkerd-viz is not installed here; install it or give --prometheus-url";
            tracing::warn!("{reason}");
            Either::Right(NoMetrics { reason: reason.to_owned() })
        }
    })
}

/// Resolves at SIGTERM or Ctrl-C.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted => {}
            }
        }
        Err(_) => drop(interrupted.await),
    }
}
