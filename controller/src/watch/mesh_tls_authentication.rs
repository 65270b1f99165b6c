//! A MeshTLSAuthentication: a set of mesh identities.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::MeshTLSAuthentication, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"identities": ["*.shop.serviceaccount.identity.linkerd.cluster.local"], "identityRefs": [{"kind": "ServiceAccount", "name": "bot"}]});
        let status = Value::Null;
        let json = policy::example("policy.linkerd.io/v1alpha1", "MeshTLSAuthentication", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::MeshTLSAuthentication, "policy.linkerd.io/v1alpha1", spec, status)
        );
    }
}
