use super::{manifest::Reference, *};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn documents(text: &str) -> Vec<Document> {
    render(parse("test", text).unwrap(), NAME).unwrap()
}

fn sets_of_values() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test/helm/values");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn everything_that_is_ever_rendered_is_found_again_for_uninstall() {
    let mut kinds = BTreeSet::new();
    for path in sets_of_values() {
        for document in documents(&fs::read_to_string(path).unwrap()) {
            let Reference { group, kind, .. } = document.reference();
            assert_eq!(document.object["metadata"]["labels"]["linkerd.io/extension"], "mcp", "{kind}");
            assert!(live::plural(&group, &kind).is_some(), "{group} {kind} is not in the table");
            kinds.insert(kind);
        }
    }
    assert!(kinds.len() >= 20, "{kinds:?}");
}

#[test]
fn the_namespace_comes_first_and_a_role_before_its_binding() {
    let kinds: Vec<String> = documents("{}").iter().map(|document| document.reference().kind).collect();
    let place = |kind: &str| kinds.iter().position(|known| known == kind).unwrap();
    assert_eq!(place("Namespace"), 0);
    assert!(place("ClusterRole") < place("ClusterRoleBinding"));
    assert!(place("RoleBinding") < place("Deployment"));
    assert_eq!(kinds.iter().filter(|kind| *kind == "Job").count(), 0);
}

#[test]
fn a_value_from_the_cluster_does_not_replace_one_that_is_set() {
    let mut set = parse("test", "viz: {enabled: false}\nclusterDomain: null").unwrap();
    set_unless_set(&mut set, &["viz", "enabled"], true.into());
    set_unless_set(&mut set, &["viz", "namespace"], "v".into());
    set_unless_set(&mut set, &["clusterDomain"], "east.local".into());
    assert_eq!(
        Value::Object(set),
        json!({"viz": {"enabled": false, "namespace": "v"}, "clusterDomain": null})
    );
}

#[test]
fn what_is_no_map_and_what_is_no_yaml_is_said_to_be_so() {
    assert_eq!(
        parse("a.yaml", "[1]").unwrap_err().to_string(),
        "the values in a.yaml are no map: write `name: value`"
    );
    assert_eq!(parse("a.yaml", "a: [").unwrap_err().to_string(), "the values in a.yaml are no YAML");
    assert_eq!(parse("a.yaml", "").unwrap(), Values::new());
}
