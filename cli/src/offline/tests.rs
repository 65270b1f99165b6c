use super::*;
use std::io::Write;

fn defaults() -> Defaults {
    Defaults {
        namespace: "shop".to_owned(),
        opaque_ports: "3306".parse().unwrap(),
        control_plane: "linkerd".to_owned(),
    }
}

fn read(text: &str) -> Manifests {
    let mut manifests = Manifests::default();
    manifests.add(&[("all.yaml".to_owned(), text.to_owned())], &defaults());
    manifests
}

fn workloads(manifests: &Manifests) -> Vec<String> {
    manifests.workloads.iter().map(ToString::to_string).collect()
}

#[test]
fn workloads_keep_their_order_and_the_last_of_two_objects_counts() {
    let manifests = read(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: b, labels: {v: '1'}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: other}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: b, labels: {v: '2'}}\n",
    );
    assert_eq!(workloads(&manifests), ["shop/po/b", "other/po/a"]);
    let pod = manifests.facts.pod(&Key::new("shop", "b")).unwrap();
    assert_eq!(pod.labels.get("v").map(|value| &**value), Some("2"));
    assert_eq!(manifests.faults, Vec::<String>::new());
}

#[test]
fn a_fault_names_file_and_document_and_hides_nothing_else() {
    let manifests = read(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n{{{\n---\nkind: Pod\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {}\n---\napiVersion: v1\nkind: List\nitems: [{kind: Pod}]\n",
    );
    assert_eq!(workloads(&manifests), ["shop/po/a"]);
    let places: Vec<&str> = manifests.faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
    assert_eq!(
        places,
        [
            "all.yaml, document 2",
            "all.yaml, document 3",
            "all.yaml, document 4",
            "all.yaml, document 5, item 1"
        ]
    );
    assert!(manifests.faults[2].contains("metadata.name"), "{}", manifests.faults[2]);
}

#[test]
fn what_makes_pods_stands_for_the_pods_it_will_make_as_the_injector_leaves_them() {
    let manifests = read(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: db}\nspec:\n  template:\n    \
         metadata: {labels: {app: db}}\n    spec:\n      containers:\n      - name: db\n        \
         ports: [{containerPort: 3306, name: sql}, {containerPort: 9104}]\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    \
         config.linkerd.io/default-inbound-policy: deny\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    );
    assert_eq!(workloads(&manifests), ["shop/deploy/db"]);
    assert_eq!((manifests.others, manifests.faults.len()), (1, 0));
    let pod = manifests.facts.pod(manifests.workloads[0].key.key()).unwrap();
    let annotation =
        |name: &str| pod.annotations.get(&*format!("config.linkerd.io/{name}")).map(|text| &**text);
    assert_eq!(annotation("default-inbound-policy"), Some("deny"));
    assert_eq!(annotation("opaque-ports"), Some("3306"));
    assert_eq!(pod.labels.get("linkerd.io/control-plane-ns").map(|text| &**text), Some("linkerd"));
}

#[test]
fn a_template_that_is_not_injected_makes_pods_outside_the_mesh() {
    let manifests = read(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  jobTemplate:\n    spec:\n      \
         template:\n        metadata: {annotations: {linkerd.io/inject: disabled}}\n        \
         spec: {containers: [{name: a, ports: [{containerPort: 3306}]}]}\n",
    );
    assert_eq!(workloads(&manifests), ["shop/cj/nightly"]);
    let pod = manifests.facts.pod(manifests.workloads[0].key.key()).unwrap();
    assert!(pod.labels.is_empty() && pod.annotations.is_empty());
}

#[test]
fn a_directory_is_its_manifests_and_a_missing_file_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, pod: &str| {
        let mut file = fs::File::create(directory.path().join(name)).unwrap();
        writeln!(
            file,
            "{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"{pod}\"}}}}"
        )
        .unwrap();
    };
    write("2.json", "second");
    write("1.yaml", "first");
    write("notes.txt", "none");
    let missing = directory.path().join("gone.yaml");
    let manifests = Manifests::read(&[directory.path().to_path_buf(), missing], &defaults());
    assert_eq!(workloads(&manifests), ["shop/po/first", "shop/po/second"]);
    assert_eq!(manifests.faults.len(), 1);
    assert!(manifests.faults[0].contains("gone.yaml cannot be opened"), "{}", manifests.faults[0]);
}

fn mesh(text: &str) -> mesh::OfflineMesh {
    let manifests = read(text);
    assert_eq!(manifests.faults, Vec::<String>::new());
    mesh::OfflineMesh::new(manifests, &linkerd_mcp_graph::policy::PolicyCluster::default())
}

/// Services with the workloads behind them, and workloads with their kinds of pods, each in order.
fn nodes(mesh: &mesh::OfflineMesh) -> (Vec<String>, Vec<String>) {
    let graph = mesh.mesh().graph;
    let services = graph.services.iter().map(|(id, service)| {
        let behind: Vec<String> = service.workloads.iter().map(ToString::to_string).collect();
        format!("{id} -> {}", behind.join(" "))
    });
    let workloads = graph.workloads.iter().map(|(id, workload)| {
        let pods: Vec<&str> = workload.templates.iter().map(|template| &*template.first).collect();
        format!("{id}: {}", pods.join(" "))
    });
    (services.collect(), workloads.collect())
}

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: \
                   {labels: {app: web, tier: front}}, spec: {containers: [{name: web}]}}}\n---\n";

fn mk_service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

#[test]
fn services_lead_to_the_pods_that_they_select() {
    let outside = "apiVersion: workload.linkerd.io/v1beta1\nkind: ExternalWorkload\nmetadata: {name: vm, labels: \
                   {app: web}}\nspec: {meshTLS: {identity: a.b, serverName: a.b}, workloadIPs: [{ip: 192.0.2.1}]}\n---\n";
    let ended = "apiVersion: v1\nkind: Pod\nmetadata: {name: old, labels: {app: web}}\nstatus: {phase: Failed}\n---\n";
    let elsewhere =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: other, namespace: other, labels: {app: web}}\n---\n";
    let text = [
        WEB,
        outside,
        ended,
        elsewhere,
        &mk_service("all", "{selector: {app: web}}"),
        &mk_service("both", "{selector: {app: web, tier: front}}"),
        &mk_service("none", "{selector: {app: web, tier: back}}"),
        &mk_service("manual", "{ports: [{port: 80}]}"),
        &mk_service("away", "{type: ExternalName, externalName: a.example, selector: {app: web}}"),
        &mk_service("twice", "{selector: {app: web}}"),
        &mk_service("twice", "{selector: {}}"),
    ]
    .concat();
    let (services, _) = nodes(&mesh(&text));
    assert_eq!(
        services,
        [
            "shop/all -> shop/deployment/web shop/externalworkload/vm",
            "shop/away -> ",
            "shop/both -> shop/deployment/web",
            "shop/manual -> ",
            "shop/none -> ",
            "shop/twice -> ",
        ]
    );
    let faults = read(&mk_service("bad", "{selector: [app, web]}")).faults;
    assert_eq!(faults, ["all.yaml, document 1: its spec.selector is no mapping of labels to values"]);
}

#[test]
fn a_template_belongs_to_what_holds_it_and_gives_way_to_its_pods() {
    let (_, workloads) = nodes(&mesh(WEB));
    assert_eq!(workloads, ["shop/deployment/web: deployment_web"]);
    let owned = |kind: &str, name: &str, owner_kind: &str, owner: &str, version: &str| {
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, ownerReferences: [{{kind: \
             {owner_kind}, name: {owner}, controller: true, apiVersion: apps/v1, uid: u}}]}}\n---\n"
        )
    };
    let dump = [
        WEB,
        &owned("ReplicaSet", "web-5d", "Deployment", "web", "apps/v1"),
        &owned("Pod", "web-5d-x", "ReplicaSet", "web-5d", "v1"),
    ]
    .concat();
    let (_, workloads) = nodes(&mesh(&dump));
    assert_eq!(workloads, ["shop/deployment/web: web-5d-x"]);
}

#[test]
fn a_namespace_that_something_is_in_exists() {
    let policy = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: a, namespace: lonely}\n\
                  spec: {podSelector: {}, port: 80}\n---\n";
    let mesh = mesh(&[WEB, policy].concat());
    let names: Vec<&str> = mesh.mesh().graph.namespaces.keys().map(|name| &**name).collect();
    assert_eq!(names, ["lonely", "shop"]);
    assert_eq!(mesh.namespaces(), ["shop"]);
}
