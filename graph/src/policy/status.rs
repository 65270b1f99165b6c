//! What Linkerd wrote into the status of routes and rate limits.

use serde_json::Value;

/// How Linkerd's controller signs its part of a route's status.
const CONTROLLER: &str = "linkerd.io/policy-controller";

/// Whether Linkerd accepted a route on a Server of its namespace; `None` when it has not said.
pub(super) fn route_accepted(status: &Value, server: &str) -> Option<bool> {
    let said: Vec<bool> = list(status, "parents")
        .filter(|parent| text(parent, "controllerName") == Some(CONTROLLER))
        .filter(|parent| {
            let to = parent.get("parentRef").unwrap_or(&Value::Null);
            text(to, "kind") == Some("Server") && text(to, "name") == Some(server)
        })
        .map(accepted)
        .collect();
    (!said.is_empty()).then(|| said.contains(&true))
}

/// Whether Linkerd accepted a rate limit; `None` when it has not said.
pub(super) fn limit_accepted(status: &Value) -> Option<bool> {
    list(status, "conditions").next().map(|_| accepted(status))
}

fn accepted(holder: &Value) -> bool {
    list(holder, "conditions").any(|condition| {
        text(condition, "type") == Some("Accepted") && text(condition, "status") == Some("True")
    })
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(controller: &str, kind: &str, accepted: &str) -> Value {
        json!({"parents": [{
            "controllerName": controller,
            "parentRef": {"group": "policy.linkerd.io", "kind": kind, "name": "web"},
            "conditions": [{"type": "Accepted", "status": accepted}]
        }]})
    }

    #[test]
    fn only_linkerds_own_word_about_a_server_counts() {
        assert_eq!(route_accepted(&status(CONTROLLER, "Server", "True"), "web"), Some(true));
        assert_eq!(route_accepted(&status(CONTROLLER, "Server", "False"), "web"), Some(false));
        assert_eq!(route_accepted(&status(CONTROLLER, "Server", "True"), "db"), None);
        assert_eq!(route_accepted(&status(CONTROLLER, "Service", "True"), "web"), None);
        assert_eq!(route_accepted(&status("example.com/gateway", "Server", "True"), "web"), None);
        assert_eq!(route_accepted(&Value::Null, "web"), None);
    }
}
