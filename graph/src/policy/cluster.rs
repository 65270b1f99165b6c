//! What Linkerd's policy controller is told by its flags.

use super::{
    answer::{Authentication, Authorization, Clients, Labels, Metadata, Network},
    ports::Ports,
};
use crate::id::Text;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Settings of a control plane that bear on policy. [`PolicyCluster::default`] is what its chart sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyCluster {
    /// What the `cluster-` policies and ServerAuthorizations without networks let in.
    pub cluster_networks: Vec<IpNet>,
    /// The policy of workloads that do not name one.
    pub default_policy: DefaultPolicy,
    /// The domain in mesh identities.
    pub identity_domain: Text,
    /// The domain of Services' DNS names.
    pub cluster_domain: Text,
    /// The namespace of the control plane, a part of mesh identities.
    pub control_plane_namespace: Text,
    /// Where probes may come from; none means that probes are not let in by themselves.
    pub probe_networks: Vec<IpNet>,
    /// Ports that the injector writes into pods as opaque. The policy controller does not apply them itself.
    pub default_opaque_ports: Ports,
    /// Whether to believe what Linkerd wrote into the status of routes and rate limits. Without (or where it wrote
    /// nothing) acceptance is computed by the rules it follows, as it will be once it has caught up.
    pub trust_status: bool,
}

/// What happens on a port without a Server, or in addition to the authorizations of a Server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultPolicy {
    /// Anybody.
    #[default]
    AllUnauthenticated,
    /// Any mesh client with a DNS identity.
    AllAuthenticated,
    /// Anybody in the cluster's networks.
    ClusterUnauthenticated,
    /// Any mesh client with a DNS identity in the cluster's networks.
    ClusterAuthenticated,
    /// Nobody.
    Deny,
    /// Anybody, and it is logged and counted.
    Audit,
}

/// Text that names no default policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no default policy; use all-unauthenticated, all-authenticated, cluster-unauthenticated, cluster-authenticated, deny or audit"
)]
pub struct UnknownPolicy(String);

// === impl PolicyCluster ===

impl PolicyCluster {
    /// The mesh identity of a ServiceAccount.
    pub fn identity(&self, namespace: &str, service_account: &str) -> Text {
        let Self { control_plane_namespace: linkerd, identity_domain: domain, .. } = self;
        format!("{service_account}.{namespace}.serviceaccount.identity.{linkerd}.{domain}").into()
    }

    /// What the identities of all ServiceAccounts of a namespace end with, after the first dot.
    pub(super) fn namespace_suffix(&self, namespace: &str) -> Text {
        let Self { control_plane_namespace: linkerd, identity_domain: domain, .. } = self;
        format!("{namespace}.serviceaccount.identity.{linkerd}.{domain}").into()
    }

    /// The cluster's networks as an authorization lists them.
    pub(super) fn networks(&self) -> Arc<[Network]> {
        self.cluster_networks.iter().copied().map(Network::whole).collect()
    }
}

impl Default for PolicyCluster {
    fn default() -> Self {
        let nets = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Self {
            cluster_networks: nets(&[
                "10.0.0.0/8",
                "100.64.0.0/10",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "fd00::/8",
            ]),
            default_policy: DefaultPolicy::default(),
            identity_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            control_plane_namespace: "linkerd".into(),
            probe_networks: nets(&["0.0.0.0/0", "::/0"]),
            default_opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".parse().unwrap_or_default(),
            trust_status: true,
        }
    }
}

// === impl DefaultPolicy ===

impl DefaultPolicy {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AllUnauthenticated,
        Self::AllAuthenticated,
        Self::ClusterUnauthenticated,
        Self::ClusterAuthenticated,
        Self::Deny,
        Self::Audit,
    ];

    /// As annotations and `accessPolicy` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }

    /// The same for clients with an identity only. `deny` and `audit` stay.
    pub fn authenticated(self) -> Self {
        match self {
            Self::AllUnauthenticated => Self::AllAuthenticated,
            Self::ClusterUnauthenticated => Self::ClusterAuthenticated,
            other => other,
        }
    }

    /// The authorization it stands for; none for `deny`.
    pub fn authorization(self, cluster: &PolicyCluster) -> Option<Authorization> {
        let (networks, authenticated) = match self {
            Self::AllUnauthenticated | Self::Audit => (all_networks(), false),
            Self::AllAuthenticated => (all_networks(), true),
            Self::ClusterUnauthenticated => (cluster.networks(), false),
            Self::ClusterAuthenticated => (cluster.networks(), true),
            Self::Deny => return None,
        };
        let authentication = match authenticated {
            true => Authentication::MeshTls(Clients::Identities {
                identities: Vec::new(),
                suffixes: vec![Vec::new()],
            }),
            false => Authentication::Unauthenticated {},
        };
        Some(Authorization {
            metadata: Metadata::default_named(self.as_str()),
            labels: Labels::default_named(self.as_str()),
            networks,
            authentication,
        })
    }
}

impl FromStr for DefaultPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let named = |policy: &Self| policy.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every address.
pub(super) fn all_networks() -> Arc<[Network]> {
    [IpNet::V4(Default::default()), IpNet::V6(Default::default())].map(Network::whole).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_reads_what_it_writes_and_letter_case_matters() {
        for policy in DefaultPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::json!(policy), policy.as_str());
        }
        assert!("Deny".parse::<DefaultPolicy>().is_err());
        assert!("".parse::<DefaultPolicy>().is_err());
    }

    #[test]
    fn the_charts_settings_are_the_default() {
        let cluster = PolicyCluster::default();
        assert_eq!(cluster.cluster_networks.len(), 5);
        assert_eq!(cluster.probe_networks.len(), 2);
        assert!(cluster.default_opaque_ports.contains(3306));
        assert_eq!(
            &*cluster.identity("shop", "web"),
            "web.shop.serviceaccount.identity.linkerd.cluster.local"
        );
    }
}
