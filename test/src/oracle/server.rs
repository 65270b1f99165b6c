//! Which Server holds on a port, and what it says.

use super::{
    Flaw, Oracle,
    json::{POLICY, age, is, list, name, namespace, text},
};
use serde_json::{Value, json};

impl<'a> Oracle<'a> {
    /// §5.5.2: the first by (creationTimestamp, name) of the Servers that select the port.
    pub(super) fn server_of(&self, workload: &Value, port: u32) -> Option<&'a Value> {
        let mut servers = self.all("Server");
        servers.sort_by_key(|server| age(server));
        if self.has(Flaw::YoungestServer) {
            servers.reverse();
        }
        servers.into_iter().find(|server| self.selects_port(server, workload, port))
    }

    fn selects_port(&self, server: &Value, workload: &Value, port: u32) -> bool {
        namespace(server) == namespace(workload)
            && (parses(server) || self.has(Flaw::UnreadableServerCloses))
            && self.selects_workload(server, workload)
            && (self.names_port(server, workload, port) || self.has(Flaw::PortsNotCompared))
    }

    /// §5.2: podSelector is for pods alone, externalWorkloadSelector for ExternalWorkloads alone.
    fn selects_workload(&self, server: &Value, workload: &Value) -> bool {
        let selector = if is(workload, "Pod") { "podSelector" } else { "externalWorkloadSelector" };
        server["spec"].get(selector).is_some_and(|selector| self.selects(selector, workload))
    }

    /// README 1: a number needs no declaration and any protocol will do; a text is a name, also `"8080"`.
    fn names_port(&self, server: &Value, workload: &Value, port: u32) -> bool {
        match &server["spec"]["port"] {
            Value::Number(number) => number.as_u64() == Some(u64::from(port)),
            Value::String(wanted) if !self.has(Flaw::NamedPortRefused) => has_port(workload, wanted, port),
            _ => false,
        }
    }

    /// What the controller answers where a Server holds.
    pub(super) fn explicit_server(&self, server: &Value, workload: &Value, port: u32) -> Value {
        json!({
            "labels": {"group": POLICY, "kind": "server", "name": name(server)},
            "protocol": self.protocol_of(server, workload, port),
            "authorizations": self.authorizations_on_server(server),
            "server_ips": 0,
        })
    }

    /// §5.5.4, §5.5.5, README 18 and 24: HTTPRoutes where HTTP may be spoken and it is not gRPC, GRPCRoutes on gRPC,
    /// none on opaque and TLS; where none is attached, the default routes. Rate limits on the former only.
    fn protocol_of(&self, server: &Value, workload: &Value, port: u32) -> Value {
        let http = |mut protocol: Value| {
            let mut routes = self.routes_on(server, "HTTPRoute");
            if routes.is_empty() {
                routes = self.default_http_routes(workload, port);
            } else if self.has(Flaw::ProbeRouteStays) {
                routes.extend(self.default_http_routes(workload, port));
            }
            protocol["http_routes"] = json!(routes);
            protocol["rate_limit"] = self.rate_limit_on(server);
            protocol
        };
        match protocol_name(server) {
            "HTTP/1" => http(json!({"kind": "http1"})),
            "HTTP/2" => http(json!({"kind": "http2"})),
            "gRPC" => {
                let mut routes = self.routes_on(server, "GRPCRoute");
                if routes.is_empty() {
                    // README 22: one route of any RPC, and none for probes.
                    routes = vec![json!({
                        "metadata": {"default": "default"},
                        "hosts": [],
                        "rules": [{"matches": [{"rpc": {"service": "", "method": ""}}]}],
                        "authorizations": [],
                    })];
                }
                json!({"kind": "grpc", "grpc_routes": routes})
            }
            "opaque" => json!({"kind": "opaque"}),
            "TLS" => json!({"kind": "tls"}),
            _ => http(json!({"kind": "detect", "timeout_ms": 10_000})),
        }
    }
}

fn protocol_name(server: &Value) -> &str {
    server["spec"]["proxyProtocol"].as_str().unwrap_or("unknown")
}

/// README 3, §5.7.12: with a protocol there is not, or a port above 65535, a Server is as if it were not there.
fn parses(server: &Value) -> bool {
    let port = &server["spec"]["port"];
    let known = ["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"].contains(&protocol_name(server));
    known && (port.is_string() || port.as_u64().is_some_and(|port| port <= 65_535))
}

/// README 1: names of ports are compared exactly, those of TCP ports only. In a pod over all containers and
/// initContainers, where one name may mean several numbers. An ExternalWorkload has one number for a name, the last one.
fn has_port(workload: &Value, wanted: &str, port: u32) -> bool {
    let is_it = |declared: &&Value| text(declared, "/name") == wanted && is_tcp(declared);
    let port = Some(u64::from(port));
    if is(workload, "ExternalWorkload") {
        let last = list(workload, "/spec/ports").iter().rfind(is_it);
        return last.is_some_and(|declared| declared["port"].as_u64() == port);
    }
    let all = containers(workload).into_iter().flat_map(|container| list(container, "/ports"));
    all.filter(is_it).any(|declared| declared["containerPort"].as_u64() == port)
}

pub(super) fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().unwrap_or("TCP") == "TCP"
}

/// All containers of a pod, also those that start first.
pub(super) fn containers(workload: &Value) -> Vec<&Value> {
    let (all, init) = (list(workload, "/spec/containers"), list(workload, "/spec/initContainers"));
    if is(workload, "Pod") { all.iter().chain(init).collect() } else { Vec::new() }
}
