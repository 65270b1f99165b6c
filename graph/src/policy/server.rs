//! Which Server selects a port, and what holds on a port without one.

use super::{
    answer::{GrpcRoute, HttpRoute, Labels, Metadata, Protocol, RateLimit, Server},
    authorization::{Authorizations, in_order},
    cluster::{DefaultPolicy, PolicyCluster},
    objects::Objects,
    policies::{Ignored, age},
    ports::Ports,
    probe, rate_limit,
    route::Routes,
    spec::{Port, ProxyProtocol, Selected, ServerSpec},
};
use crate::{
    fact::{self, ContainerPort, PolicyObject, Probe},
    id::Text,
    kind::Kind,
};
use std::sync::Arc;

/// How long a proxy waits for the first bytes of a connection of unknown protocol.
const DETECT_TIMEOUT_MS: u64 = 10_000;

/// What policy looks at of a pod or ExternalWorkload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload<'a> {
    pub(super) labels: &'a fact::Labels,
    pub(super) annotations: &'a fact::Labels,
    pub(super) ports: &'a [ContainerPort],
    pub(super) probes: &'a [Probe],
    pub(super) external: bool,
}

/// A Server with all that hangs on it.
#[derive(Debug)]
pub(super) struct ServerPolicy {
    pub(super) name: Text,
    pub(super) spec: ServerSpec,
    labels: Labels,
    pub(super) authorizations: Arc<[super::answer::Authorization]>,
    /// Empty when none is attached: then the default routes hold, which differ from port to port.
    http_routes: Arc<[HttpRoute]>,
    grpc_routes: Arc<[GrpcRoute]>,
    pub(super) rate_limit: Option<Arc<RateLimit>>,
}

/// The Servers of a namespace, the one that wins a port first.
pub(super) fn in_namespace(
    objects: &Objects,
    cluster: &PolicyCluster,
    namespace: &str,
    ignored: &mut Vec<Ignored>,
) -> Vec<ServerPolicy> {
    let mut by_age: Vec<&Arc<PolicyObject>> = objects.policies(Kind::Server, namespace).collect();
    by_age.sort_by(|a, b| age(a).cmp(&age(b)));
    let authorizations = Authorizations::read(objects, cluster, namespace, ignored);
    let routes = Routes::read(objects, namespace, ignored);
    let limits = rate_limit::in_force(objects, cluster, namespace, ignored);
    let mut servers = Vec::with_capacity(by_age.len());
    for object in by_age {
        let name = &object.key.name;
        match ServerSpec::read(&object.spec) {
            Ok(spec) => servers.push(ServerPolicy {
                name: name.clone(),
                labels: Labels {
                    group: Kind::Server.row().group.into(),
                    kind: "server".into(),
                    name: name.clone(),
                },
                authorizations: in_order(
                    access(&spec, cluster).into_iter().chain(authorizations.on_server(name, &object.labels)),
                ),
                http_routes: routes.http(name, cluster, &authorizations).into(),
                grpc_routes: routes.grpc(name, cluster, &authorizations).into(),
                rate_limit: limits.get(name).cloned(),
                spec,
            }),
            Err(fault) => ignored.push(Ignored::new(object, fault)),
        }
    }
    servers
}

fn access(spec: &ServerSpec, cluster: &PolicyCluster) -> Option<super::answer::Authorization> {
    spec.access_policy.as_ref()?.parse::<DefaultPolicy>().ok()?.authorization(cluster)
}

// === impl ServerPolicy ===

impl ServerPolicy {
    /// True when the Server selects this port of the workload.
    pub(super) fn selects(&self, workload: &Workload<'_>, port: u16) -> bool {
        self.spec.selects_workload(workload.external, workload.labels)
            && self.spec.selects_port(workload.external, workload.ports, port)
    }

    /// The routes attached to it, each with the authorizations on it alone. Those that its protocol does not use are
    /// among them.
    pub(super) fn attached(&self) -> impl Iterator<Item = (&Metadata, &[super::answer::Authorization])> {
        let http = self.http_routes.iter().map(|route| (&route.metadata, &*route.authorizations));
        http.chain(self.grpc_routes.iter().map(|route| (&route.metadata, &*route.authorizations)))
    }

    /// True when a GRPCRoute attached to it has a match on headers alone, which the proxy cannot read.
    pub(super) fn has_unreadable_match(&self, route: &str) -> bool {
        let of_route = self.grpc_routes.iter().filter(|it| it.metadata.name() == route);
        of_route
            .flat_map(|it| &it.rules)
            .flat_map(|rule| &rule.matches)
            .any(|matching| matching.rpc.is_none())
    }

    /// The answer for a port that it selects.
    pub(super) fn answer(&self, workload: &Workload<'_>, port: u16, cluster: &PolicyCluster) -> Server {
        Server {
            labels: self.labels.clone(),
            protocol: self.protocol(workload, port, cluster),
            authorizations: self.authorizations.clone(),
            server_ips: 0,
        }
    }

    fn protocol(&self, workload: &Workload<'_>, port: u16, cluster: &PolicyCluster) -> Protocol {
        let http_routes = || match self.http_routes.is_empty() {
            true => probe::http_routes(workload.probes, port, cluster),
            false => self.http_routes.clone(),
        };
        let rate_limit = self.rate_limit.clone();
        match self.spec.protocol {
            ProxyProtocol::Unknown => {
                Protocol::Detect { timeout_ms: DETECT_TIMEOUT_MS, http_routes: http_routes(), rate_limit }
            }
            ProxyProtocol::Http1 => Protocol::Http1 { http_routes: http_routes(), rate_limit },
            ProxyProtocol::Http2 => Protocol::Http2 { http_routes: http_routes(), rate_limit },
            ProxyProtocol::Grpc => Protocol::Grpc {
                grpc_routes: match self.grpc_routes.is_empty() {
                    true => probe::grpc_routes(),
                    false => self.grpc_routes.clone(),
                },
            },
            ProxyProtocol::Opaque => Protocol::Opaque {},
            ProxyProtocol::Tls => Protocol::Tls {},
        }
    }
}

// === impl ServerSpec ===

impl ServerSpec {
    /// True when it selects workloads with these labels; pods and ExternalWorkloads have selectors of their own.
    pub(super) fn selects_workload(&self, external: bool, labels: &fact::Labels) -> bool {
        match &self.selected {
            Selected::Pods(selector) => !external && selector.matches(labels),
            Selected::ExternalWorkloads(selector) => external && selector.matches(labels),
        }
    }

    /// True when its port stands for this number. A name is looked for in its exact letter case among TCP ports; in
    /// pods it may stand for several, in ExternalWorkloads it stands for the last.
    pub(super) fn selects_port(&self, external: bool, ports: &[ContainerPort], port: u16) -> bool {
        match &self.port {
            Port::Number(number) => number.get() == port,
            Port::Name(name) => {
                let mut named = named(name, ports);
                match external {
                    true => named.last() == Some(port),
                    false => named.any(|number| number == port),
                }
            }
        }
    }

    /// True when its port stands for any number at all.
    pub(super) fn selects_some_port(&self, ports: &[ContainerPort]) -> bool {
        match &self.port {
            Port::Number(_) => true,
            Port::Name(name) => named(name, ports).next().is_some(),
        }
    }
}

fn named<'a>(name: &'a Text, ports: &'a [ContainerPort]) -> impl Iterator<Item = u16> + 'a {
    let tcp = |port: &&ContainerPort| port.protocol.eq_ignore_ascii_case("TCP") && port.port != 0;
    ports.iter().filter(tcp).filter(move |port| !name.is_empty() && port.name == *name).map(|port| port.port)
}

/// The answer for a port that no Server selects.
pub(super) fn default_server(workload: &Workload<'_>, port: u16, cluster: &PolicyCluster) -> Server {
    let policy = default_policy(workload, port, cluster);
    let protocol = match ports(workload, "config.linkerd.io/opaque-ports").contains(port) {
        true => Protocol::Opaque {},
        false => Protocol::Detect {
            timeout_ms: DETECT_TIMEOUT_MS,
            http_routes: probe::http_routes(workload.probes, port, cluster),
            rate_limit: None,
        },
    };
    Server {
        labels: Labels::default_named(policy.as_str()),
        protocol,
        authorizations: policy.authorization(cluster).into_iter().collect(),
        server_ips: 0,
    }
}

/// The workload's own policy, else the cluster's; on ports that require identity for clients that have one.
fn default_policy(workload: &Workload<'_>, port: u16, cluster: &PolicyCluster) -> DefaultPolicy {
    let own = workload.annotations.get("config.linkerd.io/default-inbound-policy");
    let policy = own.and_then(|text| text.parse().ok()).unwrap_or(cluster.default_policy);
    match ports(workload, "config.linkerd.io/proxy-require-identity-inbound-ports").contains(port) {
        true => policy.authenticated(),
        false => policy,
    }
}

/// A list of ports in an annotation; none when the list has a fault.
pub(super) fn ports(workload: &Workload<'_>, annotation: &str) -> Ports {
    workload.annotations.get(annotation).and_then(|text| text.parse().ok()).unwrap_or_default()
}
