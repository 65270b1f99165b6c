use super::*;
use crate::mcp::subscription::Subscriptions;
use crate::{
    authorization::Authorization,
    caller::{Principal, Proof},
    change::{self, Changes, metrics::ChangeMetrics},
    mcp::{self, Context, Options, metrics::McpMetrics},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
    rights::{Rights, Verdict},
};
use axum::{Router, body::Body, extract::State, routing::post};
use http::Request;
use linkerd_mcp_graph::feed::{Event, Position, Snapshot, Subscription};
use linkerd_mcp_prometheus::{Connection, Endpoint};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const NO_LIMITS: Limits = Limits { per_caller: usize::MAX, in_all: usize::MAX };

fn caller(name: &str) -> Caller {
    Caller(name.into())
}

#[test]
fn places_are_for_one_caller_and_in_all_and_come_back() {
    let budget = Budget::new(Limits { per_caller: 2, in_all: 3 });
    let (greedy, other, late) = (caller("greedy"), caller("other"), caller("late"));
    let begin = |caller: &Caller| budget.begin(caller, 0);
    let mut places = vec![begin(&greedy).unwrap(), begin(&greedy).unwrap()];
    assert_eq!(begin(&greedy).unwrap_err(), Busy::Caller(2));
    places.push(begin(&other).unwrap());
    assert_eq!(begin(&late).unwrap_err(), Busy::All(3));
    places.remove(0);
    assert!(begin(&late).is_ok());
    drop(places);
    let running = budget.0.running.lock();
    assert_eq!((running.in_all, running.by_caller.len()), (0, 0), "who has nothing under way is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_costs_as_much_as_ten_that_do_not() {
    let budget = Budget::new(NO_LIMITS);
    let calls = |caller: &Caller| {
        (0..100).take_while(|_| budget.request(caller, 10) && budget.begin(caller, 10).is_ok()).count()
    };
    let questions = |caller: &Caller| (0..100).take_while(|_| budget.request(caller, 10)).count();
    assert_eq!((calls(&caller("costly")), questions(&caller("cheap"))), (2, 20));
    assert_eq!(questions(&caller("costly")), 0, "and both are paid from the same");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(calls(&caller("costly")), 1);
}

#[test]
fn who_has_few_tokens_may_still_begin_one() {
    // Two tokens at once are fewer than a call costs.
    let budget = Budget::new(NO_LIMITS);
    assert!(budget.request(&caller("slow"), 1));
    assert!(budget.begin(&caller("slow"), 1).is_ok());
    assert_eq!(budget.begin(&caller("slow"), 1).unwrap_err(), Busy::Rate(1));
}

/// One caller starts 1,000 costly calls at once, each of 50 steps of work. Another asks 100 cheap questions, one after
/// the other. All take turns on one thread, first come, first served. The most steps of the first that a question of
/// the second had to wait for.
async fn most_steps_between_two_questions(limits: Limits) -> u64 {
    let budget = Budget::new(limits);
    let steps = Arc::new(AtomicU64::new(0));
    let mut greedy = JoinSet::new();
    for _ in 0..1_000 {
        let (budget, steps) = (budget.clone(), steps.clone());
        greedy.spawn(async move {
            let Ok(_place) = budget.begin(&caller("greedy"), 0) else { return };
            for _ in 0..50 {
                steps.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let counted = steps.clone();
    let other = tokio::spawn(async move {
        let mut most = 0;
        for _ in 0..100 {
            assert!(budget.request(&caller("other"), 0));
            let before = counted.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            most = most.max(counted.load(Ordering::Relaxed) - before);
        }
        most
    });
    let most = other.await.unwrap();
    greedy.join_all().await;
    most
}

#[tokio::test]
async fn a_question_waits_for_no_more_of_anothers_costly_calls_than_may_run_at_once() {
    let limits = Limits::default();
    let most = most_steps_between_two_questions(limits).await;
    // Giving way once lets everybody else have up to two turns.
    assert!(most <= 2 * limits.per_caller as u64, "{most} steps");
    // Control: without limits it waits for all of them.
    assert!(most_steps_between_two_questions(NO_LIMITS).await >= 1_000);
}

/// A Prometheus that answers nobody until it is let go, and the endpoint in front of it.
struct Rig {
    endpoint: Router,
    prometheus: Arc<Held>,
    _stop: CancellationToken,
}

struct Held {
    /// Questions that have come and have no answer.
    asked: watch::Sender<usize>,
    most: AtomicUsize,
    let_go: Semaphore,
}

struct Once(Option<Event>);

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Subscription for Once {
    type Error = Never;

    async fn next(&mut self) -> Result<Event, Never> {
        match self.0.take() {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

async fn held(State(held): State<Arc<Held>>) -> axum::Json<Value> {
    held.asked.send_modify(|count| {
        *count += 1;
        held.most.fetch_max(*count, Ordering::Relaxed);
    });
    held.let_go.acquire().await.unwrap().forget();
    held.asked.send_modify(|count| *count -= 1);
    axum::Json(json!({"status": "success", "data": {"resultType": "vector", "result": []}}))
}

async fn replica() -> Replica {
    let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    let snapshot = Snapshot {
        position: Position { epoch: 1, seq: 1 },
        as_of_ms: 1_000,
        graph: Arc::default(),
        metrics: Arc::default(),
    };
    let mut ticks = replica.ticks();
    let follower = replica.clone();
    tokio::spawn(async move { follower.follow(Once(Some(Event::Snapshot(snapshot)))).await });
    ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    replica
}

impl Rig {
    async fn new(outside: Limits) -> Self {
        let prometheus = Arc::new(Held {
            asked: watch::Sender::new(0),
            most: AtomicUsize::new(0),
            let_go: Semaphore::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/api/v1/query", post(held)).with_state(prometheus.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = Options {
            prometheus: Some(Connection::new(Endpoint::new(url)).unwrap()),
            calls_per_second: 0,
            outside,
            ..Options::default()
        };
        let metrics = McpMetrics::register(&mut Registry::default());
        let replica = replica().await;
        let changes = Changes::new(change::Options::default(), replica.clone(), ChangeMetrics::default());
        let context = Context {
            replica,
            changes: changes.unwrap(),
            authorization: Authorization::new(Rights::decided_by(|_, _| {
                Box::pin(std::future::ready(Verdict::Allowed))
            })),
            granted: None,
            prometheus: options.prometheus.clone(),
            kubernetes: None,
            settings: options.settings(&metrics).await.unwrap(),
            budget: Budget::new(options.outside),
            history: mcp::history::History::default(),
            subscriptions: Subscriptions::new(metrics.subscriptions.clone()),
        };
        let stop = CancellationToken::new();
        Self { endpoint: mcp::route(context, metrics, stop.clone()), prometheus, _stop: stop }
    }

    /// What the model is told, and whether it is an error.
    fn call(&self, who: &str, tool: &str) -> impl Future<Output = (bool, String)> + Send + 'static {
        let arguments =
            if tool == "query_prometheus" { json!({"query": "response_total"}) } else { json!({}) };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }});
        let request = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .extension(Principal::of_identity(who, "linkerd.cluster.local", Proof::Mesh))
            .body(Body::from(body.to_string()))
            .unwrap();
        let endpoint = self.endpoint.clone();
        async move {
            let response = endpoint.oneshot(request).await.unwrap();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let answer: Value = serde_json::from_slice(&body)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
            let result = &answer["result"];
            (result["isError"] == true, result["content"][0]["text"].as_str().unwrap_or_default().to_owned())
        }
    }

    async fn until_asked(&self, count: usize) {
        within(self.prometheus.asked.subscribe().wait_for(|asked| *asked >= count)).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("stuck: waited 20 s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_costly_calls_of_one_caller_leave_room_for_everybody_else() {
    let limits = Limits::default();
    let rig = Rig::new(limits).await;
    let mut greedy = JoinSet::new();
    for _ in 0..1_000 {
        greedy.spawn(rig.call("greedy", "query_prometheus"));
    }
    rig.until_asked(limits.per_caller).await;
    // All but those that run are told at once to come back, while Prometheus has answered nothing yet.
    for _ in limits.per_caller..1_000 {
        let (error, text) = within(greedy.join_next()).await.unwrap().unwrap();
        assert!(error && text.starts_with("busy: 4 of your calls"), "{text}");
    }
    for _ in 0..100 {
        let (error, text) = within(rig.call("other", "find_edges")).await;
        assert!(!error, "{text}");
    }
    let costly = tokio::spawn(rig.call("other", "query_prometheus"));
    rig.until_asked(limits.per_caller + 1).await;
    rig.prometheus.let_go.add_permits(limits.per_caller + 1);
    assert!(!within(costly).await.unwrap().0);
    for (error, text) in within(greedy.join_all()).await {
        assert!(!error, "{text}");
    }
    assert_eq!(rig.prometheus.most.load(Ordering::Relaxed), limits.per_caller + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_limits_all_of_them_are_at_prometheus_at_once() {
    let rig = Rig::new(NO_LIMITS).await;
    let mut greedy = JoinSet::new();
    for _ in 0..200 {
        greedy.spawn(rig.call("greedy", "query_prometheus"));
    }
    rig.until_asked(200).await;
    rig.prometheus.let_go.add_permits(200);
    assert!(within(greedy.join_all()).await.iter().all(|(error, _)| !error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_gives_its_places_back() {
    let rig = Rig::new(Limits { per_caller: 1, in_all: 1 }).await;
    let gone = tokio::spawn(rig.call("gone", "query_prometheus"));
    rig.until_asked(1).await;
    assert!(rig.call("other", "query_prometheus").await.1.starts_with("busy: others have 1"));
    gone.abort();
    rig.prometheus.let_go.add_permits(2);
    within(async {
        while rig.call("other", "query_prometheus").await.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
