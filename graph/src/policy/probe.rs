//! The default routes of a port, and the route that lets probes in beside them.

use super::{
    answer::{
        Authentication, Authorization, GrpcMatch, GrpcRoute, HttpMatch, HttpRoute, Labels, Metadata, Network,
        PathMatch, Route, Rpc, Rule,
    },
    cluster::PolicyCluster,
};
use crate::fact::Probe;
use std::sync::Arc;

/// The name of the default route.
pub(super) const DEFAULT: &str = "default";
/// The name of the probe route and of its authorization.
pub(super) const PROBE: &str = "probe";

/// Routes of an HTTP port that no route is attached to: everything, and apart from it what the kubelet probes there.
pub(super) fn http_routes(probes: &[Probe], port: u16, cluster: &PolicyCluster) -> Arc<[HttpRoute]> {
    let matches: Vec<HttpMatch> =
        probes.iter().filter(|probe| probe.port == port).map(|probe| get(&probe.path)).collect();
    let everything = HttpMatch { path: Some(PathMatch::Prefix("/".into())), ..HttpMatch::default() };
    let everything = route(DEFAULT, everything);
    if matches.is_empty() || cluster.probe_networks.is_empty() {
        return [everything].into();
    }
    let authorization = Authorization {
        metadata: Metadata::default_named(PROBE),
        labels: Labels::default_named(PROBE),
        networks: cluster.probe_networks.iter().copied().map(Network::whole).collect(),
        authentication: Authentication::Unauthenticated {},
    };
    let probe = Route {
        metadata: Metadata::default_named(PROBE),
        hosts: Vec::new(),
        rules: vec![Rule { matches, filters: Vec::new() }],
        authorizations: [authorization].into(),
    };
    [everything, probe].into()
}

/// The one route of a gRPC port that no route is attached to. Probes are not let in there.
pub(super) fn grpc_routes() -> Arc<[GrpcRoute]> {
    [route(DEFAULT, GrpcMatch { rpc: Some(Rpc::default()), headers: Vec::new() })].into()
}

fn get(path: &crate::id::Text) -> HttpMatch {
    HttpMatch {
        path: Some(PathMatch::Exact(path.clone())),
        method: Some("GET".into()),
        ..HttpMatch::default()
    }
}

fn route<M>(name: &str, matching: M) -> Route<M> {
    Route {
        metadata: Metadata::default_named(name),
        hosts: Vec::new(),
        rules: vec![Rule { matches: vec![matching], filters: Vec::new() }],
        authorizations: [].into(),
    }
}
