//! Edges summed up: by namespace, by Service or by workload.

use super::edges::EdgeRef;
use crate::{
    id::{Destination, Source, Text, WorkloadId},
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, Meshed, Tls},
};
use std::collections::BTreeMap;

/// What one node of the sum stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A namespace.
    Namespace,
    /// A Service; workloads without exactly one Service stand for themselves.
    Service,
    /// A workload; where several answer for a Service, the Service stands for them: their shares are not known.
    Workload,
}

/// The sum of edges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aggregate {
    /// What calls or is called, ordered by name.
    pub nodes: Vec<AggregateNode>,
    /// Who calls whom, ordered by names.
    pub edges: Vec<AggregateEdge>,
}

/// Something that calls or is called.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateNode {
    /// A namespace, an id, `identity:…`, `unmeshed:…` or `external:…`; for namespaces `outside` and `unmeshed` stand
    /// for what is in none.
    pub name: Text,
    /// How much of it is meshed; `None` for what has no pods that are known.
    pub meshed: Option<Meshed>,
    /// Calls it receives, from what is summed up here.
    pub inbound: Sum,
    /// Calls it makes, in what is summed up here.
    pub outbound: Sum,
}

/// All edges between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateEdge {
    /// Name of the caller.
    pub from: Text,
    /// Name of what is called.
    pub to: Text,
    /// Their numbers.
    pub sum: Sum,
}

/// The numbers of several edges in one. What none of them knows is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sum {
    /// How many edges.
    pub edges: usize,
    /// Calls per second.
    pub rps: Option<f64>,
    /// Share of the calls whose outcome is known that succeeded, 0 to 1.
    pub success_rate: Option<f64>,
    /// Milliseconds, 99th percentile of the slowest edge: quantiles do not add up.
    pub p99_ms: Option<f64>,
    /// Denied per second.
    pub denied: Option<f64>,
    /// Edges that are not mutual TLS.
    pub no_mtls: usize,
    /// Edges of which it is not known.
    pub tls_unknown: usize,
    /// Calls per second whose outcome is known.
    judged: f64,
}

/// Namespace of callers that present no identity.
const UNMESHED: &str = "unmeshed";
/// Namespace of destinations outside the cluster.
const OUTSIDE: &str = "outside";

/// Sums up `edges` of `graph`.
pub fn aggregate<'a>(
    graph: &Graph,
    metrics: &Metrics,
    edges: impl IntoIterator<Item = EdgeRef<'a>>,
    level: Level,
) -> Aggregate {
    let mut sums: BTreeMap<(Text, Text), Sum> = BTreeMap::new();
    let mut nodes: BTreeMap<Text, AggregateNode> = BTreeMap::new();
    let mut meshed = MeshedOf::new(graph, level);
    let none = EdgeMetrics::default();
    for (id, edge) in edges {
        let numbers = metrics.get(id).unwrap_or(&none);
        let (from, to) = (source(graph, edge, level), destination(edge, level));
        let mut node = |name: &Text, known: Option<Meshed>| {
            nodes.entry(name.clone()).or_insert_with(|| AggregateNode {
                name: name.clone(),
                meshed: known,
                inbound: Sum::default(),
                outbound: Sum::default(),
            });
        };
        node(&from, meshed.of(&from));
        node(&to, meshed.of(&to));
        if let Some(it) = nodes.get_mut(&from) {
            it.outbound.add(edge, numbers);
        }
        if let Some(it) = nodes.get_mut(&to) {
            it.inbound.add(edge, numbers);
        }
        sums.entry((from, to)).or_default().add(edge, numbers);
    }
    let edges = sums.into_iter().map(|((from, to), sum)| AggregateEdge { from, to, sum }).collect();
    Aggregate { nodes: nodes.into_values().collect(), edges }
}

fn source(graph: &Graph, edge: &Edge, level: Level) -> Text {
    match (level, &edge.src) {
        (Level::Namespace, source) => source.namespace().unwrap_or(UNMESHED).into(),
        (Level::Service, Source::Workload(id)) => match only_service(graph, id) {
            Some(service) => service.into(),
            None => id.as_str().into(),
        },
        (_, source) => source.to_string().into(),
    }
}

fn only_service<'a>(graph: &'a Graph, id: &WorkloadId) -> Option<&'a str> {
    match graph.workloads.get(id)?.services.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    }
}

fn destination(edge: &Edge, level: Level) -> Text {
    match (level, &edge.dst) {
        (Level::Namespace, destination) => destination.namespace().unwrap_or(OUTSIDE).into(),
        (Level::Workload, Destination::Service(id, _)) => match edge.workloads.as_slice() {
            [only] => only.as_str().into(),
            _ => id.as_str().into(),
        },
        (_, Destination::Service(id, _)) => id.as_str().into(),
        (_, Destination::Workload(id, _)) => id.as_str().into(),
        (_, Destination::External(id)) => format!("external:{id}").into(),
    }
}

/// How much of each node is meshed. Namespaces are summed up once.
struct MeshedOf<'a> {
    graph: &'a Graph,
    namespaces: Option<BTreeMap<&'a str, (u32, u32)>>,
}

// === impl MeshedOf ===

impl<'a> MeshedOf<'a> {
    fn new(graph: &'a Graph, level: Level) -> Self {
        let namespaces = (level == Level::Namespace).then(|| {
            let mut pods: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
            for (id, workload) in &graph.workloads {
                let sum = pods.entry(id.namespace()).or_default();
                *sum = (sum.0 + workload.pods, sum.1 + workload.pods_meshed);
            }
            pods
        });
        Self { graph, namespaces }
    }

    fn of(&mut self, name: &str) -> Option<Meshed> {
        if let Some(namespaces) = &self.namespaces {
            let (pods, meshed) = namespaces.get(name)?;
            return (*pods > 0).then(|| Meshed::of(*pods, *meshed));
        }
        let service = || self.graph.services.get(name).filter(|it| !it.workloads.is_empty());
        self.graph.workloads.get(name).map(|it| it.meshed).or_else(|| service().map(|it| it.meshed))
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, edge: &Edge, numbers: &EdgeMetrics) {
        let plus = |sum: &mut Option<f64>, number: Option<f64>| {
            if let Some(number) = number {
                *sum.get_or_insert(0.0) += number;
            }
        };
        self.edges += 1;
        plus(&mut self.rps, numbers.rps);
        plus(&mut self.denied, numbers.denied);
        if let (Some(rps), Some(rate)) = (numbers.rps, numbers.success_rate)
            && rps > 0.0
        {
            let succeeded = self.success_rate.unwrap_or(0.0) * self.judged + rate * rps;
            self.judged += rps;
            self.success_rate = Some(succeeded / self.judged);
        }
        if let Some(p99) = numbers.p99_ms {
            self.p99_ms = Some(self.p99_ms.map_or(p99, |slowest| slowest.max(p99)));
        }
        match edge.tls {
            Tls::Mutual => {}
            Tls::No { .. } => self.no_mtls += 1,
            Tls::Unknown => self.tls_unknown += 1,
        }
    }

    /// Calls per second that did not succeed, where that is known.
    pub fn failing(&self) -> Option<f64> {
        self.success_rate.map(|rate| (1.0 - rate) * self.judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{EdgeId, ServiceId},
        model::{ObservedBy, Protocol, Service, Workload},
        status::MetricsStatus,
    };
    use std::sync::Arc;

    fn mk_graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (id, workloads) in edges {
            let (src, dst) = id.split_once("->").unwrap();
            let edge = Edge {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                protocol: Protocol::Http,
                tls: Tls::Mutual,
                client_identity: None,
                server_identities: Vec::new(),
                workloads: workloads.iter().map(|id| id.parse().unwrap()).collect(),
                backends: Vec::new(),
                observed_by: ObservedBy::Client,
                candidates: Vec::new(),
                target_cluster: None,
            };
            graph.edges.insert(id.parse::<EdgeId>().unwrap(), Arc::new(edge));
        }
        graph
    }

    fn mk_metrics(rows: &[(&str, f64, f64, f64)]) -> Metrics {
        let rows = rows.iter().map(|(id, rps, success, p99)| {
            let numbers = EdgeMetrics {
                rps: Some(*rps),
                success_rate: Some(*success),
                p99_ms: Some(*p99),
                ..EdgeMetrics::default()
            };
            (id.parse().unwrap(), numbers)
        });
        Metrics::new(MetricsStatus::default(), rows.collect())
    }

    const A: &str = "shop/deployment/web->shop/cart:80";
    const B: &str = "shop/deployment/web->data/db:80";
    const C: &str = "shop/deployment/cart->data/db:80";
    const OUT: &str = "shop/deployment/cart->external:bank.example:443";
    const PLAIN: &str = "unmeshed:no_identity->shop/web:80";

    fn pairs(sum: &Aggregate) -> Vec<String> {
        sum.edges.iter().map(|it| format!("{} {} {}", it.from, it.to, it.sum.edges)).collect()
    }

    #[test]
    fn namespaces_sum_up_what_goes_between_them_and_what_leaves() {
        let graph = mk_graph(&[(A, &[]), (B, &[]), (C, &[]), (OUT, &[]), (PLAIN, &[])]);
        let metrics = mk_metrics(&[(B, 30.0, 1.0, 5.0), (C, 10.0, 0.6, 50.0)]);
        let sum = aggregate(&graph, &metrics, &graph.edges, Level::Namespace);
        assert_eq!(pairs(&sum), ["shop data 2", "shop outside 1", "shop shop 1", "unmeshed shop 1"]);
        let between = &sum.edges[0].sum;
        assert_eq!((between.rps, between.success_rate, between.p99_ms), (Some(40.0), Some(0.9), Some(50.0)));
        assert!((between.failing().unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(sum.edges[1].sum.rps, None, "what nobody counted is not zero");
    }

    #[test]
    fn services_stand_for_the_one_workload_behind_them() {
        let mut graph = mk_graph(&[(A, &["shop/deployment/cart"]), (C, &[])]);
        let cart = Workload { services: vec![ServiceId::new("shop", "cart")], ..Workload::default() };
        graph.workloads.insert("shop/deployment/cart".parse().unwrap(), Arc::new(cart));
        let service = Service {
            meshed: Meshed::Some,
            workloads: vec!["shop/deployment/cart".parse().unwrap()],
            ..Service::default()
        };
        graph.services.insert(ServiceId::new("shop", "cart"), Arc::new(service));
        let metrics = mk_metrics(&[]);
        let services = aggregate(&graph, &metrics, &graph.edges, Level::Service);
        assert_eq!(pairs(&services), ["shop/cart data/db 1", "shop/deployment/web shop/cart 1"]);
        let cart = services.nodes.iter().find(|node| &*node.name == "shop/cart").unwrap();
        assert_eq!((cart.meshed, cart.inbound.edges, cart.outbound.edges), (Some(Meshed::Some), 1, 1));
        let workloads = aggregate(&graph, &metrics, &graph.edges, Level::Workload);
        assert_eq!(
            pairs(&workloads),
            ["shop/deployment/cart data/db 1", "shop/deployment/web shop/deployment/cart 1"]
        );
    }
}
