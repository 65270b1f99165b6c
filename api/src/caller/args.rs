//! Flags that say how callers are known, and what they lead to.

use super::{
    Local, Mesh, Reviews, Tls,
    certify::{Identity, Source},
    oauth::{self, args::OAuthArgs},
    pod::{Pod, Untrusted},
    roots::Roots,
    token::AUDIENCE,
};
use clap::ValueEnum;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// How callers are known.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Callers")]
pub struct CallerArgs {
    /// How callers on the loopback address are known: by a ServiceAccount's token, or not at all
    #[arg(long, env = "LINKERD_MCP_LOCAL_AUTH", value_enum, default_value_t = LocalAuth::Token, value_name = "HOW")]
    pub local_auth: LocalAuth,

    /// Audience that tokens have to be for
    #[arg(long, env = "LINKERD_MCP_TOKEN_AUDIENCE", default_value = AUDIENCE, value_name = "NAME")]
    pub token_audience: String,

    /// Port for callers in the mesh, on each of the pod's addresses; without it they cannot call
    #[arg(long, env = "LINKERD_MCP_MESH_PORT", value_name = "PORT")]
    pub mesh_port: Option<u16>,

    /// Addresses of this pod, separated by commas (status.podIPs)
    #[arg(long, env = "LINKERD_MCP_POD_IPS", value_delimiter = ',', value_name = "IPS")]
    pub pod_ips: Vec<IpAddr>,

    /// Label linkerd.io/control-plane-ns of this pod
    #[arg(
        long,
        env = "LINKERD_MCP_POD_CONTROL_PLANE",
        default_value = "",
        hide_default_value = true,
        value_name = "NAMESPACE"
    )]
    pub pod_control_plane: String,

    /// Annotation config.linkerd.io/skip-inbound-ports of this pod
    #[arg(
        long,
        env = "LINKERD_MCP_POD_SKIP_INBOUND_PORTS",
        default_value = "",
        hide_default_value = true,
        value_name = "PORTS"
    )]
    pub pod_skip_inbound_ports: String,

    /// Annotation config.linkerd.io/opaque-ports of this pod
    #[arg(
        long,
        env = "LINKERD_MCP_POD_OPAQUE_PORTS",
        default_value = "",
        hide_default_value = true,
        value_name = "PORTS"
    )]
    pub pod_opaque_ports: String,

    /// Domain in mesh identities; that of the cluster unless said otherwise
    #[arg(long, env = "LINKERD_MCP_IDENTITY_DOMAIN", value_name = "DOMAIN")]
    pub identity_domain: Option<String>,

    /// Name that requests over HTTP may call this by, such as mcp-api or *.mcp.example; may be repeated
    #[arg(
        long = "allowed-host",
        env = "LINKERD_MCP_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub allowed_hosts: Vec<String>,

    /// Address for callers who bring a certificate of the mesh themselves; port 0 picks one
    #[arg(long, env = "LINKERD_MCP_TLS_LISTEN", value_name = "ADDR:PORT")]
    pub tls_listen: Option<SocketAddr>,

    /// PEM with the certificate to show there, and its intermediates; read again when it changes
    #[arg(long, env = "LINKERD_MCP_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM with its key
    #[arg(long, env = "LINKERD_MCP_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Identity to ask Linkerd's identity service a certificate for, instead of --tls-cert
    #[arg(long, env = "LINKERD_MCP_TLS_IDENTITY", value_name = "IDENTITY", conflicts_with = "tls_cert")]
    pub tls_identity: Option<String>,

    /// Token of our ServiceAccount for the audience identity.l5d.io
    #[arg(
        long,
        env = "LINKERD_MCP_TLS_IDENTITY_TOKEN",
        default_value = "/var/run/secrets/tokens/linkerd-identity-token",
        value_name = "FILE"
    )]
    pub tls_identity_token: PathBuf,

    /// Linkerd's identity service; port 8080 of the Service linkerd-identity-headless unless said otherwise
    #[arg(long, env = "LINKERD_MCP_TLS_IDENTITY_ADDR", value_name = "HOST:PORT")]
    pub tls_identity_addr: Option<String>,

    /// PEM with the trust roots of the mesh; those of the ConfigMap linkerd-identity-trust-roots unless said otherwise
    #[arg(long, env = "LINKERD_MCP_TLS_TRUST_ROOTS", value_name = "FILE")]
    pub tls_trust_roots: Option<PathBuf>,

    /// Access tokens of an authorization server
    #[command(flatten)]
    pub oauth: OAuthArgs,
}

/// How callers on the loopback address are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LocalAuth {
    /// By a token of a ServiceAccount, checked by the Kubernetes API.
    Token,
    /// Not at all: whoever uses this machine may do everything.
    Machine,
}

/// What the flags lead to.
#[derive(Debug, Clone)]
pub struct Callers {
    /// For the loopback address.
    pub local: Local,
    /// For the mesh.
    pub mesh: Option<Mesh>,
    /// For callers with certificates.
    pub tls: Option<Tls>,
    /// Names that requests may call us by.
    pub hosts: Vec<String>,
}

/// Why callers could not be known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tokens are to be checked and there is nobody to ask.
    #[error(
        "callers are to be known by their tokens, and there is no Kubernetes API to check these with: run this in a pod \
         with a ServiceAccount, set KUBECONFIG, or give --local-auth=machine to let in whoever uses this machine"
    )]
    NoKubernetes,
    /// An audience that no token can be for.
    #[error(
        "--token-audience is empty, so any token would do: leave it out, or name what tokens are made for"
    )]
    NoAudience,
    /// No certificate of our own.
    #[error(
        "--tls-listen needs a certificate to show: give --tls-cert and --tls-key, or --tls-identity to have Linkerd's \
         identity service sign one"
    )]
    NoCertificate,
    /// Nobody to trust.
    #[error(
        "--tls-listen needs the trust roots of the mesh, and there is no Kubernetes API to read them from: give \
         --tls-trust-roots"
    )]
    NoRoots,
    /// Nobody could come through a gateway.
    #[error(
        "--oauth-issuer is for callers that an ingress in the mesh brings, and there is no listener for the mesh: give \
         --mesh-port"
    )]
    NoMesh,
    /// Access tokens could not be checked.
    #[error("access tokens could not be checked")]
    OAuth(#[from] oauth::Error),
    /// The pod's proxy cannot be believed.
    #[error("callers in the mesh could not be known")]
    Mesh(#[from] Untrusted),
}

/// How often trust roots and files are looked at again: a rotation of roots takes minutes at least.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long a connection may outlive its caller's certificate: clocks differ, and clients renew in good time.
const GRACE: Duration = Duration::from_secs(60);

// === impl CallerArgs ===

impl CallerArgs {
    /// What they lead to, with the Kubernetes API where there is one. The control plane is in `linkerd_namespace`.
    ///
    /// # Errors
    ///
    /// When callers could not be known.
    pub fn callers(
        self,
        kubernetes: Option<&kube::Client>,
        linkerd_namespace: &str,
        cluster_domain: &str,
    ) -> Result<Callers, Error> {
        let local = match self.local_auth {
            LocalAuth::Machine => Local::Machine,
            LocalAuth::Token => {
                let audience = self.token_audience.trim().to_owned();
                if audience.is_empty() {
                    return Err(Error::NoAudience);
                }
                let client = kubernetes.cloned().ok_or(Error::NoKubernetes)?;
                Local::Token(Reviews { client, audience })
            }
        };
        let tls = self.tls(kubernetes, linkerd_namespace, cluster_domain)?;
        let domain = self.identity_domain.as_deref().unwrap_or(cluster_domain);
        let oauth = self.oauth.resource()?;
        let mesh = match self.mesh_port {
            None if oauth.is_some() => return Err(Error::NoMesh),
            None => None,
            Some(port) => {
                let pod = Pod {
                    ips: self.pod_ips,
                    control_plane: self.pod_control_plane,
                    skipped: self.pod_skip_inbound_ports,
                    opaque: self.pod_opaque_ports,
                };
                pod.check(port, linkerd_namespace)?;
                let suffix = format!("{linkerd_namespace}.{domain}");
                Some(Mesh { ips: pod.ips, port, suffix, hosts: self.allowed_hosts.clone(), oauth })
            }
        };
        Ok(Callers { local, mesh, tls, hosts: self.allowed_hosts })
    }

    fn tls(
        &self,
        kubernetes: Option<&kube::Client>,
        linkerd_namespace: &str,
        cluster_domain: &str,
    ) -> Result<Option<Tls>, Error> {
        let Some(listen) = self.tls_listen else { return Ok(None) };
        let domain = self.identity_domain.as_deref().unwrap_or(cluster_domain);
        let suffix = format!("{linkerd_namespace}.{domain}");
        let certificate = match (&self.tls_cert, &self.tls_key, &self.tls_identity) {
            (Some(certificate), Some(key), _) => {
                Source::Files { certificate: certificate.clone(), key: key.clone() }
            }
            (_, _, Some(name)) => {
                let service =
                    format!("linkerd-identity-headless.{linkerd_namespace}.svc.{cluster_domain}:8080");
                let own = format!("linkerd-identity.{linkerd_namespace}.serviceaccount.identity.{suffix}");
                Source::Identity(Identity {
                    address: self.tls_identity_addr.clone().unwrap_or(service),
                    // In a pod with a proxy that speaks TLS with the service already.
                    server: self.pod_control_plane.is_empty().then_some(own),
                    name: name.clone(),
                    token: self.tls_identity_token.clone(),
                })
            }
            _ => return Err(Error::NoCertificate),
        };
        let roots = match (&self.tls_trust_roots, kubernetes) {
            (Some(path), _) => Roots::File(path.clone()),
            (None, Some(client)) => {
                Roots::ConfigMap { client: client.clone(), namespace: linkerd_namespace.to_owned() }
            }
            (None, None) => return Err(Error::NoRoots),
        };
        let hosts = self.allowed_hosts.clone();
        Ok(Some(Tls { listen, suffix, hosts, roots, certificate, look_every: LOOK_EVERY, grace: GRACE }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        callers: CallerArgs,
    }

    fn callers(args: &[&str]) -> Result<Callers, Error> {
        let flags = Flags::try_parse_from([&["api"], args].concat()).unwrap();
        flags.callers.callers(None, "linkerd", "cluster.local")
    }

    #[test]
    fn without_anybody_to_check_tokens_it_does_not_start_unless_told_to_let_everybody_in() {
        assert!(matches!(callers(&[]), Err(Error::NoKubernetes)));
        assert!(matches!(callers(&["--token-audience", " "]), Err(Error::NoAudience)));
        let machine = callers(&["--local-auth=machine"]).unwrap();
        assert!(matches!(machine, Callers { local: Local::Machine, mesh: None, .. }));
    }

    #[test]
    fn the_tls_listener_needs_a_certificate_and_somebody_to_trust() {
        let tls = &["--local-auth=machine", "--tls-listen=127.0.0.1:0"][..];
        assert!(matches!(callers(tls), Err(Error::NoCertificate)));
        let files = [tls, &["--tls-cert=a.pem", "--tls-key=b.pem"]].concat();
        assert!(matches!(callers(&files), Err(Error::NoRoots)));
        let name = "--tls-identity=mcp-api.linkerd-mcp.serviceaccount.identity.linkerd.cluster.local";
        let asked = [tls, &[name, "--tls-trust-roots=roots.pem"]].concat();
        let Source::Identity(identity) = callers(&asked).unwrap().tls.unwrap().certificate else {
            panic!("not of the identity service")
        };
        let own = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(identity.server.as_deref(), Some(own));
        assert_eq!(identity.address, "linkerd-identity-headless.linkerd.svc.cluster.local:8080");
        // The pod's proxy speaks TLS with it already.
        let injected = [&asked[..], &["--pod-control-plane=linkerd"]].concat();
        let Source::Identity(identity) = callers(&injected).unwrap().tls.unwrap().certificate else {
            panic!("not of the identity service")
        };
        assert_eq!(identity.server, None);
    }

    #[test]
    fn access_tokens_need_all_that_says_whose_they_are_and_who_brings_them() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let gateway = "--oauth-gateway=ingress.edge.serviceaccount.identity.linkerd.cluster.local";
        let (issuer, audience) =
            ("--oauth-issuer=https://login.example", "--oauth-audience=https://mcp.example/mcp");
        for some in [
            &[issuer][..],
            &[audience],
            &[gateway],
            &[issuer, audience],
            &[issuer, gateway],
            &[audience, gateway],
            &["--oauth-scopes=a"],
            &["--oauth-jwks-url=https://login.example/keys"],
            &["--oauth-groups-claim=groups"],
        ] {
            let parsed = Flags::try_parse_from([&["api", "--local-auth=machine"], some].concat());
            assert!(parsed.is_err(), "{some:?}");
        }
        let all = ["--local-auth=machine", issuer, audience, gateway];
        assert!(matches!(callers(&all), Err(Error::NoMesh)));
        let mesh = ["--mesh-port=8086", "--pod-ips=10.0.0.5", "--pod-control-plane=linkerd"];
        assert!(callers(&[&all[..], &mesh].concat()).unwrap().mesh.unwrap().oauth.is_some());
        assert!(callers(&[&all[..1], &mesh].concat()).unwrap().mesh.unwrap().oauth.is_none());
        let plain = ["--local-auth=machine", "--oauth-issuer=http://login.example", audience, gateway];
        let error = callers(&[&plain[..], &mesh].concat()).unwrap_err();
        assert!(matches!(error, Error::OAuth(oauth::Error::Url { .. })), "{error}");
    }

    #[test]
    fn the_mesh_listener_needs_a_pod_that_is_in_the_mesh() {
        let mesh = &["--local-auth=machine", "--mesh-port=8086", "--pod-ips=10.0.0.5,fd00::5"];
        let error = callers(mesh).unwrap_err();
        assert!(matches!(error, Error::Mesh(Untrusted::NotInjected)), "{error}");
        let injected = [&mesh[..], &["--pod-control-plane=linkerd", "--identity-domain=id.example"]].concat();
        let mesh = callers(&injected).unwrap().mesh.unwrap();
        assert_eq!((mesh.ips.len(), mesh.port, &*mesh.suffix), (2, 8086, "linkerd.id.example"));
        let opaque = [&injected[..], &["--pod-opaque-ports=8086"]].concat();
        assert!(matches!(callers(&opaque), Err(Error::Mesh(Untrusted::Opaque(8086)))));
    }
}
