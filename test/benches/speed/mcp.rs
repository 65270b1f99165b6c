//! `tools/call` over HTTP/1.1, next to a bare JSON-RPC handler on the same server stack that reads the same request and
//! writes an answer of the same bytes.

use crate::{
    load::{self, Round},
    measure::{Compared, Table, quantile, size, time},
    mesh::SMALL,
    rpc::{client_runtime, serve as start, server_runtime, server_time, snapshot_of},
};
use axum::{Json, Router, routing::post};
use serde::Serialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{service::Routes, transport::server::TcpIncoming};

const ROUNDS: usize = 7;

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
    let served = start(1, snapshot_of(SMALL));
    let client = client_runtime();
    for (tool, arguments) in [
        ("find_edges", json!({"from": "team-000/gateway-0", "limit": 10})),
        ("find_edges", json!({})),
        ("get_mesh_overview", json!({})),
        ("check_access", json!({"from": "team-000/accounts-1", "to": "team-000/gateway-0:80"})),
    ] {
        let request = load::request("2026-07-28", tool, &arguments);
        let answer = client.block_on(load::once(served.address, &request));
        let answer: Value = serde_json::from_str(&answer).unwrap();
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

async fn round(address: SocketAddr, request: &Arc<[u8]>, connections: usize, calls: usize) -> Round {
    load::round(address, request, connections, calls, server_time).await
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
