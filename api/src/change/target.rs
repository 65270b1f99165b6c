//! Which object of the API server is meant.

use crate::{
    graph::{fact::Key, id::PolicyId, kind::Kind},
    rights::Deed,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One object, in one version of its API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// `group/version`.
    pub(crate) api_version: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

// === impl Target ===

impl Target {
    pub(crate) fn new(kind: Kind, api_version: &str, namespace: &str, name: &str) -> Self {
        let (api_version, namespace, name) = (api_version.to_owned(), namespace.to_owned(), name.to_owned());
        Self { kind, api_version, namespace, name }
    }

    /// Its id in the graph.
    pub(crate) fn id(&self) -> PolicyId {
        PolicyId::new(self.kind.policy_prefix(), &self.namespace, &self.name)
    }

    /// Its name as facts have it.
    pub(crate) fn key(&self) -> Key {
        Key::new(self.namespace.as_str(), self.name.as_str())
    }

    /// Where objects of its kind and namespace are.
    pub(crate) fn collection(&self) -> String {
        format!("/apis/{}/namespaces/{}/{}", self.api_version, self.namespace, self.kind.row().plural)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// What somebody must be allowed to, to do `verb` with it.
    pub(crate) fn deed(&self, verb: &'static str) -> Deed {
        let row = self.kind.row();
        Deed {
            verb: verb.into(),
            group: row.group.into(),
            resource: row.plural.into(),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.row().name, self.namespace, self.name)
    }
}

/// True when Kubernetes could have it as the name of an object or namespace, and it can stand in a path.
pub(crate) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(known)
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lead_elsewhere_is_no_name() {
        for good in ["web", "web-1", "a.b.c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "..", ".", "a..b", "web/x", "Web", "a b", "web?x=1", "web%2f", &"a".repeat(254)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_object_has_one_place() {
        let target = Target::new(Kind::GatewayHTTPRoute, "gateway.networking.k8s.io/v1", "shop", "cart");
        assert_eq!(target.path(), "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/cart");
        assert_eq!(target.id().as_str(), "httproute.gateway.networking.k8s.io/shop/cart");
    }
}
