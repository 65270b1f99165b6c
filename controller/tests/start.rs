//! What the controller says when it cannot start.

use std::process::{Command, Output};

fn controller(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linkerd-mcp-controller"))
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("cargo built the controller for this test")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_2() {
    for args in [
        &["--redis-url=redis://127.0.0.1:1", "--window=1s"][..],
        &[],
        &["--redis-url=x", "--prometheus-matcher=a=b"],
        &["--redis-url=x", "--lead-by=consul"],
        &["--redis-url=x", "--lead-by=kubernetes", "--lease-name=../pods/web"],
    ] {
        assert_eq!(controller(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn without_a_cluster_it_says_where_to_find_one() {
    let output = controller(&["--redis-url=redis://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("set KUBECONFIG"), "{}", said(&output));
}
