//! What policy objects say of each other, for questions about changes of them: whether Linkerd can use one at all, and
//! what it refers to.

use super::{
    cluster::PolicyCluster,
    spec::{self, AuthorizationPolicySpec, Fault, Required, ServerSpec, Target},
};
use crate::{
    fact::{Key, PolicyObject},
    kind::Kind,
};

/// What an AuthorizationPolicy that can be read refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refers {
    /// The Server or route it is about; `None` for all Servers of its namespace.
    pub(crate) target: Option<(Kind, Key)>,
    /// The authentications that must hold together.
    pub(crate) authentications: Vec<(Kind, Key)>,
    /// True when it requires nothing of a client, so that it lets in everybody.
    pub(crate) requires_nothing: bool,
}

/// Why Linkerd ignores an object, as far as its own spec tells; what it refers to is not looked at. `None` also for
/// kinds that are no business of inbound policy.
pub(crate) fn fault(object: &PolicyObject, cluster: &PolicyCluster) -> Option<Fault> {
    let (spec, namespace) = (&object.spec, &object.key.namespace);
    match object.kind {
        Kind::Server => ServerSpec::read(spec).err(),
        Kind::AuthorizationPolicy => AuthorizationPolicySpec::read(spec, namespace).err(),
        Kind::MeshTLSAuthentication => spec::mesh_tls_authentication(spec, namespace, cluster).err(),
        Kind::NetworkAuthentication => spec::network_authentication(spec).err(),
        // Filters of routes between Services are no fault: only inbound policy cannot use them.
        Kind::LinkerdHTTPRoute | Kind::GatewayHTTPRoute | Kind::GRPCRoute if parents(object).is_empty() => {
            None
        }
        Kind::LinkerdHTTPRoute | Kind::GatewayHTTPRoute => {
            spec::http_route(object.kind, spec, namespace).and_then(|route| route.usable).err()
        }
        Kind::GRPCRoute => spec::grpc_route(spec, namespace).and_then(|route| route.usable).err(),
        _ => None,
    }
}

/// What an AuthorizationPolicy refers to; `None` when it is another kind or cannot be read.
pub(crate) fn of_policy(object: &PolicyObject) -> Option<Refers> {
    if object.kind != Kind::AuthorizationPolicy {
        return None;
    }
    let namespace = &object.key.namespace;
    let spec = AuthorizationPolicySpec::read(&object.spec, namespace).ok()?;
    let requires_nothing = spec.required.is_empty();
    let here = |name| Key { namespace: namespace.clone(), name };
    let target = match spec.target {
        Target::Server(name) => Some((Kind::Server, here(name))),
        Target::Route(kind, name) => Some((kind, here(name))),
        Target::Namespace => None,
    };
    let authentications = spec.required.into_iter().filter_map(|required| match required {
        Required::MeshTls(key) => Some((Kind::MeshTLSAuthentication, key)),
        Required::Network(key) => Some((Kind::NetworkAuthentication, key)),
        Required::ServiceAccount(_) => None,
    });
    Some(Refers { target, authentications: authentications.collect(), requires_nothing })
}

/// The Servers that a route names as parents, rightly or not; none for other kinds.
pub(crate) fn parents(object: &PolicyObject) -> Vec<Key> {
    match object.kind {
        Kind::LinkerdHTTPRoute | Kind::GatewayHTTPRoute | Kind::GRPCRoute => {
            spec::parents_of(&object.spec, &object.key.namespace)
        }
        _ => Vec::new(),
    }
}
