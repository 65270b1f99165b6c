//! Names of the two ends of an edge, as people read them.
//!
//! Inside the namespace of a row the namespace is left out: `deploy/web`, `svc/voting-svc:8080`. From another one it
//! comes first and is never left out: `emojivoto/svc/voting-svc:8080`. Three parts against two: there is no doubt
//! which, and `--from` and `--to` take both.

use super::text::clean;
use crate::name::short_kind;
use linkerd_mcp_proto::v1::Edge;

const IDENTITY: &str = "identity:";
const EXTERNAL: &str = "external:";

/// The namespace that a row stands in: the caller's, else the callee's.
pub(crate) fn namespace(edge: &Edge) -> &str {
    if edge.src_namespace.is_empty() { &edge.dst_namespace } else { &edge.src_namespace }
}

/// The caller, seen from the namespace of its row.
pub(crate) fn source(edge: &Edge) -> String {
    match edge.src.strip_prefix(IDENTITY) {
        Some(identity) => self::identity(identity, namespace(edge)),
        None => short(&edge.src, namespace(edge)),
    }
}

/// The callee, seen from the namespace of its row.
pub(crate) fn destination(edge: &Edge) -> String {
    short(&edge.dst, namespace(edge))
}

/// `id` seen from `namespace`.
pub(crate) fn short(id: &str, namespace: &str) -> String {
    if id.starts_with(EXTERNAL) {
        return clean(id);
    }
    let parts: Vec<&str> = id.split('/').collect();
    let (home, kind, name) = match parts[..] {
        [home, name] => (home, "service", name),
        [home, kind, name] => (home, kind, name),
        _ => return clean(id),
    };
    match home == namespace {
        true => clean(&format!("{}/{name}", short_kind(kind))),
        false => clean(&format!("{home}/{}/{name}", short_kind(kind))),
    }
}

/// A caller known by `identity` only, seen from `namespace`: its ServiceAccount, where the identity is of Linkerd's own
/// form.
pub(crate) fn identity(identity: &str, namespace: &str) -> String {
    match service_account(identity) {
        Some((home, name)) if home == namespace => clean(&format!("sa/{name}")),
        Some((home, name)) => clean(&format!("{home}/sa/{name}")),
        None => clean(&format!("{IDENTITY}{identity}")),
    }
}

/// Namespace and name of the ServiceAccount. Its name may contain dots, the namespace may not.
pub(crate) fn service_account(identity: &str) -> Option<(&str, &str)> {
    let (subject, _) = identity.split_once(".serviceaccount.identity.")?;
    let (name, namespace) = subject.rsplit_once('.')?;
    Some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_left_out_only_where_it_is_the_rows_own() {
        assert_eq!(short("shop/deployment/web", "shop"), "deploy/web");
        assert_eq!(short("shop/deployment/web", "emojivoto"), "shop/deploy/web");
        assert_eq!(short("shop/cart:80", "shop"), "svc/cart:80");
        assert_eq!(short("shop/cart:80", ""), "shop/svc/cart:80");
        assert_eq!(short("external:api.example:443", "shop"), "external:api.example:443");
        assert_eq!(short("unmeshed:no_tls_from_remote", "shop"), "unmeshed:no_tls_from_remote");
    }

    #[test]
    fn an_identity_is_shown_as_its_service_account() {
        let edge = |src: &str, namespace: &str| Edge {
            src: src.into(),
            src_namespace: namespace.into(),
            ..Edge::default()
        };
        let identity = "identity:web.v2.shop.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(source(&edge(identity, "shop")), "sa/web.v2");
        assert_eq!(source(&edge(identity, "other")), "shop/sa/web.v2");
        assert_eq!(source(&edge("identity:spiffe://root/vm", "")), "identity:spiffe://root/vm");
    }
}
