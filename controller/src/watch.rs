//! What is watched in Kubernetes.
//!
//! [`WATCHES`] has one row per kind; each row names the function of `watch/<kind>.rs` that turns an object's JSON into
//! a [`Fact`]. Everything else about watching is the same for every kind and lives in `informer.rs`.
//!
//! To watch another kind: a row in `graph::kind::KINDS`, a variant of [`Fact`], a file here, a row below.

use crate::{
    graph::{
        fact::{Change, Fact},
        kind::Kind,
        status::WatchState,
    },
    informer::Informer,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

pub use crate::informer::Metrics;

mod authorization_policy;
mod egress_network;
mod endpoint_slice;
mod external_workload;
mod gateway_http_route;
mod grpc_route;
mod http_local_rate_limit_policy;
mod job;
mod link;
mod linkerd_http_route;
mod mesh_tls_authentication;
mod namespace;
mod network_authentication;
mod object;
mod owner;
mod pod;
mod policy;
mod probe;
mod replica_set;
mod server;
mod server_authorization;
mod service;
mod service_account;
mod service_profile;
mod tcp_route;
mod tls_route;

/// One row of [`WATCHES`].
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// The kind.
    pub kind: Kind,
    /// Turns the JSON of one object into its fact.
    pub fact: fn(&str) -> Result<Fact, FactError>,
    /// How much of the objects is asked for.
    pub parts: Parts,
}

/// How much of its objects the API server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Only `metadata` (as PartialObjectMetadata): the rest never leaves the API server.
    Metadata,
    /// The whole object; the fact's function picks what it needs and skips the rest.
    Whole,
}

const fn whole(kind: Kind, fact: fn(&str) -> Result<Fact, FactError>) -> Watch {
    Watch { kind, fact, parts: Parts::Whole }
}

const fn metadata(kind: Kind, fact: fn(&str) -> Result<Fact, FactError>) -> Watch {
    Watch { kind, fact, parts: Parts::Metadata }
}

/// Every watch, one per row of `graph::kind::KINDS` and in its order.
pub const WATCHES: &[Watch] = &[
    metadata(Kind::Namespace, namespace::fact),
    whole(Kind::Service, service::fact),
    whole(Kind::EndpointSlice, endpoint_slice::fact),
    whole(Kind::Pod, pod::fact),
    metadata(Kind::ReplicaSet, replica_set::fact),
    metadata(Kind::Job, job::fact),
    metadata(Kind::ServiceAccount, service_account::fact),
    whole(Kind::Server, server::fact),
    whole(Kind::ServerAuthorization, server_authorization::fact),
    whole(Kind::AuthorizationPolicy, authorization_policy::fact),
    whole(Kind::MeshTLSAuthentication, mesh_tls_authentication::fact),
    whole(Kind::NetworkAuthentication, network_authentication::fact),
    whole(Kind::HTTPLocalRateLimitPolicy, http_local_rate_limit_policy::fact),
    whole(Kind::EgressNetwork, egress_network::fact),
    whole(Kind::LinkerdHTTPRoute, linkerd_http_route::fact),
    whole(Kind::GatewayHTTPRoute, gateway_http_route::fact),
    whole(Kind::GRPCRoute, grpc_route::fact),
    whole(Kind::TLSRoute, tls_route::fact),
    whole(Kind::TCPRoute, tcp_route::fact),
    metadata(Kind::ServiceProfile, service_profile::fact),
    whole(Kind::ExternalWorkload, external_workload::fact),
    whole(Kind::Link, link::fact),
];

/// Why an object is no fact.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The JSON is broken, or a field that matters has another type than Kubernetes gives it.
    #[error("the object's JSON does not have the shape of its kind")]
    Shape(#[source] serde_json::Error),
    /// The bytes are not UTF-8, so not JSON.
    #[error("the object is not UTF-8 text")]
    Encoding(#[source] std::str::Utf8Error),
    /// No `metadata.name`.
    #[error("the object has no metadata.name")]
    NoName,
    /// No `metadata.namespace`, though the kind is namespaced.
    #[error("the object has no metadata.namespace; name the namespace it is for")]
    NoNamespace,
    /// A name or namespace that Kubernetes would not allow.
    #[error("`{0}` cannot be the name of an object or a namespace")]
    Name(String),
    /// A spec or status that is nested deeper than the feed can carry.
    #[error("its spec or status is nested deeper than {MAX_DEPTH} levels")]
    Deep,
}

/// The deepest that a spec or status may be nested. Parsers of JSON stop at 128 levels; a snapshot, a change and an
/// answer each put some around it, and one object that they cannot read would cost everybody the whole graph.
const MAX_DEPTH: usize = 64;

/// What the watches tell their reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Objects appeared, changed or went.
    Change(Change),
    /// A watch is in another state than before. The first message of every watch is its state `Syncing`.
    State(Kind, WatchState),
}

/// How to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Watch the objects of this namespace only, for a service account without rights in the whole cluster. The
    /// Namespace itself is then read every [`Options::reprobe`] rather than watched: a Role can allow a get of it,
    /// but neither list nor watch. `None` watches all namespaces.
    pub namespace: Option<String>,
    /// How often to look whether the CRD of an absent kind has been installed.
    pub reprobe: Duration,
    /// Objects per page of a list. The default is 500, what kubectl and client-go ask for: a page of injected pods
    /// is then about 10 MB, held only while it is read.
    pub page_size: u32,
    /// Longest wait for one page, or for a watch to begin.
    pub request_timeout: Duration,
    /// A watch that is silent for so long is given up and resumed: its connection may lead nowhere without anybody
    /// having said so. The default is two minutes, because an API server sends a bookmark each minute.
    pub watch_idle: Duration,
}

/// A client for [`watch_all`], which sends every request once. By itself kube would repeat one that is throttled or
/// not served, 15 times and for minutes: nobody would hear that a watch does not work.
///
/// # Errors
/// When the configuration leads to no client.
pub fn client(mut config: kube::Config) -> Result<kube::Client, kube::Error> {
    config.default_retry = false;
    kube::Client::try_from(config)
}

/// Watches every kind of [`WATCHES`] with `client` (made by [`client`]) and sends what happens to `sender`, until the future is dropped
/// (which ends every watch) or the receiver is.
///
/// Changes of one kind come in order; each kind's first is a `Reset` with its complete list. A slow reader slows the
/// watches down; nothing is dropped. No failure ends a watch: it is told as a state and retried. The states' details
/// are what Kubernetes or the network said, on one line.
///
/// # Panics
/// If a watch panics, which is a bug.
pub async fn watch_all(
    client: kube::Client,
    options: Options,
    sender: mpsc::Sender<Message>,
    metrics: Metrics,
) {
    let options = Arc::new(options);
    let mut watches = JoinSet::new();
    for watch in WATCHES {
        let informer = Informer::new(
            client.clone(),
            watch,
            Arc::clone(&options),
            sender.clone(),
            metrics.of(watch.kind),
        );
        watches.spawn(informer.run());
    }
    tokio::select! {
        () = sender.closed() => {}
        () = all_ended(&mut watches) => {}
    }
}

async fn all_ended(watches: &mut JoinSet<()>) {
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// The fact of one object of `kind`, from its JSON: what the watch would make of it.
///
/// # Errors
/// When the JSON is no object of that kind, or lacks a name or namespace.
pub fn fact_from_json(kind: Kind, json: &[u8]) -> Result<Fact, FactError> {
    (Watch::of(kind).fact)(std::str::from_utf8(json).map_err(FactError::Encoding)?)
}

/// [`fact_from_json`] for JSON that has been parsed already.
///
/// # Errors
/// As [`fact_from_json`].
pub fn fact_from_value(kind: Kind, json: &serde_json::Value) -> Result<Fact, FactError> {
    (Watch::of(kind).fact)(&json.to_string())
}

// === impl Watch ===

impl Watch {
    /// The kind's row.
    pub fn of(kind: Kind) -> &'static Self {
        WATCHES.iter().find(|watch| watch.kind == kind).expect("WATCHES has a row for every kind")
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            reprobe: Duration::from_secs(60),
            page_size: 500,
            request_timeout: Duration::from_secs(60),
            watch_idle: Duration::from_secs(120),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{fact::Key, kind::KINDS};
    use serde_json::json;

    #[test]
    fn there_is_one_watch_per_kind_in_the_order_of_the_kinds() {
        let watched: Vec<_> = WATCHES.iter().map(|watch| watch.kind).collect();
        let kinds: Vec<_> = KINDS.iter().map(|row| row.kind).collect();
        assert_eq!(watched, kinds);
    }

    #[test]
    fn every_row_makes_facts_of_its_own_kind() {
        let object = json!({
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"targetClusterName": "west"}
        });
        for watch in WATCHES {
            let fact = fact_from_value(watch.kind, &object).expect("a minimal object of any kind");
            assert_eq!(fact.kind(), watch.kind);
            let key = if watch.kind == Kind::Namespace { Key::new("", "a") } else { Key::new("shop", "a") };
            assert_eq!(fact.key(), &key, "{}", watch.kind);
        }
    }

    #[test]
    fn bytes_that_are_no_object_are_refused_by_name_of_the_fault() {
        assert!(matches!(fact_from_json(Kind::Pod, b"\xff"), Err(FactError::Encoding(_))));
        assert!(matches!(fact_from_json(Kind::Pod, b"[]"), Err(FactError::Shape(_))));
        assert!(matches!(
            fact_from_json(Kind::Pod, br#"{"metadata": {"name": "a"}}"#),
            Err(FactError::NoNamespace)
        ));
    }
}
