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
    Client, Names, Traffic,
    clients::{ByEndpoint, Calls, Clients, Pair, Security},
    servers::{self, Call, Served},
};
use crate::{
    assemble::Cluster,
    fact::{Fact, Pod},
    facts::Facts,
    id::{Destination, EdgeId, ExternalId, Source, Text, WorkloadId},
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, ObservedBy, Protocol, Tls},
};
use ahash::{AHashMap, AHashSet};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The edges of one poll.
#[derive(Debug, Clone, Default)]
pub struct Assembled {
    /// Edges by id.
    pub edges: BTreeMap<EdgeId, Edge>,
    /// Their numbers, in any order.
    pub metrics: Vec<(EdgeId, EdgeMetrics)>,
    /// Destinations outside the cluster, with the namespaces that call them.
    pub externals: BTreeMap<ExternalId, BTreeSet<Text>>,
}

/// An edge being made, with what is needed to find the server's side of it.
#[derive(Debug, Clone)]
struct Draft {
    edge: Edge,
    numbers: EdgeMetrics,
    identity: Option<Text>,
    target_ports: BTreeSet<u16>,
    forbidden: f64,
}

/// Makes edges of `traffic`. Edges of `previous` without traffic stay, without numbers, until `retain_ms` after they
/// were last seen. `now_ms` is the time of the poll in milliseconds since the Unix epoch.
pub fn assemble(
    facts: &Facts,
    cluster: &Cluster,
    traffic: &Traffic,
    previous: (&OrdMap<EdgeId, Arc<Edge>>, &Metrics),
    now_ms: i64,
    retain_ms: i64,
) -> Assembled {
    let mut names = Names::new(facts);
    let clients = Clients::gather(traffic, &mut names);
    let served = servers::gather(traffic, &mut names);
    let mut identities = Identities { facts, cluster, known: AHashMap::new(), bearers: AHashMap::new() };

    let mut drafts: BTreeMap<EdgeId, Draft> = BTreeMap::new();
    for (pair, calls) in clients.calls.iter().filter(|(_, calls)| calls.ok + calls.failed > 0.0) {
        add(&mut drafts, called(pair, calls, &clients, identities.of(&pair.0)));
    }
    for (pair, endpoint) in &clients.endpoints {
        if let Some(draft) = answered(pair, endpoint, &clients, identities.of(&pair.0)) {
            add(&mut drafts, draft);
        }
    }
    let unmatched = judge(&mut drafts, &served);
    for (call, served) in
        unmatched.into_iter().filter(|(call, _)| *call.at.namespace() != *cluster.linkerd_namespace)
    {
        if served.flowing() {
            let draft = seen_by_server(call, served, &mut identities);
            drafts.entry(EdgeId::new(&draft.edge.src, &draft.edge.dst)).or_insert(draft);
        }
    }

    let mut assembled = Assembled::default();
    let mut edges = Vec::with_capacity(drafts.len());
    for (id, mut draft) in drafts {
        draft.numbers.last_seen_ms = Some(now_ms);
        assembled.metrics.push((id.clone(), draft.numbers));
        edges.push((id, draft.edge));
    }
    assembled.edges = edges.into_iter().collect();
    retain(&mut assembled, previous, now_ms, retain_ms);
    for edge in assembled.edges.values() {
        if let Destination::External(id) = &edge.dst {
            assembled.externals.entry(id.clone()).or_default().extend(edge.src.namespace().map(Text::from));
        }
    }
    assembled
}

fn add(drafts: &mut BTreeMap<EdgeId, Draft>, draft: Draft) {
    drafts.insert(EdgeId::new(&draft.edge.src, &draft.edge.dst), draft);
}

/// An edge to a Service that route metrics say was called.
fn called(pair: &Pair, calls: &Calls, clients: &Clients, identity: Option<Text>) -> Draft {
    let (src, dst) = pair;
    let endpoint = |dst: &Destination| clients.endpoints.get(&(src.clone(), dst.clone())).map(AsRef::as_ref);
    let backends: Vec<&Destination> =
        calls.backends.iter().filter(|(_, rate)| **rate > 0.0).map(|(backend, _)| backend).collect();
    let elsewhere = backends.iter().any(|backend| *backend != dst);
    let answering: Vec<&ByEndpoint> = if backends.is_empty() {
        endpoint(dst).into_iter().collect()
    } else {
        backends.iter().filter_map(|backend| endpoint(backend)).collect()
    };

    let rate = calls.ok + calls.failed;
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
    let services = backends.iter().filter(|_| elsewhere).filter_map(|backend| match backend {
        Destination::Service(id, _) => Some(id.clone()),
        _ => None,
    });
    let edge = Edge {
        protocol: if grpc { Protocol::Grpc } else { Protocol::Http },
        workloads: answering
            .iter()
            .flat_map(|endpoint| endpoint.workloads.iter().cloned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        backends: services.collect::<BTreeSet<_>>().into_iter().collect(),
        target_cluster: only.and_then(|only| only.cluster.clone()),
        ..client_edge(src, dst, &security, identity.as_ref())
    };
    // A backend's own count of 403s may hold those of other calls; the client's share of the calls bounds it.
    let forbidden = answering.iter().map(|endpoint| endpoint.forbidden).sum::<f64>().min(calls.ok);
    let target_ports = answering.iter().flat_map(|endpoint| endpoint.target_ports.iter().copied()).collect();
    Draft { edge, numbers, identity, target_ports, forbidden }
}

/// An edge that only the families by endpoint show: ServiceProfiles, proxies before 2.16, calls by pod address, raw
/// TCP, and destinations outside the cluster.
fn answered(pair: &Pair, endpoint: &ByEndpoint, clients: &Clients, identity: Option<Text>) -> Option<Draft> {
    let (src, dst) = pair;
    if clients.calls.get(pair).is_some_and(|calls| calls.ok + calls.failed > 0.0) {
        return None;
    }
    let rate = if endpoint.http { http_rate(pair, endpoint, clients)? } else { None };
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
        protocol: match (endpoint.http, endpoint.grpc) {
            (_, true) => Protocol::Grpc,
            (true, false) => Protocol::Http,
            (false, false) => Protocol::Tcp,
        },
        workloads: endpoint.workloads.iter().cloned().collect(),
        target_cluster: endpoint.cluster.clone(),
        ..client_edge(src, dst, security, identity.as_ref())
    };
    Some(Draft {
        edge,
        numbers,
        identity,
        target_ports: endpoint.target_ports.clone(),
        forbidden: endpoint.forbidden,
    })
}

/// Calls per second of an HTTP edge that no route metric shows: None when there is no such edge, `Some(None)` when
/// there is one and its rate is not known (streams that never end).
fn http_rate(pair: &Pair, endpoint: &ByEndpoint, clients: &Clients) -> Option<Option<f64>> {
    let (src, dst) = pair;
    let for_others: f64 = clients
        .calls
        .range((src.clone(), first())..)
        .take_while(|((caller, _), _)| caller == src)
        .filter_map(|(_, calls)| calls.backends.get(dst))
        .sum();
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

/// The least destination in order.
fn first() -> Destination {
    Destination::Service(crate::id::ObjectId::new("", ""), None)
}

fn client_edge(src: &WorkloadId, dst: &Destination, security: &Security, identity: Option<&Text>) -> Edge {
    Edge {
        src: Source::Workload(src.clone()),
        dst: dst.clone(),
        protocol: Protocol::Http,
        tls: tls(security),
        client_identity: identity.filter(|_| security.mutual > 0.0).cloned(),
        server_identities: security.servers.iter().cloned().collect(),
        workloads: Vec::new(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    }
}

fn tls(security: &Security) -> Tls {
    let most = security.reasons.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    match most {
        _ if security.total <= 0.0 => Tls::Unknown,
        Some((reason, _)) => Tls::No { reason: reason.clone() },
        None => Tls::Mutual,
    }
}

fn share(security: &Security) -> Option<f64> {
    (security.total > 0.0).then(|| security.mutual / security.total)
}

/// Gives each draft what the servers' proxies decided about it, and returns the server rows no draft stands for.
fn judge<'a>(
    drafts: &mut BTreeMap<EdgeId, Draft>,
    served: &'a BTreeMap<Call, Box<Served>>,
) -> Vec<(&'a Call, &'a Served)> {
    let mut drafts: Vec<&mut Draft> = drafts.values_mut().collect();
    let mut by_server: AHashMap<(WorkloadId, Text), Vec<usize>> = AHashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        let Some(identity) = &draft.identity else { continue };
        for workload in &draft.edge.workloads {
            by_server.entry((workload.clone(), identity.clone())).or_default().push(at);
        }
    }
    let mut unmatched = Vec::new();
    for (call, served) in served {
        let matching: Vec<usize> = match &call.client {
            Client::Identity(identity) => {
                let known = by_server.get(&(call.at.clone(), identity.clone())).into_iter().flatten();
                known.filter(|at| drafts[**at].on_port(call.port)).copied().collect()
            }
            Client::Unmeshed(_) => Vec::new(),
        };
        if matching.is_empty() {
            unmatched.push((call, &**served));
            continue;
        }
        share_out(&mut drafts, &matching, served);
    }
    for draft in drafts {
        draft.count_denials();
    }
    unmatched
}

/// Several edges may lead from one identity to one port (two Services of one workload, two workloads of one
/// ServiceAccount). The server's proxy does not tell them apart; its counts are shared out by what each client
/// counted.
fn share_out(drafts: &mut [&mut Draft], matching: &[usize], served: &Served) {
    let weigh = |weight: &dyn Fn(&Draft) -> f64| -> Vec<f64> {
        let weights: Vec<f64> = matching.iter().map(|at| weight(&*drafts[*at])).collect();
        let total: f64 = weights.iter().sum();
        weights
            .iter()
            .map(|weight| if total > 0.0 { weight / total } else { 1.0 / weights.len() as f64 })
            .collect()
    };
    let by_rate = weigh(&|draft| draft.numbers.rps.or(draft.numbers.tcp_opened).unwrap_or(0.0));
    let by_refusal = weigh(&Draft::refusals);
    for (at, draft) in matching.iter().enumerate() {
        let numbers = &mut drafts[*draft].numbers;
        if served.judged {
            *numbers.allowed.get_or_insert_default() += served.allowed.unwrap_or(0.0) * by_rate[at];
            *numbers.denied.get_or_insert_default() += served.denied() * by_refusal[at];
        }
        if served.unrouted > 0.0 {
            *numbers.unrouted.get_or_insert_default() += served.unrouted * by_rate[at];
        }
        if !served.authorizations.is_empty() {
            let names: BTreeSet<Text> =
                numbers.authorized_by.iter().chain(&served.authorizations).cloned().collect();
            numbers.authorized_by = names.into_iter().collect();
        }
    }
}

/// An edge that only the server's proxy saw.
fn seen_by_server(call: &Call, served: &Served, identities: &mut Identities<'_>) -> Draft {
    let (src, candidates, identity, tls) = match &call.client {
        Client::Identity(identity) => {
            let candidates = identities.bearers(identity);
            let src = match candidates.as_slice() {
                [only] => Source::Workload(only.clone()),
                _ => Source::Identity(identity.clone()),
            };
            let candidates = if candidates.len() > 1 { candidates } else { Vec::new() };
            (src, candidates, Some(identity.clone()), Tls::Mutual)
        }
        Client::Unmeshed(reason) => {
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
        authorized_by: served.authorizations.iter().cloned().collect(),
        ..EdgeMetrics::default()
    };
    let edge = Edge {
        src,
        dst: Destination::Workload(call.at.clone(), call.port),
        protocol: match (served.http, served.grpc) {
            (_, true) => Protocol::Grpc,
            (true, false) => Protocol::Http,
            (false, false) => Protocol::Tcp,
        },
        tls,
        client_identity: identity.clone(),
        server_identities: Vec::new(),
        workloads: vec![call.at.clone()],
        backends: Vec::new(),
        observed_by: ObservedBy::Server,
        candidates,
        target_cluster: None,
    };
    Draft { edge, numbers, identity, target_ports: call.port.into_iter().collect(), forbidden: 0.0 }
}

/// Keeps edges that had traffic a while ago.
fn retain(
    assembled: &mut Assembled,
    previous: (&OrdMap<EdgeId, Arc<Edge>>, &Metrics),
    now_ms: i64,
    retain_ms: i64,
) {
    let (edges, metrics) = previous;
    let gone: Vec<_> = edges.iter().filter(|(id, _)| !assembled.edges.contains_key(*id)).collect();
    if gone.is_empty() {
        return;
    }
    let covered: AHashSet<(Text, WorkloadId)> = assembled
        .edges
        .values()
        .filter_map(|edge| edge.client_identity.clone().map(|identity| (identity, edge)))
        .flat_map(|(identity, edge)| {
            edge.workloads.iter().map(move |workload| (identity.clone(), workload.clone()))
        })
        .collect();
    // What only the server saw before and the client's own proxy counts now is the same traffic under its full name.
    let renamed = |edge: &Edge| match (&edge.client_identity, edge.workloads.as_slice()) {
        (Some(identity), [at]) if edge.observed_by == ObservedBy::Server => {
            covered.contains(&(identity.clone(), at.clone()))
        }
        _ => false,
    };
    for (id, edge) in gone {
        let last_seen = metrics.get(id).and_then(|numbers| numbers.last_seen_ms);
        if last_seen.is_some_and(|seen| now_ms - seen <= retain_ms) && !renamed(edge) {
            assembled.edges.insert(id.clone(), Edge::clone(edge));
            assembled
                .metrics
                .push((id.clone(), EdgeMetrics { last_seen_ms: last_seen, ..EdgeMetrics::default() }));
        }
    }
}

// === impl Draft ===

impl Draft {
    fn on_port(&self, port: Option<u16>) -> bool {
        self.target_ports.is_empty() || port.is_none_or(|port| self.target_ports.contains(&port))
    }

    /// What the client counted that a denial may be behind.
    fn refusals(&self) -> f64 {
        match self.edge.protocol {
            Protocol::Http => self.forbidden,
            Protocol::Grpc => match (self.numbers.rps, self.numbers.success_rate) {
                (Some(rps), Some(success)) => rps * (1.0 - success),
                _ => 0.0,
            },
            Protocol::Tcp => self.numbers.tcp_opened.unwrap_or(0.0),
        }
    }

    /// A denied HTTP request is a 403, which counts as success at the client; a denied gRPC call is a failure there
    /// already.
    fn count_denials(&mut self) {
        let (Some(rps), Some(success), Some(denied)) =
            (self.numbers.rps, self.numbers.success_rate, self.numbers.denied)
        else {
            return;
        };
        if self.edge.protocol == Protocol::Http && rps > 0.0 {
            let refused = denied.min(self.forbidden);
            self.numbers.success_rate = Some((success - refused / rps).max(0.0));
        }
    }
}

/// Mesh identities of workloads, and workloads by identity.
struct Identities<'a> {
    facts: &'a Facts,
    cluster: &'a Cluster,
    known: AHashMap<WorkloadId, Option<Text>>,
    bearers: AHashMap<Text, Vec<WorkloadId>>,
}

// === impl Identities ===

impl Identities<'_> {
    /// The identity a workload's proxies present; None when it is unmeshed or not known.
    fn of(&mut self, workload: &WorkloadId) -> Option<Text> {
        if let Some(known) = self.known.get(workload) {
            return known.clone();
        }
        let pods = self.facts.pods_of(workload);
        let identity = pods.iter().find(|pod| pod.meshed() && !pod.ended).map(|pod| self.of_pod(pod));
        self.known.insert(workload.clone(), identity.clone());
        identity
    }

    fn of_pod(&self, pod: &Pod) -> Text {
        let linkerd_namespace =
            pod.control_plane.clone().unwrap_or_else(|| self.cluster.linkerd_namespace.clone());
        Cluster { linkerd_namespace, ..self.cluster.clone() }
            .identity(&pod.key.namespace, &pod.service_account)
    }

    /// The meshed workloads that present `identity`, sorted. Looked for once: it takes all pods of a namespace.
    fn bearers(&mut self, identity: &Text) -> Vec<WorkloadId> {
        if let Some(known) = self.bearers.get(identity) {
            return known.clone();
        }
        let bearers = self.find_bearers(identity);
        self.bearers.insert(identity.clone(), bearers.clone());
        bearers
    }

    fn find_bearers(&self, identity: &str) -> Vec<WorkloadId> {
        let Some((namespace, _)) = crate::id::service_account(identity) else {
            return self.external_bearers(identity);
        };
        let bearers: BTreeSet<WorkloadId> = self
            .facts
            .in_namespace(Kind::Pod, namespace)
            .filter_map(|fact| match fact {
                Fact::Pod(pod) if pod.meshed() && !pod.ended && *self.of_pod(pod) == *identity => {
                    Some(self.facts.workload_of(pod))
                }
                _ => None,
            })
            .collect();
        bearers.into_iter().collect()
    }

    fn external_bearers(&self, identity: &str) -> Vec<WorkloadId> {
        let externals = self.facts.all(Kind::ExternalWorkload).filter_map(|fact| match fact {
            Fact::ExternalWorkload(external) if external.identity.as_deref() == Some(identity) => {
                Some(self.facts.external_workload_id(external))
            }
            _ => None,
        });
        externals.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
