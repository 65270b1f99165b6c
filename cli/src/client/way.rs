//! The way of plain HTTP to the API, for what is no gRPC: the one that [`connect`](super::connect) finds too.

use super::{Error, at, cluster::Cluster, kubeconfig, named_tokens, token::Tokens};
use crate::{
    args::{Globals, address::Address},
    terminal,
};
use futures::future::{BoxFuture, FutureExt as _};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where connections go, and the tokens for who is there.
pub(crate) struct Way {
    place: Place,
    tokens: Arc<Tokens>,
}

enum Place {
    /// To an address.
    Address(Address),
    /// To a pod of the extension, found anew for each connection.
    Pod(Box<Cluster>),
}

/// A way that is looked for when it is first needed, and again until it is found.
pub(crate) struct Ahead {
    globals: Globals,
    way: tokio::sync::OnceCell<Way>,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection, as hyper takes it.
pub(crate) struct Link(TokioIo<Box<dyn Duplex>>);

/// Nothing listens at an address.
#[derive(Debug, thiserror::Error)]
#[error("nothing answers at {address}")]
struct Silent {
    address: String,
    #[source]
    source: io::Error,
}

// === impl Way ===

impl Way {
    /// Looks where the flags lead: to an address; to the extension in the cluster; else to this machine.
    ///
    /// # Errors
    /// When there is none; the error says what was tried.
    pub(crate) async fn find(globals: &Globals) -> Result<Self, Error> {
        if let Some(address) = &globals.api_addr {
            let (place, tokens) = (Place::Address(address.clone()), named_tokens(globals).await?);
            return Ok(Self { place, tokens });
        }
        let error = match Self::cluster(globals).await {
            Ok(way) => return Ok(way),
            Err(error) => error,
        };
        if globals.names_a_cluster() || !error.leaves_room_for_local() {
            return Err(error);
        }
        let address = Address::local();
        match at(&address, Arc::default()).await {
            Ok(mesh) if mesh.is_ours().await => {
                terminal::say(&format!(
                    "Using the linkerd-mcp on this machine at {address}, because: {error}."
                ));
                Ok(Self { place: Place::Address(address), tokens: Arc::default() })
            }
            _ => Err(error),
        }
    }

    async fn cluster(globals: &Globals) -> Result<Self, Error> {
        let config = kubeconfig::load(globals).await?;
        let cluster = Cluster::new(config, globals.mcp_namespace.clone())?;
        let pod = cluster.api_pod().await?;
        let account = globals.as_service_account.clone().unwrap_or_else(|| pod.usual_account());
        let tokens = Arc::new(cluster.tokens(account));
        Ok(Self { place: Place::Pod(Box::new(cluster)), tokens })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When nothing answers there, or no port can be forwarded.
    pub(crate) async fn open(&self) -> Result<Link, tower::BoxError> {
        let stream: Box<dyn Duplex> = match &self.place {
            Place::Address(address) => {
                let silent = |source| Silent { address: address.to_string(), source };
                let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address.to_string())).await;
                let stream =
                    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(silent)?;
                stream.set_nodelay(true).map_err(silent)?;
                Box::new(stream)
            }
            Place::Pod(cluster) => {
                let pod = cluster.api_pod().await?;
                Box::new(cluster.forward(&pod).await?)
            }
        };
        Ok(Link(TokioIo::new(stream)))
    }
}

// === impl Ahead ===

impl Ahead {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, way: tokio::sync::OnceCell::new() }
    }

    async fn way(&self) -> Result<&Way, Error> {
        self.way.get_or_try_init(|| Way::find(&self.globals)).await
    }

    /// What says in the next request who asks; none where nobody wants to know.
    ///
    /// # Errors
    /// When there is no way, or no token.
    pub(crate) async fn authorization(&self) -> Result<Option<http::HeaderValue>, Error> {
        self.way().await?.tokens.header().await
    }
}

/// What makes connections for a pool.
pub(crate) fn connector(
    ahead: Arc<Ahead>,
) -> impl tower::Service<
    http::Uri,
    Response = Link,
    Error = tower::BoxError,
    Future = BoxFuture<'static, Result<Link, tower::BoxError>>,
> + Clone {
    tower::service_fn(move |_: http::Uri| {
        let ahead = ahead.clone();
        async move { ahead.way().await?.open().await }.boxed()
    })
}

// === impl Link ===

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
