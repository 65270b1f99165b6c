//! What the cluster is configured with, from the ConfigMap `linkerd-config` of the control plane.

pub use crate::graph::assemble::Cluster;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;

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
    Ok(Cluster {
        linkerd_namespace: linkerd_namespace.into(),
        trust_domain: trust_domain.into(),
        cluster_domain: cluster_domain.into(),
    })
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
    }
}
