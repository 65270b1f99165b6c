//! A plan for people: what is different, what becomes of the calls, and what is likely not meant.

use crate::output::{
    columns::{self, Lean},
    number,
    policy::{client, port, word},
    text::{clean, clean_line},
};
use linkerd_mcp_proto::v1::{
    Concern, Impact, ImpactFlow, ImpactPermission, PlanChangeResponse, PlannedObject, Severity,
};

const FLOWS: [(&str, Lean); 6] = [
    ("CALL", Lean::Left),
    ("FROM", Lean::Left),
    ("TO", Lean::Left),
    ("BEFORE", Lean::Left),
    ("AFTER", Lean::Left),
    ("RPS", Lean::Right),
];

/// Objects with their differences, the impact, and the concerns.
pub(in crate::cmd) fn print(answer: &PlanChangeResponse) -> String {
    let mut parts: Vec<String> = answer.objects.iter().map(object).collect();
    parts.extend(answer.impact.as_ref().map(impact));
    parts.extend(answer.concerns.iter().map(concern));
    parts.join("\n")
}

fn object(object: &PlannedObject) -> String {
    let mut out = format!("{} {}\n", clean(&object.action), clean(&object.id));
    if !object.owner.is_empty() {
        out.push_str(&format!("  managed by {}\n", clean_line(&object.owner)));
    }
    out.push_str(&indented(&object.diff));
    if !object.repository_manifest.is_empty() {
        out.push_str("  In its repository this belongs:\n");
        out.push_str(&indented(&object.repository_manifest));
    }
    out
}

/// Lines of others, two spaces in.
pub(in crate::cmd) fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().filter(|line| !line.is_empty());
    lines.map(|line| format!("{}\n", format!("  {}", clean_line(line)).trim_end())).collect()
}

fn impact(impact: &Impact) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    rows.extend(impact.newly_denied.iter().map(|flow| row("DENIED", flow)));
    rows.extend(impact.newly_allowed.iter().map(|flow| row("ALLOWED", flow)));
    let mut out = format!("{}\n", summary(impact));
    if !rows.is_empty() {
        out.push_str(&columns::print(&FLOWS, &rows));
    }
    for (what, listed, count) in [
        ("newly denied", impact.newly_denied.len(), impact.newly_denied_count),
        ("newly allowed", impact.newly_allowed.len(), impact.newly_allowed_count),
    ] {
        let left = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(listed);
        if left > 0 {
            out.push_str(&format!("and {left} more {what}\n"));
        }
    }
    for flow in &impact.newly_denied {
        if let Some(reason) = flow.reasons.last() {
            let from = client(&flow.from, "");
            out.push_str(&format!("{from} would be denied: {}\n", clean_line(&reason.text)));
        }
    }
    out.push_str(&permissions(&GAINED, &impact.gained, impact.gained_count));
    out.push_str(&permissions(&LOST, &impact.lost, impact.lost_count));
    for unknown in &impact.unknown {
        let rps = unknown.rps.map(|rps| format!(" ({} rps)", number::rate(Some(rps)))).unwrap_or_default();
        out.push_str(&format!(
            "cannot be judged: {}{rps}: {}\n",
            clean(&unknown.edge_id),
            clean_line(&unknown.text)
        ));
    }
    let listed = impact.unknown.len();
    let left = usize::try_from(impact.unknown_count).unwrap_or(usize::MAX).saturating_sub(listed);
    if left > 0 {
        out.push_str(&format!("and {left} more that cannot be judged\n"));
    }
    out
}

/// Counts and calls per second, in a sentence.
fn summary(impact: &Impact) -> String {
    let of = |count: u32, rps: Option<f64>| match rps {
        Some(rps) => format!("{count} ({} rps)", number::rate(Some(rps))),
        None => count.to_string(),
    };
    format!(
        "Of the calls seen now: {} newly denied, {} newly allowed, {} as before, {} cannot be judged.",
        of(impact.newly_denied_count, impact.newly_denied_rps),
        of(impact.newly_allowed_count, impact.newly_allowed_rps),
        impact.unchanged,
        impact.unknown_count,
    )
}

fn row(becomes: &str, flow: &ImpactFlow) -> Vec<String> {
    vec![
        becomes.to_owned(),
        client(&flow.from, ""),
        port(&flow.workload, flow.port, ""),
        word(flow.before()).to_owned(),
        word(flow.after()).to_owned(),
        number::rate(flow.rps),
    ]
}

/// What is said of clients that gain or lose a permission, of one of them and of several.
struct Becomes {
    could: &'static str,
    one: &'static str,
    several: &'static str,
}

const GAINED: Becomes = Becomes { could: "could call", one: "and cannot now", several: "and cannot now" };
const LOST: Becomes = Becomes {
    could: "could no longer call",
    one: "and is not seen calling",
    several: "and are not seen calling",
};

/// The clients of each port together: who opens a port opens it to many.
fn permissions(Becomes { could, one, several }: &Becomes, listed: &[ImpactPermission], count: u32) -> String {
    let mut ports: Vec<(String, Vec<String>)> = Vec::new();
    for it in listed {
        let (to, from) = (port(&it.workload, it.port, ""), client(&it.from, ""));
        match ports.iter_mut().find(|(known, _)| *known == to) {
            Some((_, clients)) => clients.push(from),
            None => ports.push((to, vec![from])),
        }
    }
    let mut out = String::new();
    for (to, clients) in ports {
        match &*clients {
            [from] => out.push_str(&format!("{from} {could} {to}, {one}\n")),
            clients => {
                out.push_str(&format!("these {could} {to}, {several}:\n"));
                clients.iter().for_each(|from| out.push_str(&format!("  {from}\n")));
            }
        }
    }
    match usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(listed.len()) {
        0 => {}
        1 => out.push_str(&format!("1 more {could} something, {one}\n")),
        left => out.push_str(&format!("{left} more {could} something, {several}\n")),
    }
    out
}

fn concern(concern: &Concern) -> String {
    let word = match (concern.refuses, concern.severity()) {
        (true, _) => "refused",
        (false, Severity::Error) => "error",
        (false, Severity::Warning) => "warning",
        (false, Severity::Info) => "note",
        (false, Severity::Unspecified) => "unknown",
    };
    let objects: Vec<String> = concern.objects.iter().map(|id| clean(id)).collect();
    let mut out = format!("{word:<7}  {}", clean(&concern.code));
    if !objects.is_empty() {
        out.push_str(&format!("  {}", objects.join(", ")));
    }
    out.push_str(&format!("\n         {}\n", clean_line(&concern.text)));
    if !concern.fix.is_empty() {
        out.push_str(&format!("         fix: {}\n", clean_line(&concern.fix)));
    }
    out
}
