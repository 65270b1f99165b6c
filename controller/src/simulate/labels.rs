//! The labels of a proxy's metrics, in the order and with the empty values of recorded proxies.

use super::{
    mesh::{
        ADMIN_PORT, Backend, DEFAULT_POLICY, Decision, EgressNetwork, LINKERD, Mesh, Pod, Service, Workload,
        WorkloadKind,
    },
    proxy::{Labels, Texts},
};
use crate::graph::id::Text;
use std::net::Ipv4Addr;

/// Labels while they are put together.
#[derive(Debug, Clone, Default)]
pub(super) struct List(Vec<(&'static str, String)>);

// === impl List ===

impl List {
    fn add(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    /// With more labels behind.
    pub(super) fn with(&self, more: &[(&'static str, &str)]) -> Self {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Self(self.0.iter().cloned().chain(more).collect())
    }

    /// For TCP metrics: `peer` stands second.
    pub(super) fn with_peer(&self, peer: &str) -> Self {
        let mut list = self.clone();
        list.0.insert(1, ("peer", peer.to_owned()));
        list
    }

    pub(super) fn intern(&self, texts: &mut Texts) -> Labels {
        self.0.iter().map(|(name, value)| (texts.get(name), texts.get(value))).collect()
    }
}

/// What a scraper configured as viz's adds to the series of a pod.
pub(super) fn target(workload: &Workload, pod: &Pod, texts: &mut Texts) -> Vec<(Text, Text)> {
    let mut list = List::default();
    list.add("job", "linkerd-proxy");
    list.add("namespace", &workload.namespace);
    list.add("pod", &pod.name);
    if let Some(label) = workload.owner_label() {
        list.add(label, &workload.name);
    }
    list.add("control_plane_ns", LINKERD);
    list.add("workload_ns", &workload.namespace);
    list.add("app", &workload.name);
    if workload.owner_label() == Some("deployment") {
        list.add("pod_template_hash", workload.template_hash());
    }
    list.intern(texts).to_vec()
}

fn address(list: &mut List, ip: Ipv4Addr, port: u16) {
    list.add("target_addr", format_args!("{ip}:{port}"));
    list.add("target_ip", ip);
    list.add("target_port", port);
}

/// The client's proxy about an endpoint.
pub(super) fn outbound(mesh: &Mesh, client: &Pod, backend: &Backend, pod: &Pod) -> List {
    let workload = &mesh.workloads[backend.workload];
    let service = backend.service.map(|index| &mesh.services[index]);
    let mut list = List::default();
    list.add("direction", "outbound");
    if let Some(service) = service {
        list.add("authority", authority(service));
    }
    address(&mut list, pod.ip, backend.port);
    if workload.meshed {
        list.add("tls", "true");
        list.add("server_id", workload.identity());
        list.add("dst_control_plane_ns", LINKERD);
    } else {
        list.add("tls", "no_identity");
        list.add("no_tls_reason", "not_provided_by_service_discovery");
    }
    if workload.owner_label() == Some("deployment") {
        list.add("dst_deployment", &workload.name);
    }
    // The destination controller knows CronJobs, though the injector does not.
    if workload.kind == WorkloadKind::CronJob {
        list.add("dst_cronjob", &workload.name);
    }
    list.add("dst_namespace", &workload.namespace);
    list.add("dst_pod", &pod.name);
    if workload.owner_label() == Some("deployment") {
        list.add("dst_pod_template_hash", workload.template_hash());
    }
    if let Some(service) = service {
        list.add("dst_service", &service.name);
    }
    list.add("dst_serviceaccount", &workload.account);
    if workload.owner_label() == Some("statefulset") {
        list.add("dst_statefulset", &workload.name);
    }
    list.add("dst_zone", pod.zone);
    if service.is_some() {
        list.add("dst_zone_locality", if client.zone == pod.zone { "local" } else { "remote" });
    }
    list
}

/// The name proxies give a Service; they leave out port 80.
fn authority(service: &Service) -> String {
    let name = format!("{}.{}.svc.cluster.local", service.name, service.namespace);
    if service.port == 80 { name } else { format!("{name}:{}", service.port) }
}

/// The client's proxy about an address outside the cluster.
pub(super) fn outside(ip: Ipv4Addr, port: u16) -> List {
    let mut list = List::default();
    list.add("direction", "outbound");
    address(&mut list, ip, port);
    list.add("tls", "no_identity");
    list.add("no_tls_reason", "not_provided_by_service_discovery");
    list
}

/// The labels of the families by called Service: of the request, and with its backend.
pub(super) fn route(called: &Service, backend: &Service) -> (List, List) {
    let mut parent = List::default();
    parent.add("parent_group", "core");
    parent.add("parent_kind", "Service");
    parent.add("parent_namespace", &called.namespace);
    parent.add("parent_name", &called.name);
    parent.add("parent_port", called.port);
    parent.add("parent_section_name", "");
    match &called.route {
        Some(route) => {
            parent.add("route_group", "gateway.networking.k8s.io");
            parent.add("route_kind", if route.grpc { "GRPCRoute" } else { "HTTPRoute" });
            parent.add("route_namespace", &called.namespace);
            parent.add("route_name", &route.name);
        }
        None => {
            parent.add("route_group", "");
            parent.add("route_kind", "default");
            parent.add("route_namespace", "");
            parent.add("route_name", "http");
        }
    }
    let port = backend.port.to_string();
    let backend = parent.with(&[
        ("backend_group", "core"),
        ("backend_kind", "Service"),
        ("backend_namespace", &backend.namespace),
        ("backend_name", &backend.name),
        ("backend_port", &port),
        ("backend_section_name", ""),
    ]);
    (parent.with(&[("hostname", "")]), backend)
}

/// The client's proxy about a call of a Service with a ServiceProfile.
pub(super) fn profile(called: &Service) -> List {
    let mut list = List::default();
    list.add("direction", "outbound");
    list.add("dst", format_args!("{}.{}.svc.cluster.local:{}", called.name, called.namespace, called.port));
    list
}

/// What the server's proxy knows of a connection and of a request, by family.
pub(super) struct Inbound {
    /// `tcp_*`, without `peer`.
    pub(super) tcp: List,
    /// `request_total`, `response_*`.
    pub(super) http: List,
    /// `inbound_http_authz_*`.
    pub(super) http_authz: List,
    /// `inbound_tcp_authz_*`.
    pub(super) tcp_authz: List,
}

/// The server's proxy about a client; `client` is none for kubelet.
pub(super) fn inbound(pod: &Pod, port: u16, client: Option<&Workload>, decision: Decision<'_>) -> Inbound {
    let mut target = List::default();
    address(&mut target, if port == ADMIN_PORT { Ipv4Addr::UNSPECIFIED } else { pod.ip }, port);
    let mut tls = List::default();
    match client.filter(|client| client.meshed) {
        Some(client) => {
            tls.add("tls", "true");
            tls.add("client_id", client.identity());
        }
        None => {
            tls.add("tls", "no_identity");
            tls.add("no_tls_reason", "no_tls_from_remote");
        }
    }
    let (server, route, authz) = policy(port, client.is_none(), decision);
    let joined = |parts: &[&List]| List(parts.iter().flat_map(|part| part.0.iter().cloned()).collect());
    let mut direction = List::default();
    direction.add("direction", "inbound");
    Inbound {
        tcp: joined(&[&direction, &target, &tls, &server]),
        http: joined(&[&direction, &target, &tls, &server, &route, &authz]),
        http_authz: joined(&[&target, &server, &route, &authz, &tls]),
        tcp_authz: joined(&[&target, &server, &authz, &tls]),
    }
}

/// Labels of the Server, the route and the authorization; the last is empty for denials.
fn policy(port: u16, probe: bool, decision: Decision<'_>) -> (List, List, List) {
    let (mut server_labels, mut route, mut authz) = (List::default(), List::default(), List::default());
    let mut authorize = |group: &str, kind: &str, name: &str| {
        authz.add("authz_group", group);
        authz.add("authz_kind", kind);
        authz.add("authz_name", name);
    };
    let server = match decision {
        Decision::Default => {
            authorize("", "default", if probe { "probe" } else { DEFAULT_POLICY });
            None
        }
        Decision::Allowed(server, grant) => {
            authorize("policy.linkerd.io", "authorizationpolicy", &grant.name);
            Some(server)
        }
        Decision::Denied(server) => Some(server),
    };
    server_labels.add("srv_group", if server.is_some() { "policy.linkerd.io" } else { "" });
    server_labels.add("srv_kind", if server.is_some() { "server" } else { "default" });
    server_labels.add("srv_name", server.map_or(DEFAULT_POLICY, |server| &server.name));
    server_labels.add("srv_port", port);
    match server.and_then(|server| server.route.as_deref()) {
        Some(name) => {
            route.add("route_group", "policy.linkerd.io");
            route.add("route_kind", "HTTPRoute");
            route.add("route_name", name);
        }
        None => {
            route.add("route_group", "");
            route.add("route_kind", "default");
            route.add("route_name", if probe { "probe" } else { "default" });
        }
    }
    (server_labels, route, authz)
}

/// The client's proxy about a route to an address outside the cluster, which an EgressNetwork may cover.
pub(super) fn egress_route(network: Option<&EgressNetwork>, port: u16, http: bool) -> List {
    let (kind, name) = match network {
        Some(_) => ("EgressNetwork", if http { "http-egress-allow" } else { "tcp-egress-allow" }),
        None => ("default", "egress-fallback"),
    };
    let mut list = List::default();
    list.add("parent_group", if network.is_some() { "policy.linkerd.io" } else { "" });
    list.add("parent_kind", kind);
    list.add("parent_namespace", network.map_or("", |network| &network.namespace));
    list.add("parent_name", network.map_or("egress-fallback", |network| &network.name));
    list.add("parent_port", if network.is_some() { port.to_string() } else { String::new() });
    list.add("parent_section_name", "");
    list.add("route_group", "");
    list.add("route_kind", "default");
    list.add("route_namespace", "");
    list.add("route_name", name);
    list
}

/// The client's proxy about connections to a Service whose bytes it does not look into.
pub(super) fn tcp_route(called: &Service) -> List {
    let mut list = List::default();
    list.add("parent_group", "core");
    list.add("parent_kind", "Service");
    list.add("parent_namespace", &called.namespace);
    list.add("parent_name", &called.name);
    list.add("parent_port", called.port);
    list.add("parent_section_name", "");
    list.add("route_group", "");
    list.add("route_kind", "default");
    list.add("route_namespace", "");
    list.add("route_name", "opaq");
    list
}
