//! Where something may be done.

use crate::caller::Principal;
use linkerd_mcp_graph::id::{Destination, Source, Text};
use std::{collections::BTreeSet, sync::Arc};

/// Where a caller may do something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In all namespaces, and with what is in none.
    All,
    /// In these.
    Only(Arc<BTreeSet<Text>>),
}

/// A caller, as far as RBAC goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    user: Arc<str>,
    groups: Arc<[Arc<str>]>,
}

// === impl Scope ===

impl Scope {
    /// True when this namespace is among them.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }

    /// True when an edge with these ends may be seen: one end is enough, because it was that one's proxy that counted, or
    /// could have.
    pub(crate) fn has_either(&self, from: &Source, to: &Destination) -> bool {
        [from.namespace(), to.namespace()].into_iter().flatten().any(|namespace| self.has(namespace))
            || *self == Self::All
    }

    /// What is in both. In no namespace at all where they have none in common.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, other) => other.clone(),
            (some, Self::All) => some.clone(),
            (Self::Only(some), Self::Only(others)) => {
                Self::Only(Arc::new(some.intersection(others).cloned().collect()))
            }
        }
    }

    /// The namespaces, in order; none for all of them.
    pub fn namespaces(&self) -> Option<&Arc<BTreeSet<Text>>> {
        match self {
            Self::All => None,
            Self::Only(namespaces) => Some(namespaces),
        }
    }
}

// === impl Key ===

impl Key {
    pub(super) fn of(who: &Principal) -> Self {
        Self { user: who.user.clone(), groups: who.groups.clone() }
    }
}
