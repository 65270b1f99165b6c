//! What goes wrong says so in a sentence, with the right exit code, and the rest keeps working.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use base64::Engine as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::{Api, api::PostParams};
use linkerd_mcp_controller::prometheus::{self, MetricsSource as _, Poll, Prometheus};
use linkerd_mcp_test::{
    apiserver::ApiServer,
    etcd::Etcd,
    http_proxy::{Fault, HttpProxy, Requests},
    ours::{self, Controller, ControllerOptions},
    process::free_ports,
    redis::Redis,
    rig, wait,
};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// An address nobody listens on.
fn nobody() -> String {
    format!("127.0.0.1:{}", free_ports(1).unwrap()[0])
}

fn options(kubeconfig: String, redis: &Redis) -> ControllerOptions {
    ControllerOptions {
        kubeconfig,
        redis_url: redis.url(),
        prometheus_url: format!("http://{}", nobody()),
        more: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_kind_is_named_in_answers_and_the_rest_is_there() {
    let kubernetes = rig::kubernetes().await.unwrap();
    kubernetes.apply_recorded_mesh().await.unwrap();
    let limited = kubernetes.apiserver.user("limited", None).unwrap();
    let rule = |groups: &[&str], resources: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": ["list", "watch", "get"]});
    let role: ClusterRole = serde_json::from_value(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "limited"},
        "rules": [
            rule(&["", "apps", "batch", "discovery.k8s.io", "gateway.networking.k8s.io", "linkerd.io", "workload.linkerd.io", "multicluster.linkerd.io"], &["*"]),
            rule(&["policy.linkerd.io"], &["authorizationpolicies", "egressnetworks", "httplocalratelimitpolicies", "httproutes",
                "meshtlsauthentications", "networkauthentications", "serverauthorizations"]),
        ]
    })).unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "limited"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "limited"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "limited"}]
    })).unwrap();
    let client = kubernetes.client().await.unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
    Api::all(client).create(&PostParams::default(), &binding).await.unwrap();

    let redis = Redis::start(None).await.unwrap();
    let _controller =
        Controller::start(&options(kubernetes.apiserver.kubeconfig_of(&limited), &redis)).await.unwrap();
    let api = ours::Api::start(&redis.url()).await.unwrap();
    let topology = api
        .until("only Servers are missing", |graph| {
            let topology = &graph["freshness"]["topology"];
            (topology["not_synced"].as_array()?.len() == 1).then(|| topology.clone())
        })
        .await
        .unwrap();
    assert_eq!(topology["synced"], json!(false));
    let missing = &topology["not_synced"][0];
    assert_eq!(
        (&missing["kind"], &missing["state"]),
        (&json!("servers.policy.linkerd.io"), &json!("forbidden"))
    );
    assert!(missing["detail"].as_str().unwrap().contains("limited"), "{missing}");
    let graph = api.graph("").await.unwrap();
    assert!(
        graph["services"]["emojivoto/web-svc"].is_object()
            && graph["authPolicies"]["emojivoto/web-vote-bot"].is_object()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_linkerd_and_without_prometheus_shows_its_services_and_says_what_is_missing() {
    let etcd = Etcd::start().await.unwrap();
    let apiserver = ApiServer::start(&etcd).await.unwrap();
    let redis = Redis::start(None).await.unwrap();
    let controller = Controller::start(&options(apiserver.kubeconfig(), &redis)).await.unwrap();
    let api = ours::Api::start(&redis.url()).await.unwrap();
    let freshness = api
        .until("a poll has failed", |graph| {
            let freshness = &graph["freshness"];
            let reason = freshness["metrics"]["reason"].as_str()?;
            reason.contains("cannot be reached").then(|| freshness.clone())
        })
        .await
        .unwrap();
    assert_eq!(
        (&freshness["metrics"]["stale"], &freshness["topology"]["synced"]),
        (&json!(true), &json!(true)),
        "{freshness:#}"
    );
    let graph = api.graph("").await.unwrap();
    assert!(graph["services"]["default/kubernetes"].is_object(), "{graph:#}");
    assert_eq!(graph["edges"], json!({}));
    let log = std::fs::read_to_string(controller.process().log()).unwrap();
    assert!(log.contains("Linkerd's configuration is not readable"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_there_before_the_api_server_waits_for_the_settings_of_linkerd() {
    let kubernetes = rig::kubernetes().await.unwrap();
    kubernetes.apply_recorded_mesh().await.unwrap();
    let (apiserver, redis) = (&kubernetes.apiserver, Redis::start(None).await.unwrap());
    let proxy = HttpProxy::start(&apiserver.url(), Some(apiserver.ca_pem())).unwrap();
    let settings = Requests::of("linkerd-config");
    let down = proxy.inject(settings.clone(), Fault::refuse(503, "ServiceUnavailable", "not yet"));
    let options = options(apiserver.kubeconfig_at(&proxy.url(), &apiserver.admin()), &redis);
    let up_again = async {
        let refused = async || (down.count() >= 2).then_some(());
        wait::until("two questions are refused", SOON, refused).await.unwrap();
        drop(down);
    };
    let (controller, ()) = tokio::join!(Controller::start(&options), up_again);
    assert_eq!(proxy.asked(&settings).len(), 3, "two that were refused, one that was answered");
    let log = std::fs::read_to_string(controller.unwrap().process().log()).unwrap();
    assert_eq!(log.matches("the API server does not answer yet").count(), 1, "{log}");
    assert!(!log.contains("Linkerd's configuration is not readable"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_redis_that_is_not_there_are_said_in_the_logs_of_both_ends() {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let redis = Redis::start(Some("right")).await.unwrap();
    let wrong = format!("redis://:wrong@{}", redis.address());
    let controller = Controller::start(&ControllerOptions {
        redis_url: wrong.clone(),
        ..options(kubernetes.apiserver.kubeconfig(), &redis)
    })
    .await
    .unwrap();
    said(controller.process().log(), "password").await;
    let api = ours::Api::alive(&wrong).await.unwrap();
    said(api.process().log(), "password").await;
    assert!(!api.ready().await, "without a graph the API is not ready");

    let gone = ours::Api::alive(&format!("redis://{}", nobody())).await.unwrap();
    said(gone.process().log(), "cannot reach Redis").await;
}

/// Stands in for a Prometheus behind TLS: the API server has a certificate of its own authority and refuses strangers.
#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_with_a_certificate_of_its_own_authority_needs_that_authority() {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let kubeconfig: Value = serde_yaml::from_str(&kubernetes.apiserver.kubeconfig()).unwrap();
    let pem = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), base64::engine::general_purpose::STANDARD.decode(pem).unwrap()).unwrap();

    let poll = async |ca_file| {
        let mut options = prometheus::Options::new(kubernetes.apiserver.url());
        options.endpoint.ca_file = ca_file;
        let mut prometheus = Prometheus::new(options, prometheus::Metrics::default()).unwrap();
        match prometheus.poll(0).await {
            Poll::Failed { reason } => reason,
            Poll::Answered { status, .. } => panic!("an API server is no Prometheus: {status:?}"),
        }
    };
    let trusted = poll(Some(file.path().to_owned())).await;
    assert!(trusted.contains("refuses us with 40"), "{trusted}");
    let stranger = poll(None).await;
    assert!(stranger.contains("cannot be reached") && stranger.contains("certificate"), "{stranger}");
}

async fn said(log: std::path::PathBuf, words: &str) {
    let found = wait::until("the log says it", SOON, async || {
        std::fs::read_to_string(&log).ok()?.contains(words).then_some(())
    })
    .await;
    assert!(found.is_ok(), "`{words}` is not in the log:\n{}", std::fs::read_to_string(&log).unwrap());
}

/// Exit code and what was said on stderr.
async fn cli(args: &[&str]) -> (Option<i32>, String) {
    let output = ours::cli(args).await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_says_what_is_wrong_with_flags_kubeconfig_and_api_server() {
    let (code, said) = cli(&["graph", "--colour"]).await;
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = cli(&["graph", "-A", "--api-addr", &nobody()]).await;
    assert_eq!(code, Some(1), "{said}");

    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("config");
    let path = kubeconfig.to_str().unwrap();
    let (code, said) = cli(&["serve", "--listen=127.0.0.1:0", "--kubeconfig", path]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("config"), "{said}");

    let nowhere: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": format!("https://{}", nobody())}}],
        "users": [{"name": "x", "user": {}}], "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]
    });
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let (code, said) = cli(&["serve", "--listen=127.0.0.1:0", "--kubeconfig", path]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("the Kubernetes API server cannot be asked"), "{said}");
}
