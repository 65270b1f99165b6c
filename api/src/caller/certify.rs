//! Our own certificate: from files, or signed by Linkerd's identity service (`Identity.Certify`).
//!
//! The service signs what the pod's ServiceAccount token proves. The key is made here and stays in memory.

use super::certificate;
use hyper_util::rt::TokioIo;
use linkerd2_proxy_api::identity::{CertifyRequest, CertifyResponse, identity_client::IdentityClient};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
    sign::CertifiedKey,
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

/// Where our certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files in PEM, read again when they change.
    Files {
        /// The certificate and its intermediates.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Linkerd's identity service.
    Identity(Identity),
}

/// Linkerd's identity service, and who we are to it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `host:port`.
    pub address: String,
    /// The identity that it proves by TLS; none where the pod's proxy speaks TLS with it.
    pub server: Option<String>,
    /// The identity that we want a certificate for: that of our ServiceAccount.
    pub name: String,
    /// The ServiceAccount's token for the audience `identity.l5d.io`.
    pub token: PathBuf,
}

/// A certificate with its key, and until when it holds.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) key: Arc<CertifiedKey>,
    /// In seconds since 1970.
    pub(crate) until: i64,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in the files is no certificate with its key.
    #[error("the certificate and its key are not PEM that belongs together")]
    Pair,
    /// The certificate names nobody.
    #[error("the certificate cannot be used")]
    Certificate(#[from] certificate::Fault),
    /// It is for somebody else.
    #[error("the identity service has signed a certificate for {found} and not for {wanted}")]
    Name {
        /// Whom it names.
        found: String,
        /// Who we are.
        wanted: String,
    },
    /// A key or a request could not be made.
    #[error("a certificate could not be asked for")]
    Request(#[source] rcgen::Error),
    /// The name of the identity service is none.
    #[error("`{0}` is no identity of a service")]
    Server(String),
    /// The service is out of reach.
    #[error("the identity service at {address} cannot be reached")]
    Connect {
        /// Where it should be.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The service has refused.
    #[error("the identity service has refused: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<tonic::Status>),
    /// The service is silent.
    #[error("the identity service at {0} does not answer")]
    Silent(String),
}

/// How long the service may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A chain has two certificates of about 1 KiB.
const LARGEST: usize = 256 << 10;

// === impl Source ===

impl Source {
    /// The certificate of files as they are now.
    pub(crate) async fn read(certificate: &PathBuf, key: &PathBuf) -> Result<Own, Error> {
        let read = async |path: &PathBuf| {
            let read = tokio::fs::read(path).await;
            read.map_err(|source| Error::File { path: path.clone(), source })
        };
        let (chain, key) = (read(certificate).await?, read(key).await?);
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().map_err(|_| Error::Pair)?;
        own(chain, PrivateKeyDer::from_pem_slice(&key).map_err(|_| Error::Pair)?)
    }
}

/// A chain with the key of its first certificate.
fn own(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Own, Error> {
    let until = certificate::read(chain.first().ok_or(Error::Pair)?)?.until;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|_| Error::Pair)?;
    Ok(Own { key: Arc::new(key), until })
}

// === impl Identity ===

impl Identity {
    /// Asks for a certificate for a new key.
    pub(crate) async fn certify(&self, roots: Arc<RootCertStore>) -> Result<Own, Error> {
        let read = tokio::fs::read(&self.token).await;
        let token = read.map_err(|source| Error::File { path: self.token.clone(), source })?;
        let key = KeyPair::generate().map_err(Error::Request)?;
        let mut params = CertificateParams::new(vec![self.name.clone()]).map_err(Error::Request)?;
        // The service wants nothing in it but the one name.
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(Error::Request)?;
        let asked = CertifyRequest {
            identity: self.name.clone(),
            token: token.trim_ascii().to_vec(),
            certificate_signing_request: request.der().to_vec(),
        };
        let answer = timeout(PATIENCE, self.ask(asked, roots)).await;
        let answer = answer.map_err(|_| Error::Silent(self.address.clone()))??;
        let chain = std::iter::once(answer.leaf_certificate).chain(answer.intermediate_certificates);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let own = own(chain.map(CertificateDer::from).collect(), key)?;
        let found = certificate::read(own.key.end_entity_cert().map_err(|_| Error::Pair)?)?.identity;
        if found == self.name { Ok(own) } else { Err(Error::Name { found, wanted: self.name.clone() }) }
    }

    async fn ask(&self, asked: CertifyRequest, roots: Arc<RootCertStore>) -> Result<CertifyResponse, Error> {
        let tls = match &self.server {
            None => None,
            Some(name) => {
                let wrong = |_| Error::Server(name.clone());
                Some((connector(roots), ServerName::try_from(name.clone()).map_err(wrong)?))
            }
        };
        let connect = |source| Error::Connect { address: self.address.clone(), source };
        let to = self.address.clone();
        let connection = tower::service_fn(move |_: http::Uri| {
            let (to, tls) = (to.clone(), tls.clone());
            async move {
                let stream = TcpStream::connect(to).await?;
                stream.set_nodelay(true)?;
                let stream: Box<dyn Duplex> = match tls {
                    None => Box::new(stream),
                    Some((tls, name)) => Box::new(tls.connect(name, stream).await?),
                };
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        // The authority only has to be one.
        let endpoint = Endpoint::from_static("http://linkerd-identity");
        let channel = endpoint.connect_with_connector(connection).await.map_err(connect)?;
        let mut client = IdentityClient::new(channel).max_decoding_message_size(LARGEST);
        let answer = client.certify(asked).await;
        Ok(answer.map_err(|status| Error::Refused(Box::new(status)))?.into_inner())
    }
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Duplex for T {}

/// As a proxy speaks with the identity service: TLS 1.3, no certificate of one's own, and HTTP/2 without saying so.
fn connector(roots: Arc<RootCertStore>) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has what TLS 1.3 needs")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// How long until a certificate is to be renewed: at 70 % of what is left of it, as proxies do, and not at once again.
pub(crate) fn renew_in(now: i64, until: i64) -> Duration {
    let left = u64::try_from(until.saturating_sub(now)).unwrap_or_default();
    Duration::from_millis(left.saturating_mul(700)).clamp(LEAST, MOST)
}

const LEAST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_seven_tenths_of_it_are_over() {
        assert_eq!(renew_in(1_000, 1_000 + 86_400), Duration::from_secs(60_480));
        assert_eq!(renew_in(1_000, 1_010), LEAST);
        assert_eq!(renew_in(1_000, 0), LEAST);
        assert_eq!(renew_in(0, i64::MAX), MOST);
    }
}
