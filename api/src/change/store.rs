//! Where plans, changes and guards are kept: in memory for one process, in Redis for several.
//!
//! A plan is kept under the hash of its token and sealed with the token, so whoever reads or writes Redis can neither
//! use nor alter it. Changes are a log: what was there before is written down before anything is changed.

use super::{
    guard::Watched,
    record::{Image, Record},
};
use linkerd_mcp_feed::RedisFault;
use memory::Memory;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

mod memory;
mod redis;
#[cfg(test)]
mod tests;

pub(crate) use redis::Redis;

/// The most changes that are remembered.
pub(crate) const MOST_CHANGES: usize = 1_000;
/// The most bytes of all changes, with what was there before them.
pub(crate) const MOST_BYTES: usize = 32 << 20;
/// The most bytes of one plan, and of what was there before one change.
pub(crate) const MOST_ONE: usize = 4 << 20;
/// The most bytes of plans that one process keeps at a time, in memory or in Redis.
pub(crate) const MOST_PLANS: usize = 16 << 20;
/// How long a change is remembered.
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a replica that watches a change may be silent until another one takes over.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// Keeps plans, changes and guards. Cloning shares it.
#[derive(Clone)]
pub(crate) enum Store {
    /// In this process; gone with it.
    Memory(Arc<Mutex<Memory>>),
    /// For all replicas.
    Redis(Arc<Redis>),
}

/// Why something is not kept, or not found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Redis cannot be reached, or refuses.
    #[error(transparent)]
    Redis(#[from] RedisFault),
    /// Something is larger than is kept.
    #[error("{0} bytes are more than the {MOST_ONE} that are kept of one change; split it")]
    TooLarge(usize),
    /// What is kept was not written by this version, or not by us.
    #[error("what is kept under `{0}` cannot be read")]
    Foreign(String),
    /// There are plans enough.
    #[error(
        "{MOST_PLANS} bytes of plans wait to be applied, the most that are kept; try again when some have expired"
    )]
    Full,
}

/// Changes that were asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// The newest first.
    pub(crate) records: Vec<Record>,
    /// There are more.
    pub(crate) truncated: bool,
    /// Older ones were forgotten: the time of the oldest that is known.
    pub(crate) since_ms: Option<i64>,
}

/// What the log says of a change without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: String,
    at_ms: i64,
    bytes: usize,
    /// Counts all changes that ever were, from 1.
    number: u64,
}

// === impl Store ===

impl Store {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Keeps a sealed plan for `ttl`, under a name that only the token leads to.
    pub(crate) async fn keep_plan(&self, name: &str, sealed: &[u8], ttl: Duration) -> Result<(), Error> {
        if sealed.len() > MOST_ONE {
            return Err(Error::TooLarge(sealed.len()));
        }
        match self {
            Self::Memory(memory) => memory.lock().keep_plan(name, sealed, ttl),
            Self::Redis(redis) => redis.keep_plan(name, sealed, ttl).await,
        }
    }

    /// Takes a plan away: whoever asks next gets none.
    pub(crate) async fn take_plan(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.lock().take_plan(name)),
            Self::Redis(redis) => redis.take_plan(name).await,
        }
    }

    /// Looks at a plan and leaves it there.
    pub(crate) async fn read_plan(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.lock().read_plan(name)),
            Self::Redis(redis) => redis.read_plan(name).await,
        }
    }

    /// Writes down that a change begins, and what was there before.
    pub(crate) async fn begin(&self, record: &Record, images: &[Image]) -> Result<(), Error> {
        let (written, images) = (bytes(record), bytes(&images));
        let size = written.len() + images.len();
        if size > MOST_ONE {
            return Err(Error::TooLarge(size));
        }
        match self {
            Self::Memory(memory) => memory.lock().begin(record, written, images),
            Self::Redis(redis) => redis.begin(record, &written, &images).await?,
        }
        Ok(())
    }

    /// Writes down what came of a change.
    pub(crate) async fn finish(&self, record: &Record, images: Option<&[Image]>) -> Result<(), Error> {
        let (written, images) = (bytes(record), images.map(|images| bytes(&images)));
        match self {
            Self::Memory(memory) => memory.lock().finish(&record.id, written, images),
            Self::Redis(redis) => redis.finish(&record.id, &written, images.as_deref()).await?,
        }
        Ok(())
    }

    /// One change.
    pub(crate) async fn change(&self, id: &str) -> Result<Option<Record>, Error> {
        let found = match self {
            Self::Memory(memory) => memory.lock().change(id),
            Self::Redis(redis) => redis.change(id).await?,
        };
        found.map(|bytes| read(id, &bytes)).transpose()
    }

    /// What was there before a change, and after it.
    pub(crate) async fn images(&self, id: &str) -> Result<Option<Vec<Image>>, Error> {
        let found = match self {
            Self::Memory(memory) => memory.lock().images(id),
            Self::Redis(redis) => redis.images(id).await?,
        };
        found.map(|bytes| read(id, &bytes)).transpose()
    }

    /// Changes that are `wanted`, the newest first, at most `limit`.
    pub(crate) async fn changes(
        &self,
        wanted: &(dyn Fn(&Record) -> bool + Send + Sync),
        limit: usize,
    ) -> Result<Page, Error> {
        /// Read at once: enough for most questions, and few megabytes whatever is in them.
        const CHUNK: usize = 25;
        let entries = match self {
            Self::Memory(memory) => memory.lock().entries(),
            Self::Redis(redis) => redis.entries().await?,
        };
        let mut page = Page::default();
        let oldest = entries.last();
        page.since_ms = oldest.filter(|entry| entry.number > 1).map(|entry| entry.at_ms);
        for chunk in entries.chunks(CHUNK) {
            let ids: Vec<&str> = chunk.iter().map(|entry| entry.id.as_str()).collect();
            let found = match self {
                Self::Memory(memory) => {
                    let memory = memory.lock();
                    ids.iter().map(|id| memory.change(id)).collect()
                }
                Self::Redis(redis) => redis.several(&ids).await?,
            };
            // One that cannot be read, of another version, hides no other.
            let records = ids.iter().zip(found).filter_map(|(id, bytes)| read::<Record>(id, &bytes?).ok());
            for record in records.filter(|record| wanted(record)) {
                if page.records.len() == limit {
                    page.truncated = true;
                    return Ok(page);
                }
                page.records.push(record);
            }
        }
        Ok(page)
    }

    /// Has a change watched.
    pub(crate) async fn watch(&self, id: &str, watched: &Watched) -> Result<(), Error> {
        let watched = bytes(watched);
        match self {
            Self::Memory(memory) => memory.lock().watch(id, watched),
            Self::Redis(redis) => redis.watch(id, &watched).await?,
        }
        Ok(())
    }

    /// All changes that are watched.
    pub(crate) async fn watched(&self) -> Result<Vec<(String, Watched)>, Error> {
        let found = match self {
            Self::Memory(memory) => memory.lock().watched(),
            Self::Redis(redis) => redis.watched().await?,
        };
        Ok(found.into_iter().filter_map(|(id, bytes)| Some((id.clone(), read(&id, &bytes).ok()?))).collect())
    }

    /// A change is watched no longer.
    pub(crate) async fn unwatch(&self, id: &str) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => memory.lock().unwatch(id),
            Self::Redis(redis) => redis.unwatch(id).await?,
        }
        Ok(())
    }

    /// True when this replica is the one that watches the change, for [`LEASE`] from now.
    pub(crate) async fn lease(&self, id: &str, replica: &str) -> Result<bool, Error> {
        match self {
            Self::Memory(_) => Ok(true),
            Self::Redis(redis) => redis.lease(id, replica).await,
        }
    }

    /// What to say about where this is.
    pub(crate) fn note(&self) -> &'static str {
        match self {
            Self::Memory(_) => "changes are remembered by this process only, until it ends",
            Self::Redis(_) => {
                "changes are remembered in Redis for 30 days; a Redis that keeps nothing on disk forgets them when it restarts"
            }
        }
    }
}

/// The plans that wait, by their sizes. What is taken early counts until its time is over.
#[derive(Debug, Default)]
struct Waiting(VecDeque<(Instant, usize)>);

impl Waiting {
    /// Makes room for a plan, for `ttl`.
    fn admit(&mut self, bytes: usize, ttl: Duration) -> Result<(), Error> {
        let now = Instant::now();
        self.0.retain(|(until, _)| *until > now);
        let waiting: usize = self.0.iter().map(|(_, bytes)| bytes).sum();
        if waiting + bytes > MOST_PLANS {
            return Err(Error::Full);
        }
        self.0.push_back((now + ttl, bytes));
        Ok(())
    }
}

/// Which entries of a log, the newest first, are one too many, by count or by bytes.
fn surplus(entries: &[Entry]) -> &[Entry] {
    let mut total = 0;
    let fits = |entry: &&Entry| {
        total += entry.bytes;
        total <= MOST_BYTES
    };
    let keep = entries.iter().take(MOST_CHANGES).take_while(fits).count();
    &entries[keep..]
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text keys")
}

fn read<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| Error::Foreign(name.to_owned()))
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory",
            Self::Redis(_) => "Redis",
        })
    }
}
