//! `demo`: the first command of the README, as a newcomer runs it.

use crate::support::{DEADLINE, command};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

#[tokio::test]
async fn once_prints_the_graph_of_the_simulated_mesh_and_ends() {
    let output = timeout(DEADLINE, command(&["demo", "--once", "--listen", "127.0.0.1:0"]).output());
    let output = output.await.expect("it ends").expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |src: &str, dst: &str| table.lines().any(|line| line.starts_with(src) && line.contains(dst));
    assert!(row("deploy/vote-bot ", "svc/web-svc:80"), "{table}");
    assert!(row("deploy/intruder ", "denied "), "{table}");
    let nameless = |line: &str| line.starts_with("sa/") || line.starts_with("identity:");
    assert!(!table.lines().any(nameless), "every client has its name:\n{table}");
}

/// A demo that runs until it is dropped, and where it answers.
async fn running() -> (Child, String) {
    let mut demo = command(&["demo", "--no-follow", "--listen", "127.0.0.1:0"])
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(demo.stderr.take().expect("its words")).lines();
    loop {
        let line = timeout(DEADLINE, said.next_line()).await.expect("it says where it serves").expect("text");
        let line = line.expect("it goes on");
        if let Some(rest) = line.strip_prefix("Serving a simulated mesh on ") {
            let address = rest.split(';').next().unwrap_or_default().to_owned();
            return (demo, address);
        }
    }
}

#[tokio::test]
async fn while_it_runs_another_graph_command_answers() {
    let (mut demo, address) = running().await;
    let graph = command(&["graph", "-n", "emojivoto", "--api-addr", &address]).output().await.unwrap();
    assert_eq!(graph.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&graph.stdout).contains("svc/voting-svc:8080"));
    demo.kill().await.unwrap();
}

/// A change: what it is, arguments, a manifest, and which calls it denies, lets in and leaves unknown.
type Change = (&'static str, &'static [&'static str], &'static str, [&'static [&'static str]; 3]);

const WRONG: &[Change] = &[
    (
        "a letter of the ServiceAccount is wrong",
        &[],
        "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: { name: voting-web, namespace: emojivoto }
spec:
  targetRef: { group: policy.linkerd.io, kind: Server, name: voting-grpc }
  requiredAuthenticationRefs: [{ kind: ServiceAccount, name: wep }]
",
        [&["emojivoto/deployment/web->emojivoto/voting-svc:8080"], &[], &[]],
    ),
    (
        "a Server that nobody is authorized on, over a port that had none",
        &[],
        "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: { name: authors, namespace: booksapp }
spec:
  podSelector: { matchLabels: { app: authors } }
  port: 7001
  proxyProtocol: HTTP/1
",
        [
            &[
                "booksapp/deployment/books->booksapp/authors:7001",
                "booksapp/deployment/webapp->booksapp/authors:7001",
            ],
            &[],
            &[],
        ],
    ),
    (
        "the policy that lets the callers in is deleted, and another one looks at addresses",
        &["--delete", "authorizationpolicy/booksapp/webapp-traffic"],
        "",
        [
            &["booksapp/deployment/traffic->booksapp/webapp:7000"],
            &[],
            &["unmeshed:no_tls_from_remote->booksapp/deployment/webapp:7000"],
        ],
    ),
    (
        "somebody is let in who is denied now",
        &[],
        "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: { name: voting-all, namespace: emojivoto }
spec:
  targetRef: { group: policy.linkerd.io, kind: Server, name: voting-grpc }
  requiredAuthenticationRefs: [{ kind: ServiceAccount, name: intruder, namespace: sandbox }]
",
        [&[], &["sandbox/deployment/intruder->emojivoto/voting-svc:8080"], &[]],
    ),
    (
        "one more who does not call is let in",
        &[],
        "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: { name: voting-more, namespace: emojivoto }
spec:
  targetRef: { group: policy.linkerd.io, kind: Server, name: voting-grpc }
  requiredAuthenticationRefs: [{ kind: ServiceAccount, name: emoji }]
",
        [&[], &[], &[]],
    ),
];

#[tokio::test]
async fn a_plan_finds_the_calls_of_the_simulated_mesh_that_a_wrong_policy_breaks() {
    let (mut demo, address) = running().await;
    for (what, args, manifest, expected) in WRONG {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        let mut plan = vec!["plan", "--simulate", "-o", "json", "--api-addr", &address];
        if !manifest.is_empty() {
            plan.extend(["-f", file.path().to_str().unwrap()]);
        }
        plan.extend(*args);
        let output = command(&plan).output().await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{what}: {}", String::from_utf8_lossy(&output.stderr)));
        let found = ["newly_denied", "newly_allowed", "unknown"].map(|field| {
            let calls = said["impact"][field].as_array().unwrap();
            let mut ids: Vec<&str> = calls.iter().map(|it| it["edge_id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            assert!(calls.iter().all(|it| it["rps"].as_f64() > Some(0.0)), "{what}: {calls:?}");
            ids
        });
        assert_eq!(found, expected.map(<[&str]>::to_vec), "{what}");
    }
    demo.kill().await.unwrap();
}
