//! The extension in a cluster: its namespace, a pod of its API, and a connection to that pod.

use super::{
    Error,
    forward::{Forwarded, Trouble},
    token::{Tokens, USUAL_NAME},
};
use crate::args::{account::Account, address::API_PORT};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client, Config, ResourceExt, api::ListParams, client::UpgradeConnectionError};
use std::{fmt, future::Future, time::Duration};
use tokio::time::timeout;

const EXTENSION_LABEL: &str = "linkerd.io/extension=mcp";
const API_LABEL: &str = "component=mcp-api";
/// Where the extension is installed unless its owner chose otherwise.
const DEFAULT_NAMESPACE: &str = "linkerd-mcp";
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// Of the pods that do not run, so many are named in the error.
const PODS_NAMED: usize = 5;

/// A cluster that may have the extension.
pub(crate) struct Cluster {
    client: Client,
    url: http::Uri,
    namespace: Option<String>,
    /// Of the ports that were forwarded.
    pub(crate) trouble: Trouble,
}

/// A pod of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiPod {
    namespace: String,
    name: String,
}

// === impl Cluster ===

impl Cluster {
    /// The cluster of `config`; `namespace` is the extension's, where it was given.
    pub(crate) fn new(config: Config, namespace: Option<String>) -> Result<Self, Error> {
        let url = config.cluster_url.clone();
        let client = Client::try_from(config).map_err(|source| Error::Client { source: Box::new(source) })?;
        Ok(Self { client, url, namespace, trouble: Trouble::default() })
    }

    /// Tokens of this ServiceAccount.
    pub(crate) fn tokens(&self, account: Account) -> Tokens {
        Tokens::of(self.client.clone(), self.url.clone(), account)
    }

    /// Finds a pod of the API, ready ones first.
    pub(crate) async fn api_pod(&self) -> Result<ApiPod, Error> {
        let namespace = self.namespace().await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let doing = format!("list pods in namespace {namespace}");
        let pods =
            self.step(&doing, async { pods.list(&ListParams::default().labels(API_LABEL)).await }).await?;
        choose(&namespace, &pods.items)
    }

    /// Opens a connection to the API in `pod`.
    pub(crate) async fn forward(&self, pod: &ApiPod) -> Result<Forwarded, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let doing = format!("forward a port to pod {pod}");
        let forward = async {
            let mut forwarder = pods.portforward(&pod.name, &[API_PORT]).await?;
            Ok(Forwarded::new(&mut forwarder, API_PORT, self.trouble.clone()))
        };
        let stream = match timeout(STEP_TIMEOUT, forward).await {
            Err(_) => return Err(self.slow()),
            Ok(Err(kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status))))
                if status.as_u16() == 403 =>
            {
                let sentence = "create on pods/portforward is needed".to_owned();
                return Err(Error::Forbidden { doing, sentence });
            }
            Ok(Err(error @ kube::Error::UpgradeConnection(_))) => {
                return Err(Error::Forward { pod: pod.to_string(), source: Box::new(error) });
            }
            Ok(Err(error)) => return Err(Error::kubernetes(&self.url, &doing, error)),
            Ok(Ok(stream)) => stream,
        };
        stream.ok_or_else(|| Error::Refused { doing, sentence: "it opened no stream".to_owned() })
    }

    /// The extension's namespace: the one given, else the one with its label. Who may not list namespaces gets the
    /// usual one.
    async fn namespace(&self) -> Result<String, Error> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let labelled = ListParams::default().labels(EXTENSION_LABEL);
        match self.step("list namespaces", async { namespaces.list(&labelled).await }).await {
            Ok(list) => list
                .items
                .iter()
                .map(|namespace| namespace.name_any())
                .min()
                .ok_or_else(|| Error::NotInstalled { url: self.url.to_string() }),
            Err(Error::Forbidden { .. }) => Ok(DEFAULT_NAMESPACE.to_owned()),
            Err(error) => Err(error),
        }
    }

    async fn step<T>(
        &self,
        doing: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match timeout(STEP_TIMEOUT, request).await {
            Err(_) => Err(self.slow()),
            Ok(answer) => answer.map_err(|error| Error::kubernetes(&self.url, doing, error)),
        }
    }

    fn slow(&self) -> Error {
        Error::Slow { url: self.url.to_string(), seconds: STEP_TIMEOUT.as_secs() }
    }
}

/// The pod to talk to: one that runs and does not end, a ready one before others.
fn choose(namespace: &str, pods: &[Pod]) -> Result<ApiPod, Error> {
    let running =
        pods.iter().filter(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none());
    let chosen = running.min_by_key(|pod| (!ready(pod), pod.name_any()));
    if let Some(pod) = chosen {
        return Ok(ApiPod { namespace: namespace.to_owned(), name: pod.name_any() });
    }
    if pods.is_empty() {
        return Err(Error::NoPod { namespace: namespace.to_owned() });
    }
    let state = |pod: &Pod| match pod.metadata.deletion_timestamp {
        Some(_) => format!("{} is being deleted", pod.name_any()),
        None => format!("{} is {}", pod.name_any(), phase(pod)),
    };
    let mut seen: Vec<String> = pods.iter().take(PODS_NAMED).map(state).collect();
    if pods.len() > PODS_NAMED {
        seen.push(format!("and {} more", pods.len() - PODS_NAMED));
    }
    Err(Error::NoRunningPod { namespace: namespace.to_owned(), seen: seen.join(", ") })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("in an unknown state")
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

// === impl ApiPod ===

impl ApiPod {
    /// The ServiceAccount that asks unless another is named.
    pub(crate) fn usual_account(&self) -> Account {
        Account { namespace: self.namespace.clone(), name: USUAL_NAME.to_owned() }
    }
}

impl fmt::Display for ApiPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn mk_pod(name: &str, phase: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        from_value(json!({
            "metadata": {"name": name},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_pod_is_chosen_before_one_that_only_runs() {
        let pods = [
            mk_pod("mcp-api-a", "Pending", false),
            mk_pod("mcp-api-b", "Running", false),
            mk_pod("mcp-api-c", "Running", true),
        ];
        assert_eq!(choose("linkerd-mcp", &pods).unwrap().to_string(), "linkerd-mcp/mcp-api-c");
        assert_eq!(choose("linkerd-mcp", &pods[..2]).unwrap().to_string(), "linkerd-mcp/mcp-api-b");
    }

    #[test]
    fn pods_that_do_not_run_are_named_with_their_state() {
        let mut ending = mk_pod("mcp-api-b", "Running", true);
        ending.metadata = from_value(json!({
            "name": "mcp-api-b", "deletionTimestamp": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        let error = choose("linkerd-mcp", &[mk_pod("mcp-api-a", "Pending", false), ending]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no linkerd-mcp API pod in namespace linkerd-mcp is running: mcp-api-a is Pending, mcp-api-b is being \
             deleted"
        );
        assert!(matches!(choose("linkerd-mcp", &[]), Err(Error::NoPod { .. })));
    }
}
