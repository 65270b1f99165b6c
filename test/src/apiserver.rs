//! A real kube-apiserver: RBAC, admission, server-side apply, dry-run, watches, TokenReview and TokenRequest.
//!
//! There is no controller manager, so nothing turns a Deployment into Pods, a namespace stays `Terminating` once it is
//! deleted, nothing is garbage-collected, and the ServiceAccount admission plugin is off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use crate::certs::{self, Authority};
use crate::etcd::Etcd;
use crate::process::{self, Launch, Process};

/// Why the API server or a client of it could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates could not be made.
    #[error("no certificates for the API server")]
    Certs(#[from] certs::Error),
    /// The process did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// Our own kubeconfig was not understood.
    #[error("the kubeconfig is not valid")]
    Kubeconfig(#[from] KubeconfigError),
    /// The API server refused a request of the harness.
    #[error("the API server refused a request of the test harness")]
    Request(#[from] kube::Error),
    /// A token request was answered without a token.
    #[error("the API server gave no token for {0}")]
    NoToken(String),
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A bearer token.
    Token(String),
    /// A client certificate.
    Certificate(certs::Leaf),
}

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    process: Process,
    ca: Authority,
}

/// The token of user `admin` in group `system:masters`.
const ADMIN_TOKEN: &str = "linkerd-mcp-test-admin";

/// Everything is audited by its metadata: it proves which verbs our programs really use.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// What the API server reads from files.
struct Files {
    serving: certs::Leaf,
    service_accounts: certs::Keys,
    ca: String,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts it on a free port in front of this etcd.
    pub async fn start(etcd: &Etcd) -> Result<Self, Error> {
        let ca = Authority::new("linkerd-mcp-test")?;
        let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"];
        let files = Files {
            serving: ca.server(&names)?,
            service_accounts: certs::Keys::new()?,
            ca: ca.pem().to_string(),
        };
        let etcd = etcd.url();
        let launch = Launch {
            program: "kube-apiserver",
            ports: 1,
            args: |dir: &Path, ports: &[u16]| {
                files.write(dir)?;
                Ok(arguments(dir, ports[0], &etcd))
            },
        };
        let process = process::start(launch, async |process| is_ready(process, &ca).await).await?;
        Ok(Self { process, ca })
    }

    /// Its address.
    pub fn url(&self) -> String {
        url(&self.process)
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(&self.admin())
    }

    /// A kubeconfig for somebody else.
    pub fn kubeconfig_of(&self, credential: &Credential) -> String {
        kubeconfig(&self.url(), &self.ca, credential)
    }

    /// A kubeconfig for somebody who reaches it at another address, such as that of a proxy.
    pub fn kubeconfig_at(&self, url: &str, credential: &Credential) -> String {
        kubeconfig(url, &self.ca, credential)
    }

    /// How the administrator proves who it is.
    pub fn admin(&self) -> Credential {
        Credential::Token(ADMIN_TOKEN.to_string())
    }

    /// The certificate of the authority that signed its own.
    pub fn ca_pem(&self) -> &str {
        self.ca.pem()
    }

    /// A client with the administrator's rights.
    ///
    /// A client belongs to the runtime it was made in, so a test makes its own.
    pub async fn client(&self) -> Result<Client, Error> {
        client(&self.kubeconfig()).await
    }

    /// A client with somebody else's rights.
    pub async fn client_of(&self, credential: &Credential) -> Result<Client, Error> {
        client(&self.kubeconfig_of(credential)).await
    }

    /// A person known by a client certificate, with no rights until RBAC gives some.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<Credential, Error> {
        Ok(Credential::Certificate(self.ca.client(name, group)?))
    }

    /// A ServiceAccount (made if it does not exist) and a token of it, as a projected volume would hold it.
    ///
    /// With an empty list of audiences the token is for the API server.
    pub async fn service_account(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[&str],
    ) -> Result<Credential, Error> {
        let api = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let metadata = ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        match api.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
        let audiences = audiences.iter().map(ToString::to_string).collect();
        let spec = TokenRequestSpec { audiences, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = api.create_token_request(name, &PostParams::default(), &request).await?;
        let status = answer.status.ok_or_else(|| Error::NoToken(name.to_string()))?;
        Ok(Credential::Token(status.token))
    }

    /// Makes a namespace with a name of its own, for tests that share one API server.
    pub async fn namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<String, Error> {
        let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let metadata = ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = Api::all(self.client().await?).create(&PostParams::default(), &namespace).await?;
        Ok(made.metadata.name.expect("the API server names what it creates"))
    }

    /// One JSON object per line: every request so far with its user, verb and object.
    pub fn audit_log(&self) -> PathBuf {
        audit_log(self.process.dir())
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

// === impl Files ===

impl Files {
    fn write(&self, dir: &Path) -> std::io::Result<()> {
        let files = [
            ("ca.crt", self.ca.as_str()),
            ("tls.crt", &self.serving.cert),
            ("tls.key", &self.serving.key),
            ("service-account.key", &self.service_accounts.private),
            ("service-account.pub", &self.service_accounts.public),
            ("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n")),
            ("audit.yaml", AUDIT_POLICY),
        ];
        files.into_iter().try_for_each(|(name, text)| std::fs::write(dir.join(name), text))
    }
}

fn audit_log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

fn arguments(dir: &Path, port: u16, etcd: &str) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_string(),
        format!("--secure-port={port}"),
        // There is no network it could announce itself on.
        "--advertise-address=127.0.0.1".to_string(),
        "--endpoint-reconciler-type=none".to_string(),
        format!("--cert-dir={}", file("certs")),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_string(),
        format!("--service-account-key-file={}", file("service-account.pub")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        "--authorization-mode=RBAC".to_string(),
        // Without a controller manager no namespace gets its `default` account, and no pod would be admitted.
        "--disable-admission-plugins=ServiceAccount".to_string(),
        "--service-cluster-ip-range=10.96.0.0/16".to_string(),
        "--allow-privileged=true".to_string(),
        format!("--audit-policy-file={}", file("audit.yaml")),
        format!("--audit-log-path={}", audit_log(dir).display()),
    ]
}

async fn is_ready(process: &Process, ca: &Authority) -> bool {
    let config = kubeconfig(&url(process), ca, &Credential::Token(ADMIN_TOKEN.to_string()));
    let Ok(client) = client(&config).await else { return false };
    let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant request is valid");
    client.request_text(request).await.is_ok()
}

fn url(process: &Process) -> String {
    format!("https://127.0.0.1:{}", process.port(0))
}

async fn client(kubeconfig: &str) -> Result<Client, Error> {
    certs::use_ring();
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn kubeconfig(url: &str, ca: &Authority, credential: &Credential) -> String {
    let ca = BASE64.encode(ca.pem());
    let user = match credential {
        Credential::Token(token) => format!("token: {token}"),
        Credential::Certificate(leaf) => format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            BASE64.encode(&leaf.cert),
            BASE64.encode(&leaf.key)
        ),
    };
    format!(
        "\
apiVersion: v1
kind: Config
current-context: test
contexts:
- name: test
  context:
    cluster: test
    user: test
clusters:
- name: test
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: test
  user:
    {user}
"
    )
}
