//! The writing end of the feed over Redis. The keys and channels are in [`graph::wire`](crate::graph::wire).
//!
//! Everything is published by one script on the server that checks first that we lead ([`Error::Fenced`] otherwise),
//! so a controller that was halted, or cut off while another took over, cannot write over its successor. Only the
//! leader numbers the changes; the log refuses a number that is not above the last. Which number a publication gets is
//! decided by [`Reign`], how long the lead is trusted by the [lease](crate::graph::feed::lease): values without I/O.
//!
//! When it is not certain what readers have (the connection broke while we waited for the answer, or the lease had run
//! out and a change was not sent), nothing more is published until a snapshot of the graph as it is, under a number of
//! its own: readers see the gap in the numbers and take the snapshot.
//! [`resync_requested`](Publisher::resync_requested) asks for it, as it does at the start of a reign and when a reader
//! asks.

mod lease;

pub use linkerd_mcp_feed::{RedisFault, RedisServer};

use crate::graph::{
    delta::Delta,
    feed::{
        Position, Publisher,
        lease::Lease,
        reign::{LogLimits, Reign, SnapshotFirst},
    },
    metrics::Metrics,
    model::Graph,
    wire::{ENVELOPE_FIELD, EXPIRY_S, EdgesHash, Names, envelope, frame, patch, snapshot},
};
use futures::StreamExt;
use lease::{Terms, millis};
use linkerd_mcp_feed::Connection;
use redis::{Script, ScriptInvocation};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// How to publish.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// Where Redis is.
    pub server: RedisServer,
    /// What stands before the names of all keys and channels; readers must have the same.
    pub prefix: String,
    /// Who we are, for people who look into Redis: the pod's uid, or a host name.
    pub holder: String,
    /// How long the lead lasts without being renewed, so how long the feed stands still after a crash. Renewed every
    /// third of it.
    pub lease: Duration,
    /// How many changes the log keeps for readers that were away.
    pub log_entries: usize,
    /// How many bytes of changes the log keeps.
    pub log_bytes: usize,
    /// A change with more bytes than this is not published; a snapshot is, in its place. Redis cuts off a subscriber
    /// that is 32 MiB behind.
    pub largest_delta: usize,
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We do not lead, so nothing was written. Acquire the lead again, then publish a snapshot.
    #[error("not published: {reason}")]
    Fenced {
        /// How we know.
        reason: &'static str,
    },
    /// A reign begins with a snapshot, and so it goes on after something whose fate is not known.
    #[error("not published: a snapshot has to come first")]
    SnapshotFirst,
    /// The change is too large for readers; a snapshot is published in its place.
    #[error("not published: the change has {bytes} bytes, more than {limit}; a snapshot takes its place")]
    TooLarge {
        /// Of its JSON Patch.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The process is ending.
    #[error("not published: the process is ending")]
    Ending,
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// We do, since now.
    Ours {
        /// Our reign.
        epoch: u64,
    },
    /// Another controller does.
    Theirs {
        /// Its token.
        holder: String,
        /// When its lease ends unless it is renewed; `None` when it never does, which is a fault somebody caused by
        /// hand: delete the key.
        expires_in: Option<Duration>,
    },
}

/// The reign that is on in Redis; none in an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current(String);

/// The writing end of the feed.
pub struct RedisPublisher {
    options: PublishOptions,
    names: Names,
    token: String,
    redis: Connection,
    publish: Script,
    lead: Option<Held>,
    /// The moment that leases count their time from.
    origin: Instant,
    requests: Arc<Requests>,
    _listener: AbortOnDropHandle<()>,
}

/// The lead, while it is ours. Dropping it stops renewing the lease.
struct Held {
    reign: Reign,
    lease: watch::Receiver<Lease>,
    hash: EdgesHash,
    /// Not before then is a snapshot asked for again.
    next_request: Instant,
    _keeper: AbortOnDropHandle<()>,
}

/// What readers ask for.
#[derive(Default)]
struct Requests {
    wanted: AtomicBool,
    bell: Notify,
}

/// How often snapshots are made on request, at most. Making one costs a tenth of a second for a large mesh.
const BETWEEN_REQUESTS: Duration = Duration::from_secs(1);

impl From<SnapshotFirst> for Error {
    fn from(SnapshotFirst: SnapshotFirst) -> Self {
        Self::SnapshotFirst
    }
}

// === impl PublishOptions ===

impl PublishOptions {
    /// The defaults: no prefix, a lease of 10 s, a log of 10,000 changes or 64 MiB, changes of at most 8 MiB.
    pub fn new(server: RedisServer, holder: impl Into<String>) -> Self {
        Self {
            server,
            prefix: String::new(),
            holder: holder.into(),
            lease: Duration::from_secs(10),
            log_entries: 10_000,
            log_bytes: 64 << 20,
            largest_delta: 8 << 20,
        }
    }
}

// === impl RedisPublisher ===

impl RedisPublisher {
    /// A publisher that has not connected yet. Must be called within a Tokio runtime: it listens for requests.
    ///
    /// # Errors
    ///
    /// When the URL or the certificate cannot be used.
    pub fn new(options: PublishOptions) -> Result<Self, Error> {
        let redis = Connection::new(options.server.clone())?;
        let names = Names::new(&options.prefix);
        let token = format!("{}/{:016x}", options.holder, rand::random::<u64>());
        let requests = Arc::new(Requests::default());
        let listener = tokio::spawn(requests.clone().listen(redis.another(), names.resync.clone()));
        Ok(Self {
            options,
            names,
            token,
            redis,
            publish: Script::new(include_str!("publish/publish.lua")),
            lead: None,
            origin: Instant::now(),
            requests,
            _listener: AbortOnDropHandle::new(listener),
        })
    }

    /// Asks Redis for a sign of life.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses our login.
    pub async fn check(&mut self) -> Result<(), Error> {
        Ok(self
            .redis
            .run(|mut connection| async move { redis::cmd("PING").exec_async(&mut connection).await })
            .await?)
    }

    /// Takes the lead if nobody has it. A reign that we had is over in any case. The first thing to publish is a
    /// snapshot.
    ///
    /// # Errors
    ///
    /// When Redis cannot be asked.
    pub async fn acquire(&mut self) -> Result<Lead, Error> {
        self.begin(None).await
    }

    /// The reign that is on in Redis, for [`seize`](Self::seize).
    ///
    /// # Errors
    ///
    /// When Redis cannot be asked.
    pub async fn current(&mut self) -> Result<Current, Error> {
        let key = self.names.epoch.clone();
        let get =
            |mut connection| async move { redis::cmd("GET").arg(key).query_async(&mut connection).await };
        let epoch: Option<String> = self.redis.run(get).await?;
        Ok(Current(epoch.unwrap_or_default()))
    }

    /// Takes the lead from whoever has it in Redis, for one who leads by another authority. Only over the reign that
    /// was [current](Self::current) before the caller made sure that it leads: [`Lead::Theirs`] when another has begun
    /// since. The first thing to publish is a snapshot.
    ///
    /// # Errors
    ///
    /// When Redis cannot be asked.
    pub async fn seize(&mut self, over: Current) -> Result<Lead, Error> {
        self.begin(Some(over)).await
    }

    /// Publishes nothing more until the lead is taken again. Unlike [`release`](Self::release) it leaves Redis as it
    /// is.
    pub fn abandon(&mut self) {
        self.lead = None;
    }

    async fn begin(&mut self, over: Option<Current>) -> Result<Lead, Error> {
        self.lead = None;
        let terms = Terms {
            key: self.names.leader.clone(),
            token: self.token.clone(),
            lasts: self.options.lease,
            origin: self.origin,
        };
        let script = Script::new(include_str!("publish/acquire.lua"));
        let mut invocation = script.key(&self.names.leader);
        invocation.key(&self.names.epoch).key(&self.names.deltas);
        invocation.arg(&self.token).arg(millis(self.options.lease));
        if let Some(Current(epoch)) = over {
            invocation.arg(epoch);
        }
        let sent = self.origin.elapsed();
        let (ours, text, expires_in): (bool, String, i64) = invoke(&mut self.redis, &invocation).await?;
        if !ours {
            let expires_in = u64::try_from(expires_in).ok().map(Duration::from_millis);
            return Ok(Lead::Theirs { holder: text, expires_in });
        }
        let epoch =
            text.parse().map_err(|_| Error::Fenced { reason: "Redis gave a reign without a number" })?;
        let (lease_tx, lease) = watch::channel(Lease::taken(self.options.lease, sent));
        self.lead = Some(Held {
            reign: Reign::new(epoch),
            lease,
            hash: EdgesHash::default(),
            next_request: Instant::now(),
            _keeper: AbortOnDropHandle::new(tokio::spawn(terms.keep(self.redis.another(), lease_tx))),
        });
        Ok(Lead::Ours { epoch })
    }

    /// Gives up the lead at once, so that another controller need not wait for the lease to end.
    ///
    /// # Errors
    ///
    /// When Redis cannot be told; the lease then ends by itself.
    pub async fn release(&mut self) -> Result<(), Error> {
        if self.lead.take().is_some() {
            let script = Script::new(include_str!("publish/release.lua"));
            let mut invocation = script.key(&self.names.leader);
            let _: i64 = invoke(&mut self.redis, invocation.arg(&self.token).arg(&self.names.resync)).await?;
        }
        Ok(())
    }

    /// Ends when the lead is lost; at once when we have none.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let lease = self.lead.as_ref().map(|lead| lead.lease.clone());
        async move {
            if let Some(mut lease) = lease {
                // An error means that the reign is over and its keeper gone.
                let _ = lease.wait_for(Lease::lost).await;
            }
        }
    }

    /// Ends when somebody asks for a snapshot: a reader, or a leader that gives up the lead. For who stands by.
    pub async fn asked(&self) {
        while !self.requests.wanted.swap(false, Ordering::Relaxed) {
            self.requests.bell.notified().await;
        }
    }

    /// Where we are; `None` when we do not lead.
    pub fn position(&self) -> Option<Position> {
        self.lead.as_ref().map(|lead| lead.reign.position())
    }

    /// Our token in Redis: the holder and a number of this process.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Runs the script, and ends the reign when it says that it is over.
    async fn publish(
        &mut self,
        what: &str,
        epoch: u64,
        fill: impl FnOnce(&mut ScriptInvocation<'_>, &Names),
    ) -> Result<(), Error> {
        let mut invocation = self.publish.key(&self.names.leader);
        invocation.key(&self.names.epoch).arg(&self.token).arg(epoch).arg(what);
        fill(&mut invocation, &self.names);
        let answer: String = invoke(&mut self.redis, &invocation).await?;
        let reason = match answer.as_str() {
            "ok" => return Ok(()),
            "leader" => "another controller leads the feed, or nobody does any more",
            _ => "another reign of the feed has begun",
        };
        self.lead = None;
        Err(Error::Fenced { reason })
    }

    /// The lead, if it lasts by our own clock.
    fn leading(&mut self) -> Result<&mut Held, Error> {
        let now = self.origin.elapsed();
        let lead =
            self.lead.as_mut().ok_or(Error::Fenced { reason: "this controller does not lead the feed" })?;
        if lead.lease.borrow().held(now) {
            Ok(lead)
        } else {
            Err(Error::Fenced { reason: "the lease could not be renewed in time" })
        }
    }

    /// Takes note of whether readers have what was to be published.
    fn noted<T>(&mut self, published: Result<T, Error>) -> Result<T, Error> {
        if let Some(lead) = &mut self.lead {
            match &published {
                Ok(_) => lead.reign.settle(),
                Err(_) => lead.reign.unsettle(),
            }
        }
        published
    }

    async fn write_delta(&mut self, as_of_ms: i64, delta: Arc<Delta>) -> Result<Position, Error> {
        let PublishOptions { log_entries, log_bytes, largest_delta, .. } = self.options;
        let lead = self.leading()?;
        let position = lead.reign.delta()?;
        let patch = patch::encode(&delta);
        if patch.len() > largest_delta {
            return Err(Error::TooLarge { bytes: patch.len(), limit: largest_delta });
        }
        let envelope = envelope::encode(position, as_of_ms, Some(&patch));
        let limits = LogLimits { entries: log_entries, bytes: log_bytes };
        let oldest = lead.reign.logged(envelope.len(), limits);
        self.publish("delta", position.epoch, |script, names| {
            script.key(&names.deltas).arg(entry_id(position)).arg(ENVELOPE_FIELD).arg(envelope);
            script.arg(&names.delta).arg(entry_id(oldest));
        })
        .await?;
        Ok(position)
    }

    async fn write_metrics(&mut self, graph: &Graph, metrics: Arc<Metrics>) -> Result<(), Error> {
        let lead = self.leading()?;
        let position = lead.reign.heartbeat()?;
        let hash = lead.hash.of(graph);
        let graph = graph.clone();
        let frame = blocking(move || frame::encode(position, &graph, hash, &metrics)).await?;
        self.publish("metrics", position.epoch, |script, names| {
            script.key(&names.metrics).arg(frame).arg(&names.metrics).arg(EXPIRY_S);
        })
        .await
    }

    async fn write_snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Error> {
        let lead = self.leading()?;
        let (position, hash) = (lead.reign.snapshot(), lead.hash.of(&graph));
        let (snapshot, frame) = blocking(move || {
            (snapshot::encode(position, as_of_ms, &graph), frame::encode(position, &graph, hash, &metrics))
        })
        .await?;
        let heartbeat = envelope::encode(position, as_of_ms, None);
        self.publish("snapshot", position.epoch, |script, names| {
            script.key(&names.snapshot).key(&names.metrics);
            script.arg(snapshot).arg(frame).arg(EXPIRY_S).arg(heartbeat).arg(&names.delta);
        })
        .await?;
        Ok(position)
    }

    async fn write_heartbeat(&mut self, as_of_ms: i64) -> Result<(), Error> {
        let position = self.leading()?.reign.heartbeat()?;
        let heartbeat = envelope::encode(position, as_of_ms, None);
        self.publish("heartbeat", position.epoch, |script, names| {
            script.arg(heartbeat).arg(&names.delta);
        })
        .await
    }
}

impl Publisher for RedisPublisher {
    type Error = Error;

    /// # Errors
    ///
    /// Whatever the error, do not publish this delta again: after [`Error::Fenced`] acquire the lead, and otherwise
    /// wait for [`resync_requested`](Publisher::resync_requested) and publish a snapshot.
    async fn delta(&mut self, as_of_ms: i64, delta: Arc<Delta>) -> Result<Position, Error> {
        let published = self.write_delta(as_of_ms, delta).await;
        self.noted(published)
    }

    async fn metrics(&mut self, graph: &Graph, metrics: Arc<Metrics>) -> Result<(), Error> {
        let published = self.write_metrics(graph, metrics).await;
        self.noted(published)
    }

    async fn snapshot(
        &mut self,
        as_of_ms: i64,
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
    ) -> Result<Position, Error> {
        let wanted = self.requests.wanted.swap(false, Ordering::Relaxed);
        let published = self.write_snapshot(as_of_ms, graph, metrics).await;
        if published.is_err() && wanted {
            self.requests.ask();
        }
        self.noted(published)
    }

    /// Publishes nothing while a snapshot has to come first: there is no position to tell.
    async fn heartbeat(&mut self, as_of_ms: i64) -> Result<(), Error> {
        match self.write_heartbeat(as_of_ms).await {
            Err(Error::SnapshotFirst) => Ok(()),
            published => self.noted(published),
        }
    }

    /// Also when a reign has begun or a change got lost, because then readers need one. At most once a second; never
    /// while we do not lead.
    async fn resync_requested(&mut self) {
        loop {
            let now = self.origin.elapsed();
            let Some(lead) = self.lead.as_mut().filter(|lead| lead.lease.borrow().held(now)) else {
                return std::future::pending().await;
            };
            if lead.reign.heartbeat().is_err() || self.requests.wanted.load(Ordering::Relaxed) {
                tokio::time::sleep_until(lead.next_request).await;
                lead.next_request = Instant::now() + BETWEEN_REQUESTS;
                return;
            }
            self.requests.bell.notified().await;
        }
    }
}

/// The id of the log entry at `position`.
fn entry_id(position: Position) -> String {
    format!("{}-{}", position.epoch, position.seq)
}

/// Runs a script. The answer is a string or an array of known form, anything else is a refusal of Redis.
async fn invoke<T: redis::FromRedisValue + Send>(
    redis: &mut Connection,
    invocation: &ScriptInvocation<'_>,
) -> Result<T, RedisFault> {
    redis.run(|mut connection| async move { invocation.invoke_async(&mut connection).await }).await
}

/// Encodes off the threads that serve: a large mesh takes a tenth of a second.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Ending)
}

// === impl Requests ===

impl Requests {
    fn ask(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Hears what readers ask for, for as long as the publisher lives. What is asked while the connection is broken is
    /// not heard; readers ask again.
    async fn listen(self: Arc<Self>, mut redis: Connection, channel: String) {
        let mut reported = false;
        loop {
            redis.pause().await;
            match redis.listen(&channel).await {
                Ok(mut pubsub) => {
                    reported = false;
                    let mut messages = pubsub.on_message();
                    while messages.next().await.is_some() {
                        self.ask();
                    }
                }
                Err(error) if !reported => {
                    tracing::warn!(%error, "cannot listen for requests for snapshots, trying again");
                    reported = true;
                }
                Err(error) => tracing::debug!(%error, "still cannot listen for requests for snapshots"),
            }
            // A server that closes every connection at once must not keep us busy.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_is_none_is_refused_without_repeating_its_password() {
        let options = PublishOptions::new(RedisServer::new("http://:hunter2@redis"), "pod");
        let error = RedisPublisher::new(options.clone()).err().expect("it is not a Redis URL");
        assert_eq!(
            error.to_string(),
            "the Redis URL cannot be used; write redis://[user:password@]host:port[/db], or rediss:// for TLS"
        );
        assert!(!format!("{error:?} {options:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn nothing_is_published_without_the_lead() {
        let options = PublishOptions::new(RedisServer::new("redis://127.0.0.1:1"), "pod");
        let mut publisher = RedisPublisher::new(options).expect("the URL is one");
        let error = publisher.delta(0, Arc::default()).await.expect_err("it does not lead");
        assert_eq!(error.to_string(), "not published: this controller does not lead the feed");
        publisher.lost().await;
    }

    #[tokio::test]
    async fn an_absent_redis_is_named_with_what_to_look_at() {
        let options = PublishOptions::new(RedisServer::new("redis://127.0.0.1:1"), "pod");
        let mut publisher = RedisPublisher::new(options).expect("the URL is one");
        let error = publisher.acquire().await.expect_err("nothing listens on port 1");
        assert_eq!(
            error.to_string(),
            "cannot reach Redis at 127.0.0.1:1; check that it runs and that nothing between us refuses the connection"
        );
    }
}
