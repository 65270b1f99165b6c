//! Plans, changes and guards of one process.

use super::{Entry, Error, RETENTION, Record, Waiting, surplus};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// Owned by the [`super::Store`] of a process, which locks it for one call each.
#[derive(Default)]
pub(crate) struct Memory {
    plans: HashMap<String, Plan>,
    waiting: Waiting,
    /// The newest first.
    log: VecDeque<Logged>,
    watched: BTreeMap<String, Vec<u8>>,
    count: u64,
}

struct Plan {
    sealed: Vec<u8>,
    until: Instant,
}

struct Logged {
    entry: Entry,
    record: Vec<u8>,
    images: Vec<u8>,
    until: Instant,
}

// === impl Memory ===

impl Memory {
    pub(super) fn keep_plan(&mut self, name: &str, sealed: &[u8], ttl: Duration) -> Result<(), Error> {
        let now = Instant::now();
        self.plans.retain(|_, plan| plan.until > now);
        self.waiting.admit(sealed.len(), ttl)?;
        self.plans.insert(name.to_owned(), Plan { sealed: sealed.to_vec(), until: now + ttl });
        Ok(())
    }

    pub(super) fn take_plan(&mut self, name: &str) -> Option<Vec<u8>> {
        let plan = self.plans.remove(name)?;
        (plan.until > Instant::now()).then_some(plan.sealed)
    }

    pub(super) fn read_plan(&self, name: &str) -> Option<Vec<u8>> {
        let plan = self.plans.get(name)?;
        (plan.until > Instant::now()).then(|| plan.sealed.clone())
    }

    pub(super) fn begin(&mut self, record: &Record, written: Vec<u8>, images: Vec<u8>) {
        self.count += 1;
        let entry = Entry {
            id: record.id.clone(),
            at_ms: record.at_ms,
            bytes: written.len() + images.len(),
            number: self.count,
        };
        let now = Instant::now();
        self.log.push_front(Logged { entry, record: written, images, until: now + RETENTION });
        while self.log.back().is_some_and(|oldest| oldest.until <= now) {
            self.log.pop_back();
        }
        let surplus = surplus(&self.entries()).len();
        self.log.truncate(self.log.len() - surplus);
    }

    pub(super) fn finish(&mut self, id: &str, written: Vec<u8>, images: Option<Vec<u8>>) {
        if let Some(logged) = self.log.iter_mut().find(|logged| logged.entry.id == id) {
            logged.record = written;
            if let Some(images) = images {
                logged.images = images;
            }
        }
    }

    pub(super) fn change(&self, id: &str) -> Option<Vec<u8>> {
        self.logged(id).map(|logged| logged.record.clone())
    }

    pub(super) fn images(&self, id: &str) -> Option<Vec<u8>> {
        self.logged(id).map(|logged| logged.images.clone())
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.log.iter().map(|logged| logged.entry.clone()).collect()
    }

    pub(super) fn watch(&mut self, id: &str, watched: Vec<u8>) {
        self.watched.insert(id.to_owned(), watched);
    }

    pub(super) fn watched(&self) -> Vec<(String, Vec<u8>)> {
        self.watched.iter().map(|(id, bytes)| (id.clone(), bytes.clone())).collect()
    }

    pub(super) fn unwatch(&mut self, id: &str) {
        self.watched.remove(id);
    }

    fn logged(&self, id: &str) -> Option<&Logged> {
        self.log.iter().find(|logged| logged.entry.id == id)
    }
}
