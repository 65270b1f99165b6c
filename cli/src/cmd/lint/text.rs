//! Findings for people.

use crate::output::text::{clean, clean_line};
use linkerd_mcp_proto::v1::{Finding, LintPoliciesResponse, Severity};

/// Each finding with what it is about and what to do; empty for none.
pub(super) fn print(answer: &LintPoliciesResponse) -> String {
    answer.findings.iter().map(finding).collect()
}

fn finding(finding: &Finding) -> String {
    let objects: Vec<String> = finding.objects.iter().map(|id| clean(id)).collect();
    let mut out = format!("{:<7}  {}", word(finding.severity()), clean(&finding.code));
    if !objects.is_empty() {
        out.push_str(&format!("  {}", objects.join(", ")));
    }
    out.push_str(&format!("\n         {}\n", clean_line(&finding.text)));
    if !finding.fix.is_empty() {
        out.push_str(&format!("         fix: {}\n", clean_line(&finding.fix)));
    }
    out
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
        Severity::Unspecified => "unknown",
    }
}

/// How much was found, in a sentence.
pub(super) fn summary(answer: &LintPoliciesResponse, enforced: bool) -> String {
    let count = |severity| answer.findings.iter().filter(|it| it.severity() == severity).count();
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Info, Severity::Unspecified]
        .into_iter()
        .map(|severity| (count(severity), word(severity)))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| plural(count, word))
        .collect();
    let counts = if counts.is_empty() { "No findings".to_owned() } else { counts.join(", ") };
    let objects = plural(usize::try_from(answer.objects).unwrap_or(usize::MAX), "policy object");
    let compared = match enforced {
        true => format!(
            " {} compared with what Linkerd enforces.",
            if answer.compared == 1 {
                "1 port was".to_owned()
            } else {
                format!("{} ports were", answer.compared)
            }
        ),
        false => String::new(),
    };
    format!("{counts} in {objects}.{compared}")
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
