//! Stands in for Linkerd's controllers on loopback, over their real gRPC contract.
//!
//! The policy controller itself cannot be built here: what it answers was recorded (`fixtures/policy-controller`), and
//! [`message`] makes its messages of the recordings.

pub mod identity;
pub mod message;

use futures::stream::{self, BoxStream, StreamExt as _};
use linkerd2_proxy_api::{
    destination::{
        DestinationProfile, GetDestination, Update,
        destination_server::{Destination, DestinationServer},
    },
    inbound::{
        PortSpec, Server,
        inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer},
    },
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinHandle;
use tonic::{
    Request, Response, Status, async_trait,
    transport::server::{Router, TcpIncoming},
};

/// What the policy controller answers to a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This port.
    Server(Box<Server>),
    /// An error.
    Status(Status),
    /// Nothing, for ever.
    Silence,
}

/// What the destination controller sends to whoever asks.
#[derive(Debug, Clone)]
pub enum Stream {
    /// These updates, and then what `Then` says.
    Updates(Vec<Result<Update, Status>>, Then),
    /// One update again and again.
    Forever(Update),
    /// An error in place of a stream.
    Refused(Status),
}

/// What comes after the last update.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// The stream stays open, as the controller's does.
    Open,
    /// The stream ends.
    End,
}

/// A policy controller that answers what it was told to. Stops when it is dropped.
#[derive(Debug)]
pub struct PolicyStub {
    policies: Arc<Known>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// A destination controller that sends what it was told to. Stops when it is dropped.
#[derive(Debug)]
pub struct DestinationStub {
    asked: Arc<Mutex<Vec<GetDestination>>>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What a policy controller knows, and how it was asked.
#[derive(Debug, Default)]
struct Known {
    replies: Mutex<BTreeMap<(String, u32), Reply>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

struct Policies(Arc<Known>);

struct Destinations {
    asked: Arc<Mutex<Vec<GetDestination>>>,
    stream: Stream,
}

/// A free port of the loopback.
const FREE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Must be called in a tokio runtime.
fn serve(router: Router, at: SocketAddr) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let incoming = TcpIncoming::bind(at)?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let serving = tokio::spawn(async move {
        let _ = router.serve_with_incoming(incoming).await;
    });
    Ok((address, serving))
}

// === impl PolicyStub ===

impl PolicyStub {
    /// Starts one that knows nothing: it answers NotFound.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start() -> std::io::Result<Self> {
        Self::start_at(FREE)
    }

    /// The same at this address.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn start_at(address: SocketAddr) -> std::io::Result<Self> {
        let policies = Arc::<Known>::default();
        let service = InboundServerPoliciesServer::new(Policies(Arc::clone(&policies)));
        let (address, serving) = serve(tonic::transport::Server::builder().add_service(service), address)?;
        Ok(Self { policies, address, serving })
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Replaces everything it knows, by workload token and port.
    pub fn know(&self, replies: impl IntoIterator<Item = ((String, u32), Reply)>) {
        *self.policies.replies.lock() = replies.into_iter().collect();
    }

    /// How many questions were under way at once at most.
    pub fn most_at_once(&self) -> usize {
        self.policies.most_under_way.load(Ordering::Relaxed)
    }
}

impl Drop for PolicyStub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[async_trait]
impl InboundServerPolicies for Policies {
    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let PortSpec { workload, port } = request.into_inner();
        let under_way = self.0.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        // Gives others the chance to be under way as well.
        tokio::task::yield_now().await;
        let reply = self.0.replies.lock().get(&(workload, port)).cloned();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        match reply {
            Some(Reply::Server(server)) => Ok(Response::new(*server)),
            Some(Reply::Status(status)) => Err(status),
            Some(Reply::Silence) => std::future::pending().await,
            None => Err(Status::not_found("unknown pod")),
        }
    }

    type WatchPortStream = BoxStream<'static, Result<Server, Status>>;

    async fn watch_port(&self, _: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        Err(Status::unimplemented("a diagnostic client does not watch"))
    }
}

// === impl DestinationStub ===

impl DestinationStub {
    /// Starts one that sends this to whoever asks.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start(stream: Stream) -> std::io::Result<Self> {
        let asked = Arc::default();
        let service = DestinationServer::new(Destinations { asked: Arc::clone(&asked), stream });
        let (address, serving) = serve(tonic::transport::Server::builder().add_service(service), FREE)?;
        Ok(Self { asked, address, serving })
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<GetDestination> {
        self.asked.lock().clone()
    }
}

impl Drop for DestinationStub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[async_trait]
impl Destination for Destinations {
    type GetStream = BoxStream<'static, Result<Update, Status>>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        self.asked.lock().push(request.into_inner());
        Ok(Response::new(match self.stream.clone() {
            Stream::Updates(updates, Then::Open) => stream::iter(updates).chain(stream::pending()).boxed(),
            Stream::Updates(updates, Then::End) => stream::iter(updates).boxed(),
            Stream::Forever(update) => stream::repeat(Ok(update)).boxed(),
            Stream::Refused(status) => return Err(status),
        }))
    }

    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get_profile(
        &self,
        _: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        Err(Status::unimplemented("profiles are not asked for"))
    }
}
