//! What one subscriber is still to be told, each thing at most once a second.

use crate::mcp::resource::uri::Uri;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// What somebody can be told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Topic {
    /// Something happened to a resource.
    Updated(Uri),
    /// Resources came or went.
    List,
}

/// The least time between two notifications of one thing. What happens meanwhile is told in one at its end, so that a
/// subscriber who reads then knows all of it.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// One subscriber's. Holds each topic at most once, however slowly it is read.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Held for a look, never across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<Topic>,
    told: BTreeMap<Topic, Instant>,
}

// === impl Queue ===

impl Queue {
    /// Something happened.
    pub(crate) fn mark(&self, topic: Topic) {
        if self.state.lock().waiting.insert(topic) {
            self.changed.notify_one();
        }
    }

    /// It is not to be told any more.
    pub(crate) fn forget(&self, topic: &Topic) {
        let mut state = self.state.lock();
        state.waiting.remove(topic);
        state.told.remove(topic);
    }

    /// The next thing to tell, when its time has come. Cancel by dropping.
    pub(crate) async fn next(&self) -> Topic {
        loop {
            // Before looking, so that what is marked meanwhile is not missed.
            let changed = self.changed.notified();
            let due = match self.state.lock().take(Instant::now()) {
                Ok(topic) => return topic,
                Err(due) => due,
            };
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }
}

impl State {
    /// A topic whose time has come, or when that of the first will have.
    fn take(&mut self, now: Instant) -> Result<Topic, Option<Instant>> {
        let due = |topic: &Topic| self.told.get(topic).map_or(now, |told| *told + PAUSE);
        let first = self.waiting.iter().min_by_key(|topic| due(topic)).cloned();
        let Some(topic) = first else { return Err(None) };
        let at = due(&topic);
        if at > now {
            return Err(Some(at));
        }
        self.waiting.remove(&topic);
        // What was told longer ago holds nothing back.
        self.told.retain(|_, told| *told + PAUSE > now);
        self.told.insert(topic.clone(), now);
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn uri(name: &str) -> Topic {
        Topic::Updated(Uri::Namespace(name.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_what_follows_a_second_later_in_one() {
        let (queue, began) = (Queue::default(), Instant::now());
        queue.mark(uri("a"));
        assert_eq!((queue.next().await, began.elapsed()), (uri("a"), Duration::ZERO));
        for _ in 0..100 {
            queue.mark(uri("a"));
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        assert_eq!((queue.next().await, began.elapsed()), (uri("a"), PAUSE));
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_thing_does_not_hold_back_another() {
        let (queue, began) = (Queue::default(), Instant::now());
        queue.mark(uri("a"));
        queue.next().await;
        queue.mark(uri("a"));
        queue.mark(uri("b"));
        queue.mark(Topic::List);
        assert_eq!(queue.next().await, uri("b"));
        assert_eq!((queue.next().await, began.elapsed()), (Topic::List, Duration::ZERO));
        assert_eq!((queue.next().await, began.elapsed()), (uri("a"), PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_what_is_marked_later_or_while_another_is_held_back() {
        let queue = Arc::new(Queue::default());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next().await, queue.next().await, queue.next().await) }
        });
        tokio::time::advance(Duration::from_secs(5)).await;
        queue.mark(uri("a"));
        tokio::task::yield_now().await;
        queue.mark(uri("a"));
        tokio::task::yield_now().await;
        queue.mark(uri("b"));
        assert_eq!(waiting.await.unwrap(), (uri("a"), uri("b"), uri("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_is_not_told() {
        let queue = Queue::default();
        queue.mark(uri("a"));
        queue.forget(&uri("a"));
        assert!(tokio::time::timeout(Duration::from_secs(5), queue.next()).await.is_err());
        assert!(queue.state.lock().told.is_empty());
    }
}
