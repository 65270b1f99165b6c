//! The ways to Redis that users have, on real servers: logins, ACLs, TLS, Sentinel, Cluster, and the check at the start.
//! Every test has a control that shows that what it looks for can be seen.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use clap::Parser;
use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use linkerd_mcp_controller::publish::{Error, Lead, PublishOptions, RedisPublisher};
use linkerd_mcp_feed::{Dialer, End, RedisArgs, RedisFault, RedisMetrics, Rights};
use linkerd_mcp_graph::{feed::Publisher as _, wire};
use linkerd_mcp_test::{
    certs::Authority,
    ours::{Api, Controller, ControllerOptions},
    redis::{Redis, RedisOptions, Sentinel, ServerTls},
    rig, wait,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

// === what a user types ===

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    redis: RedisArgs,
}

fn flags(args: &[String]) -> RedisArgs {
    let program = "program".to_owned();
    Flags::try_parse_from([program].iter().chain(args)).unwrap_or_else(|error| panic!("{error}")).redis
}

fn dialer(args: &[String], end: End, metrics: &RedisMetrics) -> Dialer {
    Dialer::new(flags(args).server(end, metrics.clone()).unwrap()).unwrap()
}

/// Connects with these flags as an end of the feed does, and gives where it is connected to.
async fn connect(args: &[String]) -> Result<String, RedisFault> {
    let node = dialer(args, End::Reads, &RedisMetrics::default()).find().await?;
    node.commands().await?;
    Ok(node.address().to_owned())
}

/// A publisher with these flags, which does not lead yet.
fn publisher(args: &[String]) -> RedisPublisher {
    let args = flags(args);
    let server = args.server(End::Writes, RedisMetrics::default()).unwrap();
    let options = PublishOptions { prefix: args.prefix().unwrap(), ..PublishOptions::new(server, "writer") };
    RedisPublisher::new(options).unwrap()
}

/// Takes the lead and publishes a snapshot, a heartbeat and a metric frame: all scripts but the change's.
async fn publish(publisher: &mut RedisPublisher) -> Result<(), Error> {
    let lead = publisher.acquire().await?;
    assert!(matches!(lead, Lead::Ours { .. }), "{lead:?}");
    publisher.snapshot(1, Arc::default(), Arc::default()).await?;
    publisher.delta(2, Arc::default()).await?;
    publisher.metrics(&linkerd_mcp_graph::model::Graph::default(), Arc::default()).await?;
    publisher.heartbeat(3).await?;
    publisher.release().await
}

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

// === what they see ===

fn log(path: &Path) -> String {
    // Colours are off, because it is no terminal.
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn said(path: &Path, words: &str) {
    let found = wait::until("the log says it", SOON, async || log(path).contains(words).then_some(())).await;
    assert!(found.is_ok(), "`{words}` is not in the log:\n{}", log(path));
}

fn controller_options(kubeconfig: String, more: Vec<String>) -> ControllerOptions {
    let prometheus_url = "http://127.0.0.1:1".to_owned();
    ControllerOptions { kubeconfig, redis_url: String::new(), prometheus_url, more }
}

/// Both programs with the same flags; ends when the API has a graph.
async fn both(more: &[String]) -> (Controller, Api) {
    both_in(more, more, &[]).await
}

async fn both_in(writes: &[String], reads: &[String], environment: &[String]) -> (Controller, Api) {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let options = controller_options(kubernetes.apiserver.kubeconfig(), writes.to_vec());
    let controller = Controller::start_in(&options, environment).await.unwrap();
    let api = Api::alive_with(reads, environment).await.unwrap();
    let ready = wait::until("the API has a graph", SOON, async || api.ready().await.then_some(())).await;
    assert!(
        ready.is_ok(),
        "controller:\n{}\nAPI:\n{}",
        log(&controller.process().log()),
        log(&api.process().log())
    );
    (controller, api)
}

/// Makes a Service in Kubernetes, so that there is something new to see.
async fn create_service(name: &str) {
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let service: Service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}]}
    }))
    .unwrap();
    let services = kube::Api::namespaced(kubernetes.client().await.unwrap(), "default");
    services.create(&PostParams::default(), &service).await.unwrap();
}

async fn has_service(api: &Api, name: &str) -> bool {
    let graph = api.graph("").await.unwrap_or_default();
    graph["services"][format!("default/{name}")].is_object()
}

async fn until_it_has(api: &Api, name: &str) {
    let seen =
        wait::until("the API has the new Service", SOON, async || has_service(api, name).await.then_some(()));
    assert!(seen.await.is_ok(), "the API never had {name}:\n{}", log(&api.process().log()));
}

fn exported(metrics: &RedisMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

// === logins ===

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_a_file_lets_both_ends_in_and_a_wrong_one_is_said_by_both() {
    let redis = Redis::start(Some("right")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("--redis-url=redis://{}", redis.address());
    let with = |password: &str, name: &str| {
        vec![url.clone(), format!("--redis-password-file={}", file(&dir, name, password))]
    };
    let (_controller, _api) = both(&with("right\n", "right")).await;

    let wrong = with("wrong", "wrong");
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    let options = controller_options(kubernetes.apiserver.kubeconfig(), wrong.clone());
    let controller = Controller::start_in(&options, &[]).await.unwrap();
    let api = Api::alive_with(&wrong, &[]).await.unwrap();
    for log in [controller.process().log(), api.process().log()] {
        said(&log, "refuses our login; check the user and the password").await;
    }
    assert!(!api.ready().await);
}

#[tokio::test]
async fn a_password_that_was_changed_in_its_file_is_used_at_the_next_connection() {
    let redis = Redis::start(Some("old")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "password", "old");
    let dialer = dialer(
        &[format!("--redis-url=redis://{}", redis.address()), format!("--redis-password-file={path}")],
        End::Reads,
        &RedisMetrics::default(),
    );
    let dial = async || dialer.find().await?.commands().await;
    dial().await.unwrap();
    redis.run::<()>("CONFIG SET requirepass new").await.unwrap();
    let refused = dial().await.err().unwrap();
    assert!(matches!(refused, RedisFault::Login { .. }), "{refused:?}");
    std::fs::write(&path, "new").unwrap();
    dial().await.unwrap();
}

/// The user with exactly the rights that [`Rights`] names for its end.
async fn set_user(redis: &Redis, name: &str, rights: &Rights) {
    let rule = rights.rule();
    let words = rule.split_whitespace().collect::<Vec<_>>().join(" ");
    redis.run::<()>(&format!("ACL SETUSER {name} reset on >pw {words}")).await.unwrap();
}

fn as_user(redis: &Redis, name: &str) -> Vec<String> {
    args(&[&format!("--redis-url=redis://{name}:pw@{}", redis.address()), &format!("--redis-user={name}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_rights_are_enough_and_a_missing_one_is_named_with_the_rule_that_adds_it() {
    let redis = Redis::start(None).await.unwrap();
    let writer = Rights::new(End::Writes, wire::Names::default(), "controller");
    let reader = Rights::new(End::Reads, wire::Names::default(), "api");
    set_user(&redis, "controller", &writer).await;
    set_user(&redis, "api", &reader).await;
    let (controller, api) = both_in(&as_user(&redis, "controller"), &as_user(&redis, "api"), &[]).await;
    create_service("least-rights").await;
    until_it_has(&api, "least-rights").await;
    for process in [controller.process(), api.process()] {
        assert!(!log(&process.log()).contains("permit"), "{}", log(&process.log()));
    }
    let denied: Vec<redis::Value> = redis.run("ACL LOG").await.unwrap();
    assert_eq!(denied, Vec::new(), "nothing that either end does was refused");
    assert!(controller.metrics().await.unwrap().contains("mcp_redis_missing_rights 0\n"));
    drop((controller, api));
    redis.run::<()>("DEL mcp:leader").await.unwrap();

    // Only the script of a change needs XADD, and Redis does not say which command of a script it refuses.
    redis.run::<()>("ACL SETUSER controller -xadd").await.unwrap();
    redis.run::<()>("ACL SETUSER api -xrange resetchannels &mesh:delta &mesh:metrics").await.unwrap();
    let mut publisher = publisher(&as_user(&redis, "controller"));
    let refused = publish(&mut publisher).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Redis(RedisFault::Permission { advice, .. })
            if advice == "add it with `ACL SETUSER controller +xadd`"),
        "{refused:?}"
    );
    let kubernetes = rig::shared_kubernetes().await.unwrap();
    redis.run::<u8>("DEL mcp:leader").await.unwrap();
    let options = controller_options(kubernetes.apiserver.kubeconfig(), as_user(&redis, "controller"));
    let controller = Controller::start_in(&options, &[]).await.unwrap();
    let api = Api::alive_with(&as_user(&redis, "api"), &[]).await.unwrap();
    said(&controller.process().log(), "add it with `ACL SETUSER controller +xadd`").await;
    said(&api.process().log(), "add it with `ACL SETUSER api &mesh:resync +xrange`").await;
    assert!(controller.metrics().await.unwrap().contains("mcp_redis_missing_rights 1\n"));
    assert!(api.metrics().await.unwrap().contains("mcp_redis_missing_rights 2\n"));
}

#[tokio::test]
async fn trying_the_rights_changes_nothing_and_works_without_the_right_to_try() {
    let redis = Redis::start(None).await.unwrap();
    redis.run::<()>("SET mcp:leader somebody").await.unwrap();
    redis.run::<()>("SET mcp:epoch 7").await.unwrap();
    let rights = Rights::new(End::Writes, wire::Names::default(), "controller");
    for lacking in ["+@all", "-multi", "-discard", "-multi -discard"] {
        set_user(&redis, "controller", &rights).await;
        redis.run::<()>(&format!("ACL SETUSER controller {lacking}")).await.unwrap();
        let dialer = dialer(&as_user(&redis, "controller"), End::Writes, &RedisMetrics::default());
        let mut connection = dialer.find().await.unwrap().commands().await.unwrap();
        // Not still between MULTI and EXEC, where this would be queued.
        let leader: String = redis::cmd("GET").arg("mcp:leader").query_async(&mut connection).await.unwrap();
        assert_eq!(leader, "somebody", "{lacking}");
    }
    let mut keys: Vec<String> = redis.run("KEYS *").await.unwrap();
    keys.sort();
    assert_eq!(keys, ["mcp:epoch", "mcp:leader"]);
    let (epoch, expiry): (String, i64) =
        (redis.run("GET mcp:epoch").await.unwrap(), redis.run("PTTL mcp:leader").await.unwrap());
    assert_eq!((epoch.as_str(), expiry), ("7", -1));
}

// === TLS ===

async fn tls_redis(authority: &Authority, clients_need_one: bool) -> Redis {
    let leaf = authority.server(&["127.0.0.1", "localhost"]).unwrap();
    let tls = ServerTls { leaf, authority: authority.pem().to_owned(), clients_need_one };
    Redis::start_with(&RedisOptions { tls: Some(tls), ..RedisOptions::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_takes_the_right_authority_and_says_what_is_wrong_otherwise() {
    let (right, other) = (Authority::new("right").unwrap(), Authority::new("other").unwrap());
    let redis = tls_redis(&right, false).await;
    let dir = tempfile::tempdir().unwrap();
    let ca =
        |authority: &Authority, name: &str| format!("--redis-ca-file={}", file(&dir, name, authority.pem()));
    let url = format!("--redis-url=rediss://{}", redis.tls_address());
    let trusting = vec![url.clone(), ca(&right, "right.pem")];
    assert_eq!(connect(&trusting).await.unwrap(), redis.tls_address().to_string());
    let upgraded = format!("--redis-url=redis://{}", redis.tls_address());
    connect(&[upgraded.clone(), "--redis-tls".to_owned(), ca(&right, "right.pem")]).await.unwrap();
    let (_controller, api) = both(&trusting).await;
    assert!(api.ready().await);

    let fault = async |args: &[String]| connect(args).await.unwrap_err().to_string();
    let no_tls = format!("no TLS with Redis at {}: ", redis.tls_address());
    let stranger = "nobody we trust signed its certificate; name its authority with --redis-ca-file";
    assert_eq!(fault(&[url.clone(), ca(&other, "other.pem")]).await, format!("{no_tls}{stranger}"));
    assert_eq!(fault(std::slice::from_ref(&url)).await, format!("{no_tls}{stranger}"));
    // The control of the last two: whoever does not look is let in.
    connect(&[url.clone(), "--redis-tls-insecure".to_owned()]).await.unwrap();

    let plain = format!("--redis-url=rediss://{}", redis.address());
    let silent = fault(&[plain, ca(&right, "right.pem")]).await;
    assert!(silent.ends_with("and that it speaks TLS at that port"), "{silent}");
    let without = fault(&[upgraded]).await;
    assert!(without.contains("hung up before it answered; if it listens with TLS"), "{without}");
    let empty = format!("--redis-ca-file={}", file(&dir, "empty.pem", ""));
    let none = fault(&[url, empty]).await;
    assert!(none.contains("it holds no certificate in PEM form"), "{none}");
}

#[tokio::test]
async fn a_redis_that_wants_certificates_of_clients_gets_ours() {
    let authority = Authority::new("right").unwrap();
    let redis = tls_redis(&authority, true).await;
    let dir = tempfile::tempdir().unwrap();
    let ours = authority.client("linkerd-mcp", None).unwrap();
    let base = args(&[
        &format!("--redis-url=rediss://{}", redis.tls_address()),
        &format!("--redis-ca-file={}", file(&dir, "ca.pem", authority.pem())),
    ]);
    let with = |leaf: &linkerd_mcp_test::certs::Leaf| {
        let cert = format!("--redis-cert-file={}", file(&dir, "cert.pem", &leaf.cert));
        let key = format!("--redis-key-file={}", file(&dir, "key.pem", &leaf.key));
        [base.clone(), vec![cert, key]].concat()
    };
    connect(&with(&ours)).await.unwrap();
    let stranger = Authority::new("other").unwrap().client("linkerd-mcp", None).unwrap();
    for refused in [base.clone(), with(&stranger)] {
        // Whether its reason arrives before it hangs up is chance; what to do is said in either case.
        let fault = connect(&refused).await.unwrap_err();
        let expected = matches!(&fault, RedisFault::Tls { .. } | RedisFault::HungUp { .. });
        assert!(expected && fault.to_string().contains("certificate of ours that it trusts"), "{fault:?}");
    }
}

// === Sentinel ===

struct Watched {
    master: Redis,
    replica: Redis,
    sentinels: Vec<Sentinel>,
    dir: TempDir,
}

/// A master, its replica and three Sentinels, of which two have to agree. Redis and the Sentinels have passwords.
async fn watched() -> Watched {
    let password = Some("of-redis".to_owned());
    let master = Redis::start_with(&RedisOptions { password: password.clone(), ..RedisOptions::default() })
        .await
        .unwrap();
    let replica_of = Some(master.address());
    let replica =
        Redis::start_with(&RedisOptions { password, replica_of, ..RedisOptions::default() }).await.unwrap();
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(Sentinel::start(&master, 2, Some("of-sentinels")).await.unwrap());
    }
    for sentinel in &sentinels {
        sentinel.until_it_knows(1, 2).await.unwrap();
    }
    Watched { master, replica, sentinels, dir: tempfile::tempdir().unwrap() }
}

impl Watched {
    fn args(&self) -> Vec<String> {
        let mut args = vec![
            "--redis-sentinel-master=mesh".to_owned(),
            format!("--redis-password-file={}", file(&self.dir, "redis", "of-redis")),
            format!("--redis-sentinel-password-file={}", file(&self.dir, "sentinels", "of-sentinels")),
        ];
        let addresses = self.sentinels.iter().map(|sentinel| sentinel.address().to_string());
        args.push(format!("--redis-sentinel={}", addresses.collect::<Vec<_>>().join(",")));
        args
    }

    async fn until_promoted(&self) {
        let port = self.replica.address().port();
        for sentinel in &self.sentinels {
            let promoted = wait::until("the Sentinel names the replica", SOON, async || {
                (sentinel.master_port().await.ok()? == port).then_some(())
            });
            promoted.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_follow_a_fail_over_of_sentinel_and_without_sentinel_they_would_not() {
    let watched = watched().await;
    let (controller, api) = both(&watched.args()).await;
    let fixed = vec![
        format!("--redis-url=redis://{}", watched.master.address()),
        format!("--redis-password-file={}", file(&watched.dir, "redis", "of-redis")),
    ];
    let control = Api::alive_with(&fixed, &[]).await.unwrap();
    wait::until("the control has a graph", SOON, async || control.ready().await.then_some(())).await.unwrap();

    // Halted, not ended: its connections stay open, and only a clock or a Sentinel can tell.
    watched.master.process().freeze();
    watched.until_promoted().await;
    create_service("after-fail-over").await;
    let seen = wait::until("the API has the new Service", SOON, async || {
        has_service(&api, "after-fail-over").await.then_some(())
    });
    assert!(seen.await.is_ok(), "{}", log(&controller.process().log()));
    assert!(!has_service(&control, "after-fail-over").await, "it has no way to know of the new master");
    for process in [controller.process(), api.process()] {
        said(&process.log(), "the master of Redis is another one; following it").await;
    }
    let leader: Option<String> = watched.replica.run("GET mcp:leader").await.unwrap();
    assert!(leader.is_some(), "the controller leads at the promoted replica");
    assert!(api.metrics().await.unwrap().contains("mcp_redis_master_changes_total 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sentinels_refuse_is_said_and_one_that_hangs_costs_nothing() {
    let watched = watched().await;
    let master = watched.master.address().to_string();
    assert_eq!(connect(&watched.args()).await.unwrap(), master);
    watched.sentinels[0].process().freeze();
    assert_eq!(connect(&watched.args()).await.unwrap(), master);
    watched.sentinels[0].process().thaw();

    let replaced = |flag: &str, value: &str| {
        let mut args = watched.args();
        args.retain(|arg| !arg.starts_with(&format!("{flag}=")));
        args.push(format!("{flag}={value}"));
        args
    };
    let wrong = file(&watched.dir, "wrong", "wrong");
    let fault = connect(&replaced("--redis-sentinel-password-file", &wrong)).await.unwrap_err().to_string();
    assert!(fault.contains("refuses our login, check --redis-sentinel-user"), "{fault}");
    let fault = connect(&replaced("--redis-sentinel-master", "other")).await.unwrap_err().to_string();
    assert!(fault.contains("does not know that name, check --redis-sentinel-master"), "{fault}");
    let fault = connect(&replaced("--redis-sentinel", &watched.replica.address().to_string())).await;
    let fault = fault.unwrap_err().to_string();
    assert!(fault.contains("refuses our login") || fault.contains("is no Sentinel"), "{fault}");
    let fault = connect(&replaced("--redis-sentinel", "127.0.0.1:1")).await.unwrap_err().to_string();
    assert!(fault.contains("127.0.0.1:1 cannot be reached"), "{fault}");
    let fault = connect(&replaced("--redis-password-file", &wrong)).await.unwrap_err();
    assert!(matches!(&fault, RedisFault::Login { address, .. } if *address == master), "{fault:?}");
}

// === Cluster ===

async fn node() -> Redis {
    Redis::start_with(&RedisOptions { cluster: true, ..RedisOptions::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_the_keys_have_one_hash_tag_and_without_it_the_error_names_the_flag() {
    let redis = node().await;
    redis.take_slots(0, 16383).await.unwrap();
    redis.until_agreed(1).await.unwrap();
    let url = format!("--redis-url=redis://{}", redis.address());
    let untagged = publish(&mut publisher(std::slice::from_ref(&url))).await.unwrap_err();
    assert!(untagged.to_string().contains("give --redis-cluster"), "{untagged}");

    let clustered = vec![url, "--redis-cluster".to_owned()];
    publish(&mut publisher(&clustered)).await.unwrap();
    let (_controller, api) = both(&clustered).await;
    create_service("in-a-cluster").await;
    until_it_has(&api, "in-a-cluster").await;
    let keys: Vec<String> = redis.run("KEYS *").await.unwrap();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with("{linkerd-mcp}:")), "{keys:?}");
}

#[tokio::test]
async fn the_node_of_a_cluster_that_has_our_slot_is_found_from_any_other() {
    let (one, two) = (node().await, node().await);
    one.take_slots(0, 8191).await.unwrap();
    two.take_slots(8192, 16383).await.unwrap();
    one.meet(&two).await.unwrap();
    for node in [&one, &two] {
        node.until_agreed(2).await.unwrap();
    }
    let slot: u16 = one.run(&format!("CLUSTER KEYSLOT {{linkerd-mcp}}:{}", wire::LEADER)).await.unwrap();
    let (owner, other) = if slot < 8192 { (&one, &two) } else { (&two, &one) };
    let through = |node: &Redis| vec![format!("--redis-url=redis://{}", node.address())];
    let clustered = |node: &Redis| [through(node), vec!["--redis-cluster".to_owned()]].concat();
    for node in [owner, other] {
        assert_eq!(connect(&clustered(node)).await.unwrap(), owner.address().to_string());
        publish(&mut publisher(&clustered(node))).await.unwrap();
    }
    // The tag alone is not enough where another node has the slot.
    let mut tagged = through(other);
    tagged.push("--redis-prefix={linkerd-mcp}:".to_owned());
    let lost = publish(&mut publisher(&tagged)).await.unwrap_err();
    assert!(matches!(lost, Error::Redis(RedisFault::NotMaster { .. })), "{lost:?}");
}

// === the check at the start ===

#[tokio::test]
async fn what_redis_does_when_it_is_full_is_looked_at_at_every_connection() {
    let redis = Redis::start(None).await.unwrap();
    redis.run::<()>("ACL SETUSER blind on >pw ~* &* +@all -config -info").await.unwrap();
    redis.run::<()>("ACL SETUSER half on >pw ~* &* +@all -config").await.unwrap();
    let url = vec![format!("--redis-url=redis://{}", redis.address())];
    let policy = async |args: &[String]| {
        let metrics = RedisMetrics::default();
        dialer(args, End::Reads, &metrics).find().await.unwrap().commands().await.unwrap();
        let text = exported(&metrics);
        let present = text.lines().filter_map(|line| line.strip_prefix("mcp_redis_memory_policy{policy=\""));
        let present: Vec<_> =
            present.filter_map(|line| line.strip_suffix("\"} 1")).map(String::from).collect();
        present.join(",")
    };
    assert_eq!(policy(&url).await, "noeviction");
    redis.run::<()>("CONFIG SET maxmemory-policy allkeys-lru").await.unwrap();
    assert_eq!(policy(&url).await, "evicts");
    assert_eq!(policy(&as_user(&redis, "half")).await, "evicts");
    assert_eq!(policy(&as_user(&redis, "blind")).await, "unchecked");
}

#[tokio::test]
async fn a_redis_that_may_evict_is_warned_of_at_the_start_and_after_a_reconnection() {
    let warning =
        "Redis may evict the feed's keys when its memory is full: set maxmemory-policy to noeviction";
    let redis = Redis::start(None).await.unwrap();
    redis.run::<()>("ACL SETUSER blind on >pw ~* &* +@all -config -info").await.unwrap();
    let url = format!("--redis-url=redis://{}", redis.address());
    let api = Api::alive_with(std::slice::from_ref(&url), &[]).await.unwrap();
    let counts = async |api: &Api, line: &str| {
        wait::until("the metric is there", SOON, async || {
            api.metrics().await.ok()?.contains(line).then_some(())
        })
        .await
        .unwrap();
    };
    counts(&api, "mcp_redis_memory_policy{policy=\"noeviction\"} 1\n").await;
    assert!(!log(&api.process().log()).contains("evict"), "{}", log(&api.process().log()));

    redis.run::<()>("CONFIG SET maxmemory-policy allkeys-lru").await.unwrap();
    redis.run::<()>("CLIENT KILL TYPE pubsub").await.unwrap();
    said(&api.process().log(), warning).await;
    counts(&api, "mcp_redis_memory_policy{policy=\"evicts\"} 1\n").await;
    let late = Api::alive_with(&[url], &[]).await.unwrap();
    said(&late.process().log(), warning).await;
    let blind = Api::alive_with(&as_user(&redis, "blind"), &[]).await.unwrap();
    said(&blind.process().log(), "whether Redis evicts keys could not be checked").await;
}

// === secrets ===

const SECRETS: [&str; 4] = ["s3cret-of-url", "s3cret-of-file", "s3cret-of-environment", "s3cret-of-sentinel"];

fn secrets_in(text: &str) -> Vec<&'static str> {
    SECRETS.into_iter().filter(|secret| text.contains(secret)).collect()
}

fn command_line(api: &Api) -> String {
    let raw = std::fs::read(format!("/proc/{}/cmdline", api.process().id())).unwrap();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_a_log_at_any_level_nor_in_a_metric_nor_in_the_list_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(Some("s3cret-of-file")).await.unwrap();
    let environment = args(&[
        "LINKERD_MCP_LOG=trace",
        "LINKERD_MCP_REDIS_PASSWORD=s3cret-of-environment",
        "LINKERD_MCP_REDIS_SENTINEL_PASSWORD=s3cret-of-sentinel",
    ]);
    let url = |address: &str| format!("--redis-url=redis://me:s3cret-of-url@{address}");
    let at = redis.address().to_string();
    let password_file = format!("--redis-password-file={}", file(&dir, "password", "s3cret-of-file"));
    let ways: [(Vec<String>, &str); 6] = [
        // The right password, a wrong one of each kind, nobody there, no URL at all, and Sentinels.
        (
            vec![format!("--redis-url=redis://{at}"), password_file],
            "Redis evicts nothing, as the feed needs it",
        ),
        (vec![url(&at)], "refuses our login"),
        (vec![format!("--redis-url=redis://{at}")], "refuses our login"),
        (vec![url("127.0.0.1:1")], "cannot reach Redis"),
        (vec![url("127.0.0.1:1").replace("redis://", "rediss://")], "cannot reach Redis"),
        (
            args(&[&format!("--redis-sentinel={at}"), "--redis-sentinel-master=mesh"]),
            "by way of the Sentinels",
        ),
    ];
    for (way, words) in &ways {
        let api = Api::alive_with(way, &environment).await.unwrap();
        said(&api.process().log(), words).await;
        let verbose = wait::until("the log is verbose", SOON, async || {
            log(&api.process().log()).contains("DEBUG").then_some(())
        });
        verbose.await.unwrap();
        let seen = log(&api.process().log()) + &api.metrics().await.unwrap();
        assert_eq!(secrets_in(&seen), Vec::<&str>::new(), "{way:?}:\n{seen}");
        let in_url = way.iter().any(|arg| arg.contains("s3cret-of-url"));
        let in_list = secrets_in(&command_line(&api));
        // A URL on the command line is the control: there everybody sees it, as the documentation says.
        assert_eq!(in_list, if in_url { vec!["s3cret-of-url"] } else { Vec::new() }, "{way:?}");
    }

    let wrong = [url("h p"), "--redis-password-file=/nowhere".to_owned()];
    for way in [vec![wrong[0].clone()], vec![url(&at), wrong[1].clone()]] {
        let Err(error) = Api::alive_with(&way, &environment).await else { panic!("{way:?} is wrong") };
        assert_eq!(secrets_in(&error.to_string()), Vec::<&str>::new(), "{error}");
    }
}
