//! Tokens against keys and claims as values, and the fetching of keys against an issuer on loopback.

mod issuer;
mod values;

use super::*;
use issuer::{Issuer, Key};
use serde_json::json;
use std::sync::atomic::Ordering;

const GATEWAY: &str = "ingress.edge.serviceaccount.identity.linkerd.cluster.local";
const AUDIENCE: &str = "https://mcp.example/mcp";

fn options(issuer: &str) -> Options {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Options {
        issuer: issuer.to_owned(),
        audience: AUDIENCE.to_owned(),
        gateways: vec![GATEWAY.to_owned()],
        ..Options::default()
    }
}

/// A token of this issuer that is good for a minute.
fn token(issuer: &Issuer, key: &Key) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    key.sign(&json!({"iss": issuer.url, "sub": "ann", "aud": AUDIENCE, "exp": now + 60}))
}

async fn check(resource: &Resource, token: &str) -> Result<String, Refused> {
    let checked = resource.check(token, &CallerMetrics::default()).await;
    checked.map(|principal| principal.identity.to_string())
}

/// Lets time pass, and no request fail for it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keys_are_fetched_once_and_new_ones_when_a_token_names_one() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let resource = Resource::new(options(&issuer.url)).unwrap();
    let ann = Ok(format!("{}#ann", issuer.url));
    for _ in 0..3 {
        assert_eq!(check(&resource, &token(&issuer, &old)).await, ann);
    }
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1);
    issuer.publish(&[&old, &new]);
    let unknown = Err(resource.refused(Fault::Token(jwt::Fault::UnknownKey)));
    for _ in 0..3 {
        assert_eq!(check(&resource, &token(&issuer, &new)).await, unknown);
    }
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1, "anybody can make up names of keys");
    pass(Duration::from_secs(30)).await;
    assert_eq!(check(&resource, &token(&issuer, &new)).await, ann);
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 2);
    // One that was taken back counts until the keys are fetched again.
    issuer.publish(&[&new]);
    assert_eq!(check(&resource, &token(&issuer, &old)).await, ann);
    pass(Duration::from_secs(300)).await;
    assert_eq!(check(&resource, &token(&issuer, &old)).await, unknown);
    assert_eq!(check(&resource, &token(&issuer, &new)).await, ann);
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn many_tokens_at_once_are_one_fetch() {
    let key = Key::new("a");
    let issuer = Issuer::start(&[&key]).await;
    let resource = Resource::new(options(&issuer.url)).unwrap();
    let token = token(&issuer, &key);
    let checks = (0..50).map(|_| check(&resource, &token));
    for checked in futures::future::join_all(checks).await {
        assert_eq!(checked, Ok(format!("{}#ann", issuer.url)));
    }
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_keys_outlive_a_short_outage() {
    let key = Key::new("a");
    let issuer = Issuer::start(&[&key]).await;
    issuer.fail(true);
    let resource = Resource::new(options(&issuer.url)).unwrap();
    let good = token(&issuer, &key);
    assert_eq!(check(&resource, &good).await, Err(Refused::NoKeys));
    issuer.fail(false);
    assert_eq!(check(&resource, &good).await, Err(Refused::NoKeys), "asked again at once");
    pass(Duration::from_secs(5)).await;
    let ann = Ok(format!("{}#ann", issuer.url));
    assert_eq!(check(&resource, &good).await, ann);
    issuer.fail(true);
    pass(Duration::from_secs(301)).await;
    assert_eq!(check(&resource, &good).await, ann);
    pass(Duration::from_secs(300)).await;
    assert_eq!(check(&resource, &good).await, Err(Refused::NoKeys));
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_keep_keys_away() {
    let key = Key::new("a");
    let issuer = Issuer::start(&[&key]).await;
    let resource = Resource::new(options(&issuer.url)).unwrap();
    let good = token(&issuer, &key);
    {
        let metrics = CallerMetrics::default();
        let asking = resource.check(&good, &metrics);
        // Begun, and given up.
        assert!(futures::FutureExt::now_or_never(asking).is_none());
    }
    assert_eq!(check(&resource, &good).await, Ok(format!("{}#ann", issuer.url)));
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_an_issuer_answers_is_bounded_and_its_own() {
    let key = Key::new("a");
    let issuer = Issuer::start(&[&key]).await;
    let good = token(&issuer, &key);
    let at = |path: &str| Options { jwks_url: Some(format!("{}{path}", issuer.url)), ..options(&issuer.url) };
    // The control.
    let resource = Resource::new(at("/keys")).unwrap();
    assert!(check(&resource, &good).await.is_ok());
    for path in ["/large", "/redirect", "/text", "/nothing"] {
        let resource = Resource::new(at(path)).unwrap();
        assert_eq!(check(&resource, &good).await, Err(Refused::NoKeys), "{path}");
    }
    // Its metadata names it without the last part.
    let resource = Resource::new(options(&format!("{}/other", issuer.url))).unwrap();
    assert_eq!(check(&resource, &good).await, Err(Refused::NoKeys));
}

#[test]
fn options_that_would_let_in_others_are_refused() {
    let good = options("https://login.example");
    assert!(Resource::new(good.clone()).is_ok());
    let wrong = [
        Options { issuer: "http://login.example".into(), ..good.clone() },
        Options { issuer: "login.example".into(), ..good.clone() },
        Options { issuer: "https://user:secret@login.example".into(), ..good.clone() },
        Options { issuer: "https://login.example?a=b".into(), ..good.clone() },
        Options { issuer: "https://login.example#a".into(), ..good.clone() },
        Options { audience: String::new(), ..good.clone() },
        Options { audience: "http://127.0.0.1.example/mcp".into(), ..good.clone() },
        Options { jwks_url: Some("http://login.example/keys".into()), ..good.clone() },
        Options { jwks_url: Some("file:///keys".into()), ..good.clone() },
        Options { gateways: Vec::new(), ..good.clone() },
        Options { gateways: vec!["*".into()], ..good.clone() },
        Options { gateways: vec![String::new()], ..good.clone() },
        Options { scopes: vec!["a b".into()], ..good.clone() },
        Options { scopes: vec!["a\"".into()], ..good.clone() },
        Options { groups_claim: Some("sub".into()), ..good.clone() },
    ];
    for options in wrong {
        assert!(Resource::new(options.clone()).is_err(), "{options:?}");
    }
}

#[test]
fn metadata_is_looked_for_where_standards_put_it() {
    let places = |text: &str| {
        let all = fetch::places(&Url::parse(text).unwrap());
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        places("https://login.example/"),
        [
            "https://login.example/.well-known/oauth-authorization-server",
            "https://login.example/.well-known/openid-configuration"
        ]
    );
    assert_eq!(
        places("https://login.example/realms/mesh"),
        [
            "https://login.example/.well-known/oauth-authorization-server/realms/mesh",
            "https://login.example/.well-known/openid-configuration/realms/mesh",
            "https://login.example/realms/mesh/.well-known/openid-configuration"
        ]
    );
}

#[test]
fn clients_are_told_where_the_document_of_this_resource_is() {
    let header = |audience: &str, scopes: &[&str], fault| {
        let scopes: Vec<String> = scopes.iter().map(|it| (*it).to_owned()).collect();
        let challenge = Challenge::new(&Url::parse(audience).unwrap(), &scopes);
        challenge.header(&fault).to_str().unwrap().to_owned()
    };
    let (root, ours) = (
        "resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource\"",
        "resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\"",
    );
    let expired = Fault::Claims(claims::Fault::Expired);
    let scope = Fault::Claims(claims::Fault::Scope);
    assert_eq!(header(AUDIENCE, &[], Fault::Missing), format!("Bearer {ours}"));
    assert_eq!(header("https://mcp.example", &[], Fault::Missing), format!("Bearer {root}"));
    assert_eq!(header("https://mcp.example/a/b", &[], Fault::Missing), format!("Bearer {root}"));
    assert_eq!(header(AUDIENCE, &[], expired), format!("Bearer error=\"invalid_token\", {ours}"));
    assert_eq!(
        header(AUDIENCE, &["mesh:read", "b"], scope),
        format!("Bearer error=\"insufficient_scope\", {ours}, scope=\"mesh:read b\"")
    );
}
