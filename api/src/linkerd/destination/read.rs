//! The destination controller's updates, as [`graph::query::destination`](crate::graph::query::destination) has them.

use super::super::read::{ReadError, port, socket_address};
use crate::graph::{
    id::Text,
    query::destination::{Endpoint, Hint, Told},
};
use linkerd2_proxy_api::destination::{
    ProtocolHint, TlsIdentity, Update, WeightedAddr, protocol_hint::Protocol, tls_identity::Strategy,
    update::Update as Kind,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

/// Endpoints of one Service that are kept. Kubernetes tests Services with 5,000.
const MAX_ENDPOINTS: usize = 20_000;

/// Adds, replaces or takes away what the update says.
pub(super) fn apply(told: &mut Told, update: Update) -> Result<(), ReadError> {
    match update.update.ok_or(ReadError::Missing("what an update updates"))? {
        Kind::Add(set) => {
            told.exists = true;
            for endpoint in set.addrs {
                let (address, endpoint) = read_endpoint(endpoint, &set.metric_labels)?;
                told.endpoints.insert(address, endpoint);
            }
            if told.endpoints.len() > MAX_ENDPOINTS {
                return Err(ReadError::Many { what: "endpoints", limit: MAX_ENDPOINTS });
            }
        }
        Kind::Remove(set) => {
            told.exists = true;
            for address in set.addrs {
                told.endpoints.remove(&socket_address(Some(address))?);
            }
        }
        Kind::NoEndpoints(none) => {
            told.exists = none.exists;
            told.endpoints.clear();
        }
    }
    Ok(())
}

fn read_endpoint(
    endpoint: WeightedAddr,
    of_all: &HashMap<String, String>,
) -> Result<(SocketAddr, Endpoint), ReadError> {
    let mut labels: BTreeMap<Text, Text> = of_all
        .iter()
        .chain(&endpoint.metric_labels)
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect();
    let (identity, server_name) = endpoint.tls_identity.map(read_identity).transpose()?.unwrap_or_default();
    let (hint, opaque_transport) = endpoint.protocol_hint.map(read_hint).transpose()?.unwrap_or_default();
    Ok((
        socket_address(endpoint.addr)?,
        Endpoint {
            weight: endpoint.weight,
            identity,
            server_name,
            hint,
            opaque_transport,
            zone: labels.remove("zone").filter(|zone| !zone.is_empty()),
            authority: endpoint.authority_override.map(|authority| authority.authority_override.into()),
            labels,
        },
    ))
}

fn read_identity(identity: TlsIdentity) -> Result<(Option<Text>, Option<Text>), ReadError> {
    let name: Text = match identity.strategy.ok_or(ReadError::Missing("an endpoint's identity"))? {
        Strategy::DnsLikeIdentity(dns) => dns.name.into(),
        Strategy::UriLikeIdentity(uri) => uri.uri.into(),
    };
    Ok((Some(name), identity.server_name.map(|server| server.name.into())))
}

fn read_hint(hint: ProtocolHint) -> Result<(Hint, Option<u16>), ReadError> {
    let transport = hint.opaque_transport.map(|transport| port(transport.inbound_port)).transpose()?;
    let hint = match hint.protocol {
        None => Hint::None,
        Some(Protocol::H2(_)) => Hint::H2,
        Some(Protocol::Opaque(_)) => Hint::Opaque,
    };
    Ok((hint, transport))
}
