//! What the names of one poll stand for. Two names may stand for one workload; from here on it has one number.

use super::{
    Client, Port, Survey, To, Traffic,
    numbered::{Few, Nth},
};
use crate::id::{Destination, ExternalId, ServiceId, Text, WorkloadId};
use ahash::AHashMap;
use std::hash::Hash;

/// A place in one of the lists of [`Places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct At(u32);

/// Workloads, destinations, pairs of them, and called ports, once each.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) traffic: &'a Traffic,
    pub(super) workloads: Vec<WorkloadId>,
    pub(super) destinations: Vec<Destination>,
    /// Caller among the workloads, callee among the destinations.
    pub(super) pairs: Vec<(At, At)>,
    pub(super) calls: Vec<Call>,
    /// The places of what [`Traffic`] has numbered.
    pub(super) workload_of: Vec<At>,
    pub(super) destination_of: Vec<At>,
    pub(super) pair_of: Vec<At>,
    pub(super) call_of: Vec<At>,
    /// The identity of each workload, as text and as the number that rows have of it.
    identities: Vec<Option<(Text, Option<Nth>)>>,
}

/// A port of a workload and who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) at: At,
    pub(super) port: Option<u16>,
    pub(super) client: Client,
}

// === impl At ===

impl At {
    pub(super) fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

// === impl Places ===

impl<'a> Places<'a> {
    pub(super) fn new(traffic: &'a Traffic, survey: &Survey) -> Self {
        let named: Vec<Nth> = (0..traffic.named.all().len()).map(Nth::new).collect();
        let (workloads, workload_of) = once(&named, true, |nth: &Nth| survey.workload(traffic, *nth));
        let aliased = workloads.len() < workload_of.len();
        let workload = |nth: Nth| workload_of[nth.index()];

        let to = |to: &To| match *to {
            To::Service(namespace, name, port) => Place::Service(namespace, name, port),
            To::Workload(named, port) => Place::Workload(workload(named), port),
            To::External(address) => Place::External(address),
        };
        let (destinations, destination_of) = once(traffic.destinations.all(), aliased, to);
        let text = |nth: Nth| traffic.texts.get(nth);
        let destinations = destinations.into_iter().map(|place| match place {
            Place::Service(namespace, name, port) => {
                Destination::Service(ServiceId::new(text(namespace), text(name)), port)
            }
            Place::Workload(at, port) => Destination::Workload(workloads[at.index()].clone(), port),
            Place::External(address) => Destination::External(ExternalId::new(text(address))),
        });
        let destinations = destinations.collect();
        let pair = |(from, to): &(Nth, Nth)| (workload(*from), destination_of[to.index()]);
        let (pairs, pair_of) = once(traffic.pairs.all(), aliased, pair);
        let call = |it: &Port| Call { at: workload(it.at), port: it.port, client: it.client };
        let (calls, call_of) = once(traffic.ports.all(), aliased, call);

        let identity = |id| {
            let identity = survey.identity(id)?;
            Some((identity.clone(), traffic.texts.find(identity)))
        };
        let identities = workloads.iter().map(identity).collect();
        Self {
            traffic,
            workloads,
            destinations,
            pairs,
            calls,
            workload_of,
            destination_of,
            pair_of,
            call_of,
            identities,
        }
    }

    pub(super) fn text(&self, nth: Nth) -> &'a Text {
        self.traffic.texts.get(nth)
    }

    /// In their order.
    pub(super) fn texts(&self, all: &Few<Nth>) -> Vec<Text> {
        let mut texts: Vec<Text> = all.keys().map(|nth| self.text(nth).clone()).collect();
        texts.sort_unstable();
        texts
    }

    pub(super) fn workload(&self, at: At) -> &WorkloadId {
        &self.workloads[at.index()]
    }

    /// In their order.
    pub(super) fn workloads(&self, all: &Few<At>) -> Vec<WorkloadId> {
        let mut ids: Vec<WorkloadId> = all.keys().map(|at| self.workload(at).clone()).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn destination(&self, at: At) -> &Destination {
        &self.destinations[at.index()]
    }

    /// The identity that a workload's proxies present.
    pub(super) fn identity(&self, workload: At) -> Option<&Text> {
        self.identities[workload.index()].as_ref().map(|(text, _)| text)
    }

    /// The same as rows have it; None as well when none has.
    pub(super) fn identity_number(&self, workload: At) -> Option<Nth> {
        self.identities[workload.index()].as_ref()?.1
    }
}

/// A destination whose workload is known by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Service(Nth, Nth, Option<u16>),
    Workload(At, Option<u16>),
    External(Nth),
}

/// What `keys` stand for, once each, and the place of each key in it. Unless `aliased`, no two stand for the same.
fn once<K, V: Clone + Eq + Hash>(
    keys: &[K],
    aliased: bool,
    stands_for: impl Fn(&K) -> V,
) -> (Vec<V>, Vec<At>) {
    if !aliased {
        return (keys.iter().map(stands_for).collect(), (0..keys.len()).map(At::new).collect());
    }
    let (mut all, mut known) = (Vec::new(), AHashMap::with_capacity(keys.len()));
    let place = |key: &K| {
        *known.entry(stands_for(key)).or_insert_with_key(|value: &V| {
            all.push(value.clone());
            At::new(all.len() - 1)
        })
    };
    let places = keys.iter().map(place).collect();
    (all, places)
}
