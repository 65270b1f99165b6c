//! The Gateway API's GRPCRoute.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::GRPCRoute, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "vote-grpc"}], "rules": [{"matches": [{"method": {"service": "shop.v1.Vote", "method": "Cast"}}]}]});
        let status = Value::Null;
        let json = policy::example("gateway.networking.k8s.io/v1", "GRPCRoute", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::GRPCRoute, "gateway.networking.k8s.io/v1", spec, status)
        );
    }
}
