//! The Gateway API's HTTPRoute.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::GatewayHTTPRoute, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": 80}], "rules": [{"backendRefs": [{"name": "web-v2", "port": 80, "weight": 1}]}]});
        let status = json!({"parents": [{"controllerName": "linkerd.io/policy-controller", "parentRef": {"kind": "Service", "name": "web"}, "conditions": [{"type": "Accepted", "status": "True"}]}]});
        let json = policy::example("gateway.networking.k8s.io/v1", "HTTPRoute", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::GatewayHTTPRoute, "gateway.networking.k8s.io/v1", spec, status)
        );
    }
}
