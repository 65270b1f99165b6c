//! Plans, changes and guards of all replicas, in Redis. The names are in [`Names`]; `docs/redis.md` has the rights.

use super::{Entry, Error, LEASE, RETENTION, Record, Waiting, surplus};
use crate::graph::wire::Names;
use linkerd_mcp_feed::{Connection, RedisFault, RedisServer};
use redis::{RedisError, Value, aio::MultiplexedConnection, streams::StreamRangeReply};
use std::{future::Future, time::Duration};
use tokio::sync::Mutex;

/// How large a value may be that is read: what others wrote there is not ours to trust.
const MOST_READ: usize = 2 * super::MOST_ONE;

/// The connection, and the names of the keys.
pub(crate) struct Redis {
    names: Names,
    /// Held for one command, across its await: commands are few and small, and the connection is made again by whoever
    /// has it.
    connection: Mutex<Connection>,
    waiting: parking_lot::Mutex<Waiting>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

// === impl Redis ===

impl Redis {
    /// Nothing is connected yet.
    pub(crate) fn new(server: RedisServer, prefix: &str) -> Result<Self, RedisFault> {
        let connection = Mutex::new(Connection::new(server)?);
        Ok(Self { names: Names::new(prefix), connection, waiting: parking_lot::Mutex::default() })
    }

    async fn run<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Error> {
        Ok(self.connection.lock().await.run(command).await?)
    }

    fn plan(&self, name: &str) -> String {
        format!("{}{name}", self.names.plan)
    }

    fn record(&self, id: &str) -> String {
        format!("{}{id}", self.names.change)
    }

    fn image(&self, id: &str) -> String {
        format!("{}{id}:images", self.names.change)
    }

    pub(super) async fn keep_plan(&self, name: &str, sealed: &[u8], ttl: Duration) -> Result<(), Error> {
        self.waiting.lock().admit(sealed.len(), ttl)?;
        let mut command = redis::cmd("SET");
        command.arg(self.plan(name)).arg(sealed).arg("PX").arg(millis(ttl)).arg("NX");
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await
    }

    pub(super) async fn take_plan(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut command = redis::cmd("GETDEL");
        command.arg(self.plan(name));
        let taken: Option<Vec<u8>> =
            self.run(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        bounded("a plan", taken)
    }

    pub(super) async fn read_plan(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(self.plan(name));
        let read: Option<Vec<u8>> =
            self.run(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        bounded("a plan", read)
    }

    pub(super) async fn begin(&self, record: &Record, written: &[u8], images: &[u8]) -> Result<(), Error> {
        let entries = self.entries().await?;
        let number = entries.first().map_or(1, |newest| newest.number + 1);
        // The log comes last: what it names is there.
        self.set(&self.image(&record.id), images).await?;
        self.set(&self.record(&record.id), written).await?;
        let bytes = written.len() + images.len();
        let mut command = redis::cmd("XADD");
        command.arg(&self.names.changes).arg("*");
        command.arg("id").arg(&record.id).arg("at").arg(record.at_ms);
        command.arg("bytes").arg(bytes).arg("n").arg(number);
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await?;
        let added = Entry { id: record.id.clone(), at_ms: record.at_ms, bytes, number };
        let all: Vec<Entry> = std::iter::once(added).chain(entries).collect();
        self.forget(surplus(&all)).await
    }

    /// Removes what is one too many, and its entries.
    async fn forget(&self, surplus: &[Entry]) -> Result<(), Error> {
        if surplus.is_empty() {
            return Ok(());
        }
        let mut gone = redis::cmd("DEL");
        for entry in surplus {
            gone.arg(self.record(&entry.id)).arg(self.image(&entry.id));
        }
        self.run(|mut redis| async move { gone.exec_async(&mut redis).await }).await?;
        let places = self.places().await?;
        let mut command = redis::cmd("XDEL");
        command.arg(&self.names.changes);
        let mut any = false;
        for (place, entry) in &places {
            if surplus.iter().any(|gone| gone.id == entry.id) {
                command.arg(place);
                any = true;
            }
        }
        if any {
            self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(&self, id: &str, written: &[u8], images: Option<&[u8]>) -> Result<(), Error> {
        if let Some(images) = images {
            self.set(&self.image(id), images).await?;
        }
        self.set(&self.record(id), written).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value).arg("PX").arg(millis(RETENTION));
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await
    }

    pub(super) async fn change(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        self.get(&self.record(id)).await
    }

    pub(super) async fn images(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        self.get(&self.image(id)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let found: Option<Vec<u8>> =
            self.run(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        bounded(key, found)
    }

    pub(super) async fn several(&self, ids: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut command = redis::cmd("MGET");
        for id in ids {
            command.arg(self.record(id));
        }
        self.run(|mut redis| async move { command.query_async(&mut redis).await }).await
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, Error> {
        Ok(self.places().await?.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The log, the newest first, with the ids of its entries in Redis.
    async fn places(&self) -> Result<Vec<(String, Entry)>, Error> {
        let mut command = redis::cmd("XREVRANGE");
        // Two replicas that add at once may leave one too many for a moment.
        command.arg(&self.names.changes).arg("+").arg("-").arg("COUNT").arg(super::MOST_CHANGES + 64);
        let reply: StreamRangeReply =
            self.run(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        Ok(reply
            .ids
            .iter()
            .filter_map(|place| {
                let entry = Entry {
                    id: place.get("id")?,
                    at_ms: place.get("at")?,
                    bytes: place.get("bytes")?,
                    number: place.get("n")?,
                };
                Some((place.id.clone(), entry))
            })
            .collect())
    }

    pub(super) async fn watch(&self, id: &str, watched: &[u8]) -> Result<(), Error> {
        let mut command = redis::cmd("HSET");
        command.arg(&self.names.guards).arg(id).arg(watched);
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await
    }

    pub(super) async fn watched(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(&self.names.guards);
        self.run(|mut redis| async move { command.query_async(&mut redis).await }).await
    }

    pub(super) async fn unwatch(&self, id: &str) -> Result<(), Error> {
        let mut command = redis::cmd("HDEL");
        command.arg(&self.names.guards).arg(id);
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await?;
        let mut command = redis::cmd("DEL");
        command.arg(format!("{}{id}", self.names.guard));
        self.run(|mut redis| async move { command.exec_async(&mut redis).await }).await
    }

    pub(super) async fn lease(&self, id: &str, replica: &str) -> Result<bool, Error> {
        let key = format!("{}{id}", self.names.guard);
        let mut take = redis::cmd("SET");
        take.arg(&key).arg(replica).arg("PX").arg(millis(LEASE)).arg("NX");
        let taken: Value = self.run(|mut redis| async move { take.query_async(&mut redis).await }).await?;
        if taken == Value::Okay {
            return Ok(true);
        }
        if self.get(&key).await?.as_deref() != Some(replica.as_bytes()) {
            return Ok(false);
        }
        let mut renew = redis::cmd("PEXPIRE");
        renew.arg(&key).arg(millis(LEASE));
        // Between the look and this the lease may have ended: then another replica has it, or nobody, and both see the
        // versions of the objects before they write.
        self.run(|mut redis| async move { renew.query_async(&mut redis).await }).await
    }
}

fn bounded(name: &str, found: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match found {
        Some(bytes) if bytes.len() > MOST_READ => Err(Error::Foreign(name.to_owned())),
        found => Ok(found),
    }
}
