//! One graph with everything that an output can meet: HTTP, gRPC and TCP, unknown numbers, unmeshed ends, denials,
//! an external destination, calls between namespaces, and text that a hostile cluster could send.

pub(crate) mod change;
pub(crate) mod policy;

use linkerd_mcp_proto::v1::{
    Edge, EdgeMetrics, External, FeedFreshness, Freshness, MeshGraph, Meshed, MetricsFreshness, NodeMetrics,
    ObservedBy, Policy, Position, Protocol, Service, ServicePort, TopologyFreshness, Workload, WorkloadPort,
};
use prost_types::{Struct, Timestamp, Value, value::Kind};

/// 2026-01-02T03:04:05Z.
const NOW: i64 = 1_767_323_045;
const DOMAIN: &str = "serviceaccount.identity.linkerd.cluster.local";

/// The graph.
pub(crate) fn graph() -> MeshGraph {
    MeshGraph {
        freshness: Some(freshness()),
        services: vec![
            mk_service("emojivoto/web-svc", 80, "emojivoto/deployment/web"),
            mk_service("emojivoto/voting-svc", 8080, "emojivoto/deployment/voting"),
        ],
        workloads: vec![
            mk_workload("emojivoto/deployment/vote-bot", Meshed::All),
            mk_workload("emojivoto/deployment/web", Meshed::All),
            mk_workload("emojivoto/deployment/voting", Meshed::Some),
            mk_workload("shop/deployment/cart", Meshed::All),
            mk_workload("shop/statefulset/db", Meshed::None),
        ],
        externals: vec![External {
            id: "api.example.com:443".into(),
            egress_network: "shop/all-egress".into(),
        }],
        edges: edges(),
        policies: vec![
            mk_policy("authorizationpolicy/emojivoto/voting", "AuthorizationPolicy"),
            mk_policy("server/emojivoto/voting-grpc", "Server"),
        ],
    }
}

fn freshness() -> Freshness {
    Freshness {
        as_of: Some(Timestamp { seconds: NOW, nanos: 0 }),
        metrics: Some(MetricsFreshness {
            stale: false,
            reason: String::new(),
            as_of: Some(Timestamp { seconds: NOW - 5, nanos: 250_000_000 }),
            window_seconds: 60,
            window_reason: "Prometheus scrapes every 15s".into(),
            ..MetricsFreshness::default()
        }),
        topology: Some(TopologyFreshness { synced: true, not_synced: vec![] }),
        limited_to: Vec::new(),
        feed: Some(FeedFreshness {
            age_ms: 120,
            position: Some(Position { epoch: 7, seq: 42 }),
            connected: true,
        }),
    }
}

fn edges() -> Vec<Edge> {
    let web = format!("web.emojivoto.{DOMAIN}");
    let voting = format!("voting.emojivoto.{DOMAIN}");
    let mut edges = vec![
        Edge {
            client_identity: format!("default.emojivoto.{DOMAIN}"),
            server_identities: vec![web.clone()],
            backends: vec!["emojivoto/deployment/web".into()],
            metrics: Some(mk_metrics(1.98, 0.9512)),
            ..mk_edge("emojivoto/deployment/vote-bot", "emojivoto/web-svc:80", Protocol::Http, Some(true))
        },
        Edge {
            client_identity: web.clone(),
            server_identities: vec![voting],
            backends: vec!["emojivoto/deployment/voting".into(), "emojivoto/voting-canary".into()],
            metrics: Some(EdgeMetrics {
                denied_per_s: Some(0.4),
                authorized_by: vec!["authorizationpolicy/voting".into()],
                ..mk_metrics(123.4, 0.5)
            }),
            ..mk_edge("emojivoto/deployment/web", "emojivoto/voting-svc:8080", Protocol::Grpc, Some(true))
        },
        Edge {
            no_tls_reason: "not_provided_by_service_discovery".into(),
            backends: vec!["shop/statefulset/db".into()],
            metrics: Some(EdgeMetrics {
                tcp_open: Some(3.0),
                tcp_opened_per_s: Some(0.1),
                bytes_sent_per_s: Some(2048.0),
                bytes_received_per_s: Some(f64::NAN),
                mtls_share: Some(0.25),
                last_seen_ms: Some((NOW - 90) * 1000),
                ..EdgeMetrics::default()
            }),
            ..mk_edge("shop/deployment/cart", "shop/db:5432", Protocol::Tcp, Some(false))
        },
        Edge {
            metrics: Some(mk_metrics(0.001, 1.0)),
            ..mk_edge("shop/deployment/cart", "emojivoto/web-svc:80", Protocol::Http, Some(true))
        },
        mk_edge("shop/deployment/cart", "external:api.example.com:443", Protocol::Unspecified, None),
        Edge {
            observed_by: ObservedBy::Server as i32,
            no_tls_reason: "no_tls_from_remote".into(),
            metrics: Some(EdgeMetrics {
                rps: Some(0.0),
                denied_per_s: Some(2.5),
                success_rate: Some(0.0),
                ..EdgeMetrics::default()
            }),
            ..mk_edge(
                "unmeshed:no_tls_from_remote",
                "emojivoto/deployment/voting:8080",
                Protocol::Http,
                Some(false),
            )
        },
        Edge {
            observed_by: ObservedBy::Server as i32,
            client_identity: format!("batch.shop.{DOMAIN}"),
            src_candidates: vec!["shop/cronjob/night".into(), "shop/job/import".into()],
            ..mk_edge(&format!("identity:batch.shop.{DOMAIN}"), "shop/db:5432", Protocol::Tcp, Some(true))
        },
        Edge {
            no_tls_reason: "\u{1b}[31m\"loopback\"</text>\u{202e}".into(),
            ..mk_edge(
                "zz/deployment/\u{1b}[2J\"];a[label=\"x",
                "zz/<b>&amp;]|{`#quot;:1",
                Protocol::Http,
                Some(false),
            )
        },
    ];
    edges.reverse();
    edges
}

fn mk_edge(src: &str, dst: &str, protocol: Protocol, tls: Option<bool>) -> Edge {
    let namespace = |end: &str| match end.split_once('/') {
        Some((namespace, _)) if !end.contains("identity:") => namespace.to_owned(),
        _ if end.contains(".shop.") => "shop".to_owned(),
        _ => String::new(),
    };
    Edge {
        id: format!("{src}->{dst}"),
        src: src.to_owned(),
        dst: dst.to_owned(),
        src_namespace: namespace(src),
        dst_namespace: if dst.starts_with("external:") { String::new() } else { namespace(dst) },
        dst_port: dst.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default(),
        protocol: protocol as i32,
        tls,
        observed_by: ObservedBy::Client as i32,
        ..Edge::default()
    }
}

fn mk_metrics(rps: f64, success_rate: f64) -> EdgeMetrics {
    EdgeMetrics {
        rps: Some(rps),
        success_rate: Some(success_rate),
        latency_p50_ms: Some(1.2),
        latency_p95_ms: Some(12.4),
        latency_p99_ms: Some(98.7),
        allowed_per_s: Some(rps),
        denied_per_s: Some(0.0),
        mtls_share: Some(1.0),
        retries_per_s: Some(0.0),
        last_seen_ms: Some(NOW * 1000 - 4_000),
        ..EdgeMetrics::default()
    }
}

fn mk_service(id: &str, port: u32, workload: &str) -> Service {
    let (namespace, name) = id.split_once('/').expect("namespace/name");
    Service {
        id: id.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        meshed: Meshed::All as i32,
        ports: vec![ServicePort {
            port,
            name: "http".into(),
            protocol: "TCP".into(),
            target_port: port.to_string(),
            opaque: false,
        }],
        workloads: vec![workload.to_owned()],
        cluster_ips: vec!["10.96.0.10".into()],
        inbound: Some(NodeMetrics { rps: Some(2.0), success_rate: Some(0.95), denied_per_s: None }),
        ..Service::default()
    }
}

fn mk_workload(id: &str, meshed: Meshed) -> Workload {
    let parts: Vec<&str> = id.split('/').collect();
    let [namespace, kind, name] = parts[..] else { panic!("{id} is not namespace/kind/name") };
    Workload {
        id: id.to_owned(),
        namespace: namespace.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        meshed: meshed as i32,
        pods: 2,
        pods_meshed: match meshed {
            Meshed::All => 2,
            Meshed::Some => 1,
            _ => 0,
        },
        pods_ready: 2,
        service_account: name.to_owned(),
        ports: vec![WorkloadPort { port: 8080, name: "http".into(), protocol: "TCP".into() }],
        ..Workload::default()
    }
}

fn mk_policy(id: &str, kind: &str) -> Policy {
    let parts: Vec<&str> = id.split('/').collect();
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Policy {
        id: id.to_owned(),
        kind: kind.to_owned(),
        api_version: "policy.linkerd.io/v1alpha1".into(),
        namespace: parts[1].to_owned(),
        name: parts[2].to_owned(),
        spec: Some(Struct {
            fields: [
                ("port".to_owned(), Value { kind: Some(Kind::NumberValue(8080.0)) }),
                ("note".to_owned(), text("a \u{1b}[1mbold\u{9b}0m: yes\nno")),
            ]
            .into(),
        }),
        created: Some(Timestamp { seconds: NOW - 3600, nanos: 0 }),
    }
}
