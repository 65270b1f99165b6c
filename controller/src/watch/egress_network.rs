//! An EgressNetwork: what may be called outside the cluster.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::EgressNetwork, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec =
            json!({"trafficPolicy": "Deny", "networks": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]});
        let status = json!({"conditions": [{"type": "Accepted", "status": "True", "reason": "EgressNetReasonAccepted"}]});
        let json = policy::example("policy.linkerd.io/v1alpha1", "EgressNetwork", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::EgressNetwork, "policy.linkerd.io/v1alpha1", spec, status)
        );
    }
}
