//! Callers who bring a ServiceAccount's token, which a real API server judges.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{ResourceExt as _, api::DeleteParams};
use linkerd_mcp_api::{
    Api, Config,
    authorization::Authorization,
    caller::{Local, Reviews},
    feed::memory::{MemoryPublisher, memory_feed},
    rights::{Rights, Verdict},
};
use linkerd_mcp_graph::feed::Publisher as _;
use linkerd_mcp_test::{
    apiserver::{ApiServer, Credential},
    certs,
    rig::shared_kubernetes,
};
use prometheus_client::registry::Registry;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinHandle;

const AUDIENCE: &str = "linkerd-mcp";

/// An API that asks this API server whose tokens are.
struct Rig {
    address: SocketAddr,
    _publisher: MemoryPublisher,
    served: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Rig {
    async fn start(client: kube::Client) -> Self {
        certs::use_ring();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            local: Local::Token(Reviews { client, audience: AUDIENCE.to_owned() }),
            // Who somebody is matters here, not what they may do.
            authorization: Authorization::new(Rights::decided_by(|_, _| {
                Box::pin(std::future::ready(Verdict::Allowed))
            })),
            admin_listen: None,
            ..Config::default()
        };
        let mut registry = Registry::default();
        let api = Api::bind(config, &mut registry).await.unwrap();
        let address = api.local_addr();
        let (mut publisher, feed) = memory_feed(1);
        publisher.snapshot(1, Arc::default(), Arc::default()).await.unwrap();
        let mut ticks = api.replica().ticks();
        let served = tokio::spawn(async move {
            api.serve(feed.subscribe(), Arc::new(registry), std::future::pending()).await.unwrap();
        });
        ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
        Self { address, _publisher: publisher, served }
    }

    /// The status of an answer to whoever brings this.
    async fn ask(&self, token: &str) -> u16 {
        let request = reqwest::Client::new().get(format!("http://{}/v1/graph", self.address));
        request.bearer_auth(token).send().await.unwrap().status().as_u16()
    }
}

async fn token(apiserver: &ApiServer, namespace: &str, audiences: &[&str]) -> String {
    match apiserver.service_account(namespace, "agent", audiences).await.unwrap() {
        Credential::Token(token) => token,
        Credential::Certificate(_) => panic!("not a token"),
    }
}

/// A token as the API server signs it, made with its own key: it would not make one that has expired.
fn signed(
    apiserver: &ApiServer,
    namespace: &str,
    account: &ServiceAccount,
    audience: &str,
    expires_in: i64,
) -> String {
    let pem = std::fs::read_to_string(apiserver.process().dir().join("service-account.key")).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let random = ring::rand::SystemRandom::new();
    let der = STANDARD.decode(der).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let claims = json!({
        "iss": "https://kubernetes.default.svc",
        "sub": format!("system:serviceaccount:{namespace}:agent"),
        "aud": [audience],
        "exp": now + expires_in,
        "iat": now - 3_600,
        "nbf": now - 3_600,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": "agent", "uid": account.uid().unwrap()}},
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "ES256", "typ": "JWT"})), part(&claims));
    let signature = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The same with one letter of this part another one.
fn changed(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let letter = if parts[part].as_bytes()[10] == b'A' { "B" } else { "A" };
    parts[part].replace_range(10..11, letter);
    parts.join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_lets_in_good_tokens_for_us_and_no_others() {
    let apiserver = &shared_kubernetes().await.unwrap().apiserver;
    let client = apiserver.client().await.unwrap();
    let namespace = apiserver.namespace("callers", &[]).await.unwrap();
    let rig = Rig::start(client.clone()).await;
    let good = token(apiserver, &namespace, &[AUDIENCE]).await;
    let account = kube::Api::<ServiceAccount>::namespaced(client, &namespace).get("agent").await.unwrap();
    let both = token(apiserver, &namespace, &["other", AUDIENCE]).await;
    // The controls: what the tests sign themselves is as good as what the API server has signed.
    let own = signed(apiserver, &namespace, &account, AUDIENCE, 600);
    for (what, token) in [("for us", &good), ("for us and others", &both), ("signed here", &own)] {
        assert_eq!(rig.ask(token).await, 200, "{what}");
    }
    let Credential::Token(admin) = apiserver.admin() else { panic!("not a token") };
    let refused = [
        ("for the API server", token(apiserver, &namespace, &[]).await),
        ("for somebody else", token(apiserver, &namespace, &["other"]).await),
        ("for a name that begins as ours", token(apiserver, &namespace, &["linkerd-mcp2"]).await),
        ("of an administrator, and for nobody in particular", admin),
        // The API server lets a minute pass, because clocks differ.
        ("expired", signed(apiserver, &namespace, &account, AUDIENCE, -120)),
        ("changed in its claims", changed(&good, 1)),
        ("changed in its signature", changed(&good, 2)),
        ("without a signature", good.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("no token", "garbage".to_owned()),
        ("the name of an account", format!("system.serviceaccount.{namespace}.agent")),
    ];
    let mut accepted = Vec::new();
    for (what, token) in &refused {
        let status = rig.ask(token).await;
        if status != 401 {
            accepted.push((what, status));
        }
    }
    assert_eq!(accepted, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_service_account_calls_no_more_where_it_is_not_remembered() {
    let apiserver = &shared_kubernetes().await.unwrap().apiserver;
    let client = apiserver.client().await.unwrap();
    let namespace = apiserver.namespace("callers", &[]).await.unwrap();
    let token = token(apiserver, &namespace, &[AUDIENCE]).await;
    assert_eq!(Rig::start(client.clone()).await.ask(&token).await, 200);
    let accounts = kube::Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
    accounts.delete("agent", &DeleteParams::default()).await.unwrap();
    // The API server itself remembers tokens for ten seconds.
    let refused = linkerd_mcp_test::wait::until(
        "the token is refused",
        std::time::Duration::from_secs(60),
        async || (Rig::start(client.clone()).await.ask(&token).await == 401).then_some(()),
    );
    refused.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_may_not_ask_whose_tokens_are_lets_nobody_in() {
    let apiserver = &shared_kubernetes().await.unwrap().apiserver;
    let namespace = apiserver.namespace("callers", &[]).await.unwrap();
    let nobody = apiserver.service_account(&namespace, "powerless", &[]).await.unwrap();
    let rig = Rig::start(apiserver.client_of(&nobody).await.unwrap()).await;
    let good = token(apiserver, &namespace, &[AUDIENCE]).await;
    assert_eq!(rig.ask(&good).await, 503);
    assert_eq!(rig.ask("garbage").await, 503);
}
