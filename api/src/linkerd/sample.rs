//! Compares what is written with what is enforced on a few ports a minute, in the background.
//!
//! Objects that changed a moment ago have not reached both sides, so a difference counts as drift only when it is still
//! there at a second look, with our own answer resolved anew. While the controller does not answer, the pauses grow.

use super::{AskError, PolicyController};
use crate::{
    chain::chain,
    graph::policy::{
        Answer, WorkloadKey,
        answer::Server,
        drift::{Drift, differences},
    },
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use rand::Rng as _;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::sleep;

/// What is written, as this process knows it. [`Replica`](crate::replica::Replica), and what tests put in its place.
pub trait Ours: Send + Sync {
    /// At most `count` ports of workloads in the mesh with the server that the objects lead to; others each time. None
    /// while the policies are not known completely: what is missing here would look like drift.
    fn sample(&self, count: usize) -> impl Future<Output = Vec<(WorkloadKey, u16, Server)>> + Send;

    /// The answer for one port as of now; none while the policies are not known completely, or the workload is not.
    fn resolve(&self, workload: &WorkloadKey, port: u16) -> impl Future<Output = Option<Answer>> + Send;
}

/// What is enforced. [`PolicyController`], and what tests put in its place.
pub trait Enforced: Send + Sync {
    /// The answer for one port.
    fn answer(
        &self,
        workload: &WorkloadKey,
        port: u16,
    ) -> impl Future<Output = Result<Answer, AskError>> + Send;
}

/// How much is compared, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From one round to the next, on average: each pause is between half of it and half as much again, so that replicas
    /// do not ask all at once.
    pub pause: Duration,
    /// Ports in a round.
    pub ports: usize,
    /// From a difference to the second look.
    pub second_look: Duration,
    /// The longest pause while the controller does not answer.
    pub longest_pause: Duration,
}

/// Counters of the comparisons. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct SampleMetrics {
    compared: Family<Compared, Counter>,
    drift: Family<Drifted, Counter>,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as they stand in the metric")]
pub enum Outcome {
    /// Nothing differed.
    equal,
    /// Something differed and was gone at the second look.
    settled,
    /// Something differed twice.
    drift,
    /// The controller gave no answer.
    unanswered,
    /// The controller gave an answer that cannot be read.
    unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Compared {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Drifted {
    kind: &'static str,
}

/// Why a port was not compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Our own side is not known.
    #[error(
        "what is written for {workload} is not known here: the topology is not synced yet, or there is no such pod"
    )]
    NotKnown {
        /// `namespace/name`.
        workload: String,
    },
    /// The controller gave no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

// === impl Pace ===

impl Default for Pace {
    /// Four ports a minute, so 240 an hour and replica. The second look is after 15 s: the controller reconciles routes
    /// every 10 s.
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(60),
            ports: 4,
            second_look: Duration::from_secs(15),
            longest_pause: Duration::from_secs(15 * 60),
        }
    }
}

impl Pace {
    fn jittered(pause: Duration) -> Duration {
        pause.mul_f64(rand::rng().random_range(0.5..1.5))
    }
}

// === impl SampleMetrics ===

impl SampleMetrics {
    /// Registers everything; the prefix is the caller's, `mcp_linkerd`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let compared = "Ports whose policy was compared with that of Linkerd's policy controller, by outcome";
        registry.register("policy_compared", compared, metrics.compared.clone());
        let drift = "Differences between the policy that is written and the one that is enforced, by kind";
        registry.register("policy_drift", drift, metrics.drift.clone());
        metrics
    }

    /// How often a comparison ended like this.
    pub fn compared(&self, outcome: Outcome) -> u64 {
        self.compared.get_or_create(&Compared { outcome }).get()
    }

    /// How many differences of a kind were found, as [`Difference::kind`](crate::graph::policy::drift::Difference::kind)
    /// names it.
    pub fn drift(&self, kind: &'static str) -> u64 {
        self.drift.get_or_create(&Drifted { kind }).get()
    }

    fn count(&self, outcome: Outcome, drift: Option<&Drift>) {
        self.compared.get_or_create(&Compared { outcome }).inc();
        for difference in drift.into_iter().flat_map(|drift| &drift.differences) {
            self.drift.get_or_create(&Drifted { kind: difference.kind() }).inc();
        }
    }
}

// === impl PolicyController ===

impl Enforced for PolicyController {
    async fn answer(&self, workload: &WorkloadKey, port: u16) -> Result<Answer, AskError> {
        self.get_port(workload, port.into()).await
    }
}

impl<E: Enforced> Enforced for Arc<E> {
    async fn answer(&self, workload: &WorkloadKey, port: u16) -> Result<Answer, AskError> {
        (**self).answer(workload, port).await
    }
}

/// Compares one port now, on demand: a difference may be one that is about to go.
///
/// # Errors
///
/// When either side has no answer.
pub async fn compare(
    ours: &impl Ours,
    enforced: &impl Enforced,
    workload: &WorkloadKey,
    port: u16,
) -> Result<Drift, CompareError> {
    let answer = enforced.answer(workload, port).await?;
    // Ours is resolved after theirs has come, so that it is not the older one by the time of a question.
    let written = ours
        .resolve(workload, port)
        .await
        .ok_or_else(|| CompareError::NotKnown { workload: workload.key().to_string() })?;
    Ok(Drift::between(&written, &answer))
}

/// Compares for ever. Ends when it is dropped.
pub async fn run(ours: impl Ours, enforced: impl Enforced, pace: Pace, metrics: SampleMetrics) {
    let mut pause = pace.pause;
    loop {
        sleep(Pace::jittered(pause)).await;
        pause = match round(&ours, &enforced, &pace, &metrics).await {
            Ok(()) if pause > pace.pause => {
                tracing::info!("Linkerd's policy controller answers again; policies are compared with it");
                pace.pause
            }
            Ok(()) => pace.pause,
            Err(error) => {
                if pause == pace.pause {
                    tracing::warn!(
                        error = chain(&error),
                        "policies are not compared with Linkerd's policy controller until it answers"
                    );
                }
                (pause * 2).min(pace.longest_pause)
            }
        };
    }
}

/// One round. Ends early when the controller cannot be asked; what is wrong with one answer only does not end it.
async fn round(
    ours: &impl Ours,
    enforced: &impl Enforced,
    pace: &Pace,
    metrics: &SampleMetrics,
) -> Result<(), AskError> {
    let mut differing = Vec::new();
    for (workload, port, server) in ours.sample(pace.ports).await.into_iter().take(pace.ports) {
        match ask(enforced, &workload, port, metrics).await? {
            Some(answer) if differences(&Answer::Ok(server), &answer).is_empty() => {
                metrics.count(Outcome::equal, None);
            }
            Some(_) => differing.push((workload, port)),
            None => {}
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    sleep(pace.second_look).await;
    for (workload, port) in differing {
        let Some(answer) = ask(enforced, &workload, port, metrics).await? else { continue };
        let Some(written) = ours.resolve(&workload, port).await else { continue };
        let drift = Drift::between(&written, &answer);
        if drift.is_none() {
            metrics.count(Outcome::settled, None);
        } else {
            metrics.count(Outcome::drift, Some(&drift));
            report(&workload, port, &drift);
        }
    }
    Ok(())
}

/// None for an answer that cannot be read: other ports may have readable ones.
async fn ask(
    enforced: &impl Enforced,
    workload: &WorkloadKey,
    port: u16,
    metrics: &SampleMetrics,
) -> Result<Option<Answer>, AskError> {
    match enforced.answer(workload, port).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ AskError::Unreadable { .. }) => {
            metrics.count(Outcome::unreadable, None);
            tracing::warn!(
                workload = %workload.key(),
                port,
                error = chain(&error),
                "the policy enforced on a port cannot be compared with the one that is written"
            );
            Ok(None)
        }
        Err(error) => {
            metrics.count(Outcome::unanswered, None);
            Err(error)
        }
    }
}

fn report(workload: &WorkloadKey, port: u16, drift: &Drift) {
    /// Words of a log line: a whole server may be 50 kB.
    const SENTENCES: usize = 5;
    let sentences: Vec<String> = drift.differences.iter().take(SENTENCES).map(ToString::to_string).collect();
    tracing::warn!(
        workload = %workload.key(),
        port,
        differences = drift.differences.len(),
        first = sentences.join("; "),
        "Linkerd enforces another policy on a port than the one that is written"
    );
}

#[cfg(test)]
mod tests;
