//! The policy objects that questions are answered from, whichever way they came: as facts, or with a graph.

use super::spec;
use crate::{
    delta::Delta,
    fact::{Fact, Key, PolicyObject},
    facts::Facts,
    id::{PolicyId, Text},
    kind::Kind,
    model::{Graph, Policy},
};
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// The kinds that decide about inbound calls.
pub const INBOUND: [Kind; 9] = [
    Kind::Server,
    Kind::ServerAuthorization,
    Kind::AuthorizationPolicy,
    Kind::MeshTLSAuthentication,
    Kind::NetworkAuthentication,
    Kind::HTTPLocalRateLimitPolicy,
    Kind::LinkerdHTTPRoute,
    Kind::GatewayHTTPRoute,
    Kind::GRPCRoute,
];

/// Policy objects by kind, namespace and name. A copy shares everything with the original until one of them changes.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    rows: OrdMap<(Kind, Key), Arc<PolicyObject>>,
    /// The GRPCRoutes that name a Server, by the Server's namespace: they may be in another one.
    grpc_parents: OrdMap<Text, OrdMap<Key, Arc<PolicyObject>>>,
}

/// One object that is new, different, or gone.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectChange {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// What it is now; `None` when it is gone.
    pub object: Option<Arc<PolicyObject>>,
}

// === impl Objects ===

impl Objects {
    /// Those among facts.
    pub fn of_facts(facts: &Facts) -> Self {
        let mut objects = Self::default();
        for kind in policy_kinds() {
            for fact in facts.all(kind) {
                if let Fact::Policy(object) = fact {
                    objects.put(object.clone());
                }
            }
        }
        objects
    }

    /// Those in a graph.
    pub fn of_graph(graph: &Graph) -> Self {
        let mut objects = Self::default();
        for (id, policy) in &graph.auth_policies {
            objects.put(object(Key::new(id.namespace(), id.name()), policy));
        }
        for (id, policy) in &graph.policies {
            objects.put(object(Key::new(id.namespace(), id.name()), policy));
        }
        objects
    }

    /// Puts an object in the place of the one that has its kind, namespace and name.
    pub fn put(&mut self, object: Arc<PolicyObject>) {
        self.remove(object.kind, &object.key);
        for namespace in grpc_parents(&object) {
            self.grpc_parents.entry(namespace).or_default().insert(object.key.clone(), object.clone());
        }
        self.rows.insert((object.kind, object.key.clone()), object);
    }

    /// Takes an object away.
    pub fn remove(&mut self, kind: Kind, key: &Key) -> Option<Arc<PolicyObject>> {
        let old = self.rows.remove(&(kind, key.clone()))?;
        for namespace in grpc_parents(&old) {
            if let Some(routes) = self.grpc_parents.get_mut(&namespace) {
                routes.remove(key);
            }
        }
        Some(old)
    }

    /// One object.
    pub fn policy(&self, kind: Kind, key: &Key) -> Option<&Arc<PolicyObject>> {
        self.rows.get(&(kind, key.clone()))
    }

    /// One object by its id.
    pub fn by_id(&self, id: &PolicyId) -> Option<&Arc<PolicyObject>> {
        let kind = policy_kinds().find(|kind| kind.policy_prefix() == id.kind())?;
        self.policy(kind, &Key::new(id.namespace(), id.name()))
    }

    /// All objects of a kind in a namespace, in order of their names.
    pub fn policies<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<PolicyObject>> {
        self.rows
            .range((kind, Key::new(namespace, ""))..)
            .take_while(move |((of, key), _)| *of == kind && &*key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// All objects of a kind, in order.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<PolicyObject>> {
        self.rows
            .range((kind, Key::new("", ""))..)
            .take_while(move |((of, _), _)| *of == kind)
            .map(|(_, object)| object)
    }

    /// The namespaces that have objects which bear on inbound calls.
    pub fn namespaces(&self) -> BTreeSet<Text> {
        INBOUND.iter().flat_map(|kind| self.all(*kind)).map(|object| object.key.namespace.clone()).collect()
    }

    /// The GRPCRoutes of any namespace that name a Server of this one.
    pub(super) fn grpc_routes_to(&self, namespace: &str) -> impl Iterator<Item = &Arc<PolicyObject>> {
        self.grpc_parents.get(namespace).into_iter().flat_map(OrdMap::values)
    }
}

/// The namespaces of the Servers that a GRPCRoute names.
fn grpc_parents(object: &PolicyObject) -> BTreeSet<Text> {
    match object.kind {
        Kind::GRPCRoute => spec::parents_of(&object.spec, &object.key.namespace)
            .into_iter()
            .map(|parent| parent.namespace)
            .collect(),
        _ => BTreeSet::new(),
    }
}

fn policy_kinds() -> impl Iterator<Item = Kind> {
    crate::kind::KINDS.iter().map(|row| row.kind).filter(|kind| !kind.policy_prefix().is_empty())
}

fn object(key: Key, policy: &Policy) -> Arc<PolicyObject> {
    Arc::new(PolicyObject {
        kind: policy.kind,
        key,
        api_version: policy.api_version.clone(),
        labels: policy.labels.clone(),
        created_ms: policy.created_ms,
        spec: policy.spec.clone(),
        status: policy.status.clone(),
    })
}

// === impl ObjectChange ===

impl ObjectChange {
    /// An object that is new or different.
    pub fn put(object: PolicyObject) -> Self {
        Self { kind: object.kind, key: object.key.clone(), object: Some(Arc::new(object)) }
    }

    /// An object that goes.
    pub fn remove(kind: Kind, key: Key) -> Self {
        Self { kind, key, object: None }
    }

    /// What a delta of the graph does to policy objects.
    pub fn of_delta(delta: &Delta) -> Vec<Self> {
        let mut changes = Vec::new();
        for id in &delta.auth_policies.removed {
            changes.push(Self::remove(Kind::AuthorizationPolicy, Key::new(id.namespace(), id.name())));
        }
        for id in &delta.policies.removed {
            let kind = policy_kinds().find(|kind| kind.policy_prefix() == id.kind());
            changes.extend(kind.map(|kind| Self::remove(kind, Key::new(id.namespace(), id.name()))));
        }
        for (id, policy) in &delta.auth_policies.put {
            let object = object(Key::new(id.namespace(), id.name()), policy);
            changes.push(Self { kind: object.kind, key: object.key.clone(), object: Some(object) });
        }
        for (id, policy) in &delta.policies.put {
            let object = object(Key::new(id.namespace(), id.name()), policy);
            changes.push(Self { kind: object.kind, key: object.key.clone(), object: Some(object) });
        }
        changes
    }
}
