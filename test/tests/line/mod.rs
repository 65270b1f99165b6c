//! The whole line in this process: the real watches and polls, the feed in memory, the real API, behind proxies that
//! misbehave. In process, because the watches can then be told to be less patient than on a cluster.

use linkerd_mcp_api::{Api, Config, feed::memory::memory_feed};
use linkerd_mcp_controller::{
    index,
    prometheus::{Either, MetricsSource, NoMetrics},
    watch,
};
use linkerd_mcp_graph::{
    delta::Delta,
    feed::{Event, Subscription as _},
};
use linkerd_mcp_test::{
    apiserver::{ApiServer, Credential},
    http_proxy::HttpProxy,
    wait,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

/// How long anything may take before the test fails. Long, because two cores are shared.
const LIMIT: Duration = Duration::from_secs(45);

/// A running line; ends when dropped.
pub(crate) struct Line {
    address: SocketAddr,
    deltas: Arc<Mutex<Vec<Arc<Delta>>>>,
    _tasks: JoinSet<()>,
}

/// Watches that lose patience within a test.
pub(crate) fn impatient() -> watch::Options {
    watch::Options {
        reprobe: Duration::from_secs(1),
        request_timeout: Duration::from_secs(20),
        ..watch::Options::default()
    }
}

/// A proxy before the API server.
pub(crate) fn before(apiserver: &ApiServer) -> HttpProxy {
    HttpProxy::start(&apiserver.url(), Some(apiserver.ca_pem())).unwrap()
}

/// A source of numbers that has none.
pub(crate) fn no_numbers() -> NoMetrics {
    NoMetrics { reason: "this test is not about numbers".to_owned() }
}

/// A client as the watches have it.
pub(crate) async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    watch::client(config).unwrap()
}

// === impl Line ===

impl Line {
    /// A line without numbers that reaches the API server through `proxy` with all rights.
    pub(crate) async fn start(apiserver: &ApiServer, proxy: &HttpProxy, options: watch::Options) -> Self {
        let source: Either<NoMetrics, NoMetrics> = Either::Left(no_numbers());
        Self::with(&apiserver.kubeconfig_at(&proxy.url(), &apiserver.admin()), options, source).await
    }

    /// The same with somebody's rights.
    pub(crate) async fn of(apiserver: &ApiServer, proxy: &HttpProxy, who: &Credential) -> Self {
        Self::with(&apiserver.kubeconfig_at(&proxy.url(), who), impatient(), no_numbers()).await
    }

    /// A line with numbers.
    pub(crate) async fn with(kubeconfig: &str, options: watch::Options, source: impl MetricsSource) -> Self {
        let client = client(kubeconfig).await;
        let mut registry = Registry::default();
        let api =
            Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), admin_listen: None, ..Config::default() };
        let api = Api::bind(api, &mut registry).await.unwrap();
        let address = api.local_addr();
        let (publisher, feed) = memory_feed(1);
        let (sender, messages) = mpsc::channel(4096);
        let index_options = index::Options { poll: Duration::from_secs(1), ..index::Options::default() };
        let deltas = Arc::<Mutex<Vec<Arc<Delta>>>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch::watch_all(client, options, sender, watch::Metrics::default()));
        tasks.spawn(async move {
            let never = std::future::pending();
            index::run(index_options, messages, source, publisher, index::Metrics::default(), never).await;
        });
        let (mut changes, kept) = (feed.subscribe(), deltas.clone());
        tasks.spawn(async move {
            while let Ok(event) = changes.next().await {
                if let Event::Delta { delta, .. } = event {
                    kept.lock().push(delta);
                }
            }
        });
        tasks.spawn(async move {
            let served = api.serve(feed.subscribe(), Arc::new(registry), std::future::pending()).await;
            served.expect("the API serves until it is dropped");
        });
        let line = Self { address, deltas, _tasks: tasks };
        line.until("there is a graph", |graph| graph["services"].is_object().then_some(())).await;
        line
    }

    /// The graph as JSON.
    pub(crate) async fn graph(&self) -> Option<Value> {
        let text = reqwest::get(format!("http://{}/v1/graph", self.address)).await.ok()?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Waits until the graph is as `found` wants it, and gives what it made of it.
    pub(crate) async fn until<T>(&self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let waited = wait::until(what, LIMIT, async || found(&self.graph().await?)).await;
        match waited {
            Ok(found) => found,
            Err(error) => panic!(
                "{error}; the last graph says {:#}",
                self.graph().await.unwrap_or_default()["freshness"]
            ),
        }
    }

    /// Waits until the kind is said to be in this state and gives the reason.
    pub(crate) async fn until_state(&self, kind: &str, state: &str) -> String {
        let what = format!("{kind} is {state}");
        self.until(&what, |graph| {
            let detail = not_synced(graph, kind).filter(|found| found["state"] == state)?["detail"].clone();
            Some(detail.as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits until nothing is said against the kind any more.
    pub(crate) async fn until_synced(&self, kind: &str) {
        let what = format!("{kind} is synced");
        self.until(&what, |graph| (not_synced(graph, kind).is_none()).then_some(())).await;
    }

    /// Waits until the Services of a namespace are these.
    pub(crate) async fn until_services(&self, namespace: &str, names: &[&str]) {
        let what = format!("the Services of {namespace} are {names:?}");
        self.until(&what, |graph| (services(graph, namespace) == names).then_some(())).await;
    }

    /// The changes of Services that were published since the last call, as `+name` and `-name`, of one namespace.
    pub(crate) fn changed_services(&self, namespace: &str) -> Vec<String> {
        let prefix = format!("{namespace}/");
        let ours = |sign: &str, id: String| Some(format!("{sign}{}", id.strip_prefix(&prefix)?));
        let deltas = std::mem::take(&mut *self.deltas.lock());
        let changes = deltas.iter().flat_map(|delta| {
            let put = delta.services.put.iter().filter_map(|(id, _)| ours("+", id.to_string()));
            let removed = delta.services.removed.iter().filter_map(|id| ours("-", id.to_string()));
            put.chain(removed).collect::<Vec<_>>()
        });
        changes.collect()
    }
}

/// What a graph says against a kind.
pub(crate) fn not_synced<'a>(graph: &'a Value, kind: &str) -> Option<&'a Value> {
    graph["freshness"]["topology"]["not_synced"].as_array()?.iter().find(|found| found["kind"] == kind)
}

/// The names of the Services of a namespace in a graph, in order.
pub(crate) fn services<'a>(graph: &'a Value, namespace: &str) -> Vec<&'a str> {
    let ids = graph["services"].as_object().into_iter().flatten();
    ids.filter_map(|(id, _)| id.strip_prefix(namespace)?.strip_prefix('/')).collect()
}
