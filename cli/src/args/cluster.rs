//! What the control plane is told by its flags, for manifests: they do not say it themselves.

use crate::args::Globals;
use clap::Args;
use ipnet::IpNet;
use linkerd_mcp_graph::policy::{DefaultPolicy, PolicyCluster, Ports};
use std::str::FromStr;

/// What the control plane is told by its flags; without ours, what its chart tells it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings of the control plane, with -f")]
pub(crate) struct ClusterArgs {
    /// Networks of the cluster, separated by commas
    #[arg(long, value_name = "CIDRS", requires = "filename")]
    cluster_networks: Option<Networks>,

    /// Policy of workloads that do not name one
    #[arg(long, value_name = "POLICY", requires = "filename")]
    default_policy: Option<DefaultPolicy>,

    /// Domain in mesh identities
    #[arg(long, value_name = "DOMAIN", requires = "filename")]
    identity_domain: Option<String>,

    /// Domain of Services' DNS names
    #[arg(long, value_name = "DOMAIN", requires = "filename")]
    cluster_domain: Option<String>,

    /// Namespace of the control plane [default: that of --linkerd-namespace]
    #[arg(long, value_name = "NAMESPACE", requires = "filename")]
    control_plane_namespace: Option<String>,

    /// Networks that probes come from, separated by commas; empty for none
    #[arg(long, value_name = "CIDRS", requires = "filename")]
    probe_networks: Option<Networks>,

    /// Ports that the injector makes opaque in pods that it makes of templates
    #[arg(long, value_name = "PORTS", requires = "filename")]
    default_opaque_ports: Option<Ports>,

    /// Compute which routes Linkerd accepts, instead of believing the status that it wrote into them
    #[arg(long, requires = "filename")]
    ignore_status: bool,
}

/// CIDRs between commas.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Networks(Vec<IpNet>);

// === impl ClusterArgs ===

impl ClusterArgs {
    /// The settings, those of the chart where no flag says otherwise.
    pub(crate) fn settings(&self, globals: &Globals) -> PolicyCluster {
        let chart = PolicyCluster::default();
        let text = |flag: &Option<String>, chart| flag.as_deref().map_or(chart, Into::into);
        PolicyCluster {
            cluster_networks: self.cluster_networks.clone().map_or(chart.cluster_networks, |nets| nets.0),
            default_policy: self.default_policy.unwrap_or(chart.default_policy),
            identity_domain: text(&self.identity_domain, chart.identity_domain),
            cluster_domain: text(&self.cluster_domain, chart.cluster_domain),
            control_plane_namespace: text(
                &self.control_plane_namespace,
                globals.linkerd_namespace.as_str().into(),
            ),
            probe_networks: self.probe_networks.clone().map_or(chart.probe_networks, |nets| nets.0),
            default_opaque_ports: self.default_opaque_ports.clone().unwrap_or(chart.default_opaque_ports),
            trust_status: !self.ignore_status,
        }
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let net = |part: &str| part.parse().map_err(|_| format!("`{part}` is no CIDR such as 10.0.0.0/8"));
        parts.map(net).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Cli, cmd::Command};
    use clap::Parser;

    fn parse(args: &[&str]) -> Result<(Globals, ClusterArgs), clap::Error> {
        let cli = Cli::try_parse_from([&["linkerd-mcp", "resolve"], args].concat())?;
        let Command::Resolve(resolve) = cli.command else { panic!("not resolve") };
        Ok((cli.globals, resolve.manifests.cluster))
    }

    fn settings(args: &[&str]) -> PolicyCluster {
        let (globals, cluster) = parse(&[&["-f", "-"], args].concat()).unwrap();
        cluster.settings(&globals)
    }

    #[test]
    fn the_control_planes_settings_are_its_charts_until_flags_say_otherwise() {
        assert_eq!(settings(&[]), PolicyCluster::default());
        let set = settings(&[
            "--cluster-networks=172.20.0.0/14,fd12::/16",
            "--default-policy=deny",
            "--identity-domain=id.example",
            "--cluster-domain=cluster.example",
            "--control-plane-namespace=l5d",
            "--probe-networks=",
            "--default-opaque-ports=3306,9000-9002",
            "--ignore-status",
        ]);
        assert_eq!(
            set,
            PolicyCluster {
                cluster_networks: vec!["172.20.0.0/14".parse().unwrap(), "fd12::/16".parse().unwrap()],
                default_policy: DefaultPolicy::Deny,
                identity_domain: "id.example".into(),
                cluster_domain: "cluster.example".into(),
                control_plane_namespace: "l5d".into(),
                probe_networks: Vec::new(),
                default_opaque_ports: "3306,9000-9002".parse().unwrap(),
                trust_status: false,
            }
        );
        assert_eq!(&*settings(&["-L", "mesh"]).control_plane_namespace, "mesh");
    }

    #[test]
    fn settings_that_make_no_sense_or_are_for_no_manifest_are_refused() {
        for args in [
            &["-f", "-", "--default-policy", "open"][..],
            &["-f", "-", "--cluster-networks", "10.0.0.0"][..],
            &["-f", "-", "--default-opaque-ports", "http"][..],
            &["--default-policy", "deny"][..],
            &["--ignore-status"][..],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
