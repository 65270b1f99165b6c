//! MeshTLSAuthentication and NetworkAuthentication, and what other kinds share with them.

use super::{
    Fault, read,
    reference::{CORE, Reference},
};
use crate::{
    id::Text,
    policy::{
        answer::{self, Clients},
        cluster::PolicyCluster,
    },
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// A network as written in specs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Network {
    cidr: String,
    except: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeshTls {
    identities: Option<Vec<Text>>,
    identity_refs: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct RawNetworks {
    networks: Vec<Network>,
}

/// The clients of a MeshTLSAuthentication: `identities` first, then `identityRefs`. What is referred to need not
/// exist.
pub(in crate::policy) fn mesh_tls_authentication(
    spec: &Value,
    namespace: &str,
    cluster: &PolicyCluster,
) -> Result<Clients, Fault> {
    let raw: RawMeshTls = read(spec)?;
    let references = raw.identity_refs.into_iter().flatten();
    let references = references.map(|to| identity(&to, namespace, cluster)).collect::<Result<Vec<_>, _>>()?;
    identities(raw.identities.into_iter().flatten(), references).ok_or(Fault::NoIdentity)
}

fn identity(to: &Reference, namespace: &str, cluster: &PolicyCluster) -> Result<Text, Fault> {
    if to.is(CORE, "ServiceAccount") {
        Ok(cluster.identity(to.namespace.as_deref().unwrap_or(namespace), &to.name))
    } else if to.is(CORE, "Namespace") {
        Ok(format!("*.{}", cluster.namespace_suffix(&to.name)).into())
    } else {
        Err(Fault::Kind(to.kind_and_group()))
    }
}

/// The networks of a NetworkAuthentication.
pub(in crate::policy) fn network_authentication(spec: &Value) -> Result<Vec<answer::Network>, Fault> {
    let raw: RawNetworks = read(spec)?;
    let networks = networks(raw.networks)?;
    if networks.is_empty() { Err(Fault::NoNetwork) } else { Ok(networks) }
}

/// Sorts identities into exact ones and suffixes; `None` when there are none. `*` is the suffix without labels; a
/// star anywhere else than before the first dot is a letter like others.
pub(super) fn identities(
    written: impl IntoIterator<Item = Text>,
    referred: impl IntoIterator<Item = Text>,
) -> Option<Clients> {
    let (mut identities, mut suffixes) = (Vec::new(), Vec::new());
    for identity in written.into_iter().chain(referred) {
        match identity.strip_prefix("*.") {
            Some(suffix) => suffixes.push(suffix.split('.').map(Text::from).collect()),
            None if &*identity == "*" => suffixes.push(Vec::new()),
            None => identities.push(identity),
        }
    }
    let some = !identities.is_empty() || !suffixes.is_empty();
    some.then_some(Clients::Identities { identities, suffixes })
}

/// Reads networks, keeping their order and host bits.
pub(super) fn networks(written: Vec<Network>) -> Result<Vec<answer::Network>, Fault> {
    let network = |network: Network| {
        let except = network.except.into_iter().flatten();
        Ok(answer::Network { net: net(network.cidr)?, except: except.map(net).collect::<Result<_, _>>()? })
    };
    written.into_iter().map(network).collect()
}

/// A CIDR, or an address as the network of it alone.
fn net(text: String) -> Result<IpNet, Fault> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| Fault::Network(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn identities_and_references_keep_their_order_and_only_a_leading_star_is_special() {
        let spec = json!({
            "identities": ["a.example", "*.b.example", "*", "spiffe://root/x", "c.*.example", "*.*.d"],
            "identityRefs": [{"kind": "Namespace", "name": "other"}, {"kind": "ServiceAccount", "name": "web"}]
        });
        let clients = mesh_tls_authentication(&spec, "shop", &PolicyCluster::default()).unwrap();
        assert_eq!(
            json!(clients),
            json!({
                "identities": [
                    "a.example", "spiffe://root/x", "c.*.example",
                    "web.shop.serviceaccount.identity.linkerd.cluster.local"
                ],
                "suffixes": [
                    ["b", "example"], [], ["*", "d"],
                    ["other", "serviceaccount", "identity", "linkerd", "cluster", "local"]
                ]
            })
        );
    }

    #[test]
    fn an_authentication_that_names_nobody_or_an_unknown_kind_is_none() {
        let read = |spec| mesh_tls_authentication(&spec, "shop", &PolicyCluster::default());
        assert!(matches!(read(json!({})), Err(Fault::NoIdentity)));
        assert!(matches!(read(json!({"identityRefs": [{"kind": "Pod", "name": "x"}]})), Err(Fault::Kind(_))));
        assert!(matches!(network_authentication(&json!({"networks": []})), Err(Fault::NoNetwork)));
        let bad = json!({"networks": [{"cidr": "10.0.0.0/33"}]});
        assert!(matches!(network_authentication(&bad), Err(Fault::Network(_))));
    }

    #[test]
    fn networks_are_kept_as_written_and_addresses_stand_for_themselves() {
        let spec =
            json!({"networks": [{"cidr": "10.1.2.3/8", "except": ["10.9.0.0/16"]}, {"cidr": "fd00::1"}]});
        assert_eq!(
            json!(network_authentication(&spec).unwrap()),
            json!([{"net": "10.1.2.3/8", "except": ["10.9.0.0/16"]}, {"net": "fd00::1/128", "except": []}])
        );
    }
}
