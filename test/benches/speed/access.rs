//! Who may call whom: reading policies, one verdict, and the matrix of a whole mesh.

use crate::{
    measure::{Table, compare, time},
    mesh::{self, LARGE, PER_NAMESPACE},
};
use linkerd_mcp_graph::{
    change::{Edit, assess},
    fact::{Change, Fact, Key, PolicyObject},
    kind::Kind,
    policy::{
        Client, ObjectChange, Objects, Policies, PolicyCluster, Request,
        ask::{Admitted, Mesh, matrix},
    },
    query,
};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc};

/// The objects of one Service: its Server, an authorization of three callers, and who they are.
fn objects(at: usize) -> [PolicyObject; 3] {
    let (namespace, name) = (mesh::namespace(at), mesh::name(at));
    let object = |kind: Kind, version: &str, spec: Value| PolicyObject {
        kind,
        key: Key::new(namespace.clone(), name.clone()),
        api_version: format!("policy.linkerd.io/{version}").into(),
        labels: Arc::default(),
        created_ms: Some(1_767_600_000_000),
        spec: Arc::new(spec),
        status: Arc::default(),
    };
    let reference = |kind: &str| json!({"group": "policy.linkerd.io", "kind": kind, "name": &*name});
    let identity = |other: usize| {
        let (namespace, name) = (mesh::namespace(other % LARGE.services), mesh::name(other % LARGE.services));
        format!("{name}.{namespace}.serviceaccount.identity.linkerd.cluster.local")
    };
    [
        object(
            Kind::Server,
            "v1beta3",
            json!({"podSelector": {"matchLabels": {"app": &*name}}, "port": 8080, "proxyProtocol": "HTTP/2"}),
        ),
        object(
            Kind::AuthorizationPolicy,
            "v1alpha1",
            json!({"targetRef": reference("Server"),
                   "requiredAuthenticationRefs": [reference("MeshTLSAuthentication")]}),
        ),
        object(
            Kind::MeshTLSAuthentication,
            "v1alpha1",
            json!({"identities": [identity(at + 1), identity(at * 7 + 3), identity(at * 31 + 11)]}),
        ),
    ]
}

/// Ten thousand Services, each with a Server and an authorization of its own.
pub(crate) fn access(table: &mut Table) {
    let mut index = LARGE.mesh().index;
    for at in 0..LARGE.services {
        for object in objects(at) {
            index.change(Change::Apply(Fact::Policy(Arc::new(object))));
        }
    }
    index.refresh();
    let (graph, metrics) = (index.graph().clone(), index.metrics().clone());
    let cluster = PolicyCluster::default();
    let note = format!("{}k objects", graph.policies.len() / 1_000 + graph.auth_policies.len() / 1_000);

    let specs: Vec<String> = graph
        .policies
        .values()
        .chain(graph.auth_policies.values())
        .map(|policy| policy.spec.to_string())
        .collect();
    let parse = || specs.iter().map(|spec| serde_json::from_str::<Value>(spec).unwrap()).collect::<Vec<_>>();
    let read = compare(5, 1, || Policies::of(Objects::of_graph(&graph), &cluster), parse);
    table.compared("read all policies", read, &format!("{note}; floor: parsing their specs"));

    let policies = Policies::of(Objects::of_graph(&graph), &cluster);
    let one = objects(4_321).map(ObjectChange::put);
    let changed = compare(
        15,
        10,
        || policies.changed([one[1].clone()]),
        || {
            (0..PER_NAMESPACE * 3)
                .map(|at| serde_json::from_str::<Value>(&specs[at]).unwrap())
                .collect::<Vec<_>>()
        },
    );
    table.compared("one authorization changes", changed, "floor: parsing the specs of one namespace");

    let reverse = query::Index::of(&graph);
    let mesh = Mesh { graph: &graph, index: &reverse, metrics: &metrics, policies: &policies };
    let (id, workload) = graph.workloads.iter().nth(4_321).unwrap();
    let template = &workload.templates[0];
    let key = Key::new(id.namespace(), template.first.clone());
    let client = Client::meshed("web.other.serviceaccount.identity.linkerd.cluster.local", None);
    let request = Request::new("GET", "/");
    let verdict = compare(
        31,
        1_000,
        || policies.check_access(black_box(&client), template.target(&key), 8080, Some(&request)),
        || graph.workloads.get(black_box(id)).cloned(),
    );
    table.compared("one verdict with its reasons", verdict, "floor: finding the workload");

    let [_, _, authentication] = objects(4_321);
    plan(table, &mesh, &authentication);

    let words = graph.workloads.len().div_ceil(64);
    let sets: Vec<Vec<u64>> = (0..4u64).map(|set| (0..words as u64).map(|at| at ^ set).collect()).collect();
    let or = || {
        (0..graph.workloads.len())
            .map(|_| {
                (0..words).map(|at| sets.iter().fold(0, |all, set| all | set[at]).count_ones()).sum::<u32>()
            })
            .collect::<Vec<_>>()
    };
    let whole = compare(7, 1, || matrix(black_box(&mesh), None), or);
    table.compared(
        "matrix of 10k Servers and 10k identities",
        whole,
        "floor: OR of four bitsets of all identities for each Server",
    );
    let rows = matrix(&mesh, None).rows;
    let listed =
        rows.iter().filter(|row| matches!(&row.admitted, Admitted::Listed(places) if places.len() == 3));
    table.plain(
        "rows that list three identities",
        &listed.count().to_string(),
        "",
        &format!("of {}", rows.len()),
    );
    let per_row = whole.candidate / u32::try_from(rows.len()).unwrap();
    table.plain("who may call one Server", &time(per_row), "", "the matrix by its rows");
}

/// What is said about a change before it is made: an authentication forgets all of its callers, or a Server closes a
/// whole namespace, the one that is called most.
fn plan(table: &mut Table, mesh: &Mesh<'_>, authentication: &PolicyObject) {
    let nobody = json!({"identities": ["nobody.nowhere.serviceaccount.identity.linkerd.cluster.local"]});
    let (namespace, all) = (mesh::namespace(0), json!({"podSelector": {}, "port": 8080}));
    let closed = PolicyObject {
        key: Key::new(namespace.clone(), "all"),
        created_ms: Some(1),
        spec: Arc::new(all),
        ..objects(0)[0].clone()
    };
    let forgets = PolicyObject { spec: Arc::new(nobody), ..authentication.clone() };
    for (what, object) in
        [("plan of one authentication", forgets), ("plan that closes the busiest namespace", closed)]
    {
        let namespace = object.key.namespace.clone();
        let edit = Edit {
            kind: object.kind,
            key: object.key.clone(),
            before: mesh.policies.objects().policy(object.kind, &object.key).cloned(),
            after: Some(Arc::new(object)),
        };
        let judged = assess(mesh, std::slice::from_ref(&edit)).unwrap().impact.judged();
        let said = compare(
            7,
            1,
            || assess(black_box(mesh), std::slice::from_ref(&edit)).unwrap(),
            || {
                let edges = query::edges::of_namespace(mesh.graph, mesh.index, &namespace);
                edges.into_iter().filter_map(|(id, _)| mesh.metrics.get(id)?.rps).sum::<f64>()
            },
        );
        table.compared(what, said, &format!("{judged} flows judged; floor: adding up the namespace's calls"));
    }
}
