//! What `linkerd-mcp check` looks at: a table of checks, each a function from what was seen to a verdict.
//!
//! [`look`] asks the cluster and the API and decides nothing; [`judge`] decides and asks nobody; [`report`] prints.

mod certificates;
mod control_plane;
mod data_plane;
pub(crate) mod look;
mod mesh;
mod namespace;
mod needs;
mod pods;
mod pre;
mod rbac;
mod ready;
pub(crate) mod report;
mod rights;
pub(crate) mod seen;

use report::{CategoryReport, Outcome, Report, Severity};
use seen::{Gap, Looked, Seen};

/// Where every hint leads: the page of `docs/checks.md`, which has an anchor for each check.
pub(crate) const HINTS: &str = "https://github.com/linkerd-mcp/linkerd-mcp/blob/main/docs/checks.md#";

/// Names listed in one sentence before the rest is counted.
const NAMED: usize = 5;

/// One check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// What is true when it passes.
    pub(crate) description: &'static str,
    /// Its anchor in `docs/checks.md`.
    pub(crate) anchor: &'static str,
    /// Nothing after it makes sense when it fails, in no category.
    pub(crate) fatal: bool,
    /// A failure may go away by itself while things start.
    pub(crate) retry: bool,
    /// Decides.
    pub(crate) judge: fn(&Seen) -> Verdict,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Fine,
    /// There is nothing to decide, because of what another check says or because it is not used here.
    Skip,
    /// It works, or nobody can tell, and somebody should look.
    Warning(String),
    /// It does not work.
    Error(String),
}

/// A heading and the checks below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Category {
    /// Its name, as Linkerd's conventions have it.
    pub(crate) name: &'static str,
    /// In this order.
    pub(crate) checks: &'static [&'static [Check]],
}

/// Before an installation.
pub(crate) const PRE: Category =
    Category { name: "pre-linkerd-mcp", checks: &[namespace::REACH, control_plane::CHECKS, pre::CHECKS] };

/// The installation.
pub(crate) const INSTALLED: Category = Category {
    name: "linkerd-mcp",
    checks: &[
        namespace::REACH,
        namespace::CHECKS,
        control_plane::CHECKS,
        certificates::CHECKS,
        rbac::CHECKS,
        pods::CHECKS,
        mesh::CHECKS,
    ],
};

/// The proxies of the mesh, as far as they matter to us.
pub(crate) const DATA_PLANE: Category =
    Category { name: "linkerd-mcp-data-plane", checks: &[data_plane::CHECKS] };

/// Decides all checks of these categories, up to the first fatal failure.
pub(crate) fn judge(categories: &[Category], seen: &Seen) -> Report {
    let mut report = Report::default();
    for category in categories {
        let mut outcomes = Vec::new();
        let mut ended = false;
        for check in category.checks.iter().copied().flatten() {
            let (severity, error) = match (check.judge)(seen) {
                Verdict::Skip => continue,
                Verdict::Fine => (Severity::Success, None),
                Verdict::Warning(error) => (Severity::Warning, Some(error)),
                Verdict::Error(error) => (Severity::Error, Some(error)),
            };
            report.waits |= check.retry && severity == Severity::Error;
            ended = check.fatal && severity == Severity::Error;
            outcomes.push(Outcome {
                description: check.description,
                hint: error.is_some().then(|| format!("{HINTS}{}", check.anchor)),
                error,
                severity,
            });
            if ended {
                break;
            }
        }
        report.categories.push(CategoryReport { name: category.name, outcomes });
        if ended {
            break;
        }
    }
    report
}

// === impl Check ===

impl Check {
    const fn new(description: &'static str, anchor: &'static str, judge: fn(&Seen) -> Verdict) -> Self {
        Self { description, anchor, fatal: false, retry: false, judge }
    }

    const fn fatal(self) -> Self {
        Self { fatal: true, ..self }
    }

    const fn retried(self) -> Self {
        Self { retry: true, ..self }
    }
}

/// The value, or the verdict when there is none: who may not look is told so, and that is no failure of the mesh.
fn known<T>(looked: &Looked<T>) -> Result<&T, Verdict> {
    looked.as_ref().map_err(|gap| match gap {
        Gap::NotLooked => Verdict::Skip,
        Gap::Forbidden(why) => Verdict::Warning(format!("cannot be checked: {why}")),
        Gap::Failed(why) => Verdict::Error(why.clone()),
    })
}

/// Fine when there is nothing to complain about.
fn unless(complaints: &[String], say: impl FnOnce(String) -> String) -> Verdict {
    match complaints.is_empty() {
        true => Verdict::Fine,
        false => Verdict::Error(say(named(complaints))),
    }
}

/// The first few, and how many more.
fn named(items: &[String]) -> String {
    let first = items.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

// === impl Verdict ===

impl Verdict {
    /// An error that is only worth a warning.
    fn mild(self) -> Self {
        match self {
            Self::Error(why) => Self::Warning(why),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
