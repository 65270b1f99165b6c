//! Questions at an address: exit codes, what goes to stdout and what to stderr.

use crate::{
    sample,
    support::{Api, DEADLINE, command, run, serve},
};
use linkerd_mcp_proto::v1::MeshGraph;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::Child,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;

async fn graph(address: SocketAddr, args: &[&str]) -> (i32, String, String) {
    run(&[&["graph", "--api-addr", &address.to_string()], args].concat()).await
}

#[tokio::test]
async fn the_table_goes_to_stdout_and_how_fresh_it_is_to_stderr() {
    let address = serve(Api::default()).await;
    let (code, stdout, stderr) = graph(address, &["-n", "emojivoto"]).await;
    assert_eq!(code, 0, "{stderr}");
    let golden = include_str!("../golden/table.txt");
    let rows: Vec<_> = stdout.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 4, "{stdout}");
    for row in rows {
        assert!(golden.lines().any(|line| line.split_whitespace().eq(row.iter().copied())), "{row:?}");
    }
    assert_eq!(stderr, "As of 2026-01-02T03:04:05Z, rates over 60s (Prometheus scrapes every 15s).\n");
}

#[tokio::test]
async fn at_an_address_all_namespaces_are_asked_for_unless_one_is_named() {
    let address = serve(Api::default()).await;
    let (code, all, _) = graph(address, &["-o", "json"]).await;
    assert_eq!(code, 0);
    assert_eq!(all, include_str!("../golden/graph.json"));
    let (code, stdout, stderr) = graph(address, &["-n", "quiet"]).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.starts_with("No calls found in namespace quiet; -A shows all namespaces.\n"), "{stderr}");
}

#[tokio::test]
async fn from_follows_calls_and_an_unknown_name_gets_the_apis_sentence() {
    let address = serve(Api::default()).await;
    let (code, stdout, stderr) =
        graph(address, &["-n", "shop", "--from", "deploy/cart", "--depth", "2"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stderr}");
    let (code, stdout, stderr) = graph(address, &["-n", "shop", "--to", "nothing"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with("error: there is no Service or workload `shop/nothing` in the graph\nhint: "),
        "{stderr}"
    );
}

#[tokio::test]
async fn an_api_without_a_graph_is_asked_again_until_it_has_one() {
    let address = serve(Api { not_yet: 2.into(), ..Api::default() }).await;
    let (code, stdout, stderr) = graph(address, &["-A"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, include_str!("../golden/table.txt"));
}

#[tokio::test]
async fn a_command_line_that_is_not_understood_exits_2_and_says_what_is() {
    let refused = [
        (&["graph", "--nonsense"][..], "--nonsense"),
        (&["graph", "--depth", "2"][..], "--from"),
        (&["graph", "--watch", "-o", "svg"][..], "--watch goes with table, wide, json and yaml"),
        (&["graph", "--api-addr", "https://mesh:1"][..], "https is not spoken here"),
        (&["unknown"][..], "unrecognized subcommand"),
        (&[][..], "Usage:"),
    ];
    for (args, sentence) in refused {
        let (code, stdout, stderr) = run(args).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains(sentence), "{args:?}: {stderr}");
    }
    let address = serve(Api::default()).await;
    let (code, _, stderr) = graph(address, &["--from", "web:80"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("leave out the port"), "{stderr}");
}

#[tokio::test]
async fn help_is_data_and_tells_the_exit_codes() {
    let (code, stdout, stderr) = run(&["--help"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("Exit codes:"));
}

#[tokio::test]
async fn a_refused_connection_exits_1_and_says_where_and_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (code, stdout, stderr) = graph(address, &[]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with(&format!("error: nothing answers at {address}\n")), "{stderr}");
    assert!(stderr.contains("Connection refused"), "{stderr}");
    assert!(stderr.contains("hint: is linkerd-mcp running there?"), "{stderr}");
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_a_linkerd_mcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            // As web servers do: what is unread at the close would reset the connection under the answer.
            let _ = timeout(DEADLINE, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
        }
    });
    let (code, _, stderr) = graph(address, &[]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(&format!("error: what answers at {address} is not a linkerd-mcp")),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_grpc_server_of_another_kind_is_not_taken_for_a_linkerd_mcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let (code, _, stderr) = graph(address, &[]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(&format!("error: what answers at {address} is not a linkerd-mcp")),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let address = serve(Api::default()).await;
    let mut child = command(&["graph", "-n", "huge", "--api-addr", &address.to_string()]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    timeout(DEADLINE, stdout.read_line(&mut first)).await.expect("a line comes").unwrap();
    drop(stdout);
    let status = timeout(DEADLINE, child.wait()).await.expect("the command ends").unwrap();
    assert_eq!(status.code(), Some(0));
}

async fn next_line(child: &mut Child, stdout: &mut BufReader<tokio::process::ChildStdout>) -> String {
    let mut line = String::new();
    let read = timeout(DEADLINE, stdout.read_line(&mut line)).await;
    assert!(matches!(read, Ok(Ok(1..))), "a line comes; the command is {:?}", child.try_wait());
    line
}

#[tokio::test]
async fn a_broken_watch_is_resumed_where_it_was_and_ctrl_c_ends_it_well() {
    let watches = Arc::new(AtomicUsize::new(0));
    let address = serve(Api { watches: watches.clone(), ..Api::default() }).await;
    let args = ["graph", "--watch", "-o", "json", "--api-addr", &address.to_string()];
    let mut child = command(&args).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let snapshot: serde_json::Value =
        serde_json::from_str(&next_line(&mut child, &mut stdout).await).unwrap();
    assert_eq!((&snapshot["event"], &snapshot["position"]["seq"]), (&"snapshot".into(), &8.into()));
    let delta: serde_json::Value = serde_json::from_str(&next_line(&mut child, &mut stdout).await).unwrap();
    assert_eq!((&delta["event"], &delta["position"]["seq"]), (&"delta".into(), &9.into()));
    assert_eq!(watches.load(Ordering::SeqCst), 2);
    let pid = child.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let status = timeout(DEADLINE, child.wait()).await.expect("the command ends").unwrap();
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(said.contains("The watch broke (going down); trying again in 0.2s."), "{said}");
}

#[tokio::test]
async fn a_watch_as_a_table_prints_the_graph_again_after_a_change() {
    let address = serve(Api::default()).await;
    let mut child = command(&["graph", "-w", "--api-addr", &address.to_string()]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut headers = 0;
    let mut rows = 0;
    // The one edge that is left, under the second header.
    while headers < 2 || rows < 1 {
        let line = next_line(&mut child, &mut stdout).await;
        match line.split_whitespace().next() {
            Some("SRC") => (headers, rows) = (headers + 1, 0),
            Some(_) => rows += 1,
            None => {}
        }
    }
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_version_is_printed_without_an_api_and_completions_are_scripts() {
    let (code, stdout, _) =
        run(&["version", "--client", "--short", "--as-group=[]", "--verbose=false"]).await;
    assert_eq!((code, stdout), (0, concat!(env!("CARGO_PKG_VERSION"), "\n").to_owned()));
    let (code, stdout, _) = run(&["version", "--api-addr", "127.0.0.1:1"]).await;
    assert_eq!((code, stdout.lines().last()), (0, Some("Server version: unavailable")));
    let (code, stdout, _) = run(&["completion", "bash"]).await;
    assert_eq!(code, 0);
    assert!(stdout.contains("complete -F"), "{stdout}");
}

#[test]
fn the_sample_has_every_kind_of_trouble() {
    let MeshGraph { edges, .. } = sample::graph();
    assert!(edges.iter().any(|edge| edge.tls.is_none()) && edges.iter().any(|edge| edge.metrics.is_none()));
}
