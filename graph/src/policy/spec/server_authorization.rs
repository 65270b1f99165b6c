//! A ServerAuthorization.

use super::{
    Fault,
    authentication::{Network, identities, networks},
    read,
};
use crate::{
    id::Text,
    policy::{
        answer::{self, Authentication, Clients},
        cluster::PolicyCluster,
        selector::Selector,
    },
};
use serde::Deserialize;
use serde_json::Value;

/// A ServerAuthorization that names clients.
#[derive(Debug, Clone)]
pub(in crate::policy) struct ServerAuthorizationSpec {
    pub(in crate::policy) servers: Servers,
    /// Empty stands for the cluster's networks.
    pub(in crate::policy) networks: Vec<answer::Network>,
    pub(in crate::policy) authentication: Authentication,
}

/// Which Servers of its namespace.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Servers {
    Named(Text),
    Selected(Selector),
}

#[derive(Deserialize)]
struct Raw {
    server: RawServer,
    client: RawClient,
}

#[derive(Deserialize)]
struct RawServer {
    name: Option<Text>,
    selector: Option<Selector>,
}

#[derive(Deserialize)]
struct RawClient {
    networks: Option<Vec<Network>>,
    #[serde(default)]
    unauthenticated: bool,
    #[serde(rename = "meshTLS")]
    mesh_tls: Option<RawMeshTls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeshTls {
    #[serde(rename = "unauthenticatedTLS", default)]
    unauthenticated_tls: bool,
    identities: Option<Vec<Text>>,
    service_accounts: Option<Vec<RawAccount>>,
}

#[derive(Deserialize)]
struct RawAccount {
    namespace: Option<Text>,
    name: Text,
}

// === impl ServerAuthorizationSpec ===

impl ServerAuthorizationSpec {
    pub(in crate::policy) fn read(
        spec: &Value,
        namespace: &str,
        cluster: &PolicyCluster,
    ) -> Result<Self, Fault> {
        let Raw { server, client } = read(spec)?;
        let servers = match server.name {
            Some(name) => Servers::Named(name),
            None => Servers::Selected(server.selector.unwrap_or_default()),
        };
        let networks = networks(client.networks.unwrap_or_default())?;
        let authentication = match client.mesh_tls {
            _ if client.unauthenticated => Authentication::Unauthenticated {},
            Some(mesh_tls) => Authentication::MeshTls(mesh_tls.clients(namespace, cluster)?),
            None => return Err(Fault::NoClient),
        };
        Ok(Self { servers, networks, authentication })
    }
}

// === impl RawMeshTls ===

impl RawMeshTls {
    fn clients(self, namespace: &str, cluster: &PolicyCluster) -> Result<Clients, Fault> {
        if self.unauthenticated_tls {
            return Ok(Clients::any());
        }
        let accounts = self.service_accounts.into_iter().flatten().map(|account| {
            cluster.identity(account.namespace.as_deref().unwrap_or(namespace), &account.name)
        });
        identities(self.identities.into_iter().flatten(), accounts).ok_or(Fault::NoClient)
    }
}
