//! Finds the Prometheus of linkerd-viz.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};

/// Where linkerd-viz has its Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In the cluster, in this namespace of viz: Service `prometheus`, port 9090.
    InCluster {
        /// The namespace.
        namespace: String,
    },
    /// Outside, at the URL that viz was installed with.
    External {
        /// The URL.
        url: String,
    },
    /// linkerd-viz is not installed.
    Nowhere,
}

/// Looks for the namespace labelled `linkerd.io/extension=viz`, as viz's own CLI does, and for its annotation
/// `viz.linkerd.io/external-prometheus`.
pub async fn find(client: &kube::Client) -> Result<Found, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let viz = namespaces.list(&ListParams::default().labels("linkerd.io/extension=viz").limit(1)).await?;
    Ok(viz.items.into_iter().next().map_or(Found::Nowhere, |namespace| {
        let external = namespace
            .metadata
            .annotations
            .and_then(|mut all| all.remove("viz.linkerd.io/external-prometheus"));
        match external.filter(|url| !url.is_empty()) {
            Some(url) if url.contains("://") => Found::External { url },
            Some(host) => Found::External { url: format!("http://{host}") },
            None => Found::InCluster { namespace: namespace.metadata.name.unwrap_or_default() },
        }
    }))
}

impl Found {
    /// The URL to use from inside the cluster.
    pub fn url(&self, cluster_domain: &str) -> Option<String> {
        match self {
            Self::InCluster { namespace } => {
                Some(format!("http://prometheus.{namespace}.svc.{cluster_domain}:9090"))
            }
            Self::External { url } => Some(url.clone()),
            Self::Nowhere => None,
        }
    }
}
