//! Questions as the surfaces take them, answered on a view. gRPC and HTTP differ only in how they write the answer
//! and the refusal.

use crate::{
    access,
    chain::chain,
    encode::Detail,
    linkerd::AskError,
    metrics::ApiMetrics,
    view::{Format, View},
};
use bytes::Bytes;
use linkerd_mcp_graph::query::{
    self, Node, Part, ResolveError, check_namespace,
    edges::{self, EdgeRef},
    resolve_node,
    walk::{CallGraph, Direction, call_graph},
};
use std::sync::Arc;

/// Why there is no answer, for the one who asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "this replica has no graph yet: it waits for the first snapshot from the controller. Try again in a moment; \
         /ready on the admin listener says more"
    )]
    NotReady,
    #[error("{0}")]
    Name(#[from] ResolveError),
    #[error(
        "depth {0} is more than 16, the most hops one answer follows; ask from a node further along instead"
    )]
    Depth(u32),
    #[error("`root` is required: a Service as `namespace/name`, or a workload as `namespace/kind/name`")]
    NoRoot,
    #[error(transparent)]
    Access(#[from] access::Error),
    #[error(
        "this process was not told where Linkerd's controllers are; ask the linkerd-mcp API in the cluster, or start this \
         one with --policy-addr and --destination-addr"
    )]
    NoControllers,
    #[error("{}", chain(.0).to_string())]
    Controller(#[from] AskError),
    #[error(
        "the answer would be {0} bytes, more than one message may carry; ask for one namespace, or for a view"
    )]
    TooLarge(usize),
}

/// The kinds of refusals that the protocols tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unavailable,
    /// Not in this process, however often it is asked.
    Precondition,
    NotFound,
    Invalid,
    TooLarge,
}

/// What GetMeshGraph and `/v1/graph` ask for. Empty text is no wish.
#[derive(Debug, Clone)]
pub(crate) struct GraphQuestion {
    pub(crate) namespace: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) detail: Detail,
}

/// What GetCallGraph and `/v1/callgraph` ask for.
#[derive(Debug, Clone)]
pub(crate) struct CallGraphQuestion {
    pub(crate) root: String,
    pub(crate) namespace: String,
    pub(crate) depth: u32,
    pub(crate) directions: &'static [Direction],
}

pub(crate) const BOTH: &[Direction] = &[Direction::Callers, Direction::Callees];
pub(crate) const CALLERS: &[Direction] = &[Direction::Callers];
pub(crate) const CALLEES: &[Direction] = &[Direction::Callees];

/// The most hops an answer follows.
const MAX_DEPTH: u32 = 16;

/// The most edges a call graph carries: about 5 MB, more than anybody reads, less than a stream window times ten.
const MAX_CALL_GRAPH_EDGES: usize = 10_000;

/// The largest answer, well under what gRPC's length prefix can say. A graph of a million edges is about as large.
pub(crate) const MAX_ANSWER: usize = 512 << 20;

/// The body of the graph that was asked for.
pub(crate) async fn graph(
    view: &Arc<View>,
    question: &GraphQuestion,
    format: Format,
    metrics: &ApiMetrics,
) -> Result<Bytes, Refusal> {
    let detail = question.detail;
    let bytes = match asked(view, question)? {
        Asked::All => view.body(format, detail, metrics).await,
        Asked::Namespace(namespace) => view.body_of_namespace(namespace, format, detail, metrics).await,
        Asked::Part(part) => view.body_of(part, format, detail, metrics),
    };
    if bytes.len() > MAX_ANSWER { Err(Refusal::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// What was asked for.
enum Asked<'a> {
    All,
    Namespace(&'a str),
    Part(Part<'a>),
}

fn asked<'a>(view: &'a View, question: &'a GraphQuestion) -> Result<Asked<'a>, Refusal> {
    let (graph, index) = (&*view.graph, &view.index);
    let namespace = (!question.namespace.is_empty()).then_some(question.namespace.as_str());
    if let Some(namespace) = namespace {
        check_namespace(graph, namespace)?;
    }
    let node = |name: &str| resolve_node(graph, name, namespace);
    let (edges, nodes): (Vec<EdgeRef<'_>>, Vec<Node>) = match (question.from.as_str(), question.to.as_str()) {
        ("", "") => return Ok(namespace.map_or(Asked::All, Asked::Namespace)),
        (from, "") => {
            let from = node(from)?;
            (edges::from(graph, &from), vec![from])
        }
        ("", to) => {
            let to = node(to)?;
            (edges::to(graph, index, &to), vec![to])
        }
        (from, to) => {
            let (from, to) = (node(from)?, node(to)?);
            let mut between = edges::from(graph, &from);
            let reaching: std::collections::BTreeSet<_> =
                edges::to(graph, index, &to).into_iter().map(|(id, _)| id).collect();
            between.retain(|(id, _)| reaching.contains(id));
            (between, vec![from, to])
        }
    };
    let in_namespace = |(_, edge): &EdgeRef<'_>| {
        let ends = [edge.src.namespace(), edge.dst.namespace()];
        namespace.is_none_or(|namespace| ends.contains(&Some(namespace)))
    };
    Ok(Asked::Part(Part::of_edges(graph, edges.into_iter().filter(in_namespace).collect(), &nodes)))
}

/// The root that was meant, its call graph, and the part of the graph that this is.
pub(crate) fn calls<'a>(
    view: &'a View,
    question: &CallGraphQuestion,
) -> Result<(Node, CallGraph, Part<'a>), Refusal> {
    if question.root.is_empty() {
        return Err(Refusal::NoRoot);
    }
    if question.depth > MAX_DEPTH {
        return Err(Refusal::Depth(question.depth));
    }
    let namespace = (!question.namespace.is_empty()).then_some(question.namespace.as_str());
    let root = query::resolve_node(&view.graph, &question.root, namespace)?;
    let depth = question.depth.max(1);
    let calls = call_graph(&view.graph, &view.index, &root, depth, question.directions, MAX_CALL_GRAPH_EDGES);
    let edges = calls.hops.iter().filter_map(|hop| view.graph.edges.get_key_value(&hop.edge)).collect();
    let part = Part::of_edges(&view.graph, edges, std::slice::from_ref(&root));
    Ok((root, calls, part))
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NotReady | Self::Controller(_) => Fault::Unavailable,
            Self::NoControllers => Fault::Precondition,
            Self::Name(ResolveError::Namespace { .. } | ResolveError::Unknown { .. }) => Fault::NotFound,
            Self::Access(error) if error.is_not_found() => Fault::NotFound,
            Self::Name(_) | Self::Access(_) | Self::Depth(_) | Self::NoRoot => Fault::Invalid,
            Self::TooLarge(_) => Fault::TooLarge,
        }
    }

    /// What to do about it, in a few words.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NotReady => "try again in a moment",
            Self::Name(ResolveError::Namespace { .. }) => "ask without a namespace to see what there is",
            Self::Name(ResolveError::Unknown { .. }) => {
                "ask for the graph of its namespace to see what there is"
            }
            Self::Name(_) => "write `namespace/name` for a Service, `namespace/kind/name` for a workload",
            Self::Access(_) => {
                "for example from=shop/deployment/web&to=shop/cart:80, or to=shop/cart, or namespace=shop"
            }
            Self::NoControllers => "without `enforced`, /v1/lint is answered here too",
            Self::Controller(_) => "try again in a moment; the same is asked without `enforced`",
            Self::Depth(_) => "use a depth from 1 to 16",
            Self::NoRoot => "for example root=shop/web",
            Self::TooLarge(_) => "add namespace= or view=edges",
        }
    }
}
