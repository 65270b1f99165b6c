//! The feed over a real Redis: the controller's publisher at one end, the API's subscription at the other.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use linkerd_mcp_api::feed::redis::{
    FeedMetrics, RedisServer as ReadFrom, RedisSubscription, SubscribeOptions,
};
use linkerd_mcp_controller::lead::{self, Leading};
use linkerd_mcp_controller::publish::{Error, Lead, PublishOptions, RedisPublisher, RedisServer as WriteTo};
use linkerd_mcp_graph::{
    delta::{self, Delta},
    feed::{Event, Position, Publisher, Subscription, lease::Past},
    id::{Destination, EdgeId, Source, Text},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Namespace, ObservedBy, Protocol, Tls},
    status::MetricsStatus,
    wire,
};
use linkerd_mcp_test::{redis::Redis, wait};
use redis::{AsyncCommands, aio::MultiplexedConnection};

/// How long anything may take before the test fails. Long, because two cores are shared.
const LIMIT: Duration = Duration::from_secs(30);

/// A writer with the graph it has published.
struct Writer {
    publisher: RedisPublisher,
    graph: Arc<Graph>,
    clock_ms: i64,
}

/// What an API replica would have, kept by applying events as it would.
struct Replica {
    subscription: RedisSubscription,
    counts: FeedMetrics,
    position: Option<Position>,
    graph: Arc<Graph>,
    metrics: Arc<Metrics>,
    snapshots: usize,
    faults: Vec<String>,
}

fn mk_graph(services: &[&str]) -> Result<Arc<Graph>> {
    let mut graph = Graph::default();
    graph.namespaces.insert(Text::from("shop"), Arc::new(Namespace::default()));
    for service in services {
        let src: Source = "shop/deployment/web".parse()?;
        let dst: Destination = format!("shop/{service}:80").parse()?;
        let edge = Edge {
            src,
            dst,
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
        graph.edges.insert(EdgeId::new(&edge.src, &edge.dst), Arc::new(edge));
    }
    Ok(Arc::new(graph))
}

fn mk_metrics(graph: &Graph, rps: f64) -> Arc<Metrics> {
    let row = EdgeMetrics { rps: Some(rps), ..EdgeMetrics::default() };
    let rows = graph.edges.keys().map(|id| (id.clone(), row.clone())).collect();
    let status =
        MetricsStatus { stale: false, reason: String::new(), as_of_ms: Some(1), ..MetricsStatus::default() };
    Arc::new(Metrics::new(status, rows))
}

async fn connect(redis: &Redis) -> Result<MultiplexedConnection> {
    Ok(linkerd_mcp_test::redis::connect(&redis.client()?).await?)
}

async fn in_time<T>(what: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(LIMIT, future)
        .await
        .with_context(|| format!("waited {LIMIT:?} in vain until {what}"))?
}

impl Writer {
    /// A publisher that does not lead.
    fn idle(redis: &Redis, holder: &str) -> Result<Self> {
        let publisher = RedisPublisher::new(PublishOptions::new(WriteTo::new(redis.url()), holder))?;
        Ok(Self { publisher, graph: Arc::default(), clock_ms: 0 })
    }

    /// A publisher that leads and has published a snapshot of `graph`.
    async fn leading(redis: &Redis, graph: Arc<Graph>) -> Result<Self> {
        let mut writer = Self::idle(redis, "writer")?;
        writer.lead(graph).await?;
        Ok(writer)
    }

    async fn lead(&mut self, graph: Arc<Graph>) -> Result<u64> {
        let Lead::Ours { epoch } = self.publisher.acquire().await? else { bail!("somebody else leads") };
        in_time("the new leader is asked for a snapshot", async {
            self.publisher.resync_requested().await;
            Ok(())
        })
        .await?;
        self.graph = graph;
        self.snapshot().await?;
        Ok(epoch)
    }

    async fn snapshot(&mut self) -> Result<Position> {
        self.clock_ms += 1;
        Ok(self.publisher.snapshot(self.clock_ms, self.graph.clone(), Arc::default()).await?)
    }

    async fn change(&mut self, graph: Arc<Graph>) -> Result<Position, Error> {
        self.clock_ms += 1;
        let delta = Arc::new(delta::diff(&self.graph, &graph));
        self.graph = graph;
        self.publisher.delta(self.clock_ms, delta).await
    }

    /// Answers requests for snapshots while `other` runs.
    async fn answering<T>(&mut self, other: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return done,
                () = self.publisher.resync_requested() => drop(self.snapshot().await?),
            }
        }
    }
}

impl Replica {
    fn new(redis: &Redis) -> Result<Self> {
        let mut options = SubscribeOptions::new(ReadFrom::new(redis.url()));
        options.between_requests = Duration::from_millis(200);
        let counts = FeedMetrics::default();
        Ok(Self {
            subscription: RedisSubscription::new(options, counts.clone())?,
            counts,
            position: None,
            graph: Arc::default(),
            metrics: Arc::default(),
            snapshots: 0,
            faults: Vec::new(),
        })
    }

    async fn step(&mut self) -> Result<()> {
        match self.subscription.next().await {
            Ok(Event::Snapshot(snapshot)) => {
                self.position = Some(snapshot.position);
                self.graph = snapshot.graph;
                self.metrics = snapshot.metrics;
                self.snapshots += 1;
            }
            Ok(Event::Delta { position, delta, .. }) => {
                let before = self.position.context("the first event is a snapshot")?;
                ensure!(
                    position == Position { seq: before.seq + 1, ..before },
                    "{before:?} then {position:?}"
                );
                self.graph = Arc::new(delta::apply(&self.graph, &delta)?);
                self.position = Some(position);
            }
            Ok(Event::Metrics { position, metrics }) => {
                ensure!(self.position == Some(position), "numbers of {position:?} at {:?}", self.position);
                self.metrics = metrics;
            }
            Ok(Event::Heartbeat { position, .. }) => {
                ensure!(self.position == Some(position), "heartbeat of {position:?} at {:?}", self.position);
            }
            Err(fault) => self.faults.push(fault.to_string()),
        }
        Ok(())
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        in_time(what, async {
            while !done(self) {
                // A subscription may be dropped in the middle of anything and asked again.
                if let Ok(stepped) = tokio::time::timeout(wait::EVERY, self.step()).await {
                    stepped?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn until_at(&mut self, position: Position, graph: &Graph) -> Result<()> {
        self.until("the replica is where the writer is", |replica| replica.position >= Some(position))
            .await?;
        assert_eq!((self.position, &*self.graph), (Some(position), graph));
        Ok(())
    }
}

#[tokio::test]
async fn snapshot_log_and_live_changes_lead_to_the_writers_graph() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    writer.change(mk_graph(&["api", "db"])?).await?;
    let logged = writer.change(mk_graph(&["db"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until_at(logged, &writer.graph).await?;
    assert_eq!((logged.seq, replica.snapshots), (2, 1));

    let live = writer.change(mk_graph(&["db", "cache"])?).await?;
    replica.until_at(live, &writer.graph).await?;
    let metrics = mk_metrics(&writer.graph, 12.5);
    writer.publisher.metrics(&writer.graph, metrics.clone()).await?;
    replica.until("the numbers are there", |replica| replica.metrics == metrics).await?;
    writer.publisher.heartbeat(99).await?;
    replica.step().await?;

    // Whoever comes now gets the numbers with the graph.
    let mut late = Replica::new(&redis)?;
    late.until_at(live, &writer.graph).await?;
    assert_eq!(late.metrics, metrics);
    assert_eq!((replica.snapshots, replica.counts.deltas.get(), replica.counts.gaps.get()), (1, 1, 0));
    assert_eq!(replica.faults, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn numbers_that_are_ahead_of_their_topology_wait_for_it() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until("the first snapshot is there", |replica| replica.snapshots == 1).await?;
    let at = writer.publisher.position().context("it leads")?;
    let graph = mk_graph(&["api", "db"])?;
    let metrics = mk_metrics(&graph, 3.0);
    let frame = wire::frame::encode(Position { seq: at.seq + 1, ..at }, &graph, graph.edges_hash(), &metrics);
    let _: i64 = connect(&redis).await?.publish(wire::METRICS, frame).await?;
    let nothing = tokio::time::timeout(8 * wait::EVERY, replica.step()).await;
    ensure!(nothing.is_err(), "numbers came before their topology");
    assert_eq!(*replica.metrics, Metrics::default());
    writer.change(graph).await?;
    replica.until("the numbers fit", |replica| replica.metrics == metrics).await?;
    assert_eq!((replica.counts.bad_messages.get(), replica.counts.frames.get()), (0, 2));
    Ok(())
}

#[tokio::test]
async fn a_reader_waits_for_the_first_snapshot() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut replica = Replica::new(&redis)?;
    let mut writer = Writer::idle(&redis, "writer")?;
    let graph = mk_graph(&["api"])?;
    let reading = replica.until("the first snapshot is there", |replica| replica.snapshots == 1);
    tokio::try_join!(reading, async { writer.lead(graph.clone()).await.map(drop) })?;
    assert_eq!(replica.graph, graph);
    Ok(())
}

#[tokio::test]
async fn a_reader_that_was_cut_off_catches_up_by_the_log() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until("the first snapshot is there", |replica| replica.snapshots == 1).await?;
    let killed: usize = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "pubsub"])
        .query_async(&mut connect(&redis).await?)
        .await?;
    assert!(killed >= 1);
    writer.change(mk_graph(&["api", "db"])?).await?;
    let last = writer.change(mk_graph(&["db"])?).await?;
    replica.until_at(last, &writer.graph).await?;
    assert_eq!(replica.snapshots, 1);
    assert_eq!((replica.counts.reconnects.get(), replica.counts.deltas.get()), (1, 2));
    assert!(matches!(&*replica.faults, [fault] if fault.contains("was cut off")), "{:?}", replica.faults);
    // It is live again, not only caught up.
    let next = writer.change(mk_graph(&[])?).await?;
    replica.until_at(next, &writer.graph).await
}

#[tokio::test]
async fn a_message_that_got_lost_is_read_from_the_log() -> Result<()> {
    let redis = Redis::start(None).await?;
    let writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until("the first snapshot is there", |replica| replica.snapshots == 1).await?;
    // Written to the log by the leader, but never pushed: then a heartbeat tells that something is missing.
    let at = writer.publisher.position().context("it leads")?;
    let next = Position { seq: at.seq + 1, ..at };
    let graph = mk_graph(&["db"])?;
    let patch = wire::patch::encode(&delta::diff(&writer.graph, &graph));
    let mut raw = connect(&redis).await?;
    let id = format!("{}-{}", next.epoch, next.seq);
    let _: String = raw
        .xadd(wire::DELTAS, id, &[(wire::ENVELOPE_FIELD, wire::envelope::encode(next, 5, Some(&patch)))])
        .await?;
    let _: i64 = raw.publish(wire::DELTA, wire::envelope::encode(next, 6, None)).await?;
    replica.until_at(next, &graph).await?;
    assert_eq!((replica.counts.gaps.get(), replica.snapshots), (1, 1));
    // The same once more is a duplicate.
    let _: i64 = raw.publish(wire::DELTA, wire::envelope::encode(next, 5, Some(&patch))).await?;
    let _: i64 = raw.publish(wire::DELTA, wire::envelope::encode(next, 7, None)).await?;
    replica.step().await?;
    assert_eq!((replica.counts.duplicates.get(), replica.graph), (1, graph));
    Ok(())
}

#[tokio::test]
async fn a_gap_that_the_log_no_longer_covers_is_closed_by_a_snapshot() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until("the first snapshot is there", |replica| replica.snapshots == 1).await?;
    let mut raw = connect(&redis).await?;
    let _: usize = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query_async(&mut raw).await?;
    writer.change(mk_graph(&["api", "db"])?).await?;
    let _: usize = redis::cmd("XTRIM").arg(wire::DELTAS).arg(&["MAXLEN", "0"]).query_async(&mut raw).await?;
    let last = writer.change(mk_graph(&["db"])?).await?;
    writer.answering(replica.until("a snapshot closed the gap", |replica| replica.snapshots == 2)).await?;
    assert_eq!((replica.position, &replica.graph), (Some(last), &writer.graph));
    assert!(replica.counts.requests.get() >= 1);
    Ok(())
}

#[tokio::test]
async fn who_does_not_lead_publishes_nothing() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut raw = connect(&redis).await?;
    let before: Vec<u8> = raw.get(wire::SNAPSHOT).await?;
    let _: () = raw.set(wire::LEADER, "somebody/else").await?;
    let lost = writer.publisher.lost();
    let error = writer.change(mk_graph(&["db"])?).await.expect_err("somebody else leads");
    assert_eq!(
        error.to_string(),
        "not published: another controller leads the feed, or nobody does any more"
    );
    in_time("the lead is lost", async {
        lost.await;
        Ok(())
    })
    .await?;
    let log: usize = raw.xlen(wire::DELTAS).await?;
    let after: Vec<u8> = raw.get(wire::SNAPSHOT).await?;
    assert_eq!((log, after), (0, before));

    // The reign counts as well as the name: a leader of an earlier one is refused.
    let _: () = raw.del(wire::LEADER).await?;
    let epoch = writer.lead(mk_graph(&["api"])?).await?;
    let _: () = raw.set(wire::EPOCH, epoch + 1).await?;
    let error = writer.publisher.heartbeat(1).await.expect_err("it is another reign");
    assert_eq!(error.to_string(), "not published: another reign of the feed has begun");
    let error =
        writer.publisher.metrics(&Graph::default(), Arc::default()).await.expect_err("its reign is over");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_a_sentence_that_says_what_to_do() -> Result<()> {
    let redis = Redis::start(Some("secret")).await?;
    let address = redis.address();
    let wanted = format!(
        "Redis at {address} refuses our login; check the user and the password, in --redis-password-file or in the Redis URL"
    );
    for url in [format!("redis://:wrong@{address}"), format!("redis://{address}")] {
        let mut publisher = RedisPublisher::new(PublishOptions::new(WriteTo::new(url.as_str()), "writer"))?;
        assert_eq!(publisher.check().await.expect_err("it has no password").to_string(), wanted);
        let mut subscription = RedisSubscription::new(
            SubscribeOptions::new(ReadFrom::new(url.as_str())),
            FeedMetrics::default(),
        )?;
        assert_eq!(subscription.next().await.expect_err("it has no password").to_string(), wanted);
    }
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    let at = writer.change(mk_graph(&["db"])?).await?;
    replica.until_at(at, &writer.graph).await
}

#[tokio::test]
async fn broken_messages_never_make_a_wrong_graph() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until("the first snapshot is there", |replica| replica.snapshots == 1).await?;
    let mut raw = connect(&redis).await?;

    // Broken on the channel only: the log has it whole.
    let _: i64 = raw.publish(wire::DELTA, "{\"epoch\":").await?;
    let _: i64 = raw.publish(wire::METRICS, "not a frame").await?;
    let at = writer.change(mk_graph(&["db"])?).await?;
    replica.until_at(at, &writer.graph).await?;
    replica.until("both were counted", |replica| replica.counts.bad_messages.get() == 2).await?;
    assert_eq!(replica.snapshots, 1);

    // Broken in the log as well: only a snapshot helps, and the leader is asked for it.
    let next = Position { seq: at.seq + 1, ..at };
    let patch = wire::patch::encode(&Delta::default());
    let broken = wire::envelope::encode(next, 1, Some(&patch)).replace("\"patch\":[]", "\"patch\":[ ]");
    let id = format!("{}-{}", next.epoch, next.seq);
    let _: String = raw.xadd(wire::DELTAS, id, &[(wire::ENVELOPE_FIELD, &broken)]).await?;
    let _: i64 = raw.publish(wire::DELTA, &broken).await?;
    let error = writer.change(mk_graph(&["db", "cache"])?).await.expect_err("the number is taken");
    assert!(error.to_string().ends_with("refuses a command"), "{error}");
    let error = writer.change(mk_graph(&["cache"])?).await.expect_err("a snapshot has to come first");
    assert!(matches!(error, Error::SnapshotFirst), "{error}");
    writer.answering(replica.until("a snapshot came", |replica| replica.snapshots == 2)).await?;
    assert_eq!(replica.graph, writer.graph);

    // Poisoned snapshots are refused, and what is there stays.
    let mut late = Replica::new(&redis)?;
    let _: () = raw.set(wire::SNAPSHOT, "poison").await?;
    writer.answering(late.until("a whole snapshot came", |late| late.snapshots == 1)).await?;
    assert_eq!((late.graph, late.counts.bad_snapshots.get() >= 1), (writer.graph.clone(), true));
    let at = writer.change(mk_graph(&["end"])?).await?;
    replica.until_at(at, &writer.graph).await
}

#[tokio::test]
async fn a_snapshot_after_a_failure_reaches_those_who_were_up_to_date() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    let before = writer.change(mk_graph(&["db"])?).await?;
    replica.until_at(before, &writer.graph).await?;
    // A publication fails though the leader goes on leading. The controller is behind then: what changes meanwhile is
    // in its next snapshot, not in a change of its own.
    let mut raw = connect(&redis).await?;
    let acl = |rule: &'static str| redis::cmd("ACL").arg(&["SETUSER", "default", rule]).to_owned();
    let _: () = acl("-publish").query_async(&mut raw).await?;
    writer.publisher.heartbeat(1).await.expect_err("it may not publish");
    let _: () = acl("+publish").query_async(&mut raw).await?;
    writer.graph = mk_graph(&["cache"])?;
    let after = writer.snapshot().await?;
    assert_eq!(after, Position { seq: before.seq + 1, ..before }, "one position names one graph");
    replica.until_at(after, &writer.graph).await?;
    let last = writer.change(mk_graph(&["cache", "db"])?).await?;
    replica.until_at(last, &writer.graph).await
}

#[tokio::test]
async fn the_epoch_of_a_reign_is_what_the_rule_says() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut raw = connect(&redis).await?;
    let far = 4_000_000_000_000_u64;
    for (previous, in_log) in
        [(None, None), (Some(far), None), (Some(far), Some(far + 7)), (None, Some(far + 20))]
    {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut raw).await?;
        if let Some(epoch) = previous {
            let _: () = raw.set(wire::EPOCH, epoch).await?;
        }
        if let Some(epoch) = in_log {
            let _: String =
                raw.xadd(wire::DELTAS, format!("{epoch}-3"), &[(wire::ENVELOPE_FIELD, "{}")]).await?;
        }
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut raw).await?;
        let redis_ms = seconds * 1000 + micros / 1000;
        let Lead::Ours { epoch } = Writer::idle(&redis, "writer")?.publisher.acquire().await? else {
            bail!("somebody else leads")
        };
        let wanted = Past { previous, newest_in_log: in_log, redis_ms }.next_epoch();
        match (previous, in_log) {
            // Only the clock counts, and it goes on.
            (None, None) => ensure!(epoch >= wanted && epoch < wanted + 60_000, "{epoch} and not {wanted}"),
            _ => assert_eq!(epoch, wanted),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_leader_begins_a_reign_that_readers_follow() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut first = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let mut replica = Replica::new(&redis)?;
    let at = first.change(mk_graph(&["api", "db"])?).await?;
    replica.until_at(at, &first.graph).await?;
    let mut second = Writer::idle(&redis, "second")?;
    match second.publisher.acquire().await? {
        Lead::Theirs { holder, expires_in: Some(_) } => assert_eq!(holder, first.publisher.token()),
        other => panic!("the first still leads, got {other:?}"),
    }
    first.publisher.release().await?;
    let epoch = second.lead(mk_graph(&["cache"])?).await?;
    assert!(epoch > at.epoch);
    replica.until_at(Position { epoch, seq: 0 }, &second.graph).await?;
    let error = first.change(mk_graph(&["old"])?).await.expect_err("it has given up the lead");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let at = second.change(mk_graph(&["new"])?).await?;
    replica.until_at(at, &second.graph).await
}

#[tokio::test]
async fn an_emptied_redis_is_filled_again_by_a_new_reign() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut writer = Writer::leading(&redis, mk_graph(&["api"])?).await?;
    let before = writer.change(mk_graph(&["db"])?).await?;
    let mut replica = Replica::new(&redis)?;
    replica.until_at(before, &writer.graph).await?;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut connect(&redis).await?).await?;
    let error = writer.change(mk_graph(&["cache"])?).await.expect_err("nobody leads any more");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let epoch = writer.lead(mk_graph(&["cache"])?).await?;
    assert!(epoch > before.epoch);
    replica.until_at(Position { epoch, seq: 0 }, &writer.graph).await
}

#[tokio::test]
async fn the_lead_is_kept_longer_than_one_lease() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut options = PublishOptions::new(WriteTo::new(redis.url()), "writer");
    options.lease = Duration::from_millis(600);
    let mut publisher = RedisPublisher::new(options)?;
    publisher.acquire().await?;
    let taken = tokio::time::Instant::now();
    let mut raw = connect(&redis).await?;
    in_time("three leases have passed", async {
        while taken.elapsed() < Duration::from_millis(1800) {
            let holder: Option<String> = raw.get(wire::LEADER).await?;
            ensure!(holder.as_deref() == Some(publisher.token()), "{holder:?} leads");
            tokio::time::sleep(wait::EVERY).await;
        }
        Ok(())
    })
    .await?;
    publisher.snapshot(1, Arc::default(), Arc::default()).await?;
    // Taken away, the publisher finds out by itself.
    let lost = publisher.lost();
    let _: () = raw.set(wire::LEADER, "somebody/else").await?;
    in_time("the lead is lost", async {
        lost.await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_standby_is_woken_by_a_leader_that_goes_and_by_a_lease_that_ends() -> Result<()> {
    let redis = Redis::start(None).await?;
    let mut options = PublishOptions::new(WriteTo::new(redis.url()), "leader");
    options.lease = LIMIT * 10;
    let mut leader = RedisPublisher::new(options.clone())?;
    leader.acquire().await?;
    let mut standby = Leading::new(Writer::idle(&redis, "standby")?.publisher);
    let stands_by = async |standby: &mut Leading| {
        let refused = standby.snapshot(1, Arc::default(), Arc::default()).await;
        ensure!(matches!(refused, Err(lead::Error::StandingBy { .. })), "{refused:?}");
        Ok(())
    };
    stands_by(&mut standby).await?;
    // Nothing wakes it while the leader stays. It has to listen before the leader says goodbye.
    in_time("the standby listens", async {
        let mut raw = connect(&redis).await?;
        loop {
            let (_, listening): (String, u64) =
                redis::cmd("PUBSUB").arg(&["NUMSUB", wire::RESYNC]).query_async(&mut raw).await?;
            if listening == 2 {
                return Ok(());
            }
            tokio::time::sleep(wait::EVERY).await;
        }
    })
    .await?;
    assert!(tokio::time::timeout(8 * wait::EVERY, standby.resync_requested()).await.is_err());
    leader.release().await?;
    in_time("the goodbye is heard", async {
        standby.resync_requested().await;
        Ok(())
    })
    .await?;
    standby.snapshot(2, Arc::default(), Arc::default()).await?;
    standby.release().await?;

    options.lease = Duration::from_secs(1);
    let mut leader = RedisPublisher::new(options)?;
    leader.acquire().await?;
    stands_by(&mut standby).await?;
    drop(leader);
    // Its own goodbye may wake it once more; every refusal says anew when the lease ends.
    in_time("the end of the lease is waited for", async {
        loop {
            standby.resync_requested().await;
            match standby.snapshot(3, Arc::default(), Arc::default()).await {
                Err(lead::Error::StandingBy { .. }) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    })
    .await
}
