//! A simulated mesh, for a laptop without a cluster and for tests: Kubernetes objects as a cluster with Linkerd has
//! them, and the metrics its proxies would give, which both go the way of the real ones.
//!
//! ```text
//! Mesh ─┬─► objects ─► fact_from_value ─► Message ─► index           as from the watches
//!       └─► Network ─► samples of every proxy ─► queries ─► Traffic   as from Prometheus
//! ```
//!
//! The same seed gives the same mesh, the same traffic and the same incidents: time comes in as a value. What the
//! graph should show is in [`Simulation::truth`], made from the mesh by none of the ways above. [`start`] runs it.
//!
//! Families of metrics that no question about a mesh reads are left out, as are retries, timeouts and resets.

use crate::graph::{
    fact::{Change, Key},
    id::EdgeId,
    kind::Kind,
    promql::{Query, answer::Answer, eval::Samples, queries},
    status::MetricsStatus,
    traffic::Traffic,
};
use crate::watch::{FactError, fact_from_value};
use flow::{Effects, Network};
use incident::{Incident, Stage};
use mesh::Mesh;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::collections::BTreeMap;

mod builder;
mod builtin;
mod flow;
mod generated;
mod incident;
mod labels;
mod mesh;
mod objects;
mod proxy;
mod source;
mod truth;

#[cfg(test)]
mod tests;

pub use incident::{INCIDENTS, IncidentKind};
pub use source::{SimulatedMetrics, start};
pub use truth::Intended;

/// The most Services there can be.
pub const MAX_SERVICES: usize = 10_000;

/// Seconds between two scrapes of a proxy. viz takes 10; half of it makes a demo livelier.
const SCRAPE_S: u64 = 5;

/// Seconds an incident takes, and seconds to the next one.
const INCIDENT_S: std::ops::RangeInclusive<u64> = 30..=60;

/// Services for each incident that may go on beside others.
const SERVICES_PER_INCIDENT: usize = 100;

/// From how many Services on a poll is worth more than one thread.
const LARGE: usize = 200;

/// What to simulate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// How many Services, at most [`MAX_SERVICES`]. The built-in mesh (a control plane, viz, emojivoto, a bookshop)
    /// is always there; what is missing to this number is generated.
    pub services: usize,
    /// What to draw random numbers from.
    pub seed: u64,
}

/// What happened to an object of the simulated mesh.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It appeared or changed.
    Applied(Kind, Value),
    /// It is gone.
    Deleted(Kind, Key),
}

/// A simulated mesh at a moment.
#[derive(Debug)]
pub struct Simulation {
    mesh: Mesh,
    network: Network,
    effects: Effects,
    incidents: Vec<Incident>,
    rng: StdRng,
    queries: Vec<Query>,
    /// Seconds since the simulation began, those included that it ran before anybody saw it.
    second: u64,
    /// When the next incident begins; none in a calm mesh.
    next_s: Option<u64>,
}

// === impl Event ===

impl Event {
    /// As a watch would tell it.
    ///
    /// # Errors
    /// When the object does not have the shape of its kind, which is a bug.
    pub fn change(self) -> Result<Change, FactError> {
        match self {
            Self::Applied(kind, object) => fact_from_value(kind, &object).map(Change::Apply),
            Self::Deleted(kind, key) => Ok(Change::Delete(kind, key)),
        }
    }
}

// === impl Simulation ===

impl Simulation {
    /// A mesh that has run long enough for every series to have a rate.
    pub fn new(options: Options) -> Self {
        let mut rng = StdRng::seed_from_u64(options.seed);
        let (mut mesh, prometheus) = builtin::mesh();
        let more = options.services.min(MAX_SERVICES).saturating_sub(mesh.services.len());
        generated::add(&mut mesh, more, &mut rng);
        mesh.scrape_from(prometheus);
        incident::add_visitors(&mut mesh);
        let network = Network::new(&mesh);
        let mut simulation = Self {
            mesh,
            network,
            effects: Effects::default(),
            incidents: Vec::new(),
            rng,
            queries: queries::all(),
            second: 0,
            next_s: None,
        };
        simulation.advance(SCRAPE_S * proxy::KEPT as u64);
        simulation.next_s = Some(simulation.second + simulation.rng.random_range(INCIDENT_S) / 3);
        simulation
    }

    /// The same mesh, in which nothing goes wrong but what [`Simulation::begin`] says.
    pub fn calm(self) -> Self {
        Self { next_s: None, ..self }
    }

    /// Every object as it is now.
    pub fn objects(&self) -> Vec<(Kind, Value)> {
        objects::all(&self.mesh)
    }

    /// Lets `seconds` pass and returns what happened to objects meanwhile.
    pub fn advance(&mut self, seconds: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            self.end_incidents(&mut events);
            self.begin_incident(&mut events);
            self.network.tick(&self.mesh, self.second, &self.effects);
            if self.second.is_multiple_of(SCRAPE_S) {
                self.network.sample(self.second);
            }
        }
        events
    }

    /// Asks every query of a poll. `now_ms` is milliseconds since the Unix epoch.
    pub fn poll(&self, now_ms: i64) -> (Traffic, MetricsStatus) {
        let samples = self.network.samples();
        let answers = self.answers(&samples);
        let mut traffic = Traffic::default();
        for (query, answer) in self.queries.iter().zip(&answers) {
            traffic.read(query.ask, answer);
        }
        let status = MetricsStatus {
            stale: false,
            reason: String::new(),
            as_of_ms: Some(now_ms),
            window_s: window_s(),
            ..MetricsStatus::default()
        };
        (traffic, status)
    }

    /// The edges that the mesh intends now. One that came or went within the window of the numbers
    /// ([`Simulation::window_s`]) shows in both states.
    pub fn truth(&self) -> BTreeMap<EdgeId, Intended> {
        truth::edges(&self.mesh, &self.effects, self.second as f64)
    }

    /// Seconds that rates are taken over.
    pub fn window_s(&self) -> u32 {
        window_s()
    }

    /// What goes wrong now, in sentences.
    pub fn incidents(&self) -> Vec<String> {
        self.incidents.iter().map(ToString::to_string).collect()
    }

    /// Lets something go wrong now, for so many seconds; None when there is nothing left that could.
    pub fn begin(&mut self, kind: IncidentKind, seconds: u64) -> Option<Vec<Event>> {
        let until_s = self.second + seconds;
        let going_on = std::mem::take(&mut self.incidents);
        let begun = self.stage().begin(kind, until_s, &going_on);
        self.incidents = going_on;
        let (incident, events) = begun?;
        self.incidents.push(incident);
        Some(events)
    }

    /// Namespace and name of the pods whose proxies are scraped.
    pub fn scraped_pods(&self) -> Vec<(String, String)> {
        let meshed = self.mesh.workloads.iter().filter(|workload| workload.meshed);
        meshed
            .flat_map(|workload| {
                workload.pods.iter().map(|pod| (workload.namespace.clone(), pod.name.clone()))
            })
            .collect()
    }

    /// What `GET /metrics` of a pod's proxy gives; None for pods without a proxy.
    pub fn exposition(&self, namespace: &str, pod: &str) -> Option<String> {
        let mut workloads = self.mesh.workloads.iter().filter(|workload| workload.namespace == namespace);
        let found = workloads.find_map(|workload| workload.pods.iter().find(|one| one.name == pod))?;
        self.network.proxy(found.id).map(proxy::Proxy::exposition)
    }

    /// The answers to all queries, in their order. A large mesh is shared out over the processors.
    fn answers<'a>(&self, samples: &Samples<'a>) -> Vec<Answer<'a>> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.mesh.services.len() < LARGE { 1 } else { processors.min(8) };
        let part =
            |nth: usize| self.queries.iter().skip(nth).step_by(threads).map(|query| samples.evaluate(query));
        if threads == 1 {
            return part(0).collect();
        }
        let mut parts: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> =
                (0..threads).map(|nth| scope.spawn(move || part(nth).collect::<Vec<_>>())).collect();
            running
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).into_iter()
                })
                .collect()
        });
        (0..self.queries.len()).filter_map(|at| parts[at % threads].next()).collect()
    }

    fn stage(&mut self) -> Stage<'_> {
        Stage {
            mesh: &mut self.mesh,
            network: &mut self.network,
            effects: &mut self.effects,
            rng: &mut self.rng,
            second: self.second,
        }
    }

    fn end_incidents(&mut self, events: &mut Vec<Event>) {
        let now = self.second;
        let (over, going_on) =
            std::mem::take(&mut self.incidents).into_iter().partition(|one| one.until_s <= now);
        self.incidents = going_on;
        let over: Vec<Incident> = over;
        for incident in &over {
            events.extend(self.stage().end(incident));
        }
    }

    fn begin_incident(&mut self, events: &mut Vec<Event>) {
        let at_once = (1 + self.mesh.services.len() / SERVICES_PER_INCIDENT).min(incident::VISITORS);
        if self.next_s.is_none_or(|next| self.second < next) {
            return;
        }
        if self.incidents.len() < at_once {
            let kind = INCIDENTS[self.rng.random_range(0..INCIDENTS.len())];
            let seconds = self.rng.random_range(INCIDENT_S);
            events.extend(self.begin(kind, seconds).into_iter().flatten());
        }
        let wait = self.rng.random_range(INCIDENT_S) / at_once as u64;
        self.next_s = Some(self.second + wait.max(1));
    }
}

fn window_s() -> u32 {
    u32::try_from(SCRAPE_S * (proxy::KEPT as u64 - 1)).unwrap_or(u32::MAX)
}
