use super::*;

fn mk() -> Subscriptions {
    Subscriptions::new(Gauge::default())
}

fn caller(name: &str) -> Caller {
    Caller(name.into())
}

fn uris(from: usize, count: usize) -> BTreeSet<Topic> {
    (from..from + count).map(|at| Topic::Updated(Uri::Namespace(format!("n{at}").into()))).collect()
}

#[test]
fn only_uris_of_ours_are_accepted_and_not_more_than_so_many() {
    let mut wanted = SubscriptionFilter::new();
    wanted.tools_list_changed = Some(true);
    wanted.prompts_list_changed = Some(true);
    wanted.resources_list_changed = Some(true);
    let mut uris: Vec<String> = vec!["file:///etc/passwd".to_owned(), "mesh://none".to_owned()];
    uris.extend((0..MAX_TOPICS + 10).map(|at| format!("mesh://namespaces/n{at}")));
    wanted.resource_subscriptions = Some(uris);
    let accepted = accepted(&wanted);
    assert_eq!((accepted.tools_list_changed, accepted.prompts_list_changed), (None, None));
    assert_eq!(accepted.resources_list_changed, Some(true));
    let uris = accepted.resource_subscriptions.clone().unwrap();
    assert_eq!((uris.len(), uris[0].as_str()), (MAX_TOPICS, "mesh://namespaces/n0"));
    assert_eq!(topics(&accepted).len(), MAX_TOPICS + 1);
}

#[test]
fn one_caller_cannot_take_all_places_and_gives_them_back() {
    let (subscriptions, greedy) = (mk(), caller("greedy"));
    let places: Vec<Place> =
        (0..MAX_OF_CALLER).map(|at| subscriptions.open(&greedy, &Scope::All, uris(at, 1)).unwrap()).collect();
    assert_eq!(subscriptions.open(&greedy, &Scope::All, uris(0, 1)).unwrap_err(), TooMany);
    let other = subscriptions.open(&caller("other"), &Scope::All, uris(0, 1));
    assert!(other.is_ok());
    assert_eq!(subscriptions.0.gauge.get(), 101);
    drop(places);
    assert_eq!(subscriptions.0.gauge.get(), 1);
    assert!(subscriptions.open(&greedy, &Scope::All, uris(0, 1)).is_ok());
    drop(other);
    let table = subscriptions.0.table.lock();
    assert!(table.subscribers.is_empty() && table.watched.is_empty() && table.sessions.is_empty());
}

#[test]
fn topics_are_counted_whoever_has_how_many_subscriptions() {
    let subscriptions = mk();
    let many = MAX_TOPICS_OF_CALLER / 4;
    let _places: Vec<Place> = (0..4)
        .map(|at| subscriptions.open(&caller("one"), &Scope::All, uris(at * many, many)).unwrap())
        .collect();
    assert_eq!(subscriptions.open(&caller("one"), &Scope::All, uris(0, 1)).unwrap_err(), TooMany);
    let mut others = Vec::new();
    let refused = (0..100).find_map(|at| {
        let place =
            subscriptions.open(&caller(&format!("caller{at}")), &Scope::All, uris(0, MAX_TOPICS_OF_CALLER));
        place.map(|place| others.push(place)).err()
    });
    assert_eq!(refused, Some(TooMany));
    assert_eq!(others.len(), MAX_TOPICS_IN_ALL / MAX_TOPICS_OF_CALLER - 1);
}

mod follow {
    //! From an event of the feed to a queue, on paused time: whatever passes is waiting of our own.

    use super::*;
    use crate::{mcp::subscription::queue::PAUSE, metrics::ApiMetrics, replica::RingLimits};
    use linkerd_mcp_graph::{
        feed::{Event, Position, Snapshot, Subscription},
        metrics::{EdgeMetrics, Metrics},
        model::{Edge, Graph, Namespace, ObservedBy, Protocol, Tls},
        query::changes::What,
        status::MetricsStatus,
    };
    use prometheus_client::registry::Registry;
    use std::convert::Infallible;
    use tokio::{sync::mpsc, time::Instant};

    struct Feed(mpsc::UnboundedReceiver<Event>);

    impl Subscription for Feed {
        type Error = Infallible;

        async fn next(&mut self) -> Result<Event, Infallible> {
            match self.0.recv().await {
                Some(event) => Ok(event),
                None => std::future::pending().await,
            }
        }

        async fn resync(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    const EDGE: &str = "shop/deployment/web->shop/cart:80";

    struct Rig {
        feed: mpsc::UnboundedSender<Event>,
        replica: Replica,
        subscriptions: Subscriptions,
        tasks: JoinSet<()>,
        graph: Graph,
        seq: u64,
    }

    impl Rig {
        async fn new() -> Self {
            let metrics = ApiMetrics::register(&mut Registry::default());
            let replica = Replica::new(RingLimits::default(), metrics);
            let (feed, events) = mpsc::unbounded_channel();
            let subscriptions = mk();
            let mut tasks = JoinSet::new();
            let follower = replica.clone();
            tasks.spawn(async move { follower.follow(Feed(events)).await });
            tasks.spawn(subscriptions.clone().follow(replica.clone()));
            let mut graph = Graph::default();
            let edge = Edge {
                src: "shop/deployment/web".parse().unwrap(),
                dst: "shop/cart:80".parse().unwrap(),
                protocol: Protocol::Http,
                tls: Tls::Mutual,
                client_identity: None,
                server_identities: Vec::new(),
                workloads: Vec::new(),
                backends: Vec::new(),
                observed_by: ObservedBy::Client,
                candidates: Vec::new(),
                target_cluster: None,
            };
            graph.edges.insert(EDGE.parse().unwrap(), Arc::new(edge));
            let mut rig = Self { feed, replica, subscriptions, tasks, graph, seq: 0 };
            rig.snapshot(Some(0.0)).await;
            // The first view is what later ones are held against.
            while rig.subscriptions.since(0, &Scope::All)["not_known_before"].is_null() {
                tokio::task::yield_now().await;
            }
            rig
        }

        /// The whole mesh again, with so many denials a second, or without any numbers.
        async fn snapshot(&mut self, denied: Option<f64>) {
            self.seq += 1;
            let position = Position { epoch: 1, seq: self.seq };
            let row = |denied| {
                (EDGE.parse().unwrap(), EdgeMetrics { denied: Some(denied), ..EdgeMetrics::default() })
            };
            let metrics = Metrics::new(MetricsStatus::default(), denied.into_iter().map(row).collect());
            let (graph, metrics) = (Arc::new(self.graph.clone()), Arc::new(metrics));
            let mut ticks = self.replica.ticks();
            let before = ticks.borrow().revision;
            let snapshot = Snapshot { position, as_of_ms: 1_000, graph, metrics };
            self.feed.send(Event::Snapshot(snapshot)).unwrap();
            ticks.wait_for(|tick| tick.revision > before).await.unwrap();
        }
    }

    /// What a subscriber is told next; none when it is left in peace for ten seconds.
    async fn told(place: &Place) -> Option<Topic> {
        tokio::time::timeout(Duration::from_secs(10), place.queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn news_waits_for_nothing_but_the_second_between_two_of_one_thing() {
        let mut rig = Rig::new().await;
        let place = rig.subscriptions.open(&caller("one"), &Scope::All, [Topic::List].into()).unwrap();
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            let happened = Instant::now();
            rig.graph.namespaces.insert(name.into(), Arc::new(Namespace::default()));
            rig.snapshot(Some(0.0)).await;
            assert_eq!(told(&place).await, Some(Topic::List));
            let latency = happened.elapsed();
            assert_eq!(latency, if at == 0 { Duration::ZERO } else { PAUSE });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn denials_are_held_against_what_was_known_before_prometheus_was_away() {
        let mut rig = Rig::new().await;
        let graph = Topic::Updated(Uri::Graph);
        let place = rig.subscriptions.open(&caller("one"), &Scope::All, [graph.clone()].into()).unwrap();
        rig.snapshot(Some(3.0)).await;
        assert_eq!(told(&place).await, Some(graph.clone()));
        rig.snapshot(None).await;
        assert!(told(&place).await.is_none(), "that numbers are gone is no news");
        rig.snapshot(Some(4.0)).await;
        assert!(told(&place).await.is_none(), "there were three before");
        // While it was away there came to be ten times as many.
        rig.snapshot(None).await;
        assert!(told(&place).await.is_none());
        rig.snapshot(Some(40.0)).await;
        assert_eq!(told(&place).await, Some(graph.clone()));
        let spikes =
            rig.subscriptions.since(0, &Scope::All).to_string().matches(What::DenialSpike.name()).count();
        assert_eq!(spikes, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_the_replica() {
        let mut rig = Rig::new().await;
        rig.replica.close();
        let ended = tokio::time::timeout(Duration::from_secs(10), rig.tasks.join_next()).await;
        assert!(matches!(ended, Ok(Some(Ok(())))), "{ended:?}");
    }
}
