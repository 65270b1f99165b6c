use super::*;
use crate::{
    metrics::EdgeMetrics,
    model::{Namespace, ObservedBy, Protocol, Workload},
    status::MetricsStatus,
};
use serde_json::{Value, json};

const WEB_TO_CART: &str = "shop/deployment/web->shop/cart:80";

fn mk_edge(id: &str, tls: Tls) -> (EdgeId, Arc<Edge>) {
    let (src, dst) = id.split_once("->").unwrap();
    let edge = Edge {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::Http,
        tls,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: vec!["shop/deployment/cart".parse().unwrap()],
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    (id.parse().unwrap(), Arc::new(edge))
}

fn mk_graph() -> Graph {
    let mut graph = Graph::default();
    graph.namespaces.insert("shop".into(), Arc::new(Namespace::default()));
    let (id, edge) = mk_edge(WEB_TO_CART, Tls::Mutual);
    graph.edges.insert(id, edge);
    let cart = Workload {
        services: vec!["shop/cart".parse().unwrap()],
        servers: vec!["server/shop/cart".parse().unwrap()],
        policies: vec!["authorizationpolicy/shop/web".parse().unwrap()],
        ..Workload::default()
    };
    graph.workloads.insert("shop/deployment/cart".parse().unwrap(), Arc::new(cart));
    graph.workloads.insert("shop/deployment/web".parse().unwrap(), Arc::new(Workload::default()));
    let web = mk_policy(
        Kind::AuthorizationPolicy,
        json!({"requiredAuthenticationRefs": [{"kind": "MeshTLSAuthentication", "name": "web"}]}),
    );
    graph.auth_policies.insert("shop/web".parse().unwrap(), web);
    graph
}

fn mk_policy(kind: Kind, spec: Value) -> Arc<Policy> {
    Arc::new(Policy {
        kind,
        api_version: "policy.linkerd.io/v1beta3".into(),
        created_ms: None,
        labels: Arc::default(),
        spec: Arc::new(spec),
        status: Arc::default(),
    })
}

fn mk_metrics(denied: &[(&str, Option<f64>)]) -> Metrics {
    let row = |(id, denied): &(&str, Option<f64>)| {
        (id.parse().unwrap(), EdgeMetrics { denied: *denied, ..EdgeMetrics::default() })
    };
    Metrics::new(MetricsStatus::default(), denied.iter().map(row).collect())
}

/// What happened, to what, and where, as lines.
fn lines(found: &[Change]) -> Vec<String> {
    let place = |it: &Place| match it {
        Place::Namespace(name) => format!("ns {name}"),
        Place::Service(id) => format!("svc {id}"),
        Place::Workload(id) => id.to_string(),
        Place::Policy(id) => id.to_string(),
    };
    let line = |it: &Change| {
        let places: Vec<String> = it.places.iter().map(place).collect();
        format!("{} {}: {}", it.what.name(), it.subject, places.join(", "))
    };
    found.iter().map(line).collect()
}

/// What a change of the graph amounts to.
fn after(change: impl FnOnce(&mut Graph)) -> Vec<String> {
    let (old, metrics) = (mk_graph(), Metrics::default());
    let mut new = old.clone();
    change(&mut new);
    let state = |graph| State { graph, metrics: &metrics };
    lines(&changes(state(&old), state(&new)))
}

/// What a change of the denials from web to cart amounts to.
fn denied(before: &[(&str, Option<f64>)], now: &[(&str, Option<f64>)]) -> usize {
    let (graph, before, now) = (mk_graph(), mk_metrics(before), mk_metrics(now));
    let state = |metrics| State { graph: &graph, metrics };
    let found = changes(state(&before), state(&now));
    assert!(found.iter().all(|it| it.what == What::DenialSpike), "{found:?}");
    found.len()
}

#[test]
fn nothing_happened_between_equal_states() {
    assert_eq!(after(|_| ()), Vec::<String>::new());
    // An edge that is put again as it was is not news either.
    let again = after(|graph| {
        let (id, edge) = mk_edge(WEB_TO_CART, Tls::Mutual);
        graph.edges.insert(id, edge);
    });
    assert_eq!(again, Vec::<String>::new());
}

#[test]
fn an_edge_that_comes_or_goes_is_news_at_both_ends_and_in_their_namespaces() {
    let appeared = after(|graph| {
        let (id, edge) = mk_edge("bank/deployment/till->shop/cart:80", Tls::Mutual);
        graph.edges.insert(id, edge);
    });
    assert_eq!(
        appeared,
        ["edge_appeared bank/deployment/till->shop/cart:80: ns bank, ns shop, svc shop/cart, \
          bank/deployment/till, shop/deployment/cart"]
    );
    let vanished = after(|graph| {
        graph.edges.remove(WEB_TO_CART);
    });
    assert_eq!(
        vanished,
        ["edge_vanished shop/deployment/web->shop/cart:80: ns shop, svc shop/cart, shop/deployment/cart, \
          shop/deployment/web"]
    );
}

#[test]
fn an_edge_of_an_identity_is_news_at_every_workload_that_may_have_it() {
    let id = "identity:web.shop.serviceaccount.identity.linkerd.cluster.local->external:bank.example:443";
    let found = after(|graph| {
        let (id, edge) = mk_edge(id, Tls::Unknown);
        let mut edge = Arc::unwrap_or_clone(edge);
        edge.workloads.clear();
        edge.candidates = vec!["shop/deployment/web".parse().unwrap(), "shop/job/web".parse().unwrap()];
        graph.edges.insert(id, Arc::new(edge));
    });
    assert_eq!(found, [format!("edge_appeared {id}: ns shop, shop/deployment/web, shop/job/web")]);
}

#[test]
fn mutual_tls_that_is_lost_or_gained_is_news_and_not_knowing_is_not() {
    let no = || Tls::No { reason: "no_tls_from_remote".into() };
    assert_eq!(tls(&Tls::Mutual, &no()), Some(What::MtlsLost));
    assert_eq!(tls(&Tls::Unknown, &no()), Some(What::MtlsLost));
    assert_eq!(tls(&no(), &Tls::Mutual), Some(What::MtlsGained));
    for (before, now) in [
        (Tls::Mutual, Tls::Unknown),
        (Tls::Unknown, Tls::Mutual),
        (no(), Tls::Unknown),
        (no(), Tls::No { reason: "loopback".into() }),
        (Tls::Mutual, Tls::Mutual),
    ] {
        assert_eq!(tls(&before, &now), None, "{before:?} to {now:?}");
    }
    let lost = after(|graph| {
        let (id, edge) = mk_edge(WEB_TO_CART, no());
        graph.edges.insert(id, edge);
    });
    assert_eq!(lost.len(), 1);
    assert!(lost[0].starts_with("mtls_lost shop/deployment/web->shop/cart:80: ns shop"), "{lost:?}");
}

#[test]
fn denials_are_news_when_they_begin_or_are_ten_times_as_many() {
    let some = |denied| [(WEB_TO_CART, denied)];
    for (before, now, news) in [
        (Some(0.0), Some(0.1), 1),
        (None, Some(0.1), 1),
        (Some(0.1), Some(1.0), 1),
        (Some(0.1), Some(0.9), 0),
        (Some(0.5), Some(0.0), 0),
        (Some(0.5), None, 0),
        (Some(0.0), Some(0.0), 0),
        (None, None, 0),
    ] {
        assert_eq!(denied(&some(before), &some(now)), news, "{before:?} to {now:?}");
    }
}

#[test]
fn denials_of_an_edge_without_numbers_before_are_news_and_of_a_mesh_without_any_are_not() {
    let now =
        [("a/deployment/a->a/a:1", Some(1.0)), (WEB_TO_CART, Some(1.0)), ("z/deployment/z->z/z:1", None)];
    let other = [("a/deployment/a->a/a:1", Some(1.0)), ("b/deployment/b->b/b:1", Some(1.0))];
    assert_eq!(denied(&other, &now), 1);
    assert_eq!(denied(&[], &now), 0);
}

#[test]
fn a_server_that_is_touched_is_news_for_what_it_selects_even_when_it_is_gone() {
    let server = "server/shop/cart";
    let put = |graph: &mut Graph, port: u16| {
        graph.policies.insert(server.parse().unwrap(), mk_policy(Kind::Server, json!({"port": port})));
    };
    let at = "ns shop, svc shop/cart, shop/deployment/cart, server/shop/cart";
    assert_eq!(after(|graph| put(graph, 80)), [format!("policy_added {server}: {at}")]);

    let metrics = Metrics::default();
    let state = |graph| State { graph, metrics: &metrics };
    let (mut one, mut two, mut gone) = (mk_graph(), mk_graph(), mk_graph());
    put(&mut one, 80);
    put(&mut two, 81);
    let found = lines(&changes(state(&one), state(&two)));
    assert_eq!(found, [format!("policy_changed {server}: {at}")]);
    // As the graph has it then: the workload knows of no Server.
    let cart = gone.workloads.get_mut("shop/deployment/cart").unwrap();
    Arc::make_mut(cart).servers.clear();
    let found = lines(&changes(state(&one), state(&gone)));
    assert_eq!(found, [format!("policy_removed {server}: {at}")]);
}

#[test]
fn an_authentication_is_news_for_what_the_policies_that_require_it_bear_on() {
    let id = "meshtlsauthentication/shop/web";
    let found = after(|graph| {
        let web = mk_policy(Kind::MeshTLSAuthentication, json!({"identities": ["*"]}));
        graph.policies.insert(id.parse().unwrap(), web);
    });
    assert_eq!(found, [format!("policy_added {id}: ns shop, svc shop/cart, shop/deployment/cart, {id}")]);
    let unused = after(|graph| {
        let other = mk_policy(Kind::MeshTLSAuthentication, json!({"identities": ["*"]}));
        graph.policies.insert("meshtlsauthentication/shop/other".parse().unwrap(), other);
    });
    assert_eq!(
        unused,
        ["policy_added meshtlsauthentication/shop/other: ns shop, meshtlsauthentication/shop/other"]
    );
}

#[test]
fn a_route_is_news_for_the_service_or_server_that_it_hangs_on() {
    let route = |parent: Value| {
        after(|graph| {
            let route = mk_policy(Kind::LinkerdHTTPRoute, json!({"parentRefs": [parent]}));
            graph.policies.insert("httproute.policy.linkerd.io/shop/get".parse().unwrap(), route);
        })
    };
    let id = "httproute.policy.linkerd.io/shop/get";
    assert_eq!(
        route(json!({"kind": "Service", "namespace": "data", "name": "db"})),
        [format!("policy_added {id}: ns data, ns shop, svc data/db, {id}")]
    );
    assert_eq!(
        route(json!({"kind": "server", "name": "cart"})),
        [format!("policy_added {id}: ns shop, svc shop/cart, shop/deployment/cart, {id}")]
    );
}

#[test]
fn what_controllers_write_into_a_status_is_no_news() {
    let metrics = Metrics::default();
    fn state<'a>(graph: &'a Graph, metrics: &'a Metrics) -> State<'a> {
        State { graph, metrics }
    }
    let old = mk_graph();
    let mut new = old.clone();
    let policy = new.auth_policies.get_mut("shop/web").unwrap();
    Arc::make_mut(policy).status = Arc::new(json!({"conditions": []}));
    assert_eq!(lines(&changes(state(&old, &metrics), state(&new, &metrics))), Vec::<String>::new());
    Arc::make_mut(new.auth_policies.get_mut("shop/web").unwrap()).spec = Arc::new(json!({}));
    let found = lines(&changes(state(&old, &metrics), state(&new, &metrics)));
    assert_eq!(
        found,
        ["policy_changed authorizationpolicy/shop/web: ns shop, svc shop/cart, shop/deployment/cart, \
          authorizationpolicy/shop/web"]
    );
}

#[test]
fn namespaces_and_workloads_that_come_and_go_are_membership() {
    let found = after(|graph| {
        graph.namespaces.insert("new".into(), Arc::new(Namespace::default()));
        graph.namespaces.remove("shop");
        graph.workloads.insert("new/job/once".parse().unwrap(), Arc::new(Workload::default()));
        graph.workloads.remove("shop/deployment/web");
    });
    assert_eq!(
        found,
        [
            "namespace_appeared new: ns new",
            "namespace_vanished shop: ns shop",
            "workload_appeared new/job/once: ns new, new/job/once",
            "workload_vanished shop/deployment/web: ns shop, shop/deployment/web",
        ]
    );
    for what in [What::NamespaceAppeared, What::WorkloadVanished] {
        assert!(what.is_membership());
    }
    assert!(!What::EdgeAppeared.is_membership());
}
