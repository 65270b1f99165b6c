//! Reads of single objects from Kubernetes: bounded lists, and why one failed.

use super::{Context, text::data};
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

pub(super) mod redact;

/// The most objects that one question reads.
pub(super) const MAX_OBJECTS: u32 = 1_000;

/// Why Kubernetes gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not in this process.
    #[error("the Kubernetes API cannot be asked from here; ask the linkerd-mcp API in the cluster")]
    NotConfigured,
    /// RBAC.
    #[error(
        "Kubernetes does not let this server {verb} {resource}: an operator can grant it (mcp.kubernetesReads in the chart)"
    )]
    Forbidden { verb: &'static str, resource: String },
    /// There is no such object.
    #[error("there is no {kind} `{name}` in namespace `{namespace}`")]
    NotFound { kind: String, namespace: String, name: String },
    /// Something else.
    #[error("the Kubernetes API could not be asked for {resource}: {why}")]
    Failed { resource: String, why: String },
}

// === impl Error ===

impl Error {
    /// One word for metrics and logs.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Failed { .. } => "unavailable",
        }
    }

    pub(super) fn of(verb: &'static str, resource: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                Self::Forbidden { verb, resource: resource.to_owned() }
            }
            kube::Error::Api(status) => {
                Self::Failed { resource: resource.to_owned(), why: data(&status.message) }
            }
            // What else there is names addresses.
            _ => Self::Failed { resource: resource.to_owned(), why: "no answer".to_owned() },
        }
    }
}

/// The client.
pub(super) fn client(context: &Context) -> Result<kube::Client, Error> {
    context.kubernetes.clone().ok_or(Error::NotConfigured)
}

/// The first objects of a kind, in one namespace or in all; true when there are more.
pub(super) async fn list<K>(
    api: &Api<K>,
    resource: &str,
    selector: Option<&str>,
) -> Result<(Vec<K>, bool), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut parameters = ListParams::default().limit(MAX_OBJECTS);
    if let Some(selector) = selector {
        parameters = parameters.labels(selector);
    }
    let ObjectList { items, metadata, .. } =
        api.list(&parameters).await.map_err(|error| Error::of("list", resource, error))?;
    Ok((items, metadata.continue_.is_some_and(|it| !it.is_empty())))
}
