//! One revision of the graph and its numbers, as everybody who asks at that moment sees it.

use crate::{
    encode::{Detail, Source, json, message::framed, proto},
    metrics::{ApiMetrics, Encoded},
    rights::Scope,
};
use bytes::Bytes;
use linkerd_mcp_graph::{
    delta::Delta,
    feed::Position,
    id::Text,
    metrics::Metrics,
    model::Graph,
    policy::{
        ObjectChange, Objects, Policies,
        ask::Mesh,
        lint::{Code, Finding, lint},
    },
    query::{
        Index, Part, Rollups, limited,
        overview::{Overview, overview},
    },
};
use linkerd_mcp_proto::v1;
use parking_lot::Mutex;
use parts::{Parts, Room};
use ranked::Lists;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};
use tokio::sync::OnceCell;

mod parts;
pub(crate) mod ranked;
#[cfg(test)]
mod tests;

/// One revision. Never changes; the replica replaces it.
#[derive(Debug)]
pub struct View {
    /// The graph.
    pub graph: Arc<Graph>,
    /// The numbers of its edges.
    pub metrics: Arc<Metrics>,
    /// The last topology change in it.
    pub position: Position,
    /// When the leader made it, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// Reverse directions of the graph's edges.
    pub index: Index,
    /// Counts views of this replica: two views with the same revision are the same.
    pub revision: u64,
    /// Counts the metric frames this replica has had.
    pub(crate) frame: u64,
    /// Counts the times this replica started over; changes lead from view to view only within one.
    pub(crate) generation: u64,
    /// What of the mesh is in it.
    pub scope: Scope,
    limited: Mutex<Vec<Limited>>,
    encoded: Encodings,
    namespaces: Parts,
    /// The policies of the graph, read when the first question about them is asked.
    policies: OnceLock<Policies>,
    /// What is in it, counted when the first one asks.
    overview: OnceLock<Overview>,
    ranked: Lists,
    findings: Findings,
}

/// What lint says of the policies of all namespaces, or of one, once somebody has asked. Numbers have no part in it, so
/// views of the same graph share it.
#[derive(Debug, Clone, Default)]
struct Findings(Arc<Mutex<ByNamespace>>);

/// `None` for all namespaces.
type ByNamespace = BTreeMap<Option<Box<str>>, Arc<[Finding]>>;

/// What callers share, made when the first one asks.
#[derive(Debug, Default)]
struct Encodings {
    protobuf: [OnceCell<Bytes>; Detail::COUNT],
    json: [OnceCell<Bytes>; Detail::COUNT],
    frame: OnceCell<Bytes>,
}

/// This revision as it is seen in some namespaces, made when the first one asks who sees just these.
#[derive(Debug, Clone)]
struct Limited {
    namespaces: Arc<BTreeSet<Text>>,
    view: Arc<OnceLock<Arc<View>>>,
}

/// As many sets of namespaces are kept of a revision: those who ask often are few, and a revision lives for seconds.
const MAX_LIMITED: usize = 32;

/// Up to this many edges a body is encoded where the request is handled (1 to 2 ms); larger ones on a thread that may
/// block, so that other requests go on.
const INLINE_EDGES: usize = 2_000;

/// The names of a format for its bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

impl View {
    pub(crate) fn new(
        graph: Arc<Graph>,
        metrics: Arc<Metrics>,
        position: Position,
        as_of_ms: i64,
        index: Index,
    ) -> Self {
        let namespaces = Parts::new(Room::default());
        let (encoded, policies) = (Encodings::default(), OnceLock::new());
        let (overview, ranked, findings) = (OnceLock::new(), Lists::default(), Findings::default());
        Self {
            graph,
            metrics,
            position,
            as_of_ms,
            index,
            revision: 0,
            frame: 0,
            generation: 0,
            scope: Scope::All,
            limited: Mutex::default(),
            encoded,
            namespaces,
            policies,
            overview,
            ranked,
            findings,
        }
    }

    /// This revision as one sees it who may see these namespaces only; see [`limited()`] for what that is.
    pub(crate) fn only(&self, namespaces: &Arc<BTreeSet<Text>>) -> Arc<Self> {
        let cell = {
            let mut kept = self.limited.lock();
            match kept.iter().find(|it| it.namespaces == *namespaces) {
                Some(known) => known.view.clone(),
                None => {
                    if kept.len() >= MAX_LIMITED {
                        kept.remove(0);
                    }
                    let new = Limited { namespaces: namespaces.clone(), view: Arc::default() };
                    kept.push(new.clone());
                    new.view
                }
            }
        };
        cell.get_or_init(|| Arc::new(self.limit(namespaces))).clone()
    }

    /// Whether enough is seen here to find that. Who knows some namespaces only cannot say that nobody has an identity.
    pub(crate) fn can_find(&self, code: Code) -> bool {
        self.scope == Scope::All || code != Code::UnknownIdentity
    }

    fn limit(&self, namespaces: &Arc<BTreeSet<Text>>) -> Self {
        let (graph, metrics) = limited(&self.graph, &self.index, &self.metrics, namespaces);
        let index = Index::of(&graph);
        let mut view = Self::new(Arc::new(graph), Arc::new(metrics), self.position, self.as_of_ms, index);
        (view.revision, view.frame, view.generation) = (self.revision, self.frame, self.generation);
        view.scope = Scope::Only(namespaces.clone());
        view.namespaces = Parts::new(self.namespaces.room().clone());
        view
    }

    /// Takes over the policies of `old`, if they have been read, with what `delta` does to them; and what lint says of
    /// them where the graph is the same.
    pub(crate) fn follow_policies(&mut self, old: &Self, delta: Option<&Delta>) {
        if Arc::ptr_eq(&self.graph, &old.graph) {
            self.findings = old.findings.clone();
        }
        let Some(policies) = old.policies.get() else { return };
        let policies = match delta {
            Some(delta) if delta.cluster.is_some() => return,
            Some(delta) => match ObjectChange::of_delta(delta) {
                changes if changes.is_empty() => policies.clone(),
                changes => policies.changed(changes),
            },
            None => policies.clone(),
        };
        self.policies = OnceLock::from(policies);
    }

    /// What is in the mesh, counted at most once per view.
    pub(crate) fn overview(&self) -> &Overview {
        self.overview.get_or_init(|| overview(&self.graph, &self.metrics))
    }

    /// The edges of all there is that come first in this order.
    pub(crate) fn ranked(&self, order: ranked::Order) -> Arc<ranked::List> {
        self.ranked.get(&self.graph, &self.metrics, order)
    }

    /// What lint says of a namespace that is there, or of all; looked for at most once per graph. `mesh` is this view's,
    /// from [`View::ask`].
    pub(crate) fn findings(&self, mesh: &Mesh<'_>, namespace: Option<&str>) -> Arc<[Finding]> {
        let namespace: Option<Box<str>> = namespace.map(Into::into);
        let known = self.findings.0.lock().get(&namespace).cloned();
        known.unwrap_or_else(|| {
            // Two who ask at once both look, and find the same.
            let mut found = lint(mesh, namespace.as_deref());
            found.retain(|it| self.can_find(it.code));
            let found: Arc<[Finding]> = found.into();
            self.findings.0.lock().insert(namespace, found.clone());
            found
        })
    }

    /// Asks something about policy. A large mesh's policies are read, and the question is answered, on a thread that
    /// may block.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Mesh<'_>) -> T + Send + 'static,
    ) -> T {
        let small = self.graph.policies.len() + self.graph.workloads.len() <= INLINE_EDGES;
        if small {
            return question(&self.mesh());
        }
        let view = self.clone();
        match tokio::task::spawn_blocking(move || question(&view.mesh())).await {
            Ok(answer) => answer,
            // As in `aside`.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn mesh(&self) -> Mesh<'_> {
        let policies = self.policies.get_or_init(|| {
            let cluster = self.graph.cluster.as_deref().cloned().unwrap_or_default();
            Policies::of(Objects::of_graph(&self.graph), &cluster)
        });
        Mesh { graph: &self.graph, index: &self.index, metrics: &self.metrics, policies }
    }

    /// The body of the whole graph, encoded at most once per revision however many callers there are.
    pub(crate) async fn body(
        self: &Arc<Self>,
        format: Format,
        detail: Detail,
        metrics: &ApiMetrics,
    ) -> Bytes {
        let cell = match format {
            Format::Protobuf => &self.encoded.protobuf[detail.index()],
            Format::Json => &self.encoded.json[detail.index()],
        };
        cell.get_or_init(|| async {
            metrics.encoded(match format {
                Format::Protobuf => Encoded::GraphProtobuf,
                Format::Json => Encoded::GraphJson,
            });
            self.aside(move |view| view.encode(Part::all(&view.graph), format, detail)).await
        })
        .await
        .clone()
    }

    /// The body of a namespace, encoded at most once per revision while there is room to keep it.
    pub(crate) async fn body_of_namespace(
        self: &Arc<Self>,
        namespace: &str,
        format: Format,
        detail: Detail,
        metrics: &ApiMetrics,
    ) -> Bytes {
        let make = async {
            let part = Part::of_namespace(&self.graph, &self.index, namespace);
            if part.edges.len() <= INLINE_EDGES {
                return self.body_of(part, format, detail, metrics);
            }
            drop(part);
            let (namespace, metrics) = (Box::<str>::from(namespace), metrics.clone());
            self.aside(move |view| {
                let part = Part::of_namespace(&view.graph, &view.index, &namespace);
                view.body_of(part, format, detail, &metrics)
            })
            .await
        };
        self.namespaces.get(namespace, (format, detail), make).await
    }

    /// The body of a part of the graph, for the one who asks.
    pub(crate) fn body_of(
        &self,
        part: Part<'_>,
        format: Format,
        detail: Detail,
        metrics: &ApiMetrics,
    ) -> Bytes {
        metrics.encoded(Encoded::Part);
        self.encode(part, format, detail)
    }

    /// The numbers of all edges as one gRPC message for watchers, encoded at most once.
    pub(crate) async fn frame(
        self: &Arc<Self>,
        freshness: impl FnOnce() -> v1::Freshness,
        metrics: &ApiMetrics,
    ) -> Bytes {
        let cell = &self.encoded.frame;
        cell.get_or_init(|| async {
            metrics.encoded(Encoded::MetricFrame);
            let freshness = freshness();
            self.aside(move |view| {
                let edges = proto::numbers(view.graph.edges.keys(), &view.metrics);
                framed(&frame_message(view.position, freshness, edges))
            })
            .await
        })
        .await
        .clone()
    }

    fn encode(&self, part: Part<'_>, format: Format, detail: Detail) -> Bytes {
        let numbered = part.numbered(&self.metrics);
        let rollups = match detail {
            Detail::Edges => Rollups::default(),
            Detail::Full | Detail::Summary => {
                part.rollups(&self.graph, &self.index, &self.metrics, &numbered)
            }
        };
        let source = Source { part, numbered, rollups, detail };
        match format {
            Format::Protobuf => proto::body(&source),
            Format::Json => json::body(&source),
        }
    }

    async fn aside(self: &Arc<Self>, encode: impl FnOnce(&Self) -> Bytes + Send + 'static) -> Bytes {
        if self.graph.edges.len() + self.graph.workloads.len() <= INLINE_EDGES {
            return encode(self);
        }
        let view = self.clone();
        match tokio::task::spawn_blocking(move || encode(&view)).await {
            Ok(bytes) => bytes,
            // The task was cancelled by the end of the runtime, or panicked; either way nobody can be answered.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// New numbers as a message to a watcher.
pub(crate) fn frame_message(
    position: Position,
    freshness: v1::Freshness,
    edges: Vec<v1::EdgeNumbers>,
) -> v1::WatchMeshGraphResponse {
    let frame = v1::MetricFrame {
        position: Some(crate::encode::position(position)),
        freshness: Some(freshness),
        edges,
    };
    v1::WatchMeshGraphResponse { event: Some(v1::watch_mesh_graph_response::Event::Metrics(frame)) }
}
