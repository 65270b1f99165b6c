//! What was decided a moment ago, so that not every request costs a review. Bounded, and one review at a time for each
//! question however many ask it.

use parking_lot::Mutex;
use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc};
use tokio::{sync::OnceCell, time::Instant};

/// Values that stand until a moment of their own.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    /// Held for a look or a change, never across an await.
    entries: Mutex<HashMap<K, Entry<V>>>,
    most: usize,
}

/// Empty while the first who asked finds out. When nobody waits any more, the next one begins anew.
type Entry<V> = Arc<OnceCell<(V, Instant)>>;

// === impl Cache ===

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Remembers at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: Mutex::default(), most }
    }

    /// The value and until when it stands: one that still does, or what `find` finds.
    pub(super) async fn get<F>(&self, key: K, find: impl FnOnce() -> F) -> (V, Instant)
    where
        F: Future<Output = (V, Instant)>,
    {
        let entry = self.entry(key);
        if let Some(found) = entry.get() {
            return found.clone();
        }
        entry.get_or_init(find).await.clone()
    }

    fn entry(&self, key: K) -> Entry<V> {
        let now = Instant::now();
        let stands = |entry: &Entry<V>| entry.get().is_none_or(|(_, until)| *until > now);
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&key).filter(|it| stands(it)) {
            return entry.clone();
        }
        if entries.len() >= self.most {
            entries.retain(|_, entry| stands(entry));
        }
        if entries.len() >= self.most {
            // Half of them, those first whose time is nearly over: this is rare, and to keep them in order would cost
            // each time.
            let until = |entry: &Entry<V>| entry.get().map_or(now, |(_, until)| *until);
            let mut times: Vec<Instant> = entries.values().map(until).collect();
            let middle = times.len() / 2;
            let (_, &mut median, _) = times.select_nth_unstable(middle);
            let mut surplus = entries.len() - middle;
            entries.retain(|_, entry| {
                let goes = surplus > 0 && until(entry) <= median;
                surplus -= usize::from(goes);
                !goes
            });
        }
        let entry = Entry::default();
        entries.insert(key, entry.clone());
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    const SECOND: Duration = Duration::from_secs(1);

    async fn found(cache: &Cache<u32, u32>, key: u32, asked: &AtomicUsize) -> u32 {
        let find = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SECOND).await;
            (key * 10, Instant::now() + 10 * SECOND)
        };
        cache.get(key, find).await.0
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_the_same_at_once_are_answered_by_one_review() {
        let (cache, asked) = (Cache::new(10), AtomicUsize::new(0));
        let all = futures::future::join_all((0..100).map(|_| found(&cache, 7, &asked))).await;
        assert_eq!((all, asked.load(Ordering::Relaxed)), (vec![70; 100], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_stands_until_its_time_and_no_longer() {
        let (cache, asked) = (Cache::new(10), AtomicUsize::new(0));
        found(&cache, 7, &asked).await;
        tokio::time::advance(9 * SECOND).await;
        found(&cache, 7, &asked).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(SECOND).await;
        found(&cache, 7, &asked).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_does_not_hold_back_the_next() {
        let (cache, asked) = (Cache::new(10), AtomicUsize::new(0));
        let given_up = tokio::time::timeout(SECOND / 2, found(&cache, 7, &asked)).await;
        assert!(given_up.is_err());
        assert_eq!((found(&cache, 7, &asked).await, asked.load(Ordering::Relaxed)), (70, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_remembers_more_than_it_may() {
        let (cache, asked) = (Cache::new(10), AtomicUsize::new(0));
        for key in 0..100 {
            found(&cache, key, &asked).await;
            assert!(cache.entries.lock().len() <= 10);
        }
        let waiting: Vec<_> = (100..200).map(|key| cache.entry(key)).collect();
        assert!(cache.entries.lock().len() <= 10, "those under way count too: {}", waiting.len());
    }
}
