//! Edges and their numbers from one poll.
//!
//! The rules, as measured on real proxies with known traffic:
//!
//! 1. The client's proxy is the witness. The Service that was *called* is in the route families; the families by
//!    endpoint only name the Service that *answered*. So a Service that only ever answers for another is no edge, and
//!    a parent Service with nothing but an idle connection is none either.
//! 2. A retried call is one call: rates and outcomes come from the route families where these exist. gRPC without a
//!    GRPCRoute hides its outcome there, so then the classification of responses decides.
//! 3. What the server's proxy saw is never added to what the client's saw. It says who was let in or denied, and it
//!    stands for clients whose own proxy is not scraped or does not exist.
//! 4. A denial looks like success to the client (status 403), so it is taken out of the success rate.

use super::{
    Client, Survey, Traffic,
    clients::{ByEndpoint, Calls, Clients, Security},
    judge::judge,
    numbered::{Few, Nth},
    places::{At, Call, Places},
    servers::{self, Served, ranks},
    settle::Settled,
};
use crate::{
    id::{Destination, EdgeId, ExternalId, Source, Text, WorkloadId},
    metrics::EdgeMetrics,
    model::{Edge, ObservedBy, Protocol, Tls},
};
use ahash::AHashMap;
use imbl::OrdMap;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The edges of one poll.
#[derive(Debug, Clone, Default)]
pub struct Assembled {
    /// Edges by id. Those that are as they were before are the same values.
    pub edges: OrdMap<EdgeId, Arc<Edge>>,
    /// Their ids in order; `rows` has the numbers in the same order.
    pub ids: Arc<[EdgeId]>,
    /// Numbers of the edge at the same place in `ids`.
    pub rows: Arc<[EdgeMetrics]>,
    /// Destinations outside the cluster, with the namespaces that call them.
    pub externals: BTreeMap<ExternalId, BTreeSet<Text>>,
}

/// An edge being made, with what is needed to find the server's side of it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) edge: Edge,
    pub(super) numbers: EdgeMetrics,
    /// The client's identity as rows have it.
    pub(super) identity: Option<Nth>,
    /// What answered.
    pub(super) workloads: Few<At>,
    pub(super) target_ports: Few<u16>,
    pub(super) authorizations: Few<Nth>,
    pub(super) forbidden: f64,
}

/// An id in two parts: source with the arrow, and destination. They order as the ids do, because an arrow cannot be in
/// a source.
#[derive(Debug)]
pub(super) struct Parts {
    sources: Vec<String>,
    destinations: Vec<String>,
}

// === impl Survey ===

impl Survey {
    /// Makes edges of `traffic`. Edges from before without traffic stay, without numbers, until `retain_ms` after they
    /// were last seen. `now_ms` is the time of the poll in milliseconds since the Unix epoch.
    pub fn edges(&self, traffic: &Traffic, now_ms: i64, retain_ms: i64) -> Assembled {
        let places = Places::new(traffic, self);
        let clients = Clients::gather(traffic, &places);
        let served = servers::gather(traffic, &places);

        let parts = Parts::of(&places);
        let (mut drafts, pairs) = client_drafts(&places, &clients, &parts);
        let unmatched = judge(&mut drafts, &served, &places);
        let unseen = self.unseen(unmatched, &places);
        let mut settled = Settled::of(self, drafts, &pairs, &parts);
        settled.add(unseen);
        settled.assemble(&places, now_ms, retain_ms)
    }

    /// What only servers' proxies saw, in the order of ids.
    fn unseen(&self, unmatched: Vec<&(Call, Served)>, places: &Places<'_>) -> Vec<(EdgeId, Draft)> {
        let ours = |call: &Call| *places.workload(call.at).namespace() == *self.linkerd_namespace;
        let flowing: Vec<_> =
            unmatched.into_iter().filter(|(call, served)| !ours(call) && served.flowing()).collect();
        if flowing.is_empty() {
            return Vec::new();
        }
        let bearers = self.bearers();
        let mut drafts: Vec<(EdgeId, Draft)> = flowing
            .into_iter()
            .map(|(call, served)| {
                let draft = seen_by_server(call, served, places, &bearers);
                (EdgeId::new(&draft.edge.src, &draft.edge.dst), draft)
            })
            .collect();
        drafts.sort_by(|(a, _), (b, _)| a.cmp(b));
        drafts.dedup_by(|(later, _), (first, _)| later == first);
        drafts
    }
}

/// Edges that clients' proxies saw, in the order of their ids, and the pairs they are between.
fn client_drafts(places: &Places<'_>, clients: &Clients, parts: &Parts) -> (Vec<Draft>, Vec<(At, At)>) {
    let sources = ranks(parts.sources.len(), |at| &parts.sources[at]);
    let destinations = ranks(parts.destinations.len(), |at| &parts.destinations[at]);
    let rank =
        |(from, to): &(At, At)| u64::from(sources[from.index()]) << 32 | u64::from(destinations[to.index()]);
    let mut order: Vec<(u64, At)> =
        places.pairs.iter().enumerate().map(|(index, pair)| (rank(pair), At::new(index))).collect();
    order.sort_unstable();

    let made = Made::of(places, clients);
    let (mut drafts, mut pairs) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
    for (_, pair) in order {
        let draft = match (clients.made(pair), &clients.endpoints[pair.index()]) {
            (Some(calls), _) => Some(called(pair, calls, &made)),
            (None, Some(endpoint)) => answered(pair, endpoint, &made),
            (None, None) => None,
        };
        if let Some(draft) = draft {
            drafts.push(draft);
            pairs.push(places.pairs[pair.index()]);
        }
    }
    (drafts, pairs)
}

/// What drafts of clients are made from.
struct Made<'a> {
    places: &'a Places<'a>,
    clients: &'a Clients,
    /// Places of pairs, where any call was sent on to another Service.
    pairs: AHashMap<(At, At), At>,
    /// What endpoints answered for other Services than their own, requests per second by pair.
    for_others: AHashMap<At, f64>,
}

// === impl Made ===

impl<'a> Made<'a> {
    fn of(places: &'a Places<'a>, clients: &'a Clients) -> Self {
        let mut made = Self { places, clients, pairs: AHashMap::new(), for_others: AHashMap::new() };
        let mut shares: Vec<(At, At, f64)> = Vec::new();
        let mut elsewhere = false;
        for (index, calls) in clients.calls.iter().enumerate() {
            let Some(calls) = calls else { continue };
            let (_, to) = places.pairs[index];
            elsewhere |= calls.backends.iter().any(|(backend, _)| backend != to);
        }
        if elsewhere {
            made.pairs =
                places.pairs.iter().enumerate().map(|(index, pair)| (*pair, At::new(index))).collect();
        }
        for (index, calls) in clients.calls.iter().enumerate() {
            let Some(calls) = calls else { continue };
            let (from, to) = places.pairs[index];
            for (backend, rate) in calls.backends.iter() {
                // An edge with calls of its own is made of those.
                if let Some(pair) = made.pair(At::new(index), from, to, backend)
                    && clients.made(pair).is_none()
                {
                    shares.push((pair, to, rate));
                }
            }
        }
        // Sums of numbers depend on their order, and edges must not depend on the order of rows.
        shares.sort_by(|(a, a_to, _), (b, b_to, _)| {
            a.cmp(b).then_with(|| places.destination(*a_to).cmp(places.destination(*b_to)))
        });
        for (pair, _, rate) in shares {
            *made.for_others.entry(pair).or_default() += rate;
        }
        made
    }

    /// The place of the pair of `from` and `backend`; `pair` is that of `from` and `to`.
    fn pair(&self, pair: At, from: At, to: At, backend: At) -> Option<At> {
        if backend == to { Some(pair) } else { self.pairs.get(&(from, backend)).copied() }
    }

    fn client_edge(&self, pair: At, security: &Security, workloads: &Few<At>) -> Edge {
        let (src, dst) = self.places.pairs[pair.index()];
        let identity = self.places.identity(src);
        Edge {
            src: Source::Workload(self.places.workload(src).clone()),
            dst: self.places.destination(dst).clone(),
            protocol: Protocol::Http,
            tls: tls(security, self.places),
            client_identity: identity.filter(|_| security.mutual > 0.0).cloned(),
            server_identities: self.places.texts(&security.servers),
            workloads: self.places.workloads(workloads),
            backends: Vec::new(),
            observed_by: ObservedBy::Client,
            candidates: Vec::new(),
            target_cluster: None,
        }
    }

    fn identity_number(&self, pair: At) -> Option<Nth> {
        self.places.identity_number(self.places.pairs[pair.index()].0)
    }

    fn cluster(&self, cluster: Option<Nth>) -> Option<Text> {
        cluster.map(|cluster| self.places.text(cluster).clone())
    }
}

/// An edge to a Service that route metrics say was called.
fn called(pair: At, calls: &Calls, made: &Made<'_>) -> Draft {
    let (src, dst) = made.places.pairs[pair.index()];
    let mut backends: Vec<At> =
        calls.backends.iter().filter(|(_, rate)| *rate > 0.0).map(|(backend, _)| backend).collect();
    backends.sort_by(|a, b| made.places.destination(*a).cmp(made.places.destination(*b)));
    let elsewhere = backends.iter().any(|backend| *backend != dst);
    let endpoint =
        |to: At| made.pair(pair, src, dst, to).and_then(|pair| made.clients.endpoints[pair.index()].as_ref());
    let answering: Vec<&ByEndpoint> = if backends.is_empty() {
        endpoint(dst).into_iter().collect()
    } else {
        backends.iter().filter_map(|backend| endpoint(*backend)).collect()
    };

    let rate = calls.rate();
    let grpc = calls.grpc || answering.iter().any(|endpoint| endpoint.grpc);
    let (ok, failed) = match (grpc && !calls.grpc, answering.as_slice()) {
        // The route families show HTTP 200 for every gRPC call.
        (true, [only]) if only.responses() > 0.0 => (only.ok, only.failed),
        _ => (calls.ok, calls.failed),
    };
    let mut security = Security::default();
    answering.iter().for_each(|endpoint| security.merge(endpoint.tls()));
    let only = match answering.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let own = only.filter(|_| !elsewhere);
    let mut numbers = EdgeMetrics {
        rps: Some(rate),
        success_rate: Some(ok / (ok + failed)),
        retries: calls.retries,
        tcp_open: own.and_then(|own| own.open),
        tcp_opened: own.and_then(|own| own.opened),
        sent: own.and_then(|own| own.sent),
        received: own.and_then(|own| own.received),
        mtls_share: share(&security),
        ..EdgeMetrics::default()
    };
    // Quantiles of two backends do not add up to one of both.
    if let Some(only) = only {
        [numbers.p50_ms, numbers.p95_ms, numbers.p99_ms] = only.latency;
    }
    let services =
        backends.iter().filter(|_| elsewhere).filter_map(|backend| match made.places.destination(*backend) {
            Destination::Service(id, _) => Some(id.clone()),
            _ => None,
        });
    let (mut workloads, mut target_ports) = (Few::default(), Few::default());
    for endpoint in &answering {
        workloads.extend(&endpoint.workloads);
        target_ports.extend(&endpoint.target_ports);
    }
    let edge = Edge {
        protocol: if grpc { Protocol::Grpc } else { Protocol::Http },
        backends: services.collect::<BTreeSet<_>>().into_iter().collect(),
        target_cluster: made.cluster(only.and_then(|only| only.cluster)),
        ..made.client_edge(pair, &security, &workloads)
    };
    // A backend's own count of 403s may hold those of other calls; the client's share of the calls bounds it.
    let forbidden = answering.iter().map(|endpoint| endpoint.forbidden).sum::<f64>().min(calls.ok);
    let (identity, authorizations) = (made.identity_number(pair), Few::default());
    Draft { edge, numbers, identity, workloads, target_ports, authorizations, forbidden }
}

/// An edge that only the families by endpoint show: ServiceProfiles, proxies before 2.16, calls by pod address, raw
/// TCP, and destinations outside the cluster.
fn answered(pair: At, endpoint: &ByEndpoint, made: &Made<'_>) -> Option<Draft> {
    let rate = if endpoint.http { http_rate(pair, endpoint, made)? } else { None };
    if !endpoint.http && !endpoint.flowing() {
        return None;
    }
    let security = endpoint.tls();
    let success = (endpoint.responses() > 0.0).then(|| endpoint.ok / endpoint.responses());
    let [p50_ms, p95_ms, p99_ms] = endpoint.latency;
    let numbers = EdgeMetrics {
        rps: rate,
        success_rate: success.filter(|_| rate.is_some()),
        p50_ms,
        p95_ms,
        p99_ms,
        tcp_open: endpoint.open,
        tcp_opened: endpoint.opened,
        sent: endpoint.sent,
        received: endpoint.received,
        mtls_share: share(security),
        ..EdgeMetrics::default()
    };
    let edge = Edge {
        protocol: protocol(endpoint.http, endpoint.grpc),
        target_cluster: made.cluster(endpoint.cluster),
        ..made.client_edge(pair, security, &endpoint.workloads)
    };
    Some(Draft {
        edge,
        numbers,
        identity: made.identity_number(pair),
        workloads: endpoint.workloads.clone(),
        target_ports: endpoint.target_ports.clone(),
        authorizations: Few::default(),
        forbidden: endpoint.forbidden,
    })
}

/// Calls per second of an HTTP edge that no route metric shows: None when there is no such edge, `Some(None)` when
/// there is one and its rate is not known (streams that never end).
fn http_rate(pair: At, endpoint: &ByEndpoint, made: &Made<'_>) -> Option<Option<f64>> {
    let for_others = made.for_others.get(&pair).copied().unwrap_or_default();
    let responses = endpoint.responses();
    // What it answered for other Services is not a call of its own. The one family counts when a request is sent, the
    // other when its response ends, so a small remainder is noise.
    let own = responses - for_others;
    if for_others > 0.0 {
        return (own > 0.25 * responses).then_some(Some(own));
    }
    if responses > 0.0 {
        return Some(Some(responses));
    }
    if endpoint.requests > 0.0 {
        return Some(Some(endpoint.requests));
    }
    // A stream that never ends is a request in flight; an upgraded connection (WebSocket) is not even that. What
    // keeps an idle connection alive stays below a few bytes per second.
    let streaming = endpoint.in_flight > 0.0 && endpoint.open.is_some_and(|open| open > 0.0);
    (streaming || endpoint.bytes() > IDLE_BYTES).then_some(None)
}

/// Bytes per second that an idle HTTP/2 connection may move: a ping and its answer take 34 every ten seconds.
const IDLE_BYTES: f64 = 16.0;

fn protocol(http: bool, grpc: bool) -> Protocol {
    match (http, grpc) {
        (_, true) => Protocol::Grpc,
        (true, false) => Protocol::Http,
        (false, false) => Protocol::Tcp,
    }
}

fn tls(security: &Security, places: &Places<'_>) -> Tls {
    let most = security.reasons.iter().max_by(|(reason, a), (other, b)| {
        a.total_cmp(b).then_with(|| places.text(*reason).cmp(places.text(*other)))
    });
    match most {
        _ if security.total <= 0.0 => Tls::Unknown,
        Some((reason, _)) => Tls::No { reason: places.text(reason).clone() },
        None => Tls::Mutual,
    }
}

fn share(security: &Security) -> Option<f64> {
    (security.total > 0.0).then(|| security.mutual / security.total)
}

/// An edge that only the server's proxy saw.
fn seen_by_server(
    call: &Call,
    served: &Served,
    places: &Places<'_>,
    bearers: &AHashMap<&Text, Vec<WorkloadId>>,
) -> Draft {
    let (src, candidates, identity, tls) = match call.client {
        Client::Identity(nth) => {
            let identity = places.text(nth);
            let (src, candidates) = match bearers.get(identity).map_or(&[][..], Vec::as_slice) {
                [only] => (Source::Workload(only.clone()), Vec::new()),
                several => (Source::Identity(identity.clone()), several.to_vec()),
            };
            (src, candidates, Some(nth), Tls::Mutual)
        }
        Client::Unmeshed(reason) => {
            let reason = places.text(reason);
            (Source::Unmeshed(reason.clone()), Vec::new(), None, Tls::No { reason: reason.clone() })
        }
    };
    let requests = served.requests();
    let numbers = EdgeMetrics {
        rps: served.http.then_some(requests),
        success_rate: (served.http && requests > 0.0).then(|| (served.ok + served.unrouted) / requests),
        tcp_opened: (!served.http).then_some(served.opened + served.denied_connections),
        allowed: served.judged.then_some(served.allowed.unwrap_or(0.0)),
        denied: served.judged.then_some(served.denied()),
        unrouted: (served.unrouted > 0.0).then_some(served.unrouted),
        mtls_share: Some(if tls == Tls::Mutual { 1.0 } else { 0.0 }),
        ..EdgeMetrics::default()
    };
    let at = places.workload(call.at);
    let edge = Edge {
        src,
        dst: Destination::Workload(at.clone(), call.port),
        protocol: protocol(served.http, served.grpc),
        tls,
        client_identity: identity.map(|nth| places.text(nth).clone()),
        server_identities: Vec::new(),
        workloads: vec![at.clone()],
        backends: Vec::new(),
        observed_by: ObservedBy::Server,
        candidates,
        target_cluster: None,
    };
    let mut target_ports = Few::default();
    call.port.into_iter().for_each(|port| target_ports.insert(port));
    let authorizations = served.authorizations.clone();
    Draft {
        edge,
        numbers,
        identity,
        workloads: Few::One(call.at, ()),
        target_ports,
        authorizations,
        forbidden: 0.0,
    }
}

// === impl Parts ===

impl Parts {
    fn of(places: &Places<'_>) -> Self {
        Self {
            sources: places.workloads.iter().map(|id| format!("{id}->")).collect(),
            destinations: places.destinations.iter().map(ToString::to_string).collect(),
        }
    }

    /// The id of an edge between these two.
    pub(super) fn id(&self, (from, to): (At, At)) -> EdgeId {
        EdgeId::joined(&self.sources[from.index()], &self.destinations[to.index()])
    }

    /// How an id stands to the one of these two.
    pub(super) fn order(&self, id: &EdgeId, (from, to): (At, At)) -> Ordering {
        let (source, destination) = (&self.sources[from.index()], &self.destinations[to.index()]);
        let id = id.as_str().as_bytes();
        match id.split_at_checked(source.len()) {
            Some((start, rest)) => {
                start.cmp(source.as_bytes()).then_with(|| rest.cmp(destination.as_bytes()))
            }
            // Shorter than the source alone.
            None => id.cmp(source.as_bytes()),
        }
    }
}
