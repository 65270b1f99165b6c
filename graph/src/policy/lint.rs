//! Findings about policy that is likely not meant: objects that Linkerd ignores, that reach nothing, that make no
//! difference, and ports that are more open or more closed than they look.
//!
//! ```text
//! Mesh ─► Scene: who selects what, read once ─► one file per check, listed in CHECKS ─► Findings, the gravest first
//! ```
//!
//! Every check is about linear in what it looks at; texts and lists of objects are bounded, and names are suggested
//! only while a budget of comparisons lasts. `docs/lint.md` has a line per [`Code`].

use super::ask::Mesh;
use scene::Scene;
use serde::Serialize;
use std::{cmp::Reverse, fmt};

mod bad_annotation;
mod code;
mod cover;
mod identities;
mod ignored;
mod mixed;
mod no_difference;
mod not_enforced;
mod open_port;
mod probe_locked_out;
mod rejected_route;
mod scene;
mod scrape_locked_out;
mod selects_nothing;
mod shadowed;
pub(crate) mod words;

pub use code::{CODES, Code, CodeRow};

/// The most objects that one finding names; its text says how many more there are.
pub const MOST_OBJECTS: usize = 20;

/// Something about policy that is likely not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of finding.
    pub code: Code,
    /// How grave.
    pub severity: Severity,
    /// Ids of the objects, workloads or ports that it is about, the one to look at first; [`MOST_OBJECTS`] at most.
    pub objects: Vec<String>,
    /// What is wrong, in sentences.
    pub text: String,
    /// What to do, in sentences.
    pub fix: String,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; often meant.
    Info,
    /// Likely not meant.
    Warning,
    /// An object does not do what it is for, or calls fail that should not.
    Error,
}

/// One check: the codes that it may report, and what looks for them.
type Check = (&'static [Code], fn(&Scene<'_>) -> Vec<Finding>);

/// Every check.
const CHECKS: &[Check] = &[
    (&[Code::Ignored], ignored::check),
    (&[Code::SelectsNothing], selects_nothing::check),
    (&[Code::Shadowed], shadowed::check),
    (&[Code::RejectedRoute], rejected_route::check),
    (&[Code::NoDifference], no_difference::check),
    (&[Code::OpenPort], open_port::check),
    (&[Code::NotEnforced], not_enforced::check),
    (&[Code::ProbeLockedOut], probe_locked_out::check),
    (&[Code::ScrapeLockedOut], scrape_locked_out::check),
    (&[Code::WrongTrustDomain, Code::UnknownIdentity], identities::check),
    (&[Code::Mixed], mixed::check),
    (&[Code::BadAnnotation], bad_annotation::check),
];

/// What is likely not meant about the policies of a mesh, or of one namespace of it: the gravest first, then by the
/// objects. The same mesh has the same findings in the same order.
pub fn lint(mesh: &Mesh<'_>, namespace: Option<&str>) -> Vec<Finding> {
    let scene = Scene::of(mesh, namespace);
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|(_, check)| check(&scene)).collect();
    findings.sort_by(|a, b| a.order().cmp(&b.order()));
    findings
}

// === impl Finding ===

impl Finding {
    /// A finding of the severity that is usual for its code.
    fn new<T: fmt::Display>(
        code: Code,
        objects: impl IntoIterator<Item = T>,
        text: String,
        fix: impl Into<String>,
    ) -> Self {
        let mut named: Vec<String> = Vec::new();
        for object in objects {
            let object = object.to_string();
            if !named.contains(&object) {
                named.push(object);
            }
            if named.len() == MOST_OBJECTS {
                break;
            }
        }
        Self { code, severity: code.row().severity, objects: named, text, fix: fix.into() }
    }

    fn with(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    fn order(&self) -> (Reverse<Severity>, Code, &[String], &str) {
        (Reverse(self.severity), self.code, &self.objects, &self.text)
    }
}

// === impl Severity ===

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests;
