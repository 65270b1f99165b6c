//! The Gateway API's TLSRoute.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::TLSRoute, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"parentRefs": [{"group": "policy.linkerd.io", "kind": "EgressNetwork", "name": "all", "port": 443}], "hostnames": ["example.com"], "rules": [{"backendRefs": []}]});
        let status = Value::Null;
        let json = policy::example("gateway.networking.k8s.io/v1alpha2", "TLSRoute", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::TLSRoute, "gateway.networking.k8s.io/v1alpha2", spec, status)
        );
    }
}
