//! All facts, kept by kind: one apply, delete and reset for every kind.
//!
//! Owned by [`crate::index::Index`] and read by [`crate::assemble`]. Indexes from pods to owners and Services are
//! kept beside the rows, so that one changed pod costs its own workload and Services, not the mesh.

mod grouped;
mod intern;

use crate::{
    fact::{
        Change, EndpointSlice, EndpointTarget, ExternalWorkload, Fact, Key, Namespace, Owner, OwnerRef, Pod,
        PolicyObject, Service,
    },
    id::{ServiceId, Text, WorkloadId},
    kind::Kind,
};
use grouped::{Few, Grouped};
use intern::Interner;
use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Every object we know.
#[derive(Debug, Default)]
pub struct Facts {
    rows: BTreeMap<Kind, BTreeSet<Row>>,
    /// Pods by controlling owner.
    pods_by_owner: Grouped<OwnerRef, Vec<Text>>,
    /// ReplicaSets and Jobs by controlling owner.
    owned: Grouped<OwnerRef, Vec<(Kind, Text)>>,
    /// EndpointSlices by Service.
    slices: Grouped<Text, Few<Text>>,
    /// Services by pod; a name stands once for each slice that lists it.
    pod_fronts: Grouped<Text, Few<Text>>,
    /// Services by ExternalWorkload, in the same way.
    external_fronts: Grouped<Text, Few<Text>>,
    interner: Interner,
}

/// A fact, found by its key, which is not kept a second time.
#[derive(Debug)]
struct Row(Fact);

#[derive(Debug, Clone, PartialEq, Eq)]
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
        // Taken out for a moment: what it shares, it also finds among the facts.
        let mut interner = std::mem::take(&mut self.interner);
        interner.intern(&mut fact, self);
        self.interner = interner;
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
        self.rows.entry(kind).or_default().replace(Row(fact.clone()));
        self.touch(&fact, touched);
    }

    fn delete(&mut self, kind: Kind, key: &Key, touched: &mut Touched) {
        let Some(old) = self.rows.get(&kind).and_then(|rows| rows.get(key)).map(|row| row.0.clone()) else {
            return;
        };
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
            .flatten()
            .map(|row| row.0.key())
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
        match kind {
            Kind::Pod => self.pods_by_owner.compact(),
            Kind::ReplicaSet | Kind::Job => self.owned.compact(),
            Kind::EndpointSlice => {
                self.slices.compact();
                self.pod_fronts.compact();
                self.external_fronts.compact();
            }
            _ => {}
        }
    }

    fn link(&mut self, fact: &Fact) {
        let Key { namespace, name } = fact.key();
        match fact {
            Fact::Pod(pod) => {
                if let Some(owner) = &pod.owner {
                    self.pods_by_owner.push(namespace, owner.clone(), name.clone());
                }
            }
            Fact::Owner(owned) => {
                if let Some(owner) = &owned.owner {
                    self.owned.push(namespace, owner.clone(), (owned.kind, name.clone()));
                }
            }
            Fact::EndpointSlice(slice) => {
                let Some(service) = &slice.service else { return };
                self.slices.push(namespace, service.clone(), name.clone());
                for behind in behind(slice) {
                    let (fronts, key) = self.fronts_mut(behind);
                    fronts.push(&key.namespace, key.name, service.clone());
                }
            }
            _ => {}
        }
    }

    fn unlink(&mut self, fact: &Fact) {
        let Key { namespace, name } = fact.key();
        match fact {
            Fact::Pod(pod) => {
                if let Some(owner) = &pod.owner {
                    self.pods_by_owner.remove(namespace, owner, name);
                }
            }
            Fact::Owner(owned) => {
                if let Some(owner) = &owned.owner {
                    self.owned.remove(namespace, owner, &(owned.kind, name.clone()));
                }
            }
            Fact::EndpointSlice(slice) => {
                let Some(service) = &slice.service else { return };
                self.slices.remove(namespace, service, name);
                for behind in behind(slice) {
                    let (fronts, key) = self.fronts_mut(behind);
                    fronts.remove(&key.namespace, &key.name, service);
                }
            }
            _ => {}
        }
    }

    fn fronts_mut(&mut self, behind: Behind) -> (&mut Grouped<Text, Few<Text>>, Key) {
        match behind {
            Behind::Pod(key) => (&mut self.pod_fronts, key),
            Behind::ExternalWorkload(key) => (&mut self.external_fronts, key),
        }
    }

    /// The Services in front of it, by name.
    fn fronts(&self, behind: &Behind) -> &[Text] {
        match behind {
            Behind::Pod(key) => self.pod_fronts.get(&key.namespace, &key.name),
            Behind::ExternalWorkload(key) => self.external_fronts.get(&key.namespace, &key.name),
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
                let direct = OwnerRef { kind: owned.kind.row().name.into(), name: key.name.clone() };
                for pod in self.pods_by_owner.get(&key.namespace, &direct) {
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
        for service in self.fronts(behind) {
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
        self.rows.get(&kind)?.get(key).map(|row| &row.0)
    }

    /// All objects of a kind, in order.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Fact> {
        self.rows.get(&kind).into_iter().flatten().map(|row| &row.0)
    }

    /// All objects of a kind in one namespace, in order.
    pub fn in_namespace<'a, 'n>(
        &'a self,
        kind: Kind,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'a Fact> + use<'a, 'n> {
        let start = Key::new(namespace, "");
        self.rows
            .get(&kind)
            .into_iter()
            .flat_map(move |rows| rows.range(start.clone()..))
            .map(|row| &row.0)
            .take_while(move |fact| &*fact.key().namespace == namespace)
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

    /// The name of a pod as something mentions it already: the pod, or a slice that lists it.
    fn shared_pod_name(&self, key: &Key) -> Option<&Text> {
        let listed = || self.pod_fronts.key(&key.namespace, &key.name);
        self.pod(key).map(|pod| &pod.key.name).or_else(listed)
    }

    /// The name of an owner as something mentions it already: a ReplicaSet or Job itself, or a pod of it.
    fn shared_owner_name(&self, namespace: &Text, owner: &OwnerRef) -> Option<&Text> {
        let of_pods = || self.pods_by_owner.key(namespace, owner).map(|owner| &owner.name);
        self.owner_between(namespace, owner).map(|owned| &owned.key.name).or_else(of_pods)
    }

    /// The ReplicaSet or Job that `owner` is, where it is one and is known.
    fn owner_between(&self, namespace: &Text, owner: &OwnerRef) -> Option<&Arc<Owner>> {
        let kind = match &*owner.kind {
            "ReplicaSet" => Kind::ReplicaSet,
            "Job" => Kind::Job,
            _ => return None,
        };
        match self.get(kind, &Key { namespace: namespace.clone(), name: owner.name.clone() }) {
            Some(Fact::Owner(owned)) => Some(owned),
            _ => None,
        }
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
        let top = self.above(namespace, owner);
        WorkloadId::new(namespace, &top.kind, &top.name)
    }

    /// The owner that [`Facts::topmost`] makes an id of.
    pub(crate) fn above<'a>(&'a self, namespace: &Text, owner: &'a OwnerRef) -> &'a OwnerRef {
        self.owner_between(namespace, owner).and_then(|owned| owned.owner.as_ref()).unwrap_or(owner)
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
            for (kind, name) in self.owned.get(&namespace, &top) {
                let between = OwnerRef { kind: kind.row().name.into(), name: name.clone() };
                pods.extend(self.pods_by_owner.get(&namespace, &between).iter().filter_map(pod));
            }
            pods.extend(self.pods_by_owner.get(&namespace, &top).iter().filter_map(pod));
        }
        // An owner between may have another owner above it: keep only pods that really lead here.
        pods.retain(|pod| self.workload_of(pod) == *workload);
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        pods
    }

    /// The ExternalWorkloads of a workload.
    pub fn external_workloads_of(&self, workload: &WorkloadId) -> Vec<&Arc<ExternalWorkload>> {
        self.in_namespace(Kind::ExternalWorkload, workload.namespace())
            .filter_map(|fact| match fact {
                Fact::ExternalWorkload(external) if self.external_workload_id(external) == *workload => {
                    Some(external)
                }
                _ => None,
            })
            .collect()
    }

    /// Owner keys that a workload id may stand for: ids have kinds in lower case, references as in manifests.
    fn owner_keys(&self, workload: &WorkloadId) -> Vec<OwnerRef> {
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
        let key = |kind: &str| OwnerRef { kind: kind.into(), name: workload.name().into() };
        match KINDS.iter().find(|kind| kind.eq_ignore_ascii_case(workload.kind())) {
            Some(kind) => vec![key(kind)],
            None => self
                .pods_by_owner
                .keys(workload.namespace())
                .chain(self.owned.keys(workload.namespace()))
                .filter(|owner| {
                    *owner.name == *workload.name() && owner.kind.eq_ignore_ascii_case(workload.kind())
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
            .get(&key.namespace, &key.name)
            .iter()
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
        self.fronts(behind)
            .iter()
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

/// What the endpoints of a slice stand for.
fn behind(slice: &EndpointSlice) -> impl Iterator<Item = Behind> {
    let namespace = &slice.key.namespace;
    let key = |name: &Text| Key { namespace: namespace.clone(), name: name.clone() };
    slice.targets.iter().map(move |target| match target {
        EndpointTarget::Pod(name) => Behind::Pod(key(name)),
        EndpointTarget::ExternalWorkload(name) => Behind::ExternalWorkload(key(name)),
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

// === impl Row ===

impl Borrow<Key> for Row {
    fn borrow(&self) -> &Key {
        self.0.key()
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}
