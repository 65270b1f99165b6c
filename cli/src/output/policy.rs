//! Words about policy for people: decisions, and short names of what decides.

use super::{place, text::clean};
use crate::name::short_kind;
use linkerd_mcp_proto::v1::{AccessCall, Decision};
use serde::Serialize;

/// What stands for something that is not there.
pub(crate) const NONE: &str = "-";

/// A decision as the first word of an answer.
pub(crate) fn headline(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "ALLOWED",
        Decision::Deny => "DENIED",
        Decision::Audit => "AUDITED",
        Decision::UnmatchedRoute => "NO ROUTE",
        Decision::Unspecified => "UNKNOWN",
    }
}

/// A decision in a cell.
pub(crate) fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
        Decision::Audit => "audited",
        Decision::UnmatchedRoute => "no route",
        Decision::Unspecified => "unknown",
    }
}

/// True for what is let in. What is not known is not.
pub(crate) fn lets_in(decision: Decision) -> bool {
    matches!(decision, Decision::Allow | Decision::Audit)
}

/// True for a call that is let in on some routes alone: as a whole it counts as denied.
pub(crate) fn on_some_routes(call: &AccessCall) -> bool {
    !lets_in(call.decision()) && !call.only_routes.is_empty()
}

/// An object's id `kind/namespace/name` seen from `namespace`, as `kind/name` where it is in there. Of the two groups
/// with HTTPRoutes Linkerd's own goes without saying. Defaults and what is no id stay as they are.
pub(crate) fn object(id: &str, namespace: &str) -> String {
    match id.split('/').collect::<Vec<_>>()[..] {
        [kind, home, name] => {
            let kind = kind.strip_suffix(".policy.linkerd.io").unwrap_or(kind);
            let home = if home == namespace { String::new() } else { format!("{home}/") };
            clean(&format!("{kind}/{home}{name}"))
        }
        _ => clean(id),
    }
}

/// Who calls, seen from `namespace`: a workload, a ServiceAccount, an identity or an address.
pub(crate) fn client(id: &str, namespace: &str) -> String {
    match id.split('/').collect::<Vec<_>>()[..] {
        [home, "serviceaccount", name] if home == namespace => clean(&format!("sa/{name}")),
        [home, "serviceaccount", name] => clean(&format!("{home}/sa/{name}")),
        [home, kind, name] if home == namespace => clean(&format!("{}/{name}", short_kind(kind))),
        [home, kind, name] if !id.contains(':') => clean(&format!("{home}/{}/{name}", short_kind(kind))),
        _ => clean(id),
    }
}

/// Who an authorization lets in: an identity is shown as its ServiceAccount.
pub(crate) fn grantee(client: &str, namespace: &str) -> String {
    match place::service_account(client) {
        Some(_) => place::identity(client, namespace),
        None => clean(client),
    }
}

/// `shop/deployment/web` and a port, seen from `namespace`, as `deploy/web:8080`.
pub(crate) fn port(workload: &str, port: u32, namespace: &str) -> String {
    format!("{}:{port}", client(workload, namespace))
}

/// The namespace of `namespace/kind/name`.
pub(crate) fn namespace_of(workload: &str) -> &str {
    workload.split('/').next().unwrap_or_default()
}

/// Cells between commas, or [`NONE`].
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    if items.is_empty() { NONE.to_owned() } else { items.join(", ") }
}

/// A message as indented JSON.
pub(crate) fn json(message: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(message).expect("messages have text keys");
    format!("{}\n", super::text::clean_json(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_leave_out_the_namespace_that_they_are_seen_from() {
        assert_eq!(object("server/shop/web", "shop"), "server/web");
        assert_eq!(object("server/shop/web", "other"), "server/shop/web");
        assert_eq!(object("httproute.policy.linkerd.io/shop/web", "shop"), "httproute/web");
        assert_eq!(
            object("httproute.gateway.networking.k8s.io/shop/web", "shop"),
            "httproute.gateway.networking.k8s.io/web"
        );
        assert_eq!(object("default:deny", "shop"), "default:deny");
        assert_eq!(client("shop/deployment/web", "shop"), "deploy/web");
        assert_eq!(client("shop/deployment/web", ""), "shop/deploy/web");
        assert_eq!(client("shop/serviceaccount/web", "shop"), "sa/web");
        assert_eq!(client("10.4.0.7", "shop"), "10.4.0.7");
        assert_eq!(client("spiffe://a/b", "shop"), "spiffe://a/b");
        assert_eq!(port("shop/deployment/web", 80, "shop"), "deploy/web:80");
        assert_eq!(grantee("web.shop.serviceaccount.identity.linkerd.cluster.local", "shop"), "sa/web");
        assert_eq!(grantee("any mesh client", "shop"), "any mesh client");
    }

    #[test]
    fn only_what_is_let_in_is_let_in() {
        let let_in = [
            Decision::Unspecified,
            Decision::Allow,
            Decision::Deny,
            Decision::Audit,
            Decision::UnmatchedRoute,
        ]
        .map(lets_in);
        assert_eq!(let_in, [false, true, false, true, false]);
    }
}
