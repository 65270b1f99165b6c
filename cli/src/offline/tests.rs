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
