//! What is different from a while ago, as answers have it.

use super::{
    history::Moment,
    share::{Rows, Share},
    text::{data, number, quoted},
};
use linkerd_mcp_graph::{
    id::EdgeId,
    query::compare::{Change, Difference, Moved, Numbers, PolicyChange},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// What is different. Lists that are absent are empty.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Changes {
    /// When that was which this is held against, UTC.
    then: String,
    /// How many seconds ago that was.
    pub(crate) since_s: u64,
    /// True when the numbers of then were not current either.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    then_stale: bool,
    /// Calls that were mutual TLS and are not now, as `from->to`.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    mtls_lost: Rows<String>,
    /// Calls that were not mutual TLS and are now.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    mtls_gained: Rows<String>,
    /// Policy objects and routes.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    policies: Rows<PolicyRow>,
    /// Calls on which denials began: denied per second.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    denied_per_s: Rows<MovedRow>,
    /// Success rates, those first where most calls are concerned.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    success_rate: Rows<MovedRow>,
    /// Milliseconds of the 99th percentile, the largest change first.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    p99_ms: Rows<MovedRow>,
    /// Requests per second, the largest change first.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    rps: Rows<MovedRow>,
    /// Calls that were not there, as `from->to`.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    appeared: Rows<String>,
    /// Calls that are not there any more.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    vanished: Rows<String>,
}

/// An object that changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct PolicyRow {
    id: String,
    /// `added`, `changed` (its spec) or `removed`.
    what: What,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    Added,
    Changed,
    Removed,
}

/// A number of a call, then and now. One that is absent was not known.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct MovedRow {
    /// The call, as `from->to`.
    edge: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<f64>,
}

// === impl Changes ===

impl Changes {
    /// Each list gets `percent` of the answer.
    pub(crate) fn of(found: &Difference, before: &Moment, share: &mut Share, percent: usize) -> Self {
        let edge = |id: &EdgeId| data(id.as_str());
        let exact = |rate: f64| (rate * 10_000.0).round() / 10_000.0;
        let mut moved = |list: &[Moved], value: fn(&Numbers) -> Option<f64>, round: fn(f64) -> f64| {
            share.rows(percent, list, |it| MovedRow {
                edge: data(it.id.as_str()),
                before: value(&it.before).map(round),
                now: value(&it.now).map(round),
            })
        };
        let denied_per_s = moved(&found.denied, |it| it.denied, number);
        let success_rate = moved(&found.success, |it| it.success_rate, exact);
        let p99_ms = moved(&found.latency, |it| it.p99_ms, number);
        let rps = moved(&found.rate, |it| it.rps, number);
        Self {
            then: utc(before.as_of_ms),
            since_s: before.age().as_secs(),
            then_stale: before.is_stale(),
            mtls_lost: share.rows(percent, &found.mtls_lost, edge),
            mtls_gained: share.rows(percent, &found.mtls_gained, edge),
            policies: share.rows(percent, &found.policies, PolicyRow::of),
            denied_per_s,
            success_rate,
            p99_ms,
            rps,
            appeared: share.rows(percent, &found.appeared, edge),
            vanished: share.rows(percent, &found.vanished, edge),
        }
    }

    /// Short lines.
    pub(crate) fn text(&self) -> String {
        let stale = if self.then_stale { " (numbers were stale then)" } else { "" };
        let head = format!("Changed since {}, {} s ago{stale}:", self.then, self.since_s);
        let mut text = String::new();
        for (what, rows) in [("LOST mTLS", &self.mtls_lost), ("now mTLS", &self.mtls_gained)] {
            names(&mut text, what, rows);
        }
        for it in &self.policies.rows {
            let what = match it.what {
                What::Added => "added",
                What::Changed => "changed",
                What::Removed => "removed",
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "  policy {what}: {}", quoted(&it.id));
        }
        text.push_str(&self.policies.rest());
        for (what, rows) in [
            ("denied/s", &self.denied_per_s),
            ("success rate", &self.success_rate),
            ("p99 ms", &self.p99_ms),
            ("rps", &self.rps),
        ] {
            for it in &rows.rows {
                let side = |it: Option<f64>| it.map_or("unknown".to_owned(), |it| it.to_string());
                let (before, now) = (side(it.before), side(it.now));
                let _ = writeln!(text, "  {what} {before} -> {now}: {}", edge(&it.edge));
            }
            text.push_str(&rows.rest());
        }
        for (what, rows) in [("new", &self.appeared), ("gone", &self.vanished)] {
            names(&mut text, what, rows);
        }
        if text.is_empty() { head + " nothing that stands out.\n" } else { format!("{head}\n{text}") }
    }
}

fn utc(ms: i64) -> String {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos }.to_string()
}

fn names(text: &mut String, what: &str, rows: &Rows<String>) {
    for it in &rows.rows {
        let _ = writeln!(text, "  {what}: {}", edge(it));
    }
    text.push_str(&rows.rest());
}

/// `from -> to`, as in other lists.
fn edge(id: &str) -> String {
    match id.split_once("->") {
        Some((from, to)) => format!("{} -> {}", quoted(from), quoted(to)),
        None => quoted(id).into_owned(),
    }
}

// === impl PolicyRow ===

impl PolicyRow {
    fn of(change: &PolicyChange) -> Self {
        let what = match change.what {
            Change::Added => What::Added,
            Change::Changed => What::Changed,
            Change::Removed => What::Removed,
        };
        Self { id: data(change.id.as_str()), what }
    }
}
