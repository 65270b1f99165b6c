//! The control arm: a follower of the feed without numbers, reigns, log or checks, as the first idea of it would be. It
//! takes the snapshot once and then whatever is published, in the order in which it comes.

use crate::world::{Ports, SOON};
use futures::StreamExt as _;
use linkerd_mcp_graph::{
    delta,
    feed::Position,
    model::Graph,
    wire::{self, Limits, patch, snapshot},
};
use linkerd_mcp_test::wait;
use parking_lot::Mutex;
use redis::{AsyncCommands as _, Client};
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tokio::task::JoinHandle;

/// The follower.
pub(crate) struct Naive {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What it has, and where that came from.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    graph: Graph,
    /// Of every envelope that came, in this order.
    pub(crate) positions: Vec<Position>,
    /// Of every change among them, with its bytes.
    pub(crate) changes: Vec<(Position, Vec<u8>)>,
}

impl Naive {
    pub(crate) async fn start(redis: SocketAddr) -> Self {
        let client = Client::open(format!("redis://{redis}")).unwrap();
        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.subscribe(&[wire::DELTA, wire::METRICS]).await.unwrap();
        let mut commands = linkerd_mcp_test::redis::connect(&client).await.unwrap();
        let bytes = wait::until("there is a snapshot", SOON, async || {
            let bytes: Option<Vec<u8>> = commands.get(wire::SNAPSHOT).await.ok()?;
            bytes
        })
        .await
        .unwrap();
        let graph = snapshot::decode(&bytes, Limits::SNAPSHOT).unwrap().graph;
        let seen = Arc::new(Mutex::new(Seen { graph, ..Seen::default() }));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut messages = pubsub.into_on_message();
            while let Some(message) = messages.next().await {
                shared.lock().take(message.get_payload_bytes());
            }
        });
        Self { seen, task }
    }

    /// The Services it believes in.
    pub(crate) fn ports(&self) -> Ports {
        let seen = self.seen.lock();
        let graph = serde_json::to_value(&seen.graph).unwrap();
        let services = graph["services"].as_object().unwrap();
        let of = |(id, service): (&String, &Value)| {
            let name = id.split_once('/').unwrap().1.to_owned();
            (
                name,
                service["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
            )
        };
        services.iter().map(of).collect()
    }

    /// All it has seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Waits until nothing comes any more because its connection has ended.
    pub(crate) async fn until_cut_off(&self) {
        let ended = wait::until("the connection ends", SOON, async || self.task.is_finished().then_some(()));
        ended.await.unwrap();
    }

    /// Waits until it has seen what is wanted.
    pub(crate) async fn until<T>(&self, what: &str, wanted: impl Fn(&Seen) -> Option<T>) -> T {
        wait::until(what, SOON, async || wanted(&self.seen.lock())).await.unwrap()
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        // Without a look at the checksums.
        let Ok(envelope) = serde_json::from_slice::<Value>(bytes) else { return };
        let (Some(epoch), Some(seq)) = (envelope["epoch"].as_u64(), envelope["seq"].as_u64()) else { return };
        let position = Position { epoch, seq };
        self.positions.push(position);
        let Ok(delta) = patch::decode(&envelope["patch"].to_string()) else { return };
        self.changes.push((position, bytes.to_vec()));
        if let Ok(graph) = delta::apply(&self.graph, &delta) {
            self.graph = graph;
        }
    }

    /// The reigns in the order in which they were heard, each once for every time that it took over from another.
    pub(crate) fn reigns(&self) -> Vec<u64> {
        let mut reigns: Vec<u64> = self.positions.iter().map(|position| position.epoch).collect();
        reigns.dedup();
        reigns
    }
}
