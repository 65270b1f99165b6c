//! URIs of what can be read and watched. Each thing has one: it is written in one way only.

use linkerd_mcp_graph::{
    id::{PolicyId, ServiceId, Text, WorkloadId, is_name},
    query::changes::Place,
};
use std::{fmt, str::FromStr};

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Uri {
    /// `mesh://graph`.
    Graph,
    /// `mesh://namespaces/{namespace}`.
    Namespace(Text),
    /// `mesh://services/{namespace}/{name}`.
    Service(ServiceId),
    /// `mesh://workloads/{namespace}/{kind}/{name}`.
    Workload(WorkloadId),
    /// `mesh://policies/{kind}/{namespace}/{name}`.
    Policy(PolicyId),
}

/// Text that is no such URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no URI of the mesh")]
pub(crate) struct NoUri;

/// What all of them begin with.
pub(crate) const SCHEME: &str = "mesh://";

pub(crate) const GRAPH: &str = "mesh://graph";
pub(crate) const NAMESPACES: &str = "mesh://namespaces/{namespace}";
pub(crate) const SERVICES: &str = "mesh://services/{namespace}/{name}";
pub(crate) const WORKLOADS: &str = "mesh://workloads/{namespace}/{kind}/{name}";
pub(crate) const POLICIES: &str = "mesh://policies/{kind}/{namespace}/{name}";

/// All of them, as they stand in the table of rights.
#[cfg(test)]
pub(crate) const ALL: [&str; 5] = [GRAPH, NAMESPACES, SERVICES, WORKLOADS, POLICIES];

// === impl Uri ===

impl Uri {
    /// The template that it is of, or itself where there is only one.
    pub(crate) fn template(&self) -> &'static str {
        match self {
            Self::Graph => GRAPH,
            Self::Namespace(_) => NAMESPACES,
            Self::Service(_) => SERVICES,
            Self::Workload(_) => WORKLOADS,
            Self::Policy(_) => POLICIES,
        }
    }

    /// Where it is; none for the graph.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Graph => None,
            Self::Namespace(name) => Some(name),
            Self::Service(id) => Some(id.namespace()),
            Self::Workload(id) => Some(id.namespace()),
            Self::Policy(id) => Some(id.namespace()),
        }
    }

    pub(crate) fn of(place: &Place) -> Self {
        match place {
            Place::Namespace(name) => Self::Namespace(name.clone()),
            Place::Service(id) => Self::Service(id.clone()),
            Place::Workload(id) => Self::Workload(id.clone()),
            Place::Policy(id) => Self::Policy(id.clone()),
        }
    }
}

impl FromStr for Uri {
    type Err = NoUri;

    fn from_str(text: &str) -> Result<Self, NoUri> {
        let path = text.strip_prefix(SCHEME).ok_or(NoUri)?;
        let parts: Vec<&str> = path.split('/').take(5).collect();
        // Names that Kubernetes allows need no escapes, so there are none to undo.
        if !parts.iter().all(|part| is_name(part)) {
            return Err(NoUri);
        }
        match parts.as_slice() {
            ["graph"] => Ok(Self::Graph),
            ["namespaces", name] => Ok(Self::Namespace(Text::from(*name))),
            ["services", namespace, name] => Ok(Self::Service(ServiceId::new(namespace, name))),
            ["workloads", namespace, kind, name] if lower(kind) => {
                Ok(Self::Workload(WorkloadId::new(namespace, kind, name)))
            }
            ["policies", kind, namespace, name] if lower(kind) => {
                Ok(Self::Policy(PolicyId::new(kind, namespace, name)))
            }
            _ => Err(NoUri),
        }
    }
}

/// Kinds stand in lower case in ids.
fn lower(kind: &str) -> bool {
    !kind.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Graph => write!(f, "{SCHEME}graph"),
            Self::Namespace(name) => write!(f, "{SCHEME}namespaces/{name}"),
            Self::Service(id) => write!(f, "{SCHEME}services/{id}"),
            Self::Workload(id) => write!(f, "{SCHEME}workloads/{id}"),
            Self::Policy(id) => write!(f, "{SCHEME}policies/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uri_is_written_as_it_is_read() {
        for text in [
            "mesh://graph",
            "mesh://namespaces/shop",
            "mesh://services/shop/cart",
            "mesh://workloads/shop/deployment/cart",
            "mesh://policies/httproute.policy.linkerd.io/shop/get",
        ] {
            assert_eq!(text.parse::<Uri>().map(|uri| uri.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_not_exactly_a_uri_is_none() {
        for text in [
            "",
            "mesh://",
            "mesh://graph/",
            "MESH://graph",
            "http://graph",
            "mesh://namespaces/",
            "mesh://namespaces/shop/cart",
            "mesh://services/shop",
            "mesh://workloads/shop/Deployment/cart",
            "mesh://workloads/shop/deployment/cart/more",
            "mesh://workloads/shop/deployment/c%61rt",
            "mesh://policies/server/shop/../cart",
            "mesh://namespaces/shop?x=1",
            "mesh://namespaces/sh\u{202e}op",
        ] {
            assert_eq!(text.parse::<Uri>(), Err(NoUri), "{text}");
        }
    }
}
