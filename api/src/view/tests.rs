use super::*;
use linkerd_mcp_graph::{
    delta::{apply, diff},
    id::{EdgeId, ServiceId},
    metrics::EdgeMetrics,
    model::{Edge, Namespace, ObservedBy, Protocol, Service, Tls, Workload},
    query::edges::{self, Numbered, Rank, Trouble},
    status::MetricsStatus,
};
use prometheus_client::registry::Registry;

const NAMESPACES: [&str; 3] = ["shop", "data", "edge"];
const WAYS: [(Format, Detail); 3] =
    [(Format::Protobuf, Detail::Full), (Format::Protobuf, Detail::Edges), (Format::Json, Detail::Summary)];

/// Some of the calls between a few workloads: which, depends on `seed`.
fn mk_graph(seed: usize) -> Graph {
    let mut graph = Graph::default();
    for namespace in NAMESPACES {
        graph.namespaces.insert(namespace.into(), Arc::new(Namespace::default()));
    }
    let names: Vec<(&str, usize)> = NAMESPACES.iter().flat_map(|ns| (0..4).map(|n| (*ns, n))).collect();
    for (namespace, n) in &names {
        let workload = Workload { pods: 1 + u32::try_from(seed % 3).unwrap(), ..Workload::default() };
        graph.workloads.insert(format!("{namespace}/deployment/w{n}").parse().unwrap(), Arc::new(workload));
        let service = Service {
            workloads: vec![format!("{namespace}/deployment/w{n}").parse().unwrap()],
            ..Service::default()
        };
        graph.services.insert(ServiceId::new(namespace, &format!("w{n}")), Arc::new(service));
    }
    for (from, (namespace, n)) in names.iter().enumerate() {
        for (to, (other, m)) in
            names.iter().enumerate().filter(|(to, _)| (from * 7 + to * 5 + seed).is_multiple_of(3))
        {
            let (src, dst) = (format!("{namespace}/deployment/w{n}"), format!("{other}/w{m}:80"));
            let edge = Edge {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                protocol: Protocol::Http,
                tls: Tls::Mutual,
                client_identity: None,
                server_identities: Vec::new(),
                // Sometimes another namespace answers.
                workloads: vec![format!("{}/deployment/w{m}", names[(to + seed) % 12].0).parse().unwrap()],
                backends: Vec::new(),
                observed_by: ObservedBy::Client,
                candidates: Vec::new(),
                target_cluster: (from == to).then(|| "west".into()),
            };
            graph.edges.insert(format!("{src}->{dst}").parse().unwrap(), Arc::new(edge));
        }
    }
    graph
}

/// Numbers of most edges of `graph`, and of some that are not in it.
fn mk_metrics(graph: &Graph, seed: usize) -> Metrics {
    let gone: EdgeId = "data/deployment/gone->shop/w1:80".parse().unwrap();
    let ids = graph.edges.keys().cloned().chain([gone]).enumerate();
    let known = ids.filter(|(at, _)| !(at + seed).is_multiple_of(5)).map(|(at, id)| {
        let rps = Some((at * 37 + seed) as f64 / 7.0);
        (id, EdgeMetrics { rps, success_rate: Some(0.3), ..EdgeMetrics::default() })
    });
    Metrics::new(MetricsStatus::default(), known.collect())
}

fn mk_view(graph: &Arc<Graph>, metrics: &Arc<Metrics>, index: Index) -> Arc<View> {
    Arc::new(View::new(graph.clone(), metrics.clone(), Position { epoch: 1, seq: 1 }, 0, index))
}

/// Everything that is asked of a view by namespace: twice as it is shared, and encoded anew from all there is to know.
async fn compare(view: &Arc<View>, metrics: &ApiMetrics) -> Vec<Bytes> {
    let mut all = Vec::new();
    for namespace in NAMESPACES {
        for (format, detail) in WAYS {
            let shared = view.body_of_namespace(namespace, format, detail, metrics).await;
            let again = view.body_of_namespace(namespace, format, detail, metrics).await;
            assert_eq!(shared.as_ptr(), again.as_ptr(), "nobody encodes it a second time");
            let fresh = mk_view(&view.graph, &view.metrics, Index::of(&view.graph));
            let part = Part::of_namespace(&fresh.graph, &fresh.index, namespace);
            assert_eq!(shared, fresh.encode(part, format, detail), "{namespace} {format:?} {detail:?}");
            all.push(shared);
        }
    }
    all
}

#[tokio::test]
async fn what_namespaces_share_is_what_would_be_encoded_anew_whatever_changes() {
    let metrics = ApiMetrics::register(&mut Registry::default());
    let mut graph = Arc::new(mk_graph(0));
    let mut numbers = Arc::new(mk_metrics(&graph, 0));
    let mut index = Index::of(&graph);
    let mut before = Vec::new();
    for step in 1..12 {
        if step % 3 == 0 {
            numbers = Arc::new(mk_metrics(&graph, step));
        } else {
            let change = diff(&graph, &mk_graph(step));
            index.apply(&graph, &change);
            graph = Arc::new(apply(&graph, &change).unwrap());
        }
        let view = mk_view(&graph, &numbers, index.clone());
        let all = compare(&view, &metrics).await;
        assert_ne!(all, before, "every change is seen");
        before = all;
        let own = Arc::new(BTreeSet::from([Text::from("shop")]));
        let limited = view.only(&own);
        let all = compare(&limited, &metrics).await;
        assert_ne!(all, before, "one who sees less gets less");
    }
}

#[tokio::test]
async fn callers_who_see_other_namespaces_never_get_each_others_answers() {
    let metrics = ApiMetrics::register(&mut Registry::default());
    let graph = Arc::new(mk_graph(1));
    let view = mk_view(&graph, &Arc::new(mk_metrics(&graph, 1)), Index::of(&graph));
    let (format, detail) = WAYS[2];
    let whole = view.body_of_namespace("data", format, detail, &metrics).await;
    let mut seen = vec![whole];
    for namespaces in [&["shop"][..], &["data"], &["edge", "shop"]] {
        let limited = view.only(&Arc::new(namespaces.iter().map(|name| Text::from(*name)).collect()));
        let body = limited.body_of_namespace("data", format, detail, &metrics).await;
        let sees = |namespace: &str| namespaces.contains(&namespace);
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(text.contains("\"data/deployment/w0\":{"), sees("data"), "{namespaces:?}: {text}");
        let between = |(id, edge): (&EdgeId, &Arc<Edge>)| {
            let ends = [edge.src.namespace(), edge.dst.namespace()].map(Option::unwrap);
            (id.to_string(), ends.contains(&"data"), ends.into_iter().any(sees))
        };
        for (id, here, may) in graph.edges.iter().map(between) {
            assert_eq!(text.contains(&format!("{id:?}:{{")), here && may, "{namespaces:?}: {id}");
        }
        assert!(!seen.contains(&body), "{namespaces:?}");
        seen.push(body);
    }
}

#[tokio::test]
async fn edges_that_come_first_are_those_that_looking_at_all_of_them_finds() {
    let graph = Arc::new(mk_graph(1));
    let all = [None, Some(Trouble::Unmeshed), Some(Trouble::Failing { below: 0.5 }), Some(Trouble::Denied)];
    for seed in 0..3 {
        let numbers = Arc::new(mk_metrics(&graph, seed));
        let view = mk_view(&graph, &numbers, Index::of(&graph));
        let shop = view.only(&Arc::new(BTreeSet::from([Text::from("shop")])));
        for (view, only, by) in
            [view, shop].iter().flat_map(|view| all.map(|only| (view, only))).flat_map(|(view, only)| {
                [Rank::Rps, Rank::ErrorRate, Rank::LatencyP99].map(|by| (view, only, by))
            })
        {
            let mut wanted: Vec<Numbered<'_>> = edges::with_numbers(&view.graph, &view.metrics)
                .filter(|((_, edge), row)| only.is_none_or(|only| edges::has(only, &view.graph, edge, *row)))
                .collect();
            wanted.sort_by(|((a, _), x), ((b, _), y)| {
                let value = |row: &Option<&EdgeMetrics>| row.and_then(|row| by.of(row)).unwrap_or(-1.0);
                value(y).total_cmp(&value(x)).then_with(|| a.cmp(b))
            });
            let list = view.ranked(ranked::Order { only, by });
            assert_eq!((list.total, list.first()), (wanted.len(), wanted), "{only:?} {by:?}");
            let again = view.ranked(ranked::Order { only, by });
            assert!(Arc::ptr_eq(&list, &again), "nobody looks a second time while few orders are asked for");
        }
    }
}
