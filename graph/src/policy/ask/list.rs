//! The reverse questions: who may use a port, what a client may use, and who may call whom in a namespace.

use super::{Appearance, Callee, Caller, Endpoint, Mesh, Unanswerable, callee, check};
use crate::{
    id::{EdgeId, ServiceId, WorkloadId},
    metrics::EdgeMetrics,
    model::{Edge, ServicePort},
    policy::{
        Client, Decision,
        answer::{
            Authentication, Authorization, Clients, Host, HttpMatch, PathMatch, Protocol, Route, Server,
        },
        verdict::{Origin, origin},
    },
    query::{self, Node},
};
use std::{collections::BTreeMap, sync::Arc};

/// An answer to one of the questions of this module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed<'a> {
    /// The ports that were asked about.
    pub ports: Vec<PortAccess<'a>>,
    /// Who of the known workloads may use which, or may not.
    pub calls: Vec<CallRow<'a>>,
    /// There are more calls than were asked for.
    pub truncated: bool,
    /// What was assumed; each a sentence.
    pub notes: Vec<String>,
}

/// Who may use one port of pods that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct PortAccess<'a> {
    /// The port.
    pub endpoint: Endpoint<'a>,
    /// Services that lead there, with their ports.
    pub services: Vec<(ServiceId, u16)>,
    /// The Server, or the default policy; `None` when no policy is enforced.
    pub server: Option<Origin>,
    /// What is spoken, as in [`Protocol::kind`].
    pub protocol: &'static str,
    /// To whom it is open, in one word.
    pub open_to: OpenTo,
    /// Who is let in on every route.
    pub grants: Vec<Grant>,
    /// Routes, and who is let in on them in addition. The default route is left out.
    pub routes: Vec<RouteAccess>,
    /// Denied per second, over all edges to the port's Services and workload that were judged.
    pub denied: Option<f64>,
    /// Answered with 404 per second because no route matched.
    pub unrouted: Option<f64>,
}

/// To whom a port is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpenTo {
    /// No policy is enforced: the pod has no proxy, or the port bypasses it.
    NotEnforced,
    /// Anybody at any address.
    Everyone,
    /// Anybody, but only from some addresses.
    Networks,
    /// Whoever has a mesh identity.
    Meshed,
    /// Named clients, or some routes only.
    Listed,
    /// Nobody.
    Nobody,
}

/// What one authorization lets in.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The authorization.
    pub authorization: Origin,
    /// Who: `anyone`, `any mesh client`, or identities.
    pub clients: Vec<String>,
    /// From where; none when every address is let in.
    pub networks: Vec<String>,
    /// Numbers of the edges that it alone let in.
    pub numbers: Option<GrantNumbers>,
}

/// Numbers of the edges that one authorization let in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GrantNumbers {
    /// Calls per second.
    pub rps: Option<f64>,
    /// Share that succeeded, weighted by calls.
    pub success_rate: Option<f64>,
    /// Milliseconds; of the slowest edge, because quantiles do not add up.
    pub p50_ms: Option<f64>,
    /// As above.
    pub p95_ms: Option<f64>,
    /// As above.
    pub p99_ms: Option<f64>,
}

/// A route, and who is let in on it.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteAccess {
    /// The route.
    pub route: Origin,
    /// What it takes, in a few words.
    pub matches: Vec<String>,
    /// Who is let in besides those of the port.
    pub grants: Vec<Grant>,
}

/// Whether one client may use one port.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRow<'a> {
    /// The client.
    pub from: Caller,
    /// The port.
    pub endpoint: Endpoint<'a>,
    /// The decision on a connection, or on requests of any route.
    pub decision: Decision,
    /// What lets it in.
    pub by: Vec<Origin>,
    /// It is let in on these routes alone.
    pub only_routes: Vec<Origin>,
    /// Calls per second seen now.
    pub rps: Option<f64>,
}

/// Who may use `callee`: its ports, and every workload of the mesh against each of them.
///
/// # Errors
///
/// When there is nobody to decide about calls to it.
pub fn list_to<'a>(mesh: &Mesh<'a>, callee: &Callee, limit: usize) -> Result<Listed<'a>, Unanswerable> {
    let endpoints = callee.endpoints(mesh)?;
    let callers: Vec<Caller> = mesh.graph.workloads.keys().cloned().map(Caller::Workload).collect();
    Ok(listed(mesh, endpoints, &callers, limit))
}

/// What `caller` may use: in all of the mesh, or in `namespace`, or at `callee` only.
///
/// # Errors
///
/// When there is nobody to decide about calls to `callee`.
pub fn list_from<'a>(
    mesh: &Mesh<'a>,
    caller: &Caller,
    callee: Option<&Callee>,
    namespace: Option<&str>,
    limit: usize,
) -> Result<Listed<'a>, Unanswerable> {
    let endpoints = match callee {
        Some(callee) => callee.endpoints(mesh)?,
        None => all_endpoints(mesh, namespace),
    };
    let mut listed = listed(mesh, endpoints, std::slice::from_ref(caller), limit);
    // What the client may not use is no news without a target.
    if callee.is_none() {
        listed.ports = Vec::new();
    }
    Ok(listed)
}

/// Who may call whom in a namespace: its ports, and the workloads of the namespace, and those seen calling into it,
/// against each of them.
pub fn list_namespace<'a>(mesh: &Mesh<'a>, namespace: &str, limit: usize) -> Listed<'a> {
    let endpoints = all_endpoints(mesh, Some(namespace));
    let mut callers: Vec<Caller> =
        in_namespace(mesh, namespace).map(|(id, _)| Caller::Workload(id.clone())).collect();
    let into = query::edges::of_namespace(mesh.graph, mesh.index, namespace);
    for (_, edge) in into {
        if let crate::id::Source::Workload(id) = &edge.src {
            let caller = Caller::Workload(id.clone());
            if !callers.contains(&caller) && mesh.graph.workloads.contains_key(id) {
                callers.push(caller);
            }
        }
    }
    callers.sort();
    listed(mesh, endpoints, &callers, limit)
}

fn in_namespace<'a>(
    mesh: &Mesh<'a>,
    namespace: &str,
) -> impl Iterator<Item = (&'a WorkloadId, &'a Arc<crate::model::Workload>)> {
    query::edges::under(&mesh.graph.workloads, namespace, '/')
}

/// The ports of all workloads, or of those of one namespace.
pub(crate) fn all_endpoints<'a>(mesh: &Mesh<'a>, namespace: Option<&str>) -> Vec<Endpoint<'a>> {
    let endpoints = |(id, workload): (&'a WorkloadId, &'a Arc<crate::model::Workload>)| {
        callee::of_workload(mesh, id, workload, None)
    };
    match namespace {
        Some(namespace) => in_namespace(mesh, namespace).flat_map(endpoints).collect(),
        None => mesh.graph.workloads.iter().flat_map(endpoints).collect(),
    }
}

fn listed<'a>(mesh: &Mesh<'a>, endpoints: Vec<Endpoint<'a>>, callers: &[Caller], limit: usize) -> Listed<'a> {
    let mut listed = Listed { notes: check::assumptions(mesh), ..Listed::default() };
    for endpoint in endpoints {
        let server = enforced(mesh, &endpoint);
        for caller in callers {
            // A workload's calls to itself are seldom asked about, and only hide the others.
            if matches!(caller, Caller::Workload(id) if id == endpoint.workload) && callers.len() > 1 {
                continue;
            }
            if listed.calls.len() >= limit {
                listed.truncated = true;
                break;
            }
            listed.calls.push(call(mesh, caller, endpoint, server.as_ref()));
        }
        listed.ports.push(port(mesh, endpoint, server.as_ref()));
    }
    listed
}

/// The inbound server of a port; `None` when no policy is enforced there.
fn enforced(mesh: &Mesh<'_>, endpoint: &Endpoint<'_>) -> Option<Server> {
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    target.is_enforced(endpoint.port).then(|| mesh.policies.server(target, endpoint.port))
}

fn call<'a>(
    mesh: &Mesh<'_>,
    caller: &Caller,
    endpoint: Endpoint<'a>,
    server: Option<&Server>,
) -> CallRow<'a> {
    let namespace = endpoint.workload.namespace();
    let rps = rps(mesh, caller, &endpoint);
    let Some(server) = server else {
        let (by, only_routes) = (Vec::new(), Vec::new());
        return CallRow { from: caller.clone(), endpoint, decision: Decision::Allow, by, only_routes, rps };
    };
    let mut worst: Option<CallRow<'a>> = None;
    for appearance in caller.appearances(mesh, Some(endpoint.dialed)) {
        for client in clients(&appearance, server) {
            let quick = client.decide(server);
            let row = CallRow {
                from: caller.clone(),
                endpoint,
                decision: quick.decision,
                by: quick.by.iter().map(|row| origin(namespace, &row.metadata)).collect(),
                only_routes: quick.only_routes.iter().map(|route| origin(namespace, route)).collect(),
                rps,
            };
            let refused = |row: &CallRow<'_>| row.decision == Decision::Deny;
            if worst.as_ref().is_none_or(|known| !refused(known) && refused(&row)) {
                worst = Some(row);
            }
        }
    }
    let nobody = || CallRow {
        from: caller.clone(),
        endpoint,
        decision: Decision::Deny,
        by: Vec::new(),
        only_routes: Vec::new(),
        rps,
    };
    worst.unwrap_or_else(nobody)
}

/// The clients that a server may tell apart.
fn clients(appearance: &Appearance, server: &Server) -> Vec<Client> {
    if appearance.addresses.is_empty() || !check::looks_at_addresses(server) {
        return vec![appearance.client(None)];
    }
    appearance.addresses.iter().map(|address| appearance.client(Some(*address))).collect()
}

/// Calls per second on the edges from a workload to a port of another.
fn rps(mesh: &Mesh<'_>, caller: &Caller, endpoint: &Endpoint<'_>) -> Option<f64> {
    let Caller::Workload(id) = caller else { return None };
    let edges = query::edges::from(mesh.graph, &Node::Workload(id.clone()));
    let leads = |edge: &Edge| leads_to(mesh, edge, endpoint);
    let numbers =
        edges.into_iter().filter(|(_, edge)| leads(edge)).filter_map(|(id, _)| mesh.metrics.get(id)?.rps);
    numbers.fold(None, |sum, rps| Some(sum.unwrap_or(0.0) + rps))
}

/// True when an edge may end at the port.
fn leads_to(mesh: &Mesh<'_>, edge: &Edge, endpoint: &Endpoint<'_>) -> bool {
    use crate::id::Destination;
    match &edge.dst {
        Destination::Workload(id, port) => {
            id == endpoint.workload && port.is_none_or(|port| port == endpoint.port)
        }
        Destination::Service(id, port) => {
            let serves = edge.workloads.contains(endpoint.workload)
                || mesh.graph.services.get(id).is_some_and(|it| it.workloads.contains(endpoint.workload));
            let service_ports = mesh.graph.services.get(id).map_or(&[][..], |service| &service.ports);
            serves
                && service_ports
                    .iter()
                    .filter(|it| port.is_none_or(|port| it.port == port))
                    .any(|it| is_target(it, endpoint))
        }
        Destination::External(_) => false,
    }
}

fn is_target(service: &ServicePort, endpoint: &Endpoint<'_>) -> bool {
    match service.target.parse::<u16>() {
        Ok(number) => number == endpoint.port,
        Err(_) if service.target.is_empty() => service.port == endpoint.port,
        Err(_) => endpoint
            .template
            .ports
            .iter()
            .any(|declared| declared.port == endpoint.port && declared.name == service.target),
    }
}

fn port<'a>(mesh: &Mesh<'_>, endpoint: Endpoint<'a>, server: Option<&Server>) -> PortAccess<'a> {
    let namespace = endpoint.workload.namespace();
    let services = services_of(mesh, &endpoint);
    let edges = edges_to(mesh, &endpoint);
    let sum = |number: fn(&EdgeMetrics) -> Option<f64>| {
        let numbers = edges.iter().filter_map(|(id, _)| number(mesh.metrics.get(id)?));
        numbers.fold(None, |sum: Option<f64>, number| Some(sum.unwrap_or(0.0) + number))
    };
    let (denied, unrouted) = (sum(|it| it.denied), sum(|it| it.unrouted));
    let Some(server) = server else {
        return PortAccess {
            endpoint,
            services,
            server: None,
            protocol: "",
            open_to: OpenTo::NotEnforced,
            grants: Vec::new(),
            routes: Vec::new(),
            denied,
            unrouted,
        };
    };
    let numbers = numbers_by_authorization(mesh, &edges);
    let grant = |row: &Authorization| {
        let authorization = origin(namespace, &row.metadata);
        let numbers = numbers.get(&label(row)).copied();
        Grant { authorization, clients: who(row), networks: row.limited_networks(), numbers }
    };
    PortAccess {
        endpoint,
        services,
        server: Some(server.origin(namespace)),
        protocol: server.protocol.kind(),
        open_to: open_to(server),
        grants: server.authorizations.iter().map(grant).collect(),
        routes: routes(server, namespace, grant),
        denied,
        unrouted,
    }
}

fn services_of(mesh: &Mesh<'_>, endpoint: &Endpoint<'_>) -> Vec<(ServiceId, u16)> {
    let Some(workload) = mesh.graph.workloads.get(endpoint.workload) else { return Vec::new() };
    let ports = |id: &ServiceId| {
        let service = mesh.graph.services.get(id)?;
        let ports = service.ports.iter().filter(|port| is_target(port, endpoint));
        Some(ports.map(|port| (id.clone(), port.port)).collect::<Vec<_>>())
    };
    workload.services.iter().filter_map(ports).flatten().collect()
}

fn edges_to<'a>(mesh: &Mesh<'a>, endpoint: &Endpoint<'_>) -> Vec<(&'a EdgeId, &'a Arc<Edge>)> {
    let mut edges = query::edges::to(mesh.graph, mesh.index, &Node::Workload(endpoint.workload.clone()));
    edges.retain(|(_, edge)| leads_to(mesh, edge, endpoint));
    edges
}

/// `kind/name`, or the name of a default: how metrics name authorizations.
fn label(row: &Authorization) -> String {
    match &*row.labels.kind {
        "default" => row.labels.name.to_string(),
        kind => format!("{kind}/{}", row.labels.name),
    }
}

/// The numbers of the edges that one authorization alone let in.
fn numbers_by_authorization(
    mesh: &Mesh<'_>,
    edges: &[(&EdgeId, &Arc<Edge>)],
) -> BTreeMap<String, GrantNumbers> {
    let mut sums: BTreeMap<String, (GrantNumbers, f64, f64)> = BTreeMap::new();
    for (id, _) in edges {
        let Some(row) = mesh.metrics.get(id) else { continue };
        let [only] = &*row.authorized_by else { continue };
        let (numbers, weighted, weight) = sums.entry(only.to_string()).or_default();
        if let Some(rps) = row.rps {
            *numbers.rps.get_or_insert_default() += rps;
            if let Some(success) = row.success_rate {
                *weighted += success * rps;
                *weight += rps;
            }
        }
        let slower = |known: &mut Option<f64>, new: Option<f64>| {
            *known = match (*known, new) {
                (Some(known), Some(new)) => Some(known.max(new)),
                (known, new) => known.or(new),
            }
        };
        slower(&mut numbers.p50_ms, row.p50_ms);
        slower(&mut numbers.p95_ms, row.p95_ms);
        slower(&mut numbers.p99_ms, row.p99_ms);
    }
    sums.into_iter()
        .map(|(name, (numbers, weighted, weight))| {
            let success_rate = (weight > 0.0).then(|| weighted / weight);
            (name, GrantNumbers { success_rate, ..numbers })
        })
        .collect()
}

/// Who an authorization lets in, in words and identities.
fn who(row: &Authorization) -> Vec<String> {
    match &row.authentication {
        Authentication::Unauthenticated {} => vec!["anyone".to_owned()],
        Authentication::MeshTls(Clients::Any { .. }) => vec!["any mesh client".to_owned()],
        Authentication::MeshTls(Clients::Identities { identities, suffixes }) => {
            let suffix = |labels: &Vec<crate::id::Text>| match labels.is_empty() {
                true => "any mesh client".to_owned(),
                false => format!("*.{}", labels.join(".")),
            };
            identities.iter().map(ToString::to_string).chain(suffixes.iter().map(suffix)).collect()
        }
    }
}

/// In one word, going by what is let in on every route; where nobody is, by routes.
fn open_to(server: &Server) -> OpenTo {
    let of = |row: &Authorization| match (&row.authentication, row.is_for_every_address()) {
        (Authentication::Unauthenticated {}, true) => OpenTo::Everyone,
        (Authentication::Unauthenticated {}, false) => OpenTo::Networks,
        (Authentication::MeshTls(Clients::Any { .. }), _) => OpenTo::Meshed,
        (Authentication::MeshTls(Clients::Identities { suffixes, .. }), _)
            if suffixes.iter().any(Vec::is_empty) =>
        {
            OpenTo::Meshed
        }
        _ => OpenTo::Listed,
    };
    let widest = server.authorizations.iter().map(of).min();
    let on_routes = server.route_authorizations().next().is_some();
    widest.unwrap_or(if on_routes { OpenTo::Listed } else { OpenTo::Nobody })
}

fn routes(server: &Server, namespace: &str, grant: impl Fn(&Authorization) -> Grant) -> Vec<RouteAccess> {
    fn rows<M>(
        routes: &[Route<M>],
        namespace: &str,
        grant: impl Fn(&Authorization) -> Grant,
        matching: impl Fn(&M) -> String,
    ) -> Vec<RouteAccess> {
        routes
            .iter()
            .filter(|route| {
                route.metadata.name() != super::super::probe::DEFAULT || !route.metadata.is_default()
            })
            .map(|route| {
                let hosts: Vec<String> = route.hosts.iter().map(host).collect();
                let on = if hosts.is_empty() { String::new() } else { format!(" on {}", hosts.join(", ")) };
                let matches = route.rules.iter().flat_map(|rule| &rule.matches);
                RouteAccess {
                    route: origin(namespace, &route.metadata),
                    matches: matches.map(|it| format!("{}{on}", matching(it))).collect(),
                    grants: route.authorizations.iter().map(&grant).collect(),
                }
            })
            .collect()
    }
    match &server.protocol {
        Protocol::Detect { http_routes, .. }
        | Protocol::Http1 { http_routes, .. }
        | Protocol::Http2 { http_routes, .. } => rows(http_routes, namespace, grant, http_match),
        Protocol::Grpc { grpc_routes } => rows(grpc_routes, namespace, grant, |it| match &it.rpc {
            Some(rpc) => {
                let or_any = |text: &str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
                format!("{}/{}{}", or_any(&rpc.service), or_any(&rpc.method), conditions(it.headers.len(), 0))
            }
            None => "headers alone, which the proxy cannot read".to_owned(),
        }),
        Protocol::Opaque {} | Protocol::Tls {} => Vec::new(),
    }
}

fn http_match(it: &HttpMatch) -> String {
    let method = it.method.as_deref().unwrap_or("*");
    let path = match &it.path {
        Some(PathMatch::Exact(path)) => path.to_string(),
        Some(PathMatch::Prefix(path)) => format!("{}/*", path.trim_end_matches('/')),
        Some(PathMatch::Regex(pattern)) => format!("~{}", pattern.as_str()),
        None => "/*".to_owned(),
    };
    format!("{method} {path}{}", conditions(it.headers.len(), it.query_params.len()))
}

fn conditions(headers: usize, parameters: usize) -> String {
    match (headers, parameters) {
        (0, 0) => String::new(),
        (headers, 0) => format!(" with {headers} headers"),
        (0, parameters) => format!(" with {parameters} query parameters"),
        (headers, parameters) => format!(" with {headers} headers and {parameters} query parameters"),
    }
}

fn host(host: &Host) -> String {
    match host {
        Host::Exact(name) => name.to_string(),
        Host::SuffixReverseLabels(labels) => {
            let labels: Vec<&str> = labels.iter().rev().map(|label| &**label).collect();
            format!("*.{}", labels.join("."))
        }
    }
}

// === impl OpenTo ===

impl OpenTo {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotEnforced => "not_enforced",
            Self::Everyone => "everyone",
            Self::Networks => "networks",
            Self::Meshed => "meshed",
            Self::Listed => "listed",
            Self::Nobody => "nobody",
        }
    }
}
