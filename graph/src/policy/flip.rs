//! The smallest changes after which a call would be decided otherwise.
//!
//! ```text
//! Access ─► Call ─► candidates of allow.rs, deny.rs, route.rs ─► tried: Policies::changed, judged again ─► Flip
//!                                                                   └─► effect.rs: who else is let in or shut out
//! ```
//!
//! A candidate that does not change the decision is dropped, so what is guessed wrongly costs time and is never
//! shown. Changes that let nobody else in and shut nobody out come first, then those with the fewest edits.

use super::{
    Decision, Policies, Request, Verdict,
    answer::Server,
    ask::{Access, Endpoint, Mesh},
    objects::ObjectChange,
    verdict::{Client, Origin, Reason},
};
use crate::{
    fact::{Key, PolicyObject},
    id::{PolicyId, Text},
    kind::{KINDS, Kind},
    model::Template,
};
use serde_json::Value;
use std::net::IpAddr;

mod allow;
mod deny;
mod effect;
mod egress;
mod object;
mod route;

pub use object::manifest;
pub(crate) use object::{free_name, new, reference};

/// The most flips of one call.
const MAX_FLIPS: usize = 3;

/// The most addresses of one client that a change is tried for.
const MAX_ADDRESSES: usize = 50;

/// A change after which a call is decided otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Flip {
    /// What to do and who else it concerns, in sentences.
    pub text: String,
    /// What happens to the call then.
    pub becomes: Decision,
    /// Objects as they must be. Without these and without `removes` it is a change of the workload itself, which
    /// only `text` describes.
    pub put: Vec<PolicyObject>,
    /// Objects that must go.
    pub removes: Vec<PolicyId>,
}

/// The smallest changes after which the call that `access` was decided on is decided otherwise, the smallest first.
///
/// Refused calls and those that no route takes are let in by them, calls that are let in are refused, and calls that
/// only an `audit` policy lets in are either authorized or refused. `request` is the one that `access` was decided
/// with. Each was tried on the mesh's policies.
pub fn flips(mesh: &Mesh<'_>, access: &Access<'_>, request: Option<&Request>) -> Vec<Flip> {
    let Some(endpoint) = access.endpoint else { return egress::flips(mesh, &access.verdict) };
    let address = access.client.address.or_else(|| access.addresses.first().copied());
    let client = Client { address, ..access.client.clone() };
    let call = Call {
        mesh: *mesh,
        policies: mesh.policies,
        endpoint,
        client: &client,
        addresses: &access.addresses,
        request,
        verdict: &access.verdict,
    };
    let mut ranked = match access.verdict.decision {
        Decision::Deny | Decision::UnmatchedRoute => admit(call),
        Decision::Allow => refuse(call),
        Decision::Audit => [admit(call), refuse(call)].concat(),
    };
    ranked.sort_by_key(|ranked| ranked.rank);
    ranked.truncate(MAX_FLIPS);
    ranked.into_iter().map(|ranked| ranked.flip).collect()
}

/// Changes after which a call is let in that is not, or (with [`Decision::Audit`]) not for good.
pub(super) fn admitting(mesh: &Mesh<'_>, access: &Access<'_>, request: Option<&Request>) -> Vec<Flip> {
    match access.verdict.decision {
        Decision::Allow => Vec::new(),
        Decision::Audit => {
            let mut flips = flips(mesh, access, request);
            flips.retain(|flip| flip.becomes == Decision::Allow);
            flips
        }
        Decision::Deny | Decision::UnmatchedRoute => flips(mesh, access, request),
    }
}

/// What takes the requests to a port that none of its routes takes now.
pub(super) fn routing(mesh: &Mesh<'_>, access: &Access<'_>) -> Vec<Flip> {
    let Some(endpoint) = access.endpoint else { return Vec::new() };
    let request = Request::grpc("no.route.takes.This", "Request");
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    let verdict = mesh.policies.check_access(&access.client, target, endpoint.port, Some(&request));
    if verdict.decision != Decision::UnmatchedRoute {
        return Vec::new();
    }
    let call = Call {
        mesh: *mesh,
        policies: mesh.policies,
        endpoint,
        client: &access.client,
        addresses: &access.addresses,
        request: Some(&request),
        verdict: &verdict,
    };
    let candidates = route::for_all_the_rest(call).into_iter().collect();
    let ranked = tried(call, candidates, |decision| matches!(decision, Decision::Allow | Decision::Audit));
    ranked.into_iter().map(|ranked| ranked.flip).collect()
}

/// A call to one port of one kind of pod, with the policies it is judged by.
#[derive(Clone, Copy)]
struct Call<'a> {
    mesh: Mesh<'a>,
    policies: &'a Policies,
    endpoint: Endpoint<'a>,
    client: &'a Client,
    /// All addresses it calls from, as far as they are known and decided alike.
    addresses: &'a [IpAddr],
    request: Option<&'a Request>,
    verdict: &'a Verdict,
}

/// A change that may flip a call.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    text: String,
    /// How many lines or objects it takes: an edit counts one, a new object two.
    edits: usize,
    put: Vec<PolicyObject>,
    removes: Vec<PolicyId>,
}

/// A flip with its place among others.
#[derive(Debug, Clone)]
struct Ranked {
    rank: (bool, bool, usize),
    flip: Flip,
}

fn admit(call: Call<'_>) -> Vec<Ranked> {
    let mut candidates = Vec::new();
    if call.verdict.decision != Decision::UnmatchedRoute {
        candidates.extend(allow::candidates(call));
    }
    // A repair may not be enough: then what authorizes the client after it comes with it.
    for repair in route::repairs(call) {
        let after = call.policies.changed(repair.changes());
        let verdict = call.judge(&after);
        match verdict.decision {
            Decision::Allow | Decision::Audit => candidates.push(repair),
            Decision::Deny => {
                let then = allow::candidates(Call { policies: &after, verdict: &verdict, ..call });
                candidates.extend(then.into_iter().map(|next| repair.clone().and(next)));
            }
            Decision::UnmatchedRoute => {}
        }
    }
    let wanted = |decision| match call.verdict.decision {
        Decision::Audit => decision == Decision::Allow,
        _ => matches!(decision, Decision::Allow | Decision::Audit),
    };
    let mut ranked = tried(call, candidates, wanted);
    ranked.extend(allow::by_meshing_the_client(call).map(Ranked::of_workload));
    ranked
}

fn refuse(call: Call<'_>) -> Vec<Ranked> {
    let mut ranked = tried(call, deny::candidates(call), |decision| decision == Decision::Deny);
    ranked.extend(deny::by_enforcing(call).map(Ranked::of_workload));
    ranked
}

/// Applies each candidate and keeps those after which the decision is a wanted one.
fn tried(call: Call<'_>, candidates: Vec<Candidate>, wanted: impl Fn(Decision) -> bool) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = Vec::new();
    let mut known = None;
    for candidate in candidates {
        let after = call.policies.changed(candidate.changes());
        let becomes = call.judge(&after).decision;
        let again = ranked
            .iter()
            .any(|one| (&one.flip.put, &one.flip.removes) == (&candidate.put, &candidate.removes));
        if !wanted(becomes)
            || again
            || !call.at_every_address(|client| wanted(call.judge_as(&after, client).decision))
        {
            continue;
        }
        let known = known.get_or_insert_with(|| effect::known(call));
        let effects = effect::of(call, known, &after, &candidate);
        let rank = (!effects.shut_out.is_empty(), !effects.is_for_the_client_alone(), candidate.edits);
        let Candidate { text, put, removes, .. } = candidate;
        ranked.push(Ranked { rank, flip: Flip { text: format!("{text}{effects}"), becomes, put, removes } });
    }
    ranked
}

// === impl Call ===

impl<'a> Call<'a> {
    /// The verdict by other policies.
    fn judge(&self, policies: &Policies) -> Verdict {
        self.judge_as(policies, self.client)
    }

    /// The verdict on another client by other policies.
    fn judge_as(&self, policies: &Policies, client: &Client) -> Verdict {
        self.judge_at(policies, client, self.endpoint.template)
    }

    /// The verdict on a call to pods that are different.
    fn judge_at(&self, policies: &Policies, client: &Client, template: &Template) -> Verdict {
        let key = self.endpoint.key();
        policies.check_access(client, template.target(&key), self.endpoint.port, self.request)
    }

    /// True when something holds wherever the client calls from.
    fn at_every_address(&self, holds: impl Fn(&Client) -> bool) -> bool {
        let at = |address: &IpAddr| Client { address: Some(*address), ..self.client.clone() };
        self.addresses.iter().take(MAX_ADDRESSES).all(|address| holds(&at(address)))
    }

    /// What is enforced on the port.
    fn server(&self) -> Server {
        let key = self.endpoint.key();
        self.policies.server(self.endpoint.template.target(&key), self.endpoint.port)
    }

    /// The Server that selects the port; `None` when a default policy holds there.
    fn server_object(&self) -> Option<&'a PolicyObject> {
        let server = self.server();
        let key = Key { namespace: self.namespace(), name: server.labels.name.clone() };
        match &*server.labels.kind {
            "server" => self.policies.objects().policy(Kind::Server, &key).map(|object| &**object),
            _ => None,
        }
    }

    /// The route object that takes the request.
    fn route_object(&self) -> Option<&'a PolicyObject> {
        let taken = self.verdict.reasons.iter().find_map(|reason| match reason {
            Reason::Route { route: Origin::Object(id) } => Some(id),
            _ => None,
        });
        self.object(taken?)
    }

    fn object(&self, id: &PolicyId) -> Option<&'a PolicyObject> {
        self.policies.objects().by_id(id).map(|object| &**object)
    }

    /// The namespace whose policies decide.
    fn namespace(&self) -> Text {
        self.endpoint.workload.namespace().into()
    }
}

// === impl Candidate ===

impl Candidate {
    fn put(text: String, edits: usize, put: Vec<PolicyObject>) -> Self {
        Self { text, edits, put, removes: Vec::new() }
    }

    /// Both changes. Where both put one object the later one counts.
    fn and(mut self, next: Self) -> Self {
        self.put.retain(|own| !next.put.iter().any(|new| (new.kind, &new.key) == (own.kind, &own.key)));
        self.put.extend(next.put);
        self.removes.extend(next.removes);
        Self { text: format!("{} {}", self.text, next.text), edits: self.edits + next.edits, ..self }
    }

    fn changes(&self) -> Vec<ObjectChange> {
        changes(&self.put, &self.removes)
    }
}

fn changes(put: &[PolicyObject], removes: &[PolicyId]) -> Vec<ObjectChange> {
    let kind =
        |id: &PolicyId| KINDS.iter().map(|row| row.kind).find(|kind| kind.policy_prefix() == id.kind());
    let removed = removes
        .iter()
        .filter_map(|id| Some(ObjectChange::remove(kind(id)?, Key::new(id.namespace(), id.name()))));
    removed.chain(put.iter().cloned().map(ObjectChange::put)).collect()
}

// === impl Ranked ===

impl Ranked {
    /// A change of a workload: one annotation and a restart, and nobody else gains.
    fn of_workload(flip: Flip) -> Self {
        Self { rank: (false, false, 1), flip }
    }
}

// === impl Flip ===

impl Flip {
    /// The objects to apply as Kubernetes reads them, in the order in which they should be applied.
    pub fn manifests(&self) -> Vec<Value> {
        self.put.iter().map(manifest).collect()
    }

    /// The same as changes, with those that go.
    pub fn changes(&self) -> Vec<ObjectChange> {
        changes(&self.put, &self.removes)
    }
}

#[cfg(test)]
mod tests;
