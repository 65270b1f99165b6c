//! An HTTPLocalRateLimitPolicy: how many requests a Server takes.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::HTTPLocalRateLimitPolicy, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"}, "total": {"requestsPerSecond": 100}});
        let status = json!({"conditions": [{"type": "Accepted", "status": "True", "reason": "RateLimitReasonAccepted"}], "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"}});
        let json = policy::example("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::HTTPLocalRateLimitPolicy, "policy.linkerd.io/v1alpha1", spec, status)
        );
    }
}
