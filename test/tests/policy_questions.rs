//! Questions about policy by the CLI: objects in a real API server, through controller, Redis and API, get the answers
//! that the same manifests get without any of them, and those that recorded proxies gave.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use kube::api::DynamicObject;
use linkerd_mcp_test::{
    mesh,
    ours::{self, Api, Controller, ControllerOptions},
    prometheus::Options,
    rig::Rig,
    wait,
};
use serde_json::Value;
use std::time::Duration;

/// For numbers to come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Who calls what with which request, and the exit code and decision.
type Call = (&'static str, &'static str, &'static [&'static str], i32, &'static str);

/// What the recorded proxies did with these calls (see `test/fixtures/linkerd-proxy`).
const RECORDED: &[Call] = &[
    ("emojivoto/vote-bot", "emojivoto/web-svc:80", &["--path", "/api/list"], 0, "allow"),
    ("emojivoto/web", "emojivoto/emoji-svc:8080", &[], 0, "allow"),
    ("emojivoto/web", "emojivoto/voting-svc:8080", &[], 0, "allow"),
    ("emojivoto/web", "legacy/legacy-svc:80", &[], 0, "allow"),
    ("emojivoto/web", "emojivoto/db-svc:5432", &[], 0, "allow"),
    ("sandbox/intruder", "emojivoto/web-svc:80", &["--path", "/api/list"], 1, "deny"),
    ("sandbox/intruder", "emojivoto/voting-svc:8080", &[], 1, "deny"),
    ("sandbox/intruder", "emojivoto/db-svc:5432", &[], 1, "deny"),
    ("sandbox/intruder", "emojivoto/deploy/emoji:8801", &["--path", "/"], 0, "audit"),
    ("legacy/outsider", "emojivoto/web-svc:80", &["--path", "/api/list"], 0, "allow"),
    ("legacy/outsider", "emojivoto/voting-svc:8080", &[], 1, "deny"),
    ("emojivoto/vote-bot", "emojivoto/web-svc:80", &["--path", "/nowhere"], 1, "unmatched_route"),
];

/// Further questions, the answers to which must be the same from both sides.
const QUESTIONS: &[&[&str]] = &[
    &["who-can", "emojivoto/web-svc"],
    &["who-can", "emojivoto/deploy/emoji"],
    &["who-can", "emojivoto/db-svc:5432"],
    &["who-can", "--from", "sandbox/deploy/intruder"],
    &["who-can", "--from", "emojivoto/deploy/web", "emojivoto/voting-svc"],
    &["authz", "ns/emojivoto"],
    &["authz", "emojivoto/svc/web-svc"],
    &["can", "203.0.113.7", "emojivoto/web-svc:80"],
    &["can", "emojivoto/sa/web", "emojivoto/voting-svc", "--grpc", "emojivoto.v1.VotingService/VoteDog"],
    &["can", "emojivoto/web", "external:203.0.113.10:443"],
];

/// Numbers and freshness, which manifests do not have, and names of pods.
const MEASURED: &[&str] = &[
    "pod",
    "pods",
    "freshness",
    "rps",
    "metrics",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "denied_per_s",
    "unrouted_per_s",
];

struct Line {
    _rig: Rig,
    _controller: Controller,
    api: Api,
    manifests: String,
    _folder: tempfile::TempDir,
}

/// What the API server has of the mesh, as manifests. When it made each object is among it: routes come in that order, and
/// the second may change between two of them.
fn written(objects: &[DynamicObject]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = objects.iter().map(|it| serde_yaml::to_string(it).unwrap()).collect();
    std::fs::write(folder.path().join("mesh.yaml"), documents.join("---\n")).unwrap();
    folder
}

async fn start() -> Line {
    let rig =
        Rig::start(Options { scrape_interval: Duration::from_secs(1), basic_auth: false }).await.unwrap();
    let options = ControllerOptions {
        kubeconfig: rig.kubernetes.apiserver.kubeconfig(),
        redis_url: rig.redis.url(),
        prometheus_url: rig.traffic.prometheus.url(),
        more: vec!["--window=10s".to_owned()],
    };
    let controller = Controller::start(&options).await.unwrap();
    let api = Api::start(&rig.redis.url()).await.unwrap();
    // With the edges external destinations come, which are asked about too.
    api.until("calls are seen, and every kind is synced", |graph| {
        let synced = graph["freshness"]["topology"]["synced"] == true;
        (synced && graph["externals"]["203.0.113.10:443"].is_object()).then_some(())
    })
    .await
    .unwrap();
    // It has them already, and answers with what it has.
    let objects = mesh::apply_recorded(&rig.kubernetes.client().await.unwrap()).await.unwrap();
    let folder = written(&objects);
    let manifests = folder.path().to_string_lossy().into_owned();
    Line { _rig: rig, _controller: controller, api, manifests, _folder: folder }
}

/// Exit code and answer.
async fn ask(question: &[&str], of: &[&str]) -> (Option<i32>, Value) {
    let output = ours::cli(&[question, of, &["-o", "json"]].concat()).await.unwrap();
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{question:?} {of:?}: {error}: {output:?}"));
    (output.status.code(), answer)
}

/// True for a change that keeps those let in that are seen calling; in manifests nobody is.
fn goes_by_traffic(item: &Value) -> bool {
    item["becomes"].is_string()
        && item["text"].as_str().is_some_and(|text| text.contains("Those that call now stay let in"))
}

/// The answer without what is measured.
fn unmeasured(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(fields) => {
            fields.retain(|name, _| !MEASURED.contains(&name.as_str()));
            fields.values_mut().for_each(|value| *value = unmeasured(value.take()));
        }
        Value::Array(items) => {
            *items = items.drain(..).filter(|item| !goes_by_traffic(item)).map(unmeasured).collect();
        }
        _ => {}
    }
    answer
}

/// The smallest change of each decision.
fn flips(answer: &Value) -> Vec<Value> {
    let accesses = answer["accesses"].as_array().unwrap().iter();
    let mut flips: Vec<Value> = Vec::new();
    for flip in accesses.filter_map(|access| access["flips"].get(0)) {
        if !flips.contains(flip) {
            flips.push(flip.clone());
        }
    }
    flips
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_and_its_manifests_get_the_same_answers_and_they_are_those_of_recorded_proxies() {
    let line = start().await;
    let address = line.api.address().to_string();
    let (online, offline) = (["--api-addr", address.as_str()], ["-f", line.manifests.as_str()]);
    for (from, to, request, code, decision) in RECORDED {
        let question = [&["can", from, to], *request].concat();
        let (answered, answer) = ask(&question, &online).await;
        assert_eq!(
            (answered, &answer["decision"]),
            (Some(*code), &Value::from(*decision)),
            "{question:?}: {answer:#}"
        );
        assert!(answer["freshness"]["topology"]["synced"].as_bool().unwrap(), "{answer:#}");
        let (code, manifests) = ask(&question, &offline).await;
        // The smallest change is the same, whoever is seen calling; so are all others that do not go by that.
        let flips = flips(&answer);
        assert!(!flips.is_empty(), "{question:?}: {answer:#}");
        assert_eq!(flips, self::flips(&manifests), "{question:?}");
        assert_eq!((answered, unmeasured(answer)), (code, unmeasured(manifests)), "{question:?}");
    }
    for question in QUESTIONS {
        let (code, answer) = ask(question, &online).await;
        let (same, manifests) = ask(question, &offline).await;
        assert_eq!((code, unmeasured(answer)), (same, unmeasured(manifests)), "{question:?}");
    }
}

/// The answer once it holds: numbers come with the polls.
async fn until(question: &[&str], of: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
    wait::until(&format!("{question:?} is answered as expected"), DEADLINE, async || {
        let (_, answer) = ask(question, of).await;
        holds(&answer).then_some(answer)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_finds_the_same_in_a_mesh_and_in_its_manifests() {
    let line = start().await;
    let address = line.api.address().to_string();
    let (online, offline) = (["--api-addr", address.as_str()], ["-f", line.manifests.as_str()]);
    let (code, mesh) = ask(&["lint", "-A"], &online).await;
    let (same, manifests) = ask(&["lint", "-A"], &offline).await;
    assert!(!mesh["findings"].as_array().unwrap().is_empty(), "{mesh:#}");
    assert_eq!((code, unmeasured(mesh)), (same, unmeasured(manifests)));
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_names_who_is_denied_why_and_a_change_that_can_lets_in() {
    let line = start().await;
    let address = line.api.address().to_string();
    let online = ["--api-addr", address.as_str()];
    let denied = |answer: &Value| -> Vec<(String, String)> {
        let text = |denial: &Value, field: &str| denial[field].as_str().unwrap().to_owned();
        let denials = answer["denials"].as_array().unwrap().iter();
        denials.map(|denial| (text(denial, "src"), text(denial, "dst"))).collect()
    };
    let expected = ("sandbox/deployment/intruder".to_owned(), "emojivoto/voting-svc:8080".to_owned());
    let answer = until(&["denials", "-A"], &online, |answer| denied(answer).contains(&expected)).await;
    let denials = answer["denials"].as_array().unwrap();
    let denial = denials.iter().find(|it| it["dst"] == expected.1 && it["src"] == expected.0).unwrap();
    assert!(denial["denied_per_s"].as_f64().unwrap() > 0.0, "{denial:#}");
    assert_eq!(denial["accesses"][0]["decision"], "deny", "{denial:#}");
    let flip = &denial["accesses"][0]["flips"][0];
    assert_eq!(flip["becomes"], "allow", "{denial:#}");
    // What it proposes is put beside the manifests, and the same call is let in.
    let folder = tempfile::tempdir().unwrap();
    let proposed = folder.path().join("flip.yaml");
    std::fs::write(&proposed, flip["manifest"].as_str().unwrap()).unwrap();
    let call = ["can", "sandbox/intruder", "emojivoto/voting-svc:8080"];
    let (code, before) = ask(&call, &["-f", &line.manifests]).await;
    assert_eq!((code, &before["decision"]), (Some(1), &Value::from("deny")), "{before:#}");
    let (code, after) = ask(&call, &["-f", &line.manifests, "-f", &proposed.to_string_lossy()]).await;
    assert_eq!((code, &after["decision"]), (Some(0), &Value::from("allow")), "{after:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_resolve_prints_of_a_mesh_is_what_it_prints_of_its_manifests() {
    let line = start().await;
    let address = line.api.address().to_string();
    let (_, online) = ask(&["resolve"], &["--api-addr", &address]).await;
    let (_, offline) = ask(&["resolve"], &["-f", &line.manifests]).await;
    let (online, offline) = (online.as_array().unwrap(), offline.as_array().unwrap());
    assert!(online.len() > 20, "{} answers", online.len());
    for answer in online {
        assert!(offline.contains(answer), "{answer:#}");
    }
}
