//! An authorization server on loopback, and keys that sign as it does.

use axum::{Json, Router, http::StatusCode, response::Redirect, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::task::JoinHandle;

/// A key on P-256.
pub(super) struct Key {
    kid: String,
    pair: EcdsaKeyPair,
}

/// Answers until it is dropped.
pub(super) struct Issuer {
    pub(super) url: String,
    /// How often the keys were asked for.
    pub(super) fetched: Arc<AtomicUsize>,
    keys: Arc<Mutex<Value>>,
    failing: Arc<AtomicBool>,
    served: JoinHandle<()>,
}

pub(super) fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

// === impl Key ===

impl Key {
    pub(super) fn new(kid: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { kid: kid.to_owned(), pair }
    }

    /// The public half, as issuers publish it.
    pub(super) fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (part(&point[1..33]), part(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256", "x": x, "y": y})
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid}), claims)
    }

    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", part(signature))
    }
}

// === impl Issuer ===

impl Issuer {
    pub(super) async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (fetched, failing) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let published = Arc::new(Mutex::new(Value::Null));
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let (all, count, down) = (published.clone(), fetched.clone(), failing.clone());
        let answer = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let status = if down.load(Ordering::Relaxed) { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            let keys = all.lock().clone();
            async move { (status, Json(keys)) }
        };
        let large = json!({"keys": [], "more": "x".repeat(600 << 10)});
        // Also at the place that belongs to another issuer of this host.
        let told = get(move || std::future::ready(Json(metadata.clone())));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", told.clone())
            .route("/.well-known/openid-configuration/other", told)
            .route("/keys", get(answer))
            .route("/large", get(move || std::future::ready(Json(large.clone()))))
            .route("/redirect", get(|| std::future::ready(Redirect::temporary("/keys"))))
            .route("/text", get(|| std::future::ready("keys")));
        let served = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let issuer = Self { url, fetched, keys: published, failing, served };
        issuer.publish(keys);
        issuer
    }

    pub(super) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        *self.keys.lock() = json!({"keys": keys});
    }

    pub(super) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.served.abort();
    }
}
