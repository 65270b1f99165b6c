//! Somebody who calls: over which listener, with what proof, and with which headers besides.

use super::bench::{AUDIENCE, Addresses, Bench, LIMIT};
use hyper_util::rt::TokioIo;
use linkerd_mcp_proto::v1::mesh_context_client::MeshContextClient;
use linkerd_mcp_test::{
    apiserver::Credential,
    certs::{Authority, Leaf},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataKey, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// As whom the API shows itself over TLS.
pub(crate) const OWN: &str = "mcp-api.linkerd-mcp.serviceaccount.identity.linkerd.cluster.local";

/// The pod's own address, from which its proxy calls.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Another pod.
pub(crate) const OTHER_POD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Somebody who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    way: Way,
    headers: Headers,
}

#[derive(Clone)]
enum Way {
    Local,
    /// To the listener for the mesh, from this address.
    Mesh(Ipv4Addr),
    Tls(TlsConnector),
}

/// Sent with every request.
#[derive(Clone, Default)]
pub(crate) struct Headers(Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

pub(crate) type Client = MeshContextClient<InterceptedService<Channel, Headers>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

// === impl Headers ===

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().append(name.clone(), value.clone());
        }
        Ok(request)
    }
}

// === impl Caller ===

impl Caller {
    /// On the local listener, with no proof at all.
    pub(crate) fn local() -> Self {
        Self { way: Way::Local, headers: Headers::default() }
    }

    /// On the local listener, with this token.
    pub(crate) fn token(token: &str) -> Self {
        Self::local().with("authorization", &format!("Bearer {token}"))
    }

    /// On the listener for the mesh, from this address, with no identity.
    pub(crate) fn mesh(from: Ipv4Addr) -> Self {
        Self { way: Way::Mesh(from), headers: Headers::default() }
    }

    /// Over TLS, with this certificate or without.
    pub(crate) fn tls(trusts: &Authority, leaf: Option<&Leaf>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusts.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { way: Way::Tls(TlsConnector::from(Arc::new(config))), headers: Headers::default() }
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.0.push((MetadataKey::from_static(name), value.parse().unwrap()));
        self
    }

    /// A client over a connection of its own, which is made by the first call.
    pub(crate) fn client(&self, bench: &Bench) -> Client {
        self.client_at(bench.served.at)
    }

    /// The same of another replica.
    pub(crate) fn client_at(&self, at: Addresses) -> Client {
        let (way, Addresses { local, mesh, tls }) = (self.way.clone(), at);
        let connector = tower::service_fn(move |_: http::Uri| {
            let way = way.clone();
            async move {
                let stream: Box<dyn Stream> = match way {
                    Way::Local => Box::new(TcpStream::connect(local).await?),
                    Way::Mesh(from) => Box::new(connect(from, mesh).await?),
                    Way::Tls(connector) => {
                        let name = ServerName::try_from(OWN).unwrap();
                        Box::new(connector.connect(name, TcpStream::connect(tls).await?).await?)
                    }
                };
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        // By this name requests may call the API on each listener.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        MeshContextClient::with_interceptor(channel, self.headers.clone())
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(from), 0).into())?;
    timeout(LIMIT, socket.connect(to)).await?
}

/// A token of a ServiceAccount of the test's namespace, for these audiences.
pub(crate) async fn token(bench: &Bench, name: &str, audiences: &[&str]) -> String {
    let apiserver = &bench.kubernetes.apiserver;
    match apiserver.service_account(&bench.namespace, name, audiences).await.unwrap() {
        Credential::Token(token) => token,
        Credential::Certificate(_) => panic!("not a token"),
    }
}

/// A ServiceAccount of the test's namespace, with a token for us.
pub(crate) async fn account(bench: &Bench, name: &str) -> Caller {
    Caller::token(&token(bench, name, &[AUDIENCE]).await)
}

/// The mesh identity of a ServiceAccount of the test's namespace.
pub(crate) fn identity(bench: &Bench, name: &str) -> String {
    format!("{name}.{}.serviceaccount.identity.linkerd.cluster.local", bench.namespace)
}
