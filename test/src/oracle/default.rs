//! What holds on a port without a Server, and the policies that go by a name.

use super::{
    Flaw, Oracle,
    json::{annotation, text},
};
use serde_json::{Value, json};

const NAMES: [&str; 6] = [
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
];

impl Oracle<'_> {
    /// §5.5.2 and §5.5.3: the default policy alone, whatever policies the namespace has.
    pub(super) fn default_server(&self, workload: &Value, port: u32) -> Value {
        let policy = self.default_policy(workload, port);
        let protocol = if self.lists_port(workload, "config.linkerd.io/opaque-ports", port) {
            json!({"kind": "opaque"})
        } else {
            let routes = self.default_http_routes(workload, port);
            json!({"kind": "detect", "timeout_ms": 10_000, "http_routes": routes, "rate_limit": null})
        };
        let mut authorizations = self.default_authorizations(policy);
        if self.has(Flaw::NamespacePoliciesReachDefaults) {
            authorizations.extend(self.namespace_authorizations(text(workload, "/metadata/namespace")));
        }
        json!({
            "labels": {"group": "", "kind": "default", "name": policy},
            "protocol": protocol,
            "authorizations": authorizations,
            "server_ips": 0,
        })
    }

    /// §5.4, README 5 and 7: the workload's own annotation if it is one of the six, else the cluster's; ports that
    /// require identity turn the unauthenticated ones into their authenticated forms.
    fn default_policy(&self, workload: &Value, port: u32) -> &'static str {
        let annotated = annotation(workload, "config.linkerd.io/default-inbound-policy").unwrap_or_default();
        let cluster = text(self.cluster, "/default_policy");
        let known = |wanted: &str| NAMES.into_iter().find(|name| *name == wanted);
        let policy =
            known(annotated).or_else(|| known(cluster)).expect("the cluster's policy is one of the six");
        if self.has(Flaw::DefaultPolicyIgnored) {
            return "all-unauthenticated";
        }
        if self.lists_port(workload, "config.linkerd.io/proxy-require-identity-inbound-ports", port) {
            match policy {
                "all-unauthenticated" => return "all-authenticated",
                "cluster-unauthenticated" => return "cluster-authenticated",
                _ => {}
            }
        }
        policy
    }

    /// §5.5.3, README 9: whom a policy of a name lets in. `deny`, and what is no such name, nobody.
    pub(super) fn default_authorizations(&self, policy: &str) -> Vec<Value> {
        if !NAMES.contains(&policy) || policy == "deny" || (policy == "audit" && self.has(Flaw::AuditRefuses))
        {
            return Vec::new();
        }
        let networks = if policy.starts_with("cluster-") { self.cluster_networks() } else { all_networks() };
        let any_dns_name = json!({"mesh_tls": {"identities": [], "suffixes": [[]]}});
        let authentication =
            if policy.ends_with("-authenticated") { any_dns_name } else { json!({"unauthenticated": {}}) };
        vec![json!({
            "metadata": {"default": policy},
            "labels": {"group": "", "kind": "default", "name": policy},
            "networks": networks,
            "authentication": authentication,
        })]
    }

    pub(super) fn cluster_networks(&self) -> Vec<Value> {
        let networks = self.setting_list("cluster_networks");
        networks.into_iter().map(|net| json!({"net": net, "except": []})).collect()
    }

    fn lists_port(&self, workload: &Value, list: &str, port: u32) -> bool {
        let Some(value) = annotation(workload, list) else { return false };
        let ranges = if self.has(Flaw::BadPortPassedOver) {
            Some(value.split(',').filter_map(port_range).collect())
        } else {
            port_ranges(value)
        };
        ranges.is_some_and(|ranges: Vec<(u32, u32)>| {
            ranges.iter().any(|(low, high)| *low <= port && port <= *high)
        })
    }
}

/// README 9: an authorization without networks of its own is for these.
pub(super) fn all_networks() -> Vec<Value> {
    vec![json!({"net": "0.0.0.0/0", "except": []}), json!({"net": "::/0", "except": []})]
}

/// §5.7.7: numbers and ranges, with spaces around them; one bad entry drops the whole list.
pub(super) fn port_ranges(value: &str) -> Option<Vec<(u32, u32)>> {
    value.split(',').map(port_range).collect()
}

fn port_range(entry: &str) -> Option<(u32, u32)> {
    let (low, high) = entry.split_once('-').unwrap_or((entry, entry));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (1 <= low && low <= high && high <= 65_535).then_some((low, high))
}
