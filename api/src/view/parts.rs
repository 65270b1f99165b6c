//! Bodies of namespaces, each made once per view and shared by everybody who asks for it.
//!
//! A view never changes, and shows what its callers may see and nothing else: those who see other namespaces have another
//! view, with bodies of its own. So a body needs no other name here than the namespace and how it is written.

use super::Format;
use crate::encode::Detail;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::OnceCell;

/// What is kept of a revision, all views of it together: some 150 namespaces of 25 Services. What there is no room for
/// is made for each who asks.
const MOST: usize = 32 << 20;

/// What a body takes beside its bytes and the name.
const ENTRY: usize = 128;

/// The bodies of one view.
#[derive(Debug)]
pub(super) struct Parts {
    cells: Mutex<HashMap<Key, Arc<OnceCell<Bytes>>>>,
    /// What these bodies take of the room.
    taken: AtomicUsize,
    room: Room,
}

/// How much may still be kept of a revision. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: Box<str>,
    format: Format,
    detail: Detail,
}

// === impl Parts ===

impl Parts {
    pub(super) fn new(room: Room) -> Self {
        Self { cells: Mutex::default(), taken: AtomicUsize::new(0), room }
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// The body of a namespace, from `make` when nobody has asked before or there was no room to keep it.
    pub(super) async fn get(
        &self,
        namespace: &str,
        (format, detail): (Format, Detail),
        make: impl Future<Output = Bytes>,
    ) -> Bytes {
        let key = Key { namespace: namespace.into(), format, detail };
        let cell = self.cells.lock().entry(key.clone()).or_default().clone();
        cell.get_or_init(|| async {
            let bytes = make.await;
            let takes = bytes.len() + key.namespace.len() + ENTRY;
            if self.room.take(takes) {
                self.taken.fetch_add(takes, Ordering::Relaxed);
            } else {
                self.cells.lock().remove(&key);
            }
            bytes
        })
        .await
        .clone()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.room.give_back(*self.taken.get_mut());
    }
}

// === impl Room ===

impl Room {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(MOST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: (Format, Detail) = (Format::Protobuf, Detail::Full);

    async fn made(parts: &Parts, namespace: &str, bytes: usize) -> bool {
        let mut made = false;
        let body = parts.get(namespace, FULL, async {
            made = true;
            vec![7; bytes].into()
        });
        assert_eq!(body.await.len(), bytes);
        made
    }

    #[tokio::test]
    async fn what_there_is_room_for_is_made_once_and_the_rest_for_each_who_asks() {
        let parts = Parts::new(Room::default());
        let half = MOST / 2;
        assert!(made(&parts, "a", half).await);
        assert!(!made(&parts, "a", half).await);
        assert!(made(&parts, "b", half).await, "the names take some room too");
        assert!(made(&parts, "b", half).await);
        assert!(made(&parts, "c", half / 2).await);
        assert!(!made(&parts, "c", half / 2).await);
        assert_eq!(parts.cells.lock().len(), 2);
    }

    #[tokio::test]
    async fn views_of_one_revision_share_the_room_and_give_it_back() {
        let parts = Parts::new(Room::default());
        let limited = Parts::new(parts.room().clone());
        assert!(made(&limited, "a", MOST - 1_000).await);
        assert!(made(&parts, "a", 1_000).await && made(&parts, "a", 1_000).await);
        drop(limited);
        assert!(made(&parts, "a", 1_000).await && !made(&parts, "a", 1_000).await);
        let room = parts.room().clone();
        drop(parts);
        assert_eq!(room.0.load(Ordering::Relaxed), MOST);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_body_to_the_next() {
        let parts = Parts::new(Room::default());
        let never = parts.get("a", FULL, std::future::pending());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, never).await.is_err());
        assert!(made(&parts, "a", 10).await && !made(&parts, "a", 10).await);
    }
}
