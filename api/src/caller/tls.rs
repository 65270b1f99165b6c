//! The listener that speaks TLS itself: callers bring a certificate of the mesh.
//!
//! ```text
//! trust roots (file, ConfigMap) ─► Trust ──────► who may call: every handshake, and again when the roots change
//! files, Identity.Certify ───────► Own  ──────► who we are
//! TCP ─► handshake (TLS 1.3, client certificate) ─► Session, whose caller is known until its certificate ends
//! ```
//!
//! Without trust roots or without a certificate of our own every handshake fails.

use super::{
    Principal, Proof, certificate,
    certify::{Own, Source, renew_in},
    listener::Listener,
    metrics::CallerMetrics,
    refused::Reason,
    roots::{self, Roots},
};
use arc_swap::ArcSwapOption;
use futures::{Stream, stream};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, ring},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// The listener for callers who bring a certificate themselves.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Its address. Port 0 picks one.
    pub listen: SocketAddr,
    /// What identities of ServiceAccounts of this mesh end with: `<control plane's namespace>.<trust domain>`.
    pub suffix: String,
    /// Names that requests may call us by.
    pub hosts: Vec<String>,
    /// Who may say who callers are.
    pub roots: Roots,
    /// Who we are.
    pub certificate: Source,
    /// How often files and the ConfigMap are looked at again.
    pub look_every: Duration,
    /// How long a connection may go on after its caller's certificate has ended.
    pub grace: Duration,
}

/// What handshakes are held against.
#[derive(Debug)]
pub(crate) struct State {
    trust: watch::Sender<Option<Arc<Trust>>>,
    own: ArcSwapOption<Own>,
    metrics: CallerMetrics,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Whom we believe.
#[derive(Debug)]
struct Trust {
    store: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A handshake may take so long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way; further connections wait to be taken.
const HANDSHAKES: usize = 256;
/// After a failure to get a certificate, the first and the longest pause.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

// === impl State ===

impl State {
    pub(crate) fn new(metrics: CallerMetrics) -> Arc<Self> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Arc::new(Self { trust: watch::Sender::new(None), own: ArcSwapOption::empty(), metrics, algorithms })
    }

    /// Follows the trust roots. Never ends.
    async fn follow_roots(&self, roots: &Roots, look_every: Duration) {
        let mut known = String::new();
        loop {
            match roots.text().await {
                Ok(text) if text == known => {}
                Ok(text) => match trust(&text) {
                    Ok(trust) => {
                        tracing::info!(
                            certificates = trust.store.len(),
                            "the trust roots of the mesh are read"
                        );
                        self.trust.send_replace(Some(Arc::new(trust)));
                        known = text;
                    }
                    Err(error) => self.kept(&error),
                },
                Err(error) => self.kept(&error),
            }
            sleep(look_every).await;
        }
    }

    fn kept(&self, error: &roots::Error) {
        self.metrics.roots_failed();
        let error = crate::chain::chain(error);
        tracing::warn!(error, "the trust roots cannot be read; those that were known stay");
    }

    /// Follows our own certificate. Never ends.
    async fn follow_own(&self, source: &Source, look_every: Duration) {
        let mut pause = PAUSE;
        loop {
            let got = match source {
                Source::Files { certificate, key } => Source::read(certificate, key).await,
                Source::Identity(identity) => match self.store().await {
                    Some(store) => identity.certify(store).await,
                    None => return,
                },
            };
            match got {
                Ok(own) => {
                    pause = PAUSE;
                    let wait = match source {
                        Source::Files { .. } => look_every,
                        Source::Identity(_) => renew_in(now(), own.until),
                    };
                    self.got(own);
                    sleep(wait).await;
                }
                Err(error) => {
                    self.metrics.certified(false);
                    let error = crate::chain::chain(&error);
                    tracing::warn!(error, again_in = ?pause, "there is no new certificate; the old one stays until it ends");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The roots, once there are some.
    async fn store(&self) -> Option<Arc<RootCertStore>> {
        let mut trust = self.trust.subscribe();
        let trust = trust.wait_for(Option::is_some).await.ok()?;
        trust.as_ref().map(|it| it.store.clone())
    }

    fn got(&self, own: Own) {
        let same = self.own.load().as_ref().is_some_and(|it| it.key.cert == own.key.cert);
        if !same {
            tracing::info!(until = own.until, "there is a new certificate of our own");
            self.metrics.certified(true);
            self.metrics.certificate_ends(own.until);
            self.own.store(Some(Arc::new(own)));
        }
    }
}

fn trust(text: &str) -> Result<Trust, roots::Error> {
    let store = roots::store(text)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(store.clone(), provider).build();
    Ok(Trust { store, verifier: verifier.map_err(|_| roots::Error::Unreadable)? })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Follows roots and certificate. Never ends.
pub(crate) async fn follow(state: Arc<State>, tls: Tls) {
    tokio::join!(
        state.follow_roots(&tls.roots, tls.look_every),
        state.follow_own(&tls.certificate, tls.look_every)
    );
}

impl ClientCertVerifier for State {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // They change; and a client of the mesh has one certificate only.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(trust) = self.trust.borrow().clone() else {
            return Err(Error::General("there are no trust roots yet".to_owned()));
        };
        let verified = trust.verifier.verify_client_cert(end_entity, intermediates, now)?;
        // Whom it names has to be somebody.
        certificate::read(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ResolvesServerCert for State {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.own.load().as_ref().filter(|own| now() < own.until).map(|own| own.key.clone())
    }
}

fn acceptor(state: &Arc<State>) -> TlsAcceptor {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has what TLS 1.3 needs")
        .with_client_cert_verifier(state.clone())
        .with_cert_resolver(state.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is resumed would bring its caller along without being verified again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    TlsAcceptor::from(Arc::new(config))
}

// === connections ===

/// A connection whose caller is known.
pub(crate) struct Session {
    stream: TlsStream<TcpStream>,
    caller: Certified,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _gone: DropGuard,
}

/// The caller of a connection, put into the extensions of each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Certified(pub(crate) Principal);

/// The connections that come, each after its handshake. Ends when the listener is not waited for any more.
pub(crate) fn sessions(
    listener: TcpListener,
    state: Arc<State>,
    tls: &Tls,
) -> impl Stream<Item = io::Result<Session>> + use<> {
    let (sessions, received) = mpsc::channel(64);
    let (suffix, grace): (Arc<str>, _) = (tls.suffix.as_str().into(), tls.grace);
    let accepting = async move {
        let acceptor = acceptor(&state);
        let turns = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(turn) = turns.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, say: it passes.
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let (acceptor, state, suffix) = (acceptor.clone(), state.clone(), suffix.clone());
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let session = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => session(stream, &state, &suffix, grace),
                    Ok(Err(error)) => {
                        // Whoever closes without a word, such as a probe, has presented nothing.
                        if error.kind() == io::ErrorKind::InvalidData {
                            state.metrics.refused(Listener::tls, Reason::certificate);
                        }
                        tracing::debug!(%error, "a TLS handshake failed");
                        None
                    }
                    Err(_) => None,
                };
                drop(turn);
                if let Some(session) = session {
                    let _ = sessions.send(Ok(session)).await;
                }
            });
        }
    };
    let accepting = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(accepting));
    stream::unfold((received, accepting), |(mut received, accepting)| async move {
        let session = received.recv().await?;
        Some((session, (received, accepting)))
    })
}

fn session(
    stream: TlsStream<TcpStream>,
    state: &Arc<State>,
    suffix: &str,
    grace: Duration,
) -> Option<Session> {
    let chain: Vec<CertificateDer<'static>> =
        stream.get_ref().1.peer_certificates()?.iter().map(|it| it.clone().into_owned()).collect();
    let named = certificate::read(chain.first()?).ok()?;
    let caller = Certified(Principal::of_identity(&named.identity, suffix, Proof::Certificate));
    let (end, gone) = (CancellationToken::new(), CancellationToken::new());
    let ended = Box::pin(end.clone().cancelled_owned());
    let _gone = gone.clone().drop_guard();
    tokio::spawn(watch(state.clone(), chain, named.until, grace, end, gone));
    Some(Session { stream, caller, ended, _gone })
}

/// Ends a connection when its caller's certificate has ended, or the roots that it was verified against are trusted no
/// more.
async fn watch(
    state: Arc<State>,
    chain: Vec<CertificateDer<'static>>,
    until: i64,
    grace: Duration,
    end: CancellationToken,
    gone: CancellationToken,
) {
    let left = u64::try_from(until.saturating_sub(now())).unwrap_or_default();
    let over = sleep(Duration::from_secs(left).saturating_add(grace));
    tokio::pin!(over);
    let mut trust = state.trust.subscribe();
    loop {
        tokio::select! {
            () = gone.cancelled() => return,
            () = &mut over => break,
            changed = trust.changed() => {
                let [leaf, intermediates @ ..] = &chain[..] else { break };
                // Its own end is the other arm's, with its grace.
                let held = now().min(until);
                let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(held).unwrap_or_default()));
                if changed.is_err() || state.verify_client_cert(leaf, intermediates, at).is_err() {
                    break;
                }
            }
        }
    }
    tracing::debug!("a connection ends because its caller's certificate does not hold any more");
    end.cancel();
}

impl Session {
    fn over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ended.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the certificate has ended"))
            }
        }
    }
}

impl Connected for Session {
    type ConnectInfo = Certified;

    fn connect_info(&self) -> Certified {
        self.caller.clone()
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Session {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
