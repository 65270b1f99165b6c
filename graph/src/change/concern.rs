//! What speaks against edits and Linkerd's admission webhook lets pass: objects that would do nothing, and calls that
//! nobody means to lose.
//!
//! ```text
//! Trial ─┬─► lint before and after: what is new, and what is about the edited objects ─┐
//!        └─► Impact ───────────────────────────────────────────────────────────────────┴─► one file per check ─► Concerns
//! ```
//!
//! A change that [`Severity::Refuse`]s is not offered for approval.

use super::{Edit, Impact, Trial, edit::EditsError, simulate};
use crate::{
    id::PolicyId,
    policy::{
        Finding,
        ask::Mesh,
        lint::{Code, lint},
    },
};
use serde::Serialize;
use std::{cmp::Reverse, fmt};

mod control_plane;
mod dangling;
mod default_policy;
mod denies_traffic;
mod identities;
mod missing;
mod no_change;
mod open;
mod other;
mod probes;
mod routes;
mod scrape;
mod shadow;
mod unusable;

/// The most ids that one concern names.
pub const MOST_IDS: usize = 20;

/// Something that speaks against edits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// What kind of concern, one of [`CODES`].
    pub code: &'static str,
    /// Whether the edits can be approved all the same.
    pub severity: Severity,
    /// What would happen, and what to do, in sentences.
    pub text: String,
    /// Objects, workloads or ports that it is about, the one to look at first; [`MOST_IDS`] at most.
    pub ids: Vec<String>,
}

/// Whether edits can be approved in spite of a concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Whoever approves must know it.
    Warn,
    /// The edits would do nothing, or harm that nobody means.
    Refuse,
}

/// One check: the codes that it may report, and what looks for them.
type Check = (&'static [&'static str], fn(&Scene<'_>) -> Vec<Concern>);

/// Every check.
const CHECKS: &[Check] = &[
    (&["no-change", "no-effect", "not-there"], no_change::check),
    (&["unusable"], unusable::check),
    (&["missing-reference", "missing-target"], missing::check),
    (&["dangling"], dangling::check),
    (&["shadowed", "shadows"], shadow::check),
    (&["control-plane"], control_plane::check),
    (&["probe-locked-out"], probes::check),
    (&["scrape-locked-out"], scrape::check),
    (&["wrong-trust-domain", "unknown-identity", "any-identity"], identities::check),
    (&["lets-everybody-in"], open::check),
    (&["default-policy"], default_policy::check),
    (&["first-route", "outbound-route"], routes::check),
    (&["denies-traffic", "unknown-traffic"], denies_traffic::check),
    (&["lint"], other::check),
];

/// What the checks look at.
struct Scene<'a> {
    trial: &'a Trial<'a>,
    impact: &'a Impact,
    /// What lint finds after the edits in the touched namespaces, as far as it is new or about an edited object.
    findings: Vec<Finding>,
}

/// What speaks against edits, what refuses them first.
///
/// # Errors
///
/// When the edits do not go together.
pub fn concerns(mesh: &Mesh<'_>, edits: &[Edit]) -> Result<Vec<Concern>, EditsError> {
    super::edit::fit(edits)?;
    let trial = Trial::of(mesh, edits);
    let impact = simulate::impact(&trial);
    Ok(look(&trial, &impact))
}

/// Every code that a concern may have.
pub fn codes() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().flat_map(|(codes, _)| codes.iter().copied())
}

/// The same of edits that have been tried.
pub(super) fn look(trial: &Trial<'_>, impact: &Impact) -> Vec<Concern> {
    let scene = Scene { trial, impact, findings: findings(trial) };
    let mut concerns: Vec<Concern> = CHECKS.iter().flat_map(|(_, check)| check(&scene)).collect();
    concerns.sort_by(|a, b| a.order().cmp(&b.order()));
    concerns
}

fn findings(trial: &Trial<'_>) -> Vec<Finding> {
    let edited: Vec<String> = trial.edits.iter().map(|edit| edit.id().to_string()).collect();
    let mut findings = Vec::new();
    for namespace in &trial.namespaces {
        let before = lint(&trial.mesh, Some(namespace));
        for finding in lint(&trial.mesh_after(), Some(namespace)) {
            let known = before.iter().any(|old| is_known(old, &finding));
            let edited = finding.objects.first().is_some_and(|first| edited.contains(first));
            if !known || (edited && !is_of_the_past(finding.code)) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// True when the finding was there before. One about a port is the same whatever objects it is laid on.
fn is_known(old: &Finding, new: &Finding) -> bool {
    let same = match new.code {
        Code::ProbeLockedOut => old.objects.last() == new.objects.last(),
        _ => old.objects == new.objects,
    };
    old.code == new.code && same && old.severity >= new.severity
}

/// What is no reason against an edit of an object when it was so before the edit: calls that are lost already.
fn is_of_the_past(code: Code) -> bool {
    matches!(code, Code::ProbeLockedOut | Code::ScrapeLockedOut)
}

// === impl Scene ===

impl Scene<'_> {
    /// The edits that leave an object behind, with it.
    fn put(&self) -> impl Iterator<Item = (&Edit, &crate::fact::PolicyObject)> {
        self.trial.edits.iter().filter_map(|edit| Some((edit, &**edit.after.as_ref()?)))
    }

    /// The edits that take an object away, with it.
    fn removed(&self) -> impl Iterator<Item = (&Edit, &crate::fact::PolicyObject)> {
        let gone = self.trial.edits.iter().filter(|edit| edit.after.is_none());
        gone.filter_map(|edit| Some((edit, &**edit.before.as_ref()?)))
    }

    /// The edit whose object a finding is about in the first place.
    fn edit_of(&self, finding: &Finding) -> Option<&Edit> {
        let first = finding.objects.first()?;
        self.trial.edits.iter().find(|edit| edit.id().as_str() == first)
    }
}

// === impl Concern ===

impl Concern {
    fn new<T: fmt::Display>(
        code: &'static str,
        severity: Severity,
        ids: impl IntoIterator<Item = T>,
        text: impl Into<String>,
    ) -> Self {
        let mut named: Vec<String> = Vec::new();
        for id in ids {
            let id = id.to_string();
            if named.len() < MOST_IDS && !named.contains(&id) {
                named.push(id);
            }
        }
        Self { code, severity, text: text.into(), ids: named }
    }

    fn refuse<T: fmt::Display>(
        code: &'static str,
        ids: impl IntoIterator<Item = T>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(code, Severity::Refuse, ids, text)
    }

    fn warn<T: fmt::Display>(
        code: &'static str,
        ids: impl IntoIterator<Item = T>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(code, Severity::Warn, ids, text)
    }

    /// A finding of lint under a code of ours.
    fn of_finding(code: &'static str, severity: Severity, finding: &Finding) -> Self {
        Self::new(code, severity, &finding.objects, format!("{} {}", finding.text, finding.fix))
    }

    fn order(&self) -> (Reverse<Severity>, usize, &[String], &str) {
        let place = codes().position(|code| code == self.code).unwrap_or(usize::MAX);
        (Reverse(self.severity), place, &self.ids, &self.text)
    }
}

// === impl Severity ===

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn id_of(object: &crate::fact::PolicyObject) -> PolicyId {
    PolicyId::new(object.kind.policy_prefix(), &object.key.namespace, &object.key.name)
}
