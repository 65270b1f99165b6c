//! Messages that are lost, repeated, overtaken or changed on their way to one replica, and a replica that is cut off.

use crate::{
    naive::Naive,
    watcher::Watcher,
    world::{Replica, SOON, World, feed, ports},
};
use linkerd_mcp_graph::wire::{self, envelope};
use linkerd_mcp_test::{
    ours::Controller,
    proxy::{
        Behaviour, Proxy,
        pushes::{Fate, Meddler, Push},
    },
    wait,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What happens to a change.
type Trouble = fn(&[u8]) -> Fate;

/// A proxy that lets changes meet a fate on request.
struct Mishap {
    proxy: Proxy,
    /// How many changes meet it.
    armed: Arc<AtomicUsize>,
}

/// A controller, a replica and a naive follower that both hear of it by way of a [`Mishap`] each, and a watcher.
struct Scene {
    world: World,
    mishaps: [Mishap; 2],
    _controller: Controller,
    replica: Replica,
    naive: Naive,
    watcher: Watcher,
}

impl Mishap {
    /// Heartbeats are lost until one more change has passed if `silent`, so that nothing tells of the mishap earlier.
    fn new(world: &World, trouble: Trouble, silent: bool) -> Self {
        let armed = Arc::new(AtomicUsize::new(0));
        let left = armed.clone();
        let mut happened = false;
        let judge = move |push: Push<'_>| {
            if push.channel != wire::DELTA.as_bytes() {
                return Fate::Pass;
            }
            let is_change = envelope::decode(push.payload).is_ok_and(|envelope| envelope.patch.is_some());
            if !is_change {
                return if silent && happened { Fate::Lose } else { Fate::Pass };
            }
            if left.load(Ordering::SeqCst) > 0 {
                left.fetch_sub(1, Ordering::SeqCst);
                happened = true;
                return trouble(push.payload);
            }
            happened = false;
            Fate::Pass
        };
        Self { proxy: Proxy::meddling(world.redis.address(), Meddler::new(judge)).unwrap(), armed }
    }
}

impl Scene {
    async fn new(trouble: Trouble, silent: bool) -> Self {
        let mut world = World::new().await;
        let controller = world.controller("leader", world.redis.address()).await;
        let mishaps = [Mishap::new(&world, trouble, silent), Mishap::new(&world, trouble, silent)];
        let replica = world.replica(mishaps[0].proxy.address()).await;
        let naive = world.naive(mishaps[1].proxy.address()).await;
        let watcher = replica.watch().await;
        world.set("a", 7771).await;
        world.until_true(&replica).await;
        let scene = Self { world, mishaps, _controller: controller, replica, naive, watcher };
        scene.naive_is("7771", 7771).await;
        assert_eq!(scene.naive.ports(), scene.world.truth, "without a mishap the naive follower does well");
        scene
    }

    /// The next change meets its fate, at the replica and at the naive follower.
    fn arm(&self) {
        for mishap in &self.mishaps {
            mishap.armed.store(1, Ordering::SeqCst);
        }
    }

    async fn until_happened(&self) {
        let happened = wait::until("the mishap happened at both", SOON, async || {
            self.mishaps.iter().all(|mishap| mishap.armed.load(Ordering::SeqCst) == 0).then_some(())
        });
        happened.await.unwrap();
    }

    async fn naive_is(&self, what: &str, port: u16) {
        let is = wait::until(what, SOON, async || (self.naive.ports().get("a") == Some(&port)).then_some(()));
        assert!(is.await.is_ok(), "`a` is not {port}: {:?}", self.naive.ports());
    }

    /// The replica has the truth, its watcher had no hole, and no snapshot was needed.
    async fn comes_out_right(&self) {
        self.world.until_true(&self.replica).await;
        self.watcher.until_true(&self.world.truth).await;
        assert_eq!(self.replica.metric("mcp_feed_resyncs_total").await, 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_lost_change_is_noticed_by_the_next_heartbeat_and_read_from_the_log() {
    let mut scene = Scene::new(|_| Fate::Lose, false).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.comes_out_right().await;
    assert!(scene.replica.metric("mcp_feed_gaps_total").await >= 1.0);
    // Control: without a look at the numbers nobody notices, however much follows.
    scene.world.set("b", 1).await;
    scene.naive.until("the naive follower goes on", |seen| (seen.changes.len() >= 2).then_some(())).await;
    scene.naive_is("what was lost stays lost", 7771).await;
    assert_ne!(scene.naive.ports(), scene.world.truth);
    scene.comes_out_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_a_repeated_change_is_ignored() {
    let mut scene = Scene::new(|_| Fate::Repeat, true).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.until_happened().await;
    scene.world.set("a", 7773).await;
    scene.comes_out_right().await;
    scene.replica.until_counted("mcp_feed_duplicates_total", 0.0).await;
    scene.comes_out_right().await;
    // Control: the first of the two changes is taken for the newest.
    scene.naive_is("the naive follower goes back", 7772).await;
    assert_ne!(scene.naive.ports(), scene.world.truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_change_that_overtook_another_is_not_applied_early() {
    let mut scene = Scene::new(|_| Fate::Overtake, true).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.until_happened().await;
    assert_eq!(ports(&scene.replica.read().await.unwrap())["a"], 7771, "it did not come yet");
    scene.world.set("a", 7773).await;
    scene.comes_out_right().await;
    // Control: the order in which they came is taken for the order in which they were made.
    scene.naive_is("the naive follower ends with the older one", 7772).await;
    assert_ne!(scene.naive.ports(), scene.world.truth);
}

/// The change with other words in it, and the checksum as it was.
fn tampered(payload: &[u8]) -> Fate {
    let text = String::from_utf8_lossy(payload).replace("7772", "6666");
    Fate::Change(text.into_bytes())
}

/// The change as if it were the one after the next.
fn renumbered(payload: &[u8]) -> Fate {
    let seq = envelope::decode(payload).unwrap().position.seq;
    let text = String::from_utf8_lossy(payload);
    Fate::Change(text.replacen(&format!(r#""seq":{seq}"#), &format!(r#""seq":{}"#, seq + 1), 1).into_bytes())
}

fn truncated(payload: &[u8]) -> Fate {
    Fate::Change(payload[..payload.len() / 2].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_change_with_other_words_in_it_is_refused_and_read_whole_from_the_log() {
    let mut scene = Scene::new(tampered, false).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.comes_out_right().await;
    assert_eq!(scene.replica.metric("mcp_feed_bad_messages_total").await, 1.0);
    // Control: whoever does not look at the checksum believes it.
    scene.naive_is("the naive follower believes it", 6666).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_change_with_another_number_is_refused_and_read_whole_from_the_log() {
    let mut scene = Scene::new(renumbered, false).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.comes_out_right().await;
    assert_eq!(scene.replica.metric("mcp_feed_bad_messages_total").await, 1.0);
    // Control: whoever does not look at the checksum believes that it is somewhere else.
    let believed = scene.naive.until("it came", |seen| seen.changes.get(1).map(|(at, _)| *at)).await;
    assert_eq!(believed.seq, scene.replica.position().await.seq + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_half_a_change_is_refused_and_read_whole_from_the_log() {
    let mut scene = Scene::new(truncated, false).await;
    scene.arm();
    scene.world.set("a", 7772).await;
    scene.comes_out_right().await;
    assert_eq!(scene.replica.metric("mcp_feed_bad_messages_total").await, 1.0);
    // Control: without the log it is gone.
    scene.world.set("b", 1).await;
    scene.naive.until("the naive follower goes on", |seen| (seen.changes.len() >= 2).then_some(())).await;
    scene.naive_is("what was broken is missing", 7771).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_one_replica_that_is_cut_off_says_so_and_catches_up_from_the_log() {
    let mut world = World::new().await;
    let address = world.redis.address();
    let _controller = world.controller("leader", address).await;
    let proxy = Proxy::start(address).unwrap();
    let (here, there) = (world.replica(address).await, world.replica(proxy.address()).await);
    let (watcher, naive) = (there.watch().await, world.naive(proxy.address()).await);
    proxy.behave(Behaviour::Stall);
    for port in 1..=20 {
        world.set("a", port).await;
    }
    world.remove("web").await;
    world.until_true(&here).await;
    // The connection looks alive until it has been silent for long; the age tells before.
    let old = there.until("the age of the graph shows", |graph| {
        (feed(graph).age_ms > 3000).then(|| (ports(graph), feed(graph).connected))
    });
    let (old, _) = old.await;
    assert_ne!(old, world.truth);
    there
        .until("it says that the feed does not deliver", |graph| (!feed(graph).connected).then_some(()))
        .await;
    let fresh = here.feed().await;
    assert!(fresh.connected && fresh.age_ms < there.feed().await.age_ms, "{fresh:?}");

    // What was under way is lost with the connections, as when a node comes back.
    proxy.cut();
    proxy.behave(Behaviour::Pass);
    world.until_true(&there).await;
    watcher.until_true(&world.truth).await;
    assert_eq!(there.metric("mcp_feed_resyncs_total").await, 1.0, "the log was enough");
    assert!(there.metric("mcp_feed_reconnects_total").await >= 1.0);
    let same = |graph: &mut linkerd_mcp_proto::v1::MeshGraph| graph.freshness = None;
    let (mut one, mut other) = (here.read().await.unwrap(), there.read().await.unwrap());
    same(&mut one);
    same(&mut other);
    assert_eq!(one, other);
    // Control: who has no log has nothing of it.
    assert_ne!(naive.ports(), world.truth);
    assert_eq!(naive.seen().changes.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_replica_that_redis_cuts_off_for_being_slow_loses_nothing() {
    const JUNK: usize = 1 << 20;
    let mut world = World::new().await;
    let address = world.redis.address();
    let client = world.redis.client().unwrap();
    let mut redis = linkerd_mcp_test::redis::connect(&client).await.unwrap();
    let mut set = redis::cmd("CONFIG");
    set.arg(&["SET", "client-output-buffer-limit", "pubsub 4mb 0 0"]);
    set.exec_async(&mut redis).await.unwrap();
    let _controller = world.controller("leader", address).await;
    let proxy = Proxy::start(address).unwrap();
    let (here, there) = (world.replica(address).await, world.replica(proxy.address()).await);
    let (watcher, naive) = (there.watch().await, world.naive(proxy.address()).await);
    proxy.behave(Behaviour::Stall);
    // More than the buffers of the system and of Redis take. It is no frame, so whoever hears it has no use for it.
    let junk = "x".repeat(JUNK);
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(wire::METRICS).arg(&junk);
    let listening: u64 = publish.query_async(&mut redis).await.unwrap();
    let mut left = listening;
    for _ in 0..256 {
        if left + 2 <= listening {
            break;
        }
        left = publish.query_async(&mut redis).await.unwrap();
    }
    assert_eq!(left + 2, listening, "Redis cuts off those two that do not read, and nobody else");
    world.set("a", 1).await;
    world.set("web", 81).await;
    world.until_true(&here).await;
    proxy.behave(Behaviour::Pass);
    world.until_true(&there).await;
    watcher.until_true(&world.truth).await;
    assert_eq!(there.metric("mcp_feed_resyncs_total").await, 1.0, "the log was enough");
    assert!(there.metric("mcp_feed_reconnects_total").await >= 1.0);
    // Control: who has no log has nothing of it.
    naive.until_cut_off().await;
    assert_eq!(naive.seen().changes.len(), 0);
    assert_ne!(naive.ports(), world.truth);
}
