//! Why a caller is not known, in a sentence that says what to do, and as an answer in the caller's own protocol.

use super::{bearer, header};
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
    unchecked,
    /// A handshake that failed, most often for want of a certificate that we trust.
    certificate,
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
            Self::Unchecked => Reason::unchecked,
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
            Self::Unchecked => "try again; an operator finds the reason in the log of the API".to_owned(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host(_) => StatusCode::FORBIDDEN,
            Self::Unchecked => StatusCode::SERVICE_UNAVAILABLE,
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
        if self.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"linkerd-mcp\"");
            response.headers_mut().insert(name::WWW_AUTHENTICATE, challenge);
        }
        response.map(Body::new)
    }
}
