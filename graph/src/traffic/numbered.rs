//! Small numbers for what rows repeat, so that a poll is joined by integers and not by names.

use ahash::AHashMap;
use std::{borrow::Borrow, collections::BTreeMap, hash::Hash, num::NonZeroU32};

/// Which one of what is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Nth(NonZeroU32);

/// Values in the order in which they were first seen, each once.
#[derive(Debug, Clone)]
pub(super) struct Numbered<K> {
    known: AHashMap<K, Nth>,
    all: Vec<K>,
}

/// A map, or without `V` a set, that seldom has more than one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) enum Few<K, V = ()> {
    #[default]
    None,
    One(K, V),
    More(BTreeMap<K, V>),
}

// === impl Nth ===

impl Nth {
    /// The one at `index`, counted from 0. Rows are far fewer than numbers: their count is bounded where they are read.
    pub(super) fn new(index: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// Its index, counted from 0.
    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

// === impl Numbered ===

impl<K: Eq + Hash + Clone> Numbered<K> {
    /// The number of `key`, a new one where it has none.
    pub(super) fn number(&mut self, key: K) -> Nth {
        let all = &mut self.all;
        *self.known.entry(key).or_insert_with_key(|key| {
            all.push(key.clone());
            Nth::new(all.len() - 1)
        })
    }

    /// The number of `key`, where it has one.
    pub(super) fn find<Q>(&self, key: &Q) -> Option<Nth>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.known.get(key).copied()
    }

    pub(super) fn get(&self, nth: Nth) -> &K {
        &self.all[nth.index()]
    }

    /// All of them, by number.
    pub(super) fn all(&self) -> &[K] {
        &self.all
    }
}

impl<K: PartialEq> PartialEq for Numbered<K> {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl<K> Default for Numbered<K> {
    fn default() -> Self {
        Self { known: AHashMap::new(), all: Vec::new() }
    }
}

// === impl Few ===

impl<K: Copy + Ord, V: Copy + Default> Few<K, V> {
    /// The value of `key`, which is made where there is none.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        match *self {
            Self::None => *self = Self::One(key, V::default()),
            Self::One(one, value) if one != key => *self = Self::More(BTreeMap::from([(one, value)])),
            _ => {}
        }
        match self {
            Self::One(_, value) => value,
            Self::More(all) => all.entry(key).or_default(),
            Self::None => unreachable!("an entry was just put in"),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        let (one, more) = match self {
            Self::None => (None, None),
            Self::One(key, value) => (Some((*key, *value)), None),
            Self::More(all) => (None, Some(all)),
        };
        one.into_iter().chain(more.into_iter().flatten().map(|(key, value)| (*key, *value)))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl<K: Copy + Ord> Few<K> {
    pub(super) fn insert(&mut self, key: K) {
        self.entry(key);
    }

    pub(super) fn extend(&mut self, other: &Self) {
        other.keys().for_each(|key| self.insert(key));
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, ())| key)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        match self {
            Self::None => false,
            Self::One(one, ()) => *one == key,
            Self::More(all) => all.contains_key(&key),
        }
    }
}
