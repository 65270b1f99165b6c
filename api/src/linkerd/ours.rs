//! What is written, from the replica's graph: the side that is compared with Linkerd's policy controller.

use super::{enforced::AllOurs, sample::Ours};
use crate::{
    graph::{
        fact::Key,
        id::WorkloadId,
        model::{Graph, Template},
        policy::{Answer, Target, WorkloadKey, answer::Server, ask::Mesh},
    },
    replica::Replica,
    view::View,
};
use rand::{
    Rng,
    seq::{IndexedRandom as _, IteratorRandom as _},
};
use std::sync::Arc;

impl Ours for Replica {
    async fn sample(&self, count: usize) -> Vec<(WorkloadKey, u16, Server)> {
        match complete(self) {
            Some(view) => view.ask(move |mesh| pick(mesh, count, &mut rand::rng())).await,
            None => Vec::new(),
        }
    }

    async fn resolve(&self, workload: &WorkloadKey, port: u16) -> Option<Answer> {
        let workload = workload.clone();
        complete(self)?.ask(move |mesh| resolve(mesh, &workload, port)).await
    }
}

impl AllOurs for Replica {
    async fn all(&self, namespace: Option<&str>, count: usize) -> Option<(Vec<(WorkloadKey, u16)>, usize)> {
        let namespace = namespace.map(str::to_owned);
        Some(complete(self)?.ask(move |mesh| all(mesh, namespace.as_deref(), count)).await)
    }
}

/// The newest view when it can be held against an authority: fed without a break, from watches that are all synced, and
/// with the control plane's settings. Anything less would look like drift.
fn complete(replica: &Replica) -> Option<Arc<View>> {
    let view = replica.view()?;
    let connected = replica.freshness(&view).feed.is_some_and(|feed| feed.connected);
    (connected && view.graph.status.synced() && view.graph.cluster.is_some()).then_some(view)
}

/// Ports of pods in the mesh, each of another kind of pod where there are as many.
fn pick(mesh: &Mesh<'_>, count: usize, rng: &mut impl Rng) -> Vec<(WorkloadKey, u16, Server)> {
    let chosen = templates(mesh.graph).filter(|(_, template)| in_mesh(template)).choose_multiple(rng, count);
    let of_template = |(id, template): (&WorkloadId, &Template)| {
        let key = key(id, template);
        let target = template.target(&key);
        let ports: Vec<u16> = ports(mesh, target);
        let port = *ports.choose(rng)?;
        let server = mesh.policies.server(target, port);
        Some((named(key, template), port, server))
    };
    chosen.into_iter().filter_map(of_template).collect()
}

/// The first `count` ports of workloads in the mesh by name, and how many there are.
fn all(mesh: &Mesh<'_>, namespace: Option<&str>, count: usize) -> (Vec<(WorkloadKey, u16)>, usize) {
    let wanted = templates(mesh.graph)
        .filter(|(id, template)| namespace.is_none_or(|it| it == id.namespace()) && in_mesh(template));
    let (mut first, mut known) = (Vec::new(), 0);
    for (id, template) in wanted {
        let key = key(id, template);
        let ports = ports(mesh, template.target(&key));
        known += ports.len();
        let room = count - first.len();
        first.extend(ports.into_iter().take(room).map(|port| (named(key.clone(), template), port)));
    }
    (first, known)
}

/// Numbers about which something is said need not be ports.
fn ports(mesh: &Mesh<'_>, target: Target<'_>) -> Vec<u16> {
    let ports = target.ports(mesh.policies.objects());
    ports.into_iter().filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect()
}

/// Only the first pod of each kind is known by name; nothing is said of others, least of all that they are gone.
fn resolve(mesh: &Mesh<'_>, workload: &WorkloadKey, port: u16) -> Option<Answer> {
    let (id, template) = templates(mesh.graph)
        .filter(|(id, _)| id.namespace() == &*workload.key().namespace)
        .find(|(id, template)| named(key(id, template), template) == *workload)?;
    Some(mesh.policies.answer_of(template.target(&key(id, template)), port.into()))
}

fn templates(graph: &Graph) -> impl Iterator<Item = (&WorkloadId, &Template)> {
    graph.workloads.iter().flat_map(|(id, workload)| workload.templates.iter().map(move |one| (id, one)))
}

fn key(id: &WorkloadId, template: &Template) -> Key {
    Key::new(id.namespace(), template.first.clone())
}

fn named(key: Key, template: &Template) -> WorkloadKey {
    if template.external { WorkloadKey::ExternalWorkload(key) } else { WorkloadKey::Pod(key) }
}

fn in_mesh(template: &Template) -> bool {
    let key = Key::new("", "");
    template.target(&key).in_mesh()
}

#[cfg(test)]
mod tests;
