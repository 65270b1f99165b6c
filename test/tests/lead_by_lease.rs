//! A Kubernetes Lease says who leads: real controllers at a real kube-apiserver and a real Redis, killed, stopped,
//! halted and cut off.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Api, Client};
use linkerd_mcp_controller::publish::{Error, Lead, PublishOptions, RedisPublisher, RedisServer};
use linkerd_mcp_graph::{feed::Publisher as _, wire};
use linkerd_mcp_test::{
    mesh,
    ours::{self, Controller, ControllerOptions},
    proxy::{Behaviour, Proxy},
    redis::Redis,
    rig::{self, Kubernetes},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long anything may take before the test fails. Long, because two cores are shared.
const LIMIT: Duration = Duration::from_secs(60);

const NAME: &str = "linkerd-mcp-controller";

/// A namespace with a Lease, a Redis, and an API that follows it.
struct Feed {
    kubernetes: &'static Kubernetes,
    client: Client,
    namespace: String,
    redis: Redis,
}

impl Feed {
    async fn new() -> Self {
        let kubernetes = rig::shared_kubernetes().await.unwrap();
        Self {
            kubernetes,
            client: kubernetes.client().await.unwrap(),
            namespace: kubernetes.apiserver.namespace("lease", &[]).await.unwrap(),
            redis: Redis::start(None).await.unwrap(),
        }
    }

    fn options(&self, holder: &str, lease: &str) -> ControllerOptions {
        ControllerOptions {
            kubeconfig: self.kubernetes.apiserver.kubeconfig(),
            redis_url: self.redis.url(),
            prometheus_url: "http://127.0.0.1:1".to_owned(),
            more: vec![
                "--lead-by=kubernetes".to_owned(),
                format!("--lease-namespace={}", self.namespace),
                format!("--lease={lease}"),
                format!("--holder={holder}"),
            ],
        }
    }

    async fn controller(&self, holder: &str, lease: &str) -> Controller {
        Controller::start(&self.options(holder, lease)).await.unwrap()
    }

    async fn lease(&self) -> Option<LeaseSpec> {
        Api::<Lease>::namespaced(self.client.clone(), &self.namespace).get_opt(NAME).await.unwrap()?.spec
    }

    /// Waits until a controller with this name holds the Lease and has begun a reign in Redis; gives its epoch.
    async fn until_leads(&self, holder: &str) -> u64 {
        let what = format!("{holder} leads");
        let leads = wait::until(&what, LIMIT, async || {
            let token = self.lease().await?.holder_identity?;
            let leader: Option<String> = self.redis.run(&format!("GET {}", wire::LEADER)).await.unwrap();
            (token.starts_with(&format!("{holder}/")) && leader? == token).then_some(())
        });
        leads.await.unwrap();
        self.epoch().await
    }

    async fn epoch(&self) -> u64 {
        self.redis.run(&format!("GET {}", wire::EPOCH)).await.unwrap()
    }

    /// The ids of the log's entries of one reign.
    async fn log_of(&self, epoch: u64) -> Vec<String> {
        let range = format!("XRANGE {} {epoch}-0 {epoch}", wire::DELTAS);
        let entries: Vec<(String, Vec<String>)> = self.redis.run(&range).await.unwrap();
        entries.into_iter().map(|(id, _)| id).collect()
    }

    /// Makes a Service, and waits until the API knows of it.
    async fn change(&self, api: &ours::Api, name: &str) {
        self.make(name).await;
        let key = format!("{}/{name}", self.namespace);
        api.until(&format!("{key} is known"), |graph| graph["services"][&key].is_object().then_some(()))
            .await
            .unwrap();
    }

    async fn make(&self, name: &str) {
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {}}}\nspec: {{ports: [{{port: 80}}]}}\n",
            self.namespace
        );
        mesh::apply(&self.client, &yaml).await.unwrap();
    }
}

fn log(controller: &Controller) -> String {
    std::fs::read_to_string(controller.process().log()).unwrap()
}

async fn until_said(controller: &Controller, what: &str) {
    let said = wait::until(what, LIMIT, async || log(controller).contains(what).then_some(())).await;
    assert!(said.is_ok(), "it never said {what:?}:\n{}", log(controller));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_other_leads_when_the_lease_is_over_and_not_before() {
    let feed = Feed::new().await;
    let first = feed.controller("first", "4s").await;
    let epoch = feed.until_leads("first").await;
    let second = feed.controller("second", "4s").await;
    until_said(&second, "standing by").await;
    let api = ours::Api::start(&feed.redis.url()).await.unwrap();
    feed.change(&api, "before").await;

    let killed = Instant::now();
    drop(first);
    let next = feed.until_leads("second").await;
    // The last renewal was at most a third of the lease before.
    assert!(killed.elapsed() > Duration::from_secs(2), "it was taken over before it was over");
    assert!(next > epoch, "{next} after {epoch}");
    feed.change(&api, "after").await;
    let spec = feed.lease().await.unwrap();
    assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(4), Some(1)));
    assert!(spec.acquire_time.is_some() && spec.renew_time >= spec.acquire_time, "{spec:?}");
    let metrics = second.metrics().await.unwrap();
    assert!(metrics.contains("mcp_lease_held 1\n") && metrics.contains("mcp_lease_taken_total 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_end_hands_over_long_before_the_lease_is_over() {
    let feed = Feed::new().await;
    // Nothing but handing over makes the other lead within the test.
    let first = feed.controller("first", "5m").await;
    let epoch = feed.until_leads("first").await;
    let second = feed.controller("second", "5m").await;
    until_said(&second, "standing by").await;
    let api = ours::Api::start(&feed.redis.url()).await.unwrap();
    let pid = Pid::from_raw(i32::try_from(first.process().id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(feed.until_leads("second").await > epoch);
    feed.change(&api, "after").await;
    assert!(!log(&first).contains("could not be given up"), "{}", log(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_halted_publishes_nothing_into_its_successors_reign() {
    let feed = Feed::new().await;
    let zombie = feed.controller("zombie", "2s").await;
    let old = feed.until_leads("zombie").await;
    let second = feed.controller("second", "2s").await;
    until_said(&second, "standing by").await;
    let api = ours::Api::start(&feed.redis.url()).await.unwrap();
    feed.change(&api, "before").await;
    zombie.process().freeze();
    let new = feed.until_leads("second").await;
    let written = feed.log_of(old).await;
    assert!(new > old && !written.is_empty(), "it has led: {written:?}");

    // It has changes to publish as soon as it goes on.
    feed.make("missed").await;
    zombie.process().thaw();
    until_said(&zombie, "this controller does not lead the feed any more").await;
    feed.change(&api, "after").await;
    until_said(&zombie, "another controller leads the feed; standing by").await;
    assert_eq!((feed.log_of(old).await, feed.until_leads("second").await), (written, new));
    let metrics = zombie.metrics().await.unwrap();
    assert!(metrics.contains("mcp_lease_held 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_reach_redis_gives_the_lease_to_one_that_can() {
    let feed = Feed::new().await;
    let proxy = Proxy::start(feed.redis.address()).unwrap();
    let mut options = feed.options("cut-off", "2s");
    options.redis_url = format!("redis://{}", proxy.address());
    let cut_off = Controller::start(&options).await.unwrap();
    let epoch = feed.until_leads("cut-off").await;
    let second = feed.controller("second", "2s").await;
    until_said(&second, "standing by").await;
    proxy.behave(Behaviour::Refuse);
    proxy.cut();
    assert!(feed.until_leads("second").await > epoch);
    until_said(&cut_off, "Redis has been out of reach for as long as the Lease lasts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_create_and_update_are_the_rights_it_needs_and_it_says_so() {
    let feed = Feed::new().await;
    let account =
        feed.kubernetes.apiserver.service_account(&feed.namespace, "controller", &[]).await.unwrap();
    let mut options = feed.options("guest", "2s");
    options.kubeconfig = feed.kubernetes.apiserver.kubeconfig_of(&account);
    let guest = Controller::start(&options).await.unwrap();
    until_said(&guest, "give this controller get, create and update on leases of coordination.k8s.io").await;
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: lead, namespace: {ns}}}\nrules: \
         [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}}]\n---\napiVersion: \
         rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: lead, namespace: {ns}}}\nroleRef: \
         {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: lead}}\nsubjects: [{{kind: ServiceAccount, name: \
         controller, namespace: {ns}}}]\n",
        ns = feed.namespace
    );
    mesh::apply(&feed.client, &role).await.unwrap();
    feed.until_leads("guest").await;
    until_said(&guest, "the Lease that says who leads can be used again").await;
}

fn publisher(redis: &Redis, holder: &str) -> RedisPublisher {
    RedisPublisher::new(PublishOptions::new(RedisServer::new(redis.url()), holder)).unwrap()
}

async fn seize(publisher: &mut RedisPublisher) -> u64 {
    let current = publisher.current().await.unwrap();
    let Lead::Ours { epoch } = publisher.seize(current).await.unwrap() else { panic!("nobody interferes") };
    epoch
}

#[tokio::test]
async fn redis_refuses_whoever_lost_the_lease_while_it_was_halted() {
    let redis = Redis::start(None).await.unwrap();
    let (mut first, mut second) = (publisher(&redis, "first"), publisher(&redis, "second"));
    let epoch = seize(&mut first).await;
    let position = first.snapshot(1, Arc::default(), Arc::default()).await.unwrap();
    assert_eq!(position.epoch, epoch);
    // Halted here: the reign is read, the Lease is made sure of, and then another takes both.
    let read = first.current().await.unwrap();
    let next = seize(&mut second).await;
    assert!(next > epoch, "taken over though the key in Redis was not over: {next} after {epoch}");
    second.snapshot(2, Arc::default(), Arc::default()).await.unwrap();

    let refused = first.heartbeat(3).await.unwrap_err();
    assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
    let taken = first.seize(read).await.unwrap();
    assert!(matches!(&taken, Lead::Theirs { holder, .. } if holder == second.token()), "{taken:?}");
    second.heartbeat(4).await.unwrap();
    // The control: had the reign been read anew without making sure of the Lease, it would have got it.
    assert!(seize(&mut first).await > next);
    let refused = second.heartbeat(5).await.unwrap_err();
    assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
}
