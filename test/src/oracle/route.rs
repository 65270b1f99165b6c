//! Which routes are attached to a Server, and what they match.

use super::{
    Flaw, Oracle,
    json::{GATEWAY, POLICY, age, group, list, name, namespace, reference_namespace, refers_to, text},
};
use serde_json::{Map, Value, json};

impl Oracle<'_> {
    /// §5.5.4 and §5.7.1, in the order of README 19: by time, name, group.
    pub(super) fn routes_on(&self, server: &Value, kind: &str) -> Vec<Value> {
        let mut routes = self.all(kind);
        routes.sort_by_key(|route| (age(route), group(route)));
        let attached = routes.into_iter().filter(|route| self.is_attached(route, server));
        attached
            .map(|route| {
                json!({
                    "metadata": {"group": group(route), "kind": kind, "name": name(route)},
                    "hosts": list(route, "/spec/hostnames").iter().filter_map(Value::as_str).map(host).collect::<Vec<_>>(),
                    "rules": list(route, "/spec/rules").iter().map(|rule| rule_of(rule, kind)).collect::<Vec<_>>(),
                    "authorizations": self.authorizations_on_route(route),
                })
            })
            .collect()
    }

    fn is_attached(&self, route: &Value, server: &Value) -> bool {
        let belongs = [POLICY, GATEWAY].contains(&group(route))
            && namespace(route) == namespace(server)
            && has_parent(route, server);
        let is_kept_off = (self.is_conflicted(route, server) && !self.has(Flaw::ConflictIgnored))
            || (is_spoiled(route) && !self.has(Flaw::SpoiledRouteAttached))
            || is_unusable(route);
        belongs && !is_kept_off
    }

    /// §5.7.2: a GRPCRoute of any namespace that names the Server, usable or not, keeps every HTTPRoute off it.
    fn is_conflicted(&self, route: &Value, server: &Value) -> bool {
        route["kind"] == "HTTPRoute" && self.all("GRPCRoute").iter().any(|other| has_parent(other, server))
    }
}

/// README 14 and 20: kind and group of a parent without letter case; absent they are a Gateway's.
fn has_parent(route: &Value, server: &Value) -> bool {
    list(route, "/spec/parentRefs").iter().any(|parent| {
        refers_to(parent, POLICY, "Server")
            && reference_namespace(parent, namespace(route)) == namespace(server)
            && text(parent, "/name") == name(server)
    })
}

/// README 16: one parent that is a Server elsewhere, or has a port or section, spoils the route for all.
fn is_spoiled(route: &Value) -> bool {
    list(route, "/spec/parentRefs").iter().any(|parent| {
        refers_to(parent, POLICY, "Server")
            && (reference_namespace(parent, namespace(route)) != namespace(route)
                || parent.get("port").is_some()
                || parent.get("sectionName").is_some())
    })
}

/// README 16, and the cases route-relative-path and grpcroute-regex-method.
fn is_unusable(route: &Value) -> bool {
    let filters = ["URLRewrite", "RequestMirror", "ExtensionRef"];
    list(route, "/spec/rules").iter().any(|rule| {
        let matches = list(rule, "/matches");
        list(rule, "/filters").iter().any(|filter| filters.contains(&text(filter, "/type")))
            || matches.iter().any(|item| {
                let path = item["path"]["value"].as_str();
                let is_pattern = item["path"]["type"] == "RegularExpression";
                (path.is_some_and(|path| !path.starts_with('/')) && !is_pattern)
                    || item["method"]["type"] == "RegularExpression"
            })
    })
}

fn host(host: &str) -> Value {
    match host.strip_prefix("*.") {
        Some(suffix) => json!({"suffix_reverse_labels": suffix.split('.').rev().collect::<Vec<_>>()}),
        None => json!({"exact": host}),
    }
}

fn rule_of(rule: &Value, kind: &str) -> Value {
    let one = if kind == "GRPCRoute" { grpc_match } else { http_match };
    json!({"matches": list(rule, "/matches").iter().map(one).collect::<Vec<_>>()})
}

/// README 1, form: path, headers, query parameters, method; what is not asked for is left out.
fn http_match(item: &Value) -> Value {
    let mut read = Map::new();
    if let Some(path) = item.get("path") {
        let how = match path["type"].as_str() {
            Some("Exact") => "exact",
            Some("RegularExpression") => "regex",
            _ => "prefix",
        };
        read.insert("path".to_owned(), json!({how: path["value"].as_str().unwrap_or("/")}));
    }
    values(&mut read, "headers", list(item, "/headers"));
    values(&mut read, "query_params", list(item, "/queryParams"));
    if let Some(method) = item.get("method") {
        read.insert("method".to_owned(), method.clone());
    }
    Value::Object(read)
}

/// README, proxy side: a match without method is sent without `rpc`.
fn grpc_match(item: &Value) -> Value {
    let mut read = Map::new();
    if let Some(method) = item.get("method") {
        let rpc = json!({"service": text(method, "/service"), "method": text(method, "/method")});
        read.insert("rpc".to_owned(), rpc);
    }
    values(&mut read, "headers", list(item, "/headers"));
    Value::Object(read)
}

fn values(read: &mut Map<String, Value>, key: &str, items: &[Value]) {
    let items: Vec<Value> = items
        .iter()
        .map(|item| {
            let how = if item["type"] == "RegularExpression" { "regex" } else { "exact" };
            // A header's name has no letter case and is sent in lower case, as HTTP/2 has it.
            let name = text(item, "/name");
            let name = if key == "headers" { name.to_lowercase() } else { name.to_owned() };
            json!({"name": name, how: item["value"]})
        })
        .collect();
    if !items.is_empty() {
        read.insert(key.to_owned(), json!(items));
    }
}
