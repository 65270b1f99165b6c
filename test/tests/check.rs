//! `linkerd-mcp check` on a real API server: nothing installed, what the manifest in install/ makes, and that broken.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use linkerd_mcp_test::{
    exporter::Exporter,
    fixtures, mesh,
    ours::{self, Controller, ControllerOptions, Serve},
    prometheus::{Options, Prometheus, Target},
    rig::{self, Rig},
    wait,
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Nothing here turns a Deployment into pods.
fn pod(name: &str, component: &str, ready: bool) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "linkerd-mcp",
            "labels": {
                "linkerd.io/extension": "mcp", "component": component, "linkerd.io/control-plane-ns": "linkerd",
            },
            "annotations": {"linkerd.io/proxy-version": "edge-26.8.3"},
        },
        "spec": {
            "initContainers": [{"name": "linkerd-proxy", "image": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": component, "image": component}],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": component, "ready": ready, "image": "", "imageID": "", "restartCount": 0},
            ],
            "initContainerStatuses": [
                {"name": "linkerd-proxy", "ready": true, "image": "", "imageID": "", "restartCount": 0},
            ],
        },
    });
    pod.to_string()
}

/// A check's description, its result, and what it says.
type Line = (String, String, String);

struct Check {
    kubeconfig: tempfile::TempDir,
}

impl Check {
    fn new(kubeconfig: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), kubeconfig).unwrap();
        Self { kubeconfig: dir }
    }

    /// All checks of all categories, after the exit code was held to them.
    async fn run(&self, args: &[&str]) -> Vec<Line> {
        let flag = format!("--kubeconfig={}", self.kubeconfig.path().join("config").display());
        let args = [&["check", "--wait=0s", "--output=json", "--as-group=[]", &flag][..], args].concat();
        let output = ours::cli(&args).await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks =
            report["categories"].as_array().unwrap().iter().flat_map(|it| it["checks"].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines: Vec<Line> =
            checks.map(|it| (text(&it["description"]), text(&it["result"]), text(&it["error"]))).collect();
        let failed = lines.iter().any(|(_, result, _)| result == "error");
        assert_eq!((output.status.code(), &report["success"]), (Some(i32::from(failed)), &json!(!failed)));
        lines
    }

    /// Checks until this one fails.
    async fn until(&self, description: &str, address: &str) -> Vec<Line> {
        let fails = wait::until(description, Duration::from_secs(60), async || {
            let lines = self.run(&[address]).await;
            lines.iter().any(|line| line.0 == description && line.1 == "error").then_some(lines)
        });
        fails.await.unwrap()
    }
}

fn bad(lines: &[Line]) -> Vec<(&str, &str)> {
    let bad = lines.iter().filter(|(_, result, _)| result != "success");
    bad.map(|(description, result, _)| (description.as_str(), result.as_str())).collect()
}

fn said<'a>(lines: &'a [Line], description: &str) -> &'a str {
    let line = lines.iter().find(|line| line.0 == description);
    &line.unwrap_or_else(|| panic!("no {description:?} in {lines:#?}")).2
}

async fn label(client: &Client, namespace: &str) {
    let patch = json!({"metadata": {"labels": {"linkerd.io/extension": "mcp"}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_installed_the_namespace_is_missed_and_nothing_after_it_is_looked_at() {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let check = Check::new(&kubernetes.apiserver.kubeconfig());
    let lines = check.run(&["--proxy=true"]).await;
    assert_eq!(bad(&lines), [("linkerd-mcp Namespace exists", "error")], "{lines:#?}");
    assert_eq!(lines.last().unwrap().0, "linkerd-mcp Namespace exists");
    let lines = check.run(&["--pre"]).await;
    assert_eq!(
        bad(&lines),
        [("Linkerd control plane exists", "error"), ("linkerd-viz Prometheus is installed", "warning")],
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_is_told_so_and_cannot_install() {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let nobody = kubernetes.apiserver.user("nobody", None).unwrap();
    let check = Check::new(&kubernetes.apiserver.kubeconfig_of(&nobody));
    let lines = check.run(&["--pre"]).await;
    assert!(said(&lines, "can create what an installation needs").starts_with(
        "you may not create namespaces, create networkpolicies.networking.k8s.io in linkerd-mcp, create \
         poddisruptionbudgets.policy in linkerd-mcp, "
    ));
    let lines = check.run(&[]).await;
    for (description, result) in bad(&lines) {
        assert_eq!(result, "warning", "{description}");
        assert!(said(&lines, description).starts_with("cannot be checked: you may not "), "{lines:#?}");
    }
    assert!(lines.len() > 8, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_well_and_each_thing_that_breaks_is_named() {
    let rig =
        Rig::start(Options { scrape_interval: Duration::from_secs(1), basic_auth: false }).await.unwrap();
    let client = rig.kubernetes.client().await.unwrap();
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/linkerd-mcp.yaml");
    mesh::apply(&client, &std::fs::read_to_string(install).unwrap()).await.unwrap();
    for (name, component) in [("mcp-controller-1", "mcp-controller"), ("mcp-api-1", "mcp-api")] {
        mesh::apply(&client, &pod(name, component, true)).await.unwrap();
    }
    let options = ControllerOptions {
        kubeconfig: rig.kubernetes.apiserver.kubeconfig(),
        redis_url: rig.redis.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: Vec::new(),
    };
    let controller = Controller::start(&options).await.unwrap();
    let api = ours::Api::start(&rig.redis.url()).await.unwrap();
    // Numbers come with the second scrape, and an API server that has just begun refuses watches at first.
    let begun = |graph: &Value| {
        let freshness = &graph["freshness"];
        let (stale, synced) = (&freshness["metrics"]["stale"], &freshness["topology"]["synced"]);
        (stale == &json!(false) && synced == &json!(true)).then_some(())
    };
    api.until("numbers of all of the cluster", begun).await.unwrap();
    let check = Check::new(&rig.kubernetes.apiserver.kubeconfig());
    let address = format!("--api-addr={}", api.address());
    let lines = check.run(&[&address]).await;
    // No Deployment has pods, nothing scrapes the two that are played, and there is no policy controller.
    let usual = [
        ("linkerd-mcp pods are running", "error"),
        ("Prometheus has metrics of all proxies", "warning"),
        ("Linkerd policy controller answers", "warning"),
    ];
    assert_eq!(bad(&lines), usual, "{lines:#?}");
    assert_eq!(
        said(&lines, "linkerd-mcp pods are running"),
        "Deployment mcp-api has 0 of 2 replicas available, Deployment mcp-controller has 0 of 2 replicas available, \
         Deployment mcp-redis has 0 of 1 replicas available"
    );
    assert!(lines.len() > 20, "{lines:#?}");

    mesh::apply(&client, &pod("mcp-api-1", "mcp-api", false)).await.unwrap();
    let name = "linkerd-linkerd-mcp-controller";
    Api::<ClusterRoleBinding>::all(client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
    label(&client, "sandbox").await;
    controller.kill();
    let lines = check.until("linkerd-mcp has a leader and a fresh feed", &address).await;
    assert!(
        said(&lines, "linkerd-mcp has a leader and a fresh feed")
            .ends_with("no controller leads, or the leader cannot publish")
    );
    assert_eq!(
        said(&lines, "linkerd-mcp ClusterRoleBindings exist"),
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller"
    );
    assert_eq!(
        said(&lines, "linkerd-mcp controller may read what it watches"),
        "ServiceAccount mcp-controller may not list namespaces, watch namespaces, list services, watch services, list \
         endpointslices.discovery.k8s.io and 39 more"
    );
    assert_eq!(said(&lines, "linkerd-mcp pods are running"), "linkerd-mcp/mcp-api-1 is not ready: mcp-api");
    assert!(said(&lines, "linkerd-mcp is installed in one Namespace").contains("linkerd-mcp, sandbox"));

    let delete = DeleteParams::default();
    Api::<ClusterRole>::all(client.clone()).delete(name, &delete).await.unwrap();
    Api::<Role>::namespaced(client.clone(), "linkerd")
        .delete("linkerd-mcp-api-trust", &delete)
        .await
        .unwrap();
    Api::<Deployment>::namespaced(client.clone(), "linkerd-mcp").delete("mcp-redis", &delete).await.unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), "linkerd").delete("linkerd-config", &delete).await.unwrap();
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    for gone in ["grpcroutes.gateway.networking.k8s.io", "networkauthentications.policy.linkerd.io"] {
        crds.delete(gone, &delete).await.unwrap();
        let there =
            wait::until("the CustomResourceDefinition is gone", Duration::from_secs(60), async || {
                crds.get_opt(gone).await.unwrap().is_none().then_some(())
            });
        there.await.unwrap();
    }
    let lines = check.run(&[&address, "--mcp-namespace=linkerd-mcp"]).await;
    for (description, sentence) in [
        ("linkerd-mcp ClusterRoles exist", "missing ClusterRoles: linkerd-linkerd-mcp-controller"),
        ("linkerd-mcp Roles and RoleBindings exist", "missing or wrong: Role linkerd/linkerd-mcp-api-trust"),
        ("linkerd-mcp Deployments exist", "missing Deployments: mcp-redis"),
        (
            "Linkerd control plane exists",
            "there is no ConfigMap linkerd-config in Namespace linkerd: Linkerd is not installed there; \
             --linkerd-namespace names another",
        ),
        (
            "Linkerd policy CRDs exist",
            "missing CustomResourceDefinitions: networkauthentications.policy.linkerd.io",
        ),
        (
            "Gateway API version is supported",
            "the CustomResourceDefinition grpcroutes.gateway.networking.k8s.io is missing: its routes are not known",
        ),
    ] {
        assert_eq!(said(&lines, description), sentence);
    }
    rig.redis.stop().await;
    let lines = check.until("linkerd-mcp API reaches Redis", &address).await;
    assert!(said(&lines, "linkerd-mcp API reaches Redis").starts_with("the API has lost its feed"));
    api.stop().await;
    let lines = check.run(&[&address]).await;
    assert!(said(&lines, "linkerd-mcp API answers").starts_with("nothing answers at "), "{lines:#?}");
    assert_eq!(lines.last().unwrap().0, "linkerd-mcp API answers");
}

/// Recorded proxies to scrape, for as long as the exporters live.
fn proxies() -> (Vec<Exporter>, Vec<Target>) {
    let serve = |pod: fixtures::Pod| {
        let recording = pod.recording;
        let exporter = Exporter::start(move |time| recording.after(time)).unwrap();
        let target = Target { address: exporter.address(), labels: pod.labels };
        (exporter, target)
    };
    fixtures::pods().unwrap().into_iter().map(serve).unzip()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_without_proxies_or_with_too_few_scrapes_is_named() {
    let kubernetes = rig::kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    kubernetes.apply_recorded_mesh().await.unwrap();
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/linkerd-mcp.yaml");
    mesh::apply(&client, &std::fs::read_to_string(install).unwrap()).await.unwrap();
    let check = Check::new(&kubernetes.apiserver.kubeconfig());
    let (_exporters, targets) = proxies();
    let answers = |lines: &[Line]| said(lines, "Prometheus answers").to_owned();

    let often = Options { scrape_interval: Duration::from_secs(1), basic_auth: false };
    let prometheus = Prometheus::start(often, &[]).await.unwrap();
    let serve = Serve::start(&kubernetes.apiserver.kubeconfig(), &prometheus.url()).await.unwrap();
    let address = format!("--api-addr={}", serve.address());
    let lines = check.until("Prometheus answers", &address).await;
    assert_eq!(
        answers(&lines),
        "Prometheus has no series of any linkerd-proxy: check that it scrapes the proxies' port linkerd-admin"
    );
    // Scraped, but nobody says whose series they are.
    let nameless = targets.iter().cloned().map(|mut target| {
        target.labels.retain(|name, _| name != "namespace" && name != "pod");
        target
    });
    prometheus.set_targets(&nameless.collect::<Vec<_>>()).unwrap();
    let lacking = wait::until("the labels are missed", Duration::from_secs(60), async || {
        let lines = check.run(&[&address]).await;
        answers(&lines).starts_with("Prometheus has series of linkerd-proxy, but they lack ").then_some(())
    });
    lacking.await.unwrap();
    // Scraped, the same Prometheus is well, and often enough.
    prometheus.set_targets(&targets).unwrap();
    let well = wait::until("Prometheus is well", Duration::from_secs(60), async || {
        let lines = check.run(&[&address]).await;
        answers(&lines).is_empty().then_some(lines)
    });
    let lines = well.await.unwrap();
    assert_eq!(said(&lines, "Prometheus scrapes often enough"), "");
    serve.stop().await;

    let seldom = Options { scrape_interval: Duration::from_secs(60), basic_auth: false };
    let prometheus = Prometheus::start(seldom, &targets).await.unwrap();
    let serve = Serve::start(&kubernetes.apiserver.kubeconfig(), &prometheus.url()).await.unwrap();
    let address = format!("--api-addr={}", serve.address());
    let told = wait::until("the window is known", Duration::from_secs(60), async || {
        let lines = check.run(&[&address]).await;
        let line = lines.into_iter().find(|line| line.0 == "Prometheus scrapes often enough")?;
        (line.1 == "warning").then_some(line.2)
    });
    let told = told.await.unwrap();
    assert_eq!(
        told,
        "rates are over 240s instead: Prometheus scrapes every 60 s, so 10 s would hold too few samples"
    );
    serve.stop().await;
}
