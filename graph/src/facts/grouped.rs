//! Short lists by namespace and name, in as few bytes as they need: there are as many as there are objects.

use crate::id::Text;
use std::{collections::BTreeMap, mem};

/// Lists of type `L` by namespace and `K`. There are no empty ones.
///
/// Namespaces stand once each and not in every key. Ordered maps, because one made at once is full, where a hash table
/// is half empty.
#[derive(Debug)]
pub(super) struct Grouped<K, L>(BTreeMap<Text, BTreeMap<K, L>>);

/// Values in any order.
pub(super) trait List {
    type Value: PartialEq;

    fn of(value: Self::Value) -> Self;
    fn push(&mut self, value: Self::Value);
    /// Takes one such value out; true when none is left.
    fn remove(&mut self, value: &Self::Value) -> bool;
    fn as_slice(&self) -> &[Self::Value];
    fn compact(&mut self);
}

/// Mostly one value, which then costs nothing but itself.
#[derive(Debug, PartialEq)]
pub(super) enum Few<V> {
    One(V),
    /// Behind a pointer, so that the one is all that there is to a [`Few`].
    #[expect(clippy::box_collection, reason = "a list itself would make every single text larger by half")]
    More(Box<Vec<V>>),
}

// === impl Grouped ===

impl<K: Ord, L: List> Grouped<K, L> {
    pub(super) fn push(&mut self, namespace: &Text, key: K, value: L::Value) {
        let group = match self.0.get_mut(namespace) {
            Some(group) => group,
            None => self.0.entry(namespace.clone()).or_default(),
        };
        match group.get_mut(&key) {
            Some(list) => list.push(value),
            None => drop(group.insert(key, L::of(value))),
        }
    }

    pub(super) fn remove(&mut self, namespace: &str, key: &K, value: &L::Value) {
        let Some(group) = self.0.get_mut(namespace) else { return };
        if group.get_mut(key).is_some_and(|list| list.remove(value)) {
            group.remove(key);
            if group.is_empty() {
                self.0.remove(namespace);
            }
        }
    }

    /// The values; none where there is no list.
    pub(super) fn get(&self, namespace: &str, key: &K) -> &[L::Value] {
        self.0.get(namespace).and_then(|group| group.get(key)).map_or(&[], L::as_slice)
    }

    /// The key as it is kept, where there is a list.
    pub(super) fn key(&self, namespace: &str, key: &K) -> Option<&K> {
        self.0.get(namespace)?.get_key_value(key).map(|(known, _)| known)
    }

    /// The keys of one namespace.
    pub(super) fn keys(&self, namespace: &str) -> impl Iterator<Item = &K> {
        self.0.get(namespace).into_iter().flat_map(BTreeMap::keys)
    }

    /// Gives back what growing has left empty.
    pub(super) fn compact(&mut self) {
        for group in self.0.values_mut() {
            let tight = |(key, mut list): (K, L)| {
                list.compact();
                (key, list)
            };
            *group = mem::take(group).into_iter().map(tight).collect();
        }
    }
}

impl<K, L> Default for Grouped<K, L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

// === impl List ===

impl<V: PartialEq> List for Vec<V> {
    type Value = V;

    fn of(value: V) -> Self {
        // Room for one. A push to an empty list would make room for four.
        vec![value]
    }

    fn push(&mut self, value: V) {
        Vec::push(self, value);
    }

    fn remove(&mut self, value: &V) -> bool {
        if let Some(at) = self.iter().position(|known| known == value) {
            self.swap_remove(at);
        }
        self.is_empty()
    }

    fn as_slice(&self) -> &[V] {
        self
    }

    fn compact(&mut self) {
        self.shrink_to_fit();
    }
}

impl<V: PartialEq + Clone> List for Few<V> {
    type Value = V;

    fn of(value: V) -> Self {
        Self::One(value)
    }

    fn push(&mut self, value: V) {
        match self {
            Self::One(first) => *self = Self::More(Box::new(vec![first.clone(), value])),
            Self::More(list) => list.push(value),
        }
    }

    fn remove(&mut self, value: &V) -> bool {
        match self {
            Self::One(only) => only == value,
            Self::More(list) => {
                let empty = List::remove(&mut **list, value);
                if let [only] = list.as_slice() {
                    *self = Self::One(only.clone());
                }
                empty
            }
        }
    }

    fn as_slice(&self) -> &[V] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::More(list) => list,
        }
    }

    fn compact(&mut self) {
        if let Self::More(list) = self {
            list.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted<V: Ord + Clone>(list: &[V]) -> Vec<V> {
        let mut list = list.to_vec();
        list.sort();
        list
    }

    fn held_against_lists<L: List<Value = u8>>(steps: &[(u8, u8, u8, u8)]) {
        let mut grouped: Grouped<u8, L> = Grouped::default();
        let mut wanted: BTreeMap<(Text, u8), Vec<u8>> = BTreeMap::new();
        for (what, namespace, key, value) in steps {
            let namespace: Text = namespace.to_string().into();
            let list = wanted.entry((namespace.clone(), *key)).or_default();
            match what {
                0 => grouped.compact(),
                1 | 2 => {
                    grouped.remove(&namespace, key, value);
                    if let Some(at) = list.iter().position(|known| known == value) {
                        list.remove(at);
                    }
                }
                _ => {
                    grouped.push(&namespace, *key, *value);
                    list.push(*value);
                }
            }
            for ((namespace, key), list) in &wanted {
                assert_eq!(sorted(grouped.get(namespace, key)), sorted(list));
                assert_eq!(grouped.keys(namespace).any(|known| known == key), !list.is_empty());
            }
        }
        assert!(grouped.0.values().all(|group| !group.is_empty()));
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_there_until_it_is_removed(
            steps in prop::collection::vec((0_u8..6, 0_u8..3, 0_u8..3, 0_u8..3), 0..40),
        ) {
            held_against_lists::<Vec<u8>>(&steps);
            held_against_lists::<Few<u8>>(&steps);
        }
    }

    #[test]
    fn a_single_text_takes_no_more_room_than_itself() {
        assert_eq!(size_of::<Few<Text>>(), size_of::<Text>());
    }
}
