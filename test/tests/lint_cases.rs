//! Lints every recorded case of Linkerd's policy controller: what no answer of it names must be reported, and what an
//! answer names must not be reported as being of no effect.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use flate2::read::GzDecoder;
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Fact},
    facts::{Facts, Touched},
    index::assemble_all,
    kind::{KINDS, KindRow},
    metrics::Metrics,
    model::Graph,
    policy::{
        Finding, Objects, Policies, PolicyCluster, ask,
        lint::{CODES, Code, lint},
    },
    query,
};
use linkerd_mcp_test::{
    fixtures::{dir, yaml_files},
    mesh::documents,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
};

const CASES: &[u8] = include_bytes!("../fixtures/policy-controller/cases.jsonl.gz");

#[derive(Deserialize)]
struct Case {
    name: String,
    cluster: PolicyCluster,
    objects: Vec<Value>,
    answers: Vec<Value>,
}

/// A case, the findings on it, and the objects that its recorded answers name.
struct Linted {
    name: String,
    objects: Vec<Value>,
    findings: Vec<Finding>,
    named: BTreeSet<String>,
}

fn linted() -> Vec<Linted> {
    let lines = BufReader::new(GzDecoder::new(CASES)).lines();
    lines.map(|line| serde_json::from_str::<Case>(&line.unwrap()).unwrap().lint()).collect()
}

// === impl Case ===

impl Case {
    fn lint(self) -> Linted {
        let findings = findings(&self.graph(), &self.cluster);
        let mut named = BTreeSet::new();
        for answer in &self.answers {
            let namespace = answer["namespace"].as_str().unwrap();
            names(&answer["server"], namespace, &mut named);
        }
        Linted { name: self.name, objects: self.objects, findings, named }
    }

    fn graph(&self) -> Graph {
        let (mut facts, mut touched) = (Facts::default(), Touched::default());
        for object in &self.objects {
            facts.change(Change::Apply(fact(object)), &mut touched);
        }
        let cluster = Cluster {
            linkerd_namespace: self.cluster.control_plane_namespace.clone(),
            trust_domain: self.cluster.identity_domain.clone(),
            cluster_domain: self.cluster.cluster_domain.clone(),
            policy: Some(self.cluster.clone().into()),
        };
        assemble_all(facts, &cluster)
    }
}

fn findings(graph: &Graph, cluster: &PolicyCluster) -> Vec<Finding> {
    let policies = Policies::of(Objects::of_graph(graph), cluster);
    let (index, metrics) = (query::Index::of(graph), Metrics::default());
    lint(&ask::Mesh { graph, index: &index, metrics: &metrics, policies: &policies }, None)
}

/// The watched kind of an object.
fn row(object: &Value) -> Option<&'static KindRow> {
    let group = object["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().find(|row| row.group == group && object["kind"] == row.name)
}

fn fact(object: &Value) -> Fact {
    fact_from_value(row(object).unwrap().kind, object).unwrap()
}

/// The ids of the objects that an answer names, wherever it does.
fn names(value: &Value, namespace: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let text = |field: &str| fields.get(field).and_then(Value::as_str);
            if let (Some(group), Some(kind), Some(name)) = (text("group"), text("kind"), text("name")) {
                into.insert(id(group, kind, namespace, name));
            }
            fields.values().for_each(|value| names(value, namespace, into));
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, namespace, into)),
        _ => {}
    }
}

fn id(group: &str, kind: &str, namespace: &str, name: &str) -> String {
    match kind {
        "HTTPRoute" => format!("httproute.{group}/{namespace}/{name}"),
        kind => format!("{}/{namespace}/{name}", kind.to_ascii_lowercase()),
    }
}

/// The id of an object that decides about inbound calls, and of the Servers that it names.
fn deciding(object: &Value) -> Option<(String, Vec<String>)> {
    let api_version = object["apiVersion"].as_str()?;
    let (group, _) = api_version.split_once('/')?;
    let (kind, metadata, spec) = (object["kind"].as_str()?, &object["metadata"], &object["spec"]);
    let (namespace, name) = (metadata["namespace"].as_str()?, metadata["name"].as_str()?);
    let server = |name: &Value, namespace: &str| Some(id("", "server", namespace, name.as_str()?));
    let servers: Vec<String> = match kind {
        "Server" => Vec::new(),
        "ServerAuthorization" => server(&spec["server"]["name"], namespace).into_iter().collect(),
        "AuthorizationPolicy" | "HTTPLocalRateLimitPolicy" => match spec["targetRef"]["kind"].as_str()? {
            kind if kind.eq_ignore_ascii_case("Server") => {
                server(&spec["targetRef"]["name"], namespace).into_iter().collect()
            }
            _ => Vec::new(),
        },
        "HTTPRoute" | "GRPCRoute" => {
            let parents = spec["parentRefs"].as_array()?;
            let parents = parents.iter().filter(|parent| {
                parent["kind"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("Server"))
            });
            let of =
                |parent: &Value| server(&parent["name"], parent["namespace"].as_str().unwrap_or(namespace));
            let servers: Vec<String> = parents.filter_map(of).collect();
            if servers.is_empty() {
                return None;
            }
            servers
        }
        _ => return None,
    };
    Some((id(group, kind, namespace, name), servers))
}

/// An object is reported when a finding names it, or a Server that it hangs on.
#[test]
fn every_object_that_the_recorded_answers_leave_out_is_reported() {
    let (mut silent, mut left_out) = (Vec::new(), 0);
    for case in linted() {
        let reported: BTreeSet<&String> = case.findings.iter().flat_map(|finding| &finding.objects).collect();
        for (id, servers) in case.objects.iter().filter_map(deciding) {
            if case.named.contains(&id) {
                continue;
            }
            left_out += 1;
            let said = reported.contains(&id) || servers.iter().any(|server| reported.contains(server));
            if !said {
                silent.push(format!("{}: {id}", case.name));
            }
        }
    }
    println!("{left_out} objects without effect, {} of them not reported", silent.len());
    assert!(left_out > 200, "the cases have enough of them: {left_out}");
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// What the first object of a finding says to be without effect must be in no recorded answer.
#[test]
fn nothing_that_a_recorded_answer_names_is_reported_as_without_effect() {
    let mut wrong = Vec::new();
    for case in linted() {
        for finding in &case.findings {
            let without_effect = match finding.code {
                Code::Ignored => !finding.text.contains("accessPolicy"),
                Code::SelectsNothing => !finding.objects[0].contains("route"),
                Code::RejectedRoute => {
                    finding.severity == linkerd_mcp_graph::policy::Severity::Error
                        && !finding.text.contains("refuses every call")
                }
                Code::Shadowed => {
                    finding.text.contains(" does nothing:") || finding.text.contains("limits nothing")
                }
                _ => false,
            };
            if without_effect && case.named.contains(&finding.objects[0]) {
                wrong.push(format!("{}: {finding:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn findings_are_whole_bounded_and_in_order_and_a_namespace_has_its_own() {
    let mut by_code = BTreeMap::<&str, usize>::new();
    for line in BufReader::new(GzDecoder::new(CASES)).lines() {
        let case: Case = serde_json::from_str(&line.unwrap()).unwrap();
        let graph = case.graph();
        let all = findings(&graph, &case.cluster);
        assert_eq!(all, findings(&graph, &case.cluster), "{}", case.name);
        assert!(all.is_sorted_by_key(|finding| std::cmp::Reverse(finding.severity)), "{}", case.name);
        for finding in &all {
            *by_code.entry(finding.code.as_str()).or_default() += 1;
            assert!(!finding.objects.is_empty() && finding.objects.len() <= 20, "{finding:?}");
            let sentence =
                |text: &str| text.ends_with(['.', '?']) && !text.contains('\n') && text.len() < 1_500;
            assert!(sentence(&finding.text) && sentence(&finding.fix), "{}: {finding:#?}", case.name);
        }
        let policies = Policies::of(Objects::of_graph(&graph), &case.cluster);
        let (index, metrics) = (query::Index::of(&graph), Metrics::default());
        let mesh = ask::Mesh { graph: &graph, index: &index, metrics: &metrics, policies: &policies };
        let mut parts: Vec<Finding> =
            graph.namespaces.keys().flat_map(|namespace| lint(&mesh, Some(namespace))).collect();
        let text = |finding: &Finding| (finding.objects.clone(), finding.text.clone());
        parts.sort_by_key(text);
        let mut whole = all;
        whole.sort_by_key(text);
        assert_eq!(parts, whole, "{}", case.name);
    }
    println!("{by_code:?} of {} codes", CODES.len());
}

/// The mesh that the recorded proxies come from: a realistic one whose policies are all meant, so nothing graver than
/// information is found.
#[test]
fn the_mesh_of_the_recorded_proxies_has_these_findings() {
    let (mut facts, mut touched) = (Facts::default(), Touched::default());
    for file in yaml_files(&dir().join("mesh")).unwrap() {
        for document in documents(&std::fs::read_to_string(file).unwrap()).unwrap() {
            let object = serde_json::to_value(document).unwrap();
            if row(&object).is_some() {
                facts.change(Change::Apply(fact(&object)), &mut touched);
            }
        }
    }
    let graph = assemble_all(facts, &Cluster::default());
    let found = findings(&graph, &PolicyCluster::default());
    let found: Vec<String> = found
        .iter()
        .map(|finding| format!("{} {} {}", finding.severity, finding.code, finding.objects.join(" ")))
        .collect();
    let expected = [
        "info open-port emojivoto/deployment/voting",
        "info open-port linkerd-viz/deployment/prometheus",
        "info open-port linkerd/deployment/linkerd-destination linkerd/deployment/linkerd-identity",
        "info open-port server/emojivoto/emoji-ops emojivoto/deployment/emoji:8801",
    ];
    assert_eq!(found, expected);
}
