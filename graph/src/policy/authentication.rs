//! What the references of an AuthorizationPolicy lead to: clients and networks, which must hold together.

use super::{
    answer::{Authentication, Clients, Network},
    cluster::{PolicyCluster, all_networks},
    objects::Objects,
    spec::{self, Fault, Required},
};
use crate::{fact::Key, kind::Kind};
use std::sync::Arc;

/// The conjunction of references. Without clients anybody passes, without networks any address does; one reference
/// that leads nowhere, or two of a sort, spoil all.
pub(super) fn all_of(
    required: &[Required],
    objects: &Objects,
    cluster: &PolicyCluster,
) -> Result<(Arc<[Network]>, Authentication), Fault> {
    let (mut clients, mut networks) = (None, None);
    for reference in required {
        match reference {
            Required::MeshTls(key) => once(&mut clients, "clients", mesh_tls(key, objects, cluster)?)?,
            Required::ServiceAccount(key) => {
                let identities = vec![cluster.identity(&key.namespace, &key.name)];
                once(&mut clients, "clients", Clients::Identities { identities, suffixes: Vec::new() })?;
            }
            Required::Network(key) => once(&mut networks, "networks", network(key, objects)?)?,
        }
    }
    let authentication = clients.map_or(Authentication::Unauthenticated {}, Authentication::MeshTls);
    Ok((networks.map_or_else(all_networks, Into::into), authentication))
}

fn once<T>(slot: &mut Option<T>, what: &'static str, value: T) -> Result<(), Fault> {
    if slot.replace(value).is_some() { Err(Fault::Twice(what)) } else { Ok(()) }
}

fn mesh_tls(key: &Key, objects: &Objects, cluster: &PolicyCluster) -> Result<Clients, Fault> {
    objects
        .policy(Kind::MeshTLSAuthentication, key)
        .and_then(|object| spec::mesh_tls_authentication(&object.spec, &key.namespace, cluster).ok())
        .ok_or_else(|| Fault::Missing(format!("MeshTLSAuthentication {key}")))
}

fn network(key: &Key, objects: &Objects) -> Result<Vec<Network>, Fault> {
    objects
        .policy(Kind::NetworkAuthentication, key)
        .and_then(|object| spec::network_authentication(&object.spec).ok())
        .ok_or_else(|| Fault::Missing(format!("NetworkAuthentication {key}")))
}
