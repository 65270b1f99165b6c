//! Who asks: one [`Principal`], whatever proved it.
//!
//! ```text
//! mesh listener   l5d-client-id, set by the inbound proxy    ┐
//!                 behind a gateway also an access token      │
//! tls listener    the verified certificate's name            ├─► Principal ─► request extensions ─► rights, limits, audit
//! local listener  a ServiceAccount token, by TokenReview     ┘
//! ```
//!
//! What reads a proof is in the files beside this one; [`listener`] is where they come together. Nothing else in a request says who asks: headers and labels that
//! a caller can choose are never looked at.

pub mod args;
pub mod bearer;
pub mod certificate;
pub mod certify;
pub mod header;
pub mod listener;
pub mod metrics;
pub mod oauth;
pub mod pod;
pub mod refused;
pub mod roots;
pub mod tls;
pub mod token;

pub use listener::{Local, Mesh};
pub use oauth::Resource;
pub use tls::Tls;
pub use token::Reviews;

use std::{fmt, sync::Arc};

/// Who asks, and how that was proved. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The Kubernetes user that stands for the caller: `system:serviceaccount:<namespace>:<name>` for a ServiceAccount,
    /// whichever way it came; for another identity [`Principal::OTHERS`] and the identity.
    pub user: Arc<str>,
    /// The groups of that user, as Kubernetes gives them.
    pub groups: Arc<[Arc<str>]>,
    /// The identity as it was proved: of the mesh (`<name>.<namespace>.serviceaccount.identity.…` or `spiffe://…`), or
    /// the user.
    pub identity: Arc<str>,
    /// What proved it.
    pub proof: Proof,
}

/// What proves an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The pod's own inbound proxy, which terminated mutual TLS.
    Mesh,
    /// A client certificate, verified here.
    Certificate,
    /// A ServiceAccount token, by TokenReview.
    Token,
    /// An access token of an authorization server.
    OAuth,
    /// Nothing but reaching a loopback address of the machine that runs `serve` or `demo`.
    Machine,
}

/// `<name>.<namespace>.serviceaccount.identity.<control plane's namespace>.<trust domain>` (linkerd
/// controller/identity/domain.go).
const SERVICE_ACCOUNT: &str = ".serviceaccount.identity.";

// === impl Principal ===

impl Principal {
    /// Put before an identity of the mesh that is no ServiceAccount's, so that none can pass for a user of Kubernetes.
    pub const OTHERS: &'static str = "linkerd-mcp:";

    /// A ServiceAccount of this cluster.
    pub fn service_account(namespace: &str, name: &str, identity: &str, proof: Proof) -> Self {
        let groups = [
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}").into(),
            "system:authenticated".into(),
        ];
        let user = format!("system:serviceaccount:{namespace}:{name}").into();
        Self { user, groups: groups.into(), identity: identity.into(), proof }
    }

    /// Whoever has this identity of the mesh. `suffix` is `<control plane's namespace>.<trust domain>` of this cluster:
    /// the name of a ServiceAccount under another one is no ServiceAccount of ours.
    pub fn of_identity(identity: &str, suffix: &str, proof: Proof) -> Self {
        // A name may contain dots, a namespace may not.
        let account = identity
            .strip_suffix(suffix)
            .and_then(|rest| rest.strip_suffix(SERVICE_ACCOUNT))
            .and_then(|account| account.rsplit_once('.'))
            .filter(|(name, namespace)| !name.is_empty() && !namespace.is_empty());
        match account {
            Some((name, namespace)) => Self::service_account(namespace, name, identity, proof),
            None => Self {
                user: format!("{}{identity}", Self::OTHERS).into(),
                groups: ["system:authenticated".into()].into(),
                identity: identity.into(),
                proof,
            },
        }
    }

    /// Whoever uses the machine that `serve` or `demo` runs on.
    pub fn machine() -> Self {
        let (user, identity) = (format!("{}local", Self::OTHERS).into(), "local".into());
        Self { user, groups: [].into(), identity, proof: Proof::Machine }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.identity)
    }
}

// === impl Proof ===

impl Proof {
    /// For logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::OAuth => "oauth",
            Self::Machine => "machine",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: &str = "linkerd.cluster.local";

    fn user(identity: &str) -> String {
        Principal::of_identity(identity, SUFFIX, Proof::Mesh).user.to_string()
    }

    #[test]
    fn the_identity_of_a_service_account_is_its_kubernetes_user() {
        let web = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
        let principal = Principal::of_identity(web, SUFFIX, Proof::Mesh);
        assert_eq!(&*principal.user, "system:serviceaccount:emojivoto:web");
        let groups: Vec<&str> = principal.groups.iter().map(|it| &**it).collect();
        assert_eq!(
            groups,
            ["system:serviceaccounts", "system:serviceaccounts:emojivoto", "system:authenticated"]
        );
        assert_eq!(&*principal.identity, web);
    }

    #[test]
    fn a_service_accounts_name_may_have_dots_and_its_namespace_has_none() {
        assert_eq!(
            user("a.b.c.ns.serviceaccount.identity.linkerd.cluster.local"),
            "system:serviceaccount:ns:a.b.c"
        );
    }

    #[test]
    fn what_is_no_service_account_of_this_mesh_cannot_pass_for_a_user_of_kubernetes() {
        for identity in [
            "web.emojivoto.serviceaccount.identity.linkerd.other.local",
            "web.emojivoto.serviceaccount.identity.xlinkerd.cluster.local",
            "web.serviceaccount.identity.linkerd.cluster.local",
            ".ns.serviceaccount.identity.linkerd.cluster.local",
            "web..serviceaccount.identity.linkerd.cluster.local",
            "spiffe://cluster.local/ns/emojivoto/sa/web",
            "system:masters",
            "system:serviceaccount:kube-system:admin",
            "",
        ] {
            let principal = Principal::of_identity(identity, SUFFIX, Proof::Certificate);
            assert_eq!(*principal.user, format!("linkerd-mcp:{identity}"));
            assert_eq!(principal.groups.len(), 1, "{identity}");
        }
    }
}
