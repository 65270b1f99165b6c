//! Ten recorded proxies under known traffic: the edges must be the true ones. The recordings and the truth are in
//! `test/fixtures/linkerd-proxy/`; its README says how they were made.

use super::*;
use crate::{
    assemble::Cluster,
    fact::{Change, Fact, Pod, Proxy},
    feed::Position,
    index::Index,
    model::{Protocol, Tls},
    promql::{self, eval::Series},
    status::MetricsStatus,
    wire::{Limits, snapshot},
};
use std::{io::Read as _, sync::Arc};

macro_rules! recorded {
    ($($pod:literal),*) => {
        [$((
            $pod,
            include_bytes!(concat!("../../../test/fixtures/linkerd-proxy/", $pod, "-1.prom.gz")).as_slice(),
            include_bytes!(concat!("../../../test/fixtures/linkerd-proxy/", $pod, "-2.prom.gz")).as_slice(),
        )),*]
    };
}

/// File prefix, first and second capture of every recorded pod.
const PODS: [(&str, &[u8], &[u8]); 10] = recorded![
    "vote-bot",
    "web",
    "emoji-a",
    "emoji-b",
    "voting",
    "db",
    "intruder",
    "prometheus",
    "linkerd-identity",
    "linkerd-destination"
];

/// Namespace, pod, owner kind, owner, ServiceAccount and whether meshed, of every pod in the recordings.
const CLUSTER: [(&str, &str, &str, &str, &str, bool); 12] = [
    ("emojivoto", "vote-bot-6d7677bb68-9xk2l", "Deployment", "vote-bot", "default", true),
    ("emojivoto", "web-6f8b9d7c5-tz8hq", "Deployment", "web", "web", true),
    ("emojivoto", "emoji-5c9d8f7b64-4jw7n", "Deployment", "emoji", "emoji", true),
    ("emojivoto", "emoji-5c9d8f7b64-v6m9c", "Deployment", "emoji", "emoji", true),
    ("emojivoto", "voting-7b6c5d9f8d-hk3pz", "Deployment", "voting", "voting", true),
    ("emojivoto", "db-0", "StatefulSet", "db", "db", true),
    ("sandbox", "intruder-59c4bb7f9-r8d5s", "Deployment", "intruder", "intruder", true),
    ("linkerd-viz", "prometheus-5f7d8c9b6d-m4n2v", "Deployment", "prometheus", "prometheus", true),
    (
        "linkerd",
        "linkerd-identity-7d9c6b5f4c-x2k8p",
        "Deployment",
        "linkerd-identity",
        "linkerd-identity",
        true,
    ),
    (
        "linkerd",
        "linkerd-destination-6c8f7d9b58-qw4rt",
        "Deployment",
        "linkerd-destination",
        "linkerd-destination",
        true,
    ),
    ("legacy", "legacy-66b7c8d9f-n5t4k", "Deployment", "legacy", "default", false),
    ("legacy", "outsider-84d9f6c7b-2lq6x", "Deployment", "outsider", "default", false),
];

fn inflate(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// The series of all recorded pods with two samples 20 s apart, as a scraper would have them.
fn series() -> Vec<Series> {
    let targets: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../../test/fixtures/linkerd-proxy/targets.json")).unwrap();
    let mut all = Vec::new();
    for (pod, first, second) in PODS {
        let labels: Vec<(Text, Text)> = targets[pod]["labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap().into()))
            .collect();
        let before = promql::exposition::parse(&inflate(first), 0.0, &labels).unwrap();
        let after = promql::exposition::parse(&inflate(second), 20.0, &labels).unwrap();
        assert_eq!(before.len(), after.len(), "no series of {pod} was born or died between the captures");
        all.extend(before.into_iter().zip(after).map(|(mut before, after)| {
            assert_eq!((&before.metric, &before.labels), (&after.metric, &after.labels));
            before.samples.extend(after.samples);
            before
        }));
    }
    all
}

/// What the polls of a recording bring.
pub(crate) fn recorded_traffic() -> Traffic {
    read(&series())
}

fn read(series: &[Series]) -> Traffic {
    let mut traffic = Traffic::default();
    for query in promql::queries::all() {
        traffic.read(query.ask, &promql::eval::evaluate(&query, series));
    }
    traffic
}

fn index() -> Index {
    let mut index = Index::new(Cluster::default());
    for (namespace, pod, kind, owner, service_account, meshed) in CLUSTER {
        index.change(Change::Apply(Fact::Pod(Arc::new(Pod {
            key: Key::new(namespace, pod),
            owner: Some(OwnerRef { kind: kind.into(), name: owner.into() }),
            service_account: service_account.into(),
            ips: Vec::new(),
            labels: Default::default(),
            annotations: Default::default(),
            control_plane: meshed.then(|| "linkerd".into()),
            proxy: if meshed { Proxy::NativeSidecar } else { Proxy::Absent },
            ports: [].into(),
            probes: [].into(),
            ready: true,
            ended: false,
            host_network: false,
        }))));
    }
    index
}

fn recorded() -> Index {
    let mut index = index();
    index.traffic(&read(&series()), MetricsStatus { stale: false, ..MetricsStatus::default() }, 1_000, 0);
    index
}

/// `protocol tls rps success% denied/s` of an edge, rounded, `-` where unknown.
fn line(index: &Index, id: &str) -> String {
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
    let Some(edge) = index.graph().edges.get(id) else { return "no edge".to_owned() };
    let numbers = index.metrics().get(&id.parse().unwrap()).cloned().unwrap_or_default();
    let tls = match &edge.tls {
        Tls::Mutual => "mtls",
        Tls::No { reason } => reason,
        Tls::Unknown => "-",
    };
    let protocol = match edge.protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    format!(
        "{protocol} {tls} rps {} ok {} denied {}",
        number(numbers.rps),
        number(numbers.success_rate),
        number(numbers.denied)
    )
}

const UNMESHED: &str = "not_provided_by_service_discovery";

#[test]
fn every_true_edge_is_there_with_its_true_numbers_and_no_other_is() {
    let index = recorded();
    let emojivoto = |name: &str| format!("emojivoto/deployment/{name}");
    let (vote_bot, web) = (emojivoto("vote-bot"), emojivoto("web"));
    // What the applications themselves counted in the 20 s, as rates: see truth.json.
    let truth = [
        // 100 calls, of which 9 ended in 500 and 5 in 404.
        (format!("{vote_bot}->emojivoto/web-svc:80"), "http mtls rps 5.00 ok 0.91 denied 0.00".to_owned()),
        (format!("{vote_bot}->emojivoto/web-sp-svc:80"), "http mtls rps 1.00 ok 1.00 denied 0.00".to_owned()),
        (format!("{vote_bot}->emojivoto/front-svc:80"), "http mtls rps 2.00 ok 1.00 denied 0.00".to_owned()),
        (format!("{vote_bot}->emojivoto/web-svc-east:80"), "http mtls rps 0.50 ok 1.00 denied -".to_owned()),
        (format!("{web}->emojivoto/emoji-svc:8080"), "grpc mtls rps 5.00 ok 1.00 denied 0.00".to_owned()),
        // 40 calls, of which 6 ended in UNKNOWN and 1 in INTERNAL.
        (format!("{web}->emojivoto/voting-svc:8080"), "grpc mtls rps 2.00 ok 0.82 denied 0.00".to_owned()),
        (format!("{web}->legacy/legacy-svc:80"), format!("http {UNMESHED} rps 1.00 ok 0.90 denied -")),
        (format!("{web}->legacy/legacy-retry-svc:80"), format!("http {UNMESHED} rps 1.00 ok 1.00 denied -")),
        (
            format!("{web}->legacy/legacy-timeout-svc:80"),
            format!("http {UNMESHED} rps 0.50 ok 0.00 denied -"),
        ),
        (format!("{web}->legacy/legacy-abort-svc:80"), format!("http {UNMESHED} rps 0.25 ok 0.00 denied -")),
        (format!("{web}->legacy/dead-svc:80"), format!("http {UNMESHED} rps 0.20 ok 0.00 denied -")),
        (format!("{web}->emojivoto/ghost-svc:80"), "http - rps 0.20 ok 0.00 denied -".to_owned()),
        (format!("{web}->emojivoto/db-svc:5432"), "tcp mtls rps - ok - denied 0.00".to_owned()),
        (format!("{web}->external:203.0.113.10:80"), format!("http {UNMESHED} rps 1.00 ok 1.00 denied -")),
        (format!("{web}->external:203.0.113.10:443"), format!("tcp {UNMESHED} rps - ok - denied -")),
        (format!("{web}->external:198.51.100.20:80"), format!("http {UNMESHED} rps 0.50 ok 1.00 denied -")),
        (
            "sandbox/deployment/intruder->emojivoto/web-svc:80".to_owned(),
            "http mtls rps 1.00 ok 0.00 denied 1.00".to_owned(),
        ),
        (
            "sandbox/deployment/intruder->emojivoto/voting-svc:8080".to_owned(),
            "grpc mtls rps 0.50 ok 0.00 denied 0.50".to_owned(),
        ),
        (
            "sandbox/deployment/intruder->emojivoto/db-svc:5432".to_owned(),
            "tcp mtls rps - ok - denied 0.50".to_owned(),
        ),
        (
            "sandbox/deployment/intruder->emojivoto/deployment/emoji:8801".to_owned(),
            "http mtls rps 2.00 ok 1.00 denied 0.00".to_owned(),
        ),
        (
            "unmeshed:no_tls_from_remote->emojivoto/deployment/web:8080".to_owned(),
            "http no_tls_from_remote rps 1.00 ok 1.00 denied 0.00".to_owned(),
        ),
        (
            "unmeshed:no_tls_from_remote->emojivoto/deployment/voting:8080".to_owned(),
            "grpc no_tls_from_remote rps 0.25 ok 0.00 denied 0.25".to_owned(),
        ),
        (
            "unmeshed:application_tls->emojivoto/deployment/voting:8443".to_owned(),
            "tcp application_tls rps - ok - denied 0.00".to_owned(),
        ),
    ];
    for (id, expected) in &truth {
        assert_eq!(&line(&index, id), expected, "{id}");
    }
    // Scrapes of the admin port are calls too; two to four of each pod fell between the captures.
    let scrape = |id: &str| id.starts_with("linkerd-viz/deployment/prometheus->") && id.ends_with(":4191");
    let more: Vec<_> = index
        .graph()
        .edges
        .keys()
        .map(ToString::to_string)
        .filter(|id| !scrape(id) && !truth.iter().any(|(known, _)| known == id))
        .collect();
    assert_eq!(more, [""; 0], "edges nobody made");
    assert_eq!(
        index.graph().edges.keys().filter(|id| scrape(id.as_str())).count(),
        8,
        "nine workloads, and a pod that calls itself does not pass its proxy"
    );
}

fn numbers(index: &Index, id: &str) -> crate::metrics::EdgeMetrics {
    index.metrics().get(&id.parse().unwrap()).cloned().unwrap_or_default()
}

#[test]
fn a_split_route_shows_the_called_service_with_its_backends_and_no_edge_to_them() {
    let index = recorded();
    let front = &index.graph().edges["emojivoto/deployment/vote-bot->emojivoto/front-svc:80"];
    let backends: Vec<_> = front.backends.iter().map(ToString::to_string).collect();
    assert_eq!(backends, ["emojivoto/web-canary-svc", "emojivoto/web-svc"]);
    assert_eq!(front.workloads, ["emojivoto/deployment/web".parse().unwrap()]);
    // Quantiles of two backends do not add up to one of both.
    assert_eq!(numbers(&index, "emojivoto/deployment/vote-bot->emojivoto/front-svc:80").p50_ms, None);
    let east = &index.graph().edges["emojivoto/deployment/vote-bot->emojivoto/web-svc-east:80"];
    assert_eq!(east.target_cluster.as_deref(), Some("east"));
}

#[test]
fn raw_tcp_has_its_true_connections_and_bytes() {
    let index = recorded();
    let db = numbers(&index, "emojivoto/deployment/web->emojivoto/db-svc:5432");
    let rounded = |number: Option<f64>| number.map(|number| (number * 10.0).round() / 10.0);
    // 10 connections, 1280 bytes out and 5120 bytes in 20 s, and one pooled connection.
    assert_eq!(
        (rounded(db.tcp_opened), rounded(db.sent), rounded(db.received)),
        (Some(0.5), Some(64.0), Some(256.0))
    );
    assert!(db.tcp_open.is_some_and(|open| open >= 1.0));
    assert_eq!(*db.authorized_by, ["authorizationpolicy/db-web".into()]);
    // A denied connection looks healthy to its client: it is open, encrypted, and nothing ever comes back.
    let denied = numbers(&index, "sandbox/deployment/intruder->emojivoto/db-svc:5432");
    assert_eq!(
        (rounded(denied.denied), rounded(denied.allowed), rounded(denied.received)),
        (Some(0.5), Some(0.0), Some(0.0))
    );
}

#[test]
fn retries_and_unrouted_requests_are_counted_beside_the_calls() {
    let index = recorded();
    let retried = numbers(&index, "emojivoto/deployment/web->legacy/legacy-retry-svc:80");
    assert_eq!(retried.retries.map(|retries| (retries * 10.0).round()), Some(3.0), "6 retries in 20 s");
    let web = numbers(&index, "emojivoto/deployment/vote-bot->emojivoto/web-svc:80");
    // Two Services lead from vote-bot to this port; the 5 requests in 20 s are shared out by their rates.
    assert!(web.unrouted.is_some_and(|unrouted| unrouted > 0.1 && unrouted <= 0.25), "{:?}", web.unrouted);
    assert!(web.p50_ms.is_some() && web.p50_ms <= web.p99_ms);
}

#[test]
fn a_client_that_is_not_scraped_is_known_by_its_identity_and_counted_by_the_server() {
    let mut index = index();
    let without: Vec<_> =
        series().into_iter().filter(|one| !one.get("pod").starts_with("vote-bot")).collect();
    index.traffic(&read(&without), MetricsStatus::default(), 1_000, 0);
    let edge = &index.graph().edges["emojivoto/deployment/vote-bot->emojivoto/deployment/web:8080"];
    assert_eq!((edge.observed_by, edge.candidates.len()), (crate::model::ObservedBy::Server, 0));
    // 165 requests of vote-bot reached web, and 5 more no route matched.
    let rps = numbers(&index, "emojivoto/deployment/vote-bot->emojivoto/deployment/web:8080").rps;
    assert_eq!(rps.map(|rps| (rps * 20.0).round()), Some(170.0));
}

/// A client with one request that was answered long ago, or never, on a connection that moves `bytes` per second.
fn long_lived(answered: bool, bytes: f64) -> Vec<Series> {
    let labels: Vec<(Text, Text)> = [
        ("namespace", "emojivoto"),
        ("deployment", "web"),
        ("direction", "outbound"),
        ("peer", "dst"),
        ("authority", "feed-svc.emojivoto.svc.cluster.local:8080"),
        ("dst_namespace", "emojivoto"),
        ("dst_service", "feed-svc"),
        ("dst_deployment", "voting"),
        ("target_port", "8080"),
        ("tls", "true"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    let one = |metric: &str, last: f64, rate: f64| Series {
        metric: metric.into(),
        labels: labels.clone(),
        samples: vec![(0.0, last - 20.0 * rate), (20.0, last)],
    };
    let mut series = vec![one("request_total", 1.0, 0.0), one("tcp_open_connections", 1.0, 0.0)];
    series.push(one("tcp_read_bytes_total", 1e6, bytes));
    if answered {
        series.push(one("response_total", 1.0, 0.0));
    }
    series
}

#[test]
fn a_stream_that_never_ends_and_an_upgraded_connection_are_edges_and_an_idle_connection_is_none() {
    let edge = |answered, bytes| {
        let mut index = index();
        index.traffic(&read(&long_lived(answered, bytes)), MetricsStatus::default(), 1_000, 0);
        line(&index, "emojivoto/deployment/web->emojivoto/feed-svc:8080")
    };
    assert_eq!(edge(false, 5.0), "http mtls rps - ok - denied -", "a stream");
    assert_eq!(edge(false, 0.0), "http mtls rps - ok - denied -", "a stream on which nothing is said now");
    assert_eq!(edge(true, 500.0), "http mtls rps - ok - denied -", "an upgraded connection");
    assert_eq!(edge(true, 3.4), "no edge", "pings");
}

#[test]
fn once_its_client_is_scraped_an_edge_has_one_name() {
    let mut index = index();
    let all = series();
    let without: Vec<_> = all.iter().filter(|one| !one.get("pod").starts_with("vote-bot")).cloned().collect();
    index.traffic(&read(&without), MetricsStatus::default(), 1_000, 600_000);
    index.traffic(&read(&all), MetricsStatus::default(), 2_000, 600_000);
    assert!(
        !index.graph().edges.contains_key("emojivoto/deployment/vote-bot->emojivoto/deployment/web:8080")
    );
    assert!(index.graph().edges.contains_key("emojivoto/deployment/vote-bot->emojivoto/web-svc:80"));
}

#[test]
fn an_identity_that_two_workloads_share_names_both_as_candidates() {
    let mut index = index();
    let key = Key::new("emojivoto", "other-1");
    let Some(Fact::Pod(pod)) = index
        .facts()
        .get(crate::kind::Kind::Pod, &Key::new("emojivoto", "vote-bot-6d7677bb68-9xk2l"))
        .cloned()
    else {
        panic!("the cluster has this pod")
    };
    let owner = Some(OwnerRef { kind: "StatefulSet".into(), name: "other".into() });
    index.change(Change::Apply(Fact::Pod(Arc::new(Pod { key, owner, ..Pod::clone(&pod) }))));
    let without: Vec<_> =
        series().into_iter().filter(|one| !one.get("pod").starts_with("vote-bot")).collect();
    index.traffic(&read(&without), MetricsStatus::default(), 1_000, 0);
    let id = "identity:default.emojivoto.serviceaccount.identity.linkerd.cluster.local->emojivoto/deployment/web:8080";
    let candidates: Vec<_> = index.graph().edges[id].candidates.iter().map(ToString::to_string).collect();
    assert_eq!(candidates, ["emojivoto/deployment/vote-bot", "emojivoto/statefulset/other"]);
}

#[test]
fn an_identity_that_some_pods_of_a_workload_present_leads_to_it_while_its_account_is_replaced() {
    let mut index = index();
    let Some(Fact::Pod(pod)) = index
        .facts()
        .get(crate::kind::Kind::Pod, &Key::new("emojivoto", "vote-bot-6d7677bb68-9xk2l"))
        .cloned()
    else {
        panic!("the cluster has this pod")
    };
    // Before the other in order: the node has the identity of this one.
    let key = Key::new("emojivoto", "vote-bot-1-new");
    let service_account = "new".into();
    index.change(Change::Apply(Fact::Pod(Arc::new(Pod { key, service_account, ..Pod::clone(&pod) }))));
    let without: Vec<_> =
        series().into_iter().filter(|one| !one.get("pod").starts_with("vote-bot")).collect();
    index.traffic(&read(&without), MetricsStatus::default(), 1_000, 0);
    let node = &index.graph().workloads["emojivoto/deployment/vote-bot"];
    assert!(node.identity.as_ref().is_some_and(|identity| identity.starts_with("new.emojivoto.")));
    let edge = &index.graph().edges["emojivoto/deployment/vote-bot->emojivoto/deployment/web:8080"];
    assert!(edge.client_identity.as_ref().is_some_and(|identity| identity.starts_with("default.emojivoto.")));
}

#[test]
fn edges_are_those_of_the_moment_of_the_survey_and_changes_meanwhile_stay() {
    let (mut index, recorded, traffic) = (index(), recorded(), read(&series()));
    let survey = index.survey(&traffic);
    index.change(Change::Reset(crate::kind::Kind::Pod, Vec::new()));
    assert!(index.refresh().workloads.is_empty());
    let edges = survey.edges(&traffic, 1_000, 0);
    index.polled(edges, MetricsStatus { stale: false, ..MetricsStatus::default() });
    assert_eq!(index.graph().edges, recorded.graph().edges);
    assert_eq!(index.metrics(), recorded.metrics());
    assert!(index.graph().workloads.is_empty() && !index.graph().edges.is_empty());
    // The control arm: surveyed after the change, the poll makes other edges.
    let late = index.survey(&traffic).edges(&traffic, 1_000, 0);
    assert_ne!(late.edges, recorded.graph().edges);
}

#[test]
fn a_poll_that_brings_nothing_new_leaves_every_edge_the_same_value() {
    let mut index = recorded();
    let before = index.graph().clone();
    index.traffic(&read(&series()), MetricsStatus::default(), 2_000, 0);
    for (id, edge) in &before.edges {
        assert!(Arc::ptr_eq(edge, &index.graph().edges[id]), "{id}");
    }
    assert_eq!(index.graph().edges.len(), before.edges.len());
    assert!(index.metrics().rows.iter().all(|numbers| numbers.last_seen_ms == Some(2_000)));
}

#[test]
fn an_edge_without_traffic_stays_without_numbers_for_a_while_and_then_goes() {
    let mut index = recorded();
    let id = "emojivoto/deployment/web->emojivoto/db-svc:5432";
    index.traffic(&Traffic::default(), MetricsStatus::default(), 61_000, 60_000);
    assert!(index.graph().edges.contains_key(id));
    let kept = crate::metrics::EdgeMetrics { last_seen_ms: Some(1_000), ..Default::default() };
    assert_eq!(numbers(&index, id), kept);
    index.traffic(&Traffic::default(), MetricsStatus::default(), 61_001, 60_000);
    assert!(index.graph().edges.is_empty() && index.graph().externals.is_empty());
}

#[test]
fn meshed_pods_without_series_and_pods_with_forged_labels_are_noticed() {
    let mut index = index();
    let mut forged = series();
    for one in forged.iter_mut().filter(|one| one.get("pod").starts_with("intruder")) {
        for (name, value) in &mut one.labels {
            if &**name == "deployment" {
                *value = "web".into();
            }
        }
    }
    forged.retain(|one| !one.get("pod").starts_with("db-"));
    let coverage = read(&forged).coverage(index.facts());
    assert_eq!(coverage.unscraped, [Key::new("emojivoto", "db-0")]);
    assert_eq!(coverage.mislabelled, [Key::new("sandbox", "intruder-59c4bb7f9-r8d5s")]);
    index.refresh();
}

#[test]
fn labels_that_are_no_names_make_no_edge_that_replicas_could_not_read() {
    let long = "a".repeat(600);
    let recorded = series();
    for forged in ["a/b", "é", "->", &long] {
        for label in ["deployment", "dst_namespace", "dst_service", "client_id"] {
            let mut series = recorded.clone();
            for one in &mut series {
                one.labels
                    .iter_mut()
                    .filter(|(name, _)| **name == *label)
                    .for_each(|(_, value)| *value = forged.into());
            }
            let mut index = index();
            index.traffic(&read(&series), MetricsStatus::default(), 1_000, 60_000);
            let bytes = snapshot::encode(Position::default(), 1_000, index.graph());
            let back = snapshot::decode(&bytes, Limits::SNAPSHOT).unwrap();
            assert_eq!(back.graph, *index.graph(), "{label}={forged}");
        }
    }
}
