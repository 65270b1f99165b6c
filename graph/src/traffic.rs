//! One poll of Prometheus as values: rows with the labels we know, names not yet resolved.
//!
//! [`Traffic::read`] takes the answers in; [`edges::assemble`] makes edges of them. Labels come from metrics and may be
//! wrong or forged (a pod label can overwrite the scraper's): they name edges, and no authorization is decided on them.
//! Rows with labels that cannot be names are left out: an edge of such a name could not be published.

mod clients;
pub mod edges;
mod servers;

use crate::{
    fact::{Key, OwnerRef},
    facts::Facts,
    id::{ExternalId, ServiceId, Text, WorkloadId, is_name, named},
    promql::{
        Ask,
        answer::{Answer, Row},
        queries::{DST_WORKLOAD, WORKLOAD},
    },
};
use ahash::{AHashMap, AHashSet};
use std::collections::BTreeSet;

/// All rows of one poll.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    clients: Vec<ClientRow>,
    calls: Vec<CallRow>,
    servers: Vec<ServerRow>,
    scraped: Vec<(Key, Option<Named>)>,
    texts: AHashSet<Text>,
}

/// A workload as labels name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Named {
    namespace: Text,
    /// `deployment`, …, or `pod`.
    kind: &'static str,
    name: Text,
}

/// The workloads that names in rows stand for; each is looked up once in a poll.
struct Names<'a> {
    facts: &'a Facts,
    known: AHashMap<&'a Named, WorkloadId>,
}

/// Where a client's proxy sent something.
#[derive(Debug, Clone, PartialEq)]
enum To {
    Service {
        id: ServiceId,
        port: Option<u16>,
        cluster: Option<Text>,
        workload: Option<Named>,
        target_port: Option<u16>,
    },
    Workload {
        workload: Named,
        port: Option<u16>,
    },
    External(ExternalId),
}

/// Counted by the client's proxy, by endpoint.
#[derive(Debug, Clone, PartialEq)]
struct ClientRow {
    ask: Ask,
    from: Named,
    to: To,
    /// `tls="true"`, and the reason where not; None on rows that do not say.
    mutual: Option<bool>,
    reason: Text,
    server_id: Option<Text>,
    failure: bool,
    value: f64,
}

/// Counted by the client's proxy, by called Service.
#[derive(Debug, Clone, PartialEq)]
struct CallRow {
    ask: Ask,
    from: Named,
    service: ServiceId,
    port: Option<u16>,
    backend: Option<(ServiceId, Option<u16>)>,
    failure: bool,
    value: f64,
}

/// Who the server's proxy says called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Client {
    Identity(Text),
    Unmeshed(Text),
}

/// Counted by the server's proxy.
#[derive(Debug, Clone, PartialEq)]
struct ServerRow {
    ask: Ask,
    at: Named,
    port: Option<u16>,
    client: Client,
    authorization: Option<Text>,
    failure: bool,
    value: f64,
}

/// What the scraped pods look like next to the pods Kubernetes knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Meshed pods that are not scraped.
    pub unscraped: Vec<Key>,
    /// Scraped pods whose labels name another workload than Kubernetes does.
    pub mislabelled: Vec<Key>,
}

// === impl Traffic ===

impl Traffic {
    /// Takes in the answer to one query.
    pub fn read(&mut self, ask: Ask, answer: &Answer<'_>) {
        for row in &answer.rows {
            // A counter cannot fall, so a negative rate is not one.
            if row.value < 0.0 {
                continue;
            }
            match ask {
                Ask::Scraped => self.read_scraped(row),
                Ask::HttpCalls
                | Ask::GrpcCalls
                | Ask::HttpBackends
                | Ask::GrpcBackends
                | Ask::HttpRetries
                | Ask::GrpcRetries => self.read_call(ask, row),
                Ask::ServedResponses
                | Ask::ServedRequests
                | Ask::ServedGrpc
                | Ask::ServedTcp
                | Ask::HttpAllowed
                | Ask::HttpDenied
                | Ask::TcpAllowed
                | Ask::TcpDenied
                | Ask::Unrouted => self.read_server(ask, row),
                _ => self.read_client(ask, row),
            }
        }
    }

    /// True when nothing was read: Prometheus has no series of any proxy.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty() && self.calls.is_empty() && self.scraped.is_empty()
    }

    /// Holds the scraped pods against the pods Kubernetes knows.
    pub fn coverage(&self, facts: &Facts) -> Coverage {
        let scraped: BTreeSet<&Key> = self.scraped.iter().map(|(key, _)| key).collect();
        let unscraped = facts
            .all(crate::kind::Kind::Pod)
            .filter_map(|fact| match fact {
                crate::fact::Fact::Pod(pod) if pod.meshed() && !pod.ended && !scraped.contains(&pod.key) => {
                    Some(pod.key.clone())
                }
                _ => None,
            })
            .collect();
        let mislabelled = self
            .scraped
            .iter()
            .filter(|(key, named)| match (facts.pod(key), named) {
                (Some(pod), Some(named)) => facts.workload_of(pod) != named.resolve(facts),
                _ => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        Coverage { unscraped, mislabelled }
    }

    fn read_scraped(&mut self, row: &Row<'_>) {
        let (namespace, pod) = (row.get("namespace"), row.get("pod"));
        if is_name(namespace) && is_name(pod) {
            let key = Key { namespace: self.text(namespace), name: self.text(pod) };
            let named = self.labelled(row, "namespace", WORKLOAD);
            self.scraped.push((key, named));
        }
    }

    fn read_client(&mut self, ask: Ask, row: &Row<'_>) {
        let Some(from) = self.source(row) else { return };
        let Some(to) = self.destination(ask, row) else { return };
        let mutual = match row.get("tls") {
            "" => None,
            tls => Some(tls == "true"),
        };
        let reason = self.text(match row.get("no_tls_reason") {
            "" => row.get("tls"),
            reason => reason,
        });
        let server_id = Some(row.get("server_id")).filter(|id| !id.is_empty()).map(|id| self.text(id));
        let failure = row.get("classification") == "failure";
        self.clients.push(ClientRow { ask, from, to, mutual, reason, server_id, failure, value: row.value });
    }

    fn read_call(&mut self, ask: Ask, row: &Row<'_>) {
        let Some(from) = self.source(row) else { return };
        let service = |namespace: &str, name: &str| {
            (is_name(row.get(namespace)) && is_name(row.get(name)))
                .then(|| ServiceId::new(row.get(namespace), row.get(name)))
        };
        let Some(parent) = service("parent_namespace", "parent_name") else { return };
        let backend =
            service("backend_namespace", "backend_name").map(|id| (id, row.get("backend_port").parse().ok()));
        let failure = match ask {
            Ask::GrpcCalls => !row.get("error").is_empty() || grpc_failure(row.get("grpc_status")),
            _ => !row.get("error").is_empty() || row.get("http_status").starts_with('5'),
        };
        let port = row.get("parent_port").parse().ok();
        self.calls.push(CallRow { ask, from, service: parent, port, backend, failure, value: row.value });
    }

    fn read_server(&mut self, ask: Ask, row: &Row<'_>) {
        let Some(at) = self.source(row) else { return };
        let client = match (row.get("client_id"), row.get("tls"), row.get("no_tls_reason")) {
            ("", "true", _) => Client::Unmeshed(self.text("no_client_certificate")),
            ("", "opaque", _) => Client::Unmeshed(self.text("application_tls")),
            ("", tls, "") => Client::Unmeshed(self.text(if tls.is_empty() { "unknown" } else { tls })),
            ("", _, reason) => Client::Unmeshed(self.text(reason)),
            (identity, _, _) => Client::Identity(self.text(identity)),
        };
        let (Client::Identity(name) | Client::Unmeshed(name)) = &client;
        if !named(name) {
            return;
        }
        let authorization = match (row.get("authz_kind"), row.get("authz_name")) {
            (_, "") => None,
            ("default" | "", name) => Some(self.text(name)),
            (kind, name) => Some(self.text(&format!("{}/{name}", kind.to_ascii_lowercase()))),
        };
        let failure = row.get("classification") == "failure";
        let port = row.get("target_port").parse().ok();
        self.servers.push(ServerRow { ask, at, port, client, authorization, failure, value: row.value });
    }

    /// The workload whose proxy was scraped; None for rows that another branch has by pod, and for labels that are no
    /// names.
    fn source(&mut self, row: &Row<'_>) -> Option<Named> {
        if !is_name(row.get("namespace")) {
            return None;
        }
        match row.get("branch") {
            "src" => is_name(row.get("pod")).then(|| Named {
                namespace: self.text(row.get("namespace")),
                kind: "pod",
                name: self.text(row.get("pod")),
            }),
            _ => self.labelled(row, "namespace", WORKLOAD),
        }
    }

    fn labelled(&mut self, row: &Row<'_>, namespace: &str, labels: &[&'static str]) -> Option<Named> {
        let label = labels.iter().find(|label| !row.get(label).is_empty())?;
        if !is_name(row.get(namespace)) || !is_name(row.get(label)) {
            return None;
        }
        let kind = match label.trim_start_matches("dst_") {
            "k8s_job" => "job",
            "external_workload" => "externalworkload",
            _ => label.trim_start_matches("dst_"),
        };
        Some(Named {
            namespace: self.text(row.get(namespace)),
            kind: kind_of(kind),
            name: self.text(row.get(label)),
        })
    }

    fn destination(&mut self, ask: Ask, row: &Row<'_>) -> Option<To> {
        let namespace = row.get("dst_namespace");
        if namespace.is_empty() {
            let address = row.get("target_addr");
            return address.parse().ok().map(To::External);
        }
        if !is_name(namespace) {
            return None;
        }
        let latency = matches!(ask, Ask::LatencyP50 | Ask::LatencyP95 | Ask::LatencyP99);
        let mut workload = self.labelled(row, "dst_namespace", DST_WORKLOAD);
        if workload.is_none() {
            // Another branch has rows without workload labels by pod.
            if row.get("branch").is_empty() && !latency {
                return None;
            }
            let pod = row.get("dst_pod");
            if is_name(pod) {
                workload = Some(Named { namespace: self.text(namespace), kind: "pod", name: self.text(pod) });
            }
        }
        let target_port = row.get("target_port").parse().ok();
        match row.get("dst_service") {
            "" => workload.map(|workload| To::Workload { workload, port: target_port }),
            service => is_name(service).then(|| To::Service {
                id: ServiceId::new(namespace, service),
                port: authority_port(row.get("authority")),
                cluster: Some(row.get("dst_target_cluster"))
                    .filter(|name| !name.is_empty())
                    .map(|name| self.text(name)),
                workload,
                target_port,
            }),
        }
    }

    fn text(&mut self, text: &str) -> Text {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Text = text.into();
        self.texts.insert(new.clone());
        new
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self { facts, known: AHashMap::new() }
    }

    fn of(&mut self, named: &'a Named) -> WorkloadId {
        self.known.entry(named).or_insert_with(|| named.resolve(self.facts)).clone()
    }
}

// === impl Named ===

impl Named {
    /// The topmost owner. Source labels name ReplicaSets of Argo Rollouts and Jobs of CronJobs; those are followed up.
    fn resolve(&self, facts: &Facts) -> WorkloadId {
        match self.kind {
            "pod" => {
                facts.pod(&Key { namespace: self.namespace.clone(), name: self.name.clone() }).map_or_else(
                    || WorkloadId::new(&self.namespace, "pod", &self.name),
                    |pod| facts.workload_of(pod),
                )
            }
            "replicaset" => self.owner(facts, "ReplicaSet"),
            "job" => self.owner(facts, "Job"),
            kind => WorkloadId::new(&self.namespace, kind, &self.name),
        }
    }

    fn owner(&self, facts: &Facts, kind: &str) -> WorkloadId {
        facts.topmost(&self.namespace, &OwnerRef { kind: kind.into(), name: self.name.clone() })
    }
}

fn kind_of(label: &str) -> &'static str {
    const KINDS: [&str; 8] = [
        "deployment",
        "statefulset",
        "daemonset",
        "replicaset",
        "replicationcontroller",
        "job",
        "cronjob",
        "externalworkload",
    ];
    KINDS.into_iter().find(|kind| *kind == label).unwrap_or("pod")
}

/// gRPC statuses Linkerd counts as failures, by the names the route metrics use.
fn grpc_failure(status: &str) -> bool {
    matches!(
        status,
        "UNKNOWN" | "DEADLINE_EXCEEDED" | "PERMISSION_DENIED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
    )
}

/// The Service port in a label `authority`; proxies leave out `:80`.
fn authority_port(authority: &str) -> Option<u16> {
    match authority.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => (!authority.is_empty()).then_some(80),
    }
}

#[cfg(test)]
pub(crate) mod tests;
