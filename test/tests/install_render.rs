//! `linkerd-mcp install` renders what Helm renders, without Helm.
//!
//! What Helm renders is in test/helm/expected.json. With Helm, that is compared too; and after a change of the chart or
//! of a set of values, written anew:
//!
//! ```sh
//! HELM=/path/to/helm cargo test -p linkerd-mcp-test --test install_render
//! HELM=/path/to/helm UPDATE_GOLDEN=1 cargo test -p linkerd-mcp-test --test install_render
//! ```

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_test::ours;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A set of values, and whether those for high availability are under it.
type Rendering = BTreeMap<String, Vec<Value>>;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files of a folder of test/helm, by name.
fn files(folder: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(project().join("test/helm").join(folder)).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    files.sort();
    files
}

fn install(args: &[&str]) -> Output {
    let mut command = Command::new(ours::program("linkerd-mcp").unwrap());
    // Nothing of this machine's: it has to do without a cluster and without a home.
    command.env_clear().args(["install", "--ignore-cluster"]).args(args);
    command.output().unwrap()
}

fn installed(args: &[&str]) -> String {
    let output = install(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a YAML text, in an order of their own.
fn objects(text: &str) -> Vec<Value> {
    let documents =
        serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    sorted(documents.filter(|document| !document.is_null()).collect())
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        [text("/kind"), text("/metadata/namespace"), text("/metadata/name"), text("/apiVersion")]
    });
    objects
}

/// Calls `render` for each set of values, alone and over those for high availability.
fn each(render: impl Fn(&Path, bool) -> Vec<Value>) -> Rendering {
    let mut renderings = Rendering::new();
    for (name, path) in files("values") {
        renderings.insert(name.clone(), render(&path, false));
        renderings.insert(format!("{name} --ha"), render(&path, true));
    }
    renderings
}

fn expected_file() -> PathBuf {
    project().join("test/helm/expected.json")
}

/// What Helm rendered: every object once, and the numbers of the objects of each set.
fn expected() -> Rendering {
    let text = fs::read_to_string(expected_file()).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let numbered =
        |number: &Value| file["objects"][usize::try_from(number.as_u64().unwrap()).unwrap()].clone();
    let sets = file["sets"].as_object().unwrap().iter();
    sets.map(|(name, numbers)| (name.clone(), numbers.as_array().unwrap().iter().map(numbered).collect()))
        .collect()
}

/// The first difference, for a message that can be read.
fn difference(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let (a, b) = (a.clone(), b.clone());
            keys.cloned().collect::<Vec<_>>().into_iter().find_map(|key| {
                let none = Value::String("nothing".to_owned());
                let (a, b) = (a.get(&key).unwrap_or(&none), b.get(&key).unwrap_or(&none));
                difference(a, b, &format!("{path}/{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (a, b))| difference(a, b, &format!("{path}/{index}"))),
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} is not {b}")),
    }
}

#[test]
fn every_set_of_values_renders_the_objects_that_helm_renders() {
    if let Some(helm) = std::env::var_os("HELM").filter(|helm| !helm.is_empty()) {
        let rendered = helm_renders(&helm);
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            record(&rendered);
        }
        same(
            &rendered,
            &expected(),
            "Helm renders something else than is recorded: UPDATE_GOLDEN=1 records it",
        );
    }
    let expected = expected();
    let ours = each(|values, ha| {
        let mut args = vec!["-f", values.to_str().unwrap()];
        args.extend(ha.then_some("--ha"));
        objects(&installed(&args))
    });
    assert!(expected.len() >= 60, "only {} sets", expected.len());
    same(&ours, &expected, "we render something else than Helm");
}

/// Fails with the first difference.
fn same(ours: &Rendering, expected: &Rendering, complaint: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{complaint}");
    for (name, ours) in ours {
        let theirs = &expected[name];
        let names = |objects: &[Value]| -> Vec<String> {
            objects
                .iter()
                .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
                .collect()
        };
        assert_eq!(names(ours), names(theirs), "{complaint}: {name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let what = difference(ours, theirs, "");
            let object = format!("{} {}", ours["kind"], ours["metadata"]["name"]);
            assert!(what.is_none(), "{complaint}: {name}, {object}: {what:?}");
        }
    }
}

#[test]
fn json_has_the_same_objects_one_to_a_line_and_the_namespace_first() {
    let everything = project().join("test/helm/values/everything.yaml");
    let everything = everything.to_str().unwrap();
    let json = installed(&["-f", everything, "-o", "json"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["kind"], "Namespace");
    assert_eq!(lines[0]["metadata"]["labels"]["linkerd.io/extension"], "mcp");
    assert_eq!(sorted(lines), objects(&installed(&["-f", everything])));
}

#[test]
fn the_manifests_for_gitops_are_what_install_prints() {
    for (file, args) in [("linkerd-mcp.yaml", &[][..]), ("linkerd-mcp-ha.yaml", &["--ha"][..])] {
        let text = fs::read_to_string(project().join("install").join(file)).unwrap();
        assert_eq!(objects(&text), objects(&installed(args)), "{file}");
    }
}

#[test]
fn every_bad_set_of_values_is_refused_in_the_words_that_helm_has() {
    let bad = files("bad");
    assert!(bad.len() >= 30);
    for (name, path) in bad {
        let text = fs::read_to_string(&path).unwrap();
        let wanted = text.lines().next().unwrap().strip_prefix("# expected: ").unwrap();
        let output = install(&["-f", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{name}");
        assert!(said.contains(wanted), "{name}: {said:?} does not say {wanted:?}");
    }
}

#[test]
fn flags_win_over_files_and_null_takes_a_default_away() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = file("first.yaml", "api: {replicas: 5}\nlog: {filter: info}\npodLabels: {a: b}");
    let second = file("second.yaml", "api: {replicas: 6}\nnodeSelector: {kubernetes.io/os: null}");
    let prefix = file("filter", "debug");
    let text = installed(&[
        "-f",
        &first,
        "-f",
        &second,
        "--set",
        "controller.replicas=4,podLabels=null",
        "--set-string",
        "podAnnotations.example\\.com/number=1",
        "--set-file",
        &format!("log.filter={prefix}"),
        "--mcp-namespace",
        "elsewhere",
        "-L",
        "control",
    ]);
    let objects = objects(&text);
    let deployment = |name: &str| {
        let ours = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == name;
        objects.iter().find(ours).unwrap()
    };
    let (api, controller) = (deployment("mcp-api"), deployment("mcp-controller"));
    assert_eq!((&api["spec"]["replicas"], &controller["spec"]["replicas"]), (&json!(6), &json!(4)));
    let pod = &controller["spec"]["template"];
    assert_eq!(pod["spec"].get("nodeSelector"), None);
    assert_eq!(pod["metadata"]["labels"].get("a"), None);
    assert_eq!(pod["metadata"]["annotations"]["example.com/number"], "1");
    let filter = json!({"name": "LINKERD_MCP_LOG", "value": "debug"});
    assert!(pod["spec"]["containers"][0]["env"].as_array().unwrap().contains(&filter));
    let role = objects.iter().find(|object| object["kind"] == "Role").unwrap();
    assert_eq!(role["metadata"]["namespace"], "control");
    assert!(objects.iter().any(|o| o["kind"] == "Namespace" && o["metadata"]["name"] == "elsewhere"));
}

#[test]
fn a_flag_that_makes_no_sense_is_named() {
    let said = |args: &[&str]| {
        let output = install(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["--set", "a.b"]).contains("--set a.b\n  because: \"a.b\" has no value"));
    assert!(said(&["-f", "/nowhere.yaml"]).contains("the values in /nowhere.yaml cannot be read"));
    assert!(said(&["--set", "api.replicas=0"]).contains("at '/api/replicas': minimum: got 0, want 1"));
    assert!(said(&["--mcp-namespace", "linkerd"]).contains("cannot be installed into the namespace of"));
    assert!(said(&["--mcp-namespace", "A b"]).contains("\"A b\" is no name for a namespace"));
}

/// Renders everything with Helm.
fn helm_renders(helm: &OsStr) -> Rendering {
    let chart = project().join("charts/linkerd-mcp");
    each(|values, ha| {
        let mut command = Command::new(helm);
        // As `install` does: with the Namespace, which leaves Helm's Job out.
        command.args(["template", "linkerd-mcp"]).arg(&chart).args(["--namespace", "linkerd-mcp"]);
        command.args(["--kube-version", "1.36.0", "--set", "createNamespace=true"]);
        if ha {
            command.arg("--values").arg(chart.join("values-ha.yaml"));
        }
        let output = command.arg("--values").arg(values).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        objects(&String::from_utf8(output.stdout).unwrap().replace("linkerd-mcp/helm", "linkerd-mcp/cli"))
    })
}

/// Writes test/helm/expected.json.
fn record(renderings: &Rendering) {
    let mut numbers = BTreeMap::new();
    let mut lines = Vec::new();
    let mut sets = Map::new();
    for (name, objects) in renderings {
        let mut set = Vec::new();
        for object in objects {
            let line = object.to_string();
            let next = lines.len();
            let number = *numbers.entry(line.clone()).or_insert(next);
            if number == next {
                lines.push(line);
            }
            set.push(json!(number));
        }
        sets.insert(name.clone(), Value::Array(set));
    }
    let mut text = String::from("{\"sets\":{\n");
    let sets: Vec<String> = sets.iter().map(|(name, set)| format!("{}:{set}", json!(name))).collect();
    writeln!(text, "{}\n}},\"objects\":[\n{}\n]}}", sets.join(",\n"), lines.join(",\n")).unwrap();
    fs::write(expected_file(), text).unwrap();
}
