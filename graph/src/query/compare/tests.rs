use super::*;
use crate::{
    model::{Edge, ObservedBy, Protocol},
    status::MetricsStatus,
};
use proptest::prelude::*;
use serde_json::json;

const WEB_TO_CART: &str = "shop/deployment/web->shop/cart:80";
const CART_TO_DB: &str = "shop/deployment/cart->data/db:5432";
const BOT_TO_WEB: &str = "bots/deployment/bot->shop/web:80";

fn mk_graph(edges: &[(&str, Tls)]) -> Graph {
    let mut graph = Graph::default();
    for (id, tls) in edges {
        let (src, dst) = id.split_once("->").unwrap();
        let edge = Edge {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: Protocol::Http,
            tls: tls.clone(),
            client_identity: None,
            server_identities: Vec::new(),
            workloads: Vec::new(),
            backends: Vec::new(),
            observed_by: ObservedBy::Client,
            candidates: Vec::new(),
            target_cluster: None,
        };
        graph.edges.insert(id.parse().unwrap(), Arc::new(edge));
    }
    graph
}

fn plain() -> Tls {
    Tls::No { reason: "disabled".into() }
}

fn mk_metrics(rows: &[(&str, Numbers)]) -> Metrics {
    let rows = rows.iter().map(|(id, it)| {
        let Numbers { rps, success_rate, p99_ms, denied } = *it;
        (id.parse().unwrap(), EdgeMetrics { rps, success_rate, p99_ms, denied, ..EdgeMetrics::default() })
    });
    Metrics::new(MetricsStatus::default(), rows.collect())
}

fn numbers(rps: f64, success: f64, p99: f64) -> Numbers {
    Numbers { rps: Some(rps), success_rate: Some(success), p99_ms: Some(p99), denied: Some(0.0) }
}

fn all(before: &Sample, graph: &Graph, metrics: &Metrics) -> Difference {
    compare(before, graph, metrics, |_, _| true, |_| true)
}

fn ids(ids: &[EdgeId]) -> Vec<&str> {
    ids.iter().map(EdgeId::as_str).collect()
}

fn moved(list: &[Moved]) -> Vec<&str> {
    list.iter().map(|it| it.id.as_str()).collect()
}

#[test]
fn a_mesh_is_not_different_from_itself() {
    let graph = mk_graph(&[(WEB_TO_CART, Tls::Mutual), (CART_TO_DB, plain())]);
    let metrics = mk_metrics(&[(WEB_TO_CART, numbers(12.3, 0.987, 45.6))]);
    let sample = Sample::of(&graph, &metrics, None);
    assert_eq!(all(&sample, &graph, &metrics), Difference::default());
}

#[test]
fn edges_come_and_go_and_win_and_lose_mutual_tls() {
    let before = mk_graph(&[(WEB_TO_CART, Tls::Mutual), (CART_TO_DB, plain())]);
    let now = mk_graph(&[(WEB_TO_CART, plain()), (BOT_TO_WEB, Tls::Mutual)]);
    let found = all(&Sample::of(&before, &Metrics::default(), None), &now, &Metrics::default());
    assert_eq!(ids(&found.appeared), [BOT_TO_WEB]);
    assert_eq!(ids(&found.vanished), [CART_TO_DB]);
    assert_eq!(ids(&found.mtls_lost), [WEB_TO_CART]);
    let back = all(&Sample::of(&now, &Metrics::default(), None), &before, &Metrics::default());
    assert_eq!(ids(&back.mtls_gained), [WEB_TO_CART]);
    assert_eq!((ids(&back.appeared), ids(&back.vanished)), (vec![CART_TO_DB], vec![BOT_TO_WEB]));
}

#[test]
fn only_what_is_asked_about_is_compared_also_of_what_is_gone() {
    let before = mk_graph(&[(CART_TO_DB, plain()), (WEB_TO_CART, plain())]);
    let sample = Sample::of(&before, &Metrics::default(), None);
    let to_data = |_: &Source, to: &Destination| to.namespace() == Some("data");
    let found = compare(&sample, &Graph::default(), &Metrics::default(), to_data, |_| true);
    assert_eq!(ids(&found.vanished), [CART_TO_DB]);
}

#[test]
fn the_largest_changes_come_first_and_small_ones_do_not_come() {
    let graph = mk_graph(&[(WEB_TO_CART, Tls::Mutual), (CART_TO_DB, Tls::Mutual), (BOT_TO_WEB, Tls::Mutual)]);
    let before = mk_metrics(&[
        (WEB_TO_CART, numbers(10.0, 1.0, 20.0)),
        (CART_TO_DB, numbers(100.0, 1.0, 5.0)),
        (BOT_TO_WEB, numbers(1.0, 1.0, 100.0)),
    ]);
    let denied = Numbers { denied: Some(0.5), ..numbers(11.0, 0.9, 40.0) };
    let now = mk_metrics(&[
        (WEB_TO_CART, denied),
        (CART_TO_DB, numbers(150.0, 0.995, 9.0)),
        (BOT_TO_WEB, numbers(3.0, 0.5, 400.0)),
    ]);
    let found = all(&Sample::of(&graph, &before, None), &graph, &now);
    assert_eq!(moved(&found.rate), [CART_TO_DB, BOT_TO_WEB]);
    assert_eq!(moved(&found.success), [BOT_TO_WEB, WEB_TO_CART]);
    assert_eq!(moved(&found.latency), [BOT_TO_WEB, WEB_TO_CART]);
    assert_eq!(moved(&found.denied), [WEB_TO_CART]);
}

#[test]
fn what_was_not_known_did_not_change() {
    let graph = mk_graph(&[(WEB_TO_CART, Tls::Unknown)]);
    let sample = Sample::of(&graph, &Metrics::default(), None);
    let now = mk_graph(&[(WEB_TO_CART, plain())]);
    let metrics = mk_metrics(&[(WEB_TO_CART, numbers(10.0, 0.5, 900.0))]);
    assert_eq!(all(&sample, &now, &metrics), Difference::default());
}

#[test]
fn a_policy_changes_by_its_spec_and_not_by_its_status() {
    let policy = |spec: serde_json::Value, status: serde_json::Value| {
        Arc::new(Policy {
            kind: Kind::Server,
            api_version: "v1".into(),
            created_ms: None,
            labels: Arc::default(),
            spec: Arc::new(spec),
            status: Arc::new(status),
        })
    };
    let mut before = Graph::default();
    let id = |name: &str| PolicyId::new("server", "shop", name);
    before.policies.insert(id("same"), policy(json!(1), json!(1)));
    before.policies.insert(id("gone"), policy(json!(1), json!(1)));
    before.policies.insert(id("other"), policy(json!(1), json!(1)));
    let mut now = before.clone();
    now.policies.insert(id("same"), policy(json!(1), json!(2)));
    now.policies.insert(id("other"), policy(json!(2), json!(1)));
    now.policies.remove(&id("gone"));
    now.auth_policies.insert(ObjectId::new("shop", "new"), policy(json!(1), json!(1)));
    let found = all(&Sample::of(&before, &Metrics::default(), None), &now, &Metrics::default());
    let told: Vec<(String, Change)> = found.policies.iter().map(|it| (it.id.to_string(), it.what)).collect();
    assert_eq!(
        told,
        [
            ("authorizationpolicy/shop/new".to_owned(), Change::Added),
            ("server/shop/gone".to_owned(), Change::Removed),
            ("server/shop/other".to_owned(), Change::Changed),
        ]
    );
}

#[test]
fn a_sample_takes_eight_bytes_an_edge_and_shares_ids_with_the_one_before() {
    let names: Vec<String> = (0..1_000).map(|n| format!("shop/deployment/web->shop/s{n}:80")).collect();
    let edges: Vec<(&str, Tls)> = names.iter().map(|it| (&**it, Tls::Mutual)).collect();
    let graph = mk_graph(&edges);
    let first = Sample::of(&graph, &Metrics::default(), None);
    let second = Sample::of(&graph, &Metrics::default(), Some(&first));
    let fixed = size_of::<Sample>();
    assert_eq!(first.bytes(None), 24_000 + fixed);
    assert_eq!(second.bytes(Some(&first)), 8_000 + fixed);
    let other = Sample::of(&mk_graph(&edges[1..]), &Metrics::default(), Some(&second));
    assert_eq!(other.bytes(Some(&second)), 24 * 999 + fixed);
}

proptest! {
    #[test]
    fn numbers_come_back_as_they_were_but_for_a_thousandth(
        rps in proptest::option::of(0.001..1e7f64),
        success_rate in proptest::option::of(0.0..=1.0f64),
        p99_ms in proptest::option::of(0.01..1e6f64),
        denied in proptest::option::of(0.001..1e6f64),
        tls in 0usize..3,
    ) {
        let tls = [Tls::Unknown, Tls::Mutual, plain()][tls].clone();
        let numbers = Numbers { rps, success_rate, p99_ms, denied };
        let row = Row::of(numbers, &tls);
        let back = row.numbers();
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => (a - b).abs() <= 0.001 * a.abs() + 1e-5,
            _ => false,
        };
        prop_assert!(near(rps, back.rps) && near(success_rate, back.success_rate), "{numbers:?} {back:?}");
        prop_assert!(near(p99_ms, back.p99_ms) && near(denied, back.denied), "{numbers:?} {back:?}");
        prop_assert_eq!(row.tls(), match tls { Tls::Unknown => 0, Tls::Mutual => 1, Tls::No { .. } => 2 });
    }
}
