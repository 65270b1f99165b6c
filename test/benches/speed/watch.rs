//! From a change of an object to the watchers.

use crate::{
    measure::{Compared, Table, quantile, size, time},
    mesh::{self, SMALL},
    rpc::{PingPong, client_runtime, connect, feed, serve, server_runtime, server_time, streaming},
};
use bytes::Bytes;
use linkerd_mcp_api::{feed::memory::memory_feed, metrics::Encoded};
use linkerd_mcp_controller::{
    index,
    prometheus::{MetricsSource, Poll},
    watch::Message,
};
use linkerd_mcp_graph::{
    delta::{Changes, Delta},
    fact::{Change, Fact, Pod},
    feed::{Event as FeedEvent, Position, Snapshot},
    kind::KINDS,
    model::Workload,
    status::WatchState,
    traffic::Traffic,
};
use linkerd_mcp_proto::v1::{
    WatchMeshGraphRequest, WatchMeshGraphResponse, watch_mesh_graph_response::Event,
};
use prost::Message as _;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tonic::Streaming;

const WATCH: &str = "/mcp.v1.MeshContext/WatchMeshGraph";

/// One poll, and then no other.
struct Once(Option<Traffic>);

impl MetricsSource for Once {
    async fn poll(&mut self, _: i64) -> Poll {
        match self.0.take() {
            Some(traffic) => Poll::Answered { traffic: Box::new(traffic), status: mesh::status() },
            None => std::future::pending().await,
        }
    }
}

/// A change of a pod, through index, feed, replica and gRPC, until a client has it.
pub(crate) fn watch(table: &mut Table) {
    let (publisher, feed) = memory_feed(1);
    let (sender, messages) = mpsc::channel(1_024);
    for (kind, facts) in SMALL.facts() {
        sender.try_send(Message::Change(Change::Reset(kind, facts))).unwrap();
    }
    for row in KINDS {
        sender.try_send(Message::State(row.kind, WatchState::Synced)).unwrap();
    }
    let subscription = feed.subscribe();
    let runtime = server_runtime(1);
    let source = Once(Some(SMALL.traffic()));
    runtime.spawn(index::run(
        index::Options::default(),
        messages,
        source,
        publisher,
        index::Metrics::default(),
        std::future::pending(),
    ));
    let served = serve(1, subscription);
    let client = client_runtime();
    let mut stream = client.block_on(async {
        let mut client = connect(served.address).await;
        streaming(&mut client, WATCH, &WatchMeshGraphRequest::default()).await
    });
    client.block_on(numbers(&mut stream));

    let mut raw = PingPong::new(256);
    let mut seen = Vec::new();
    let mut pairs = Vec::new();
    let mut floors = Vec::new();
    let before = server_time();
    const EVENTS: usize = 3_000;
    for at in 0..EVENTS {
        let pod = Pod { ready: at / 500 % 2 == 1, ..mesh::pod(at % 500, 0) };
        let began = Instant::now();
        sender.try_send(Message::Change(Change::Apply(Fact::Pod(Arc::new(pod))))).unwrap();
        client.block_on(change(&mut stream));
        let took = began.elapsed();
        let began = Instant::now();
        raw.call();
        let floor = began.elapsed();
        seen.push(took);
        floors.push(floor);
        pairs.push((took, floor));
    }
    let busy = server_time() - before;
    let note = format!(
        "p99 {}, floor's p99 {}; CPU of controller and API {} per event",
        time(quantile(&mut seen, 0.99)),
        time(quantile(&mut floors, 0.99)),
        time(busy / EVENTS as u32),
    );
    table.compared(&format!("a pod's change until a watcher has it, {}, {EVENTS} events, p50; floor: raw TCP ping-pong of 256 B", SMALL.name()), Compared::of(pairs), &note);

    // All at once: how many the line carries.
    let began = Instant::now();
    let before = server_time();
    client.block_on(async {
        for at in 0..EVENTS {
            let pod = Pod { ready: at / 500 % 2 == 0, labels: Arc::default(), ..mesh::pod(at % 500, 1) };
            sender.send(Message::Change(Change::Apply(Fact::Pod(Arc::new(pod))))).await.unwrap();
        }
        // Changes that wait are published as one; the last one is a pod nobody touched before.
        sender
            .send(Message::Change(Change::Apply(Fact::Pod(Arc::new(Pod {
                ready: false,
                ..mesh::pod(900, 0)
            })))))
            .await
            .unwrap();
        while !last(&mut stream, &format!("{}/deployment/{}", mesh::namespace(900), mesh::name(900))).await {}
    });
    let (took, busy) = (began.elapsed(), server_time() - before);
    let rate = EVENTS as f64 / took.as_secs_f64();
    table.plain(
        "the same events without waiting for each",
        &format!("{rate:.0} events/s"),
        "",
        &format!("CPU {} per event; waiting changes are published together", time(busy / EVENTS as u32)),
    );
}

async fn next(stream: &mut Streaming<Bytes>) -> Event {
    let bytes = stream.message().await.unwrap().unwrap();
    WatchMeshGraphResponse::decode(bytes).unwrap().event.unwrap()
}

/// Waits for a topology change.
async fn change(stream: &mut Streaming<Bytes>) {
    while !matches!(next(stream).await, Event::Delta(_)) {}
}

async fn last(stream: &mut Streaming<Bytes>, id: &str) -> bool {
    match next(stream).await {
        Event::Delta(delta) => delta.workloads.iter().any(|workload| workload.id == id),
        _ => false,
    }
}

/// Waits until the edges are there.
async fn numbers(stream: &mut Streaming<Bytes>) {
    loop {
        match next(stream).await {
            Event::Snapshot(snapshot)
                if snapshot.graph.as_ref().is_some_and(|graph| !graph.edges.is_empty()) =>
            {
                return;
            }
            Event::Metrics(_) => return,
            _ => {}
        }
    }
}

/// One change to a thousand watchers on ten connections.
pub(crate) fn fan_out(table: &mut Table) {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 100;
    const WATCHERS: usize = CONNECTIONS * EACH;
    const DELTAS: usize = 60;
    let mesh = SMALL.mesh();
    let (sender, subscription) = feed();
    let position = |seq| Position { epoch: 1, seq };
    let graph = mesh.graph.clone();
    let snapshot = Snapshot { position: position(0), as_of_ms: 0, graph: mesh.graph, metrics: mesh.metrics };
    assert!(sender.send(FeedEvent::Snapshot(snapshot)).is_ok());
    let served = serve(1, subscription);
    let client = client_runtime();
    let (received, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let len = Arc::new(AtomicUsize::new(0));
    let wait = async |wanted: usize| {
        while received.load(Ordering::Relaxed) < wanted {
            all.notified().await;
        }
    };
    client.block_on(async {
        for _ in 0..CONNECTIONS {
            let mut connection = connect(served.address).await;
            for _ in 0..EACH {
                let mut stream = streaming(&mut connection, WATCH, &WatchMeshGraphRequest::default()).await;
                let (received, all, len) = (received.clone(), all.clone(), len.clone());
                tokio::spawn(async move {
                    while let Ok(Some(message)) = stream.message().await {
                        len.store(message.len(), Ordering::Relaxed);
                        drop(message);
                        if (received.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(WATCHERS) {
                            all.notify_one();
                        }
                    }
                });
            }
        }
        wait(WATCHERS).await;
    });

    let (id, workload) = graph.workloads.iter().next().unwrap();
    let mut raw = None;
    let mut pairs = Vec::new();
    let mut busy = Duration::ZERO;
    for seq in 1..=DELTAS {
        let workload = Arc::new(Workload { pods_ready: seq as u32, ..Workload::clone(workload) });
        let put = Changes { put: vec![(id.clone(), workload)], removed: Vec::new() };
        let delta = Arc::new(Delta { workloads: put, ..Delta::default() });
        let before = server_time();
        let began = Instant::now();
        assert!(sender.send(FeedEvent::Delta { position: position(seq as u64), as_of_ms: 0, delta }).is_ok());
        client.block_on(wait((1 + seq) * WATCHERS));
        let took = began.elapsed();
        busy += server_time() - before;
        let raw = raw.get_or_insert_with(|| Raw::new(CONNECTIONS, EACH, len.load(Ordering::Relaxed)));
        let began = Instant::now();
        raw.round();
        pairs.push((took, began.elapsed()));
    }
    pairs.drain(..5);
    let note = format!(
        "{} per delta; server CPU {} per delivery; encodes per delta {:.2}",
        size(len.load(Ordering::Relaxed)),
        time(busy / (DELTAS * WATCHERS) as u32),
        served.metrics.encodes(Encoded::Delta) as f64 / DELTAS as f64,
    );
    table.compared(&format!("one delta to {WATCHERS} watchers on {CONNECTIONS} connections, until the last has it; floor: as many writes to {CONNECTIONS} TCP connections"), Compared::of(pairs), &note);
}

/// Plain TCP: a thread writes `each` times `len` bytes to every connection when told, and somebody reads all of it.
struct Raw {
    told: std::sync::mpsc::Sender<()>,
    streams: Vec<TcpStream>,
    bytes: usize,
}

impl Raw {
    fn new(connections: usize, each: usize, len: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Vec<_> = (0..connections).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted: Vec<_> = (0..connections).map(|_| listener.accept().unwrap().0).collect();
        accepted.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let (told, orders) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let message = vec![7; len];
            while orders.recv().is_ok() {
                for _ in 0..each {
                    accepted.iter_mut().for_each(|stream| stream.write_all(&message).unwrap());
                }
            }
        });
        Self { told, streams, bytes: each * len }
    }

    fn round(&mut self) {
        self.told.send(()).unwrap();
        let mut buffer = vec![0; self.bytes];
        self.streams.iter_mut().for_each(|stream| stream.read_exact(&mut buffer).unwrap());
    }
}
