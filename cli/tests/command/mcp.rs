//! `mcp`: lines of JSON in and out of a real process, against `demo` and against an API that does what a test needs.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use crate::{
    cluster::{installed, kubernetes},
    support::{DEADLINE, command},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

const MODERN: &str = "2026-07-28";

// === the process under test ===

struct Relay {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Relay {
    fn start(args: &[&str]) -> Self {
        let mut child = command(&[&["mcp"], args].concat()).stdin(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { stdin: child.stdin.take(), child, lines }
    }

    async fn write(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// The next line, which is JSON whatever happens.
    async fn read(&mut self) -> Value {
        let line = timeout(DEADLINE, self.lines.next_line()).await.expect("it answers").expect("text");
        let line = line.expect("it goes on");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// A request of the era with sessions, and its answer.
    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.write(&request(id, method, params).to_string()).await;
        let answer = self.read().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn initialize(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let answer = self.ask(0, "initialize", params).await;
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).await;
        answer
    }

    /// Closes stdin; gives what else was said and the exit code.
    async fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        while let Some(line) =
            timeout(DEADLINE, self.lines.next_line()).await.expect("it ends").expect("text")
        {
            rest.push(line);
        }
        let status = timeout(DEADLINE, self.child.wait()).await.expect("it ends").expect("it ran");
        (rest, status.code())
    }
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A request that stands for itself.
fn modern(id: u64, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    request(id, method, params).to_string()
}

fn error(answer: &Value) -> (i64, &str) {
    let error = &answer["error"];
    (error["code"].as_i64().unwrap_or_default(), error["message"].as_str().unwrap_or_default())
}

// === an API of the test's own ===

/// What it has been sent, and how often each thing happened.
#[derive(Default)]
struct Played {
    sessions: AtomicUsize,
    /// Requests that came and are never answered.
    waiting: AtomicUsize,
    /// Requests that were given up by the client.
    gone: AtomicUsize,
    cancelled: AtomicUsize,
    subscribed: AtomicUsize,
}

type Body = BoxBody<Bytes, Infallible>;

/// Adds one when an answer that never comes is not waited for any more.
struct Gone(Arc<Played>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

impl Played {
    async fn serve(self: Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let played = self.clone();
                let service = hyper::service::service_fn(move |request| {
                    let played = played.clone();
                    async move { Ok::<_, Infallible>(played.answer(request).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    /// The session that is known now: none but the last.
    fn session(&self) -> String {
        format!("s-{}", self.sessions.load(Ordering::SeqCst))
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let known = head.headers.get("mcp-session-id").is_none_or(|it| it == self.session().as_str());
        if !known {
            let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -31000, "message": "none"}});
            return document(StatusCode::NOT_FOUND, &error);
        }
        match head.method {
            Method::GET => {
                return events(&[json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})]);
            }
            Method::DELETE => return document(StatusCode::OK, &json!({})),
            _ => {}
        }
        let body = body.collect().await.unwrap().to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap();
        let id = message["id"].clone();
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                self.sessions.fetch_add(1, Ordering::SeqCst);
                let mut response = document(
                    StatusCode::OK,
                    &result(json!({"protocolVersion": "2025-11-25", "capabilities": {}})),
                );
                response.headers_mut().insert("mcp-session-id", self.session().parse().unwrap());
                response
            }
            "notifications/cancelled" => {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                accepted()
            }
            method if method.starts_with("notifications/") => accepted(),
            "resources/subscribe" => {
                self.subscribed.fetch_add(1, Ordering::SeqCst);
                document(StatusCode::OK, &result(json!({})))
            }
            "never" => {
                let _gone = Gone(self.clone());
                self.waiting.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            "streamed" => {
                let params = json!({"progressToken": 1, "progress": 1});
                let progress =
                    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
                events(&[progress, result(json!({"done": true}))])
            }
            "broken" => {
                let mut response = events(&[]);
                *response.body_mut() = Full::new(Bytes::from_static(b": nothing\n\n")).boxed();
                response
            }
            "prose" => {
                let mut response = accepted();
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                *response.body_mut() = Full::new(Bytes::from_static(b"bad\ngateway")).boxed();
                response
            }
            "spread" => {
                let mut response = document(StatusCode::OK, &json!({}));
                let text = format!("{{\n\"jsonrpc\": \"2.0\",\n\"id\": {id},\n\"result\": {{}}}}\n");
                *response.body_mut() = Full::new(Bytes::from(text)).boxed();
                response
            }
            _ => document(StatusCode::OK, &result(headers(&head.headers))),
        }
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let text = |it: &http::HeaderValue| it.to_str().unwrap_or_default().to_owned();
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("mcp-") || *name == "authorization")
        .map(|(name, it)| (name.as_str(), text(it)))
        .collect()
}

fn document(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = accepted();
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *response.body_mut() = Full::new(Bytes::from(value.to_string())).boxed();
    response
}

/// A stream that stays open after these.
fn events(messages: &[Value]) -> Response<Body> {
    let frames: Vec<_> =
        messages.iter().map(|it| Ok(Frame::data(Bytes::from(format!("data: {it}\n\n"))))).collect();
    let mut response = accepted();
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    let frames = stream::iter(frames).chain(stream::pending());
    *response.body_mut() = BodyExt::boxed(StreamBody::new(frames));
    response
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn played() -> (Arc<Played>, Relay) {
    let api = Arc::new(Played::default());
    let address = api.clone().serve().await;
    (api, Relay::start(&["--api-addr", &address.to_string()]))
}

// === against the simulated mesh ===

#[tokio::test]
async fn both_eras_are_answered_by_the_demo_in_the_same_process() {
    let mut relay = Relay::start(&["--demo"]);
    relay.write(&modern(1, "server/discover", json!({}))).await;
    let discovered = relay.read().await;
    assert!(discovered["result"]["supportedVersions"].as_array().unwrap().contains(&MODERN.into()));
    relay.write(&modern(2, "tools/call", json!({"name": "get_mesh_overview", "arguments": {}}))).await;
    assert!(relay.read().await["result"]["structuredContent"]["freshness"].is_object());
    let opened = relay.initialize().await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-11-25");
    let listed = relay.ask(3, "tools/list", json!({})).await;
    assert!(listed["result"]["tools"].as_array().unwrap().len() >= 3);
    let unknown = relay.ask(4, "tools/call", json!({"name": "no_such_tool"})).await;
    assert_eq!(error(&unknown).0, -32_602);
    assert_eq!(relay.end().await, (vec![], Some(0)));
}

#[tokio::test]
async fn questions_of_a_script_that_closes_at_once_are_answered() {
    let mut relay = Relay::start(&["--demo"]);
    for id in 0..20 {
        relay.write(&modern(id, "tools/call", json!({"name": "find_edges", "arguments": {}}))).await;
    }
    let (lines, code) = relay.end().await;
    let mut ids: Vec<u64> = lines
        .iter()
        .map(|it| serde_json::from_str::<Value>(it).expect("JSON")["id"].as_u64().expect("an id of ours"))
        .collect();
    ids.sort_unstable();
    assert_eq!((ids, code), ((0..20).collect(), Some(0)));
}

#[tokio::test]
async fn an_api_that_restarts_is_found_again_and_the_session_goes_on() {
    let (mut first, address) = demo("127.0.0.1:0").await;
    let mut relay = Relay::start(&["--api-addr", &address]);
    relay.initialize().await;
    assert!(relay.ask(1, "tools/list", json!({})).await["result"]["tools"].is_array());
    first.kill().await.unwrap();
    let refused = relay.ask(2, "tools/list", json!({})).await;
    assert_eq!(error(&refused).0, -31_001, "{refused}");
    let (_second, _) = demo(&address).await;
    let listed = relay.ask(3, "tools/list", json!({})).await;
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    assert_eq!(relay.end().await.1, Some(0));
}

async fn demo(listen: &str) -> (Child, String) {
    let mut demo = command(&["demo", "--no-follow", "--listen", listen]).spawn().unwrap();
    let mut said = BufReader::new(demo.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(DEADLINE, said.next_line()).await.expect("it says where it serves").unwrap();
        let line = line.expect("it goes on");
        if let Some(rest) = line.strip_prefix("Serving a simulated mesh on ") {
            let address = rest.split(';').next().unwrap_or_default().to_owned();
            return (demo, address);
        }
    }
}

#[tokio::test]
async fn the_api_in_a_cluster_is_reached_through_a_forwarded_port() {
    let (_demo, address) = demo("127.0.0.1:0").await;
    let config = kubernetes("mcp", address.parse().unwrap(), installed).await;
    let mut relay = Relay::start(&["--kubeconfig", &config]);
    relay.initialize().await;
    let called = relay.ask(1, "tools/call", json!({"name": "get_mesh_overview"})).await;
    assert_eq!(called["result"]["isError"], false, "{called}");
    assert_eq!(relay.end().await.1, Some(0));
}

// === against an API of the test's own ===

#[tokio::test]
async fn headers_say_what_the_body_says() {
    let (_api, mut relay) = played().await;
    relay.write(&modern(1, "tools/call", json!({"name": "find_edges"}))).await;
    let expected = json!({
        "mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "find_edges",
    });
    assert_eq!(relay.read().await["result"], expected);
    relay.write(&modern(2, "resources/read", json!({"uri": "mesh://häuser"}))).await;
    assert_eq!(relay.read().await["result"]["mcp-name"], "=?base64?bWVzaDovL2jDpHVzZXI=?=");
    relay.initialize().await;
    // The stream of notifications is passed on beside.
    assert_eq!(relay.read().await["method"], "notifications/tools/list_changed");
    let expected = json!({"mcp-protocol-version": "2025-11-25", "mcp-session-id": "s-1"});
    assert_eq!(relay.ask(3, "tools/list", json!({})).await["result"], expected);
}

#[tokio::test]
async fn every_request_brings_the_token_of_the_service_account_that_is_named() {
    let api = Arc::new(Played::default());
    let address = api.clone().serve().await;
    let config = kubernetes("mcp-tokens", address, installed).await;
    let mut relay = Relay::start(&["--kubeconfig", &config, "--as-service-account", "shop/deployer"]);
    for id in [1, 2] {
        relay.write(&modern(id, "tools/list", json!({}))).await;
        assert_eq!(relay.read().await["result"]["authorization"], "Bearer token-of-deployers");
    }
    let mut relay = Relay::start(&["--kubeconfig", &config, "--as-service-account", "shop/nobody"]);
    relay.write(&modern(1, "tools/list", json!({}))).await;
    let answer = relay.read().await;
    let (code, said) = error(&answer);
    assert_eq!(code, -31_001);
    assert!(said.contains("you get no token of ServiceAccount shop/nobody"), "{said}");
    assert!(said.contains("Hint: ask for create on serviceaccounts/token"), "{said}");
}

#[tokio::test]
async fn streams_and_documents_of_many_lines_come_as_lines() {
    let (_api, mut relay) = played().await;
    relay.write(&modern(1, "streamed", json!({}))).await;
    assert_eq!(relay.read().await["method"], "notifications/progress");
    assert_eq!(relay.read().await, json!({"jsonrpc": "2.0", "id": 1, "result": {"done": true}}));
    relay.write(&modern(2, "spread", json!({}))).await;
    assert_eq!(relay.read().await["id"], 2);
}

#[tokio::test]
async fn what_is_no_answer_of_mcp_becomes_an_error_with_the_id_of_the_request() {
    let (_api, mut relay) = played().await;
    relay.write(&modern(1, "prose", json!({}))).await;
    let answer = relay.read().await;
    assert_eq!(
        (&answer["id"], error(&answer)),
        (&json!(1), (-31_001, "the API answered 502 Bad Gateway: bad gateway"))
    );
    relay.write(&modern(2, "broken", json!({}))).await;
    let answer = relay.read().await;
    assert_eq!((&answer["id"], error(&answer).0), (&json!(2), -31_001));
    relay.write("nonsense").await;
    assert_eq!(error(&relay.read().await).0, -32_700);
    relay.write(&"x".repeat(5 << 20)).await;
    assert_eq!(error(&relay.read().await), (-32_600, "the line is longer than 4195328 bytes"));
    relay.write(&modern(3, "tools/list", json!({}))).await;
    assert_eq!(relay.read().await["id"], 3, "and it goes on");
}

#[tokio::test]
async fn a_request_that_is_cancelled_is_given_up_and_holds_up_nobody() {
    let (api, mut relay) = played().await;
    let cancel = |id: u64| {
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
            .to_string()
    };
    relay.write(&modern(1, "never", json!({}))).await;
    relay.write(&modern(2, "tools/list", json!({}))).await;
    assert_eq!(relay.read().await["id"], 2, "the second is not held up by the first");
    relay.write(&modern(1, "tools/list", json!({}))).await;
    assert_eq!(error(&relay.read().await), (-32_600, "a request with this id is under way"));
    until("the API has the first", || api.waiting.load(Ordering::SeqCst) == 1).await;
    relay.write(&cancel(1)).await;
    until("the API sees that it is given up", || api.gone.load(Ordering::SeqCst) == 1).await;
    assert_eq!(
        api.cancelled.load(Ordering::SeqCst),
        0,
        "to go away is how a request of this era is cancelled"
    );
    relay.initialize().await;
    assert_eq!(relay.read().await["method"], "notifications/tools/list_changed");
    relay.write(&request(3, "never", json!({})).to_string()).await;
    relay.write(&cancel(3)).await;
    until("the API is told", || api.cancelled.load(Ordering::SeqCst) == 1).await;
    let (rest, code) = relay.end().await;
    assert_eq!((rest, code), (vec![], Some(0)), "what is cancelled is not answered");
}

#[tokio::test]
async fn a_session_that_is_lost_is_begun_anew_once_and_its_subscriptions_with_it() {
    let (api, mut relay) = played().await;
    relay.initialize().await;
    assert_eq!(relay.read().await["method"], "notifications/tools/list_changed");
    relay.ask(1, "resources/subscribe", json!({"uri": "mesh://graph"})).await;
    // Known to nobody any more: the next is s-3.
    api.sessions.store(2, Ordering::SeqCst);
    for id in [2, 3] {
        relay.write(&request(id, "tools/list", json!({})).to_string()).await;
    }
    for _ in [2, 3] {
        assert_eq!(relay.read().await["result"]["mcp-session-id"], "s-3");
    }
    assert_eq!(api.sessions.load(Ordering::SeqCst), 3);
    assert_eq!(api.subscribed.load(Ordering::SeqCst), 2, "once by the client, once for it");
}

#[tokio::test]
async fn without_an_api_every_request_is_told_what_to_do() {
    let mut relay = Relay::start(&["--api-addr", "127.0.0.1:1"]);
    let answer = relay.initialize().await;
    let (code, said) = error(&answer);
    assert_eq!(code, -31_001);
    assert!(said.starts_with("linkerd-mcp cannot be reached: nothing answers at 127.0.0.1:1"), "{said}");
    // A flag that names a cluster: what may run on this machine is not asked.
    let mut relay = Relay::start(&["--mcp-namespace", "mesh-tools"]);
    relay.write(&modern(7, "server/discover", json!({}))).await;
    let answer = relay.read().await;
    let (code, said) = error(&answer);
    assert_eq!((&answer["id"], code), (&json!(7), -31_001));
    assert!(said.contains("there is no kubeconfig. Hint: "), "{said}");
    assert_eq!(relay.end().await, (vec![], Some(0)));
}
