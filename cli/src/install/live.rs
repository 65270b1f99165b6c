//! What is in the cluster: Linkerd, viz, and what carries our label.

use super::{
    Values,
    manifest::{self, Document},
    set_unless_set, text_of,
};
use crate::{
    args::Globals,
    client::{self, kubeconfig},
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;
use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// What every object of ours carries.
const LABEL: &str = "linkerd.io/extension=mcp";
const VIZ: &str = "linkerd.io/extension=viz";
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// Group, version, kind and plural of what may carry our label, in the order in which it is best deleted: what is in a
/// namespace before the namespace.
const KINDS: &[(&str, &str, &str, &str)] = &[
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("apps", "v1", "Deployment", "deployments"),
    ("batch", "v1", "Job", "jobs"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("policy.linkerd.io", "v1alpha1", "AuthorizationPolicy", "authorizationpolicies"),
    ("policy.linkerd.io", "v1alpha1", "MeshTLSAuthentication", "meshtlsauthentications"),
    ("policy.linkerd.io", "v1alpha1", "NetworkAuthentication", "networkauthentications"),
    ("policy.linkerd.io", "v1beta3", "Server", "servers"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "Namespace", "namespaces"),
];

/// Why the cluster was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be asked.
    #[error("Cannot connect to Kubernetes; to render without a cluster, give --ignore-cluster")]
    NoCluster(#[source] Reason),
    /// It can be asked, and said no.
    #[error(transparent)]
    Refused(client::Error),
    /// There is no control plane.
    #[error("Cannot find Linkerd in namespace {0}. Validate the install with: 'linkerd check'")]
    NoLinkerd(String),
    /// Nothing carries our label.
    #[error("No resources found to uninstall")]
    NothingInstalled,
}

/// The same words, without the hint: that is for whoever asks an API.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Reason(client::Error);

/// A cluster to ask.
pub(crate) struct Live {
    client: Client,
    url: http::Uri,
}

// === impl Live ===

impl Live {
    /// The cluster that the flags lead to.
    ///
    /// # Errors
    /// [`Error::NoCluster`] when they lead to none.
    pub(crate) async fn new(globals: &Globals) -> Result<Self, Error> {
        let config = kubeconfig::load(globals).await.map_err(no_cluster)?;
        let url = config.cluster_url.clone();
        let client = Client::try_from(config)
            .map_err(|source| no_cluster(client::Error::Client { source: Box::new(source) }))?;
        Ok(Self { client, url })
    }

    /// Looks for Linkerd, and sets what its configuration and viz say, unless it is set.
    ///
    /// # Errors
    /// When there is no Linkerd, or the cluster does not answer.
    pub(crate) async fn adopt(&self, set: &mut Values) -> Result<(), Error> {
        let control_plane = text_of(set, &["linkerdNamespace"]).unwrap_or("linkerd").to_owned();
        let configs: Api<ConfigMap> = Api::namespaced(self.client.clone(), &control_plane);
        let doing = format!("get ConfigMap linkerd-config in namespace {control_plane}");
        let config = self.step(&doing, configs.get_opt("linkerd-config")).await?;
        let config = config.ok_or(Error::NoLinkerd(control_plane))?;
        if let Some(domain) = cluster_domain(&config) {
            set_unless_set(set, &["clusterDomain"], domain.into());
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let viz = ListParams::default().labels(VIZ);
        let viz = self.step("list namespaces", namespaces.list(&viz)).await?;
        if let Some(viz) = viz.items.iter().map(ResourceExt::name_any).min() {
            set_unless_set(set, &["viz", "enabled"], true.into());
            set_unless_set(set, &["viz", "namespace"], viz.into());
        }
        Ok(())
    }

    /// Everything with our label, in the order in which it is best deleted.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not let us look.
    pub(crate) async fn labelled(&self) -> Result<Vec<Document>, Error> {
        let mut found = Vec::new();
        for (group, version, kind, plural) in KINDS {
            let api_version =
                if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
            let resource = ApiResource {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                api_version: api_version.clone(),
                kind: (*kind).to_owned(),
                plural: (*plural).to_owned(),
            };
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let mut page = ListParams::default().labels(LABEL).limit(PAGE);
            loop {
                let doing = format!("list {plural}");
                let request = async {
                    match api.list_metadata(&page).await {
                        Ok(list) => Ok(Some(list)),
                        // This cluster does not know the kind, so it has none of it.
                        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                        Err(error) => Err(error),
                    }
                };
                let Some(list) = self.step(&doing, request).await? else { break };
                found.extend(list.items.iter().map(|object| {
                    manifest::stub(
                        &api_version,
                        kind,
                        object.metadata.namespace.as_deref(),
                        &object.name_any(),
                    )
                }));
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    async fn step<T>(
        &self,
        doing: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        let error = match timeout(STEP_TIMEOUT, request).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => client::Error::kubernetes(&self.url, doing, error),
            Err(_) => client::Error::Slow { url: self.url.to_string(), seconds: STEP_TIMEOUT.as_secs() },
        };
        Err(match error {
            client::Error::Unreachable { .. }
            | client::Error::Slow { .. }
            | client::Error::Unauthorized { .. } => no_cluster(error),
            error => Error::Refused(error),
        })
    }
}

fn no_cluster(error: client::Error) -> Error {
    Error::NoCluster(Reason(error))
}

/// The DNS domain in the control plane's own values.
fn cluster_domain(config: &ConfigMap) -> Option<String> {
    let values: Value = serde_yaml::from_str(config.data.as_ref()?.get("values")?).ok()?;
    Some(values.get("clusterDomain")?.as_str()?.to_owned())
}

/// The plural of a kind that may carry our label, as URLs have it. None for any other kind.
pub(crate) fn plural(group: &str, kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|row| (row.0, row.2) == (group, kind)).map(|row| row.3)
}
