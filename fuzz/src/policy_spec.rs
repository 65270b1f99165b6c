//! What users write into policy objects and routes, from the object to the verdict.

use crate::mesh::{inflated, kind_of};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact},
    index::Index,
    kind::Kind,
    metrics::Metrics,
    policy::{
        Client, ObjectChange, Objects, Policies, PolicyCluster, Request, Target,
        ask::{self, Mesh},
        lint,
    },
    query,
};
use serde_json::{Value, json};

/// Objects of one input, pods of these, and ports of each.
const MAX_OBJECTS: usize = 16;
const MAX_PODS: usize = 4;
const MAX_PORTS: usize = 6;

/// Recorded cases of Linkerd's policy controller.
const CASES: &[u8] = include_bytes!("../../test/fixtures/policy-controller/cases.jsonl.gz");

/// Manifests, a line of JSON each.
pub fn run(input: &[u8]) {
    let mut index = Index::new(Cluster::default());
    let cluster = PolicyCluster::default();
    let mut step_by_step = Policies::read(index.facts(), &cluster);
    let lines = input.split(|byte| *byte == b'\n').take(MAX_OBJECTS);
    let objects = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    for (kind, object) in objects.filter_map(|object| Some((kind_of(&object)?, object))) {
        let Ok(fact) = fact_from_value(kind, &object) else { continue };
        if let Fact::Policy(object) = &fact {
            let (kind, key, object) = (object.kind, object.key.clone(), Some(object.clone()));
            step_by_step = step_by_step.changed([ObjectChange { kind, key, object }]);
        }
        index.change(Change::Apply(fact));
    }
    index.refresh();
    let (facts, graph) = (index.facts(), index.graph());
    let policies = Policies::read(facts, &cluster);
    let of_graph = Policies::of(Objects::of_graph(graph), &cluster);
    let ignored = |policies: &Policies| {
        policies.ignored().map(|ignored| (ignored.id.clone(), ignored.fault.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(ignored(&policies), ignored(&of_graph), "a graph has the objects it was made of");
    assert_eq!(ignored(&policies), ignored(&step_by_step), "the order of reading changes nothing");
    let pods = facts.all(Kind::Pod).filter_map(|fact| match fact {
        Fact::Pod(pod) => Some(pod),
        _ => None,
    });
    for pod in pods.take(MAX_PODS) {
        let target = Target::Pod(pod);
        for port in target.ports(policies.objects()).into_iter().take(MAX_PORTS) {
            let answer = policies.answer_of(target, port);
            assert_eq!(answer, of_graph.answer_of(target, port), "port {port}");
            assert_eq!(answer, step_by_step.answer_of(target, port), "port {port}");
            for (client, request) in calls(port) {
                let Ok(port) = u16::try_from(port) else { continue };
                let verdict = policies.check_access(&client, target, port, request.as_ref());
                assert!(!verdict.reasons.is_empty(), "a verdict has reasons");
                assert_eq!(verdict, of_graph.check_access(&client, target, port, request.as_ref()));
            }
        }
    }
    let (index, metrics) = (query::Index::of(graph), Metrics::default());
    let mesh = Mesh { graph, index: &index, metrics: &metrics, policies: &policies };
    let _ = lint(&mesh, None);
    let _ = ask::matrix(&mesh, None);
    for namespace in graph.namespaces.keys().take(2) {
        let _ = ask::list_namespace(&mesh, namespace, 20);
    }
}

fn calls(port: u32) -> [(Client, Option<Request>); 4] {
    let request = |method: &str, path: &str| Request {
        method: method.into(),
        path: path.into(),
        host: Some("web.app.svc.cluster.local".into()),
        headers: vec![("x-team".into(), "store".into())],
    };
    let address = Some([10, 42, 0, 7].into());
    let meshed = || Client::meshed("web.app.serviceaccount.identity.linkerd.cluster.local", address);
    [
        (meshed(), None),
        (meshed(), Some(request("GET", "/api/v1?x=1"))),
        (Client::meshed("spiffe://cluster.local/ns/app/sa/web", None), Some(request("POST", "/pkg.Svc/Do"))),
        (Client::unmeshed((port % 2 == 0).then_some([192, 168, 1, 1].into())), Some(request("GET", "/"))),
    ]
}

/// Every fourth recorded case of Linkerd's policy controller with few objects.
pub fn seeds() -> Vec<Vec<u8>> {
    let cases = inflated(CASES);
    let cases = cases.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = |case: Value| {
        let objects = case["objects"].as_array().cloned().unwrap_or_default();
        let lines: Vec<_> = objects.into_iter().map(|object| json!(object).to_string()).collect();
        (lines.len() <= MAX_OBJECTS).then(|| lines.join("\n").into_bytes())
    };
    let seeds: Vec<_> = cases.filter_map(lines).filter(|seed| seed.len() < 6_000).step_by(2).collect();
    assert!(seeds.len() > 20, "the recorded cases are small");
    seeds
}
