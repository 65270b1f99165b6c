//! The API as something to start: bind, then serve until told to stop.

use crate::{
    authorization::Authorization,
    caller::{
        self,
        listener::Door,
        metrics::CallerMetrics,
        tls::{self, State},
    },
    change::{self, Changes, metrics::ChangeMetrics},
    grpc::{self, MeshContext},
    http::{
        Json,
        admin::{self, Admin},
    },
    linkerd::Controllers,
    mcp::{self, metrics::McpMetrics, subscription::Subscriptions},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
};
use axum::Router;
use futures::future::{FutureExt as _, ready, try_join, try_join_all};
use linkerd_mcp_graph::feed::Subscription;
use prometheus_client::registry::Registry;
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::server::{Server, TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::util::MapResponseLayer;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// gRPC, JSON and MCP on a loopback address. Port 0 picks one.
    pub listen: SocketAddr,
    /// How callers are known there.
    pub local: caller::Local,
    /// Names besides this machine's own that requests may call us by there.
    pub hosts: Vec<String>,
    /// The same for callers in the mesh; none for no such listener.
    pub mesh: Option<caller::Mesh>,
    /// The same for callers who bring a certificate of the mesh themselves; none for no such listener.
    pub tls: Option<caller::Tls>,
    /// `/metrics` and health; none for no such listener. Port 0 picks one.
    pub admin_listen: Option<SocketAddr>,
    /// How long requests under way may take after the end was announced.
    pub drain: Duration,
    /// A watcher to whom nothing happens hears at least this often how fresh its graph is.
    pub bookmarks: Duration,
    /// How much of the past is kept for watchers.
    pub ring: RingLimits,
    /// How many watchers there may be; more are told when to come back. At most [`Semaphore::MAX_PERMITS`].
    pub max_watchers: usize,
    /// How long an answer may take until it begins.
    pub request_timeout: Duration,
    /// The Model Context Protocol endpoint.
    pub mcp: crate::mcp::Options,
    /// Linkerd's own controllers; without them what they enforce and tell proxies cannot be asked.
    pub linkerd: Option<Controllers>,
    /// How policy is changed.
    pub changes: change::Options,
    /// Who may ask what. Unless it is said otherwise, whoever uses this machine may read everything.
    pub authorization: Authorization,
}

/// Listeners that are bound and a replica that waits to be fed.
#[derive(Debug)]
pub struct Api {
    config: Config,
    local: (TcpListener, SocketAddr),
    mesh: Vec<(TcpListener, SocketAddr)>,
    tls: Option<(TcpListener, SocketAddr)>,
    admin: Option<(TcpListener, SocketAddr)>,
    replica: Replica,
    metrics: ApiMetrics,
    callers: CallerMetrics,
    mcp_metrics: McpMetrics,
    settings: mcp::settings::Live,
    changes: Changes,
}

/// Why the API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is reachable from elsewhere.
    #[error(
        "refusing to listen on {0}: this listener is for this machine, so only loopback addresses such as \
         127.0.0.1:{port} are allowed; callers in the mesh have one of their own (--mesh-port)", port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}; is something else using it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The settings of the MCP endpoint are wrong.
    #[error("the MCP endpoint is set up wrongly")]
    Settings(#[from] mcp::settings::Error),
    /// Plans and changes cannot be kept in this Redis.
    #[error("Redis cannot be used to keep plans and changes")]
    Changes(#[from] linkerd_mcp_feed::RedisFault),
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptor set that is compiled in does not decode.
    #[error("the reflection service cannot be built")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The main listener failed.
    #[error("the gRPC and HTTP server failed")]
    Server(#[source] tonic::transport::Error),
    /// What follows the feed ended, which only a defect makes it do.
    #[error("following the feed ended unexpectedly")]
    Replica(#[source] tokio::task::JoinError),
    /// The admin listener failed.
    #[error("the admin server failed")]
    Admin(#[source] io::Error),
}

/// With the default of 64 KiB a reply of 100 KB waits for the client twice (209 against 129 µs on loopback).
const WINDOW: u32 = 1 << 20;
/// Streams of one connection: watchers of one gateway share a connection.
const STREAMS: u32 = 1_024;
/// Requests of one connection that are being answered at a time.
const REQUESTS: usize = 256;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 << 10;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8086)),
            local: caller::Local::Machine,
            hosts: Vec::new(),
            mesh: None,
            tls: None,
            admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9995))),
            drain: Duration::from_secs(5),
            bookmarks: Duration::from_secs(5),
            ring: RingLimits::default(),
            max_watchers: 10_000,
            request_timeout: Duration::from_secs(10),
            mcp: crate::mcp::Options::default(),
            linkerd: None,
            changes: change::Options::default(),
            authorization: Authorization::machine(),
        }
    }
}

impl Api {
    /// Binds the listeners and registers metrics.
    ///
    /// # Errors
    ///
    /// When the address is not loopback, or is taken, or the settings of the MCP endpoint are wrong.
    pub async fn bind(mut config: Config, registry: &mut Registry) -> Result<Self, BindError> {
        if !config.listen.ip().is_loopback() {
            return Err(BindError::NotLoopback(config.listen));
        }
        let local = bind(config.listen).await?;
        let mut mesh = Vec::new();
        if let Some(caller::Mesh { ips, port, .. }) = &config.mesh {
            for &ip in ips {
                mesh.push(bind(SocketAddr::new(ip, *port)).await?);
            }
        }
        let tls = match &config.tls {
            Some(tls) => Some(bind(tls.listen).await?),
            None => None,
        };
        let admin = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = ApiMetrics::register(registry);
        let replica = Replica::new(config.ring, metrics.clone());
        let callers = CallerMetrics::register(registry);
        let mcp_metrics = McpMetrics::register(registry);
        config.authorization = config.authorization.read_only(config.changes.read_only);
        config.authorization.register(registry);
        let settings = config.mcp.settings(&mcp_metrics).await?;
        // Who may do what is decided in one place.
        let rights = config.authorization.rights().clone();
        let audit = config.authorization.audit().clone();
        let options = change::Options { rights, audit, anybody: false, ..config.changes.clone() };
        let changes = Changes::new(options, replica.clone(), ChangeMetrics::register(registry))?;
        Ok(Self {
            config,
            local,
            mesh,
            tls,
            admin,
            replica,
            metrics,
            callers,
            mcp_metrics,
            settings,
            changes,
        })
    }

    /// Where gRPC, JSON and MCP are served on this machine.
    pub fn local_addr(&self) -> SocketAddr {
        self.local.1
    }

    /// Where the same is served for callers in the mesh, in the order of [`caller::Mesh::ips`].
    pub fn mesh_addrs(&self) -> Vec<SocketAddr> {
        self.mesh.iter().map(|(_, address)| *address).collect()
    }

    /// Where the same is served over TLS.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(_, address)| *address)
    }

    /// Where metrics and health are served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// The replica that answers come from.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What plans, applies and undoes changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What the API counts.
    pub fn metrics(&self) -> &ApiMetrics {
        &self.metrics
    }

    /// Serves until `shutdown`, then tells watchers to leave, waits for requests under way at most [`Config::drain`],
    /// and returns. `registry` is what `/metrics` shows: the one given to [`Api::bind`] and whatever else is in it.
    ///
    /// # Errors
    ///
    /// When a server fails on its own.
    pub async fn serve<S: Subscription + 'static>(
        self,
        subscription: S,
        registry: Arc<Registry>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let Self {
            config,
            local,
            mesh,
            tls,
            admin,
            replica,
            metrics,
            callers,
            mcp_metrics,
            settings,
            changes,
        } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        let context = MeshContext {
            replica: replica.clone(),
            authorization: config.authorization.clone(),
            metrics: metrics.clone(),
            linkerd: config.linkerd.clone(),
            changes: changes.clone(),
            bookmarks: config.bookmarks,
            max_watchers: config.max_watchers,
            places: Arc::new(Semaphore::new(config.max_watchers)),
        };
        let history = mcp::history::History::default();
        let subscriptions = Subscriptions::new(mcp_metrics.subscriptions.clone());
        let mcp_context = mcp::Context {
            replica: replica.clone(),
            authorization: config.authorization.clone(),
            granted: None,
            subscriptions: subscriptions.clone(),
            history: history.clone(),
            prometheus: config.mcp.prometheus.clone(),
            kubernetes: config.mcp.kubernetes.clone(),
            settings: settings.clone(),
            budget: mcp::budget::Budget::new(config.mcp.outside),
            changes: changes.clone(),
        };
        let stop = CancellationToken::new();
        let mcp = mcp::route(mcp_context.clone(), mcp_metrics, stop.clone());
        let json = Json {
            replica: replica.clone(),
            authorization: config.authorization.clone(),
            metrics,
            linkerd: config.linkerd.clone(),
            changes: changes.clone(),
            boot: rand::random(),
        };
        let told = match config.mesh.as_ref().and_then(|mesh| mesh.oauth.as_ref()) {
            Some(oauth) => caller::oauth::metadata::routes(oauth),
            None => Router::new(),
        };
        let routes =
            Routes::from(crate::http::routes(json, mcp).merge(told).fallback(crate::http::not_found))
                .add_service(context)
                .add_service(health_service)
                .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
                .add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?)
                .prepare();
        set_serving(&health, ServingStatus::NotServing).await;

        let closing = closed(&replica).shared();
        let mut doors =
            vec![(local.0, Door::local(&config.local, local.1.ip(), &config.hosts, callers.clone()))];
        if let Some(own) = &config.mesh {
            let door = Door::mesh(own, callers.clone());
            doors.extend(mesh.into_iter().map(|(listener, _)| (listener, door.clone())));
        }
        let main = try_join_all(doors.into_iter().map(|(listener, door)| {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let served = server(&config)
                .layer(MapResponseLayer::new(with_version))
                .layer(door)
                .add_routes(routes.clone())
                .serve_with_incoming_shutdown(incoming, closing.clone());
            async { served.await.map_err(ServeError::Server) }
        }));
        let state = State::new(callers.clone());
        let mut certifying = JoinSet::new();
        let over_tls = match (&config.tls, tls) {
            (Some(own), Some((listener, _))) => {
                certifying.spawn(tls::follow(state.clone(), own.clone()));
                server(&config)
                    .layer(MapResponseLayer::new(with_version))
                    .layer(Door::certificate(own, callers))
                    .add_routes(routes.clone())
                    .serve_with_incoming_shutdown(tls::sessions(listener, state, own), closing.clone())
                    .boxed()
            }
            _ => ready(Ok(())).boxed(),
        };
        let main = async {
            let over_tls = async { over_tls.await.map_err(ServeError::Server) };
            try_join(main, over_tls).await.map(drop)
        };
        let admin = serve_admin(admin, Admin { replica: replica.clone(), mcp: mcp_context, registry });
        // Probes are answered to the last: that is how the kubelet learns that nothing more should come here.
        let servers = async {
            tokio::select! {
                ended = main => ended,
                failed = admin => failed,
            }
        };
        tokio::pin!(servers);
        // A task of its own: taking in a large snapshot must not hold up new connections. Dropping the set ends it.
        let mut following = JoinSet::new();
        let follower = replica.clone();
        following.spawn(async move { follower.follow(subscription).await });
        following.spawn(history.follow(replica.clone()));
        following.spawn(subscriptions.follow(replica.clone()));
        following.spawn(changes.guard());
        tokio::select! {
            ended = &mut servers => return ended,
            Some(Err(error)) = following.join_next() => return Err(ServeError::Replica(error)),
            () = report(&replica, &health) => {}
            () = settings.follow(config.mcp.look_every) => {}
            () = shutdown => {}
        }
        tracing::info!("shutting down: telling watchers to leave and waiting for requests under way");
        set_serving(&health, ServingStatus::NotServing).await;
        replica.close();
        stop.cancel();
        match timeout(config.drain, servers).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(waited = ?config.drain, "some requests were still under way and are cut off");
                Ok(())
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

fn server(config: &Config) -> Server {
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .concurrency_limit_per_connection(REQUESTS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .timeout(config.request_timeout)
}

/// Every answer says which version gave it, for `linkerd-mcp version` and for whoever reads a trace.
fn with_version<B>(mut response: http::Response<B>) -> http::Response<B> {
    const VERSION: http::HeaderValue = http::HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert("linkerd-mcp-version", VERSION);
    response
}

async fn serve_admin(admin: Option<(TcpListener, SocketAddr)>, state: Admin) -> Result<(), ServeError> {
    let Some((listener, _)) = admin else { return std::future::pending().await };
    let routes: Router = admin::routes(state);
    axum::serve(listener, routes).await.map_err(ServeError::Admin)
}

/// Ends when the process is going away.
fn closed(replica: &Replica) -> impl Future<Output = ()> + Send + 'static {
    let mut ticks = replica.ticks();
    async move {
        // An error means that the replica is gone, which is an end too.
        let _ = ticks.wait_for(|tick| tick.closing).await;
    }
}

/// Keeps gRPC health in step with the replica: serving once there is a snapshot. Never ends.
async fn report(replica: &Replica, health: &HealthReporter) {
    let mut ticks = replica.ticks();
    if ticks.wait_for(|tick| tick.revision > 0).await.is_ok() {
        set_serving(health, ServingStatus::Serving).await;
    }
    std::future::pending().await
}

async fn set_serving(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    health.set_service_status(grpc::NAME, status).await;
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(linkerd_mcp_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
