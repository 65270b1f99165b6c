//! `linkerd-mcp serve`: controller and API in one process, against the current kubeconfig, with the feed in memory.

use crate::{
    args::Globals,
    client::kubeconfig,
    embedded,
    terminal::{self, Spinner},
};
use anyhow::Context as _;
use clap::Args;
use linkerd_mcp_api::{
    args::McpArgs,
    change,
    linkerd::{Controllers, DestinationController, Limits, PolicyController},
};
use linkerd_mcp_controller::{
    args::{PrometheusArgs, stopped},
    cluster, index,
    prometheus::{self, Either, Forwarded, Found, NoMetrics, Prometheus},
    watch,
};
use linkerd_mcp_prometheus::Connection;
use std::net::SocketAddr;
use tokio::sync::mpsc;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to answer gRPC and HTTP on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8086")]
    pub(crate) listen: SocketAddr,

    /// Address for metrics and probes [default: 127.0.0.1:9995, or a free port when that is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin_listen: Option<SocketAddr>,

    /// Watch only this namespace, for users who may not list the whole cluster
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace_only: Option<String>,

    /// Linkerd's policy controller, for `lint --enforced`: as port 8090 of the Service linkerd-policy is forwarded to
    #[arg(long, value_name = "HOST:PORT", requires = "destination_addr")]
    pub(crate) policy_addr: Option<String>,

    /// Linkerd's destination controller, for `endpoints`: as port 8086 of the Service linkerd-dst is forwarded to
    #[arg(long, value_name = "HOST:PORT", requires = "policy_addr")]
    pub(crate) destination_addr: Option<String>,

    /// Which Prometheus, and how to ask it.
    #[command(flatten)]
    pub(crate) prometheus: PrometheusArgs,

    #[command(flatten)]
    pub(crate) mcp: McpArgs,

    /// Change nothing in the cluster: plans are simulated only, and nothing is applied or rolled back
    #[arg(long, env = "LINKERD_MCP_READ_ONLY")]
    pub(crate) read_only: bool,
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn run(globals: &Globals, args: ServeArgs) -> anyhow::Result<()> {
    let spinner = Spinner::start("Reading the cluster's configuration");
    let config = kubeconfig::load(globals).await?;
    let unusable = "the kubeconfig does not lead to a usable client";
    let client = kube::Client::try_from(config.clone()).context(unusable)?;
    reachable(&client).await?;
    let cluster = match cluster::read(&client, &globals.linkerd_namespace).await {
        Ok(cluster) => cluster,
        Err(error) => {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "Linkerd's configuration is not readable; taking cluster.local for cluster and trust domain"
            );
            cluster::Cluster {
                linkerd_namespace: globals.linkerd_namespace.as_str().into(),
                policy: None,
                ..Default::default()
            }
        }
    };
    let controllers = args.controllers(&cluster.cluster_domain)?;
    let located = locate(&client, &args.prometheus).await;
    let connection = match &located {
        Ok(located) => Some(Connection::new(args.prometheus.endpoint.endpoint(&located.url))?),
        Err(_) => None,
    };
    let mcp = args.mcp.clone().options(connection, Some(client.clone()));
    // Whoever reaches the loopback address may do what the kubeconfig may.
    let changes = change::Options {
        kubernetes: Some(client.clone()),
        read_only: args.read_only,
        ..change::Options::default()
    };
    let mut bound = embedded::bind(args.listen, args.admin_listen, controllers, mcp, changes).await?;
    let prometheus_metrics =
        prometheus::Metrics::register(bound.registry().sub_registry_with_prefix("mcp_prometheus"));
    let source = match &located {
        Ok(located) => {
            let options = args.prometheus.options(&located.url);
            Either::Left(Prometheus::new(options, prometheus_metrics)?)
        }
        Err(reason) => {
            tracing::warn!(%reason, "there will be no numbers");
            Either::Right(NoMetrics { reason: reason.clone() })
        }
    };
    let watch_metrics = watch::Metrics::register(bound.registry().sub_registry_with_prefix("mcp_watch"));
    let options = index::Options { cluster, poll: args.prometheus.poll.0, ..index::Options::default() };
    let (sender, messages) = mpsc::channel(4096);
    let watch_options =
        watch::Options { namespace: args.namespace_only.clone(), ..watch::Options::default() };
    let watch_client = watch::client(config).context(unusable)?;
    let watching = tokio::spawn(watch::watch_all(watch_client, watch_options, sender, watch_metrics));
    let running = bound.start(options, messages, source);
    drop(spinner);
    terminal::say(&format!("Serving the mesh graph of this cluster on {}", running.address));
    terminal::say(&try_next(running.address));
    let served = running.until(stopped()).await;
    watching.abort();
    served
}

// === impl ServeArgs ===

impl ServeArgs {
    /// Clients of Linkerd's controllers, where they are named. They connect when they are first asked.
    fn controllers(&self, cluster_domain: &str) -> anyhow::Result<Option<Controllers>> {
        let (Some(policy), Some(destination)) = (&self.policy_addr, &self.destination_addr) else {
            return Ok(None);
        };
        let policy = PolicyController::new(policy, Limits::default()).context("--policy-addr")?;
        let destination = DestinationController::new(destination, cluster_domain, Limits::default())
            .context("--destination-addr")?;
        Ok(Some(Controllers { policy, destination }))
    }
}

/// What to try next, once something serves at `address`.
pub(crate) fn try_next(address: SocketAddr) -> String {
    // The usual address is found without being named.
    let named = if address.port() == crate::args::address::API_PORT {
        String::new()
    } else {
        format!(" --api-addr {address}")
    };
    format!(
        "Try, in another terminal:\n  linkerd-mcp graph -A{named}\n  linkerd-mcp graph -A --watch{named}\n  \
         curl 'http://{address}/v1/graph'"
    )
}

/// Says at once, and not in the log of twenty watches, that the API server cannot be reached.
async fn reachable(client: &kube::Client) -> anyhow::Result<()> {
    match client.apiserver_version().await {
        Ok(version) => {
            tracing::info!(version = %version.git_version, "the Kubernetes API server answers");
            Ok(())
        }
        // Whoever may not ask for the version may still list and watch.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context(
            "the Kubernetes API server cannot be asked: check the kubeconfig and that the cluster is up, or run \
             `linkerd-mcp demo` to see a simulated mesh",
        )),
    }
}

/// A Prometheus that can be asked.
struct Located {
    url: String,
    /// Ends when dropped.
    _forwarded: Option<Forwarded>,
}

/// The Prometheus that was named; else that of linkerd-viz, reached through the API server; else why there is none.
async fn locate(client: &kube::Client, args: &PrometheusArgs) -> Result<Located, String> {
    let at = |url: String| Ok(Located { url, _forwarded: None });
    if let Some(url) = &args.endpoint.prometheus_url {
        return at(url.clone());
    }
    match prometheus::find(client).await {
        Ok(Found::External { url }) => at(url),
        Ok(Found::InCluster { namespace }) => {
            match prometheus::forward(client.clone(), &namespace, "component=prometheus", 9090).await {
                Ok(forwarded) => {
                    let url = format!("http://{}", forwarded.address);
                    tracing::info!(%namespace, "numbers come from the Prometheus of linkerd-viz");
                    Ok(Located { url, _forwarded: Some(forwarded) })
                }
                Err(error) => Err(format!(
                    "the Prometheus of linkerd-viz in namespace {namespace} cannot be reached ({:#}); give --prometheus-url",
                    anyhow::Error::new(error)
                )),
            }
        }
        Ok(Found::Nowhere) => {
            Err("linkerd-viz is not installed here; install it or give --prometheus-url".to_owned())
        }
        Err(error) => Err(format!("linkerd-viz could not be looked for ({error}); give --prometheus-url")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Cli, cmd::Command};
    use clap::Parser;

    fn parse(args: &[&str]) -> Result<ServeArgs, clap::Error> {
        match Cli::try_parse_from([&["linkerd-mcp", "serve"], args].concat())?.command {
            Command::Serve(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn both_of_linkerds_controllers_are_named_or_none() {
        let (policy, destination) =
            (["--policy-addr", "127.0.0.1:8090"], ["--destination-addr", "localhost:8087"]);
        assert!(parse(&policy).is_err() && parse(&destination).is_err());
        assert!(parse(&[]).unwrap().controllers("cluster.local").unwrap().is_none());
        let controllers =
            parse(&[policy, destination].concat()).unwrap().controllers("cluster.local").unwrap();
        let controllers = controllers.unwrap();
        let addresses = (controllers.policy.address(), controllers.destination.address());
        assert_eq!(addresses, ("127.0.0.1:8090", "localhost:8087"));
        let wrong = parse(&["--policy-addr", "nowhere", "--destination-addr", "localhost:1"]).unwrap();
        let error = format!("{:#}", wrong.controllers("cluster.local").unwrap_err());
        assert!(error.starts_with("--policy-addr: "), "{error}");
    }
}
