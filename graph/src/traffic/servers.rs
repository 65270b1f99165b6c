//! What servers' proxies counted, gathered by server port and client.

use super::{
    Client, ServerRow, Traffic,
    numbered::{Few, Nth},
    places::{At, Call, Places},
};
use crate::promql::Ask;
use ahash::AHashSet;

/// What a server's proxy counted of one client.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) ok: f64,
    pub(super) failed: f64,
    pub(super) grpc: bool,
    /// A request series exists, be it only of probes: what flows here is HTTP.
    pub(super) http: bool,
    pub(super) opened: f64,
    pub(super) allowed: Option<f64>,
    pub(super) denied_requests: f64,
    pub(super) denied_connections: f64,
    pub(super) authorizations: Few<Nth>,
    pub(super) unrouted: f64,
    pub(super) judged: bool,
}

/// Everything servers' proxies counted, in the order of the calls: by workload, port and client.
pub(super) fn gather(traffic: &Traffic, places: &Places<'_>) -> Vec<(Call, Served)> {
    let mut served = vec![Served::default(); places.calls.len()];
    for row in &traffic.servers {
        served[places.call_of[row.port.index()].index()].add(row);
    }
    // One client may be counted only by a denial, which does not say the protocol: its port does.
    let grpc: AHashSet<(At, Option<u16>)> = places
        .calls
        .iter()
        .zip(&served)
        .filter(|(_, served)| served.grpc)
        .map(|(call, _)| (call.at, call.port))
        .collect();
    let workloads = ranks(places.workloads.len(), |at| &places.workloads[at]);
    let texts = client_ranks(places);
    let mut order: Vec<_> = (0..)
        .zip(&places.calls)
        .map(|(index, call)| {
            let (unmeshed, Client::Identity(text) | Client::Unmeshed(text)) =
                (matches!(call.client, Client::Unmeshed(_)), call.client);
            ((workloads[call.at.index()], call.port, unmeshed, texts[text.index()]), index)
        })
        .collect();
    order.sort_unstable();
    let take = |(_, index): (_, usize)| {
        let (call, mut served) = (places.calls[index], std::mem::take(&mut served[index]));
        served.grpc |= grpc.contains(&(call.at, call.port));
        (call, served)
    };
    order.into_iter().map(take).collect()
}

/// Where each of `len` values stands in their order.
pub(super) fn ranks<K: Ord>(len: usize, value: impl Fn(usize) -> K) -> Vec<u32> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_unstable_by_key(|a| value(*a));
    let mut ranks = vec![0; len];
    for (rank, index) in (0..).zip(order) {
        ranks[index] = rank;
    }
    ranks
}

/// Where the names of clients stand in their order, by their numbers; 0 for all other text.
fn client_ranks(places: &Places<'_>) -> Vec<u32> {
    let texts = places.traffic.texts.all();
    let mut is_client = vec![false; texts.len()];
    for call in &places.calls {
        let (Client::Identity(text) | Client::Unmeshed(text)) = call.client;
        is_client[text.index()] = true;
    }
    let clients: Vec<usize> = (0..texts.len()).filter(|index| is_client[*index]).collect();
    let mut ranks = vec![0; texts.len()];
    for (rank, index) in self::ranks(clients.len(), |nth| &texts[clients[nth]]).into_iter().zip(&clients) {
        ranks[*index] = rank;
    }
    ranks
}

impl Served {
    fn add(&mut self, row: &ServerRow) {
        let value = row.value;
        match row.ask {
            Ask::ServedResponses if row.failure => self.failed += value,
            Ask::ServedResponses => self.ok += value,
            Ask::ServedGrpc => self.grpc |= value > 0.0,
            Ask::ServedTcp => self.opened += value,
            Ask::HttpAllowed | Ask::TcpAllowed => {
                *self.allowed.get_or_insert_default() += value;
                if value > 0.0
                    && let Some(authorization) = row.authorization
                {
                    self.authorizations.insert(authorization);
                }
            }
            Ask::HttpDenied => self.denied_requests += value,
            Ask::TcpDenied => self.denied_connections += value,
            Ask::Unrouted => self.unrouted += value,
            _ => {}
        }
        self.http |= matches!(
            row.ask,
            Ask::ServedResponses | Ask::ServedRequests | Ask::HttpAllowed | Ask::HttpDenied | Ask::Unrouted
        );
        self.judged |=
            matches!(row.ask, Ask::HttpAllowed | Ask::TcpAllowed | Ask::HttpDenied | Ask::TcpDenied);
    }

    /// Requests and connections denied per second.
    pub(super) fn denied(&self) -> f64 {
        self.denied_requests + self.denied_connections
    }

    /// Requests per second the client made: denied and unrouted ones are missing from the server's own responses.
    pub(super) fn requests(&self) -> f64 {
        self.ok + self.failed + self.denied_requests + self.unrouted
    }

    /// True when anything was counted in the window.
    pub(super) fn flowing(&self) -> bool {
        self.requests() > 0.0
            || self.denied() > 0.0
            || self.allowed.is_some_and(|allowed| allowed > 0.0)
            || (!self.http && self.opened > 0.0)
    }
}
