//! The token by which the API knows who asks: of a ServiceAccount, for nothing else, and short-lived.

use super::Error;
use crate::args::account::Account;
use http::HeaderValue;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};

/// The ServiceAccount in the extension's namespace that asks unless another is named.
pub(crate) const USUAL_NAME: &str = "mcp-viewer";

/// The audience that the API wants.
const AUDIENCE: &str = "linkerd-mcp";
/// The least that Kubernetes gives.
const LIFETIME: Duration = Duration::from_secs(600);
/// A new one is asked for so long before the old one ends.
const MARGIN: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(15);

/// Tokens for the API, one after the other; or none, where nobody asks for any.
#[derive(Default)]
pub(crate) struct Tokens {
    source: Option<Source>,
    current: Mutex<Option<Current>>,
    /// One asks, the others wait for what it gets.
    turn: tokio::sync::Mutex<()>,
}

struct Source {
    client: Client,
    url: http::Uri,
    account: Account,
}

struct Current {
    header: HeaderValue,
    until: Instant,
}

/// Puts the token into every question over gRPC.
#[derive(Clone, Default)]
pub(crate) struct Bearing(pub(crate) Arc<Tokens>);

// === impl Tokens ===

impl Tokens {
    /// Of this ServiceAccount.
    pub(crate) fn of(client: Client, url: http::Uri, account: Account) -> Self {
        Self { source: Some(Source { client, url, account }), ..Self::default() }
    }

    /// The header of the next question; none where no token is needed.
    ///
    /// # Errors
    /// When the Kubernetes API gives no token.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(source) = &self.source else { return Ok(None) };
        if let Some(header) = self.current() {
            return Ok(Some(header));
        }
        let _turn = self.turn.lock().await;
        if let Some(header) = self.current() {
            return Ok(Some(header));
        }
        let until = Instant::now() + LIFETIME - MARGIN;
        let header = source.request().await?;
        *self.current.lock() = Some(Current { header: header.clone(), until });
        Ok(Some(header))
    }

    fn current(&self) -> Option<HeaderValue> {
        let current = self.current.lock();
        current.as_ref().filter(|it| Instant::now() < it.until).map(|it| it.header.clone())
    }
}

// === impl Source ===

impl Source {
    async fn request(&self) -> Result<HeaderValue, Error> {
        let Self { client, url, account } = self;
        let doing = format!("get a token of ServiceAccount {account}");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &account.namespace);
        let spec = TokenRequestSpec {
            audiences: vec![AUDIENCE.to_owned()],
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let (params, no_token) = (PostParams::default(), || account.to_string());
        let asked = accounts.create_token_request(&account.name, &params, &request);
        let answer = match timeout(PATIENCE, asked).await {
            Err(_) => return Err(Error::Slow { url: url.to_string(), seconds: PATIENCE.as_secs() }),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => {
                return Err(Error::NoToken { account: no_token(), sentence: status.message.clone() });
            }
            Ok(Err(error)) => return Err(Error::kubernetes(url, &doing, error)),
            Ok(Ok(answer)) => answer,
        };
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Refused {
            doing: doing.clone(),
            sentence: "what it answered is no token".to_owned(),
        })?;
        if token.is_empty() {
            return Err(Error::Refused { doing, sentence: "it answered without one".to_owned() });
        }
        // Never in a log.
        header.set_sensitive(true);
        Ok(header)
    }
}

// === impl Bearing ===

impl Interceptor for Bearing {
    /// Whoever asks has seen to it that there is one: [`Tokens::header`].
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = self.0.current.lock().as_ref().map(|it| it.header.clone()) {
            let mut value = MetadataValue::try_from(header.as_bytes())
                .map_err(|_| Status::internal("the token is no text"))?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}
