//! Access tokens of an authorization server, for MCP clients that come from outside through an ingress.
//!
//! ```text
//! client ─ Bearer ─► ingress in the mesh ─ l5d-client-id: a gateway ─► claims ◄─ signature ◄─ keys ◄─ the issuer
//!                                                                       └─► Principal
//! ```
//!
//! We are a resource server (OAuth 2.1, RFC 9728) and nothing else: no token is asked for here, kept or handed on. A token
//! counts only from a caller whose mesh identity is a gateway's, and such a caller counts for nothing without one: whoever
//! can reach an ingress would have its rights.

pub mod args;
pub(crate) mod claims;
mod fetch;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod metadata;
mod store;

#[cfg(test)]
mod tests;

pub use metadata::Challenge;

use super::{Principal, bearer, header, metrics::CallerMetrics, refused::Refused};
use claims::Expected;
use fetch::Source;
use reqwest::Url;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::Store;

/// How access tokens are checked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The authorization server, as it names itself (`iss`).
    pub issuer: String,
    /// What tokens have to be for (`aud`): the URL that clients call us by (RFC 8707).
    pub audience: String,
    /// Where its keys are; without it, what its metadata says (RFC 8414, OpenID Connect Discovery).
    pub jwks_url: Option<String>,
    /// Scopes that a token must have, all of them.
    pub scopes: Vec<String>,
    /// The claim with the caller's groups; without it no token gives any.
    pub groups_claim: Option<String>,
    /// Mesh identities of the callers who may bring tokens of others.
    pub gateways: Vec<String>,
}

/// Checks access tokens. Cloning shares the keys.
#[derive(Clone)]
pub struct Resource {
    inner: Arc<Inner>,
}

struct Inner {
    expected: Expected,
    gateways: Vec<String>,
    store: Arc<Store>,
    challenge: Challenge,
    document: serde_json::Value,
}

/// Why access tokens could not be checked. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL that can be used.
    #[error(
        "{flag} is `{text}`, and has to be a URL such as https://login.example without user, query or fragment: https, \
         or http on a loopback address"
    )]
    Url {
        /// The flag.
        flag: &'static str,
        /// What it says.
        text: String,
    },
    /// Nobody could bring a token.
    #[error(
        "--oauth-issuer needs --oauth-gateway, the mesh identity of the ingress that brings tokens to us, such as \
         ingress-nginx.ingress-nginx.serviceaccount.identity.linkerd.cluster.local"
    )]
    NoGateway,
    /// What is no identity.
    #[error("--oauth-gateway is `{text}`, which is no mesh identity")]
    Gateway {
        /// What it says.
        text: String,
        /// What is wrong with it.
        #[source]
        source: header::Fault,
    },
    /// What is no scope.
    #[error("--oauth-scopes has `{0}`, which is no scope: no spaces, quotes or backslashes (RFC 6749)")]
    Scope(String),
    /// The groups would come from a claim that means something else.
    #[error("--oauth-groups-claim is `{0}`, which is no name of a claim with groups")]
    GroupsClaim(String),
    /// No client for HTTP.
    #[error("the client that fetches keys cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Why an access token is not accepted. Nothing of the token is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// The header is no bearer token.
    #[error(transparent)]
    Bearer(bearer::Fault),
    /// It is no JWT, or what it says is no JSON of the right form, or it cannot be verified.
    #[error(transparent)]
    Token(jwt::Fault),
    /// It is somebody else's, or not for us, or not for now.
    #[error(transparent)]
    Claims(claims::Fault),
}

/// How long the fetching of keys may take, everything included.
const PATIENCE: Duration = Duration::from_secs(5);

/// Claims that every token has, none of which holds groups.
const OTHER_CLAIMS: [&str; 9] = ["", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id"];

// === impl Resource ===

impl Resource {
    /// Checks the options. Keys are fetched when the first token comes.
    ///
    /// # Errors
    ///
    /// When an option is of no use.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { issuer, audience, jwks_url, scopes, groups_claim, gateways } = options;
        let issuer_url = url("--oauth-issuer", &issuer)?;
        let resource = url("--oauth-audience", &audience)?;
        let jwks = match jwks_url.as_deref() {
            Some(text) => Some(keys_url("--oauth-jwks-url", text)?),
            None => None,
        };
        if gateways.is_empty() {
            return Err(Error::NoGateway);
        }
        for text in &gateways {
            header::check(text).map_err(|source| Error::Gateway { text: text.clone(), source })?;
        }
        let of_scope = |it: u8| it.is_ascii_graphic() && it != b'"' && it != b'\\';
        if let Some(bad) = scopes.iter().find(|it| it.is_empty() || !it.bytes().all(of_scope)) {
            return Err(Error::Scope(bad.clone()));
        }
        if let Some(claim) = groups_claim.as_deref().filter(|it| OTHER_CLAIMS.contains(it)) {
            return Err(Error::GroupsClaim(claim.to_owned()));
        }
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("linkerd-mcp/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        let challenge = Challenge::new(&resource, &scopes);
        let document = metadata::document(&audience, &issuer, &scopes);
        let store = Store::new(Source { client, issuer: issuer.clone(), issuer_url, jwks });
        let expected = Expected { issuer, audience, scopes, groups_claim };
        let inner = Inner { expected, gateways, store: Arc::new(store), challenge, document };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// True for a caller who may bring the tokens of others.
    pub(crate) fn is_gateway(&self, identity: &str) -> bool {
        self.inner.gateways.iter().any(|it| it == identity)
    }

    /// What clients are told about us (RFC 9728).
    pub(crate) fn document(&self) -> &serde_json::Value {
        &self.inner.document
    }

    /// A refusal of a token, which says where to get one.
    pub(crate) fn refused(&self, fault: Fault) -> Refused {
        Refused::Access { fault, challenge: self.inner.challenge.clone() }
    }

    /// Whose token it is.
    pub(crate) async fn check(&self, token: &str, metrics: &CallerMetrics) -> Result<Principal, Refused> {
        let Inner { expected, store, .. } = &*self.inner;
        let refused = |fault| self.refused(Fault::Token(fault));
        let signed = jwt::parse(token).map_err(refused)?;
        let keys = store.keys(&signed.key, metrics).await.ok_or(Refused::NoKeys)?;
        let claims = jwt::verify(&signed, &keys).map_err(refused)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        claims::principal(claims, expected, now).map_err(|fault| self.refused(Fault::Claims(fault)))
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { expected, gateways, .. } = &*self.inner;
        f.debug_struct("Resource")
            .field("expected", expected)
            .field("gateways", gateways)
            .finish_non_exhaustive()
    }
}

/// A URL that names somebody: nothing in it may be a secret, or mean something else the next time.
fn url(flag: &'static str, text: &str) -> Result<Url, Error> {
    let url = keys_url(flag, text)?;
    match url.query() {
        None => Ok(url),
        Some(_) => Err(Error::Url { flag, text: text.to_owned() }),
    }
}

fn keys_url(flag: &'static str, text: &str) -> Result<Url, Error> {
    let wrong = || Error::Url { flag, text: text.to_owned() };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if plain && fetch::is_safe(&url) { Ok(url) } else { Err(wrong()) }
}
