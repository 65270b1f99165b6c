//! Controller and API in one process, joined by the feed in memory: what `serve` and `demo` run.

use anyhow::Context as _;
use linkerd_mcp_api::{Api, BindError, Config, change, feed::memory::memory_feed, linkerd::Controllers, mcp};
use linkerd_mcp_controller::{index, prometheus::MetricsSource, watch::Message};
use prometheus_client::registry::Registry;
use std::{future::Future, io::ErrorKind, net::SocketAddr, sync::Arc};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Where metrics and probes are served unless the user says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9995);

/// A pipeline whose listeners are bound and that has not started yet.
pub(crate) struct Bound {
    api: Api,
    registry: Registry,
}

/// A pipeline that runs until it is stopped or dropped.
pub(crate) struct Running {
    /// Where gRPC and JSON are served.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    api: AbortOnDropHandle<anyhow::Result<()>>,
    _controller: AbortOnDropHandle<()>,
}

/// Binds the listeners. Without `admin` the usual port is tried, then any free one: several may run side by side.
/// `linkerd` is asked what is enforced and what proxies are told; `mcp` is how models are answered, `changes` how policy
/// is changed.
pub(crate) async fn bind(
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    linkerd: Option<Controllers>,
    mcp: mcp::Options,
    changes: change::Options,
) -> anyhow::Result<Bound> {
    let config = |admin_listen| Config {
        listen,
        admin_listen: Some(admin_listen),
        linkerd: linkerd.clone(),
        mcp: mcp.clone(),
        changes: changes.clone(),
        ..Config::default()
    };
    let mut registry = Registry::default();
    let bound = match Api::bind(config(admin.unwrap_or(ADMIN)), &mut registry).await {
        Err(BindError::Bind { address, source })
            if admin.is_none() && address == ADMIN && source.kind() == ErrorKind::AddrInUse =>
        {
            registry = Registry::default();
            Api::bind(config(SocketAddr::new(ADMIN.ip(), 0)), &mut registry).await
        }
        bound => bound,
    };
    match bound {
        Ok(api) => Ok(Bound { api, registry }),
        Err(error @ BindError::Bind { .. }) => {
            Err(anyhow::Error::new(error).context("give --listen another address; port 0 picks a free one"))
        }
        Err(error) => Err(error.into()),
    }
}

// === impl Bound ===

impl Bound {
    /// For metrics of what feeds the pipeline.
    pub(crate) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Starts with what the watches send and the source answers.
    pub(crate) fn start<M: MetricsSource>(
        self,
        options: index::Options,
        messages: mpsc::Receiver<Message>,
        source: M,
    ) -> Running {
        let Self { api, mut registry } = self;
        let index_metrics = index::Metrics::register(registry.sub_registry_with_prefix("mcp_index"));
        let address = api.local_addr();
        if let Some(admin) = api.admin_addr() {
            tracing::info!(%admin, "metrics and probes are served here");
        }
        let stop = CancellationToken::new();
        let (publisher, feed) = memory_feed(u64::try_from(index::now_ms()).unwrap_or_default());
        let controller = tokio::spawn(async move {
            // Ended with this value, after the API: readers would miss a feed that goes first.
            index::run(options, messages, source, publisher, index_metrics, std::future::pending()).await;
        });
        let stopped = stop.clone().cancelled_owned();
        let api = tokio::spawn(async move {
            let served = api.serve(feed.subscribe(), Arc::new(registry), stopped).await;
            served.context("serving failed")
        });
        Running {
            address,
            stop,
            api: AbortOnDropHandle::new(api),
            _controller: AbortOnDropHandle::new(controller),
        }
    }
}

// === impl Running ===

impl Running {
    /// Serves until `end` resolves, then ends in order: watchers are told, requests under way may finish.
    pub(crate) async fn until(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            served = &mut self.api => return served.context("serving failed")?,
            () = end => {}
        }
        self.stop.cancel();
        self.api.await.context("serving failed")?
    }
}
