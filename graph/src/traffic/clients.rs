//! What clients' proxies counted, gathered by caller and callee.

use super::{
    CallRow, ClientRow, Traffic,
    numbered::{Few, Nth},
    places::{At, Places},
};
use crate::promql::Ask;

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
    pub(super) workloads: Few<At>,
    pub(super) target_ports: Few<u16>,
    pub(super) cluster: Option<Nth>,
}

/// How much of the traffic is mutual TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Security {
    pub(super) mutual: f64,
    pub(super) total: f64,
    pub(super) reasons: Few<Nth, f64>,
    pub(super) servers: Few<Nth>,
}

/// By called Service (`outbound_*_route_*`): a call is a call, however often it was retried and whoever answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    pub(super) ok: f64,
    pub(super) failed: f64,
    pub(super) grpc: bool,
    pub(super) retries: Option<f64>,
    pub(super) backends: Few<At, f64>,
}

/// Everything clients' proxies counted, by the place of caller and callee in [`Places::pairs`].
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    pub(super) endpoints: Vec<Option<ByEndpoint>>,
    pub(super) calls: Vec<Option<Calls>>,
}

impl Clients {
    pub(super) fn gather(traffic: &Traffic, places: &Places<'_>) -> Self {
        let pairs = places.pairs.len();
        let mut gathered = Self { endpoints: vec![None; pairs], calls: vec![None; pairs] };
        for row in &traffic.clients {
            let entry = &mut gathered.endpoints[places.pair_of[row.pair.index()].index()];
            entry.get_or_insert_default().add(row, places);
        }
        for row in &traffic.calls {
            let entry = &mut gathered.calls[places.pair_of[row.pair.index()].index()];
            entry.get_or_insert_default().add(row, places);
        }
        gathered
    }

    /// What is known of calls between two, by their number.
    pub(super) fn made(&self, pair: At) -> Option<&Calls> {
        self.calls[pair.index()].as_ref().filter(|calls| calls.rate() > 0.0)
    }
}

impl Calls {
    fn add(&mut self, row: &CallRow, places: &Places<'_>) {
        match row.ask {
            Ask::HttpCalls | Ask::GrpcCalls => {
                if row.failure {
                    self.failed += row.value;
                } else {
                    self.ok += row.value;
                }
                self.grpc |= row.ask == Ask::GrpcCalls && row.value > 0.0;
            }
            Ask::HttpBackends | Ask::GrpcBackends => {
                if let Some(backend) = row.backend {
                    *self.backends.entry(places.destination_of[backend.index()]) += row.value;
                }
            }
            Ask::HttpRetries | Ask::GrpcRetries => *self.retries.get_or_insert_default() += row.value,
            _ => {}
        }
    }

    /// Calls per second.
    pub(super) fn rate(&self) -> f64 {
        self.ok + self.failed
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
            if let Some(server) = row.server_id {
                self.servers.insert(server);
            }
        } else {
            *self.reasons.entry(row.reason) += row.value;
        }
    }

    /// Takes in another's shares.
    pub(super) fn merge(&mut self, other: &Self) {
        self.mutual += other.mutual;
        self.total += other.total;
        for (reason, value) in other.reasons.iter() {
            *self.reasons.entry(reason) += value;
        }
        self.servers.extend(&other.servers);
    }
}

impl ByEndpoint {
    fn add(&mut self, row: &ClientRow, places: &Places<'_>) {
        let value = row.value;
        match row.ask {
            Ask::Responses if row.failure => self.failed += value,
            Ask::Responses => self.ok += value,
            Ask::Requests => self.requests += value,
            Ask::RequestsEver => self.in_flight += value,
            Ask::ResponsesEver => self.in_flight -= value,
            Ask::GrpcResponses => self.grpc = true,
            Ask::Forbidden => self.forbidden += value,
            Ask::LatencyP50 => self.latency[0] = Some(value),
            Ask::LatencyP95 => self.latency[1] = Some(value),
            Ask::LatencyP99 => self.latency[2] = Some(value),
            Ask::TcpOpened => *self.opened.get_or_insert_default() += value,
            Ask::TcpOpen => *self.open.get_or_insert_default() += value,
            Ask::TcpSent => *self.sent.get_or_insert_default() += value,
            Ask::TcpReceived => *self.received.get_or_insert_default() += value,
            _ => {}
        }
        self.http |= matches!(row.ask, Ask::Responses | Ask::Requests | Ask::RequestsEver);
        let tcp = matches!(row.ask, Ask::TcpOpened | Ask::TcpOpen | Ask::TcpSent | Ask::TcpReceived);
        if tcp {
            self.tcp_tls.add(row);
        } else if row.ask == Ask::Responses {
            self.responses_tls.add(row);
        }
        if value > 0.0 {
            if let Some(port) = row.target_port {
                self.target_ports.insert(port);
            }
            if let Some(workload) = row.workload
                && (tcp || matches!(row.ask, Ask::Responses | Ask::Requests))
            {
                self.workloads.insert(places.workload_of[workload.index()]);
            }
        }
        if row.cluster.is_some() {
            self.cluster = row.cluster;
        }
    }

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
