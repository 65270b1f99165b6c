//! What comes with a route: the first one on a Server ends the default routes, and one between Services is another thing.

use super::{Concern, Scene, id_of};
use crate::{
    kind::Kind,
    policy::{
        answer::{Metadata, Server},
        lint::words,
        refers,
    },
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    first(scene).into_iter().chain(outbound(scene)).collect()
}

/// Servers that get their first route.
fn first(scene: &Scene<'_>) -> Vec<Concern> {
    let mut first: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for port in &scene.trial.ports {
        let same = port.before.labels == port.after.labels;
        if same && &*port.after.labels.kind == "server" && has_default(&port.before) && is_routed(&port.after)
        {
            let namespace = port.endpoint.workload.namespace();
            let server = format!("server/{namespace}/{}", port.after.labels.name);
            first
                .entry(server)
                .or_default()
                .insert(format!("{}:{}", port.endpoint.workload, port.endpoint.port));
        }
    }
    let concern = |(server, ports): (String, BTreeSet<String>)| {
        let text = format!(
            "{server} gets its first route. From then on requests that none of its routes takes are answered with 404, \
             and the kubelet's probes are no longer let in by themselves: {}. Add routes for all that is called, probes \
             included.",
            words::some(&ports)
        );
        Concern::warn("first-route", [server].into_iter().chain(ports), text)
    };
    first.into_iter().map(concern).collect()
}

fn has_default(server: &Server) -> bool {
    server.routes().any(|(route, _)| *route == Metadata::default_named("default"))
}

fn is_routed(server: &Server) -> bool {
    server.routes().next().is_some() && !has_default(server)
}

/// Routes with other parents than Servers.
fn outbound(scene: &Scene<'_>) -> Option<Concern> {
    let is_route =
        |kind: Kind| matches!(kind, Kind::LinkerdHTTPRoute | Kind::GatewayHTTPRoute | Kind::GRPCRoute);
    let has_others = |object: &crate::fact::PolicyObject| {
        let all = object.spec.get("parentRefs").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        is_route(object.kind) && refers::parents(object).len() < all
    };
    let versions = scene.trial.edits.iter().flat_map(|edit| edit.versions());
    let mut ids: Vec<_> = versions.filter(|object| has_others(object)).map(id_of).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return None;
    }
    let text = format!(
        "{} {} parents that are no Servers: they decide where clients send calls. What is said here is about who is let \
         in, not about that.",
        words::some(&ids),
        if ids.len() == 1 { "has" } else { "have" },
    );
    Some(Concern::warn("outbound-route", ids, text))
}
