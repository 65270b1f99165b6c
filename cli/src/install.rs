//! The chart as manifests, without Helm: values, schema, templates, and the documents that come of them.
//!
//! ```text
//! args/values ── read ──> values ── complete, schema ──> template ──> manifest
//! ```
//!
//! Nothing but [`read`] and [`live`] reads anything.

mod chart;
pub(crate) mod live;
pub(crate) mod manifest;
pub(crate) mod read;
mod schema;
mod set;
mod template;
mod values;

use manifest::Document;
use serde_json::{Map, Value, json};

/// Values by name, as YAML and JSON have them.
pub(crate) type Values = Map<String, Value>;

/// What Helm calls the release, and what our namespace is called unless its owner chose otherwise.
pub(crate) const NAME: &str = "linkerd-mcp";

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file with values cannot be read.
    #[error("the values in {name} cannot be read")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    /// It is not YAML.
    #[error("the values in {name} are no YAML")]
    Yaml {
        name: String,
        #[source]
        source: serde_yaml::Error,
    },
    /// It is YAML, and has no names.
    #[error("the values in {0} are no map: write `name: value`")]
    NoMap(String),
    /// A flag makes no sense.
    #[error("{flag} {text}")]
    Set {
        flag: &'static str,
        text: String,
        #[source]
        source: set::Error,
    },
    /// The schema refuses the values.
    #[error("the chart does not take these values: {}", .0.join("; "))]
    Schema(Vec<String>),
    /// No name for a namespace.
    #[error("{0:?} is no name for a namespace: a-z, 0-9 and -, at most 63 of them")]
    Namespace(String),
    /// The templates refuse the values.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// What was rendered is no YAML.
    #[error("{file} renders something that is no YAML")]
    Rendered {
        file: String,
        #[source]
        source: serde_yaml::Error,
    },
}

/// Renders the chart into `namespace` as `linkerd-mcp install` does: with the Namespace, without Helm's hooks.
///
/// # Errors
/// What is wrong with the values.
pub(crate) fn render(mut set: Values, namespace: &str) -> Result<Vec<Document>, Error> {
    if !is_label(namespace) {
        return Err(Error::Namespace(namespace.to_owned()));
    }
    values::coalesce(&mut set, &defaults()?);
    let set = Value::Object(set);
    let schema = serde_json::from_str(chart::SCHEMA).unwrap_or(Value::Bool(false));
    let violations = schema::violations(&schema, &set);
    if !violations.is_empty() {
        return Err(Error::Schema(violations));
    }
    let mut templates = template::Templates::default();
    for (file, text) in chart::TEMPLATES {
        templates.add(file, text)?;
    }
    let about = parse("Chart.yaml", chart::CHART)?;
    let root = json!({
        "Values": set,
        "Chart": {
            "Name": about.get("name"), "Version": about.get("version"), "AppVersion": about.get("appVersion"),
        },
        "Release": {
            "Name": NAME, "Namespace": namespace, "Service": "CLI", "IsInstall": true, "IsUpgrade": false,
            "Revision": 1,
        },
    });
    let mut documents = Vec::new();
    for (file, _) in chart::TEMPLATES.iter().filter(|(file, _)| !file.starts_with('_')) {
        // Each file gets values of its own: a template may change what it was given.
        let text = templates.render(file, &template::Value::from(&root))?;
        let split =
            manifest::split(&text).map_err(|source| Error::Rendered { file: (*file).to_owned(), source })?;
        documents.extend(split);
    }
    manifest::order(&mut documents);
    Ok(documents)
}

/// Sets a value at a path, unless the values say something about it.
pub(crate) fn set_unless_set(set: &mut Values, path: &[&str], value: Value) {
    if values::is_set(set, path) {
        return;
    }
    let over = path.iter().rev().fold(value, |value, key| json!({ *key: value }));
    if let Value::Object(over) = over {
        values::merge(set, over);
    }
}

/// The text at a path of the values, which may be unset.
pub(crate) fn text_of<'a>(set: &'a Values, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(set.get(*first)?, |value, key| value.get(key))?.as_str()
}

fn defaults() -> Result<Values, Error> {
    parse("values.yaml", chart::VALUES)
}

/// The values in a file's text. An empty file has none.
fn parse(name: &str, text: &str) -> Result<Values, Error> {
    let parsed =
        serde_yaml::from_str(text).map_err(|source| Error::Yaml { name: name.to_owned(), source })?;
    match parsed {
        Value::Object(values) => Ok(values),
        Value::Null => Ok(Values::new()),
        _ => Err(Error::NoMap(name.to_owned())),
    }
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
