//! Calls that are made now and would be refused, or of which that cannot be known.

use super::{Concern, Scene};
use crate::policy::lint::words;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let denied = &scene.impact.newly_denied;
    if denied.count > 0 {
        let edges: Vec<String> = denied.flows.iter().map(|flow| flow.edge.to_string()).collect();
        let text = format!(
            "{} that {} made now would be refused{}: {}.",
            words::count(denied.count, "flow"),
            if denied.count == 1 { "is" } else { "are" },
            rate(denied.rps),
            named(&edges, denied.count),
        );
        concerns.push(Concern::warn("denies-traffic", edges, text));
    }
    let (count, unknown) = (scene.impact.unknown_count, &scene.impact.unknown);
    if let Some(first) = unknown.first() {
        let edges: Vec<String> = unknown.iter().map(|unknown| unknown.edge.to_string()).collect();
        let text = format!(
            "Of {}{} it cannot be known whether they would be refused: {}. Of the first: {}.",
            words::count(count, "flow"),
            rate(scene.impact.unknown_rps),
            named(&edges, count),
            first.sentence,
        );
        concerns.push(Concern::warn("unknown-traffic", edges, text));
    }
    concerns
}

/// A few names and how many more there are: the lists hold only the first of them.
fn named(edges: &[String], count: usize) -> String {
    const NAMED: usize = 3;
    let some = edges.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

fn rate(rps: Option<f64>) -> String {
    rps.map(|rps| format!(" ({rps:.1} calls/s)")).unwrap_or_default()
}
