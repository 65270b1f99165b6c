//! Shares equal text, label maps and port lists between facts: ten thousand pods of a few hundred templates repeat
//! the same namespaces, labels and ports.

use super::Facts;
use crate::{
    fact::{ContainerPort, EndpointTarget, Fact, Key, Labels, OwnerRef, Probe},
    id::Text,
};
use ahash::AHashSet;
use std::sync::Arc;

/// What has been seen, once each.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: AHashSet<Text>,
    labels: AHashSet<Labels>,
    ports: AHashSet<Arc<[ContainerPort]>>,
    probes: AHashSet<Arc<[Probe]>>,
    deletions: usize,
}

fn replace(text: &mut Text, known: Option<&Text>) {
    if let Some(known) = known {
        *text = known.clone();
    }
}

/// How many deletions pass between sweeps for text nobody mentions any more.
const SWEEP_EVERY: usize = 4096;

impl Interner {
    /// Replaces what `fact` shares with others by the one copy.
    ///
    /// Names of pods, ReplicaSets and Jobs are many and each is mentioned in two or three places, so they are looked up
    /// among `facts`; names of EndpointSlices nobody mentions.
    pub(super) fn intern(&mut self, fact: &mut Fact, facts: &Facts) {
        match fact {
            Fact::Namespace(namespace) => self.key(&mut Arc::make_mut(namespace).key),
            Fact::Service(service) => {
                let service = Arc::make_mut(service);
                self.key(&mut service.key);
                for port in &mut service.ports {
                    self.text(&mut port.name);
                    self.text(&mut port.protocol);
                    self.text(&mut port.target);
                }
                service.ports.shrink_to_fit();
                service.cluster_ips.shrink_to_fit();
            }
            Fact::EndpointSlice(slice) => {
                let slice = Arc::make_mut(slice);
                self.text(&mut slice.key.namespace);
                slice.service.iter_mut().for_each(|name| self.text(name));
                for target in &mut slice.targets {
                    match target {
                        EndpointTarget::Pod(name) => {
                            let key = Key { namespace: slice.key.namespace.clone(), name: name.clone() };
                            replace(name, facts.shared_pod_name(&key));
                        }
                        EndpointTarget::ExternalWorkload(name) => self.text(name),
                    }
                }
                slice.targets.shrink_to_fit();
            }
            Fact::Pod(pod) => {
                let pod = Arc::make_mut(pod);
                self.text(&mut pod.key.namespace);
                let known = facts.shared_pod_name(&pod.key);
                replace(&mut pod.key.name, known);
                if let Some(owner) = &mut pod.owner {
                    self.text(&mut owner.kind);
                    match facts.shared_owner_name(&pod.key.namespace, owner) {
                        Some(known) => owner.name = known.clone(),
                        None => self.text(&mut owner.name),
                    }
                }
                self.text(&mut pod.service_account);
                self.shared_labels(&mut pod.labels);
                self.shared_labels(&mut pod.annotations);
                pod.control_plane.iter_mut().for_each(|name| self.text(name));
                self.shared_ports(&mut pod.ports);
                self.shared_probes(&mut pod.probes);
                pod.ips.shrink_to_fit();
            }
            Fact::Owner(owned) => {
                let owned = Arc::make_mut(owned);
                self.text(&mut owned.key.namespace);
                let itself = OwnerRef { kind: owned.kind.row().name.into(), name: owned.key.name.clone() };
                let known = facts.shared_owner_name(&owned.key.namespace, &itself);
                replace(&mut owned.key.name, known);
                if let Some(owner) = &mut owned.owner {
                    self.text(&mut owner.kind);
                    self.text(&mut owner.name);
                }
            }
            Fact::ServiceAccount(key) | Fact::ServiceProfile(key) => self.key(Arc::make_mut(key)),
            Fact::Policy(policy) => {
                let policy = Arc::make_mut(policy);
                self.key(&mut policy.key);
                self.text(&mut policy.api_version);
                self.shared_labels(&mut policy.labels);
            }
            Fact::ExternalWorkload(external) => {
                let external = Arc::make_mut(external);
                self.key(&mut external.key);
                self.shared_labels(&mut external.labels);
                self.shared_labels(&mut external.annotations);
                self.shared_ports(&mut external.ports);
            }
            Fact::Link(link) => self.key(&mut Arc::make_mut(link).key),
        }
    }

    /// Forgets, now and then, what no fact mentions any more.
    pub(super) fn sweep(&mut self) {
        self.deletions += 1;
        if self.deletions < SWEEP_EVERY {
            return;
        }
        self.deletions = 0;
        self.labels.retain(|labels| Arc::strong_count(labels) > 1);
        self.ports.retain(|ports| Arc::strong_count(ports) > 1);
        self.probes.retain(|probes| Arc::strong_count(probes) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }

    fn key(&mut self, key: &mut Key) {
        self.text(&mut key.namespace);
        self.text(&mut key.name);
    }

    fn text(&mut self, text: &mut Text) {
        match self.texts.get(text) {
            Some(known) => *text = known.clone(),
            None => drop(self.texts.insert(text.clone())),
        }
    }

    fn shared_labels(&mut self, labels: &mut Labels) {
        if let Some(known) = self.labels.get(labels) {
            *labels = known.clone();
            return;
        }
        let shared = labels
            .iter()
            .map(|(name, value)| {
                let (mut name, mut value) = (name.clone(), value.clone());
                self.text(&mut name);
                self.text(&mut value);
                (name, value)
            })
            .collect();
        *labels = Arc::new(shared);
        self.labels.insert(labels.clone());
    }

    fn shared_ports(&mut self, ports: &mut Arc<[ContainerPort]>) {
        match self.ports.get(ports) {
            Some(known) => *ports = known.clone(),
            None => drop(self.ports.insert(ports.clone())),
        }
    }

    fn shared_probes(&mut self, probes: &mut Arc<[Probe]>) {
        match self.probes.get(probes) {
            Some(known) => *probes = known.clone(),
            None => drop(self.probes.insert(probes.clone())),
        }
    }
}
