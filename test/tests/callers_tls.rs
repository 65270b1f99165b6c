//! Callers who bring a certificate of the mesh themselves (performance rows R36 and R37).

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use hyper_util::rt::TokioIo;
use linkerd_mcp_api::{
    Api, Config,
    authorization::Authorization,
    caller::{
        Tls,
        certify::{Identity, Source},
        roots::Roots,
    },
    feed::memory::{MemoryPublisher, memory_feed},
    rights::{Rights, Verdict},
};
use linkerd_mcp_graph::feed::Publisher as _;
use linkerd_mcp_proto::v1::{WatchMeshGraphRequest, mesh_context_client::MeshContextClient};
use linkerd_mcp_test::{
    certs::{self, Authority, Leaf},
    linkerd::identity::IdentityStub,
    wait,
};
use prometheus_client::registry::Registry;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Endpoint;

const LIMIT: Duration = Duration::from_secs(60);

/// As whom the API shows itself.
const OWN: &str = "mcp-api.linkerd-mcp.serviceaccount.identity.linkerd.cluster.local";
const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

const REFUSED: &str = "mcp_caller_refused_total{listener=\"tls\",reason=\"certificate\"}";
const NEW: &str = "mcp_caller_certificates_total{result=\"new\"}";

/// An API with TLS.
struct Rig {
    address: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
    _publisher: MemoryPublisher,
    served: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Rig {
    /// With the trust roots and the certificate in files that may be written anew.
    async fn start(roots: &[&Authority], own: Leaf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        show(dir.path(), &own);
        let certificate = dir.path().join("tls.crt");
        let source = Source::Files { certificate, key: dir.path().join("tls.key") };
        Self::with(dir, roots, source).await
    }

    async fn with(dir: tempfile::TempDir, roots: &[&Authority], certificate: Source) -> Self {
        certs::use_ring();
        believe(dir.path(), roots);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let tls = Tls {
            listen: any,
            suffix: "linkerd.cluster.local".to_owned(),
            hosts: Vec::new(),
            roots: Roots::File(dir.path().join("roots.pem")),
            certificate,
            look_every: Duration::from_millis(50),
            grace: Duration::from_secs(1),
        };
        // Who somebody is matters here, not what they may do.
        let authorization =
            Authorization::new(Rights::decided_by(|_, _| Box::pin(std::future::ready(Verdict::Allowed))));
        let admin_listen = Some(any);
        let config = Config { listen: any, admin_listen, tls: Some(tls), authorization, ..Config::default() };
        let mut registry = Registry::default();
        let api = Api::bind(config, &mut registry).await.unwrap();
        let (address, admin) = (api.tls_addr().unwrap(), api.admin_addr().unwrap());
        let (mut publisher, feed) = memory_feed(1);
        publisher.snapshot(1, Arc::default(), Arc::default()).await.unwrap();
        let mut ticks = api.replica().ticks();
        let served = tokio::spawn(async move {
            api.serve(feed.subscribe(), Arc::new(registry), std::future::pending()).await.unwrap();
        });
        ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
        Self { address, admin, dir, _publisher: publisher, served }
    }

    /// The value of a metric, 0 where there is none yet.
    async fn metric(&self, name: &str) -> u64 {
        let text =
            reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    /// Waits until this caller is answered, or is not.
    async fn until_answered(&self, caller: &Caller, answered: bool) {
        let what = format!("the caller {}", if answered { "is answered" } else { "is refused" });
        let looked = async || (caller.ask(self.address).await.is_ok() == answered).then_some(());
        wait::until(&what, LIMIT, looked).await.unwrap();
    }
}

/// Puts a text into the place of another at once, as Kubernetes does.
fn replace(dir: &Path, name: &str, text: &str) {
    let new = dir.join(format!(".{name}"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, dir.join(name)).unwrap();
}

fn believe(dir: &Path, roots: &[&Authority]) {
    let bundle: String = roots.iter().map(|it| it.pem()).collect();
    replace(dir, "roots.pem", &bundle);
}

/// Between the two files there is a moment in which they do not belong together.
fn show(dir: &Path, leaf: &Leaf) {
    replace(dir, "tls.key", &leaf.key);
    replace(dir, "tls.crt", &leaf.cert);
}

/// Somebody with a certificate or without, who trusts these.
#[derive(Clone)]
struct Caller {
    tls: TlsConnector,
}

impl Caller {
    fn new(trusts: &[&Authority], leaf: Option<&Leaf>) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in trusts {
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        config.resumption = rustls::client::Resumption::default();
        Self { tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(OWN).unwrap();
        let connected = timeout(LIMIT, async { self.tls.connect(name, TcpStream::connect(to).await?).await });
        connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks over a connection of its own: the status of the answer. What is refused by TLS is an error.
    async fn ask(&self, to: SocketAddr) -> io::Result<u16> {
        let mut stream = self.connect(to).await?;
        let request = format!(
            "GET /v1/graph HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\nl5d-client-id: admin.kube-system.x\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // The end of the connection comes without a word.
        let read = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        match text.split(' ').nth(1).and_then(|it| it.parse().ok()) {
            Some(status) => Ok(status),
            None => Err(read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Watches; gives how the stream ended.
    async fn watch(&self, to: SocketAddr) -> JoinHandle<tonic::Status> {
        let caller = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let caller = caller.clone();
            async move { caller.connect(to).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://any").connect_with_connector(connector).await.unwrap();
        let mut client = MeshContextClient::new(channel);
        let mut stream =
            client.watch_mesh_graph(WatchMeshGraphRequest::default()).await.unwrap().into_inner();
        stream.message().await.unwrap();
        tokio::spawn(async move {
            let _client = client;
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return tonic::Status::ok("the stream has ended"),
                    Err(status) => return status,
                }
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_only_a_certificate_of_the_mesh_that_holds_now_and_names_somebody_is_let_in() {
    let (mesh, other) = (Authority::new("mesh").unwrap(), Authority::new("other").unwrap());
    let rig = Rig::start(&[&mesh], mesh.workload(Some(OWN), -60..3_600).unwrap()).await;
    let caller = |leaf: Option<&Leaf>| Caller::new(&[&mesh], leaf);
    // The controls: these are let in.
    for name in [WEB, "spiffe://cluster.local/ns/shop/sa/web"] {
        let leaf = mesh.workload(Some(name), -60..3_600).unwrap();
        rig.until_answered(&caller(Some(&leaf)), true).await;
        assert_eq!(caller(Some(&leaf)).ask(rig.address).await.unwrap(), 200, "{name}");
    }
    let before = rig.metric(REFUSED).await;
    let refused = [
        ("expired", mesh.workload(Some(WEB), -120..-60)),
        ("not valid yet", mesh.workload(Some(WEB), 600..3_600)),
        ("another authority", other.workload(Some(WEB), -60..3_600)),
        ("of itself", certs::self_signed(WEB)),
        ("nameless", mesh.workload(None, -60..3_600)),
        ("a common name only", mesh.client(WEB, Some("system:masters"))),
        (
            "a wildcard",
            mesh.workload(Some("*.shop.serviceaccount.identity.linkerd.cluster.local"), -60..3_600),
        ),
        ("a name that ends with a dot", mesh.workload(Some(&format!("{WEB}.")), -60..3_600)),
        ("a user of Kubernetes", mesh.workload(Some("admin"), -60..3_600)),
        ("capital letters", mesh.workload(Some(&WEB.to_uppercase()), -60..3_600)),
        ("another URI", mesh.workload(Some("https://cluster.local/web"), -60..3_600)),
    ];
    let mut accepted = Vec::new();
    for (what, leaf) in refused {
        if caller(Some(&leaf.unwrap())).ask(rig.address).await.is_ok() {
            accepted.push(what);
        }
    }
    if caller(None).ask(rig.address).await.is_ok() {
        accepted.push("none");
    }
    assert_eq!(accepted, Vec::<&str>::new());
    assert_eq!(rig.metric(REFUSED).await - before, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_live_stream_ends_soon_after_its_callers_certificate() {
    let mesh = Authority::new("mesh").unwrap();
    let rig = Rig::start(&[&mesh], mesh.workload(Some(OWN), -60..3_600).unwrap()).await;
    let long = Caller::new(&[&mesh], Some(&mesh.workload(Some(WEB), -60..3_600).unwrap()));
    rig.until_answered(&long, true).await;
    let short = Caller::new(&[&mesh], Some(&mesh.workload(Some(WEB), -60..4).unwrap()));
    let (control, ended) = (long.watch(rig.address).await, short.watch(rig.address).await);
    timeout(LIMIT, ended).await.expect("the stream goes on").unwrap();
    assert!(!control.is_finished(), "the stream of a certificate that holds has ended too");
    assert!(short.ask(rig.address).await.is_err());
}

/// Callers that ask again and again over new connections, until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    askers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(caller: &Caller, to: SocketAddr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let askers = (0..4).map(|_| {
            let (caller, stop, asked) = (caller.clone(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match caller.ask(to).await {
                        Ok(200) => {}
                        other => failed.push(format!("{other:?}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        });
        let askers = askers.collect();
        Self { stop, asked, askers }
    }

    /// Waits until so many more have been answered.
    async fn more(&self, count: usize) {
        let until = self.asked.load(Ordering::Relaxed) + count;
        let enough = async || (self.asked.load(Ordering::Relaxed) >= until).then_some(());
        wait::until("callers ask", LIMIT, enough).await.unwrap();
    }

    /// What has failed.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for asker in self.askers {
            failed.extend(timeout(LIMIT, asker).await.unwrap().unwrap());
        }
        failed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_certificates_and_roots_change_under_load_and_no_call_fails() {
    let (old, new) = (Authority::new("old").unwrap(), Authority::new("new").unwrap());
    let rig = Rig::start(&[&old], old.workload(Some(OWN), -60..3_600).unwrap()).await;
    let of_new = Caller::new(&[&old, &new], Some(&new.workload(Some(WEB), -60..3_600).unwrap()));
    let of_old = Caller::new(&[&old, &new], Some(&old.workload(Some(WEB), -60..3_600).unwrap()));
    rig.until_answered(&of_old, true).await;
    assert!(of_new.ask(rig.address).await.is_err());
    let load = Load::start(&of_old, rig.address);
    load.more(20).await;
    for _ in 0..5 {
        show(rig.dir.path(), &old.workload(Some(OWN), -60..3_600).unwrap());
        load.more(20).await;
    }
    // One may have been passed over for the next.
    let rotated = async || (rig.metric(NEW).await >= 3).then_some(());
    wait::until("certificates are taken", LIMIT, rotated).await.unwrap();
    // As Linkerd rotates its roots: both are trusted, then workloads change, then the old one goes.
    believe(rig.dir.path(), &[&old, &new]);
    rig.until_answered(&of_new, true).await;
    load.more(20).await;
    show(rig.dir.path(), &new.workload(Some(OWN), -60..3_600).unwrap());
    load.more(20).await;
    assert_eq!(load.stop().await, Vec::<String>::new());
    let (control, ended) = (of_new.watch(rig.address).await, of_old.watch(rig.address).await);
    let load = Load::start(&of_new, rig.address);
    believe(rig.dir.path(), &[&new]);
    timeout(LIMIT, ended).await.expect("a stream of whom nobody trusts any more goes on").unwrap();
    rig.until_answered(&of_old, false).await;
    load.more(20).await;
    assert_eq!(load.stop().await, Vec::<String>::new());
    assert!(!control.is_finished());
    // Roots that cannot be read take nothing away, and add nobody.
    replace(rig.dir.path(), "roots.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let counted = async || (rig.metric("mcp_caller_trust_roots_failures_total").await > 0).then_some(());
    wait::until("the failure is counted", LIMIT, counted).await.unwrap();
    assert_eq!(of_new.ask(rig.address).await.unwrap(), 200);
    assert!(of_old.ask(rig.address).await.is_err());
}

fn identity(stub: &IdentityStub, token: PathBuf) -> Source {
    let server = Some(linkerd_mcp_test::linkerd::identity::NAME.to_owned());
    Source::Identity(Identity { address: stub.address(), server, name: OWN.to_owned(), token })
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_the_certificate_of_linkerds_identity_service_is_renewed_under_load() {
    let mesh = Arc::new(Authority::new("mesh").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "of-mcp-api\n").unwrap();
    // Renewed after ten seconds, the least there is, and of no use after fifteen.
    let lifetime = Duration::from_secs(15);
    let stub = IdentityStub::start(&mesh, mesh.clone(), "of-mcp-api", lifetime).await.unwrap();
    let rig = Rig::with(dir, &[&mesh], identity(&stub, token)).await;
    let caller = Caller::new(&[&mesh], Some(&mesh.workload(Some(WEB), -60..3_600).unwrap()));
    rig.until_answered(&caller, true).await;
    let load = Load::start(&caller, rig.address);
    let renewed = async || (stub.signed() >= 2).then_some(());
    wait::until("a second certificate is signed", LIMIT, renewed).await.unwrap();
    // Longer than the first one was good for.
    let taken = async || (rig.metric(NEW).await >= 2).then_some(());
    wait::until("the second certificate is taken", LIMIT, taken).await.unwrap();
    load.more(50).await;
    assert_eq!(load.stop().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_linkerds_identity_service_is_given_our_token() {
    let (mesh, other) = (Arc::new(Authority::new("mesh").unwrap()), Authority::new("other").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "of-mcp-api").unwrap();
    let hour = Duration::from_secs(3_600);
    let stub = IdentityStub::start(&other, mesh.clone(), "of-mcp-api", hour).await.unwrap();
    let rig = Rig::with(dir, &[&mesh], identity(&stub, token)).await;
    let failed =
        async || (rig.metric("mcp_caller_certificates_total{result=\"failed\"}").await > 0).then_some(());
    wait::until("the failure is counted", LIMIT, failed).await.unwrap();
    assert_eq!(stub.signed(), 0);
    let caller = Caller::new(&[&mesh], Some(&mesh.workload(Some(WEB), -60..3_600).unwrap()));
    assert!(caller.ask(rig.address).await.is_err(), "without a certificate of its own it lets nobody in");
}
