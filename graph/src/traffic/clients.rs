//! What clients' proxies counted, gathered by caller and callee.

use super::{CallRow, ClientRow, Names, To, Traffic};
use crate::{
    id::{Destination, Text, WorkloadId},
    promql::Ask,
};
use ahash::AHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// Caller and callee.
pub(super) type Pair = (WorkloadId, Destination);

/// By endpoint families (`response_total`, `tcp_*`): each retry counts, split routes show under their backends.
#[derive(Debug, Clone, Default)]
pub(super) struct ByEndpoint {
    pub(super) ok: f64,
    pub(super) failed: f64,
    pub(super) requests: f64,
    /// A request series exists: what flows here is HTTP, even when none flows now.
    pub(super) http: bool,
    /// Requests sent and not answered yet.
    pub(super) in_flight: f64,
    pub(super) grpc: bool,
    pub(super) forbidden: f64,
    pub(super) latency: [Option<f64>; 3],
    pub(super) opened: Option<f64>,
    pub(super) open: Option<f64>,
    pub(super) sent: Option<f64>,
    pub(super) received: Option<f64>,
    pub(super) responses_tls: Security,
    pub(super) tcp_tls: Security,
    pub(super) workloads: BTreeSet<WorkloadId>,
    pub(super) target_ports: BTreeSet<u16>,
    pub(super) cluster: Option<Text>,
}

/// How much of the traffic is mutual TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Security {
    pub(super) mutual: f64,
    pub(super) total: f64,
    pub(super) reasons: BTreeMap<Text, f64>,
    pub(super) servers: BTreeSet<Text>,
}

/// By called Service (`outbound_*_route_*`): a call is a call, however often it was retried and whoever answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    pub(super) ok: f64,
    pub(super) failed: f64,
    pub(super) grpc: bool,
    pub(super) retries: Option<f64>,
    pub(super) backends: BTreeMap<Destination, f64>,
}

/// Everything clients' proxies counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    // Boxed, because they are large and are put in order after they were gathered.
    pub(super) endpoints: BTreeMap<Pair, Box<ByEndpoint>>,
    pub(super) calls: BTreeMap<Pair, Box<Calls>>,
}

/// While rows come in. Every edge has a dozen of them: finding by hash is several times as fast as by order.
#[derive(Default)]
struct Gathered {
    endpoints: AHashMap<Pair, Box<ByEndpoint>>,
    calls: AHashMap<Pair, Box<Calls>>,
}

impl Clients {
    pub(super) fn gather<'a>(traffic: &'a Traffic, names: &mut Names<'a>) -> Self {
        let mut gathered = Gathered::default();
        for row in &traffic.clients {
            gathered.endpoint(row, names);
        }
        for row in &traffic.calls {
            gathered.call(row, names);
        }
        let Gathered { endpoints, calls } = gathered;
        Self { endpoints: endpoints.into_iter().collect(), calls: calls.into_iter().collect() }
    }
}

impl Gathered {
    fn endpoint<'a>(&mut self, row: &'a ClientRow, names: &mut Names<'a>) {
        let (destination, workload, target_port, cluster) = match &row.to {
            To::Service { id, port, cluster, workload, target_port } => {
                (Destination::Service(id.clone(), *port), workload.as_ref(), *target_port, cluster.as_ref())
            }
            To::Workload { workload, port } => {
                (Destination::Workload(names.of(workload), *port), Some(workload), *port, None)
            }
            To::External(id) => (Destination::External(id.clone()), None, None, None),
        };
        let entry = self.endpoints.entry((names.of(&row.from), destination)).or_default();
        let value = row.value;
        match row.ask {
            Ask::Responses if row.failure => entry.failed += value,
            Ask::Responses => entry.ok += value,
            Ask::Requests => entry.requests += value,
            Ask::RequestsEver => entry.in_flight += value,
            Ask::ResponsesEver => entry.in_flight -= value,
            Ask::GrpcResponses => entry.grpc = true,
            Ask::Forbidden => entry.forbidden += value,
            Ask::LatencyP50 => entry.latency[0] = Some(value),
            Ask::LatencyP95 => entry.latency[1] = Some(value),
            Ask::LatencyP99 => entry.latency[2] = Some(value),
            Ask::TcpOpened => *entry.opened.get_or_insert_default() += value,
            Ask::TcpOpen => *entry.open.get_or_insert_default() += value,
            Ask::TcpSent => *entry.sent.get_or_insert_default() += value,
            Ask::TcpReceived => *entry.received.get_or_insert_default() += value,
            _ => {}
        }
        entry.http |= matches!(row.ask, Ask::Responses | Ask::Requests | Ask::RequestsEver);
        let tcp = matches!(row.ask, Ask::TcpOpened | Ask::TcpOpen | Ask::TcpSent | Ask::TcpReceived);
        if tcp {
            entry.tcp_tls.add(row);
        } else if row.ask == Ask::Responses {
            entry.responses_tls.add(row);
        }
        if value > 0.0 {
            entry.target_ports.extend(target_port);
            if tcp || matches!(row.ask, Ask::Responses | Ask::Requests) {
                entry.workloads.extend(workload.map(|workload| names.of(workload)));
            }
        }
        if cluster.is_some() {
            entry.cluster = cluster.cloned();
        }
    }

    fn call<'a>(&mut self, row: &'a CallRow, names: &mut Names<'a>) {
        let destination = Destination::Service(row.service.clone(), row.port);
        let entry = self.calls.entry((names.of(&row.from), destination)).or_default();
        match row.ask {
            Ask::HttpCalls | Ask::GrpcCalls => {
                if row.failure {
                    entry.failed += row.value;
                } else {
                    entry.ok += row.value;
                }
                entry.grpc |= row.ask == Ask::GrpcCalls && row.value > 0.0;
            }
            Ask::HttpBackends | Ask::GrpcBackends => {
                if let Some((id, port)) = &row.backend {
                    *entry.backends.entry(Destination::Service(id.clone(), *port)).or_default() += row.value;
                }
            }
            Ask::HttpRetries | Ask::GrpcRetries => *entry.retries.get_or_insert_default() += row.value,
            _ => {}
        }
    }
}

impl Security {
    fn add(&mut self, row: &ClientRow) {
        let Some(mutual) = row.mutual else { return };
        if row.value <= 0.0 {
            return;
        }
        self.total += row.value;
        if mutual {
            self.mutual += row.value;
            self.servers.extend(row.server_id.clone());
        } else {
            *self.reasons.entry(row.reason.clone()).or_default() += row.value;
        }
    }

    /// Takes in another's shares.
    pub(super) fn merge(&mut self, other: &Self) {
        self.mutual += other.mutual;
        self.total += other.total;
        for (reason, value) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += value;
        }
        self.servers.extend(other.servers.iter().cloned());
    }
}

impl ByEndpoint {
    /// Attempts per second that were answered or failed.
    pub(super) fn responses(&self) -> f64 {
        self.ok + self.failed
    }

    /// True when bytes or connections say that it is in use.
    pub(super) fn flowing(&self) -> bool {
        [self.opened, self.open, self.sent, self.received].into_iter().flatten().any(|value| value > 0.0)
    }

    /// Bytes per second in both directions.
    pub(super) fn bytes(&self) -> f64 {
        [self.sent, self.received].into_iter().flatten().sum()
    }

    /// The share of mutual TLS: by responses where there are any, else by connections and bytes.
    pub(super) fn tls(&self) -> &Security {
        if self.responses_tls.total > 0.0 { &self.responses_tls } else { &self.tcp_tls }
    }
}
