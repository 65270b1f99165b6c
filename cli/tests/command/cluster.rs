//! The way through a cluster: kubeconfig, namespace, pod, port-forward. Kubernetes is played by a small server that
//! speaks HTTP/1 and the port-forward protocol over WebSocket.

use crate::{
    sample,
    support::{Api, run, serve},
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{Message, handshake::server},
};

const PORT: u16 = 8086;

/// What the played Kubernetes answers: for a path, a status and a body. `None` opens a port-forward.
pub(crate) type Answers = fn(&str) -> Option<(u16, Value)>;

/// Starts a Kubernetes that forwards ports to `api`, and returns a kubeconfig for it.
pub(crate) async fn kubernetes(name: &str, api: SocketAddr, answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, api, answers));
        }
    });
    kubeconfig(name, address)
}

pub(crate) fn kubeconfig(name: &str, server: SocketAddr) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "emojivoto"}}],
        "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&path, config.to_string()).expect("target/ can be written");
    path.to_str().expect("the path is text").to_owned()
}

/// One request on one connection.
async fn connection(mut stream: TcpStream, api: SocketAddr, answers: Answers) {
    let mut start = [0; 4096];
    let read = stream.peek(&mut start).await.unwrap_or_default();
    let start = String::from_utf8_lossy(&start[..read]).into_owned();
    let path = start.split_whitespace().nth(1).unwrap_or_default();
    let Some((status, body)) = answers(path) else { return forward(stream, api).await };
    let mut rest = [0; 4096];
    while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {
        // Requests here fit a segment.
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
    }
}

/// Plays the kubelet: channel 0 has the bytes, channel 1 the trouble; each starts with the port.
async fn forward(stream: TcpStream, api: SocketAddr) {
    #[expect(clippy::result_large_err, reason = "the type of the callback is the library's")]
    let choose = |_: &server::Request, mut response: server::Response| {
        response
            .headers_mut()
            .insert("sec-websocket-protocol", http::HeaderValue::from_static("v4.channel.k8s.io"));
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(stream, choose).await else { return };
    let (mut to_client, mut from_client) = socket.split();
    let [low, high] = PORT.to_le_bytes();
    for channel in [0, 1] {
        if to_client.send(Message::binary(vec![channel, low, high])).await.is_err() {
            return;
        }
    }
    let Ok(pod) = TcpStream::connect(api).await else {
        let trouble = b"\x01nothing listens on port 8086 of the pod".to_vec();
        let _ = to_client.send(Message::binary(trouble)).await;
        let _ = from_client.next().await;
        return;
    };
    let (mut from_pod, mut to_pod) = pod.into_split();
    tokio::spawn(async move {
        let mut bytes = [0; 8192];
        while let Ok(read @ 1..) = from_pod.read(&mut bytes).await {
            let message = [&[0], &bytes[..read]].concat();
            if to_client.send(Message::binary(message)).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = from_client.next().await {
        if let Message::Binary(bytes) = message
            && to_pod.write_all(&bytes[1..]).await.is_err()
        {
            return;
        }
    }
}

fn list(kind: &str, items: Value) -> (u16, Value) {
    (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
}

fn forbidden(message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Forbidden", "code": 403
    });
    (403, status)
}

fn mk_pod(phase: &str) -> Value {
    json!({"metadata": {"name": "mcp-api-1", "namespace": "mesh-tools"}, "status": {"phase": phase}})
}

fn namespaces() -> (u16, Value) {
    list("NamespaceList", json!([{"metadata": {"name": "mesh-tools"}}]))
}

/// A cluster with the extension in a namespace of its own name.
pub(crate) fn installed(path: &str) -> Option<(u16, Value)> {
    match path.split('?').next().unwrap_or_default() {
        "/api/v1/namespaces" if path.contains("linkerd.io%2Fextension%3Dmcp") => Some(namespaces()),
        "/api/v1/namespaces/mesh-tools/pods" if path.contains("component%3Dmcp-api") => {
            Some(list("PodList", json!([mk_pod("Running")])))
        }
        "/api/v1/namespaces/mesh-tools/pods/mcp-api-1/portforward" if path.contains("ports=8086") => None,
        "/api/v1/namespaces/mesh-tools/serviceaccounts/mcp-viewer/token" => Some(token("viewers")),
        "/api/v1/namespaces/shop/serviceaccounts/deployer/token" => Some(token("deployers")),
        _ => Some((404, json!({"kind": "Status", "message": format!("no {path}"), "code": 404}))),
    }
}

/// A token that says whose it is.
pub(crate) fn token(name: &str) -> (u16, Value) {
    let status = json!({"token": format!("token-of-{name}"), "expirationTimestamp": "2126-01-01T00:00:00Z"});
    (
        201,
        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {"audiences": []}, "status": status}),
    )
}

async fn graph(kubeconfig: &str, args: &[&str]) -> (i32, String, String) {
    run(&[&["graph", "--kubeconfig", kubeconfig], args].concat()).await
}

#[tokio::test]
async fn the_extension_is_found_by_its_label_and_asked_through_a_port_forward_about_the_contexts_namespace() {
    let api = serve(Api::default()).await;
    let kubeconfig = kubernetes("installed", api, installed).await;
    let (code, stdout, stderr) = graph(&kubeconfig, &[]).await;
    assert_eq!(code, 0, "{stderr}");
    let edges = sample::graph().edges;
    let expected = edges.iter().filter(|edge| edge.dst_namespace == "emojivoto").count();
    assert_eq!(stdout.lines().count(), expected + 1, "{stdout}");
    let (code, stdout, _) = graph(&kubeconfig, &["-A", "-o", "json"]).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/graph.json")));
}

#[tokio::test]
async fn the_api_gets_a_token_of_the_usual_service_account_or_of_the_one_that_is_named() {
    let api = Api::default();
    let seen = api.authorization.clone();
    let address = serve(api).await;
    let kubeconfig = kubernetes("tokens", address, installed).await;
    let asked = async |args: &[&str]| {
        let (code, _, stderr) = graph(&kubeconfig, args).await;
        (code, seen.lock().take(), stderr)
    };
    let (code, token, stderr) = asked(&[]).await;
    assert_eq!((code, token.as_deref()), (0, Some("Bearer token-of-viewers")), "{stderr}");
    let (code, token, _) = asked(&["--as-service-account", "shop/deployer"]).await;
    assert_eq!((code, token.as_deref()), (0, Some("Bearer token-of-deployers")));
    let direct = format!("--api-addr={address}");
    let (code, token, _) = asked(&[&direct, "--as-service-account", "shop/deployer"]).await;
    assert_eq!((code, token.as_deref()), (0, Some("Bearer token-of-deployers")));
    // Who is asked at an address and knows nobody needs no token.
    let (code, token, _) = asked(&[&direct]).await;
    assert_eq!((code, token), (0, None));
    let (code, token, stderr) = asked(&["--as-service-account", "shop/nobody"]).await;
    assert_eq!((code, token), (1, None));
    assert!(
        stderr.starts_with(
            "error: you get no token of ServiceAccount shop/nobody, as which the API would know you: no /api"
        ),
        "{stderr}"
    );
    let (code, _, stderr) = asked(&["--as-service-account", "deployer"]).await;
    assert_eq!(code, 2, "{stderr}");
}

#[tokio::test]
async fn a_port_that_is_not_open_in_the_pod_is_said_as_the_kubelet_says_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = listener.local_addr().expect("bound");
    drop(listener);
    let kubeconfig = kubernetes("closed-port", nobody, installed).await;
    let (code, stdout, stderr) = graph(&kubeconfig, &[]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("pod mesh-tools/mcp-api-1"), "{stderr}");
    assert!(stderr.contains("nothing listens on port 8086 of the pod"), "{stderr}");
}

#[tokio::test]
async fn each_step_that_fails_says_what_it_was_and_what_to_do() {
    let api = serve(Api::default()).await;
    let cases: [(&str, Answers, &str, &str); 5] = [
        (
            "not-installed",
            |_| Some(list("NamespaceList", json!([]))),
            "error: the linkerd-mcp extension is not installed in the cluster at http://127.0.0.1:",
            "hint: install the extension",
        ),
        (
            "no-pods-allowed",
            |path| match path.contains("/pods") {
                true => Some(forbidden("pods is forbidden: User \"u\" cannot list resource")),
                false => Some(namespaces()),
            },
            "error: you may not list pods in namespace mesh-tools: pods is forbidden: User \"u\"",
            "hint: ask for get and list on pods",
        ),
        (
            "pending",
            |path| match path.contains("/pods") {
                true => Some(list("PodList", json!([mk_pod("Pending")]))),
                false => Some(namespaces()),
            },
            "error: no linkerd-mcp API pod in namespace mesh-tools is running: mcp-api-1 is Pending",
            "hint: see the pods with label component=mcp-api",
        ),
        (
            "no-forward-allowed",
            |path| match path.contains("/portforward") {
                true => Some(forbidden(
                    "pods \"mcp-api-1\" is forbidden: cannot create resource pods/portforward",
                )),
                false => installed(path),
            },
            "error: you may not forward a port to pod mesh-tools/mcp-api-1: ",
            "hint: ask for get and list on pods and create on pods/portforward",
        ),
        (
            "no-token-allowed",
            |path| match path.contains("/token") {
                true => {
                    Some(forbidden("serviceaccounts \"mcp-viewer\" is forbidden: cannot create resource"))
                }
                false => installed(path),
            },
            "error: you get no token of ServiceAccount mesh-tools/mcp-viewer, as which the API would know you: \
             serviceaccounts \"mcp-viewer\" is forbidden",
            "hint: ask for create on serviceaccounts/token",
        ),
    ];
    for (name, answers, error, hint) in cases {
        let kubeconfig = kubernetes(name, api, answers).await;
        let (code, stdout, stderr) = graph(&kubeconfig, &[]).await;
        assert_eq!((code, stdout.as_str()), (1, ""), "{name}");
        assert!(stderr.starts_with(error) && stderr.contains(hint), "{name}: {stderr}");
    }
}

#[tokio::test]
async fn who_may_not_list_namespaces_gets_the_usual_one_and_a_named_one_is_not_looked_for() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let api = serve(Api::default()).await;
    let kubeconfig = kubernetes("no-namespaces", api, |path| match path.split('?').next() {
        Some("/api/v1/namespaces") => {
            ASKED.fetch_add(1, Ordering::SeqCst);
            Some(forbidden("namespaces is forbidden"))
        }
        _ => Some(list("PodList", json!([]))),
    })
    .await;
    let (_, _, stderr) = graph(&kubeconfig, &[]).await;
    assert!(
        stderr.starts_with("error: there is no linkerd-mcp API pod in namespace linkerd-mcp\n"),
        "{stderr}"
    );
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    let (_, _, stderr) = graph(&kubeconfig, &["--mcp-namespace", "mine"]).await;
    assert!(stderr.starts_with("error: there is no linkerd-mcp API pod in namespace mine\n"), "{stderr}");
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let (code, _, stderr) = graph("/nonexistent/config", &[]).await;
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: the kubeconfig /nonexistent/config cannot be used\n"), "{stderr}");
    assert!(stderr.contains("hint: choose another"), "{stderr}");
}

#[tokio::test]
async fn an_unreachable_cluster_that_was_named_is_an_error_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (code, _, stderr) = graph(&kubeconfig("unreachable", address), &[]).await;
    assert_eq!(code, 1);
    let expected = format!("error: the Kubernetes API at http://{address}/ cannot be reached\n");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(stderr.contains("Connection refused"), "{stderr}");
}
