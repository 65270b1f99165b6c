//! Which routes are attached to a Server, and in which order.

use super::{
    answer::{GrpcMatch, HttpMatch, Metadata, Route},
    authorization::Authorizations,
    cluster::PolicyCluster,
    objects::Objects,
    policies::{Ignored, age},
    spec::{self, Fault, Parsed, Usable},
    status,
};
use crate::{
    fact::{Key, PolicyObject},
    id::Text,
    kind::Kind,
};
use std::{collections::BTreeSet, sync::Arc};

/// The usable routes of one namespace in the order in which a proxy tries them: by age, name and group.
#[derive(Debug)]
pub(super) struct Routes {
    http: Vec<Row<HttpMatch>>,
    grpc: Vec<Row<GrpcMatch>>,
    /// Servers of the namespace that a GRPCRoute names: no HTTPRoute is accepted there.
    conflicts: BTreeSet<Text>,
}

#[derive(Debug)]
struct Row<M> {
    object: Arc<PolicyObject>,
    parents: Vec<Text>,
    route: Usable<M>,
}

// === impl Routes ===

impl Routes {
    /// Reads those of `namespace`; what Linkerd ignores goes to `ignored`.
    pub(super) fn read(objects: &Objects, namespace: &str, ignored: &mut Vec<Ignored>) -> Self {
        let mut routes: Vec<&Arc<PolicyObject>> = [Kind::GatewayHTTPRoute, Kind::LinkerdHTTPRoute]
            .into_iter()
            .flat_map(|kind| objects.policies(kind, namespace))
            .collect();
        routes.sort_by(|a, b| age(a).cmp(&age(b)).then_with(|| a.kind.row().group.cmp(b.kind.row().group)));
        let http = rows(routes, ignored, |object| {
            spec::http_route(object.kind, &object.spec, &object.key.namespace)
        });
        let mut routes: Vec<&Arc<PolicyObject>> = objects.policies(Kind::GRPCRoute, namespace).collect();
        routes.sort_by(|a, b| age(a).cmp(&age(b)));
        let grpc = rows(routes, ignored, |object| spec::grpc_route(&object.spec, &object.key.namespace));
        Self { http, grpc, conflicts: conflicts(objects, namespace) }
    }

    /// The HTTPRoutes attached to a Server.
    pub(super) fn http(
        &self,
        server: &str,
        cluster: &PolicyCluster,
        authorizations: &Authorizations,
    ) -> Vec<Route<HttpMatch>> {
        attached(&self.http, server, cluster, authorizations, !self.conflicts.contains(server))
    }

    /// The GRPCRoutes attached to a Server.
    pub(super) fn grpc(
        &self,
        server: &str,
        cluster: &PolicyCluster,
        authorizations: &Authorizations,
    ) -> Vec<Route<GrpcMatch>> {
        attached(&self.grpc, server, cluster, authorizations, true)
    }
}

/// `acceptable` says what Linkerd will find when it looks at a route it has not judged yet.
fn attached<M: Clone>(
    rows: &[Row<M>],
    server: &str,
    cluster: &PolicyCluster,
    authorizations: &Authorizations,
    acceptable: bool,
) -> Vec<Route<M>> {
    let accepted = |row: &&Row<M>| {
        let said = cluster.trust_status.then(|| status::route_accepted(&row.object.status, server)).flatten();
        said.unwrap_or(acceptable)
    };
    rows.iter()
        .filter(|row| row.parents.iter().any(|parent| **parent == *server))
        .filter(accepted)
        .map(|row| row.to_route(authorizations))
        .collect()
}

fn rows<M>(
    objects: Vec<&Arc<PolicyObject>>,
    ignored: &mut Vec<Ignored>,
    parse: impl Fn(&PolicyObject) -> Result<Parsed<M>, Fault>,
) -> Vec<Row<M>> {
    let mut rows = Vec::new();
    for object in objects {
        let parsed = parse(object).and_then(|Parsed { parents, usable }| Ok((parents, usable?)));
        match parsed {
            Ok((parents, route)) => rows.push(Row {
                object: object.clone(),
                parents: parents.into_iter().map(|parent| parent.name).collect(),
                route,
            }),
            // Routes between Services are no business of inbound policy, so their filters are no fault.
            Err(_) if spec::parents_of(&object.spec, &object.key.namespace).is_empty() => {}
            Err(fault) => ignored.push(Ignored::new(object, fault)),
        }
    }
    rows
}

/// A GRPCRoute of any namespace counts, be it usable or not, as long as it can be read at all.
fn conflicts(objects: &Objects, namespace: &str) -> BTreeSet<Text> {
    let named = |route: &PolicyObject| -> Vec<Key> {
        let parents = spec::parents_of(&route.spec, &route.key.namespace);
        let here = parents.into_iter().filter(|parent| &*parent.namespace == namespace).collect::<Vec<_>>();
        let readable = here.is_empty() || spec::grpc_route(&route.spec, &route.key.namespace).is_ok();
        if readable { here } else { Vec::new() }
    };
    objects.grpc_routes_to(namespace).flat_map(|route| named(route)).map(|parent| parent.name).collect()
}

// === impl Row ===

impl<M: Clone> Row<M> {
    fn to_route(&self, authorizations: &Authorizations) -> Route<M> {
        let (row, name) = (self.object.kind.row(), &self.object.key.name);
        Route {
            metadata: Metadata::Resource {
                group: row.group.into(),
                kind: row.name.into(),
                name: name.clone(),
            },
            hosts: self.route.hosts.clone(),
            rules: self.route.rules.clone(),
            authorizations: authorizations.on_route(self.object.kind, name),
        }
    }
}
