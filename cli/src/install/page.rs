//! The page `docs/values.md`: every value of the chart with its form, its default and its meaning.
//!
//! Made of `values.yaml`, where a sentence stands above each value, of `values-ha.yaml`, and of the schema.

use super::chart;
use serde_json::Value;
use std::{env, fs, path::Path};

/// A value that can be set.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Names from the outside in.
    path: Vec<String>,
    /// As it is written in `values.yaml`.
    default: String,
    /// The sentence above it; none for what is only a default within another value.
    meaning: Option<String>,
}

const START: &str = "\
# Values

Made from the chart; `UPDATE_GOLDEN=1 cargo test -p linkerd-mcp-cli values` writes it anew. Both `linkerd-mcp install` and
Helm take them: `-f FILE`, `--set NAME=VALUE`, `--set-string`, `--set-file`. For high availability `linkerd-mcp install` has
`--ha`, and Helm `-f charts/linkerd-mcp/values-ha.yaml`. A value that is not here, or has another form, is refused before
anything is applied. A default of `\"\"` means that nothing is set.
";

/// Values with the sentences above them. A map or a list in one line is a value.
fn entries(values: &str) -> Vec<Entry> {
    let (mut entries, mut path, mut meaning) = (Vec::new(), Vec::<String>::new(), None);
    for line in values.lines().filter(|line| !line.trim().is_empty()) {
        let text = line.trim_start();
        if let Some(sentence) = text.strip_prefix("# -- ") {
            meaning = Some(sentence.to_owned());
        }
        if text.starts_with('#') {
            continue;
        }
        let (name, default) = text.split_once(':').expect("a name and a colon");
        path.truncate((line.len() - text.len()) / 2);
        path.push(name.to_owned());
        if !default.trim().is_empty() {
            let default = default.trim().to_owned();
            entries.push(Entry { path: path.clone(), default, meaning: meaning.take() });
        }
    }
    entries
}

/// Follows references.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        Some(pointer) => resolved(root, root.pointer(pointer).expect("a definition")),
        None => schema,
    }
}

/// What the schema says of the value at a path.
fn schema_at<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |schema, name| resolved(root, schema)["properties"].get(name))
}

/// The form of a value, in words.
fn form(root: &Value, schema: &Value) -> String {
    match schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        Some("duration") => return "duration".to_owned(),
        Some("hostPort" | "hostPortOrEmpty") => return "host:port".to_owned(),
        _ => {}
    }
    let schema = resolved(root, schema);
    if let Some(choices) = schema["enum"].as_array() {
        let choices = choices.iter().map(|choice| format!("`{}`", choice.as_str().unwrap_or_default()));
        return choices.collect::<Vec<_>>().join(", ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let form = |name: &&str| match (*name, &schema["minimum"], &schema["maximum"]) {
        ("integer", Value::Number(least), Value::Number(most)) => format!("number, {least} to {most}"),
        ("integer", Value::Number(least), _) => format!("number from {least}"),
        ("integer", ..) => "number".to_owned(),
        ("boolean", ..) => "boolean".to_owned(),
        ("string", ..) => "text".to_owned(),
        ("array", ..) => "list".to_owned(),
        ("object", ..) => "map".to_owned(),
        (other, ..) => panic!("no word for {other}"),
    };
    types.iter().map(form).collect::<Vec<_>>().join(" or ")
}

/// For a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn page() -> String {
    let root: Value = serde_json::from_str(chart::SCHEMA).expect("the schema is JSON");
    let ha = entries(chart::VALUES_HA);
    let mut page = START.to_owned();
    let mut chapter = None;
    let (together, apart): (Vec<_>, Vec<_>) =
        entries(chart::VALUES).into_iter().partition(|entry| entry.path.len() == 1);
    for Entry { path, default, meaning } in together.into_iter().chain(apart) {
        let here = if path.len() > 1 { path[0].clone() } else { "All components".to_owned() };
        if chapter.as_ref() != Some(&here) {
            page.push_str(&format!("\n## {here}\n\n"));
            page.push_str("| value | form | default | with `--ha` | meaning |\n|---|---|---|---|---|\n");
            chapter = Some(here);
        }
        let schema = schema_at(&root, &path).unwrap_or_else(|| panic!("{path:?} is not in the schema"));
        let with_ha = ha.iter().find(|it| it.path == path && it.default != default);
        page.push_str(&format!(
            "| `{}` | {} | `{}` | {} | {} |\n",
            path.join("."),
            cell(&form(&root, schema)),
            cell(&default),
            with_ha.map(|it| format!("`{}`", cell(&it.default))).unwrap_or_default(),
            cell(&meaning.unwrap_or_default()),
        ));
    }
    page
}

#[test]
fn the_page_of_values_is_what_the_chart_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/values.md");
    let page = page();
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(file, page).expect("the page can be written");
        return;
    }
    let written = fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == page,
        "docs/values.md is not what the chart says; UPDATE_GOLDEN=1 cargo test -p linkerd-mcp-cli values writes it"
    );
}

#[test]
fn every_value_of_the_chart_is_on_the_page_of_values_and_has_a_sentence() {
    fn leaves(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
        match value.as_object().filter(|map| !map.is_empty()) {
            Some(map) => map
                .iter()
                .for_each(|(name, value)| leaves(value, &[path, std::slice::from_ref(name)].concat(), found)),
            None => found.push(path.to_vec()),
        }
    }
    let entries = entries(chart::VALUES);
    assert!(entries.len() > 100, "{}", entries.len());
    let bare: Vec<_> = entries.iter().filter(|entry| entry.meaning.is_none()).map(|it| &it.path).collect();
    assert_eq!(bare, Vec::<&Vec<String>>::new());
    let mut found = Vec::new();
    leaves(&Value::Object(super::defaults().unwrap()), &[], &mut found);
    for path in found {
        assert!(entries.iter().any(|entry| path.starts_with(&entry.path)), "{path:?} is not on the page");
    }
}

#[test]
fn the_page_says_which_values_high_availability_changes() {
    let page = page();
    let row = |name: &str| page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
    assert!(row("api.replicas").contains("| `2` | `3` |"), "{}", row("api.replicas"));
    assert!(row("zoneSpread").contains("| `none`, `preferred`, `required` | `preferred` |  |"));
    for entry in entries(chart::VALUES_HA) {
        assert!(page.contains(&format!("| `{}` |", entry.path.join("."))), "{:?} has no row", entry.path);
    }
}
