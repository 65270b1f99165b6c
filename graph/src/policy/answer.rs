//! What Linkerd's policy controller tells a proxy about one of its ports, as values. As JSON they have the form in
//! which the controller's own answers were recorded.

use super::pattern::Pattern;
use crate::id::Text;
use ipnet::IpNet;
use serde::Serialize;
use std::{fmt, sync::Arc};

/// The answer for one port of one workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The port and who may use it.
    Ok(Server),
    /// There is no such workload, or it is not in the mesh.
    NotFound,
    /// No port has this number.
    InvalidArgument,
}

/// A port as its proxy serves it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// The Server that selects the port, or the default policy.
    pub labels: Labels,
    /// What is spoken on the port, and the routes where it is HTTP.
    pub protocol: Protocol,
    /// Who may use the port; for HTTP in addition to each route's own authorizations. Ordered by their metadata.
    pub authorizations: Arc<[Authorization]>,
    /// Always 0: a field of the controller's answer that it never fills.
    pub server_ips: u32,
}

/// Names a Server, a default policy or an authorization in metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Labels {
    /// API group; empty for defaults.
    pub group: Text,
    /// Kind in lower case, or `default`.
    pub kind: Text,
    /// Name of the object or of the default.
    pub name: Text,
}

/// What is spoken on a port.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP or not: the proxy looks at the first bytes.
    Detect {
        /// How long it waits for them, in milliseconds.
        timeout_ms: u64,
        /// Routes, should it be HTTP.
        http_routes: Arc<[HttpRoute]>,
        /// The rate limit, should it be HTTP.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/1.
    Http1 {
        /// Routes.
        http_routes: Arc<[HttpRoute]>,
        /// The rate limit.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/2.
    Http2 {
        /// Routes.
        http_routes: Arc<[HttpRoute]>,
        /// The rate limit.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// gRPC.
    Grpc {
        /// Routes.
        grpc_routes: Arc<[GrpcRoute]>,
    },
    /// Any bytes.
    Opaque {},
    /// TLS that the application ends itself.
    Tls {},
}

/// What an answer's part stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Metadata {
    /// No object: a default of Linkerd.
    Default {
        /// Its name, such as `all-unauthenticated` or `probe`.
        default: Text,
    },
    /// An object in the workload's namespace.
    Resource {
        /// API group.
        group: Text,
        /// Kind: in lower case for authorizations, as in manifests for routes and rate limits.
        kind: Text,
        /// Name.
        name: Text,
    },
}

/// Lets clients in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authorization {
    /// Where it comes from.
    pub metadata: Metadata,
    /// The same for metrics.
    pub labels: Labels,
    /// The client's address must be in one of these.
    pub networks: Arc<[Network]>,
    /// And it must be authenticated like this.
    pub authentication: Authentication,
}

/// Addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Network {
    /// As written: host bits are kept.
    pub net: IpNet,
    /// Without these.
    pub except: Vec<IpNet>,
}

/// How a client must be authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// Not at all.
    Unauthenticated {},
    /// By mesh TLS.
    MeshTls(Clients),
}

/// Clients of mesh TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Clients {
    /// With or without an identity.
    Any {
        /// No content; names the form in JSON.
        unauthenticated: Empty,
    },
    /// With one of these identities.
    Identities {
        /// Exact identities, DNS names or SPIFFE URIs, in the order of the specs.
        identities: Vec<Text>,
        /// Labels of DNS suffixes; one without labels is every DNS name.
        suffixes: Vec<Vec<Text>>,
    },
}

/// An empty JSON object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// An HTTP route.
pub type HttpRoute = Route<HttpMatch>;
/// A gRPC route.
pub type GrpcRoute = Route<GrpcMatch>;

/// A route: which requests it takes and who else may send them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route<M> {
    /// The route object, or `default` or `probe`.
    pub metadata: Metadata,
    /// Host names, one of which must match; none means any.
    pub hosts: Vec<Host>,
    /// Rules, one of which must match.
    pub rules: Vec<Rule<M>>,
    /// Authorizations on the route itself. The proxy adds the server's. Ordered by their metadata.
    pub authorizations: Arc<[Authorization]>,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule<M> {
    /// One of these must match; none means any request.
    pub matches: Vec<M>,
    /// What is done with the request.
    pub filters: Vec<Filter>,
}

/// A host name to match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// This one.
    Exact(Text),
    /// All below this one; its labels from the last to the first.
    SuffixReverseLabels(Vec<Text>),
}

/// What an HTTP request must be like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HttpMatch {
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Headers, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    /// Query parameters, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<ValueMatch>,
    /// Method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
}

/// What a gRPC call must be like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GrpcMatch {
    /// Service and method. A match on headers alone has none, which the proxy cannot read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Rpc>,
    /// Headers, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
}

/// A gRPC service and method; empty is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rpc {
    /// Service with its package.
    pub service: Text,
    /// Method.
    pub method: Text,
}

/// A path to match.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This one.
    Exact(Text),
    /// This one and all below, by whole segments.
    Prefix(Text),
    /// All of it matches the pattern.
    Regex(Pattern),
}

/// A named value to match: a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueMatch {
    /// Name; of headers in lower case.
    pub name: Text,
    /// Value.
    #[serde(flatten)]
    pub value: Value,
}

/// A value to match.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// This one.
    Exact(Text),
    /// All of it matches the pattern.
    Regex(Pattern),
}

/// What a rule does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Changes headers.
    RequestHeaderModifier(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
}

/// Changes of headers, as names and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderModifier {
    /// Added to those there are.
    pub add: Vec<(Text, Text)>,
    /// Put in their place.
    pub set: Vec<(Text, Text)>,
    /// Taken away.
    pub remove: Vec<Text>,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// `HTTP` or `HTTPS`; the request's without one.
    pub scheme: Option<Text>,
    /// Host; the request's when empty.
    pub host: Text,
    /// Path; the request's without one.
    pub path: Option<PathModifier>,
    /// Port; 0 is the scheme's.
    pub port: u16,
    /// HTTP status.
    pub status: u16,
}

/// A new path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathModifier {
    /// In place of the whole path.
    Full(Text),
    /// In place of the matched prefix.
    Prefix(Text),
}

/// An HTTPLocalRateLimitPolicy, in requests per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// The object.
    pub metadata: Metadata,
    /// Of all clients together.
    pub total: Option<u32>,
    /// Of each client.
    pub identity: Option<u32>,
    /// Of some clients instead of `identity`.
    pub overrides: Vec<Override>,
}

/// A limit for some clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    /// Requests per second.
    pub requests_per_second: u32,
    /// Mesh identities of the clients.
    pub identities: Vec<Text>,
}

// === impl Answer ===

impl Answer {
    /// `ok`, `not_found` or `invalid_argument`: the status in a recording.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::NotFound => "not_found",
            Self::InvalidArgument => "invalid_argument",
        }
    }

    /// The server of an answer that has one.
    pub fn server(&self) -> Option<&Server> {
        match self {
            Self::Ok(server) => Some(server),
            Self::NotFound | Self::InvalidArgument => None,
        }
    }
}

// === impl Labels ===

impl Labels {
    /// Labels of a default.
    pub fn default_named(name: &str) -> Self {
        Self { group: "".into(), kind: "default".into(), name: name.into() }
    }
}

// === impl Metadata ===

impl Metadata {
    /// A default of Linkerd.
    pub fn default_named(name: &str) -> Self {
        Self::Default { default: name.into() }
    }

    /// The name of the object or of the default.
    pub fn name(&self) -> &str {
        match self {
            Self::Default { default } => default,
            Self::Resource { name, .. } => name,
        }
    }

    /// True when it stands for no object.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default { .. })
    }
}

// === impl Server ===

impl Server {
    /// The routes of an HTTP or gRPC port, each with the authorizations on it alone.
    pub fn routes(&self) -> impl Iterator<Item = (&Metadata, &Arc<[Authorization]>)> {
        let (http, grpc): (&[HttpRoute], &[GrpcRoute]) = match &self.protocol {
            Protocol::Detect { http_routes, .. }
            | Protocol::Http1 { http_routes, .. }
            | Protocol::Http2 { http_routes, .. } => (http_routes, &[]),
            Protocol::Grpc { grpc_routes } => (&[], grpc_routes),
            Protocol::Opaque {} | Protocol::Tls {} => (&[], &[]),
        };
        let http = http.iter().map(|route| (&route.metadata, &route.authorizations));
        http.chain(grpc.iter().map(|route| (&route.metadata, &route.authorizations)))
    }

    /// The authorizations of all routes.
    pub fn route_authorizations(&self) -> impl Iterator<Item = &Authorization> {
        self.routes().flat_map(|(_, authorizations)| authorizations.iter())
    }
}

// === impl Authorization ===

impl Authorization {
    /// True when a client's address makes no difference.
    pub fn is_for_every_address(&self) -> bool {
        has_every_address(&self.networks)
    }

    /// The networks as text; none when every address is let in.
    pub fn limited_networks(&self) -> Vec<String> {
        match self.is_for_every_address() {
            true => Vec::new(),
            false => self.networks.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Metadata {
    /// `default probe`, or `kind/name` with the kind as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { default } => write!(f, "default {default}"),
            Self::Resource { kind, name, .. } => write!(f, "{kind}/{name}"),
        }
    }
}

// === impl Network ===

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.net)?;
        match &*self.except {
            [] => Ok(()),
            except => {
                let except: Vec<String> = except.iter().map(ToString::to_string).collect();
                write!(f, " except {}", except.join(", "))
            }
        }
    }
}

impl Network {
    /// A network without exceptions.
    pub fn whole(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }

    /// True when it is all of IPv4, or all of IPv6. Exceptions of the other family take nothing away.
    fn is_its_whole_family(&self) -> bool {
        self.net.prefix_len() == 0 && !self.except.iter().any(|except| self.net.contains(except))
    }
}

/// True when an address that is not known is in one of them all the same.
pub(crate) fn has_every_address(networks: &[Network]) -> bool {
    [false, true].into_iter().all(|v6| {
        networks.iter().any(|network| network.net.addr().is_ipv6() == v6 && network.is_its_whole_family())
    })
}

// === impl Clients ===

impl Clients {
    /// With or without an identity.
    pub fn any() -> Self {
        Self::Any { unauthenticated: Empty {} }
    }
}

// === impl Protocol ===

impl Protocol {
    /// The kind as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Detect { .. } => "detect",
            Self::Http1 { .. } => "http1",
            Self::Http2 { .. } => "http2",
            Self::Grpc { .. } => "grpc",
            Self::Opaque {} => "opaque",
            Self::Tls {} => "tls",
        }
    }
}
