//! Who may call whom in the whole mesh, as a matrix: a row for each port, a column for each mesh identity.

use super::{Endpoint, Mesh, callee, check};
use crate::{
    id::Text,
    policy::answer::{Authentication, Authorization, Clients, Server},
    policy::verdict::is_closed,
};
use ahash::AHashMap;

/// The whole relation, at the cost of a few microseconds for each port.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<'a> {
    /// The identities of the mesh's workloads, sorted.
    pub identities: Vec<Text>,
    /// The ports.
    pub rows: Vec<Row<'a>>,
}

/// Who may use one port of pods that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// The port.
    pub endpoint: Endpoint<'a>,
    /// Who may use it on every route.
    pub admitted: Admitted,
    /// Some are let in only from some addresses; those count as let in.
    pub by_address: bool,
    /// Others may use some of its routes.
    pub by_route: bool,
}

/// A set of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// No policy is enforced: everybody.
    NotEnforced,
    /// Everybody.
    Everyone,
    /// Every mesh client.
    Meshed,
    /// Every mesh client with a DNS identity, because `*` does not match SPIFFE identities; and these SPIFFE ones.
    MeshedDns(Vec<u32>),
    /// These identities, by their places in [`Matrix::identities`], in order. None of them may be there.
    Listed(Vec<u32>),
}

/// The matrix of a mesh, or of the ports of one namespace.
pub fn matrix<'a>(mesh: &Mesh<'a>, namespace: Option<&str>) -> Matrix<'a> {
    let columns = Columns::of(mesh);
    let workloads = mesh.graph.workloads.iter();
    let endpoints = workloads
        .filter(|(id, _)| namespace.is_none_or(|namespace| id.namespace() == namespace))
        .flat_map(|(id, workload)| callee::of_workload(mesh, id, workload, None));
    let rows = endpoints.map(|endpoint| row(mesh, endpoint, &columns)).collect();
    Matrix { identities: columns.identities, rows }
}

fn row<'a>(mesh: &Mesh<'_>, endpoint: Endpoint<'a>, columns: &Columns) -> Row<'a> {
    let key = endpoint.key();
    let target = endpoint.template.target(&key);
    if !target.is_enforced(endpoint.port) {
        return Row { endpoint, admitted: Admitted::NotEnforced, by_address: false, by_route: false };
    }
    let server = mesh.policies.server(target, endpoint.port);
    Row {
        endpoint,
        admitted: columns.admitted(&server),
        by_address: check::looks_at_addresses(&server),
        by_route: !is_closed(&server) && server.route_authorizations().next().is_some(),
    }
}

/// The identities, and where to find them.
pub(crate) struct Columns {
    pub(crate) identities: Vec<Text>,
    places: AHashMap<Text, u32>,
    /// Places by the suffix that stands for the namespace of an identity.
    below: AHashMap<Text, Vec<u32>>,
}

// === impl Columns ===

impl Columns {
    pub(crate) fn of(mesh: &Mesh<'_>) -> Self {
        let workloads = mesh.graph.workloads.values();
        let mut identities: Vec<Text> = workloads.filter_map(|workload| workload.identity.clone()).collect();
        identities.sort_unstable();
        identities.dedup();
        let mut columns = Self { identities, places: AHashMap::new(), below: AHashMap::new() };
        for (at, identity) in columns.identities.iter().enumerate() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            columns.places.insert(identity.clone(), at);
            if let Some(below) = of_namespace(identity) {
                columns.below.entry(below.into()).or_default().push(at);
            }
        }
        columns
    }

    /// Who is let in on every route.
    pub(crate) fn admitted(&self, server: &Server) -> Admitted {
        if is_closed(server) {
            return Admitted::Listed(Vec::new());
        }
        let mut listed = Vec::new();
        let (mut meshed, mut dns) = (false, false);
        for row in &*server.authorizations {
            match self.of_authorization(row) {
                Admitted::Everyone => return Admitted::Everyone,
                Admitted::Meshed => meshed = true,
                Admitted::MeshedDns(places) => {
                    dns = true;
                    listed.extend(places);
                }
                Admitted::Listed(places) => listed.extend(places),
                Admitted::NotEnforced => {}
            }
        }
        if meshed {
            return Admitted::Meshed;
        }
        listed.sort_unstable();
        listed.dedup();
        if dns {
            listed.retain(|place| self.is_spiffe(*place));
            return Admitted::MeshedDns(listed);
        }
        Admitted::Listed(listed)
    }

    fn is_spiffe(&self, place: u32) -> bool {
        self.identities.get(place as usize).is_some_and(|identity| identity.contains("://"))
    }

    fn of_authorization(&self, row: &Authorization) -> Admitted {
        match &row.authentication {
            Authentication::Unauthenticated {} => Admitted::Everyone,
            Authentication::MeshTls(Clients::Any { .. }) => Admitted::Meshed,
            Authentication::MeshTls(Clients::Identities { identities, suffixes }) => {
                let exact = identities.iter().filter_map(|identity| self.places.get(identity).copied());
                if suffixes.iter().any(Vec::is_empty) {
                    return Admitted::MeshedDns(exact.collect());
                }
                let below = suffixes.iter().flat_map(|labels| self.below(&labels.join(".")));
                Admitted::Listed(exact.chain(below).collect())
            }
        }
    }

    /// The identities below a suffix: at once where it stands for a namespace, else by looking at all of them.
    fn below(&self, suffix: &str) -> Vec<u32> {
        if suffix.split_once(".serviceaccount.identity.").is_some_and(|(first, _)| !first.contains('.')) {
            return self.below.get(suffix).cloned().unwrap_or_default();
        }
        let below = |identity: &&Text| {
            !identity.contains("://")
                && identity.strip_suffix(suffix).is_some_and(|start| start.ends_with('.'))
        };
        self.identities
            .iter()
            .filter(below)
            .filter_map(|identity| self.places.get(identity).copied())
            .collect()
    }
}

/// The end of an identity that all of its namespace have. Names of ServiceAccounts may have dots, namespaces have none.
fn of_namespace(identity: &str) -> Option<&str> {
    let (account, namespace) = identity.split_once(".serviceaccount.identity.")?.0.rsplit_once('.')?;
    let dot = account.len() + 1;
    (!identity.contains("://") && !namespace.is_empty()).then(|| identity.get(dot..)).flatten()
}

// === impl Matrix ===

impl Matrix<'_> {
    /// True when the identity at `place` may use the port of a row, from some address at least.
    pub fn admits(&self, row: &Row<'_>, place: u32) -> bool {
        let listed = |places: &[u32]| places.binary_search(&place).is_ok();
        match &row.admitted {
            Admitted::NotEnforced | Admitted::Everyone | Admitted::Meshed => true,
            Admitted::MeshedDns(others) => {
                let identity = self.identities.get(place as usize);
                identity.is_some_and(|identity| !identity.contains("://")) || listed(others)
            }
            Admitted::Listed(places) => listed(places),
        }
    }
}
