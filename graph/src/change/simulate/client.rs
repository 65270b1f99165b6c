//! As whom the proxies of the target see the clients of an edge.

use crate::{
    id::{Source, WorkloadId},
    model::{Edge, Tls},
    policy::{
        Client,
        ask::{Appearance, Caller, Mesh},
    },
};

/// The most addresses of one client that are judged one by one.
const MOST_ADDRESSES: usize = 1_000;

/// The clients of an edge that dial `port`, or why they are not known.
///
/// What was seen goes first: an edge without mutual TLS shows the target no identity, whatever its client's proxy could
/// present; one with a share of it shows both.
pub(in crate::change) fn appearances(
    mesh: &Mesh<'_>,
    edge: &Edge,
    port: u16,
) -> Result<Vec<Appearance>, String> {
    match &edge.src {
        Source::Unmeshed(_) => Ok(vec![Appearance { identity: None, addresses: Vec::new() }]),
        Source::Identity(identity) => Ok(Caller::Identity(identity.clone()).appearances(mesh, Some(port))),
        Source::Workload(id) => of_workload(mesh, id, edge, port),
    }
}

fn of_workload(mesh: &Mesh<'_>, id: &WorkloadId, edge: &Edge, port: u16) -> Result<Vec<Appearance>, String> {
    let own = Caller::Workload(id.clone()).appearances(mesh, Some(port));
    let at = |meshed: bool| {
        let of_kind = own.iter().filter(|appearance| appearance.identity.is_some() == meshed);
        of_kind.flat_map(|appearance| appearance.addresses.clone()).collect::<Vec<_>>()
    };
    let everywhere = || own.iter().flat_map(|appearance| appearance.addresses.clone()).collect();
    let seen = edge
        .client_identity
        .as_ref()
        .map(|identity| Appearance { identity: Some(identity.clone()), addresses: at(true) });
    match (seen, &edge.tls) {
        (Some(meshed), Tls::No { .. }) => {
            Ok(vec![meshed, Appearance { identity: None, addresses: everywhere() }])
        }
        (Some(meshed), Tls::Mutual | Tls::Unknown) => Ok(vec![meshed]),
        (None, Tls::No { .. }) => Ok(vec![Appearance { identity: None, addresses: everywhere() }]),
        (None, _) if own.is_empty() => {
            Err(format!("{id} is gone, and the identity that it called with is not known"))
        }
        (None, Tls::Mutual) => {
            let meshed: Vec<_> = own.into_iter().filter(|it| it.identity.is_some()).collect();
            match meshed.is_empty() {
                true => Err(format!("{id} calls over mutual TLS, and its identity is not known")),
                false => Ok(meshed),
            }
        }
        (None, Tls::Unknown) => Ok(own),
    }
}

/// The clients that a server may tell apart. `by_address` is whether it looks at addresses.
pub(in crate::change) fn clients(appearance: &Appearance, by_address: bool) -> Vec<Client> {
    // A call from the pod's own loopback is let in whatever the policies say.
    let local = appearance.addresses.iter().any(std::net::IpAddr::is_loopback);
    if appearance.addresses.is_empty() || !(by_address || local) {
        return vec![appearance.client(None)];
    }
    let some = appearance.addresses.iter().take(MOST_ADDRESSES);
    some.map(|address| appearance.client(Some(*address))).collect()
}
