//! What models read from Prometheus and Kubernetes, by an API that runs as the chart runs it, with the token of its own
//! ServiceAccount: all of it with the Role of the chart, a clear refusal without, and never a secret.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use kube::{Api, Client};
use linkerd_mcp_test::{
    apiserver::Credential,
    audit, manifests, mesh,
    ours::{Controller, ControllerOptions},
    pod,
    process::Process,
    prometheus::Options,
    rig::Rig,
    rights, wait,
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long anything may take before the test fails. Long, because two cores are shared.
const LIMIT: Duration = Duration::from_secs(90);

/// In a Secret, in values of environment variables, in arguments, in a ConfigMap. None of them is for a model.
const PLANTED: &str = "planted-7f3a9c";

const REVISION: &str = "2026-07-28";

/// Objects of the namespace `vault`, with [`PLANTED`] wherever people put such things.
fn vault() -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "vault", "labels": {"app": "keeper"}});
    let pod = json!({
        "serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "keeper",
            "image": "keeper:1",
            "args": ["--port=80", format!("--api-token={PLANTED}-argument"), "--password", format!("{PLANTED}-next")],
            "env": [
                {"name": "PLAIN", "value": format!("{PLANTED}-environment")},
                {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "keeper", "key": "key"}}},
            ],
            "livenessProbe": {"httpGet": {
                "port": 80, "httpHeaders": [{"name": "Authorization", "value": format!("{PLANTED}-header")}],
            }},
        }],
    });
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}}),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "vault"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": meta("keeper"),
            "stringData": {"key": format!("{PLANTED}-secret")},
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("keeper"),
            "data": {"settings.yaml": format!("password: {PLANTED}-map")},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("keeper"),
            "spec": {"selector": {"app": "keeper"}, "ports": [{"name": "http", "port": 80}]},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("keeper"),
            "spec": {
                "selector": {"matchLabels": {"app": "keeper"}},
                "template": {"metadata": {"labels": {"app": "keeper"}}, "spec": pod},
            },
        }),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("keeper"), "spec": pod}),
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": meta("keeper.1"),
            "involvedObject": {"kind": "Pod", "name": "keeper", "namespace": "vault"},
            "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container", "count": 3,
        }),
    ]
}

/// Everything that an API has answered, as it came.
struct Model<'a> {
    api: &'a Process,
    token: String,
    heard: String,
}

impl Model<'_> {
    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }});
        let request = reqwest::Client::new()
            .post(format!("http://127.0.0.1:{}/mcp", self.api.port(1)))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(body.to_string());
        let answer = request.send().await.unwrap().text().await.unwrap();
        self.heard += &answer;
        self.heard.push('\n');
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The data of an answer that is none of failure.
    async fn data(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert_eq!(answer["result"]["isError"], json!(false), "{tool}: {answer}");
        answer["result"]["structuredContent"].clone()
    }

    /// What is said of a failure.
    async fn refusal(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        let text = &answer["result"]["content"][0]["text"];
        assert_eq!(answer["result"]["isError"], json!(true), "{tool}: {answer}");
        text.as_str().unwrap().to_owned()
    }
}

/// Applies an installation into a namespace of its own, without the objects that `left_out` names, and starts its API. Its
/// viewer may itself read in Kubernetes what the chart lets the API read: the API lends nobody its rights.
async fn installed(rig: &Rig, client: &Client, namespace: &str, left_out: &str) -> (Process, String) {
    let set = [
        format!("prometheus.url={}", rig.traffic.prometheus.url()),
        "redis.enabled=false".to_owned(),
        "redis.api.user=".to_owned(),
        "redis.controller.user=".to_owned(),
        format!("redis.external.url={}", rig.redis.url()),
        // Faster than a model asks.
        "mcp.callsPerSecond=0".to_owned(),
        // All that our own code has to say.
        "log.filter=linkerd_mcp=trace".to_owned(),
    ];
    let flags = ["--mcp-namespace", namespace].into_iter();
    let flags: Vec<&str> = flags.chain(set.iter().flat_map(|it| ["--set", it])).collect();
    let mut objects = manifests::install(&flags).unwrap();
    let reads = format!("linkerd-{namespace}-api-reads");
    let mut own = objects.clone();
    own.retain(|it| it["metadata"]["name"] == reads.as_str());
    for it in &mut own {
        it["metadata"]["name"] = format!("{namespace}-own-reads").into();
        if it["kind"] == "ClusterRoleBinding" {
            it["roleRef"]["name"] = format!("{namespace}-own-reads").into();
            it["subjects"][0]["name"] = "mcp-viewer".into();
        }
    }
    assert_eq!(own.len(), 2, "a ClusterRole and its binding");
    let before = objects.len();
    objects.retain(|it| it["metadata"]["name"] != left_out);
    assert_eq!(
        before - objects.len(),
        if left_out.is_empty() { 0 } else { 2 },
        "a ClusterRole and its binding"
    );
    mesh::apply(client, &manifests::yaml(&objects)).await.unwrap();
    mesh::apply(client, &manifests::yaml(&own)).await.unwrap();
    let apiserver = &rig.kubernetes.apiserver;
    let token = pod::viewer_token(apiserver, namespace).await.unwrap();
    let api = pod::run(apiserver, &objects, "mcp-api").await.unwrap();
    // The authorizer hears a moment after it is granted that the API may ask whose a token is.
    let known = wait::until("the API knows whose the token is", LIMIT, async || {
        let url = format!("http://127.0.0.1:{}/v1/graph?view=edges", api.port(1));
        let answer = reqwest::Client::new().get(url).bearer_auth(&token).send().await.ok()?;
        answer.status().is_success().then_some(())
    });
    known.await.unwrap();
    (api, token)
}

/// An account with the viewer's role of the installation in `mcp-reads` and nothing else.
fn guest() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "guest", "namespace": "mcp-reads"}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "mcp-reads-guest"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "linkerd-mcp-reads-viewer",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "guest", "namespace": "mcp-reads"}],
        }),
    ]
}

async fn rig() -> (Rig, Client, Controller) {
    let rig =
        Rig::start(Options { scrape_interval: Duration::from_secs(1), basic_auth: false }).await.unwrap();
    let client = rig.kubernetes.client().await.unwrap();
    mesh::apply(&client, &manifests::yaml(&vault())).await.unwrap();
    let options = ControllerOptions {
        kubeconfig: rig.kubernetes.apiserver.kubeconfig(),
        redis_url: rig.redis.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: Vec::new(),
    };
    let controller = Controller::start(&options).await.unwrap();
    (rig, client, controller)
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_role_of_the_chart_models_read_what_it_grants_and_no_secret() {
    let (rig, client, _controller) = rig().await;
    let (api, token) = installed(&rig, &client, "mcp-reads", "").await;
    let mut model = Model { api: &api, token: token.clone(), heard: String::new() };

    // The authorizer hears of the Role a moment after it is there.
    let heard = wait::until("the API may list pods", LIMIT, async || {
        let answer =
            Model { api: &api, token: token.clone(), heard: String::new() }.call("get_pods", json!({})).await;
        (answer["result"]["isError"] == false).then_some(())
    });
    heard.await.unwrap();
    let user = rights::account("mcp-reads", "mcp-api");

    let query = json!({"query": "count by (namespace) (request_total)"});
    let answered = wait::until("Prometheus has scraped", LIMIT, async || {
        let answer = Model { api: &api, token: token.clone(), heard: String::new() }
            .data("query_prometheus", query.clone())
            .await;
        answer["series"]
            .as_array()?
            .iter()
            .any(|it| it["labels"]["namespace"] == "emojivoto")
            .then_some(answer)
    });
    let answer = answered.await.unwrap();
    assert!(answer["series"][0]["value"].as_f64().unwrap() >= 1.0, "{answer}");
    model.data("query_prometheus", query).await;

    let here = json!({"namespace": "vault"});
    let pods = model.data("get_pods", here.clone()).await;
    assert_eq!(names(&pods["pods"]), ["keeper"]);
    assert_eq!(pods["pods"][0]["meshed"], json!(false));
    let services = model.data("get_services", here.clone()).await;
    assert_eq!(
        (names(&services["services"]), &services["services"][0]["ports"]),
        (vec!["keeper"], &json!(["http 80->80/TCP"]))
    );
    let deployments = model.data("get_deployments", here).await;
    assert_eq!(deployments["deployments"][0]["images"], json!(["keeper:1"]));

    let describe = |kind: &str| json!({"kind": kind, "namespace": "vault", "name": "keeper"});
    let described = model.data("describe_resource", describe("pod")).await;
    let container = &described["manifest"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!(["PLAIN", "FROM_SECRET"]));
    assert_eq!(container["args"], json!(["--port=80", "--api-token=(hidden)", "--password", "(hidden)"]));
    assert_eq!(described["events"][0]["reason"], "BackOff");
    for kind in ["service", "deployment", "configmap"] {
        model.data("describe_resource", describe(kind)).await;
    }
    let of_itself = json!({"kind": "namespace", "name": "vault"});
    assert_eq!(model.data("describe_resource", of_itself).await["object"], "Namespace vault");
    let unknown = json!({"kind": "pod", "namespace": "vault", "name": "nobody"});
    assert_eq!(
        model.refusal("describe_resource", unknown).await,
        "there is no Pod `nobody` in namespace `vault`"
    );
    // All kinds that can be described may be read, so that none is refused for want of a rule.
    for (kind, name) in [
        ("endpointslice", "keeper"),
        ("serviceaccount", "default"),
        ("statefulset", "keeper"),
        ("daemonset", "keeper"),
        ("replicaset", "keeper"),
        ("job", "keeper"),
        ("cronjob", "keeper"),
    ] {
        let answer =
            model.call("describe_resource", json!({"kind": kind, "namespace": "vault", "name": name})).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(!text.contains("does not let"), "{kind}: {text}");
    }

    // No way leads to the Secret, by its kind or by a namespace that is a path.
    let refused = model.refusal("describe_resource", describe("secret")).await;
    assert!(refused.contains("must be one of"), "{refused}");
    for namespace in ["vault/secrets/keeper?x=", "vault/secrets", "../secrets"] {
        for tool in ["get_pods", "get_services", "get_deployments", "describe_resource"] {
            let mut arguments = json!({"namespace": namespace});
            if tool == "describe_resource" {
                arguments["kind"] = "pod".into();
                arguments["name"] = "keeper".into();
            }
            let refused = model.refusal(tool, arguments).await;
            assert!(refused.contains("is no name"), "{tool} {namespace}: {refused}");
        }
    }

    // Who has the viewer's role and no right of their own in Kubernetes reads none of it.
    mesh::apply(&client, &manifests::yaml(&guest())).await.unwrap();
    let apiserver = &rig.kubernetes.apiserver;
    let Credential::Token(guest) =
        apiserver.service_account("mcp-reads", "guest", &["linkerd-mcp"]).await.unwrap()
    else {
        panic!("a token was asked for")
    };
    let told = wait::until("the guest is known", LIMIT, async || {
        let mut guest = Model { api: &api, token: guest.clone(), heard: String::new() };
        let answer = guest.call("get_pods", json!({"namespace": "vault"})).await;
        answer["result"]["content"][0]["text"].as_str().map(str::to_owned)
    });
    let told = told.await.unwrap();
    assert!(
        told.starts_with(
            "system:serviceaccount:mcp-reads:guest may not list pods in Kubernetes in namespace `vault`"
        ),
        "{told}"
    );

    // The control: an administrator finds it where it was planted.
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(client.clone(), "vault");
    let secret = secrets.get("keeper").await.unwrap().data.unwrap();
    assert_eq!(secret["key"].0, format!("{PLANTED}-secret").into_bytes());
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, "vault");
    let pod = serde_json::to_string(&pods.get("keeper").await.unwrap()).unwrap();
    assert_eq!(pod.matches(PLANTED).count(), 4, "{pod}");

    assert!(!model.heard.contains(PLANTED), "{}", model.heard);
    let log = std::fs::read_to_string(api.log()).unwrap();
    assert!(log.contains("answered a tool call") && log.contains("describe_resource"), "{log}");
    assert!(!log.contains(PLANTED), "{log}");
    let asked = audit::asked(&rig.kubernetes.apiserver, &user).unwrap();
    assert!(asked.iter().any(|it| it.1 == "pods"), "{asked:?}");
    assert!(!asked.iter().any(|it| it.1 == "secrets"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_role_each_read_names_the_right_that_is_missing() {
    let (rig, client, _controller) = rig().await;
    let (api, token) = installed(&rig, &client, "mcp-blind", "linkerd-mcp-blind-api-reads").await;
    let mut model = Model { api: &api, token: token.clone(), heard: String::new() };
    let here = json!({"namespace": "vault"});
    let described = json!({"kind": "configmap", "namespace": "vault", "name": "keeper"});
    for (tool, arguments, right) in [
        ("get_pods", here.clone(), "list pods"),
        ("get_services", here.clone(), "list services"),
        ("get_deployments", here, "list deployments"),
        ("describe_resource", described, "get configmaps"),
    ] {
        let refused = model.refusal(tool, arguments).await;
        let wanted = format!(
            "Kubernetes does not let this server {right}: an operator can grant it (mcp.kubernetesReads in the chart)"
        );
        assert!(refused.starts_with(&wanted), "{tool}: {refused}");
    }
    // What needs no right of Kubernetes goes on.
    model.data("query_prometheus", json!({"query": "count(request_total)"})).await;
    assert!(!model.heard.contains(PLANTED), "{}", model.heard);
    assert!(audit::refused(&rig.kubernetes.apiserver, &rights::account("mcp-blind", "mcp-api")).unwrap());
}
