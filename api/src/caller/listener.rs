//! What stands before every handler: it finds out who calls, puts the [`Principal`] into the request's extensions, and
//! refuses those it does not know. Each listener has its own way to know callers.

use super::{
    Principal, Proof, bearer, header,
    metrics::CallerMetrics,
    oauth::{Fault, Resource, metadata},
    refused::Refused,
    tls::{Certified, Tls},
    token::{Reviews, Tokens},
};
use crate::http::host::Hosts;
use futures::future::{BoxFuture, Either, FutureExt as _, ready};
use http::{Extensions, HeaderMap, Request, Response, Version, header as name};
use prometheus_client::encoding::EncodeLabelValue;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{body::Body, transport::server::TcpConnectInfo};

/// How callers on a loopback address are known.
#[derive(Debug, Clone)]
pub enum Local {
    /// Not at all: whoever reaches it is whoever uses this machine. For `serve` and `demo`.
    Machine,
    /// By a token of a ServiceAccount.
    Token(Reviews),
}

/// The listener for callers in the mesh.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// The pod's own addresses: it listens on each of them, and believes the proxy only when it calls from one.
    pub ips: Vec<IpAddr>,
    /// The port; 0 picks one for each address.
    pub port: u16,
    /// What identities of ServiceAccounts of this mesh end with: `<control plane's namespace>.<trust domain>`.
    pub suffix: String,
    /// Names that requests may call us by.
    pub hosts: Vec<String>,
    /// What checks access tokens that gateways bring; none for no such tokens.
    pub oauth: Option<Resource>,
}

/// A listener, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as they are written in metrics")]
#[allow(missing_docs, reason = "named as in the documentation")]
pub enum Listener {
    mesh,
    local,
    tls,
}

/// What knows the callers of one listener. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    way: Way,
    hosts: Hosts,
    metrics: CallerMetrics,
}

#[derive(Debug)]
enum Way {
    Machine,
    Token(Tokens),
    Mesh {
        ips: Vec<IpAddr>,
        suffix: String,
        oauth: Option<Resource>,
    },
    /// The handshake has found out.
    Certificate,
}

/// What is known of a caller at once.
enum Known {
    Caller(Principal),
    /// The API server has to be asked about this token, or the keys of its issuer.
    Token(String),
}

/// What answers anybody: whether we serve, and what there is to ask. Neither says anything about the mesh.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

// === impl Door ===

impl Door {
    /// For a loopback address.
    pub(crate) fn local(local: &Local, bound: IpAddr, hosts: &[String], metrics: CallerMetrics) -> Self {
        let way = match local {
            Local::Machine => Way::Machine,
            Local::Token(reviews) => Way::Token(Tokens::new(reviews.clone(), metrics.clone())),
        };
        Self { inner: Arc::new(Inner { way, hosts: Hosts::local(bound, hosts), metrics }) }
    }

    /// For the pod's own addresses.
    pub(crate) fn mesh(mesh: &Mesh, metrics: CallerMetrics) -> Self {
        let ips = mesh.ips.iter().map(IpAddr::to_canonical).collect();
        let way = Way::Mesh { ips, suffix: mesh.suffix.clone(), oauth: mesh.oauth.clone() };
        Self { inner: Arc::new(Inner { way, hosts: Hosts::named(&mesh.hosts), metrics }) }
    }

    /// For the listener that speaks TLS itself.
    pub(crate) fn certificate(tls: &Tls, metrics: CallerMetrics) -> Self {
        let (way, hosts) = (Way::Certificate, Hosts::named(&tls.hosts));
        Self { inner: Arc::new(Inner { way, hosts, metrics }) }
    }

    fn listener(&self) -> Listener {
        match self.inner.way {
            Way::Machine | Way::Token(_) => Listener::local,
            Way::Mesh { .. } => Listener::mesh,
            Way::Certificate => Listener::tls,
        }
    }

    /// Who calls, as far as that is known without asking anybody.
    fn known<B>(&self, request: &Request<B>) -> Result<Known, Refused> {
        self.host(request)?;
        let headers = request.headers();
        match &self.inner.way {
            Way::Machine => Ok(Known::Caller(Principal::machine())),
            Way::Token(tokens) => {
                let token = bearer::token(headers).map_err(Refused::NoBearer)?;
                let audience = || tokens.audience().to_owned();
                let token = token.ok_or_else(|| Refused::NoToken { audience: audience() })?;
                match tokens.remembered(token) {
                    Some(known) => known.map(Known::Caller),
                    None => Ok(Known::Token(token.to_owned())),
                }
            }
            Way::Certificate => match request.extensions().get::<Certified>() {
                Some(Certified(principal)) => Ok(Known::Caller(principal.clone())),
                None => Err(Refused::NoPeer),
            },
            Way::Mesh { ips, suffix, oauth } => {
                let caller = over_mesh(headers, peer(request.extensions()), ips, suffix)?;
                match oauth {
                    Some(oauth) => through(oauth, caller, headers),
                    None => Ok(Known::Caller(caller)),
                }
            }
        }
    }

    /// Web pages can make a name of theirs lead here, and send what HTTP/1 sends. Programs that speak gRPC over HTTP/2
    /// may call us what they like: no browser does that without TLS.
    fn host<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        if request.version() == Version::HTTP_2 && is_grpc(request.headers()) {
            return Ok(());
        }
        let header = request.headers().get(name::HOST).and_then(|it| it.to_str().ok());
        // HTTP/2 has the authority in the URI, HTTP/1.1 has a Host header.
        let host = request.uri().authority().map(http::uri::Authority::as_str).or(header).unwrap_or_default();
        if self.inner.hosts.allow(host) { Ok(()) } else { Err(Refused::Host(clean(host))) }
    }

    async fn ask(&self, token: &str) -> Result<Principal, Refused> {
        match &self.inner.way {
            Way::Token(tokens) => tokens.check(token).await,
            Way::Mesh { oauth: Some(oauth), .. } => oauth.check(token, &self.inner.metrics).await,
            Way::Machine | Way::Mesh { oauth: None, .. } | Way::Certificate => Err(Refused::Unchecked),
        }
    }

    /// True for what answers anybody here.
    fn is_open(&self, path: &str) -> bool {
        let tells_clients = || matches!(self.inner.way, Way::Mesh { oauth: Some(_), .. });
        OPEN.iter().any(|it| path.starts_with(it)) || metadata::PATHS.contains(&path) && tells_clients()
    }

    fn refuse(&self, refused: &Refused, asked: &HeaderMap) -> Response<Body> {
        let (listener, reason) = (self.listener(), refused.reason());
        self.inner.metrics.refused(listener, reason);
        tracing::debug!(?listener, ?reason, error = %refused, "refused a caller");
        refused.answer(asked)
    }
}

/// Who calls over the mesh. The proxy of this pod calls from one of the pod's own addresses, and it has set the header
/// or taken it away.
fn over_mesh(
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    ips: &[IpAddr],
    suffix: &str,
) -> Result<Principal, Refused> {
    let peer = peer.ok_or(Refused::NoPeer)?.ip().to_canonical();
    if !ips.contains(&peer) {
        return Err(Refused::NotThroughProxy(peer));
    }
    let identity = header::identity(headers).map_err(Refused::Header)?.ok_or(Refused::NoIdentity)?;
    Ok(Principal::of_identity(identity, suffix, Proof::Mesh))
}

/// Who calls where gateways bring tokens. A gateway without one is nobody: its own rights would be everybody's who can
/// reach it. Anybody else is who the proxy says, and a token from there may be stolen.
fn through(oauth: &Resource, caller: Principal, headers: &HeaderMap) -> Result<Known, Refused> {
    if !oauth.is_gateway(&caller.identity) {
        let brings_none = !headers.contains_key(name::AUTHORIZATION);
        return if brings_none { Ok(Known::Caller(caller)) } else { Err(Refused::NoGateway) };
    }
    let token = bearer::token(headers).map_err(|fault| oauth.refused(Fault::Bearer(fault)))?;
    token.map(|it| Known::Token(it.to_owned())).ok_or_else(|| oauth.refused(Fault::Missing))
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(name::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

/// A name that somebody else chose, for a sentence.
fn clean(host: &str) -> String {
    host.chars().take(100).map(|it| if it.is_ascii_graphic() && it != '`' { it } else { '?' }).collect()
}

/// Takes out of a request what proves who calls: handlers get the [`Principal`], and cannot log a token.
fn strip(headers: &mut HeaderMap) {
    headers.remove(name::AUTHORIZATION);
    headers.remove(header::NAME);
}

/// A service behind a door.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S> {
    door: Door,
    inner: S,
}

impl<S> tower::Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { door: self.clone(), inner }
    }
}

type Answer = Result<Response<Body>, Infallible>;

impl<S, B> tower::Service<Request<B>> for Guarded<S>
where
    S: tower::Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Answer>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Nobody but this may say who calls.
        request.extensions_mut().remove::<Principal>();
        if self.door.is_open(request.uri().path()) {
            strip(request.headers_mut());
            return Either::Left(self.inner.call(request));
        }
        match self.door.known(&request) {
            Ok(Known::Caller(principal)) => {
                strip(request.headers_mut());
                request.extensions_mut().insert(principal);
                Either::Left(self.inner.call(request))
            }
            Err(refused) => Either::Right(ready(Ok(self.door.refuse(&refused, request.headers()))).boxed()),
            Ok(Known::Token(token)) => {
                let door = self.door.clone();
                // The one that is ready stays with this call.
                let spare = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, spare);
                Either::Right(
                    async move {
                        match door.ask(&token).await {
                            Ok(principal) => {
                                strip(request.headers_mut());
                                request.extensions_mut().insert(principal);
                                inner.call(request).await
                            }
                            Err(refused) => Ok(door.refuse(&refused, request.headers())),
                        }
                    }
                    .boxed(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: &str = "linkerd.cluster.local";
    const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

    fn called(peer: Option<&str>, identity: &str) -> Result<Principal, Refused> {
        let ips = [[10, 0, 0, 5].into(), "fd00::5".parse().unwrap()];
        let mut headers = HeaderMap::new();
        headers.insert(header::NAME, identity.parse().unwrap());
        let peer = peer.map(|it| SocketAddr::new(it.parse().unwrap(), 40_000));
        over_mesh(&headers, peer, &ips, SUFFIX)
    }

    #[test]
    fn the_header_is_believed_only_from_the_pods_own_addresses() {
        let web = Ok(Principal::of_identity(WEB, SUFFIX, Proof::Mesh));
        for own in ["10.0.0.5", "fd00::5", "::ffff:10.0.0.5"] {
            assert_eq!(called(Some(own), WEB), web, "{own}");
        }
        for other in ["127.0.0.1", "::1", "10.0.0.6", "fd00::6", "::ffff:127.0.0.1", "0.0.0.0", "::5"] {
            let refused = called(Some(other), WEB).unwrap_err();
            assert!(matches!(refused, Refused::NotThroughProxy(_)), "{other}: {refused}");
        }
        assert_eq!(called(None, WEB), Err(Refused::NoPeer));
    }

    #[test]
    fn a_host_that_is_repeated_in_a_sentence_is_short_and_plain() {
        assert_eq!(clean("evil.example:80"), "evil.example:80");
        assert_eq!(clean("a`b\nc\u{202e}d"), "a?b?c?d");
        assert_eq!(clean(&"x".repeat(1_000)).len(), 100);
    }
}
