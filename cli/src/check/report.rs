//! What came of the checks, and its three forms. `linkerd check` reads the JSON, people the others.

use crate::output::text::{clean_json, clean_line};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt::Write as _;

/// What came of all checks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// In order; those after a fatal failure are missing.
    pub(crate) categories: Vec<CategoryReport>,
    /// Something failed that may work in a while.
    pub(crate) waits: bool,
}

/// What came of the checks of one category.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CategoryReport {
    /// Its name.
    #[serde(rename = "categoryName")]
    pub(crate) name: &'static str,
    /// In order, without those that had nothing to decide.
    #[serde(rename = "checks")]
    pub(crate) outcomes: Vec<Outcome>,
}

/// What came of one check.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// What was checked.
    pub(crate) description: &'static str,
    /// Where to read on; none when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// How bad it is.
    #[serde(rename = "result")]
    pub(crate) severity: Severity,
}

/// How bad the outcome of a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// All is well.
    Success,
    /// Does not fail the command.
    Warning,
    /// Fails the command.
    Error,
}

// === impl Report ===

impl Report {
    /// False when anything is an error.
    pub(crate) fn success(&self) -> bool {
        self.outcomes().all(|outcome| outcome.severity != Severity::Error)
    }

    /// What is worst to wait for, for who waits.
    pub(crate) fn first_error(&self) -> Option<&str> {
        let error = self.outcomes().find(|outcome| outcome.severity == Severity::Error)?;
        error.error.as_deref()
    }

    /// What is not well, line by line, without the checks' categories and without a result.
    pub(crate) fn complaints(&self) -> String {
        let mut out = String::new();
        for outcome in self.outcomes().filter(|outcome| outcome.severity != Severity::Success) {
            outcome.write(&mut out);
        }
        out
    }

    /// For people. `short` leaves out all that is well.
    pub(crate) fn table(&self, short: bool) -> String {
        let mut out = String::new();
        for category in &self.categories {
            let shown = |outcome: &&Outcome| !short || outcome.severity != Severity::Success;
            let mut outcomes = category.outcomes.iter().filter(shown).peekable();
            if outcomes.peek().is_none() {
                continue;
            }
            let _ = writeln!(out, "{}\n{}", category.name, "-".repeat(category.name.len()));
            for outcome in outcomes {
                outcome.write(&mut out);
            }
            out.push('\n');
        }
        let mark = if self.success() { Severity::Success } else { Severity::Error }.mark();
        let _ = writeln!(out, "Status check results are {mark}");
        out
    }

    /// For `linkerd check` and other programs: one object.
    ///
    /// # Errors
    /// Never for a report; the signature is serde's.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        Ok(clean_json(&serde_json::to_string_pretty(self)?) + "\n")
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.categories.iter().flat_map(|category| &category.outcomes)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Report", 2)?;
        object.serialize_field("success", &self.success())?;
        object.serialize_field("categories", &self.categories)?;
        object.end()
    }
}

// === impl Outcome ===

impl Outcome {
    /// As Linkerd prints it.
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "{} {}", self.severity.mark(), self.description);
        if let Some(error) = &self.error {
            let _ = writeln!(out, "    {}", clean_line(error));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "    see {hint} for hints");
        }
    }
}

// === impl Severity ===

impl Severity {
    /// As Linkerd draws it.
    fn mark(self) -> char {
        match self {
            Self::Success => '\u{221a}',
            Self::Warning => '\u{203c}',
            Self::Error => '\u{d7}',
        }
    }
}
