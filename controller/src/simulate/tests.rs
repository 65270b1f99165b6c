use super::*;
use crate::{
    graph::{
        assemble::Cluster,
        fact::{Fact, Proxy},
        id::{Destination, Text},
        index::Index,
        model::{Meshed, Protocol, Tls},
        promql::{
            eval::{Series, evaluate},
            exposition,
        },
    },
    prometheus::{MetricsSource, Poll},
    watch::Message,
};
use std::{collections::BTreeSet, io::Read as _, time::Duration};
use tokio::sync::mpsc;

fn simulation(services: usize, seed: u64) -> Simulation {
    Simulation::new(Options { services, seed })
}

/// An index with everything the simulation has now.
fn index_of(simulation: &Simulation) -> Index {
    let mut index = Index::new(Cluster::default());
    for (kind, object) in simulation.objects() {
        let fact = fact_from_value(kind, &object).unwrap_or_else(|error| panic!("{kind}: {error}: {object}"));
        index.change(Change::Apply(fact));
    }
    poll(&mut index, simulation);
    index
}

fn apply(index: &mut Index, events: Vec<Event>) {
    for event in events {
        index.change(event.change().unwrap());
    }
}

/// Edges without traffic go at once.
fn poll(index: &mut Index, simulation: &Simulation) {
    let now_ms = i64::try_from(simulation.second).unwrap() * 1_000;
    let (traffic, status) = simulation.poll(now_ms);
    index.traffic(&traffic, status, now_ms, 0);
}

/// Id, protocol, mutual TLS and whether denied, of every edge.
type Lines = BTreeSet<(String, String, bool, bool)>;

fn intended(simulation: &Simulation) -> Lines {
    let line = |(id, edge): (EdgeId, Intended)| {
        (id.to_string(), format!("{:?}", edge.protocol), edge.mutual, edge.denied)
    };
    simulation.truth().into_iter().map(line).collect()
}

fn assembled(index: &Index) -> Lines {
    let line = |(id, numbers): (&EdgeId, &crate::graph::metrics::EdgeMetrics)| {
        let edge = &index.graph().edges[id];
        let denied = numbers.denied.is_some_and(|denied| denied > 0.0) && numbers.allowed == Some(0.0);
        (id.to_string(), format!("{:?}", edge.protocol), edge.tls == Tls::Mutual, denied)
    };
    index.metrics().iter().map(line).collect()
}

fn assert_as_intended(index: &Index, simulation: &Simulation) {
    let (assembled, intended) = (assembled(index), intended(simulation));
    let missing: Vec<_> = intended.difference(&assembled).collect();
    let made_up: Vec<_> = assembled.difference(&intended).collect();
    assert!(missing.is_empty() && made_up.is_empty(), "missing: {missing:#?}\nmade up: {made_up:#?}");
}

#[test]
fn every_object_is_read_as_a_fact_of_its_kind_and_every_kind_of_policy_is_there() {
    for services in [0, 200] {
        let simulation = simulation(services, 1);
        let index = index_of(&simulation);
        let kinds: BTreeSet<_> = simulation.objects().into_iter().map(|(kind, _)| kind).collect();
        for kind in [
            Kind::ReplicaSet,
            Kind::Job,
            Kind::Server,
            Kind::AuthorizationPolicy,
            Kind::MeshTLSAuthentication,
            Kind::NetworkAuthentication,
            Kind::EgressNetwork,
            Kind::LinkerdHTTPRoute,
            Kind::GatewayHTTPRoute,
            Kind::GRPCRoute,
            Kind::ServiceProfile,
        ] {
            assert!(kinds.contains(&kind), "{kind}");
        }
        let pods = index.facts().all(Kind::Pod).count();
        let meshed = index.facts().all(Kind::Pod).filter(|fact| {
            matches!(fact, Fact::Pod(pod) if pod.proxy == Proxy::NativeSidecar && pod.control_plane.is_some() && pod.ready)
        });
        assert_eq!(meshed.count(), simulation.scraped_pods().len());
        assert!(simulation.scraped_pods().len() < pods, "some pods are not meshed");
        assert_eq!(index.graph().services.len(), simulation.mesh.services.len().max(services));
    }
}

#[test]
fn the_graph_has_exactly_the_edges_the_mesh_intends() {
    for (services, seed) in [(0, 0), (200, 1), (200, 2), (200, 3)] {
        let simulation = simulation(services, seed);
        assert_as_intended(&index_of(&simulation), &simulation);
    }
}

#[test]
fn rates_failures_and_latencies_are_those_the_mesh_intends() {
    let simulation = simulation(200, 4).calm();
    let index = index_of(&simulation);
    let (mut rates, mut failures) = (0, 0);
    for (id, edge) in simulation.truth() {
        let numbers = index.metrics().get(&id).unwrap();
        let flow = if edge.protocol == Protocol::Tcp { numbers.tcp_opened } else { numbers.rps };
        // Within the window the rate moves, and each pair of pods may have a call under way.
        let (flow, slack) = (flow.unwrap(), 0.35 * edge.rps + 1.0);
        assert!((flow - edge.rps).abs() <= slack, "{id}: {flow} is far from {}", edge.rps);
        rates += 1;
        if let Some(success) = numbers.success_rate.filter(|_| !edge.denied && edge.rps > 5.0) {
            assert!((1.0 - success - edge.failing).abs() < 0.1, "{id}: {success}, but {} fail", edge.failing);
            failures += usize::from(edge.failing > 0.05 && success < 1.0);
        }
        if edge.denied && edge.protocol != Protocol::Tcp {
            assert_eq!(numbers.success_rate, Some(0.0), "{id}");
        }
    }
    assert!(rates > 400 && failures > 5, "{rates} rates, {failures} with failures");
}

#[test]
fn the_built_in_mesh_shows_what_a_newcomer_should_see() {
    let index = index_of(&simulation(0, 0));
    let graph = index.graph();
    for id in [
        "emojivoto/deployment/vote-bot->emojivoto/web-svc:80",
        "emojivoto/deployment/web->emojivoto/voting-svc:8080",
        "booksapp/cronjob/catalog-export->booksapp/books:7002",
        "booksapp/deployment/books->booksapp/mysql:3306",
        "booksapp/deployment/books->legacy/billing:80",
        "booksapp/deployment/webapp->external:203.0.113.10:443",
        "unmeshed:no_tls_from_remote->booksapp/deployment/webapp:7000",
        "sandbox/deployment/intruder->emojivoto/voting-svc:8080",
        "linkerd-viz/deployment/prometheus->booksapp/statefulset/mysql:4191",
    ] {
        assert!(graph.edges.contains_key(id), "{id} of {:#?}", graph.edges.keys().collect::<Vec<_>>());
    }
    let split = &graph.edges["booksapp/deployment/webapp->booksapp/books:7002"];
    assert_eq!(split.backends.len(), 2);
    let external = &graph.externals["203.0.113.10:443"];
    assert_eq!(external.egress_network, Some("booksapp/partner-api".parse().unwrap()));
    assert_eq!(graph.externals["198.51.100.20:80"].egress_network, None);
    assert_eq!(graph.workloads["legacy/deployment/billing"].meshed, Meshed::None);
    let web = &graph.workloads["emojivoto/deployment/web"];
    assert_eq!(web.identity.as_deref(), Some("web.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
    assert_eq!(web.services, ["emojivoto/web-svc".parse().unwrap()]);
    assert_eq!(web.servers, ["server/emojivoto/web-http".parse().unwrap()]);
    let numbers =
        index.metrics().get(&"emojivoto/deployment/web->emojivoto/voting-svc:8080".parse().unwrap());
    assert_eq!(*numbers.unwrap().authorized_by, [Text::from("authorizationpolicy/voting-web")]);
}

#[test]
fn the_same_seed_lives_the_same_life_and_another_seed_another() {
    let live = |seed| {
        let mut simulation = simulation(40, seed);
        let mut index = index_of(&simulation);
        let mut incidents = Vec::new();
        for _ in 0..30 {
            apply(&mut index, simulation.advance(10));
            incidents.extend(simulation.incidents());
        }
        poll(&mut index, &simulation);
        (index.graph().clone(), index.metrics().clone(), incidents)
    };
    let (graph, metrics, incidents) = live(11);
    assert!(!incidents.is_empty(), "something goes wrong within five minutes");
    assert_eq!((graph.clone(), metrics, incidents), live(11));
    assert_ne!(graph, live(12).0);
}

#[test]
fn it_does_not_matter_in_which_steps_time_passes() {
    let (mut one, mut many) = (simulation(0, 5), simulation(0, 5));
    let at_once = one.advance(120);
    let in_steps: Vec<_> = (0..120).flat_map(|_| many.advance(1)).collect();
    assert_eq!(at_once, in_steps);
    assert_eq!(one.poll(0), many.poll(0));
}

#[test]
fn traffic_rises_and_falls() {
    let mut simulation = simulation(0, 0).calm();
    let id = "emojivoto/deployment/vote-bot->emojivoto/web-svc:80".parse().unwrap();
    let mut rates = Vec::new();
    let mut index = index_of(&simulation);
    for _ in 0..18 {
        simulation.advance(10);
        poll(&mut index, &simulation);
        rates.extend(index.metrics().get(&id).and_then(|numbers| numbers.rps));
    }
    let (low, high) =
        rates.iter().fold((f64::MAX, 0.0), |(low, high): (f64, f64), rate| (low.min(*rate), high.max(*rate)));
    assert!(rates.len() == 18 && low < 4.5 && high > 7.5, "{rates:?}");
}

/// What is to be seen of an incident of this kind in the index, as one number that is 0 without it.
fn seen(kind: IncidentKind, index: &Index, calm: &Index) -> usize {
    let both = || index.metrics().iter().filter_map(|(id, now)| Some((now, calm.metrics().get(id)?)));
    match kind {
        IncidentKind::Failing => both()
            .filter(|(now, then)| {
                now.success_rate
                    .zip(then.success_rate)
                    .is_some_and(|(now, then)| now < then - 0.12 && then > 0.5)
            })
            .count(),
        IncidentKind::Slow => both()
            .filter(|(now, then)| now.p50_ms.zip(then.p50_ms).is_some_and(|(now, then)| now > then * 1.5))
            .count(),
        IncidentKind::Denied => {
            both().filter(|(now, then)| now.denied > Some(0.0) && then.denied.unwrap_or(0.0) <= 0.0).count()
        }
        IncidentKind::Scaled => {
            let pods =
                |index: &Index| index.graph().workloads.values().map(|one| one.pods as usize).sum::<usize>();
            pods(index) - pods(calm)
        }
        IncidentKind::Visited => {
            index.graph().edges.keys().filter(|id| !calm.graph().edges.contains_key(*id)).count()
        }
    }
}

#[test]
fn every_kind_of_incident_shows_and_goes_away() {
    for kind in INCIDENTS {
        for seed in 0..2 {
            let mut simulation = simulation(40, seed).calm();
            let calm = index_of(&simulation);
            let mut index = index_of(&simulation);
            let before = simulation.objects();

            let events = simulation.begin(kind, 40).unwrap_or_else(|| panic!("{kind:?} finds somebody"));
            assert_eq!(simulation.incidents().len(), 1);
            apply(&mut index, events);
            apply(&mut index, simulation.advance(30));
            poll(&mut index, &simulation);
            let what = simulation.incidents();
            assert!(seen(kind, &index, &calm) > 0, "{what:?} is not to be seen");
            assert_as_intended(&index, &simulation);

            apply(&mut index, simulation.advance(30));
            poll(&mut index, &simulation);
            assert_eq!(simulation.incidents(), [""; 0]);
            assert_eq!(seen(kind, &index, &calm), 0, "{what:?} is still to be seen");
            assert_as_intended(&index, &simulation);
            assert_eq!(simulation.objects(), before, "{what:?} left something behind");
            assert_eq!(index.graph(), index_of(&simulation).graph(), "the events tell all there is to tell");
        }
    }
}

#[test]
fn a_long_life_with_incidents_never_leaves_the_truth() {
    let mut simulation = simulation(40, 3);
    let mut index = index_of(&simulation);
    let mut checked = 0;
    for _ in 0..40 {
        let before = simulation.incidents();
        apply(&mut index, simulation.advance(20));
        poll(&mut index, &simulation);
        // A change within the window shows both states.
        if simulation.incidents() == before
            && simulation.incidents.iter().all(|one| one.until_s > simulation.second)
        {
            assert_as_intended(&index, &simulation);
            checked += 1;
        }
    }
    assert!(checked > 8, "{checked}");
}

/// Every series that a scraper would read from the bodies of all proxies in the next `KEPT` scrapes.
fn scraped(simulation: &mut Simulation) -> Vec<Series> {
    type Identity = (Text, Vec<(Text, Text)>);
    let mut all: BTreeMap<Identity, Vec<(f64, f64)>> = BTreeMap::new();
    for _ in 0..proxy::KEPT {
        simulation.advance(SCRAPE_S);
        let now = simulation.second as f64;
        for (namespace, pod) in simulation.scraped_pods() {
            let text = simulation.exposition(&namespace, &pod).unwrap();
            let workloads = &simulation.mesh.workloads;
            let found =
                workloads.iter().flat_map(|workload| &workload.pods).find(|one| one.name == pod).unwrap();
            let target = &simulation.network.proxy(found.id).unwrap().target;
            for mut one in exposition::parse(&text, now, target).unwrap() {
                one.labels.sort();
                all.entry((one.metric, one.labels)).or_default().extend(one.samples);
            }
        }
    }
    all.into_iter().map(|((metric, labels), samples)| Series { metric, labels, samples }).collect()
}

#[test]
fn the_text_of_the_proxies_gives_the_same_answers_as_the_series_that_are_kept() {
    for services in [0, 40] {
        let mut simulation = simulation(services, 9).calm();
        let series = scraped(&mut simulation);
        let samples = simulation.network.samples();
        for query in queries::all() {
            let rows = |answer: crate::graph::promql::answer::Answer<'_>| -> BTreeMap<String, f64> {
                let line = |row: crate::graph::promql::answer::Row<'_>| {
                    let mut labels: Vec<_> =
                        row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    labels.sort();
                    (labels.join(","), row.value)
                };
                answer.rows.into_iter().map(line).collect()
            };
            let (text, kept) = (rows(evaluate(&query, &series)), rows(samples.evaluate(&query)));
            assert!(
                !text.is_empty()
                    || matches!(
                        query.ask,
                        crate::graph::promql::Ask::HttpRetries
                            | crate::graph::promql::Ask::GrpcRetries
                            | crate::graph::promql::Ask::Unrouted
                    ),
                "{:?}",
                query.ask
            );
            assert_eq!(text.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>(), "{:?}", query.ask);
            for (labels, value) in &text {
                assert!(
                    (value - kept[labels]).abs() < 1e-6,
                    "{:?} {labels}: {value} {}",
                    query.ask,
                    kept[labels]
                );
            }
        }
    }
}

macro_rules! recorded {
    ($($pod:literal),*) => {
        [$(include_bytes!(concat!("../../../test/fixtures/linkerd-proxy/", $pod, "-1.prom.gz")).as_slice()),*]
    };
}

/// Metric name and label names of every series of a body, empty labels included.
fn shapes(body: &str) -> BTreeSet<String> {
    let shape = |line: &str| {
        let (name, labels) =
            line.split_once('{').map_or((line.split(' ').next().unwrap(), ""), |(name, rest)| (name, rest));
        let mut names: Vec<_> =
            labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name).collect();
        names.sort_unstable();
        format!("{name} {names:?}")
    };
    body.lines().filter(|line| !line.starts_with('#')).map(shape).collect()
}

#[test]
fn every_series_has_the_name_and_the_labels_of_one_that_a_real_proxy_gave() {
    let mut known = BTreeSet::new();
    for body in recorded![
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
    ] {
        let mut text = String::new();
        flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
        known.extend(shapes(&text));
    }
    let mut simulation = simulation(0, 0);
    simulation.advance(300);
    let mut made = BTreeSet::new();
    for (namespace, pod) in simulation.scraped_pods() {
        let text = simulation.exposition(&namespace, &pod).unwrap();
        // Nobody called a CronJob's pod in the recordings; it has one label where a StatefulSet's pod has another.
        made.extend(shapes(&text.replace("dst_cronjob=", "dst_statefulset=")));
    }
    let unknown: Vec<_> = made.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(made.len() > 40, "{}", made.len());
}

#[test]
fn pods_without_a_proxy_and_pods_that_are_not_there_have_no_metrics() {
    let simulation = simulation(0, 0);
    let billing = simulation.mesh.workloads.iter().find(|workload| workload.name == "billing").unwrap();
    assert_eq!(simulation.exposition("legacy", &billing.pods[0].name), None);
    assert_eq!(simulation.exposition("emojivoto", "nobody"), None);
}

#[tokio::test(start_paused = true)]
async fn it_feeds_the_index_as_the_watches_and_prometheus_do() {
    let (sender, mut messages) = mpsc::channel(64);
    let mut source = start(Options { services: 0, seed: 1 }, sender);
    let mut index = Index::new(Cluster::default());
    let take_in = |index: &mut Index, message| match message {
        Message::Change(change) => index.change(change),
        Message::State(kind, state) => index.watch_state(kind, state),
    };
    while !index.graph().status.synced() {
        let message = messages.recv().await.unwrap();
        take_in(&mut index, message);
    }
    let Poll::Answered { traffic, status } = source.poll(1_000).await else { panic!("numbers") };
    assert_eq!((status.stale, status.as_of_ms, status.window_s), (false, Some(1_000), 15));
    assert_eq!(traffic.coverage(index.facts()), Default::default());
    index.traffic(&traffic, status, 1_000, 0);
    assert!(index.graph().edges.values().any(|edge| matches!(edge.dst, Destination::External(_))));

    // Sooner or later an incident changes an object.
    let mut changes = 0;
    tokio::time::timeout(Duration::from_secs(3600), async {
        while changes < 4 {
            take_in(&mut index, messages.recv().await.unwrap());
            changes += 1;
        }
    })
    .await
    .unwrap();
    drop(messages);
}
