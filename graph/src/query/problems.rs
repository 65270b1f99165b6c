//! What is wrong with a mesh, ranked: from its graph, its numbers and the findings about its policies.
//!
//! Calls to one destination with one trouble are one problem, so that a Service that is down is not a list of all its
//! callers. What is not known is not held against anybody.

use super::{
    Node,
    edges::{EdgeRef, with_numbers},
};
use crate::{
    id::{Destination, EdgeId, ServiceId, Source, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Meshed, Service, Tls},
    policy::lint::{Finding, Severity},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What problems are looked for in.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The mesh.
    pub graph: &'a Graph,
    /// The numbers of its edges.
    pub metrics: &'a Metrics,
    /// What lint says about its policies.
    pub findings: &'a [Finding],
    /// Edges that were mutual TLS a while ago and are not now.
    pub lost_mtls: &'a BTreeSet<EdgeId>,
    /// Milliseconds without news of the graph, when the feed is broken.
    pub no_feed_ms: Option<u64>,
    /// Only what lies in this namespace or calls into it, and what bears on everything.
    pub namespace: Option<&'a str>,
}

/// A kind of problem. Of two that are equally grave the earlier one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What is known is old or not complete, and all else here with it.
    StaleData,
    /// Calls are denied by policy.
    DeniedCalls,
    /// Calls fail.
    FailingCalls,
    /// A Service has no pods behind it.
    NoEndpoints,
    /// Pods are not ready.
    PodsNotReady,
    /// Calls were mutual TLS and are not any more.
    LostMtls,
    /// Calls are answered with 404 because no route takes them.
    UnroutedCalls,
    /// An object of policy does not do what it seems to.
    PolicyFinding,
    /// Calls between meshed pods are not mutual TLS.
    NoMtls,
    /// Calls take much longer than others.
    SlowCalls,
    /// Some pods of a workload have no proxy.
    PartlyMeshed,
    /// Prometheus has no metrics of meshed pods.
    UnscrapedPods,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem<'a> {
    /// What kind.
    pub kind: Kind,
    /// How grave.
    pub severity: Severity,
    /// How much of it: calls per second, milliseconds or a count, by the kind.
    pub weight: f64,
    /// Where.
    pub about: About<'a>,
    /// What was seen, in words and numbers of our own: no text from the cluster.
    pub evidence: String,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq)]
pub enum About<'a> {
    /// In what is known of the mesh.
    Mesh,
    /// On calls to one destination.
    Calls {
        /// What is called.
        to: Node,
        /// The edge that has the most of it.
        worst: EdgeRef<'a>,
        /// How many edges have it.
        edges: usize,
    },
    /// A Service.
    Service(&'a ServiceId),
    /// A workload.
    Workload(&'a WorkloadId),
    /// What lint found.
    Finding(&'a Finding),
}

/// Success rates below this are worth a look, and below the second grave.
const FAILING: (f64, f64) = (0.99, 0.95);
/// Fewer calls per second say little about a success rate.
const JUDGED: f64 = 0.05;
/// How many times the median of all p99 is an outlier, and from which number of milliseconds.
const OUTLIER: (f64, f64) = (10.0, 100.0);
/// With fewer edges than this there is no median worth the name; then this many milliseconds are slow.
const FEW: (usize, f64) = (8, 1_000.0);

/// This many of a kind come before the next kind of the same gravity has its turn, and again after all have had theirs:
/// a hundred Services that deny must not hide the one that is down.
const TURN: usize = 3;

/// Everything that is wrong, the gravest first. The same mesh has the same problems in the same order.
pub fn problems<'a>(seen: &Seen<'a>) -> Vec<Problem<'a>> {
    let mut found = stale(seen);
    calls(seen, &mut found);
    services(seen, &mut found);
    workloads(seen, &mut found);
    findings(seen, &mut found);
    found.sort_by(|a, b| {
        (Reverse(a.severity), a.kind)
            .cmp(&(Reverse(b.severity), b.kind))
            .then_with(|| b.weight.total_cmp(&a.weight))
            .then_with(|| a.about.name().cmp(&b.about.name()))
    });
    let mut turns: Vec<(usize, Problem<'a>)> = Vec::with_capacity(found.len());
    let mut run = 0;
    for problem in found {
        let same =
            turns.last().is_some_and(|(_, it)| (it.severity, it.kind) == (problem.severity, problem.kind));
        run = if same { run + 1 } else { 0 };
        turns.push((run / TURN, problem));
    }
    // Stable: within a turn the order stays.
    turns.sort_by_key(|(turn, it)| (Reverse(it.severity), *turn));
    turns.into_iter().map(|(_, problem)| problem).collect()
}

// --- what is known ---

fn stale<'a>(seen: &Seen<'a>) -> Vec<Problem<'a>> {
    let mesh =
        |kind, severity, weight, evidence| Problem { kind, severity, weight, about: About::Mesh, evidence };
    let mut found = Vec::new();
    let status = &seen.metrics.status;
    if let Some(ms) = seen.no_feed_ms {
        let evidence =
            format!("nothing has come from the controller for {} s: all of this is old", ms / 1_000);
        found.push(mesh(Kind::StaleData, Severity::Error, 3.0, evidence));
    }
    if status.stale {
        let evidence = match status.as_of_ms {
            Some(_) => "the numbers are not from the last poll of Prometheus, or not complete",
            None => "no numbers have come from Prometheus: rates, latencies and mTLS are not known",
        };
        found.push(mesh(Kind::StaleData, Severity::Error, 2.0, evidence.to_owned()));
    }
    let kinds = seen.graph.status.not_synced().count();
    if kinds > 0 || seen.graph.status.kinds.is_empty() {
        let evidence = format!(
            "kinds of Kubernetes objects that are not watched: {kinds}; what is of them is missing or old here"
        );
        found.push(mesh(Kind::StaleData, Severity::Error, 1.0, evidence));
    }
    if status.mislabelled_count > 0 {
        let evidence = format!(
            "labels of {} scraped pods name another workload than Kubernetes does: edges may bear wrong names",
            status.mislabelled_count
        );
        found.push(mesh(Kind::StaleData, Severity::Warning, 0.0, evidence));
    }
    if status.unscraped_count > 0 {
        let count = status.unscraped_count;
        let evidence =
            format!("Prometheus has no metrics of {count} meshed pods: what they call is not seen");
        found.push(mesh(Kind::UnscrapedPods, Severity::Warning, f64::from(count), evidence));
    }
    found
}

// --- calls ---

/// What is wrong with calls to one destination.
struct Gathered<'a> {
    edges: usize,
    weight: f64,
    worst: (f64, EdgeRef<'a>),
    grave: bool,
}

fn calls<'a>(seen: &Seen<'a>, found: &mut Vec<Problem<'a>>) {
    let slow = slow_from(seen.metrics);
    let mut gathered: BTreeMap<(Kind, Node), Gathered<'a>> = BTreeMap::new();
    let none = EdgeMetrics::default();
    for ((id, edge), numbers) in with_numbers(seen.graph, seen.metrics) {
        if !is_wanted(seen, edge) {
            continue;
        }
        let numbers = numbers.unwrap_or(&none);
        let mut has =
            |kind, weight: f64, grave| {
                let it = gathered.entry((kind, Node::of_destination(&edge.dst))).or_insert_with(|| {
                    Gathered { edges: 0, weight: 0.0, worst: (f64::NEG_INFINITY, (id, edge)), grave: false }
                });
                it.edges += 1;
                // Milliseconds do not add up.
                it.weight = if kind == Kind::SlowCalls { it.weight.max(weight) } else { it.weight + weight };
                it.grave |= grave;
                if weight > it.worst.0 {
                    it.worst = (weight, (id, edge));
                }
            };
        let denied = numbers.denied.unwrap_or(0.0);
        if denied > 0.0 {
            has(Kind::DeniedCalls, denied, true);
        }
        if let Some(unrouted) = numbers.unrouted.filter(|it| *it > 0.0) {
            has(Kind::UnroutedCalls, unrouted, false);
        }
        if let (Some(rps), Some(rate)) = (numbers.rps, numbers.success_rate)
            && rate < FAILING.0
            && rps >= JUDGED
        {
            // Denied calls count as failed; where they are nearly all of them, that is said already.
            let failing = (1.0 - rate) * rps;
            if denied < 0.8 * failing {
                has(Kind::FailingCalls, failing, rate < FAILING.1);
            }
        }
        if let Some(p99) = numbers.p99_ms.filter(|it| *it > slow.from_ms) {
            has(Kind::SlowCalls, p99, false);
        }
        if seen.lost_mtls.contains(id) {
            has(Kind::LostMtls, rate_of(numbers), true);
        } else if matches!(edge.tls, Tls::No { .. }) && is_meshed(seen.graph, edge) {
            has(Kind::NoMtls, rate_of(numbers), false);
        }
    }
    found.extend(gathered.into_iter().map(|((kind, to), it)| {
        let evidence = evidence(kind, &it, &slow);
        let severity = if it.grave { Severity::Error } else { Severity::Warning };
        let about = About::Calls { to, worst: it.worst.1, edges: it.edges };
        Problem { kind, severity, weight: it.weight, about, evidence }
    }));
}

fn evidence(kind: Kind, it: &Gathered<'_>, slow: &Slow) -> String {
    let (weight, edges) = (short(it.weight), counted(it.edges, "caller"));
    match kind {
        Kind::DeniedCalls => format!("{weight}/s denied by policy, from {edges}"),
        Kind::FailingCalls => format!("{weight}/s fail, from {edges}"),
        Kind::UnroutedCalls => {
            format!("{weight}/s answered with 404 because no route takes them, from {edges}")
        }
        Kind::SlowCalls => match slow.median_ms {
            Some(median) => {
                format!(
                    "p99 of {weight} ms, where the median over all calls is {} ms; {edges}",
                    short(median)
                )
            }
            None => format!("p99 of {weight} ms; {edges}"),
        },
        Kind::LostMtls => format!("was mutual TLS a while ago and is not now; {weight}/s from {edges}"),
        _ => format!("both ends are meshed, and it is not mutual TLS; {weight}/s from {edges}"),
    }
}

/// From how many milliseconds calls are slow, and what is usual.
struct Slow {
    from_ms: f64,
    median_ms: Option<f64>,
}

fn slow_from(metrics: &Metrics) -> Slow {
    let mut all: Vec<f64> = metrics.rows.iter().filter_map(|it| it.p99_ms).collect();
    if all.len() < FEW.0 {
        return Slow { from_ms: FEW.1, median_ms: None };
    }
    all.sort_by(f64::total_cmp);
    let median = all[all.len() / 2];
    Slow { from_ms: (median * OUTLIER.0).max(OUTLIER.1), median_ms: Some(median) }
}

fn rate_of(numbers: &EdgeMetrics) -> f64 {
    numbers.rps.or(numbers.tcp_opened).unwrap_or(0.0)
}

/// Both ends are workloads all of whose pods have a proxy, so that nothing but a setting keeps it from mutual TLS.
fn is_meshed(graph: &Graph, edge: &Edge) -> bool {
    let all = |id: &WorkloadId| graph.workloads.get(id).is_some_and(|it| it.meshed == Meshed::All);
    let source = match &edge.src {
        Source::Workload(id) => all(id),
        Source::Identity(_) => true,
        Source::Unmeshed(_) => false,
    };
    let target = match &edge.dst {
        Destination::Workload(id, _) => all(id),
        Destination::Service(..) => !edge.workloads.is_empty() && edge.workloads.iter().all(all),
        Destination::External(_) => false,
    };
    source && target
}

fn is_wanted(seen: &Seen<'_>, edge: &Edge) -> bool {
    seen.namespace.is_none_or(|it| edge.src.namespace() == Some(it) || edge.dst.namespace() == Some(it))
}

// --- nodes ---

fn services<'a>(seen: &Seen<'a>, found: &mut Vec<Problem<'a>>) {
    let empty = |(id, service): &(&'a ServiceId, &'a Arc<Service>)| {
        let here = seen.namespace.is_none_or(|it| id.namespace() == it);
        // The API server is behind this one, which is no pod.
        let of_kubernetes = id.as_str() == "default/kubernetes";
        here && !of_kubernetes && service.workloads.is_empty() && service.mirror_of.is_none()
    };
    // Most meshes have few of them, so the calls of the others are not added up.
    let mut called: BTreeMap<&ServiceId, Option<f64>> =
        seen.graph.services.iter().filter(empty).map(|(id, _)| (id, None)).collect();
    if called.is_empty() {
        return;
    }
    for ((_, edge), numbers) in with_numbers(seen.graph, seen.metrics) {
        if let Destination::Service(service, _) = &edge.dst
            && let Some(rps) = called.get_mut(service)
        {
            *rps.get_or_insert(0.0) += numbers.map_or(0.0, rate_of);
        }
    }
    for (id, rps) in called {
        let (severity, weight, evidence) = match rps {
            Some(rps) => {
                (Severity::Error, rps, format!("is called ({}/s) and no pod stands behind it", short(rps)))
            }
            None => (Severity::Info, 0.0, "no pod stands behind it, and no call to it is seen".to_owned()),
        };
        let (kind, about) = (Kind::NoEndpoints, About::Service(id));
        found.push(Problem { kind, severity, weight, about, evidence });
    }
}

fn workloads<'a>(seen: &Seen<'a>, found: &mut Vec<Problem<'a>>) {
    for (id, it) in &seen.graph.workloads {
        if seen.namespace.is_some_and(|namespace| id.namespace() != namespace) {
            continue;
        }
        let about = About::Workload(id);
        let unready = it.pods.saturating_sub(it.pods_ready);
        if unready > 0 && !matches!(id.kind(), "job" | "cronjob") {
            let severity = if it.pods_ready == 0 { Severity::Error } else { Severity::Warning };
            let evidence = format!("{unready} of {} pods not ready", it.pods);
            let (kind, weight) = (Kind::PodsNotReady, f64::from(unready));
            found.push(Problem { kind, severity, weight, about: about.clone(), evidence });
        }
        if it.meshed == Meshed::Some {
            let bare = it.pods.saturating_sub(it.pods_meshed);
            let evidence = format!("{bare} of {} pods without a proxy", it.pods);
            let (kind, severity, weight) = (Kind::PartlyMeshed, Severity::Warning, f64::from(bare));
            found.push(Problem { kind, severity, weight, about, evidence });
        }
    }
}

fn findings<'a>(seen: &Seen<'a>, found: &mut Vec<Problem<'a>>) {
    let grave = seen.findings.iter().filter(|it| it.severity > Severity::Info);
    found.extend(grave.map(|finding| Problem {
        kind: Kind::PolicyFinding,
        severity: finding.severity,
        weight: 0.0,
        about: About::Finding(finding),
        evidence: finding.code.row().meaning.to_owned(),
    }));
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Three digits say enough.
fn short(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return "0".to_owned();
    }
    let digits = (2 - number.abs().log10().floor() as i32).clamp(0, 6);
    let scale = 10f64.powi(digits);
    format!("{}", (number * scale).round() / scale)
}

// === impl Kind ===

impl Kind {
    /// The kind in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StaleData => "stale_data",
            Self::DeniedCalls => "denied_calls",
            Self::FailingCalls => "failing_calls",
            Self::NoEndpoints => "no_endpoints",
            Self::PodsNotReady => "pods_not_ready",
            Self::LostMtls => "lost_mtls",
            Self::UnroutedCalls => "unrouted_calls",
            Self::PolicyFinding => "policy_finding",
            Self::NoMtls => "no_mtls",
            Self::SlowCalls => "slow_calls",
            Self::PartlyMeshed => "partly_meshed",
            Self::UnscrapedPods => "unscraped_pods",
        }
    }
}

// === impl About ===

impl About<'_> {
    /// A name to order by.
    fn name(&self) -> String {
        match self {
            Self::Mesh => String::new(),
            Self::Calls { to, .. } => to.to_string(),
            Self::Service(id) => id.to_string(),
            Self::Workload(id) => id.to_string(),
            Self::Finding(finding) => finding.objects.first().cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
