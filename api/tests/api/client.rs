//! A client of the Model Context Protocol with nothing of a library in it: what is tested is what goes over the wire.

use crate::rig::within;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};

/// The revision without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";
/// The last one with them.
pub(crate) const SESSIONS: &str = "2025-11-25";

/// Speaks one revision, in a session where the revision has them.
pub(crate) struct Mcp {
    address: SocketAddr,
    session: Option<String>,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// Messages as they come, until it is dropped.
pub(crate) struct Stream {
    body: Incoming,
    buffer: String,
    messages: VecDeque<Value>,
}

impl Mcp {
    /// Of the revision without sessions.
    pub(crate) fn stateless(address: SocketAddr) -> Self {
        Self { address, session: None, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// With a session that has been opened.
    pub(crate) async fn session(address: SocketAddr) -> Self {
        let mut it = Self::stateless(address);
        let params = json!({
            "protocolVersion": SESSIONS,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let response = within(it.http.request(it.post(&body))).await.unwrap();
        assert_eq!(response.status(), 200);
        let session = response.headers().get("mcp-session-id").unwrap().to_str().unwrap().to_owned();
        let _ = read(response).await;
        it.session = Some(session);
        let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(within(it.http.request(it.post(&body))).await.unwrap().status(), 202);
        it
    }

    /// The answer to a request: `result` or `error`.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let response = within(self.http.request(self.post(&self.request(method, params)))).await.unwrap();
        read(response).await
    }

    /// What is asked for must be there.
    pub(crate) async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    /// It must be refused: with this.
    pub(crate) async fn error(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer["result"].is_null(), "{answer}");
        answer["error"].clone()
    }

    /// The stream that `subscriptions/listen` opens, with its acknowledgement read.
    pub(crate) async fn listen(&self, notifications: Value) -> (Stream, Value) {
        let request = self.request("subscriptions/listen", json!({"notifications": notifications}));
        let response = within(self.http.request(self.post(&request))).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = Stream::of(response.into_body());
        let acknowledged = stream.next().await;
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged", "{acknowledged}");
        (stream, acknowledged["params"]["notifications"].clone())
    }

    /// The stream on which a session hears what it did not ask for.
    pub(crate) async fn stream(&self) -> Stream {
        let request = self.builder("GET").body(Full::default()).unwrap();
        let response = within(self.http.request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        Stream::of(response.into_body())
    }

    /// Ends the session.
    pub(crate) async fn end(&self) {
        let request = self.builder("DELETE").body(Full::default()).unwrap();
        assert!(within(self.http.request(request)).await.unwrap().status().is_success());
    }

    fn request(&self, method: &str, mut params: Value) -> Value {
        if self.session.is_none() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    }

    fn builder(&self, method: &str) -> ::http::request::Builder {
        let builder = ::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/mcp", self.address))
            .header("content-type", "application/json")
            .header(
                "accept",
                if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" },
            );
        match &self.session {
            Some(session) => {
                builder.header("mcp-session-id", session).header("mcp-protocol-version", SESSIONS)
            }
            None => builder,
        }
    }

    fn post(&self, body: &Value) -> ::http::Request<Full<Bytes>> {
        let mut builder = self.builder("POST");
        let method = body["method"].as_str().unwrap();
        if self.session.is_none() && method != "initialize" {
            builder = builder.header("mcp-protocol-version", STATELESS).header("mcp-method", method);
            let name = &body["params"][if method == "resources/read" { "uri" } else { "name" }];
            let named = ["tools/call", "prompts/get", "resources/read"].contains(&method);
            if let Some(name) = name.as_str().filter(|it| named && it.is_ascii()) {
                builder = builder.header("mcp-name", name);
            }
        }
        builder.body(Full::from(body.to_string())).unwrap()
    }
}

/// The last message of an answer, as JSON or as a stream that ends.
async fn read(response: ::http::Response<Incoming>) -> Value {
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    if let Ok(json) = serde_json::from_str(&text) {
        return json;
    }
    let last = text.lines().filter_map(|line| line.strip_prefix("data:")).rfind(|it| !it.trim().is_empty());
    serde_json::from_str(last.unwrap_or_else(|| panic!("no answer in {text:?}"))).unwrap()
}

impl Stream {
    fn of(body: Incoming) -> Self {
        Self { body, buffer: String::new(), messages: VecDeque::new() }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        within(self.maybe()).await.expect("the stream has ended")
    }

    /// The next message; none when the stream ends.
    pub(crate) async fn maybe(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            let frame = self.body.frame().await?.ok()?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.buffer.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some(end) = self.buffer.find('\n') {
                let line: String = self.buffer.drain(..=end).collect();
                if let Some(data) = line.strip_prefix("data:")
                    && let Ok(message) = serde_json::from_str(data.trim())
                {
                    self.messages.push_back(message);
                }
            }
        }
    }

    /// The URI of the next notification, which must be that a resource was updated.
    pub(crate) async fn updated(&mut self) -> String {
        let message = self.next().await;
        assert_eq!(message["method"], "notifications/resources/updated", "{message}");
        message["params"]["uri"].as_str().unwrap().to_owned()
    }
}
