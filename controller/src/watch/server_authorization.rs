//! A ServerAuthorization: the older way to open Servers.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::ServerAuthorization, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"server": {"name": "web-http"}, "client": {"meshTLS": {"serviceAccounts": [{"name": "bot"}]}}});
        let status = Value::Null;
        let json = policy::example("policy.linkerd.io/v1beta1", "ServerAuthorization", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::ServerAuthorization, "policy.linkerd.io/v1beta1", spec, status)
        );
    }
}
