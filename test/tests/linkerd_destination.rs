//! Asks a stand-in for Linkerd's destination controller, over the real gRPC contract, what proxies are told about a
//! Service, and holds the graph against it.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_api::linkerd::{AskError, DestinationController, Limits};
use linkerd_mcp_graph::{
    id::{ServiceId, Text, WorkloadId},
    model::{Graph, Meshed, Service, Workload},
    query::destination::{Endpoint, Hint, Told, mismatches},
};
use linkerd_mcp_test::linkerd::{DestinationStub, Stream, Then};
use linkerd2_proxy_api::{
    destination::{
        AddrSet, NoEndpoints, ProtocolHint, TlsIdentity, Update, WeightedAddr, WeightedAddrSet,
        protocol_hint::{H2, Opaque, OpaqueTransport, Protocol},
        tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity},
        update::Update as Kind,
    },
    net::TcpAddress,
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tonic::Status;

const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

fn socket(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 0, last], 8080))
}

/// A pod of Deployment `web` as the destination controller sends it: meshed, with its zone.
fn meshed(last: u8) -> WeightedAddr {
    let labels = [("pod", "web-1"), ("deployment", "web"), ("serviceaccount", "web"), ("zone", "west")];
    let name = DnsLikeIdentity { name: WEB.to_owned() };
    WeightedAddr {
        addr: Some(socket(last).into()),
        weight: 10_000,
        metric_labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        tls_identity: Some(TlsIdentity {
            strategy: Some(Strategy::DnsLikeIdentity(name.clone())),
            server_name: Some(name),
        }),
        protocol_hint: Some(ProtocolHint { protocol: Some(Protocol::H2(H2 {})), opaque_transport: None }),
        ..WeightedAddr::default()
    }
}

fn update(kind: Kind) -> Update {
    Update { update: Some(kind) }
}

fn add(addrs: Vec<WeightedAddr>) -> Update {
    let labels = [("namespace", "shop"), ("service", "web")];
    let metric_labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    update(Kind::Add(WeightedAddrSet { addrs, metric_labels }))
}

fn open(updates: Vec<Update>) -> Stream {
    Stream::Updates(updates.into_iter().map(Ok).collect(), Then::Open)
}

fn limits() -> Limits {
    Limits { time: Duration::from_secs(2), quiet: Duration::from_millis(100), ..Limits::default() }
}

async fn ask(stub: &DestinationStub, client_namespace: Option<&str>) -> Result<Told, AskError> {
    let controller = DestinationController::new(&stub.address(), "cluster.local", limits()).unwrap();
    controller.get(&ServiceId::new("shop", "web"), 80, client_namespace).await
}

async fn told(stream: Stream) -> Result<Told, AskError> {
    ask(&DestinationStub::start(stream).unwrap(), None).await
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<Text, Text> {
    labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn mk_graph() -> Graph {
    let id = WorkloadId::new("shop", "deployment", "web");
    let workload = Workload {
        meshed: Meshed::All,
        pods: 2,
        pods_meshed: 2,
        pods_ready: 2,
        identity: Some(WEB.into()),
        ..Workload::default()
    };
    let service = Service { workloads: vec![id.clone()], ..Service::default() };
    let mut graph = Graph::default();
    graph.workloads.insert(id, Arc::new(workload));
    graph.services.insert(ServiceId::new("shop", "web"), Arc::new(service));
    graph
}

fn said(told: &Told) -> Vec<String> {
    mismatches(&mk_graph(), &ServiceId::new("shop", "web"), told).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_proxys_question_is_asked_and_everything_that_an_endpoint_carries_is_read() {
    let opaque = WeightedAddr {
        tls_identity: Some(TlsIdentity {
            strategy: Some(Strategy::UriLikeIdentity(UriLikeIdentity { uri: "spiffe://root/vm".to_owned() })),
            server_name: None,
        }),
        protocol_hint: Some(ProtocolHint {
            protocol: Some(Protocol::Opaque(Opaque {})),
            opaque_transport: Some(OpaqueTransport { inbound_port: 4143 }),
        }),
        metric_labels: Default::default(),
        weight: 1,
        ..meshed(2)
    };
    let unmeshed = WeightedAddr {
        addr: Some("[fd00::3]:8080".parse::<SocketAddr>().unwrap().into()),
        tls_identity: None,
        protocol_hint: None,
        metric_labels: [("zone".to_owned(), String::new())].into(),
        ..meshed(3)
    };
    let stub = DestinationStub::start(open(vec![add(vec![meshed(1), opaque, unmeshed])])).unwrap();
    let told = ask(&stub, Some("client")).await.unwrap();
    let of_service = [("namespace", "shop"), ("service", "web")];
    let of_pod = [("pod", "web-1"), ("deployment", "web"), ("serviceaccount", "web")];
    let first = Endpoint {
        weight: 10_000,
        identity: Some(WEB.into()),
        server_name: Some(WEB.into()),
        hint: Hint::H2,
        zone: Some("west".into()),
        labels: labels(&[&of_service[..], &of_pod[..]].concat()),
        ..Endpoint::default()
    };
    let second = Endpoint {
        weight: 1,
        identity: Some("spiffe://root/vm".into()),
        hint: Hint::Opaque,
        opaque_transport: Some(4143),
        labels: labels(&of_service),
        ..Endpoint::default()
    };
    let third = Endpoint { weight: 10_000, labels: labels(&of_service), ..Endpoint::default() };
    let expected =
        [(socket(1), first), (socket(2), second), ("[fd00::3]:8080".parse().unwrap(), third)].into();
    assert_eq!(told, Told { exists: true, complete: true, endpoints: expected });
    let asked = stub.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].scheme.as_str(), asked[0].path.as_str(), asked[0].context_token.as_str()),
        ("k8s", "web.shop.svc.cluster.local:80", r#"{"ns":"client"}"#)
    );
}

#[tokio::test]
async fn updates_that_follow_at_once_are_taken_in() {
    let corrected = WeightedAddr { weight: 5, ..meshed(1) };
    let gone = update(Kind::Remove(AddrSet { addrs: vec![socket(2).into()] }));
    let told = told(open(vec![add(vec![meshed(1), meshed(2)]), gone, add(vec![corrected])])).await.unwrap();
    let weights: Vec<_> =
        told.endpoints.iter().map(|(address, endpoint)| (*address, endpoint.weight)).collect();
    assert_eq!((weights, told.complete), (vec![(socket(1), 5)], true));
}

#[tokio::test]
async fn a_service_without_endpoints_is_told_from_one_that_does_not_exist() {
    let none = |exists| open(vec![add(vec![meshed(1)]), update(Kind::NoEndpoints(NoEndpoints { exists }))]);
    let empty = |exists| Told { exists, complete: true, endpoints: BTreeMap::new() };
    assert_eq!(told(none(true)).await.unwrap(), empty(true));
    assert_eq!(told(none(false)).await.unwrap(), empty(false));
    let refused = Stream::Refused(Status::not_found("Service web.shop.svc.cluster.local:80 not found"));
    assert_eq!(told(refused).await.unwrap(), empty(false));
    let late = Stream::Updates(vec![Err(Status::not_found("gone"))], Then::End);
    assert_eq!(told(late).await.unwrap(), empty(false));
}

#[tokio::test]
async fn a_stream_that_never_is_quiet_ends_in_time_and_is_not_called_complete() {
    let told = told(Stream::Forever(add(vec![meshed(1)]))).await.unwrap();
    assert_eq!((told.endpoints.len(), told.complete), (1, false));
}

#[tokio::test]
async fn a_stream_that_ends_by_itself_is_not_called_complete() {
    let ended = Stream::Updates(vec![Ok(add(vec![meshed(1)]))], Then::End);
    let told = told(ended).await.unwrap();
    assert_eq!((told.endpoints.len(), told.complete), (1, false));
}

#[tokio::test]
async fn a_stream_that_breaks_gives_no_endpoints_at_all() {
    let broken =
        Stream::Updates(vec![Ok(add(vec![meshed(1)])), Err(Status::internal("lost the watch"))], Then::End);
    let error = told(broken).await.unwrap_err();
    assert!(error.to_string().ends_with(" refused with Internal: lost the watch"), "{error}");
}

#[tokio::test]
async fn a_silent_stream_and_an_empty_one_are_no_answer() {
    let error = told(open(Vec::new())).await.unwrap_err();
    assert!(error.to_string().ends_with(" gave no answer within 2000 ms"), "{error}");
    let error = told(Stream::Updates(Vec::new(), Then::End)).await.unwrap_err();
    assert!(matches!(error, AskError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let nowhere = WeightedAddr { addr: None, ..meshed(1) };
    let far = TcpAddress { port: 70_000, ..socket(1).into() };
    let far = WeightedAddr { addr: Some(far), ..meshed(1) };
    let nobody = WeightedAddr { tls_identity: Some(TlsIdentity::default()), ..meshed(1) };
    for bad in [add(vec![nowhere]), add(vec![far]), add(vec![nobody]), Update::default()] {
        let error = told(open(vec![bad.clone()])).await.unwrap_err();
        assert!(matches!(error, AskError::Unreadable { .. }), "{bad:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_named_with_its_own_flag() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let controller = DestinationController::new(&free.to_string(), "cluster.local", limits()).unwrap();
    let error = controller.get(&ServiceId::new("shop", "web"), 80, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach Linkerd's destination controller at {free}: check that Service linkerd-dst has endpoints, \
             that no NetworkPolicy stands between, and that --destination-addr is right"
        )
    );
}

#[tokio::test]
async fn a_graph_that_agrees_with_what_proxies_are_told_has_no_mismatch() {
    let told = told(open(vec![add(vec![meshed(1), meshed(2)])])).await.unwrap();
    assert_eq!(said(&told), Vec::<String>::new());
}

#[tokio::test]
async fn what_proxies_are_told_otherwise_is_found() {
    let stranger =
        WeightedAddr { metric_labels: [("deployment".to_owned(), "old".to_owned())].into(), ..meshed(4) };
    let plaintext = WeightedAddr { tls_identity: None, weight: 7, ..meshed(2) };
    let told = told(open(vec![add(vec![meshed(1), plaintext, meshed(3), stranger])])).await.unwrap();
    assert_eq!(
        said(&told),
        [
            "proxies are told of 10.244.0.4:8080 (deployment/old), which the graph has not among the workloads behind \
             the Service",
            "proxies call 10.244.0.2:8080 in plaintext although shop/deployment/web is meshed: the port may be in its \
             skip-inbound-ports, or the pod belongs to another control plane",
            "10.244.0.2:8080 has the weight 7, most others have 10000",
        ]
    );
}
