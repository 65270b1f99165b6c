//! What edges are made from beside traffic, as things stand at one moment: a value that shares what it can with the
//! index and then owes it nothing, so that edges can be made elsewhere while objects go on changing.

use super::{Traffic, labels::Owner, numbered::Nth};
use crate::{
    facts::Facts,
    id::{EdgeId, Text, WorkloadId},
    metrics::Metrics,
    model::{Edge, Workload},
};
use ahash::AHashMap;
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// Identities that pods and ExternalWorkloads of a workload present beside the one in the graph: while its
/// ServiceAccount is being replaced, for one.
pub(crate) type MoreIdentities = OrdMap<WorkloadId, Arc<[Text]>>;

/// What edges are made from beside traffic, as things stand at one moment.
#[derive(Debug, Clone)]
pub struct Survey {
    pub(super) workloads: OrdMap<WorkloadId, Arc<Workload>>,
    pub(super) more_identities: MoreIdentities,
    pub(super) edges: OrdMap<EdgeId, Arc<Edge>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) linkerd_namespace: Text,
    /// Workloads of the names in one poll that only objects can tell: of pods, ReplicaSets and Jobs.
    owned: AHashMap<(Text, Owner, Text), WorkloadId>,
}

// === impl Survey ===

impl Survey {
    pub(crate) fn new(
        traffic: &Traffic,
        facts: &Facts,
        workloads: &OrdMap<WorkloadId, Arc<Workload>>,
        more_identities: &MoreIdentities,
        previous: (&OrdMap<EdgeId, Arc<Edge>>, &Arc<Metrics>),
        linkerd_namespace: &Text,
    ) -> Self {
        let mut owned = AHashMap::new();
        for (index, named) in traffic.named.all().iter().enumerate().filter(|(_, it)| it.owner.owned()) {
            let (namespace, name) = (traffic.texts.get(named.namespace), traffic.texts.get(named.name));
            let id = traffic.resolve(Nth::new(index), facts);
            owned.insert((namespace.clone(), named.owner, name.clone()), id);
        }
        Self {
            workloads: workloads.clone(),
            more_identities: more_identities.clone(),
            edges: previous.0.clone(),
            metrics: previous.1.clone(),
            linkerd_namespace: linkerd_namespace.clone(),
            owned,
        }
    }

    /// The workload that a name in a row stands for. One that came up after the survey stands for itself.
    pub(super) fn workload(&self, traffic: &Traffic, nth: Nth) -> WorkloadId {
        let named = *traffic.named.get(nth);
        let found = named.owner.owned().then(|| {
            let (namespace, name) = (traffic.texts.get(named.namespace), traffic.texts.get(named.name));
            self.owned.get(&(namespace.clone(), named.owner, name.clone())).cloned()
        });
        let id = found.flatten().unwrap_or_else(|| traffic.unowned(named));
        // The graph's own copy: comparing two ids that share their text takes no look at it.
        self.workloads.get_key_value(&id).map_or(id, |(known, _)| known.clone())
    }

    /// The identity that a workload's proxies present; None when it is unmeshed or not known.
    pub(super) fn identity(&self, id: &WorkloadId) -> Option<&Text> {
        let workload = self.workloads.get(id)?;
        if is_external(workload) { None } else { workload.identity.as_ref() }
    }

    /// The meshed workloads by the identities that they present, sorted.
    pub(super) fn bearers(&self) -> AHashMap<&Text, Vec<WorkloadId>> {
        let mut bearers: AHashMap<&Text, BTreeSet<&WorkloadId>> = AHashMap::new();
        for (id, workload) in &self.workloads {
            // An identity in the form of a ServiceAccount's is believed of pods alone.
            let identity = workload.identity.as_ref();
            let identity =
                identity.filter(|it| !is_external(workload) || crate::id::service_account(it).is_none());
            if let Some(identity) = identity {
                bearers.entry(identity).or_default().insert(id);
            }
        }
        for (id, identities) in &self.more_identities {
            for identity in identities.iter() {
                bearers.entry(identity).or_default().insert(id);
            }
        }
        bearers.into_iter().map(|(it, ids)| (it, ids.into_iter().cloned().collect())).collect()
    }
}

/// True for what no pods stand behind.
fn is_external(workload: &Workload) -> bool {
    workload.templates.first().is_some_and(|template| template.external)
}
