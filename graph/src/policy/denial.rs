//! What is denied now, and why: the live counters joined with what the policies say.

use super::{
    Client, Decision,
    ask::{Access, Callee, Caller, Mesh, check},
    flip::{self, Flip},
};
use crate::{
    id::{Destination, EdgeId, Source, WorkloadId},
    metrics::EdgeMetrics,
    model::{Edge, Protocol},
};
use std::sync::Arc;

mod text;

/// The most denials in an answer; the others are less frequent.
const MAX_DENIALS: usize = 100;
/// The most cases in which one of them is explained.
const MAX_ACCESSES: usize = 10;
/// The most cases in one answer for which changes are tried: each takes milliseconds in a large mesh.
const MAX_TRIED: usize = 60;
/// The most unmeshed workloads that are looked at as the client that nobody can name.
const MAX_SUSPECTS: usize = 5;

/// Calls of one edge that are denied, answered with 404, or let in by `audit` alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial<'a> {
    /// The edge.
    pub id: &'a EdgeId,
    /// Who calls whom.
    pub edge: &'a Edge,
    /// Per second, as the server's proxies count.
    pub denied: Option<f64>,
    /// Per second, answered with 404 because no route took them.
    pub unrouted: Option<f64>,
    /// Per second.
    pub allowed: Option<f64>,
    /// What happens and why, in sentences; where counters and policies disagree, what may be behind it.
    pub text: String,
    /// What the policies say about such calls.
    pub accesses: Vec<Explained<'a>>,
}

/// What the policies say about a call, and what would change it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained<'a> {
    /// The decision on a connection, or on requests of any route: counters do not tell paths.
    pub access: Access<'a>,
    /// Changes that let the call in, the smallest first; none where it is let in already, nor beyond the sixty most
    /// frequent cases.
    pub flips: Vec<Flip>,
}

/// One call that is denied, answered with 404 or let in by `audit` alone, before anybody has asked why.
#[derive(Debug, Clone, Copy)]
pub struct Denied<'a> {
    id: &'a EdgeId,
    edge: &'a Arc<Edge>,
    row: &'a EdgeMetrics,
}

/// What is denied now, the most frequent first, with the reasons of all of it: as [`denied`] finds it.
pub fn denials<'a>(
    mesh: &Mesh<'a>,
    from: Option<&Caller>,
    to: Option<&Callee>,
    namespace: Option<&str>,
) -> Vec<Denial<'a>> {
    let mut tries = MAX_TRIED;
    let explained = |it: Denied<'a>| denial(mesh, it, MAX_ACCESSES, &mut tries);
    denied(mesh, from, to, namespace).into_iter().map(explained).collect()
}

/// What is denied now, the most frequent first.
///
/// `from` leaves what is denied to this client, `to` what is denied by it, `namespace` what is denied by servers in
/// it. Of unmeshed clients the counters know no names, so `from` an address keeps all of them.
pub fn denied<'a>(
    mesh: &Mesh<'a>,
    from: Option<&Caller>,
    to: Option<&Callee>,
    namespace: Option<&str>,
) -> Vec<Denied<'a>> {
    let troubled = mesh.metrics.iter().filter(|(_, row)| frequency(row) > 0.0);
    let edges = troubled.filter_map(|(id, row)| {
        let (id, edge) = mesh.graph.edges.get_key_value(id)?;
        Some((id, edge, row))
    });
    let mut wanted: Vec<(&'a EdgeId, &'a Arc<Edge>, &'a EdgeMetrics)> = edges
        .filter(|(_, edge, _)| from.is_none_or(|from| is_from(mesh, edge, from)))
        .filter(|(_, edge, _)| to.is_none_or(|to| is_to(mesh, edge, to)))
        .filter(|(_, edge, _)| namespace.is_none_or(|namespace| is_in(edge, namespace)))
        .collect();
    wanted.sort_by(|(a, _, x), (b, _, y)| {
        order(y)
            .0
            .total_cmp(&order(x).0)
            .then_with(|| order(y).1.total_cmp(&order(x).1).then_with(|| a.cmp(b)))
    });
    wanted.truncate(MAX_DENIALS);
    wanted.into_iter().map(|(id, edge, row)| Denied { id, edge, row }).collect()
}

/// What is denied or not routed per second, else what an audit lets in.
fn frequency(row: &EdgeMetrics) -> f64 {
    let (refused, audited) = order(row);
    if refused > 0.0 { refused } else { audited }
}

/// Calls that are refused come before those that would be.
fn order(row: &EdgeMetrics) -> (f64, f64) {
    let refused = row.denied.unwrap_or(0.0) + row.unrouted.unwrap_or(0.0);
    (refused, if is_audited(row) { row.allowed.or(row.rps).unwrap_or(0.0) } else { 0.0 })
}

/// True when nothing but an `audit` policy lets the calls in.
fn is_audited(row: &EdgeMetrics) -> bool {
    matches!(&*row.authorized_by, [only] if &**only == "audit")
}

// --- which edges ---

fn is_from(mesh: &Mesh<'_>, edge: &Edge, from: &Caller) -> bool {
    let identity = |identity: &str| edge.client_identity.as_deref() == Some(identity);
    match (from, &edge.src) {
        (Caller::Workload(id), Source::Workload(src)) => id == src,
        (Caller::Workload(id), _) => edge.candidates.contains(id),
        (Caller::Identity(wanted), _) => identity(wanted),
        (Caller::ServiceAccount(account), _) => {
            identity(&mesh.policies.cluster().identity(account.namespace(), account.name()))
        }
        (Caller::Address(_), Source::Unmeshed(_)) => true,
        (Caller::Address(address), Source::Workload(src)) => mesh
            .graph
            .workloads
            .get(src)
            .is_some_and(|it| it.templates.iter().any(|template| template.addresses.contains(address))),
        (Caller::Address(_), Source::Identity(_)) => false,
    }
}

fn is_to(mesh: &Mesh<'_>, edge: &Edge, to: &Callee) -> bool {
    let same = |own: Option<u16>, wanted: Option<u16>| wanted.is_none() || own.is_none() || own == wanted;
    match (to, &edge.dst) {
        (Callee::Service(wanted, port), Destination::Service(id, own)) => {
            (wanted == id && same(*own, *port)) || edge.backends.contains(wanted)
        }
        // Calls by the address of a pod: those to a port that the Service leads to.
        (Callee::Service(..), Destination::Workload(id, own)) => to.endpoints(mesh).is_ok_and(|endpoints| {
            endpoints.iter().any(|endpoint| endpoint.workload == id && same(*own, Some(endpoint.port)))
        }),
        (Callee::Workload(wanted, port), Destination::Workload(id, own)) => wanted == id && same(*own, *port),
        (Callee::Workload(wanted, port), Destination::Service(..)) => {
            edge.workloads.contains(wanted)
                && port.is_none_or(|port| {
                    let endpoints = targets(edge).into_iter().filter_map(|it| it.endpoints(mesh).ok());
                    endpoints.flatten().any(|endpoint| endpoint.workload == wanted && endpoint.port == port)
                })
        }
        (Callee::External(wanted), Destination::External(id)) => wanted == id,
        _ => false,
    }
}

fn is_in(edge: &Edge, namespace: &str) -> bool {
    edge.dst.namespace() == Some(namespace) || edge.workloads.iter().any(|id| id.namespace() == namespace)
}

// --- what the policies say ---

/// `tried` is how many of its cases changes are tried for, as long as there are `tries`.
fn denial<'a>(mesh: &Mesh<'a>, denied: Denied<'a>, tried: usize, tries: &mut usize) -> Denial<'a> {
    let Denied { id, edge, row } = denied;
    let mut accesses = accesses(mesh, edge);
    accesses.truncate(MAX_ACCESSES);
    let text = text::of(mesh, edge, row, &accesses);
    let unrouted = row.unrouted.is_some_and(|rate| rate > 0.0);
    let explained = accesses.into_iter().enumerate().map(|(at, access)| {
        if *tries == 0 || at >= tried {
            return Explained { access, flips: Vec::new() };
        }
        *tries -= 1;
        let mut flips = flip::admitting(mesh, &access, None);
        if unrouted && flips.is_empty() {
            flips = flip::routing(mesh, &access);
        }
        Explained { access, flips }
    });
    Denial {
        id,
        edge,
        denied: row.denied,
        unrouted: row.unrouted,
        allowed: row.allowed,
        text,
        accesses: explained.collect(),
    }
}

fn accesses<'a>(mesh: &Mesh<'a>, edge: &'a Edge) -> Vec<Access<'a>> {
    let of = |caller: &Caller| -> Vec<Access<'a>> {
        let checked = targets(edge).into_iter().filter_map(|to| check(mesh, caller, &to, None, None).ok());
        checked.flat_map(|checked| checked.accesses).collect()
    };
    match (&edge.src, &edge.client_identity) {
        (Source::Unmeshed(_), _) => {
            let mut accesses = of_nobody(mesh, edge);
            let suspects = suspects(mesh).map(|id| Caller::Workload(id.clone()));
            let refused = suspects.flat_map(|caller| of(&caller)).filter(|it| !it.verdict.is_let_in());
            accesses.extend(refused);
            accesses
        }
        (Source::Identity(identity), _) => of(&Caller::Identity(identity.clone())),
        (Source::Workload(id), identity) => match (mesh.graph.workloads.contains_key(id), identity) {
            (false, Some(identity)) => of(&Caller::Identity(identity.clone())),
            _ => of(&Caller::Workload(id.clone())),
        },
    }
}

/// A client outside the mesh of which not even the address is known.
fn of_nobody<'a>(mesh: &Mesh<'a>, edge: &'a Edge) -> Vec<Access<'a>> {
    let client = Client::unmeshed(None);
    let endpoints = targets(edge).into_iter().filter_map(|to| to.endpoints(mesh).ok()).flatten();
    endpoints
        .map(|endpoint| {
            let key = endpoint.key();
            let target = endpoint.template.target(&key);
            let verdict = mesh.policies.check_access(&client, target, endpoint.port, None);
            Access { endpoint: Some(endpoint), client: client.clone(), addresses: Vec::new(), verdict }
        })
        .collect()
}

/// Workloads that may be the client: they have no proxy and an address.
fn suspects<'a>(mesh: &Mesh<'a>) -> impl Iterator<Item = &'a WorkloadId> {
    let workloads = mesh.graph.workloads.iter();
    let bare = workloads.filter(|(_, workload)| {
        let mut templates = workload.templates.iter();
        templates.any(|template| !template.proxy && !template.external && !template.addresses.is_empty())
    });
    bare.map(|(id, _)| id).take(MAX_SUSPECTS)
}

/// What the edge leads to; where a route sends it elsewhere, there.
fn targets(edge: &Edge) -> Vec<Callee> {
    match &edge.dst {
        Destination::Service(_, port) if !edge.backends.is_empty() => {
            edge.backends.iter().map(|backend| Callee::Service(backend.clone(), *port)).collect()
        }
        Destination::Service(id, port) => vec![Callee::Service(id.clone(), *port)],
        Destination::Workload(id, port) => vec![Callee::Workload(id.clone(), *port)],
        Destination::External(id) => vec![Callee::External(id.clone())],
    }
}

// === impl Denied ===

impl<'a> Denied<'a> {
    /// What the policies say about it, and for the first `tried` cases what would change it: each takes milliseconds in a
    /// large mesh.
    pub fn explain(self, mesh: &Mesh<'a>, tried: usize) -> Denial<'a> {
        denial(mesh, self, tried, &mut { MAX_TRIED })
    }
}

// === impl Denial ===

impl Denial<'_> {
    /// True when policies and counters say the same: something is refused, and some case is refused by policy.
    pub fn is_by_policy(&self) -> bool {
        self.accesses.iter().any(|explained| explained.access.verdict.decision != Decision::Allow)
    }

    /// What is counted per second.
    pub fn unit(&self) -> &'static str {
        match self.edge.protocol {
            Protocol::Http | Protocol::Grpc => "requests/s",
            Protocol::Tcp => "connections/s",
        }
    }
}

#[cfg(test)]
mod tests;
