//! The Kubernetes Lease that says who leads: a task does what [`Election`] says, and tells what came of it.

use crate::{
    graph::feed::{
        election::{Answer, Claim, Election, Record, Step, Turn},
        lease::{Lease as Trust, Loss},
    },
    kube_error::Failure,
};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

mod metrics;

pub use metrics::Metrics;
use metrics::{Outcome, Reason, Verb};

/// Which Lease.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Our token, as in Redis.
    pub token: String,
    /// How long it stands without being renewed. Kubernetes keeps whole seconds: the next ones.
    pub lasts: Duration,
}

/// The Lease, as one candidate has it. Dropping it ends the candidacy and leaves the Lease as it is.
pub struct KubernetesLease {
    name: String,
    lasts: Duration,
    standing: watch::Receiver<Standing>,
    asks: mpsc::Sender<Ask>,
    /// The moment that the standing counts its time from.
    origin: Instant,
    stands: bool,
    /// Of the wins, how many were told.
    told: u64,
    _keeper: AbortOnDropHandle<()>,
}

/// What the candidate knows.
#[derive(Debug, Clone, Default)]
struct Standing {
    trust: Option<Trust>,
    confirmed: Option<Duration>,
    holder: String,
    wins: u64,
}

enum Ask {
    /// Begin to try for it.
    Stand,
    Confirm,
    StandBack,
    /// Give it up, and say when that is done.
    Leave(oneshot::Sender<()>),
}

/// The task.
struct Keeper {
    api: Api<Lease>,
    options: LeaseOptions,
    election: Election,
    origin: Instant,
    /// The object as it was seen last: what others wrote into it is kept.
    seen: Option<Lease>,
    /// What failed last, to say it once.
    failing: Option<String>,
    standing: watch::Sender<Standing>,
    asks: mpsc::Receiver<Ask>,
    leaving: Vec<oneshot::Sender<()>>,
    metrics: Metrics,
}

/// How long giving the Lease up may take at the end of the process; then it ends by itself.
const LEAVING: Duration = Duration::from_secs(2);

// === impl KubernetesLease ===

impl KubernetesLease {
    /// A candidate who does not stand yet. Must be called within a Tokio runtime.
    pub fn new(client: kube::Client, options: LeaseOptions, metrics: Metrics) -> Self {
        let origin = Instant::now();
        let (standing_tx, standing) = watch::channel(Standing::default());
        let (asks, asks_rx) = mpsc::channel(8);
        let (name, lasts) = (format!("{}/{}", options.namespace, options.name), options.lasts);
        let keeper = Keeper {
            api: Api::namespaced(client, &options.namespace),
            election: Election::new(options.token.clone(), options.lasts),
            options,
            origin,
            seen: None,
            failing: None,
            standing: standing_tx,
            asks: asks_rx,
            leaving: Vec::new(),
            metrics,
        };
        let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.keep()));
        Self { name, lasts, standing, asks, origin, stands: false, told: 0, _keeper: keeper }
    }

    /// Tries for the Lease from now on: whoever has nothing to publish yet must not keep others from it.
    pub(super) async fn stand(&mut self) {
        if !self.stands {
            // An error means that the task is gone, and then it is never held.
            let _ = self.asks.send(Ask::Stand).await;
            self.stands = true;
        }
    }

    /// Its namespace and name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How long it stands without being renewed.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Whether we hold it, by our own clock.
    pub(super) fn held(&self) -> bool {
        let now = self.origin.elapsed();
        self.standing.borrow().trust.is_some_and(|trust| trust.held(now))
    }

    /// Who held it when it was seen last; empty for nobody.
    pub(super) fn holder(&self) -> String {
        self.standing.borrow().holder.clone()
    }

    /// Makes sure that we hold it still, by a write that is sent after this call. False when we do not, or when nobody
    /// knows.
    pub(super) async fn confirm(&mut self) -> bool {
        let after = self.origin.elapsed();
        if !self.held() || self.asks.send(Ask::Confirm).await.is_err() {
            return false;
        }
        let known = self.standing.wait_for(|standing| {
            standing.trust.is_none() || standing.confirmed.is_some_and(|sent| sent >= after)
        });
        // What it gives is a lock, let go before `held` takes it again.
        let known = timeout(self.lasts / 3, known).await.is_ok_and(|known| known.is_ok());
        known && self.held()
    }

    /// Waits until we have won it, once for each time.
    pub(super) async fn won(&mut self) {
        let told = self.told;
        let won = self.standing.wait_for(|standing| standing.wins > told).await;
        match won.map(|standing| standing.wins).ok() {
            Some(wins) => self.told = wins,
            // The task ends with us.
            None => std::future::pending().await,
        }
    }

    /// Gives it up for a moment, for somebody else to lead who can.
    pub(super) async fn stand_back(&self) {
        // An error means that the task is gone, and with it the Lease.
        let _ = self.asks.send(Ask::StandBack).await;
    }

    /// Gives it up for good. False when that could not be written in time; it then ends by itself.
    pub(super) async fn leave(&self) -> bool {
        let (done, left) = oneshot::channel();
        let leaving = async {
            self.asks.send(Ask::Leave(done)).await.ok()?;
            left.await.ok()
        };
        matches!(timeout(LEAVING, leaving).await, Ok(Some(())))
    }
}

// === impl Keeper ===

impl Keeper {
    async fn keep(mut self) {
        loop {
            match self.asks.recv().await {
                Some(Ask::Stand) => break,
                Some(Ask::Leave(left)) => {
                    let _ = left.send(());
                }
                Some(Ask::Confirm | Ask::StandBack) => {}
                None => return,
            }
        }
        loop {
            let now = self.origin.elapsed();
            let until = match self.election.step(now) {
                Step::Wait { until } => Some(until),
                Step::Done => {
                    for left in self.leaving.drain(..) {
                        // Whoever asked may have lost patience.
                        let _ = left.send(());
                    }
                    None
                }
                step => {
                    self.go(&step).await;
                    continue;
                }
            };
            let rest = async {
                match until {
                    Some(until) => tokio::time::sleep_until(self.origin + until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.asked(ask),
                    None => return,
                },
                () = rest => {}
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        let now = self.origin.elapsed();
        let held = self.election.lease().is_some();
        match ask {
            Ask::Stand => {}
            Ask::Confirm => self.election.confirm(now),
            Ask::StandBack => self.election.stand_back(now),
            Ask::Leave(left) => {
                self.election.leave(now);
                self.leaving.push(left);
            }
        }
        if held && self.election.lease().is_none() {
            self.metrics.lost(Reason::given_up);
        }
        self.tell(None);
    }

    async fn go(&mut self, step: &Step) {
        let sent = self.origin.elapsed();
        let answered = timeout(self.election.patience(), self.send(step)).await;
        let answer = answered.unwrap_or_else(|_| {
            let wait = self.election.patience();
            self.failed(format!("the API server did not answer within {wait:?}"));
            Answer::Failed
        });
        self.metrics.requested(Verb::of(step), Outcome::of(&answer));
        if answer != Answer::Failed && self.failing.take().is_some() {
            tracing::info!(lease = %self.name(), "the Lease that says who leads can be used again");
        }
        let turn = self.election.take(step, sent, self.origin.elapsed(), answer);
        match turn {
            None => {}
            Some(Turn::Won) => {
                self.metrics.won();
                tracing::info!(lease = %self.name(), "this controller holds the Lease");
            }
            Some(Turn::Lost(loss)) => {
                let holder = self.election.holder();
                match loss {
                    Loss::Refused => {
                        self.metrics.lost(Reason::refused);
                        tracing::warn!(lease = %self.name(), %holder, "the Lease is lost: another controller took it, or it was deleted");
                    }
                    Loss::Late => {
                        self.metrics.lost(Reason::late);
                        tracing::warn!(lease = %self.name(), "the Lease is given up: it could not be renewed in time");
                    }
                }
            }
        }
        self.tell(turn);
    }

    fn tell(&self, turn: Option<Turn>) {
        self.metrics.holds(self.election.lease().is_some());
        self.standing.send_modify(|standing| {
            standing.trust = self.election.lease();
            standing.confirmed = self.election.confirmed();
            standing.holder = self.election.holder().to_owned();
            standing.wins += u64::from(turn == Some(Turn::Won));
        });
    }

    async fn send(&mut self, step: &Step) -> Answer {
        let name = self.options.name.clone();
        let params = PostParams::default();
        let result = match step {
            Step::Look => self.api.get_opt(&name).await,
            Step::Create(claim) => {
                let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
                let lease = self.written(Lease { metadata, spec: None }, claim);
                self.api.create(&params, &lease).await.map(Some)
            }
            Step::Replace { version, claim } => {
                let seen = self.seen.clone().unwrap_or_default();
                let mut lease = self.written(seen, claim);
                lease.metadata.name = Some(name.clone());
                lease.metadata.resource_version = Some(version.clone());
                self.api.replace(&name, &params, &lease).await.map(Some)
            }
            Step::Wait { .. } | Step::Done => return Answer::Failed,
        };
        match result {
            Ok(None) => Answer::Absent,
            Ok(Some(lease)) => {
                let record = self.record(&lease);
                self.seen = Some(lease);
                Answer::Found(record)
            }
            // Also "there is one already" when it was to be made.
            Err(kube::Error::Api(status)) if status.code == 409 => Answer::Conflict,
            Err(kube::Error::Api(status)) if status.code == 404 && matches!(step, Step::Replace { .. }) => {
                Answer::Absent
            }
            Err(error) => {
                self.failed(match Failure::from(error) {
                    Failure::Forbidden(said) => format!(
                        "{said}; give this controller get, create and update on leases of coordination.k8s.io there"
                    ),
                    Failure::NotFound(said) => format!("{said}; --lease-namespace names where it is to be"),
                    other => other.to_string(),
                });
                Answer::Failed
            }
        }
    }

    /// `lease` with our claim. The times are for people: nobody decides by them.
    fn written(&self, mut lease: Lease, claim: &Claim) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let spec = lease.spec.get_or_insert_default();
        let seconds = self.options.lasts.as_millis().div_ceil(1000);
        *spec = LeaseSpec {
            acquire_time: if claim.begins { now.clone() } else { spec.acquire_time.take() },
            renew_time: now,
            holder_identity: Some(claim.holder.clone()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            lease_transitions: i32::try_from(claim.transitions).ok(),
            ..std::mem::take(spec)
        };
        lease
    }

    fn record(&self, lease: &Lease) -> Record {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Record {
            holder: spec.holder_identity.unwrap_or_default(),
            lasts: seconds.map_or(self.options.lasts, Duration::from_secs),
            transitions: spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    fn failed(&mut self, error: String) {
        if self.failing.as_ref() != Some(&error) {
            tracing::warn!(lease = %self.name(), %error, "the Lease that says who leads cannot be used, trying again");
            self.failing = Some(error);
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.options.namespace, self.options.name)
    }
}
