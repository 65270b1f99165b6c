//! Documents of a manifest: how they are split, ordered and printed.

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

/// In which language manifests are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Documents with --- between them
    #[default]
    Yaml,
    /// One object to a line
    Json,
}

/// An object for Kubernetes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// As it was rendered, with its comments.
    pub(crate) text: String,
    /// The same, read.
    pub(crate) object: Value,
}

/// What says which object it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// Without its version: the same object may be served in several.
    pub(crate) group: String,
    pub(crate) kind: String,
    /// Empty for what belongs to no namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What has to be there before something else is, in the order in which Helm applies it. Other kinds come last.
const FIRST: &[&str] = &[
    "Namespace",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
];

// === impl Document ===

impl Document {
    /// An object that was not rendered.
    pub(crate) fn of(object: Value) -> Self {
        Self { text: serde_yaml::to_string(&object).unwrap_or_default(), object }
    }

    /// Which object it is.
    pub(crate) fn reference(&self) -> Reference {
        let text = |pointer: &str| {
            self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let version = text("/apiVersion");
        Reference {
            group: version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default(),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        }
    }
}

/// The documents in a rendered file, without the empty ones.
///
/// # Errors
/// When one is no YAML.
pub(crate) fn split(text: &str) -> Result<Vec<Document>, serde_yaml::Error> {
    let mut documents = Vec::new();
    let mut part = String::new();
    for line in text.lines().chain(["---"]) {
        if line.trim_end() != "---" {
            part.push_str(line);
            part.push('\n');
            continue;
        }
        let text = std::mem::take(&mut part);
        let object = Value::deserialize(serde_yaml::Deserializer::from_str(&text))?;
        if !object.is_null() {
            documents.push(Document { text: format!("{}\n", text.trim_matches('\n')), object });
        }
    }
    Ok(documents)
}

/// Puts first what others need.
pub(crate) fn order(documents: &mut [Document]) {
    documents.sort_by_key(|document| {
        let kind = document.object["kind"].as_str().unwrap_or_default();
        FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len())
    });
}

/// The documents as `kubectl` reads them.
pub(crate) fn print(documents: &[Document], format: Format) -> String {
    let print = |document: &Document| match format {
        Format::Yaml => format!("---\n{}", document.text),
        Format::Json => format!("{}\n", document.object),
    };
    documents.iter().map(print).collect()
}

/// As little of an object as `kubectl delete` needs.
pub(crate) fn stub(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Document {
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    Document::of(json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata }))
}
