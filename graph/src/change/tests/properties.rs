//! The simulation held against what the policies say once the edits are made: policies read anew from all objects, and
//! asked about each call, request by request.

use super::world::{Made, World, account, manifest_in, on, policy_spec, server_spec};
use crate::id::{Destination, Source};
use crate::{
    change::{Edit, Flows, Impact, edit, simulate},
    fact::Key,
    id::EdgeId,
    kind::Kind,
    model::{Edge, Protocol},
    policy::{
        Client, Decision, Policies, Request,
        ask::{Callee, Caller, Endpoint},
    },
};
use proptest::{collection, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

type Written = (&'static str, Kind, &'static str, Value);

fn server() -> impl Strategy<Value = Written> {
    let protocol =
        prop_oneof![2 => Just("unknown"), 2 => Just("HTTP/1"), 1 => Just("gRPC"), 1 => Just("opaque")];
    let access = prop_oneof!["deny", "deny", "audit", "all-authenticated", "all-unauthenticated"];
    let port = prop_oneof![3 => Just(json!("http")), 1 => Just(json!(8080)), 1 => Just(json!(9090)), 1 => Just(json!(7070))];
    (prop::sample::select(&["s", "t"][..]), port, protocol, access).prop_map(
        |(name, port, protocol, access)| {
            let fields = json!({"proxyProtocol": protocol, "accessPolicy": access});
            ("shop", Kind::Server, name, server_spec(port, fields))
        },
    )
}

fn route() -> impl Strategy<Value = Written> {
    let matching = prop_oneof![
        2 => "/[ab]".prop_map(|value| json!([{"path": {"type": "PathPrefix", "value": value}}])),
        1 => Just(json!([{"method": "POST"}])),
        2 => Just(json!([])),
    ];
    let http = (matching, prop::sample::select(&["x", "y"][..]), any::<bool>()).prop_map(
        |(matches, name, linkerd)| {
            let kind = if linkerd { Kind::LinkerdHTTPRoute } else { Kind::GatewayHTTPRoute };
            ("shop", kind, name, json!({"parentRefs": [on("Server", "s")], "rules": [{"matches": matches}]}))
        },
    );
    let matching = prop_oneof![
        Just(json!([{"headers": [{"name": "x", "value": "y"}]}])),
        Just(json!([{"method": {"service": "pkg.Db"}}])),
        Just(json!([])),
    ];
    let grpc = (matching, any::<bool>()).prop_map(|(matches, here)| {
        let mut parent = on("Server", "s");
        let namespace = if here { "shop" } else { "other" };
        parent["namespace"] = json!("shop");
        (namespace, Kind::GRPCRoute, "g", json!({"parentRefs": [parent], "rules": [{"matches": matches}]}))
    });
    prop_oneof![3 => http, 1 => grpc]
}

fn authentication() -> impl Strategy<Value = Written> {
    let identities = prop_oneof![
        Just(json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web", "namespace": "shop"}]})),
        Just(json!({"identities": ["*"]})),
        Just(
            json!({"identities": ["spiffe://root/vm"], "identityRefs": [{"kind": "Namespace", "name": "other"}]})
        ),
        Just(json!({})),
    ];
    let networks = prop_oneof![
        Just(json!({"networks": [{"cidr": "10.1.0.0/16"}]})),
        Just(json!({"networks": [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]})),
        Just(json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.2/31"]}]})),
    ];
    let namespace = prop::sample::select(&["shop", "other"][..]);
    prop_oneof![
        (namespace.clone(), identities).prop_map(|(namespace, spec)| (
            namespace,
            Kind::MeshTLSAuthentication,
            "m",
            spec
        )),
        (namespace, networks).prop_map(|(namespace, spec)| (
            namespace,
            Kind::NetworkAuthentication,
            "n",
            spec
        )),
    ]
}

fn authorization() -> impl Strategy<Value = Written> {
    let target = prop_oneof![
        4 => "[st]".prop_map(|name| on("Server", &name)),
        1 => Just(json!({"kind": "Namespace", "name": "shop"})),
        2 => "[xy]".prop_map(|name| on("HTTPRoute", &name)),
        1 => Just(json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "x"})),
        1 => Just(json!({"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "g"})),
    ];
    let referred = |kind: &'static str, name: &'static str| {
        prop::sample::select(&["shop", "other"][..]).prop_map(move |namespace| {
            let mut to = on(kind, name);
            to["namespace"] = json!(namespace);
            to
        })
    };
    let reference = prop_oneof![
        "web|bot".prop_map(|name| account(&name)),
        referred("MeshTLSAuthentication", "m"),
        referred("NetworkAuthentication", "n"),
    ];
    let name = prop::sample::select(&["a", "b", "c"][..]);
    (name, target, collection::vec(reference, 0..3)).prop_map(|(name, target, references)| {
        ("shop", Kind::AuthorizationPolicy, name, policy_spec(target, &references))
    })
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![3 => server(), 2 => route(), 2 => authentication(), 4 => authorization()]
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let default =
        prop_oneof!["deny", "audit", "all-authenticated", "all-unauthenticated", "cluster-unauthenticated"];
    let first = (prop::option::weighted(0.8, server()), collection::vec(written(), 0..9));
    let status = prop::option::of(any::<bool>());
    (default, first, status).prop_map(|(default, (first, rest), accepted)| {
        let mut world = World::with_default(&default).with_calls();
        let mut seen = BTreeSet::new();
        for (at, (namespace, kind, name, spec)) in (1..).zip(first.into_iter().chain(rest)) {
            if seen.insert((namespace, kind, name)) {
                world = world.object_in(namespace, kind, name, at % 4, spec);
            }
        }
        if let Some(accepted) = accepted {
            for object in &mut world.objects {
                if matches!(object.kind, Kind::LinkerdHTTPRoute | Kind::GatewayHTTPRoute) {
                    object.status = status_of(accepted).into();
                }
            }
        }
        world
    })
}

fn status_of(accepted: bool) -> Value {
    let said = if accepted { "True" } else { "False" };
    json!({"parents": [{"controllerName": "linkerd.io/policy-controller", "parentRef": on("Server", "s"),
                        "conditions": [{"type": "Accepted", "status": said}]}]})
}

/// Objects to put, or to delete where the flag is set.
fn edits() -> impl Strategy<Value = Vec<(Written, bool)>> {
    collection::vec((written(), prop::bool::weighted(0.3)), 1..4)
}

fn edits_of(made: &Made, wanted: &[(Written, bool)]) -> Vec<Edit> {
    let objects = made.policies.objects();
    let mut edits: Vec<Edit> = Vec::new();
    for ((namespace, kind, name, spec), gone) in wanted {
        let edit = match gone {
            true => Edit::delete(objects, *kind, Key::new(*namespace, *name)),
            false => Edit::put(objects, &manifest_in(namespace, *kind, name, spec.clone())),
        };
        if !edits.iter().any(|known| known.id() == edit.id()) {
            edits.push(edit);
        }
    }
    edits
}

// --- the slow way ---

/// Whether a call was let in before and is after, for each way in which it may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    before: bool,
    after: bool,
    audited: bool,
}

/// Requests that meet every route of the world; none is one of the kubelet's.
fn requests() -> Vec<Request> {
    let mut requests = Vec::new();
    for method in ["GET", "POST"] {
        for path in ["/", "/a/1", "/b", "/pkg.Db/Get", "/pkg.Other/Get"] {
            requests.push(Request::new(method, path));
            let mut with_header = Request::new(method, path);
            with_header.headers.push(("x".into(), "y".into()));
            requests.push(with_header);
        }
    }
    requests
}

/// The clients that an edge of the world stands for; where the address is not known, many of them.
fn clients(made: &Made, edge: &Edge) -> Vec<Client> {
    let anywhere = ["10.1.0.2", "10.1.0.200", "10.2.0.9", "10.9.0.1", "192.0.2.1"]
        .map(|ip| ip.parse::<IpAddr>().unwrap());
    match (&edge.src, &edge.client_identity) {
        (Source::Workload(id), identity) => {
            let mesh = made.mesh();
            let addresses = Caller::Workload(id.clone()).appearances(&mesh, None).remove(0).addresses;
            let client = |address| match identity {
                Some(identity) => Client::meshed(identity.clone(), Some(address)),
                None => Client::unmeshed(Some(address)),
            };
            addresses.into_iter().map(client).collect()
        }
        (Source::Identity(identity), _) => {
            anywhere.iter().map(|address| Client::meshed(identity.clone(), Some(*address))).collect()
        }
        (Source::Unmeshed(_), _) => anywhere.iter().map(|address| Client::unmeshed(Some(*address))).collect(),
    }
}

fn endpoints<'a>(made: &'a Made, edge: &Edge) -> Vec<Endpoint<'a>> {
    let callee = match &edge.dst {
        Destination::Service(id, port) => Callee::Service(id.clone(), *port),
        Destination::Workload(id, port) => Callee::Workload(id.clone(), *port),
        Destination::External(_) => return Vec::new(),
    };
    callee.endpoints(&made.mesh()).unwrap_or_default()
}

fn fates(made: &Made, after: &Policies, edge: &Edge, endpoint: &Endpoint<'_>) -> BTreeSet<Fate> {
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    let let_in = |decision| matches!(decision, Decision::Allow | Decision::Audit);
    let is_tcp = edge.protocol == Protocol::Tcp;
    let requests: Vec<Option<Request>> = match is_tcp {
        true => vec![None],
        false => requests().into_iter().map(Some).collect(),
    };
    let mut fates = BTreeSet::new();
    for client in clients(made, edge) {
        for request in &requests {
            let decide = |policies: &Policies| {
                policies.check_access(&client, target, endpoint.port, request.as_ref()).decision
            };
            let (before, after) = (decide(&made.policies), decide(after));
            fates.insert(Fate {
                before: let_in(before),
                after: let_in(after),
                audited: after == Decision::Audit,
            });
        }
    }
    fates
}

/// What the simulation says of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    NewlyDenied { partly: bool },
    NewlyAllowed,
    StillDenied,
    Audited,
    Unknown,
    Unchanged,
}

fn said(impact: &Impact, id: &EdgeId, port: u16) -> Vec<Said> {
    let mut said = Vec::new();
    let mut of = |flows: &Flows, as_what: fn(bool) -> Said| {
        let all = flows.flows.iter().filter(|flow| flow.edge == *id && flow.port == port);
        said.extend(all.map(|flow| as_what(flow.partly)));
    };
    of(&impact.newly_denied, |partly| Said::NewlyDenied { partly });
    of(&impact.newly_allowed, |_| Said::NewlyAllowed);
    of(&impact.still_denied, |_| Said::StillDenied);
    of(&impact.audited, |_| Said::Audited);
    let unknown = impact.unknown.iter().filter(|it| it.edge == *id && it.port.is_none_or(|own| own == port));
    said.extend(unknown.map(|_| Said::Unknown));
    if said.is_empty() {
        said.push(Said::Unchanged);
    }
    said
}

/// Whether what is said of every flow is what happens to it; if not, what is wrong.
fn refuted(made: &Made, edits: &[Edit], impact: &Impact) -> Option<String> {
    let after = made.anew(edits);
    for (id, edge) in &made.graph.edges {
        for endpoint in endpoints(made, edge) {
            let fates = fates(made, &after, edge, &endpoint);
            let said = said(impact, id, endpoint.port);
            let [said] = said[..] else {
                return Some(format!("{id} at {} is in several classes: {said:?}", endpoint.port));
            };
            let all = |holds: fn(&Fate) -> bool| fates.iter().all(holds);
            let right = match said {
                Said::NewlyDenied { partly: false } => all(|fate| fate.before && !fate.after),
                Said::NewlyDenied { partly: true } => fates.iter().any(|fate| fate.before && !fate.after),
                Said::NewlyAllowed => all(|fate| !fate.before && fate.after),
                Said::StillDenied => all(|fate| !fate.before && !fate.after),
                Said::Audited => {
                    all(|fate| fate.before == fate.after) && fates.iter().any(|fate| fate.audited)
                }
                Said::Unchanged => all(|fate| fate.before == fate.after),
                Said::Unknown => true,
            };
            if !right {
                return Some(format!("{id} at {} is said to be {said:?}: {fates:?}", endpoint.port));
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_foretold_of_a_call_is_what_policies_read_anew_say(world in world(), wanted in edits()) {
        let made = world.made();
        let edits = edits_of(&made, &wanted);
        prop_assert!(edit::fit(&edits).is_ok());
        let impact = simulate(&made.mesh(), &edits);
        prop_assert_eq!(refuted(&made, &edits, &impact), None);
    }

    #[test]
    fn what_cannot_be_known_hangs_on_a_route_an_address_or_a_port(world in world(), wanted in edits()) {
        let made = world.made();
        let edits = edits_of(&made, &wanted);
        let after = made.anew(&edits);
        for unknown in simulate(&made.mesh(), &edits).unknown {
            let edge = &made.graph.edges[&unknown.edge];
            let fates: BTreeSet<Fate> =
                endpoints(&made, edge).iter().flat_map(|it| fates(&made, &after, edge, it)).collect();
            // Two requests, two addresses or two ports fare differently, and no single answer would be right. A route
            // that no request of the sample takes may be the reason too.
            let several = fates.iter().map(|fate| (fate.before, fate.after)).collect::<BTreeSet<_>>().len() > 1;
            let has_routes = made.policies.objects().all(Kind::GRPCRoute).next().is_some()
                || after.objects().namespaces().iter().any(|_| [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute]
                    .iter().any(|kind| after.objects().all(*kind).chain(made.policies.objects().all(*kind)).next().is_some()));
            let no_address = !matches!(edge.src, Source::Workload(_));
            let no_port = unknown.port.is_none();
            prop_assert!(several || has_routes || no_address || no_port, "{:?}\n{:?}", unknown, fates);
        }
    }

    #[test]
    fn edits_that_are_undone_do_the_opposite(mut world in world(), wanted in edits()) {
        for object in &mut world.objects {
            object.status = Arc::default();
        }
        let made = world.made();
        let mut edits = edits_of(&made, &wanted);
        // How old a new object will be is not known, and undoing a deletion makes a new one.
        edits.retain(|edit| edit.before.is_some() && edit.after.is_some());
        let impact = simulate(&made.mesh(), &edits);
        for edit in &edits {
            world.objects.retain(|object| (object.kind, &object.key) != (edit.kind, &edit.key));
            world.objects.extend(edit.after.as_deref().cloned());
        }
        let undone: Vec<Edit> = edits.iter().map(Edit::undone).collect();
        let back = simulate(&world.made().mesh(), &undone);
        let wholly = |flows: &Flows| flows.flows.iter().filter(|flow| !flow.partly).count();
        prop_assert_eq!(wholly(&impact.newly_denied), wholly(&back.newly_allowed));
        prop_assert_eq!(wholly(&impact.newly_allowed), wholly(&back.newly_denied));
        prop_assert_eq!(impact.ports_touched_count, back.ports_touched_count);
        prop_assert_eq!((impact.judged(), impact.unknown_count), (back.judged(), back.unknown_count));
    }
}

/// The arm that shows that the property can fail: what is foretold of the opposite edits, of none, or by a simulation that
/// forgets one, is refuted.
#[test]
fn a_simulation_of_other_edits_is_refuted() {
    let mut runner = TestRunner::deterministic();
    let (mut none, mut fewer, mut right) = (0, 0, 0);
    for _ in 0..150 {
        let world = world().new_tree(&mut runner).unwrap().current();
        let wanted = edits().new_tree(&mut runner).unwrap().current();
        let made = world.made();
        let edits = edits_of(&made, &wanted);
        let says = |some: &[Edit]| refuted(&made, &edits, &simulate(&made.mesh(), some)).is_some();
        none += usize::from(says(&[]));
        fewer += usize::from(edits.len() > 1 && says(&edits[1..]));
        right += usize::from(says(&edits));
    }
    assert_eq!(right, 0);
    assert!(none > 20 && fewer > 10, "{none} {fewer}");
}

/// Random worlds must bring about every class, or the property says less than it seems.
#[test]
fn every_class_comes_about() {
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 6];
    for _ in 0..150 {
        let made = world().new_tree(&mut runner).unwrap().current().made();
        let edits = edits_of(&made, &edits().new_tree(&mut runner).unwrap().current());
        let impact = simulate(&made.mesh(), &edits);
        let counts = [
            impact.newly_denied.count,
            impact.newly_allowed.count,
            impact.still_denied.count,
            impact.audited.count,
            impact.unchanged,
            impact.unknown_count,
        ];
        for (all, count) in seen.iter_mut().zip(counts) {
            *all += count;
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}
