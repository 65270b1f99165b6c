//! What operators switch on and off in the MCP endpoint, in a file that changes while the API runs.

use crate::{
    client::Mcp,
    fixture,
    rig::{Rig, config, within},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use linkerd_mcp_api::{Api, Config, mcp::Options};
use linkerd_mcp_graph::feed::Event;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

const REVISION: &str = "2026-07-28";

/// One request of the stateless revision; the answer's status and body.
async fn ask(rig: &Rig, origin: Option<&str>, method: &str, name: Option<&str>) -> (u16, Value) {
    let mut params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let mut request = http::Request::post(format!("http://{}/mcp", rig.address))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", REVISION)
        .header("mcp-method", method);
    if let Some(name) = name {
        params["name"] = name.into();
        params["arguments"] = json!({});
        request = request.header("mcp-name", name);
    }
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = within(client.request(request.body(Full::new(Bytes::from(body))).unwrap())).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn listed(rig: &Rig) -> Vec<String> {
    let (status, answer) = ask(rig, None, "tools/list", None).await;
    assert_eq!(status, 200, "{answer}");
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn call(rig: &Rig, tool: &str) -> Value {
    ask(rig, None, "tools/call", Some(tool)).await.1
}

/// At once, as Kubernetes does it: half a file is never there.
fn write(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

fn set_up(file: &Path) -> Config {
    let mcp = Options {
        config: Some(file.to_owned()),
        look_every: Duration::from_millis(10),
        ..Options::default()
    };
    Config { mcp, ..config() }
}

/// Asks until what is listed is as wanted.
async fn until_listed(rig: &Rig, wanted: impl Fn(&[String]) -> bool) {
    within(async {
        while !wanted(&listed(rig).await) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_switched_off_is_neither_listed_nor_callable_until_it_is_on_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.yaml");
    write(&file, "{}");
    let rig = Rig::ready(set_up(&file)).await;
    let all = listed(&rig).await;
    assert!(["find_edges", "check_access"].iter().all(|it| all.iter().any(|listed| listed == it)), "{all:?}");
    assert_eq!(
        call(&rig, "find_edges").await["result"]["isError"],
        json!(false),
        "control: it can be called"
    );

    write(&file, "toolsets: {policy: off}\ntools: {find_edges: off}");
    until_listed(&rig, |listed| !listed.iter().any(|it| it == "find_edges")).await;
    let fewer = listed(&rig).await;
    assert!(!fewer.iter().any(|it| it == "check_access" || it == "find_edges"), "{fewer:?}");
    for tool in ["find_edges", "check_access"] {
        let error = call(&rig, tool).await["error"].clone();
        assert_eq!(error["code"], -32602, "{error}");
        let message = error["message"].as_str().unwrap();
        assert_eq!(
            message,
            format!("there is no tool {tool}: it is switched off by the operator of this server")
        );
    }
    assert_eq!(call(&rig, "get_mesh_overview").await["result"]["isError"], json!(false), "the rest goes on");
    let unknown = call(&rig, "find_nothing").await["error"]["message"].to_string();
    assert!(unknown.contains("get_mesh_overview") && !unknown.contains("find_edges"), "{unknown}");

    write(&file, "# all");
    until_listed(&rig, |listed| listed == all).await;
    assert_eq!(call(&rig, "find_edges").await["result"]["isError"], json!(false));
}

#[tokio::test]
async fn who_listens_is_told_when_tools_are_switched_and_nobody_where_they_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.yaml");
    write(&file, "{}");
    let rig = Rig::ready(set_up(&file)).await;
    let stateless = Mcp::stateless(rig.address);
    let info = stateless.result("server/discover", json!({})).await;
    assert_eq!(info["capabilities"]["tools"], json!({"listChanged": true}));
    let wanted = json!({"toolsListChanged": true});
    let (mut listening, accepted) = stateless.listen(wanted.clone()).await;
    assert_eq!(accepted, wanted);
    let session = Mcp::session(rig.address).await;
    let mut heard = session.stream().await;

    // What switches nothing is no news.
    write(&file, "callsPerSecond: 99");
    write(&file, "tools: {find_edges: off}");
    for stream in [&mut listening, &mut heard] {
        assert_eq!(stream.next().await["method"], "notifications/tools/list_changed");
    }
    assert!(!listed(&rig).await.iter().any(|it| it == "find_edges"), "whoever asks then gets the new list");
    write(&file, "{}");
    for stream in [&mut listening, &mut heard] {
        assert_eq!(stream.next().await["method"], "notifications/tools/list_changed");
    }

    // Without a file there is nothing that could switch tools.
    let fixed = Rig::ready(config()).await;
    let stateless = Mcp::stateless(fixed.address);
    let info = stateless.result("server/discover", json!({})).await;
    assert_eq!(info["capabilities"]["tools"], json!({}));
    assert_eq!(stateless.listen(wanted).await.1, json!({}));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.yaml");
    write(&file, "tools: {find_edges: off}\nallowedOrigins: [https://one.example]");
    let rig = Rig::ready(set_up(&file)).await;
    let before = listed(&rig).await;
    assert!(!before.iter().any(|it| it == "find_edges"));

    write(&file, "tools: {find_edge: off}");
    let metrics = async || rig.get_with(rig.admin, "/metrics", &[]).await.text;
    within(async {
        while !metrics().await.contains("mcp_settings_reloads_total{result=\"failed\"} 1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(metrics().await.contains("mcp_settings_last_reload_failed 1"));
    assert_eq!(listed(&rig).await, before);
    let origin = async |origin| ask(&rig, Some(origin), "tools/list", None).await.0;
    assert_eq!((origin("https://one.example").await, origin("https://two.example").await), (200, 403));

    write(&file, "tools: {find_edges: on}\nallowedOrigins: [https://two.example]");
    until_listed(&rig, |listed| listed.iter().any(|it| it == "find_edges")).await;
    assert!(metrics().await.contains("mcp_settings_last_reload_failed 0"));
    assert_eq!((origin("https://one.example").await, origin("https://two.example").await), (403, 200));
}

#[tokio::test]
async fn nothing_starts_with_settings_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.yaml");
    let start = async || match Api::bind(set_up(&file), &mut Registry::default()).await {
        Ok(_) => "started".to_owned(),
        Err(error) => format!("{:#}", anyhow::Error::new(error)),
    };
    let missing = start().await;
    assert!(missing.contains("cannot be read from") && missing.contains("No such file"), "{missing}");
    write(&file, "toolsets: {kube: off}");
    let wrong = start().await;
    assert!(wrong.contains("unknown field `kube`, expected one of `mesh`"), "{wrong}");
    write(&file, "toolsets: {kubernetes: off}");
    assert_eq!(start().await, "started");
}

#[tokio::test]
async fn what_cannot_work_here_is_not_listed_and_says_what_is_missing() {
    let rig = Rig::ready(config()).await;
    let listed = listed(&rig).await;
    for (tool, missing) in [("query_prometheus", "--prometheus-url"), ("get_pods", "mcp.kubernetesReads")] {
        assert!(!listed.iter().any(|it| it == tool), "{listed:?}");
        let error = call(&rig, tool).await["error"].clone();
        assert_eq!(error["code"], -32602);
        assert!(error["message"].as_str().unwrap().contains(missing), "{error}");
    }
}

#[tokio::test]
async fn readiness_says_how_many_tools_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.yaml");
    write(&file, "tools: {find_edges: off}");
    let rig = Rig::waiting(set_up(&file)).await;
    let count = async || rig.get_with(rig.admin, "/ready", &[]).await.json()["tools"].clone();
    let while_waiting = count().await;
    rig.send(Event::Snapshot(fixture::snapshot())).await;
    let fewer = listed(&rig).await.len();
    assert_eq!((while_waiting, count().await), (json!(fewer), json!(fewer)));
    write(&file, "{}");
    until_listed(&rig, |listed| listed.len() == fewer + 1).await;
    assert_eq!(count().await, json!(fewer + 1));
}
