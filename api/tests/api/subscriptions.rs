use crate::{
    client::{Mcp, Stream},
    fixture::{self, WEB_TO_CART, at},
    rig::{Rig, config, until, within},
};
use linkerd_mcp_graph::{
    feed::Event,
    metrics::Metrics,
    model::{Graph, Namespace, Tls, Workload},
};
use serde_json::{Value, json};
use std::sync::Arc;

const CART: &str = "mesh://workloads/shop/deployment/cart";

/// The mesh of the fixture, to be changed.
struct Mesh {
    rig: Rig,
    graph: Graph,
    seq: u64,
}

impl Mesh {
    async fn new() -> Self {
        Self { rig: Rig::ready(config()).await, graph: fixture::graph(), seq: 1 }
    }

    /// Changes the graph, here and in the API.
    async fn change(&mut self, change: impl FnOnce(&mut Graph)) {
        self.seq += 1;
        let event = fixture::delta(&mut self.graph, self.seq, change);
        self.rig.send(event).await;
    }

    /// Somebody new calls the cart.
    async fn call(&mut self, from: &str) {
        self.change(|graph| fixture::edge(graph, &format!("shop/deployment/{from}->shop/cart:80"), |_| ()))
            .await;
    }

    /// Numbers in which so much from web to cart is denied a second.
    async fn denied(&self, denied: f64) {
        let numbers = fixture::metrics();
        let rows = numbers.iter().map(|(id, row)| {
            let mut row = row.clone();
            if id.as_str() == WEB_TO_CART {
                row.denied = Some(denied);
            }
            (id.clone(), row)
        });
        let metrics = Metrics::new(numbers.status.clone(), rows.collect());
        self.rig.send(Event::Metrics { position: at(self.seq), metrics: Arc::new(metrics) }).await;
    }

    /// How many topics there are subscriptions to.
    async fn subscriptions(&self) -> Option<u64> {
        let text = self.rig.get_with(self.rig.admin, "/metrics", &[]).await.text;
        text.lines().find_map(|line| line.strip_prefix("mcp_subscriptions ")?.parse().ok())
    }

    /// Waits until there are so many.
    async fn subscribed(&self, wanted: u64) {
        within(async {
            while self.subscriptions().await != Some(wanted) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn listen(mesh: &Mesh, uris: &[&str]) -> Stream {
    let client = Mcp::stateless(mesh.rig.address);
    let (stream, accepted) = client.listen(json!({"resourceSubscriptions": uris})).await;
    assert_eq!(accepted, json!({"resourceSubscriptions": uris}));
    mesh.subscribed(uris.len() as u64).await;
    stream
}

#[tokio::test]
async fn both_eras_are_told_before_they_ask_that_resources_can_be_watched() {
    let mesh = Mesh::new().await;
    let info = Mcp::stateless(mesh.rig.address).result("server/discover", json!({})).await;
    let wanted = json!({
        "completions": {}, "prompts": {}, "resources": {"subscribe": true, "listChanged": true}, "tools": {},
    });
    assert_eq!(info["capabilities"], wanted);
    let instructions = info["instructions"].as_str().unwrap();
    assert!(instructions.len() <= 2_048 && instructions.contains("mesh://graph"), "{instructions}");
}

#[tokio::test]
async fn a_stream_hears_of_what_it_asked_for_and_of_nothing_else() {
    let mut mesh = Mesh::new().await;
    let client = Mcp::stateless(mesh.rig.address);
    let wanted = json!({
        "resourceSubscriptions": [CART, "mesh://services/data/db", "file:///etc/passwd", "mesh://none"],
        "resourcesListChanged": true,
        "toolsListChanged": true,
    });
    let (mut stream, accepted) = client.listen(wanted).await;
    let granted =
        json!({"resourceSubscriptions": [CART, "mesh://services/data/db"], "resourcesListChanged": true});
    assert_eq!(accepted, granted);
    mesh.subscribed(3).await;

    // Not at these: a call to web, and numbers that move.
    mesh.change(|graph| fixture::edge(graph, "shop/deployment/new->shop/web:80", |_| ())).await;
    mesh.rig.send(fixture::numbers(mesh.seq, 99.0)).await;
    mesh.call("new").await;
    let message = stream.next().await;
    assert_eq!(
        (&message["method"], &message["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(CART))
    );
    assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
    // A workload that comes is news for the list.
    mesh.change(|graph| {
        graph.workloads.insert("idle/job/once".parse().unwrap(), Arc::new(Workload::default()));
    })
    .await;
    assert_eq!(stream.next().await["method"], "notifications/resources/list_changed");
    mesh.change(|graph| fixture::edge(graph, "shop/deployment/new->data/db:5432", |_| ())).await;
    assert_eq!(stream.updated().await, "mesh://services/data/db");
}

#[tokio::test]
async fn calls_mutual_tls_denials_and_policy_are_news_where_they_happen() {
    let mut mesh = Mesh::new().await;
    let everywhere = ["mesh://graph", "mesh://namespaces/shop", CART, "mesh://services/shop/cart"];
    let mut streams = Vec::new();
    for uri in everywhere {
        let client = Mcp::stateless(mesh.rig.address);
        let (stream, _) = client.listen(json!({"resourceSubscriptions": [uri]})).await;
        streams.push((uri, stream));
    }
    mesh.subscribed(4).await;
    macro_rules! heard {
        () => {
            for (uri, stream) in &mut streams {
                assert_eq!(stream.updated().await, *uri);
            }
        };
    }
    mesh.call("new").await;
    heard!();
    mesh.change(|graph| {
        graph.edges.remove("shop/deployment/new->shop/cart:80");
    })
    .await;
    heard!();
    let tls = |tls: Tls| move |graph: &mut Graph| fixture::edge(graph, WEB_TO_CART, |edge| edge.tls = tls);
    mesh.change(tls(Tls::No { reason: "no_tls_from_remote".into() })).await;
    heard!();
    mesh.change(tls(Tls::Mutual)).await;
    heard!();
    // From half a request a second to five.
    mesh.denied(5.0).await;
    heard!();
    mesh.change(|graph| {
        let policy = graph.policies.get_mut("server/shop/cart").unwrap();
        Arc::make_mut(policy).spec = Arc::new(json!({"port": "other", "podSelector": {}}));
    })
    .await;
    heard!();
    let client = Mcp::stateless(mesh.rig.address);
    let read = client.result("resources/read", json!({"uri": "mesh://policies/server/shop/cart"})).await;
    let read: Value = serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(read["last_changed"], read["freshness"]["as_of"]);

    // What was noticed can be asked for afterwards too.
    let request = json!({"name": "summarize_changes", "arguments": {"minutes": "5"}});
    let prompt = client.result("prompts/get", request).await;
    let text = prompt["messages"][0]["content"]["text"].as_str().unwrap().to_owned();
    let what =
        ["edge_appeared", "edge_vanished", "mtls_lost", "mtls_gained", "denial_spike", "policy_changed"];
    for what in what {
        assert!(text.contains(&format!("\"what\":\"{what}\"")), "{what} in {text}");
    }
}

#[tokio::test]
async fn a_storm_at_one_resource_is_one_notification_at_once_and_one_a_second_later() {
    let mut mesh = Mesh::new().await;
    let mut stream = listen(&mesh, &[CART, "mesh://namespaces/idle"]).await;
    for caller in 0..50 {
        mesh.call(&format!("caller{caller}")).await;
    }
    let heard = [stream.updated().await, stream.updated().await];
    assert_eq!(heard, [CART, CART]);
    mesh.change(|graph| {
        graph.namespaces.remove("idle");
    })
    .await;
    assert_eq!(stream.updated().await, "mesh://namespaces/idle", "the storm was told in two");
}

#[tokio::test]
async fn a_session_is_told_on_its_stream_until_it_unsubscribes() {
    let mut mesh = Mesh::new().await;
    let (one, other) = (Mcp::session(mesh.rig.address).await, Mcp::session(mesh.rig.address).await);
    let (mut hears, mut other_hears) = (one.stream().await, other.stream().await);
    assert_eq!(one.result("resources/subscribe", json!({"uri": CART})).await, json!({}));
    let idle = json!({"uri": "mesh://namespaces/idle"});
    one.result("resources/subscribe", idle.clone()).await;
    other.result("resources/subscribe", idle.clone()).await;
    // Twice is once. The list is always with them.
    one.result("resources/subscribe", json!({"uri": CART})).await;
    assert_eq!(mesh.subscriptions().await, Some(5));

    mesh.call("new").await;
    assert_eq!(hears.updated().await, CART);
    assert_eq!(one.result("resources/unsubscribe", json!({"uri": CART})).await, json!({}));
    // What was told once is held back for a second, so the second time shows what it would have been.
    for there in [false, true] {
        mesh.change(|graph| {
            let (cart, idle) = ("shop/deployment/newer->shop/cart:80", "idle".into());
            if there {
                graph.edges.remove(cart);
                graph.namespaces.insert(idle, Arc::new(Namespace::default()));
            } else {
                fixture::edge(graph, cart, |_| ());
                graph.namespaces.remove(&idle);
            }
        })
        .await;
        // Neither hears of the cart again, and the other never has.
        for stream in [&mut hears, &mut other_hears] {
            let mut heard = [stream.next().await, stream.next().await].map(|it| {
                let uri = it["params"]["uri"].as_str().unwrap_or_default();
                format!("{} {uri}", it["method"].as_str().unwrap())
            });
            heard.sort();
            let list = "notifications/resources/list_changed ";
            assert_eq!(heard, [list, "notifications/resources/updated mesh://namespaces/idle"]);
        }
    }
    let error = one.error("resources/subscribe", json!({"uri": "mesh://none"})).await;
    assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(-32002), &json!("mesh://none")));
}

#[tokio::test]
async fn places_are_free_again_when_streams_and_sessions_are_gone() {
    let mesh = Mesh::new().await;
    let stream = listen(&mesh, &[CART, "mesh://graph"]).await;
    drop(stream);
    mesh.subscribed(0).await;

    let gone = Mcp::session(mesh.rig.address).await;
    gone.result("resources/subscribe", json!({"uri": CART})).await;
    assert_eq!(mesh.subscriptions().await, Some(2));
    gone.end().await;
    // Looked for whenever somebody else subscribes.
    let other = Mcp::session(mesh.rig.address).await;
    within(async {
        loop {
            other.result("resources/subscribe", json!({"uri": "mesh://graph"})).await;
            if mesh.subscriptions().await == Some(2) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn one_caller_has_so_many_streams_and_no_more() {
    let mesh = Mesh::new().await;
    let client = Mcp::stateless(mesh.rig.address);
    let filter = json!({"resourceSubscriptions": [CART]});
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.listen(filter.clone()).await.0);
    }
    mesh.subscribed(100).await;
    let (mut refused, _) = client.listen(filter.clone()).await;
    assert_eq!(refused.next().await["error"]["code"], -31_000);
    streams.pop();
    mesh.subscribed(99).await;
    let (_stream, _) = client.listen(filter).await;
    mesh.subscribed(100).await;
}

#[tokio::test]
async fn streams_end_with_the_process() {
    let mut mesh = Mesh::new().await;
    let mut stream = listen(&mesh, &["mesh://graph"]).await;
    mesh.rig.stop.take().unwrap().send(()).unwrap();
    within(async { while stream.maybe().await.is_some() {} }).await;
    drop(stream);
    within(&mut mesh.rig.served).await.unwrap().unwrap();
    // Nothing holds on to the replica that would go on telling.
    until(|| mesh.rig.replica.ticks().borrow().closing).await;
}

#[tokio::test]
async fn a_list_that_changed_is_another_list() {
    let mut mesh = Mesh::new().await;
    let client = Mcp::stateless(mesh.rig.address);
    let (mut stream, _) = client.listen(json!({"resourcesListChanged": true})).await;
    mesh.subscribed(1).await;
    mesh.change(|graph| {
        graph.namespaces.insert("new".into(), Arc::new(Namespace::default()));
    })
    .await;
    assert_eq!(stream.next().await["method"], "notifications/resources/list_changed");
    let list = client.result("resources/list", json!({})).await;
    let new =
        list["resources"].as_array().unwrap().iter().find(|it| it["uri"] == "mesh://namespaces/new").unwrap();
    assert_eq!(new["annotations"]["lastModified"], "2025-10-09T08:53:22Z");
}
