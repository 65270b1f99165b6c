//! A program of ours as its pod would run it, from the objects of the chart.

use crate::{
    apiserver::{self, ApiServer, Credential},
    ours,
    process::{self, Launch, Process},
};
use serde_json::Value;
use std::{io, path::Path};

/// Starts the container of a Deployment and waits until it is ready.
///
/// It has the arguments, the environment and the files of ConfigMaps that the chart gives it, but ports of its own, and
/// the token of its ServiceAccount. Port 0 of the process is for metrics and probes, port 1 of the API for everything
/// else.
///
/// # Errors
///
/// When it does not get ready.
///
/// # Panics
///
/// When the objects are not those of the chart.
pub async fn run(apiserver: &ApiServer, objects: &[Value], name: &str) -> Result<Process, process::Error> {
    let named = |it: &&Value| it["kind"] == "Deployment" && it["metadata"]["name"] == name;
    let deployment = objects.iter().find(named).expect("there is such a Deployment");
    let namespace = deployment["metadata"]["namespace"].as_str().expect("it has a namespace");
    let pod = &deployment["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().expect("it has an account");
    let token = apiserver.service_account(namespace, account, &[]).await.expect("the account gets a token");
    let container = &pod["containers"][0];
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let value = |variable: &Value| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        None => text(&variable["value"]),
        Some("metadata.namespace") => namespace.to_owned(),
        Some("metadata.uid") => format!("uid-of-{name}"),
        // An address that nothing else here calls from.
        Some("status.podIPs") => "127.0.0.2".to_owned(),
        // What the injector would have set.
        Some("metadata.labels['linkerd.io/control-plane-ns']") => "linkerd".to_owned(),
        Some(annotation) if annotation.starts_with("metadata.annotations['config.linkerd.io/") => {
            String::new()
        }
        Some(other) => panic!("{other} is not known here"),
    };
    let variables: Vec<String> =
        list(&container["env"]).iter().map(|it| format!("{}={}", text(&it["name"]), value(it))).collect();
    let arguments: Vec<String> = list(&container["args"]).iter().map(text).collect();
    let launch = Launch {
        program: "env",
        ports: 2,
        args: |dir: &Path, ports: &[u16]| {
            let kubeconfig = dir.join("kubeconfig");
            std::fs::write(&kubeconfig, apiserver.kubeconfig_of(&token))?;
            let mut all = vec!["-i".to_owned()];
            all.extend(variables.iter().cloned());
            all.push(format!("KUBECONFIG={}", kubeconfig.display()));
            all.push(format!("LINKERD_MCP_ADMIN_LISTEN=127.0.0.1:{}", ports[0]));
            if name == "mcp-api" {
                all.push(format!("LINKERD_MCP_LISTEN=127.0.0.1:{}", ports[1]));
                all.push("LINKERD_MCP_MESH_PORT=0".to_owned());
            }
            let program = ours::program(&format!("linkerd-{name}")).map_err(io::Error::other)?;
            all.push(program.display().to_string());
            let mounted = mount(dir, objects, pod)?;
            all.extend(arguments.iter().map(|argument| {
                mounted
                    .iter()
                    .fold(argument.clone(), |argument, (path, folder)| argument.replace(path, folder))
            }));
            Ok(all)
        },
    };
    let ready = async |process: &Process| {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/ready", process.port(0))).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    process::start(launch, ready).await
}

/// A token by which the API of this namespace knows the usual caller of the command `linkerd-mcp`.
///
/// # Errors
///
/// When there is no such namespace, or the API server gives none.
pub async fn viewer_token(apiserver: &ApiServer, namespace: &str) -> Result<String, apiserver::Error> {
    match apiserver.service_account(namespace, "mcp-viewer", &["linkerd-mcp"]).await? {
        Credential::Token(token) => Ok(token),
        Credential::Certificate(_) => Err(apiserver::Error::NoToken("mcp-viewer".to_owned())),
    }
}

/// Puts the ConfigMaps that a pod mounts into folders; gives where they would be, and where they are.
fn mount(dir: &Path, objects: &[Value], pod: &Value) -> io::Result<Vec<(String, String)>> {
    let mut mounted = Vec::new();
    for mount in list(&pod["containers"][0]["volumeMounts"]) {
        let volume = list(&pod["volumes"]).iter().find(|it| it["name"] == mount["name"]);
        let Some(name) = volume.and_then(|it| it["configMap"]["name"].as_str()) else { continue };
        let map = objects.iter().find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == name);
        let entries = map.and_then(|it| it["data"].as_object()).into_iter().flatten();
        let folder = dir.join(name);
        std::fs::create_dir(&folder)?;
        for (file, text) in entries {
            std::fs::write(folder.join(file), text.as_str().unwrap_or_default())?;
        }
        let path = mount["mountPath"].as_str().unwrap_or_default();
        mounted.push((path.to_owned(), folder.display().to_string()));
    }
    Ok(mounted)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
