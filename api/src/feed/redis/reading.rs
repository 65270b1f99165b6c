//! The steps of reading: the snapshot, the log, and what is pushed.

use super::{Fault, Known, Next, RedisSubscription, inbox::Arrival};
use crate::{
    chain::chain,
    graph::{
        delta::{self, Misfit},
        feed::{Event, Position, Snapshot},
        model::Graph,
        wire::{ENVELOPE_FIELD, envelope, frame, patch, snapshot},
    },
};
use redis::{AsyncCommands, aio::MultiplexedConnection, streams::StreamRangeReply};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How many entries of the log are read at a time.
const BATCH: usize = 256;
/// While a snapshot is waited for: the least time between two looks, and the time after which we look unasked.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

/// An entry of the log.
struct Entry {
    position: Position,
    envelope: Vec<u8>,
}

/// A change that cannot be applied.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    #[error(transparent)]
    Patch(#[from] patch::Error),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("the entry is not of the form that the feed writes")]
    Form,
}

// === impl RedisSubscription ===

impl RedisSubscription {
    /// Takes the snapshot and all of the log after it. When that does not lead far enough, asks the leader for a newer
    /// one and waits.
    pub(super) async fn take_snapshot(&mut self, at_least: Option<Position>) -> Result<(), Fault> {
        self.wait_for_news().await?;
        self.next_look = Instant::now() + SOON;
        let (snapshot, newest_frame): (Option<Vec<u8>>, Option<Vec<u8>>) =
            self.ask(async |redis, names| redis.mget(&[&names.snapshot, &names.metrics]).await).await?;
        let Some(bytes) = snapshot else {
            return self.request("there is no snapshot").await;
        };
        let limits = self.options.snapshot;
        let topology = match blocking(move || snapshot::decode(&bytes, limits)).await? {
            Ok(topology) => topology,
            Err(error) => {
                self.metrics.bad_snapshots.inc();
                return self.request(&format!("the snapshot is refused: {}", chain(&error))).await;
            }
        };
        let known = Known {
            position: topology.position,
            as_of_ms: topology.as_of_ms,
            graph: Arc::new(topology.graph),
        };
        let known = self.log_applied(known).await?;
        if at_least.is_some_and(|wanted| !reaches(known.position, wanted)) {
            return self.request("the snapshot and the log do not reach the present").await;
        }
        if let Some(bytes) = newest_frame {
            self.keep_frame(&bytes);
        }
        self.start_from(known);
        Ok(())
    }

    /// Reads the log after our position.
    pub(super) async fn read_log(&mut self, target: Option<Position>) -> Result<(), Fault> {
        let Some(position) = self.known.as_ref().map(|known| known.position) else {
            self.next = Next::Snapshot(None);
            return Ok(());
        };
        let (reign, entries) = self.log_after(position).await?;
        if let Some(epoch) = reign.filter(|epoch| *epoch != position.epoch) {
            self.next = Next::Snapshot(Some(Position { epoch, seq: 0 }));
            return Ok(());
        }
        let full = entries.len() == BATCH;
        for entry in entries {
            if entry.position != self.following() {
                // The log begins after what we miss, or a number was given up by the leader.
                self.next = Next::Snapshot(Some(entry.position.max(target.unwrap_or_default())));
                return Ok(());
            }
            self.take_entry(&entry);
            if matches!(self.next, Next::Snapshot(_)) {
                return Ok(());
            }
        }
        self.next = match target {
            _ if full => Next::Log(target),
            Some(target) if !self.known.as_ref().is_some_and(|known| reaches(known.position, target)) => {
                Next::Snapshot(Some(target))
            }
            _ => Next::Live,
        };
        Ok(())
    }

    /// Decides about a message of another reign than ours. Only the leader can publish, but the message may have
    /// waited longer than we have known its successor.
    pub(super) async fn check_reign(&mut self, seen: Position) -> Result<(), Fault> {
        let reign: Option<u64> = self.ask(async |redis, names| redis.get(&names.epoch).await).await?;
        if reign == Some(seen.epoch) {
            self.next = Next::Snapshot(Some(seen));
        } else {
            self.metrics.outdated.inc();
            self.next = Next::Live;
        }
        Ok(())
    }

    /// Takes the next thing that is pushed.
    pub(super) async fn live(&mut self) -> Result<(), Fault> {
        self.failures = 0;
        self.retry_at = None;
        let silence = self.options.silence;
        match tokio::time::timeout(silence, self.link()?.arrival()).await {
            Ok(Arrival::Envelope(bytes)) => self.take_envelope(&bytes),
            Ok(Arrival::Frame(bytes)) => {
                self.keep_frame(&bytes);
                self.fit_frame();
            }
            Ok(Arrival::Overflow) => {
                self.metrics.gaps.inc();
                self.next = Next::Log(None);
            }
            Ok(Arrival::Closed) => return Err(self.cut_off()),
            Err(_) => return self.check_silence().await,
        }
        Ok(())
    }

    /// Nothing came for a while. If Redis has something that should have come, the connection is dead though it looks
    /// alive.
    async fn check_silence(&mut self) -> Result<(), Fault> {
        let Some(position) = self.known.as_ref().map(|known| known.position) else { return Ok(()) };
        let (reign, entries) = self.log_after(position).await?;
        let news = !entries.is_empty() || reign.is_some_and(|epoch| epoch != position.epoch);
        if news { Err(self.cut_off()) } else { Ok(()) }
    }

    fn take_envelope(&mut self, bytes: &[u8]) {
        let Some((position, known_as_of)) = self.known.as_ref().map(|known| (known.position, known.as_of_ms))
        else {
            self.next = Next::Snapshot(None);
            return;
        };
        let envelope = match envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                // Which change it was is not known; the log has it whole, or else the snapshot.
                self.refused(&error);
                self.next = Next::Log(None);
                return;
            }
        };
        let at = envelope.position;
        if at.epoch != position.epoch {
            self.next = Next::Reign(at);
        } else if envelope.patch.is_none() && at.seq <= position.seq {
            if let Some(known) = &mut self.known {
                known.as_of_ms = envelope.as_of_ms.max(known_as_of);
            }
            let as_of_ms = envelope.as_of_ms;
            self.ready.push_back(Event::Heartbeat { position, as_of_ms });
        } else if at.seq <= position.seq {
            self.metrics.duplicates.inc();
        } else if envelope.patch.is_some() && at == self.following() {
            if let Err(error) = self.apply(&envelope) {
                self.refused(&error);
                self.next = Next::Snapshot(Some(at));
            }
        } else {
            self.metrics.gaps.inc();
            self.next = Next::Log(Some(at));
        }
    }

    fn take_entry(&mut self, entry: &Entry) {
        let applied = entry.open().and_then(|envelope| self.apply(&envelope));
        if let Err(error) = applied {
            self.refused(&error);
            self.next = Next::Snapshot(Some(entry.position));
        }
    }

    /// Applies the change that follows on our position.
    fn apply(&mut self, envelope: &envelope::Envelope<'_>) -> Result<(), Unfit> {
        let known = self.known.as_mut().ok_or(Unfit::Form)?;
        let delta = patch::decode(envelope.patch.ok_or(Unfit::Form)?)?;
        known.graph = Arc::new(delta::apply(&known.graph, &delta)?);
        known.position = envelope.position;
        known.as_of_ms = envelope.as_of_ms;
        let (position, as_of_ms) = (known.position, known.as_of_ms);
        self.metrics.deltas.inc();
        self.count_position(position);
        self.ready.push_back(Event::Delta { position, as_of_ms, delta: Arc::new(delta) });
        self.fit_frame();
        Ok(())
    }

    fn start_from(&mut self, known: Known) {
        self.known = Some(known.clone());
        self.next = Next::Live;
        self.complaint = None;
        self.metrics.resyncs.inc();
        self.count_position(known.position);
        // The numbers of the frame if it is of this topology, else those we had: they are newer than none.
        let waiting = self.ready.len();
        self.fit_frame();
        self.ready.truncate(waiting);
        self.ready.push_back(Event::Snapshot(Snapshot {
            position: known.position,
            as_of_ms: known.as_of_ms,
            graph: known.graph,
            metrics: self.numbers.clone(),
        }));
    }

    fn keep_frame(&mut self, bytes: &[u8]) {
        match frame::decode(bytes, self.options.frame) {
            Ok(frame) => self.frame = Some(frame),
            Err(error) => self.refused(&error),
        }
    }

    /// Hands over the newest frame if its topology is ours. If its topology is still to come it is kept, and if that
    /// has passed it is dropped: the next poll brings another.
    fn fit_frame(&mut self) {
        let (Some(frame), Some(known)) = (&self.frame, &self.known) else { return };
        let position = known.position;
        let ahead = !reaches(position, frame.position);
        match frame.fit(&known.graph, self.hash.of(&known.graph)) {
            Ok(numbers) => {
                self.numbers = Arc::new(numbers);
                self.frame = None;
                self.metrics.frames.inc();
                self.ready.push_back(Event::Metrics { position, metrics: self.numbers.clone() });
            }
            Err(_) if ahead => {}
            Err(error) => {
                tracing::debug!(%error, "a metric frame came too late for its topology");
                self.frame = None;
            }
        }
    }

    /// `known` with all of the log after it that is whole and without a gap.
    async fn log_applied(&mut self, mut known: Known) -> Result<Known, Fault> {
        loop {
            let (_, entries) = self.log_after(known.position).await?;
            let full = entries.len() == BATCH;
            for entry in entries {
                if entry.position != following(known.position) {
                    return Ok(known);
                }
                match entry.on(&known.graph) {
                    Ok((as_of_ms, graph)) => {
                        known = Known { position: entry.position, as_of_ms, graph: Arc::new(graph) };
                    }
                    Err(error) => {
                        self.refused(&error);
                        return Ok(known);
                    }
                }
            }
            if !full {
                return Ok(known);
            }
        }
    }

    /// The present reign, and the next entries of the log of our reign.
    async fn log_after(&mut self, position: Position) -> Result<(Option<u64>, Vec<Entry>), Fault> {
        let Position { epoch, seq } = following(position);
        let (reign, reply): (Option<u64>, StreamRangeReply) = self
            .ask(async |redis, names| {
                redis::pipe()
                    .get(&names.epoch)
                    .xrange_count(
                        &names.deltas,
                        format!("{epoch}-{seq}"),
                        format!("{epoch}-{}", u64::MAX),
                        BATCH,
                    )
                    .query_async(redis)
                    .await
            })
            .await?;
        let entries = reply.ids.into_iter().filter_map(|id| {
            let position = position_of(&id.id)?;
            Some(Entry { position, envelope: id.get(ENVELOPE_FIELD).unwrap_or_default() })
        });
        Ok((reign, entries.collect()))
    }

    /// Asks the leader for a snapshot, not too often, and says why.
    async fn request(&mut self, why: &str) -> Result<(), Fault> {
        if self.complaint.as_deref() != Some(why) {
            tracing::warn!(reason = %why, "the feed cannot be hydrated yet; asking the controller for a snapshot");
            self.complaint = Some(why.to_owned());
        }
        let now = Instant::now();
        if now >= self.next_request {
            let pause = self.options.between_requests.mul_f64(rand::random_range(0.8..1.2));
            self.next_request = now + pause;
            self.metrics.requests.inc();
            let _: i64 = self.ask(async |redis, names| redis.publish(&names.resync, "").await).await?;
        }
        Ok(())
    }

    /// Returns at once for the first look; after that when something was published or some time has passed.
    async fn wait_for_news(&mut self) -> Result<(), Fault> {
        if self.complaint.is_none() && Instant::now() >= self.next_look {
            return Ok(());
        }
        let latest = self.next_look + LATER.mul_f64(rand::random_range(0.8..1.2));
        let mut deadline = if self.complaint.is_none() { self.next_look } else { latest };
        loop {
            match tokio::time::timeout_at(deadline, self.link()?.arrival()).await {
                Err(_) => return Ok(()),
                Ok(Arrival::Closed) => return Err(self.cut_off()),
                Ok(Arrival::Frame(bytes)) => self.keep_frame(&bytes),
                // What it says is in the log as well.
                Ok(Arrival::Envelope(_) | Arrival::Overflow) => deadline = self.next_look,
            }
        }
    }

    async fn ask<T>(
        &mut self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection, &crate::graph::wire::Names) -> redis::RedisResult<T>,
    ) -> Result<T, Fault> {
        let mut redis = self.link()?.redis.clone();
        command(&mut redis, &self.names).await.map_err(|error| self.dialer.fault(error))
    }

    fn following(&self) -> Position {
        following(self.known.as_ref().map(|known| known.position).unwrap_or_default())
    }

    fn cut_off(&self) -> Fault {
        Fault::Cut { address: self.dialer.address().to_owned() }
    }

    fn refused(&mut self, error: &dyn std::error::Error) {
        self.metrics.bad_messages.inc();
        tracing::warn!(error = %chain(error), "the feed sent something that cannot be used");
    }

    fn count_position(&self, position: Position) {
        self.metrics.epoch.set(i64::try_from(position.epoch).unwrap_or(i64::MAX));
        self.metrics.seq.set(i64::try_from(position.seq).unwrap_or(i64::MAX));
    }
}

// === impl Entry ===

impl Entry {
    fn open(&self) -> Result<envelope::Envelope<'_>, Unfit> {
        let envelope = envelope::decode(&self.envelope)?;
        if envelope.position == self.position { Ok(envelope) } else { Err(Unfit::Form) }
    }

    /// The time of the change and the graph with it.
    fn on(&self, graph: &Graph) -> Result<(i64, Graph), Unfit> {
        let envelope = self.open()?;
        let delta = patch::decode(envelope.patch.ok_or(Unfit::Form)?)?;
        Ok((envelope.as_of_ms, delta::apply(graph, &delta)?))
    }
}

fn following(position: Position) -> Position {
    Position { epoch: position.epoch, seq: position.seq.saturating_add(1) }
}

/// True when whoever is at `position` has what was published up to `wanted`.
fn reaches(position: Position, wanted: Position) -> bool {
    position.epoch == wanted.epoch && position.seq >= wanted.seq
}

fn position_of(id: &str) -> Option<Position> {
    let (epoch, seq) = id.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

/// Decodes off the threads that serve: a large mesh takes a fifth of a second.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Ending)
}
