//! The loop against a stub of either side, on a clock that stands still.

use super::*;
use crate::{
    graph::{
        fact::Key,
        policy::answer::{Labels, Protocol},
    },
    linkerd::{Limits, ReadError, ask::Controller},
};
use parking_lot::Mutex;
use tokio::time::Instant;

fn mk_server(name: &str) -> Server {
    Server {
        labels: Labels::default_named(name),
        protocol: Protocol::Opaque {},
        authorizations: [].into(),
        server_ips: 0,
    }
}

fn mk_workload(name: &str) -> WorkloadKey {
    WorkloadKey::Pod(Key::new("shop", name))
}

/// Says of every port the same; at the second look perhaps something else.
#[derive(Clone)]
struct Written {
    pods: Vec<&'static str>,
    first: &'static str,
    second: Option<&'static str>,
}

impl Ours for Written {
    /// More than it was asked for: the loop must not rely on it.
    async fn sample(&self, _: usize) -> Vec<(WorkloadKey, u16, Server)> {
        self.pods.iter().map(|pod| (mk_workload(pod), 8080, mk_server(self.first))).collect()
    }

    async fn resolve(&self, _: &WorkloadKey, _: u16) -> Option<Answer> {
        self.second.map(|name| Answer::Ok(mk_server(name)))
    }
}

#[derive(Default)]
struct Stub {
    asked: Mutex<Vec<(String, Duration)>>,
    down: Mutex<bool>,
    unreadable: Option<&'static str>,
    began: Mutex<Option<Instant>>,
}

impl Stub {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(pod, _)| pod.clone()).collect()
    }

    fn times(&self) -> Vec<Duration> {
        self.asked.lock().iter().map(|(_, at)| *at).collect()
    }
}

impl Enforced for Stub {
    async fn answer(&self, workload: &WorkloadKey, _: u16) -> Result<Answer, AskError> {
        let began = *self.began.lock().get_or_insert_with(Instant::now);
        let pod = workload.key().name.to_string();
        self.asked.lock().push((pod.clone(), began.elapsed()));
        let address: Arc<str> = "127.0.0.1:1".into();
        if *self.down.lock() {
            let time = Limits::default().time;
            return Err(AskError::Slow { controller: Controller::Policy, address, time });
        }
        if self.unreadable == Some(pod.as_str()) {
            let source = ReadError::Missing("the protocol");
            return Err(AskError::Unreadable { controller: Controller::Policy, address, source });
        }
        Ok(Answer::Ok(mk_server("enforced")))
    }
}

/// Runs the loop for so long, from its start.
async fn run_for(time: Duration, written: &Written, stub: &Arc<Stub>, metrics: &SampleMetrics) {
    let forever = run(written.clone(), stub.clone(), Pace::default(), metrics.clone());
    assert!(tokio::time::timeout(time, forever).await.is_err(), "it never ends by itself");
}

fn outcomes(metrics: &SampleMetrics) -> [u64; 5] {
    let all = [Outcome::equal, Outcome::settled, Outcome::drift, Outcome::unanswered, Outcome::unreadable];
    all.map(|outcome| metrics.compared(outcome))
}

#[tokio::test(start_paused = true)]
async fn equal_policies_are_counted_and_nothing_is_asked_twice() {
    let written = Written { pods: vec!["a", "b"], first: "enforced", second: None };
    let (stub, metrics) = (Arc::default(), SampleMetrics::default());
    run_for(Duration::from_secs(91), &written, &stub, &metrics).await;
    let rounds = stub.asked().len() / 2;
    assert!((1..=3).contains(&rounds), "one to three rounds in 91 s, not {rounds}");
    assert_eq!(outcomes(&metrics), [2 * rounds as u64, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_round_asks_about_no_more_ports_than_it_may() {
    let written = Written { pods: vec!["a", "b", "c", "d", "e", "f"], first: "enforced", second: None };
    let (stub, metrics) = (Arc::default(), SampleMetrics::default());
    run_for(Duration::from_secs(29), &written, &stub, &metrics).await;
    assert_eq!(stub.asked(), Vec::<String>::new(), "the first round is half a pause away at least");
    round(&written, &stub, &Pace::default(), &metrics).await.unwrap();
    assert_eq!(stub.asked(), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_stays_is_drift_and_is_counted_by_kind() {
    let written = Written { pods: vec!["a"], first: "written", second: Some("written") };
    let (stub, metrics) = (Arc::<Stub>::default(), SampleMetrics::default());
    round(&written, &stub, &Pace::default(), &metrics).await.unwrap();
    assert_eq!(outcomes(&metrics), [0, 0, 1, 0, 0]);
    assert_eq!((metrics.drift("server"), metrics.drift("protocol")), (1, 0));
    assert_eq!(stub.times(), [Duration::ZERO, Duration::from_secs(15)]);
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_goes_is_no_drift() {
    let written = Written { pods: vec!["a"], first: "written", second: Some("enforced") };
    let (stub, metrics) = (Arc::<Stub>::default(), SampleMetrics::default());
    round(&written, &stub, &Pace::default(), &metrics).await.unwrap();
    assert_eq!(outcomes(&metrics), [0, 1, 0, 0, 0]);
    assert_eq!(metrics.drift("server"), 0);
    let unsynced = Written { second: None, ..written };
    round(&unsynced, &stub, &Pace::default(), &metrics).await.unwrap();
    assert_eq!(outcomes(&metrics), [0, 1, 0, 0, 0], "what is not known any more is not compared");
}

#[tokio::test(start_paused = true)]
async fn while_the_controller_is_down_it_is_asked_one_question_at_growing_pauses() {
    let written = Written { pods: vec!["a", "b"], first: "enforced", second: None };
    let (stub, metrics) = (Arc::<Stub>::default(), SampleMetrics::default());
    *stub.down.lock() = true;
    run_for(Duration::from_secs(4 * 3_600), &written, &stub, &metrics).await;
    let times = stub.times();
    assert!((10..=40).contains(&times.len()), "in four hours at most every 7.5 minutes: {}", times.len());
    let late = times.windows(2).skip(6).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    let bounds = Duration::from_secs(450)..=Duration::from_secs(1_350);
    assert!(late.iter().all(|pause| bounds.contains(pause)), "{late:?}");
    assert_eq!(outcomes(&metrics), [0, 0, 0, times.len() as u64, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_comes_back_is_asked_at_the_usual_pace_again() {
    let written = Written { pods: vec!["a"], first: "enforced", second: None };
    let (stub, metrics) = (Arc::<Stub>::default(), SampleMetrics::default());
    *stub.down.lock() = true;
    let running = tokio::spawn(run(written, stub.clone(), Pace::default(), metrics.clone()));
    sleep(Duration::from_secs(3_600)).await;
    *stub.down.lock() = false;
    sleep(Duration::from_secs(1_351)).await;
    let before = metrics.compared(Outcome::equal);
    assert!(before > 0, "it noticed within the longest pause");
    sleep(Duration::from_secs(600)).await;
    assert!(metrics.compared(Outcome::equal) - before >= 6, "at most 90 s from one round to the next");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_cannot_be_read_does_not_keep_others_from_being_compared() {
    let written = Written { pods: vec!["bad", "good"], first: "enforced", second: None };
    let stub = Stub { unreadable: Some("bad"), ..Stub::default() };
    let metrics = SampleMetrics::default();
    round(&written, &stub, &Pace::default(), &metrics).await.unwrap();
    assert_eq!(outcomes(&metrics), [1, 0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn on_demand_a_difference_is_shown_at_once_and_missing_policies_are_no_drift() {
    let written = Written { pods: Vec::new(), first: "written", second: Some("written") };
    let stub = Stub::default();
    let drift = compare(&written, &stub, &mk_workload("a"), 8080).await.unwrap();
    assert_eq!(
        drift.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["default policy written should decide about the port, but default policy enforced is enforced"]
    );
    let error =
        compare(&Written { second: None, ..written }, &stub, &mk_workload("a"), 8080).await.unwrap_err();
    assert!(matches!(error, CompareError::NotKnown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_metrics_have_the_names_that_the_documentation_gives_them() {
    let mut registry = Registry::default();
    let metrics = SampleMetrics::register(registry.sub_registry_with_prefix("mcp_linkerd"));
    let written = Written { pods: vec!["a"], first: "written", second: Some("written") };
    round(&written, &Stub::default(), &Pace::default(), &metrics).await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"mcp_linkerd_policy_compared_total{outcome="drift"} 1"#,
        r#"mcp_linkerd_policy_drift_total{kind="server"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
    let documented = include_str!("../../../../docs/metrics.md");
    for name in ["mcp_linkerd_policy_compared_total", "mcp_linkerd_policy_drift_total"] {
        assert!(documented.contains(name), "{name}");
    }
}
