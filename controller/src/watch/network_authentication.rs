//! A NetworkAuthentication: a set of client networks.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::NetworkAuthentication, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}]});
        let status = Value::Null;
        let json = policy::example("policy.linkerd.io/v1alpha1", "NetworkAuthentication", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::NetworkAuthentication, "policy.linkerd.io/v1alpha1", spec, status)
        );
    }
}
