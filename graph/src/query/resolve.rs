//! From what a person types to a node of the graph.

use super::Node;
use crate::{
    id::{ExternalId, ServiceId, Text, WorkloadId},
    model::Graph,
};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One node.
    Node(Node),
    /// A whole namespace.
    Namespace(Text),
}

/// A name that stands for nothing, or for more than one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Not a form of name that could be looked up.
    #[error(
        "`{name}` is not a name this understands: write `namespace/name` for a Service, `namespace/kind/name` for a \
         workload, or `kind/name` together with a namespace"
    )]
    Form {
        /// What was typed.
        name: String,
    },
    /// No such namespace.
    #[error("there is no namespace `{name}` in the graph{}", did_you_mean(near))]
    Namespace {
        /// What was typed.
        name: String,
        /// Namespaces with similar names.
        near: Vec<String>,
    },
    /// No such Service or workload.
    #[error("there is no Service or workload `{name}` in the graph{}", did_you_mean(near))]
    Unknown {
        /// What was typed.
        name: String,
        /// Nodes with similar names.
        near: Vec<String>,
    },
    /// Several nodes have the name.
    #[error("`{name}` may mean {}: name one of them in full", candidates.join(" or "))]
    Ambiguous {
        /// What was typed.
        name: String,
        /// What it may mean.
        candidates: Vec<String>,
    },
    /// A namespace where one node is wanted.
    #[error(
        "`{name}` is a namespace; name one Service (`namespace/name`) or workload (`namespace/kind/name`) of it"
    )]
    NotANode {
        /// What was typed.
        name: String,
    },
}

/// How many similar names an error lists.
const NEAR: usize = 5;

/// What `name` stands for.
///
/// Forms: `namespace/name`, `namespace/kind/name`, `kind/name` and `name` (in
/// `default_namespace`, or anywhere when there is none), `ns/name`, `external:host:port`. Kinds may be written as
/// kubectl's short and plural names. Where a Service and a workload share a name, it means the Service.
///
/// # Errors
///
/// Says what is wrong with the name, and which similar names there are.
pub fn resolve(graph: &Graph, name: &str, default_namespace: Option<&str>) -> Result<Target, ResolveError> {
    if let Some(address) = name.strip_prefix("external:") {
        let known = address.parse::<ExternalId>().ok().filter(|id| graph.externals.contains_key(id));
        return known.map(|id| Target::Node(Node::External(id))).ok_or_else(|| unknown(graph, name));
    }
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(ResolveError::Form { name: name.to_owned() });
    }
    match parts.as_slice() {
        [one] => bare(graph, name, one, default_namespace),
        [first, second] if !has_namespace(graph, first) => match kind(first) {
            Some("namespace") => {
                check_namespace(graph, second).map(|()| Target::Namespace(Text::from(*second)))
            }
            Some(kind) => of_kind(graph, name, kind, second, default_namespace),
            None => Err(no_namespace(graph, first)),
        },
        [namespace, second] => one_of(graph, name, in_namespace(graph, namespace, second)),
        [namespace, kind_name, third] => {
            check_namespace(graph, namespace)?;
            match kind(kind_name) {
                Some(kind) => of_kind(graph, name, kind, third, Some(namespace)),
                None => of_kind(graph, name, &kind_name.to_ascii_lowercase(), third, Some(namespace)),
            }
        }
        _ => Err(ResolveError::Form { name: name.to_owned() }),
    }
}

/// As [`resolve`], where only one node will do.
///
/// # Errors
///
/// As [`resolve`], and when the name is a namespace.
pub fn resolve_node(
    graph: &Graph,
    name: &str,
    default_namespace: Option<&str>,
) -> Result<Node, ResolveError> {
    match resolve(graph, name, default_namespace)? {
        Target::Node(node) => Ok(node),
        Target::Namespace(_) => Err(ResolveError::NotANode { name: name.to_owned() }),
    }
}

/// That there is such a namespace.
///
/// # Errors
///
/// When there is none, with those of similar names.
pub fn check_namespace(graph: &Graph, name: &str) -> Result<(), ResolveError> {
    if has_namespace(graph, name) { Ok(()) } else { Err(no_namespace(graph, name)) }
}

/// A namespace is known by itself, or because something is in it.
fn has_namespace(graph: &Graph, name: &str) -> bool {
    graph.namespaces.contains_key(name)
        || super::edges::under(&graph.workloads, name, '/').next().is_some()
        || super::edges::under(&graph.services, name, '/').next().is_some()
}

fn no_namespace(graph: &Graph, name: &str) -> ResolveError {
    let names = graph.namespaces.keys().map(|known| (known.to_string(), &**known));
    ResolveError::Namespace { name: name.to_owned(), near: near(names, name) }
}

fn bare(graph: &Graph, typed: &str, name: &str, namespace: Option<&str>) -> Result<Target, ResolveError> {
    match namespace {
        Some(namespace) => {
            check_namespace(graph, namespace)?;
            one_of(graph, typed, in_namespace(graph, namespace, name))
        }
        None => {
            let services = graph.services.keys().filter(|id| id.name() == name);
            let mut found: Vec<Node> = services.cloned().map(Node::Service).collect();
            if found.is_empty() {
                let workloads = graph.workloads.keys().filter(|id| id.name() == name);
                found = workloads.cloned().map(Node::Workload).collect();
            }
            one_of(graph, typed, found)
        }
    }
}

fn in_namespace(graph: &Graph, namespace: &str, name: &str) -> Vec<Node> {
    let service = ServiceId::new(namespace, name);
    if graph.services.contains_key(&service) {
        return vec![Node::Service(service)];
    }
    super::edges::under(&graph.workloads, namespace, '/')
        .filter(|(id, _)| id.name() == name)
        .map(|(id, _)| Node::Workload(id.clone()))
        .collect()
}

fn of_kind(
    graph: &Graph,
    typed: &str,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<Target, ResolveError> {
    let found = match (kind, namespace) {
        ("service", Some(namespace)) => {
            let id = ServiceId::new(namespace, name);
            graph.services.get_key_value(&id).map(|(id, _)| Node::Service(id.clone())).into_iter().collect()
        }
        ("service", None) => {
            graph.services.keys().filter(|id| id.name() == name).cloned().map(Node::Service).collect()
        }
        (kind, Some(namespace)) => {
            let id = WorkloadId::new(namespace, kind, name);
            graph.workloads.get_key_value(&id).map(|(id, _)| Node::Workload(id.clone())).into_iter().collect()
        }
        (kind, None) => {
            let same = |id: &&WorkloadId| id.name() == name && id.kind() == kind;
            graph.workloads.keys().filter(same).cloned().map(Node::Workload).collect()
        }
    };
    one_of(graph, typed, found)
}

fn one_of(graph: &Graph, typed: &str, mut found: Vec<Node>) -> Result<Target, ResolveError> {
    match found.len() {
        0 => Err(unknown(graph, typed)),
        1 => Ok(Target::Node(found.remove(0))),
        _ => {
            let candidates = found.iter().take(NEAR).map(ToString::to_string).collect();
            Err(ResolveError::Ambiguous { name: typed.to_owned(), candidates })
        }
    }
}

fn unknown(graph: &Graph, typed: &str) -> ResolveError {
    let services = graph.services.keys().map(|id| (id.to_string(), id.name()));
    let workloads = graph.workloads.keys().map(|id| (id.to_string(), id.name()));
    let last = typed.rsplit('/').next().unwrap_or(typed);
    ResolveError::Unknown { name: typed.to_owned(), near: near(services.chain(workloads), last) }
}

/// The kind in lower case and singular, from kubectl's short, singular and plural names.
fn kind(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "deploy" | "deployment" | "deployments" => "deployment",
        "sts" | "statefulset" | "statefulsets" => "statefulset",
        "ds" | "daemonset" | "daemonsets" => "daemonset",
        "svc" | "service" | "services" => "service",
        "po" | "pod" | "pods" => "pod",
        "rs" | "replicaset" | "replicasets" => "replicaset",
        "cj" | "cronjob" | "cronjobs" => "cronjob",
        "job" | "jobs" => "job",
        "ns" | "namespace" | "namespaces" => "namespace",
        "externalworkload" | "externalworkloads" | "exwl" => "externalworkload",
        _ => return None,
    })
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    }
}

/// The labels of the names most like `wanted`, best first.
pub(crate) fn near<'a>(names: impl Iterator<Item = (String, &'a str)>, wanted: &str) -> Vec<String> {
    let mut near: Vec<_> =
        names.filter_map(|(label, name)| distance(name, wanted).map(|distance| (distance, label))).collect();
    near.sort();
    near.dedup();
    near.into_iter().take(NEAR).map(|(_, label)| label).collect()
}

/// How unlike two names are; `None` when they have nothing to do with each other.
fn distance(name: &str, wanted: &str) -> Option<usize> {
    let edits = levenshtein(name, wanted);
    let contains = !wanted.is_empty() && (name.contains(wanted) || (name.len() > 2 && wanted.contains(name)));
    match edits {
        // Two letters swapped count as two edits, and are the commonest slip.
        _ if wanted.len() > 3 && edits <= 2 => Some(edits),
        // In `wbe` for `web` that is most of it; in `wb`, a letter of a name of three.
        _ if name.len() > 2 && (edits <= 1 && wanted.len() > 1 || are_swapped(name, wanted)) => Some(edits),
        _ if contains => Some(edits.min(wanted.len())),
        _ => None,
    }
}

/// True when `a` is `b` with two neighbouring letters swapped.
fn are_swapped(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let at = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    a.len() == b.len()
        && at + 1 < a.len()
        && a[at] == b[at + 1]
        && a[at + 1] == b[at]
        && a[at + 2..] == b[at + 2..]
}

fn levenshtein(a: &str, b: &str) -> usize {
    // Longer names than Kubernetes allows are not worth the quadratic time.
    let (a, b): (Vec<u8>, Vec<u8>) = (a.bytes().take(253).collect(), b.bytes().take(253).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
