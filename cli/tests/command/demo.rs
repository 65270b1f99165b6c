//! `demo`: the first command of the README, as a newcomer runs it.

use crate::support::{DEADLINE, command};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
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

#[tokio::test]
async fn while_it_runs_another_graph_command_answers() {
    let mut demo =
        command(&["demo", "--no-follow", "--listen", "127.0.0.1:0"]).kill_on_drop(true).spawn().unwrap();
    let mut said = BufReader::new(demo.stderr.take().unwrap()).lines();
    let address = loop {
        let line = timeout(DEADLINE, said.next_line()).await.expect("it says where it serves").unwrap();
        let line = line.expect("it goes on");
        if let Some(rest) = line.strip_prefix("Serving a simulated mesh on ") {
            break rest.split(';').next().unwrap_or_default().to_owned();
        }
    };
    let graph = command(&["graph", "-n", "emojivoto", "--api-addr", &address]).output().await.unwrap();
    assert_eq!(graph.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&graph.stdout).contains("svc/voting-svc:8080"));
    demo.kill().await.unwrap();
}
