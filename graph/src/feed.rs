//! The feed between the one controller that leads and the replicas that answer: what goes over it, and the two ends.
//!
//! Topology changes are ordered and dense: `(epoch, seq)`, each seq one more than the last. Metric frames supersede
//! each other. A snapshot stands for everything up to its position. Two implementations of the ends exist, one in
//! memory and one over Redis; both carry these values.
//!
//! What the ends over Redis decide is here as values, without Redis: [`reader`] what to read next and what to believe,
//! [`lease`] and [`election`] who leads, and [`reign`] which number a publication gets. `feed/tests` runs them against a
//! simulated Redis with every fault we could think of.

mod chance;
pub mod election;
pub mod lease;
pub mod reader;
pub mod reign;
#[cfg(test)]
mod tests;

use crate::{delta::Delta, metrics::Metrics, model::Graph};
use serde::{Deserialize, Serialize};
use std::{future::Future, sync::Arc};

/// A place in the stream of topology changes. An epoch is one leader's reign and only grows; seq is dense within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The leader's reign.
    pub epoch: u64,
    /// The change within it; 0 is the state at the start of the reign.
    pub seq: u64,
}

/// What a reader gets from the feed.
#[derive(Debug, Clone)]
pub enum Event {
    /// Start over from here.
    Snapshot(Snapshot),
    /// The change that leads to `position`; fits a graph at the seq before.
    Delta {
        /// The position after the change.
        position: Position,
        /// When the leader made it, in milliseconds since the Unix epoch.
        as_of_ms: i64,
        /// The change.
        delta: Arc<Delta>,
    },
    /// New numbers, computed on the graph at `position`.
    Metrics {
        /// The topology they belong to.
        position: Position,
        /// The numbers.
        metrics: Arc<Metrics>,
    },
    /// The leader is alive and at this position.
    Heartbeat {
        /// The leader's position.
        position: Position,
        /// When, in milliseconds since the Unix epoch.
        as_of_ms: i64,
    },
}

/// The whole graph at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Where in the stream it stands.
    pub position: Position,
    /// When the leader took it, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// The graph.
    pub graph: Arc<Graph>,
    /// The numbers at that time.
    pub metrics: Arc<Metrics>,
}

/// The writing end. One leader writes.
pub trait Publisher: Send {
    /// Why publishing failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Appends a topology change and returns the position it got.
    fn delta(
        &mut self,
        as_of_ms: i64,
        delta: Arc<Delta>,
    ) -> impl Future<Output = Result<Position, Self::Error>> + Send;

    /// Replaces the numbers. `graph` is the graph they belong to, the one after the last delta.
    fn metrics(
        &mut self,
        graph: &Graph,
        metrics: Arc<Metrics>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Stores a snapshot of the graph after the last delta, for readers that start or that lost their place.
    fn snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> impl Future<Output = Result<Position, Self::Error>> + Send;

    /// Says that the leader is alive, when nothing else did for a while.
    fn heartbeat(&mut self, as_of_ms: i64) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Waits until a reader asks for a snapshot.
    fn resync_requested(&mut self) -> impl Future<Output = ()> + Send;
}

/// The reading end.
pub trait Subscription: Send {
    /// Why reading failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The next event. The first one is a snapshot. After an error the subscription has reconnected or will at the
    /// next call; the caller keeps answering from what it has.
    fn next(&mut self) -> impl Future<Output = Result<Event, Self::Error>> + Send;

    /// Asks the leader for a snapshot; it comes as an [`Event::Snapshot`].
    fn resync(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
