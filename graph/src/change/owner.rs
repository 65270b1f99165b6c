//! Who would undo a change made in the cluster: tools that keep objects as a repository or a chart says.

use super::{Edit, diff::yaml};
use crate::policy::flip;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A tool that keeps objects as something outside the cluster says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are the tools they are named after")]
pub enum Tool {
    ArgoCd,
    Flux,
    Helm,
    /// A controller, by an ownerReference.
    Controller,
}

/// Who keeps an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The tool.
    pub tool: Tool,
    /// The Application, Kustomization, HelmRelease, release or object that it belongs to; empty when only the tool is
    /// known.
    pub name: String,
    /// What that means and what to do, as a sentence.
    pub sentence: String,
}

/// Managers of fields that belong to a tool. Their names are what the tools' controllers call themselves.
const MANAGERS: [(&str, Tool); 8] = [
    ("argocd-controller", Tool::ArgoCd),
    ("argocd-application-controller", Tool::ArgoCd),
    ("argocd-applicationset-controller", Tool::ArgoCd),
    ("kustomize-controller", Tool::Flux),
    ("helm-controller", Tool::Flux),
    ("source-controller", Tool::Flux),
    ("flux", Tool::Flux),
    ("helm", Tool::Helm),
];

/// Who keeps a live object (as the API server has it, managedFields included); `None` when nobody is known to.
///
/// What the tools write into labels and annotations goes first, because it names what the object belongs to. Flux
/// installs Helm charts itself, so its marks go before Helm's.
pub fn owner(object: &Value) -> Option<Owner> {
    let metadata = object.get("metadata")?;
    let by_mark = argo(metadata).or_else(|| flux(metadata)).or_else(|| helm(metadata));
    by_mark.or_else(|| manager(metadata)).or_else(|| controller(metadata))
}

fn label<'a>(metadata: &'a Value, name: &str) -> Option<&'a str> {
    metadata.get("labels")?.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn annotation<'a>(metadata: &'a Value, name: &str) -> Option<&'a str> {
    metadata.get("annotations")?.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The label `app.kubernetes.io/instance`, which Argo CD may be told to use, is everybody's; it proves nothing.
fn argo(metadata: &Value) -> Option<Owner> {
    // `<application>:<group>/<kind>:<namespace>/<name>`.
    let tracked = annotation(metadata, "argocd.argoproj.io/tracking-id");
    let tracked = tracked.and_then(|id| id.split(':').next()).filter(|name| !name.is_empty());
    let instance = label(metadata, "argocd.argoproj.io/instance")
        .or_else(|| annotation(metadata, "argocd.argoproj.io/instance"));
    Some(Owner::new(Tool::ArgoCd, tracked.or(instance)?.to_owned()))
}

fn flux(metadata: &Value) -> Option<Owner> {
    let kinds = [("kustomize.toolkit.fluxcd.io", "Kustomization"), ("helm.toolkit.fluxcd.io", "HelmRelease")];
    kinds.into_iter().find_map(|(prefix, kind)| {
        let part = |field: &str| {
            let name = format!("{prefix}/{field}");
            label(metadata, &name).or_else(|| annotation(metadata, &name))
        };
        let name = part("name")?;
        let within = part("namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Some(Owner::new(Tool::Flux, format!("{kind} {within}{name}")))
    })
}

/// The label alone is also written by people who copy charts; the release is Helm's own word.
fn helm(metadata: &Value) -> Option<Owner> {
    let managed = label(metadata, "app.kubernetes.io/managed-by") == Some("Helm");
    let release = annotation(metadata, "meta.helm.sh/release-name");
    match (release, managed) {
        (Some(release), _) => {
            let within = annotation(metadata, "meta.helm.sh/release-namespace");
            let within = within.map(|namespace| format!("{namespace}/")).unwrap_or_default();
            Some(Owner::new(Tool::Helm, format!("{within}{release}")))
        }
        (None, true) => Some(Owner::new(Tool::Helm, String::new())),
        (None, false) => None,
    }
}

fn manager(metadata: &Value) -> Option<Owner> {
    let managers = metadata.get("managedFields")?.as_array()?;
    let named = managers.iter().filter_map(|entry| entry.get("manager")?.as_str());
    let known =
        |name: &str| MANAGERS.iter().find(|(own, _)| name.eq_ignore_ascii_case(own)).map(|(_, tool)| *tool);
    let tool = named.filter_map(known).min()?;
    Some(Owner::new(tool, String::new()))
}

fn controller(metadata: &Value) -> Option<Owner> {
    let owners = metadata.get("ownerReferences")?.as_array()?;
    let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    let owner = owners.iter().find(controls).or_else(|| owners.first())?;
    let part = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
    Some(Owner::new(Tool::Controller, format!("{} {}", part("kind"), part("name"))))
}

/// The YAML that belongs in the repository instead of the change: the object as it should be, or what to delete.
pub fn patch_for_repository(edit: &Edit) -> String {
    match (&edit.after, &edit.before) {
        (Some(after), _) => yaml(&flip::manifest(after)),
        (None, Some(before)) => {
            let name = format!("{}, {} {}", before.api_version, before.kind.row().name, before.key);
            // As comments, so that applying the file by mistake creates nothing.
            let manifest = yaml(&flip::manifest(before));
            let lines: String = manifest.lines().map(|line| format!("# {line}\n")).collect();
            format!("# Delete this manifest ({name}) from the repository:\n{lines}")
        }
        (None, None) => String::new(),
    }
}

// === impl Owner ===

impl Owner {
    fn new(tool: Tool, name: String) -> Self {
        let by = match (&*name, tool) {
            ("", tool) => tool.to_string(),
            (name, Tool::ArgoCd) => format!("Argo CD (Application {name})"),
            (name, Tool::Helm) => format!("Helm (release {name})"),
            (name, Tool::Controller) => format!("a controller ({name})"),
            (name, tool) => format!("{tool} ({name})"),
        };
        let then = match tool {
            Tool::ArgoCd | Tool::Flux => {
                "it would undo a change made here; make it in the repository that it reads instead"
            }
            Tool::Helm => {
                "the next upgrade of the release would undo or refuse a change made here; make it in the chart or its values instead"
            }
            Tool::Controller => {
                "it would undo a change made here; change what it makes the object from instead"
            }
        };
        Self { tool, name, sentence: format!("The object is kept by {by}: {then}.") }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ArgoCd => "Argo CD",
            Self::Flux => "Flux",
            Self::Helm => "Helm",
            Self::Controller => "a controller",
        })
    }
}
