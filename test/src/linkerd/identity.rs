//! Linkerd's identity service: signs what a ServiceAccount's token proves, over TLS 1.3 and HTTP/2, as proxies ask it.

use crate::certs::{Authority, Error as CertsError};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use linkerd2_proxy_api::identity::{
    CertifyRequest, CertifyResponse,
    identity_server::{Identity, IdentityServer},
};
use parking_lot::Mutex;
use prost_types::Timestamp;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, async_trait};

/// The identity that the service proves itself.
pub const NAME: &str = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificate could not be made.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// Its certificate could not be used.
    #[error("the certificate of the identity service cannot be used")]
    Tls(#[source] rustls::Error),
    /// No port.
    #[error("no port for the identity service")]
    Port(#[from] std::io::Error),
}

/// An identity service. Stops when it is dropped.
#[derive(Debug)]
pub struct IdentityStub {
    address: SocketAddr,
    signed: Arc<Mutex<u64>>,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    authority: Arc<Authority>,
    token: String,
    lifetime: Duration,
    signed: Arc<Mutex<u64>>,
}

// === impl IdentityStub ===

impl IdentityStub {
    /// Starts one that shows a certificate of `shown`, and signs by `signs`, for whoever brings this token, certificates
    /// that live so long.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or its certificate cannot be made.
    pub async fn start(
        shown: &Authority,
        signs: Arc<Authority>,
        token: &str,
        lifetime: Duration,
    ) -> Result<Self, Error> {
        let leaf = shown.workload(Some(NAME), -60..3_600)?;
        let chain = CertificateDer::pem_slice_iter(leaf.cert.as_bytes()).filter_map(Result::ok).collect();
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes());
        let key = key.map_err(|_| Error::Tls(rustls::Error::General("no key".to_owned())))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|it| it.with_no_client_auth().with_single_cert(chain, key))
            .map_err(Error::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let signed = Arc::new(Mutex::new(0));
        let service = Service { authority: signs, token: token.to_owned(), lifetime, signed: signed.clone() };
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    // A proxy passes a connection for another name on, and nobody would answer it.
                    if name.as_deref() != Some(NAME) {
                        return;
                    }
                    let server = TowerToHyperService::new(IdentityServer::new(service));
                    let connection = auto::Builder::new(TokioExecutor::new());
                    let _ = connection.http2_only().serve_connection(TokioIo::new(stream), server).await;
                });
            }
        });
        Ok(Self { address, signed, serving })
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many certificates it has signed.
    pub fn signed(&self) -> u64 {
        *self.signed.lock()
    }
}

impl Drop for IdentityStub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[async_trait]
impl Identity for Service {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let CertifyRequest { identity, token, certificate_signing_request } = request.into_inner();
        if token != self.token.as_bytes() {
            return Err(Status::failed_precondition("the token could not be validated"));
        }
        let signed = self.authority.certify(&certificate_signing_request, self.lifetime);
        let (leaf, names) = signed.map_err(|error| Status::invalid_argument(format!("{error:?}")))?;
        if names != [identity.clone()] {
            return Err(Status::invalid_argument(format!("{names:?} is asked for, and not {identity}")));
        }
        *self.signed.lock() += 1;
        Ok(Response::new(CertifyResponse {
            leaf_certificate: leaf,
            intermediate_certificates: Vec::new(),
            valid_until: Some(Timestamp::from(SystemTime::now() + self.lifetime)),
        }))
    }
}
