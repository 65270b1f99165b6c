//! Questions about policy of manifests, put to the built command: the whole output and the exit code. The transcripts
//! are goldens, so they read like a session.

use crate::{
    golden,
    support::{DEADLINE, command},
};
use std::{path::Path, process::Stdio};
use tokio::{io::AsyncWriteExt, time::timeout};

/// Where the manifests are.
fn manifests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests")
}

/// Runs the command among the manifests, with `input` on stdin.
async fn run(line: &str, input: &str) -> (i32, String, String) {
    let args: Vec<&str> = line.split_whitespace().collect();
    let mut child =
        command(&args).current_dir(manifests()).stdin(Stdio::piped()).spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // One that does not read it has closed it already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(DEADLINE, child.wait_with_output()).await.expect("it ends").expect("it ran");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    (output.status.code().expect("no signal ended it"), text(output.stdout), text(output.stderr))
}

/// Each command with what it printed and its exit code; stderr is marked.
async fn transcript(lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines {
        let (code, stdout, stderr) = run(line, "").await;
        out.push_str(&format!("$ linkerd-mcp {line}\n{stdout}"));
        for said in stderr.lines() {
            out.push_str(&format!("stderr: {said}\n"));
        }
        out.push_str(&format!("exit code {code}\n\n"));
    }
    out
}

#[tokio::test]
async fn can_decides_calls_of_manifests() {
    let lines = [
        // Let in by a Server's authorization; audited; refused; no route; a route decides.
        "can deploy/web svc/books:80 -n shop -f bookshop.yaml --path /books/1",
        "can deploy/crawler svc/books:80 -n shop -f bookshop.yaml",
        "can deploy/crawler reviews:9090 -n shop -f bookshop.yaml",
        "can deploy/web books:80 -n shop -f bookshop.yaml --path /cart",
        "can deploy/web books:80 -n shop -f bookshop.yaml --method POST --path /books/1",
        // A policy that is not there yet.
        "can sa/crawler books:80 -n shop -f bookshop.yaml -f crawler.yaml --path /books",
        // One that Linkerd ignores.
        "can sa/crawler books:80 -n shop -f bookshop.yaml -f ignored.yaml",
        // Clients and targets outside the mesh, and defaults.
        "can 203.0.113.7 books:80 -n shop -f bookshop.yaml --path /books",
        "can deploy/crawler deploy/legacy:3000 -n shop -f bookshop.yaml",
        "can deploy/crawler web -n shop -f bookshop.yaml --default-policy deny",
        "can shop/deploy/legacy admin/web:80 -f bookshop.yaml --default-policy all-authenticated",
        "can web books:80 -n shop -f bookshop.yaml --grpc shop.v1.Books/List -o json",
    ];
    golden::compare("offline-can.txt", &transcript(&lines).await);
}

#[tokio::test]
async fn what_cannot_be_answered_says_what_to_do_and_exits_2() {
    let lines = [
        "can deploy/web web:80 -f bookshop.yaml",
        "can deploy/crawlr books:80 -n shop -f bookshop.yaml",
        "can deploy/web books:81 -n shop -f bookshop.yaml",
        "can deploy/web books:http -n shop -f bookshop.yaml",
        "can deploy/web books:80 -n shpo -f bookshop.yaml",
        "can deploy/web books -n shop -f missing.yaml",
        "can web books --path / -n shop --default-policy deny",
        // The answer without the documents that cannot be read is printed, and not relied on.
        "can deploy/crawler books:80 -n shop -f bookshop.yaml -f broken.yaml",
    ];
    golden::compare("offline-unanswered.txt", &transcript(&lines).await);
}

#[tokio::test]
async fn who_can_authz_and_resolve_read_manifests() {
    let lines = [
        "who-can books:80 -n shop -f bookshop.yaml",
        "who-can books -n shop -f bookshop.yaml -f crawler.yaml --all -o wide",
        "who-can --from deploy/crawler -n shop -f bookshop.yaml",
        "who-can --from deploy/crawler books -n shop -f bookshop.yaml",
        "who-can -n shop -f bookshop.yaml",
        "who-can -f bookshop.yaml",
        "authz deploy/books -n shop -f bookshop.yaml",
        "authz sts -n shop -f bookshop.yaml -o wide",
        "authz ns/shop -f bookshop.yaml -f broken.yaml",
        "resolve deploy/books -n shop -f bookshop.yaml",
    ];
    golden::compare("offline-lists.txt", &transcript(&lines).await);
}

#[tokio::test]
async fn lint_reads_manifests_and_its_exit_code_goes_by_the_gravest_finding() {
    let lines = [
        // Errors, which may be put up with.
        "lint -f bookshop.yaml -f ignored.yaml --default-policy all-authenticated",
        "lint -f bookshop.yaml -f ignored.yaml --default-policy all-authenticated --fail-on never -o json",
        // One namespace with nothing graver than a warning; the least severity that counts is the user's.
        "lint -n admin -f bookshop.yaml -f odd.yaml --default-policy all-authenticated",
        "lint -n admin -f bookshop.yaml -f odd.yaml --default-policy all-authenticated --fail-on warning",
        // Nothing at all.
        "lint -n admin -f bookshop.yaml --default-policy all-authenticated --fail-on info",
        // Not answered: findings are printed, and not relied on.
        "lint -f bookshop.yaml -f broken.yaml --default-policy all-authenticated --fail-on never",
        "lint -n shpo -f bookshop.yaml",
        "lint -f missing.yaml",
        "lint -f bookshop.yaml --enforced",
    ];
    golden::compare("offline-lint.txt", &transcript(&lines).await);
}

#[tokio::test]
async fn lint_knows_a_prometheus_that_has_no_pods_yet_by_its_service_account() {
    let scraped = std::fs::read_to_string(manifests().join("scraped.yaml")).unwrap();
    let locked_out = |(_, stdout, _): (i32, String, String)| stdout.contains("scrape-locked-out");
    assert!(!locked_out(run("lint -f -", &scraped).await));
    let another =
        scraped.replace("name: prometheus, namespace: linkerd-viz}]", "name: tap, namespace: linkerd-viz}]");
    assert_ne!(another, scraped);
    assert!(locked_out(run("lint -f -", &another).await));
}

#[tokio::test]
async fn a_pipe_of_json_says_the_same_as_a_file_of_yaml() {
    let yaml = std::fs::read_to_string(manifests().join("bookshop.yaml")).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&yaml);
    let objects: Vec<serde_json::Value> = documents
        .map(|document| serde::Deserialize::deserialize(document).expect("it is a manifest"))
        .collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects.iter().flat_map(|it| {
        it.get("items").and_then(|items| items.as_array().cloned()).unwrap_or_else(|| vec![it.clone()])
    }).collect::<Vec<_>>()});
    for line in ["can deploy/crawler books:80 -n shop -o json -f", "who-can -n shop -f"] {
        let piped = run(&format!("{line} -"), &list.to_string()).await;
        assert_eq!(piped, run(&format!("{line} bookshop.yaml"), "").await, "{line}");
    }
}

#[tokio::test]
async fn a_directory_is_read_and_every_fault_in_it_is_told() {
    let (code, _, stderr) = run("can deploy/web books:80 -n shop -f .", "").await;
    assert_eq!(code, 2);
    let faults: Vec<&str> = stderr.lines().filter(|line| line.contains("broken.yaml")).collect();
    assert_eq!(faults.len(), 2, "{stderr}");
}

#[tokio::test]
async fn a_reader_that_goes_away_turns_no_denial_into_a_success() {
    let closed = |line: &'static str| async move {
        let mut command = command(&line.split_whitespace().collect::<Vec<_>>());
        let mut child = command.current_dir(manifests()).spawn().expect("the command starts");
        drop(child.stdout.take());
        let status = timeout(DEADLINE, child.wait()).await.expect("it ends").expect("it ran");
        status.code()
    };
    assert_eq!(closed("can deploy/crawler books:80 -n shop -f bookshop.yaml").await, Some(1));
    assert_eq!(closed("can deploy/web books:80 -n shop -f bookshop.yaml").await, Some(0));
    // Where the exit code says nothing, a reader that had enough is no failure.
    assert_eq!(closed("who-can books -n shop -f bookshop.yaml").await, Some(0));
}
