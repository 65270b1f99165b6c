//! Asks Linkerd's own controllers: what they enforce and what they tell the proxies is the authority, ours is a reading
//! of the same objects.
//!
//! ```text
//! InboundServerPolicies.GetPort ─► policy ──────► graph::policy::Answer ──► graph::policy::drift
//! Destination.Get ───────────────► destination ─► graph::query::Told ─────► graph::query::destination
//!                                  sample: a few ports a minute, in the background, against ours (the replica's)
//!                                  enforced: all ports of a namespace, when somebody asks
//!                                  endpoints: one Service, when somebody asks
//! ```
//!
//! Every question is bounded in time, in bytes, and in how many are asked at once. Nothing here is asked for the whole
//! mesh: each stream is a watch in the controller, and the controllers serve proxies first.

pub mod ask;
pub mod destination;
pub(crate) mod endpoints;
pub(crate) mod enforced;
mod ours;
pub mod policy;
mod read;
pub mod sample;

pub use ask::{AskError, Limits};
pub use destination::DestinationController;
pub use policy::PolicyController;
pub use read::ReadError;

use clap::Args;

/// Clients of both controllers. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Controllers {
    /// What is enforced.
    pub policy: PolicyController,
    /// What proxies are told.
    pub destination: DestinationController,
}

/// Where Linkerd's controllers are.
#[derive(Debug, Clone, Args)]
pub struct LinkerdArgs {
    /// Namespace of the Linkerd control plane
    #[arg(long, env = "LINKERD_NAMESPACE", default_value = "linkerd", value_name = "NAMESPACE")]
    pub linkerd_namespace: String,

    /// DNS domain of the cluster
    #[arg(long, env = "LINKERD_MCP_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,

    /// Linkerd's policy controller; port 8090 of the Service linkerd-policy unless said otherwise
    #[arg(long, env = "LINKERD_MCP_POLICY_ADDR", value_name = "HOST:PORT")]
    pub policy_addr: Option<String>,

    /// Ports a minute whose policy is compared with that of Linkerd's policy controller; 0 for none
    #[arg(
        long,
        env = "LINKERD_MCP_POLICY_SAMPLES",
        default_value_t = 4,
        value_name = "PORTS",
        value_parser = clap::value_parser!(u16).range(0..=60)
    )]
    pub policy_samples: u16,

    /// Linkerd's destination controller; port 8086 of the Service linkerd-dst unless said otherwise
    #[arg(long, env = "LINKERD_MCP_DESTINATION_ADDR", value_name = "HOST:PORT")]
    pub destination_addr: Option<String>,
}

// === impl LinkerdArgs ===

impl LinkerdArgs {
    /// The policy controller's address.
    pub fn policy_address(&self) -> String {
        self.policy_addr.clone().unwrap_or_else(|| self.service("linkerd-policy", 8090))
    }

    /// The destination controller's address.
    pub fn destination_address(&self) -> String {
        self.destination_addr.clone().unwrap_or_else(|| self.service("linkerd-dst", 8086))
    }

    /// A client of the policy controller; it connects when it is first asked. Needs a running tokio.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn policy_controller(&self) -> Result<PolicyController, AskError> {
        PolicyController::new(&self.policy_address(), Limits::default())
    }

    /// How the background compares; none when it does not.
    pub fn pace(&self) -> Option<sample::Pace> {
        let ports = usize::from(self.policy_samples);
        (ports > 0).then(|| sample::Pace { ports, ..sample::Pace::default() })
    }

    /// A client of the destination controller; it connects when it is first asked. Needs a running tokio.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn destination_controller(&self) -> Result<DestinationController, AskError> {
        DestinationController::new(&self.destination_address(), &self.cluster_domain, Limits::default())
    }

    /// Clients of both.
    ///
    /// # Errors
    ///
    /// When an address is none.
    pub fn controllers(&self) -> Result<Controllers, AskError> {
        Ok(Controllers { policy: self.policy_controller()?, destination: self.destination_controller()? })
    }

    fn service(&self, name: &str, port: u16) -> String {
        format!("{name}.{}.svc.{}:{port}", self.linkerd_namespace, self.cluster_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        linkerd: LinkerdArgs,
    }

    fn addresses(arguments: &[&str]) -> (String, String) {
        let program = Program::parse_from(std::iter::once(&"program").chain(arguments));
        (program.linkerd.policy_address(), program.linkerd.destination_address())
    }

    #[test]
    fn nothing_is_compared_in_the_background_when_nobody_wants_it() {
        let ports = |arguments: &[&str]| {
            let program = Program::parse_from(std::iter::once(&"program").chain(arguments));
            program.linkerd.pace().map(|pace| pace.ports)
        };
        assert_eq!(ports(&[]), Some(4));
        assert_eq!(ports(&["--policy-samples", "0"]), None);
    }

    #[test]
    fn the_controllers_are_where_linkerd_installs_them_unless_said_otherwise() {
        assert_eq!(
            addresses(&[]),
            (
                "linkerd-policy.linkerd.svc.cluster.local:8090".into(),
                "linkerd-dst.linkerd.svc.cluster.local:8086".into()
            )
        );
        assert_eq!(
            addresses(&["--linkerd-namespace", "l5d", "--cluster-domain", "mesh.example"]),
            (
                "linkerd-policy.l5d.svc.mesh.example:8090".into(),
                "linkerd-dst.l5d.svc.mesh.example:8086".into()
            )
        );
        assert_eq!(
            addresses(&["--policy-addr", "127.0.0.1:1", "--destination-addr", "127.0.0.1:2"]),
            ("127.0.0.1:1".into(), "127.0.0.1:2".into())
        );
    }
}
