//! Asks a stand-in for Linkerd's policy controller, over the real gRPC contract, and compares what it enforces with what
//! is written. The stand-in answers what the real controller was recorded to answer.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use flate2::read::GzDecoder;
use linkerd_mcp_api::{
    feed::memory::memory_feed,
    linkerd::{
        AskError, Limits, PolicyController,
        sample::{self, CompareError, Ours as _},
    },
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Key},
    facts::{Facts, Touched},
    feed::Publisher as _,
    index::assemble_all,
    kind::{KINDS, Kind},
    policy::{Answer, Policies, PolicyCluster, WorkloadKey, drift::Drift},
    status::{TopologyStatus, WatchState},
};
use linkerd_mcp_test::linkerd::{PolicyStub, Reply, message};
use linkerd2_proxy_api::inbound;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    io::{BufRead, BufReader},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::Status;

const CASES: &[u8] = include_bytes!("../fixtures/policy-controller/cases.jsonl.gz");

#[derive(Deserialize)]
struct Case {
    name: String,
    cluster: PolicyCluster,
    objects: Vec<Value>,
    answers: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    namespace: String,
    pod: Option<String>,
    external_workload: Option<String>,
    port: u32,
    status: String,
    server: Option<Value>,
}

fn cases() -> impl Iterator<Item = Case> {
    let lines = BufReader::new(GzDecoder::new(CASES)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

impl Recorded {
    fn workload(&self) -> WorkloadKey {
        let key = |name: &String| Key::new(self.namespace.as_str(), name.as_str());
        match (&self.pod, &self.external_workload) {
            (Some(pod), None) => WorkloadKey::Pod(key(pod)),
            (None, Some(name)) => WorkloadKey::ExternalWorkload(key(name)),
            other => panic!("an answer is about one workload: {other:?}"),
        }
    }

    /// What stands for the workload on the wire: written here by hand, as the injector writes it.
    fn token(&self) -> String {
        let ns = &self.namespace;
        match (&self.pod, &self.external_workload) {
            (Some(pod), _) => format!(r#"{{"ns":"{ns}","pod":"{pod}"}}"#),
            (_, name) => format!(r#"{{"external_workload":"{}","ns":"{ns}"}}"#, name.as_ref().unwrap()),
        }
    }

    fn reply(&self) -> Reply {
        match (self.status.as_str(), &self.server) {
            ("ok", Some(server)) => Reply::Server(Box::new(message::server(server).unwrap())),
            ("not_found", None) => Reply::Status(Status::not_found("unknown workload")),
            ("invalid_argument", None) => Reply::Status(Status::invalid_argument("no such port")),
            other => panic!("{other:?}"),
        }
    }
}

fn facts(objects: &[Value]) -> Facts {
    let (mut facts, mut touched) = (Facts::default(), Touched::default());
    for object in objects {
        let api_version = object["apiVersion"].as_str().unwrap();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let row = KINDS.iter().find(|row| row.group == group && object["kind"] == row.name).unwrap();
        let kind: Kind = row.kind;
        facts.change(Change::Apply(fact_from_value(kind, object).unwrap()), &mut touched);
    }
    facts
}

fn controller(address: &str) -> PolicyController {
    PolicyController::new(address, Limits::default()).unwrap()
}

fn hasty(address: &str) -> PolicyController {
    let limits = Limits { time: Duration::from_millis(300), ..Limits::default() };
    PolicyController::new(address, limits).unwrap()
}

fn pod() -> WorkloadKey {
    WorkloadKey::Pod(Key::new("shop", "web"))
}

const TOKEN: &str = r#"{"ns":"shop","pod":"web"}"#;

fn causes(error: &AskError) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[tokio::test]
async fn every_recorded_answer_comes_over_the_wire_as_it_was_recorded_and_none_drifts() {
    let stub = PolicyStub::start().unwrap();
    let client = controller(&stub.address());
    let (mut compared, mut wrong) = (BTreeMap::<String, u32>::new(), Vec::new());
    for case in cases() {
        stub.know(case.answers.iter().map(|answer| ((answer.token(), answer.port), answer.reply())));
        let facts = facts(&case.objects);
        let policies = Policies::read(&facts, &case.cluster);
        for recorded in &case.answers {
            let answer = client.get_port(&recorded.workload(), recorded.port).await.unwrap();
            *compared.entry(recorded.status.clone()).or_default() += 1;
            let expected = recorded.server.clone().unwrap_or(Value::Null);
            if answer.status() != recorded.status || json!(answer.server()) != expected {
                wrong.push(format!("{} port {}: {answer:?}", case.name, recorded.port));
            }
            let ours = policies.answer(&facts, &recorded.workload(), recorded.port);
            let drift = Drift::between(&ours, &answer);
            if !drift.is_none() {
                wrong.push(format!("{} port {} drifts: {:?}", case.name, recorded.port, drift.differences));
            }
        }
    }
    println!("compared {compared:?}");
    assert_eq!(compared.values().sum::<u32>(), 3_698);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}

/// A replica that was fed what the controller makes of the objects.
async fn replica(case: &Case) -> (Replica, JoinHandle<()>) {
    let settings = Arc::new(case.cluster.clone());
    let cluster = Cluster { policy: Some(settings), ..Cluster::default() };
    let mut graph = assemble_all(facts(&case.objects), &cluster);
    graph.status = Arc::new(TopologyStatus { kinds: [(Kind::Pod, WatchState::Synced)].into() });
    let (mut publisher, feed) = memory_feed(1);
    publisher.snapshot(1, Arc::new(graph), Arc::default()).await.unwrap();
    let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    let (follower, mut ticks) = (replica.clone(), replica.ticks());
    let following = tokio::spawn(async move {
        follower.follow(feed.subscribe()).await;
        drop(publisher);
    });
    ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    (replica, following)
}

/// The whole way: objects, graph, feed and replica on one side, gRPC on the other. Pods that share a template with
/// another one are not known by name and are left out.
#[tokio::test]
async fn what_a_replica_resolves_does_not_drift_from_what_the_controller_answered() {
    let stub = PolicyStub::start().unwrap();
    let client = controller(&stub.address());
    let (mut compared, mut unknown, mut drifting) = (0, 0, Vec::new());
    for case in cases() {
        stub.know(case.answers.iter().map(|answer| ((answer.token(), answer.port), answer.reply())));
        let (replica, following) = replica(&case).await;
        for recorded in case.answers.iter().filter(|recorded| recorded.status != "invalid_argument") {
            let port = u16::try_from(recorded.port).unwrap();
            match sample::compare(&replica, &client, &recorded.workload(), port).await {
                Ok(drift) if drift.is_none() => compared += 1,
                Ok(drift) => drifting.push(format!("{} port {port}: {:?}", case.name, drift.differences)),
                Err(CompareError::NotKnown { .. }) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
        }
        for (workload, port, server) in replica.sample(100).await {
            let known = case
                .answers
                .iter()
                .find(|recorded| recorded.workload() == workload && recorded.port == u32::from(port));
            assert_eq!(
                known.and_then(|recorded| recorded.server.clone()),
                Some(json!(server)),
                "{}",
                case.name
            );
        }
        following.abort();
    }
    println!("{compared} compared, {unknown} of pods not known by name");
    assert!(drifting.is_empty(), "{} drift:\n{}", drifting.len(), drifting.join("\n"));
    assert!(compared > 3_000, "only {compared} compared, {unknown} unknown");
}

/// Every place in the recordings where something can stand, by path without indexes, with the first answer that has it.
fn places() -> BTreeMap<String, (Value, String)> {
    fn walk(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    walk(field, &format!("{pointer}/{name}"), &format!("{path}/{name}"), found);
                }
            }
            Value::Array(items) => {
                // A header's name and value are a pair, which cannot lose one of them.
                let pair = path.ends_with("/add/*") || path.ends_with("/set/*");
                if !items.is_empty() && !pair {
                    found.push((format!("{path} less one"), pointer.to_owned()));
                }
                for (at, item) in items.iter().enumerate() {
                    walk(item, &format!("{pointer}/{at}"), &format!("{path}/*"), found);
                }
            }
            Value::Null => {}
            _ => found.push((path.to_owned(), pointer.to_owned())),
        }
    }
    let mut places = BTreeMap::new();
    for case in cases() {
        for server in case.answers.into_iter().filter_map(|answer| answer.server) {
            let mut found = Vec::new();
            walk(&server, "", "", &mut found);
            for (path, pointer) in found {
                places.entry(path).or_insert_with(|| (server.clone(), pointer));
            }
        }
    }
    places
}

/// Another value that can stand in the same place: an item less, another name, another number.
fn mutated(path: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items[1..].to_vec()),
        Value::Number(number) => json!(number.as_u64().unwrap() + 1),
        Value::String(text) if path.ends_with("/net") || path.contains("/except/") => {
            json!(if text == "203.0.112.0/24" { "203.0.113.0/24" } else { "203.0.112.0/24" })
        }
        Value::String(text) if path == "/protocol/kind" => {
            json!(if text == "opaque" { "tls" } else { "opaque" })
        }
        Value::String(text) => json!(format!("{text}x")),
        other => panic!("{path}: {other}"),
    }
}

/// Whatever one thing in the controller's answer changes, anywhere an answer can have something, is found as drift; the
/// unchanged answer is the control.
#[tokio::test]
async fn a_change_anywhere_in_an_answer_is_found_as_drift() {
    let stub = PolicyStub::start().unwrap();
    let client = controller(&stub.address());
    let mut kinds = BTreeSet::new();
    let mut missed = Vec::new();
    let places = places();
    for (path, (server, pointer)) in &places {
        let mut other = server.clone();
        let place = other.pointer_mut(pointer).unwrap();
        *place = mutated(path, place);
        let reply = |server: &Value| Reply::Server(Box::new(message::server(server).unwrap()));
        stub.know([((TOKEN.to_owned(), 1), reply(server)), ((TOKEN.to_owned(), 2), reply(&other))]);
        let written = client.get_port(&pod(), 1).await.unwrap();
        let again = client.get_port(&pod(), 1).await.unwrap();
        assert!(Drift::between(&written, &again).is_none(), "{path}");
        let enforced = client.get_port(&pod(), 2).await.unwrap();
        let drift = Drift::between(&written, &enforced);
        kinds.extend(drift.differences.iter().map(|difference| difference.kind()));
        if drift.is_none() {
            missed.push(path);
        }
    }
    println!("{} places: {:?}", places.len(), kinds);
    assert!(missed.is_empty(), "nothing differs when these do: {missed:#?}");
    assert!(places.len() > 90, "the recordings have {} places", places.len());
    let all = [
        "authorization",
        "authorization_not_enforced",
        "authorization_still_enforced",
        "detect_timeout",
        "protocol",
        "rate_limit",
        "route",
        "route_not_enforced",
        "route_still_enforced",
        "server",
        "server_addresses",
    ];
    assert_eq!(kinds, all.into());
}

#[tokio::test]
async fn a_pod_that_the_controller_does_not_know_is_an_answer_and_drift() {
    let stub = PolicyStub::start().unwrap();
    let answer = controller(&stub.address()).get_port(&pod(), 80).await.unwrap();
    assert_eq!(answer, Answer::NotFound);
    let server = cases().flat_map(|case| case.answers).find_map(|answer| answer.server).unwrap();
    stub.know([((TOKEN.to_owned(), 80), Reply::Server(Box::new(message::server(&server).unwrap())))]);
    let written = controller(&stub.address()).get_port(&pod(), 80).await.unwrap();
    assert_eq!(Drift::between(&written, &answer).differences[0].kind(), "status");
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_named_with_its_address_and_what_to_check() {
    // A port that was free a moment ago: nobody listens on it.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = controller(&address).get_port(&pod(), 80).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach Linkerd's policy controller at {address}: check that Service linkerd-policy has endpoints, \
             that no NetworkPolicy stands between, and that --policy-addr is right"
        )
    );
    assert!(causes(&error).contains("onnection refused"), "{}", causes(&error));
    let error = controller("linkerd-policy.invalid:8090").get_port(&pod(), 80).await.unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. } | AskError::Slow { .. }), "{error:?}");
}

#[tokio::test]
async fn a_controller_that_comes_back_is_asked_again_over_a_new_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = controller(&address.to_string());
    client.get_port(&pod(), 80).await.unwrap_err();
    let stub = PolicyStub::start_at(address).unwrap();
    assert_eq!(client.get_port(&pod(), 80).await.unwrap(), Answer::NotFound);
    drop(stub);
}

#[tokio::test]
async fn a_controller_that_is_silent_is_given_up_in_time() {
    let stub = PolicyStub::start().unwrap();
    stub.know([((TOKEN.to_owned(), 80), Reply::Silence)]);
    let client = hasty(&stub.address());
    let error = client.get_port(&pod(), 80).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Linkerd's policy controller at {} gave no answer within 300 ms", stub.address())
    );
    assert_eq!(
        client.get_port(&pod(), 81).await.unwrap(),
        Answer::NotFound,
        "the next question is none the worse"
    );
}

#[tokio::test]
async fn a_listener_that_says_nothing_at_all_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = hasty(&listener.local_addr().unwrap().to_string());
    let error = client.get_port(&pod(), 80).await.unwrap_err();
    assert!(matches!(error, AskError::Slow { .. }), "{error:?}");
}

/// Accepts connections and says these bytes to each.
async fn saying(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn something_that_does_not_speak_grpc_is_told_from_a_controller_that_is_away() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"\x15\x03\x03\x00\x02\x02\x0a"] {
        let address = saying(bytes).await;
        let error = controller(&address).get_port(&pod(), 80).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{address} broke off or does not speak gRPC without TLS: is it Linkerd's policy controller? \
                 --policy-addr names it"
            ),
            "{}",
            causes(&error)
        );
    }
}

#[tokio::test]
async fn a_server_of_other_services_does_not_serve_policies() {
    let other = linkerd_mcp_test::linkerd::DestinationStub::start(
        linkerd_mcp_test::linkerd::Stream::Refused(Status::not_found("")),
    )
    .unwrap();
    let error = controller(&other.address()).get_port(&pod(), 80).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} does not serve io.linkerd.proxy.inbound.InboundServerPolicies: is it Linkerd's policy controller? \
             --policy-addr names it",
            other.address()
        )
    );
}

#[tokio::test]
async fn a_refusal_is_passed_on_in_the_controllers_words() {
    let stub = PolicyStub::start().unwrap();
    let refusal = Status::unavailable("the index is not ready");
    stub.know([((TOKEN.to_owned(), 80), Reply::Status(refusal))]);
    let error = controller(&stub.address()).get_port(&pod(), 80).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Linkerd's policy controller at {} refused with Unavailable: the index is not ready",
            stub.address()
        )
    );
}

/// Halves of a message, each with the words that say what is missing.
fn halves() -> Vec<(inbound::Server, &'static str)> {
    use inbound::{
        Authn, Authz, HttpRoute, Network, ProxyProtocol,
        authn::{Permit, PermitMeshTls},
        http_route::{Filter, Rule, filter},
        proxy_protocol::{Detect, Http1, Kind, Opaque},
    };
    use linkerd2_proxy_api::{http_route, meta, net};
    let server = |kind| inbound::Server {
        protocol: Some(ProxyProtocol { kind: Some(kind) }),
        ..inbound::Server::default()
    };
    let named = || Some(meta::Metadata { kind: Some(meta::metadata::Kind::Default("default".to_owned())) });
    let authorized = |authorization| inbound::Server {
        authorizations: vec![authorization],
        ..server(Kind::Opaque(Opaque {}))
    };
    let route = |rule| {
        let route = HttpRoute { metadata: named(), rules: vec![rule], ..HttpRoute::default() };
        server(Kind::Http1(Http1 { routes: vec![route], local_rate_limit: None }))
    };
    let matching = |matching| route(Rule { matches: vec![matching], filters: Vec::new() });
    let mesh_tls = Authn { permit: Some(Permit::MeshTls(PermitMeshTls { clients: None })) };
    let any = Authn { permit: Some(Permit::Unauthenticated(inbound::authn::PermitUnauthenticated {})) };
    let network = |ip: Option<net::IpAddress>, prefix_len| Authz {
        metadata: named(),
        authentication: Some(any.clone()),
        networks: vec![Network { net: Some(net::IpNetwork { ip, prefix_len }), except: Vec::new() }],
        ..Authz::default()
    };
    let regex = http_route::PathMatch { kind: Some(http_route::path_match::Kind::Regex("(".to_owned())) };
    let injected = filter::Kind::FailureInjector(http_route::HttpFailureInjector::default());
    vec![
        (inbound::Server::default(), "the protocol is missing"),
        (server(Kind::Detect(Detect::default())), "the time for detection is missing"),
        (authorized(Authz::default()), "the metadata of a part is missing"),
        (
            authorized(Authz { metadata: named(), ..Authz::default() }),
            "an authorization's authentication is missing",
        ),
        (
            authorized(Authz { metadata: named(), authentication: Some(mesh_tls), ..Authz::default() }),
            "the clients of mesh TLS is missing",
        ),
        (authorized(network(None, 0)), "an address or network cannot be read: invalid IP address"),
        (
            authorized(network(Some([10, 0, 0, 0].into()), 300)),
            "an address or network cannot be read: invalid network prefix length",
        ),
        (
            matching(http_route::HttpRouteMatch { path: Some(regex), ..Default::default() }),
            "`(` is no regular expression",
        ),
        (
            matching(http_route::HttpRouteMatch {
                path: Some(http_route::PathMatch { kind: None }),
                ..Default::default()
            }),
            "a route's path is missing",
        ),
        (
            route(Rule { matches: Vec::new(), filters: vec![Filter { kind: Some(injected) }] }),
            "it says something about injected failures, which is not known here",
        ),
    ]
}

#[tokio::test]
async fn half_an_answer_is_refused_and_never_read_as_a_policy() {
    let stub = PolicyStub::start().unwrap();
    let client = controller(&stub.address());
    for (half, words) in halves() {
        stub.know([((TOKEN.to_owned(), 80), Reply::Server(Box::new(half)))]);
        let error = client.get_port(&pod(), 80).await.unwrap_err();
        assert!(matches!(error, AskError::Unreadable { .. }), "{error:?}");
        let all = causes(&error);
        assert!(all.contains(words), "{all}");
        assert!(all.contains("answered something that this version cannot read"), "{all}");
    }
}

#[tokio::test]
async fn an_answer_larger_than_any_real_one_is_not_read() {
    let stub = PolicyStub::start().unwrap();
    let labels = [("name".to_owned(), "x".repeat(5 << 20))].into();
    let server = inbound::Server { labels, ..inbound::Server::default() };
    stub.know([((TOKEN.to_owned(), 80), Reply::Server(Box::new(server)))]);
    let error = controller(&stub.address()).get_port(&pod(), 80).await.unwrap_err();
    assert!(causes(&error).contains("too large"), "{}", causes(&error));
}

#[tokio::test]
async fn many_questions_at_once_are_asked_a_few_at_a_time_and_all_are_answered() {
    let stub = PolicyStub::start().unwrap();
    let client = controller(&stub.address());
    let workload = pod();
    let asked = (1..=200).map(|port| client.get_port(&workload, port));
    let answers = futures::future::try_join_all(asked).await.unwrap();
    assert_eq!(answers.len(), 200);
    assert!(stub.most_at_once() <= Limits::default().at_once, "{} at once", stub.most_at_once());
}
