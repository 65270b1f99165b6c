//! May this client make this call? One answer for each port and kind of pod that may get it.

use super::{Appearance, Callee, Caller, Endpoint, Mesh, Unanswerable, egress};
use crate::{
    id::{Text, WorkloadId},
    policy::{Client, Decision, Request, Verdict, answer::Server},
};
use std::net::IpAddr;

/// The decision on a call to one port of one kind of pod by one kind of client.
#[derive(Debug, Clone, PartialEq)]
pub struct Access<'a> {
    /// What answers; `None` for a destination outside.
    pub endpoint: Option<Endpoint<'a>>,
    /// Who calls, as the target's proxy sees it. Without an address when no authorization looks at addresses.
    pub client: Client,
    /// The addresses the client may call from that are decided alike; none when they are not known.
    pub addresses: Vec<IpAddr>,
    /// What happens, and why.
    pub verdict: Verdict,
}

/// The answer to a whole question.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<'a> {
    /// One for each case that is decided by itself. Never empty.
    pub accesses: Vec<Access<'a>>,
    /// What was assumed, and what cannot be known; each a sentence.
    pub notes: Vec<String>,
}

/// The most addresses of one client that are judged one by one.
const MAX_ADDRESSES: usize = 2_000;

/// Decides on a call.
///
/// Without a request the question is about a connection, see
/// [`Policies::check_access`](crate::policy::Policies::check_access). `address` is where the client calls from; without
/// it the addresses of its pods are taken.
///
/// # Errors
///
/// When there is nobody to decide about the call, with the reason.
pub fn check<'a>(
    mesh: &Mesh<'a>,
    caller: &Caller,
    callee: &Callee,
    request: Option<&Request>,
    address: Option<IpAddr>,
) -> Result<Checked<'a>, Unanswerable> {
    let mut notes = assumptions(mesh);
    let mut accesses = Vec::new();
    if let Callee::External(id) = callee {
        for appearance in appearances(mesh, caller, id.port(), address) {
            let client = appearance.client(address.or_else(|| appearance.addresses.first().copied()));
            let verdict = egress::verdict(mesh, caller, &client, id)?;
            accesses.push(Access { endpoint: None, client, addresses: appearance.addresses, verdict });
        }
        return Ok(Checked { accesses, notes });
    }
    let mut unknown_address = false;
    for endpoint in callee.endpoints(mesh)? {
        for appearance in appearances(mesh, caller, Some(endpoint.dialed), address) {
            let judged = judge(mesh, endpoint, &appearance, request);
            unknown_address |= appearance.addresses.is_empty() && judged.address_matters;
            accesses.extend(judged.accesses);
        }
    }
    if unknown_address {
        notes.push(
            "An authorization looks at addresses, and the client's is not known; name it to be judged by it."
                .to_owned(),
        );
    }
    notes.extend(routes_of(mesh, callee));
    if accesses.iter().filter_map(Access::identity).any(|identity| is_gateway(identity)) {
        notes.push(
            "This is the identity of a multicluster gateway: clients of other clusters that come through it all present \
             it, so the answer is the same for every one of them."
                .to_owned(),
        );
    }
    if accesses.is_empty() {
        return Err(Unanswerable::NoClient(caller.to_string()));
    }
    Ok(Checked { accesses, notes })
}

/// Sentences about settings that had to be assumed.
pub(super) fn assumptions(mesh: &Mesh<'_>) -> Vec<String> {
    match mesh.graph.cluster {
        Some(_) => Vec::new(),
        None => vec![
            "The settings of Linkerd's control plane are not known; the defaults of its chart are assumed \
             (default inbound policy all-unauthenticated, trust domain cluster.local)."
                .to_owned(),
        ],
    }
}

/// Gateways of linkerd-multicluster run as this ServiceAccount, and their proxies put their own identity in the place of
/// the remote client's.
fn is_gateway(identity: &str) -> bool {
    identity.starts_with("linkerd-gateway.") && identity.contains(".serviceaccount.identity.")
}

fn appearances(
    mesh: &Mesh<'_>,
    caller: &Caller,
    port: Option<u16>,
    address: Option<IpAddr>,
) -> Vec<Appearance> {
    let mut appearances = caller.appearances(mesh, port);
    if let Some(address) = address {
        for appearance in &mut appearances {
            appearance.addresses = vec![address];
        }
    }
    appearances
}

struct Judged<'a> {
    accesses: Vec<Access<'a>>,
    address_matters: bool,
}

/// One access for each group of the client's addresses that is decided alike, the first address standing for it.
fn judge<'a>(
    mesh: &Mesh<'_>,
    endpoint: Endpoint<'a>,
    appearance: &Appearance,
    request: Option<&Request>,
) -> Judged<'a> {
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    let verdict = |client: &Client| mesh.policies.check_access(client, target, endpoint.port, request);
    let local = appearance.addresses.iter().any(IpAddr::is_loopback);
    let address_matters = local || looks_at_addresses(&mesh.policies.server(target, endpoint.port));
    if !address_matters || appearance.addresses.is_empty() {
        let client = appearance.client(None);
        let verdict = verdict(&client);
        let addresses = appearance.addresses.iter().copied().take(MAX_ADDRESSES).collect();
        return Judged {
            accesses: vec![Access { endpoint: Some(endpoint), client, addresses, verdict }],
            address_matters,
        };
    }
    let mut accesses: Vec<Access<'a>> = Vec::new();
    for address in appearance.addresses.iter().take(MAX_ADDRESSES) {
        let client = appearance.client(Some(*address));
        let verdict = verdict(&client);
        match accesses.iter_mut().find(|known| known.verdict == verdict) {
            Some(known) => known.addresses.push(*address),
            None => {
                accesses.push(Access { endpoint: Some(endpoint), client, addresses: vec![*address], verdict })
            }
        }
    }
    Judged { accesses, address_matters }
}

/// True when an authorization of the server or of a route is for some addresses only.
pub(super) fn looks_at_addresses(server: &Server) -> bool {
    server.authorizations.iter().chain(server.route_authorizations()).any(|row| !row.is_for_every_address())
}

/// Routes of the called Service may send the call elsewhere.
fn routes_of(mesh: &Mesh<'_>, callee: &Callee) -> Option<String> {
    use crate::kind::Kind;
    let Callee::Service(id, _) = callee else { return None };
    let names = |object: &crate::fact::PolicyObject| {
        let parents = object.spec.get("parentRefs").and_then(serde_json::Value::as_array);
        parents.into_iter().flatten().any(|parent| {
            let text = |field| parent.get(field).and_then(serde_json::Value::as_str);
            text("kind") == Some("Service")
                && text("name") == Some(id.name())
                && text("namespace").unwrap_or(&object.key.namespace) == id.namespace()
        })
    };
    let kinds =
        [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute, Kind::TLSRoute, Kind::TCPRoute];
    let routes: Vec<String> = kinds
        .into_iter()
        .flat_map(|kind| mesh.policies.objects().policies(kind, id.namespace()))
        .filter(|object| names(object))
        .map(|object| format!("{}/{}", object.kind.policy_prefix(), object.key))
        .collect();
    (!routes.is_empty()).then(|| {
        format!(
            "{} may send calls to {id} to other backends; the answer is about the pods of {id}.",
            routes.join(", ")
        )
    })
}

// === impl Access ===

impl Access<'_> {
    /// The workload that answers.
    pub fn workload(&self) -> Option<&WorkloadId> {
        self.endpoint.map(|endpoint| endpoint.workload)
    }

    /// The identity that the client presents.
    pub fn identity(&self) -> Option<&Text> {
        self.client.identity.as_ref()
    }
}

// === impl Checked ===

impl Checked<'_> {
    /// The least permissive decision: what is refused to some is not allowed.
    pub fn decision(&self) -> Decision {
        let rank = |decision: &Decision| match decision {
            Decision::Deny => 0,
            Decision::UnmatchedRoute => 1,
            Decision::Audit => 2,
            Decision::Allow => 3,
        };
        self.accesses.iter().map(|access| access.verdict.decision).min_by_key(rank).unwrap_or(Decision::Deny)
    }

    /// True when not all accesses are decided alike.
    pub fn is_mixed(&self) -> bool {
        self.accesses.windows(2).any(|pair| pair[0].verdict.decision != pair[1].verdict.decision)
    }
}
