//! Why a change was not planned, not applied or not undone. Nothing was written when one of these is answered.

use super::{cluster, store, stream};
use crate::chain::chain;
use std::{fmt, sync::Arc};

/// Why there is no plan or no change, for the one who asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// This process was told to change nothing.
    #[error(
        "this linkerd-mcp changes nothing: it runs with --read-only (`readOnly` in the chart). Apply the manifest with your \
         own tools"
    )]
    ReadOnly,
    /// Nobody is proven to ask.
    #[error(
        "who asks is not proven, so nothing can be changed: call over the mesh, or with a ServiceAccount token"
    )]
    Nobody,
    /// The caller may not.
    #[error("{who} may not {verb} {resource} {place}: bind a Role that allows it")]
    Forbidden {
        /// The user.
        who: String,
        /// The verb of RBAC.
        verb: String,
        /// `resource.group`.
        resource: String,
        /// `in namespace x`.
        place: String,
    },
    /// Whether the caller may could not be found out.
    #[error("whether {who} may {verb} {resource} could not be decided, so it is refused: {why}. Try again")]
    Undecided {
        /// The user.
        who: String,
        /// The verb of RBAC.
        verb: String,
        /// `resource.group`.
        resource: String,
        /// What failed.
        why: String,
    },
    /// Something in the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// More than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Something that was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// There is no graph to judge by.
    #[error(
        "this replica has no graph yet, so the effect of a change cannot be judged; try again in a moment"
    )]
    NotReady,
    /// There is no Kubernetes API.
    #[error(
        "there is no Kubernetes API behind this process, so nothing can be applied here; plans are simulated only. Ask the \
         linkerd-mcp API in the cluster, or start `serve` with a kubeconfig"
    )]
    NoCluster,
    /// The token is not one that is good now.
    #[error(
        "this plan is not known: it was used, has expired ({0} after it was made), or never was. Plan again, and apply what \
         you then see"
    )]
    NoPlan(String),
    /// The plan is somebody else's, or made with another proof of identity.
    #[error(
        "this plan was made by somebody else, or with another proof of identity; it is used up now. Plan again as the one who \
         applies"
    )]
    NotYours,
    /// What was planned is not what is there.
    #[error("this plan is not what was planned: {0}. It is used up; plan again")]
    Altered(String),
    /// The manifest that came with the plan is another one.
    #[error(
        "the manifest is not the one that was planned, to the byte; the plan is used up. Leave the manifest out, or plan again"
    )]
    OtherManifest,
    /// Objects are other than they were when it was planned.
    #[error("since the plan was made: {}. Nothing was written; plan again to see what the change would do now", .0.join("; "))]
    Changed(Vec<String>),
    /// A rollback of something that is no longer as it was left.
    #[error("this change cannot be undone as it was: {0}. Nothing was written; plan a new change instead")]
    Overtaken(String),
    /// The change cannot be rolled back at all.
    #[error("{0}")]
    Unable(String),
    /// Numbers that a guard needs are not there.
    #[error(
        "the change cannot be guarded: {0}. Apply it without a guard, or when the numbers are back; the plan is still good"
    )]
    Blind(String),
    /// What the API server said.
    #[error(transparent)]
    Cluster(#[from] Arc<cluster::Fault>),
    /// Plans and changes cannot be kept.
    #[error("plans and changes cannot be kept, so nothing is written: {}", chain(.0))]
    Store(#[from] store::Error),
}

/// The kinds of refusals that the protocols tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unauthenticated,
    Forbidden,
    Invalid,
    TooLarge,
    NotFound,
    /// Not in this process, or not with this plan, however often it is asked.
    Precondition,
    /// Something else came first; ask anew.
    Conflict,
    Unavailable,
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Nobody => Fault::Unauthenticated,
            Self::Forbidden { .. } | Self::NotYours => Fault::Forbidden,
            Self::Invalid(_) => Fault::Invalid,
            Self::TooLarge(_) => Fault::TooLarge,
            Self::NotFound(_) | Self::NoPlan(_) => Fault::NotFound,
            Self::ReadOnly
            | Self::NoCluster
            | Self::Altered(_)
            | Self::OtherManifest
            | Self::Unable(_)
            | Self::Blind(_) => Fault::Precondition,
            Self::Changed(_) | Self::Overtaken(_) => Fault::Conflict,
            Self::Undecided { .. } | Self::NotReady | Self::Store(_) => Fault::Unavailable,
            Self::Cluster(fault) => match &**fault {
                cluster::Fault::Conflict { .. } | cluster::Fault::Changed { .. } => Fault::Conflict,
                cluster::Fault::Denied { .. } | cluster::Fault::NotServed { .. } => Fault::Precondition,
                cluster::Fault::Forbidden { .. } => Fault::Precondition,
                cluster::Fault::Invalid { .. } => Fault::Invalid,
                cluster::Fault::Unreachable { .. } => Fault::Unavailable,
            },
        }
    }

    /// What to do about it, in a few words.
    pub(crate) fn hint(&self) -> &'static str {
        match self.fault() {
            Fault::Unauthenticated => "say who you are: docs/identity.md",
            Fault::Forbidden => "ask for the right, or let somebody who has it do it",
            Fault::Invalid | Fault::TooLarge => "correct the request: docs/changes.md",
            Fault::NotFound => "look it up, or plan again",
            Fault::Precondition => "docs/changes.md says what is needed",
            Fault::Conflict => "plan again",
            Fault::Unavailable => "try again in a moment",
        }
    }

    /// One word for metrics and the audit log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Nobody => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::Undecided { .. } => "undecided",
            Self::Invalid(_) => "invalid",
            Self::TooLarge(_) => "too_large",
            Self::NotFound(_) => "not_found",
            Self::NotReady => "not_ready",
            Self::NoCluster => "no_cluster",
            Self::NoPlan(_) => "no_plan",
            Self::NotYours => "not_yours",
            Self::Altered(_) => "altered",
            Self::OtherManifest => "other_manifest",
            Self::Changed(_) => "changed",
            Self::Overtaken(_) => "overtaken",
            Self::Unable(_) => "unable",
            Self::Blind(_) => "blind",
            Self::Store(_) => "store",
            Self::Cluster(fault) => fault.code(),
        }
    }
}

impl From<cluster::Fault> for Refusal {
    fn from(fault: cluster::Fault) -> Self {
        Self::Cluster(Arc::new(fault))
    }
}

impl From<stream::Error> for Refusal {
    fn from(error: stream::Error) -> Self {
        match error {
            stream::Error::TooLarge(_) | stream::Error::TooMany | stream::Error::Expanded => {
                Self::TooLarge(error.to_string())
            }
            error => Self::Invalid(chain(&error)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::TooLarge => "too large",
            Self::NotFound => "not found",
            Self::Precondition => "precondition",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
        })
    }
}
