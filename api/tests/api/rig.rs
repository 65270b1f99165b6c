//! An API on port 0, what feeds it, and clients for it.

use crate::fixture;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use linkerd_mcp_api::{Api, Config, ServeError, metrics::ApiMetrics, replica::Replica};
use linkerd_mcp_graph::feed::{Event, Subscription};
use linkerd_mcp_proto::v1::mesh_context_client::MeshContextClient;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

/// Nothing here takes long; what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// The feed fails because the test says so.
#[derive(Debug, thiserror::Error)]
#[error("the feed is broken by the test")]
pub(crate) struct Broken;

/// Gives the events the test sends.
pub(crate) struct Script {
    events: mpsc::UnboundedReceiver<Result<Event, Broken>>,
    resyncs: Arc<AtomicUsize>,
}

impl Subscription for Script {
    type Error = Broken;

    async fn next(&mut self) -> Result<Event, Broken> {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Broken> {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A running API.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) mesh: Vec<SocketAddr>,
    pub(crate) metrics: ApiMetrics,
    pub(crate) replica: Replica,
    pub(crate) feed: mpsc::UnboundedSender<Result<Event, Broken>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) served: JoinHandle<Result<(), ServeError>>,
    resyncs: Arc<AtomicUsize>,
    http: Client<HttpConnector, Empty<bytes::Bytes>>,
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) text: String,
}

pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Config::default()
    }
}

impl Rig {
    /// Without a snapshot yet.
    pub(crate) async fn waiting(config: Config) -> Self {
        let mut registry = Registry::default();
        let api = Api::bind(config, &mut registry).await.unwrap();
        let (address, admin, mesh) = (api.local_addr(), api.admin_addr().unwrap(), api.mesh_addrs());
        let (metrics, replica) = (api.metrics().clone(), api.replica().clone());
        let (feed, events) = mpsc::unbounded_channel();
        let resyncs = Arc::new(AtomicUsize::new(0));
        let script = Script { events, resyncs: resyncs.clone() };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(api.serve(script, Arc::new(registry), async move {
            let _ = stopped.await;
        }));
        let http = Client::builder(TokioExecutor::new()).build_http();
        let stop = Some(stop);
        Self { address, admin, mesh, metrics, replica, feed, stop, served, resyncs, http }
    }

    /// With the mesh of the fixture, and taken in.
    pub(crate) async fn ready(config: Config) -> Self {
        let rig = Self::waiting(config).await;
        rig.send(Event::Snapshot(fixture::snapshot())).await;
        rig
    }

    /// Sends an event and waits until the replica has a view made from it.
    pub(crate) async fn send(&self, event: Event) {
        let mut ticks = self.replica.ticks();
        let before = ticks.borrow().revision;
        self.feed.send(Ok(event)).unwrap();
        within(ticks.wait_for(|tick| tick.revision > before)).await.unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::try_from(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> MeshContextClient<Channel> {
        MeshContextClient::new(self.channel().await)
    }

    pub(crate) fn resyncs(&self) -> usize {
        self.resyncs.load(Ordering::Relaxed)
    }

    /// GET from the main listener.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(self.address, path, &[]).await
    }

    pub(crate) async fn get_with(&self, address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = ::http::Request::get(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        let response = within(self.http.request(request)).await.unwrap();
        let status = response.status().as_u16();
        let etag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let body = within(response.into_body().collect()).await.unwrap().to_bytes();
        Answer { status, etag, text: String::from_utf8(body.to_vec()).unwrap() }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

/// Fails the test when it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("stuck: waited 20 s")
}

/// Waits until something is true, looking again whenever others had a turn.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Compares with a file in `tests/golden`; `UPDATE_GOLDEN=1` writes it instead.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    if wanted != text {
        let actual = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&actual, text).unwrap();
        panic!("{} differs from {}; UPDATE_GOLDEN=1 accepts it", actual.display(), path.display());
    }
}
