//! Questions about policy as messages, answered on a mesh: what gRPC, HTTP and the CLI's offline commands share.
//!
//! Answers come without freshness; whoever has a replica adds it.

use linkerd_mcp_graph::{
    fact::Key,
    id::ServiceId,
    model::Graph,
    policy::{
        Request,
        ask::{
            Access, Callee, Caller, Listed, Mesh, Unanswerable, check, list_from, list_namespace, list_to,
        },
        denial::{Denied, denials, denied},
        flip::{Flip, flips},
        lint::lint,
    },
    query::{self, Node, ResolveError, check_namespace},
};
use linkerd_mcp_proto::v1;
use std::net::IpAddr;

pub(crate) mod message;

/// The rows of an answer when the question does not say how many.
const DEFAULT_LIMIT: usize = 1_000;

/// The most rows of an answer.
const MAX_LIMIT: usize = 100_000;

/// The most decisions of an answer for which changes are tried: each takes milliseconds in a large mesh.
const MAX_TRIED: usize = 16;

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
    /// A name of something else where a Service is meant.
    #[error("`{0}` is no Service: proxies are told of endpoints by Service")]
    NoService(String),
    /// A Service with several ports, and none is named.
    #[error("Service {service} has {}: name one, as in `{service}:80`", ports_of(ports))]
    WhichPort {
        /// The Service.
        service: ServiceId,
        /// What there is.
        ports: Vec<u16>,
    },
    /// Nothing says what to list.
    #[error("name what to list: `to` (who may call it), `from` (what it may call), or `namespace`")]
    NothingAsked,
}

fn ports_of(ports: &[u16]) -> String {
    match ports {
        [] => "no ports".to_owned(),
        ports => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("the ports {}", ports.join(", "))
        }
    }
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
    let access = |(at, it): (usize, &Access<'_>)| {
        let flips = if at < MAX_TRIED { flips(mesh, it, request.as_ref()) } else { Vec::<Flip>::new() };
        message::access(it, caller.to_string(), &flips)
    };
    Ok(v1::CheckAccessResponse {
        freshness: None,
        from: caller.to_string(),
        to: callee.to_string(),
        decision: message::decision(checked.decision()).into(),
        mixed: checked.is_mixed(),
        accesses: checked.accesses.iter().enumerate().map(access).collect(),
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
        ports: ports.iter().map(message::port_access).collect(),
        calls: calls.iter().map(message::call).collect(),
        truncated,
        notes,
    })
}

/// What is denied now, why, and what would let it in.
///
/// # Errors
///
/// When the question names nothing.
pub fn explain_denials(
    mesh: &Mesh<'_>,
    asked: &v1::ExplainDenialsRequest,
) -> Result<v1::ExplainDenialsResponse, Error> {
    let Denials { from, to, namespace } = which_denials(mesh.graph, asked)?;
    let found = denials(mesh, from.as_ref(), to.as_ref(), namespace);
    let denials = found.iter().map(message::denial).collect();
    Ok(v1::ExplainDenialsResponse { freshness: None, denials, notes: notes_of_denials(mesh) })
}

/// The same, of which `shown` explains those that it shows: each one costs.
///
/// # Errors
///
/// When the question names nothing.
pub(crate) fn show_denials<T>(
    mesh: &Mesh<'_>,
    asked: &v1::ExplainDenialsRequest,
    shown: impl FnOnce(&[Denied<'_>], &dyn Fn(&Denied<'_>, usize) -> v1::Denial) -> T,
) -> Result<(T, Vec<String>), Error> {
    let Denials { from, to, namespace } = which_denials(mesh.graph, asked)?;
    let found = denied(mesh, from.as_ref(), to.as_ref(), namespace);
    let explain = |it: &Denied<'_>, tried: usize| message::denial(&it.explain(mesh, tried));
    Ok((shown(&found, &explain), notes_of_denials(mesh)))
}

/// Which denials are asked about.
struct Denials<'a> {
    from: Option<Caller>,
    to: Option<Callee>,
    namespace: Option<&'a str>,
}

fn which_denials<'a>(graph: &Graph, asked: &'a v1::ExplainDenialsRequest) -> Result<Denials<'a>, Error> {
    let namespace = namespace(graph, &asked.namespace)?;
    let from = match asked.from.as_str() {
        "" => None,
        from => Some(Caller::resolve(graph, from, namespace)?),
    };
    let to = match asked.to.as_str() {
        "" => None,
        to => Some(Callee::resolve(graph, to, None, namespace)?),
    };
    // With a name the namespace says where the name is, not what to leave.
    let namespace = namespace.filter(|_| from.is_none() && to.is_none());
    Ok(Denials { from, to, namespace })
}

fn notes_of_denials(mesh: &Mesh<'_>) -> Vec<String> {
    if mesh.metrics.ids.is_empty() {
        vec!["No numbers are known, so what is denied cannot be seen.".to_owned()]
    } else {
        Vec::new()
    }
}

/// What is likely not meant about the policies of a mesh, or of one namespace of it. What is enforced is not asked
/// here.
///
/// # Errors
///
/// When there is no such namespace.
pub fn lint_policies(
    mesh: &Mesh<'_>,
    asked: &v1::LintPoliciesRequest,
) -> Result<v1::LintPoliciesResponse, Error> {
    let namespace = namespace(mesh.graph, &asked.namespace)?;
    let here = |of: &str| namespace.is_none_or(|namespace| namespace == of);
    let authorizations = mesh.graph.auth_policies.keys().filter(|id| here(id.namespace())).count();
    let objects = authorizations + mesh.graph.policies.keys().filter(|id| here(id.namespace())).count();
    Ok(v1::LintPoliciesResponse {
        freshness: None,
        objects: u32::try_from(objects).unwrap_or(u32::MAX),
        findings: lint(mesh, namespace).iter().map(message::finding).collect(),
        compared: 0,
        notes: Vec::new(),
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
                message::resolved(&id.to_string(), &template.first, port, known.contains(&port), &answer)
            }));
        }
    }
    Ok(v1::ResolvePolicyResponse { freshness: None, ports })
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

pub(crate) fn port(number: u32) -> Result<Option<u16>, Error> {
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
