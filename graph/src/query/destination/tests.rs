//! Each mismatch by itself, and what is none.

use super::*;
use crate::model::Service;
use std::sync::Arc;

const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

fn mk_graph(workloads: &[(&str, &str, Workload)]) -> Graph {
    let mut graph = Graph::default();
    let mut service = Service::default();
    for (kind, name, workload) in workloads {
        let id = WorkloadId::new("shop", kind, name);
        graph.workloads.insert(id.clone(), Arc::new(workload.clone()));
        service.workloads.push(id);
    }
    graph.services.insert(ServiceId::new("shop", "web"), Arc::new(service));
    graph
}

fn mk_workload(meshed: Meshed, identity: Option<&str>) -> Workload {
    Workload { meshed, pods: 2, pods_ready: 2, identity: identity.map(Text::from), ..Workload::default() }
}

fn mk_endpoint(owner: (&str, &str), identity: Option<&str>) -> Endpoint {
    let labels = [("namespace", "shop"), ("service", "web"), ("pod", "web-1"), owner];
    Endpoint {
        weight: 10_000,
        identity: identity.map(Text::from),
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ..Endpoint::default()
    }
}

fn mk_told(endpoints: Vec<Endpoint>) -> Told {
    let addresses = (1..).map(|last| SocketAddr::from(([10, 244, 0, last], 8080)));
    Told { exists: true, complete: true, endpoints: addresses.zip(endpoints).collect() }
}

fn said(graph: &Graph, told: &Told) -> Vec<String> {
    mismatches(graph, &ServiceId::new("shop", "web"), told).iter().map(ToString::to_string).collect()
}

fn deployment() -> Endpoint {
    mk_endpoint(("deployment", "web"), Some(WEB))
}

fn meshed() -> Graph {
    mk_graph(&[("deployment", "web", mk_workload(Meshed::All, Some(WEB)))])
}

#[test]
fn endpoints_that_are_as_the_graph_says_are_no_mismatch() {
    assert_eq!(said(&meshed(), &mk_told(vec![deployment(), deployment()])), Vec::<String>::new());
}

#[test]
fn an_owner_that_the_controller_did_not_follow_up_is_found_by_its_name() {
    let graph = mk_graph(&[("rollout", "web", mk_workload(Meshed::All, Some(WEB)))]);
    let of = |name: &str| mk_told(vec![mk_endpoint(("replicaset", name), Some(WEB))]);
    assert_eq!(said(&graph, &of("web-5d4f")), Vec::<String>::new());
    assert_eq!(said(&graph, &of("website-5d4f")).len(), 2);
    let pod = mk_graph(&[("pod", "web-1", mk_workload(Meshed::All, Some(WEB)))]);
    assert_eq!(said(&pod, &mk_told(vec![mk_endpoint(("zone", "a"), Some(WEB))])), Vec::<String>::new());
}

#[test]
fn an_endpoint_that_the_graph_does_not_know_is_named() {
    let told = mk_told(vec![deployment(), mk_endpoint(("statefulset", "old"), Some(WEB))]);
    assert_eq!(
        said(&meshed(), &told),
        [
            "proxies are told of 10.244.0.2:8080 (statefulset/old), which the graph has not among the workloads behind the Service"
        ]
    );
}

#[test]
fn a_gateway_of_a_mirrored_service_is_not_unknown() {
    let mut graph = meshed();
    let mirror = Service { mirror_of: Some("shop/web@east".into()), ..Service::default() };
    graph.services.insert(ServiceId::new("shop", "web"), Arc::new(mirror));
    let gateway = Endpoint { weight: 10_000, identity: Some("gateway".into()), ..Endpoint::default() };
    assert_eq!(said(&graph, &mk_told(vec![gateway])), Vec::<String>::new());
}

#[test]
fn a_workload_that_proxies_are_not_told_of_is_named_only_when_all_was_heard() {
    let mut graph = mk_graph(&[
        ("deployment", "web", mk_workload(Meshed::All, Some(WEB))),
        ("deployment", "canary", mk_workload(Meshed::All, Some(WEB))),
    ]);
    let mut told = mk_told(vec![deployment()]);
    assert_eq!(
        said(&graph, &told),
        [
            "proxies are told of no endpoint of shop/deployment/canary, which has 2 ready pods behind the Service"
        ]
    );
    told.complete = false;
    assert_eq!(said(&graph, &told), Vec::<String>::new());
    told.complete = true;
    let unready = Workload { pods_ready: 0, ..mk_workload(Meshed::All, Some(WEB)) };
    graph.workloads.insert(WorkloadId::new("shop", "deployment", "canary"), Arc::new(unready));
    assert_eq!(said(&graph, &told), Vec::<String>::new());
}

#[test]
fn another_identity_than_the_graph_has_is_named() {
    let told = mk_told(vec![mk_endpoint(("deployment", "web"), Some("other"))]);
    assert_eq!(
        said(&meshed(), &told),
        [format!(
            "proxies demand the identity other of 10.244.0.1:8080, but shop/deployment/web has the identity {WEB}"
        )]
    );
    let unmeshed = mk_graph(&[("deployment", "web", mk_workload(Meshed::None, None))]);
    assert_eq!(
        said(&unmeshed, &told),
        ["proxies demand the identity other of 10.244.0.1:8080, but shop/deployment/web is not meshed there"]
    );
    let unknown_trust_domain = mk_graph(&[("deployment", "web", mk_workload(Meshed::All, None))]);
    assert_eq!(said(&unknown_trust_domain, &told), Vec::<String>::new());
}

#[test]
fn plaintext_to_a_meshed_workload_is_told_from_plaintext_to_one_that_is_not() {
    let told = mk_told(vec![mk_endpoint(("deployment", "web"), None)]);
    assert_eq!(
        said(&meshed(), &told),
        [
            "proxies call 10.244.0.1:8080 in plaintext although shop/deployment/web is meshed: the port may be in its \
             skip-inbound-ports, or the pod belongs to another control plane"
        ]
    );
    for meshed in [Meshed::None, Meshed::Some] {
        let graph = mk_graph(&[("deployment", "web", mk_workload(meshed, Some(WEB)))]);
        assert_eq!(
            said(&graph, &told),
            ["proxies call 10.244.0.1:8080 in plaintext: shop/deployment/web has pods without a proxy"]
        );
    }
}

/// A workload of which the graph knows every pod: `10.244.0.1` with a proxy, `10.244.0.2` without.
fn mk_known() -> Graph {
    let skipping = [("config.linkerd.io/skip-inbound-ports".into(), "9000-9100".into())];
    let template = |last: u8, proxy| Template {
        addresses: vec![[10, 244, 0, last].into()],
        count: 1,
        proxy,
        annotations: Arc::new(skipping.clone().into()),
        ..Template::default()
    };
    let workload = Workload {
        templates: vec![template(1, true), template(2, false)],
        ..mk_workload(Meshed::Some, Some(WEB))
    };
    mk_graph(&[("deployment", "web", workload)])
}

#[test]
fn a_pod_whose_address_the_graph_knows_is_judged_by_itself() {
    let plaintext = mk_endpoint(("deployment", "web"), None);
    assert_eq!(
        said(&mk_known(), &mk_told(vec![plaintext, deployment()])),
        [
            format!(
                "proxies demand the identity {WEB} of 10.244.0.2:8080, but shop/deployment/web is not meshed there"
            ),
            "proxies call 10.244.0.1:8080 in plaintext although shop/deployment/web is meshed: the port may be in its \
             skip-inbound-ports, or the pod belongs to another control plane"
                .to_owned(),
        ]
    );
    let unlabelled = Endpoint { labels: BTreeMap::new(), ..deployment() };
    let agreed = mk_told(vec![unlabelled, mk_endpoint(("deployment", "web"), None)]);
    assert_eq!(
        said(&mk_known(), &agreed),
        ["proxies call 10.244.0.2:8080 in plaintext: shop/deployment/web has pods without a proxy"]
    );
}

#[test]
fn a_port_that_goes_past_the_proxy_is_named_as_such() {
    let skipped = mk_endpoint(("deployment", "web"), None);
    let told = Told {
        exists: true,
        complete: true,
        endpoints: [("10.244.0.1:9050".parse().unwrap(), skipped)].into(),
    };
    assert_eq!(
        said(&mk_known(), &told),
        [
            "proxies call 10.244.0.1:9050 in plaintext: the port is in the skip-inbound-ports of shop/deployment/web"
        ]
    );
}

#[test]
fn the_address_of_a_pod_that_is_gone_is_not_taken_for_the_workload_it_was_of() {
    let gone = mk_told(vec![deployment(), mk_endpoint(("deployment", "web"), None), deployment()]);
    assert_eq!(
        said(&mk_known(), &gone)[0],
        "proxies are told of 10.244.0.3:8080 (deployment/web), which the graph has not among the workloads behind the \
         Service"
    );
}

#[test]
fn uneven_weights_are_named() {
    let weighing = |weight| Endpoint { weight, ..deployment() };
    let told = mk_told(vec![weighing(10_000), weighing(0), weighing(10_000), weighing(500)]);
    assert_eq!(
        said(&meshed(), &told),
        [
            "10.244.0.2:8080 gets no calls: its weight is 0",
            "10.244.0.4:8080 has the weight 500, most others have 10000"
        ]
    );
}

#[test]
fn a_service_on_one_side_only_is_named() {
    let nothing = Told { complete: true, ..Told::default() };
    assert_eq!(
        said(&meshed(), &nothing),
        ["Service shop/web exists, and Linkerd's destination controller does not know it"]
    );
    assert_eq!(
        said(&Graph::default(), &mk_told(vec![deployment()])),
        ["Linkerd's destination controller knows Service shop/web, which the graph does not"]
    );
    assert_eq!(said(&Graph::default(), &nothing), Vec::<String>::new());
}

#[test]
fn what_was_told_reads_well_as_json() {
    let told = mk_told(vec![deployment()]);
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(
        json["endpoints"]["10.244.0.1:8080"],
        serde_json::json!({
            "weight": 10_000, "identity": WEB, "hint": "none",
            "labels": { "namespace": "shop", "service": "web", "pod": "web-1", "deployment": "web" }
        })
    );
}
