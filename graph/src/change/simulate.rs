//! What edits would do to the calls that are seen now, and to those that nobody makes yet.
//!
//! Every edge that leads to a port which is served otherwise after the edits is judged again, by the policies before
//! and after. What cannot be known of it is said so and never counts as unchanged: see [`judge`].

use super::{Edit, Trial};
use crate::{
    id::{Destination, EdgeId, Source, Text, WorkloadId, as_text},
    kind::Kind,
    metrics::EdgeMetrics,
    model::Edge,
    policy::{
        Client, Decision, Reason,
        ask::{Callee, Endpoint, Mesh},
        selector::tells_pods_apart,
        verdict::Origin,
    },
    query::{self, Node},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

pub(super) mod client;
mod judge;
mod permission;

pub use permission::{Permission, Who};

/// The most flows, ports or permissions that one list of an [`Impact`] holds; what it counts is all of them.
pub const MOST_LISTED: usize = 500;

/// What edits would do. Each flow is in exactly one of `newly_denied`, `newly_allowed`, `still_denied`, `audited`,
/// `unchanged` and `unknown`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Impact {
    /// Let in now, at least in part, and refused or answered with 404 after it.
    pub newly_denied: Flows,
    /// Refused now and let in after it.
    pub newly_allowed: Flows,
    /// Refused before and after.
    pub still_denied: Flows,
    /// Let in before and after, and after it by nothing but an `audit` policy: enforced, they would be refused.
    pub audited: Flows,
    /// How many are let in before and after.
    pub unchanged: usize,
    /// What cannot be known, the most frequent first; [`MOST_LISTED`] at most.
    pub unknown: Vec<Unknown>,
    /// How many those are.
    pub unknown_count: usize,
    /// Their calls per second, where any is known.
    pub unknown_rps: Option<f64>,
    /// The ports that are served otherwise; [`MOST_LISTED`] at most.
    pub ports_touched: Vec<PortTouched>,
    /// How many those are.
    pub ports_touched_count: usize,
    /// Who gains or loses a permission that no traffic is seen of; [`MOST_LISTED`] at most.
    pub permissions: Vec<Permission>,
    /// At how many ports.
    pub permissions_count: usize,
    /// What was assumed, and what could not be looked at; each a sentence.
    pub notes: Vec<String>,
}

/// Flows that fare alike, the most frequent first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Flows {
    /// The first [`MOST_LISTED`] of them.
    pub flows: Vec<Flow>,
    /// How many there are.
    pub count: usize,
    /// Calls per second of all of them; absent when none of their numbers is known.
    pub rps: Option<f64>,
}

/// The calls of one edge to one port of the pods that answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flow {
    /// The edge.
    pub edge: EdgeId,
    /// Who calls.
    #[serde(with = "as_text")]
    pub from: Source,
    /// What is called.
    #[serde(with = "as_text")]
    pub to: Destination,
    /// The workloads whose port is meant, sorted.
    pub workloads: Vec<WorkloadId>,
    /// Their port.
    pub port: u16,
    /// What happens to such calls now.
    pub before: Decision,
    /// What happens to them after the edits.
    pub after: Decision,
    /// Only some of the calls fare so: from some addresses, of some pods, or at some of the workloads.
    pub partly: bool,
    /// Calls per second, as the client counts them; new connections per second where it is no HTTP.
    pub rps: Option<f64>,
    /// Calls per second that are refused now, as the server counts them.
    pub denied: Option<f64>,
    /// Why they fare so after the edits.
    pub reasons: Vec<Reason>,
}

/// Calls of which it cannot be known what becomes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unknown {
    /// The edge.
    pub edge: EdgeId,
    /// The port, where it is known.
    pub port: Option<u16>,
    /// Calls per second, where known.
    pub rps: Option<f64>,
    /// Why it cannot be known.
    pub sentence: String,
}

/// A port that is served otherwise after the edits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortTouched {
    /// Its workload.
    pub workload: WorkloadId,
    /// Its number.
    pub port: u16,
    /// The Server, or the default policy, that holds there now.
    pub before: Origin,
    /// The one that holds after the edits.
    pub after: Origin,
}

/// What edits would do to the calls of a mesh.
///
/// Costs what the touched namespaces and the edges to their ports weigh, not what the mesh weighs.
pub fn simulate(mesh: &Mesh<'_>, edits: &[Edit]) -> Impact {
    impact(&Trial::of(mesh, edits))
}

/// The same of edits that have been tried.
pub(super) fn impact(trial: &Trial<'_>) -> Impact {
    let mut flows = Vec::new();
    for (id, edge) in edges(trial) {
        flows.extend(of_edge(trial, id, edge));
    }
    let seen = seen(&flows);
    let (permissions, permissions_count, in_part) = permission::changes(trial, &seen);
    let mut ports: Vec<PortTouched> = trial.ports.iter().map(PortTouched::of).collect();
    ports.dedup();
    let ports_touched_count = ports.len();
    ports.truncate(MOST_LISTED);
    let mut impact = Impact {
        newly_denied: Flows::default(),
        newly_allowed: Flows::default(),
        still_denied: Flows::default(),
        audited: Flows::default(),
        unchanged: 0,
        unknown: Vec::new(),
        unknown_count: 0,
        unknown_rps: None,
        ports_touched: ports,
        ports_touched_count,
        permissions,
        permissions_count,
        notes: notes(trial, in_part),
    };
    impact.take(trial, flows);
    impact
}

fn notes(trial: &Trial<'_>, in_part: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let (graph, metrics) = (trial.mesh.graph, trial.mesh.metrics);
    if graph.cluster.is_none() {
        notes.push(
            "The settings of Linkerd's control plane are not known; the defaults of its chart are assumed \
             (default inbound policy all-unauthenticated, trust domain cluster.local)."
                .to_owned(),
        );
    }
    if metrics.status.stale {
        notes.push(
            "The numbers are stale: calls that began or ended since are not seen, and rates are those of the last poll."
                .to_owned(),
        );
    }
    if trial.ports.is_empty() {
        notes.push("No port of a workload that runs now is served otherwise after this.".to_owned());
    } else {
        notes.push(
            "Only calls seen in the last ten minutes are judged; what calls more seldom (a nightly job, a failover) is \
             found among the permissions, if at all."
                .to_owned(),
        );
    }
    notes.extend(apart(trial));
    if in_part {
        notes.push(
            "The ports are too many to say for all of them who gains or loses a permission.".to_owned(),
        );
    }
    notes
}

/// Pods that differ in such a label alone are told of as one, unless a Server looks at it already.
fn apart(trial: &Trial<'_>) -> Option<String> {
    let servers = trial.edits.iter().filter(|edit| edit.kind == Kind::Server);
    let mut labels = servers.filter_map(|edit| {
        let labels = edit.after.as_ref()?.spec.pointer("/podSelector/matchLabels")?.as_object()?;
        labels.keys().find(|label| tells_pods_apart(label)).map(|label| (edit.id(), label))
    });
    labels.next().map(|(id, label)| {
        format!(
            "{id} selects pods by {label}, in which pods of one workload differ; of these only the first is looked at."
        )
    })
}

// --- which edges ---

/// The edges that may lead to a touched port, each once.
fn edges<'a>(trial: &Trial<'a>) -> BTreeMap<&'a EdgeId, &'a Edge> {
    edges_to(&trial.mesh, trial.ports.iter().map(|port| port.endpoint.workload).collect())
}

/// The edges that may lead to workloads, each once.
pub(super) fn edges_to<'a>(
    mesh: &Mesh<'a>,
    workloads: BTreeSet<&WorkloadId>,
) -> BTreeMap<&'a EdgeId, &'a Edge> {
    let (graph, index) = (mesh.graph, mesh.index);
    let mut nodes = BTreeSet::new();
    for id in workloads {
        nodes.insert(Node::Workload(id.clone()));
        let services = graph.workloads.get(id).map(|workload| &workload.services[..]).unwrap_or_default();
        nodes.extend(services.iter().cloned().map(Node::Service));
    }
    let to = nodes.iter().flat_map(|node| query::edges::to(graph, index, node));
    to.map(|(id, edge)| (id, &**edge)).collect()
}

/// The ports that an edge leads to.
pub(super) struct Uses<'a> {
    pub(super) by_port: BTreeMap<u16, Vec<Endpoint<'a>>>,
    /// Why it is not known which of them.
    pub(super) doubt: Option<String>,
}

/// The ports that an edge leads to.
pub(super) fn uses<'a>(mesh: &Mesh<'a>, edge: &Edge) -> Uses<'a> {
    let mut by_port: BTreeMap<u16, Vec<Endpoint<'a>>> = BTreeMap::new();
    let mut dialed = BTreeSet::new();
    for target in targets(edge) {
        for endpoint in target.endpoints(mesh).unwrap_or_default() {
            dialed.insert(endpoint.dialed);
            by_port.entry(endpoint.port).or_default().push(endpoint);
        }
    }
    let doubt = match &edge.dst {
        Destination::Workload(id, None) if by_port.len() > 1 => {
            Some(format!("the port of {id} that is called is not known"))
        }
        Destination::Service(id, None) if dialed.len() > 1 => {
            Some(format!("the port of Service {id} that is called is not known"))
        }
        _ => None,
    };
    Uses { by_port, doubt }
}

/// What an edge leads to; where a route sends it elsewhere, there.
fn targets(edge: &Edge) -> Vec<Callee> {
    match &edge.dst {
        Destination::Service(_, port) if !edge.backends.is_empty() => {
            edge.backends.iter().map(|backend| Callee::Service(backend.clone(), *port)).collect()
        }
        Destination::Service(id, port) => vec![Callee::Service(id.clone(), *port)],
        Destination::Workload(id, port) => vec![Callee::Workload(id.clone(), *port)],
        Destination::External(_) => Vec::new(),
    }
}

// --- what becomes of them ---

/// What becomes of a flow, in the order in which one of several cases speaks for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NewlyDenied,
    Unknown,
    NewlyAllowed,
    StillDenied,
    Audited,
    Unchanged,
}

/// A flow that has been judged, without its reasons.
struct Judged<'a> {
    class: Class,
    id: &'a EdgeId,
    edge: &'a Edge,
    port: Option<u16>,
    numbers: Option<&'a EdgeMetrics>,
    partly: bool,
    workloads: BTreeSet<&'a WorkloadId>,
    before: Decision,
    after: Decision,
    /// The case that speaks for the flow.
    case: Option<(Endpoint<'a>, Client)>,
    /// Everybody that was seen calling, by identity; `None` stands for clients without one.
    clients: BTreeSet<Option<Text>>,
    sentence: String,
}

/// The flows of an edge, one for each touched port that it uses.
fn of_edge<'a>(trial: &Trial<'a>, id: &'a EdgeId, edge: &'a Edge) -> Vec<Judged<'a>> {
    let Uses { mut by_port, doubt } = uses(&trial.mesh, edge);
    let touched = |endpoints: &Vec<Endpoint<'a>>| endpoints.iter().any(|it| trial.touched(it).is_some());
    by_port.retain(|_, endpoints| touched(endpoints));
    match doubt {
        Some(_) if by_port.is_empty() => Vec::new(),
        Some(why) => vec![Judged::unknown(trial, id, edge, None, why)],
        None => by_port
            .into_iter()
            .map(|(port, endpoints)| judge::flow(trial, id, edge, port, &endpoints))
            .collect(),
    }
}

/// Who was seen calling which port.
type Seen<'a> = BTreeMap<(&'a WorkloadId, u16), BTreeSet<Option<Text>>>;

fn seen<'a>(flows: &[Judged<'a>]) -> Seen<'a> {
    let mut seen: Seen<'a> = BTreeMap::new();
    for flow in flows {
        let Some(port) = flow.port else { continue };
        for workload in &flow.workloads {
            seen.entry((workload, port)).or_default().extend(flow.clients.iter().cloned());
        }
    }
    seen
}

// === impl Judged ===

impl<'a> Judged<'a> {
    fn unknown(
        trial: &Trial<'a>,
        id: &'a EdgeId,
        edge: &'a Edge,
        port: Option<u16>,
        sentence: String,
    ) -> Self {
        Self {
            class: Class::Unknown,
            id,
            edge,
            port,
            numbers: trial.mesh.metrics.get(id),
            partly: false,
            workloads: BTreeSet::new(),
            before: Decision::Deny,
            after: Decision::Deny,
            case: None,
            clients: BTreeSet::new(),
            sentence,
        }
    }

    fn rps(&self) -> Option<f64> {
        self.numbers.and_then(|numbers| numbers.rps.or(numbers.tcp_opened))
    }

    fn denied(&self) -> Option<f64> {
        self.numbers.and_then(|numbers| numbers.denied)
    }

    /// By which flows are ranked: what is refused now may be all that there is.
    fn weight(&self) -> f64 {
        self.rps().unwrap_or(0.0).max(self.denied().unwrap_or(0.0))
    }

    fn flow(self, trial: &Trial<'a>) -> Flow {
        let reasons = match &self.case {
            Some((endpoint, client)) => {
                let key = endpoint.key();
                let target = endpoint.template.target(&key);
                trial.after.check_access(client, target, endpoint.port, None).reasons
            }
            None => Vec::new(),
        };
        Flow {
            rps: self.rps(),
            denied: self.denied(),
            edge: self.id.clone(),
            from: self.edge.src.clone(),
            to: self.edge.dst.clone(),
            workloads: self.workloads.into_iter().cloned().collect(),
            port: self.port.unwrap_or_default(),
            before: self.before,
            after: self.after,
            partly: self.partly,
            reasons,
        }
    }
}

// === impl Impact ===

impl Impact {
    /// Sorts the flows into their classes.
    fn take<'a>(&mut self, trial: &Trial<'a>, mut judged: Vec<Judged<'a>>) {
        judged.sort_by(|a, b| {
            b.weight().total_cmp(&a.weight()).then_with(|| (a.id, a.port).cmp(&(b.id, b.port)))
        });
        // An edge that uses several ports is counted once in each sum.
        let mut summed = BTreeSet::new();
        for flow in judged {
            let rps = flow.rps().filter(|_| summed.insert((flow.class, flow.id)));
            let flows = match flow.class {
                Class::Unchanged => {
                    self.unchanged += 1;
                    continue;
                }
                Class::Unknown => {
                    self.unknown_count += 1;
                    add(&mut self.unknown_rps, rps);
                    if self.unknown.len() < MOST_LISTED {
                        let (edge, port, rps) = (flow.id.clone(), flow.port, flow.rps());
                        self.unknown.push(Unknown { edge, port, rps, sentence: flow.sentence });
                    }
                    continue;
                }
                Class::NewlyDenied => &mut self.newly_denied,
                Class::NewlyAllowed => &mut self.newly_allowed,
                Class::StillDenied => &mut self.still_denied,
                Class::Audited => &mut self.audited,
            };
            flows.count += 1;
            add(&mut flows.rps, rps);
            if flows.flows.len() < MOST_LISTED {
                flows.flows.push(flow.flow(trial));
            }
        }
    }

    /// How many flows were judged.
    pub fn judged(&self) -> usize {
        let listed = [&self.newly_denied, &self.newly_allowed, &self.still_denied, &self.audited];
        listed.iter().map(|flows| flows.count).sum::<usize>() + self.unchanged + self.unknown_count
    }

    /// True when nothing that can be observed is different: no port is served otherwise.
    pub fn is_nothing(&self) -> bool {
        self.ports_touched_count == 0
    }
}

fn add(sum: &mut Option<f64>, number: Option<f64>) {
    if let Some(number) = number {
        *sum = Some(sum.unwrap_or(0.0) + number);
    }
}

// === impl PortTouched ===

impl PortTouched {
    fn of(port: &super::trial::Port<'_>) -> Self {
        let namespace = port.endpoint.workload.namespace();
        Self {
            workload: port.endpoint.workload.clone(),
            port: port.endpoint.port,
            before: port.before.origin(namespace),
            after: port.after.origin(namespace),
        }
    }
}
