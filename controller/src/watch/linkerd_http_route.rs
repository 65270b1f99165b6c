//! Linkerd's own HTTPRoute, of group policy.linkerd.io.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::LinkerdHTTPRoute, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"}], "rules": [{"matches": [{"path": {"type": "Exact", "value": "/api"}}]}]});
        let status = json!({"parents": [{"controllerName": "linkerd.io/policy-controller", "parentRef": {"kind": "Server", "name": "web-http"}, "conditions": [{"type": "Accepted", "status": "True"}]}]});
        let json = policy::example("policy.linkerd.io/v1beta3", "HTTPRoute", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::LinkerdHTTPRoute, "policy.linkerd.io/v1beta3", spec, status)
        );
    }
}
