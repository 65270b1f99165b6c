//! Clients that send one request again and again over HTTP/1.1, and do as little as possible with the answers.

use crate::measure::quantile;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

/// What one round of calls came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// CPU time of the server for one call.
    pub(crate) busy: Duration,
    pub(crate) p50: Duration,
    pub(crate) per_second: f64,
}

/// A `tools/call` as a client of `revision` writes it.
pub(crate) fn request(revision: &str, tool: &str, arguments: &Value) -> Arc<[u8]> {
    let meta = serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = serde_json::json!({"name": tool, "arguments": arguments, "_meta": meta});
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let body = body.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\nmcp-protocol-version: {revision}\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat().into()
}

/// `calls` requests on each of so many connections. `busy` is the CPU time that the server has used so far.
pub(crate) async fn round(
    address: SocketAddr,
    request: &Arc<[u8]>,
    connections: usize,
    calls: usize,
    busy: impl Fn() -> Duration,
) -> Round {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(connect(address).await);
    }
    let (before, began) = (busy(), Instant::now());
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
    let busy = (busy() - before) / u32::try_from(each.len()).unwrap();
    let per_second = each.len() as f64 / took.as_secs_f64();
    Round { busy, p50: quantile(&mut each, 0.5), per_second }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One call on a connection of its own: the body of the answer as text, with what chunks put around it.
pub(crate) async fn once(address: SocketAddr, request: &[u8]) -> String {
    let mut answer = Vec::new();
    let at = ask(&mut connect(address).await, request, &mut answer).await;
    String::from_utf8(answer.split_off(at)).unwrap()
}

/// One call; gives where the body begins.
async fn ask(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> usize {
    stream.write_all(request).await.unwrap();
    answer.clear();
    let mut whole = None;
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "cut: {}", String::from_utf8_lossy(answer));
        if whole.is_none() {
            whole = head(answer);
        }
        match whole {
            Some((at, Some(length))) if answer.len() >= at + length => return at,
            // Nothing comes after the last chunk, because nothing else is asked meanwhile.
            Some((at, None)) if answer[at..].ends_with(b"0\r\n\r\n") => return at,
            _ => {}
        }
    }
}

/// Where the body begins and how long it is, once the head is there; without a length it comes in chunks.
fn head(answer: &[u8]) -> Option<(usize, Option<usize>)> {
    let at = answer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..at]).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(answer));
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
    assert!(length.is_some() || head.contains("transfer-encoding: chunked"), "{head}");
    Some((at, length.map(|it| it.parse().unwrap())))
}
