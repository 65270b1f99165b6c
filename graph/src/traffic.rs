//! One poll of Prometheus as values: rows with the labels we know, names not yet resolved.
//!
//! [`Traffic::read`] takes the answers in; [`edges::assemble`] makes edges of them. Labels come from metrics and may be
//! wrong or forged (a pod label can overwrite the scraper's): they name edges, and no authorization is decided on them.
//! Rows with labels that cannot be names are left out: an edge of such a name could not be published.

mod clients;
pub mod edges;
mod judge;
mod labels;
mod numbered;
mod places;
mod servers;
mod settle;
mod survey;

pub(crate) use survey::MoreIdentities;
pub use survey::Survey;

use crate::{
    fact::{Fact, Key, OwnerRef},
    facts::Facts,
    id::{ExternalForm, Form as _, Text, WorkloadId, is_name, named},
    kind::Kind,
    promql::{Ask, answer::Answer},
};
use labels::{Labels, Owner};
use numbered::{Nth, Numbered};

/// All rows of one poll.
///
/// What rows repeat is numbered where it is read: text, names of workloads, destinations, and who calls what.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    clients: Vec<ClientRow>,
    calls: Vec<CallRow>,
    servers: Vec<ServerRow>,
    /// In order.
    scraped: Vec<Scraped>,
    texts: Numbered<Text>,
    /// Which texts can be names.
    names: Vec<bool>,
    named: Numbered<Named>,
    destinations: Numbered<To>,
    pairs: Numbered<(Nth, Nth)>,
    ports: Numbered<Port>,
}

/// A workload as labels name it: namespace, kind and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Named {
    namespace: Nth,
    owner: Owner,
    name: Nth,
}

/// Where a client's proxy sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    /// Namespace, name and port of a Service.
    Service(Nth, Nth, Option<u16>),
    /// A workload, as it is named, and the port of its pods.
    Workload(Nth, Option<u16>),
    /// An address outside the cluster.
    External(Nth),
}

/// A port of a workload, as it is named, and who the server's proxy says called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Port {
    at: Nth,
    port: Option<u16>,
    client: Client,
}

/// Who the server's proxy says called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Identity(Nth),
    Unmeshed(Nth),
}

/// Counted by the client's proxy, by endpoint.
#[derive(Debug, Clone, PartialEq)]
struct ClientRow {
    value: f64,
    /// Caller and callee.
    pair: Nth,
    /// What answered.
    workload: Option<Nth>,
    cluster: Option<Nth>,
    reason: Nth,
    server_id: Option<Nth>,
    target_port: Option<u16>,
    ask: Ask,
    /// `tls="true"`, and the reason where not; None on rows that do not say.
    mutual: Option<bool>,
    failure: bool,
}

/// Counted by the client's proxy, by called Service.
#[derive(Debug, Clone, PartialEq)]
struct CallRow {
    value: f64,
    /// Caller and called Service.
    pair: Nth,
    /// The Service that a route sent the calls to.
    backend: Option<Nth>,
    ask: Ask,
    failure: bool,
}

/// Counted by the server's proxy.
#[derive(Debug, Clone, PartialEq)]
struct ServerRow {
    value: f64,
    port: Nth,
    authorization: Option<Nth>,
    ask: Ask,
    failure: bool,
}

/// A pod whose proxy is scraped, and the workload that its labels name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scraped {
    pod: Key,
    named: Option<Nth>,
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
            let labels = Labels::of(row);
            match ask {
                Ask::Scraped => self.read_scraped(&labels),
                Ask::HttpCalls
                | Ask::GrpcCalls
                | Ask::HttpBackends
                | Ask::GrpcBackends
                | Ask::HttpRetries
                | Ask::GrpcRetries => self.read_call(ask, &labels, row.value),
                Ask::ServedResponses
                | Ask::ServedRequests
                | Ask::ServedGrpc
                | Ask::ServedTcp
                | Ask::HttpAllowed
                | Ask::HttpDenied
                | Ask::TcpAllowed
                | Ask::TcpDenied
                | Ask::Unrouted => self.read_server(ask, &labels, row.value),
                _ => self.read_client(ask, &labels, row.value),
            }
        }
        if ask == Ask::Scraped {
            self.scraped.sort_by(|a, b| a.pod.cmp(&b.pod));
        }
    }

    /// True when nothing was read: Prometheus has no series of any proxy.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty() && self.calls.is_empty() && self.scraped.is_empty()
    }

    /// Holds the scraped pods against the pods Kubernetes knows. Both are in order, so none is looked for.
    pub fn coverage(&self, facts: &Facts) -> Coverage {
        let mut coverage = Coverage::default();
        let mut scraped = self.scraped.iter().peekable();
        for fact in facts.all(Kind::Pod) {
            let Fact::Pod(pod) = fact else { continue };
            while scraped.next_if(|row| row.pod < pod.key).is_some() {}
            let mut seen = false;
            while let Some(row) = scraped.next_if(|row| row.pod == pod.key) {
                seen = true;
                if row.named.is_some_and(|nth| !self.names_workload_of(nth, pod, facts)) {
                    coverage.mislabelled.push(pod.key.clone());
                }
            }
            if !seen && pod.meshed() && !pod.ended {
                coverage.unscraped.push(pod.key.clone());
            }
        }
        coverage
    }

    fn names_workload_of(&self, nth: Nth, pod: &crate::fact::Pod, facts: &Facts) -> bool {
        let named = *self.named.get(nth);
        let namespace = self.texts.get(named.namespace);
        match &pod.owner {
            // Most pods: said without making ids of both.
            Some(owner) if !named.owner.owned() && *namespace == pod.key.namespace => {
                let top = facts.above(namespace, owner);
                top.kind.eq_ignore_ascii_case(named.owner.kind()) && top.name == *self.texts.get(named.name)
            }
            _ => facts.workload_of(pod) == self.resolve(nth, facts),
        }
    }

    fn read_scraped(&mut self, labels: &Labels<'_>) {
        if let (Some(namespace), Some(name)) = (self.name(labels.namespace), self.name(labels.pod)) {
            let named = self.workload(labels.namespace, labels.source);
            let pod =
                Key { namespace: self.texts.get(namespace).clone(), name: self.texts.get(name).clone() };
            self.scraped.push(Scraped { pod, named });
        }
    }

    fn read_client(&mut self, ask: Ask, labels: &Labels<'_>, value: f64) {
        let Some(from) = self.source(labels) else { return };
        let Some((to, workload)) = self.destination(ask, labels) else { return };
        let pair = self.pair(from, to);
        let mutual = match labels.tls {
            "" => None,
            tls => Some(tls == "true"),
        };
        let reason = self.text(match labels.no_tls_reason {
            "" => labels.tls,
            reason => reason,
        });
        let target_port = match to {
            To::External(_) => None,
            _ => labels.target_port.parse().ok(),
        };
        let cluster = match to {
            To::Service(..) => self.filled(labels.dst_target_cluster),
            _ => None,
        };
        let server_id = self.filled(labels.server_id);
        let failure = labels.classification == "failure";
        self.clients.push(ClientRow {
            value,
            pair,
            workload,
            cluster,
            reason,
            server_id,
            target_port,
            ask,
            mutual,
            failure,
        });
    }

    fn read_call(&mut self, ask: Ask, labels: &Labels<'_>, value: f64) {
        let Some(from) = self.source(labels) else { return };
        let port = labels.parent_port.parse().ok();
        let Some(parent) = self.service(labels.parent_namespace, labels.parent_name, port) else { return };
        let port = labels.backend_port.parse().ok();
        let backend = self.service(labels.backend_namespace, labels.backend_name, port);
        let backend = backend.map(|backend| self.destinations.number(backend));
        let failure = match ask {
            Ask::GrpcCalls => !labels.error.is_empty() || grpc_failure(labels.grpc_status),
            _ => !labels.error.is_empty() || labels.http_status.starts_with('5'),
        };
        let pair = self.pair(from, parent);
        self.calls.push(CallRow { value, pair, backend, ask, failure });
    }

    fn read_server(&mut self, ask: Ask, labels: &Labels<'_>, value: f64) {
        let Some(at) = self.source(labels) else { return };
        let (meshed, name) = match (labels.client_id, labels.tls, labels.no_tls_reason) {
            ("", "true", _) => (false, "no_client_certificate"),
            ("", "opaque", _) => (false, "application_tls"),
            ("", "", "") => (false, "unknown"),
            ("", tls, "") => (false, tls),
            ("", _, reason) => (false, reason),
            (identity, _, _) => (true, identity),
        };
        if !named(name) {
            return;
        }
        let name = self.text(name);
        let client = if meshed { Client::Identity(name) } else { Client::Unmeshed(name) };
        let authorization = match (labels.authz_kind, labels.authz_name) {
            (_, "") => None,
            ("default" | "", name) => Some(self.text(name)),
            (kind, name) => Some(self.text(&format!("{}/{name}", kind.to_ascii_lowercase()))),
        };
        let failure = labels.classification == "failure";
        let port = self.ports.number(Port { at, port: labels.target_port.parse().ok(), client });
        self.servers.push(ServerRow { value, port, authorization, ask, failure });
    }

    /// The workload whose proxy was scraped; None for rows that another branch has by pod, and for labels that are no
    /// names.
    fn source(&mut self, labels: &Labels<'_>) -> Option<Nth> {
        match labels.branch {
            "src" => self.workload(labels.namespace, Some((Owner::Pod, labels.pod))),
            _ => self.workload(labels.namespace, labels.source),
        }
    }

    fn workload(&mut self, namespace: &str, workload: Option<(Owner, &str)>) -> Option<Nth> {
        let (owner, name) = workload?;
        let (namespace, name) = (self.name(namespace)?, self.name(name)?);
        Some(self.named.number(Named { namespace, owner, name }))
    }

    fn service(&mut self, namespace: &str, name: &str, port: Option<u16>) -> Option<To> {
        Some(To::Service(self.name(namespace)?, self.name(name)?, port))
    }

    /// Where a row's traffic went, and what answered.
    fn destination(&mut self, ask: Ask, labels: &Labels<'_>) -> Option<(To, Option<Nth>)> {
        let namespace = labels.dst_namespace;
        if namespace.is_empty() {
            let address = labels.target_addr;
            return ExternalForm::accepts(address).then(|| (To::External(self.text(address)), None));
        }
        self.name(namespace)?;
        let latency = matches!(ask, Ask::LatencyP50 | Ask::LatencyP95 | Ask::LatencyP99);
        let mut workload = self.workload(namespace, labels.target);
        if workload.is_none() {
            // Another branch has rows without workload labels by pod.
            if labels.branch.is_empty() && !latency {
                return None;
            }
            workload = self.workload(namespace, Some((Owner::Pod, labels.dst_pod)));
        }
        match labels.dst_service {
            "" => workload.map(|named| (To::Workload(named, labels.target_port.parse().ok()), Some(named))),
            name => Some((self.service(namespace, name, authority_port(labels.authority))?, workload)),
        }
    }

    fn pair(&mut self, from: Nth, to: To) -> Nth {
        let to = self.destinations.number(to);
        self.pairs.number((from, to))
    }

    fn text(&mut self, text: &str) -> Nth {
        match self.texts.find(text) {
            Some(known) => known,
            None => {
                self.names.push(is_name(text));
                self.texts.number(text.into())
            }
        }
    }

    /// None for a label that is absent.
    fn filled(&mut self, text: &str) -> Option<Nth> {
        (!text.is_empty()).then(|| self.text(text))
    }

    /// None for what cannot be a name.
    fn name(&mut self, text: &str) -> Option<Nth> {
        self.filled(text).filter(|nth| self.names[nth.index()])
    }

    /// The topmost owner. Source labels name ReplicaSets of Argo Rollouts and Jobs of CronJobs; those are followed up.
    fn resolve(&self, nth: Nth, facts: &Facts) -> WorkloadId {
        let named = *self.named.get(nth);
        let (namespace, name) = (self.texts.get(named.namespace), self.texts.get(named.name));
        let topmost = |kind: &str| {
            let owner = OwnerRef { kind: kind.into(), name: name.clone() };
            facts.topmost(namespace, &owner)
        };
        match named.owner {
            Owner::Pod => {
                let key = Key { namespace: namespace.clone(), name: name.clone() };
                facts.pod(&key).map_or_else(|| self.unowned(named), |pod| facts.workload_of(pod))
            }
            Owner::ReplicaSet => topmost("ReplicaSet"),
            Owner::Job => topmost("Job"),
            _ => self.unowned(named),
        }
    }

    /// The workload of this very name.
    fn unowned(&self, named: Named) -> WorkloadId {
        WorkloadId::new(self.texts.get(named.namespace), named.owner.kind(), self.texts.get(named.name))
    }
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
