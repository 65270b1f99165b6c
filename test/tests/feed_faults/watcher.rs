//! A client that watches, with the history of what it was told.
//!
//! The history must be such as etcd's watches promise: ordered, without repetition, without a hole that is not
//! announced, and never back to a reign that is over.

use crate::world::{Ports, SOON, ports};
use linkerd_mcp_graph::feed::Position;
use linkerd_mcp_proto::v1::{
    self, WatchMeshGraphRequest, mesh_context_client::MeshContextClient, watch_mesh_graph_response::Event,
};
use linkerd_mcp_test::wait;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// A client in a task of its own.
pub(crate) struct Watcher {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

/// What it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// In this order.
    pub(crate) history: Vec<Item>,
    /// What it makes of it.
    ports: Ports,
    /// How the stream ended, if it did.
    ended: Option<String>,
}

/// One thing that a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Snapshot(Position),
    Delta(Position),
    Resync,
}

impl Watcher {
    pub(crate) async fn start(mut client: MeshContextClient<Channel>) -> Self {
        let mut stream =
            client.watch_mesh_graph(WatchMeshGraphRequest::default()).await.unwrap().into_inner();
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = told.clone();
        let task = tokio::spawn(async move {
            let end = loop {
                match stream.message().await {
                    Ok(Some(message)) => shared.lock().take(message.event),
                    Ok(None) => break "it ended".to_owned(),
                    Err(status) => break status.to_string(),
                }
            };
            shared.lock().ended = Some(end);
        });
        let watcher = Self { told, task };
        watcher.until("the watcher has a snapshot", |told| told.history.first().map(drop)).await;
        watcher
    }

    /// Waits until it was told what is wanted.
    pub(crate) async fn until<T>(&self, what: &str, wanted: impl Fn(&Told) -> Option<T>) -> T {
        let found = wait::until(what, SOON, async || wanted(&self.told.lock())).await;
        found.unwrap_or_else(|error| panic!("{error}: {:?}", self.told.lock()))
    }

    /// Waits until what it was told makes the truth, then holds its history against the rules.
    pub(crate) async fn until_true(&self, truth: &Ports) -> Told {
        let told = self
            .until("the watcher knows what Kubernetes has", |told| {
                (told.ports == *truth).then(|| told.clone())
            })
            .await;
        told.check();
        told
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Told {
    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Snapshot(v1::Snapshot { position, graph })) => {
                self.history.push(Item::Snapshot(at(position)));
                self.ports = ports(&graph.unwrap_or_default());
            }
            Some(Event::Delta(delta)) => {
                self.history.push(Item::Delta(at(delta.position)));
                for id in &delta.removed_services {
                    self.ports.remove(id.split_once('/').map_or(id.as_str(), |(_, name)| name));
                }
                let changed = v1::MeshGraph { services: delta.services, ..v1::MeshGraph::default() };
                self.ports.append(&mut ports(&changed));
            }
            Some(Event::Resync(_)) => self.history.push(Item::Resync),
            Some(Event::Metrics(_) | Event::Bookmark(_)) | None => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.ended, None);
        let mut here: Option<Position> = None;
        for item in &self.history {
            match (*item, here) {
                (Item::Snapshot(there), None) => here = Some(there),
                (Item::Snapshot(there), Some(before)) => {
                    assert!(there >= before, "back from {before:?}: {:?}", self.history);
                    here = Some(there);
                }
                (Item::Delta(there), Some(before)) => {
                    let next = Position { seq: before.seq + 1, ..before };
                    assert_eq!(there, next, "neither dense nor announced: {:?}", self.history);
                    here = Some(there);
                }
                (Item::Delta(_), None) => panic!("a change of nothing: {:?}", self.history),
                // A snapshot follows; until then the last position stands.
                (Item::Resync, _) => {}
            }
        }
    }
}

fn at(position: Option<v1::Position>) -> Position {
    let v1::Position { epoch, seq } = position.unwrap();
    Position { epoch, seq }
}
