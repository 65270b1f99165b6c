//! Whether an authorization lets a client in.

use crate::{
    id::Text,
    policy::answer::{Authentication, Authorization, Clients, Network, has_every_address},
};
use serde::Serialize;
use std::net::IpAddr;

/// Who calls, as the target's proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The address the connection comes from: for meshed clients their pod's. `None` when it is not known, which is in
    /// a network only if that network is every address.
    pub address: Option<IpAddr>,
    /// True when the connection is mesh TLS.
    pub tls: bool,
    /// The identity proven by it: a DNS name or a `spiffe://` URI. Calls through a multicluster gateway bear the
    /// gateway's.
    pub identity: Option<Text>,
}

/// Why an authorization does not let a client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its address is in none of the networks.
    Network,
    /// Its address is not known, and not every address is let in.
    AddressUnknown,
    /// It does not speak mesh TLS.
    NotMeshed,
    /// It speaks mesh TLS without an identity.
    NoIdentity,
    /// It has another identity.
    Identity,
    /// It has a SPIFFE identity, and those are matched exactly only: `*` and suffixes are for DNS identities.
    SpiffeNeedsExactMatch,
}

// === impl Client ===

impl Client {
    /// A client in the mesh.
    pub fn meshed(identity: impl Into<Text>, address: Option<IpAddr>) -> Self {
        Self { address, tls: true, identity: Some(identity.into()) }
    }

    /// A client outside the mesh.
    pub fn unmeshed(address: Option<IpAddr>) -> Self {
        Self { address, tls: false, identity: None }
    }

    /// True when it calls from within the target's own pod. Proxies let in 127.0.0.1 and ::1, not all of 127.0.0.0/8.
    pub(crate) fn is_local(&self) -> bool {
        let local = [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
        self.address.is_some_and(|address| local.contains(&address))
    }

    /// Whether `authorization` lets it in: by network and by authentication.
    pub(crate) fn passes(&self, authorization: &Authorization) -> Result<(), Refusal> {
        self.in_networks(&authorization.networks)?;
        match &authorization.authentication {
            Authentication::Unauthenticated {} => Ok(()),
            Authentication::MeshTls(_) if !self.tls => Err(Refusal::NotMeshed),
            Authentication::MeshTls(Clients::Any { .. }) => Ok(()),
            Authentication::MeshTls(Clients::Identities { identities, suffixes }) => {
                let identity = self.identity.as_ref().ok_or(Refusal::NoIdentity)?;
                identified(identity, identities, suffixes)
            }
        }
    }

    /// The same for a client whose address is not known, were it in the networks.
    pub(crate) fn passes_from_somewhere(&self, authorization: &Authorization) -> bool {
        let address = self.address.or_else(|| authorization.networks.iter().find_map(Network::an_address));
        Self { address, ..self.clone() }.passes(authorization).is_ok()
    }

    fn in_networks(&self, networks: &[Network]) -> Result<(), Refusal> {
        match self.address {
            Some(address) => {
                let inside = networks.iter().any(|network| network.contains(address));
                inside.then_some(()).ok_or(Refusal::Network)
            }
            None => has_every_address(networks).then_some(()).ok_or(Refusal::AddressUnknown),
        }
    }
}

/// Exact identities match to the letter. A suffix matches what ends with a dot and its labels.
fn identified(identity: &str, identities: &[Text], suffixes: &[Vec<Text>]) -> Result<(), Refusal> {
    if identities.iter().any(|exact| **exact == *identity) {
        return Ok(());
    }
    let spiffe = identity.contains("://");
    let under =
        |labels: &Vec<Text>| labels.is_empty() || identity.ends_with(&format!(".{}", labels.join(".")));
    match (spiffe, suffixes.is_empty()) {
        (true, false) => Err(Refusal::SpiffeNeedsExactMatch),
        (false, _) if suffixes.iter().any(under) => Ok(()),
        _ => Err(Refusal::Identity),
    }
}

// === impl Network ===

impl Network {
    /// True when the address is in the network and in none of its exceptions.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address) && !self.except.iter().any(|except| except.contains(&address))
    }

    /// An address that is in it, as far as a look at its ends finds one.
    fn an_address(&self) -> Option<IpAddr> {
        let ends = self.except.iter().flat_map(|except| [except.network(), except.broadcast()]);
        let beside = ends.flat_map(|end| [before(end), after(end)]).flatten();
        let mut candidates = [self.net.network(), self.net.broadcast()].into_iter().chain(beside);
        candidates.find(|address| self.contains(*address))
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|number| IpAddr::V6(number.into())),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|number| IpAddr::V6(number.into())),
    }
}

// === impl Refusal ===

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network => "the client's address is in none of its networks",
            Self::AddressUnknown => "the client's address is not known, and it lets in some networks only",
            Self::NotMeshed => "the client does not speak mesh TLS",
            Self::NoIdentity => "the client has no mesh identity",
            Self::Identity => "the client has another identity",
            Self::SpiffeNeedsExactMatch => {
                "the client has a SPIFFE identity, which `*` and suffixes never match"
            }
        })
    }
}
