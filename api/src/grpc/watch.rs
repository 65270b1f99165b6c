//! WatchMeshGraph: a snapshot, then changes and numbers as they happen.
//!
//! Nothing is queued per watcher. A watcher is a place in the shared ring of changes, and the next message is looked
//! up when its connection can take one. One that reads too slowly finds its place gone, is told so, and gets a
//! snapshot; numbers in between are skipped, because newer ones supersede them.
//!
//! One who may see some namespaces only has what it has seen instead of a place: its changes are the difference to what
//! it may see now, which costs what that weighs. What it may see is asked again every [`RECHECK`].

use super::{MeshContext, body::Reply, retry};
use crate::{
    answer::Refusal,
    authorization::{Asker, Granted},
    encode::{
        Detail,
        message::{Head, Message},
        position as position_of, proto,
    },
    metrics::{ApiMetrics, ResyncCause},
    replica::{Next, Tick, WatchEvent, delta_message},
    rights::{Scope, table::Surface},
    view::{Format, View, frame_message},
};
use futures::stream;
use linkerd_mcp_graph::{
    delta,
    feed::Position,
    query::{check_namespace, edges},
};
use linkerd_mcp_proto::v1::{self, watch_mesh_graph_response::Event};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout},
};
use tonic::Status;

/// Field `graph` of [`v1::Snapshot`] and `snapshot` of [`v1::WatchMeshGraphResponse`].
const GRAPH: u32 = 2;
const SNAPSHOT: u32 = 1;

/// How often the rights of a watcher are asked for. Decisions stand as long ([`crate::rights`]).
const RECHECK: Duration = Duration::from_secs(10);

/// For how long a watcher goes on with what it was granted while nobody can say whether it still is.
const TRUST: Duration = Duration::from_secs(60);

/// One watcher.
struct Watcher {
    /// What the watcher may see.
    service: MeshContext,
    /// All there is.
    whole: MeshContext,
    granted: Arc<Granted>,
    /// When its rights were last asked for, and last found.
    asked: Instant,
    found: Instant,
    /// For one who may see some namespaces only: what it has.
    seen: Option<Arc<View>>,
    namespace: Option<String>,
    ticks: watch::Receiver<Tick>,
    state: State,
    /// Lives as long as the watcher.
    _open: Open,
}

/// What the watcher gets next.
enum State {
    /// First this, then a snapshot.
    Resync(ResyncCause),
    /// A snapshot.
    Start,
    /// What follows this place.
    Follow(Place),
    /// Nothing; it was told why.
    Ended,
}

/// What the watcher has.
#[derive(Clone, Copy)]
struct Place {
    position: Position,
    /// Of the view it started from; none for one who resumed and has not been matched with a view yet.
    generation: Option<u64>,
    /// The newest numbers it has had, as counted by [`View::frame`]; 0 for none.
    frame: u64,
}

/// Counts the watcher and takes one of the places while it lives.
struct Open {
    metrics: ApiMetrics,
    _place: OwnedSemaphorePermit,
}

pub(super) fn watch_mesh_graph(
    service: &MeshContext,
    whole: &MeshContext,
    granted: Arc<Granted>,
    request: v1::WatchMeshGraphRequest,
) -> Result<Reply, Status> {
    let view = service.replica.view().ok_or(Refusal::NotReady)?;
    let namespace = Some(request.namespace).filter(|name| !name.is_empty());
    if let Some(name) = &namespace {
        check_namespace(&view.graph, name).map_err(Refusal::from)?;
    }
    let place = service.places.clone().try_acquire_owned();
    let place = place.map_err(|_| retry::no_room(service.max_watchers))?;
    let state = match request.resume_from {
        None => State::Start,
        // What it may see may have been something else then.
        Some(_) if granted.scope != Scope::All => State::Resync(ResyncCause::Resume),
        Some(at) => resume(service, Position { epoch: at.epoch, seq: at.seq }),
    };
    service.metrics.watchers.inc();
    let watcher = Watcher {
        ticks: service.replica.ticks(),
        service: service.clone(),
        whole: whole.clone(),
        granted,
        asked: Instant::now(),
        found: Instant::now(),
        seen: None,
        namespace,
        state,
        _open: Open { metrics: service.metrics.clone(), _place: place },
    };
    let messages = stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|message| (message, watcher))
    });
    Ok(Reply::Stream(Box::pin(messages)))
}

fn resume(service: &MeshContext, position: Position) -> State {
    match service.replica.after(position, None) {
        Next::Lost => State::Resync(ResyncCause::Resume),
        Next::Event(_) | Next::UpToDate => State::Follow(Place { position, generation: None, frame: 0 }),
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Message, Status>> {
        loop {
            if self.ticks.borrow_and_update().closing {
                return self.close();
            }
            if self.asked.elapsed() >= RECHECK
                && !matches!(self.state, State::Ended)
                && let Err(refused) = self.recheck().await
            {
                self.state = State::Ended;
                return Some(Err(refused));
            }
            match self.state {
                State::Ended => return None,
                State::Resync(cause) => {
                    self.state = State::Start;
                    self.service.metrics.told_to_resync(cause);
                    let resync = v1::Resync { reason: reason(cause).to_owned() };
                    return Some(Ok(event(Event::Resync(resync))));
                }
                State::Start => {
                    // There is a view: watches are refused before the first one, and it never goes away.
                    let view = self.service.replica.view()?;
                    self.state = State::Follow(Place {
                        position: view.position,
                        generation: Some(view.generation),
                        frame: view.frame,
                    });
                    self.seen = (self.granted.scope != Scope::All).then(|| view.clone());
                    return Some(Ok(self.snapshot(&view).await));
                }
                State::Follow(place) => {
                    if let Some(message) = self.follow(place).await {
                        return Some(Ok(message));
                    }
                }
            }
        }
    }

    /// Asks again whether, and where, the caller may watch.
    async fn recheck(&mut self) -> Result<(), Status> {
        self.asked = Instant::now();
        let asker = Asker { who: Some(self.granted.who.clone()), trace: self.granted.trace };
        let name = "mcp.v1.MeshContext/WatchMeshGraph";
        match self.whole.authorization.admit(Surface::Grpc, name, &asker, &self.whole.replica).await {
            Ok(granted) => {
                self.found = Instant::now();
                if granted.scope != self.granted.scope {
                    self.service = self.whole.scoped(&granted);
                    self.granted = Arc::new(granted);
                    self.state = State::Resync(ResyncCause::Rights);
                }
                Ok(())
            }
            Err(refused) if refused.is_undecided() && self.found.elapsed() < TRUST => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// As [`Watcher::follow`], for one who may see some namespaces only.
    async fn follow_limited(&mut self, place: Place, seen: Arc<View>) -> Option<Message> {
        let view = self.service.replica.view()?;
        if view.generation != seen.generation {
            self.state = State::Resync(ResyncCause::Replica);
            return None;
        }
        if view.position != seen.position {
            let change = delta::diff(&seen.graph, &view.graph);
            self.seen = Some(view.clone());
            self.state = State::Follow(Place { position: view.position, ..place });
            let delta = proto::delta(&change, &view.graph, &view.metrics, self.namespace.as_deref());
            if proto::is_empty(&delta) && change.status.is_none() {
                return None;
            }
            let freshness = self.service.replica.freshness(&view);
            return Some(Message::of(&delta_message(delta, view.position, freshness)));
        }
        if place.frame != view.frame {
            self.state = State::Follow(Place { frame: view.frame, ..place });
            return Some(self.frame(&view).await);
        }
        self.wait(place, &view).await
    }

    /// The next message after `place`; none when the state changed or nothing for this watcher happened.
    async fn follow(&mut self, place: Place) -> Option<Message> {
        if let Some(seen) = self.seen.clone() {
            return self.follow_limited(place, seen).await;
        }
        // The view first: the ring has everything that led to it.
        let view = self.service.replica.view()?;
        match self.service.replica.after(place.position, place.generation) {
            Next::Lost => {
                let same = place.generation.is_none_or(|generation| generation == view.generation);
                let cause = if same { ResyncCause::Slow } else { ResyncCause::Replica };
                self.state = State::Resync(cause);
                None
            }
            Next::Event(change) => {
                let generation = place.generation.or(Some(view.generation));
                self.state = State::Follow(Place { position: change.position, generation, ..place });
                self.change(&view, &change)
            }
            // A change is in the ring a moment before the view that has it; its numbers then come with that view.
            Next::UpToDate if place.frame != view.frame && place.position == view.position => {
                let generation = place.generation.or(Some(view.generation));
                self.state = State::Follow(Place { frame: view.frame, generation, ..place });
                Some(self.frame(&view).await)
            }
            Next::UpToDate => self.wait(place, &view).await,
        }
    }

    async fn wait(&mut self, place: Place, view: &Arc<View>) -> Option<Message> {
        if timeout(self.service.bookmarks, self.ticks.changed()).await.is_ok() {
            return None;
        }
        let freshness = self.service.replica.freshness(view);
        let position = Some(position_of(place.position));
        Some(event(Event::Bookmark(v1::Bookmark { position, freshness: Some(freshness) })))
    }

    async fn snapshot(&self, view: &Arc<View>) -> Message {
        let metrics = &self.service.metrics;
        let body = match &self.namespace {
            None => view.body(Format::Protobuf, Detail::Full, metrics).await,
            Some(namespace) => {
                view.body_of_namespace(namespace, Format::Protobuf, Detail::Full, metrics).await
            }
        };
        let freshness = Some(self.service.replica.freshness(view));
        let graph = v1::MeshGraph { freshness, ..v1::MeshGraph::default() };
        let snapshot = v1::Snapshot { position: Some(position_of(view.position)), graph: None };
        Head::new(&graph, body.len())
            .inside(GRAPH, &snapshot)
            .inside(SNAPSHOT, &v1::WatchMeshGraphResponse::default())
            .before(body)
    }

    /// The change as this watcher sees it; none when it is about other namespaces.
    fn change(&self, view: &View, change: &WatchEvent) -> Option<Message> {
        let Some(namespace) = &self.namespace else {
            return Some(Message::shared(change.message.clone()));
        };
        let delta = proto::delta(&change.delta, &view.graph, &view.metrics, Some(namespace));
        if proto::is_empty(&delta) && change.delta.status.is_none() {
            return None;
        }
        let freshness = self.service.replica.freshness(view);
        Some(Message::of(&delta_message(delta, change.position, freshness)))
    }

    async fn frame(&self, view: &Arc<View>) -> Message {
        let freshness = || self.service.replica.freshness(view);
        match &self.namespace {
            None => Message::shared(view.frame(freshness, &self.service.metrics).await),
            Some(namespace) => {
                let edges = edges::of_namespace(&view.graph, &view.index, namespace);
                let numbers = proto::numbers(edges.into_iter().map(|(id, _)| id), &view.metrics);
                Message::of(&frame_message(view.position, freshness(), numbers))
            }
        }
    }

    fn close(&mut self) -> Option<Result<Message, Status>> {
        let position = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return None,
            State::Follow(place) => format!("position {}/{}", place.position.epoch, place.position.seq),
            State::Resync(_) | State::Start => "nothing".to_owned(),
        };
        let watchers = self.service.max_watchers - self.service.places.available_permits();
        Some(Err(retry::going_away(
            watchers,
            format!("this replica is shutting down; watch again, another one resumes from {position}"),
        )))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.watchers.dec();
    }
}

fn event(event: Event) -> Message {
    Message::of(&v1::WatchMeshGraphResponse { event: Some(event) })
}

fn reason(cause: ResyncCause) -> &'static str {
    match cause {
        ResyncCause::Resume => {
            "this replica does not have the changes after the position to resume from; a snapshot follows"
        }
        ResyncCause::Slow => {
            "the graph changed faster than this watch was read, and the changes in between are no longer kept; a \
             snapshot follows"
        }
        ResyncCause::Rights => "what this caller may see is not what it was; a snapshot follows",
        ResyncCause::Replica => "the leader changed or changes were lost on the way here; a snapshot follows",
    }
}

#[cfg(test)]
mod tests;
