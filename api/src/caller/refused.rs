//! Why a caller is not known, in a sentence that says what to do, and as an answer in the caller's own protocol.

use super::{
    bearer, header,
    oauth::{Challenge, Fault, claims},
};
use crate::http::Problem;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header as name};
use prometheus_client::encoding::EncodeLabelValue;
use std::net::IpAddr;
use tonic::{Status, body::Body};

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It calls us by a name that is not ours.
    #[error("requests for the host `{0}` are not answered")]
    Host(String),
    /// The call did not come through this pod's proxy.
    #[error(
        "this call comes from {0} and not through the proxy of this pod, so nobody vouches for its caller"
    )]
    NotThroughProxy(IpAddr),
    /// Nobody knows where the connection comes from.
    #[error("it is not known where this call comes from")]
    NoPeer,
    /// It came through the proxy, and the proxy knows no identity of the client.
    #[error("this call comes without a mesh identity")]
    NoIdentity,
    /// What the header says cannot come from the proxy.
    #[error("the header l5d-client-id names no caller: {0}")]
    Header(#[source] header::Fault),
    /// There is no token.
    #[error("this call comes without a token")]
    NoToken {
        /// The audience that it has to be for.
        audience: String,
    },
    /// What stands for a token is none.
    #[error("this call brings no token: {0}")]
    NoBearer(#[source] bearer::Fault),
    /// Kubernetes does not know the token.
    #[error("the Kubernetes API does not accept this token for the audience `{audience}`")]
    Token {
        /// The audience that it has to be for.
        audience: String,
    },
    /// A token from somebody who may not bring any.
    #[error("this call brings a token, and its caller is no gateway that may")]
    NoGateway,
    /// The access token that a gateway brings is not accepted, or there is none.
    #[error("{}", access(fault))]
    Access {
        /// Why.
        fault: Fault,
        /// Where to get a good one.
        challenge: Challenge,
    },
    /// The keys of the authorization server could not be had.
    #[error("who calls cannot be found out now: the keys of the authorization server cannot be had")]
    NoKeys,
    /// Whether the token is good could not be found out.
    #[error("who calls cannot be found out now: the Kubernetes API does not say whether the token is good")]
    Unchecked,
}

/// Why, in one word, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as they are written in metrics")]
#[allow(missing_docs, reason = "the variants of Refused")]
pub enum Reason {
    host,
    not_through_proxy,
    no_identity,
    bad_header,
    no_token,
    bad_token,
    token_refused,
    scope,
    no_gateway,
    unchecked,
    /// A handshake that failed, most often for want of a certificate that we trust.
    certificate,
}

fn access(fault: &Fault) -> String {
    match fault {
        Fault::Missing => "this call comes without an access token".to_owned(),
        fault => format!("the access token is not accepted: {fault}"),
    }
}

// === impl Refused ===

impl Refused {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Host(_) => Reason::host,
            Self::NotThroughProxy(_) | Self::NoPeer => Reason::not_through_proxy,
            Self::NoIdentity => Reason::no_identity,
            Self::Header(_) => Reason::bad_header,
            Self::NoToken { .. } => Reason::no_token,
            Self::NoBearer(_) => Reason::bad_token,
            Self::Token { .. } => Reason::token_refused,
            Self::Unchecked | Self::NoKeys => Reason::unchecked,
            Self::NoGateway => Reason::no_gateway,
            Self::Access { fault, .. } => match fault {
                Fault::Missing => Reason::no_token,
                Fault::Bearer(_) => Reason::bad_token,
                Fault::Claims(claims::Fault::Scope) => Reason::scope,
                Fault::Token(_) | Fault::Claims(_) => Reason::token_refused,
            },
        }
    }

    /// What the caller can do.
    fn hint(&self) -> String {
        match self {
            Self::Host(_) => "call this by localhost, 127.0.0.1 or [::1], or in the cluster by the name of its \
                              Service; an operator can allow others with --allowed-host. Names are checked so that web \
                              pages cannot read the mesh through a browser"
                .to_owned(),
            Self::NotThroughProxy(_) | Self::NoPeer => "call the Service from a pod in the mesh; an operator should see \
                                                        that this port is neither skipped nor opaque"
                .to_owned(),
            Self::NoIdentity => "call from a pod in the mesh, so that its proxy proves who it is; or use the command \
                                 `linkerd-mcp`, which forwards a port and brings a token"
                .to_owned(),
            Self::Header(_) => "only the proxy sets this header: do not send it".to_owned(),
            Self::NoToken { audience } | Self::Token { audience } => format!(
                "send `Authorization: Bearer TOKEN` with a token of a ServiceAccount for this audience, as `kubectl \
                 create token NAME --audience {audience}` makes one; `linkerd-mcp` gets one by itself"
            ),
            Self::NoBearer(_) => "send one header `Authorization: Bearer TOKEN`".to_owned(),
            Self::NoGateway => "call without an Authorization header, as whom the mesh knows you; an operator names the \
                                ingresses that bring access tokens with --oauth-gateway"
                .to_owned(),
            Self::Access { fault: Fault::Claims(claims::Fault::Scope), .. } => {
                "ask the authorization server for a token with the scopes that WWW-Authenticate names".to_owned()
            }
            Self::Access { .. } => "get a token for this resource from the authorization server that the document named \
                                    by WWW-Authenticate names, and send it as `Authorization: Bearer TOKEN`"
                .to_owned(),
            Self::Unchecked | Self::NoKeys => "try again; an operator finds the reason in the log of the API".to_owned(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host(_) | Self::Access { fault: Fault::Claims(claims::Fault::Scope), .. } => {
                StatusCode::FORBIDDEN
            }
            Self::Unchecked | Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The refusal in the protocol of whoever asks.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response<Body> {
        let is_grpc = asked.get(name::CONTENT_TYPE);
        if is_grpc.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
            let sentence = format!("{self}: {}", self.hint());
            let status = match self.status() {
                StatusCode::FORBIDDEN => Status::permission_denied(sentence),
                StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(sentence),
                _ => Status::unauthenticated(sentence),
            };
            return status.into_http();
        }
        let problem = Problem { status: self.status(), error: self.to_string(), hint: self.hint() };
        let mut response = problem.into_response();
        let challenge = match self {
            Self::Access { fault, challenge } => Some(challenge.header(fault)),
            _ if self.status() == StatusCode::UNAUTHORIZED => {
                Some(HeaderValue::from_static("Bearer realm=\"linkerd-mcp\""))
            }
            _ => None,
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(name::WWW_AUTHENTICATE, challenge);
        }
        response.map(Body::new)
    }
}
