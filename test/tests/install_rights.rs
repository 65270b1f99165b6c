//! What the chart grants is enough for the controller and the API, and nothing more, on a real API server with RBAC.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use futures::future::join_all;
use http::{Method, Request};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use linkerd_mcp_graph::kind::{KINDS, Kind};
use linkerd_mcp_test::{
    apiserver::ApiServer,
    audit::{self, Asked},
    fixtures, golden, manifests, mesh,
    ours::{self, Controller, ControllerOptions},
    pod,
    process::Process,
    prometheus::Options,
    redis::Redis,
    rig::{self, Rig, shared_kubernetes},
    rights::{self, Place, Resource},
    wait,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// How long anything may take before the test fails. Long, because two cores are shared.
const LIMIT: Duration = Duration::from_secs(90);

/// Our namespace, and what is set there. Each is an installation of its own.
const INSTALLATIONS: [(&str, &[&str]); 5] = [
    ("mcp", &[]),
    ("mcp-no-reads", &["mcp.kubernetesReads=false"]),
    ("mcp-writing", &["readOnly=false", "controller.leadBy=kubernetes"]),
    ("mcp-narrow", &["namespaceOnly=shop"]),
    ("mcp-narrow-writing", &["namespaceOnly=shop", "readOnly=false", "controller.leadBy=kubernetes"]),
];

/// The kinds that the API may change when it may change something.
const CHANGED: [&str; 7] = [
    "authorizationpolicies.policy.linkerd.io",
    "httproutes.policy.linkerd.io",
    "meshtlsauthentications.policy.linkerd.io",
    "networkauthentications.policy.linkerd.io",
    "servers.policy.linkerd.io",
    "grpcroutes.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
];

fn render(namespace: &str, set: &[&str]) -> Vec<Value> {
    let sets = set.iter().flat_map(|it| ["--set", it]);
    let flags: Vec<&str> = ["--mcp-namespace", namespace].into_iter().chain(sets).collect();
    manifests::install(&flags).unwrap()
}

/// Applies an installation and waits until the authorizer has heard of its rights.
async fn install(client: &Client, namespace: &str, set: &[&str]) -> Vec<Value> {
    let objects = render(namespace, set);
    mesh::apply(client, &manifests::yaml(&objects)).await.unwrap();
    // One right of each Role: they are heard of one after the other.
    let only = set.iter().find_map(|it| it.strip_prefix("namespaceOnly=")).unwrap_or_default();
    let granted = |verb, group: &str, resource: &str, namespace: &str, name: &str| {
        let resource = Resource { group: group.to_owned(), name: resource.to_owned(), namespaced: true };
        (verb, resource, Place { namespace: namespace.to_owned(), object: name.to_owned() })
    };
    let mut wanted = vec![
        ("mcp-controller", granted("list", "", "pods", only, "")),
        ("mcp-controller", granted("get", "", "configmaps", "linkerd", "linkerd-config")),
        ("mcp-api", granted("get", "", "configmaps", "linkerd", "linkerd-config")),
        ("mcp-api", granted("create", "authentication.k8s.io", "tokenreviews", "", "")),
    ];
    if !set.contains(&"mcp.kubernetesReads=false") {
        wanted.push(("mcp-api", granted("list", "", "pods", only, "")));
    }
    if set.contains(&"readOnly=false") {
        wanted.push(("mcp-api", granted("patch", "policy.linkerd.io", "servers", only, "")));
    }
    if set.contains(&"controller.leadBy=kubernetes") {
        wanted.push(("mcp-controller", granted("create", "coordination.k8s.io", "leases", namespace, "")));
    }
    for (name, (verb, resource, place)) in wanted {
        let account = rights::account(namespace, name);
        let what = format!("{account} may {verb} {}", resource.name);
        let may = wait::until(&what, LIMIT, async || {
            rights::may(client, &account, verb, &resource, &place).await.unwrap().then_some(())
        });
        may.await.unwrap();
    }
    objects
}

async fn namespaces(client: &Client, names: &[&str]) {
    let object = |name: &&str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let objects: Vec<Value> = names.iter().map(object).collect();
    mesh::apply(client, &manifests::yaml(&objects)).await.unwrap();
}

// === the whole list ===

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_the_table_says_and_no_other_verb_on_any_resource() {
    let kubernetes = rig::kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    namespaces(&client, &["linkerd", "shop", "other"]).await;
    join_all(INSTALLATIONS.map(|(namespace, set)| install(&client, namespace, set))).await;

    let served = rights::resources(&client).await.unwrap();
    for part in
        ["pods/exec", "pods/portforward", "pods/log", "secrets", "serviceaccounts/token", "nodes/proxy"]
    {
        assert!(served.iter().any(|it| it.name == part), "{part} is not among {} resources", served.len());
    }
    let nobody = rights::account("other", "nobody");
    let places = |ours: &str| -> Vec<Place> {
        let place =
            |namespace: &str, object: &str| Place { namespace: namespace.into(), object: object.into() };
        vec![
            place(ours, ""),
            place(ours, "linkerd-mcp-controller"),
            place("linkerd", ""),
            place("linkerd", "linkerd-config"),
            place("linkerd", "linkerd-identity-trust-roots"),
            place("shop", ""),
            place("other", ""),
            place("kube-system", ""),
        ]
    };
    let everybody = rights::walk(&client, &nobody, &served, &places("other")).await.unwrap();
    let mut text = format!("any ServiceAccount\n{}", rights::table(&everybody));
    for (namespace, set) in INSTALLATIONS {
        let flags: String = set.iter().map(|it| format!(" --set {it}")).collect();
        text += &format!("\nlinkerd-mcp install --mcp-namespace {namespace}{flags}\n");
        // Valkey's account is the same in all.
        let accounts = ["mcp-controller", "mcp-api", "mcp-redis"];
        for name in &accounts[..if set.is_empty() { 3 } else { 2 }] {
            let account = rights::account(namespace, name);
            let mut own = rights::walk(&client, &account, &served, &places(namespace)).await.unwrap();
            own.retain(|key, verbs| everybody.get(key) != Some(verbs));
            text += &format!("\n {name}\n{}", rights::table(&own));
            // Not even what every account may: to read the server's metrics, or what it is made of.
            let paths = ["/metrics", "/logs/", "/debug/pprof/", "/configz", "/flagz", "/statusz"];
            assert_eq!(
                rights::paths(&client, &account, &paths).await.unwrap(),
                Vec::<&str>::new(),
                "{account}"
            );
        }
    }
    golden::check("rights.txt", &text);

    // The control: one more rule, and the walk finds it.
    let name = "linkerd-mcp-controller";
    let more = json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = roles.get(name).await.unwrap();
    let mut rules = json!(role.rules).as_array().unwrap().clone();
    rules.extend(more["rules"].as_array().unwrap().clone());
    let widened = Patch::Merge(json!({"rules": rules}));
    roles.patch(name, &PatchParams::default(), &widened).await.unwrap();
    let account = rights::account("mcp", "mcp-controller");
    let found = wait::until("the walk finds the Secrets", LIMIT, async || {
        let rights = rights::walk(&client, &account, &served, &[]).await.unwrap();
        rights.keys().any(|(_, resource)| resource.name == "secrets").then_some(())
    });
    found.await.unwrap();
}

// === the processes ===

async fn run(apiserver: &ApiServer, objects: &[Value], name: &str) -> Process {
    pod::run(apiserver, objects, name).await.unwrap()
}

/// All of a graph but its numbers: what is in it, with edges by their ids.
fn content(graph: &Value) -> Option<Value> {
    let freshness = &graph["freshness"];
    let complete = freshness["topology"]["synced"] == true && freshness["metrics"]["stale"] == false;
    let mut content = graph.as_object()?.clone();
    content.remove("freshness");
    content.retain(|_, value| value.is_object() || value.is_array());
    let edges = content.get("edges")?.as_object()?.keys().cloned().collect();
    content.insert("edges".to_owned(), edges);
    complete.then_some(Value::Object(content))
}

async fn graph(api: &Process, token: &str) -> Option<Value> {
    let url = format!("http://127.0.0.1:{}/v1/graph", api.port(1));
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.ok()?;
    content(&serde_json::from_str(&answer.text().await.ok()?).ok()?)
}

fn owned<'a>(asked: impl Iterator<Item = (&'a str, String, &'a str)>) -> BTreeSet<Asked> {
    asked.map(|(verb, resource, place)| (verb.to_owned(), resource, place.to_owned())).collect()
}

/// What a user has asked, once this is among it: the log comes after the answers.
async fn asked_at_least<'a>(
    apiserver: &ApiServer,
    user: &str,
    expected: impl Iterator<Item = (&'a str, String, &'a str)>,
) -> BTreeSet<Asked> {
    let expected = owned(expected);
    let complete = wait::until("it asked for all", LIMIT, async || {
        expected.is_subset(&audit::asked(apiserver, user).unwrap()).then_some(())
    });
    // If not, the caller shows the difference.
    let _ = complete.await;
    audit::asked(apiserver, user).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_tokens_of_their_accounts_the_controller_and_the_api_do_all_they_must() {
    let options = Options { scrape_interval: Duration::from_secs(1), basic_auth: false };
    let rig = Rig::start(options).await.unwrap();
    let apiserver = &rig.kubernetes.apiserver;
    let client = rig.kubernetes.client().await.unwrap();
    let prometheus = format!("prometheus.url={}", rig.traffic.prometheus.url());
    let told = |redis: &Redis| {
        ["prometheus.poll=1s".to_owned(), prometheus.clone(), "redis.enabled=false".to_owned()]
            .into_iter()
            .chain(["redis.controller.user=".to_owned(), "redis.api.user=".to_owned()])
            .chain([format!("redis.external.url={}", redis.url())])
            .collect::<Vec<_>>()
    };

    // What there is to see: by an administrator.
    let all = Redis::start(None).await.unwrap();
    let options = ControllerOptions {
        kubeconfig: apiserver.kubeconfig(),
        redis_url: all.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: Vec::new(),
    };
    let _controller = Controller::start(&options).await.unwrap();
    let administrator = ours::Api::start(&all.url()).await.unwrap();

    for (namespace, set) in [("mcp-redis-led", &[][..]), ("mcp-lease-led", &["controller.leadBy=kubernetes"])]
    {
        let redis = Redis::start(None).await.unwrap();
        let told = told(&redis);
        let set: Vec<&str> = told.iter().map(String::as_str).chain(set.iter().copied()).collect();
        let objects = install(&client, namespace, &set).await;
        let _controller = run(apiserver, &objects, "mcp-controller").await;
        let api = run(apiserver, &objects, "mcp-api").await;
        let token = pod::viewer_token(apiserver, namespace).await.unwrap();
        let seen = wait::until("both see the same", LIMIT, async || {
            let whole = content(&administrator.graph("").await.ok()?)?;
            (graph(&api, &token).await? == whole && whole["edges"].as_array()?.len() > 20).then_some(())
        });
        if let Err(timeout) = seen.await {
            let (ours, whole) = (graph(&api, &token).await, content(&administrator.graph("").await.unwrap()));
            panic!("{timeout}: {}", serde_json::to_string_pretty(&json!([ours, whole])).unwrap());
        }

        // It asked for what the chart grants, and was refused nothing.
        let user = rights::account(namespace, "mcp-controller");
        let expected = KINDS
            .iter()
            .flat_map(|row| ["list", "watch"].map(|verb| (verb, row.kind.resource(), "/")))
            .chain([("get", "configmaps".to_owned(), "linkerd/linkerd-config")]);
        let mut asked_for = asked_at_least(apiserver, &user, expected.clone()).await;
        let leases = asked_for.extract_if(.., |it| it.1 == "leases.coordination.k8s.io");
        let leases: BTreeSet<String> = leases.map(|it| it.0).collect();
        assert_eq!(asked_for, owned(expected));
        let of_a_leader = ["create", "get", "update"].map(str::to_owned).into();
        assert_eq!(leases, if namespace == "mcp-lease-led" { of_a_leader } else { BTreeSet::new() });
        assert!(!audit::refused(apiserver, &user).unwrap(), "{asked_for:#?}");
        // The API asks Kubernetes nothing by itself, only whose a token is, what they may, and what models want to know.
        let user = rights::account(namespace, "mcp-api");
        let reviews = ["subjectaccessreviews.authorization.k8s.io", "tokenreviews.authentication.k8s.io"];
        let expected = reviews.map(|it| ("create", it.to_owned(), "/")).into_iter();
        assert_eq!(asked_at_least(apiserver, &user, expected.clone()).await, owned(expected));
        assert!(!audit::refused(apiserver, &user).unwrap());
    }

    // One namespace: the same kinds, there only, and again nothing is refused.
    let redis = Redis::start(None).await.unwrap();
    let told_narrow = told(&redis);
    let set: Vec<&str> = told_narrow.iter().map(String::as_str).chain(["namespaceOnly=emojivoto"]).collect();
    let objects = install(&client, "mcp-narrow", &set).await;
    let _narrow = run(apiserver, &objects, "mcp-controller").await;
    let api = run(apiserver, &objects, "mcp-api").await;
    let token = pod::viewer_token(apiserver, "mcp-narrow").await.unwrap();
    let seen =
        wait::until("the graph of one namespace is complete", LIMIT, async || graph(&api, &token).await);
    let workloads = seen.await.unwrap()["workloads"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(workloads.contains(&"emojivoto/deployment/web".to_owned()), "{workloads:?}");
    let user = rights::account("mcp-narrow", "mcp-controller");
    let expected = KINDS
        .iter()
        .filter(|row| row.kind != Kind::Namespace)
        .flat_map(|row| ["list", "watch"].map(|verb| (verb, row.kind.resource(), "emojivoto/")))
        .chain([("get", "namespaces".to_owned(), "emojivoto/emojivoto")])
        .chain([("get", "configmaps".to_owned(), "linkerd/linkerd-config")]);
    assert_eq!(asked_at_least(apiserver, &user, expected.clone()).await, owned(expected));
    assert!(!audit::refused(apiserver, &user).unwrap());

    // The control: without its ClusterRole, a controller does not get there, and the audit log shows why.
    let redis = Redis::start(None).await.unwrap();
    let told = told(&redis);
    let set: Vec<&str> = told.iter().map(String::as_str).collect();
    let mut objects = render("mcp-without", &set);
    objects.retain(|object| object["kind"] != "ClusterRole");
    mesh::apply(&client, &manifests::yaml(&objects)).await.unwrap();
    let account = apiserver.service_account("mcp-without", "mcp-controller", &[]).await.unwrap();
    let options = ControllerOptions {
        kubeconfig: apiserver.kubeconfig_of(&account),
        redis_url: redis.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: Vec::new(),
    };
    let _controller = Controller::start(&options).await.unwrap();
    let api = ours::Api::start(&redis.url()).await.unwrap();
    let forbidden = api.until("the graph says what is forbidden", |graph| {
        let topology = &graph["freshness"]["topology"];
        let kinds = topology["not_synced"].as_array()?.len();
        (kinds == KINDS.len() && content(graph).is_none()).then_some(())
    });
    forbidden.await.unwrap();
    let user = rights::account("mcp-without", "mcp-controller");
    assert!(audit::refused(apiserver, &user).unwrap());
}

// === real requests ===

/// The status code of an answer.
async fn code(client: &Client, method: &Method, path: &str, body: &Value) -> u16 {
    let kind = match *method {
        Method::PATCH if path.contains("fieldManager=") => "application/apply-patch+yaml",
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.body(body.to_string().into_bytes()).unwrap();
    match client.request_text(request).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Requests that would do harm: what they are, where, and with what.
fn harmful(ours: &str) -> Vec<(Method, String, Value)> {
    let mut all = vec![
        (Method::GET, "/api/v1/secrets", json!({})),
        (Method::GET, "/api/v1/namespaces/linkerd/secrets/linkerd-identity-issuer", json!({})),
        (Method::GET, "/api/v1/namespaces/linkerd/configmaps", json!({})),
        (Method::GET, "/api/v1/namespaces/shop/pods/web/log", json!({})),
        (Method::POST, "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true", json!({})),
        (Method::POST, "/api/v1/namespaces/shop/pods/web/portforward?ports=80", json!({})),
        (Method::DELETE, "/api/v1/namespaces/shop/pods/web?dryRun=All", json!({})),
        (Method::PATCH, "/api/v1/namespaces/shop?dryRun=All", json!({"metadata": {"labels": {"a": "b"}}})),
        (
            Method::POST,
            "/api/v1/namespaces/linkerd/serviceaccounts/mcp-target/token",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}),
        ),
        (
            Method::POST,
            "/apis/authentication.k8s.io/v1/tokenreviews",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}}),
        ),
        (
            Method::POST,
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "grab"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            }),
        ),
        (Method::DELETE, "/apis/policy.linkerd.io/v1beta3/namespaces/shop/servers?dryRun=All", json!({})),
    ];
    let scale = format!("/apis/apps/v1/namespaces/{ours}/deployments/mcp-api/scale?dryRun=All");
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{ours}/leases?dryRun=All");
    all.push((Method::PATCH, &scale, json!({"spec": {"replicas": 0}})));
    all.push((Method::GET, &lease, json!({})));
    all.into_iter().map(|(method, path, body)| (method, path.to_owned(), body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_do_harm_is_refused_to_both_and_not_to_an_administrator() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    namespaces(&client, &["linkerd", "shop"]).await;
    let (namespace, set) = ("mcp-harmless", ["readOnly=false", "controller.leadBy=kubernetes"]);
    install(&client, namespace, &set).await;
    let targets = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mcp-target", "namespace": "linkerd"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "linkerd-identity-issuer", "namespace": "linkerd"}}),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "web", "image": "web"}]},
        }),
    ];
    mesh::apply(&client, &manifests::yaml(&targets)).await.unwrap();
    let harmful = harmful(namespace);
    for (method, path, body) in &harmful {
        // The API may ask whose a token is, and nothing else of these.
        let by_right = path.contains("/tokenreviews");
        for name in if by_right { &["mcp-controller"][..] } else { &["mcp-controller", "mcp-api"] } {
            let token = kubernetes.apiserver.service_account(namespace, name, &[]).await.unwrap();
            let theirs = kubernetes.apiserver.client_of(&token).await.unwrap();
            assert_eq!(code(&theirs, method, path, body).await, 403, "{name}: {method} {path}");
        }
        // The control. There is no kubelet to talk to: a request for one gets past the authorizer, and no further.
        let answer = code(&client, method, path, body).await;
        let of_kubelet = ["/log", "/exec", "/portforward"].iter().any(|part| path.contains(part));
        let fine = if of_kubelet { answer != 403 } else { answer < 300 };
        assert!(fine, "administrator: {method} {path}: {answer}");
    }
}

/// Creates each sample as `client`, changes it, gets it and deletes it, and applies those of [`CHANGED`] anew; the kinds
/// whose every step was allowed, and those whose every step was refused. A kind in between is a failure.
async fn changed(client: &Client, namespace: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let samples = std::fs::read_to_string(fixtures::dir().join("kinds.yaml")).unwrap();
    let (mut may, mut may_not) = (BTreeSet::new(), BTreeSet::new());
    for sample in mesh::documents(&samples).unwrap() {
        let types = sample.types.clone().unwrap();
        let (group, _) = types.api_version.split_once('/').unwrap();
        let row = KINDS.iter().find(|row| row.group == group && row.name == types.kind).unwrap();
        let kind = row.kind.resource();
        let all = format!("/apis/{}/namespaces/{namespace}/{}", types.api_version, row.plural);
        let one = format!("{all}/{}", sample.name_any());
        let labels = json!({"metadata": {"labels": {"a": "b"}}});
        let mut steps = vec![
            (Method::POST, all, json!(sample)),
            (Method::PATCH, one.clone(), labels),
            (Method::GET, one.clone(), json!({})),
            (Method::DELETE, one.clone(), json!({})),
        ];
        if CHANGED.contains(&kind.as_str()) {
            steps.push((Method::PATCH, format!("{one}?fieldManager=mcp"), json!(sample)));
            steps.push((Method::DELETE, one, json!({})));
        }
        let mut codes = BTreeSet::new();
        for (method, path, body) in &steps {
            codes.insert(code(client, method, path, body).await);
        }
        match codes.into_iter().collect::<Vec<_>>()[..] {
            [200] => may.insert(kind),
            [403] => may_not.insert(kind),
            ref other => panic!("{kind}: {other:?}"),
        };
    }
    (may, may_not)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_may_apply_the_kinds_of_policy_and_no_other_and_none_where_it_is_read_only() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let admin = kubernetes.client().await.unwrap();
    namespaces(&admin, &["linkerd", "shop", "garden"]).await;
    let client = async |namespace: &str, set: &[&str]| {
        install(&admin, namespace, set).await;
        let token = kubernetes.apiserver.service_account(namespace, "mcp-api", &[]).await.unwrap();
        kubernetes.apiserver.client_of(&token).await.unwrap()
    };
    let (all, none) = changed(&admin, "garden").await;
    assert_eq!((all.len(), none.len()), (15, 0));
    let kinds: BTreeSet<String> = CHANGED.map(str::to_owned).into();
    let others: BTreeSet<String> = all.difference(&kinds).cloned().collect();

    let writer = client("api-writing", &["readOnly=false"]).await;
    assert_eq!(changed(&writer, "garden").await, (kinds.clone(), others.clone()));
    let reader = client("api-reading", &[]).await;
    assert_eq!(changed(&reader, "garden").await, (BTreeSet::new(), all.clone()));
    let narrow = client("api-narrow", &["readOnly=false", "namespaceOnly=shop"]).await;
    assert_eq!(changed(&narrow, "shop").await, (kinds, others));
    assert_eq!(changed(&narrow, "garden").await, (BTreeSet::new(), all));
}
