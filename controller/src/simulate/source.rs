//! Runs a simulated mesh: its objects go to the reader of the watches, its numbers to whoever polls.

use super::{Event, Options, Simulation};
use crate::graph::{
    fact::{Change, Fact},
    kind::{KINDS, Kind},
    status::WatchState,
};
use crate::{
    prometheus::{MetricsSource, Poll},
    watch::{Message, fact_from_value},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

/// Custom resources that a plain Linkerd and Gateway API do not install.
const ABSENT: [Kind; 3] = [Kind::TLSRoute, Kind::TCPRoute, Kind::Link];

/// The most seconds the simulation catches up on at once: a laptop that slept all night need not relive it.
const CATCH_UP_S: u64 = 60;

/// The numbers of a simulated mesh.
#[derive(Debug, Clone)]
pub struct SimulatedMetrics {
    // Held for one tick or one poll, never across an await.
    simulation: Arc<Mutex<Simulation>>,
}

/// Nobody reads any more.
struct Closed;

/// Simulates a mesh in a task of its own until nobody reads `sender` any more: first the complete list of every kind,
/// then what changes as time passes. Must be called within a tokio runtime.
pub fn start(options: Options, sender: mpsc::Sender<Message>) -> SimulatedMetrics {
    let simulation = Arc::new(Mutex::new(Simulation::new(options)));
    let metrics = SimulatedMetrics { simulation: simulation.clone() };
    tokio::spawn(async move {
        // Ends when nobody reads any more.
        let _: Result<(), Closed> = run(simulation, sender).await;
    });
    metrics
}

async fn run(simulation: Arc<Mutex<Simulation>>, sender: mpsc::Sender<Message>) -> Result<(), Closed> {
    let send = async |message| sender.send(message).await.map_err(|_| Closed);
    let objects = simulation.lock().objects();
    for message in lists(&objects) {
        send(message).await?;
    }
    drop(objects);
    let began = Instant::now();
    let mut lived = 0;
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return Err(Closed),
        }
        let now = began.elapsed().as_secs();
        let (shared, seconds) = (simulation.clone(), (now - lived).min(CATCH_UP_S));
        // It waits while a poll goes on, and a large mesh takes a while: not on a thread that serves others.
        let passed = tokio::task::spawn_blocking(move || pass(&shared, seconds)).await;
        let events = match passed {
            Ok(events) => events,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        lived = now;
        for event in events {
            match event.change() {
                Ok(change) => send(Message::Change(change)).await?,
                Err(error) => {
                    tracing::error!(%error, "a simulated object is not of its kind; it is left out")
                }
            }
        }
    }
}

/// Lets time pass, and says what goes wrong and what is over.
fn pass(simulation: &Mutex<Simulation>, seconds: u64) -> Vec<Event> {
    let mut simulation = simulation.lock();
    let before = simulation.incidents();
    let events = simulation.advance(seconds);
    let after = simulation.incidents();
    drop(simulation);
    for incident in before.iter().filter(|incident| !after.contains(incident)) {
        tracing::info!(%incident, "over in the simulated mesh");
    }
    for incident in after.iter().filter(|incident| !before.contains(incident)) {
        tracing::info!(%incident, "new in the simulated mesh");
    }
    events
}

/// What the watches tell at their start: each kind's state, its complete list, and that it is synced.
fn lists(objects: &[(Kind, serde_json::Value)]) -> Vec<Message> {
    let mut facts: BTreeMap<Kind, Vec<Fact>> = BTreeMap::new();
    for (kind, object) in objects {
        match fact_from_value(*kind, object) {
            Ok(fact) => facts.entry(*kind).or_default().push(fact),
            Err(error) => {
                tracing::error!(%kind, %error, "a simulated object is not of its kind; it is left out");
            }
        }
    }
    let mut messages: Vec<_> =
        KINDS.iter().map(|row| Message::State(row.kind, WatchState::Syncing)).collect();
    for row in KINDS {
        if ABSENT.contains(&row.kind) {
            messages.push(Message::State(row.kind, WatchState::Absent));
            continue;
        }
        let list = facts.remove(&row.kind).unwrap_or_default();
        messages.push(Message::Change(Change::Reset(row.kind, list)));
        messages.push(Message::State(row.kind, WatchState::Synced));
    }
    messages
}

impl MetricsSource for SimulatedMetrics {
    async fn poll(&mut self, now_ms: i64) -> Poll {
        let simulation = self.simulation.clone();
        // A large mesh takes a while: not on a thread that answers others.
        let polled = tokio::task::spawn_blocking(move || simulation.lock().poll(now_ms)).await;
        match polled {
            Ok((traffic, status)) => Poll::Answered { traffic: Box::new(traffic), status },
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
