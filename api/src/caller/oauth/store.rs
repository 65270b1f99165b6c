//! Keeps the keys of an authorization server, and fetches them when they are needed.

use super::{PATIENCE, fetch::Source, jwt::KeyName, keys::Keys};
use crate::{caller::metrics::CallerMetrics, chain::chain};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// How long keys are believed. A key that the issuer has taken back counts so long at most.
const KEPT: Duration = Duration::from_secs(600);
/// From when on new ones are fetched; until the others end there is time for an issuer to come back.
const RENEWED: Duration = Duration::from_secs(300);
/// How often a name that is not known makes us ask: anybody can make one up.
const AGAIN: Duration = Duration::from_secs(30);
/// How long to wait after a failure, when there are no keys at all.
const RETRY: Duration = Duration::from_secs(5);

/// The keys of an issuer.
#[derive(Debug)]
pub(crate) struct Store {
    source: Source,
    state: Mutex<State>,
    /// Whoever fetches has it.
    turn: tokio::sync::Mutex<()>,
}

/// What is known.
#[derive(Debug, Default)]
struct State {
    /// The keys, and when they were fetched.
    keys: Option<(Arc<Keys>, Instant)>,
    /// When they were last asked for, with whatever success.
    tried: Option<Instant>,
}

/// What to do about a token.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Take these keys: its key is among them.
    Take(Arc<Keys>),
    /// Fetch keys first.
    Fetch,
    /// Take what there is: they were asked for just now.
    Leave,
}

// === impl Store ===

impl Store {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, state: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The keys of the issuer, with the one of this name if there is such; none when there are no keys to be had.
    pub(crate) async fn keys(self: &Arc<Self>, name: &KeyName, metrics: &CallerMetrics) -> Option<Arc<Keys>> {
        match self.next(name) {
            Next::Take(keys) => return Some(keys),
            Next::Leave => {
                // Whoever fetches at this moment may bring it.
                let _ = timeout(PATIENCE, self.turn.lock()).await;
            }
            Next::Fetch => {
                let (store, name, metrics) = (self.clone(), name.clone(), metrics.clone());
                // A task of its own: clients that hang up must not be able to keep new keys away.
                let fetching = tokio::spawn(async move {
                    let _turn = store.turn.lock().await;
                    // Somebody else may have fetched them while this waited.
                    if store.next(&name) == Next::Fetch {
                        store.fetch(&metrics).await;
                    }
                });
                let _ = timeout(PATIENCE, fetching).await;
            }
        }
        self.state.lock().keys(Instant::now()).map(|(keys, _)| keys.clone())
    }

    fn next(&self, name: &KeyName) -> Next {
        self.state.lock().next(name, Instant::now())
    }

    async fn fetch(&self, metrics: &CallerMetrics) {
        self.state.lock().tried = Some(Instant::now());
        let error = match timeout(PATIENCE, self.source.keys()).await {
            Ok(Ok(keys)) => {
                let mut state = self.state.lock();
                let now = Instant::now();
                (state.keys, state.tried) = (Some((Arc::new(keys), now)), Some(now));
                metrics.fetched_keys(true);
                return;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("there was no answer for {} s", PATIENCE.as_secs()),
        };
        // Those that have waited for this need not try at once.
        self.state.lock().tried = Some(Instant::now());
        metrics.fetched_keys(false);
        let issuer = &self.source.issuer;
        tracing::warn!(issuer, error, "the keys of the authorization server cannot be fetched");
    }
}

// === impl State ===

impl State {
    fn keys(&self, now: Instant) -> Option<&(Arc<Keys>, Instant)> {
        self.keys.as_ref().filter(|(_, since)| now.duration_since(*since) < KEPT)
    }

    fn next(&self, name: &KeyName, now: Instant) -> Next {
        let rested = |rest| self.tried.is_none_or(|at| now.duration_since(at) >= rest);
        match self.keys(now) {
            None if rested(RETRY) => Next::Fetch,
            None => Next::Leave,
            Some((keys, since)) => {
                let (known, old) = (keys.has(name), now.duration_since(*since) >= RENEWED);
                match (known && !old, rested(AGAIN)) {
                    (false, true) => Next::Fetch,
                    _ if known => Next::Take(keys.clone()),
                    _ => Next::Leave,
                }
            }
        }
    }
}
