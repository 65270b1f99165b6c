//! The audit log: one line for every refusal, for every decision about a change, and for what became of it.
//!
//! ```text
//! authorization ─► decision ─┐
//! change        ─► outcome  ─┴─► Record ─► Audit ─► tracing, target linkerd_mcp::audit
//! ```
//!
//! A line says who, how that was proved, what was asked and where, the verdict and why. What was asked *with* is never in
//! it: of a change it has the hash. Allowed reads are lines of level debug, off unless
//! `LINKERD_MCP_LOG=…,linkerd_mcp::audit=debug` asks for them: they are most of the traffic and change nothing.
//! Refusals are never left to sampling, but one caller gets [`LINES`] of them a second; the next line says how many were
//! left out, and a counter has all.

use crate::{
    caller::Principal,
    mcp::text::data,
    rights::table::{Need, Surface},
};
use http::HeaderMap;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Refusals of one caller that are written, a second.
const LINES: u32 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// Callers whose refusals are counted. Beyond, all others share one count.
const MAX_CALLERS: usize = 1_024;

/// The most names that a line lists.
const MAX_LISTED: usize = 50;

/// The log. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Audit(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Held for a look, never across an await.
    spent: Mutex<HashMap<Arc<str>, Spent>>,
    lines: Family<LineLabels, Counter>,
    left_out: Counter,
}

#[derive(Debug, Clone, Copy)]
struct Spent {
    since: Instant,
    lines: u32,
    left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LineLabels {
    verdict: &'static str,
}

/// What a request is known by in all logs: 16 bytes, given by the caller's `traceparent` or made here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace([u8; 16]);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may be done.
    Allowed,
    /// It may not.
    Refused,
    /// Nobody could decide, so it may not.
    Undecided,
    /// It was done.
    Done,
    /// It was tried, and failed in whole or in part.
    Failed,
}

/// One line. What is not known is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Who; none for one who proved nothing.
    pub who: Option<Principal>,
    /// How it was asked.
    pub surface: Surface,
    /// The method, route, tool, resource or prompt.
    pub method: Cow<'static, str>,
    /// The right that it needs.
    pub need: Option<Need>,
    /// The namespaces that it is about; empty for all, or for none.
    pub namespaces: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, as a sentence.
    pub reason: String,
    /// The request.
    pub trace: Trace,
    /// The public name of the plan.
    pub plan_id: Option<String>,
    /// The change.
    pub change_id: Option<String>,
    /// SHA-256 of all that would be written, in hexadecimal.
    pub payload_sha256: Option<String>,
    /// Objects with the versions that they had, as `id@version`.
    pub resource_versions: Vec<String>,
}

// === impl Record ===

impl Record {
    /// A line about `method`, with nothing else known yet.
    pub fn new(
        surface: Surface,
        method: impl Into<Cow<'static, str>>,
        outcome: Outcome,
        trace: Trace,
    ) -> Self {
        Self {
            who: None,
            surface,
            method: method.into(),
            need: None,
            namespaces: Vec::new(),
            outcome,
            reason: String::new(),
            trace,
            plan_id: None,
            change_id: None,
            payload_sha256: None,
            resource_versions: Vec::new(),
        }
    }

    /// Who asked.
    #[must_use]
    pub fn by(self, who: &Principal) -> Self {
        Self { who: Some(who.clone()), ..self }
    }

    /// The right that it needs.
    #[must_use]
    pub fn needing(self, need: Need) -> Self {
        Self { need: Some(need), ..self }
    }

    /// The namespaces that it is about.
    #[must_use]
    pub fn within<T: Into<String>>(self, namespaces: impl IntoIterator<Item = T>) -> Self {
        Self { namespaces: namespaces.into_iter().map(Into::into).collect(), ..self }
    }

    /// Why it came to this.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// The plan it is about, and the hash of what it would write.
    #[must_use]
    pub fn plan(self, id: impl Into<String>, payload_sha256: impl Into<String>) -> Self {
        Self { plan_id: Some(id.into()), payload_sha256: Some(payload_sha256.into()), ..self }
    }

    /// The change it is about.
    #[must_use]
    pub fn change(self, id: impl Into<String>) -> Self {
        Self { change_id: Some(id.into()), ..self }
    }

    /// Objects with the versions that they had, as `id@version`.
    #[must_use]
    pub fn versions<T: Into<String>>(self, versions: impl IntoIterator<Item = T>) -> Self {
        Self { resource_versions: versions.into_iter().map(Into::into).collect(), ..self }
    }

    fn user(&self) -> Arc<str> {
        self.who.as_ref().map_or_else(|| "unknown".into(), |who| who.user.clone())
    }
}

// === impl Audit ===

impl Audit {
    /// Registers what is counted, under the prefix `mcp_audit`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("mcp_audit");
        registry.register("records", "Decisions and outcomes, by verdict", self.0.lines.clone());
        let left_out = "Refusals that were counted but not written, because one caller had too many";
        registry.register("left_out", left_out, self.0.left_out.clone());
    }

    /// Writes a line that is never left out unless it is one refusal too many of one caller.
    pub fn write(&self, record: &Record) {
        self.count(record.outcome);
        let refused = matches!(record.outcome, Outcome::Refused | Outcome::Undecided);
        let left_out = match refused {
            true => match self.take(&record.user()) {
                Some(left_out) => left_out,
                None => return,
            },
            false => 0,
        };
        let line = Line::of(record);
        let Line { user, identity, proof, verb, resource, namespaces, reason, versions } = &line;
        tracing::info!(
            target: "linkerd_mcp::audit",
            verdict = record.outcome.as_str(),
            user = user.as_deref(),
            identity = identity.as_deref(),
            proof = *proof,
            surface = record.surface.as_str(),
            method = &*data(&record.method),
            verb = *verb,
            resource = *resource,
            namespaces = namespaces.as_deref(),
            reason = reason.as_deref(),
            trace_id = %record.trace,
            plan_id = record.plan_id.as_deref(),
            change_id = record.change_id.as_deref(),
            payload_sha256 = record.payload_sha256.as_deref(),
            resource_versions = versions.as_deref(),
            left_out = (left_out > 0).then_some(left_out),
            "{}",
            record.outcome.sentence()
        );
    }

    /// As [`Audit::write`], for what happens all the time and changes nothing: at level debug.
    pub(crate) fn note(&self, record: impl FnOnce() -> Record, outcome: Outcome) {
        self.count(outcome);
        if !tracing::enabled!(target: "linkerd_mcp::audit", tracing::Level::DEBUG) {
            return;
        }
        let record = record();
        let line = Line::of(&record);
        let Line { user, identity, proof, verb, resource, namespaces, .. } = &line;
        tracing::debug!(
            target: "linkerd_mcp::audit",
            verdict = outcome.as_str(),
            user = user.as_deref(),
            identity = identity.as_deref(),
            proof = *proof,
            surface = record.surface.as_str(),
            method = &*record.method,
            verb = *verb,
            resource = *resource,
            namespaces = namespaces.as_deref(),
            trace_id = %record.trace,
            "{}",
            outcome.sentence()
        );
    }

    fn count(&self, outcome: Outcome) {
        self.0.lines.get_or_create(&LineLabels { verdict: outcome.as_str() }).inc();
    }

    /// Whether there is room for one more line of this caller, and how many were left out before it.
    fn take(&self, user: &Arc<str>) -> Option<u64> {
        let now = Instant::now();
        let mut spent = self.0.spent.lock();
        let known = spent.contains_key(user);
        if !known && spent.len() >= MAX_CALLERS {
            spent.retain(|_, it| it.left_out > 0 || it.since + WINDOW > now);
        }
        let key = if known || spent.len() < MAX_CALLERS { user.clone() } else { "others".into() };
        let it = spent.entry(key).or_insert(Spent { since: now, lines: 0, left_out: 0 });
        if it.since + WINDOW <= now {
            (it.since, it.lines) = (now, 0);
        }
        if it.lines < LINES {
            it.lines += 1;
            return Some(std::mem::take(&mut it.left_out));
        }
        it.left_out += 1;
        drop(spent);
        self.0.left_out.inc();
        None
    }
}

/// The fields of a line as they are written, with text of others made safe.
struct Line {
    user: Option<String>,
    identity: Option<String>,
    proof: Option<&'static str>,
    verb: Option<&'static str>,
    resource: Option<&'static str>,
    namespaces: Option<String>,
    reason: Option<String>,
    versions: Option<String>,
}

impl Line {
    fn of(record: &Record) -> Self {
        let listed = |names: &[String]| {
            let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| data(name)).collect();
            (!shown.is_empty()).then(|| shown.join(","))
        };
        Self {
            user: record.who.as_ref().map(|who| data(&who.user)),
            identity: record.who.as_ref().map(|who| data(&who.identity)),
            proof: record.who.as_ref().map(|who| who.proof.as_str()),
            verb: record.need.map(|need| need.verb),
            resource: record.need.map(|need| need.resource),
            namespaces: listed(&record.namespaces),
            reason: (!record.reason.is_empty()).then(|| data(&record.reason)),
            versions: listed(&record.resource_versions),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Undecided => "undecided",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Allowed => "allowed a caller what it asked",
            Self::Refused => "refused a caller what it asked",
            Self::Undecided => "refused a caller what it asked, because nobody could decide",
            Self::Done => "did what a caller asked",
            Self::Failed => "could not do what a caller asked",
        }
    }
}

// === impl Trace ===

impl Trace {
    /// Of the header `traceparent` (W3C Trace Context, version 00), or a new one where it has none or a wrong one.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::given(headers).unwrap_or_default()
    }

    /// Of the header `traceparent`; none where it is not there once and right.
    pub(crate) fn given(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all("traceparent").iter();
        let one = given.next().filter(|_| given.next().is_none())?;
        parent(one.to_str().ok()?)
    }

    /// Of what such a header has; none where that is wrong.
    pub(crate) fn read(text: &str) -> Option<Self> {
        parent(text)
    }

    /// A new one.
    pub fn new() -> Self {
        Self(rand::random())
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// The trace in `00-<32 hex>-<16 hex>-<2 hex>`, all in lower case and neither of the first two zero.
fn parent(text: &str) -> Option<Trace> {
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return None };
    let shaped = *version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let id = u128::from_str_radix(trace, 16).ok().filter(|id| shaped && *id != 0)?;
    span.bytes().any(|it| it != b'0').then(|| Trace(id.to_be_bytes()))
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
