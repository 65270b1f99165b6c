//! A Server: a port of some pods, and its access policy.

use super::{FactError, policy};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    policy::fact(Kind::Server, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn spec_status_labels_and_age_are_kept() {
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "port": "http", "proxyProtocol": "HTTP/1", "accessPolicy": "deny"});
        let status = Value::Null;
        let json = policy::example("policy.linkerd.io/v1beta3", "Server", &spec, &status);
        assert_eq!(
            fact(&json).expect("an object of the kind"),
            policy::mk_policy(Kind::Server, "policy.linkerd.io/v1beta3", spec, status)
        );
    }
}
