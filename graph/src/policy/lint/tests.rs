//! What is reported and what is not. `codes` has a case and a near miss for each code, `peers` what other tools report
//! wrongly, `covering` the relation between authorizations.

use super::*;
use crate::{
    assemble::Cluster,
    fact::{Change, ContainerPort, Fact, Key, Labels, Namespace, OwnerRef, Pod, PolicyObject, Probe, Proxy},
    facts::{Facts, Touched},
    id::Text,
    index::assemble_all,
    kind::Kind,
    metrics::Metrics,
    model::Graph,
    policy::{Objects, Policies, PolicyCluster},
    query,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

mod codes;
mod covering;
mod peers;

/// A namespace `shop` with a meshed workload `shop/deployment/db` that has port 8080 named `http` and a probe `/live`
/// on it, and a meshed workload `shop/deployment/web` that calls it. Every port is denied by default, so nothing is
/// reported of it.
pub(super) struct World {
    facts: Vec<Fact>,
    cluster: PolicyCluster,
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        let world = Self { facts: Vec::new(), cluster: PolicyCluster::default() };
        world
            .pod("db", |pod| pod.probes = [Probe { port: 8080, path: "/live".into() }].into())
            .pod("web", |_| ())
    }

    fn fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// A pod `name-1` of a Deployment's ReplicaSet in `shop`; `change` makes it different from the usual one.
    pub(super) fn pod(self, name: &str, change: impl FnOnce(&mut Pod)) -> Self {
        let mut pod = mk_pod(name);
        change(&mut pod);
        self.fact(Fact::Pod(Arc::new(pod)))
    }

    /// A policy object of `shop`; those of lower `minute` are older.
    pub(super) fn object(self, kind: Kind, name: &str, minute: i64, spec: Value) -> Self {
        self.object_in("shop", kind, name, minute, spec)
    }

    pub(super) fn object_in(self, namespace: &str, kind: Kind, name: &str, minute: i64, spec: Value) -> Self {
        let object = PolicyObject { key: Key::new(namespace, name), ..mk_object(kind, name, minute, spec) };
        self.fact(Fact::Policy(Arc::new(object)))
    }

    /// A Server on port `http` of `db`.
    pub(super) fn server(self, name: &str, fields: Value) -> Self {
        let mut spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": "http"});
        let (Value::Object(into), Value::Object(fields)) = (&mut spec, fields) else { panic!("objects") };
        into.extend(fields);
        self.object(Kind::Server, name, 1, spec)
    }

    /// An AuthorizationPolicy of `shop`.
    pub(super) fn policy(self, name: &str, target: Value, required: Value) -> Self {
        let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
        self.object(Kind::AuthorizationPolicy, name, 3, spec)
    }

    /// A NetworkAuthentication `nodes` of 10.0.0.0/24.
    pub(super) fn nodes(self) -> Self {
        let spec = json!({"networks": [{"cidr": "10.0.0.0/24"}]});
        self.object(Kind::NetworkAuthentication, "nodes", 1, spec)
    }

    pub(super) fn graph(&self) -> Graph {
        let (mut facts, mut touched) = (Facts::default(), Touched::default());
        for fact in &self.facts {
            facts.change(Change::Apply(fact.clone()), &mut touched);
        }
        let policy = Some(Arc::new(self.cluster.clone()));
        assemble_all(facts, &Cluster { policy, ..Cluster::default() })
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        with_mesh(&self.graph(), &self.cluster, |mesh| lint(mesh, None))
    }

    /// Code and first object of each finding, in their order.
    pub(super) fn says(&self) -> Vec<String> {
        self.findings().iter().map(|finding| format!("{} {}", finding.code, finding.objects[0])).collect()
    }

    /// The only finding with this code.
    pub(super) fn one(&self, code: Code) -> Finding {
        let found: Vec<Finding> =
            self.findings().into_iter().filter(|finding| finding.code == code).collect();
        let [one] = &*found else { panic!("not one {code}: {found:#?}") };
        one.clone()
    }
}

pub(super) fn with_mesh<T>(graph: &Graph, cluster: &PolicyCluster, ask: impl FnOnce(&Mesh<'_>) -> T) -> T {
    let policies = Policies::of(Objects::of_graph(graph), cluster);
    let (index, metrics) = (query::Index::of(graph), Metrics::default());
    ask(&Mesh { graph, index: &index, metrics: &metrics, policies: &policies })
}

pub(super) fn texts(pairs: &[(&str, &str)]) -> Labels {
    Arc::new(pairs.iter().map(|(name, value)| (Text::from(*name), Text::from(*value))).collect())
}

pub(super) fn annotations(pairs: &[(&str, &str)]) -> Labels {
    let prefixed =
        |(name, value): &(&str, &str)| (Text::from(format!("config.linkerd.io/{name}")), Text::from(*value));
    Arc::new(pairs.iter().map(prefixed).collect())
}

fn mk_pod(name: &str) -> Pod {
    Pod {
        key: Key::new("shop", format!("{name}-1")),
        owner: Some(OwnerRef { kind: "StatefulSet".into(), name: name.into() }),
        service_account: name.into(),
        ips: Vec::new(),
        labels: texts(&[("app", name), ("linkerd.io/control-plane-ns", "linkerd")]),
        annotations: annotations(&[("default-inbound-policy", "deny")]),
        control_plane: Some("linkerd".into()),
        proxy: Proxy::NativeSidecar,
        ports: [
            ContainerPort { port: 8080, name: "http".into(), protocol: "TCP".into() },
            ContainerPort { port: 4191, name: "linkerd-admin".into(), protocol: "TCP".into() },
        ]
        .into(),
        probes: Arc::default(),
        ready: true,
        ended: false,
        host_network: false,
    }
}

fn mk_object(kind: Kind, name: &str, minute: i64, spec: Value) -> PolicyObject {
    let row = kind.row();
    PolicyObject {
        kind,
        key: Key::new("shop", name),
        api_version: format!("{}/{}", row.group, row.versions[0]).into(),
        labels: Labels::default(),
        created_ms: Some(minute * 60_000),
        spec: Arc::new(spec),
        status: Arc::default(),
    }
}

pub(super) fn on_server(name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": "Server", "name": name})
}

pub(super) fn on_route(name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": "HTTPRoute", "name": name})
}

pub(super) fn on_namespace() -> Value {
    json!({"kind": "Namespace", "name": "shop"})
}

/// The ServiceAccount of the workload `web`.
pub(super) fn of_web() -> Value {
    json!([{"kind": "ServiceAccount", "name": "web"}])
}

pub(super) fn refer(kind: &str, name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": name})
}

#[test]
fn a_mesh_without_policies_and_denied_by_default_has_no_findings() {
    assert_eq!(World::new().findings(), []);
}

#[test]
fn every_code_has_one_row_and_one_check() {
    let rows: BTreeSet<Code> = CODES.iter().map(|row| row.code).collect();
    let checked: Vec<Code> = CHECKS.iter().flat_map(|(codes, _)| codes.iter().copied()).collect();
    assert_eq!((rows.len(), checked.len()), (CODES.len(), CODES.len()));
    assert_eq!(checked.into_iter().collect::<BTreeSet<_>>(), rows);
    for row in CODES {
        assert!(row.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", row.name);
        assert!(row.meaning.ends_with('.') && row.fix.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn the_documentation_has_the_table_of_codes() {
    let page = include_str!("../../../../docs/lint.md");
    // Drift is found by asking Linkerd, not by a check here.
    let listed: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `drift`")).collect();
    let rows: Vec<String> = CODES
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} |", row.name, row.severity, row.meaning, row.fix))
        .collect();
    assert_eq!(listed, rows, "docs/lint.md should have these rows:\n{}", rows.join("\n"));
}

#[test]
fn the_gravest_findings_come_first_and_a_namespace_has_its_own() {
    let world = World::new()
        .server("s", json!({"accessPolicy": "all-unauthenticated"}))
        .policy("gone", on_server("t"), of_web())
        .object_in("other", Kind::Server, "lost", 1, json!({"podSelector": {}, "port": 1}));
    let severities: Vec<Severity> = world.findings().iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted_by_key(|severity| Reverse(*severity)), "{severities:?}");
    let graph = world.graph();
    with_mesh(&graph, &world.cluster, |mesh| {
        let of = |namespace| lint(mesh, Some(namespace));
        assert_eq!(of("other").iter().map(|it| &it.objects[0]).collect::<Vec<_>>(), ["server/other/lost"]);
        assert_eq!(of("shop").len() + of("other").len(), world.findings().len());
        assert_eq!(of("nowhere"), []);
    });
}

/// A mesh of so many Servers, each with a workload, a policy and its authentication; one in ten of each is wrong.
fn mk_mesh(servers: usize) -> World {
    let mut world = World { facts: Vec::new(), cluster: PolicyCluster::default() };
    for at in 0..servers {
        let (name, namespace) = (format!("w{at}"), format!("n{}", at / 50));
        let label = if at % 10 == 0 { format!("x{at}") } else { name.clone() };
        let pod = Pod { key: Key::new(namespace.as_str(), format!("{name}-1")), ..mk_pod(&name) };
        world = world
            .fact(Fact::Pod(Arc::new(pod)))
            .object_in(
                &namespace,
                Kind::Server,
                &name,
                1,
                json!({"podSelector": {"matchLabels": {"app": label}}, "port": "http"}),
            )
            .object_in(
                &namespace,
                Kind::MeshTLSAuthentication,
                &name,
                1,
                json!({"identityRefs": [{"kind": "ServiceAccount", "name": name}]}),
            )
            .object_in(
                &namespace,
                Kind::AuthorizationPolicy,
                &name,
                1,
                json!({"targetRef": on_server(&name), "requiredAuthenticationRefs": [refer("MeshTLSAuthentication", &label)]}),
            );
    }
    world
}

#[test]
fn what_is_compared_grows_with_the_mesh_and_not_with_its_square() {
    let steps = |servers: usize| {
        let world = mk_mesh(servers);
        let graph = world.graph();
        with_mesh(&graph, &world.cluster, |mesh| {
            let findings = lint(mesh, None);
            assert_eq!(findings.len(), servers / 10 * 3, "{servers}");
            let scene = Scene::of(mesh, None);
            CHECKS.iter().for_each(|(_, check)| drop(check(&scene)));
            scene.steps()
        })
    };
    let (small, large) = (steps(1_000), steps(10_000));
    assert!(small > 1_000, "something is counted: {small}");
    assert!(large <= small * 12, "{small} comparisons for 1,000 Servers, {large} for 10,000");
}

#[test]
fn suggestions_end_with_their_budget_and_findings_do_not() {
    let mut world = World::new();
    for at in 0..400 {
        world = world.policy(&format!("p{at}"), on_server(&format!("sever{at}")), of_web());
        world = world.server(&format!("server{at}"), json!({"port": 1_000 + at}));
    }
    let dangling = world.findings().into_iter().filter(|finding| finding.text.contains("there is no"));
    let (with, without): (Vec<_>, Vec<_>) =
        dangling.partition(|finding| finding.text.contains("did you mean"));
    assert_eq!(with.len() + without.len(), 400);
    assert!(!with.is_empty() && !without.is_empty(), "{} with a suggestion", with.len());
}

/// A namespace that an extension of Linkerd lives in.
pub(super) fn mk_namespace(name: &str, extension: Option<&str>) -> Fact {
    Fact::Namespace(Arc::new(Namespace {
        key: Key::new("", name),
        extension: extension.map(Text::from),
        external_prometheus: None,
    }))
}
