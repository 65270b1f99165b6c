//! Whether one authorization lets in every client that another lets in. It may say no where it is so (networks are
//! compared one with one), never yes where it is not.

use crate::{
    id::Text,
    policy::answer::{Authentication, Authorization, Clients, Network},
};

/// True when `wide` lets in every client that `narrow` does.
pub(super) fn covers(wide: &Authorization, narrow: &Authorization) -> bool {
    clients(&wide.authentication, &narrow.authentication) && networks(&wide.networks, &narrow.networks)
}

/// True when each of `narrow` lies in one of `wide`.
pub(super) fn networks(wide: &[Network], narrow: &[Network]) -> bool {
    narrow.iter().all(|inner| wide.iter().any(|outer| network(outer, inner)))
}

/// What `outer` leaves out, `inner` must leave out, too.
fn network(outer: &Network, inner: &Network) -> bool {
    let outside = |hole: &ipnet::IpNet| {
        let apart = !hole.contains(&inner.net) && !inner.net.contains(hole);
        apart || inner.except.iter().any(|except| except.contains(hole) || except.contains(&inner.net))
    };
    outer.net.contains(&inner.net) && outer.except.iter().all(outside)
}

fn clients(wide: &Authentication, narrow: &Authentication) -> bool {
    match (wide, narrow) {
        (Authentication::Unauthenticated {}, _)
        | (Authentication::MeshTls(Clients::Any { .. }), Authentication::MeshTls(_)) => true,
        (
            Authentication::MeshTls(Clients::Identities { identities, suffixes }),
            Authentication::MeshTls(Clients::Identities { identities: exact, suffixes: below }),
        ) => {
            exact.iter().all(|identity| identities.contains(identity) || is_below_any(identity, suffixes))
                && below.iter().all(|inner| suffixes.iter().any(|outer| inner.ends_with(outer)))
        }
        _ => false,
    }
}

/// SPIFFE identities are matched exactly only.
pub(super) fn is_below_any(identity: &str, suffixes: &[Vec<Text>]) -> bool {
    let below =
        |labels: &Vec<Text>| labels.is_empty() || identity.ends_with(&format!(".{}", labels.join(".")));
    !identity.contains("://") && suffixes.iter().any(below)
}
