//! Faults of Kubernetes: the real watches against a real API server, behind a proxy that misbehaves. Each test shows
//! that the fault bites, that answers say so while it lasts, and that nothing stale or missing is left after it.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod line;

use futures::future::join_all;
use k8s_openapi::{
    api::{
        core::v1::Service,
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use line::{Line, before, impatient, services};
use linkerd_mcp_controller::watch;
use linkerd_mcp_test::{
    apiserver::ApiServer,
    crds,
    http_proxy::{Fault, HttpProxy, Interrupt, Requests},
    mesh,
    rig::{self, Kubernetes},
    wait,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(45);

/// An API server that all tests here share, and a namespace of the test's own.
struct Cluster {
    kubernetes: &'static Kubernetes,
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn new() -> Self {
        let kubernetes = rig::shared_kubernetes().await.unwrap();
        let namespace = kubernetes.apiserver.namespace("faults", &[]).await.unwrap();
        Self { kubernetes, client: kubernetes.client().await.unwrap(), namespace }
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, names: &[&str]) {
        let (api, params) = (self.services(), PostParams::default());
        let service = |name: &str| -> Service {
            object(json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}))
        };
        let created = names.iter().map(|name| service(name));
        join_all(created.map(async |service| api.create(&params, &service).await.unwrap())).await;
    }

    async fn delete(&self, name: &str) {
        self.services().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Applies a policy that shows in answers, by another watch than that of Services.
    async fn mark(&self, name: &str) {
        mesh::apply(&self.client, &self.policy(name)).await.unwrap();
    }

    fn policy(&self, name: &str) -> String {
        let target = json!({"group": "policy.linkerd.io", "kind": "Server", "name": "any"});
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"targetRef": target, "requiredAuthenticationRefs": []}
        })
        .to_string()
    }

    /// Waits until a mark is in answers.
    async fn marked(&self, line: &Line, name: &str) {
        let id = format!("{}/{name}", self.namespace);
        line.until(&id, |graph| graph["authPolicies"][&id].is_object().then_some(())).await;
    }

    async fn has(&self, line: &Line, names: &[&str]) {
        line.until_services(&self.namespace, names).await;
    }

    async fn line(&self) -> (HttpProxy, Line) {
        self.line_with(impatient()).await
    }

    async fn line_with(&self, options: watch::Options) -> (HttpProxy, Line) {
        let proxy = before(&self.kubernetes.apiserver);
        let line = Line::start(&self.kubernetes.apiserver, &proxy, options).await;
        (proxy, line)
    }
}

fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, SOON, async || condition().then_some(())).await.unwrap();
}

/// Interrupts the watches among the requests as soon as there is one.
async fn interrupt(proxy: &HttpProxy, requests: &Requests, interrupt: &Interrupt) {
    until("a watch is open to be interrupted", || proxy.interrupt(requests, interrupt) > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_watch_is_said_and_brings_exactly_what_was_missed() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b"]).await;
    let (proxy, line) = cluster.line().await;
    cluster.has(&line, &["a", "b"]).await;
    let watches = Requests::watches("services");
    interrupt(&proxy, &watches, &Interrupt::Stall).await;
    cluster.delete("b").await;
    cluster.create(&["c"]).await;
    cluster.mark("later").await;
    cluster.marked(&line, "later").await;
    assert_eq!(services(&line.graph().await.unwrap(), &cluster.namespace), ["a", "b"], "the fault bites");
    line.changed_services(&cluster.namespace);

    let slow = proxy.inject(Requests::lists("services"), Fault::Hold);
    interrupt(&proxy, &watches, &Interrupt::expired()).await;
    assert_eq!(line.until_state("services", "failing").await, "the resource version has expired");
    until("the new list is asked for", || slow.count() == 1).await;
    drop(slow);
    cluster.has(&line, &["a", "c"]).await;
    line.until_synced("services").await;
    assert_eq!(line.changed_services(&cluster.namespace), ["+c", "-b"], "the difference and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_kind_waits_as_long_as_it_was_told_and_says_so() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b"]).await;
    let told = Duration::from_secs(3);
    // A line of its own for each storm: pauses grow with every failure.
    let refused = async |fault: Fault| {
        let (proxy, line) = cluster.line().await;
        cluster.has(&line, &["a", "b"]).await;
        let services = Requests::of("services");
        let storm = proxy.inject(services.clone(), fault);
        let before = proxy.asked(&services).len();
        interrupt(&proxy, &Requests::watches("services"), &Interrupt::Cut).await;
        until("it was refused three times", || storm.count() >= 3).await;
        let asked = proxy.asked(&services);
        let pauses: Vec<_> = asked[before..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        (proxy, line, storm, pauses)
    };
    let (untold, (_proxy, line, storm, pauses)) =
        tokio::join!(refused(Fault::throttle(0)), refused(Fault::throttle(3)));
    assert!(untold.3.iter().any(|pause| *pause < told), "by itself it comes sooner: {:?}", untold.3);
    assert!(pauses.iter().all(|pause| *pause >= told), "{pauses:?}");
    let said = line.until_state("services", "failing").await;
    assert_eq!(said, "Too many requests, please try again later. (HTTP 429)");
    cluster.delete("a").await;
    cluster.mark("meanwhile").await;
    cluster.marked(&line, "meanwhile").await;
    assert_eq!(
        services(&line.graph().await.unwrap(), &cluster.namespace),
        ["a", "b"],
        "what was known is kept"
    );
    drop(storm);
    cluster.has(&line, &["b"]).await;
    line.until_synced("services").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_of_refusals_every_watch_waits_and_none_comes_in_step_with_all_others() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b"]).await;
    let (proxy, line) = cluster.line().await;
    cluster.has(&line, &["a", "b"]).await;
    let kinds = watch::WATCHES.len();
    let told = Duration::from_secs(2);
    let storm = proxy.inject(Requests::all(), Fault::throttle(2));
    let before = proxy.asked(&Requests::all()).len();
    until("all watches are cut", || proxy.interrupt(&Requests::all_watches(), &Interrupt::Cut) == kinds)
        .await;
    line.until("every kind is throttled", |graph| {
        let refused = graph["freshness"]["topology"]["not_synced"].as_array()?;
        (refused.iter().filter(|kind| kind["state"] == "failing").count() == kinds).then_some(())
    })
    .await;
    cluster.delete("b").await;
    until("each was refused twice", || storm.count() >= 2 * kinds).await;
    let again = &proxy.asked(&Requests::all())[before..];
    assert!(again[kinds] - again[0] >= told, "nobody asks a second time before the wait is over");
    assert!(again[2 * kinds - 1] - again[kinds] > Duration::ZERO, "the second time they are spread");
    drop(storm);
    cluster.has(&line, &["a"]).await;
    line.until("all is synced", |graph| (graph["freshness"]["topology"]["synced"] == true).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_taken_away_while_running_are_named_and_the_rest_goes_on() {
    let cluster = Cluster::new().await;
    cluster.create(&["a"]).await;
    let apiserver = &cluster.kubernetes.apiserver;
    let who = apiserver.service_account(&cluster.namespace, "limited", &[]).await.unwrap();
    let bindings = Api::<ClusterRoleBinding>::all(cluster.client.clone());
    let give = async |name: &str, rules: Value| {
        let name = format!("{}-{name}", cluster.namespace);
        let role: ClusterRole = object(json!({"metadata": {"name": name}, "rules": rules}));
        let binding: ClusterRoleBinding = object(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "limited", "namespace": cluster.namespace}]
        }));
        let roles = Api::<ClusterRole>::all(cluster.client.clone());
        roles.create(&PostParams::default(), &role).await.unwrap();
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        binding
    };
    let read = |resources: &[&str]| json!([{"apiGroups": ["*"], "resources": resources, "verbs": ["get", "list", "watch"]}]);
    let others: Vec<_> = watch::WATCHES
        .iter()
        .map(|watch| watch.kind.row().plural)
        .filter(|name| *name != "services")
        .collect();
    give("others", read(&others)).await;
    let given = give("services", read(&["services"])).await;
    let proxy = before(apiserver);
    let line = Line::of(apiserver, &proxy, &who).await;
    cluster.has(&line, &["a"]).await;

    let name = given.metadata.name.clone().unwrap();
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    // Open watches outlive the right to them.
    interrupt(&proxy, &Requests::watches("services"), &Interrupt::Cut).await;
    let said = line.until_state("services", "forbidden").await;
    assert!(said.contains("limited") && said.contains("services"), "{said}");
    cluster.delete("a").await;
    cluster.create(&["b"]).await;
    cluster.mark("meanwhile").await;
    cluster.marked(&line, "meanwhile").await;
    let graph = line.graph().await.unwrap();
    assert_eq!(services(&graph, &cluster.namespace), ["a"], "what was known is kept");
    assert_eq!(graph["freshness"]["topology"]["not_synced"].as_array().unwrap().len(), 1);

    bindings.create(&PostParams::default(), &given).await.unwrap();
    cluster.has(&line, &["b"]).await;
    line.until_synced("services").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_closed_again_and_again_lose_nothing() {
    let cluster = Cluster::new().await;
    cluster.create(&["a"]).await;
    let (proxy, line) = cluster.line().await;
    let (lists, watches) = (Requests::lists("services"), Requests::watches("services"));
    let listed = proxy.asked(&lists).len();
    let mut now = "a".to_owned();
    for (round, how) in [Interrupt::End, Interrupt::Cut].iter().cycle().take(10).enumerate() {
        cluster.has(&line, &[&now]).await;
        interrupt(&proxy, &watches, how).await;
        // Two changes while nobody watches, or just when somebody does again.
        let next = format!("b{round}");
        cluster.delete(&now).await;
        cluster.create(&[&next]).await;
        now = next;
    }
    cluster.has(&line, &[&now]).await;
    assert!(proxy.asked(&watches).len() > 10, "the watches were closed");
    assert_eq!(proxy.asked(&lists).len(), listed, "they were resumed where they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_bytes_stop_is_given_up_and_resumed() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b"]).await;
    let patience = |watch_idle| watch::Options { watch_idle, ..impatient() };
    let (proxy, line) = cluster.line_with(patience(Duration::from_secs(3))).await;
    let (endless_proxy, endless) = cluster.line_with(patience(Duration::from_secs(3600))).await;
    for (proxy, line) in [(&proxy, &line), (&endless_proxy, &endless)] {
        cluster.has(line, &["a", "b"]).await;
        interrupt(proxy, &Requests::watches("services"), &Interrupt::Stall).await;
    }
    cluster.delete("a").await;
    cluster.has(&line, &["b"]).await;
    // The same stall for one who waits for ever.
    cluster.mark("later").await;
    cluster.marked(&endless, "later").await;
    assert_eq!(services(&endless.graph().await.unwrap(), &cluster.namespace), ["a", "b"], "the fault bites");
    interrupt(&endless_proxy, &Requests::watches("services"), &Interrupt::Cut).await;
    cluster.has(&endless, &["b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_next_page_expires_starts_over() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b", "c", "d", "e"]).await;
    let (proxy, line) = cluster.line_with(watch::Options { page_size: 2, ..impatient() }).await;
    cluster.has(&line, &["a", "b", "c", "d", "e"]).await;
    let (lists, pages) = (Requests::lists("services"), Requests::next_pages("services"));
    let first_pages = || proxy.asked(&lists).len() - proxy.asked(&pages).len();
    let before = first_pages();

    let held = proxy.inject(pages.clone(), Fault::Hold);
    interrupt(&proxy, &Requests::watches("services"), &Interrupt::expired()).await;
    until("the second page is asked for", || held.count() == 1).await;
    for name in ["a", "c", "e"] {
        cluster.delete(name).await;
    }
    cluster.create(&["f"]).await;
    // As the API server writes it once etcd has forgotten what the first page was read from. A compaction itself does
    // not do: an API server of today serves the page from its cache.
    let said = "The provided continue parameter is too old to display a consistent list result.";
    let expired = proxy.inject(pages.clone(), Fault::refuse(410, "Expired", said));
    drop(held);
    until("the second page has expired", || expired.count() > 0).await;
    assert_eq!(line.until_state("services", "failing").await, "the resource version has expired");
    drop(expired);
    cluster.has(&line, &["b", "d", "f"]).await;
    line.until_synced("services").await;
    assert!(first_pages() >= before + 2, "it began with the first page again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_twice_changes_nothing() {
    let cluster = Cluster::new().await;
    cluster.create(&["a"]).await;
    let (proxy, line) = cluster.line().await;
    cluster.has(&line, &["a"]).await;
    line.changed_services(&cluster.namespace);
    let known = cluster.services().get("a").await.unwrap();
    let version = known.metadata.resource_version.clone();
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": version}});
    for event in [
        json!({"type": "ADDED", "object": known}),
        json!({"type": "MODIFIED", "object": known}),
        json!({"type": "BOOKMARK", "object": bookmark}),
    ] {
        let line = Interrupt::Say(format!("{event}\n"));
        interrupt(&proxy, &Requests::watches("services"), &line).await;
    }
    cluster.create(&["b"]).await;
    cluster.has(&line, &["a", "b"]).await;
    assert_eq!(line.changed_services(&cluster.namespace), ["+b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crd_removed_while_running_takes_its_objects_along_and_comes_back_with_new_ones() {
    let cluster = Cluster::new().await;
    let definition =
        crds::all().unwrap().into_iter().find(|crd| crd.spec.names.kind == "HTTPLocalRateLimitPolicy");
    let definition = definition.unwrap();
    let name = definition.metadata.name.clone().unwrap();
    let limit = |name: &str| {
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "HTTPLocalRateLimitPolicy",
            "metadata": {"name": name, "namespace": cluster.namespace},
            "spec": {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "any"}, "total": {"requestsPerSecond": 1}}
        })
        .to_string()
    };
    let limits = |graph: &Value| -> Option<Vec<String>> {
        let ids = graph["policies"].as_object()?.keys();
        let ours = ids.filter(|id| id.contains(&cluster.namespace) && id.contains("ratelimit"));
        Some(ours.filter_map(|id| Some(id.rsplit('/').next()?.to_owned())).collect())
    };
    mesh::apply(&cluster.client, &limit("old")).await.unwrap();
    let (_proxy, line) = cluster.line().await;
    line.until("the old limit is known", |graph| (limits(graph)? == ["old"]).then_some(())).await;

    let definitions = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    line.until("the old limit is gone", |graph| limits(graph)?.is_empty().then_some(())).await;
    // A kind that is not installed does not count against the rest, which goes on.
    line.until_synced(&name).await;
    cluster.create(&["a"]).await;
    cluster.has(&line, &["a"]).await;
    wait::until("the definition is gone", SOON, async || {
        definitions.get_opt(&name).await.ok()?.is_none().then_some(())
    })
    .await
    .unwrap();

    crds::install_one(&definitions, definition).await.unwrap();
    mesh::apply(&cluster.client, &limit("new")).await.unwrap();
    line.until("the new limit is known", |graph| (limits(graph)? == ["new"]).then_some(())).await;
    line.until_synced(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_api_server_is_said_for_every_kind_and_leaves_nothing_stale() {
    let cluster = Cluster::new().await;
    cluster.create(&["a", "b"]).await;
    let (proxy, line) = cluster.line().await;
    cluster.has(&line, &["a", "b"]).await;
    let listed = proxy.asked(&Requests::lists("services")).len();
    let starting = ApiServer::start(&cluster.kubernetes.etcd);
    let next = async {
        let down =
            proxy.inject(Requests::all(), Fault::refuse(503, "ServiceUnavailable", "apiserver not ready"));
        until("all watches are gone", || {
            proxy.interrupt(&Requests::all_watches(), &Interrupt::Cut);
            down.count() >= watch::WATCHES.len()
        })
        .await;
        let said = line.until_state("services", "failing").await;
        assert_eq!(said, "apiserver not ready (HTTP 503)");
        line.until("every kind is failing", |graph| {
            let kinds = graph["freshness"]["topology"]["not_synced"].as_array()?;
            (kinds.len() == watch::WATCHES.len()).then_some(())
        })
        .await;
        cluster.delete("a").await;
        assert_eq!(services(&line.graph().await.unwrap(), &cluster.namespace), ["a", "b"], "it answers on");
        down
    };
    let (next, down) = tokio::join!(starting, next);
    let next = next.unwrap();
    proxy.retarget(&next.url(), Some(next.ca_pem())).unwrap();
    drop(down);
    cluster.has(&line, &["b"]).await;
    line.until("all is synced", |graph| (graph["freshness"]["topology"]["synced"] == true).then_some(()))
        .await;
    cluster.create(&["c"]).await;
    cluster.has(&line, &["b", "c"]).await;
    println!(
        "lists of Services for the restart: {}",
        proxy.asked(&Requests::lists("services")).len() - listed
    );
}
