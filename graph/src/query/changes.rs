//! What happened between two states of a mesh, for those who watch a part of it.
//!
//! Not every difference is news: numbers move at every poll and pods come and go. News is that somebody calls who did
//! not, that mutual TLS is lost or gained, that denials begin, and that policy is touched. Each [`Change`] says where it
//! happened, so that whoever watches one of these [`Place`]s can be told.

use crate::{
    id::{Destination, EdgeId, PolicyId, ServiceId, Source, Text, WorkloadId},
    kind::Kind,
    metrics::Metrics,
    model::{Edge, Graph, Policy, Tls},
};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

mod reach;
#[cfg(test)]
mod tests;

/// A mesh at one moment.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Who calls whom.
    pub graph: &'a Graph,
    /// The numbers. Where some are missing only for the moment, give the last that were known.
    pub metrics: &'a Metrics,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub what: What,
    /// To what it happened.
    pub subject: Subject,
    /// Everything that it concerns, in order: the ends of an edge, what a policy bears on, and their namespaces.
    pub places: Vec<Place>,
}

/// The kinds of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Somebody calls who did not.
    EdgeAppeared,
    /// Nobody has called for so long that the edge is gone.
    EdgeVanished,
    /// Traffic is now known not to be mutual TLS.
    MtlsLost,
    /// Traffic that was not mutual TLS is.
    MtlsGained,
    /// Denials began, or there are ten times as many.
    DenialSpike,
    /// A policy object or route is new.
    PolicyAdded,
    /// Its spec or labels are different. Its status is the controllers' and does not count.
    PolicyChanged,
    /// It is gone.
    PolicyRemoved,
    /// A namespace is new.
    NamespaceAppeared,
    /// A namespace is gone.
    NamespaceVanished,
    /// A workload is new.
    WorkloadAppeared,
    /// A workload is gone.
    WorkloadVanished,
}

/// To what something happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An edge.
    Edge(EdgeId),
    /// A policy object or route, AuthorizationPolicies included.
    Policy(PolicyId),
    /// A namespace.
    Namespace(Text),
    /// A workload.
    Workload(WorkloadId),
}

/// Something that can be watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A namespace.
    Namespace(Text),
    /// A Service.
    Service(ServiceId),
    /// A workload.
    Workload(WorkloadId),
    /// A policy object or route, AuthorizationPolicies included.
    Policy(PolicyId),
}

/// So many times as many denials are news again.
const SPIKE: f64 = 10.0;

/// All that happened from `old` to `new`.
///
/// Edges come first, then policies, namespaces and workloads, each in the order of their ids. What the two share is not
/// looked at, so it costs what is different, and a pass over the numbers when these are not the same ones.
pub fn changes(old: State<'_>, new: State<'_>) -> Vec<Change> {
    let mut found = edges(&old.graph.edges, &new.graph.edges);
    found.extend(denials(old.metrics, new));
    found.extend(policies(old.graph, new.graph));
    found.extend(namespaces(old.graph, new.graph));
    found.extend(workloads(old.graph, new.graph));
    found
}

fn edges(old: &OrdMap<EdgeId, Arc<Edge>>, new: &OrdMap<EdgeId, Arc<Edge>>) -> Vec<Change> {
    let mut found = Vec::new();
    for item in old.diff(new) {
        let (what, id, edge) = match item {
            DiffItem::Add(id, edge) => (Some(What::EdgeAppeared), id, edge),
            DiffItem::Remove(id, edge) => (Some(What::EdgeVanished), id, edge),
            DiffItem::Update { old: (_, before), new: (id, edge) } => (tls(&before.tls, &edge.tls), id, edge),
        };
        if let Some(what) = what {
            found.push(Change::of_edge(what, id, edge));
        }
    }
    found
}

/// Not to know is no news. To learn after not knowing that it is not mutual TLS is: better once too often.
fn tls(before: &Tls, now: &Tls) -> Option<What> {
    match (before, now) {
        (Tls::Mutual | Tls::Unknown, Tls::No { .. }) => Some(What::MtlsLost),
        (Tls::No { .. }, Tls::Mutual) => Some(What::MtlsGained),
        _ => None,
    }
}

fn denials(before: &Metrics, new: State<'_>) -> Vec<Change> {
    let now = new.metrics;
    // Where nothing at all was known, nothing can be said to have begun.
    if std::ptr::eq(before, now) || Arc::ptr_eq(&before.rows, &now.rows) || before.ids.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut past = before.iter().peekable();
    for (id, numbers) in now.iter() {
        while past.next_if(|(it, _)| *it < id).is_some() {}
        let then = past.next_if(|(it, _)| *it == id).and_then(|(_, numbers)| numbers.denied);
        if spike(then, numbers.denied)
            && let Some(edge) = new.graph.edges.get(id)
        {
            found.push(Change::of_edge(What::DenialSpike, id, edge));
        }
    }
    found
}

fn spike(then: Option<f64>, now: Option<f64>) -> bool {
    let now = now.unwrap_or(0.0);
    now > 0.0 && now >= then.unwrap_or(0.0) * SPIKE
}

fn policies(old: &Graph, new: &Graph) -> Vec<Change> {
    let mut touched: BTreeMap<PolicyId, (What, Vec<&Policy>)> = BTreeMap::new();
    for item in old.auth_policies.diff(&new.auth_policies) {
        let prefix = Kind::AuthorizationPolicy.policy_prefix();
        let (id, what, specs) = touch(item);
        if let Some(what) = what {
            touched.insert(PolicyId::new(prefix, id.namespace(), id.name()), (what, specs));
        }
    }
    for item in old.policies.diff(&new.policies) {
        let (id, what, specs) = touch(item);
        if let Some(what) = what {
            touched.insert(id.clone(), (what, specs));
        }
    }
    if touched.is_empty() {
        return Vec::new();
    }
    let places = reach::places([old, new], &touched);
    let change = |(id, (what, _)): (PolicyId, (What, Vec<&Policy>))| {
        let places = places.get(&id).map(|it| it.iter().cloned().collect()).unwrap_or_default();
        Change { what, subject: Subject::Policy(id), places }
    };
    touched.into_iter().map(change).collect()
}

/// What happened to an entry of a map of policies, with the policy before and after, where there is one.
fn touch<'a, K>(item: DiffItem<'a, 'a, K, Arc<Policy>>) -> (&'a K, Option<What>, Vec<&'a Policy>) {
    match item {
        DiffItem::Add(id, policy) => (id, Some(What::PolicyAdded), vec![&**policy]),
        DiffItem::Remove(id, policy) => (id, Some(What::PolicyRemoved), vec![&**policy]),
        DiffItem::Update { old: (_, before), new: (id, now) } => {
            let same = before.spec == now.spec
                && before.labels == now.labels
                && before.api_version == now.api_version;
            (id, (!same).then_some(What::PolicyChanged), vec![&**before, &**now])
        }
    }
}

fn namespaces(old: &Graph, new: &Graph) -> Vec<Change> {
    let change = |what, name: &Text| Change {
        what,
        subject: Subject::Namespace(name.clone()),
        places: vec![Place::Namespace(name.clone())],
    };
    let news = old.namespaces.diff(&new.namespaces).filter_map(|item| match item {
        DiffItem::Add(name, _) => Some(change(What::NamespaceAppeared, name)),
        DiffItem::Remove(name, _) => Some(change(What::NamespaceVanished, name)),
        DiffItem::Update { .. } => None,
    });
    news.collect()
}

fn workloads(old: &Graph, new: &Graph) -> Vec<Change> {
    let change = |what, id: &WorkloadId| Change {
        what,
        subject: Subject::Workload(id.clone()),
        places: vec![Place::Namespace(id.namespace().into()), Place::Workload(id.clone())],
    };
    let news = old.workloads.diff(&new.workloads).filter_map(|item| match item {
        DiffItem::Add(id, _) => Some(change(What::WorkloadAppeared, id)),
        DiffItem::Remove(id, _) => Some(change(What::WorkloadVanished, id)),
        DiffItem::Update { .. } => None,
    });
    news.collect()
}

// === impl Change ===

impl Change {
    fn of_edge(what: What, id: &EdgeId, edge: &Edge) -> Self {
        let mut places = BTreeSet::new();
        match &edge.src {
            Source::Workload(id) => workload(&mut places, id),
            Source::Identity(_) => edge.candidates.iter().for_each(|id| workload(&mut places, id)),
            Source::Unmeshed(_) => {}
        }
        if let Some(namespace) = edge.src.namespace() {
            places.insert(Place::Namespace(namespace.into()));
        }
        match &edge.dst {
            Destination::Service(id, _) => service(&mut places, id),
            Destination::Workload(id, _) => workload(&mut places, id),
            Destination::External(_) => {}
        }
        edge.workloads.iter().for_each(|id| workload(&mut places, id));
        edge.backends.iter().for_each(|id| service(&mut places, id));
        Self { what, subject: Subject::Edge(id.clone()), places: places.into_iter().collect() }
    }
}

fn workload(places: &mut BTreeSet<Place>, id: &WorkloadId) {
    places.insert(Place::Namespace(id.namespace().into()));
    places.insert(Place::Workload(id.clone()));
}

fn service(places: &mut BTreeSet<Place>, id: &ServiceId) {
    places.insert(Place::Namespace(id.namespace().into()));
    places.insert(Place::Service(id.clone()));
}

// === impl What ===

impl What {
    /// Its name: lower case with underscores.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdgeAppeared => "edge_appeared",
            Self::EdgeVanished => "edge_vanished",
            Self::MtlsLost => "mtls_lost",
            Self::MtlsGained => "mtls_gained",
            Self::DenialSpike => "denial_spike",
            Self::PolicyAdded => "policy_added",
            Self::PolicyChanged => "policy_changed",
            Self::PolicyRemoved => "policy_removed",
            Self::NamespaceAppeared => "namespace_appeared",
            Self::NamespaceVanished => "namespace_vanished",
            Self::WorkloadAppeared => "workload_appeared",
            Self::WorkloadVanished => "workload_vanished",
        }
    }

    /// True when something to watch came or went.
    pub fn is_membership(self) -> bool {
        matches!(
            self,
            Self::NamespaceAppeared
                | Self::NamespaceVanished
                | Self::WorkloadAppeared
                | Self::WorkloadVanished
        )
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge(id) => write!(f, "{id}"),
            Self::Policy(id) => write!(f, "{id}"),
            Self::Namespace(name) => f.write_str(name),
            Self::Workload(id) => write!(f, "{id}"),
        }
    }
}
