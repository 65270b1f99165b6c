//! Manifests in place of a cluster: files, directories or stdin, YAML or JSON, read into facts.

mod document;
pub(crate) mod mesh;
mod selector;
mod template;

use document::{Document, Place};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    fact::{Change, Fact, Key},
    facts::{Facts, Touched},
    kind::{KINDS, Kind},
    policy::{Ports, WorkloadKey},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The most that is read of one file: far more than the objects of a large cluster's policies, far less than memory.
const MAX_BYTES: u64 = 256 << 20;

/// What was found in manifests.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Every object that policy looks at.
    pub(crate) facts: Facts,
    /// Its workloads, in the order in which they were found.
    pub(crate) workloads: Vec<Workload>,
    /// What could not be read, each as a sentence.
    pub(crate) faults: Vec<String>,
    /// Objects of other kinds.
    pub(crate) others: usize,
    /// Which pods the Services select.
    selectors: selector::Selectors,
}

/// A pod or ExternalWorkload, or what makes pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    /// What it is known by among the facts.
    pub(crate) key: WorkloadKey,
    /// Kind in lower case: `pod`, `externalworkload`, `deployment` and so on.
    pub(crate) kind: String,
    /// Name without its kind.
    pub(crate) name: String,
}

/// What manifests leave open.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// The namespace of objects that do not name one.
    pub(crate) namespace: String,
    /// The ports that the injector makes opaque.
    pub(crate) opaque_ports: Ports,
    /// The control plane's namespace.
    pub(crate) control_plane: String,
}

// === impl Manifests ===

impl Manifests {
    /// Reads `files`: files, directories (their `.yaml`, `.yml` and `.json` files, not those below), or `-` for
    /// stdin. Of an object that comes twice the last counts, as if all were applied in order.
    pub(crate) fn read(files: &[PathBuf], defaults: &Defaults) -> Self {
        let mut manifests = Self::default();
        let texts: Vec<(String, String)> = files.iter().flat_map(|file| manifests.texts(file)).collect();
        manifests.add(&texts, defaults);
        manifests
    }

    /// Names and contents of the files that `file` stands for.
    fn texts(&mut self, file: &Path) -> Vec<(String, String)> {
        let name = file.display().to_string();
        if name == "-" {
            return self.text("stdin".to_owned(), io::stdin().lock()).into_iter().collect();
        }
        let files = match file.is_dir() {
            true => in_directory(file),
            false => Ok(vec![file.to_path_buf()]),
        };
        let files = files.unwrap_or_else(|error| {
            self.faults.push(format!("{name} cannot be listed: {error}"));
            Vec::new()
        });
        let mut texts = Vec::new();
        for file in files {
            let name = file.display().to_string();
            match fs::File::open(&file) {
                Ok(opened) => texts.extend(self.text(name, opened)),
                Err(error) => self.faults.push(format!("{name} cannot be opened: {error}")),
            }
        }
        texts
    }

    fn text(&mut self, name: String, from: impl Read) -> Option<(String, String)> {
        let mut text = String::new();
        match from.take(MAX_BYTES + 1).read_to_string(&mut text) {
            Ok(read) if read as u64 > MAX_BYTES => {
                self.faults.push(format!("{name} is larger than {} MiB; split it", MAX_BYTES >> 20));
                None
            }
            Ok(_) => Some((name, text)),
            Err(error) => {
                self.faults.push(format!("{name} cannot be read: {error}"));
                None
            }
        }
    }

    fn add(&mut self, texts: &[(String, String)], defaults: &Defaults) {
        let mut objects = Vec::new();
        for (file, text) in texts {
            for Document { place, content } in document::read(file, text) {
                match content {
                    Ok(object) => objects.push((place, object)),
                    Err(fault) => self.faults.push(format!("{place}: {fault}")),
                }
            }
        }
        // Templates take from their namespaces, which may come later.
        let namespaces = template::Namespaces::of(objects.iter().map(|(_, object)| object));
        for (place, object) in objects {
            if let Err(fault) = self.object(object, &namespaces, defaults) {
                self.faults.push(format!("{place}: {fault}"));
            }
        }
        let mut seen = BTreeSet::new();
        self.workloads.retain(|workload| seen.insert(workload.clone()));
    }

    fn object(
        &mut self,
        mut object: Value,
        namespaces: &template::Namespaces,
        defaults: &Defaults,
    ) -> Result<(), String> {
        let (group, name) = group_and_kind(&object)?;
        if let Some(kind) = kind(&group, &name) {
            if kind != Kind::Namespace {
                fill_namespace(&mut object, &defaults.namespace)?;
            }
            if kind == Kind::Service {
                self.selectors.read(&object)?;
            }
            if let Some(pod) = template::pod(&group, &name, &object, namespaces, defaults)? {
                self.apply(Kind::Pod, &pod, &name)?;
            }
            return self.apply(kind, &object, &name);
        }
        if template::makes_pods(&group, &name) {
            fill_namespace(&mut object, &defaults.namespace)?;
            if let Some(pod) = template::pod(&group, &name, &object, namespaces, defaults)? {
                return self.apply(Kind::Pod, &pod, &name);
            }
        }
        self.others += 1;
        Ok(())
    }

    /// Adds one object; `written` is the kind in the manifest.
    fn apply(&mut self, kind: Kind, object: &Value, written: &str) -> Result<(), String> {
        let fact = fact_from_value(kind, object).map_err(|error| with_causes(&error))?;
        let name = |key: &Key| template::owner(&key.name).to_owned();
        let key = match &fact {
            Fact::Pod(pod) => Some(WorkloadKey::Pod(pod.key.clone())),
            Fact::ExternalWorkload(external) => Some(WorkloadKey::ExternalWorkload(external.key.clone())),
            _ => None,
        };
        self.workloads.extend(key.map(|key| Workload {
            kind: written.to_ascii_lowercase(),
            name: name(key.key()),
            key,
        }));
        self.facts.change(Change::Apply(fact), &mut Touched::default());
        Ok(())
    }
}

fn in_directory(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let manifest = path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if manifest && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn group_and_kind(object: &Value) -> Result<(String, String), String> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("kind").ok_or("it has no `kind`, so it is no Kubernetes object")?;
    let version = text("apiVersion").ok_or("it has no `apiVersion`, so it is no Kubernetes object")?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    Ok((group.to_owned(), kind.to_owned()))
}

fn kind(group: &str, name: &str) -> Option<Kind> {
    KINDS.iter().find(|row| row.group == group && row.name == name).map(|row| row.kind)
}

fn fill_namespace(object: &mut Value, namespace: &str) -> Result<(), String> {
    let metadata = object.as_object_mut().and_then(|object| {
        object.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    });
    let metadata = metadata.ok_or("its metadata is no mapping")?;
    if metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Ok(())
}

/// An error with what caused it, as one sentence.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence.push_str(&format!(": {error}"));
        cause = error.source();
    }
    sentence
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.key.key().namespace, crate::name::short_kind(&self.kind), self.name)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, document {}", self.file, self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", item {item}"))
    }
}

#[cfg(test)]
mod tests;
