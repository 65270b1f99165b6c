//! An AuthorizationPolicy: who may reach a Server, a route or a namespace's Servers.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::AuthorizationPolicy, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"}, "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "bot"}]});
        let status = Value::Null;
        let json = policy::example("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::AuthorizationPolicy, "policy.linkerd.io/v1alpha1", spec, status)
        );
    }
}
