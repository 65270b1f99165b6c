//! One object before and after.

use super::Manifest;
use crate::{
    fact::{Key, PolicyObject},
    id::PolicyId,
    kind::{Kind, KindRow},
    policy::{ObjectChange, Objects, refers},
};
use serde::Serialize;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The kinds that may be changed. [`Kind::row`] has the group, the plural and the versions of each.
///
/// ServerAuthorizations are left out: AuthorizationPolicies have taken their place. Rate limits and EgressNetworks are
/// left out because nothing here foretells what they do.
pub const CHANGEABLE: [Kind; 7] = [
    Kind::AuthorizationPolicy,
    Kind::MeshTLSAuthentication,
    Kind::NetworkAuthentication,
    Kind::Server,
    Kind::LinkerdHTTPRoute,
    Kind::GatewayHTTPRoute,
    Kind::GRPCRoute,
];

/// The most edits that are judged together.
pub const MOST_EDITS: usize = 300;

/// One object before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Its kind, one of [`CHANGEABLE`].
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// What is there now; `None` when it is new.
    pub before: Option<Arc<PolicyObject>>,
    /// What it becomes; `None` when it is deleted.
    pub after: Option<Arc<PolicyObject>>,
}

/// What an edit does with its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// There is none yet.
    Create,
    /// It becomes another.
    Update,
    /// It goes.
    Delete,
    /// There is none, and none is made.
    Nothing,
}

/// Edits that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditsError {
    /// There are none.
    #[error("there is nothing to change: give at least one manifest, or one object to delete")]
    None,
    /// One object twice.
    #[error("{0} is changed twice: give each object once")]
    Twice(PolicyId),
    /// Too many to judge.
    #[error("{0} objects are more than are changed at once; split them into groups of {MOST_EDITS} or fewer")]
    TooMany(usize),
}

/// The row of a kind that may be changed, by group and name as manifests write them.
pub fn changeable(group: &str, name: &str) -> Option<&'static KindRow> {
    CHANGEABLE.into_iter().map(Kind::row).find(|row| row.group == group && row.name == name)
}

/// Whether edits can be judged together.
///
/// # Errors
///
/// When there are none or too many, or two are about one object.
pub fn fit(edits: &[Edit]) -> Result<(), EditsError> {
    match edits.len() {
        0 => return Err(EditsError::None),
        count if count > MOST_EDITS => return Err(EditsError::TooMany(count)),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    match edits.iter().find(|edit| !seen.insert((edit.kind, &edit.key))) {
        Some(twice) => Err(EditsError::Twice(twice.id())),
        None => Ok(()),
    }
}

/// What the edits do to the objects of a mesh.
///
/// What Linkerd wrote into the status of edited routes is no longer true once it has looked at them again, nor is that of
/// routes whose Server comes or goes or gets another GRPCRoute: it is left out, so that acceptance is worked out anew.
pub fn changes(objects: &Objects, edits: &[Edit]) -> Vec<ObjectChange> {
    let mut changes: Vec<ObjectChange> = edits.iter().map(Edit::change).collect();
    let edited: BTreeSet<(Kind, &Key)> = edits.iter().map(|edit| (edit.kind, &edit.key)).collect();
    let servers = touched_servers(edits);
    let namespaces: BTreeSet<&str> = servers.iter().map(|key| &*key.namespace).collect();
    for kind in [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute] {
        for object in namespaces.iter().flat_map(|namespace| objects.policies(kind, namespace)) {
            let stale = !object.status.is_null()
                && !edited.contains(&(kind, &object.key))
                && refers::parents(object).iter().any(|parent| servers.contains(parent));
            if stale {
                changes.push(ObjectChange::put(PolicyObject {
                    status: Arc::default(),
                    ..PolicyObject::clone(object)
                }));
            }
        }
    }
    changes
}

/// The Servers that come or go, and those that changed GRPCRoutes name: such a route ends the acceptance of HTTPRoutes.
fn touched_servers(edits: &[Edit]) -> BTreeSet<Key> {
    let mut servers = BTreeSet::new();
    for edit in edits {
        match edit.kind {
            Kind::Server if edit.before.is_some() != edit.after.is_some() => {
                servers.insert(edit.key.clone());
            }
            Kind::GRPCRoute => servers.extend(edit.versions().flat_map(refers::parents)),
            _ => {}
        }
    }
    servers
}

// === impl Edit ===

impl Edit {
    /// The object of a manifest in the place of the one that bears its name among `objects`.
    pub fn put(objects: &Objects, manifest: &Manifest) -> Self {
        let key = manifest.key();
        let before = objects.policy(manifest.kind, &key).cloned();
        Self::between(before, manifest)
    }

    /// The object of a manifest in the place of `before`, wherever that was read.
    pub fn between(before: Option<Arc<PolicyObject>>, manifest: &Manifest) -> Self {
        let after = PolicyObject {
            // The API server does not change it, and Linkerd breaks ties by it.
            created_ms: before.as_ref().and_then(|before| before.created_ms),
            ..manifest.object()
        };
        Self { kind: manifest.kind, key: manifest.key(), before, after: Some(Arc::new(after)) }
    }

    /// An object that goes.
    pub fn delete(objects: &Objects, kind: Kind, key: Key) -> Self {
        Self { kind, before: objects.policy(kind, &key).cloned(), key, after: None }
    }

    /// The edit that undoes this one.
    pub fn undone(&self) -> Self {
        Self {
            before: self.after.clone(),
            after: self.before.clone(),
            kind: self.kind,
            key: self.key.clone(),
        }
    }

    /// The object's id.
    pub fn id(&self) -> PolicyId {
        PolicyId::new(self.kind.policy_prefix(), &self.key.namespace, &self.key.name)
    }

    /// What it does with the object.
    pub fn verb(&self) -> Verb {
        match (&self.before, &self.after) {
            (None, Some(_)) => Verb::Create,
            (Some(_), Some(_)) => Verb::Update,
            (Some(_), None) => Verb::Delete,
            (None, None) => Verb::Nothing,
        }
    }

    /// True when nothing that Linkerd reads is different after it.
    pub fn is_same(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.spec == after.spec && before.labels == after.labels,
            (None, None) => true,
            _ => false,
        }
    }

    /// What it does to policies.
    pub fn change(&self) -> ObjectChange {
        ObjectChange { kind: self.kind, key: self.key.clone(), object: self.after.clone() }
    }

    /// The object before and after, as far as there is one.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &PolicyObject> {
        self.before.iter().chain(&self.after).map(|object| &**object)
    }
}

// === impl Verb ===

impl Verb {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
