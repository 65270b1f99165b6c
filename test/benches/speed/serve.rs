//! GetMeshGraph over a real socket.

use crate::{
    measure::{Compared, Table, size, time},
    mesh::{LARGE, SMALL, Size},
    rpc::{PingPong, Served, client_runtime, connect, feed, serve as start, server_time, unary},
};
use linkerd_mcp_api::metrics::Encoded;
use linkerd_mcp_graph::feed::{Event, Position, Snapshot};
use linkerd_mcp_proto::v1::GetMeshGraphRequest;
use std::time::Duration;
use tokio::{runtime::Runtime, time::Instant};
use tonic::{client::Grpc, transport::Channel};

const GET: &str = "/mcp.v1.MeshContext/GetMeshGraph";

/// An API that has a mesh, and a client of it.
struct Rig {
    served: Served,
    runtime: Runtime,
    client: Grpc<Channel>,
}

impl Rig {
    fn new(size: Size) -> Self {
        let mesh = size.mesh();
        let (sender, subscription) = feed();
        let position = Position { epoch: 1, seq: 1 };
        let snapshot = Snapshot { position, as_of_ms: 0, graph: mesh.graph, metrics: mesh.metrics };
        assert!(sender.send(Event::Snapshot(snapshot)).is_ok());
        let served = start(1, subscription);
        let runtime = client_runtime();
        let client = runtime.block_on(connect(served.address));
        // The server waits for ever when the sending end is gone.
        drop(sender);
        Self { served, runtime, client }
    }

    fn get(&mut self, request: &GetMeshGraphRequest) -> usize {
        self.runtime.block_on(unary(&mut self.client, GET, request)).len()
    }
}

pub(crate) fn serve(table: &mut Table) {
    let (mut small, mut large) = (Rig::new(SMALL), Rig::new(LARGE));
    // The health check's request may be empty, and every empty message is the same bytes.
    let health = GetMeshGraphRequest::default();
    let empty = |rig: &mut Rig| {
        rig.runtime.block_on(unary(&mut rig.client, "/grpc.health.v1.Health/Check", &health));
    };
    alternate(table, "tonic's own health check, 64 requests a round", 64, 2, || empty(&mut small));

    let whole = GetMeshGraphRequest::default();
    let bytes = small.get(&whole);
    let what = format!("GetMeshGraph, whole, {}, {}", SMALL.name(), size(bytes));
    alternate(table, &what, 16, bytes, || _ = small.get(&whole));
    let bytes = large.get(&whole);
    let what = format!("GetMeshGraph, whole, {}, {}", LARGE.name(), size(bytes));
    alternate(table, &what, 3, bytes, || _ = large.get(&whole));
    for (rig, size) in [(&small, SMALL), (&large, LARGE)] {
        let count = rig.served.metrics.encodes(Encoded::GraphProtobuf);
        table.plain(
            &format!("encodes of the whole graph for all calls above, {}", size.name()),
            &count.to_string(),
            "1",
            "one revision",
        );
    }

    let part = GetMeshGraphRequest { namespace: "team-020".to_owned(), ..GetMeshGraphRequest::default() };
    for (rig, of) in [(&mut small, SMALL), (&mut large, LARGE)] {
        let bytes = rig.get(&part);
        let what = format!("GetMeshGraph, one namespace of 25 Services of {}, {}", of.name(), size(bytes));
        alternate(table, &what, 32, bytes, || _ = rig.get(&part));
    }
}

/// Wall time per call in turns with TCP that moves the same bytes, and the server's CPU time.
fn alternate(table: &mut Table, what: &str, times: u32, len: usize, mut call: impl FnMut()) {
    let mut raw = PingPong::new(len);
    let mut busy = Duration::ZERO;
    let rounds = 21;
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let before = server_time();
        let ours = wall(times, &mut call);
        if round > 0 {
            busy += server_time() - before;
            pairs.push((ours, wall(times, || raw.call())));
        }
    }
    let note = format!("server CPU {} per call", time(busy / (rounds * times)));
    table.compared(&format!("{what}; floor: raw TCP of the same bytes"), Compared::of(pairs), &note);
}

/// The median of `times` calls.
fn wall(times: u32, mut call: impl FnMut()) -> Duration {
    let mut each: Vec<Duration> = (0..times)
        .map(|_| {
            let began = Instant::now();
            call();
            began.elapsed()
        })
        .collect();
    crate::measure::median(&mut each)
}
