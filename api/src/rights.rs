//! What callers may do: Kubernetes RBAC decides, asked by SubjectAccessReview for the caller.
//!
//! What is no object of Kubernetes (to see the graph, to plan a change) is a virtual resource of the group [`GROUP`], so
//! that Roles can name it. Who cannot be decided about is refused.

use crate::caller::{Principal, Proof};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::{Api, api::PostParams};
use std::{borrow::Cow, fmt};

/// The group of what linkerd-mcp lets do and Kubernetes has no object of.
pub const GROUP: &str = "mcp.linkerd.io";

/// Something that a caller wants to do, in the words of RBAC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deed {
    /// `get`, `list`, `watch`, `create`, `patch` or `delete`.
    pub verb: Cow<'static, str>,
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The resource, in the plural.
    pub resource: Cow<'static, str>,
    /// The namespace; none for all of them.
    pub namespace: Option<String>,
    /// The object; none for all of them.
    pub name: Option<String>,
}

/// What may be done, as decided for one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may not.
    Denied,
    /// Nobody could decide, for this reason; it may not be done.
    Undecided(String),
}

/// Decides. Cloning shares it.
#[derive(Clone)]
pub struct Rights {
    judge: Judge,
}

#[derive(Clone)]
enum Judge {
    /// The API server.
    Kubernetes(kube::Client),
    /// Whoever uses the machine may do all that linkerd-mcp itself can do there; nobody else may do anything.
    Machine,
}

// === impl Rights ===

impl Rights {
    /// The API server decides.
    pub fn kubernetes(client: kube::Client) -> Self {
        Self { judge: Judge::Kubernetes(client) }
    }

    /// For `serve` and `demo`: [`Principal::machine`] may do everything, nobody else anything.
    pub fn machine() -> Self {
        Self { judge: Judge::Machine }
    }

    /// May the caller do it?
    pub async fn decide(&self, who: &Principal, deed: &Deed) -> Verdict {
        match &self.judge {
            Judge::Machine if who.proof == Proof::Machine => Verdict::Allowed,
            Judge::Machine => Verdict::Denied,
            Judge::Kubernetes(client) => {
                let review = SubjectAccessReview { spec: spec(who, deed), ..SubjectAccessReview::default() };
                match Api::all(client.clone()).create(&PostParams::default(), &review).await {
                    Ok(SubjectAccessReview { status: Some(status), .. }) => verdict(status),
                    Ok(_) => Verdict::Undecided("the API server's review has no answer".to_owned()),
                    Err(error) => Verdict::Undecided(error.to_string()),
                }
            }
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judge = match self.judge {
            Judge::Kubernetes(_) => "Kubernetes",
            Judge::Machine => "Machine",
        };
        f.debug_struct("Rights").field("judge", &judge).finish()
    }
}

fn spec(who: &Principal, deed: &Deed) -> SubjectAccessReviewSpec {
    let Deed { verb, group, resource, namespace, name } = deed;
    SubjectAccessReviewSpec {
        user: Some(who.user.to_string()),
        groups: Some(who.groups.iter().map(ToString::to_string).collect()),
        resource_attributes: Some(ResourceAttributes {
            verb: Some(verb.to_string()),
            group: Some(group.to_string()),
            resource: Some(resource.to_string()),
            namespace: namespace.clone(),
            name: name.clone(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// `denied` overrules `allowed`, and an error without either is no decision (authorization.k8s.io/v1).
fn verdict(status: SubjectAccessReviewStatus) -> Verdict {
    match (status.allowed, status.denied, status.evaluation_error) {
        (_, Some(true), _) => Verdict::Denied,
        (true, _, _) => Verdict::Allowed,
        (false, _, Some(error)) => Verdict::Undecided(error),
        (false, _, None) => Verdict::Denied,
    }
}
