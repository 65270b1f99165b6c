//! Questions about policy as messages, answered on a mesh: what gRPC, HTTP and the CLI's offline commands share.
//!
//! Answers come without freshness; whoever has a replica adds it.

use linkerd_mcp_graph::{
    fact::Key,
    model::Graph,
    policy::{
        Decision, Request,
        answer::Answer,
        ask::{
            Access, CallRow, Callee, Caller, Grant, Listed, Mesh, PortAccess, RouteAccess, Unanswerable,
            check, list_from, list_namespace, list_to,
        },
        verdict::Origin,
    },
    query::{self, Node, ResolveError, check_namespace},
};
use linkerd_mcp_proto::v1;
use std::net::IpAddr;

/// The rows of an answer when the question does not say how many.
const DEFAULT_LIMIT: usize = 1_000;

/// The most rows of an answer.
const MAX_LIMIT: usize = 100_000;

/// A port of which nothing is said anywhere: it stands for all others.
const ANY_OTHER: u32 = 9_999;

/// Why a question about policy has no answer. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody to decide about, with the reason.
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    /// A field that must be there.
    #[error("`{field}` is required: {hint}")]
    Missing {
        /// Its name.
        field: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// Text that is no address.
    #[error("`{0}` is no IP address, such as 10.4.0.7")]
    Address(String),
    /// A number that is no port.
    #[error("{0} is no port: ports go from 1 to 65535")]
    Port(u32),
    /// A request without its method or path.
    #[error(
        "a request needs method and path, for example GET and /; a gRPC call is POST and /package.Service/Method"
    )]
    Request,
    /// Nothing says what to list.
    #[error("name what to list: `to` (who may call it), `from` (what it may call), or `namespace`")]
    NothingAsked,
}

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        Self::Unanswerable(Unanswerable::Name(error))
    }
}

impl Error {
    /// True when a name stands for nothing that is there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Unanswerable(
                Unanswerable::Name(ResolveError::Namespace { .. } | ResolveError::Unknown { .. })
                    | Unanswerable::NoServicePort { .. }
                    | Unanswerable::NoEndpoints(_)
                    | Unanswerable::NoTargetPort { .. }
            )
        )
    }
}

/// May this client make this call?
///
/// # Errors
///
/// When the question names nothing, or there is nobody to decide about.
pub fn check_access(
    mesh: &Mesh<'_>,
    asked: &v1::CheckAccessRequest,
) -> Result<v1::CheckAccessResponse, Error> {
    let namespace = namespace(mesh.graph, &asked.namespace)?;
    required("from", &asked.from, "a workload, ServiceAccount, mesh identity or IP address")?;
    required("to", &asked.to, "a Service or workload, with its port as in web:80")?;
    let caller = Caller::resolve(mesh.graph, &asked.from, namespace)?;
    let callee = Callee::resolve(mesh.graph, &asked.to, port(asked.port)?, namespace)?;
    let request = request(asked)?;
    let address = match asked.address.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| Error::Address(text.to_owned()))?),
    };
    let checked = check(mesh, &caller, &callee, request.as_ref(), address)?;
    Ok(v1::CheckAccessResponse {
        freshness: None,
        from: caller.to_string(),
        to: callee.to_string(),
        decision: decision(checked.decision()).into(),
        mixed: checked.is_mixed(),
        accesses: checked.accesses.iter().map(|it| access(mesh, &caller, it, request.as_ref())).collect(),
        notes: checked.notes,
    })
}

/// Who may call this, what may this call, or who may call what in a namespace.
///
/// # Errors
///
/// When the question names nothing, or there is nobody to decide about.
pub fn list_access(mesh: &Mesh<'_>, asked: &v1::ListAccessRequest) -> Result<v1::ListAccessResponse, Error> {
    let namespace = namespace(mesh.graph, &asked.namespace)?;
    let limit = match asked.limit {
        0 => DEFAULT_LIMIT,
        limit => usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
    };
    let callee = match asked.to.as_str() {
        "" => None,
        to => Some(Callee::resolve(mesh.graph, to, None, namespace)?),
    };
    let listed = match (asked.from.as_str(), callee, namespace) {
        ("", Some(callee), _) => list_to(mesh, &callee, limit)?,
        ("", None, Some(namespace)) => list_namespace(mesh, namespace, limit),
        ("", None, None) => return Err(Error::NothingAsked),
        (from, callee, namespace) => {
            let caller = Caller::resolve(mesh.graph, from, namespace)?;
            list_from(mesh, &caller, callee.as_ref(), None, limit)?
        }
    };
    let Listed { ports, calls, truncated, notes } = listed;
    Ok(v1::ListAccessResponse {
        freshness: None,
        ports: ports.iter().map(port_access).collect(),
        calls: calls.iter().map(call).collect(),
        truncated,
        notes,
    })
}

/// What Linkerd's policy controller answers for the ports of workloads.
///
/// # Errors
///
/// When the question names nothing.
pub fn resolve_policy(
    mesh: &Mesh<'_>,
    asked: &v1::ResolvePolicyRequest,
) -> Result<v1::ResolvePolicyResponse, Error> {
    let namespace = namespace(mesh.graph, &asked.namespace)?;
    let workloads = match asked.workload.as_str() {
        "" => mesh
            .graph
            .workloads
            .keys()
            .filter(|id| namespace.is_none_or(|namespace| id.namespace() == namespace))
            .cloned()
            .collect(),
        typed => match query::resolve_node(mesh.graph, typed, namespace)? {
            Node::Workload(id) => vec![id],
            Node::Service(id) => match mesh.graph.services.get(&id) {
                Some(service) if !service.workloads.is_empty() => service.workloads.clone(),
                _ => return Err(Unanswerable::NoEndpoints(id).into()),
            },
            Node::External(id) => return Err(Unanswerable::NoExternal(format!("external:{id}")).into()),
        },
    };
    let mut ports = Vec::new();
    for id in workloads {
        let Some(workload) = mesh.graph.workloads.get(&id) else { continue };
        for template in &workload.templates {
            let key = Key::new(id.namespace(), template.first.clone());
            let target = template.target(&key);
            let known = target.ports(mesh.policies.objects());
            let asked_for: Vec<u32> = match asked.port {
                0 => known.iter().copied().chain([ANY_OTHER]).collect(),
                port => vec![port],
            };
            ports.extend(asked_for.into_iter().map(|port| {
                let answer = mesh.policies.answer_of(target, port);
                resolved(&id.to_string(), &template.first, port, known.contains(&port), &answer)
            }));
        }
    }
    Ok(v1::ResolvePolicyResponse { freshness: None, ports })
}

fn resolved(workload: &str, pod: &str, port: u32, known: bool, answer: &Answer) -> v1::ResolvedPort {
    let server_json =
        answer.server().map(|server| serde_json::to_string(server).expect("answers have text keys"));
    v1::ResolvedPort {
        workload: workload.to_owned(),
        pod: pod.to_owned(),
        port,
        known,
        status: answer.status().to_owned(),
        server_json: server_json.unwrap_or_default(),
    }
}

// === from messages ===

fn namespace<'a>(graph: &Graph, name: &'a str) -> Result<Option<&'a str>, Error> {
    match name {
        "" => Ok(None),
        name => {
            check_namespace(graph, name)?;
            Ok(Some(name))
        }
    }
}

fn required(field: &'static str, text: &str, hint: &'static str) -> Result<(), Error> {
    if text.is_empty() { Err(Error::Missing { field, hint }) } else { Ok(()) }
}

fn port(number: u32) -> Result<Option<u16>, Error> {
    match number {
        0 => Ok(None),
        number => u16::try_from(number).map(Some).map_err(|_| Error::Port(number)),
    }
}

fn request(asked: &v1::CheckAccessRequest) -> Result<Option<Request>, Error> {
    let nothing_else = asked.host.is_empty() && asked.headers.is_empty();
    match (asked.method.as_str(), asked.path.as_str()) {
        ("", "") if nothing_else => Ok(None),
        ("", _) | (_, "") => Err(Error::Request),
        (method, path) => Ok(Some(Request {
            method: method.into(),
            path: path.into(),
            host: (!asked.host.is_empty()).then(|| asked.host.as_str().into()),
            headers: asked
                .headers
                .iter()
                .map(|header| (header.name.as_str().into(), header.value.as_str().into()))
                .collect(),
        })),
    }
}

// === to messages ===

pub(crate) fn access(
    mesh: &Mesh<'_>,
    caller: &Caller,
    access: &Access<'_>,
    request: Option<&Request>,
) -> v1::Access {
    let _ = (mesh, request);
    let endpoint = access.endpoint;
    v1::Access {
        workload: access.workload().map(ToString::to_string).unwrap_or_default(),
        port: endpoint.map_or(0, |endpoint| u32::from(endpoint.port)),
        pod: endpoint.map(|endpoint| endpoint.template.first.to_string()).unwrap_or_default(),
        pods: endpoint.map_or(0, |endpoint| endpoint.template.count),
        client: caller.to_string(),
        client_identity: access.identity().map(ToString::to_string).unwrap_or_default(),
        client_address: access.client.address.map(|address| address.to_string()).unwrap_or_default(),
        decision: decision(access.verdict.decision).into(),
        reasons: access
            .verdict
            .reasons
            .iter()
            .map(|reason| v1::Reason {
                reason: reason.name().to_owned(),
                text: reason.to_string(),
                origins: reason.origins().iter().map(origin).collect(),
            })
            .collect(),
        flips: Vec::new(),
    }
}

pub(crate) fn decision(decision: Decision) -> v1::Decision {
    match decision {
        Decision::Allow => v1::Decision::Allow,
        Decision::Deny => v1::Decision::Deny,
        Decision::Audit => v1::Decision::Audit,
        Decision::UnmatchedRoute => v1::Decision::UnmatchedRoute,
    }
}

/// An object's id, or `default:<name>`.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Object(id) => id.to_string(),
        Origin::Default(name) => format!("default:{name}"),
    }
}

fn port_access(port: &PortAccess<'_>) -> v1::PortAccess {
    let endpoint = port.endpoint;
    v1::PortAccess {
        workload: endpoint.workload.to_string(),
        port: endpoint.port.into(),
        port_name: endpoint.port_name().to_owned(),
        pod: endpoint.template.first.to_string(),
        pods: endpoint.template.count,
        services: port.services.iter().map(|(id, port)| format!("{id}:{port}")).collect(),
        server: port.server.as_ref().map(origin).unwrap_or_default(),
        protocol: port.protocol.to_owned(),
        open_to: port.open_to.as_str().to_owned(),
        grants: port.grants.iter().map(grant).collect(),
        routes: port.routes.iter().map(route).collect(),
        denied_per_s: port.denied,
        unrouted_per_s: port.unrouted,
    }
}

fn route(route: &RouteAccess) -> v1::RouteAccess {
    v1::RouteAccess {
        route: origin(&route.route),
        matches: route.matches.clone(),
        grants: route.grants.iter().map(grant).collect(),
    }
}

fn grant(grant: &Grant) -> v1::Grant {
    let numbers = grant.numbers;
    v1::Grant {
        authorization: origin(&grant.authorization),
        clients: grant.clients.clone(),
        networks: grant.networks.clone(),
        metrics: numbers.map(|numbers| v1::NodeMetrics {
            rps: numbers.rps,
            success_rate: numbers.success_rate,
            denied_per_s: None,
        }),
        latency_p50_ms: numbers.and_then(|numbers| numbers.p50_ms),
        latency_p95_ms: numbers.and_then(|numbers| numbers.p95_ms),
        latency_p99_ms: numbers.and_then(|numbers| numbers.p99_ms),
    }
}

fn call(row: &CallRow<'_>) -> v1::AccessCall {
    v1::AccessCall {
        from: row.from.to_string(),
        workload: row.endpoint.workload.to_string(),
        port: row.endpoint.port.into(),
        decision: decision(row.decision).into(),
        by: row.by.iter().map(origin).collect(),
        rps: row.rps,
        only_routes: row.only_routes.iter().map(origin).collect(),
    }
}
