//! Every component of the rig does what the other tests rely on.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use linkerd_mcp_test::exporter::Exporter;
use linkerd_mcp_test::process::Process;
use linkerd_mcp_test::prometheus::{Options, Prometheus, Target};
use linkerd_mcp_test::redis::Redis;
use linkerd_mcp_test::rig::{self, Rig, shared_kubernetes};
use linkerd_mcp_test::{crds, fixtures, mesh, wait};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

// === Kubernetes ===

#[tokio::test]
async fn a_user_may_do_what_rbac_grants_and_nothing_else() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let namespace = kubernetes.apiserver.namespace("rbac", &[]).await.unwrap();
    let alice = kubernetes.apiserver.user("alice", None).unwrap();
    let reads =
        Api::<ConfigMap>::namespaced(kubernetes.apiserver.client_of(&alice).await.unwrap(), &namespace);
    assert_eq!(code(reads.list(&ListParams::default()).await), Some(403));

    grant_config_maps(&kubernetes.client().await.unwrap(), &namespace, "alice").await;
    // The authorizer sees the new binding through a watch of its own.
    wait::until("the grant is in force", SOON, async || reads.list(&ListParams::default()).await.ok())
        .await
        .unwrap();
    assert_eq!(code(reads.create(&PostParams::default(), &config_map("denied")).await), Some(403));
}

#[tokio::test]
async fn a_token_of_a_service_account_makes_its_user_known() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let namespace = kubernetes.apiserver.namespace("token", &[]).await.unwrap();
    let account = kubernetes.apiserver.service_account(&namespace, "reader", &[]).await.unwrap();
    let client = kubernetes.apiserver.client_of(&account).await.unwrap();
    let denied = Api::<Pod>::namespaced(client, &namespace).list(&ListParams::default()).await.unwrap_err();
    let user = format!("system:serviceaccount:{namespace}:reader");
    assert!(denied.to_string().contains(&user), "{denied}");
}

#[tokio::test]
async fn the_audit_log_names_who_did_what() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let bob = kubernetes.apiserver.user("bob", Some("auditors")).unwrap();
    let client = kubernetes.apiserver.client_of(&bob).await.unwrap();
    let _ = Api::<ConfigMap>::default_namespaced(client).get("none").await;
    let log = kubernetes.apiserver.audit_log();
    wait::until("the request is in the audit log", SOON, async || {
        let log = std::fs::read_to_string(&log).ok()?;
        let line = log.lines().find(|line| line.contains("\"bob\""))?;
        (line.contains("\"verb\":\"get\"") && line.contains("\"auditors\"")).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_kind_is_accepted_in_every_served_version() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let namespace = kubernetes.apiserver.namespace("kinds", &[]).await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let samples =
        mesh::documents(&std::fs::read_to_string(fixtures::dir().join("kinds.yaml")).unwrap()).unwrap();
    let mut created = BTreeSet::new();
    for definition in crds::all().unwrap() {
        let (group, kind) = (&definition.spec.group, &definition.spec.names.kind);
        for version in definition.spec.versions.iter().filter(|version| version.served) {
            let sample = sample(&samples, group, kind, &version.name);
            let api = api(&client, &namespace, &sample);
            api.create(&PostParams::default(), &sample).await.unwrap_or_else(|error| {
                panic!("{kind}.{group}/{} was refused: {error}", version.name);
            });
            created.insert(definition.name_any());
        }
    }
    assert_eq!(created.len(), crds::all().unwrap().len());
}

#[tokio::test]
async fn objects_against_the_schema_are_refused() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let refused = [
        ("policy.linkerd.io/v1beta3", "Server", json!({ "podSelector": {} }), "spec.port"),
        (
            "policy.linkerd.io/v1beta3",
            "Server",
            json!({ "port": 80, "podSelector": {}, "externalWorkloadSelector": {} }),
            "oneOf",
        ),
        (
            "policy.linkerd.io/v1beta1",
            "ServerAuthorization",
            json!({ "server": { "name": "s" }, "client": { "meshTLS": { "identities": ["spiffe://a/b"] } } }),
            "identities",
        ),
        (
            "policy.linkerd.io/v1alpha1",
            "AuthorizationPolicy",
            json!({ "targetRef": { "kind": "Server", "name": "s" } }),
            "requiredAuthenticationRefs",
        ),
        (
            "policy.linkerd.io/v1alpha1",
            "MeshTLSAuthentication",
            json!({ "identities": ["a"], "identityRefs": [{ "kind": "ServiceAccount", "name": "a" }] }),
            "oneOf",
        ),
        (
            "policy.linkerd.io/v1beta3",
            "HTTPRoute",
            json!({ "rules": [{ "filters": [{ "type": "ResponseHeaderModifier" }] }] }),
            "Unsupported value",
        ),
        ("policy.linkerd.io/v1alpha1", "EgressNetwork", json!({ "trafficPolicy": "Maybe" }), "trafficPolicy"),
    ];
    for (version, kind, spec, complaint) in refused {
        let object = object(version, kind, "bad", spec.clone());
        let api = api(&client, "default", &object);
        let error = api.create(&PostParams::default(), &object).await.unwrap_err();
        assert!(error.to_string().contains(complaint), "{kind} {spec}: {error}");
    }
}

#[tokio::test]
async fn a_dry_run_validates_and_changes_nothing() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let spec = json!({ "podSelector": {}, "port": 80 });
    let server = object("policy.linkerd.io/v1beta3", "Server", "dry", spec);
    let api = api(&client, "default", &server);
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("test") };
    let planned = api.patch("dry", &dry, &Patch::Apply(&server)).await.unwrap();
    assert_eq!(planned.data["spec"]["accessPolicy"], "deny", "defaults are filled in");
    assert_eq!(api.get_opt("dry").await.unwrap().map(|object| object.name_any()), None);
}

#[tokio::test]
async fn the_recorded_mesh_has_pods_with_owners_addresses_and_proxies() {
    let kubernetes = rig::kubernetes().await.unwrap();
    kubernetes.apply_recorded_mesh().await.unwrap();
    let pods =
        Api::<Pod>::all(kubernetes.client().await.unwrap()).list(&ListParams::default()).await.unwrap();
    let meshed = |pod: &&Pod| pod.labels().contains_key("linkerd.io/control-plane-ns");
    let found: BTreeSet<_> = pods.iter().filter(meshed).map(instance).collect();
    let recorded: BTreeSet<_> =
        fixtures::pods().unwrap().into_iter().map(|pod| (pod.labels["pod"].clone(), pod.instance)).collect();
    assert_eq!(found, recorded);
    assert_eq!(pods.items.len(), recorded.len() + 2, "legacy and outsider have no proxy");
    for pod in &pods {
        let owner = &pod.owner_references()[0];
        assert_ne!(owner.uid, "filled-in", "{}", pod.name_any());
    }
}

// === Redis ===

#[tokio::test]
async fn redis_answers_and_wants_its_password() {
    let redis = Redis::start(Some("secret")).await.unwrap();
    let mut connection = linkerd_mcp_test::redis::connect(&redis.client().unwrap()).await.unwrap();
    let () = redis::cmd("SET").arg("key").arg("value").query_async(&mut connection).await.unwrap();
    let value: String = redis::cmd("GET").arg("key").query_async(&mut connection).await.unwrap();
    assert_eq!(value, "value");

    let stranger = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
    let refused = async {
        let mut connection = linkerd_mcp_test::redis::connect(&stranger).await?;
        redis::cmd("GET").arg("key").query_async::<String>(&mut connection).await
    };
    assert!(refused.await.unwrap_err().to_string().contains("NOAUTH"));
}

// === Prometheus ===

#[tokio::test]
async fn rates_of_the_scraped_recording_are_those_of_the_recorded_traffic() {
    let traffic = rig::traffic(Options::default()).await.unwrap();
    let truth = fixtures::truth().unwrap();
    // rate() is low while a series is younger than the window, so ask only when it has existed that long.
    let old = r#"response_total{direction="outbound",dst_service="emoji-svc"} offset 31s"#;
    let full = async || traffic.prometheus.query(old).await.ok().filter(|rows| !rows.is_empty());
    wait::until("the window is full", 2 * SOON, full).await.unwrap();

    let [expected, _] = truth.edges["web->emoji"]["requests"];
    let query =
        r#"sum by (deployment) (rate(response_total{direction="outbound",dst_service="emoji-svc"}[30s]))"#;
    let rows = traffic.prometheus.query(query).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].labels["deployment"], "web");
    let expected = expected as f64 / truth.interval_seconds["web"];
    let error = (rows[0].value - expected).abs() / expected;
    assert!(error < 0.05, "{} per second instead of {expected}", rows[0].value);

    let rows =
        traffic.prometheus.query("count by (instance, pod) (process_start_time_seconds)").await.unwrap();
    let instances: BTreeSet<_> = rows.iter().map(|row| row.labels["instance"].clone()).collect();
    let recorded: BTreeSet<_> = fixtures::pods().unwrap().into_iter().map(|pod| pod.instance).collect();
    assert_eq!(instances, recorded);
}

#[tokio::test]
async fn a_target_that_is_taken_off_the_list_goes_stale_and_one_that_is_added_appears() {
    let exporters = ["one", "two"]
        .map(|name| (name, Exporter::start(move |_| format!("here{{is=\"{name}\"}} 1\n")).unwrap()));
    let targets =
        exporters.each_ref().map(|(_, exporter)| Target { address: exporter.address(), labels: [].into() });
    let prometheus = Prometheus::start(Options::default(), &targets[..1]).await.unwrap();
    let shows = async |wanted: &str| {
        let rows = prometheus.query("here").await.ok()?;
        (rows.len() == 1 && rows[0].labels["is"] == wanted).then_some(())
    };
    wait::until("the first is scraped", SOON, async || shows("one").await).await.unwrap();
    prometheus.set_targets(&targets[1..]).unwrap();
    wait::until("only the second is left", SOON, async || shows("two").await).await.unwrap();
}

#[tokio::test]
async fn prometheus_with_basic_auth_turns_strangers_away() {
    let options = Options { basic_auth: true, ..Options::default() };
    let prometheus = Prometheus::start(options, &[]).await.unwrap();
    assert_eq!(prometheus.query("vector(1)").await.unwrap()[0].value, 1.0);
    let stranger = reqwest::get(format!("{}/api/v1/query?query=1", prometheus.url())).await.unwrap();
    assert_eq!(stranger.status(), 401);
}

// === leftovers ===

#[tokio::test]
async fn nothing_is_left_running_after_a_drop() {
    let rig = Rig::start(Options::default()).await.unwrap();
    let processes = [
        rig.kubernetes.etcd.process(),
        rig.kubernetes.apiserver.process(),
        rig.redis.process(),
        rig.traffic.prometheus.process(),
    ];
    let (groups, dirs): (Vec<u32>, Vec<PathBuf>) =
        processes.into_iter().map(|process: &Process| (process.id(), process.dir().to_path_buf())).unzip();
    assert!(groups.iter().all(|group| members(*group) >= 2), "each program has its guard");
    drop(rig);
    for (group, dir) in groups.into_iter().zip(dirs) {
        wait::until("the process group is empty", SOON, async || (members(group) == 0).then_some(()))
            .await
            .unwrap();
        assert!(!dir.exists(), "{}", dir.display());
    }
}

#[tokio::test]
async fn nothing_is_left_running_after_a_panic() {
    let group = Cell::new(0);
    let panicking = async {
        let redis = Redis::start(None).await.unwrap();
        group.set(redis.process().id());
        panic!("as a failing test does");
    };
    let panicked: Result<(), _> = AssertUnwindSafe(panicking).catch_unwind().await;
    assert!(panicked.is_err() && group.get() != 0);
    nobody_is_left(group.get()).await;
}

#[tokio::test]
async fn nothing_is_left_running_after_the_test_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let mut rig = tokio::process::Command::new(env!("CARGO_BIN_EXE_linkerd-mcp-rig"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let id = rig.id().unwrap();
    wait::until("the rig is up", 2 * SOON, async || {
        assert_eq!(rig.try_wait().unwrap(), None, "the rig ended");
        kubeconfig.exists().then_some(())
    })
    .await
    .unwrap();
    let groups: Vec<u32> =
        processes().filter(|process| process.parent == id).map(|process| process.group).collect();
    assert_eq!(groups.len(), 4, "etcd, kube-apiserver, redis-server and prometheus");
    rig.kill().await.unwrap();
    for group in groups {
        nobody_is_left(group).await;
    }
}

// === helpers ===

/// A process that is alive: not a zombie that nobody has collected yet.
struct Alive {
    parent: u32,
    group: u32,
}

fn processes() -> impl Iterator<Item = Alive> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // The name, in parentheses, may hold anything; after it come state, parent and group.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let alive = fields.next()? != "Z";
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        alive.then_some(Alive { parent, group })
    })
}

fn members(group: u32) -> usize {
    processes().filter(|process| process.group == group).count()
}

async fn nobody_is_left(group: u32) {
    wait::until("the process group is empty", SOON, async || (members(group) == 0).then_some(()))
        .await
        .unwrap();
}

fn instance(pod: &Pod) -> (String, String) {
    let status = pod.status.clone().unwrap();
    let proxies = pod.spec.clone().unwrap().init_containers.unwrap_or_default();
    assert!(proxies.iter().any(|container| container.name == "linkerd-proxy"), "{}", pod.name_any());
    (pod.name_any(), format!("{}:4191", status.pod_ip.unwrap()))
}

fn code<T>(result: Result<T, kube::Error>) -> Option<u16> {
    match result {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

fn config_map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_string());
    map
}

async fn grant_config_maps(client: &Client, namespace: &str, user: &str) {
    let role: Role = from_json(json!({
        "metadata": { "name": "reader" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"] }],
    }));
    let binding: RoleBinding = from_json(json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }));
    let parameters = PostParams::default();
    Api::namespaced(client.clone(), namespace).create(&parameters, &role).await.unwrap();
    Api::namespaced(client.clone(), namespace).create(&parameters, &binding).await.unwrap();
}

fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn object(api_version: &str, kind: &str, name: &str, spec: serde_json::Value) -> DynamicObject {
    from_json(json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec }))
}

/// The sample of a kind, in the given version and under a name of its own.
fn sample(samples: &[DynamicObject], group: &str, kind: &str, version: &str) -> DynamicObject {
    let is_it = |sample: &&DynamicObject| {
        let types = sample.types.as_ref().unwrap();
        types.kind == kind && types.api_version.split('/').next() == Some(group)
    };
    let mut sample =
        samples.iter().find(is_it).unwrap_or_else(|| panic!("no sample of {kind}.{group}")).clone();
    sample.types.as_mut().unwrap().api_version = format!("{group}/{version}");
    sample.metadata.name = Some(format!("{version}.{}", sample.name_any()));
    sample
}

fn api(client: &Client, namespace: &str, object: &DynamicObject) -> Api<DynamicObject> {
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let plural = crds::all()
        .unwrap()
        .into_iter()
        .find(|definition| definition.spec.group == kind.group && definition.spec.names.kind == kind.kind)
        .unwrap()
        .spec
        .names
        .plural;
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, &plural))
}
