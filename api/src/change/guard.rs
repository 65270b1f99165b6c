//! The guard of a change: it watches the calls that the change touches, and undoes it when they suffer.
//!
//! What to do is decided by [`state`]; here are the numbers, the clock and the store. Every replica looks for changes
//! that nobody watches: a guard outlives the replica that began it.

mod state;

pub use state::{GuardState, Sample, Step, Watched};

use super::{Inner, Refusal, metrics::Labels, now_ms, rollback::On};
use crate::{audit::Trace, chain::chain, view::View};
use linkerd_mcp_proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::time::Instant;

/// What the approver of a plan has asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Terms {
    seconds: u32,
    denied_rps: f64,
    success_rate: Option<f64>,
}

/// When nothing else is said.
const DENIED_RPS: f64 = 1.0;

// === impl Terms ===

impl Terms {
    pub(super) fn read(guard: &v1::Guard) -> Result<Self, Refusal> {
        let wrong = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        let v1::Guard { seconds, denied_rps, success_rate } = *guard;
        if !(30..=3_600).contains(&seconds) {
            return wrong("`guard.seconds` must be from 30 to 3600");
        }
        if denied_rps.is_some_and(|rps| !(rps.is_finite() && rps >= 0.0)) {
            return wrong("`guard.denied_rps` must be a number of calls per second, 0 or more");
        }
        if success_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return wrong("`guard.success_rate` must be between 0 and 1");
        }
        Ok(Self { seconds, denied_rps: denied_rps.unwrap_or(DENIED_RPS), success_rate })
    }

    /// Begins with the numbers of now.
    pub(super) fn begin(&self, view: &View, touched: &[String]) -> Result<Watched, Refusal> {
        can_see(view)?;
        if touched.is_empty() {
            return Err(Refusal::Blind("no port of a workload that runs now is touched by it".to_owned()));
        }
        let since_ms = now_ms();
        let before = sample(view, &touched.iter().map(String::as_str).collect());
        Ok(Watched {
            since_ms,
            until_ms: since_ms + i64::from(self.seconds) * 1_000,
            denied_rps: self.denied_rps,
            success_rate: self.success_rate,
            denied_before: before.denied_rps.unwrap_or_default(),
            workloads: touched.to_vec(),
        })
    }
}

/// Refuses when there are no numbers to watch.
pub(super) fn can_see(view: &View) -> Result<(), Refusal> {
    let status = &view.metrics.status;
    match status.stale {
        true => Err(Refusal::Blind(format!("the numbers are stale ({})", status.reason))),
        false => Ok(()),
    }
}

/// What is seen of the calls to these workloads.
fn sample(view: &View, workloads: &BTreeSet<&str>) -> Sample {
    let (mut denied, mut calls, mut good) = (None, 0.0, 0.0);
    for (id, edge) in &view.graph.edges {
        if !edge.workloads.iter().any(|workload| workloads.contains(workload.as_str())) {
            continue;
        }
        let Some(numbers) = view.metrics.get(id) else { continue };
        if let Some(rps) = numbers.denied {
            *denied.get_or_insert(0.0) += rps;
        }
        if let (Some(rps), Some(rate)) = (numbers.rps, numbers.success_rate) {
            calls += rps;
            good += rps * rate;
        }
    }
    let status = &view.metrics.status;
    Sample {
        as_of_ms: status.as_of_ms,
        stale: status.stale,
        denied_rps: denied,
        success_rate: (calls > 0.0).then(|| good / calls),
    }
}

/// Watches what is guarded, for ever.
pub(super) async fn run(inner: &Arc<Inner>) {
    if inner.read_only || inner.cluster.is_none() {
        return std::future::pending().await;
    }
    let mut ticks = inner.replica.ticks();
    let mut states: BTreeMap<String, GuardState> = BTreeMap::new();
    let mut told: Option<Instant> = None;
    loop {
        match inner.store.watched().await {
            Ok(watched) => {
                told = None;
                look(inner, watched, &mut states).await;
            }
            // Once a minute is enough for the log.
            Err(error) if told.is_none_or(|at| at.elapsed().as_secs() >= 60) => {
                told = Some(Instant::now());
                tracing::warn!(error = %chain(&error), "what is guarded cannot be read; trying again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(inner.look_every) => {}
            // With nothing to watch, new views are nobody's concern here.
            changed = ticks.changed(), if !states.is_empty() => {
                if changed.is_err() {
                    return;
                }
                // Frames come every few seconds, deltas at any moment.
                tokio::time::sleep(inner.look_every.min(std::time::Duration::from_secs(1))).await;
            }
        }
    }
}

async fn look(
    inner: &Arc<Inner>,
    watched: Vec<(String, Watched)>,
    states: &mut BTreeMap<String, GuardState>,
) {
    let known: BTreeSet<&str> = watched.iter().map(|(id, _)| id.as_str()).collect();
    states.retain(|id, _| known.contains(id.as_str()));
    for (id, watched) in &watched {
        match inner.store.lease(id, &inner.instance).await {
            Ok(true) => {}
            Ok(false) => {
                states.remove(id);
                continue;
            }
            Err(error) => {
                tracing::debug!(change = %id, error = %chain(&error), "the lease of a guard cannot be had");
                continue;
            }
        }
        let state = states.entry(id.clone()).or_default();
        let Some(view) = inner.replica.view() else { continue };
        let workloads = watched.workloads.iter().map(String::as_str).collect();
        match state.step(watched, &sample(&view, &workloads), now_ms()) {
            Step::Keep => {}
            Step::Revert(why) => revert(inner, id, watched, why).await,
            Step::Done(text) => {
                inner.metrics.guards.get_or_create(&Labels { outcome: "kept" }).inc();
                end(inner, id, &text).await;
            }
        }
    }
    let count = i64::try_from(states.len()).unwrap_or(i64::MAX);
    inner.metrics.guarded.set(count);
}

async fn revert(inner: &Arc<Inner>, id: &str, watched: &Watched, why: String) {
    tracing::warn!(change = %id, %why, "undoing a change, as its guard was told to");
    let outcome = match inner.undo(id, On::Guard(why.clone()), String::new(), Trace::new()).await {
        Ok(record) if record.outcome == super::record::Outcome::Applied => "reverted",
        Ok(record) => {
            end(inner, id, &format!("Its guard wanted to undo it ({why}): {}", record.text)).await;
            "failed"
        }
        // It is tried again at the next look, until its time is over.
        Err(refusal) if is_passing(&refusal) && now_ms() < watched.until_ms + 600_000 => {
            tracing::error!(change = %id, error = %refusal, "a guard cannot undo its change at the moment; trying again");
            return;
        }
        Err(refusal) => {
            tracing::error!(change = %id, error = %refusal, "a guard cannot undo its change");
            end(inner, id, &format!("Its guard wanted to undo it ({why}) and could not: {refusal}.")).await;
            "failed"
        }
    };
    inner.metrics.guards.get_or_create(&Labels { outcome }).inc();
}

fn is_passing(refusal: &Refusal) -> bool {
    refusal.fault() == super::Fault::Unavailable
}

/// Ends a guard, and writes down why.
async fn end(inner: &Inner, id: &str, text: &str) {
    let writing = async {
        if let Some(mut record) = inner.store.change(id).await? {
            record.text = format!("{} {text}", record.text);
            inner.store.finish(&record, None).await?;
        }
        inner.store.unwatch(id).await
    };
    if let Err(error) = writing.await {
        tracing::warn!(change = %id, error = %chain(&error), "the end of a guard cannot be written down");
    }
}
