//! The Gateway API's TCPRoute.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::TCPRoute, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"parentRefs": [{"kind": "Service", "group": "core", "name": "db", "port": 5432}], "rules": [{"backendRefs": [{"name": "db-v2", "port": 5432}]}]});
        let status = Value::Null;
        let json = policy::example("gateway.networking.k8s.io/v1alpha2", "TCPRoute", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::TCPRoute, "gateway.networking.k8s.io/v1alpha2", spec, status)
        );
    }
}
