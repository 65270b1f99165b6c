//! Who wants to hear of what, and the one task that tells them.
//!
//! ```text
//! Replica::ticks ─► follow: changes(before, now) ─► topics ─► a Queue a subscriber ─► its stream or its session
//! ```
//!
//! The task only marks queues, so a subscriber that does not read holds up nobody and holds one entry a topic. Clients of
//! 2026-07-28 listen on a request that stays open, which takes from its queue itself; older ones subscribe within a
//! session, and a task of the session takes for them.

use super::{gate::Caller, resource::uri::Uri};
use crate::{replica::Replica, rights::Scope, view::View};
use journal::Journal;
use linkerd_mcp_graph::{
    metrics::Metrics,
    query::changes::{Change, State, changes},
};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use queue::{Queue, Topic};
use rmcp::{
    RoleServer,
    model::{ResourceUpdatedNotificationParam, SubscriptionFilter},
    service::{Peer, SubscriptionContext},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{task::JoinSet, time::interval};

pub(crate) mod journal;
pub(crate) mod queue;

/// Topics that one subscription may have: more is a client that should read the graph instead.
pub(crate) const MAX_TOPICS: usize = 256;
/// Subscriptions of one caller, and topics of all of them.
const MAX_OF_CALLER: usize = 100;
const MAX_TOPICS_OF_CALLER: usize = 1_000;
/// The same of all callers.
const MAX_IN_ALL: usize = 1_000;
const MAX_TOPICS_IN_ALL: usize = 20_000;

/// Sessions that are gone are looked for this often: nothing says so when they go.
const SWEEP: Duration = Duration::from_secs(30);

/// Who is subscribed to what, and what happened last. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held for a look or a change, never across an await.
    table: Mutex<Table>,
    journal: Mutex<Journal>,
    /// One for each session that is subscribed to something. Ends with this.
    tellers: Mutex<JoinSet<()>>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    subscribers: HashMap<u64, Subscriber>,
    /// Subscribers by topic.
    watched: HashMap<Topic, BTreeSet<u64>>,
    /// Subscribers by the id of their session.
    sessions: HashMap<String, u64>,
}

#[derive(Debug)]
struct Subscriber {
    caller: Caller,
    /// Where it was let watch. Of what happens elsewhere it is told nothing, whatever it is subscribed to.
    scope: Scope,
    topics: BTreeSet<Topic>,
    queue: Arc<Queue>,
    /// With the session's peer, for a client that has one.
    session: Option<(String, Peer<RoleServer>)>,
}

/// A place of a subscriber, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Weak<Shared>,
    id: u64,
    pub(crate) queue: Arc<Queue>,
}

/// There are too many subscriptions already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many subscriptions: one caller may have {MAX_OF_CALLER} with {MAX_TOPICS_OF_CALLER} resources in all; end \
     some, or subscribe to mesh://graph or to namespaces"
)]
pub(crate) struct TooMany;

// === impl Subscriptions ===

impl Subscriptions {
    /// Nobody is subscribed. `gauge` shows how many topics are.
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            journal: Mutex::default(),
            tellers: Mutex::default(),
            gauge,
        }))
    }

    /// Tells subscribers what happens to the mesh of `replica`, until it goes away.
    pub(crate) async fn follow(self, replica: Replica) {
        let mut ticks = replica.ticks();
        let mut sweep = interval(SWEEP);
        let mut last: Option<(Arc<View>, Arc<Metrics>)> = None;
        loop {
            let tick = *ticks.borrow_and_update();
            if tick.closing {
                return;
            }
            if let Some(view) = replica.view() {
                last = Some(self.see(last, view));
            }
            loop {
                tokio::select! {
                    changed = ticks.changed() => match changed {
                        Ok(()) => break,
                        // The replica is gone.
                        Err(_) => return,
                    },
                    _ = sweep.tick() => self.sweep(),
                }
            }
        }
    }

    /// Holds a view against the one before, with the last numbers in which there were some: when Prometheus is back after
    /// an hour, denials that were there before have not begun.
    fn see(&self, last: Option<(Arc<View>, Arc<Metrics>)>, view: Arc<View>) -> (Arc<View>, Arc<Metrics>) {
        let Some((before, known)) = last else {
            self.0.journal.lock().begin(view.as_of_ms);
            let metrics = view.metrics.clone();
            return (view, metrics);
        };
        let old = State { graph: &before.graph, metrics: &known };
        let news = changes(old, State { graph: &view.graph, metrics: &view.metrics });
        if !news.is_empty() {
            self.tell(view.as_of_ms, &news);
        }
        let metrics = if view.metrics.ids.is_empty() { known } else { view.metrics.clone() };
        (view, metrics)
    }

    fn tell(&self, at_ms: i64, news: &[Change]) {
        let mut touched = BTreeSet::from([Uri::Graph]);
        touched.extend(news.iter().flat_map(|it| &it.places).map(Uri::of));
        self.0.journal.lock().write(at_ms, news, touched.iter());
        let members = news.iter().filter(|it| it.what.is_membership()).flat_map(|it| &it.places);
        let listed: BTreeSet<Uri> = members.map(Uri::of).collect();
        let list = (!listed.is_empty()).then_some(Topic::List);
        let topics = touched.iter().cloned().map(Topic::Updated).chain(list);
        let table = self.0.table.lock();
        for topic in topics {
            for id in table.watched.get(&topic).into_iter().flatten() {
                let Some(Subscriber { scope, queue, .. }) = table.subscribers.get(id) else { continue };
                let told = match &topic {
                    Topic::Updated(Uri::Graph) => any_in(scope, &touched),
                    Topic::Updated(uri) => uri.namespace().is_some_and(|it| scope.has(it)),
                    Topic::List => any_in(scope, &listed),
                };
                if told {
                    queue.mark(topic.clone());
                }
            }
        }
    }

    /// When something last happened to a resource, where that is known.
    pub(crate) fn changed(&self, uri: &Uri) -> Option<String> {
        self.0.journal.lock().changed(uri)
    }

    /// What happened since then where somebody may see it, the newest first.
    pub(crate) fn since(&self, from_ms: i64, scope: &Scope) -> serde_json::Value {
        self.0.journal.lock().since(from_ms, scope)
    }

    /// A place for a subscriber that takes from its queue itself.
    pub(crate) fn open(
        &self,
        caller: &Caller,
        scope: &Scope,
        topics: BTreeSet<Topic>,
    ) -> Result<Place, TooMany> {
        let mut table = self.0.table.lock();
        let id = table.add(caller, scope, topics, None)?;
        self.show(&table);
        Ok(self.place(&table, id))
    }

    /// Subscribes a session to one more topic, and to the list: there is no other way for it to say so.
    pub(crate) fn subscribe(
        &self,
        caller: &Caller,
        scope: &Scope,
        session: &str,
        peer: &Peer<RoleServer>,
        topic: Topic,
    ) -> Result<(), TooMany> {
        self.sweep();
        let mut table = self.0.table.lock();
        if let Some(id) = table.sessions.get(session).copied() {
            let added = table.watch(id, scope, topic);
            self.show(&table);
            return added;
        }
        let topics = BTreeSet::from([topic, Topic::List]);
        let id = table.add(caller, scope, topics, Some((session.to_owned(), peer.clone())))?;
        let place = self.place(&table, id);
        self.show(&table);
        drop(table);
        self.0.tellers.lock().spawn(tell_session(place, peer.clone()));
        Ok(())
    }

    /// A session does not want to hear of this any more.
    pub(crate) fn unsubscribe(&self, session: &str, topic: &Topic) {
        let mut table = self.0.table.lock();
        if let Some(id) = table.sessions.get(session).copied() {
            table.unwatch(id, topic);
            self.show(&table);
        }
    }

    fn place(&self, table: &Table, id: u64) -> Place {
        let queue = table.subscribers.get(&id).map(|it| it.queue.clone()).unwrap_or_default();
        Place { shared: Arc::downgrade(&self.0), id, queue }
    }

    /// Frees the places of sessions that are gone.
    fn sweep(&self) {
        let mut table = self.0.table.lock();
        let gone = |it: &Subscriber| it.session.as_ref().is_some_and(|(_, peer)| peer.is_transport_closed());
        let ids: Vec<u64> = table.subscribers.iter().filter(|(_, it)| gone(it)).map(|(id, _)| *id).collect();
        for id in ids {
            table.remove(id);
        }
        self.show(&table);
        drop(table);
        // Those that have ended; the others hold their places and end with their sessions.
        while self.0.tellers.lock().try_join_next().is_some() {}
    }

    fn show(&self, table: &Table) {
        self.0.gauge.set(i64::try_from(table.topics()).unwrap_or(i64::MAX));
    }
}

/// True when one of these is where somebody may see it.
fn any_in(scope: &Scope, uris: &BTreeSet<Uri>) -> bool {
    *scope == Scope::All || uris.iter().any(|uri| uri.namespace().is_some_and(|it| scope.has(it)))
}

/// Tells a session what its queue has, until either is gone.
async fn tell_session(place: Place, peer: Peer<RoleServer>) {
    loop {
        let topic = tokio::select! {
            topic = place.queue.next() => topic,
            () = closed(&peer) => return,
        };
        let sent = match topic {
            Topic::Updated(uri) => {
                peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri.to_string())).await
            }
            Topic::List => peer.notify_resource_list_changed().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A peer does not say when its session ends, so it is asked now and then.
pub(crate) async fn closed(peer: &Peer<RoleServer>) {
    let mut look = interval(SWEEP);
    while !peer.is_transport_closed() {
        look.tick().await;
    }
}

/// Tells a stream what its queue has, until the client closes it.
pub(crate) async fn tell_stream(place: &Place, stream: &SubscriptionContext) {
    loop {
        let sent = match place.queue.next().await {
            Topic::Updated(uri) => stream.sink().notify_resource_updated(uri.to_string()).await,
            Topic::List => stream.sink().notify_resource_list_changed().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// What of `requested` there can be news of: at most [`MAX_TOPICS`] resources, each with a URI of ours.
pub(crate) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let mut accepted = SubscriptionFilter::new();
    accepted.resources_list_changed = requested.resources_list_changed.filter(|wanted| *wanted);
    accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(|uris| {
        let ours = uris.iter().filter(|uri| uri.parse::<Uri>().is_ok());
        ours.take(MAX_TOPICS).cloned().collect()
    });
    accepted
}

/// The topics of a filter.
pub(crate) fn topics(filter: &SubscriptionFilter) -> BTreeSet<Topic> {
    let uris = filter.resource_subscriptions.iter().flatten().filter_map(|uri| uri.parse().ok());
    let list = (filter.resources_list_changed == Some(true)).then_some(Topic::List);
    uris.map(Topic::Updated).chain(list).collect()
}

// === impl Table ===

impl Table {
    fn topics(&self) -> usize {
        self.subscribers.values().map(|it| it.topics.len()).sum()
    }

    /// Whether this caller may have `more` topics more.
    fn room(&self, caller: &Caller, more: usize) -> Result<(), TooMany> {
        let of_caller = self.subscribers.values().filter(|it| it.caller == *caller);
        let topics: usize = of_caller.map(|it| it.topics.len()).sum();
        let full = topics + more > MAX_TOPICS_OF_CALLER || self.topics() + more > MAX_TOPICS_IN_ALL;
        if full { Err(TooMany) } else { Ok(()) }
    }

    fn add(
        &mut self,
        caller: &Caller,
        scope: &Scope,
        topics: BTreeSet<Topic>,
        session: Option<(String, Peer<RoleServer>)>,
    ) -> Result<u64, TooMany> {
        let of_caller = self.subscribers.values().filter(|it| it.caller == *caller).count();
        if of_caller >= MAX_OF_CALLER || self.subscribers.len() >= MAX_IN_ALL {
            return Err(TooMany);
        }
        self.room(caller, topics.len())?;
        let id = self.next;
        self.next += 1;
        for topic in &topics {
            self.watched.entry(topic.clone()).or_default().insert(id);
        }
        if let Some((session, _)) = &session {
            self.sessions.insert(session.clone(), id);
        }
        let (caller, scope) = (caller.clone(), scope.clone());
        let subscriber = Subscriber { caller, scope, topics, queue: Arc::default(), session };
        self.subscribers.insert(id, subscriber);
        Ok(id)
    }

    /// One more topic; `scope` is what its caller may see now, and holds for all of them.
    fn watch(&mut self, id: u64, scope: &Scope, topic: Topic) -> Result<(), TooMany> {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return Ok(()) };
        subscriber.scope = scope.clone();
        if subscriber.topics.contains(&topic) {
            return Ok(());
        }
        // One of them is the list.
        if subscriber.topics.len() > MAX_TOPICS {
            return Err(TooMany);
        }
        let caller = subscriber.caller.clone();
        self.room(&caller, 1)?;
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            subscriber.topics.insert(topic.clone());
        }
        self.watched.entry(topic).or_default().insert(id);
        Ok(())
    }

    fn unwatch(&mut self, id: u64, topic: &Topic) {
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            subscriber.topics.remove(topic);
            subscriber.queue.forget(topic);
        }
        self.unlist(id, topic);
    }

    fn remove(&mut self, id: u64) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        for topic in &subscriber.topics {
            self.unlist(id, topic);
        }
        if let Some((session, _)) = subscriber.session {
            self.sessions.remove(&session);
        }
    }

    fn unlist(&mut self, id: u64, topic: &Topic) {
        if let Some(ids) = self.watched.get_mut(topic) {
            ids.remove(&id);
            if ids.is_empty() {
                self.watched.remove(topic);
            }
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut table = shared.table.lock();
            table.remove(self.id);
            shared.gauge.set(i64::try_from(table.topics()).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests;
