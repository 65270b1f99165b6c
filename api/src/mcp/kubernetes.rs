//! Reads of single objects from Kubernetes: bounded lists, and why one failed.

use super::{Context, text::data, tool::ToolError};
use crate::{
    authorization::Refused,
    rights::{
        Deed,
        table::{Door, Surface, row},
    },
};
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

pub(super) mod listed;
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
    /// What would become a part of a path is no name.
    #[error("`{0}` is no name that Kubernetes has: lower-case letters, digits and `-`, as in `shop`")]
    Name(&'static str),
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
            Self::Name(_) => "invalid_arguments",
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

/// `name` where it is one. It becomes a part of a path, where `shop/secrets/x?` would lead to something else.
///
/// # Errors
///
/// When the argument `field` has something else.
pub(super) fn name<'a>(field: &'static str, name: &'a str) -> Result<&'a str, Error> {
    let known = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it);
    let fits = !name.is_empty() && name.len() <= 253 && name.bytes().all(known);
    // Two dots would lead upwards.
    if fits && name.bytes().any(|it| it != b'.') { Ok(name) } else { Err(Error::Name(field)) }
}

/// The client.
pub(super) fn client(context: &Context) -> Result<kube::Client, Error> {
    context.kubernetes.clone().ok_or(Error::NotConfigured)
}

/// That the caller may ask here about these objects, and has a right of its own in Kubernetes to what `deed` says: this
/// server's rights are not lent to those who have none.
///
/// # Errors
///
/// Why not.
pub(super) async fn allowed(context: &Context, tool: &'static str, deed: &Deed) -> Result<(), ToolError> {
    let granted = context.granted.as_ref().ok_or(Refused::Unknown)?;
    if let Some(row) = row(Surface::Tool, tool)
        && let Door::Needs(need) = row.door
    {
        granted.there(need, deed.namespace.as_deref())?;
    }
    Ok(context.authorization.own(Surface::Tool, tool, granted, deed).await?)
}

/// To do something to objects of a kind.
pub(super) fn deed(
    verb: &'static str,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Deed {
    Deed {
        verb: verb.into(),
        group: group.to_owned().into(),
        resource: resource.to_owned().into(),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for good in ["shop", "web-5d4f.7", "0"] {
            assert_eq!(name("namespace", good).unwrap(), good);
        }
        for bad in ["", ".", "..", "shop/secrets/x?", "shop%2fsecrets", "Shop", "a b", "#", &"x".repeat(254)]
        {
            let error = name("namespace", bad).unwrap_err();
            assert!(error.to_string().starts_with("`namespace` is no name"), "{bad}: {error}");
        }
    }
}
