//! The table of queries. Names and labels are those recorded from real proxies.

use super::{Ask, Branch, Matcher, Of, Query};

/// Labels a scraper adds for the workload of a proxy. CronJob pods, bare pods and exotic owners have none of them.
pub const WORKLOAD: &[&str] =
    &["deployment", "statefulset", "daemonset", "replicaset", "replicationcontroller", "k8s_job", "cronjob"];

/// Labels for the workload of an endpoint, from Linkerd's destination controller.
pub const DST_WORKLOAD: &[&str] = &[
    "dst_deployment",
    "dst_statefulset",
    "dst_daemonset",
    "dst_replicaset",
    "dst_replicationcontroller",
    "dst_k8s_job",
    "dst_cronjob",
    "dst_external_workload",
];

/// Where a request went: the Service whose endpoint it was, and the workload behind it.
const DST: &[&str] = &["authority", "dst_namespace", "dst_service", "dst_target_cluster", "target_port"];
const TLS: &[&str] = &["tls", "no_tls_reason", "server_id"];
const CLIENT: &[&str] = &["client_id", "tls", "no_tls_reason", "target_port"];
const PARENT: &[&str] = &["parent_namespace", "parent_name", "parent_port"];

/// Every query of a poll.
pub fn all() -> Vec<Query> {
    let outbound = || vec![Matcher::is("direction", "outbound")];
    let with = |mut matchers: Vec<Matcher>, more: &[Matcher]| {
        matchers.extend_from_slice(more);
        matchers
    };
    let tcp = || with(outbound(), &[Matcher::is("peer", "dst")]);
    let inbound = || vec![Matcher::is("direction", "inbound"), Matcher::not("target_port", "4191")];
    let served = || with(inbound(), &[Matcher::not("route_name", "probe")]);
    let app = || vec![Matcher::not("target_port", "4191"), Matcher::not("route_name", "probe")];
    let service = || vec![Matcher::is("parent_kind", "Service")];
    let to_service = || with(service(), &[Matcher::is("backend_kind", "Service")]);

    let outcome = [TLS, &["classification"]].concat();
    let authz = [CLIENT, &["authz_kind", "authz_name"]].concat();
    let backend = [PARENT, &["backend_namespace", "backend_name", "backend_port"]].concat();
    vec![
        client(Ask::Responses, "response_total", &outbound(), Of::Rate, &outcome),
        client(Ask::Requests, "request_total", &outbound(), Of::Rate, &[]),
        client(Ask::RequestsEver, "request_total", &outbound(), Of::Last, &[]),
        client(Ask::ResponsesEver, "response_total", &outbound(), Of::Last, &[]),
        client(
            Ask::GrpcResponses,
            "response_total",
            &with(outbound(), &[Matcher::not("grpc_status", "")]),
            Of::Rate,
            &[],
        ),
        client(
            Ask::Forbidden,
            "response_total",
            &with(outbound(), &[Matcher::is("status_code", "403")]),
            Of::Rate,
            &[],
        ),
        latency(Ask::LatencyP50, 0.5),
        latency(Ask::LatencyP95, 0.95),
        latency(Ask::LatencyP99, 0.99),
        client(Ask::TcpOpened, "tcp_open_total", &tcp(), Of::Rate, TLS),
        client(Ask::TcpOpen, "tcp_open_connections", &tcp(), Of::Last, TLS),
        client(Ask::TcpSent, "tcp_write_bytes_total", &tcp(), Of::Rate, TLS),
        client(Ask::TcpReceived, "tcp_read_bytes_total", &tcp(), Of::Rate, TLS),
        by_source(
            Ask::HttpCalls,
            "outbound_http_route_request_statuses_total",
            &service(),
            Of::Rate,
            &[PARENT, &["http_status", "error"]].concat(),
        ),
        by_source(
            Ask::GrpcCalls,
            "outbound_grpc_route_request_statuses_total",
            &service(),
            Of::Rate,
            &[PARENT, &["grpc_status", "error"]].concat(),
        ),
        by_source(
            Ask::HttpBackends,
            "outbound_http_route_backend_requests_total",
            &to_service(),
            Of::Rate,
            &backend,
        ),
        by_source(
            Ask::GrpcBackends,
            "outbound_grpc_route_backend_requests_total",
            &to_service(),
            Of::Rate,
            &backend,
        ),
        by_source(Ask::HttpRetries, "outbound_http_route_retry_requests_total", &service(), Of::Rate, PARENT),
        by_source(Ask::GrpcRetries, "outbound_grpc_route_retry_requests_total", &service(), Of::Rate, PARENT),
        by_source(
            Ask::ServedResponses,
            "response_total",
            &served(),
            Of::Rate,
            &[CLIENT, &["classification"]].concat(),
        ),
        by_source(Ask::ServedRequests, "request_total", &inbound(), Of::Rate, CLIENT),
        by_source(
            Ask::ServedGrpc,
            "response_total",
            &with(served(), &[Matcher::not("grpc_status", "")]),
            Of::Rate,
            CLIENT,
        ),
        by_source(
            Ask::ServedTcp,
            "tcp_open_total",
            &with(inbound(), &[Matcher::is("peer", "src")]),
            Of::Rate,
            CLIENT,
        ),
        by_source(Ask::HttpAllowed, "inbound_http_authz_allow_total", &app(), Of::Rate, &authz),
        by_source(Ask::HttpDenied, "inbound_http_authz_deny_total", &app(), Of::Rate, CLIENT),
        by_source(Ask::TcpAllowed, "inbound_tcp_authz_allow_total", &app(), Of::Rate, &authz),
        by_source(Ask::TcpDenied, "inbound_tcp_authz_deny_total", &app(), Of::Rate, CLIENT),
        by_source(Ask::Unrouted, "inbound_http_route_not_found_total", &app(), Of::Rate, CLIENT),
        Query {
            ask: Ask::Scraped,
            branches: vec![Branch {
                metric: "proxy_build_info",
                matchers: Vec::new(),
                of: Of::Presence,
                by: [&["namespace", "pod"], WORKLOAD].concat(),
                tag: "",
            }],
        },
    ]
}

/// Outbound traffic by source and destination: inside the cluster, outside it, and the two kinds of rows that have
/// to be told apart by pod.
fn client(ask: Ask, metric: &'static str, matchers: &[Matcher], of: Of, more: &[&'static str]) -> Query {
    let inside = [matchers, &[Matcher::not("dst_namespace", "")]].concat();
    let outside = [matchers, &[Matcher::is("dst_namespace", "")]].concat();
    let to_workload = [DST, DST_WORKLOAD, more].concat();
    let to_pod = [&to_workload[..], &["dst_pod"]].concat();
    let nameless: Vec<_> = DST_WORKLOAD.iter().map(|label| Matcher::is(label, "")).collect();
    let mut branches = sources(metric, &inside, of, &to_workload);
    branches.push(Branch {
        metric,
        matchers: [&inside[..], &nameless].concat(),
        of,
        by: [&["namespace"], WORKLOAD, &to_pod].concat(),
        tag: "dst",
    });
    branches.extend(sources(metric, &outside, of, &[&["target_addr"], more].concat()));
    Query { ask, branches }
}

/// Quantiles: per Service for calls of a Service, whatever workloads answer; per workload for calls by pod address;
/// per address outside the cluster.
fn latency(ask: Ask, quantile: f64) -> Query {
    let metric = "response_latency_ms_bucket";
    let of = Of::Quantile(quantile);
    let outbound = Matcher::is("direction", "outbound");
    let service = [outbound.clone(), Matcher::not("dst_service", "")];
    let direct = [outbound.clone(), Matcher::not("dst_namespace", ""), Matcher::is("dst_service", "")];
    let outside = [outbound, Matcher::is("dst_namespace", "")];
    let by_service = ["authority", "dst_namespace", "dst_service", "dst_target_cluster"];
    let by_workload = [&["dst_namespace", "target_port"], DST_WORKLOAD].concat();
    let mut branches = sources(metric, &service, of, &by_service);
    branches.extend(sources(metric, &direct, of, &by_workload));
    branches.extend(sources(metric, &outside, of, &["target_addr"]));
    Query { ask, branches }
}

/// Rows by the workload whose proxy was scraped.
fn by_source(ask: Ask, metric: &'static str, matchers: &[Matcher], of: Of, by: &[&'static str]) -> Query {
    Query { ask, branches: sources(metric, matchers, of, by) }
}

/// Two branches: by workload label, and by pod for proxies whose pods have no workload label. The first has rows for
/// these too, with all workload labels empty; readers skip them.
fn sources(metric: &'static str, matchers: &[Matcher], of: Of, by: &[&'static str]) -> Vec<Branch> {
    let nameless: Vec<_> = WORKLOAD.iter().map(|label| Matcher::is(label, "")).collect();
    let dst_pod: &[&str] = if by.contains(&"dst_deployment") { &["dst_pod"] } else { &[] };
    vec![
        Branch {
            metric,
            matchers: matchers.to_vec(),
            of,
            by: [&["namespace"], WORKLOAD, by].concat(),
            tag: "",
        },
        Branch {
            metric,
            matchers: [matchers, &nameless].concat(),
            of,
            by: [&["namespace", "pod"], by, dst_pod].concat(),
            tag: "src",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_asked_once() {
        let asks: std::collections::BTreeSet<_> = all().iter().map(|query| query.ask).collect();
        assert_eq!(asks.len(), all().len());
        assert!(asks.contains(&Ask::Scraped) && asks.contains(&Ask::Responses));
    }

    #[test]
    fn only_rows_without_a_workload_label_are_split_by_pod() {
        for query in all().iter().filter(|query| query.ask != Ask::Scraped) {
            for branch in query.branches.iter().filter(|branch| branch.by.contains(&"pod")) {
                assert!(branch.matchers.contains(&Matcher::is("deployment", "")), "{:?}", query.ask);
            }
        }
    }
}
