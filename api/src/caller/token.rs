//! Whose token it is: asked of the Kubernetes API by TokenReview, and remembered for a short while.
//!
//! Only tokens for our own audience count: one that a workload has for the API server, or for another service, must not
//! open this door when that service passes it on. What is remembered is the token's hash, never the token.

use super::{
    Principal, Proof, bearer,
    metrics::{CallerMetrics, Review},
    refused::Refused,
};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// The audience of tokens for us, unless the operator says otherwise.
pub const AUDIENCE: &str = "linkerd-mcp";

/// How long a good token is believed without asking again: so long a deleted ServiceAccount can still call.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long a bad one is refused without asking again, so that a client in a loop costs the API server little.
const REFUSED: Duration = Duration::from_secs(5);
/// The most tokens that are remembered, of each kind.
const MOST: usize = 4_096;
/// Questions that are under way at once.
const AT_ONCE: usize = 8;
/// How long an answer may take, waiting for a turn included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How tokens are checked.
#[derive(Clone)]
pub struct Reviews {
    /// The Kubernetes API that knows them.
    pub client: kube::Client,
    /// The audience that they have to be for.
    pub audience: String,
}

/// Checks tokens. Cloning shares what is remembered.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    reviews: Reviews,
    known: Mutex<Known>,
    asking: Semaphore,
    metrics: CallerMetrics,
}

#[derive(Default)]
struct Known {
    good: HashMap<Key, (Principal, Instant)>,
    bad: HashMap<Key, Instant>,
}

/// SHA-256 of a token.
type Key = [u8; 32];

// === impl Tokens ===

impl Tokens {
    pub(crate) fn new(reviews: Reviews, metrics: CallerMetrics) -> Self {
        let (known, asking) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Self { inner: Arc::new(Inner { reviews, known, asking, metrics }) }
    }

    pub(crate) fn audience(&self) -> &str {
        &self.inner.reviews.audience
    }

    /// What is remembered of a token; none when the API server has to be asked.
    pub(crate) fn remembered(&self, token: &str) -> Option<Result<Principal, Refused>> {
        self.recall(&key(token))
    }

    /// Whose it is.
    pub(crate) async fn check(&self, token: &str) -> Result<Principal, Refused> {
        let key = key(token);
        if let Some(known) = self.recall(&key) {
            return known;
        }
        let asked = timeout(PATIENCE, async {
            let _turn = self.inner.asking.acquire().await.map_err(|_| Refused::Unchecked)?;
            // Somebody else may have asked the same while this waited.
            match self.recall(&key) {
                Some(known) => known,
                None => self.ask(key, token).await,
            }
        });
        asked.await.unwrap_or_else(|_| {
            self.inner.metrics.reviewed(Review::failed);
            tracing::warn!(waited = ?PATIENCE, "the Kubernetes API does not answer whether a token is good");
            Err(Refused::Unchecked)
        })
    }

    fn recall(&self, key: &Key) -> Option<Result<Principal, Refused>> {
        let known = self.inner.known.lock();
        let now = Instant::now();
        if let Some((principal, until)) = known.good.get(key)
            && now < *until
        {
            return Some(Ok(principal.clone()));
        }
        known.bad.get(key).filter(|until| now < **until).map(|_| Err(self.refused()))
    }

    async fn ask(&self, key: Key, token: &str) -> Result<Principal, Refused> {
        let Inner { reviews, metrics, .. } = &*self.inner;
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            audiences: Some(vec![reviews.audience.clone()]),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = match Api::all(reviews.client.clone()).create(&PostParams::default(), &review).await {
            Ok(TokenReview { status: Some(status), .. }) => status,
            Ok(_) => return Err(self.failed("its review has no answer")),
            Err(error) => return Err(self.failed(&crate::chain::chain(&error))),
        };
        match principal(answer, &reviews.audience) {
            Some(principal) => {
                metrics.reviewed(Review::accepted);
                self.remember(key, &principal, bearer::expiry(token));
                Ok(principal)
            }
            None => {
                metrics.reviewed(Review::refused);
                let mut known = self.inner.known.lock();
                let now = Instant::now();
                if known.bad.len() >= MOST {
                    known.bad.retain(|_, until| now < *until);
                }
                if known.bad.len() < MOST {
                    known.bad.insert(key, now + REFUSED);
                }
                Err(self.refused())
            }
        }
    }

    fn remember(&self, key: Key, principal: &Principal, expiry: Option<u64>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = expiry.map_or(REMEMBERED, |at| Duration::from_secs(at).saturating_sub(since));
        let now = Instant::now();
        let until = now + left.min(REMEMBERED);
        let mut known = self.inner.known.lock();
        if known.good.len() >= MOST {
            known.good.retain(|_, (_, until)| now < *until);
        }
        // Whoever has so many tokens asks the API server every time.
        if known.good.len() < MOST {
            known.good.insert(key, (principal.clone(), until));
        }
    }

    fn refused(&self) -> Refused {
        Refused::Token { audience: self.audience().to_owned() }
    }

    fn failed(&self, error: &str) -> Refused {
        self.inner.metrics.reviewed(Review::failed);
        tracing::warn!(error, "the Kubernetes API cannot be asked whether a token is good");
        Refused::Unchecked
    }
}

fn key(token: &str) -> Key {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Who the API server says it is. An API server that does not know audiences answers without any, and then the token
/// may be for anybody.
fn principal(status: TokenReviewStatus, audience: &str) -> Option<Principal> {
    let ours = status.audiences.is_some_and(|all| all.iter().any(|it| it == audience));
    if status.authenticated != Some(true) || !ours {
        return None;
    }
    let user = status.user?;
    let name: Arc<str> = user.username.filter(|it| !it.is_empty())?.into();
    let groups = user.groups.unwrap_or_default().into_iter().map(Arc::from).collect();
    Some(Principal { user: name.clone(), groups, identity: name, proof: Proof::Token })
}

// === impl Reviews, Inner ===

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("reviews", &self.reviews).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use http::{Request, Response};
    use k8s_openapi::api::authentication::v1::UserInfo;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An API server that answers every review with this, and counts them.
    fn api_server(answer: serde_json::Value, status: u16) -> (kube::Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |_: Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let body = kube::client::Body::from(answer.to_string().into_bytes());
            let response = Response::builder().status(status).body(body).unwrap();
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        (kube::Client::new(service, "default"), asked)
    }

    fn mk_tokens((client, asked): (kube::Client, Arc<AtomicUsize>)) -> (Tokens, Arc<AtomicUsize>) {
        let reviews = Reviews { client, audience: AUDIENCE.to_owned() };
        (Tokens::new(reviews, CallerMetrics::default()), asked)
    }

    fn good() -> serde_json::Value {
        json!({"spec": {}, "status": {
            "authenticated": true,
            "audiences": [AUDIENCE],
            "user": {"username": "system:serviceaccount:shop:web", "groups": ["system:serviceaccounts"]},
        }})
    }

    fn web() -> Principal {
        let name: Arc<str> = "system:serviceaccount:shop:web".into();
        let groups = ["system:serviceaccounts".into()].into();
        Principal { user: name.clone(), groups, identity: name, proof: Proof::Token }
    }

    fn refused() -> Refused {
        Refused::Token { audience: AUDIENCE.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_token_is_asked_about_once_a_minute() {
        let (tokens, asked) = mk_tokens(api_server(good(), 201));
        assert_eq!(tokens.remembered("t"), None);
        for _ in 0..3 {
            assert_eq!(tokens.check("t").await, Ok(web()));
        }
        assert_eq!(tokens.remembered("t"), Some(Ok(web())));
        assert_eq!(tokens.remembered("another"), None);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(tokens.remembered("t"), None);
        assert_eq!(tokens.check("t").await, Ok(web()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_not_believed_longer_than_it_says() {
        let (tokens, asked) = mk_tokens(api_server(good(), 201));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = |exp: u64| format!("e30.{}.s", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
        let soon = token(now + 10);
        tokens.check(&soon).await.unwrap();
        assert_eq!(tokens.remembered(&soon), Some(Ok(web())));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(tokens.remembered(&soon), None);
        // The API server's clock decides whether it is over; ours only that nothing is remembered.
        let over = token(now - 10);
        tokens.check(&over).await.unwrap();
        assert_eq!(tokens.remembered(&over), None);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_token_is_refused_and_asked_about_again_after_a_while() {
        let answer = json!({"spec": {}, "status": {"authenticated": false, "error": "expired"}});
        let (tokens, asked) = mk_tokens(api_server(answer, 201));
        for _ in 0..3 {
            assert_eq!(tokens.check("t").await, Err(refused()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(REFUSED).await;
        assert_eq!(tokens.check("t").await, Err(refused()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_nobody_is_let_in_and_nothing_is_remembered() {
        let forbidden = json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no", "reason": "Forbidden"});
        let (tokens, asked) = mk_tokens(api_server(forbidden, 403));
        assert_eq!(tokens.check("t").await, Err(Refused::Unchecked));
        assert_eq!(tokens.check("t").await, Err(Refused::Unchecked));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let silent = tower::service_fn(|_: Request<kube::client::Body>| {
            std::future::pending::<Result<Response<kube::client::Body>, std::convert::Infallible>>()
        });
        let (tokens, _) = mk_tokens((kube::Client::new(silent, "default"), asked));
        assert_eq!(tokens.check("t").await, Err(Refused::Unchecked));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let (tokens, _) = mk_tokens(api_server(good(), 201));
        for at in 0..=MOST {
            tokens.check(&at.to_string()).await.unwrap();
        }
        assert_eq!(tokens.inner.known.lock().good.len(), MOST);
        tokio::time::advance(REMEMBERED).await;
        tokens.check("one more").await.unwrap();
        assert_eq!(tokens.inner.known.lock().good.len(), 1);
    }

    #[test]
    fn a_review_lets_in_only_whom_it_names_for_our_audience() {
        let status = TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec!["other".into(), AUDIENCE.into()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:shop:web".into()),
                groups: Some(vec!["system:serviceaccounts".into()]),
                ..UserInfo::default()
            }),
            error: None,
        };
        assert_eq!(principal(status.clone(), AUDIENCE), Some(web()));
        for wrong in [
            TokenReviewStatus { authenticated: None, ..status.clone() },
            TokenReviewStatus { authenticated: Some(false), ..status.clone() },
            TokenReviewStatus { audiences: None, ..status.clone() },
            TokenReviewStatus { audiences: Some(vec!["other".into()]), ..status.clone() },
            TokenReviewStatus { user: None, ..status.clone() },
            TokenReviewStatus { user: Some(UserInfo::default()), ..status.clone() },
        ] {
            assert_eq!(principal(wrong.clone(), AUDIENCE), None, "{wrong:?}");
        }
    }
}
