//! Clients from outside the mesh: access tokens that an ingress brings.

use crate::{
    identity::{LOOPBACK, POD, WEB, graph, header, initialize, post, send, with_callers},
    rig::Rig,
};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use linkerd_mcp_api::{
    Config,
    authorization::Authorization,
    caller::{Mesh, Resource, oauth::Options},
    rights::{Rights, Verdict},
};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use std::{
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, task::JoinHandle};

const GATEWAY: &str = "ingress.edge.serviceaccount.identity.linkerd.cluster.local";
const AUDIENCE: &str = "https://mcp.example/mcp";
const CHALLENGE: &str = "resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\", \
                         scope=\"mesh:read\"";

/// An authorization server on loopback.
struct Issuer {
    url: String,
    pair: EcdsaKeyPair,
    served: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (part(&point[1..33]), part(&point[33..]));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y}]});
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let routes = Router::new()
            .route(
                "/.well-known/oauth-authorization-server",
                get(move || std::future::ready(Json(metadata.clone()))),
            )
            .route("/keys", get(move || std::future::ready(Json(keys.clone()))));
        let served = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, pair, served }
    }

    /// A token that is good, but for this claim.
    fn token(&self, claim: &str, value: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.url, "sub": "ann", "aud": AUDIENCE, "exp": now + 60, "scope": "mesh:read",
            "groups": ["sre"],
        });
        claims[claim] = value;
        let header = json!({"alg": "ES256", "kid": "a"});
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", part(signature))
    }

    fn good(&self) -> String {
        self.token("sub", json!("ann"))
    }
}

/// Callers by whom `authorization` was asked.
type Seen = Arc<Mutex<Vec<(String, Vec<String>, &'static str)>>>;

fn with_tokens(issuer: &str) -> (Config, Seen) {
    let options = Options {
        issuer: issuer.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_url: None,
        scopes: vec!["mesh:read".to_owned()],
        groups_claim: Some("groups".to_owned()),
        gateways: vec![GATEWAY.to_owned()],
    };
    let config = with_callers();
    let oauth = Some(Resource::new(options).unwrap());
    let mesh = config.mesh.map(|mesh| Mesh { oauth, ..mesh });
    let seen = Seen::default();
    let decided = seen.clone();
    let authorization = Authorization::new(Rights::decided_by(move |principal, _| {
        let groups = principal.groups.iter().map(ToString::to_string).collect();
        decided.lock().push((principal.user.to_string(), groups, principal.proof.as_str()));
        Box::pin(std::future::ready(Verdict::Allowed))
    }));
    (Config { mesh, authorization, ..config }, seen)
}

/// What a caller of this identity sends with this token.
fn of(identity: &str, token: &str) -> Vec<u8> {
    let bearer = header("authorization", &format!("Bearer {token}"));
    [header("l5d-client-id", identity), bearer].concat()
}

fn challenge(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("www-authenticate: "))
}

#[tokio::test]
async fn a_client_finds_out_where_to_get_a_token_and_is_then_who_that_says() {
    let issuer = Issuer::start().await;
    let (config, seen) = with_tokens(&issuer.url);
    let rig = Rig::ready(config).await;
    let mesh = rig.mesh[0];
    let refused = post(POD, mesh, &format!("l5d-client-id: {GATEWAY}\r\n"), &initialize()).await;
    assert_eq!(refused.status, 401, "a gateway is nobody by itself: {refused:?}");
    assert_eq!(challenge(&refused.head), Some(&*format!("bearer {CHALLENGE}")));
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: mcp-api\r\nconnection: close\r\n\r\n");
        let told = send(POD, mesh, request.as_bytes()).await;
        assert_eq!(told.status, 200, "{told:?}");
        let document: Value = serde_json::from_str(&told.body).unwrap();
        let expected = json!({
            "resource": AUDIENCE,
            "authorization_servers": [issuer.url],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mesh:read"],
            "resource_name": "linkerd-mcp",
        });
        assert_eq!(document, expected);
    }
    assert_eq!(*seen.lock(), []);
    assert_eq!(graph(POD, mesh, &of(GATEWAY, &issuer.good())).await.status, 200);
    let user = format!("linkerd-mcp:oauth:{}#ann", issuer.url);
    let ann = (user, vec!["linkerd-mcp:oauth-groups:sre".to_owned()], "oauth");
    assert_eq!(seen.lock().first(), Some(&ann));
    let text = String::from_utf8(of(GATEWAY, &issuer.good())).unwrap();
    let opened = post(POD, mesh, &text, &initialize()).await;
    assert_eq!(opened.status, 200, "{opened:?}");
}

#[tokio::test]
async fn a_token_counts_only_from_a_gateway_and_only_if_it_is_for_us() {
    let issuer = Issuer::start().await;
    let rig = Rig::ready(with_tokens(&issuer.url).0).await;
    let (mesh, good) = (rig.mesh[0], issuer.good());
    // Controls: the same token from a gateway, and the same caller without one.
    assert_eq!(graph(POD, mesh, &of(GATEWAY, &good)).await.status, 200);
    assert_eq!(graph(POD, mesh, &header("l5d-client-id", WEB)).await.status, 200);
    let elsewhere = graph(POD, mesh, &of(WEB, &good)).await;
    assert_eq!((elsewhere.status, challenge(&elsewhere.head)), (401, Some("bearer realm=\"linkerd-mcp\"")));
    assert!(elsewhere.body.contains("is no gateway"), "{}", elsewhere.body);
    let bearer = header("authorization", &format!("Bearer {good}"));
    assert_eq!(graph(POD, mesh, &bearer).await.status, 401, "without an identity");
    assert_eq!(graph(LOOPBACK, rig.address, &bearer).await.status, 401, "on the local listener");
    assert_eq!(graph(LOOPBACK, mesh, &of(GATEWAY, &good)).await.status, 401, "past the proxy");
    for (claim, value) in
        [("aud", json!("https://other.example")), ("iss", json!("https://other.example")), ("exp", json!(1))]
    {
        let answer = graph(POD, mesh, &of(GATEWAY, &issuer.token(claim, value))).await;
        let expected = format!("bearer error=\"invalid_token\", {CHALLENGE}");
        assert_eq!((answer.status, challenge(&answer.head)), (401, Some(&*expected)), "{claim}");
    }
    let answer = graph(POD, mesh, &of(GATEWAY, &issuer.token("scope", json!("openid")))).await;
    let expected = format!("bearer error=\"insufficient_scope\", {CHALLENGE}");
    assert_eq!((answer.status, challenge(&answer.head)), (403, Some(&*expected)));
    let metrics = rig.get_with(rig.admin, "/metrics", &[]).await.text;
    for line in [
        "mcp_caller_refused_total{listener=\"mesh\",reason=\"no_gateway\"} 1",
        "mcp_caller_refused_total{listener=\"mesh\",reason=\"scope\"} 1",
        "mcp_caller_refused_total{listener=\"mesh\",reason=\"token_refused\"} 3",
        "mcp_caller_oauth_keys_total{result=\"new\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "no `{line}` in\n{metrics}");
    }
}

#[tokio::test]
async fn without_the_keys_of_the_issuer_nobody_is_let_in() {
    let issuer = Issuer::start().await;
    let (good, url) = (issuer.good(), issuer.url.clone());
    let served = issuer.served.abort_handle();
    served.abort();
    while !served.is_finished() {
        tokio::task::yield_now().await;
    }
    let rig = Rig::ready(with_tokens(&url).0).await;
    let answer = graph(POD, rig.mesh[0], &of(GATEWAY, &good)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn where_it_is_off_there_is_no_document_and_a_gateway_is_a_caller_like_others() {
    let rig = Rig::ready(with_callers()).await;
    let mesh = rig.mesh[0];
    let ask = |headers: &str| {
        let path = "/.well-known/oauth-protected-resource";
        format!("GET {path} HTTP/1.1\r\nhost: mcp-api\r\nconnection: close\r\n{headers}\r\n")
    };
    assert_eq!(send(POD, mesh, ask("").as_bytes()).await.status, 401);
    let known = ask(&format!("l5d-client-id: {GATEWAY}\r\n"));
    assert_eq!(send(POD, mesh, known.as_bytes()).await.status, 404);
    assert_eq!(graph(POD, mesh, &header("l5d-client-id", GATEWAY)).await.status, 200);
}

/// Everything that is logged, whatever its level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_is_ever_logged_or_repeated() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With one subscriber alone, an event that a test beside this one comes to first, without any, would be off for all.
    let _other = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let issuer = Issuer::start().await;
    let rig = Rig::ready(with_tokens(&issuer.url).0).await;
    let tokens = [issuer.good(), issuer.token("exp", json!(1)), "opaque-secret".to_owned()];
    for token in &tokens {
        for identity in [GATEWAY, WEB] {
            let answer = graph(POD, rig.mesh[0], &of(identity, token)).await;
            let head = &answer.head;
            assert!(!answer.body.contains(token) && !head.contains(&token.to_ascii_lowercase()), "{head}");
        }
    }
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(text.contains("refused a caller"), "nothing was logged");
    for token in &tokens {
        // The claims and the signature are as telling as the whole.
        for part in token.split('.').skip(1).chain([token.as_str()]) {
            assert!(!text.contains(part), "a token is in the log");
        }
    }
}
