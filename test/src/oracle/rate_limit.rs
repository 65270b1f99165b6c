//! Rate limits of a Server.

use super::{
    Oracle,
    json::{POLICY, age, list, name, namespace, refers_to, text},
};
use serde_json::{Value, json};

impl Oracle<'_> {
    /// README 24: the oldest, then by name; the others are not accepted.
    pub(super) fn rate_limit_on(&self, server: &Value) -> Value {
        let mut limits = self.all("HTTPLocalRateLimitPolicy");
        limits.sort_by_key(|limit| age(limit));
        for limit in limits {
            let target = &limit["spec"]["targetRef"];
            if namespace(limit) == namespace(server)
                && refers_to(target, POLICY, "Server")
                && text(target, "/name") == name(server)
            {
                return self.rate_limit(limit);
            }
        }
        Value::Null
    }

    fn rate_limit(&self, limit: &Value) -> Value {
        let rate = |of: &Value| of["requestsPerSecond"].clone();
        let mut overrides = Vec::new();
        for item in list(limit, "/spec/overrides") {
            let clients = list(item, "/clientRefs").iter();
            let identities: Vec<_> =
                clients.map(|client| self.identity_meant(client, namespace(limit))).collect();
            overrides.push(json!({"requests_per_second": rate(item), "identities": identities}));
        }
        json!({
            "metadata": {"group": POLICY, "kind": "HTTPLocalRateLimitPolicy", "name": name(limit)},
            "total": rate(&limit["spec"]["total"]),
            "identity": rate(&limit["spec"]["identity"]),
            "overrides": overrides,
        })
    }
}
