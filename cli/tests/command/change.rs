//! Changing policy at an address: what is asked, what is printed, and what the exit code says.

use crate::support::{Api, run, serve};
use std::sync::atomic::Ordering;

async fn ask(args: &[&str]) -> (i32, String, String) {
    let address = serve(Api::default()).await.to_string();
    run(&[args, &["--api-addr", &address]].concat()).await
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a place for a file");
    std::fs::write(file.path(), text).expect("room for a file");
    file
}

#[tokio::test]
async fn a_plan_is_shown_with_the_command_that_applies_it() {
    let manifest = file("kind: Server\n");
    let path = manifest.path().to_str().expect("a name in UTF-8");
    let plan = ["plan", "-f", path, "--delete", "server/web", "-n", "shop"];
    let (code, stdout, stderr) = ask(&plan).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/plan.txt")));
    assert!(stderr.ends_with("until 2026-11-01T12:05:00Z: linkerd-mcp apply p-7.secret\n"), "{stderr}");
    let (code, stdout, stderr) = ask(&[&plan[..], &["--simulate", "-o", "name"]].concat()).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.ends_with("leave out --simulate for a plan to apply.\n"), "{stderr}");
    let (code, stdout, _) = ask(&[&plan[..], &["-o", "name"]].concat()).await;
    assert_eq!((code, stdout.as_str()), (0, "p-7.secret\n"));
}

#[tokio::test]
async fn what_may_not_be_applied_exits_1_and_what_has_no_answer_2() {
    let flux = file("flux");
    let (code, stdout, stderr) = ask(&["plan", "-f", flux.path().to_str().expect("UTF-8")]).await;
    assert_eq!((code, stdout.as_str()), (1, include_str!("../golden/plan-refused.txt")));
    assert!(stderr.contains("This cannot be applied"), "{stderr}");
    let (code, stdout, stderr) = ask(&["plan", "-f", "/does/not/exist.yaml"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("cannot read /does/not/exist.yaml"), "{stderr}");
    let (code, ..) = ask(&["plan", "--delete", "web"]).await;
    assert_eq!(code, 2);
    for args in [&["plan", "--delete", "server/a/b"][..], &["apply", "p"], &["rollback", "c"]] {
        let (code, stdout, _) = run(&[args, &["--api-addr", "127.0.0.1:1"]].concat()).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
    }
}

#[tokio::test]
async fn a_plan_is_applied_once_and_never_tried_again() {
    let (code, stdout, stderr) = ask(&["apply", "p-7.secret", "--guard", "5m"]).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/apply.txt")));
    assert_eq!(stderr, "To undo it: linkerd-mcp rollback c-7f3a\n");
    let failed = include_str!("../golden/apply-failed.txt").to_owned();
    assert_eq!(ask(&["apply", "p-8.fails"]).await, (1, failed, String::new()));
    // An API that is not ready is asked again for anything else.
    let api = Api::default();
    let applies = api.applies.clone();
    let address = serve(api).await.to_string();
    let (code, stdout, stderr) = run(&["apply", "p-9.away", "--api-addr", &address]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("no snapshot has come yet"), "{stderr}");
    assert_eq!(applies.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_change_is_listed_shown_and_undone() {
    let (code, stdout, stderr) = ask(&["changes", "-n", "shop"]).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/changes.txt")));
    assert!(stderr.contains("There are more") && stderr.contains("no longer known"), "{stderr}");
    let (code, stdout, _) = ask(&["changes", "c-7f3a"]).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/change.txt")));
    let (code, stdout, stderr) = ask(&["changes", "-n", "quiet"]).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.starts_with("Nothing was changed through linkerd-mcp"), "{stderr}");
    let (code, stdout, _) = ask(&["rollback", "c-7f3a", "--reason", "too strict"]).await;
    assert_eq!(code, 0);
    assert!(stdout.ends_with("too strict\nchange c-8000\n"), "{stdout}");
    let (code, stdout, stderr) = ask(&["rollback", "c-1"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("there is no change `c-1`"), "{stderr}");
}

#[tokio::test]
async fn a_proposal_is_manifests_on_stdout_and_talk_on_stderr() {
    let (code, stdout, stderr) = ask(&["propose", "deploy/cart", "-n", "shop", "--enforce"]).await;
    assert_eq!((code, stdout.as_str()), (0, "kind: Server\n---\nkind: AuthorizationPolicy\n"));
    assert!(stderr.starts_with(include_str!("../golden/propose.txt")), "{stderr}");
    let (code, stdout, _) = ask(&["propose", "-n", "shop", "-o", "json"]).await;
    assert_eq!((code, stdout.as_str()), (0, include_str!("../golden/propose.json")));
    let (code, _, stderr) = ask(&["propose"]).await;
    assert_eq!((code, stderr.as_str()), (2, "error: name a workload, or a namespace with -n\n"));
}
