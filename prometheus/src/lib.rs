//! How controller and API reach Prometheus: one request at a time, with credentials that may be rotated, and an answer
//! that is bounded in time and bytes. What is asked, and what is made of the answer, is theirs.
//!
//! Start at [`Connection`].

mod args;
mod body;

pub use args::EndpointArgs;
pub use body::Body;

use linkerd_mcp_graph::promql::ExtraMatcher;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Which Prometheus, and how to ask it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL, for example `http://prometheus.linkerd-viz.svc.cluster.local:9090`. A path is kept.
    pub url: String,
    /// User for basic authentication.
    pub user: Option<String>,
    /// File with the password, read at each request so that it can be rotated.
    pub password_file: Option<PathBuf>,
    /// File with a bearer token, read at each request so that it can be rotated.
    pub token_file: Option<PathBuf>,
    /// PEM file with the CAs to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Matchers for every selector, for a Prometheus that holds several clusters.
    pub matchers: Vec<ExtraMatcher>,
    /// Limit for one request.
    pub timeout: Duration,
    /// Limit for the answers that are held at a time, in bytes after decompression.
    pub max_bytes: usize,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are of no use.
    #[error("{what} of Prometheus is of no use: {why}")]
    Options {
        /// Which option.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No answer.
    #[error("Prometheus at {url} cannot be reached: check the URL, and that it is running")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("Prometheus at {url} did not answer within {seconds} s")]
    Timeout {
        /// Where.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// 401 or 403.
    #[error(
        "Prometheus at {url} refuses us with {status}: give credentials, or, for the Prometheus of linkerd-viz, an \
         AuthorizationPolicy for its Server prometheus-admin that admits us"
    )]
    Forbidden {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Another error status.
    #[error("Prometheus at {url} answered {status}: {message}")]
    Status {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the body, or Prometheus' own message.
        message: String,
    },
    /// More bytes than allowed.
    #[error("Prometheus at {url} answered with more than {limit} bytes: narrow it with --prometheus-matcher")]
    TooLarge {
        /// Where.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The body broke off or is no text.
    #[error("the answer of Prometheus at {url} could not be read to its end")]
    Body {
        /// Where.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
}

/// A Prometheus to ask. Cloning shares its connections and its limit.
#[derive(Debug, Clone)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
    client: reqwest::Client,
    held: body::Held,
}

// === impl Endpoint ===

impl Endpoint {
    /// The defaults, for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password_file: None,
            token_file: None,
            ca_file: None,
            matchers: Vec::new(),
            timeout: Duration::from_secs(10),
            max_bytes: 256 << 20,
        }
    }
}

// === impl Error ===

impl Error {
    /// The kind of failure in one word, for a metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Forbidden { .. } => "forbidden",
            Self::Unreachable { .. } => "unreachable",
            Self::Options { .. } | Self::Status { .. } | Self::TooLarge { .. } | Self::Body { .. } => "error",
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Checks the options; connects at the first request.
    ///
    /// # Errors
    ///
    /// When an option is of no use.
    pub fn new(endpoint: Endpoint) -> Result<Self, Error> {
        let refuse = |what, why: String| Error::Options { what, why };
        let url = reqwest::Url::parse(&endpoint.url)
            .map_err(|error| refuse("the URL", format!("{error}: {}", endpoint.url)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("the URL", format!("its scheme is {}, not http or https", url.scheme())));
        }
        if endpoint.user.is_some() && endpoint.token_file.is_some() {
            return Err(refuse("authentication", "a user and a token are both given; take one".to_owned()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(5)))
            .timeout(endpoint.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("linkerd-mcp/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &endpoint.ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| refuse("the CA file", format!("{}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| refuse("the CA file", format!("{}: {error}", path.display())))?;
            if certificates.is_empty() {
                return Err(refuse("the CA file", format!("{} holds no certificate", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|error| refuse("the client", error.to_string()))?;
        Ok(Self { endpoint: Arc::new(endpoint), client, held: body::Held::default() })
    }

    /// The options it was made with.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `POST /api/v1/<path>` with a form; fields without a value are left out.
    ///
    /// # Errors
    ///
    /// When there is no answer, or it is refused, too large or broken off.
    pub async fn post(&self, path: &str, form: &[(&str, Option<&str>)]) -> Result<Body, Error> {
        self.fetch(self.client.post(self.at(path)).form(form)).await
    }

    /// `GET /api/v1/<path>`.
    ///
    /// # Errors
    ///
    /// As [`Connection::post`].
    pub async fn get(&self, path: &str) -> Result<Body, Error> {
        self.fetch(self.client.get(self.at(path))).await
    }

    async fn fetch(&self, request: reqwest::RequestBuilder) -> Result<Body, Error> {
        body::fetch(self.authenticated(request).await?, &self.endpoint, &self.held).await
    }

    async fn authenticated(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let read = async |what: &'static str, path: &PathBuf| {
            let text = tokio::fs::read_to_string(path).await;
            text.map(|text| text.trim().to_owned())
                .map_err(|error| Error::Options { what, why: format!("{}: {error}", path.display()) })
        };
        let Endpoint { user, password_file, token_file, .. } = &*self.endpoint;
        Ok(match (user, password_file, token_file) {
            (Some(user), Some(path), _) => {
                request.basic_auth(user, Some(read("the password file", path).await?))
            }
            (Some(user), None, _) => request.basic_auth(user, None::<&str>),
            (None, _, Some(path)) => request.bearer_auth(read("the token file", path).await?),
            (None, _, None) => request,
        })
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.endpoint.url.trim_end_matches('/'))
    }
}
