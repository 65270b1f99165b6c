//! Fetches the keys of an authorization server.

use super::keys::{self, Keys};
use reqwest::Url;
use serde::Deserialize;

/// Where keys come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) client: reqwest::Client,
    /// As tokens name it.
    pub(crate) issuer: String,
    /// The same.
    pub(crate) issuer_url: Url,
    /// Where the keys are, when the operator has said so.
    pub(crate) jwks: Option<Url>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer.
    #[error("{url} does not answer")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// Another answer than 200.
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    /// Too much.
    #[error("{url} answers with more than {LARGEST} bytes")]
    TooLarge { url: String },
    /// No metadata that says where keys are.
    #[error(
        "what {url} answers is no metadata of an authorization server, which has `issuer` and `jwks_uri`"
    )]
    NoMetadata { url: String },
    /// Somebody else's metadata.
    #[error("what {url} answers is the metadata of another issuer")]
    OtherIssuer { url: String },
    /// The metadata leads to where nothing can be trusted.
    #[error("the metadata at {url} has a `jwks_uri` that is not https")]
    Unsafe { url: String },
    /// Not keys.
    #[error("what {url} answers is no set of keys")]
    Keys {
        url: String,
        #[source]
        source: keys::Fault,
    },
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Sets of keys have a few KiB, with chains of certificates some ten.
const LARGEST: usize = 512 << 10;

/// True where nobody on the way can put other keys in.
pub(crate) fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match url.scheme() {
        "https" => !host.is_empty(),
        "http" => host == "localhost" || address.is_ok_and(|it| it.is_loopback()),
        _ => false,
    }
}

/// Where an issuer's metadata may be, in this order: RFC 8414 §3.1, the same with the name that OpenID Connect has, and
/// where OpenID Connect Discovery §4 puts it.
pub(crate) fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        places.push(at(format!("{path}/.well-known/openid-configuration")));
    }
    places
}

// === impl Source ===

impl Source {
    /// Fetches the keys. How long that may take is for the caller to say.
    pub(crate) async fn keys(&self) -> Result<Keys, Error> {
        let url = match &self.jwks {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let text = self.get(&url).await?;
        Keys::read(&text).map_err(|source| Error::Keys { url: url.to_string(), source })
    }

    async fn discover(&self) -> Result<Url, Error> {
        let mut last = None;
        for place in places(&self.issuer_url) {
            match self.get(&place).await {
                Ok(text) => return self.jwks(&place, &text),
                // Most issuers have one of these places only.
                Err(error @ Error::Status { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let url = || self.issuer_url.to_string();
        Err(last.unwrap_or_else(|| Error::NoMetadata { url: url() }))
    }

    /// Where the keys are, as this metadata says.
    fn jwks(&self, place: &Url, text: &[u8]) -> Result<Url, Error> {
        let url = || place.to_string();
        let found: Metadata = serde_json::from_slice(text).map_err(|_| Error::NoMetadata { url: url() })?;
        if found.issuer != self.issuer {
            return Err(Error::OtherIssuer { url: url() });
        }
        let jwks = Url::parse(&found.jwks_uri).map_err(|_| Error::NoMetadata { url: url() })?;
        // Whoever is on this machine is not the issuer, unless the issuer is on this machine too.
        let weaker = jwks.scheme() != "https" && self.issuer_url.scheme() == "https";
        if is_safe(&jwks) && !weaker { Ok(jwks) } else { Err(Error::Unsafe { url: url() }) }
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, Error> {
        let failed = |source: reqwest::Error| Error::Unreachable {
            url: url.to_string(),
            source: source.without_url(),
        };
        let request = self.client.get(url.clone()).header(http::header::ACCEPT, "application/json");
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::Status { url: url.to_string(), status });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(Error::TooLarge { url: url.to_string() });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
