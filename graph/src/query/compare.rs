//! A mesh now against itself a while ago.
//!
//! What is kept of the past is a [`Sample`]: eight bytes an edge, beside the edge ids and the policies, which samples
//! share with each other and with the graph as long as they do not change. 100,000 edges take 0.8 MB a sample, and 1.6 MB
//! more for each time that the set of edges changed.

use crate::{
    id::{Destination, EdgeId, ObjectId, PolicyId, Source},
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{Graph, Policy, Tls},
};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{cmp::Ordering, sync::Arc};

/// What is remembered of a mesh at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Ids of its edges, in order.
    ids: Arc<[EdgeId]>,
    /// The numbers of the edge at the same place.
    rows: Box<[Row]>,
    auth_policies: OrdMap<ObjectId, Arc<Policy>>,
    policies: OrdMap<PolicyId, Arc<Policy>>,
    /// True when the numbers were not current then.
    pub stale: bool,
}

/// The numbers of one edge, each with a precision of a twentieth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    rps: u16,
    /// In 60,000ths.
    success: u16,
    p99: u16,
    /// Denied per second in the upper 14 bits, TLS in the lower two.
    denied_tls: u16,
}

/// The numbers of an edge that are compared. What is not known is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// Calls per second.
    pub rps: Option<f64>,
    /// Share that succeeded.
    pub success_rate: Option<f64>,
    /// Milliseconds.
    pub p99_ms: Option<f64>,
    /// Per second.
    pub denied: Option<f64>,
}

/// What is different now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// Edges that were not there, in order.
    pub appeared: Vec<EdgeId>,
    /// Edges that are not there any more, in order.
    pub vanished: Vec<EdgeId>,
    /// Edges that were mutual TLS and are known not to be now.
    pub mtls_lost: Vec<EdgeId>,
    /// Edges that were not mutual TLS and are now.
    pub mtls_gained: Vec<EdgeId>,
    /// Policy objects and routes, in order.
    pub policies: Vec<PolicyChange>,
    /// Edges whose rate changed by a fifth or more, the largest change first.
    pub rate: Vec<Moved>,
    /// Edges whose success rate changed by a hundredth or more, those first where most calls are concerned.
    pub success: Vec<Moved>,
    /// Edges whose p99 grew or shrank by half or more, the largest change first.
    pub latency: Vec<Moved>,
    /// Edges on which denials began, the most frequent first.
    pub denied: Vec<Moved>,
}

/// An edge with its numbers then and now.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The edge.
    pub id: EdgeId,
    /// Then.
    pub before: Numbers,
    /// Now.
    pub now: Numbers,
    /// How much is different, to order by.
    pub by: f64,
}

/// A policy object that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Its id.
    pub id: PolicyId,
    /// What happened to it.
    pub what: Change,
}

/// What happens to objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Its spec is another one.
    Changed,
    /// It is gone.
    Removed,
}

/// Changes that are smaller are everyday ones: of a rate and a latency as a share, of a success rate as a difference.
const RATE: f64 = 0.2;
const SUCCESS: f64 = 0.01;
const LATENCY: f64 = 0.5;
/// So are changes of rates below this many calls per second, and of latencies below this many milliseconds.
const LEAST_RPS: f64 = 0.1;
const LEAST_MS: f64 = 10.0;

/// What is different between `before` and now on the edges that `wanted` chooses by their ends. Policies are compared
/// where `concerns` says so.
pub fn compare(
    before: &Sample,
    graph: &Graph,
    metrics: &Metrics,
    wanted: impl Fn(&Source, &Destination) -> bool,
    concerns: impl Fn(&PolicyId) -> bool,
) -> Difference {
    let mut found = Difference::default();
    let mut then = before.ids.iter().zip(&before.rows).peekable();
    let vanished = |id: &EdgeId, found: &mut Difference| {
        if ends(id).is_some_and(|(source, destination)| wanted(&source, &destination)) {
            found.vanished.push(id.clone());
        }
    };
    for (id, edge) in &graph.edges {
        while let Some((gone, _)) = then.next_if(|(other, _)| *other < id) {
            vanished(gone, &mut found);
        }
        let known = then.next_if(|(other, _)| *other == id).map(|(_, row)| row);
        if !wanted(&edge.src, &edge.dst) {
            continue;
        }
        let Some(row) = known else {
            found.appeared.push(id.clone());
            continue;
        };
        match (row.tls(), &edge.tls) {
            (TLS_MUTUAL, Tls::No { .. }) => found.mtls_lost.push(id.clone()),
            (TLS_NO, Tls::Mutual) => found.mtls_gained.push(id.clone()),
            _ => {}
        }
        if let Some(numbers) = metrics.get(id) {
            moved(id, row.numbers(), Numbers::of(numbers), &mut found);
        }
    }
    for (gone, _) in then {
        vanished(gone, &mut found);
    }
    found.policies = policies(before, graph);
    found.policies.retain(|it| concerns(&it.id));
    for list in [&mut found.rate, &mut found.success, &mut found.latency, &mut found.denied] {
        list.sort_by(|a, b| b.by.total_cmp(&a.by).then_with(|| a.id.cmp(&b.id)));
    }
    found
}

fn ends(id: &EdgeId) -> Option<(Source, Destination)> {
    let (source, destination) = id.as_str().split_once("->")?;
    Some((source.parse().ok()?, destination.parse().ok()?))
}

fn moved(id: &EdgeId, before: Numbers, now: Numbers, found: &mut Difference) {
    let moved = |by| Moved { id: id.clone(), before, now, by };
    if let (Some(old), Some(new)) = (before.rps, now.rps) {
        let by = (new - old).abs();
        if by >= LEAST_RPS && by >= RATE * old.max(new) {
            found.rate.push(moved(by));
        }
    }
    if let (Some(old), Some(new)) = (before.success_rate, now.success_rate) {
        let by = (new - old).abs();
        if by >= SUCCESS {
            found.success.push(moved(by * now.rps.unwrap_or(0.0)));
        }
    }
    if let (Some(old), Some(new)) = (before.p99_ms, now.p99_ms) {
        let by = (new - old).abs();
        if by >= LEAST_MS && by >= LATENCY * old.min(new) {
            found.latency.push(moved(by));
        }
    }
    let denied = now.denied.unwrap_or(0.0);
    if denied > 0.0 && before.denied.unwrap_or(0.0) == 0.0 {
        found.denied.push(moved(denied));
    }
}

fn policies(before: &Sample, graph: &Graph) -> Vec<PolicyChange> {
    let prefix = Kind::AuthorizationPolicy.policy_prefix();
    let of = |id: &ObjectId| PolicyId::new(prefix, id.namespace(), id.name());
    let authorizations = changes(&before.auth_policies, &graph.auth_policies, of);
    let mut all: Vec<PolicyChange> = authorizations;
    all.extend(changes(&before.policies, &graph.policies, Clone::clone));
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Status is what controllers write; only another spec is a change.
fn changes<K: Ord + Clone>(
    old: &OrdMap<K, Arc<Policy>>,
    new: &OrdMap<K, Arc<Policy>>,
    id: impl Fn(&K) -> PolicyId,
) -> Vec<PolicyChange> {
    let change = |item: DiffItem<'_, '_, K, Arc<Policy>>| match item {
        DiffItem::Add(key, _) => Some(PolicyChange { id: id(key), what: Change::Added }),
        DiffItem::Remove(key, _) => Some(PolicyChange { id: id(key), what: Change::Removed }),
        DiffItem::Update { old: (_, old), new: (key, new) } => {
            (old.spec != new.spec).then(|| PolicyChange { id: id(key), what: Change::Changed })
        }
    };
    old.diff(new).filter_map(change).collect()
}

// === impl Sample ===

impl Sample {
    /// What is to be remembered of a mesh. Where it has the same edges as `previous`, the two share them.
    pub fn of(graph: &Graph, metrics: &Metrics, previous: Option<&Self>) -> Self {
        let same = previous.filter(|it| {
            it.ids.len() == graph.edges.len() && it.ids.iter().zip(graph.edges.keys()).all(|(a, b)| a == b)
        });
        let ids = match same {
            Some(previous) => previous.ids.clone(),
            None => graph.edges.keys().cloned().collect(),
        };
        let mut numbers = metrics.iter().peekable();
        let none = EdgeMetrics::default();
        let rows = graph.edges.iter().map(|(id, edge)| {
            while numbers.next_if(|(other, _)| *other < id).is_some() {}
            let numbers = numbers.next_if(|(other, _)| *other == id).map_or(&none, |(_, it)| it);
            Row::of(Numbers::of(numbers), &edge.tls)
        });
        Self {
            rows: rows.collect(),
            ids,
            auth_policies: graph.auth_policies.clone(),
            policies: graph.policies.clone(),
            stale: metrics.status.stale,
        }
    }

    /// Bytes that only this sample holds when `previous` is kept too. The texts of the ids are not among them: the
    /// graph has them, for as long as the edges are there.
    pub fn bytes(&self, previous: Option<&Self>) -> usize {
        let shared = previous.is_some_and(|it| Arc::ptr_eq(&it.ids, &self.ids));
        let ids = if shared { 0 } else { size_of_val(&*self.ids) };
        size_of_val(&*self.rows) + ids + size_of::<Self>()
    }

    /// How many edges there were.
    pub fn edges(&self) -> usize {
        self.ids.len()
    }

    /// The edges that were mutual TLS then and are known not to be now.
    pub fn mtls_lost(&self, graph: &Graph) -> Vec<EdgeId> {
        let mutual = self.ids.iter().zip(&self.rows).filter(|(_, row)| row.tls() == TLS_MUTUAL);
        let lost =
            mutual.filter(|(id, _)| graph.edges.get(*id).is_some_and(|it| matches!(it.tls, Tls::No { .. })));
        lost.map(|(id, _)| id.clone()).collect()
    }
}

// === impl Numbers ===

impl Numbers {
    fn of(numbers: &EdgeMetrics) -> Self {
        let EdgeMetrics { rps, success_rate, p99_ms, denied, .. } = *numbers;
        Self { rps, success_rate, p99_ms, denied }
    }
}

// === impl Row ===

const UNKNOWN: u16 = u16::MAX;
const TLS_UNKNOWN: u16 = 0;
const TLS_MUTUAL: u16 = 1;
const TLS_NO: u16 = 2;
const WHOLE: f64 = 60_000.0;
/// The least number that is told from zero.
const LEAST: f64 = 1e-4;
/// Each step of the logarithmic scales is by so much: 65,533 steps reach 10^10, and 16,381 coarser ones as far. Half a step is
/// what a number may be off by; of both it is less than a thousandth.
const STEP: f64 = 0.000_5;
const COARSE: f64 = 0.001_99;

impl Row {
    fn of(numbers: Numbers, tls: &Tls) -> Self {
        let tls = match tls {
            Tls::Unknown => TLS_UNKNOWN,
            Tls::Mutual => TLS_MUTUAL,
            Tls::No { .. } => TLS_NO,
        };
        Self {
            rps: pack(numbers.rps, STEP, UNKNOWN),
            success: numbers.success_rate.map_or(UNKNOWN, |it| (it.clamp(0.0, 1.0) * WHOLE).round() as u16),
            p99: pack(numbers.p99_ms, STEP, UNKNOWN),
            denied_tls: pack(numbers.denied, COARSE, UNKNOWN >> 2) << 2 | tls,
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            rps: unpack(self.rps, STEP, UNKNOWN),
            success_rate: (self.success != UNKNOWN).then(|| f64::from(self.success) / WHOLE),
            p99_ms: unpack(self.p99, STEP, UNKNOWN),
            denied: unpack(self.denied_tls >> 2, COARSE, UNKNOWN >> 2),
        }
    }

    fn tls(&self) -> u16 {
        self.denied_tls & 3
    }
}

/// On a logarithmic scale; zero is zero, `unknown` is absent.
fn pack(number: Option<f64>, step: f64, unknown: u16) -> u16 {
    match number.map(|it| (it, it.partial_cmp(&LEAST))) {
        None | Some((_, None)) => unknown,
        Some((_, Some(Ordering::Less))) => 0,
        Some((number, _)) => {
            let steps = ((number / LEAST).ln() / step).round() + 1.0;
            steps.min(f64::from(unknown - 1)) as u16
        }
    }
}

fn unpack(packed: u16, step: f64, unknown: u16) -> Option<f64> {
    match packed {
        0 => Some(0.0),
        packed if packed == unknown => None,
        packed => Some(LEAST * (f64::from(packed - 1) * step).exp()),
    }
}

#[cfg(test)]
mod tests;
