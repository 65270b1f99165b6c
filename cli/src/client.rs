//! Reaches a linkerd-mcp API: at an address, or through the Kubernetes API by port-forward (no kubectl).
//!
//! In this order: `--api-addr` (or `LINKERD_MCP_API_ADDR`); the extension in the cluster of the current kubeconfig;
//! and, when there is none and no flag names a cluster, what `serve` and `demo` run on this machine.

mod change;
pub(crate) mod cluster;
mod error;
mod forward;
pub(crate) mod kubeconfig;
mod token;
pub(crate) mod way;

pub(crate) use error::Error;

use crate::{
    args::{Globals, address::Address},
    terminal::{self, Spinner},
};
use hyper_util::rt::TokioIo;
use linkerd_mcp_proto::v1::{
    CheckAccessRequest, CheckAccessResponse, CompareEndpointsRequest, CompareEndpointsResponse,
    ExplainDenialsRequest, ExplainDenialsResponse, GetCallGraphRequest, GetCallGraphResponse,
    GetMeshGraphRequest, LintPoliciesRequest, LintPoliciesResponse, ListAccessRequest, ListAccessResponse,
    MeshGraph, ResolvePolicyRequest, ResolvePolicyResponse, WatchMeshGraphRequest, WatchMeshGraphResponse,
    mesh_context_client::MeshContextClient,
};
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use token::{Bearing, Tokens};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Code, Response, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// The service that health checks ask for: one that is ours, so that a stranger's gRPC server says no.
const SERVICE: &str = "mcp.v1.MeshContext";

/// Answers may carry this header with the version of the API.
const VERSION_HEADER: &str = "linkerd-mcp-version";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole graph of 100,000 edges takes well under a second to send on a LAN; a slow VPN gets this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an API that has no graph yet is asked again, unless the user says.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// Twice what a graph of a million edges needs.
const LARGEST_ANSWER: usize = 1 << 30;
/// HTTP/2's default of 64 KiB makes a large graph wait for many round trips.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A linkerd-mcp API that has been reached.
pub(crate) struct Mesh {
    graph: MeshContextClient<InterceptedService<Channel, Bearing>>,
    health: HealthClient<Channel>,
    /// By which it knows who asks.
    tokens: Arc<Tokens>,
    /// It has answered something, be it a refusal.
    answered: AtomicBool,
    /// What the other end of a forwarded port complained about.
    trouble: forward::Trouble,
    /// How long an API that has no graph yet is asked again.
    pub(crate) patience: Duration,
    /// The namespace of the kubeconfig context, when that is how the API was reached.
    pub(crate) namespace: Option<String>,
    /// Where it is, for messages.
    pub(crate) place: String,
}

/// Reaches the API that the flags lead to.
///
/// # Errors
/// When there is none; the error says what was tried and what to do.
pub(crate) async fn connect(globals: &Globals) -> Result<Mesh, Error> {
    let spinner = Spinner::start("Connecting to linkerd-mcp");
    if let Some(address) = &globals.api_addr {
        tracing::debug!(%address, "Connecting to the given address");
        let tokens = named_tokens(globals).await?;
        return at(address, tokens).await;
    }
    let error = match through_cluster(globals, &spinner).await {
        Ok(mesh) => return Ok(mesh),
        Err(error) => error,
    };
    if globals.names_a_cluster() || !error.leaves_room_for_local() {
        return Err(error);
    }
    let address = Address::local();
    tracing::debug!(%address, %error, "No extension in the cluster; looking on this machine");
    match at(&address, Arc::default()).await {
        Ok(mesh) if mesh.is_ours().await => {
            drop(spinner);
            terminal::say(&format!("Using the linkerd-mcp on this machine at {address}, because: {error}."));
            Ok(mesh)
        }
        _ => Err(error),
    }
}

/// Tokens of the ServiceAccount that a flag names; none without the flag: who listens on this machine wants none.
async fn named_tokens(globals: &Globals) -> Result<Arc<Tokens>, Error> {
    let Some(account) = &globals.as_service_account else { return Ok(Arc::default()) };
    let cluster = cluster::Cluster::new(kubeconfig::load(globals).await?, globals.mcp_namespace.clone())?;
    Ok(Arc::new(cluster.tokens(account.clone())))
}

/// Connects to an address.
async fn at(address: &Address, tokens: Arc<Tokens>) -> Result<Mesh, Error> {
    let channel = endpoint(address.url())?
        .connect()
        .await
        .map_err(|source| Error::Connect { address: address.to_string(), source })?;
    Ok(Mesh::new(channel, tokens, None, address.to_string()))
}

/// Connects by port-forward to the extension in the cluster of the kubeconfig.
async fn through_cluster(globals: &Globals, spinner: &Spinner) -> Result<Mesh, Error> {
    let config = kubeconfig::load(globals).await?;
    let namespace = config.default_namespace.clone();
    spinner.say(&format!("Looking for linkerd-mcp in the cluster at {}", config.cluster_url));
    let cluster = Arc::new(cluster::Cluster::new(config, globals.mcp_namespace.clone())?);
    let trouble = cluster.trouble.clone();
    let pod = cluster.api_pod().await?;
    let place = format!("pod {pod}");
    spinner.say(&format!("Forwarding a port to {place}"));
    let account = globals.as_service_account.clone().unwrap_or_else(|| pod.usual_account());
    let tokens = Arc::new(cluster.tokens(account));
    let (first, _) = tokio::try_join!(cluster.forward(&pod), tokens.header())?;
    // The first connection is made here, where its errors are still ours; later ones find a pod anew.
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = tower::service_fn(move |_| {
        let (cluster, first) = (cluster.clone(), first.lock().take());
        async move {
            match first {
                Some(stream) => Ok(TokioIo::new(stream)),
                None => {
                    let pod = cluster.api_pod().await?;
                    cluster.forward(&pod).await.map(TokioIo::new)
                }
            }
        }
    });
    let channel = endpoint("http://linkerd-mcp".to_owned())?
        .connect_with_connector(connector)
        .await
        .map_err(|source| Error::Connect { address: place.clone(), source })?;
    Ok(Mesh { trouble, ..Mesh::new(channel, tokens, Some(namespace), place) })
}

fn endpoint(url: String) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(url).map_err(|source| Error::Endpoint { source })?;
    Ok(endpoint
        .user_agent(concat!("linkerd-mcp/", env!("CARGO_PKG_VERSION")))
        .map_err(|source| Error::Endpoint { source })?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true))
}

// === impl Mesh ===

impl Mesh {
    fn new(channel: Channel, tokens: Arc<Tokens>, namespace: Option<String>, place: String) -> Self {
        let bearing = Bearing(tokens.clone());
        let graph = MeshContextClient::with_interceptor(channel.clone(), bearing)
            .max_decoding_message_size(LARGEST_ANSWER);
        Self {
            graph,
            health: HealthClient::new(channel),
            tokens,
            answered: AtomicBool::new(false),
            trouble: forward::Trouble::default(),
            patience: SYNC_PATIENCE,
            namespace,
            place,
        }
    }

    /// The whole graph or a part of it.
    pub(crate) async fn graph(&self, request: GetMeshGraphRequest) -> Result<MeshGraph, Error> {
        let answer = self
            .ask(|| {
                let (mut client, request) = (self.graph.clone(), request.clone());
                async move { client.get_mesh_graph(request).await }
            })
            .await?;
        Ok(answer.graph.unwrap_or_default())
    }

    /// Callers and callees of one Service or workload.
    pub(crate) async fn call_graph(
        &self,
        request: GetCallGraphRequest,
    ) -> Result<GetCallGraphResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.get_call_graph(request).await }
        })
        .await
    }

    /// May this client make this call?
    pub(crate) async fn check_access(
        &self,
        request: CheckAccessRequest,
    ) -> Result<CheckAccessResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.check_access(request).await }
        })
        .await
    }

    /// Who may call whom.
    pub(crate) async fn list_access(&self, request: ListAccessRequest) -> Result<ListAccessResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.list_access(request).await }
        })
        .await
    }

    /// What is likely not meant about policies.
    pub(crate) async fn lint_policies(
        &self,
        request: LintPoliciesRequest,
    ) -> Result<LintPoliciesResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.lint_policies(request).await }
        })
        .await
    }

    /// What is denied now, and why.
    pub(crate) async fn explain_denials(
        &self,
        request: ExplainDenialsRequest,
    ) -> Result<ExplainDenialsResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.explain_denials(request).await }
        })
        .await
    }

    /// What Linkerd's policy controller answers for ports.
    pub(crate) async fn resolve_policy(
        &self,
        request: ResolvePolicyRequest,
    ) -> Result<ResolvePolicyResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.resolve_policy(request).await }
        })
        .await
    }

    /// What proxies are told about a Service's endpoints.
    pub(crate) async fn compare_endpoints(
        &self,
        request: CompareEndpointsRequest,
    ) -> Result<CompareEndpointsResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.compare_endpoints(request).await }
        })
        .await
    }

    /// Opens a watch.
    pub(crate) async fn watch(
        &self,
        request: WatchMeshGraphRequest,
    ) -> Result<Streaming<WatchMeshGraphResponse>, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.watch_mesh_graph(request).await }
        })
        .await
    }

    /// The version of the API, where it says one.
    pub(crate) async fn version(&self) -> Result<Option<String>, Error> {
        let answer = timeout(CONNECT_TIMEOUT, self.check())
            .await
            .map_err(|_| Error::NoAnswer { place: self.place.clone(), seconds: CONNECT_TIMEOUT.as_secs() })?;
        let metadata = match &answer {
            Ok(answer) => answer.metadata(),
            Err(status) if status.code() == Code::NotFound => status.metadata(),
            Err(status) => return Err(Error::answered(&self.place, status.clone())),
        };
        Ok(metadata.get(VERSION_HEADER).and_then(|version| version.to_str().ok()).map(str::to_owned))
    }

    /// What a failed question means. Who takes a connection and closes it at the first question, as a web server does,
    /// is not ours; a pod's port that is forwarded may just not be open yet.
    fn refused(&self, status: Status) -> Error {
        match Error::answered(&self.place, status) {
            Error::Lost { place, said }
                if self.namespace.is_none() && !self.answered.load(Ordering::Relaxed) =>
            {
                Error::NotOurs { place, said }
            }
            Error::Lost { place, said } => {
                let said = self.trouble.lock().take().unwrap_or(said);
                Error::Lost { place, said }
            }
            error => error,
        }
    }

    /// What went wrong with an open watch.
    pub(crate) fn broken(&self, status: Status) -> Error {
        self.refused(status)
    }

    /// True when what answers there knows our service.
    async fn is_ours(&self) -> bool {
        matches!(timeout(CONNECT_TIMEOUT, self.check()).await, Ok(Ok(_)))
    }

    async fn check(&self) -> Result<Response<tonic_health::pb::HealthCheckResponse>, Status> {
        self.health.clone().check(HealthCheckRequest { service: SERVICE.to_owned() }).await
    }

    /// Asks, and asks again while the API says that it has no graph yet.
    async fn ask<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut spinner = None;
        loop {
            self.tokens.header().await?;
            let answer = timeout(ANSWER_TIMEOUT, call()).await.map_err(|_| Error::NoAnswer {
                place: self.place.clone(),
                seconds: ANSWER_TIMEOUT.as_secs(),
            })?;
            match answer.map_err(|status| self.refused(status)) {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Err(Error::NotReady { sentence }) if Instant::now() < deadline => {
                    let spinner = spinner.get_or_insert_with(|| Spinner::start("Waiting for linkerd-mcp"));
                    spinner.say(&format!("Waiting for linkerd-mcp: {sentence}"));
                    sleep(SYNC_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
