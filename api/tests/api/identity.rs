//! Who calls: what each listener believes, and above all what none of them does (performance rows R38 and R46).
//!
//! The pod's own address is played by 127.0.0.2, from which only a client that wants to calls; 127.0.0.3 is another pod.

use crate::rig::{Rig, config, within};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use linkerd_mcp_api::{
    Config,
    authorization::Authorization,
    caller::{Local, Mesh, Reviews},
    rights::{Rights, Verdict},
};
use linkerd_mcp_proto::v1::{GetMeshGraphRequest, mesh_context_client::MeshContextClient};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER_POD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub(crate) const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub(crate) const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";
const ADMIN: &str = "admin.kube-system.serviceaccount.identity.linkerd.cluster.local";

/// The token that the API server of these tests accepts, for the ServiceAccount that has the identity [`WEB`] too.
const TOKEN: &str = "good-token";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// An API server that knows one token.
fn api_server() -> kube::Client {
    let service = tower::service_fn(|request: Request<kube::client::Body>| async move {
        let asked = request.into_body().collect_bytes().await.unwrap();
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        let good = asked["spec"]["token"] == TOKEN && asked["spec"]["audiences"] == json!(["linkerd-mcp"]);
        let status = match good {
            true => json!({
                "authenticated": true,
                "audiences": ["linkerd-mcp"],
                "user": {"username": "system:serviceaccount:shop:web", "groups": ["system:serviceaccounts"]},
            }),
            false => json!({"authenticated": false, "error": "not known here"}),
        };
        let body = json!({"spec": {}, "status": status}).to_string().into_bytes();
        Ok::<_, Infallible>(Response::builder().status(201).body(kube::client::Body::from(body)).unwrap())
    });
    kube::Client::new(service, "default")
}

pub(crate) fn with_callers() -> Config {
    Config {
        local: Local::Token(Reviews { client: api_server(), audience: "linkerd-mcp".to_owned() }),
        mesh: Some(Mesh {
            ips: vec![POD.into()],
            port: 0,
            suffix: "linkerd.cluster.local".to_owned(),
            hosts: vec!["mcp-api".to_owned()],
            oauth: None,
        }),
        // Who may what is tested elsewhere: whoever is known may do everything here.
        authorization: Authorization::new(Rights::decided_by(|_, _| {
            Box::pin(std::future::ready(Verdict::Allowed))
        })),
        ..config()
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(from), 0).into()).unwrap();
    within(socket.connect(to)).await.unwrap()
}

/// Sends bytes as they are.
pub(crate) async fn send(from: Ipv4Addr, to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(from, to).await;
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Asks for the graph with these lines of headers.
pub(crate) async fn graph(from: Ipv4Addr, to: SocketAddr, headers: &[u8]) -> Answer {
    let mut request =
        format!("GET /v1/graph?view=edges HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n").into_bytes();
    request.extend_from_slice(headers);
    request.extend_from_slice(b"\r\n");
    send(from, to, &request).await
}

/// Posts a message to the MCP endpoint.
pub(crate) async fn post(from: Ipv4Addr, to: SocketAddr, headers: &str, message: &Value) -> Answer {
    let body = message.to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\naccept: \
         application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    send(from, to, request.as_bytes()).await
}

pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    format!("{name}: {value}\r\n").into_bytes()
}

/// Everything that somebody who is not the proxy may send to pass for somebody else.
fn forged() -> Vec<Vec<u8>> {
    let names = ["l5d-client-id", "L5D-Client-Id", "L5D-CLIENT-ID", "l5D-cLiEnT-iD"];
    let mut all: Vec<Vec<u8>> = names.iter().map(|name| header(name, ADMIN)).collect();
    let values = [
        "",
        " ",
        ".",
        "*",
        "admin",
        "system:masters",
        "system:serviceaccount:kube-system:admin",
        "Admin.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin.kube-system.serviceaccount.identity.linkerd.cluster.local.",
        ".admin.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin..kube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin.kube-system.serviceaccount.identity.linkerd.cluster.local, x",
        "x, admin.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin.kube-system.serviceaccount.identity.linkerd.cluster.local;x",
        "\"admin.kube-system.serviceaccount.identity.linkerd.cluster.local\"",
        "admin\u{e9}.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "\u{202e}admin.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "аdmin.kube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin%2ekube-system.serviceaccount.identity.linkerd.cluster.local",
        "admin\tkube-system.serviceaccount.identity.linkerd.cluster.local",
        "spiffe:///admin",
        "spiffe://cluster.local/../admin",
        "SPIFFE://cluster.local/admin",
        "http://cluster.local/admin",
    ];
    all.extend(values.iter().map(|value| header("l5d-client-id", value)));
    all.push(header("l5d-client-id", &format!("{}.x", "a".repeat(300))));
    all.push(b"l5d-client-id: admin\xff.kube-system\r\n".to_vec());
    all.push([header("l5d-client-id", WEB), header("l5d-client-id", ADMIN)].concat());
    all.push([header("l5d-client-id", ""), header("L5d-Client-Id", ADMIN)].concat());
    // Other names that proxies use, and none that we believe.
    for name in
        ["l5d_client_id", "x-l5d-client-id", "l5d-client-id2", "x-forwarded-client-cert", "x-remote-user"]
    {
        all.push(header(name, ADMIN));
    }
    all.push([header("x-remote-user", "admin"), header("x-remote-group", "system:masters")].concat());
    all.push([header("impersonate-user", "admin"), header("impersonate-group", "system:masters")].concat());
    all
}

#[tokio::test]
async fn r38_no_forged_header_gains_anything() {
    let rig = Rig::ready(with_callers()).await;
    let mesh = rig.mesh[0];
    // Control: the same header, from where the proxy calls, is believed.
    let proxied = graph(POD, mesh, &header("L5D-Client-ID", ADMIN)).await;
    assert_eq!(proxied.status, 200, "{proxied:?}");
    let (mut tried, mut gained) = (0, Vec::new());
    for headers in forged() {
        let proper = headers.to_ascii_lowercase() == header("l5d-client-id", ADMIN);
        for (from, to) in [(POD, mesh), (OTHER_POD, mesh), (LOOPBACK, mesh), (LOOPBACK, rig.address)] {
            if from == POD && proper {
                continue;
            }
            tried += 1;
            let answer = graph(from, to, &headers).await;
            // 400 is hyper's: bytes that no header may hold.
            if !matches!(answer.status, 400 | 401) {
                gained.push((from, to, String::from_utf8_lossy(&headers).into_owned(), answer.status));
            }
        }
    }
    assert!(tried >= 100, "only {tried} variants");
    assert_eq!(gained, []);
}

#[tokio::test]
async fn a_caller_is_told_what_to_do_in_its_own_protocol() {
    let rig = Rig::ready(with_callers()).await;
    let mesh = rig.mesh[0];
    let refused = graph(POD, mesh, b"").await;
    assert_eq!(refused.status, 401);
    let body: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["error"], "this call comes without a mesh identity");
    assert!(body["hint"].as_str().unwrap().contains("from a pod in the mesh"), "{body}");
    let refused = graph(LOOPBACK, rig.address, b"").await;
    assert!(refused.head.contains("www-authenticate: bearer realm=\"linkerd-mcp\""), "{}", refused.head);
    assert!(refused.body.contains("kubectl create token NAME --audience linkerd-mcp"), "{}", refused.body);
    // gRPC has its own way to say the same, and health answers anybody.
    let (from, to) = (OTHER_POD, mesh);
    let connector = tower::service_fn(move |_: http::Uri| async move {
        Ok::<_, Infallible>(TokioIo::new(connect(from, to).await))
    });
    let channel =
        within(Endpoint::from_static("http://any.name").connect_with_connector(connector)).await.unwrap();
    let status = MeshContextClient::new(channel.clone())
        .get_mesh_graph(GetMeshGraphRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().starts_with("this call comes from 127.0.0.3 and not through the proxy"),
        "{status}"
    );
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    let metrics = rig.get_with(rig.admin, "/metrics", &[]).await.text;
    for line in [
        "mcp_caller_refused_total{listener=\"mesh\",reason=\"no_identity\"} 1",
        "mcp_caller_refused_total{listener=\"mesh\",reason=\"not_through_proxy\"} 1",
        "mcp_caller_refused_total{listener=\"local\",reason=\"no_token\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "no `{line}` in\n{metrics}");
    }
}

#[tokio::test]
async fn a_good_token_opens_the_local_listener_and_nothing_else() {
    let rig = Rig::ready(with_callers()).await;
    let good = header("authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(graph(LOOPBACK, rig.address, &good).await.status, 200);
    for wrong in ["Bearer bad-token", "Basic Z29vZC10b2tlbg==", "good-token", ""] {
        let answer = graph(LOOPBACK, rig.address, &header("authorization", wrong)).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(!answer.body.contains("bad-token"), "a token is repeated: {}", answer.body);
    }
    assert_eq!(graph(POD, rig.mesh[0], &good).await.status, 401, "over the mesh no token counts");
}

#[tokio::test]
async fn pages_that_make_their_name_lead_here_are_refused() {
    let rig = Rig::ready(with_callers()).await;
    let mesh = rig.mesh[0];
    let ask = |host: &str, kind: &str| {
        let request = format!(
            "GET /v1/graph HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nl5d-client-id: {WEB}\r\n{kind}\r\n"
        );
        async move { send(POD, mesh, request.as_bytes()).await }
    };
    assert_eq!(ask("mcp-api:8086", "").await.status, 200);
    assert_eq!(ask("evil.example", "").await.status, 403);
    // Also where a page sends what looks like gRPC: over HTTP/1.1 it can.
    assert!(ask("evil.example", "content-type: application/grpc\r\n").await.head.contains("grpc-status: 7"));
}

pub(crate) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"},
    }})
}

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})
}

#[tokio::test]
async fn r46_a_session_belongs_to_whoever_opened_it() {
    let rig = Rig::ready(with_callers()).await;
    let mesh = rig.mesh[0];
    let of = |identity: &str| format!("l5d-client-id: {identity}\r\n");
    let opened = post(POD, mesh, &of(WEB), &initialize()).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let id = opened.head.lines().find_map(|it| it.strip_prefix("mcp-session-id: ")).unwrap().to_owned();
    let session = |id: &str| format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n");
    let own = post(POD, mesh, &(of(WEB) + &session(&id)), &ping()).await;
    assert_eq!(own.status, 200, "{own:?}");
    // The same ServiceAccount, known by its token on the other listener, is the same caller.
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(post(LOOPBACK, rig.address, &(token + &session(&id)), &ping()).await.status, 200);
    // To everybody else it does not exist, no more than one that never was.
    let (mut accepted, mut answers) = (0, Vec::new());
    let near = of("web.shop2.serviceaccount.identity.linkerd.cluster.local");
    let elsewhere = of("web.shop.serviceaccount.identity.linkerd.other.local");
    for who in [of(ADMIN), near, elsewhere, of("spiffe://cluster.local/web")] {
        for id in [&*id, "guessed", "00000000-0000-0000-0000-000000000000"] {
            for message in [ping(), json!({"jsonrpc": "2.0", "method": "notifications/initialized"})] {
                let answer = post(POD, mesh, &(who.clone() + &session(id)), &message).await;
                accepted += usize::from(answer.status != 404);
                answers.push(answer.body);
            }
            for method in ["GET", "DELETE"] {
                let request = format!(
                    "{method} /mcp HTTP/1.1\r\nhost: 127.0.0.2\r\nconnection: close\r\naccept: \
                     text/event-stream\r\nlast-event-id: 0\r\n{who}{}\r\n",
                    session(id)
                );
                let answer = send(POD, mesh, request.as_bytes()).await;
                accepted += usize::from(answer.status != 404);
            }
        }
    }
    assert_eq!(accepted, 0);
    answers.dedup();
    assert_eq!(answers.len(), 1, "an existing session is told from one that never was: {answers:?}");
    let own = post(POD, mesh, &(of(WEB) + &session(&id)), &ping()).await;
    assert_eq!(own.status, 200, "the session has gone: {own:?}");
}

#[tokio::test]
async fn whoever_uses_this_machine_is_one_caller_whatever_the_headers_say() {
    let rig = Rig::ready(config()).await;
    let opened = post(LOOPBACK, rig.address, &format!("l5d-client-id: {ADMIN}\r\n"), &initialize()).await;
    let id = opened.head.lines().find_map(|it| it.strip_prefix("mcp-session-id: ")).unwrap().to_owned();
    let session = format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n");
    assert_eq!(post(LOOPBACK, rig.address, &session, &ping()).await.status, 200);
    let other = format!("l5d-client-id: {WEB}\r\nauthorization: Bearer x\r\n{session}");
    assert_eq!(post(LOOPBACK, rig.address, &other, &ping()).await.status, 200);
}
