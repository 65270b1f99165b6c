//! The routes of Servers that have none.

use super::{
    Flaw, Oracle,
    json::{list, text},
    server::{containers, is_tcp},
};
use serde_json::{Value, json};

impl Oracle<'_> {
    /// §5.5.5: one that takes everything, and one for probes where there are any and the controller knows from where
    /// they come (README 23).
    pub(super) fn default_http_routes(&self, workload: &Value, port: u32) -> Vec<Value> {
        let mut routes = vec![json!({
            "metadata": {"default": "default"},
            "hosts": [],
            "rules": [{"matches": [{"path": {"prefix": "/"}}]}],
            "authorizations": [],
        })];
        let (mut paths, networks) = (probed(workload, port), self.setting_list("probe_networks"));
        paths.sort();
        paths.dedup();
        if !paths.is_empty() && !networks.is_empty() && !self.has(Flaw::ProbesIgnored) {
            let matches: Vec<Value> =
                paths.iter().map(|path| json!({"path": {"exact": path}, "method": "GET"})).collect();
            let networks: Vec<Value> = networks.iter().map(|net| json!({"net": net, "except": []})).collect();
            routes.push(json!({
                "metadata": {"default": "probe"},
                "hosts": [],
                "rules": [{"matches": matches}],
                "authorizations": [{
                    "metadata": {"default": "probe"},
                    "labels": {"group": "", "kind": "default", "name": "probe"},
                    "networks": networks,
                    "authentication": {"unauthenticated": {}},
                }],
            }));
        }
        routes
    }
}

/// README 23: httpGet of all containers, HTTP or HTTPS; the query is cut, no path is `/`, one without a leading slash
/// is nothing.
fn probed(workload: &Value, port: u32) -> Vec<String> {
    let mut paths = Vec::new();
    for container in containers(workload) {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let Some(get) = container.get(probe).and_then(|probe| probe.get("httpGet")) else { continue };
            if is_port(container, &get["port"], port) {
                let path = get["path"].as_str().unwrap_or("/").split('?').next().unwrap_or_default();
                paths.push(if path.starts_with('/') { path.to_owned() } else { String::new() });
            }
        }
    }
    paths
}

/// README 23: a name is looked up in its own container, without letter case, and is its first TCP port of that name; a
/// number needs no declaration.
fn is_port(container: &Value, probed: &Value, port: u32) -> bool {
    let port = Some(u64::from(port));
    match probed.as_str() {
        Some(wanted) => list(container, "/ports")
            .iter()
            .find(|declared| text(declared, "/name").eq_ignore_ascii_case(wanted) && is_tcp(declared))
            .is_some_and(|declared| declared["containerPort"].as_u64() == port),
        None => probed.as_u64() == port,
    }
}
