//! What flows between two pods, and the rows of both proxies that count it.

use super::{
    super::{
        labels::List,
        mesh::WorkloadIndex,
        proxy::{Labels, Proxy, RowIndex, Texts},
    },
    count,
};
use crate::graph::model::Protocol;
use std::collections::BTreeMap;

/// Bytes of a request and of a response on the wire.
const HTTP_BYTES: (f64, f64) = (220.0, 900.0);
/// Bytes a new connection carries each way, and what pooled ones carry per second.
const TCP_BYTES: (f64, f64) = (640.0, 2560.0);
const POOLED_BYTES: (f64, f64) = (64.0, 256.0);
/// What a client sends before it sees that it was denied.
const DENIED_BYTES: f64 = 64.0;

/// What flows from one pod to another, or outside.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) backend: Option<WorkloadIndex>,
    pub(super) protocol: Protocol,
    pub(super) denied: bool,
    /// Its part of the call.
    pub(super) share: f64,
    /// Parts of calls and of failures that do not make a whole one yet.
    pub(super) rest: f64,
    pub(super) failed_rest: f64,
    pub(super) client: Option<ClientSide>,
    pub(super) server: Option<ServerSide>,
}

#[derive(Debug)]
pub(super) struct ClientSide {
    pub(super) pod: u32,
    pub(super) tcp: Tcp,
    /// `outbound_tcp_route_open_total`.
    pub(super) tcp_route: Option<RowIndex>,
    pub(super) http: Option<ClientHttp>,
}

#[derive(Debug)]
pub(super) struct ClientHttp {
    /// The labels of `request_total`, which those of responses begin with.
    pub(super) labels: Labels,
    pub(super) request: RowIndex,
    /// By [`Outcome`], made when first needed.
    pub(super) responses: [Option<RowIndex>; 3],
    pub(super) latencies: [Option<RowIndex>; 3],
    pub(super) route: Option<RouteRows>,
    pub(super) profile: Option<ProfileRows>,
}

#[derive(Debug)]
pub(super) struct RouteRows {
    pub(super) grpc: bool,
    /// What those of `request_statuses_total` begin with.
    pub(super) labels: Labels,
    pub(super) backend_requests: RowIndex,
    pub(super) statuses: [Option<RowIndex>; 3],
}

#[derive(Debug)]
pub(super) struct ProfileRows {
    pub(super) labels: Labels,
    pub(super) request: RowIndex,
    pub(super) responses: [Option<RowIndex>; 3],
}

#[derive(Debug)]
pub(super) struct ServerSide {
    pub(super) pod: u32,
    pub(super) tcp: Option<Tcp>,
    /// Labels of `request_total`.
    pub(super) labels: Labels,
    pub(super) request: Option<RowIndex>,
    pub(super) responses: [Option<RowIndex>; 3],
    /// The allow counter, or the deny counter of a flow that is denied.
    pub(super) judged: RowIndex,
}

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) opened: RowIndex,
    pub(super) open: RowIndex,
    pub(super) read: RowIndex,
    pub(super) written: RowIndex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Failed,
    Denied,
}

// === impl Outcome ===

impl Outcome {
    /// `status_code`, `classification`, `grpc_status` and the name of the latter.
    fn labels(self, grpc: bool) -> (&'static str, &'static str, &'static str, &'static str) {
        match (self, grpc) {
            (Self::Ok, false) => ("200", "success", "", ""),
            (Self::Failed, false) => ("500", "failure", "", ""),
            // To the client's proxy a 403 is as good as any answer.
            (Self::Denied, false) => ("403", "success", "", ""),
            (Self::Ok, true) => ("200", "success", "0", "OK"),
            (Self::Failed, true) => ("200", "failure", "2", "UNKNOWN"),
            (Self::Denied, true) => ("200", "failure", "7", "PERMISSION_DENIED"),
        }
    }
}

pub(super) fn response(list: &List, outcome: Outcome, grpc: bool) -> List {
    let (status, classification, grpc_status, _) = outcome.labels(grpc);
    list.with(&[
        ("status_code", status),
        ("classification", classification),
        ("grpc_status", grpc_status),
        ("error", ""),
    ])
}

/// `labels` with more behind.
fn extended(labels: &Labels, texts: &mut Texts, more: &[(&str, &str)]) -> Labels {
    labels.iter().cloned().chain(texts.labels(more).iter().cloned()).collect()
}

/// As [`response`], for labels that are interned.
fn response_labels(labels: &Labels, texts: &mut Texts, outcome: Outcome, grpc: bool) -> Labels {
    let (status, classification, grpc_status, _) = outcome.labels(grpc);
    let more = [
        ("status_code", status),
        ("classification", classification),
        ("grpc_status", grpc_status),
        ("error", ""),
    ];
    extended(labels, texts, &more)
}

// === impl Tcp ===

impl Tcp {
    pub(super) fn new(proxy: &mut Proxy, texts: &mut Texts, list: &List) -> Self {
        let labels = list.intern(texts);
        let mut row = |metric| proxy.row(metric, labels.clone());
        Self {
            opened: row("tcp_open_total"),
            open: row("tcp_open_connections"),
            read: row("tcp_read_bytes_total"),
            written: row("tcp_write_bytes_total"),
        }
    }

    fn count(&self, proxy: &mut Proxy, opened: f64, open: f64, (read, written): (f64, f64)) {
        proxy.add(self.opened, opened);
        proxy.set(self.open, open);
        proxy.add(self.read, read);
        proxy.add(self.written, written);
    }
}

// === impl RouteRows ===

impl RouteRows {
    pub(super) fn new(
        proxy: &mut Proxy,
        texts: &mut Texts,
        grpc: bool,
        parent: &List,
        backend: &List,
    ) -> Self {
        let metric = if grpc {
            "outbound_grpc_route_backend_requests_total"
        } else {
            "outbound_http_route_backend_requests_total"
        };
        let backend_requests = proxy.row(metric, backend.intern(texts));
        Self { grpc, labels: parent.intern(texts), backend_requests, statuses: [None; 3] }
    }

    fn count(&mut self, proxy: &mut Proxy, texts: &mut Texts, outcome: Outcome, grpc: bool, calls: f64) {
        let (status, _, _, grpc_status) = outcome.labels(grpc);
        let labels = &self.labels;
        let row = *self.statuses[outcome as usize].get_or_insert_with(|| {
            let (metric, name, status) = if self.grpc {
                ("outbound_grpc_route_request_statuses_total", "grpc_status", grpc_status)
            } else {
                ("outbound_http_route_request_statuses_total", "http_status", status)
            };
            proxy.row(metric, extended(labels, texts, &[(name, status), ("error", "")]))
        });
        proxy.add(row, calls);
        proxy.add(self.backend_requests, calls);
    }
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(
        nth: usize,
        protocol: Protocol,
        share: f64,
        backend: Option<WorkloadIndex>,
        client: Option<ClientSide>,
        server: Option<ServerSide>,
    ) -> Self {
        // Pairs of pods do not all count their first call at the same moment; the golden ratio spreads them.
        let rest = (count(nth + 1) * 0.618_033_988_75).fract();
        Self { backend, protocol, denied: false, share, rest, failed_rest: rest, client, server }
    }

    pub(super) fn tick(
        &mut self,
        rate: f64,
        failing: f64,
        median_ms: f64,
        proxies: &mut BTreeMap<u32, Proxy>,
        texts: &mut Texts,
    ) {
        self.rest += rate.max(0.0) * self.share;
        let calls = self.rest.floor();
        self.rest -= calls;
        if self.protocol == Protocol::Tcp {
            return self.connections(calls, proxies);
        }
        if calls <= 0.0 {
            return;
        }
        if self.denied {
            return self.requests(Outcome::Denied, calls, median_ms, proxies, texts);
        }
        self.failed_rest += calls * failing;
        let failed = self.failed_rest.floor().min(calls);
        self.failed_rest -= failed;
        for (outcome, calls) in [(Outcome::Failed, failed), (Outcome::Ok, calls - failed)] {
            if calls > 0.0 {
                self.requests(outcome, calls, median_ms, proxies, texts);
            }
        }
    }

    fn requests(
        &mut self,
        outcome: Outcome,
        calls: f64,
        median_ms: f64,
        proxies: &mut BTreeMap<u32, Proxy>,
        texts: &mut Texts,
    ) {
        let grpc = self.protocol == Protocol::Grpc;
        let (sent, received) = (HTTP_BYTES.0 * calls, HTTP_BYTES.1 * calls);
        if let Some(client) = &mut self.client
            && let Some(proxy) = proxies.get_mut(&client.pod)
        {
            client.tcp.count(proxy, 0.0, 1.0, (received, sent));
            if let Some(http) = &mut client.http {
                http.count(proxy, texts, (outcome, grpc), calls, median_ms);
            }
        }
        if let Some(server) = &mut self.server
            && let Some(proxy) = proxies.get_mut(&server.pod)
        {
            if let Some(tcp) = &server.tcp {
                tcp.count(proxy, 0.0, 1.0, (sent, received));
            }
            server.count(proxy, texts, (outcome, grpc), calls);
        }
    }

    fn connections(&mut self, opened: f64, proxies: &mut BTreeMap<u32, Proxy>) {
        let pooled = if self.denied { (0.0, 0.0) } else { POOLED_BYTES };
        let open = if self.denied { 0.0 } else { 2.0 };
        let (sent, received) = if self.denied {
            (DENIED_BYTES * opened, 0.0)
        } else {
            (TCP_BYTES.0 * opened + pooled.0, TCP_BYTES.1 * opened + pooled.1)
        };
        if let Some(client) = &self.client
            && let Some(proxy) = proxies.get_mut(&client.pod)
        {
            client.tcp.count(proxy, opened, open, (received, sent));
            client.tcp_route.into_iter().for_each(|row| proxy.add(row, opened));
        }
        if let Some(server) = &self.server
            && let Some(proxy) = proxies.get_mut(&server.pod)
        {
            if let Some(tcp) = &server.tcp {
                tcp.count(proxy, opened, open, (sent, received));
            }
            proxy.add(server.judged, opened);
        }
    }
}

// === impl ClientHttp ===

impl ClientHttp {
    fn count(
        &mut self,
        proxy: &mut Proxy,
        texts: &mut Texts,
        (outcome, grpc): (Outcome, bool),
        calls: f64,
        median_ms: f64,
    ) {
        let Self { labels, request, responses, latencies, route, profile } = self;
        let response = *responses[outcome as usize].get_or_insert_with(|| {
            proxy.row("response_total", response_labels(labels, texts, outcome, grpc))
        });
        let latency = *latencies[outcome as usize].get_or_insert_with(|| {
            proxy.row(
                "response_latency_ms",
                extended(labels, texts, &[("status_code", outcome.labels(grpc).0)]),
            )
        });
        proxy.add(*request, calls);
        proxy.add(response, calls);
        proxy.observe(latency, calls, if outcome == Outcome::Denied { 1.0 } else { median_ms });
        if let Some(route) = route {
            route.count(proxy, texts, outcome, grpc, calls);
        }
        if let Some(ProfileRows { labels, request, responses }) = profile {
            let response = *responses[outcome as usize].get_or_insert_with(|| {
                proxy.row("route_response_total", response_labels(labels, texts, outcome, grpc))
            });
            proxy.add(*request, calls);
            proxy.add(response, calls);
        }
    }
}

// === impl ServerSide ===

impl ServerSide {
    fn count(&mut self, proxy: &mut Proxy, texts: &mut Texts, (outcome, grpc): (Outcome, bool), calls: f64) {
        proxy.add(self.judged, calls);
        // What the proxy answers itself is in no request or response counter.
        let Some(request) = self.request else { return };
        let labels = &self.labels;
        let response = *self.responses[outcome as usize].get_or_insert_with(|| {
            proxy.row("response_total", response_labels(labels, texts, outcome, grpc))
        });
        proxy.add(request, calls);
        proxy.add(response, calls);
    }
}
