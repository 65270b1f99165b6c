//! Flags that say how callers are known, and what they lead to.

use super::{
    Local, Mesh, Reviews,
    pod::{Pod, Untrusted},
    token::AUDIENCE,
};
use clap::ValueEnum;
use std::net::IpAddr;

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
    /// The pod's proxy cannot be believed.
    #[error("callers in the mesh could not be known")]
    Mesh(#[from] Untrusted),
}

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
        let domain = self.identity_domain.as_deref().unwrap_or(cluster_domain);
        let mesh = match self.mesh_port {
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
                Some(Mesh { ips: pod.ips, port, suffix, hosts: self.allowed_hosts.clone() })
            }
        };
        Ok(Callers { local, mesh, hosts: self.allowed_hosts })
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
