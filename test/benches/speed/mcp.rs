//! `tools/call` over HTTP/1.1, next to a bare JSON-RPC handler on the same server stack that reads the same request and
//! writes an answer of the same bytes.

use crate::{
    measure::{Compared, Table, quantile, size, time},
    mesh::{SMALL, Size},
    rpc::{Served, client_runtime, feed, serve as start, server_runtime, server_time},
};
use axum::{Json, Router, routing::post};
use linkerd_mcp_graph::feed::{Event, Position, Snapshot};
use serde::Serialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::Instant,
};
use tonic::{service::Routes, transport::server::TcpIncoming};

const ROUNDS: usize = 7;

/// What one round of calls came to.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// CPU time of the server for one call.
    busy: Duration,
    p50: Duration,
    per_second: f64,
}

/// The least that can answer: it reads JSON, and writes JSON that is there.
struct Floor {
    address: SocketAddr,
    _runtime: Runtime,
}

#[derive(Serialize)]
struct Reply {
    jsonrpc: &'static str,
    id: Value,
    result: Arc<Value>,
}

impl Floor {
    fn new(result: Value) -> Self {
        let runtime = server_runtime(1);
        let address = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let result = Arc::new(result);
            let answer = move |Json(mut request): Json<Value>| {
                let result = result.clone();
                async move { Json(Reply { jsonrpc: "2.0", id: request["id"].take(), result }) }
            };
            let routes = Routes::from(Router::new().route("/mcp", post(answer))).prepare();
            let server = tonic::transport::Server::builder().accept_http1(true).add_routes(routes);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tokio::spawn(server.serve_with_incoming(incoming));
            address
        });
        Self { address, _runtime: runtime }
    }
}

pub(crate) fn mcp(table: &mut Table) {
    let served = api(SMALL);
    let client = client_runtime();
    for (tool, arguments) in [
        ("find_edges", json!({"from": "team-000/gateway-0", "limit": 10})),
        ("find_edges", json!({})),
        ("get_mesh_overview", json!({})),
        ("check_access", json!({"from": "team-000/accounts-1", "to": "team-000/gateway-0:80"})),
    ] {
        let request = request(tool, &arguments);
        let answer = client.block_on(once(served.address, &request));
        let result = answer["result"].clone();
        assert!(result["content"].is_array(), "{answer}");
        let bytes = answer.to_string().len();
        let floor = Floor::new(result);
        for connections in [1, 64] {
            // As many as a third of a second has room for.
            let probe =
                client.block_on(round(served.address, &request, connections, 1_024 / connections / 16));
            let calls = ((probe.per_second / 3.0) as usize / connections).clamp(1, 3_000);
            let what = format!("{tool} {arguments}, {}, {connections} connections", size(bytes));
            compare(table, &client, &what, (served.address, floor.address), &request, connections, calls);
        }
    }
}

fn api(of: Size) -> Served {
    let mesh = of.mesh();
    let (sender, subscription) = feed();
    let position = Position { epoch: 1, seq: 1 };
    let snapshot = Snapshot { position, as_of_ms: 0, graph: mesh.graph, metrics: mesh.metrics };
    assert!(sender.send(Event::Snapshot(snapshot)).is_ok());
    let served = start(1, subscription);
    // The server waits for ever when the sending end is gone.
    drop(sender);
    served
}

fn compare(
    table: &mut Table,
    client: &Runtime,
    what: &str,
    (ours, floor): (SocketAddr, SocketAddr),
    request: &Arc<[u8]>,
    connections: usize,
    calls: usize,
) {
    let round = |address| client.block_on(round(address, request, connections, calls));
    let rounds: Vec<(Round, Round)> = (0..=ROUNDS).map(|_| (round(ours), round(floor))).skip(1).collect();
    let busy = Compared::of(rounds.iter().map(|(ours, floor)| (ours.busy, floor.busy)).collect());
    let wall = Compared::of(rounds.iter().map(|(ours, floor)| (ours.p50, floor.p50)).collect());
    let (mut of_ours, mut of_floor): (Vec<f64>, Vec<f64>) =
        rounds.iter().map(|(ours, floor)| (ours.per_second, floor.per_second)).unzip();
    let note = format!(
        "p50 {} against {}; {:.0}/s against {:.0}/s",
        time(wall.candidate),
        time(wall.floor),
        quantile(&mut of_ours, 0.5),
        quantile(&mut of_floor, 0.5)
    );
    table.compared(&format!("CPU of the server: {what}; floor: bare JSON-RPC"), busy, &note);
}

/// As a client of 2026-07-28 writes it.
fn request(tool: &str, arguments: &Value) -> Arc<[u8]> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat().into()
}

async fn round(address: SocketAddr, request: &Arc<[u8]>, connections: usize, calls: usize) -> Round {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(connect(address).await);
    }
    let (before, began) = (server_time(), Instant::now());
    let clients: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let request = request.clone();
            tokio::spawn(async move {
                let (mut each, mut answer) = (Vec::with_capacity(calls), Vec::new());
                for _ in 0..calls {
                    let began = Instant::now();
                    ask(&mut stream, &request, &mut answer).await;
                    each.push(began.elapsed());
                }
                each
            })
        })
        .collect();
    let mut each = Vec::new();
    for client in clients {
        each.extend(client.await.unwrap());
    }
    let took = began.elapsed();
    let busy = (server_time() - before) / u32::try_from(each.len()).unwrap();
    let per_second = each.len() as f64 / took.as_secs_f64();
    Round { busy, p50: quantile(&mut each, 0.5), per_second }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn once(address: SocketAddr, request: &[u8]) -> Value {
    let mut answer = Vec::new();
    let at = ask(&mut connect(address).await, request, &mut answer).await;
    serde_json::from_slice(&answer[at..]).unwrap()
}

/// One call; gives where the body begins.
async fn ask(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> usize {
    stream.write_all(request).await.unwrap();
    answer.clear();
    let mut whole = None;
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "cut: {}", String::from_utf8_lossy(answer));
        if whole.is_none() {
            whole = length(answer);
        }
        match whole {
            Some((at, length)) if answer.len() >= at + length => return at,
            _ => {}
        }
    }
}

/// Where the body begins and how long it is, once the head is there.
fn length(answer: &[u8]) -> Option<(usize, usize)> {
    let at = answer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..at]).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: ")).expect("a length");
    Some((at, length.parse().unwrap()))
}
