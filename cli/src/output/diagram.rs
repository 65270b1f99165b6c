//! The graph as boxes and arrows: what `dot`, `mermaid` and `svg` draw.
//!
//! A box per workload, Service, external destination and unknown caller that takes part in a call; an arrow per edge
//! to its Service (ports that lead to one Service share its box), and a thin line from a Service to what answered.

use super::{number, place, text::clean, wide};
use linkerd_mcp_proto::v1::{Edge, MeshGraph, Meshed, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// Boxes and arrows.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Diagram {
    /// In the order of their keys; arrows name them by their place here.
    pub(crate) boxes: Vec<Box>,
    pub(crate) arrows: Vec<Arrow>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Box {
    /// Safe to print; still to be escaped for the format.
    pub(crate) label: String,
    /// Empty for what is in no namespace.
    pub(crate) namespace: String,
    pub(crate) shape: Shape,
    /// `None` where nothing is known of its pods.
    pub(crate) meshed: Option<Meshed>,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Workload,
    Service,
    /// External, or a caller without a name.
    Outside,
}

/// One line between boxes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrow {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Empty for [`Line::Backs`].
    pub(crate) label: String,
    pub(crate) line: Line,
}

/// How a line is drawn. Never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Mutual TLS.
    Mutual,
    /// Not all of it is mutual TLS.
    Plain,
    /// Nobody says.
    Unknown,
    /// Some of it is denied, whatever else.
    Denied,
    /// From a Service to what is behind it.
    Backs,
}

/// The diagram of a graph.
pub(crate) fn of(graph: &MeshGraph) -> Diagram {
    let meshed: BTreeMap<&str, Meshed> = graph
        .workloads
        .iter()
        .map(|workload| (workload.id.as_str(), workload.meshed()))
        .chain(graph.services.iter().map(|service| (service.id.as_str(), service.meshed())))
        .collect();
    let mut ends: BTreeMap<&str, ()> = BTreeMap::new();
    let mut backs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for edge in &graph.edges {
        let service = without_port(&edge.dst);
        ends.extend([(edge.src.as_str(), ()), (service, ())]);
        for backend in edge.backends.iter().filter(|backend| backend.as_str() != service) {
            ends.insert(backend, ());
            backs.insert((service, backend));
        }
    }
    let at: BTreeMap<&str, usize> = ends.keys().enumerate().map(|(at, id)| (*id, at)).collect();
    let boxes = ends.keys().map(|id| mk_box(id, meshed.get(id).copied())).collect();
    let mut arrows: Vec<Arrow> = graph
        .edges
        .iter()
        .map(|edge| Arrow {
            from: at[edge.src.as_str()],
            to: at[without_port(&edge.dst)],
            label: label(edge),
            line: line(edge),
        })
        .collect();
    arrows.extend(backs.into_iter().map(|(service, backend)| Arrow {
        from: at[service],
        to: at[backend],
        label: String::new(),
        line: Line::Backs,
    }));
    arrows.sort_by(|a, b| (a.from, a.to, &a.label).cmp(&(b.from, b.to, &b.label)));
    Diagram { boxes, arrows }
}

fn mk_box(id: &str, meshed: Option<Meshed>) -> Box {
    if let Some(identity) = id.strip_prefix("identity:") {
        let namespace = place::service_account(identity).map_or("", |(namespace, _)| namespace);
        let label = place::identity(identity, namespace);
        return Box { label, namespace: clean(namespace), shape: Shape::Outside, meshed };
    }
    let parts: Vec<&str> = id.split('/').collect();
    let (namespace, shape) = match parts[..] {
        _ if ["external:", "unmeshed:"].iter().any(|mark| id.starts_with(mark)) => ("", Shape::Outside),
        [namespace, _] => (namespace, Shape::Service),
        [namespace, ..] => (namespace, Shape::Workload),
        [] => ("", Shape::Outside),
    };
    Box { label: place::short(id, namespace), namespace: clean(namespace), shape, meshed }
}

/// The node that `destination` names, without the port. External destinations keep theirs: it is part of their id.
fn without_port(destination: &str) -> &str {
    match destination.rsplit_once(':') {
        Some((node, port)) if !destination.starts_with("external:") && port.parse::<u16>().is_ok() => node,
        _ => destination,
    }
}

fn line(edge: &Edge) -> Line {
    let denied = edge.metrics.as_ref().and_then(|metrics| number::known(metrics.denied_per_s));
    match edge.tls {
        _ if denied.is_some_and(|denied| denied > 0.0) => Line::Denied,
        Some(true) => Line::Mutual,
        Some(false) => Line::Plain,
        None => Line::Unknown,
    }
}

/// The port, how much, how well, and what is wrong with it, in words.
fn label(edge: &Edge) -> String {
    let metrics = edge.metrics.clone().unwrap_or_default();
    let mut words = Vec::new();
    if edge.dst_port > 0 && !edge.dst.starts_with("external:") {
        words.push(format!(":{}", edge.dst_port));
    }
    match (number::known(metrics.rps), number::known(metrics.tcp_open)) {
        (Some(rps), _) => words.push(format!("{} rps", number::rate(Some(rps)))),
        (None, Some(open)) => words.push(format!("{} open", number::count(Some(open)))),
        (None, None) if edge.protocol() != Protocol::Unspecified => {
            words.push(wide::protocol(edge.protocol()).to_owned());
        }
        (None, None) => {}
    }
    if let Some(share) = number::known(metrics.success_rate) {
        words.push(number::percent(Some(share)));
    }
    if edge.tls == Some(false) {
        words.push("no mTLS".to_owned());
    }
    words.extend(super::table::denied(edge.metrics.as_ref()));
    words.join(" ")
}

// === impl Box ===

impl Box {
    /// What is to be said about its proxies; empty when all pods have one, or when that is not known.
    pub(crate) fn remark(&self) -> &'static str {
        match (self.shape, self.meshed) {
            (Shape::Workload, Some(Meshed::None)) => "not meshed",
            (Shape::Workload, Some(Meshed::Some)) => "partly meshed",
            _ => "",
        }
    }
}

// === impl Diagram ===

impl Diagram {
    /// The boxes of each namespace, those in none last.
    pub(crate) fn namespaces(&self) -> Vec<(&str, Vec<usize>)> {
        let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, node) in self.boxes.iter().enumerate() {
            by_namespace.entry(&node.namespace).or_default().push(at);
        }
        let outside = by_namespace.remove("");
        by_namespace.into_iter().chain(outside.map(|boxes| ("", boxes))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn two_ports_of_a_service_share_its_box_and_its_backends_are_drawn_once() {
        let mut graph = MeshGraph::default();
        for port in [80, 8080] {
            graph.edges.push(Edge {
                src: "shop/deployment/cart".into(),
                dst: format!("shop/db:{port}"),
                dst_port: port,
                backends: vec!["shop/statefulset/db".into()],
                tls: Some(true),
                ..Edge::default()
            });
        }
        let diagram = of(&graph);
        let labels: Vec<_> = diagram.boxes.iter().map(|node| node.label.as_str()).collect();
        assert_eq!(labels, ["svc/db", "deploy/cart", "sts/db"]);
        let drawn: Vec<_> =
            diagram.arrows.iter().map(|arrow| (arrow.from, arrow.to, arrow.label.as_str())).collect();
        assert_eq!(drawn, [(0, 2, ""), (1, 0, ":80"), (1, 0, ":8080")]);
    }

    #[test]
    fn trouble_is_written_in_words_and_not_only_drawn() {
        let diagram = of(&sample::graph());
        for arrow in &diagram.arrows {
            assert_eq!(arrow.line == Line::Denied, arrow.label.contains("denied"), "{arrow:?}");
            assert!(arrow.line != Line::Plain || arrow.label.contains("no mTLS"), "{arrow:?}");
        }
    }
}
