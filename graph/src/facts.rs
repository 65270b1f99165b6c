//! All facts, kept by kind: one apply, delete and reset for every kind.
//!
//! Owned by [`crate::index::Index`] and read by [`crate::assemble`]. Indexes from pods to owners and Services are
//! kept beside the rows, so that one changed pod costs its own workload and Services, not the mesh.

mod intern;

use crate::{
    fact::{
        Change, EndpointSlice, EndpointTarget, ExternalWorkload, Fact, Key, Namespace, OwnerRef, Pod,
        PolicyObject, Service,
    },
    id::{ServiceId, Text, WorkloadId},
    kind::Kind,
};
use ahash::AHashMap;
use intern::Interner;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Every object we know.
#[derive(Debug, Default)]
pub struct Facts {
    rows: BTreeMap<Kind, BTreeMap<Key, Fact>>,
    /// Pods by namespace and controlling owner.
    pods_by_owner: AHashMap<OwnerKey, Vec<Text>>,
    /// ReplicaSets and Jobs by namespace and controlling owner.
    owned: AHashMap<OwnerKey, Vec<(Kind, Text)>>,
    /// EndpointSlices by Service.
    slices: AHashMap<Key, Vec<Text>>,
    /// Services by pod or ExternalWorkload; a name stands once for each slice that lists it.
    fronts: AHashMap<Behind, Vec<Text>>,
    interner: Interner,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnerKey {
    namespace: Text,
    kind: Text,
    name: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Behind {
    Pod(Key),
    ExternalWorkload(Key),
}

/// What has to be assembled anew after changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// These workloads.
    pub workloads: BTreeSet<WorkloadId>,
    /// These Services.
    pub services: BTreeSet<ServiceId>,
    /// These policy objects and routes.
    pub policies: BTreeSet<(Kind, Key)>,
    /// These namespaces.
    pub namespaces: BTreeSet<Text>,
    /// All workloads of these namespaces: a Server or an authorization there changed.
    pub policed: BTreeSet<Text>,
    /// What externals belong to may have changed: an EgressNetwork did.
    pub egress: bool,
}

// === impl Facts ===

impl Facts {
    /// Applies a change and adds to `touched` what it bears on. Applying what is already known touches nothing.
    pub fn change(&mut self, change: Change, touched: &mut Touched) {
        match change {
            Change::Apply(fact) => self.apply(fact, touched),
            Change::Delete(kind, key) => self.delete(kind, &key, touched),
            Change::Reset(kind, facts) => self.reset(kind, facts, touched),
        }
    }

    fn apply(&mut self, mut fact: Fact, touched: &mut Touched) {
        self.interner.intern(&mut fact);
        let kind = fact.kind();
        let key = fact.key().clone();
        if self.get(kind, &key) == Some(&fact) {
            return;
        }
        // A new owner takes pods from the workload they belonged to without it.
        self.touch(&fact, touched);
        if let Some(old) = self.get(kind, &key).cloned() {
            self.touch(&old, touched);
            self.unlink(&old);
        }
        self.link(&fact);
        self.rows.entry(kind).or_default().insert(key, fact.clone());
        self.touch(&fact, touched);
    }

    fn delete(&mut self, kind: Kind, key: &Key, touched: &mut Touched) {
        let Some(old) = self.rows.get(&kind).and_then(|rows| rows.get(key)).cloned() else { return };
        self.touch(&old, touched);
        if let Some(rows) = self.rows.get_mut(&kind) {
            rows.remove(key);
        }
        // Without its owner a pod belongs to another workload, which is touched too.
        self.touch(&old, touched);
        self.unlink(&old);
        self.interner.sweep();
    }

    fn reset(&mut self, kind: Kind, facts: Vec<Fact>, touched: &mut Touched) {
        let kept: BTreeSet<Key> =
            facts.iter().filter(|fact| fact.kind() == kind).map(|f| f.key().clone()).collect();
        let gone: Vec<Key> = self
            .rows
            .get(&kind)
            .into_iter()
            .flat_map(|rows| rows.keys())
            .filter(|key| !kept.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.delete(kind, &key, touched);
        }
        for fact in facts {
            if fact.kind() == kind {
                self.apply(fact, touched);
            }
        }
        // A list comes in order, and a map that grows at its end is half empty. Made at once it is full.
        if let Some(rows) = self.rows.get_mut(&kind) {
            *rows = std::mem::take(rows).into_iter().collect();
        }
    }

    fn link(&mut self, fact: &Fact) {
        match fact {
            Fact::Pod(pod) => {
                if let Some(owner) = &pod.owner {
                    self.pods_by_owner
                        .entry(owner_key(&pod.key, owner))
                        .or_insert_with(one)
                        .push(pod.key.name.clone());
                }
            }
            Fact::Owner(owned) => {
                if let Some(owner) = &owned.owner {
                    let row = (owned.kind, owned.key.name.clone());
                    self.owned.entry(owner_key(&owned.key, owner)).or_insert_with(one).push(row);
                }
            }
            Fact::EndpointSlice(slice) => {
                let Some(service) = &slice.service else { return };
                let service_key = Key { namespace: slice.key.namespace.clone(), name: service.clone() };
                self.slices.entry(service_key).or_insert_with(one).push(slice.key.name.clone());
                for behind in behind(slice) {
                    self.fronts.entry(behind).or_insert_with(one).push(service.clone());
                }
            }
            _ => {}
        }
    }

    fn unlink(&mut self, fact: &Fact) {
        match fact {
            Fact::Pod(pod) => {
                if let Some(owner) = &pod.owner {
                    remove_one(&mut self.pods_by_owner, &owner_key(&pod.key, owner), &pod.key.name);
                }
            }
            Fact::Owner(owned) => {
                if let Some(owner) = &owned.owner {
                    let row = (owned.kind, owned.key.name.clone());
                    remove_one(&mut self.owned, &owner_key(&owned.key, owner), &row);
                }
            }
            Fact::EndpointSlice(slice) => {
                let Some(service) = &slice.service else { return };
                let service_key = Key { namespace: slice.key.namespace.clone(), name: service.clone() };
                remove_one(&mut self.slices, &service_key, &slice.key.name);
                for behind in behind(slice) {
                    remove_one(&mut self.fronts, &behind, service);
                }
            }
            _ => {}
        }
    }

    /// What `fact` bears on, as things stand.
    fn touch(&self, fact: &Fact, touched: &mut Touched) {
        let key = fact.key();
        match fact {
            Fact::Namespace(_) => drop(touched.namespaces.insert(key.name.clone())),
            Fact::Service(_) => {
                let id = ServiceId::new(&key.namespace, &key.name);
                for slice in self.slices_of(&id) {
                    touched
                        .workloads
                        .extend(behind(slice).filter_map(|behind| self.workload_behind(&behind)));
                }
                touched.services.insert(id);
            }
            Fact::EndpointSlice(slice) => {
                if let Some(service) = &slice.service {
                    touched.services.insert(ServiceId::new(&key.namespace, service));
                }
                for behind in behind(slice) {
                    touched.workloads.extend(self.workload_behind(&behind));
                }
            }
            Fact::Pod(pod) => self.touch_pod(pod, touched),
            Fact::Owner(owned) => {
                let direct = OwnerKey {
                    namespace: key.namespace.clone(),
                    kind: owned.kind.row().name.into(),
                    name: key.name.clone(),
                };
                for pod in self.pods_by_owner.get(&direct).into_iter().flatten() {
                    if let Some(pod) = self.pod(&Key { namespace: key.namespace.clone(), name: pod.clone() })
                    {
                        self.touch_pod(pod, touched);
                    }
                }
                // The workload its pods belonged to while it had this owner.
                if let Some(owner) = &owned.owner {
                    touched.workloads.insert(self.topmost(&key.namespace, owner));
                }
            }
            Fact::ServiceAccount(_) | Fact::Link(_) => {}
            Fact::Policy(policy) => {
                touched.policies.insert((policy.kind, key.clone()));
                touched.policed.insert(key.namespace.clone());
                touched.egress |= policy.kind == Kind::EgressNetwork;
            }
            Fact::ServiceProfile(_) => touched.services.extend(profiled_service(&key.name)),
            Fact::ExternalWorkload(external) => {
                touched.workloads.insert(self.external_workload_id(external));
                let behind = Behind::ExternalWorkload(key.clone());
                self.touch_services(&behind, touched);
            }
        }
    }

    fn touch_pod(&self, pod: &Pod, touched: &mut Touched) {
        touched.workloads.insert(self.workload_of(pod));
        self.touch_services(&Behind::Pod(pod.key.clone()), touched);
    }

    fn touch_services(&self, behind: &Behind, touched: &mut Touched) {
        let (Behind::Pod(key) | Behind::ExternalWorkload(key)) = behind;
        for service in self.fronts.get(behind).into_iter().flatten() {
            touched.services.insert(ServiceId::new(&key.namespace, service));
        }
    }

    fn workload_behind(&self, behind: &Behind) -> Option<WorkloadId> {
        match behind {
            Behind::Pod(key) => self.pod(key).map(|pod| self.workload_of(pod)),
            Behind::ExternalWorkload(key) => match self.get(Kind::ExternalWorkload, key) {
                Some(Fact::ExternalWorkload(external)) => Some(self.external_workload_id(external)),
                _ => None,
            },
        }
    }

    // --- questions ---

    /// One object.
    pub fn get(&self, kind: Kind, key: &Key) -> Option<&Fact> {
        self.rows.get(&kind)?.get(key)
    }

    /// All objects of a kind, in order.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Fact> {
        self.rows.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// All objects of a kind in one namespace, in order.
    pub fn in_namespace<'a>(&'a self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a Fact> {
        let start = Key::new(namespace, "");
        self.rows
            .get(&kind)
            .into_iter()
            .flat_map(move |rows| rows.range(start.clone()..))
            .take_while(move |(key, _)| &*key.namespace == namespace)
            .map(|(_, fact)| fact)
    }

    /// A pod.
    pub fn pod(&self, key: &Key) -> Option<&Arc<Pod>> {
        match self.get(Kind::Pod, key) {
            Some(Fact::Pod(pod)) => Some(pod),
            _ => None,
        }
    }

    /// A Service.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        match self.get(Kind::Service, &Key::new(id.namespace(), id.name())) {
            Some(Fact::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// A Namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        match self.get(Kind::Namespace, &Key::new("", name)) {
            Some(Fact::Namespace(namespace)) => Some(namespace),
            _ => None,
        }
    }

    /// A policy object or route.
    pub fn policy(&self, kind: Kind, key: &Key) -> Option<&Arc<PolicyObject>> {
        match self.get(kind, key) {
            Some(Fact::Policy(policy)) => Some(policy),
            _ => None,
        }
    }

    /// All policy objects of a kind in a namespace, in order of their names.
    pub fn policies<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<PolicyObject>> {
        self.in_namespace(kind, namespace).filter_map(|fact| match fact {
            Fact::Policy(policy) => Some(policy),
            _ => None,
        })
    }

    /// The topmost owner of a pod; the pod itself when nothing controls it.
    pub fn workload_of(&self, pod: &Pod) -> WorkloadId {
        match &pod.owner {
            Some(owner) => self.topmost(&pod.key.namespace, owner),
            None => WorkloadId::new(&pod.key.namespace, "pod", &pod.key.name),
        }
    }

    /// Follows ReplicaSets and Jobs up to what controls them. Owners of other kinds are topmost themselves, as the
    /// injector sees it; an owner that is gone or not known yet counts as topmost.
    pub fn topmost(&self, namespace: &Text, owner: &OwnerRef) -> WorkloadId {
        let kind = match &*owner.kind {
            "ReplicaSet" => Some(Kind::ReplicaSet),
            "Job" => Some(Kind::Job),
            _ => None,
        };
        let above = kind.and_then(|kind| {
            let key = Key { namespace: namespace.clone(), name: owner.name.clone() };
            match self.get(kind, &key) {
                Some(Fact::Owner(owned)) => owned.owner.clone(),
                _ => None,
            }
        });
        let top = above.as_ref().unwrap_or(owner);
        WorkloadId::new(namespace, &top.kind, &top.name)
    }

    /// What an ExternalWorkload belongs to: its owner, else itself.
    pub fn external_workload_id(&self, external: &ExternalWorkload) -> WorkloadId {
        let namespace = &external.key.namespace;
        match &external.owner {
            Some(owner) => WorkloadId::new(namespace, &owner.kind, &owner.name),
            None => WorkloadId::new(namespace, "externalworkload", &external.key.name),
        }
    }

    /// The pods of a workload, ended ones included.
    pub fn pods_of(&self, workload: &WorkloadId) -> Vec<&Arc<Pod>> {
        let namespace: Text = workload.namespace().into();
        let pod = |name: &Text| self.pod(&Key { namespace: namespace.clone(), name: name.clone() });
        if workload.kind() == "pod" {
            return pod(&workload.name().into()).into_iter().filter(|pod| pod.owner.is_none()).collect();
        }
        let mut pods: Vec<&Arc<Pod>> = Vec::new();
        for top in self.owner_keys(workload) {
            for (kind, name) in self.owned.get(&top).into_iter().flatten() {
                let between = OwnerKey {
                    namespace: namespace.clone(),
                    kind: kind.row().name.into(),
                    name: name.clone(),
                };
                pods.extend(self.pods_by_owner.get(&between).into_iter().flatten().filter_map(pod));
            }
            pods.extend(self.pods_by_owner.get(&top).into_iter().flatten().filter_map(pod));
        }
        // An owner between may have another owner above it: keep only pods that really lead here.
        pods.retain(|pod| self.workload_of(pod) == *workload);
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        pods
    }

    /// The ExternalWorkloads of a workload.
    pub fn external_workloads_of(&self, workload: &WorkloadId) -> Vec<&Arc<ExternalWorkload>> {
        let namespace = workload.namespace().to_owned();
        self.rows
            .get(&Kind::ExternalWorkload)
            .into_iter()
            .flat_map(|rows| rows.range(Key::new(namespace.as_str(), "")..))
            .take_while(|(key, _)| *key.namespace == *namespace)
            .filter_map(|(_, fact)| match fact {
                Fact::ExternalWorkload(external) if self.external_workload_id(external) == *workload => {
                    Some(external)
                }
                _ => None,
            })
            .collect()
    }

    /// Owner keys that a workload id may stand for: ids have kinds in lower case, references as in manifests.
    fn owner_keys(&self, workload: &WorkloadId) -> Vec<OwnerKey> {
        const KINDS: [&str; 9] = [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
            "CronJob",
            "Rollout",
            "Node",
        ];
        let key = |kind: &str| OwnerKey {
            namespace: workload.namespace().into(),
            kind: kind.into(),
            name: workload.name().into(),
        };
        match KINDS.iter().find(|kind| kind.eq_ignore_ascii_case(workload.kind())) {
            Some(kind) => vec![key(kind)],
            None => self
                .pods_by_owner
                .keys()
                .chain(self.owned.keys())
                .filter(|owner| {
                    *owner.namespace == *workload.namespace()
                        && *owner.name == *workload.name()
                        && owner.kind.eq_ignore_ascii_case(workload.kind())
                })
                .map(|owner| owner.kind.clone())
                .collect::<BTreeSet<_>>()
                .iter()
                .map(|kind| key(kind))
                .collect(),
        }
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of(&self, service: &ServiceId) -> Vec<&Arc<EndpointSlice>> {
        let key = Key::new(service.namespace(), service.name());
        let mut slices: Vec<_> = self
            .slices
            .get(&key)
            .into_iter()
            .flatten()
            .filter_map(|name| {
                match self
                    .get(Kind::EndpointSlice, &Key { namespace: key.namespace.clone(), name: name.clone() })
                {
                    Some(Fact::EndpointSlice(slice)) => Some(slice),
                    _ => None,
                }
            })
            .collect();
        slices.sort_by(|a, b| a.key.cmp(&b.key));
        slices
    }

    /// The Services in front of a pod.
    pub fn services_of_pod(&self, pod: &Pod) -> impl Iterator<Item = ServiceId> {
        self.services_behind(&Behind::Pod(pod.key.clone()))
    }

    /// The Services in front of an ExternalWorkload.
    pub fn services_of_external_workload(
        &self,
        external: &ExternalWorkload,
    ) -> impl Iterator<Item = ServiceId> {
        self.services_behind(&Behind::ExternalWorkload(external.key.clone()))
    }

    fn services_behind(&self, behind: &Behind) -> impl Iterator<Item = ServiceId> + use<'_> {
        let (Behind::Pod(key) | Behind::ExternalWorkload(key)) = behind.clone();
        self.fronts
            .get(behind)
            .into_iter()
            .flatten()
            .map(move |service| ServiceId::new(&key.namespace, service))
            .filter(|id| self.service(id).is_some())
    }

    /// Every workload that has pods or is an ExternalWorkload, in order.
    pub fn workloads(&self) -> BTreeSet<WorkloadId> {
        let pods = self.all(Kind::Pod).filter_map(|fact| match fact {
            Fact::Pod(pod) => Some(self.workload_of(pod)),
            _ => None,
        });
        let externals = self.all(Kind::ExternalWorkload).filter_map(|fact| match fact {
            Fact::ExternalWorkload(external) => Some(self.external_workload_id(external)),
            _ => None,
        });
        pods.chain(externals).collect()
    }

    /// Workloads of one namespace, in order.
    pub fn workloads_in(&self, namespace: &str) -> BTreeSet<WorkloadId> {
        let pods = self.in_namespace(Kind::Pod, namespace).filter_map(|fact| match fact {
            Fact::Pod(pod) => Some(self.workload_of(pod)),
            _ => None,
        });
        let externals = self.in_namespace(Kind::ExternalWorkload, namespace).filter_map(|fact| match fact {
            Fact::ExternalWorkload(external) => Some(self.external_workload_id(external)),
            _ => None,
        });
        pods.chain(externals).collect()
    }
}

fn owner_key(key: &Key, owner: &OwnerRef) -> OwnerKey {
    OwnerKey { namespace: key.namespace.clone(), kind: owner.kind.clone(), name: owner.name.clone() }
}

/// What the endpoints of a slice stand for.
fn behind(slice: &EndpointSlice) -> impl Iterator<Item = Behind> {
    let namespace = &slice.key.namespace;
    let key = |name: &Text| Key { namespace: namespace.clone(), name: name.clone() };
    slice.endpoints.iter().filter_map(move |endpoint| match &endpoint.target {
        Some(EndpointTarget::Pod(name)) => Some(Behind::Pod(key(name))),
        Some(EndpointTarget::ExternalWorkload(name)) => Some(Behind::ExternalWorkload(key(name))),
        None => None,
    })
}

/// The Service a ServiceProfile is for: its name is the Service's DNS name, `web.shop.svc.cluster.local`.
pub fn profiled_service(profile: &str) -> Option<ServiceId> {
    let mut parts = profile.splitn(4, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(namespace), Some("svc")) => Some(ServiceId::new(namespace, name)),
        _ => None,
    }
}

/// Room for one, which is what most keys have; the first push to an empty list would make room for four.
fn one<T>() -> Vec<T> {
    Vec::with_capacity(1)
}

fn remove_one<K: std::hash::Hash + Eq, V: PartialEq>(map: &mut AHashMap<K, Vec<V>>, key: &K, value: &V) {
    let Some(values) = map.get_mut(key) else { return };
    if let Some(at) = values.iter().position(|known| known == value) {
        values.swap_remove(at);
    }
    if values.is_empty() {
        map.remove(key);
    }
}
