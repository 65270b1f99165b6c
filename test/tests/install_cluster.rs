//! `install`, `prune` and `uninstall` at a real API server.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    discovery::{self, Scope},
};
use linkerd_mcp_test::{
    ours,
    rig::{Kubernetes, shared_kubernetes},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Output},
};

/// The command at one cluster.
struct Cli {
    kubeconfig: tempfile::NamedTempFile,
}

// === impl Cli ===

impl Cli {
    fn of(kubeconfig: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(kubeconfig.as_bytes()).unwrap();
        Self { kubeconfig: file }
    }

    async fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(ours::program("linkerd-mcp").unwrap());
        command.env_clear().arg("--kubeconfig").arg(self.kubeconfig.path()).args(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The objects that a command prints.
    async fn objects(&self, args: &[&str]) -> Vec<Value> {
        let output = self.run(&[args, &["-o", "json"]].concat()).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What a command that fails says.
    async fn refusal(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(output.stdout, b"", "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

async fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
    let (resource, capabilities): (ApiResource, _) = discovery::pinned_kind(client, &kind).await.unwrap();
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    }
}

/// Applies objects as `kubectl apply --server-side` does; returns which is in which version then.
async fn apply(client: &Client, objects: &[Value]) -> Vec<(String, Option<String>)> {
    let mut versions = Vec::new();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let api = api_of(client, object).await;
        let applied = api.patch(name, &PatchParams::apply("kubectl"), &Patch::Apply(object)).await;
        let applied = applied.unwrap_or_else(|error| panic!("{} {name}: {error}", object["kind"]));
        versions.push((format!("{} {name}", object["kind"]), applied.resource_version()));
    }
    versions
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    };
    objects.iter().map(name).collect()
}

async fn namespace(client: &Client, name: &str, labels: Value) {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// Somebody who may look at what `install` looks at, and do nothing.
async fn reader(kubernetes: &Kubernetes, client: &Client) -> Cli {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["get", "list"]},
            {"apiGroups": ["apiextensions.k8s.io"], "resources": ["*"], "verbs": ["list"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    });
    apply(client, &[role, binding]).await;
    let reader = kubernetes.apiserver.user("reader", None).unwrap();
    Cli::of(&kubernetes.apiserver.kubeconfig_of(&reader))
}

#[tokio::test]
async fn what_install_prints_is_applied_pruned_and_uninstalled() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let cli = Cli::of(&kubernetes.apiserver.kubeconfig());

    let said = cli.refusal(&["install"]).await;
    assert!(said.contains("Cannot find Linkerd in namespace linkerd. Validate the install with"), "{said}");
    let said = cli.refusal(&["uninstall"]).await;
    assert!(said.contains("No resources found to uninstall"), "{said}");

    namespace(&client, "linkerd", json!({})).await;
    namespace(&client, "viz-of-ours", json!({"linkerd.io/extension": "viz"})).await;
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "linkerd-config"},
        "data": {"values": "clusterDomain: east.local\nidentityTrustDomain: east.local\n"},
    });
    let config: ConfigMap = serde_json::from_value(config).unwrap();
    let configs = Api::<ConfigMap>::namespaced(client.clone(), "linkerd");
    configs.create(&PostParams::default(), &config).await.unwrap();

    // What the cluster says is in the manifests, unless a flag says otherwise.
    let installed = cli.objects(&["install"]).await;
    let all = names(&installed);
    let of_viz = "AuthorizationPolicy viz-of-ours/prometheus-admin-linkerd-mcp";
    assert!(all.contains(of_viz), "{all:?}");
    assert!(json!(installed).to_string().contains("svc.east.local:6379"));
    let without = cli.objects(&["install", "--set", "viz.enabled=false,clusterDomain=west.local"]).await;
    assert!(!names(&without).contains(of_viz));
    assert!(json!(without).to_string().contains("svc.west.local:6379"));

    // What is only worth a look is said beside the manifests.
    let said = cli.run(&["install"]).await;
    assert_eq!(
        String::from_utf8(said.stderr).unwrap().lines().collect::<Vec<_>>()[..2],
        ["\u{203c} Linkerd version is supported", "    the ConfigMap linkerd-config has no linkerdVersion"]
    );

    // What cannot be applied is refused, unless nobody asks.
    let monitors = ["install", "--set", "metrics.podMonitor.enabled=true,viz.namespace=nowhere"];
    let said = cli.refusal(&monitors).await;
    for sentence in [
        "\u{d7} the cluster has what an installation needs\n    there is no CustomResourceDefinition \
         podmonitors.monitoring.coreos.com, Namespace nowhere\n    see ",
        "error: linkerd-mcp cannot be installed here as it is; --skip-checks prints the manifests all the same",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
    let skipped = cli.objects(&[&monitors[..], &["--skip-checks"]].concat()).await;
    assert!(names(&skipped).contains("PodMonitor linkerd-mcp/linkerd-mcp"), "{:?}", names(&skipped));
    let said = reader(kubernetes, &client).await.refusal(&["install"]).await;
    assert!(
        said.contains(
            "\u{d7} can create what an installation needs\n    you may not create namespaces, create \
             networkpolicies.networking.k8s.io in linkerd-mcp, "
        ),
        "{said}"
    );

    // Applied a second time, nothing changes.
    let first = apply(&client, &installed).await;
    assert_eq!(apply(&client, &installed).await, first);
    assert_eq!(names(&cli.objects(&["uninstall"]).await), all);

    // To high availability and back.
    let ha = cli.objects(&["install", "--ha"]).await;
    apply(&client, &ha).await;
    assert_eq!(cli.objects(&["prune", "--ha"]).await, Vec::<Value>::new());
    apply(&client, &installed).await;
    assert_eq!(cli.objects(&["prune"]).await, Vec::<Value>::new());

    let surplus = cli.objects(&["prune", "--set", "podDisruptionBudget.enabled=false"]).await;
    let budgets =
        ["PodDisruptionBudget linkerd-mcp/mcp-api", "PodDisruptionBudget linkerd-mcp/mcp-controller"];
    assert_eq!(names(&surplus), budgets.map(str::to_owned).into());

    let found = cli.objects(&["uninstall"]).await;
    assert_eq!(found.last().unwrap()["kind"], "Namespace");
    for object in &found {
        let name = object["metadata"]["name"].as_str().unwrap();
        api_of(&client, object).await.delete(name, &DeleteParams::default()).await.unwrap();
    }
    // A Namespace goes when its controller says so, and the rig has none.
    assert_eq!(
        names(&cli.objects(&["uninstall"]).await),
        BTreeSet::from(["Namespace /linkerd-mcp".to_owned()])
    );
    let ours = Api::<Namespace>::all(client).get("linkerd-mcp").await.unwrap();
    assert!(ours.metadata.deletion_timestamp.is_some());
}

#[tokio::test]
async fn a_cluster_that_cannot_be_asked_is_said_to_be_so_and_is_not_needed() {
    let kubernetes = shared_kubernetes().await.unwrap();
    // Port 1 of this machine: nobody is there.
    let nowhere = kubernetes.apiserver.kubeconfig_at("https://127.0.0.1:1", &kubernetes.apiserver.admin());
    let cli = Cli::of(&nowhere);
    for command in [&["install"][..], &["uninstall"], &["prune"]] {
        let said = cli.refusal(command).await;
        assert!(said.contains("Cannot connect to Kubernetes"), "{said}");
    }
    let offline = cli.objects(&["install", "--ignore-cluster"]).await;
    assert!(!offline.is_empty());
    assert_eq!(cli.objects(&["install", "--skip-checks", "--wait=5m0s"]).await, offline);
    // `linkerd check` shall check us only where we are: we answer nothing, as viz does.
    assert_eq!(cli.refusal(&["_extension-metadata"]).await, "");
}
