//! Whose sessions are whose. An id is no proof of anything: only the caller who opened a session may use it, and to
//! everybody else it does not exist.

use super::Caller;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A session costs about 50 KiB.
const MAX: usize = 1_000;
const MAX_PER_CALLER: usize = 100;

/// How long a session may be idle. One that only listens for changes is: hours may pass in which nothing happens to what
/// it is subscribed to, and a person may leave a conversation for lunch.
pub(crate) const IDLE: Duration = Duration::from_secs(3_600);

/// The sessions there are.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    open: Arc<Mutex<Table>>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Owned>,
    /// Places of sessions that are being opened.
    opening: HashMap<Caller, usize>,
}

#[derive(Debug)]
struct Owned {
    caller: Caller,
    used: Instant,
}

/// A place for a session that is being opened. Dropped without a session, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    sessions: Sessions,
    caller: Caller,
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { open: Arc::default(), gauge }
    }

    /// True when this caller opened it.
    pub(crate) fn owned(&self, id: &str, caller: &Caller) -> bool {
        let mut table = self.open.lock();
        let Some(session) = table.sessions.get_mut(id).filter(|it| it.caller == *caller) else {
            return false;
        };
        session.used = Instant::now();
        true
    }

    /// A place for one more session; none when there are too many.
    pub(crate) fn open(&self, caller: &Caller) -> Option<Place> {
        let mut table = self.open.lock();
        let now = Instant::now();
        table.sessions.retain(|_, it| now.duration_since(it.used) < IDLE);
        let opening: usize = table.opening.values().sum();
        let of_caller = table.sessions.values().filter(|it| it.caller == *caller).count()
            + table.opening.get(caller).copied().unwrap_or_default();
        if table.sessions.len() + opening >= MAX || of_caller >= MAX_PER_CALLER {
            return None;
        }
        *table.opening.entry(caller.clone()).or_default() += 1;
        Some(Place { sessions: self.clone(), caller: caller.clone() })
    }

    /// It is no more.
    pub(crate) fn end(&self, id: &str) {
        let mut table = self.open.lock();
        table.sessions.remove(id);
        self.show(&table);
    }

    fn show(&self, table: &Table) {
        self.gauge.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
    }
}

// === impl Place ===

impl Place {
    /// The session has this id now.
    pub(crate) fn taken(self, id: String) {
        let mut table = self.sessions.open.lock();
        table.sessions.insert(id, Owned { caller: self.caller.clone(), used: Instant::now() });
        self.sessions.show(&table);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.sessions.open.lock();
        if let Some(count) = table.opening.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                table.opening.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_exists_only_for_the_one_who_opened_it() {
        let sessions = Sessions::new(Gauge::default());
        let (owner, other) = (Caller("owner".into()), Caller("other".into()));
        sessions.open(&owner).unwrap().taken("id".to_owned());
        assert!(sessions.owned("id", &owner));
        assert!(!sessions.owned("id", &other));
        assert!(!sessions.owned("guessed", &owner));
        sessions.end("id");
        assert!(!sessions.owned("id", &owner));
        assert_eq!(sessions.gauge.get(), 0);
    }

    #[test]
    fn one_caller_cannot_take_all_places() {
        let sessions = Sessions::new(Gauge::default());
        let (greedy, other) = (Caller("greedy".into()), Caller("other".into()));
        let places: Vec<_> = std::iter::from_fn(|| sessions.open(&greedy)).collect();
        assert_eq!(places.len(), MAX_PER_CALLER);
        assert!(sessions.open(&other).is_some());
        drop(places);
        assert!(sessions.open(&greedy).is_some(), "places that were not used are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn forgotten_sessions_make_room() {
        let sessions = Sessions::new(Gauge::default());
        let caller = Caller("caller".into());
        for at in 0..MAX_PER_CALLER {
            sessions.open(&caller).unwrap().taken(at.to_string());
        }
        assert!(sessions.open(&caller).is_none());
        tokio::time::advance(IDLE).await;
        assert!(sessions.open(&caller).is_some());
    }
}
