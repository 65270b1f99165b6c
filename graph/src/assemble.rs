//! One node at a time from facts: what [`crate::index`] calls for everything a change touched.

use crate::{
    fact::{ContainerPort, EndpointTarget, Key, Labels, Pod},
    facts::{Facts, profiled_service},
    id::{ExternalId, ObjectId, ServiceId, Text, WorkloadId, service_account},
    kind::Kind,
    model::{External, Meshed, Namespace, Policy, Service, ServicePort, Template, Workload, WorkloadPort},
    policy::{self, PolicyCluster, selector::tells_pods_apart},
};
use ipnet::IpNet;
use serde_json::Value;
use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// What the cluster is configured with, where it bears on the graph. From `linkerd-config` or flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Namespace of the Linkerd control plane.
    pub linkerd_namespace: Text,
    /// Trust domain of mesh identities.
    pub trust_domain: Text,
    /// DNS domain of the cluster.
    pub cluster_domain: Text,
    /// What the control plane was told about policy; `None` when that is not known.
    pub policy: Option<Arc<PolicyCluster>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            linkerd_namespace: "linkerd".into(),
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            policy: Some(Arc::default()),
        }
    }
}

impl Cluster {
    /// The mesh identity of a ServiceAccount, as Linkerd's identity controller makes it.
    pub fn identity(&self, namespace: &str, service_account: &str) -> Text {
        let account = if service_account.is_empty() { "default" } else { service_account };
        format!(
            "{account}.{namespace}.serviceaccount.identity.{}.{}",
            self.linkerd_namespace, self.trust_domain
        )
        .into()
    }
}

/// A Service node; absent when there is no such Service.
pub fn service(facts: &Facts, id: &ServiceId) -> Option<Service> {
    let fact = facts.service(id)?;
    let mut workloads = BTreeSet::new();
    let (mut pods, mut meshed) = (BTreeSet::new(), 0);
    for slice in facts.slices_of(id) {
        for target in &slice.targets {
            match target {
                EndpointTarget::Pod(name) => {
                    let Some(pod) =
                        facts.pod(&Key { namespace: fact.key.namespace.clone(), name: name.clone() })
                    else {
                        continue;
                    };
                    workloads.insert(facts.workload_of(pod));
                    // Dual-stack Services list a pod in one slice per address family.
                    if pods.insert(name.clone()) && pod.meshed() {
                        meshed += 1;
                    }
                }
                EndpointTarget::ExternalWorkload(name) => {
                    let key = Key { namespace: fact.key.namespace.clone(), name: name.clone() };
                    if let Some(crate::fact::Fact::ExternalWorkload(external)) =
                        facts.get(Kind::ExternalWorkload, &key)
                    {
                        workloads.insert(facts.external_workload_id(external));
                        if pods.insert(name.clone()) && external.identity.is_some() {
                            meshed += 1;
                        }
                    }
                }
            }
        }
    }
    Some(Service {
        meshed: Meshed::of(u32::try_from(pods.len()).unwrap_or(u32::MAX), meshed),
        ports: fact.ports.iter().map(|port| service_port(port, fact.opaque_ports.as_deref())).collect(),
        workloads: workloads.into_iter().collect(),
        mirror_of: fact.mirror_of.clone(),
        service_profile: facts
            .in_namespace(Kind::ServiceProfile, id.namespace())
            .any(|profile| profiled_service(&profile.key().name).as_ref() == Some(id)),
        cluster_ips: fact.cluster_ips.clone(),
    })
}

fn service_port(port: &crate::fact::ServicePort, opaque_ports: Option<&str>) -> ServicePort {
    ServicePort {
        port: port.port,
        name: port.name.clone(),
        protocol: port.protocol.clone(),
        target: port.target.clone(),
        opaque: opaque_ports.is_some_and(|ports| lists_port(ports, port.port, &port.name)),
    }
}

/// True when an annotation such as `config.linkerd.io/opaque-ports` lists the port by number, range or name.
fn lists_port(annotation: &str, number: u16, name: &str) -> bool {
    annotation.split(',').map(str::trim).any(|entry| match entry.split_once('-') {
        Some((low, high)) => match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&number),
            _ => !name.is_empty() && entry == name,
        },
        None => entry.parse::<u16>().map_or(!name.is_empty() && entry == name, |port| port == number),
    })
}

/// A workload node; absent when it has no pods that still run and is no ExternalWorkload. With it the identities that
/// its pods and ExternalWorkloads present beside the one of the node.
pub fn workload(facts: &Facts, cluster: &Cluster, id: &WorkloadId) -> (Option<Workload>, BTreeSet<Text>) {
    let pods: Vec<_> = facts.pods_of(id).into_iter().filter(|pod| !pod.ended).collect();
    if pods.is_empty() {
        let workload = external_workload(facts, id);
        let known = workload.as_ref().and_then(|workload| workload.identity.clone());
        let mut more = external_identities(facts, id);
        known.map(|known| more.remove(&known));
        return (workload, more);
    }
    let meshed = count(&pods, |pod| pod.meshed());
    let mut services = BTreeSet::new();
    let mut servers = BTreeSet::new();
    let mut ports = BTreeSet::new();
    let mut shapes: BTreeSet<(&Labels, &Arc<[ContainerPort]>)> = BTreeSet::new();
    for pod in &pods {
        services.extend(facts.services_of_pod(pod));
        if shapes.insert((&pod.labels, &pod.ports)) {
            if pod.meshed() {
                servers.extend(policy::servers_of(facts, id.namespace(), &pod.labels, &pod.ports, false));
            }
            ports.extend(pod.ports.iter().filter(|port| !of_proxy(port)).map(workload_port));
        }
    }
    let first = &pods[0];
    let identity_of = |pod: &Pod| {
        // The identity carries the namespace of the control plane that injected the pod.
        let linkerd_namespace =
            pod.control_plane.clone().unwrap_or_else(|| cluster.linkerd_namespace.clone());
        Cluster { linkerd_namespace, ..cluster.clone() }.identity(id.namespace(), &pod.service_account)
    };
    let mut with_proxy = pods.iter().filter(|pod| pod.meshed());
    let of_identity = with_proxy.next();
    let identity = of_identity.map(|pod| identity_of(pod));
    let mut more = external_identities(facts, id);
    if let Some(first) = of_identity {
        let others = with_proxy.filter(|pod| {
            (&pod.service_account, &pod.control_plane) != (&first.service_account, &first.control_plane)
        });
        more.extend(others.map(|pod| identity_of(pod)).filter(|it| Some(it) != identity.as_ref()));
    }
    let workload = Workload {
        meshed: Meshed::of(u32::try_from(pods.len()).unwrap_or(u32::MAX), meshed),
        pods: u32::try_from(pods.len()).unwrap_or(u32::MAX),
        pods_meshed: meshed,
        pods_ready: count(&pods, |pod| pod.ready),
        service_account: first.service_account.clone(),
        identity,
        services: services.into_iter().collect(),
        policies: policy::authorizations_on(facts, id.namespace(), &servers).into_iter().collect(),
        servers: servers.into_iter().collect(),
        ports: ports.into_iter().collect(),
        default_inbound_policy: first.annotations.get("config.linkerd.io/default-inbound-policy").cloned(),
        labels: common_labels(pods.iter().map(|pod| &pod.labels)),
        templates: templates(
            facts,
            id,
            pods.iter().map(|pod| Template {
                first: pod.key.name.clone(),
                addresses: pod.ips.clone(),
                count: 1,
                labels: pod.labels.clone(),
                annotations: pod.annotations.clone(),
                ports: pod.ports.clone(),
                probes: pod.probes.clone(),
                proxy: pod.meshed(),
                host_network: pod.host_network,
                external: false,
            }),
        ),
    };
    (Some(workload), more)
}

/// Joins what is alike to policy.
fn templates(facts: &Facts, id: &WorkloadId, each: impl Iterator<Item = Template>) -> Vec<Template> {
    // Most pods of most workloads are alike in all labels: then nobody has to know.
    let selected = LazyCell::new(|| policy::labels_selected(facts, id.namespace()));
    let mut templates: Vec<Template> = Vec::new();
    for one in each {
        let alike = |template: &&mut Template| {
            is_alike(template, &one) && are_alike(&template.labels, &one.labels, &selected)
        };
        match templates.iter_mut().find(alike) {
            Some(template) => {
                template.count += one.count;
                template.addresses.extend(one.addresses);
            }
            None => templates.push(one),
        }
    }
    for template in &mut templates {
        template.addresses.shrink_to_fit();
    }
    templates
}

/// All but the labels.
fn is_alike(a: &Template, b: &Template) -> bool {
    let same = |a: &Labels, b: &Labels| Arc::ptr_eq(a, b) || a == b;
    same(&a.annotations, &b.annotations)
        && (Arc::ptr_eq(&a.ports, &b.ports) || a.ports == b.ports)
        && (Arc::ptr_eq(&a.probes, &b.probes) || a.probes == b.probes)
        && (a.proxy, a.host_network, a.external) == (b.proxy, b.host_network, b.external)
}

/// Labels that tell pods of a workload apart bear on policy only where a Server selects by them.
fn are_alike(
    a: &Labels,
    b: &Labels,
    selected: &LazyCell<BTreeSet<String>, impl FnOnce() -> BTreeSet<String>>,
) -> bool {
    let bears = |(label, _): &(&Text, &Text)| !tells_pods_apart(label) || selected.contains(&***label);
    Arc::ptr_eq(a, b) || a == b || a.iter().filter(bears).eq(b.iter().filter(bears))
}

/// Identities that ExternalWorkloads present. One in the form of a ServiceAccount's is believed of pods alone.
fn external_identities(facts: &Facts, id: &WorkloadId) -> BTreeSet<Text> {
    let externals = facts.external_workloads_of(id).into_iter();
    externals
        .filter_map(|external| external.identity.clone())
        .filter(|identity| service_account(identity).is_none())
        .collect()
}

fn external_workload(facts: &Facts, id: &WorkloadId) -> Option<Workload> {
    let externals = facts.external_workloads_of(id);
    let first = externals.first()?;
    let mut services = BTreeSet::new();
    let mut servers = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for external in &externals {
        services.extend(facts.services_of_external_workload(external));
        servers.extend(policy::servers_of(facts, id.namespace(), &external.labels, &external.ports, true));
        ports.extend(external.ports.iter().map(workload_port));
    }
    let total = u32::try_from(externals.len()).unwrap_or(u32::MAX);
    let meshed = u32::try_from(externals.iter().filter(|e| e.identity.is_some()).count()).unwrap_or(u32::MAX);
    Some(Workload {
        meshed: Meshed::of(total, meshed),
        pods: total,
        pods_meshed: meshed,
        pods_ready: u32::try_from(externals.iter().filter(|external| external.ready).count())
            .unwrap_or(u32::MAX),
        identity: first.identity.clone(),
        services: services.into_iter().collect(),
        policies: policy::authorizations_on(facts, id.namespace(), &servers).into_iter().collect(),
        servers: servers.into_iter().collect(),
        ports: ports.into_iter().collect(),
        labels: common_labels(externals.iter().map(|external| &external.labels)),
        templates: templates(
            facts,
            id,
            externals.iter().map(|external| Template {
                first: external.key.name.clone(),
                addresses: external.ips.clone(),
                count: 1,
                labels: external.labels.clone(),
                annotations: external.annotations.clone(),
                ports: external.ports.clone(),
                probes: Arc::default(),
                proxy: external.identity.is_some(),
                host_network: false,
                external: true,
            }),
        ),
        ..Workload::default()
    })
}

fn count(pods: &[&Arc<Pod>], wanted: impl Fn(&Pod) -> bool) -> u32 {
    u32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(u32::MAX)
}

/// The proxy's own ports, `linkerd-proxy` and `linkerd-admin`, are none of the workload's.
fn of_proxy(port: &ContainerPort) -> bool {
    port.name.starts_with("linkerd-")
}

fn workload_port(port: &ContainerPort) -> WorkloadPort {
    WorkloadPort { port: port.port, name: port.name.clone(), protocol: port.protocol.clone() }
}

/// The labels that all have in common.
fn common_labels<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::default() };
    let mut common: Option<BTreeMap<Text, Text>> = None;
    for labels in all.filter(|labels| !Arc::ptr_eq(labels, first) && *labels != first) {
        common.get_or_insert_with(|| (**first).clone()).retain(|name, value| labels.get(name) == Some(value));
    }
    common.map_or_else(|| first.clone(), Arc::new)
}

/// A policy object or route; absent when it is gone.
pub fn policy(facts: &Facts, kind: Kind, key: &Key) -> Option<Policy> {
    let fact = facts.policy(kind, key)?;
    Some(Policy {
        kind,
        api_version: fact.api_version.clone(),
        created_ms: fact.created_ms,
        labels: fact.labels.clone(),
        spec: fact.spec.clone(),
        status: fact.status.clone(),
    })
}

/// A Namespace; absent when it is gone.
pub fn namespace(facts: &Facts, name: &str) -> Option<Namespace> {
    facts.namespace(name).map(|fact| Namespace { extension: fact.extension.clone() })
}

/// A destination outside the cluster as clients in `from` see it: the EgressNetwork of their namespace, else of the
/// global namespace `linkerd-egress`, whose most specific network covers the address.
pub fn external(facts: &Facts, id: &ExternalId, from: &BTreeSet<Text>) -> External {
    let Ok(ip) = id.host().parse::<IpAddr>() else { return External::default() };
    let covering = |namespace: &str| {
        facts
            .policies(Kind::EgressNetwork, namespace)
            .filter_map(|network| {
                covers(&network.spec, ip).map(|bits| (bits, ObjectId::new(namespace, &network.key.name)))
            })
            .max_by(|(a, a_id), (b, b_id)| a.cmp(b).then_with(|| b_id.cmp(a_id)))
            .map(|(_, id)| id)
    };
    let egress_network =
        from.iter().find_map(|namespace| covering(namespace)).or_else(|| covering("linkerd-egress"));
    External { egress_network }
}

/// The length of the longest network of an EgressNetwork that contains `ip` without excepting it. Without
/// `networks` it stands for everything outside the cluster, the least specific there is.
fn covers(spec: &Value, ip: IpAddr) -> Option<u8> {
    let Some(networks) = spec.get("networks").and_then(Value::as_array) else { return Some(0) };
    networks
        .iter()
        .filter_map(|network| {
            let net: IpNet = network.get("cidr")?.as_str()?.parse().ok()?;
            let excepted = network.get("except").and_then(Value::as_array).into_iter().flatten();
            let excepted =
                excepted.filter_map(|net| net.as_str()?.parse::<IpNet>().ok()).any(|net| net.contains(&ip));
            (net.contains(&ip) && !excepted).then(|| net.prefix_len())
        })
        .max()
}
