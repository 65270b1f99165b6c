//! The I/O of reading: does what the [`Reader`](crate::graph::feed::reader::Reader) says, and gives it what came of
//! it. Decides nothing.

use super::{Fault, RedisSubscription, inbox::Arrival};
use crate::graph::{
    feed::{
        Position,
        reader::{BATCH, Command, Entry, Input, Notice},
    },
    wire::{ENVELOPE_FIELD, snapshot},
};
use redis::{AsyncCommands, aio::MultiplexedConnection, streams::StreamRangeReply};
use std::{mem, time::Duration};

// === impl RedisSubscription ===

impl RedisSubscription {
    /// Does the next thing. May be dropped at any time: nothing is taken in before it is whole.
    pub(super) async fn step(&mut self) -> Result<(), Fault> {
        match self.reader.command(self.now()) {
            Command::Connect { not_before } => self.connect(not_before).await,
            Command::Snapshot => self.read_snapshot().await,
            Command::Log { after } => self.read_log(after).await,
            Command::Reign => {
                let reign = self.ask(async |redis, names| redis.get(&names.epoch).await).await?;
                self.take(Input::Reign(reign));
                Ok(())
            }
            Command::Request => {
                let _: i64 = self.ask(async |redis, names| redis.publish(&names.resync, "").await).await?;
                self.take(Input::Requested);
                Ok(())
            }
            Command::Listen { until } => self.listen(until).await,
        }
    }

    async fn connect(&mut self, not_before: Duration) -> Result<(), Fault> {
        self.link = None;
        tokio::time::sleep_until(self.origin + not_before).await;
        self.link = Some(self.dialer.dial(&self.names).await?);
        if mem::replace(&mut self.linked_before, true) {
            self.metrics.reconnects.inc();
        }
        if self.reported.take().is_some() {
            tracing::info!(address = %self.dialer.address(), "connected to the feed again");
        }
        self.take(Input::Connected);
        Ok(())
    }

    async fn read_snapshot(&mut self) -> Result<(), Fault> {
        let (snapshot, frame): (Option<Vec<u8>>, Option<Vec<u8>>) =
            self.ask(async |redis, names| redis.mget(&[&names.snapshot, &names.metrics]).await).await?;
        let limits = self.options.snapshot;
        let snapshot = match snapshot {
            Some(bytes) => Some(blocking(move || snapshot::decode(&bytes, limits)).await?),
            None => None,
        };
        self.take(Input::Snapshot { snapshot, frame: frame.as_deref() });
        Ok(())
    }

    async fn read_log(&mut self, after: Position) -> Result<(), Fault> {
        let Position { epoch, seq } = after;
        let (reign, reply): (Option<u64>, StreamRangeReply) = self
            .ask(async |redis, names| {
                redis::pipe()
                    .get(&names.epoch)
                    .xrange_count(
                        &names.deltas,
                        format!("{epoch}-{}", seq.saturating_add(1)),
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
        let entries: Vec<Entry> = entries.collect();
        self.take(Input::Log { reign, entries: &entries });
        Ok(())
    }

    async fn listen(&mut self, until: Duration) -> Result<(), Fault> {
        let until = self.origin + until;
        match tokio::time::timeout_at(until, self.link()?.arrival()).await {
            Ok(Arrival::Envelope(bytes)) => self.take(Input::Envelope(&bytes)),
            Ok(Arrival::Frame(bytes)) => self.take(Input::Frame(&bytes)),
            Ok(Arrival::Overflow) => self.take(Input::Overflow),
            Ok(Arrival::Closed) => return Err(self.cut_off()),
            Err(_) => self.take(Input::Silence),
        }
        Ok(())
    }

    fn take(&mut self, input: Input<'_>) {
        let now = self.now();
        self.reader.take(now, input);
    }

    async fn ask<T>(
        &mut self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection, &crate::graph::wire::Names) -> redis::RedisResult<T>,
    ) -> Result<T, Fault> {
        let mut redis = self.link()?.redis.clone();
        command(&mut redis, &self.names).await.map_err(|error| self.dialer.fault(error))
    }

    fn cut_off(&self) -> Fault {
        Fault::Cut { address: self.dialer.address().to_owned() }
    }

    /// Counts and logs what the reader has to say.
    pub(super) fn heed(&self, notice: Notice) {
        let metrics = &self.metrics;
        match notice {
            Notice::Applied(position) => {
                metrics.deltas.inc();
                metrics.at(position);
            }
            Notice::Began(position) => {
                metrics.resyncs.inc();
                metrics.at(position);
            }
            Notice::Numbers => drop(metrics.frames.inc()),
            Notice::Duplicate => drop(metrics.duplicates.inc()),
            Notice::Outdated => drop(metrics.outdated.inc()),
            Notice::Gap => drop(metrics.gaps.inc()),
            Notice::Refused(error) => {
                metrics.bad_messages.inc();
                tracing::warn!(%error, "the feed sent something that cannot be used");
            }
            Notice::BadSnapshot => drop(metrics.bad_snapshots.inc()),
            Notice::Unhydrated(reason) => tracing::warn!(
                %reason,
                "the feed cannot be hydrated yet; asking the controller for a snapshot"
            ),
            Notice::Requested => drop(metrics.requests.inc()),
            Notice::LateFrame => tracing::debug!("a metric frame came too late for its topology"),
            Notice::Silence => tracing::debug!("nothing came over the feed for a while; connecting anew"),
        }
    }
}

fn position_of(id: &str) -> Option<Position> {
    let (epoch, seq) = id.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

/// Decodes off the threads that serve: a large mesh takes a fifth of a second.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Ending)
}
