//! What waits for what: the index runs as it does in the controller, between watches, polls and a feed that are values.

use super::*;
use crate::graph::{
    delta::Delta,
    fact::{Change, Fact, Key, Pod},
    feed::Position,
    kind::{KINDS, Kind},
    promql::{Ask, answer},
};
use std::{convert::Infallible, sync::mpsc as blocking};
use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
    time::timeout,
};

/// What came out of the index.
#[derive(Debug)]
enum Out {
    /// A snapshot, with so many edges.
    Snapshot(usize),
    Delta(Arc<Delta>),
    Numbers(usize),
}

/// Says what is published; numbers need a permit.
struct Feed {
    out: mpsc::UnboundedSender<Out>,
    numbers: Arc<Semaphore>,
    asked: Arc<Notify>,
}

impl Feed {
    fn publish(&self, out: Out) -> Result<Position, Infallible> {
        // The test may have ended.
        let _ = self.out.send(out);
        Ok(Position::default())
    }
}

impl Publisher for Feed {
    type Error = Infallible;

    async fn delta(&mut self, _: i64, delta: Arc<Delta>) -> Result<Position, Infallible> {
        self.publish(Out::Delta(delta))
    }

    async fn metrics(&mut self, _: &Graph, numbers: Arc<Numbers>) -> Result<(), Infallible> {
        self.asked.notify_one();
        self.numbers.acquire().await.expect("nobody closes it").forget();
        self.publish(Out::Numbers(numbers.ids.len())).map(drop)
    }

    async fn snapshot(&mut self, _: i64, graph: Arc<Graph>, _: Arc<Numbers>) -> Result<Position, Infallible> {
        self.publish(Out::Snapshot(graph.edges.len()))
    }

    async fn heartbeat(&mut self, _: i64) -> Result<(), Infallible> {
        Ok(())
    }

    async fn resync_requested(&mut self) {
        pending().await
    }
}

/// The same poll again and again, once it may begin. At the third the first has left the queue of one: the index has it.
struct Polls {
    begin: Arc<Semaphore>,
    asked: usize,
    taken: Arc<Notify>,
}

impl MetricsSource for Polls {
    async fn poll(&mut self, _: i64) -> Poll {
        drop(self.begin.acquire().await.expect("nobody closes it"));
        self.asked += 1;
        if self.asked == 3 {
            self.taken.notify_one();
        }
        Poll::Answered { traffic: Box::new(one_call()), status: MetricsStatus::default() }
    }
}

/// `web` calls the Service `api`.
fn one_call() -> Traffic {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"namespace":"shop",
        "deployment":"web","parent_namespace":"shop","parent_name":"api","parent_port":"80","http_status":"200"},
        "value":[1,"5"]}]}}"#;
    let mut traffic = Traffic::default();
    traffic.read(Ask::HttpCalls, &answer::parse(body, 10).unwrap());
    traffic
}

const EDGE: &str = "shop/deployment/web->shop/api:80";

fn pod(name: &str) -> Message {
    Message::Change(Change::Apply(Fact::Pod(Arc::new(Pod {
        key: Key::new("shop", name),
        owner: None,
        service_account: "default".into(),
        ips: Vec::new(),
        labels: Arc::default(),
        annotations: Arc::default(),
        control_plane: None,
        proxy: crate::graph::fact::Proxy::Absent,
        ports: [].into(),
        probes: [].into(),
        ready: true,
        ended: false,
        host_network: false,
    }))))
}

/// A running index whose lists are in, and which has published its first snapshot.
struct Running {
    watches: mpsc::Sender<Message>,
    out: mpsc::UnboundedReceiver<Out>,
    polls: Arc<Semaphore>,
    taken: Arc<Notify>,
    numbers: Arc<Semaphore>,
    asked: Arc<Notify>,
}

impl Running {
    async fn start() -> Self {
        let (watches, messages) = mpsc::channel(64);
        let (sender, out) = mpsc::unbounded_channel();
        let (polls, numbers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (taken, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let source = Polls { begin: polls.clone(), asked: 0, taken: taken.clone() };
        let feed = Feed { out: sender, numbers: numbers.clone(), asked: asked.clone() };
        let options =
            Options { poll: Duration::from_millis(1), gather: Duration::ZERO, ..Options::default() };
        for row in KINDS {
            watches.send(Message::State(row.kind, WatchState::Synced)).await.unwrap();
        }
        tokio::spawn(run(options, messages, source, feed, Metrics::default(), pending()));
        let mut running = Self { watches, out, polls, taken, numbers, asked };
        assert!(matches!(running.next().await, Out::Snapshot(0)));
        running
    }

    async fn next(&mut self) -> Out {
        soon(self.out.recv()).await.expect("the index runs")
    }

    /// The next published change of the graph.
    async fn delta(&mut self) -> Arc<Delta> {
        match self.next().await {
            Out::Delta(delta) => delta,
            other => panic!("{other:?} is no change"),
        }
    }
}

/// Fails rather than to wait for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("this does not take a minute")
}

fn workloads(delta: &Delta) -> Vec<&str> {
    delta.workloads.put.iter().map(|(id, _)| id.as_str()).collect()
}

fn edges(delta: &Delta) -> Vec<&str> {
    delta.edges.put.iter().map(|(id, _)| id.as_str()).collect()
}

/// With one thread for work that takes long.
fn with_one_thread<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(test)
}

#[test]
fn changes_of_objects_are_published_while_a_poll_is_being_joined() {
    with_one_thread(async {
        let mut index = Running::start().await;
        // Whatever the edges take: they cannot begin before this thread is let go.
        let (let_go, held) = blocking::channel::<()>();
        let holding = spawn_blocking(move || held.recv());
        index.polls.add_permits(1);
        soon(index.taken.notified()).await;

        for name in ["a", "b"] {
            index.watches.send(pod(name)).await.unwrap();
            let delta = index.delta().await;
            let id = format!("shop/pod/{name}");
            assert_eq!((workloads(&delta), edges(&delta)), (vec![&*id], vec![]));
        }
        let none: [&str; 0] = [];
        assert!(index.out.try_recv().is_err(), "no edge and no number is there before it was made");

        index.numbers.add_permits(1);
        let_go.send(()).unwrap();
        holding.await.unwrap().unwrap();
        let delta = index.delta().await;
        assert_eq!((workloads(&delta), edges(&delta)), (none.to_vec(), vec![EDGE]));
        assert!(matches!(index.next().await, Out::Numbers(1)));
    });
}

/// The control arm: what holds up the index itself holds up changes, and the test above would see it.
#[test]
fn a_feed_that_does_not_take_numbers_holds_up_changes() {
    with_one_thread(async {
        let mut index = Running::start().await;
        index.polls.add_permits(1);
        let delta = index.delta().await;
        assert_eq!(edges(&delta), [EDGE]);
        soon(index.asked.notified()).await;
        index.watches.send(pod("a")).await.unwrap();
        for _ in 0..1_000 {
            yield_now().await;
        }
        assert!(index.out.try_recv().is_err());
        index.numbers.add_permits(1);
        assert!(matches!(index.next().await, Out::Numbers(1)));
        loop {
            // Polls go on; each needs a permit.
            index.numbers.add_permits(1);
            match index.next().await {
                Out::Delta(delta) => break assert_eq!(workloads(&delta), ["shop/pod/a"]),
                Out::Numbers(1) => {}
                other => panic!("{other:?} is neither the change nor numbers of the one edge"),
            }
        }
    });
}

#[tokio::test]
async fn the_first_snapshot_waits_for_the_edges_of_a_poll_that_came_before_the_lists() {
    let (watches, messages) = mpsc::channel(64);
    let (sender, mut out) = mpsc::unbounded_channel();
    let taken = Arc::new(Notify::new());
    let source = Polls { begin: Arc::new(Semaphore::new(1)), asked: 0, taken: taken.clone() };
    let feed = Feed { out: sender, numbers: Arc::new(Semaphore::new(9)), asked: Arc::default() };
    let options = Options { poll: Duration::from_millis(1), gather: Duration::ZERO, ..Options::default() };
    watches.send(Message::State(Kind::Pod, WatchState::Syncing)).await.unwrap();
    tokio::spawn(run(options, messages, source, feed, Metrics::default(), pending()));
    soon(taken.notified()).await;
    assert!(out.try_recv().is_err(), "half a graph is not published");
    watches.send(Message::State(Kind::Pod, WatchState::Synced)).await.unwrap();
    assert!(matches!(soon(out.recv()).await, Some(Out::Snapshot(1))));
}
