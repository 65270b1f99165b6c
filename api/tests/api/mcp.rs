//! The MCP endpoint over a real port: what it answers, and above all what it refuses, each with its exact status and
//! code.

use crate::rig::{Rig, assert_golden, config, within};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use linkerd_mcp_api::{Config, mcp::Options};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const VERSION: &str = "2026-07-28";

/// A client that sends what it is told, right or wrong.
struct Mcp {
    address: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// An answer: status, the code of the error (0 when there is none), and everything.
struct Said {
    status: u16,
    code: i64,
    session: Option<String>,
    retry_after: Option<String>,
    body: Value,
    text: String,
}

impl Mcp {
    fn of(rig: &Rig) -> Self {
        Self { address: rig.address, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Said {
        self.send(http::Method::POST, headers, body).await
    }

    async fn send(&self, method: http::Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Said {
        let mut request = http::Request::builder().method(method).uri(format!("http://{}/mcp", self.address));
        let given = |name: &str| headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
        for (name, value) in
            [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
        {
            if !given(name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            within(self.http.request(request.body(Full::new(body.into())).unwrap())).await.unwrap();
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
        let (session, retry_after) = (header("mcp-session-id"), header("retry-after"));
        let bytes = within(response.into_body().collect()).await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        // A stream has its answer in its last event.
        let data = text.lines().rev().find_map(|it| it.strip_prefix("data: ")).unwrap_or(&text);
        let body: Value = serde_json::from_str(data).unwrap_or_default();
        let code = body["error"]["code"].as_i64().unwrap_or_default();
        Said { status, code, session, retry_after, body, text }
    }

    /// A request of 2026-07-28 as it should be.
    async fn ask(&self, method: &str, params: Value) -> Said {
        let headers = standard(method, &params);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(&headers, modern(method, params).to_string()).await
    }

    async fn call(&self, tool: &str, arguments: Value) -> Said {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// A session of 2025-11-25.
    async fn open(&self) -> Said {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        self.post(&[], plain("initialize", params).to_string()).await
    }
}

fn standard(method: &str, params: &Value) -> Vec<(&'static str, String)> {
    let mut headers = vec![("mcp-protocol-version", VERSION.to_owned()), ("mcp-method", method.to_owned())];
    if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
        headers.push(("mcp-name", name.to_owned()));
    }
    headers
}

fn plain(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    plain(method, params)
}

async fn ready() -> (Rig, Mcp) {
    let rig = Rig::ready(config()).await;
    let mcp = Mcp::of(&rig);
    (rig, mcp)
}

/// Also what a build for the conformance suite differs in: it has tools that must not be in any other.
#[tokio::test]
async fn the_list_of_tools_is_as_somebody_has_read_it() {
    let (_rig, mcp) = ready().await;
    let listed = mcp.ask("tools/list", json!({})).await;
    let tools = listed.body["result"]["tools"].as_array().unwrap();
    assert_golden("mcp_tools.json", &(serde_json::to_string_pretty(tools).unwrap() + "\n"));
    // About 3.5 bytes are a token. Schemas of answers are for programs; the rest is what models read before their first
    // question.
    let tokens = |tools: &[Value]| serde_json::to_string(tools).unwrap().len() * 2 / 7;
    let mut read = tools.clone();
    read.iter_mut().for_each(|tool| {
        tool.as_object_mut().unwrap().remove("outputSchema");
    });
    assert!(tokens(&read) < 6_000, "{} tokens are read by models", tokens(&read));
    assert!(tokens(tools) < 25_000, "{} tokens in all", tokens(tools));
}

/// The table in docs/mcp.md. `UPDATE_GOLDEN=1` writes it anew.
#[tokio::test]
async fn the_tools_that_are_documented_are_those_there_are() {
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mcp.md");
    let (_rig, mcp) = ready().await;
    let listed = mcp.ask("tools/list", json!({})).await;
    let mut table = String::from("<!-- tools -->\n\n| tool | what it answers |\n|---|---|\n");
    for tool in listed.body["result"]["tools"].as_array().unwrap() {
        let (name, description) = (tool["name"].as_str().unwrap(), tool["description"].as_str().unwrap());
        // Its first sentence says what it answers; the others are for the model that chooses.
        let sentence =
            description.split_once(". ").map_or(description, |(first, _)| first).trim_end_matches('.');
        table.push_str(&format!("| `{name}` | {sentence} |\n"));
    }
    table.push('\n');
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once("<!-- tools -->").expect("the mark where the table begins");
    let (written, after) = rest.split_once("<!-- /tools -->").expect("the mark where it ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{table}<!-- /tools -->{after}")).unwrap();
        return;
    }
    assert_eq!(format!("<!-- tools -->{written}"), table, "UPDATE_GOLDEN=1 writes the table anew");
}

#[tokio::test]
async fn requests_that_cannot_be_meant_are_errors_of_the_protocol() {
    let (_rig, mcp) = ready().await;
    for (what, said, expected) in [
        ("a tool there is not", mcp.call("no_such_tool", json!({})).await, (200, -32_602)),
        ("a cursor of nobody", mcp.ask("tools/list", json!({"cursor": "1"})).await, (200, -32_602)),
        ("a method there is not", mcp.ask("tools/dance", json!({})).await, (404, -32_601)),
        ("one that is gone", mcp.ask("ping", json!({})).await, (404, -32_601)),
    ] {
        assert_eq!((said.status, said.code), expected, "{what}: {}", said.text);
        assert_eq!(said.body["id"], 1, "{what}");
    }
}

#[tokio::test]
async fn wrong_arguments_are_told_to_the_model_all_at_once() {
    let (_rig, mcp) = ready().await;
    let wrong = json!({"limit": "many", "sort": "beauty", "nonsense": 1});
    let said = mcp.call("find_edges", wrong).await;
    assert_eq!((said.status, said.code), (200, 0), "{}", said.text);
    let result = &said.body["result"];
    assert_eq!(result["isError"], true);
    let text = result["content"][0]["text"].as_str().unwrap();
    for part in ["`limit` is \"many\"", "`sort` is \"beauty\"", "there is no argument `nonsense`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let cursor = mcp.call("find_edges", json!({"cursor": "\u{202e}AAAA"})).await;
    assert_eq!(cursor.body["result"]["isError"], true, "{}", cursor.text);
    assert!(!cursor.text.contains('\u{202e}'), "what hides is shown: {}", cursor.text);
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_it_is_read() {
    let (_rig, mcp) = ready().await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let batch = format!("[{}]", modern("tools/list", json!({})));
    for (what, body, expected) in [
        ("nothing", String::new(), (400, -32_700)),
        ("half of it", r#"{"jsonrpc":"2.0","#.to_owned(), (400, -32_700)),
        ("depth", deep, (400, -32_600)),
        ("a batch", batch, (400, -32_600)),
        ("no method", r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), (400, -32_600)),
        ("JSON-RPC 1", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_owned(), (400, -32_600)),
        ("a fraction as id", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.to_owned(), (400, -32_600)),
    ] {
        let headers = [("mcp-protocol-version", VERSION), ("mcp-method", "ping")];
        let said = mcp.post(&headers, body).await;
        assert_eq!((said.status, said.code), expected, "{what}: {}", said.text);
    }
    let padded =
        modern("tools/call", json!({"name": "find_edges", "arguments": {"from": "x".repeat(5 << 20)}}));
    let said = mcp.post(&[("mcp-protocol-version", VERSION)], padded.to_string()).await;
    assert_eq!((said.status, said.code), (413, -31_000), "{}", said.text);
    let media = mcp.post(&[("content-type", "text/plain")], plain("ping", json!({})).to_string()).await;
    assert_eq!(media.status, 415, "{}", media.text);
    let accept = mcp.post(&[("accept", "text/html")], plain("ping", json!({})).to_string()).await;
    assert_eq!(accept.status, 406, "{}", accept.text);
}

#[tokio::test]
async fn web_pages_and_names_of_others_are_refused() {
    let mcp_options =
        Options { allowed_origins: vec!["https://inspector.example".to_owned()], ..Options::default() };
    let rig = Rig::ready(Config { mcp: mcp_options, ..config() }).await;
    let mcp = Mcp::of(&rig);
    let body = modern("server/discover", json!({})).to_string();
    let with = |name: &'static str, value: &'static str| {
        [("mcp-protocol-version", VERSION), ("mcp-method", "server/discover"), (name, value)]
    };
    for origin in ["https://evil.example", "null", "http://localhost.evil.example", "file://"] {
        let said = mcp.post(&with("origin", origin), body.clone()).await;
        assert_eq!((said.status, said.code), (403, -31_000), "{origin}: {}", said.text);
    }
    for origin in ["http://localhost:6274", "http://127.0.0.1", "https://inspector.example"] {
        let said = mcp.post(&with("origin", origin), body.clone()).await;
        assert_eq!((said.status, said.code), (200, 0), "{origin}: {}", said.text);
    }
    for host in ["evil.example", "localhost.evil.example:80", "10.0.0.1"] {
        let said = mcp.post(&with("host", host), body.clone()).await;
        assert_eq!((said.status, said.code), (403, 0), "{host}: {}", said.text);
    }
    // A page's request is refused also where it only opens a stream or ends a session.
    for method in [http::Method::GET, http::Method::DELETE] {
        let said = mcp.send(method.clone(), &[("origin", "https://evil.example")], "").await;
        assert_eq!((said.status, said.code), (403, -31_000), "{method}");
    }
}

#[tokio::test]
async fn headers_must_be_there_and_say_what_the_body_says() {
    let (_rig, mcp) = ready().await;
    let body = modern("tools/call", json!({"name": "get_mesh_overview"})).to_string();
    let right =
        [("mcp-protocol-version", VERSION), ("mcp-method", "tools/call"), ("mcp-name", "get_mesh_overview")];
    assert_eq!(mcp.post(&right, body.clone()).await.status, 200);
    let with = |at: usize, value: &'static str| {
        let mut headers = right;
        headers[at].1 = value;
        headers
    };
    for (what, headers, code) in [
        ("no method", vec![right[0], right[2]], -32_020),
        ("no name", vec![right[0], right[1]], -32_020),
        ("no version", vec![right[1], right[2]], -32_020),
        ("another method", with(1, "tools/list").to_vec(), -32_020),
        ("another name", with(2, "find_edges").to_vec(), -32_020),
        ("another version", with(0, "2025-11-25").to_vec(), -32_020),
        ("a name twice", [&right[..], &[("mcp-name", "find_edges")]].concat(), -32_020),
    ] {
        let said = mcp.post(&headers, body.clone()).await;
        assert_eq!((said.status, said.code), (400, code), "{what}: {}", said.text);
    }
    let future = body.replace(VERSION, "2999-01-01");
    let said = mcp.post(&with(0, "2999-01-01"), future).await;
    assert_eq!((said.status, said.code), (400, -32_022), "{}", said.text);
    assert!(said.body["error"]["data"]["supported"].as_array().unwrap().contains(&VERSION.into()));
    let encoded = with(2, "=?base64?Z2V0X21lc2hfb3ZlcnZpZXc=?=");
    assert_eq!(mcp.post(&encoded, body.clone()).await.status, 200, "the same in base64");
    let bare = plain("tools/call", json!({"name": "get_mesh_overview", "_meta": {}})).to_string();
    let said = mcp.post(&right, bare).await;
    assert_eq!(
        (said.status, said.code),
        (400, -32_602),
        "without what every request must say: {}",
        said.text
    );
}

/// Plain calls go past rmcp. A weight in what is accepted is enough for the long way, and changes nothing else.
#[tokio::test]
async fn a_plain_call_is_answered_as_rmcp_would_answer_it() {
    let (_rig, mcp) = ready().await;
    let mut differs = 0;
    for (tool, arguments) in [
        ("find_edges", json!({})),
        ("find_edges", json!({"limit": 1})),
        ("get_mesh_overview", json!({})),
        ("get_graph", json!({"by": "workload"})),
        ("find_problems", Value::Null),
        ("find_edges", json!({"limit": 0, "nonsense": "\u{202e}"})),
        ("find_edges", json!({"namespace": "nowhere"})),
        ("get_pods", json!({})),
        ("no_such_tool", json!({})),
    ] {
        let params = json!({"name": tool, "arguments": arguments});
        let body = modern("tools/call", params.clone());
        let headers = standard("tools/call", &params);
        let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for id in [json!(7), json!("seven \" \u{e9}")] {
            let mut body = body.clone();
            body["id"] = id.clone();
            let short = mcp.post(&headers, body.to_string()).await;
            headers.push(("accept", "application/json, text/event-stream;q=0.9"));
            let long = mcp.post(&headers, body.to_string()).await;
            headers.pop();
            // The one thing that time changes.
            let timeless = |said: &Said| {
                let mut body = said.body.clone();
                if let Some(freshness) = body.pointer_mut("/result/structuredContent/freshness") {
                    freshness["age_ms"].take();
                }
                (said.status, body)
            };
            assert_eq!(timeless(&short), timeless(&long), "{tool} {arguments}");
            assert_eq!(short.body["id"], id);
            differs += usize::from(short.text != long.text && short.body["result"]["isError"] == false);
        }
    }
    // rmcp writes fields in the order of their names. Were it asked both times, this would compare nothing.
    assert!(differs >= 8, "both went one way");
}

#[tokio::test]
async fn a_session_is_what_it_was_opened_for_and_no_more() {
    let (_rig, mcp) = ready().await;
    let opened = mcp.open().await;
    let session = opened.session.expect("a session");
    assert_eq!(opened.body["result"]["protocolVersion"], "2025-11-25");
    let list = plain("tools/list", json!({})).to_string();
    let with = |session: &str| {
        [
            ("mcp-session-id".to_owned(), session.to_owned()),
            ("mcp-protocol-version".to_owned(), "2025-11-25".to_owned()),
        ]
    };
    let ask = async |session: &str| {
        let headers = with(session);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        mcp.post(&headers, list.clone()).await
    };
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let said =
        mcp.post(&[("mcp-session-id", &session), ("mcp-protocol-version", "2025-11-25")], initialized).await;
    assert_eq!((said.status, said.text.as_str()), (202, ""));
    assert!(ask(&session).await.body["result"]["tools"].is_array());
    for unknown in ["00000000-0000-0000-0000-000000000000", "x", "' or 1=1"] {
        let said = ask(unknown).await;
        assert_eq!((said.status, said.code), (404, -31_000), "{unknown}: {}", said.text);
    }
    let said = mcp.send(http::Method::DELETE, &[("mcp-session-id", &session)], "").await;
    assert!((200..300).contains(&said.status), "{}", said.status);
    assert_eq!(ask(&session).await.status, 404, "it is over");
}

#[tokio::test]
async fn sessions_are_bounded_and_one_that_ends_makes_room() {
    let options = Options { calls_per_second: 0, ..Options::default() };
    let rig = Rig::ready(Config { mcp: options, ..config() }).await;
    let mcp = Mcp::of(&rig);
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(mcp.open().await.session.expect("a session"));
    }
    let said = mcp.open().await;
    assert_eq!((said.status, said.code), (429, -31_000), "{}", said.text);
    assert_eq!(mcp.ask("tools/list", json!({})).await.status, 200, "requests without a session go on");
    let said = mcp.send(http::Method::DELETE, &[("mcp-session-id", &sessions[0])], "").await;
    assert!((200..300).contains(&said.status));
    assert!(mcp.open().await.session.is_some());
}

#[tokio::test]
async fn a_flood_of_requests_is_told_to_wait() {
    let options = Options { calls_per_second: 5, ..Options::default() };
    let rig = Rig::ready(Config { mcp: options, ..config() }).await;
    let mcp = Mcp::of(&rig);
    let mut refused = None;
    for _ in 0..200 {
        let said = mcp.ask("tools/list", json!({})).await;
        if said.status != 200 {
            refused = Some(said);
            break;
        }
    }
    let said = refused.expect("two hundred at once are too many for five a second");
    assert_eq!(
        (said.status, said.code, said.retry_after.as_deref()),
        (429, -31_000, Some("1")),
        "{}",
        said.text
    );
}

/// What comes back when these bytes are written and the client then waits. The end of the connection is an answer.
async fn raw(address: SocketAddr, pieces: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer does not take it back.
    while let Ok(read @ 1..) = within(stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..read]);
        if answer.windows(4).any(|it| it == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn floods_of_headers_and_of_body_are_cut_off() {
    let (rig, mcp) = ready().await;
    let start = || b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".to_vec();
    let header = |at: usize| format!("x-{at}: {}\r\n", "y".repeat(1_000)).into_bytes();
    let large = std::iter::once(start()).chain((0..100_000).map(header));
    assert_eq!(raw(rig.address, large).await, "HTTP/1.1 431 Request Header Fields Too Large");
    let many = std::iter::once(start()).chain((0..1_000).map(|at| format!("x-{at}: y\r\n").into_bytes()));
    let many = many.chain([b"\r\n".to_vec()]);
    assert_eq!(raw(rig.address, many).await, "HTTP/1.1 431 Request Header Fields Too Large");
    // A body without a length that never ends.
    let chunk = || [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let opening = [start(), b"transfer-encoding: chunked\r\n\r\n".to_vec()].concat();
    let endless = std::iter::once(opening).chain((0..10_000).map(|_| chunk()));
    assert_eq!(raw(rig.address, endless).await, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(mcp.ask("tools/list", json!({})).await.status, 200, "and it goes on");
}
