//! Snapshots that are broken, hostile, huge, or older than the log.
//!
//! The leader is frozen while they are in Redis, so that it cannot put a whole one in their place: what a new replica
//! does with them is up to the replica alone.

use crate::world::{Replica, SOON, World, peak_memory};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use linkerd_mcp_graph::{
    feed::Position,
    id::{Destination, EdgeId, Source},
    model::{Edge, Graph, ObservedBy, Protocol, Tls},
    wire::{self, Limits, snapshot},
};
use linkerd_mcp_test::{ours::Controller, wait};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

/// A lease that does not end during a test.
const LONG: Duration = Duration::from_secs(120);

/// What a process may need besides the largest snapshot that is allowed.
const MARGIN: u64 = 64 << 20;

/// A leader that has published, a replica that is up to date, and a connection to write snapshots with.
struct Scene {
    world: World,
    leader: Controller,
    warm: Replica,
    redis: MultiplexedConnection,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let leader = world.controller_with("leader", world.redis.address(), LONG).await;
        let warm = world.replica(world.redis.address()).await;
        world.until_true(&warm).await;
        let redis = linkerd_mcp_test::redis::connect(&world.redis.client().unwrap()).await.unwrap();
        Self { world, leader, warm, redis }
    }

    async fn snapshot(&mut self) -> Vec<u8> {
        self.redis.get(wire::SNAPSHOT).await.unwrap()
    }

    async fn put(&mut self, bytes: &[u8]) {
        let _: () = self.redis.set(wire::SNAPSHOT, bytes).await.unwrap();
    }

    /// Lets the leader go on; then everybody has the truth.
    async fn heals(&self, cold: &Replica) {
        self.leader.process().thaw();
        self.world.until_true(cold).await;
        self.world.until_true(&self.warm).await;
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// The control arm: a reader that takes what looks like a graph.
fn is_believed_without_checks(bytes: &[u8]) -> bool {
    serde_json::from_str::<Value>(&gunzip(bytes)).is_ok_and(|document| document["graph"].is_object())
}

/// The document with one thing changed.
fn changed(whole: &Value, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = whole.clone();
    change(&mut document);
    gzip(document.to_string().as_bytes())
}

/// A graph, with the right checksum, whose one edge says that it is between others than its name says.
fn misnamed() -> Vec<u8> {
    let src: Source = "x/deployment/a".parse().unwrap();
    let dst: Destination = "x/b:1".parse().unwrap();
    let edge = Edge {
        dst: "x/other:1".parse().unwrap(),
        src: src.clone(),
        protocol: Protocol::Http,
        tls: Tls::Mutual,
        client_identity: None,
        server_identities: Vec::new(),
        workloads: Vec::new(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    };
    let mut graph = Graph::default();
    graph.edges.insert(EdgeId::new(&src, &dst), Arc::new(edge));
    // Of the version that has names beside the ends.
    let whole = snapshot::encode(Position { epoch: 1, seq: 1 }, 1, &graph);
    let document: Value = serde_json::from_str(&gunzip(&whole)).unwrap();
    changed(&document, |document| {
        document["version"] = snapshot::WRITTEN_OUT.into();
        document["graph"] = serde_json::to_value(&graph).unwrap();
    })
}

/// Snapshots that a reader without checks would believe, each with what is wrong with it.
fn believable(whole: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let services = whole["graph"]["services"].as_object().unwrap();
    let (name, service) = services.iter().next().unwrap();
    vec![
        ("a thousand million entries", changed(whole, |document| document["entries"] = 1_000_000_000.into())),
        ("another checksum", changed(whole, |document| document["sum"] = "0000000000000000".into())),
        ("a version of the future", changed(whole, |document| document["version"] = 99.into())),
        ("a number below zero", changed(whole, |document| document["seq"] = (-1).into())),
        ("an edge under a name that is not its own", misnamed()),
        (
            "a Service that is not in the checksum",
            changed(whole, |document| {
                document["graph"]["services"]["x/absurd".repeat(1000)] = service.clone();
            }),
        ),
        (
            "a Service that is missing",
            changed(whole, |document| {
                document["graph"]["services"].as_object_mut().unwrap().remove(name);
            }),
        ),
        (
            "a port that is none",
            changed(whole, |document| {
                document["graph"]["services"][name]["ports"][0]["port"] = 1_000_000.into();
            }),
        ),
    ]
}

/// Bytes that nobody could believe, but that may cost whoever tries.
fn costly(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let text = gunzip(whole);
    let nan = text.replacen(r#""seq":"#, r#""seq":NaN,"was":"#, 1);
    assert_ne!(nan, text);
    vec![
        ("half of it", whole[..whole.len() / 2].to_vec()),
        ("no gzip", text.into_bytes()),
        ("a number that is none", gzip(nan.as_bytes())),
        ("a hundred thousand levels", gzip("[".repeat(100_000).as_bytes())),
        ("nothing", Vec::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_hostile_snapshot_is_refused_and_never_served() {
    let mut scene = Scene::new().await;
    scene.leader.process().freeze();
    let whole = scene.snapshot().await;
    let document: Value = serde_json::from_str(&gunzip(&whole)).unwrap();
    assert!(is_believed_without_checks(&whole) && snapshot::decode(&whole, Limits::SNAPSHOT).is_ok());
    let believable = believable(&document);
    for (what, bytes) in &believable {
        assert!(is_believed_without_checks(bytes), "control: {what} would be believed without checks");
    }
    scene.put(&[]).await;
    let cold = scene.world.cold_replica(scene.world.redis.address()).await;
    for (what, bytes) in believable.iter().chain(&costly(&whole)) {
        scene.put(bytes).await;
        // The look that is under way may have been at the one before; the one after it is at this one.
        let refused = cold.metric("mcp_feed_bad_snapshots_total").await;
        cold.until_counted("mcp_feed_bad_snapshots_total", refused + 1.0).await;
        assert!(!cold.api.ready().await, "{what}");
    }
    let peak = peak_memory(cold.api.process());
    println!("hostile snapshots: the API had at most {} MiB", peak >> 20);
    assert!(peak < 2 * MARGIN, "{peak}");
    // Who had a graph keeps it.
    scene.world.until_true(&scene.warm).await;
    scene.heals(&cold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_decompression_bomb_stops_at_the_limit() {
    let limit = u64::try_from(Limits::SNAPSHOT.decompressed).unwrap();
    let mut scene = Scene::new().await;
    scene.leader.process().freeze();
    // Four times what is allowed, as spaces before a document that is in order: a thousandth of that in Redis.
    let whole = gunzip(&scene.snapshot().await);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..(4 * limit) >> 20 {
        encoder.write_all(&spaces).unwrap();
    }
    encoder.write_all(whole.as_bytes()).unwrap();
    let bomb = encoder.finish().unwrap();
    let plain = std::io::copy(&mut GzDecoder::new(bomb.as_slice()), &mut std::io::sink()).unwrap();
    assert!(plain > 4 * limit, "control: without a limit it needs {plain} bytes");
    println!("{} KiB hold {} MiB", bomb.len() >> 10, plain >> 20);
    scene.put(&bomb).await;
    let cold = scene.world.cold_replica(scene.world.redis.address()).await;
    cold.until_counted("mcp_feed_bad_snapshots_total", 1.0).await;
    assert!(!cold.api.ready().await);
    let peak = peak_memory(cold.api.process());
    println!("a bomb: the API had at most {} MiB", peak >> 20);
    assert!(peak < limit + MARGIN, "{peak}");
    scene.heals(&cold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_snapshot_older_than_the_log_is_not_begun_from() {
    let mut scene = Scene::new().await;
    let old = scene.snapshot().await;
    for port in 1..=5 {
        scene.world.set("a", port).await;
        scene.world.until_true(&scene.warm).await;
    }
    scene.leader.process().freeze();
    let trimmed: u64 = scene.world.redis.run(&format!("XTRIM {} MAXLEN 2", wire::DELTAS)).await.unwrap();
    assert!(trimmed > 0);
    scene.put(&old).await;
    let cold = scene.world.cold_replica(scene.world.redis.address()).await;
    cold.until_counted("mcp_feed_resync_requests_total", 0.0).await;
    let looks = wait::until("it says why it has no graph", SOON, async || {
        let log = crate::world::log(cold.api.process());
        log.contains("cannot be hydrated yet").then_some(())
    });
    looks.await.unwrap();
    assert!(!cold.api.ready().await);
    // Control: whoever begins from it anyhow has a graph that is wrong.
    let naive = scene.world.naive(scene.world.redis.address()).await;
    assert_ne!(naive.ports(), scene.world.truth);
    scene.heals(&cold).await;
}
