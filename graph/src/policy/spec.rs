//! Specs of policy objects as types, read as strictly as Linkerd's policy controller reads them: what it cannot read
//! does not exist for it.

use serde::de::DeserializeOwned;
use serde_json::Value;

mod authentication;
mod authorization_policy;
mod filter;
mod matching;
mod rate_limit;
mod reference;
mod route;
mod server;
mod server_authorization;

pub(super) use authentication::{mesh_tls_authentication, network_authentication};
pub(super) use authorization_policy::{AuthorizationPolicySpec, Required, Target};
pub(super) use rate_limit::RateLimitSpec;
pub(super) use route::{Parsed, Usable, grpc_route, http_route, parents_of};
pub(super) use server::{Port, ProxyProtocol, Selected, ServerSpec};
pub(super) use server_authorization::{ServerAuthorizationSpec, Servers};

/// Why Linkerd ignores an object.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A field is missing or is of another type than the kind's schema says.
    #[error("its spec cannot be read as one of its kind")]
    Shape(#[source] serde_json::Error),
    /// A Server selects neither pods nor ExternalWorkloads.
    #[error("it has neither podSelector nor externalWorkloadSelector")]
    NoSelector,
    /// A ServerAuthorization names no client.
    #[error("its client names nobody; set unauthenticated or meshTLS with identities or serviceAccounts")]
    NoClient,
    /// A MeshTLSAuthentication without identities.
    #[error("it lists no identities")]
    NoIdentity,
    /// A NetworkAuthentication without networks.
    #[error("it lists no networks")]
    NoNetwork,
    /// A network that is neither an address nor a CIDR.
    #[error("`{0}` is neither an IP address nor a CIDR")]
    Network(String),
    /// A reference to a kind that means nothing there.
    #[error("it refers to kind `{0}`, which has no meaning there")]
    Kind(String),
    /// A reference to an authentication that does not exist or is itself ignored.
    #[error("{0} does not exist, or Linkerd ignores it")]
    Missing(String),
    /// Two references to clients, or two to networks.
    #[error("it refers to {0} twice; all references must hold at once, and Linkerd takes one of each only")]
    Twice(&'static str),
    /// A route with a Server of another namespace as parent.
    #[error("its parent Server `{0}` is in another namespace")]
    ParentElsewhere(String),
    /// A route with a Server's port or section as parent.
    #[error("it names a port or section of its parent Server `{0}`")]
    ParentPart(String),
    /// A path without its leading slash.
    #[error("the path `{0}` does not begin with a slash")]
    RelativePath(String),
    /// A pattern that is no regular expression.
    #[error("`{0}` is no regular expression")]
    Pattern(String, #[source] regex::Error),
    /// A header name or value that HTTP does not allow.
    #[error("`{0}` cannot stand in an HTTP header")]
    Header(String),
    /// A gRPC method given as a regular expression.
    #[error("it matches gRPC methods by regular expression, which Linkerd does not do")]
    MethodPattern,
    /// A filter that does not work for inbound routes.
    #[error("its filter {0} does not work on routes of a Server")]
    Filter(String),
    /// A redirect to something that is no HTTP status.
    #[error("{0} is no HTTP status")]
    Status(i64),
}

/// Reads `spec` as a `T`.
fn read<T: DeserializeOwned>(spec: &Value) -> Result<T, Fault> {
    T::deserialize(spec).map_err(Fault::Shape)
}
