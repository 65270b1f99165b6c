//! Traffic: each call is split over pairs of pods, and what flows between two pods is counted by the proxies of both.

use super::{
    labels::{self, List},
    mesh::{ADMIN_PORT, Backend, Decision, Mesh, Pod, Target, Workload, WorkloadIndex},
    proxy::{Proxy, RowIndex, Texts},
};
use crate::graph::{model::Protocol, promql::eval::Samples};
use pair::{ClientHttp, ClientSide, Flow, Outcome, ProfileRows, RouteRows, ServerSide, Tcp, response};
use std::collections::BTreeMap;

mod pair;

/// Seconds between two requests of kubelet's liveness and readiness probes, taken together.
const PROBE_S: u64 = 5;

/// What incidents do to the workloads that answer.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// The share of calls that fails, if it is more than usual.
    pub(super) failing: BTreeMap<WorkloadIndex, f64>,
    /// How many times longer calls take.
    pub(super) slower: BTreeMap<WorkloadIndex, f64>,
}

/// All proxies and what flows between them. Owned by the simulation.
#[derive(Debug, Default)]
pub(super) struct Network {
    texts: Texts,
    /// By pod id, in order, so that sums of equal runs are equal to the last bit.
    proxies: BTreeMap<u32, Proxy>,
    probes: BTreeMap<u32, Vec<RowIndex>>,
    /// By index of the call.
    flows: Vec<Vec<Flow>>,
}

// === impl Network ===

impl Network {
    pub(super) fn new(mesh: &Mesh) -> Self {
        let mut network = Self::default();
        for workload in &mesh.workloads {
            for pod in &workload.pods {
                network.start_proxy(workload, pod);
            }
        }
        for call in 0..mesh.calls.len() {
            network.wire(mesh, call);
        }
        network
    }

    /// A pod has come up: it gets a proxy if it is meshed.
    pub(super) fn start_proxy(&mut self, workload: &Workload, pod: &Pod) {
        if !workload.meshed {
            return;
        }
        let mut proxy = Proxy::new(labels::target(workload, pod, &mut self.texts));
        let build = [
            ("date", "2026-08-21T22:16:26Z"),
            ("git_sha", "29637b64f"),
            ("profile", "release"),
            ("vendor", ""),
            ("version", "2.366.0"),
        ];
        let build = proxy.row("proxy_build_info", self.texts.labels(&build));
        proxy.set(build, 1.0);
        let start = proxy.row("process_start_time_seconds", self.texts.labels(&[]));
        proxy.set(start, 1_767_600_000.0);
        let probe = labels::inbound(pod, ADMIN_PORT, None, Decision::Default);
        let rows = vec![
            proxy.row("request_total", probe.http.intern(&mut self.texts)),
            proxy.row("response_total", response(&probe.http, Outcome::Ok, false).intern(&mut self.texts)),
            proxy.row("inbound_http_authz_allow_total", probe.http_authz.intern(&mut self.texts)),
            proxy.row("tcp_open_total", probe.tcp.with_peer("src").intern(&mut self.texts)),
        ];
        self.probes.insert(pod.id, rows);
        self.proxies.insert(pod.id, proxy);
    }

    /// A pod is gone. Calls that touched it have to be wired anew.
    pub(super) fn stop_proxy(&mut self, pod: &Pod) {
        self.proxies.remove(&pod.id);
        self.probes.remove(&pod.id);
        for proxy in self.proxies.values_mut() {
            proxy.forget_destination(&pod.name);
        }
    }

    /// Splits a call over its pods as they and the policies are now.
    pub(super) fn wire(&mut self, mesh: &Mesh, call: usize) {
        let mut flows = Vec::new();
        let Call { from, to, protocol } = Call::of(mesh, call);
        // Without a proxy of the caller, its pods cannot be told apart: the first stands for all.
        let clients = if from.meshed { &from.pods[..] } else { &from.pods[..from.pods.len().min(1)] };
        for client in clients {
            let share = 1.0 / count(clients.len());
            if let Target::External(ip, port) = to {
                let list = labels::outside(ip, port);
                let client = self.client_side(mesh, call, client, &list, None);
                flows.push(Flow::new(flows.len(), protocol, share, None, client, None));
            }
            for backend in mesh.backends(to) {
                let workload = &mesh.workloads[backend.workload];
                let share = share * backend.share / count(workload.pods.len());
                let decision = mesh.decide(backend.workload, backend.port, from);
                let denied = workload.meshed && matches!(decision, Decision::Denied(_));
                for pod in &workload.pods {
                    let list = labels::outbound(mesh, client, &backend, pod);
                    let client = self.client_side(mesh, call, client, &list, Some(&backend));
                    let server = self.server_side(protocol, pod, backend.port, from, decision);
                    // Incidents are the workload's; its proxy answers scrapes as ever.
                    let answering = Some(backend.workload).filter(|_| backend.port != ADMIN_PORT);
                    let mut flow = Flow::new(flows.len(), protocol, share, answering, client, server);
                    flow.denied = denied;
                    flows.push(flow);
                }
            }
        }
        if self.flows.len() <= call {
            self.flows.resize_with(call + 1, Vec::new);
        }
        self.flows[call] = flows;
    }

    fn client_side(
        &mut self,
        mesh: &Mesh,
        call: usize,
        client: &Pod,
        list: &List,
        backend: Option<&Backend>,
    ) -> Option<ClientSide> {
        let proxy = self.proxies.get_mut(&client.id)?;
        let Call { from, to, protocol } = Call::of(mesh, call);
        let texts = &mut self.texts;
        let called = match to {
            Target::Service(index) => Some(&mesh.services[index]),
            _ => None,
        };
        let network = match to {
            Target::External(ip, _) => mesh
                .egress_networks
                .iter()
                .find(|network| network.covers == ip && network.namespace == from.namespace),
            _ => None,
        };
        let tcp = Tcp::new(proxy, texts, &list.with_peer("dst"));
        if protocol == Protocol::Tcp {
            let route = match (called, to) {
                (Some(called), _) => Some((labels::tcp_route(called), String::new(), called.port)),
                (None, Target::External(ip, port)) => {
                    Some((labels::egress_route(network, port, false), ip.to_string(), port))
                }
                (None, _) => None,
            };
            let tcp_route = route.map(|(list, ip, port)| {
                let list = list.with(&[("target_ip", &ip), ("target_port", &port.to_string())]);
                proxy.row("outbound_tcp_route_open_total", list.intern(texts))
            });
            return Some(ClientSide { pod: client.id, tcp, tcp_route, http: None });
        }
        let labels = list.intern(texts);
        let request = proxy.row("request_total", labels.clone());
        let backend = backend.and_then(|backend| backend.service).map(|index| &mesh.services[index]);
        let profiled = called.filter(|called| called.profile);
        let route = match (called, backend, to) {
            (Some(called), Some(backend), _) if !called.profile => {
                let (parent, backend) = labels::route(called, backend);
                let grpc = called.route.as_ref().is_some_and(|route| route.grpc);
                Some(RouteRows::new(proxy, texts, grpc, &parent, &backend))
            }
            (_, _, Target::External(_, port)) => {
                let parent = labels::egress_route(network, port, true);
                let unknown = [
                    ("backend_group", ""),
                    ("backend_kind", "default"),
                    ("backend_namespace", ""),
                    ("backend_name", "unknown"),
                    ("backend_port", ""),
                    ("backend_section_name", ""),
                ];
                Some(RouteRows::new(
                    proxy,
                    texts,
                    false,
                    &parent.with(&[("hostname", "")]),
                    &parent.with(&unknown),
                ))
            }
            _ => None,
        };
        let profile = profiled.map(|called| {
            let labels = labels::profile(called).intern(texts);
            let request = proxy.row("route_request_total", labels.clone());
            ProfileRows { labels, request, responses: [None; 3] }
        });
        proxy.add(tcp.opened, 1.0);
        let (responses, latencies) = ([None; 3], [None; 3]);
        let http = Some(ClientHttp { labels, request, responses, latencies, route, profile });
        Some(ClientSide { pod: client.id, tcp, tcp_route: None, http })
    }

    fn server_side(
        &mut self,
        protocol: Protocol,
        pod: &Pod,
        port: u16,
        from: &Workload,
        decision: Decision<'_>,
    ) -> Option<ServerSide> {
        let proxy = self.proxies.get_mut(&pod.id)?;
        let texts = &mut self.texts;
        let denied = matches!(decision, Decision::Denied(_));
        let inbound = labels::inbound(pod, port, Some(from), decision);
        let labels = inbound.http.intern(texts);
        let (metric, list) = match (protocol, denied) {
            (Protocol::Tcp, false) => ("inbound_tcp_authz_allow_total", &inbound.tcp_authz),
            (Protocol::Tcp, true) => ("inbound_tcp_authz_deny_total", &inbound.tcp_authz),
            (_, false) => ("inbound_http_authz_allow_total", &inbound.http_authz),
            (_, true) => ("inbound_http_authz_deny_total", &inbound.http_authz),
        };
        let judged = proxy.row(metric, list.intern(texts));
        // A denied connection is only in the deny counter; a denied request comes over a connection that is open.
        let tcp = (protocol != Protocol::Tcp || !denied)
            .then(|| Tcp::new(proxy, texts, &inbound.tcp.with_peer("src")));
        if protocol != Protocol::Tcp
            && let Some(tcp) = &tcp
        {
            proxy.add(tcp.opened, 1.0);
        }
        let request =
            (protocol != Protocol::Tcp && !denied).then(|| proxy.row("request_total", labels.clone()));
        Some(ServerSide { pod: pod.id, tcp, labels, request, responses: [None; 3], judged })
    }

    /// One second of traffic.
    pub(super) fn tick(&mut self, mesh: &Mesh, second: u64, effects: &Effects) {
        let Self { texts, proxies, flows, probes } = self;
        let now = second as f64;
        for (call, flows) in mesh.calls.iter().zip(flows) {
            let rate = call.load.rate_at(now);
            for flow in flows {
                let of = |map: &BTreeMap<_, f64>| flow.backend.and_then(|backend| map.get(&backend).copied());
                let failing = call.load.failing.max(of(&effects.failing).unwrap_or(0.0));
                let median_ms = call.load.median_ms * of(&effects.slower).unwrap_or(1.0);
                flow.tick(rate, failing, median_ms, proxies, texts);
            }
        }
        if second.is_multiple_of(PROBE_S) {
            for (pod, rows) in probes {
                if let Some(proxy) = proxies.get_mut(pod) {
                    rows.iter().for_each(|row| proxy.add(*row, 1.0));
                }
            }
        }
    }

    /// Every proxy is scraped.
    pub(super) fn sample(&mut self, second: u64) {
        self.proxies.values_mut().for_each(|proxy| proxy.sample(second as f64));
    }

    /// What Prometheus would have of all proxies.
    pub(super) fn samples(&self) -> Samples<'_> {
        let mut samples = Samples::default();
        self.proxies.values().for_each(|proxy| proxy.push_to(&mut samples));
        samples
    }

    pub(super) fn proxy(&self, pod: u32) -> Option<&Proxy> {
        self.proxies.get(&pod)
    }
}

/// A call with its caller looked up.
struct Call<'a> {
    from: &'a Workload,
    to: Target,
    protocol: Protocol,
}

impl<'a> Call<'a> {
    fn of(mesh: &'a Mesh, index: usize) -> Self {
        let call = &mesh.calls[index];
        Self { from: &mesh.workloads[call.from], to: call.to, protocol: call.protocol }
    }
}

fn count(pods: usize) -> f64 {
    f64::from(u32::try_from(pods.max(1)).unwrap_or(u32::MAX))
}
