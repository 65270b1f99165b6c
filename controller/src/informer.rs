//! One watch: lists a kind, follows its changes, and comes back from every failure.
//!
//! ```text
//!           ┌── CRD missing: Absent, look again later ◄──── 404 ──────┐
//!           ▼                                                         │
//! probe ─► list all pages ─► Reset, Synced ─► watch from there ─► Apply, Delete
//!           ▲                                    ▲        │
//!           └─ 410 (Failing until listed), ──────┼────────┤
//!              or it keeps failing               └────────┘ ended, or failed: Forbidden or Failing until it works
//! ```
//!
//! This is not `kube::runtime::watcher` for two reasons. That one does not say when a broken watch works again until
//! an object changes, so a quiet kind would be reported as failing for hours. And it wants to own each object's
//! parsed form; here a fact is made of an object's text while the text is still in the read buffer, and an object
//! that cannot be read harms no other.

use crate::{
    graph::{
        fact::{Change, Fact, Key},
        kind::{Kind, KindRow},
        status::WatchState,
    },
    kube_error::Failure,
    watch::{Message, Options, Watch},
};
use backoff::Backoff;
use metrics::KindMetrics;
pub use metrics::Metrics;
use request::Resource;
pub(crate) use request::{WatchLine, event, page};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

mod backoff;
mod metrics;
mod request;
mod send;

/// A watch that cannot be resumed this many times in a row starts over with a list. The resource version may be one
/// that the server does not know, for example after etcd was restored from a backup.
const RESUMES: u32 = 5;

/// A watch that ends without an event sooner than this is not followed by the next at once, and [`RESUMES`] of them
/// are not believed: the kind is failing until a watch says something, if only a bookmark.
const SHORT_WATCH: Duration = Duration::from_secs(1);

const NOTHING_SAID: &str = "every watch ends before it has said anything";

/// Follows one kind. Owned by its task.
pub(crate) struct Informer {
    client: kube::Client,
    watch: &'static Watch,
    row: &'static KindRow,
    options: Arc<Options>,
    sender: mpsc::Sender<Message>,
    metrics: KindMetrics,
    /// What the reader was told last.
    state: Option<WatchState>,
    /// The reader was given objects.
    known: bool,
    /// How many watches in a row ended before they said anything.
    barren: u32,
    backoff: Backoff,
}

/// Nobody reads any more.
struct Closed;

/// How a watch ended.
enum End {
    /// As it should: the server closes every watch after some minutes.
    Ended,
    /// At once, without having said anything.
    Barren,
    Failed(Failure),
}

// === impl Informer ===

impl Informer {
    pub(crate) fn new(
        client: kube::Client,
        watch: &'static Watch,
        options: Arc<Options>,
        sender: mpsc::Sender<Message>,
        metrics: KindMetrics,
    ) -> Self {
        Self {
            client,
            watch,
            row: watch.kind.row(),
            options,
            sender,
            metrics,
            state: None,
            known: false,
            barren: 0,
            backoff: Backoff::default(),
        }
    }

    /// Follows the kind until nobody reads any more.
    pub(crate) async fn run(mut self) {
        let Err(Closed) = self.follow().await;
    }

    async fn follow(&mut self) -> Result<Infallible, Closed> {
        self.enter(WatchState::Syncing).await?;
        if let (Kind::Namespace, Some(namespace)) = (self.row.kind, self.options.namespace.clone()) {
            return self.poll_one(&namespace).await;
        }
        loop {
            let version = self.served_version().await?;
            let resource = Resource::new(self.row, version, self.options.namespace.as_deref());
            self.list_and_watch(&resource).await?;
        }
    }

    /// Waits until the cluster serves the kind and returns the newest version that it serves and we know.
    async fn served_version(&mut self) -> Result<&'static str, Closed> {
        if !self.row.optional {
            return Ok(self.row.versions[0]);
        }
        loop {
            let probe = request::served_version(&self.client, self.row);
            match self.in_time(probe).await {
                Ok(Some(version)) => {
                    if self.state == Some(WatchState::Absent) {
                        self.enter(WatchState::Syncing).await?;
                    }
                    return Ok(version);
                }
                Ok(None) => {
                    if self.known {
                        self.reset(Vec::new()).await?;
                        self.known = false;
                    }
                    self.enter(WatchState::Absent).await?;
                    sleep(self.options.reprobe).await;
                }
                Err(failure) => self.fail(failure).await?,
            }
        }
    }

    /// Follows `resource` until the cluster does not serve it any more.
    async fn list_and_watch(&mut self, resource: &Resource) -> Result<(), Closed> {
        let mut position = None;
        let mut failed_resumes = 0;
        loop {
            let version = match position.take() {
                Some(version) => version,
                None => match self.list(resource).await {
                    Ok((facts, version)) => {
                        self.metrics.lists.inc();
                        self.reset(facts).await?;
                        self.known = true;
                        failed_resumes = 0;
                        version
                    }
                    Err(failure) => {
                        let gone = self.is_gone(&failure);
                        self.fail(failure).await?;
                        if gone {
                            return Ok(());
                        }
                        continue;
                    }
                },
            };
            let (version, end) = self.watch(resource, version).await?;
            match end {
                End::Ended => {
                    failed_resumes = 0;
                    position = Some(version);
                }
                End::Barren if self.barren < RESUMES => {
                    self.pause(Duration::ZERO).await;
                    position = Some(version);
                }
                // Something lets watches begin and nothing through. Lists are all that can be had.
                End::Barren => self.fail(Failure::unavailable(NOTHING_SAID)).await?,
                End::Failed(failure) => {
                    let (gone, expired) = (self.is_gone(&failure), failure == Failure::Expired);
                    // Also when it expired: until the list is in, what is known may be of any age.
                    self.fail(failure).await?;
                    if gone {
                        return Ok(());
                    }
                    failed_resumes += 1;
                    position = (!expired && failed_resumes < RESUMES).then_some(version);
                }
            }
        }
    }

    /// All objects, and the resource version to watch from.
    async fn list(&mut self, resource: &Resource) -> Result<(Vec<Fact>, String), Failure> {
        let mut facts = Vec::new();
        let mut next = None;
        loop {
            let request = resource.list(self.watch.parts, self.options.page_size, next.take())?;
            let body = self.in_time(send::body(&self.client, request)).await?;
            let page = request::page(&body)?;
            facts.extend(page.items().filter_map(|json| self.read(json)));
            match page.next() {
                Some(token) => next = Some(token),
                None => return Ok((facts, page.resource_version()?)),
            }
        }
    }

    /// Follows changes from `version` on; returns the version that was reached.
    async fn watch(&mut self, resource: &Resource, mut version: String) -> Result<(String, End), Closed> {
        let begun = match self.begin_watch(resource, &version).await {
            Ok(begun) => begun,
            Err(failure) => return Ok((version, End::Failed(failure))),
        };
        let mut events = std::pin::pin!(begun);
        let started = Instant::now();
        let mut eventful = false;
        if self.barren < RESUMES {
            self.enter(WatchState::Synced).await?;
        }
        let mut line = Vec::new();
        let end = loop {
            // Not even a bookmark came: the connection may be dead. To find out costs one request.
            match timeout(self.options.watch_idle, request::line(&mut events, &mut line)).await {
                Err(_) | Ok(Ok(false)) => break End::Ended,
                Ok(Ok(true)) => {}
                // A proxy or server that goes away cuts watches off. Whether that is a failure shows at the next.
                Ok(Err(error)) => {
                    tracing::debug!(kind = %self.row.kind, %error, "a watch was cut off and is resumed");
                    break End::Ended;
                }
            }
            match request::event(&line) {
                Ok(WatchLine::Applied(json, head)) => {
                    self.metrics.applied.inc();
                    if let Some(fact) = self.read(json) {
                        self.send(Message::Change(Change::Apply(fact))).await?;
                    }
                    version = head.version;
                }
                Ok(WatchLine::Deleted(head)) => {
                    self.metrics.deleted.inc();
                    let key = Key::new(head.namespace, head.name);
                    self.send(Message::Change(Change::Delete(self.row.kind, key))).await?;
                    version = head.version;
                }
                Ok(WatchLine::Bookmark(head)) => version = head.version,
                Err(failure) => break End::Failed(failure),
            }
            eventful = true;
            self.barren = 0;
            self.enter(WatchState::Synced).await?;
        };
        if matches!(end, End::Ended) && !eventful && started.elapsed() < SHORT_WATCH {
            self.barren += 1;
            return Ok((version, End::Barren));
        }
        self.barren = 0;
        Ok((version, end))
    }

    async fn begin_watch(
        &self,
        resource: &Resource,
        version: &str,
    ) -> Result<impl futures::AsyncBufRead + use<>, Failure> {
        let request = resource.watch(self.watch.parts, version)?;
        self.in_time(send::stream(&self.client, request)).await
    }

    /// Reads the one Namespace of a namespaced installation again and again.
    async fn poll_one(&mut self, name: &str) -> Result<Infallible, Closed> {
        let resource = Resource::new(self.row, self.row.versions[0], None);
        let mut last = None;
        loop {
            let facts = match self.get(&resource, name).await {
                Ok(json) => self.read(&json).into_iter().collect(),
                Err(Failure::NotFound(_)) => Vec::new(),
                Err(failure) => {
                    self.fail(failure).await?;
                    continue;
                }
            };
            if last.as_ref() != Some(&facts) {
                self.metrics.lists.inc();
                self.reset(facts.clone()).await?;
                last = Some(facts);
            }
            self.enter(WatchState::Synced).await?;
            sleep(self.options.reprobe).await;
        }
    }

    async fn get(&self, resource: &Resource, name: &str) -> Result<String, Failure> {
        let body = self.in_time(send::body(&self.client, resource.get(name)?)).await?;
        String::from_utf8(body).map_err(|error| Failure::caused_by("the answer is no JSON", &error))
    }

    /// The object's fact, unless it cannot be read: such an object is named, counted and skipped.
    fn read(&self, json: &str) -> Option<Fact> {
        match (self.watch.fact)(json) {
            Ok(fact) => Some(fact),
            Err(error) => {
                self.metrics.unparsed_objects.inc();
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let object = request::name_of(json);
                tracing::warn!(
                    kind = %self.row.kind, %object, %error, cause,
                    "a Kubernetes object cannot be read and is left out of the graph"
                );
                None
            }
        }
    }

    /// True when the failure means that the kind is not served any more. A kind that is part of every Kubernetes
    /// cannot vanish: for those, 404 is the answer of something that is no API server.
    fn is_gone(&self, failure: &Failure) -> bool {
        self.row.optional && matches!(failure, Failure::NotFound(_))
    }

    /// Says what is wrong, unless the next probe will, and waits.
    async fn fail(&mut self, failure: Failure) -> Result<(), Closed> {
        self.metrics.failures.inc();
        let mut wait = Duration::ZERO;
        let detail = failure.to_string().into();
        match failure {
            Failure::NotFound(_) if self.row.optional => {}
            Failure::Forbidden(_) => self.enter(WatchState::Forbidden { detail }).await?,
            Failure::Unavailable { wait: asked, .. } => {
                wait = asked;
                self.enter(WatchState::Failing { detail }).await?;
            }
            Failure::NotFound(_) | Failure::Expired => self.enter(WatchState::Failing { detail }).await?,
        }
        self.pause(wait).await;
        Ok(())
    }

    async fn pause(&mut self, asked: Duration) {
        sleep(self.backoff.next(Instant::now(), asked)).await;
    }

    async fn enter(&mut self, state: WatchState) -> Result<(), Closed> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        let kind = self.row.kind;
        let (name, detail) = (state.name(), state.detail());
        match state {
            WatchState::Forbidden { .. } | WatchState::Failing { .. } => {
                tracing::warn!(%kind, state = name, detail, "a watch does not work; what it knows is kept");
            }
            _ => tracing::info!(%kind, state = name, "a watch changed its state"),
        }
        self.metrics.enter(self.state.as_ref(), &state);
        self.state = Some(state.clone());
        self.send(Message::State(kind, state)).await
    }

    async fn reset(&self, facts: Vec<Fact>) -> Result<(), Closed> {
        self.send(Message::Change(Change::Reset(self.row.kind, facts))).await
    }

    async fn send(&self, message: Message) -> Result<(), Closed> {
        self.sender.send(message).await.map_err(|_| Closed)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.options.request_timeout;
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::unavailable(format!(
                "the API server did not answer within {} s",
                limit.as_secs_f32()
            )))
        })
    }
}

#[cfg(test)]
mod tests;
