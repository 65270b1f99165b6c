//! SIGTERM to the programs as Kubernetes sends it: not ready any more, the lead given up, watchers sent elsewhere, what
//! is under way finished, exit code 0.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_proto::v1::{
    Position, WatchMeshGraphRequest, mesh_context_client::MeshContextClient, watch_mesh_graph_response::Event,
};
use linkerd_mcp_test::{
    ours::{Api, Controller, ControllerOptions},
    redis::Redis,
    rig, wait,
};
use redis::AsyncCommands as _;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Streaming, transport::Channel};

const SOON: Duration = Duration::from_secs(30);

async fn controller(redis: &Redis, more: &[&str]) -> Controller {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let options = ControllerOptions {
        kubeconfig: kubernetes.apiserver.kubeconfig(),
        redis_url: redis.url(),
        prometheus_url: "http://127.0.0.1:1".to_owned(),
        more: more.iter().map(ToString::to_string).collect(),
    };
    Controller::start(&options).await.unwrap()
}

/// Waits until somebody leads, and nobody else.
async fn leader(redis: &Redis) -> String {
    wait::until("a controller leads", SOON, async || leads(redis).await).await.unwrap()
}

async fn leads(redis: &Redis) -> Option<String> {
    let mut connection = linkerd_mcp_test::redis::connect(&redis.client().unwrap()).await.unwrap();
    connection.get("mcp:leader").await.unwrap()
}

/// What a probe is told: the status, and what the body says.
async fn ready(port: u16) -> Option<(u16, Value)> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/ready")).await.ok()?;
    let status = answer.status().as_u16();
    Some((status, serde_json::from_str(&answer.text().await.ok()?).ok()?))
}

/// Waits until a probe is told that the program is going away.
async fn closing(port: u16) {
    let what = "a probe is told that the process is shutting down";
    let told = wait::until(what, SOON, async || {
        let (status, body) = ready(port).await?;
        (status == 503 && body["reason"] == "the process is shutting down").then_some(())
    });
    told.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_told_to_stop_gives_up_the_lead_and_ends_with_0() {
    let redis = Redis::start(None).await.unwrap();
    let first = controller(&redis, &[]).await;
    leader(&redis).await;
    let ended = first.stop().await.unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(leads(&redis).await, None);

    // One that is killed leaves its lead behind until the lease ends.
    let second = controller(&redis, &[]).await;
    let token = leader(&redis).await;
    second.kill();
    assert_eq!(leads(&redis).await, Some(token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_cannot_give_up_the_lead_is_not_ready_and_ends_with_0_all_the_same() {
    let redis = Redis::start(None).await.unwrap();
    let controller = controller(&redis, &["--drain-seconds=3"]).await;
    leader(&redis).await;
    redis.process().freeze();
    let port = controller.process().port(0);
    assert_eq!(ready(port).await.unwrap().0, 200);
    let (ended, ()) = tokio::join!(controller.stop(), closing(port));
    assert_eq!(ended.unwrap().code(), Some(0));
    redis.process().thaw();
}

async fn watch(
    at: SocketAddr,
    from: Option<Position>,
) -> Streaming<linkerd_mcp_proto::v1::WatchMeshGraphResponse> {
    let channel = Channel::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap();
    let mut client = MeshContextClient::new(channel).max_decoding_message_size(64 << 20);
    let request = WatchMeshGraphRequest { resume_from: from, ..WatchMeshGraphRequest::default() };
    client.watch_mesh_graph(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_told_to_stop_sends_watchers_elsewhere_and_ends_with_0() {
    let redis = Redis::start(None).await.unwrap();
    let _controller = controller(&redis, &[]).await;
    let arguments = [format!("--redis-url={}", redis.url()), "--drain-seconds=3".to_owned()];
    let going = Api::alive_with(&arguments, &[]).await.unwrap();
    let staying = Api::start(&redis.url()).await.unwrap();
    wait::until("it is ready", SOON, async || going.ready().await.then_some(())).await.unwrap();
    let mut watcher = watch(going.address(), None).await;
    let Some(Event::Snapshot(snapshot)) = watcher.message().await.unwrap().unwrap().event else {
        panic!("the first event of a fresh watch is a snapshot")
    };
    let position = snapshot.graph.unwrap().freshness.unwrap().feed.unwrap().position.unwrap();
    // A request that is under way for longer than the drain lasts.
    let mut unfinished = TcpStream::connect(going.address()).await.unwrap();
    let head = format!(
        "POST /mcp.v1.MeshContext/GetMeshGraph HTTP/1.1\r\nhost: {}\r\ncontent-type: application/grpc\r\n\
         te: trailers\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n",
        going.address()
    );
    unfinished.write_all(head.as_bytes()).await.unwrap();
    // Asked to go on, which says that somebody waits for the rest.
    let mut said = [0; 12];
    tokio::time::timeout(SOON, unfinished.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"HTTP/1.1 100");

    let port = going.process().port(1);
    let told = async {
        loop {
            match watcher.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a watch does not end without a word"),
                Err(status) => return status,
            }
        }
    };
    let (ended, (), told) = tokio::join!(going.stop(), closing(port), told);
    assert_eq!(ended.unwrap().code(), Some(0));
    assert_eq!(told.code(), Code::Unavailable);
    assert!(told.message().contains("watch again, another one resumes from position"), "{}", told.message());

    let mut again = watch(staying.address(), Some(position)).await;
    let next = tokio::time::timeout(SOON, again.message()).await.unwrap().unwrap().unwrap().event.unwrap();
    assert!(!matches!(next, Event::Snapshot(_) | Event::Resync(_)), "it goes on where it was: {next:?}");
}
