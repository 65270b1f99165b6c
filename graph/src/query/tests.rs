use super::{
    edges::{Rank, Trouble},
    walk::{CallGraph, Direction, Hop, call_graph, shortest_path},
    *,
};
use crate::{
    delta,
    id::{EdgeId, Source, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Meshed, Namespace, ObservedBy, Protocol, Service, Tls, Workload},
    status::MetricsStatus,
};
use proptest::prelude::*;
use std::sync::Arc;

fn mk_edge(id: &str, workloads: &[&str]) -> (EdgeId, Arc<Edge>) {
    let (src, dst) = id.split_once("->").unwrap();
    let edge = Edge {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: workloads.iter().map(|id| id.parse().unwrap()).collect(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    (id.parse().unwrap(), Arc::new(edge))
}

fn mk_graph(edges: &[(&str, &[&str])]) -> Graph {
    let mut graph = Graph::default();
    for (id, workloads) in edges {
        let (id, edge) = mk_edge(id, workloads);
        if let Source::Workload(source) = &edge.src {
            put_workload(&mut graph, source);
        }
        for workload in &edge.workloads {
            put_workload(&mut graph, workload);
        }
        if let Destination::Service(service, _) = &edge.dst {
            let behind =
                Service { meshed: Meshed::All, workloads: edge.workloads.clone(), ..Service::default() };
            graph.namespaces.insert(service.namespace().into(), Arc::new(Namespace::default()));
            graph.services.insert(service.clone(), Arc::new(behind));
        }
        graph.edges.insert(id, edge);
    }
    graph
}

fn put_workload(graph: &mut Graph, id: &WorkloadId) {
    let workload =
        Workload { meshed: Meshed::All, pods: 1, pods_meshed: 1, pods_ready: 1, ..Workload::default() };
    graph.namespaces.insert(id.namespace().into(), Arc::new(Namespace::default()));
    graph.workloads.insert(id.clone(), Arc::new(workload));
}

const WEB_TO_CART: &str = "shop/deployment/web->shop/cart:80";
const CART_TO_DB: &str = "shop/deployment/cart->data/db:5432";
const DB_TO_WEB: &str = "data/statefulset/db->shop/web:80";
const GATE_TO_WEB: &str = "identity:gate.edge.serviceaccount.identity.linkerd.cluster.local->shop/web:80";

/// A ring of three Services in two namespaces, and a caller of which only the identity is known.
fn mk_ring() -> Graph {
    mk_graph(&[
        (WEB_TO_CART, &["shop/deployment/cart"]),
        (CART_TO_DB, &["data/statefulset/db"]),
        (DB_TO_WEB, &["shop/deployment/web"]),
        (GATE_TO_WEB, &["shop/deployment/web"]),
    ])
}

fn mk_metrics(rows: &[(&str, EdgeMetrics)]) -> Metrics {
    let rows = rows.iter().map(|(id, row)| (id.parse().unwrap(), row.clone())).collect();
    Metrics::new(MetricsStatus::default(), rows)
}

fn ids(edges: &[edges::EdgeRef<'_>]) -> Vec<String> {
    edges.iter().map(|(id, _)| id.to_string()).collect()
}

fn node(graph: &Graph, name: &str) -> Node {
    resolve_node(graph, name, None).unwrap()
}

#[test]
fn a_name_is_found_in_every_form_that_kubectl_users_write() {
    let graph = mk_ring();
    let service = Target::Node(Node::Service(ServiceId::new("shop", "web")));
    let workload = Target::Node(Node::Workload(WorkloadId::new("shop", "deployment", "web")));
    for (name, namespace, wanted) in [
        ("shop/web", None, &service),
        ("web", Some("shop"), &service),
        ("web", None, &service),
        ("svc/web", Some("shop"), &service),
        ("shop/svc/web", None, &service),
        ("shop/deployment/web", None, &workload),
        ("shop/deploy/web", None, &workload),
        ("deploy/web", Some("shop"), &workload),
        ("Deployments/web", None, &workload),
        ("ns/shop", None, &Target::Namespace("shop".into())),
    ] {
        assert_eq!(resolve(&graph, name, namespace).as_ref(), Ok(wanted), "{name} in {namespace:?}");
    }
}

#[test]
fn a_name_that_stands_for_nothing_is_answered_with_similar_names() {
    let graph = mk_ring();
    let says = |name: &str, namespace| resolve(&graph, name, namespace).unwrap_err().to_string();
    assert_eq!(
        says("shop/cartt", None),
        "there is no Service or workload `shop/cartt` in the graph; did you mean shop/cart or \
         shop/deployment/cart?"
    );
    for slip in ["shpo", "shops"] {
        let wanted = format!("there is no namespace `{slip}` in the graph; did you mean shop?");
        assert_eq!(says(&format!("{slip}/cart"), None), wanted);
    }
    for slip in ["wbe", "ewb", "wb", "wed"] {
        let said = says(slip, Some("shop"));
        assert!(said.ends_with("did you mean shop/deployment/web or shop/web?"), "{said}");
    }
    assert_eq!(says("zzz", Some("shop")), "there is no Service or workload `zzz` in the graph");
    assert!(says("shop//web", None).contains("write `namespace/name`"), "{}", says("shop//web", None));
    assert!(says("a/b/c/d", None).contains("write `namespace/name`"));
    assert_eq!(
        resolve_node(&graph, "ns/shop", None).unwrap_err(),
        ResolveError::NotANode { name: "ns/shop".into() }
    );
}

#[test]
fn a_bare_name_in_two_namespaces_is_ambiguous_until_one_is_named() {
    let graph = mk_graph(&[
        ("a/deployment/x->a/api:80", &["a/deployment/api"]),
        ("a/deployment/x->b/api:80", &["b/deployment/api"]),
    ]);
    assert_eq!(
        resolve(&graph, "api", None).unwrap_err().to_string(),
        "`api` may mean a/api or b/api: name one of them in full"
    );
    assert_eq!(
        resolve(&graph, "api", Some("b")),
        Ok(Target::Node(Node::Service(ServiceId::new("b", "api"))))
    );
}

#[test]
fn edges_of_a_namespace_start_or_end_there_and_identities_count_by_their_service_account() {
    let graph = mk_ring();
    let index = Index::of(&graph);
    let of = |namespace| ids(&edges::of_namespace(&graph, &index, namespace));
    assert_eq!(of("shop"), [DB_TO_WEB, GATE_TO_WEB, CART_TO_DB, WEB_TO_CART]);
    assert_eq!(of("data"), [DB_TO_WEB, CART_TO_DB]);
    assert_eq!(of("edge"), [GATE_TO_WEB]);
    assert_eq!(of("sho"), [""; 0], "a prefix of a name is not the name");
}

#[test]
fn a_workload_is_called_through_the_services_it_answers_for() {
    let graph = mk_ring();
    let index = Index::of(&graph);
    let web = node(&graph, "shop/deploy/web");
    assert_eq!(ids(&edges::to(&graph, &index, &web)), [DB_TO_WEB, GATE_TO_WEB]);
    assert_eq!(ids(&edges::from(&graph, &web)), [WEB_TO_CART]);
    assert_eq!(ids(&edges::from(&graph, &node(&graph, "shop/web"))), [WEB_TO_CART]);
    let db = node(&graph, "data/db");
    assert_eq!(ids(&edges::to(&graph, &index, &db)), [CART_TO_DB]);
}

#[test]
fn a_call_graph_follows_a_ring_once_and_stops_at_its_depth_and_limit() {
    let graph = mk_ring();
    let index = Index::of(&graph);
    let root = node(&graph, "shop/deploy/web");
    let hop = |edge: &str, depth, direction| Hop { edge: edge.parse().unwrap(), depth, direction };
    let down = [Direction::Callees];
    let both = [Direction::Callers, Direction::Callees];

    let ring = call_graph(&graph, &index, &root, 16, &down, 100);
    let hops = vec![
        hop(WEB_TO_CART, 1, Direction::Callees),
        hop(CART_TO_DB, 2, Direction::Callees),
        hop(DB_TO_WEB, 3, Direction::Callees),
    ];
    assert_eq!(ring, CallGraph { hops: hops.clone(), truncated: false });

    let near = call_graph(&graph, &index, &root, 1, &both, 100);
    let around = vec![
        hop(DB_TO_WEB, 1, Direction::Callers),
        hop(GATE_TO_WEB, 1, Direction::Callers),
        hop(WEB_TO_CART, 1, Direction::Callees),
    ];
    assert_eq!(near, CallGraph { hops: around, truncated: false });

    let cut = call_graph(&graph, &index, &root, 16, &down, 2);
    assert_eq!(cut, CallGraph { hops: hops[..2].to_vec(), truncated: true });
}

#[test]
fn the_shortest_path_goes_through_what_answers() {
    let graph = mk_ring();
    let path = |from: &str, to: &str| {
        shortest_path(&graph, &node(&graph, from), &node(&graph, to))
            .map(|path| path.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(path("shop/web", "data/db"), Some(vec![WEB_TO_CART.into(), CART_TO_DB.into()]));
    assert_eq!(path("data/sts/db", "shop/deploy/web"), Some(vec![DB_TO_WEB.into()]));
    assert_eq!(path("shop/web", "shop/web"), Some(vec![]));
    let apart = mk_graph(&[
        ("a/deployment/x->a/y:80", &["a/deployment/y"]),
        ("b/deployment/x->b/z:80", &["b/deployment/z"]),
    ]);
    assert_eq!(shortest_path(&apart, &node(&apart, "a/deploy/x"), &node(&apart, "b/z")), None);
}

#[test]
fn edges_are_ranked_by_a_number_and_the_unknown_is_not_ranked() {
    let graph = mk_ring();
    let row = |rps, rate| EdgeMetrics { rps: Some(rps), success_rate: rate, ..EdgeMetrics::default() };
    let metrics = mk_metrics(&[
        (WEB_TO_CART, row(5.0, Some(0.5))),
        (CART_TO_DB, row(9.0, None)),
        (DB_TO_WEB, row(0.0, Some(1.0))),
    ]);
    let top = |rank| {
        edges::top(edges::with_numbers(&graph, &metrics), rank, 2)
            .into_iter()
            .map(|((id, _), number)| (id.to_string(), number))
            .collect::<Vec<_>>()
    };
    assert_eq!(top(Rank::Rps), [(CART_TO_DB.to_owned(), 9.0), (WEB_TO_CART.to_owned(), 5.0)]);
    assert_eq!(top(Rank::ErrorRate), [(WEB_TO_CART.to_owned(), 0.5)]);
    assert_eq!(top(Rank::Denied), []);
}

#[test]
fn edges_and_numbers_are_brought_together_where_either_lacks_some() {
    let graph = mk_ring();
    let row = |rps| EdgeMetrics { rps: Some(rps), ..EdgeMetrics::default() };
    // Numbers of an edge that is gone, before, between and behind those that are there.
    let metrics = mk_metrics(&[
        ("a/deployment/gone->a/gone:1", row(1.0)),
        (CART_TO_DB, row(2.0)),
        ("shop/deployment/cart->zzz/gone:1", row(3.0)),
        ("zzz/deployment/gone->a/gone:1", row(4.0)),
    ]);
    let together: Vec<_> = edges::with_numbers(&graph, &metrics).collect();
    let one_by_one: Vec<_> = graph.edges.iter().map(|edge| (edge, metrics.get(edge.0))).collect();
    assert_eq!(together, one_by_one);
    assert_eq!(together.iter().filter(|(_, numbers)| numbers.is_some()).count(), 1);
}

#[test]
fn the_first_of_a_list_are_those_of_the_sorted_list() {
    let items: Vec<u32> = (0..50).map(|it| it * 37 % 50).collect();
    let sorted: Vec<u32> = (0..50).collect();
    for count in [0, 1, 7, 49, 50, 51, usize::MAX] {
        let mut some = items.clone();
        edges::first(&mut some, count, Ord::cmp);
        let head = count.min(50);
        assert_eq!(some[..head], sorted[..head], "{count}");
    }
}

#[test]
fn trouble_is_what_is_known_to_be_wrong() {
    let mut graph = mk_ring();
    let mut plain = Edge::clone(&graph.edges[&CART_TO_DB.parse::<EdgeId>().unwrap()]);
    plain.tls = Tls::No { reason: "not_provided_by_service_discovery".into() };
    graph.edges.insert(CART_TO_DB.parse().unwrap(), Arc::new(plain));
    let db: WorkloadId = "data/statefulset/db".parse().unwrap();
    graph.workloads.insert(db, Arc::new(Workload { pods: 1, ..Workload::default() }));
    let metrics = mk_metrics(&[
        (WEB_TO_CART, EdgeMetrics { success_rate: Some(0.9), denied: Some(0.0), ..EdgeMetrics::default() }),
        (GATE_TO_WEB, EdgeMetrics { denied: Some(0.2), ..EdgeMetrics::default() }),
    ]);
    let with = |trouble| {
        let has = |(id, edge): &edges::EdgeRef<'_>| edges::has(trouble, &graph, edge, metrics.get(id));
        ids(&graph.edges.iter().filter(has).collect::<Vec<_>>())
    };
    assert_eq!(with(Trouble::NoMtls), [CART_TO_DB]);
    assert_eq!(with(Trouble::Unmeshed), [DB_TO_WEB, CART_TO_DB]);
    assert_eq!(with(Trouble::Denied), [GATE_TO_WEB]);
    assert_eq!(with(Trouble::Failing { below: 0.95 }), [WEB_TO_CART]);
}

#[test]
fn a_nodes_numbers_weigh_success_by_calls_and_leave_out_what_is_shared() {
    let shared = "shop/deployment/web->shop/split:80";
    let graph = mk_graph(&[
        (WEB_TO_CART, &["shop/deployment/cart"]),
        (shared, &["shop/deployment/cart", "shop/deployment/canary"]),
        (DB_TO_WEB, &["shop/deployment/web"]),
        (GATE_TO_WEB, &["shop/deployment/web"]),
    ]);
    let row = |rps, rate| EdgeMetrics { rps: Some(rps), success_rate: Some(rate), ..EdgeMetrics::default() };
    let metrics = mk_metrics(&[
        (WEB_TO_CART, row(2.0, 1.0)),
        (shared, row(6.0, 0.5)),
        (DB_TO_WEB, row(1.0, 0.0)),
        (GATE_TO_WEB, row(3.0, 1.0)),
    ]);
    let index = Index::of(&graph);
    let part = Part::of_edges(&graph, Vec::new(), &[node(&graph, "shop/deploy/web")]);
    let own = part.numbered(&metrics);
    let all = || Rollups::of(edges::with_numbers(&graph, &metrics));
    for rollups in [part.rollups(&graph, &index, &metrics, &own), all()] {
        let sum = |rps, rate| Rollup { rps: Some(rps), success_rate: Some(rate), denied: None };
        let web = NodeRollup { inbound: sum(4.0, 0.75), outbound: sum(8.0, 0.625) };
        assert_eq!(rollups.get("shop/deployment/web"), web);
    }
    let all = all();
    assert_eq!(all.get("shop/deployment/cart").inbound, Rollup::default(), "some of it went to the canary");
    assert_eq!(all.get("shop/split").inbound.rps, Some(6.0));
}

#[test]
fn a_part_of_a_namespace_has_its_nodes_and_not_those_its_edges_lead_to() {
    let graph = mk_ring();
    let part = Part::of_namespace(&graph, &Index::of(&graph), "data");
    let services: Vec<_> = part.services.iter().map(|(id, _)| id.as_str()).collect();
    let workloads: Vec<_> = part.workloads.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!((services, workloads, part.edges.len()), (vec!["data/db"], vec!["data/statefulset/db"], 2));
}

/// Edges between a few names, so that different steps of a test meet the same ones.
fn mesh() -> impl Strategy<Value = Graph> {
    let name = || (0..3u8, 0..3u8).prop_map(|(ns, name)| (format!("n{ns}"), format!("w{name}")));
    let source = prop_oneof![
        name().prop_map(|(ns, name)| format!("{ns}/deployment/{name}")),
        name().prop_map(|(ns, sa)| format!("identity:{sa}.{ns}.serviceaccount.identity.l5d.local")),
        Just("unmeshed:no_tls_from_remote".to_owned()),
    ];
    let edge = (source, name(), prop::collection::btree_set(name(), 0..3));
    prop::collection::vec(edge, 0..25).prop_map(|edges| {
        let mut graph = Graph::default();
        for (source, (ns, name), workloads) in edges {
            let workloads: Vec<_> =
                workloads.into_iter().map(|(ns, name)| format!("{ns}/deployment/{name}")).collect();
            let workloads: Vec<_> = workloads.iter().map(String::as_str).collect();
            let (id, edge) = mk_edge(&format!("{source}->{ns}/{name}:80"), &workloads);
            graph.edges.insert(id, edge);
        }
        graph
    })
}

proptest! {
    #[test]
    fn an_index_that_followed_a_change_is_the_index_of_the_new_graph(old in mesh(), new in mesh()) {
        let mut index = Index::of(&old);
        index.apply(&old, &delta::diff(&old, &new));
        prop_assert_eq!(index, Index::of(&new));
    }

    #[test]
    fn the_namespace_filter_finds_what_looking_at_every_edge_finds(graph in mesh(), ns in 0..3u8) {
        let ns = format!("n{ns}");
        let found = ids(&edges::of_namespace(&graph, &Index::of(&graph), &ns));
        let touches = |edge: &Edge| [edge.src.namespace(), edge.dst.namespace()].contains(&Some(ns.as_str()));
        let all: Vec<_> =
            graph.edges.iter().filter(|(_, edge)| touches(edge)).map(|(id, _)| id.to_string()).collect();
        prop_assert_eq!(found, all);
    }

    #[test]
    fn a_way_that_the_call_graph_finds_exists_and_the_other_way_round(graph in mesh()) {
        let index = Index::of(&graph);
        let from = Node::Workload(WorkloadId::new("n0", "deployment", "w0"));
        let reached = call_graph(&graph, &index, &from, u32::MAX, &[Direction::Callees], usize::MAX);
        for to in (0..3).flat_map(|ns| (0..3).map(move |name| (ns, name))) {
            let to = Node::Service(ServiceId::new(&format!("n{}", to.0), &format!("w{}", to.1)));
            let called = |hop: &&Hop| Node::of_destination(&graph.edges[&hop.edge].dst) == to;
            let depth = reached.hops.iter().find(called).map(|hop| hop.depth as usize);
            prop_assert_eq!(shortest_path(&graph, &from, &to).map(|path| path.len()), depth);
        }
    }
}

proptest! {
    #[test]
    fn numbers_asked_for_in_order_are_those_of_each_edge(
        known in prop::collection::btree_set(0..200u16, 0..150),
        asked in prop::collection::btree_set(0..200u16, 0..150),
    ) {
        let id = |n: &u16| -> EdgeId { format!("shop/deployment/w{n:03}->shop/api:80").parse().unwrap() };
        let row = |n: &u16| EdgeMetrics { rps: Some(f64::from(*n)), ..EdgeMetrics::default() };
        let rows = known.iter().map(|n| (id(n), row(n))).collect();
        let metrics = Metrics::new(MetricsStatus::default(), rows);
        let mut in_order = metrics.in_order();
        for n in &asked {
            prop_assert_eq!(in_order.get(&id(n)), metrics.get(&id(n)));
            prop_assert_eq!(metrics.get(&id(n)).is_some(), known.contains(n));
        }
    }
}
