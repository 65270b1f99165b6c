//! What the API server's refusals mean.

use super::super::target::Target;
use kube::core::Status;

/// Why a request of ours came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Other managers have fields that the write would change.
    #[error("{object}: {}. Leave these fields out, change them with what manages them, or plan with `force`", held(.with))]
    Conflict {
        /// The object.
        object: String,
        /// Who has which field.
        with: Vec<Held>,
    },
    /// The object is another one, or in another version, or is gone or there.
    #[error("{object} has changed meanwhile: {message}")]
    Changed {
        /// The object.
        object: String,
        /// What the API server said.
        message: String,
    },
    /// An admission webhook or policy has refused it.
    #[error("{object} is not admitted: {message}")]
    Denied {
        /// The object.
        object: String,
        /// What it said, word for word.
        message: String,
    },
    /// Kubernetes does not let linkerd-mcp itself do it.
    #[error(
        "linkerd-mcp itself may not {verb} {object}: {message}. Its own rights are those of the ServiceAccount mcp-api \
         (`readOnly` in the chart)"
    )]
    Forbidden {
        /// The object.
        object: String,
        /// The verb of RBAC.
        verb: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The object is none of its kind.
    #[error("{object} is refused by the API server: {message}")]
    Invalid {
        /// The object.
        object: String,
        /// What it said.
        message: String,
    },
    /// The API server has no such kind.
    #[error(
        "{object}: the API server does not serve {api_version}; write a version that it serves, or install the CRD"
    )]
    NotServed {
        /// The object.
        object: String,
        /// `group/version`.
        api_version: String,
    },
    /// It did not answer, or could not.
    #[error("the API server could not be asked about {object}: {why}")]
    Unreachable {
        /// The object.
        object: String,
        /// Why not.
        why: String,
        /// True when it may have done it all the same.
        sent: bool,
    },
}

/// A field that somebody else manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The field, as in `.spec.port`.
    pub field: String,
    /// What the API server says of it, the manager's name in quotes.
    pub message: String,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Create,
    Patch,
    Delete,
}

/// The longest text of the API server that is passed on.
const MOST_TEXT: usize = 2_000;

fn held(with: &[Held]) -> String {
    let one = |held: &Held| format!("`{}` is in {}", held.field, held.message);
    with.iter().take(10).map(one).collect::<Vec<_>>().join("; ")
}

/// What the error of a request means.
pub(super) fn of(target: &Target, verb: Verb, error: kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => of_status(target, verb, &status),
        error => Fault::Unreachable {
            object: target.to_string(),
            // The texts of these name addresses and nothing that helps the one who asks.
            why: match error {
                kube::Error::SerdeError(_) => "its answer was not understood".to_owned(),
                _ => "there was no answer".to_owned(),
            },
            sent: verb != Verb::Get,
        },
    }
}

fn of_status(target: &Target, verb: Verb, status: &Status) -> Fault {
    let object = target.to_string();
    let message: String = status.message.chars().take(MOST_TEXT).collect();
    // Policies and webhooks choose the code of their refusals, so their words go first.
    let by_admission = message.contains("admission webhook \"") && message.contains("denied the request")
        || message.contains("ValidatingAdmissionPolicy '");
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let with: Vec<Held> = causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| Held { field: cause.field.clone(), message: cause.message.clone() })
        .collect();
    match status.code {
        _ if by_admission => Fault::Denied { object, message },
        409 if !with.is_empty() => Fault::Conflict { object, with },
        409 => Fault::Changed { object, message },
        403 if message.contains("User \"") && message.contains(" cannot ") => {
            Fault::Forbidden { object, verb: verb.as_str(), message }
        }
        403 => Fault::Denied { object, message },
        // Without details it is the path that is not found, not the object.
        404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
            Fault::NotServed { object, api_version: target.api_version.clone() }
        }
        404 => Fault::Changed { object, message },
        400 | 413 | 415 | 422 => Fault::Invalid { object, message },
        code => {
            Fault::Unreachable { object, why: format!("it answered {code}: {message}"), sent: code >= 500 }
        }
    }
}

// === impl Fault ===

impl Fault {
    /// One word for metrics and the audit log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Changed { .. } => "changed",
            Self::Denied { .. } => "denied",
            Self::Forbidden { .. } => "own_right",
            Self::Invalid { .. } => "invalid_object",
            Self::NotServed { .. } => "not_served",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// True when the only manager in the way is `manager`, in another role: what it put back after a change.
    pub(crate) fn is_only_with(&self, manager: &str) -> bool {
        let own = format!("conflict with \"{manager}\"");
        matches!(self, Self::Conflict { with, .. } if with.iter().all(|held| held.message.starts_with(&own)))
    }
}

// === impl Verb ===

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_graph::kind::Kind;
    use serde_json::{Value, json};

    fn target() -> Target {
        Target::new(Kind::Server, "policy.linkerd.io/v1beta3", "shop", "web")
    }

    fn fault(status: Value) -> Fault {
        of_status(&target(), Verb::Patch, &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn refusals_of_admission_are_told_from_missing_rights() {
        let denied = "servers.policy.linkerd.io \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' \
                      denied request: no";
        for (code, message) in [
            (422, denied),
            (403, denied),
            (400, "admission webhook \"v.linkerd.io\" denied the request: port 0"),
            (
                403,
                "servers.policy.linkerd.io \"web\" is forbidden: unable to create new content in namespace shop",
            ),
        ] {
            let fault = fault(json!({"code": code, "message": message}));
            assert!(matches!(&fault, Fault::Denied { message: said, .. } if said == message), "{fault:?}");
        }
        let own =
            "servers.policy.linkerd.io \"web\" is forbidden: User \"me\" cannot patch resource \"servers\"";
        assert!(matches!(
            fault(json!({"code": 403, "message": own})),
            Fault::Forbidden { verb: "patch", .. }
        ));
    }

    #[test]
    fn a_conflict_names_the_manager_and_the_field() {
        let message = "conflict with \"kubectl\" using policy.linkerd.io/v1beta3";
        let cause = json!({"reason": "FieldManagerConflict", "message": message, "field": ".spec.port"});
        let fault = fault(json!({"code": 409, "details": {"causes": [cause]}}));
        assert!(!fault.is_only_with("linkerd-mcp"));
        assert!(fault.is_only_with("kubectl"));
        assert_eq!(
            fault.to_string(),
            "Server shop/web: `.spec.port` is in conflict with \"kubectl\" using policy.linkerd.io/v1beta3. Leave these \
             fields out, change them with what manages them, or plan with `force`"
        );
    }

    #[test]
    fn an_object_that_is_gone_is_told_from_a_kind_that_is_not_served() {
        let gone = fault(json!({"code": 404, "details": {"name": "web", "kind": "servers"}}));
        assert!(matches!(gone, Fault::Changed { .. }), "{gone:?}");
        let unknown = fault(json!({"code": 404, "message": "404 page not found"}));
        assert!(matches!(unknown, Fault::NotServed { .. }), "{unknown:?}");
    }
}
