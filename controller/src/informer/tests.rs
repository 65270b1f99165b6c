use super::*;
use crate::{
    graph::kind::Kind,
    watch::{self, fact_from_value},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use server::{Events, Server, event, page, server};

mod server;

const PODS: &str = "/api/v1/pods?&limit=500";
const SERVERS: &str = "/apis/policy.linkerd.io/v1beta3/servers?&limit=500";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

const EXPIRED: &str = "the resource version has expired";

/// A watch of one kind against a server that the test plays.
struct Rig {
    server: Server,
    messages: mpsc::Receiver<Message>,
    registry: Registry,
    kind: Kind,
    started: Instant,
}

impl Rig {
    fn new(kind: Kind) -> Self {
        Self::with(kind, Options::default())
    }

    fn with(kind: Kind, options: Options) -> Self {
        let (server, client) = server();
        let (sender, messages) = mpsc::channel(64);
        let mut registry = Registry::default();
        let metrics = Metrics::register(registry.sub_registry_with_prefix("mcp_watch")).of(kind);
        tokio::spawn(Informer::new(client, Watch::of(kind), Arc::new(options), sender, metrics).run());
        Self { server, messages, registry, kind, started: Instant::now() }
    }

    async fn expect(&mut self, expected: Message) {
        assert_eq!(self.messages.recv().await.expect("the watch lives"), expected);
    }

    async fn expect_state(&mut self, state: WatchState) {
        self.expect(Message::State(self.kind, state)).await;
    }

    async fn expect_reset(&mut self, objects: &[Value]) {
        let facts = objects.iter().map(|object| self.fact(object)).collect();
        self.expect(Message::Change(Change::Reset(self.kind, facts))).await;
    }

    async fn expect_apply(&mut self, object: &Value) {
        self.expect(Message::Change(Change::Apply(self.fact(object)))).await;
    }

    async fn expect_delete(&mut self, namespace: &str, name: &str) {
        self.expect(Message::Change(Change::Delete(self.kind, Key::new(namespace, name)))).await;
    }

    fn expect_nothing(&mut self) {
        assert_eq!(self.messages.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    fn fact(&self, object: &Value) -> Fact {
        fact_from_value(self.kind, object).expect("an object of the kind")
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("memory takes it all");
        text.lines().any(|found| found == line)
    }

    /// Lists the pod `a` at version 5 and opens the watch from there.
    async fn synced(&mut self) -> Events {
        self.expect_state(WatchState::Syncing).await;
        self.server.asked(PODS).await.json(&page("5", "", &[pod("a", "1")]));
        self.expect_reset(&[pod("a", "1")]).await;
        let events = self.server.asked(&pods_since("5")).await.events();
        self.expect_state(WatchState::Synced).await;
        events
    }

    /// Answers the probe for policy.linkerd.io: the CRD of Servers is installed in these versions.
    async fn installed(&mut self, versions: &[&str]) {
        let served: Vec<_> = versions
            .iter()
            .map(
                |version| json!({"groupVersion": format!("policy.linkerd.io/{version}"), "version": version}),
            )
            .collect();
        let groups = if served.is_empty() {
            json!([])
        } else {
            json!([{"name": "policy.linkerd.io", "versions": served}])
        };
        self.server.asked("/apis").await.json(&json!({"kind": "APIGroupList", "groups": groups}));
    }

    async fn resources(&mut self, version: &str, names: &[&str]) {
        let resources: Vec<_> = names
            .iter()
            .map(|name| {
                json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": ["list"]})
            })
            .collect();
        let group_version = format!("policy.linkerd.io/{version}");
        self.server
            .asked(&format!("/apis/{group_version}"))
            .await
            .json(&json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}));
    }
}

fn pod(name: &str, version: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version},
        "spec": {"containers": [{"name": "web"}]}
    })
}

fn server_object(name: &str) -> Value {
    json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server",
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": "1"},
        "spec": {"podSelector": {}, "port": 80}
    })
}

fn pods_since(version: &str) -> String {
    format!("/api/v1/pods?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion={version}")
}

#[tokio::test(start_paused = true)]
async fn all_pages_make_one_reset_and_changes_follow() {
    let mut rig = Rig::new(Kind::Pod);
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked(PODS).await.json(&page("5", "more", &[pod("a", "1")]));
    rig.server.asked(&format!("{PODS}&continue=more")).await.json(&page("5", "", &[pod("b", "2")]));
    rig.expect_reset(&[pod("a", "1"), pod("b", "2")]).await;
    let events = rig.server.asked(&pods_since("5")).await.events();
    rig.expect_state(WatchState::Synced).await;

    events.send(&event("ADDED", &pod("c", "6"))).await;
    rig.expect_apply(&pod("c", "6")).await;
    events.send(&event("MODIFIED", &pod("a", "7"))).await;
    rig.expect_apply(&pod("a", "7")).await;
    events.send(&event("DELETED", &pod("b", "8"))).await;
    rig.expect_delete("shop", "b").await;

    assert!(rig.metric(r#"mcp_watch_events_total{kind="pods",event="apply"} 2"#));
    assert!(rig.metric(r#"mcp_watch_events_total{kind="pods",event="delete"} 1"#));
    assert!(rig.metric(r#"mcp_watch_lists_total{kind="pods"} 1"#));
    assert!(rig.metric(r#"mcp_watch_state{kind="pods",state="synced"} 1"#));
    assert!(rig.metric(r#"mcp_watch_state{kind="pods",state="syncing"} 0"#));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_was() {
    let mut rig = Rig::new(Kind::Pod);
    let events = rig.synced().await;
    events.send(&event("ADDED", &pod("b", "6"))).await;
    rig.expect_apply(&pod("b", "6")).await;
    drop(events);
    let events = rig.server.asked(&pods_since("6")).await.events();
    events.send(&event("BOOKMARK", &json!({"metadata": {"resourceVersion": "90"}}))).await;
    events.cut().await;
    rig.server.asked(&pods_since("90")).await.events();
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_even_a_bookmark_is_given_up_after_two_minutes() {
    let mut rig = Rig::new(Kind::Pod);
    let _silent = rig.synced().await;
    rig.server.asked(&pods_since("5")).await.events();
    assert_eq!(rig.started.elapsed().as_secs(), 120);
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_not_believed_and_not_asked_in_a_loop() {
    let mut rig = Rig::new(Kind::Pod);
    drop(rig.synced().await);
    for _ in 1..RESUMES {
        drop(rig.server.asked(&pods_since("5")).await.events());
    }
    rig.expect_state(WatchState::Failing { detail: NOTHING_SAID.into() }).await;
    for version in ["6", "7", "8"] {
        rig.server.asked(PODS).await.json(&page(version, "", &[pod("a", "1")]));
        rig.expect_reset(&[pod("a", "1")]).await;
        drop(rig.server.asked(&pods_since(version)).await.events());
    }
    rig.server.asked(PODS).await.json(&page("9", "", &[]));
    assert!(rig.started.elapsed() > Duration::from_secs(30), "{:?}", rig.started.elapsed());
    rig.expect_reset(&[]).await;
    let events = rig.server.asked(&pods_since("9")).await.events();
    rig.expect_nothing();
    events.send(&event("BOOKMARK", &json!({"metadata": {"resourceVersion": "10"}}))).await;
    rig.expect_state(WatchState::Synced).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_is_said_and_gives_exactly_one_reset() {
    let mut rig = Rig::new(Kind::Pod);
    let events = rig.synced().await;
    let gone = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version: 5 (700)"});
    events.send(&event("ERROR", &gone)).await;
    rig.expect_state(WatchState::Failing { detail: EXPIRED.into() }).await;
    rig.server.asked(PODS).await.json(&page("700", "", &[pod("b", "650")]));
    rig.expect_reset(&[pod("b", "650")]).await;
    let events = rig.server.asked(&pods_since("700")).await.events();
    rig.expect_state(WatchState::Synced).await;
    events.send(&event("ADDED", &pod("c", "701"))).await;
    rig.expect_apply(&pod("c", "701")).await;
    rig.expect_nothing();
    assert!(rig.metric(r#"mcp_watch_lists_total{kind="pods"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn a_watch_refused_as_expired_is_listed_again() {
    let mut rig = Rig::new(Kind::Pod);
    drop(rig.synced().await);
    rig.server.asked(&pods_since("5")).await.refuse(410, "too old");
    rig.expect_state(WatchState::Failing { detail: EXPIRED.into() }).await;
    rig.server.asked(PODS).await.json(&page("9", "", &[]));
    rig.expect_reset(&[]).await;
    let _quiet = rig.server.asked(&pods_since("9")).await.events();
    rig.expect_state(WatchState::Synced).await;
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_list_is_said_and_tried_again() {
    let mut rig = Rig::new(Kind::Pod);
    rig.expect_state(WatchState::Syncing).await;
    let message = "pods is forbidden: User \"x\" cannot list resource \"pods\"";
    rig.server.asked(PODS).await.refuse(403, message);
    rig.expect_state(WatchState::Forbidden { detail: message.into() }).await;
    rig.server.asked(PODS).await.refuse(403, message);
    rig.server.asked(PODS).await.json(&page("5", "", &[]));
    rig.expect_reset(&[]).await;
    rig.server.asked(&pods_since("5")).await.events();
    rig.expect_state(WatchState::Synced).await;
    assert!(rig.metric(r#"mcp_watch_failures_total{kind="pods"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_keeps_what_is_known_and_says_when_it_works_again() {
    let mut rig = Rig::new(Kind::Pod);
    drop(rig.synced().await);
    rig.server.asked(&pods_since("5")).await.cut();
    let detail = "the API server cannot be reached: connection refused";
    rig.expect_state(WatchState::Failing { detail: detail.into() }).await;
    rig.server.asked(&pods_since("5")).await.refuse(503, "apiserver is starting");
    rig.expect_state(WatchState::Failing { detail: "apiserver is starting (HTTP 503)".into() }).await;
    rig.server.asked(&pods_since("5")).await.refuse(403, "no watch for you");
    rig.expect_state(WatchState::Forbidden { detail: "no watch for you".into() }).await;
    // No object has to change for the recovery to show.
    let _quiet = rig.server.asked(&pods_since("5")).await.events();
    rig.expect_state(WatchState::Synced).await;
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_never_accepts_is_dropped_for_a_new_list() {
    let mut rig = Rig::new(Kind::Pod);
    drop(rig.synced().await);
    for _ in 0..RESUMES {
        rig.server.asked(&pods_since("5")).await.refuse(504, "Too large resource version: 5, current: 3");
    }
    let detail = "Too large resource version: 5, current: 3 (HTTP 504)";
    rig.expect_state(WatchState::Failing { detail: detail.into() }).await;
    rig.server.asked(PODS).await.json(&page("3", "", &[pod("old", "2")]));
    rig.expect_reset(&[pod("old", "2")]).await;
    rig.server.asked(&pods_since("3")).await.events();
    rig.expect_state(WatchState::Synced).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_failing_after_the_limit() {
    let options = Options { request_timeout: Duration::from_secs(20), ..Options::default() };
    let mut rig = Rig::with(Kind::Pod, options);
    rig.expect_state(WatchState::Syncing).await;
    let _unanswered = rig.server.asked(PODS).await;
    let detail = "the API server did not answer within 20 s";
    rig.expect_state(WatchState::Failing { detail: detail.into() }).await;
    rig.server.asked(PODS).await.json(&page("5", "", &[]));
    rig.expect_reset(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_web_page_in_place_of_a_list_is_a_failure_with_a_reason() {
    let mut rig = Rig::new(Kind::Pod);
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked(PODS).await.answer(200, "<html>sign in</html>".to_owned());
    let detail = "the answer is not a Kubernetes list: expected value at line 1 column 1";
    rig.expect_state(WatchState::Failing { detail: detail.into() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_path_is_no_reason_to_believe_that_pods_do_not_exist() {
    let mut rig = Rig::new(Kind::Pod);
    drop(rig.synced().await);
    rig.server.asked(&pods_since("5")).await.refuse(404, "404 page not found");
    rig.expect_state(WatchState::Failing { detail: "404 page not found".into() }).await;
    rig.server.asked(&pods_since("5")).await.events();
    rig.expect_state(WatchState::Synced).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_skipped_and_counted() {
    let mut rig = Rig::new(Kind::Pod);
    let mut broken = pod("broken", "2");
    broken["spec"]["containers"] = json!("none");
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked(PODS).await.json(&page("5", "", &[pod("a", "1"), broken.clone(), pod("b", "3")]));
    rig.expect_reset(&[pod("a", "1"), pod("b", "3")]).await;
    let events = rig.server.asked(&pods_since("5")).await.events();
    rig.expect_state(WatchState::Synced).await;
    events.send(&event("MODIFIED", &broken)).await;
    events.send(&event("MODIFIED", &pod("b", "7"))).await;
    rig.expect_apply(&pod("b", "7")).await;
    assert!(rig.metric(r#"mcp_watch_unparsed_objects_total{kind="pods"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn an_absent_crd_is_picked_up_once_it_is_installed() {
    let mut rig = Rig::new(Kind::Server);
    rig.expect_state(WatchState::Syncing).await;
    rig.installed(&[]).await;
    rig.expect_state(WatchState::Absent).await;
    // The group is there now, but without Servers.
    rig.installed(&["v1alpha1"]).await;
    assert_eq!(rig.started.elapsed().as_secs(), 60);
    rig.expect_nothing();
    rig.installed(&["v1alpha1", "v1beta1", "v1beta2", "v1beta3"]).await;
    assert_eq!(rig.started.elapsed().as_secs(), 120);
    rig.resources("v1beta3", &["servers", "httproutes"]).await;
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked(SERVERS).await.json(&page("5", "", &[server_object("web")]));
    rig.expect_reset(&[server_object("web")]).await;
    rig.server.any().await.expect("a watch").events();
    rig.expect_state(WatchState::Synced).await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_version_that_serves_the_kind_is_watched() {
    let mut rig = Rig::new(Kind::Server);
    rig.expect_state(WatchState::Syncing).await;
    // v1beta3 is of HTTPRoutes only, as in Linkerd before Servers had it.
    rig.installed(&["v1beta3", "v1beta1", "v1beta2"]).await;
    rig.resources("v1beta3", &["httproutes"]).await;
    rig.resources("v1beta2", &["servers"]).await;
    rig.server.asked("/apis/policy.linkerd.io/v1beta2/servers?&limit=500").await.json(&page("5", "", &[]));
    rig.expect_reset(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_crd_takes_its_objects_with_it() {
    let mut rig = Rig::new(Kind::Server);
    rig.expect_state(WatchState::Syncing).await;
    rig.installed(&["v1beta3"]).await;
    rig.resources("v1beta3", &["servers"]).await;
    rig.server.asked(SERVERS).await.json(&page("5", "", &[server_object("web")]));
    rig.expect_reset(&[server_object("web")]).await;
    drop(rig.server.any().await.expect("a watch").events());
    rig.expect_state(WatchState::Synced).await;
    rig.server.any().await.expect("the next watch").answer(404, "404 page not found\n".to_owned());
    rig.installed(&[]).await;
    rig.expect_reset(&[]).await;
    rig.expect_state(WatchState::Absent).await;
}

#[tokio::test(start_paused = true)]
async fn a_crd_that_only_seemed_removed_is_listed_again_without_a_gap() {
    let mut rig = Rig::new(Kind::Server);
    rig.expect_state(WatchState::Syncing).await;
    rig.installed(&["v1beta3"]).await;
    rig.resources("v1beta3", &["servers"]).await;
    rig.server.asked(SERVERS).await.json(&page("5", "", &[server_object("web")]));
    rig.expect_reset(&[server_object("web")]).await;
    drop(rig.server.any().await.expect("a watch").events());
    rig.expect_state(WatchState::Synced).await;
    rig.server.any().await.expect("the next watch").refuse(404, "not found");
    rig.installed(&["v1beta3"]).await;
    rig.resources("v1beta3", &["servers"]).await;
    rig.server.asked(SERVERS).await.json(&page("9", "", &[server_object("web")]));
    rig.expect_reset(&[server_object("web")]).await;
    rig.server.any().await.expect("a watch").events();
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn only_the_metadata_of_owners_is_asked_for() {
    let mut rig = Rig::new(Kind::ReplicaSet);
    rig.expect_state(WatchState::Syncing).await;
    let list = rig.server.asked("/apis/apps/v1/replicasets?&limit=500").await;
    assert_eq!(list.accept, METADATA_LIST);
    list.json(&page("5", "", &[]));
    rig.expect_reset(&[]).await;
    assert_eq!(rig.server.any().await.expect("a watch").accept, METADATA);
}

#[tokio::test(start_paused = true)]
async fn one_namespace_is_watched_when_asked_for() {
    let options = Options { namespace: Some("shop".into()), ..Options::default() };
    let mut rig = Rig::with(Kind::Pod, options);
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked("/api/v1/namespaces/shop/pods?&limit=500").await.json(&page("5", "", &[]));
    rig.expect_reset(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn the_one_namespace_itself_is_read_again_and_again() {
    let options = Options { namespace: Some("shop".into()), ..Options::default() };
    let mut rig = Rig::with(Kind::Namespace, options);
    let plain = json!({"metadata": {"name": "shop", "resourceVersion": "1"}});
    let labelled = json!({"metadata": {"name": "shop", "resourceVersion": "2", "labels": {"linkerd.io/extension": "shop"}}});
    rig.expect_state(WatchState::Syncing).await;
    rig.server.asked("/api/v1/namespaces/shop").await.json(&plain);
    rig.expect_reset(std::slice::from_ref(&plain)).await;
    rig.expect_state(WatchState::Synced).await;
    rig.server.asked("/api/v1/namespaces/shop").await.json(&plain);
    rig.server.asked("/api/v1/namespaces/shop").await.json(&labelled);
    assert_eq!(rig.started.elapsed().as_secs(), 120);
    rig.expect_reset(&[labelled]).await;
    rig.server.asked("/api/v1/namespaces/shop").await.refuse(404, "namespaces \"shop\" not found");
    rig.expect_reset(&[]).await;
    rig.expect_nothing();
}

#[tokio::test(start_paused = true)]
async fn every_kind_starts_syncing_and_all_watches_end_with_their_reader() {
    let (mut server, client) = server();
    let (sender, mut messages) = mpsc::channel(4);
    let watches = tokio::spawn(watch::watch_all(client, Options::default(), sender, Metrics::default()));
    let answers = tokio::spawn(async move {
        while let Some(asked) = server.any().await {
            asked.refuse(403, "nothing for you");
        }
    });
    let mut syncing = std::collections::BTreeSet::new();
    let mut forbidden = std::collections::BTreeSet::new();
    while forbidden.len() < watch::WATCHES.len() {
        match messages.recv().await.expect("the watches live") {
            Message::State(kind, WatchState::Syncing) => assert!(syncing.insert(kind)),
            Message::State(kind, WatchState::Forbidden { .. }) => assert!(forbidden.insert(kind)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(syncing, forbidden);
    drop(messages);
    watches.await.expect("no watch panicked");
    // The client went with the watches, so the server's requests end too.
    answers.await.expect("the server ends");
}
