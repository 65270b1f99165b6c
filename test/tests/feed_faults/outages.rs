//! Redis that is restarted, emptied, gone, slow or full.

use crate::world::{Replica, SOON, World, feed, log, metric, peak_memory, ports, until_says};
use linkerd_mcp_graph::wire;
use linkerd_mcp_test::{
    proxy::{Behaviour, Proxy},
    redis::{Redis, RedisOptions},
    wait,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A lease that does not end during a test.
const LONG: Duration = Duration::from_secs(120);

/// Reads a replica's graph all the time, and counts.
struct Reads {
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    answered: usize,
    failed: Vec<String>,
}

impl Reads {
    fn of(replica: &Arc<Replica>) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (shared, replica) = (tally.clone(), replica.clone());
        let task = tokio::spawn(async move {
            loop {
                match replica.read().await {
                    Ok(_) => shared.lock().answered += 1,
                    Err(status) => shared.lock().failed.push(status.to_string()),
                }
                tokio::time::sleep(wait::EVERY).await;
            }
        });
        Self { tally, task }
    }

    /// Ends, and holds that there were reads and that all were answered.
    fn all_answered(self) {
        let tally = self.tally.lock().clone();
        assert!(tally.answered > 0 && tally.failed.is_empty(), "{tally:?}");
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until_has(redis: &Redis, key: &str) {
    let command = format!("EXISTS {key}");
    let has =
        wait::until("the key is there", SOON, async || redis.run::<bool>(&command).await.ok()?.then_some(()));
    has.await.unwrap_or_else(|error| panic!("{key}: {error}"));
}

async fn is_absent(redis: &Redis, key: &str) -> bool {
    !redis.run::<bool>(&format!("EXISTS {key}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_redis_that_restarts_empty_is_filled_again_and_no_read_fails() {
    let mut world = World::new().await;
    let proxy = Proxy::start(world.redis.address()).unwrap();
    let leader = world.controller("leader", proxy.address()).await;
    let replica = Arc::new(world.replica(proxy.address()).await);
    let watcher = replica.watch().await;
    let (reads, before) = (Reads::of(&replica), world.epoch().await.unwrap());
    let fresh = Redis::start(None).await.unwrap();
    world.replace_redis(&proxy, fresh);
    until_has(&world.redis, wire::SNAPSHOT).await;
    world.set("a", 1).await;
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    let after = world.epoch().await.unwrap();
    assert!(after > before && replica.position().await.epoch == after, "{before} {after}");

    // Control: with a leader that does not notice, Redis stays empty. Replicas answer from what they have and say so;
    // a new one has nothing to say.
    leader.process().freeze();
    let empty = Redis::start(None).await.unwrap();
    world.replace_redis(&proxy, empty);
    world.set("a", 2).await;
    let cold = world.cold_replica(proxy.address()).await;
    let old = replica.until("its age shows", |graph| (feed(graph).age_ms > 3000).then(|| ports(graph))).await;
    assert_ne!(old, world.truth);
    assert!(is_absent(&world.redis, wire::SNAPSHOT).await && !cold.api.ready().await);
    leader.process().thaw();
    world.until_true(&replica).await;
    world.until_true(&cold).await;
    watcher.until_true(&world.truth).await;
    reads.all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_redis_that_comes_back_with_its_data_goes_on_in_the_same_reign() {
    let mut world = World::new().await;
    let proxy = Proxy::start(world.redis.address()).unwrap();
    let _leader = world.controller_with("leader", proxy.address(), LONG).await;
    let replica = Arc::new(world.replica(proxy.address()).await);
    let watcher = replica.watch().await;
    world.set("a", 1).await;
    world.until_true(&replica).await;
    let (reads, before) = (Reads::of(&replica), world.epoch().await);
    let options = RedisOptions { replica_of: Some(world.redis.address()), ..RedisOptions::default() };
    let copy = Redis::start_with(&options).await.unwrap();
    let copied = wait::until("the copy is complete", SOON, async || {
        copy.run::<String>("INFO replication").await.ok()?.contains("master_link_status:up").then_some(())
    });
    copied.await.unwrap();
    copy.run::<String>("REPLICAOF NO ONE").await.unwrap();
    world.replace_redis(&proxy, copy);
    world.set("a", 2).await;
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    // The other arm is the restart without data: there the reign is another one.
    assert_eq!((world.epoch().await, Some(replica.position().await.epoch)), (before, before));
    reads.all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_redis_that_is_flushed_is_filled_again_under_the_feet_of_its_clients() {
    let mut world = World::new().await;
    let leader = world.controller("leader", world.redis.address()).await;
    let replica = Arc::new(world.replica(world.redis.address()).await);
    let (watcher, reads) = (replica.watch().await, Reads::of(&replica));
    let naive = world.naive(world.redis.address()).await;
    world.set("a", 1).await;
    naive.until("it heard of the first reign", |seen| (seen.changes.len() == 1).then_some(())).await;
    let before = world.epoch().await.unwrap();
    leader.process().freeze();
    world.redis.run::<()>("FLUSHALL").await.unwrap();
    world.set("a", 2).await;
    leader.process().thaw();
    world.until_true(&replica).await;
    // Control: what changed meanwhile is in the snapshot only, where a follower without care does not look again.
    assert_eq!(naive.ports()["a"], 1);
    let after = world.epoch().await.unwrap();
    assert!(after > before, "{before} {after}");
    world.set("a", 3).await;
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    assert_eq!(naive.seen().reigns(), [before, after], "nothing of the old reign comes after the new one");
    reads.all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_while_redis_is_gone_every_read_is_answered_and_says_how_old_it_is() {
    /// What may gather in a process while it cannot publish or read.
    const GROWTH: u64 = 48 << 20;
    let mut world = World::new().await;
    let proxy = Proxy::start(world.redis.address()).unwrap();
    let leader = world.controller("leader", proxy.address()).await;
    let replica = Arc::new(world.replica(proxy.address()).await);
    let (watcher, reads) = (replica.watch().await, Reads::of(&replica));
    let memory = [peak_memory(leader.process()), peak_memory(replica.api.process())];
    proxy.behave(Behaviour::Refuse);
    proxy.cut();
    for port in 1..=300 {
        world.set("a", port).await;
    }
    let old = replica.until("it says that the feed is out of reach, and its age", |graph| {
        let feed = feed(graph);
        (!feed.connected && feed.age_ms > 10_000).then(|| ports(graph))
    });
    assert_ne!(old.await, world.truth, "control: what changed cannot be known");
    proxy.behave(Behaviour::Pass);
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    reads.all_answered();
    let grown = [peak_memory(leader.process()) - memory[0], peak_memory(replica.api.process()) - memory[1]];
    println!("the controller grew by {} KiB, the API by {} KiB", grown[0] >> 10, grown[1] >> 10);
    assert!(grown.iter().all(|bytes| *bytes < GROWTH), "{grown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_a_slow_redis_makes_changes_late_and_nobody_loses_the_lead() {
    let mut world = World::new().await;
    let proxy = Proxy::start(world.redis.address()).unwrap();
    let leader = world.controller_with("leader", proxy.address(), Duration::from_secs(10)).await;
    let token = world.until_leads("leader").await;
    let _standby = world.controller_with("standby", proxy.address(), Duration::from_secs(10)).await;
    let replica = world.replica(proxy.address()).await;
    let watcher = replica.watch().await;
    let before = world.epoch().await;
    // There and back it is half a second, and one piece of twenty gets lost on the way.
    let (delay, again) = (Duration::from_millis(250), Duration::from_millis(400));
    let slow = [Behaviour::Delay(delay), Behaviour::Lossy { delay, one_in: 20, again }];
    for (behaviour, first) in slow.into_iter().zip([100, 200]) {
        proxy.behave(behaviour);
        for more in 1..=20 {
            world.set("a", first + more).await;
        }
        world.until_true(&replica).await;
    }
    watcher.until_true(&world.truth).await;
    assert_eq!((world.leader().await, world.epoch().await), (Some(token), before));

    // Control: slower than the lease, and the lead is lost.
    proxy.behave(Behaviour::Delay(Duration::from_secs(20)));
    until_says(leader.process(), "could not be renewed in time").await;
    proxy.behave(Behaviour::Pass);
    proxy.cut();
    world.set("a", 21).await;
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    assert!(world.epoch().await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_a_snapshot_that_redis_evicted_is_written_again_when_a_replica_asks() {
    let mut world = World::new().await;
    let address = world.redis.address();
    let _leader = world.controller("leader", address).await;
    let warm = world.replica(address).await;
    let naive = world.naive(address).await;
    world.until_true(&warm).await;
    let before = world.epoch().await;
    world.redis.run::<u8>(&format!("DEL {}", wire::SNAPSHOT)).await.unwrap();
    // Control: nobody needs it, so for minutes it is not there.
    let heard = naive.seen().positions.len();
    naive.until("the leader goes on", |seen| (seen.positions.len() >= heard + 3).then_some(())).await;
    assert!(is_absent(&world.redis, wire::SNAPSHOT).await);
    let cold = world.replica(address).await;
    world.until_true(&cold).await;
    assert!(cold.metric("mcp_feed_resync_requests_total").await >= 1.0);
    world.set("a", 1).await;
    world.until_true(&cold).await;
    world.until_true(&warm).await;
    assert_eq!(world.epoch().await, before, "it took no new reign");
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_a_lead_that_redis_evicted_is_taken_again_with_a_new_snapshot() {
    let mut world = World::new().await;
    let address = world.redis.address();
    let leader = world.controller("leader", address).await;
    let replica = world.replica(address).await;
    let watcher = replica.watch().await;
    for key in [wire::LEADER, wire::EPOCH, wire::DELTAS, wire::SNAPSHOT] {
        let before = world.epoch().await.unwrap();
        world.redis.run::<u8>(&format!("DEL {key}")).await.unwrap();
        world.set("a", world.truth.get("a").map_or(1, |port| port + 1)).await;
        world.until_true(&replica).await;
        let after = world.epoch().await.unwrap();
        match key {
            wire::LEADER | wire::EPOCH => assert!(after > before, "{key}: {before} {after}"),
            _ => assert_eq!(after, before, "{key}"),
        }
    }
    watcher.until_true(&world.truth).await;
    // Control: it is the fence that told the leader; it wrote nothing without the lead.
    assert!(log(leader.process()).contains("another controller leads the feed, or nobody does any more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_a_redis_that_is_full_is_said_and_what_changed_meanwhile_arrives_when_there_is_room() {
    let mut world = World::new().await;
    let address = world.redis.address();
    let leader = world.controller("leader", address).await;
    let replica = Arc::new(world.replica(address).await);
    let (watcher, reads) = (replica.watch().await, Reads::of(&replica));
    world.redis.run::<()>("CONFIG SET maxmemory 1").await.unwrap();
    world.set("a", 1).await;
    let failing = wait::until("publishing fails", SOON, async || {
        let metrics = leader.metrics().await.ok()?;
        (metric(&metrics, "mcp_index_publish_failures_total") > 0.0).then_some(())
    });
    failing.await.unwrap();
    until_says(leader.process(), "publishing failed").await;
    // Control: it is really full, so nothing arrives.
    assert_ne!(ports(&replica.read().await.unwrap()), world.truth);
    world.set("b", 1).await;
    world.redis.run::<()>("CONFIG SET maxmemory 0").await.unwrap();
    world.until_true(&replica).await;
    watcher.until_true(&world.truth).await;
    reads.all_answered();
}
