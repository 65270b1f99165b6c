//! A manifest as somebody wrote it, or an object as the API server has it, read as a policy object.

use super::edit::{CHANGEABLE, changeable};
use crate::{
    fact::{Key, Labels, PolicyObject},
    id::Text,
    kind::{KINDS, Kind},
    policy::{Fault, PolicyCluster, refers},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, error::Error, sync::Arc};

/// The most bytes of a manifest as JSON. The API server takes some more; no policy needs as much.
pub const MOST_BYTES: usize = 256 * 1024;

/// The annotation in which kubectl keeps what was applied last: it repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A policy object as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its kind, one of [`CHANGEABLE`].
    pub kind: Kind,
    /// `group/version` as written.
    pub api_version: Text,
    /// Namespace.
    pub namespace: Text,
    /// Name.
    pub name: Text,
    /// Labels.
    pub labels: Labels,
    /// Annotations, without kubectl's own.
    pub annotations: Labels,
    /// The spec as written.
    pub spec: Arc<Value>,
}

/// Why something is no manifest of a policy object. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON object.
    #[error("a manifest is an object with apiVersion, kind, metadata and spec; this is {0}")]
    NotAnObject(&'static str),
    /// Many in one.
    #[error("a List holds several manifests: give each by itself")]
    List,
    /// More than [`MOST_BYTES`].
    #[error(
        "the manifest has {0} bytes, and {MOST_BYTES} are the most: split its lists into several objects"
    )]
    TooLarge(usize),
    /// A field that must be there.
    #[error("`{0}` is missing or empty: write it")]
    Missing(&'static str),
    /// A field of another type.
    #[error("`{field}` must be {wanted}")]
    Type {
        /// The field.
        field: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Another kind than those of [`CHANGEABLE`].
    #[error("{api_version} {kind} cannot be changed here; what can: {}", kinds())]
    Kind {
        /// The apiVersion as written.
        api_version: String,
        /// The kind as written.
        kind: String,
    },
    /// A version that is not known.
    #[error("{kind} has no version `{version}` that is known here: write {}", .known.join(" or "))]
    Version {
        /// The kind as written.
        kind: String,
        /// The version as written.
        version: String,
        /// The apiVersions that would do.
        known: Vec<String>,
    },
    /// Kubernetes would not take the name.
    #[error(
        "`{field}` is `{name}`, which is no name for Kubernetes: use lower-case letters, digits, `-`{dot}"
    )]
    Name {
        /// The field.
        field: &'static str,
        /// What is written.
        name: String,
        /// Whether dots are allowed.
        dot: &'static str,
    },
    /// A name that the API server would make up.
    #[error(
        "`metadata.generateName` makes a name that is not known before: write `metadata.name`, so that the plan is about one object"
    )]
    GenerateName,
    /// What only Linkerd writes.
    #[error("`status` is written by Linkerd: leave it out")]
    Status,
    /// What only the API server and controllers write.
    #[error("`metadata.{0}` is set by the API server or a controller: leave it out")]
    ServerSet(String),
    /// A field that no manifest has.
    #[error("`{0}` is no field of a manifest: leave it out or correct its name")]
    Unknown(String),
    /// Linkerd would ignore the object.
    #[error("the spec of {kind} {key} is one that Linkerd ignores")]
    Spec {
        /// The kind as in manifests.
        kind: &'static str,
        /// The object.
        key: Key,
        /// What is wrong.
        #[source]
        fault: Fault,
    },
}

fn kinds() -> String {
    let named = CHANGEABLE.map(|kind| format!("{} {}", kind.row().group, kind.row().name));
    named.join(", ")
}

// === impl ManifestError ===

impl ManifestError {
    /// What is wrong in one line, causes included.
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

// === impl Manifest ===

impl Manifest {
    /// Reads what somebody wrote. Strict: what would be dropped, changed or ignored without a word is refused.
    ///
    /// # Errors
    ///
    /// When it is no manifest of a kind that may be changed, with the field and what to do.
    pub fn read(value: &Value) -> Result<Self, ManifestError> {
        let top = object(value, "")?;
        // Counting costs one pass and no copy.
        let bytes = bytes(value);
        if bytes > MOST_BYTES {
            return Err(ManifestError::TooLarge(bytes));
        }
        let kind = kind(top)?;
        if given(top, "status").is_some() {
            return Err(ManifestError::Status);
        }
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        if let Some(field) = top.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(ManifestError::Unknown(field.clone()));
        }
        let metadata = object(top.get("metadata").unwrap_or(&Value::Null), "metadata")?;
        if given(metadata, "generateName").is_some() {
            return Err(ManifestError::GenerateName);
        }
        for (field, value) in metadata.iter().filter(|(_, value)| !value.is_null()) {
            match field.as_str() {
                "name" | "namespace" | "labels" | "annotations" => {}
                "uid"
                | "resourceVersion"
                | "generation"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "deletionGracePeriodSeconds"
                | "managedFields"
                | "ownerReferences"
                | "finalizers"
                | "selfLink" => return Err(ManifestError::ServerSet(field.clone())),
                _ if value.is_null() => {}
                _ => return Err(ManifestError::Unknown(format!("metadata.{field}"))),
            }
        }
        let manifest = Self::of_parts(kind, top, metadata)?;
        match refers::fault(&manifest.object(), &PolicyCluster::default()) {
            Some(fault) => Err(ManifestError::Spec { kind: kind.row().name, key: manifest.key(), fault }),
            None => Ok(manifest),
        }
    }

    /// Reads an object as the API server has it: status and what the server sets are left out, and the spec may be one
    /// that Linkerd ignores.
    ///
    /// # Errors
    ///
    /// When it is no object of a kind that may be changed.
    pub fn of_live(value: &Value) -> Result<Self, ManifestError> {
        let top = object(value, "")?;
        let metadata = object(top.get("metadata").unwrap_or(&Value::Null), "metadata")?;
        Self::of_parts(kind(top)?, top, metadata)
    }

    fn of_parts(
        kind: Kind,
        top: &Map<String, Value>,
        metadata: &Map<String, Value>,
    ) -> Result<Self, ManifestError> {
        let name = text(metadata, "metadata", "name")?.ok_or(ManifestError::Missing("metadata.name"))?;
        let namespace =
            text(metadata, "metadata", "namespace")?.ok_or(ManifestError::Missing("metadata.namespace"))?;
        named("metadata.name", name, 253, " and `.`")?;
        named("metadata.namespace", namespace, 63, "")?;
        let spec = given(top, "spec").ok_or(ManifestError::Missing("spec"))?;
        object(spec, "spec")?;
        let mut annotations = texts(metadata, "annotations")?;
        annotations.remove(LAST_APPLIED);
        let api_version = text(top, "", "apiVersion")?.ok_or(ManifestError::Missing("apiVersion"))?;
        Ok(Self {
            kind,
            api_version: api_version.into(),
            namespace: namespace.into(),
            name: name.into(),
            labels: Arc::new(texts(metadata, "labels")?),
            annotations: Arc::new(annotations),
            spec: Arc::new(spec.clone()),
        })
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// As a policy object that is yet to be created.
    pub fn object(&self) -> PolicyObject {
        PolicyObject {
            kind: self.kind,
            key: self.key(),
            api_version: self.api_version.clone(),
            labels: self.labels.clone(),
            created_ms: None,
            spec: self.spec.clone(),
            status: Arc::default(),
        }
    }

    /// As it is applied: the same manifest always gives the same bytes.
    pub fn value(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(self.name));
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        for (field, texts) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !texts.is_empty() {
                metadata.insert(field.to_owned(), json!(texts));
            }
        }
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind.row().name,
            "metadata": metadata,
            "spec": self.spec,
        })
    }
}

/// The kind, by group and name, in a version that is known.
fn kind(top: &Map<String, Value>) -> Result<Kind, ManifestError> {
    let api_version = text(top, "", "apiVersion")?.ok_or(ManifestError::Missing("apiVersion"))?;
    let kind = text(top, "", "kind")?.ok_or(ManifestError::Missing("kind"))?;
    if kind.ends_with("List") && top.get("items").is_some() {
        return Err(ManifestError::List);
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some(row) = changeable(group, kind) else {
        return Err(ManifestError::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() });
    };
    if !row.versions.contains(&version) {
        return Err(ManifestError::Version {
            kind: kind.to_owned(),
            version: version.to_owned(),
            known: row.versions.iter().map(|version| format!("{group}/{version}")).collect(),
        });
    }
    debug_assert!(KINDS.iter().any(|known| known.kind == row.kind));
    Ok(row.kind)
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>, ManifestError> {
    match (value, field) {
        (Value::Object(object), _) => Ok(object),
        (Value::Null, "metadata") => Err(ManifestError::Missing("metadata")),
        (other, "") => Err(ManifestError::NotAnObject(match other {
            Value::Null => "nothing",
            Value::Array(_) => "a list; give each manifest by itself",
            _ => "a single value",
        })),
        _ => Err(ManifestError::Type { field: field.to_owned(), wanted: "an object" }),
    }
}

fn given<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// Text that is not empty; `None` where there is none.
fn text<'a>(
    object: &'a Map<String, Value>,
    within: &str,
    field: &str,
) -> Result<Option<&'a str>, ManifestError> {
    match given(object, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(ManifestError::Type { field: path(within, field), wanted: "text" }),
    }
}

fn texts(metadata: &Map<String, Value>, field: &str) -> Result<BTreeMap<Text, Text>, ManifestError> {
    let Some(given) = given(metadata, field) else { return Ok(BTreeMap::new()) };
    let wrong = |field: String| ManifestError::Type {
        field,
        wanted: "an object of texts (put numbers and true or false in quotes)",
    };
    let Value::Object(given) = given else { return Err(wrong(path("metadata", field))) };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(value) => Ok((Text::from(name.as_str()), Text::from(value.as_str()))),
        _ => Err(wrong(format!("metadata.{field}.{name}"))),
    };
    given.iter().map(text).collect()
}

fn path(within: &str, field: &str) -> String {
    if within.is_empty() { field.to_owned() } else { format!("{within}.{field}") }
}

/// Labels of DNS: a name may have several, a namespace has one.
fn named(field: &'static str, name: &str, most: usize, dot: &'static str) -> Result<(), ManifestError> {
    let label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    let good = if dot.is_empty() { label(name) } else { name.split('.').all(label) };
    match good && name.len() <= most {
        true => Ok(()),
        false => Err(ManifestError::Name { field, name: name.chars().take(253).collect(), dot }),
    }
}

/// How long the value is as JSON.
fn bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
