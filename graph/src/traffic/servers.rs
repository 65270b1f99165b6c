//! What servers' proxies counted, gathered by server port and client.

use super::{Client, Names, ServerRow, Traffic};
use crate::{
    id::{Text, WorkloadId},
    promql::Ask,
};
use ahash::{AHashMap, AHashSet};
use std::collections::{BTreeMap, BTreeSet};

/// A port of a workload and who calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) at: WorkloadId,
    pub(super) port: Option<u16>,
    pub(super) client: Client,
}

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
    pub(super) authorizations: BTreeSet<Text>,
    pub(super) unrouted: f64,
    pub(super) judged: bool,
}

/// Everything servers' proxies counted.
pub(super) fn gather<'a>(traffic: &'a Traffic, names: &mut Names<'a>) -> BTreeMap<Call, Box<Served>> {
    // By hash first and in order afterwards, as for clients.
    let mut calls: AHashMap<Call, Box<Served>> = AHashMap::new();
    for row in &traffic.servers {
        let key = Call { at: names.of(&row.at), port: row.port, client: row.client.clone() };
        calls.entry(key).or_default().add(row);
    }
    // One client may be counted only by a denial, which does not say the protocol: its port does.
    let grpc: AHashSet<(WorkloadId, Option<u16>)> = calls
        .iter()
        .filter(|(_, served)| served.grpc)
        .map(|(call, _)| (call.at.clone(), call.port))
        .collect();
    for (call, served) in &mut calls {
        served.grpc |= grpc.contains(&(call.at.clone(), call.port));
    }
    calls.into_iter().collect()
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
                if value > 0.0 {
                    self.authorizations.extend(row.authorization.clone());
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
