//! The comparison against a stub of either side, on a clock that stands still.

use super::*;
use crate::{
    graph::{
        fact::Key,
        policy::{
            Answer,
            answer::{Labels, Protocol, Server},
        },
    },
    linkerd::{Limits, ask::Controller},
};
use std::collections::BTreeMap;
use tokio::time::sleep;

fn mk_server(name: &str) -> Server {
    Server {
        labels: Labels::default_named(name),
        protocol: Protocol::Opaque {},
        authorizations: [].into(),
        server_ips: 0,
    }
}

fn mk_pod(name: &str) -> WorkloadKey {
    WorkloadKey::Pod(Key::new("shop", name))
}

/// What is written: the same for every port.
struct Written {
    ports: Option<Vec<(WorkloadKey, u16)>>,
    known: usize,
}

impl Written {
    fn of(pods: &[&str]) -> Self {
        let ports: Vec<_> = pods.iter().map(|pod| (mk_pod(pod), 8080)).collect();
        Self { known: ports.len(), ports: Some(ports) }
    }
}

impl Ours for Written {
    async fn sample(&self, _: usize) -> Vec<(WorkloadKey, u16, Server)> {
        Vec::new()
    }

    async fn resolve(&self, workload: &WorkloadKey, _: u16) -> Option<Answer> {
        (&*workload.key().name != "gone").then(|| Answer::Ok(mk_server("written")))
    }
}

impl AllOurs for Written {
    async fn all(&self, _: Option<&str>, _: usize) -> Option<(Vec<(WorkloadKey, u16)>, usize)> {
        Some((self.ports.clone()?, self.known))
    }
}

/// What is enforced, by pod; pods that are not named do not answer in time. Every answer takes a second.
struct Controls(BTreeMap<&'static str, &'static str>);

impl Enforced for Controls {
    async fn answer(&self, workload: &WorkloadKey, _: u16) -> Result<Answer, AskError> {
        sleep(Duration::from_secs(1)).await;
        match self.0.get(&*workload.key().name) {
            Some(name) => Ok(Answer::Ok(mk_server(name))),
            None => Err(slow()),
        }
    }
}

fn slow() -> AskError {
    let time = Limits::default().time;
    AskError::Slow { controller: Controller::Policy, address: "127.0.0.1:1".into(), time }
}

#[tokio::test(start_paused = true)]
async fn what_is_enforced_as_written_is_counted_and_is_no_finding() {
    let enforced = Controls([("a", "written"), ("b", "written")].into());
    let compared = lint(&Written::of(&["a", "b"]), &enforced, None).await.unwrap();
    assert_eq!(compared, Compared { ports: 2, ..Compared::default() });
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_enforced_otherwise_is_an_error_with_both_sides() {
    let enforced = Controls([("a", "written"), ("b", "older")].into());
    let compared = lint(&Written::of(&["a", "b"]), &enforced, None).await.unwrap();
    assert_eq!((compared.ports, compared.notes.len()), (2, 1));
    let [finding] = &compared.findings[..] else { panic!("one finding: {compared:?}") };
    assert_eq!(finding.code, "drift");
    assert_eq!(finding.severity(), v1::Severity::Error);
    assert_eq!(finding.objects, ["pod/shop/b:8080"]);
    assert!(finding.text.starts_with("Port 8080 of pod/shop/b is enforced otherwise than written: "));
    assert!(finding.written_json.contains("written"), "{}", finding.written_json);
    assert!(finding.enforced_json.contains("older"), "{}", finding.enforced_json);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_answers_nothing_is_an_error_and_no_clean_bill() {
    let error = lint(&Written::of(&["a", "b"]), &Controls(BTreeMap::new()), None).await.unwrap_err();
    assert_eq!(error.to_string(), slow().to_string());
}

#[tokio::test(start_paused = true)]
async fn ports_without_an_answer_are_told_beside_those_that_have_one() {
    let enforced = Controls([("a", "written"), ("gone", "written")].into());
    let compared = lint(&Written::of(&["a", "b", "gone"]), &enforced, None).await.unwrap();
    assert_eq!(compared.ports, 1);
    let [note] = &compared.notes[..] else { panic!("one note: {compared:?}") };
    assert!(note.starts_with("2 ports could not be compared. The first: "), "{note}");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_when_time_is_up_is_told() {
    // A second each, four at once: 32 in eight seconds.
    let pods: Vec<String> = (0..40).map(|at| format!("p{at}")).collect();
    let names: Vec<&'static str> = pods.iter().map(|pod| &*pod.clone().leak()).collect();
    let enforced = Controls(names.iter().map(|name| (*name, "written")).collect());
    let compared = lint(&Written::of(&names), &enforced, None).await.unwrap();
    assert!((28..40).contains(&compared.ports), "{compared:?}");
    let left = 40 - compared.ports;
    assert_eq!(
        compared.notes,
        [format!("There was no time to compare {left} more ports; ask by namespace.")]
    );
}

#[tokio::test(start_paused = true)]
async fn ports_beyond_the_bound_are_told() {
    let written = Written { known: 1_200, ..Written::of(&["a"]) };
    let compared = lint(&written, &Controls([("a", "written")].into()), None).await.unwrap();
    assert_eq!(
        compared.notes,
        ["1 of 1200 ports were compared with what Linkerd enforces; ask by namespace for the others."]
    );
}

#[tokio::test(start_paused = true)]
async fn policies_that_are_not_known_completely_are_compared_with_nothing() {
    let written = Written { ports: None, known: 0 };
    let compared = lint(&written, &Controls(BTreeMap::new()), None).await.unwrap();
    assert_eq!((compared.ports, compared.findings.len(), compared.notes.len()), (0, 0, 1));
    assert!(compared.notes[0].starts_with("Nothing was compared"), "{:?}", compared.notes);
}
