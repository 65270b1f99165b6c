//! Faults of Prometheus: a real one that scrapes recorded proxies, behind a proxy that misbehaves. Whatever it does,
//! numbers stay as they were and say so, and topology goes on.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[expect(dead_code, reason = "faults of Kubernetes ask more of the line")]
mod line;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::PostParams};
use line::Line;
use linkerd_mcp_controller::prometheus::{self, Prometheus};
use linkerd_mcp_test::{
    http_proxy::{Fault, HttpProxy, Injected, Requests},
    ours::{self, Controller, ControllerOptions},
    prometheus::Options,
    redis::Redis,
    rig::{self, Kubernetes, Traffic},
    wait,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{sync::OnceCell, time::Instant};

/// An edge with traffic.
const EDGE: &str = "emojivoto/deployment/vote-bot->emojivoto/web-svc:80";

/// What all tests here share: the API server with the recorded mesh, and the Prometheus that scrapes it.
async fn rig() -> (&'static Kubernetes, &'static Traffic) {
    static TRAFFIC: OnceCell<Traffic> = OnceCell::const_new();
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let traffic = TRAFFIC.get_or_init(async || {
        kubernetes.apply_recorded_mesh().await.unwrap();
        rig::traffic(Options { scrape_interval: Duration::from_secs(1), basic_auth: false }).await.unwrap()
    });
    (kubernetes, traffic.await)
}

/// A line with numbers in it, and the proxy before its Prometheus.
struct Polled {
    line: Line,
    proxy: HttpProxy,
    services: Api<Service>,
}

/// The numbers of an answer: those of all edges, when they were measured, and whether they are current.
#[derive(Debug, PartialEq)]
struct Numbers {
    rates: Vec<(String, Option<f64>)>,
    as_of: Option<String>,
    stale: bool,
}

impl Polled {
    async fn start() -> Self {
        let (kubernetes, traffic) = rig().await;
        let proxy = HttpProxy::start(&traffic.prometheus.url(), None).unwrap();
        let mut options = prometheus::Options { window_s: 10, ..prometheus::Options::new(proxy.url()) };
        options.endpoint.timeout = Duration::from_secs(2);
        options.endpoint.max_bytes = 4 << 20;
        let source = Prometheus::new(options, prometheus::Metrics::default()).unwrap();
        let line = Line::with(&kubernetes.apiserver.kubeconfig(), line::impatient(), source).await;
        let services = Api::namespaced(kubernetes.client().await.unwrap(), "emojivoto");
        let polled = Self { line, proxy, services };
        polled.current().await;
        polled
    }

    /// Waits until the numbers are all there and current.
    async fn current(&self) -> Numbers {
        let found = |graph: &Value| {
            let known = graph["edges"][EDGE]["rps"].as_f64().is_some();
            Some(numbers(graph)).filter(|numbers| known && !numbers.stale)
        };
        self.line.until("the numbers are current", found).await
    }

    /// Waits until the numbers are said to be stale for this reason.
    async fn stale(&self, reason: &str) -> Numbers {
        let found = |graph: &Value| {
            let said = graph["freshness"]["metrics"]["reason"].as_str()?.contains(reason);
            Some(numbers(graph)).filter(|numbers| said && numbers.stale)
        };
        self.line.until(&format!("the numbers are stale: {reason}"), found).await
    }

    /// Topology goes on: a new Service is in answers.
    async fn goes_on(&self, name: &str) {
        let name = format!("fresh-{name}");
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        self.services
            .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
            .await
            .unwrap();
        let id = format!("emojivoto/{name}");
        self.line.until(&id, |graph| graph["services"][&id].is_object().then_some(())).await;
    }

    /// A fault of all queries: frozen and marked while it lasts, current again after it.
    async fn survives(&self, name: &str, fault: Fault, reason: &str) {
        let injected = self.proxy.inject(Requests::all(), fault);
        let frozen = self.stale(reason).await;
        assert!(
            frozen.rates.iter().any(|(id, rps)| id == EDGE && rps.is_some_and(|rps| rps > 0.0)),
            "{name}"
        );
        self.goes_on(name).await;
        self.polled_again(&injected).await;
        assert_eq!(
            self.stale(reason).await,
            frozen,
            "{name}: not a number moved, and the time is that of the numbers"
        );
        drop(injected);
        let after = self.current().await;
        assert_ne!(after.as_of, frozen.as_of, "{name}: these are new numbers");
    }

    /// Waits until the fault was met by another poll.
    async fn polled_again(&self, injected: &Injected) {
        let before = injected.count();
        let more = wait::until("another poll", Duration::from_secs(45), async || {
            (injected.count() > before).then_some(())
        });
        more.await.unwrap();
    }
}

fn numbers(graph: &Value) -> Numbers {
    let metrics = &graph["freshness"]["metrics"];
    let edges = graph["edges"].as_object().into_iter().flatten();
    Numbers {
        rates: edges.map(|(id, edge)| (id.clone(), edge["rps"].as_f64())).collect(),
        as_of: metrics["as_of"].as_str().map(str::to_owned),
        stale: metrics["stale"] == true,
    }
}

const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn numbers_freeze_and_say_so_while_prometheus_is_down_hangs_or_answers_nonsense() {
    let polled = Polled::start().await;
    polled.survives("down", Fault::HangUp, "cannot be reached").await;
    polled.survives("hangs", Fault::Hold, "did not answer within 2 s").await;
    let refused = Fault::refuse(503, "Unavailable", "starting up");
    polled.survives("starts", refused, "answered 503").await;
    polled.survives("html", Fault::body("text/html", "<html>Sign in</html>"), "starts with `<html>").await;
    let error =
        r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    polled.survives("error", Fault::body(JSON, error), "query timed out").await;
    polled
        .survives(
            "cut",
            Fault::Rewrite(|text| text[..text.len() / 2].to_owned()),
            "not a Prometheus query result",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_freeze_and_say_so_while_prometheus_gives_nan_or_more_than_we_take() {
    let polled = Polled::start().await;
    polled.survives("nan", Fault::Rewrite(|text| valued(text, "NaN")), "none is a number").await;
    polled.survives("negative", Fault::Rewrite(|text| valued(text, "-1")), "none is a number").await;
    polled.survives("huge", Fault::body(JSON, vec![b' '; 5 << 20]), "more than 4194304 bytes").await;
    polled.survives("endless", Fault::Endless(vec![b' '; 64 << 10].into()), "more than 4194304 bytes").await;
    let many = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#, 0);
    polled.survives("matrix", Fault::body(JSON, many), "is a matrix, not a vector").await;
}

/// The answer with this value in every row.
fn valued(text: &str, value: &str) -> String {
    let mut answer: Value = serde_json::from_str(text).unwrap_or_default();
    for row in answer["data"]["result"].as_array_mut().into_iter().flatten() {
        if row["value"][1].is_string() {
            row["value"][1] = value.into();
        }
    }
    answer.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_of_a_slow_prometheus_do_not_overlap() {
    let polled = Polled::start().await;
    let queries = Requests::of("query");
    let slow = polled.proxy.inject(queries.clone(), Fault::Hold);
    polled.polled_again(&slow).await;
    let first = Instant::now();
    // Several polls would have been due by the time this one has given up.
    polled.stale("did not answer within").await;
    let asked = polled.proxy.asked(&queries);
    let meanwhile = asked.iter().filter(|at| **at > first).count();
    assert!(meanwhile <= 4, "{meanwhile} queries while four may be under way");
    drop(slow);
    polled.current().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_without_an_end_costs_the_controller_no_more_memory_than_it_may() {
    let (kubernetes, traffic) = rig().await;
    let proxy = HttpProxy::start(&traffic.prometheus.url(), None).unwrap();
    let endless = proxy.inject(Requests::of("query"), Fault::Endless(vec![b' '; 1 << 20].into()));
    let redis = Redis::start(None).await.unwrap();
    let controller = Controller::start(&ControllerOptions {
        kubeconfig: kubernetes.apiserver.kubeconfig(),
        redis_url: redis.url(),
        prometheus_url: proxy.url(),
        more: Vec::new(),
    })
    .await
    .unwrap();
    let api = ours::Api::start(&redis.url()).await.unwrap();
    let reason = api.until("the numbers are stale", |graph| {
        let reason = graph["freshness"]["metrics"]["reason"].as_str()?;
        reason.contains("more than").then(|| reason.to_owned())
    });
    assert!(reason.await.unwrap().contains("268435456 bytes"));
    assert!(endless.count() > 0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", controller.process().id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("the controller's peak is {} MiB", peak_kib >> 10);
    assert!(peak_kib << 10 <= 2 * 268_435_456, "{peak_kib} KiB");
    assert!(peak_kib << 10 >= 268_435_456, "the body did come in: {peak_kib} KiB");
}
