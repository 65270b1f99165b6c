//! Both ends of a loopback socket: our API behind tonic's client, and plain TCP that moves as many bytes.

use crate::mesh::Size;
use bytes::{Buf, BufMut, Bytes};
use linkerd_mcp_api::{Api, Config, mcp::Options, metrics::ApiMetrics};
use linkerd_mcp_graph::feed::{Event, Position, Snapshot, Subscription};
use prometheus_client::registry::Registry;
use prost::Message;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

const SERVER: &str = "bench-server";

/// An API in threads of its own.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: ApiMetrics,
    /// Ends with this value.
    _runtime: Runtime,
}

/// Events as the benchmark sends them.
pub(crate) struct Feed(mpsc::UnboundedReceiver<Event>);

impl Subscription for Feed {
    type Error = std::convert::Infallible;

    async fn next(&mut self) -> Result<Event, Self::Error> {
        match self.0.recv().await {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

pub(crate) fn feed() -> (mpsc::UnboundedSender<Event>, Feed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Feed(receiver))
}

/// A feed of one mesh that stays as it is.
pub(crate) fn snapshot_of(size: Size) -> Feed {
    let mesh = size.mesh();
    let (sender, feed) = feed();
    let position = Position { epoch: 1, seq: 1 };
    let snapshot = Snapshot { position, as_of_ms: 0, graph: mesh.graph, metrics: mesh.metrics };
    assert!(sender.send(Event::Snapshot(snapshot)).is_ok());
    feed
}

/// An API that follows `subscription`, ready to answer.
pub(crate) fn serve<S: Subscription + 'static>(threads: usize, subscription: S) -> Served {
    // One caller asks more often than any should.
    serve_with(threads, subscription, Options { calls_per_second: 0, ..Options::default() })
}

/// As [`serve`], with an MCP endpoint that is set up so.
pub(crate) fn serve_with<S: Subscription + 'static>(threads: usize, subscription: S, mcp: Options) -> Served {
    let runtime = server_runtime(threads);
    let (address, metrics, replica) = runtime.block_on(async {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: None,
            mcp,
            ..Config::default()
        };
        let mut registry = Registry::default();
        let api = Api::bind(config, &mut registry).await.unwrap();
        let started = (api.local_addr(), api.metrics().clone(), api.replica().clone());
        tokio::spawn(api.serve(subscription, Arc::new(registry), std::future::pending()));
        started
    });
    runtime.block_on(async { replica.ticks().wait_for(|tick| tick.revision > 0).await.map(drop) }).unwrap();
    Served { address, metrics, _runtime: runtime }
}

/// Threads whose time [`server_time`] counts. None of them ends before the runtime does: its time would be lost.
pub(crate) fn server_runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(SERVER)
        .thread_keep_alive(Duration::from_secs(3_600))
        .enable_all()
        .build()
        .unwrap()
}

/// A runtime for clients, on the thread that calls it.
pub(crate) fn client_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) async fn connect(address: SocketAddr) -> Grpc<Channel> {
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    let windows = endpoint.initial_stream_window_size(1 << 20).initial_connection_window_size(1 << 20);
    Grpc::new(windows.connect().await.unwrap()).max_decoding_message_size(1 << 30)
}

/// Calls a method and returns the bytes of its answer, not decoded.
pub(crate) async fn unary(client: &mut Grpc<Channel>, path: &'static str, request: &impl Message) -> Bytes {
    client.ready().await.unwrap();
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    client.unary(request, http::uri::PathAndQuery::from_static(path), Raw).await.unwrap().into_inner()
}

/// A stream of messages, not decoded.
pub(crate) async fn streaming(
    client: &mut Grpc<Channel>,
    path: &'static str,
    request: &impl Message,
) -> Streaming<Bytes> {
    client.ready().await.unwrap();
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    let path = http::uri::PathAndQuery::from_static(path);
    client.server_streaming(request, path, Raw).await.unwrap().into_inner()
}

/// CPU time that the threads of [`serve`] have used.
pub(crate) fn server_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let nanos = tasks
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == SERVER))
        .filter_map(|task| std::fs::read_to_string(task.join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// Plain TCP that answers every 16 bytes with `len` bytes.
pub(crate) struct PingPong {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl PingPong {
    pub(crate) fn new(len: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = vec![7; len];
            let mut question = [0; 16];
            while stream.read_exact(&mut question).is_ok() && stream.write_all(&answer).is_ok() {}
        });
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; len] }
    }

    pub(crate) fn call(&mut self) {
        self.stream.write_all(&[1; 16]).unwrap();
        self.stream.read_exact(&mut self.buffer).unwrap();
    }
}

/// Leaves messages as bytes: what a client does with them is not what is measured.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
