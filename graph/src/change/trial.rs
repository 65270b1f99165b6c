//! Edits tried on a mesh: its policies after them, and the ports where these say something else.

use super::edit::{self, Edit};
use crate::{
    fact::Key,
    id::{Text, WorkloadId},
    kind::Kind,
    policy::{
        Policies,
        answer::Server,
        ask::{Endpoint, Mesh, all_endpoints},
        refers,
    },
};
use ahash::{AHashMap, AHashSet};
use std::collections::BTreeSet;

/// Edits tried on a mesh.
pub(super) struct Trial<'a> {
    /// As it is.
    pub(super) mesh: Mesh<'a>,
    pub(super) edits: &'a [Edit],
    /// The policies after the edits.
    pub(super) after: Policies,
    /// Namespaces whose ports the edits may bear on.
    pub(super) namespaces: BTreeSet<Text>,
    /// The ports that are served otherwise after the edits, in the order of their workloads.
    pub(super) ports: Vec<Port<'a>>,
    /// How many ports were looked at.
    pub(super) looked_at: usize,
    places: AHashMap<(&'a WorkloadId, &'a str, u16), usize>,
}

/// A port that is served otherwise after the edits. A proxy judges calls to it.
pub(super) struct Port<'a> {
    pub(super) endpoint: Endpoint<'a>,
    pub(super) before: Server,
    pub(super) after: Server,
}

// === impl Trial ===

impl<'a> Trial<'a> {
    pub(super) fn of(mesh: &Mesh<'a>, edits: &'a [Edit]) -> Self {
        let objects = mesh.policies.objects();
        let after = mesh.policies.changed(edit::changes(objects, edits));
        let mut trial = Self {
            mesh: *mesh,
            edits,
            after,
            namespaces: namespaces(mesh, edits),
            ports: Vec::new(),
            looked_at: 0,
            places: AHashMap::new(),
        };
        trial.read_ports();
        trial
    }

    fn read_ports(&mut self) {
        let mut seen = AHashSet::new();
        for namespace in self.namespaces.clone() {
            // A Server may name a port that no container declares; then only one side knows it.
            let mut endpoints = all_endpoints(&self.mesh, Some(&namespace));
            endpoints.extend(after_of(&self.mesh, &self.after, &namespace));
            for endpoint in endpoints {
                let place = (endpoint.workload, &*endpoint.template.first, endpoint.port);
                if seen.insert(place) {
                    self.looked_at += 1;
                    if let Some(port) = self.port(endpoint) {
                        self.places.insert(place, self.ports.len());
                        self.ports.push(port);
                    }
                }
            }
        }
    }

    fn port(&self, endpoint: Endpoint<'a>) -> Option<Port<'a>> {
        let key = endpoint.key();
        let target = endpoint.template.target(&key);
        if !target.is_enforced(endpoint.port) {
            return None;
        }
        let before = self.mesh.policies.server(target, endpoint.port);
        let after = self.after.server(target, endpoint.port);
        (before != after).then_some(Port { endpoint, before, after })
    }

    /// The touched port that an endpoint is.
    pub(super) fn touched(&self, endpoint: &Endpoint<'a>) -> Option<&Port<'a>> {
        let place = (endpoint.workload, &*endpoint.template.first, endpoint.port);
        self.places.get(&place).map(|at| &self.ports[*at])
    }

    /// The mesh with its policies after the edits.
    pub(super) fn mesh_after(&self) -> Mesh<'_> {
        Mesh { policies: &self.after, ..self.mesh }
    }
}

/// The endpoints of a namespace by the policies after the edits. They live as long as the graph, not as those.
fn after_of<'a>(mesh: &Mesh<'a>, after: &Policies, namespace: &str) -> Vec<Endpoint<'a>> {
    let graph = mesh.graph;
    let known = all_endpoints(&Mesh { policies: after, ..*mesh }, Some(namespace));
    let own = known.into_iter().filter_map(|endpoint| {
        let (workload, node) = graph.workloads.get_key_value(endpoint.workload)?;
        let template = node.templates.iter().find(|template| template.first == endpoint.template.first)?;
        Some(Endpoint { workload, template, port: endpoint.port, dialed: endpoint.dialed })
    });
    own.collect()
}

/// The namespaces whose ports the edits may bear on: their own, those of the Servers that routes name, and those of the
/// policies that refer to authentications.
fn namespaces(mesh: &Mesh<'_>, edits: &[Edit]) -> BTreeSet<Text> {
    let mut namespaces = BTreeSet::new();
    let mut authentications = BTreeSet::new();
    for edit in edits {
        namespaces.insert(edit.key.namespace.clone());
        let parents = edit.versions().flat_map(refers::parents);
        namespaces.extend(parents.map(|parent| parent.namespace));
        if matches!(edit.kind, Kind::MeshTLSAuthentication | Kind::NetworkAuthentication) {
            authentications.insert((edit.kind, &edit.key));
        }
    }
    if !authentications.is_empty() {
        for (kind, key, user) in users(mesh.policies) {
            if authentications.contains(&(kind, &key)) {
                namespaces.insert(user.namespace);
            }
        }
    }
    namespaces
}

/// Every authentication that a policy refers to, with the policy.
pub(super) fn users(policies: &Policies) -> impl Iterator<Item = (Kind, Key, Key)> + '_ {
    policies.objects().all(Kind::AuthorizationPolicy).flat_map(|object| {
        let refers = refers::of_policy(object).map(|refers| refers.authentications).unwrap_or_default();
        refers.into_iter().map(|(kind, key)| (kind, key, object.key.clone()))
    })
}
