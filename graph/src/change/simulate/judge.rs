//! What becomes of the calls of one edge to one port.
//!
//! An edge has neither paths nor methods. So a call over HTTP is judged on every route of the port, and on none where
//! requests may match none: only when all of them agree, or when each route decides before and after alike, is it known
//! what becomes of the edge. In the same way a client whose address is not known is judged as if it were in no network
//! and as if it were in every one.

use super::{Class, Judged, client};
use crate::{
    change::{Trial, trial::Port},
    id::{EdgeId, Text, WorkloadId},
    model::{Edge, Protocol as Carries},
    policy::{
        Client, Decision, Request,
        answer::{Authorization, HttpMatch, Metadata, PathMatch, Protocol, Route, Rpc, Server},
        ask::Endpoint,
        verdict::{decision_of, is_closed},
    },
};
use std::collections::BTreeSet;

/// What becomes of the calls of one client to one port on one side.
struct Outcomes {
    /// One for each way that a request may take.
    ways: Vec<Way>,
    /// The address would decide, and is not known.
    in_doubt: bool,
}

/// A route, or the lack of one, and what it comes to.
#[derive(Debug, Clone, PartialEq)]
struct Way {
    /// `None` for connections, and for requests that no route takes.
    route: Option<Metadata>,
    decision: Decision,
}

/// One case of a flow.
struct Case {
    class: Class,
    before: Decision,
    after: Decision,
    sentence: String,
}

/// Judges the calls of an edge to a port of these endpoints, some of which are touched.
pub(super) fn flow<'a>(
    trial: &Trial<'a>,
    id: &'a EdgeId,
    edge: &'a Edge,
    port: u16,
    endpoints: &[Endpoint<'a>],
) -> Judged<'a> {
    let mut judged = Judged { port: Some(port), ..Judged::unknown(trial, id, edge, None, String::new()) };
    let mut best: Option<(Case, Endpoint<'a>, Client)> = None;
    let mut classes = BTreeSet::new();
    for endpoint in endpoints {
        let workload: &'a WorkloadId = endpoint.workload;
        judged.workloads.insert(workload);
        let Some(touched) = trial.touched(endpoint) else {
            classes.insert(Class::Unchanged);
            continue;
        };
        let appearances = match client::appearances(&trial.mesh, edge, endpoint.dialed) {
            Ok(appearances) => appearances,
            Err(why) => return Judged { sentence: why, workloads: judged.workloads, ..judged },
        };
        let by_address = looks_at_addresses(&touched.before) || looks_at_addresses(&touched.after);
        for appearance in &appearances {
            judged.clients.insert(appearance.identity.clone());
            for client in client::clients(appearance, by_address) {
                let case = case(touched, &client, edge, judged.numbers);
                classes.insert(case.class);
                if best.as_ref().is_none_or(|(known, _, _)| case.class < known.class) {
                    best = Some((case, *endpoint, client));
                }
            }
        }
    }
    let Some((case, endpoint, client)) = best else {
        return Judged { sentence: "nobody is known to make these calls".to_owned(), ..judged };
    };
    judged.class = case.class;
    judged.before = case.before;
    judged.after = case.after;
    judged.sentence = case.sentence;
    judged.partly = classes.len() > 1;
    judged.case = Some((endpoint, client));
    judged
}

fn looks_at_addresses(server: &Server) -> bool {
    server.authorizations.iter().chain(server.route_authorizations()).any(|row| !row.is_for_every_address())
}

fn case(
    port: &Port<'_>,
    client: &Client,
    edge: &Edge,
    numbers: Option<&crate::metrics::EdgeMetrics>,
) -> Case {
    // The kubelet's probes have no identity, and what let them in tells them from other calls.
    let by_probe = numbers.is_some_and(|it| matches!(&*it.authorized_by, [only] if &**only == "probe"));
    let probes = port.endpoint.template.probes.iter().filter(|it| by_probe && it.port == port.endpoint.port);
    let probes: Vec<Text> = probes.map(|probe| probe.path.clone()).filter(|path| !path.is_empty()).collect();
    let before = Outcomes::of(&port.before, client, edge.protocol, &probes);
    let after = Outcomes::of(&port.after, client, edge.protocol, &probes);
    let known = |class, before: &[Way], after: &[Way]| Case {
        class,
        before: worst(before),
        after: worst(after),
        sentence: String::new(),
    };
    let unknown = |sentence: String| Case { sentence, ..known(Class::Unknown, &before.ways, &after.ways) };
    if before.in_doubt || after.in_doubt {
        return unknown("an authorization looks at the client's address, and that is not known".to_owned());
    }
    // Where every request takes the same route before and after, each route can be compared with itself.
    if same_ways(&before.ways, &after.ways) && same_matching(&port.before.protocol, &port.after.protocol) {
        let pairs = before.ways.iter().zip(&after.ways);
        let classes: BTreeSet<Class> = pairs.map(|(old, new)| class(old.decision, new.decision)).collect();
        if let Some(class) = only(&classes) {
            return known(class, &before.ways, &after.ways);
        }
        // Nobody who is let in is shut out, nor the other way round: what stays refused on one route and let in on
        // another has not changed.
        if classes.iter().all(|class| matches!(class, Class::StillDenied | Class::Audited | Class::Unchanged))
        {
            let class = match classes.contains(&Class::Audited) {
                true => Class::Audited,
                false => Class::Unchanged,
            };
            return known(class, &before.ways, &after.ways);
        }
    }
    let (old, new) = (agree(&before.ways), agree(&after.ways));
    match (old, new) {
        (Some(false), Some(false)) => known(Class::StillDenied, &before.ways, &after.ways),
        (Some(false), Some(true)) => known(Class::NewlyAllowed, &before.ways, &after.ways),
        (Some(true), Some(false)) => known(Class::NewlyDenied, &before.ways, &after.ways),
        (Some(true), Some(true)) => {
            let audited = after.ways.iter().all(|way| way.decision == Decision::Audit);
            let class = if audited { Class::Audited } else { Class::Unchanged };
            known(class, &before.ways, &after.ways)
        }
        _ => unknown(by_route(&before.ways, &after.ways)),
    }
}

fn only(classes: &BTreeSet<Class>) -> Option<Class> {
    classes.first().copied().filter(|_| classes.len() == 1)
}

fn is_let_in(decision: Decision) -> bool {
    matches!(decision, Decision::Allow | Decision::Audit)
}

fn class(before: Decision, after: Decision) -> Class {
    match (is_let_in(before), is_let_in(after)) {
        (true, false) => Class::NewlyDenied,
        (false, true) => Class::NewlyAllowed,
        (false, false) => Class::StillDenied,
        (true, true) if after == Decision::Audit => Class::Audited,
        (true, true) => Class::Unchanged,
    }
}

/// Whether all ways let the client in, or none does; `None` when they differ.
fn agree(ways: &[Way]) -> Option<bool> {
    let first = is_let_in(ways.first()?.decision);
    ways.iter().all(|way| is_let_in(way.decision) == first).then_some(first)
}

/// The least permissive of the decisions.
fn worst(ways: &[Way]) -> Decision {
    let rank = |decision: &Decision| match decision {
        Decision::Deny => 0,
        Decision::UnmatchedRoute => 1,
        Decision::Audit => 2,
        Decision::Allow => 3,
    };
    ways.iter().map(|way| way.decision).min_by_key(rank).unwrap_or(Decision::Deny)
}

fn same_ways(before: &[Way], after: &[Way]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(old, new)| old.route == new.route)
}

/// The most ways that a sentence names.
const NAMED: usize = 5;

fn by_route(before: &[Way], after: &[Way]) -> String {
    format!(
        "requests fare differently by route, and paths and methods are not known: now {}; after it {}",
        told(before),
        told(after)
    )
}

fn told(ways: &[Way]) -> String {
    let mut told: Vec<String> = ways.iter().take(NAMED).map(Way::told).collect();
    if ways.len() > NAMED {
        told.push(format!("{} more", ways.len() - NAMED));
    }
    told.join(", ")
}

/// True when both take every request by the same route, whoever may use it.
fn same_matching(before: &Protocol, after: &Protocol) -> bool {
    fn same<M: PartialEq>(before: &[Route<M>], after: &[Route<M>]) -> bool {
        let alike = |(old, new): (&Route<M>, &Route<M>)| {
            old.metadata == new.metadata && old.hosts == new.hosts && old.rules == new.rules
        };
        before.len() == after.len() && before.iter().zip(after).all(alike)
    }
    match (before, after) {
        (Protocol::Opaque {} | Protocol::Tls {}, Protocol::Opaque {} | Protocol::Tls {}) => true,
        (Protocol::Grpc { grpc_routes: old }, Protocol::Grpc { grpc_routes: new }) => same(old, new),
        (old, new) => match (http(old), http(new)) {
            (Some(old), Some(new)) => same(old, new),
            _ => false,
        },
    }
}

fn http(protocol: &Protocol) -> Option<&[Route<HttpMatch>]> {
    match protocol {
        Protocol::Detect { http_routes, .. }
        | Protocol::Http1 { http_routes, .. }
        | Protocol::Http2 { http_routes, .. } => Some(http_routes),
        Protocol::Grpc { .. } | Protocol::Opaque {} | Protocol::Tls {} => None,
    }
}

/// True when some requests may match no route. On a gRPC port even the default route takes calls of gRPC alone.
fn may_match_none(protocol: &Protocol, carries: Carries) -> bool {
    match protocol {
        Protocol::Opaque {} | Protocol::Tls {} => false,
        Protocol::Grpc { grpc_routes } => !grpc_routes.iter().any(|route| {
            let every_method =
                |rpc: &Rpc| carries == Carries::Grpc && rpc.service.is_empty() && rpc.method.is_empty();
            takes_all(route, |matching| {
                matching.rpc.as_ref().is_some_and(every_method) && matching.headers.is_empty()
            })
        }),
        other => !http(other).unwrap_or_default().iter().any(|route| {
            let every_path =
                |path: &PathMatch| matches!(path, PathMatch::Prefix(prefix) if prefix.trim_matches('/').is_empty());
            takes_all(route, |matching| {
                matching.path.as_ref().is_none_or(every_path)
                    && matching.method.is_none()
                    && matching.headers.is_empty()
                    && matching.query_params.is_empty()
            })
        }),
    }
}

fn takes_all<M>(route: &Route<M>, all: impl Fn(&M) -> bool) -> bool {
    route.hosts.is_empty()
        && route.rules.iter().any(|rule| rule.matches.is_empty() || rule.matches.iter().any(&all))
}

// === impl Outcomes ===

impl Outcomes {
    fn of(server: &Server, client: &Client, carries: Carries, probes: &[Text]) -> Self {
        if client.is_local() {
            return Self { ways: vec![Way { route: None, decision: Decision::Allow }], in_doubt: false };
        }
        if is_closed(server) {
            return Self { ways: vec![Way { route: None, decision: Decision::Deny }], in_doubt: false };
        }
        let mut in_doubt = false;
        let mut decide = |on_route: &[Authorization]| {
            let rows = || on_route.iter().chain(server.authorizations.iter());
            let decision = decision_of(rows().filter(|row| client.passes(row).is_ok()));
            if client.address.is_none() {
                let elsewhere = decision_of(rows().filter(|row| client.passes_from_somewhere(row)));
                in_doubt |= is_let_in(decision) != is_let_in(elsewhere);
            }
            decision
        };
        let by_connection =
            carries == Carries::Tcp || matches!(server.protocol, Protocol::Opaque {} | Protocol::Tls {});
        if by_connection {
            let decision = decide(&[]);
            return Self { ways: vec![Way { route: None, decision }], in_doubt };
        }
        let mut ways: Vec<Way> = Vec::new();
        for path in probes {
            let decision = match server.admitting(Some(&Request::new("GET", path.clone()))) {
                Some(rows) => decide(&rows.into_iter().cloned().collect::<Vec<_>>()),
                None => Decision::UnmatchedRoute,
            };
            ways.push(Way { route: None, decision });
        }
        if !ways.is_empty() {
            return Self { ways, in_doubt };
        }
        for (route, authorizations) in server.routes() {
            // Nobody but the kubelet takes the default route for probes.
            if *route == Metadata::default_named("probe") {
                continue;
            }
            ways.push(Way { route: Some(route.clone()), decision: decide(authorizations) });
        }
        if may_match_none(&server.protocol, carries) {
            ways.push(Way { route: None, decision: Decision::UnmatchedRoute });
        }
        Self { ways, in_doubt }
    }
}

// === impl Way ===

impl Way {
    fn told(&self) -> String {
        let what = match self.decision {
            Decision::Allow => "let in",
            Decision::Audit => "let in by audit alone",
            Decision::Deny => "refused",
            Decision::UnmatchedRoute => "answered with 404",
        };
        match (&self.route, self.decision) {
            (Some(route), _) => format!("{what} on {route}"),
            (None, Decision::UnmatchedRoute) => format!("{what} where no route matches"),
            (None, _) => what.to_owned(),
        }
    }
}
