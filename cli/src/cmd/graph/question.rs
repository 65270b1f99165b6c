//! What is asked of the API, from what was typed.

use super::GraphArgs;
use crate::{args::Usage, client, client::Mesh, name};
use linkerd_mcp_proto::v1::{
    Direction, GetCallGraphRequest, GetCallGraphResponse, GetMeshGraphRequest, MeshGraph, View,
};
use std::collections::{HashMap, HashSet};

/// A question about the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Everything in a namespace, or everywhere.
    Everything { namespace: Option<String> },
    /// The callees of a node, or its callers.
    Around { root: String, direction: Direction, depth: u32 },
    /// Every way from one node to another of at most so many calls.
    Between { from: String, to: String, depth: u32 },
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) graph: MeshGraph,
    /// There are more edges than the API puts into one answer.
    pub(crate) truncated: bool,
}

// === impl Question ===

impl Question {
    /// The question that `args` ask; `namespace` is that of the kubeconfig context, where there is one.
    pub(crate) fn new(args: &GraphArgs, namespace: Option<&str>) -> Result<Self, Usage> {
        let namespace = match args.all_namespaces {
            true => None,
            false => args.namespace.as_deref().or(namespace),
        };
        let id = |text: &String| name::id(text, namespace);
        let depth = args.depth;
        Ok(match (&args.from, &args.to) {
            (None, None) => Self::Everything { namespace: namespace.map(str::to_owned) },
            (Some(from), None) => Self::Around { root: id(from)?, direction: Direction::Callees, depth },
            (None, Some(to)) => Self::Around { root: id(to)?, direction: Direction::Callers, depth },
            (Some(from), Some(to)) => Self::Between { from: id(from)?, to: id(to)?, depth },
        })
    }

    /// Asks it.
    pub(crate) async fn ask(&self, mesh: &Mesh, view: View) -> Result<Answer, client::Error> {
        let around = |root: &String, direction: Direction, depth| {
            mesh.call_graph(GetCallGraphRequest { root: root.clone(), depth, direction: direction.into() })
        };
        match self {
            Self::Everything { namespace } => {
                let namespace = namespace.clone().unwrap_or_default();
                let request = GetMeshGraphRequest { namespace, view: view.into(), ..Default::default() };
                Ok(Answer { graph: mesh.graph(request).await?, truncated: false })
            }
            Self::Around { root, direction, depth } => {
                let answer = around(root, *direction, *depth).await?;
                Ok(Answer { graph: answer.graph.unwrap_or_default(), truncated: answer.truncated })
            }
            Self::Between { from, to, depth: 1 } => {
                let (from, to) = (from.clone(), to.clone());
                let request = GetMeshGraphRequest { namespace: String::new(), view: view.into(), from, to };
                Ok(Answer { graph: mesh.graph(request).await?, truncated: false })
            }
            Self::Between { from, to, depth } => {
                let callees = around(from, Direction::Callees, *depth).await?;
                let callers = around(to, Direction::Callers, *depth).await?;
                let truncated = callees.truncated || callers.truncated;
                Ok(Answer { graph: between(callees, &callers, *depth), truncated })
            }
        }
    }

    /// The namespace to watch for changes; empty for all.
    pub(crate) fn watched_namespace(&self) -> String {
        match self {
            Self::Everything { namespace } => namespace.clone().unwrap_or_default(),
            Self::Around { .. } | Self::Between { .. } => String::new(),
        }
    }

    /// True when a watch of the namespace is the answer itself, and not only the sign to ask again.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self, Self::Everything { .. })
    }

    /// What to say when the answer has no edges.
    pub(crate) fn nothing(&self) -> String {
        match self {
            Self::Everything { namespace: Some(namespace) } => {
                format!("No calls found in namespace {namespace}; -A shows all namespaces.")
            }
            Self::Everything { namespace: None } => {
                "No calls found. Is any workload meshed, and does traffic flow?".to_owned()
            }
            Self::Around { root, direction: Direction::Callers, .. } => {
                format!("Nothing is seen calling {root}.")
            }
            Self::Around { root, .. } => format!("{root} is not seen calling anything."),
            Self::Between { from, to, depth } => {
                format!("No way from {from} to {to} in {depth} calls; --depth looks further.")
            }
        }
    }
}

/// The edges on a way of at most `depth` calls: so far from the one end and so near to the other.
fn between(callees: GetCallGraphResponse, callers: &GetCallGraphResponse, depth: u32) -> MeshGraph {
    let left: HashMap<&str, u32> =
        callers.edges.iter().map(|edge| (edge.edge_id.as_str(), edge.depth)).collect();
    let kept: HashSet<&str> = callees
        .edges
        .iter()
        .filter(|edge| left.get(edge.edge_id.as_str()).is_some_and(|left| edge.depth + left <= depth + 1))
        .map(|edge| edge.edge_id.as_str())
        .collect();
    let mut graph = callees.graph.unwrap_or_default();
    graph.edges.retain(|edge| kept.contains(edge.id.as_str()));
    let mut ends: HashSet<String> = HashSet::new();
    for edge in &graph.edges {
        let node = edge.dst.rsplit_once(':').map_or(edge.dst.as_str(), |(node, _)| node);
        ends.extend([edge.src.clone(), edge.dst.clone(), node.to_owned()]);
        ends.extend(edge.backends.iter().cloned());
    }
    graph.services.retain(|service| ends.contains(&service.id));
    graph.workloads.retain(|workload| ends.contains(&workload.id));
    graph.externals.retain(|external| ends.contains(&format!("external:{}", external.id)));
    graph
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Cli, cmd::Command};
    use clap::Parser;
    use linkerd_mcp_proto::v1::{CallGraphEdge, Edge};

    fn ask(args: &[&str], namespace: Option<&str>) -> Question {
        let cli = Cli::try_parse_from([&["linkerd-mcp", "graph"], args].concat()).unwrap();
        let Command::Graph(args) = cli.command else { panic!("not graph") };
        Question::new(&args, namespace).unwrap()
    }

    fn everything(namespace: Option<&str>) -> Question {
        Question::Everything { namespace: namespace.map(str::to_owned) }
    }

    #[test]
    fn the_namespace_is_the_one_given_else_the_contexts_else_all() {
        assert_eq!(ask(&["-n", "shop"], Some("default")), everything(Some("shop")));
        assert_eq!(ask(&[], Some("default")), everything(Some("default")));
        assert_eq!(ask(&["-A"], Some("default")), everything(None));
        assert_eq!(ask(&[], None), everything(None));
    }

    #[test]
    fn from_asks_for_callees_and_to_for_callers() {
        let around = |root: &str, direction, depth| Question::Around { root: root.into(), direction, depth };
        assert_eq!(
            ask(&["--from", "deploy/web", "--depth", "3"], Some("shop")),
            around("shop/deployment/web", Direction::Callees, 3)
        );
        assert_eq!(ask(&["--to", "emoji/web"], Some("shop")), around("emoji/web", Direction::Callers, 1));
        assert_eq!(ask(&["--to", "web", "-A"], Some("shop")), around("web", Direction::Callers, 1));
    }

    #[test]
    fn between_two_ends_are_the_ways_that_are_short_enough() {
        // a -> b -> d, and a -> c -> x -> d.
        let answer = |edges: &[(&str, u32)]| GetCallGraphResponse {
            edges: edges
                .iter()
                .map(|(id, depth)| CallGraphEdge { edge_id: (*id).to_owned(), depth: *depth, direction: 0 })
                .collect(),
            graph: Some(MeshGraph {
                edges: edges.iter().map(|(id, _)| Edge { id: (*id).to_owned(), ..Edge::default() }).collect(),
                ..MeshGraph::default()
            }),
            ..GetCallGraphResponse::default()
        };
        let callees = answer(&[("a->b", 1), ("a->c", 1), ("b->d", 2), ("c->x", 2), ("x->d", 3), ("d->e", 3)]);
        let callers = answer(&[("b->d", 1), ("x->d", 1), ("a->b", 2), ("c->x", 2), ("a->c", 3)]);
        let ids = |depth| -> Vec<String> {
            between(callees.clone(), &callers, depth).edges.into_iter().map(|edge| edge.id).collect()
        };
        assert_eq!(ids(2), ["a->b", "b->d"]);
        assert_eq!(ids(3), ["a->b", "a->c", "b->d", "c->x", "x->d"]);
    }
}
