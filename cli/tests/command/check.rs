//! `check` as `linkerd check` runs it, where there is no cluster to look at.

use crate::{
    cluster::{kubernetes, token},
    support::{Api, run, serve},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// Word for word what `linkerd check` runs.
const FORWARDED: [&str; 7] = [
    "check",
    "--as-group=[]",
    "--linkerd-namespace=linkerd",
    "--proxy=false",
    "--verbose=false",
    "--wait=5m0s",
    "--output=json",
];

#[tokio::test]
async fn without_a_cluster_there_is_one_json_object_and_exit_code_1() {
    let (code, stdout, stderr) = run(&FORWARDED).await;
    let report: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((code, stderr.as_str()), (1, ""));
    let expected = serde_json::json!({
        "success": false,
        "categories": [{
            "categoryName": "linkerd-mcp",
            "checks": [{
                "description": "can query the Kubernetes API",
                "hint": "https://github.com/linkerd-mcp/linkerd-mcp/blob/main/docs/checks.md#mcp-kubernetes-api",
                "error": "there is no kubeconfig",
                "result": "error",
            }],
        }],
    });
    assert_eq!(report, expected);
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_a_failed_check_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let unreachable = crate::cluster::kubeconfig("check-unreachable", address);
    for (kubeconfig, error) in [
        (unreachable.as_str(), format!("the Kubernetes API at http://{address}/ cannot be reached")),
        ("/nonexistent/config", "the kubeconfig /nonexistent/config cannot be used".to_owned()),
    ] {
        for format in ["table", "short"] {
            let (code, stdout, _) = run(&["check", "--kubeconfig", kubeconfig, "-o", format]).await;
            assert_eq!(code, 1);
            let start = format!("linkerd-mcp\n-----------\n\u{d7} can query the Kubernetes API\n    {error}");
            assert!(stdout.starts_with(&start), "{stdout}");
            assert!(stdout.ends_with("\n\nStatus check results are \u{d7}\n"), "{stdout}");
        }
        let flag = format!("--kubeconfig={kubeconfig}");
        let args = [&FORWARDED[..], &[&flag, "--of-a-newer-linkerd=x"]].concat();
        let (code, stdout, _) = run(&args).await;
        let report: Value = serde_json::from_str(&stdout).expect("one JSON object");
        assert_eq!((code, &report["success"]), (1, &Value::Bool(false)));
    }
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_prints_nothing_to_stdout() {
    for args in [&["check", "--wait=soon"][..], &["check", "-o", "xml"]] {
        let (code, stdout, stderr) = run(args).await;
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.starts_with("error: invalid value"), "{stderr}");
    }
}

/// A cluster with a pod of the API that is not ready, to which ports are forwarded, and nothing else of ours.
fn installed(path: &str) -> Option<(u16, Value)> {
    let list = |items: Value| Some((200, json!({"metadata": {"resourceVersion": "1"}, "items": items})));
    let pod = json!({
        "metadata": {"name": "mcp-api-1", "namespace": "mesh-tools"},
        "spec": {"containers": [{"name": "mcp-api"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "mcp-api", "ready": false, "image": "", "imageID": "", "restartCount": 0},
        ]},
    });
    match path.split('?').next().unwrap_or_default() {
        "/version" => {
            let said = ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
            let mut version = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1"});
            said.iter().for_each(|name| version[*name] = json!("x"));
            Some((200, version))
        }
        "/api/v1/namespaces" => list(json!([{"metadata": {"name": "mesh-tools"}}])),
        "/api/v1/namespaces/mesh-tools/pods" => list(json!([pod])),
        "/api/v1/namespaces/mesh-tools/pods/mcp-api-1/portforward" if path.contains("ports=8086") => None,
        "/api/v1/namespaces/mesh-tools/serviceaccounts/mcp-viewer/token" => Some(token("viewers")),
        _ => Some((403, json!({"kind": "Status", "message": format!("{path} is forbidden"), "code": 403}))),
    }
}

#[tokio::test]
async fn the_api_is_asked_through_a_forwarded_port_and_what_one_may_not_see_is_a_warning() {
    let api = serve(Api::default()).await;
    let kubeconfig = kubernetes("check-installed", api, installed).await;
    let (code, stdout, _) = run(&["check", "--kubeconfig", &kubeconfig, "-o", "json", "--wait=0s"]).await;
    let report: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(code, 1, "{stdout}");
    let checks = report["categories"][0]["checks"].as_array().expect("checks");
    let of = |description: &str| {
        let check = checks.iter().find(|it| it["description"] == description);
        check.unwrap_or_else(|| panic!("no {description:?} in {stdout}"))
    };
    assert_eq!(of("linkerd-mcp API answers")["result"], "success", "{stdout}");
    let running = of("linkerd-mcp pods are running");
    assert_eq!(running["error"], "mesh-tools/mcp-api-1 is not ready: mcp-api");
    let config = of("Linkerd control plane exists");
    assert_eq!(config["result"], "warning", "{stdout}");
}

#[tokio::test]
async fn what_may_still_be_starting_is_looked_at_again() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let api = serve(Api::default()).await;
    let kubeconfig = kubernetes("check-starting", api, |path| {
        let mut answer = installed(path);
        if path.starts_with("/api/v1/namespaces/mesh-tools/pods?")
            && path.contains("extension")
            && LOOKS.fetch_add(1, Ordering::SeqCst) > 0
            && let Some((_, list)) = &mut answer
        {
            list["items"][0]["status"]["containerStatuses"][0]["ready"] = json!(true);
        }
        answer
    })
    .await;
    let running = |stdout: &str| {
        let report: Value = serde_json::from_str(stdout).expect("one JSON object");
        let checks = report["categories"][0]["checks"].as_array().expect("checks").clone();
        let check = checks.into_iter().find(|it| it["description"] == "linkerd-mcp pods are running");
        check.expect("the check of pods")["result"].clone()
    };
    let args = ["check", "--kubeconfig", &kubeconfig, "-o", "json"];
    let (_, stdout, _) = run(&[&args[..], &["--wait=7s"]].concat()).await;
    assert_eq!((running(&stdout), LOOKS.load(Ordering::SeqCst)), (json!("success"), 2), "{stdout}");
    LOOKS.store(0, Ordering::SeqCst);
    let (_, stdout, _) = run(&[&args[..], &["--wait=0s"]].concat()).await;
    assert_eq!((running(&stdout), LOOKS.load(Ordering::SeqCst)), (json!("error"), 1), "{stdout}");
}
