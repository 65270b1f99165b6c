use super::*;
use crate::{
    model::{ObservedBy, Protocol, Service, Workload},
    policy::lint::Code,
    status::{MetricsStatus, TopologyStatus, WatchState},
};
use std::sync::Arc;

const WEB_TO_CART: &str = "shop/deployment/web->shop/cart:80";
const BOT_TO_CART: &str = "shop/deployment/bot->shop/cart:80";
const WEB_TO_GONE: &str = "shop/deployment/web->shop/gone:80";
const CART_TO_DB: &str = "shop/deployment/cart->data/db:5432";

/// Nothing is wrong with it.
fn mk_graph() -> Graph {
    let mut graph = Graph::default();
    for name in ["web", "bot", "cart"] {
        let all =
            Workload { meshed: Meshed::All, pods: 2, pods_meshed: 2, pods_ready: 2, ..Workload::default() };
        graph.workloads.insert(WorkloadId::new("shop", "deployment", name), Arc::new(all));
    }
    let db = Workload { meshed: Meshed::None, pods: 1, pods_ready: 1, ..Workload::default() };
    graph.workloads.insert(WorkloadId::new("data", "statefulset", "db"), Arc::new(db));
    let behind = |id: &str| Service { workloads: vec![id.parse().unwrap()], ..Service::default() };
    graph.services.insert(ServiceId::new("shop", "cart"), Arc::new(behind("shop/deployment/cart")));
    graph.services.insert(ServiceId::new("data", "db"), Arc::new(behind("data/statefulset/db")));
    mk_edge(&mut graph, WEB_TO_CART, &["shop/deployment/cart"], Tls::Mutual);
    mk_edge(&mut graph, BOT_TO_CART, &["shop/deployment/cart"], Tls::Mutual);
    let plain = Tls::No { reason: "not_provided_by_service_discovery".into() };
    mk_edge(&mut graph, CART_TO_DB, &["data/statefulset/db"], plain);
    let mut status = TopologyStatus::default();
    status.kinds.insert(crate::kind::Kind::Pod, WatchState::Synced);
    graph.status = Arc::new(status);
    graph
}

fn mk_edge(graph: &mut Graph, id: &str, workloads: &[&str], tls: Tls) {
    let (src, dst) = id.split_once("->").unwrap();
    let edge = Edge {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::Http,
        tls,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: workloads.iter().map(|id| id.parse().unwrap()).collect(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    graph.edges.insert(id.parse().unwrap(), Arc::new(edge));
}

fn fresh() -> MetricsStatus {
    MetricsStatus { stale: false, reason: String::new(), as_of_ms: Some(1), ..MetricsStatus::default() }
}

fn mk_metrics(rows: &[(&str, EdgeMetrics)]) -> Metrics {
    Metrics::new(fresh(), rows.iter().map(|(id, row)| (id.parse().unwrap(), row.clone())).collect())
}

fn calls(rps: f64, success_rate: f64) -> EdgeMetrics {
    EdgeMetrics { rps: Some(rps), success_rate: Some(success_rate), ..EdgeMetrics::default() }
}

/// Kind, severity, what about and evidence of each problem.
fn told(graph: &Graph, metrics: &Metrics) -> Vec<String> {
    told_of(&Seen {
        graph,
        metrics,
        findings: &[],
        lost_mtls: &BTreeSet::new(),
        no_feed_ms: None,
        namespace: None,
    })
}

fn told_of(seen: &Seen<'_>) -> Vec<String> {
    let line = |it: Problem<'_>| {
        format!("{} {} {}: {}", it.severity, it.kind.as_str(), it.about.name(), it.evidence)
    };
    problems(seen).into_iter().map(line).collect()
}

#[test]
fn a_mesh_in_which_all_is_well_has_no_problems() {
    let metrics = mk_metrics(&[(WEB_TO_CART, calls(100.0, 1.0)), (CART_TO_DB, calls(1.0, 0.995))]);
    assert_eq!(told(&mk_graph(), &metrics), Vec::<String>::new());
}

#[test]
fn callers_of_one_service_that_fails_are_one_problem_with_the_worst_of_them() {
    let graph = mk_graph();
    let metrics = mk_metrics(&[(WEB_TO_CART, calls(10.0, 0.9)), (BOT_TO_CART, calls(10.0, 0.97))]);
    let empty = BTreeSet::new();
    let seen = Seen {
        graph: &graph,
        metrics: &metrics,
        findings: &[],
        lost_mtls: &empty,
        no_feed_ms: None,
        namespace: None,
    };
    assert_eq!(told_of(&seen), ["error failing_calls shop/cart: 1.3/s fail, from 2 callers"]);
    let About::Calls { worst: (id, _), edges, .. } = problems(&seen).remove(0).about else { panic!() };
    assert_eq!((id.as_str(), edges), (WEB_TO_CART, 2));
}

#[test]
fn too_few_calls_to_judge_and_rates_that_are_not_known_are_no_problem() {
    let no_rate = EdgeMetrics { success_rate: Some(0.0), ..EdgeMetrics::default() };
    let metrics = mk_metrics(&[(WEB_TO_CART, calls(0.01, 0.0)), (BOT_TO_CART, no_rate)]);
    assert_eq!(told(&mk_graph(), &metrics), Vec::<String>::new());
}

#[test]
fn denied_calls_are_not_told_again_as_failing_ones() {
    let denied = EdgeMetrics { denied: Some(5.0), ..calls(10.0, 0.5) };
    assert_eq!(
        told(&mk_graph(), &mk_metrics(&[(WEB_TO_CART, denied)])),
        ["error denied_calls shop/cart: 5/s denied by policy, from 1 caller"]
    );
    let both = EdgeMetrics { denied: Some(1.0), ..calls(10.0, 0.5) };
    assert_eq!(
        told(&mk_graph(), &mk_metrics(&[(WEB_TO_CART, both)])),
        [
            "error denied_calls shop/cart: 1/s denied by policy, from 1 caller",
            "error failing_calls shop/cart: 5/s fail, from 1 caller"
        ]
    );
}

#[test]
fn grave_problems_come_first_and_of_equal_ones_the_larger() {
    let mut graph = mk_graph();
    mk_edge(&mut graph, WEB_TO_GONE, &[], Tls::Unknown);
    graph.services.insert(ServiceId::new("shop", "gone"), Arc::new(Service::default()));
    graph.services.insert(ServiceId::new("shop", "idle"), Arc::new(Service::default()));
    graph.services.insert(ServiceId::new("default", "kubernetes"), Arc::new(Service::default()));
    let half =
        Workload { meshed: Meshed::Some, pods: 3, pods_meshed: 1, pods_ready: 2, ..Workload::default() };
    graph.workloads.insert(WorkloadId::new("shop", "deployment", "half"), Arc::new(half));
    let down = Workload { meshed: Meshed::All, pods: 1, pods_meshed: 1, ..Workload::default() };
    graph.workloads.insert(WorkloadId::new("shop", "deployment", "down"), Arc::new(down));
    let unrouted = EdgeMetrics { unrouted: Some(0.25), ..calls(9.0, 1.0) };
    let metrics = mk_metrics(&[(WEB_TO_GONE, calls(2.0, 0.98)), (WEB_TO_CART, unrouted)]);
    assert_eq!(
        told(&graph, &metrics),
        [
            "error no_endpoints shop/gone: is called (2/s) and no pod stands behind it",
            "error pods_not_ready shop/deployment/down: 1 of 1 pods not ready",
            "warning failing_calls shop/gone: 0.04/s fail, from 1 caller",
            "warning pods_not_ready shop/deployment/half: 1 of 3 pods not ready",
            "warning unrouted_calls shop/cart: 0.25/s answered with 404 because no route takes them, from 1 caller",
            "warning partly_meshed shop/deployment/half: 2 of 3 pods without a proxy",
            "info no_endpoints shop/idle: no pod stands behind it, and no call to it is seen",
        ]
    );
}

#[test]
fn a_kind_that_there_is_much_of_does_not_hide_the_others() {
    let mut graph = mk_graph();
    let ids: Vec<String> = (0..5).map(|n| format!("shop/deployment/web->shop/s{n}:80")).collect();
    for id in &ids {
        mk_edge(&mut graph, id, &[], Tls::Mutual);
    }
    let denied = |n: usize| EdgeMetrics { denied: Some(9.0 - n as f64), ..calls(10.0, 1.0) };
    let mut rows: Vec<(&str, EdgeMetrics)> =
        ids.iter().enumerate().map(|(n, id)| (&**id, denied(n))).collect();
    rows.push((WEB_TO_CART, calls(10.0, 0.5)));
    rows.push((CART_TO_DB, EdgeMetrics { unrouted: Some(1.0), ..calls(10.0, 1.0) }));
    let told = told(&graph, &mk_metrics(&rows));
    let about: Vec<&str> = told.iter().map(|it| it.split(':').next().unwrap()).collect();
    assert_eq!(
        about,
        [
            "error denied_calls shop/s0",
            "error denied_calls shop/s1",
            "error denied_calls shop/s2",
            "error failing_calls shop/cart",
            "error denied_calls shop/s3",
            "error denied_calls shop/s4",
            "warning unrouted_calls data/db",
        ]
    );
}

#[test]
fn mutual_tls_is_missed_only_where_both_ends_are_meshed_and_its_loss_is_graver() {
    let mut graph = mk_graph();
    let plain = Tls::No { reason: "disabled".into() };
    mk_edge(&mut graph, WEB_TO_CART, &["shop/deployment/cart"], plain.clone());
    mk_edge(&mut graph, BOT_TO_CART, &["shop/deployment/cart"], plain);
    let metrics = mk_metrics(&[(WEB_TO_CART, calls(3.0, 1.0)), (BOT_TO_CART, calls(1.0, 1.0))]);
    assert_eq!(
        told(&graph, &metrics),
        ["warning no_mtls shop/cart: both ends are meshed, and it is not mutual TLS; 4/s from 2 callers"]
    );
    let lost: BTreeSet<EdgeId> = [WEB_TO_CART.parse().unwrap()].into();
    let seen = Seen {
        graph: &graph,
        metrics: &metrics,
        findings: &[],
        lost_mtls: &lost,
        no_feed_ms: None,
        namespace: None,
    };
    assert_eq!(
        told_of(&seen),
        [
            "error lost_mtls shop/cart: was mutual TLS a while ago and is not now; 3/s from 1 caller",
            "warning no_mtls shop/cart: both ends are meshed, and it is not mutual TLS; 1/s from 1 caller"
        ]
    );
}

#[test]
fn slow_is_what_takes_ten_times_as_long_as_the_others() {
    let mut graph = mk_graph();
    let slow = |ms| EdgeMetrics { p99_ms: Some(ms), ..calls(1.0, 1.0) };
    let ids: Vec<String> = (0..8).map(|n| format!("shop/deployment/web->shop/s{n}:80")).collect();
    for id in &ids {
        mk_edge(&mut graph, id, &[], Tls::Mutual);
    }
    let rows: Vec<(&str, EdgeMetrics)> = ids
        .iter()
        .zip([20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 199.0, 201.0].map(slow))
        .map(|(id, it)| (&**id, it))
        .collect();
    assert_eq!(
        told(&graph, &mk_metrics(&rows)),
        ["warning slow_calls shop/s7: p99 of 201 ms, where the median over all calls is 20 ms; 1 caller"]
    );
    assert_eq!(
        told(&graph, &mk_metrics(&rows[..7])),
        Vec::<String>::new(),
        "few calls have no usual latency"
    );
}

#[test]
fn what_is_not_known_comes_before_everything_that_may_be_wrong_because_of_it() {
    let mut graph = mk_graph();
    Arc::make_mut(&mut graph.status)
        .kinds
        .insert(crate::kind::Kind::Server, WatchState::Forbidden { detail: "no".into() });
    let mut metrics = mk_metrics(&[(WEB_TO_CART, calls(1.0, 0.0))]);
    metrics.status = MetricsStatus { unscraped_count: 4, mislabelled_count: 1, ..MetricsStatus::default() };
    let empty = BTreeSet::new();
    let seen = Seen {
        graph: &graph,
        metrics: &metrics,
        findings: &[],
        lost_mtls: &empty,
        no_feed_ms: Some(12_500),
        namespace: Some("data"),
    };
    assert_eq!(
        told_of(&seen),
        [
            "error stale_data : nothing has come from the controller for 12 s: all of this is old",
            "error stale_data : no numbers have come from Prometheus: rates, latencies and mTLS are not known",
            "error stale_data : kinds of Kubernetes objects that are not watched: 1; what is of them is missing or old here",
            "warning stale_data : labels of 1 scraped pods name another workload than Kubernetes does: edges may bear \
             wrong names",
            "warning unscraped_pods : Prometheus has no metrics of 4 meshed pods: what they call is not seen",
        ]
    );
}

#[test]
fn findings_about_policy_take_part_but_for_those_that_are_only_worth_knowing() {
    let finding = |severity| Finding {
        code: Code::Shadowed,
        severity,
        objects: vec!["server/shop/cart".to_owned()],
        text: "text of the cluster".to_owned(),
        fix: String::new(),
    };
    let (graph, metrics, empty) = (mk_graph(), mk_metrics(&[]), BTreeSet::new());
    let seen = Seen {
        graph: &graph,
        metrics: &metrics,
        findings: &[finding(Severity::Error), finding(Severity::Info)],
        lost_mtls: &empty,
        no_feed_ms: None,
        namespace: None,
    };
    let told = told_of(&seen);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("error policy_finding server/shop/cart: An older object"), "{told:?}");
}
