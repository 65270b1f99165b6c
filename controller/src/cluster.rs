//! What the cluster is configured with, from the ConfigMap `linkerd-config` of the control plane.

pub use crate::graph::assemble::Cluster;

use crate::{chain::chain, graph::policy::PolicyCluster};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;
use std::{str::FromStr, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Why the configuration is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes did not give it.
    #[error("ConfigMap linkerd-config of namespace {namespace} could not be read")]
    Get {
        /// The control plane's namespace.
        namespace: String,
        /// What Kubernetes said.
        #[source]
        source: Box<kube::Error>,
    },
    /// It is there, without its values.
    #[error("ConfigMap linkerd-config of namespace {namespace} has no key `values`")]
    NoValues {
        /// The control plane's namespace.
        namespace: String,
    },
    /// Its values are no YAML.
    #[error("the values in ConfigMap linkerd-config of namespace {namespace} are not readable")]
    Values {
        /// The control plane's namespace.
        namespace: String,
        /// What the parser said.
        #[source]
        source: serde_yaml::Error,
    },
}

/// The part of the control plane's Helm values that bears on the graph.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Values {
    cluster_domain: Option<String>,
    identity_trust_domain: Option<String>,
    /// CIDRs between commas.
    cluster_networks: Option<String>,
    proxy: Option<ProxyValues>,
    policy_controller: Option<PolicyControllerValues>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProxyValues {
    default_inbound_policy: Option<String>,
    opaque_ports: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyControllerValues {
    probe_networks: Option<Vec<String>>,
}

/// Between two tries to read the configuration while the API server does not answer.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

impl Error {
    /// True when the API server did not answer, or could not just now: then nothing is known of the configuration, and
    /// chart defaults in its place would be wrong identities for as long as the process runs.
    fn is_passing(&self) -> bool {
        match self {
            Self::Get { source, .. } => match &**source {
                kube::Error::Api(status) => status.code == 429 || status.code >= 500,
                _ => true,
            },
            Self::NoValues { .. } | Self::Values { .. } => false,
        }
    }
}

/// Reads the configuration as soon as the API server answers.
///
/// # Errors
///
/// When it answers, and the configuration is not there, may not be read, or makes no sense.
pub async fn read_when_reachable(client: &kube::Client, linkerd_namespace: &str) -> Result<Cluster, Error> {
    let mut said = false;
    loop {
        match read(client, linkerd_namespace).await {
            Err(error) if error.is_passing() => {
                if !said {
                    tracing::warn!(
                        error = chain(&error),
                        "the API server does not answer yet; waiting for it before anything else"
                    );
                    said = true;
                }
                sleep(BETWEEN_TRIES).await;
            }
            answered => return answered,
        }
    }
}

/// Reads the configuration. An empty trust domain means the cluster domain, as the chart says.
pub async fn read(client: &kube::Client, linkerd_namespace: &str) -> Result<Cluster, Error> {
    let namespace = || linkerd_namespace.to_owned();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), linkerd_namespace);
    let map = maps
        .get("linkerd-config")
        .await
        .map_err(|source| Error::Get { namespace: namespace(), source: Box::new(source) })?;
    let yaml = map
        .data
        .and_then(|mut data| data.remove("values"))
        .ok_or_else(|| Error::NoValues { namespace: namespace() })?;
    parse(linkerd_namespace, &yaml).map_err(|source| Error::Values { namespace: namespace(), source })
}

fn parse(linkerd_namespace: &str, yaml: &str) -> Result<Cluster, serde_yaml::Error> {
    let values: Values = serde_yaml::from_str(yaml)?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let cluster_domain = some(values.cluster_domain).unwrap_or_else(|| "cluster.local".to_owned());
    let trust_domain = some(values.identity_trust_domain).unwrap_or_else(|| cluster_domain.clone());
    let (proxy, controller) =
        (values.proxy.unwrap_or_default(), values.policy_controller.unwrap_or_default());
    let chart = PolicyCluster::default();
    let policy = PolicyCluster {
        cluster_networks: some(values.cluster_networks)
            .map_or(chart.cluster_networks, |text| networks("clusterNetworks", text.split(','))),
        default_policy: some(proxy.default_inbound_policy)
            .and_then(|text| known("proxy.defaultInboundPolicy", &text))
            .unwrap_or(chart.default_policy),
        identity_domain: trust_domain.as_str().into(),
        cluster_domain: cluster_domain.as_str().into(),
        control_plane_namespace: linkerd_namespace.into(),
        probe_networks: controller.probe_networks.map_or(chart.probe_networks, |texts| {
            networks("policyController.probeNetworks", texts.iter().map(String::as_str))
        }),
        default_opaque_ports: some(proxy.opaque_ports)
            .and_then(|text| known("proxy.opaquePorts", &text))
            .unwrap_or(chart.default_opaque_ports),
        trust_status: true,
    };
    Ok(Cluster {
        linkerd_namespace: linkerd_namespace.into(),
        trust_domain: trust_domain.into(),
        cluster_domain: cluster_domain.into(),
        policy: Some(Arc::new(policy)),
    })
}

/// The value, where it can be read; the chart's own is used where it cannot, and that is said.
fn known<T: FromStr<Err: std::fmt::Display>>(value: &'static str, text: &str) -> Option<T> {
    text.trim()
        .parse()
        .inspect_err(|error| {
            tracing::warn!(value, %error, "a value in linkerd-config cannot be read; the chart's default is used");
        })
        .ok()
}

fn networks<'a>(value: &'static str, texts: impl Iterator<Item = &'a str>) -> Vec<IpNet> {
    texts.filter(|text| !text.trim().is_empty()).filter_map(|text| known(value, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trust_domain_is_the_cluster_domain_unless_it_is_set() {
        let plain = parse("linkerd", "clusterDomain: corp.example\nproxy:\n  logLevel: warn\n").unwrap();
        assert_eq!((&*plain.cluster_domain, &*plain.trust_domain), ("corp.example", "corp.example"));
        let own = parse("l5d", "clusterDomain: cluster.local\nidentityTrustDomain: mesh.example\n").unwrap();
        assert_eq!(&*own.identity("shop", "web"), "web.shop.serviceaccount.identity.l5d.mesh.example");
        let policy = own.policy.unwrap();
        assert_eq!(&*policy.identity("shop", "web"), "web.shop.serviceaccount.identity.l5d.mesh.example");
    }

    #[test]
    fn policy_settings_are_read_and_what_is_missing_or_unreadable_is_the_charts() {
        let yaml = "clusterNetworks: 10.0.0.0/8,fd00::/8\nproxy:\n  defaultInboundPolicy: deny\n  \
                    opaquePorts: 25,8000-8010\npolicyController:\n  probeNetworks: [192.168.0.0/16]\n";
        let policy = parse("linkerd", yaml).unwrap().policy.unwrap();
        assert_eq!(
            serde_json::json!(*policy),
            serde_json::json!({
                "cluster_networks": ["10.0.0.0/8", "fd00::/8"],
                "default_policy": "deny",
                "identity_domain": "cluster.local",
                "cluster_domain": "cluster.local",
                "control_plane_namespace": "linkerd",
                "probe_networks": ["192.168.0.0/16"],
                "default_opaque_ports": "25,8000-8010",
                "trust_status": true,
            })
        );
        let odd = parse("linkerd", "proxy:\n  defaultInboundPolicy: nobody\n").unwrap();
        assert_eq!(*odd.policy.unwrap(), PolicyCluster::default());
    }
}
