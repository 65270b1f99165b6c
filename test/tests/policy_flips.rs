//! Flips on the 299 sets of objects that were given to Linkerd's real policy controller: as manifests, through the
//! watch's own parsing, each does what it says; and a real kube-apiserver takes the manifests.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use flate2::read::GzDecoder;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::{Change, Key},
    index::Index,
    kind::{KINDS, Kind},
    metrics::Metrics,
    model::Graph,
    policy::{
        Client, Decision, Objects, Policies, PolicyCluster, Request,
        ask::{Access, Callee, Caller, Mesh, check},
        flip::{Flip, flips},
    },
    query,
};
use linkerd_mcp_test::rig::shared_kubernetes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    sync::Arc,
};

const CASES: &[u8] = include_bytes!("../fixtures/policy-controller/cases.jsonl.gz");

#[derive(Deserialize)]
struct Case {
    name: String,
    cluster: PolicyCluster,
    objects: Vec<Value>,
}

/// A mesh of a case's objects, and what must live as long as it.
struct World {
    graph: Graph,
    index: query::Index,
    metrics: Metrics,
    policies: Policies,
}

fn cases() -> Vec<Case> {
    let lines = BufReader::new(GzDecoder::new(CASES)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn kind(object: &Value) -> Kind {
    let api_version = object["apiVersion"].as_str().unwrap();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let row = KINDS.iter().find(|row| row.group == group && object["kind"] == row.name);
    row.unwrap_or_else(|| panic!("no kind for {group} {}", object["kind"])).kind
}

// === impl World ===

impl World {
    fn of(cluster: &PolicyCluster, changes: impl IntoIterator<Item = Change>) -> Self {
        let settings = Cluster { policy: Some(Arc::new(cluster.clone())), ..Cluster::default() };
        let mut index = Index::new(settings);
        for change in changes {
            index.change(change);
        }
        let graph = index.refresh().clone();
        let policies = Policies::of(Objects::of_graph(&graph), cluster);
        Self { index: query::Index::of(&graph), metrics: Metrics::default(), policies, graph }
    }

    fn mesh(&self) -> Mesh<'_> {
        let Self { graph, index, metrics, policies } = self;
        Mesh { graph, index, metrics, policies }
    }
}

// === impl Case ===

impl Case {
    fn changes(&self) -> Vec<Change> {
        self.objects
            .iter()
            .map(|object| Change::Apply(fact_from_value(kind(object), object).unwrap()))
            .collect()
    }

    /// As if somebody had applied and deleted what the flip says.
    fn after(&self, flip: &Flip) -> World {
        let put = flip.manifests().into_iter().zip(&flip.put).map(|(mut manifest, object)| {
            // What the API server keeps of an object that is there already.
            let created = self.objects.iter().find(|old| {
                old["kind"] == manifest["kind"]
                    && old["metadata"]["name"] == manifest["metadata"]["name"]
                    && old["metadata"]["namespace"] == manifest["metadata"]["namespace"]
            });
            if let Some(old) = created {
                for (field, value) in old["metadata"].as_object().unwrap() {
                    manifest["metadata"][field] = value.clone();
                }
                if let Some(status) = old.get("status") {
                    manifest["status"] = status.clone();
                }
            }
            Change::Apply(fact_from_value(object.kind, &manifest).unwrap())
        });
        let gone = flip.removes.iter().map(|id| {
            let row = KINDS.iter().find(|row| row.kind.policy_prefix() == id.kind()).unwrap();
            Change::Delete(row.kind, Key::new(id.namespace(), id.name()))
        });
        World::of(&self.cluster, self.changes().into_iter().chain(put).chain(gone))
    }
}

fn callers(cluster: &PolicyCluster) -> Vec<Caller> {
    let stranger = cluster.identity("elsewhere", "stranger");
    vec![
        Caller::Identity(stranger),
        Caller::Identity("spiffe://root.example/vm".into()),
        Caller::Address("203.0.113.7".parse().unwrap()),
        Caller::Address("10.1.2.3".parse().unwrap()),
    ]
}

/// What `access` is about, in a mesh that may be another one.
fn again(world: &World, access: &Access<'_>, request: Option<&Request>) -> Decision {
    let address = access.client.address.or(access.addresses.first().copied());
    let client = Client { address, ..access.client.clone() };
    let endpoint = access.endpoint.unwrap();
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    world.policies.check_access(&client, target, endpoint.port, request).decision
}

/// Calls `see` with every case, some calls of it, and their flips. Of the twelve pairs of a client and a request each
/// workload is called with three, other ones than the workload before: all of them together take minutes.
fn each_flip(mut see: impl FnMut(&Case, &Access<'_>, Option<&Request>, Flip)) {
    let requests =
        [None, Some(Request::new("GET", "/api/v1/new")), Some(Request::grpc("pkg.Unknown", "Method"))];
    let mut turn = 0;
    for case in cases() {
        let world = World::of(&case.cluster, case.changes());
        let mesh = world.mesh();
        let callers = callers(&case.cluster);
        for workload in world.graph.workloads.keys() {
            let callee = Callee::Workload(workload.clone(), None);
            turn += 1;
            for (at, request) in requests.iter().enumerate() {
                let caller = &callers[(turn + at) % callers.len()];
                let Ok(checked) = check(&mesh, caller, &callee, request.as_ref(), None) else { continue };
                for access in &checked.accesses {
                    for flip in flips(&mesh, access, request.as_ref()) {
                        see(&case, access, request.as_ref(), flip);
                    }
                }
            }
        }
    }
}

#[test]
fn every_flip_of_the_recorded_cases_flips_when_its_manifests_are_applied() {
    let (mut tried, mut of_workloads) = (0, 0);
    let mut decisions = BTreeMap::new();
    each_flip(|case, access, request, flip| {
        if flip.put.is_empty() && flip.removes.is_empty() {
            of_workloads += 1;
            return;
        }
        let after = again(&case.after(&flip), access, request);
        assert_eq!(after, flip.becomes, "{}: {}", case.name, flip.text);
        assert_ne!(after, access.verdict.decision, "{}: {}", case.name, flip.text);
        *decisions.entry((access.verdict.decision, after)).or_insert(0) += 1;
        tried += 1;
    });
    assert!(tried > 1_000 && of_workloads > 0, "{tried} flips and {of_workloads}: {decisions:?}");
    let seen: BTreeSet<Decision> = decisions.keys().map(|(before, _)| *before).collect();
    assert_eq!(seen.len(), 4, "every decision is flipped somewhere: {decisions:?}");
}

#[tokio::test]
async fn a_real_api_server_takes_the_manifests() {
    let mut manifests: BTreeMap<String, (String, Value)> = BTreeMap::new();
    each_flip(|case, _, _, flip| {
        for (manifest, object) in flip.manifests().into_iter().zip(&flip.put) {
            let written =
                |old: &Value| old["metadata"]["name"] == *object.key.name && kind(old) == object.kind;
            // What was wrong before the flip may stay so; what is new must be right.
            if !case.objects.iter().any(written) {
                let shape = format!("{} {}", object.kind, manifest["spec"]);
                manifests.entry(shape).or_insert((flip.text.clone(), manifest));
            }
        }
    });
    assert!(manifests.len() > 50, "{} manifests", manifests.len());
    let kubernetes = shared_kubernetes().await.unwrap();
    let namespace = kubernetes.apiserver.namespace("flips", &[]).await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let params =
        PatchParams { dry_run: true, ..PatchParams::apply("linkerd-mcp-test").force() }.validation_strict();
    let mut kinds = BTreeSet::new();
    for (text, mut manifest) in manifests.into_values() {
        manifest["metadata"]["namespace"] = json!(namespace);
        let row = kind(&manifest).row();
        let gvk = GroupVersionKind::gvk(row.group, row.versions[0], row.name);
        let resource = ApiResource::from_gvk_with_plural(&gvk, row.plural);
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let answer = api.patch(&name, &params, &Patch::Apply(&manifest)).await;
        assert!(answer.is_ok(), "{text}\n{manifest}\n{answer:?}");
        kinds.insert(row.name);
    }
    let wanted = [
        "AuthorizationPolicy",
        "GRPCRoute",
        "HTTPRoute",
        "MeshTLSAuthentication",
        "NetworkAuthentication",
        "Server",
    ];
    assert_eq!(kinds, BTreeSet::from(wanted));
}
