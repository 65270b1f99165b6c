//! A set of edge ids in order, cheap to make of ids in order and cheap to change while others read it.

use crate::id::EdgeId;
use imbl::OrdSet;
use std::sync::Arc;

/// Up to so many ids are copied when one changes: a few microseconds.
const FEW: usize = 512;

/// Ids in order, each once.
///
/// Most nodes have some dozens of callers. A list takes no comparisons to make and half the memory of a tree, which
/// is worth its price for the few nodes that everybody calls: there a change must not cost what the node has callers.
#[derive(Debug, Clone)]
pub(super) enum Ids {
    /// A list, at most [`FEW`] long.
    Few(Arc<Vec<EdgeId>>),
    /// A tree.
    Many(OrdSet<EdgeId>),
}

// === impl Ids ===

impl Ids {
    /// From ids in order, of which the same one may come several times in a row.
    pub(super) fn of_sorted(mut ids: Vec<EdgeId>) -> Self {
        ids.dedup();
        if ids.len() > FEW {
            return Self::Many(ids.into_iter().collect());
        }
        ids.shrink_to_fit();
        Self::Few(Arc::new(ids))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &EdgeId> {
        let (few, many) = match self {
            Self::Few(ids) => (Some(&**ids), None),
            Self::Many(ids) => (None, Some(ids)),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(ids) => ids.is_empty(),
            Self::Many(ids) => ids.is_empty(),
        }
    }

    pub(super) fn insert(&mut self, id: &EdgeId) {
        match self {
            Self::Few(ids) if ids.len() < FEW => {
                if let Err(at) = ids.binary_search(id) {
                    Arc::make_mut(ids).insert(at, id.clone());
                }
            }
            Self::Few(ids) => {
                *self = Self::Many(ids.iter().cloned().chain([id.clone()]).collect());
            }
            Self::Many(ids) => drop(ids.insert(id.clone())),
        }
    }

    pub(super) fn remove(&mut self, id: &EdgeId) {
        match self {
            Self::Few(ids) => {
                if let Ok(at) = ids.binary_search(id) {
                    Arc::make_mut(ids).remove(at);
                }
            }
            Self::Many(ids) => {
                ids.remove(id);
                // Well below the bound, so that a node at the bound does not change its form with every edge.
                if ids.len() <= FEW / 2 {
                    *self = Self::Few(Arc::new(ids.iter().cloned().collect()));
                }
            }
        }
    }
}

impl PartialEq for Ids {
    /// The same ids, in whatever form.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(n: usize) -> EdgeId {
        format!("shop/deployment/w{n}->shop/api:80").parse().unwrap()
    }

    proptest! {
        #[test]
        fn whatever_is_put_and_taken_the_ids_are_those_of_a_set(
            first in 0..3 * FEW,
            steps in prop::collection::vec((any::<bool>(), 0..3 * FEW, 0..2 * FEW), 0..6),
        ) {
            let mut wanted: BTreeSet<EdgeId> = (0..first).map(id).collect();
            let mut ids = Ids::of_sorted(wanted.iter().flat_map(|id| [id.clone(), id.clone()]).collect());
            for (put, start, count) in steps {
                let before = (ids.clone(), wanted.clone());
                for id in (start..start + count).map(id) {
                    if put {
                        ids.insert(&id);
                        wanted.insert(id);
                    } else {
                        ids.remove(&id);
                        wanted.remove(&id);
                    }
                }
                prop_assert!(ids.iter().eq(&wanted));
                prop_assert_eq!(ids.is_empty(), wanted.is_empty());
                prop_assert!(ids == Ids::of_sorted(wanted.iter().cloned().collect()), "in whatever form");
                prop_assert!(before.0.iter().eq(&before.1), "a copy stays as it was");
            }
        }
    }
}
