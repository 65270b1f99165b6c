//! What the chart tells each program is what that program takes: arguments, environment, and files that are mounted.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use clap::{ArgAction, CommandFactory, Parser};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use linkerd_mcp_test::{
    manifests, mesh,
    ours::program,
    rig::{Kubernetes, kubernetes},
    wait,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

/// Variables that are read by other means than flags: by the feed, and by the logs.
const NOT_FLAGS: [&str; 2] = ["LINKERD_MCP_REDIS_PASSWORD", "LINKERD_MCP_LOG"];

/// Variables that sets of values add; no program of ours knows them.
const ADDED: [&str; 3] = ["HTTPS_PROXY", "NODE", "RUST_BACKTRACE"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A container's arguments, and its variables as the flags that they stand for. Gives the names of those that stand for
/// none.
fn flags<P: CommandFactory>(container: &Value) -> (Vec<String>, BTreeSet<String>) {
    let command = P::command();
    let mut flags = vec!["program".to_owned()];
    flags.extend(container["args"].as_array().unwrap().iter().map(|it| text(it).to_owned()));
    let mut others = BTreeSet::new();
    for variable in container["env"].as_array().unwrap() {
        let name = text(&variable["name"]);
        let value = match text(&variable["value"]) {
            // What these will be is known in the pod only.
            "" if variable["valueFrom"]["secretKeyRef"].is_object() => "redis://known-later:6379",
            "" if variable["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIPs" => "10.0.0.5,fd00::5",
            "" if variable["valueFrom"].is_object() => "known-later",
            given => given,
        };
        let known = command.get_arguments().find(|it| it.get_env().is_some_and(|env| env == name));
        match known {
            Some(known) => {
                let flag = format!("--{}", known.get_long().unwrap());
                if matches!(known.get_action(), ArgAction::SetTrue) {
                    assert_eq!(value, "true", "{name}");
                    flags.push(flag);
                } else {
                    flags.push(format!("{flag}={value}"));
                }
            }
            None => _ = others.insert(name.to_owned()),
        }
    }
    (flags, others)
}

/// The files that a container is told of and that no volume of its pod puts there.
fn missing_files(pod: &Value) -> Vec<String> {
    let container = &pod["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter();
    let arguments =
        arguments.filter_map(|it| text(it).split_once("-file=").or(text(it).split_once("-config=")));
    let variables = container["env"].as_array().unwrap().iter();
    let variables = variables.filter(|it| text(&it["name"]).ends_with("_FILE")).map(|it| text(&it["value"]));
    let is_there = |path: &str| {
        let (folder, file) = path.rsplit_once('/').unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        let mut mounted = mounts.filter(|it| it["mountPath"] == folder);
        let Some(mount) = mounted.next() else { return false };
        let mut volumes = pod["volumes"].as_array().unwrap().iter();
        let volume = volumes.find(|it| it["name"] == mount["name"]).unwrap();
        if volume["configMap"]["name"] == "mcp-api-settings" {
            return file == "mcp.yaml";
        }
        match volume["secret"]["items"].as_array() {
            Some(items) => items.iter().any(|item| item["path"] == file),
            // All keys of a Secret of type kubernetes.io/tls.
            None => volume["secret"]["secretName"].is_string() && ["tls.crt", "tls.key"].contains(&file),
        }
    };
    let told = arguments.map(|(_, path)| path).chain(variables);
    told.filter(|path| !is_there(path)).map(str::to_owned).collect()
}

fn parse<P: CommandFactory + Parser>(flags: &[String]) -> Result<(), String> {
    P::try_parse_from(flags).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn the_controller_and_the_api_take_what_every_set_of_values_tells_them() {
    let (mut tried, mut unknown) = (0, BTreeSet::new());
    for (name, objects) in manifests::installed().unwrap() {
        for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            let ((flags, others), parsed) = match text(&deployment["metadata"]["name"]) {
                "mcp-controller" => {
                    let told = flags::<linkerd_mcp_controller::args::Args>(container);
                    let parsed = parse::<linkerd_mcp_controller::args::Args>(&told.0);
                    (told, parsed)
                }
                "mcp-api" => {
                    let told = flags::<linkerd_mcp_api::args::Args>(container);
                    let parsed = parse::<linkerd_mcp_api::args::Args>(&told.0);
                    (told, parsed)
                }
                _ => continue,
            };
            assert_eq!(parsed, Ok(()), "{name}: {flags:?}");
            assert_eq!(missing_files(pod), Vec::<String>::new(), "{name}");
            unknown.extend(others);
            tried += 1;
        }
    }
    assert!(tried > 160, "{tried}");
    assert_eq!(unknown, NOT_FLAGS.into_iter().chain(ADDED).map(str::to_owned).collect());

    // The control.
    let container = json!({"args": ["--lease=10s", "--leese=10s"], "env": []});
    let (flags, _) = flags::<linkerd_mcp_controller::args::Args>(&container);
    assert!(parse::<linkerd_mcp_controller::args::Args>(&flags).unwrap_err().contains("--leese"));
    let pod = json!({
        "containers": [{"args": ["--prometheus-ca-file=/etc/x/ca.crt"], "env": [], "volumeMounts": []}], "volumes": [],
    });
    assert_eq!(missing_files(&pod), ["/etc/x/ca.crt"]);
}

// === the settings of the MCP endpoint ===

async fn start(settings: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mcp = linkerd_mcp_api::mcp::Options { config: Some(file.path().to_owned()), ..Default::default() };
    let config = linkerd_mcp_api::Config { listen: local, admin_listen: None, mcp, ..Default::default() };
    let api = linkerd_mcp_api::Api::bind(config, &mut Default::default()).await;
    api.map(|_| ()).map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

#[tokio::test]
async fn the_api_starts_with_the_settings_of_every_set_of_values() {
    let mut different = BTreeSet::new();
    for (name, objects) in manifests::installed().unwrap() {
        let map = objects
            .iter()
            .find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == "mcp-api-settings")
            .unwrap();
        let settings = text(&map["data"]["mcp.yaml"]);
        assert_eq!(start(settings).await, Ok(()), "{name}: {settings}");
        different.insert(settings.to_owned());
    }
    assert!(different.len() >= 3, "{different:?}");
    // The control.
    let wrong = start("tools: {get_pod: false}").await.unwrap_err();
    assert!(wrong.contains("is no tool"), "{wrong}");
}

// === the Job that labels the namespace ===

/// The flags of Linkerd's program `linkerd-extension-init`, in the version that values.yaml names.
#[derive(Debug, PartialEq, Eq, Parser)]
struct ExtensionInit {
    #[arg(long)]
    extension: String,
    #[arg(long, short)]
    namespace: String,
    #[arg(long)]
    linkerd_namespace: String,
    #[arg(long)]
    prometheus_url: Option<String>,
    #[arg(long)]
    log_level: Option<String>,
    #[arg(long)]
    log_format: Option<String>,
}

/// The requests that this program makes, with the rights of whoever `client` is: it looks whether Linkerd's CNI plugin
/// is used, and patches the Namespace.
async fn label(client: &Client, told: &ExtensionInit) -> Result<(), kube::Error> {
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.get(&told.namespace).await?;
    let configs = Api::<ConfigMap>::namespaced(client.clone(), &told.linkerd_namespace);
    let config = configs.get("linkerd-config").await?;
    let cni = config.data.unwrap()["values"].contains("cniEnabled: true");
    let level = if cni { "restricted" } else { "privileged" };
    // Such a Namespace always has a label: that of its name.
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "add", "path": "/metadata/labels/linkerd.io~1extension", "value": told.extension},
        {"op": "add", "path": "/metadata/labels/pod-security.kubernetes.io~1enforce", "value": level},
    ]))
    .unwrap();
    namespaces.patch(&told.namespace, &PatchParams::default(), &Patch::<()>::Json(patch)).await?;
    Ok(())
}

/// The namespaces that `linkerd-mcp uninstall` finds by our label.
fn found(kubeconfig: &Path) -> Vec<String> {
    let mut command = Command::new(program("linkerd-mcp").unwrap());
    command.env_clear().arg("--kubeconfig").arg(kubeconfig).args(["uninstall", "-o", "json"]);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let objects = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let namespaces = objects.filter(|object| object["kind"] == "Namespace");
    namespaces.map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

async fn as_the_job(kubernetes: &Kubernetes, account: &str) -> Client {
    let token = kubernetes.apiserver.service_account("linkerd-mcp", account, &[]).await.unwrap();
    kubernetes.apiserver.client_of(&token).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_is_told_what_its_program_takes_and_its_account_may_label_our_namespace_and_no_other() {
    let objects = manifests::namespace_metadata().unwrap();
    let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
    let pod = &job["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().unwrap().iter().map(text);
    let told =
        ExtensionInit::try_parse_from(["linkerd-extension-init"].into_iter().chain(arguments)).unwrap();
    let ours = ExtensionInit {
        extension: "mcp".to_owned(),
        namespace: "linkerd-mcp".to_owned(),
        linkerd_namespace: "linkerd".to_owned(),
        prometheus_url: None,
        log_level: None,
        log_format: None,
    };
    assert_eq!(told, ours);

    // As on a cluster: Linkerd, its Role for the programs of extensions, and namespaces that Helm has made.
    let kubernetes = kubernetes().await.unwrap();
    let admin = kubernetes.client().await.unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "ext-namespace-metadata-linkerd-config", "namespace": "linkerd"},
        "rules": [{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["linkerd-config"], "verbs": ["get"],
        }],
    });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "linkerd-config", "namespace": "linkerd"},
        "data": {"values": "clusterDomain: cluster.local\ncniEnabled: true\n"},
    });
    let made = ["linkerd", "linkerd-mcp", "other"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    mesh::apply(&admin, &manifests::yaml(made.iter().chain([&role, &config]).chain(&objects))).await.unwrap();
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), kubernetes.apiserver.kubeconfig()).unwrap();
    assert_eq!(found(kubeconfig.path()), Vec::<String>::new());

    let client = as_the_job(&kubernetes, text(&pod["serviceAccountName"])).await;
    let labelled =
        wait::until("the Job's account labels the namespace", Duration::from_secs(60), async || {
            // The authorizer hears of the Roles one after the other.
            label(&client, &told).await.ok()
        });
    labelled.await.unwrap();
    assert_eq!(found(kubeconfig.path()), ["linkerd-mcp"]);
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(admin);
    let labels = namespaces.get("linkerd-mcp").await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");

    let elsewhere = ExtensionInit { namespace: "other".to_owned(), ..told };
    let refused = label(&client, &elsewhere).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    // The control: an account without these Roles may not.
    let nobody = as_the_job(&kubernetes, "nobody").await;
    let refused = label(&nobody, &ours).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
}
