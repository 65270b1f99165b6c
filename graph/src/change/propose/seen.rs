//! Who is seen calling which port of a workload.

use super::{Covered, LeftOut, Wanted};
use crate::{
    change::simulate::{
        client::{appearances, clients},
        edges_to, uses,
    },
    id::{EdgeId, Text, WorkloadId},
    model::{Edge, Workload},
    policy::{
        Decision,
        answer::{Protocol, Server},
        ask::{Appearance, Endpoint, Mesh},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The ports of the proxy: tap and admin.
const OF_PROXY: [u16; 2] = [4190, 4191];

/// A workload, and who calls it.
pub(super) struct Seen<'a> {
    pub(super) id: &'a WorkloadId,
    pub(super) workload: &'a Workload,
    pub(super) ports: BTreeMap<u16, Called>,
    pub(super) covered: Vec<Covered>,
    pub(super) left_out: Vec<LeftOut>,
    /// Sentences about ports that are left alone.
    pub(super) notes: Vec<String>,
}

/// A port that is called, and for which something can be proposed.
pub(super) struct Called {
    /// What holds there now.
    pub(super) server: Server,
    /// The identities that are let in now, not counting those that existing authorizations name.
    pub(super) identities: BTreeSet<Text>,
    /// Clients without an identity are seen.
    pub(super) unmeshed: bool,
}

/// A call that is looked at.
struct Call<'a> {
    id: &'a EdgeId,
    edge: &'a Edge,
    port: u16,
    rps: Option<f64>,
}

pub(super) fn of<'a>(
    mesh: &Mesh<'a>,
    id: &'a WorkloadId,
    workload: &'a Workload,
    wanted: &Wanted,
) -> Seen<'a> {
    let mut seen = Seen {
        id,
        workload,
        ports: BTreeMap::new(),
        covered: Vec::new(),
        left_out: Vec::new(),
        notes: Vec::new(),
    };
    let mut alone = BTreeSet::new();
    for (edge_id, edge) in edges_to(mesh, [id].into()) {
        let uses = uses(mesh, edge);
        let rps = mesh.metrics.get(edge_id).and_then(|numbers| numbers.rps.or(numbers.tcp_opened));
        let own = uses.by_port.into_iter().filter_map(|(port, mut endpoints)| {
            endpoints.retain(|endpoint| endpoint.workload == id);
            (!endpoints.is_empty() && !is_of_proxy(port, &endpoints)).then_some((port, endpoints))
        });
        let own: Vec<_> = own.collect();
        if own.is_empty() {
            continue;
        }
        if let Some(doubt) = uses.doubt {
            let why = format!("{doubt}, so no Server can be proposed for it: name the port in the client");
            seen.leave(edge_id, edge, None, rps, false, why);
            continue;
        }
        for (port, endpoints) in own {
            let call = Call { id: edge_id, edge, port, rps };
            match held(mesh, &endpoints) {
                Ok(server) => seen.call(mesh, &call, &endpoints, &server, wanted),
                Err(Some(why)) => drop(alone.insert(format!("{id}:{port} is left alone: {why}"))),
                Err(None) => {}
            }
        }
    }
    seen.notes.extend(alone);
    seen
}

fn is_of_proxy(port: u16, endpoints: &[Endpoint<'_>]) -> bool {
    OF_PROXY.contains(&port) || endpoints.iter().any(|endpoint| endpoint.port_name().starts_with("linkerd-"))
}

/// What holds on a port of all pods that have a proxy, or why nothing can be proposed for it. Without a reason it is
/// told elsewhere: no pod has a proxy.
fn held(mesh: &Mesh<'_>, endpoints: &[Endpoint<'_>]) -> Result<Server, Option<String>> {
    let mut held: Option<Server> = None;
    for endpoint in endpoints {
        let key = endpoint.key();
        let target = endpoint.template.target(&key);
        if !target.is_enforced(endpoint.port) {
            continue;
        }
        let server = mesh.policies.server(target, endpoint.port);
        match &held {
            Some(known) if known.labels != server.labels => {
                let why =
                    "its pods are judged by different Servers or default policies; make them alike first";
                return Err(Some(why.to_owned()));
            }
            _ => held = Some(server),
        }
    }
    let server = held.ok_or(None)?;
    let routed = match &server.protocol {
        Protocol::Opaque {} | Protocol::Tls {} => false,
        _ => server.routes().any(|(route, _)| !route.is_default()),
    };
    match routed {
        true => Err(Some(format!(
            "routes decide there, and a policy on server {} would open all of them; authorize clients on the routes",
            server.labels.name
        ))),
        false => Ok(server),
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    fn call(
        &mut self,
        mesh: &Mesh<'a>,
        call: &Call<'_>,
        endpoints: &[Endpoint<'a>],
        server: &Server,
        wanted: &Wanted,
    ) {
        let dialed = endpoints.first().map_or(call.port, |endpoint| endpoint.dialed);
        let found = match appearances(mesh, call.edge, dialed) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("{why}; let it call again, or authorize it by hand");
                return self.leave(call.id, call.edge, Some(call.port), call.rps, false, why);
            }
        };
        for appearance in found {
            let let_in = is_let_in(&appearance, server);
            let called = self.ports.entry(call.port).or_insert_with(|| Called {
                server: server.clone(),
                identities: BTreeSet::new(),
                unmeshed: false,
            });
            let why = match (&appearance.identity, let_in) {
                (_, false) => Some(
                    "it is refused now, and a proposal lets in nothing that is; authorize it by hand"
                        .to_owned(),
                ),
                (Some(identity), true) => {
                    if !is_authorized(&appearance, server) {
                        called.identities.insert(identity.clone());
                    }
                    None
                }
                (None, true) => {
                    called.unmeshed = true;
                    not_in_networks(&appearance.addresses, wanted)
                }
            };
            match why {
                Some(why) => self.leave(call.id, call.edge, Some(call.port), call.rps, !let_in, why),
                None => self.covered.push(Covered {
                    edge: call.id.clone(),
                    from: call.edge.src.clone(),
                    workload: self.id.clone(),
                    port: call.port,
                    identity: appearance.identity,
                    rps: call.rps,
                }),
            }
        }
    }

    fn leave(
        &mut self,
        id: &EdgeId,
        edge: &Edge,
        port: Option<u16>,
        rps: Option<f64>,
        refused_now: bool,
        why: String,
    ) {
        self.left_out.push(LeftOut {
            edge: id.clone(),
            from: edge.src.clone(),
            workload: self.id.clone(),
            port,
            rps,
            refused_now,
            why,
        });
    }
}

/// Whether any of the client's calls is let in now.
fn is_let_in(appearance: &Appearance, server: &Server) -> bool {
    clients(appearance, true).iter().any(|client| {
        let quick = client.decide(server);
        matches!(quick.decision, Decision::Allow | Decision::Audit)
            // Of an address that is not known some authorization may be meant.
            || (client.address.is_none()
                && server.authorizations.iter().any(|row| client.passes_from_somewhere(row)))
    })
}

/// Whether an authorization that is an object lets the client in already, wherever it calls from.
fn is_authorized(appearance: &Appearance, server: &Server) -> bool {
    let by_object = |client: &crate::policy::Client| {
        let mut rows = server.authorizations.iter().filter(|row| !row.metadata.is_default());
        rows.any(|row| client.passes(row).is_ok())
    };
    clients(appearance, true).iter().all(by_object)
}

/// Why a client without an identity is not let in by the networks that are named; `None` when it is.
fn not_in_networks(addresses: &[IpAddr], wanted: &Wanted) -> Option<String> {
    let inside = |address: &IpAddr| wanted.networks.iter().any(|network| network.contains(address));
    match (wanted.networks.is_empty(), addresses) {
        (true, []) => Some(
            "it has no mesh identity: put it in the mesh, or name the networks that such clients call from"
                .to_owned(),
        ),
        (true, [first, ..]) => Some(format!(
            "it has no mesh identity (it calls from {first}): put it in the mesh, or name its network"
        )),
        (false, []) => Some(
            "it has no mesh identity, and whether it is in the networks that are let in is not known"
                .to_owned(),
        ),
        (false, addresses) => addresses.iter().find(|address| !inside(address)).map(|address| {
            format!("it has no mesh identity, and {address} is in none of the networks that are let in")
        }),
    }
}
