//! What a policy object bears on: itself, its namespace, workloads, and Services.

use super::{Place, What, service, workload};
use crate::{
    id::{PolicyId, ServiceId, WorkloadId},
    kind::Kind,
    model::{Graph, Policy, Workload},
};
use ahash::AHashMap;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What each of the touched policies bears on, in the graph before or after. One pass over the workloads for all.
pub(super) fn places(
    graphs: [&Graph; 2],
    touched: &BTreeMap<PolicyId, (What, Vec<&Policy>)>,
) -> BTreeMap<PolicyId, BTreeSet<Place>> {
    let mut found: BTreeMap<PolicyId, BTreeSet<Place>> = BTreeMap::new();
    // Workloads know the Servers and authorizations on them; all else is reached through one of those.
    let mut through: AHashMap<PolicyId, BTreeSet<&PolicyId>> = AHashMap::new();
    for (id, (_, policies)) in touched {
        let places = found.entry(id.clone()).or_default();
        places.insert(Place::Policy(id.clone()));
        places.insert(Place::Namespace(id.namespace().into()));
        through.entry(id.clone()).or_default().insert(id);
        for referent in policies.iter().flat_map(|it| referents(it, id.namespace())) {
            match referent {
                Referent::Service(parent) => service(places, &parent),
                Referent::Server(server) => {
                    through.entry(server).or_default().insert(id);
                }
            }
        }
    }
    for graph in graphs {
        authentications(graph, touched, &mut through);
        for (name, it) in &graph.workloads {
            for id in of_workload(it, &through) {
                bears_on(found.entry(id.clone()).or_default(), name, it);
            }
        }
    }
    found
}

fn of_workload<'a>(
    workload: &Arc<Workload>,
    through: &AHashMap<PolicyId, BTreeSet<&'a PolicyId>>,
) -> BTreeSet<&'a PolicyId> {
    let known = workload.servers.iter().chain(&workload.policies);
    known.filter_map(|id| through.get(id)).flatten().copied().collect()
}

fn bears_on(places: &mut BTreeSet<Place>, name: &WorkloadId, it: &Workload) {
    workload(places, name);
    it.services.iter().for_each(|id| service(places, id));
}

/// AuthorizationPolicies that require a touched authentication.
fn authentications<'a>(
    graph: &Graph,
    touched: &'a BTreeMap<PolicyId, (What, Vec<&Policy>)>,
    through: &mut AHashMap<PolicyId, BTreeSet<&'a PolicyId>>,
) {
    let kinds = [Kind::MeshTLSAuthentication.policy_prefix(), Kind::NetworkAuthentication.policy_prefix()];
    if !touched.keys().any(|id| kinds.contains(&id.kind())) {
        return;
    }
    for (id, policy) in &graph.auth_policies {
        for required in refs(&policy.spec, "requiredAuthenticationRefs") {
            let namespace = text(required, "namespace").unwrap_or(id.namespace());
            let kind = text(required, "kind").unwrap_or_default().to_ascii_lowercase();
            let name = text(required, "name").unwrap_or_default();
            let required = PolicyId::new(&kind, namespace, name);
            if let Some((authentication, _)) = touched.get_key_value(&required) {
                let prefix = Kind::AuthorizationPolicy.policy_prefix();
                let policy = PolicyId::new(prefix, id.namespace(), id.name());
                through.entry(policy).or_default().insert(authentication);
            }
        }
    }
}

/// What a policy hangs on.
enum Referent {
    Server(PolicyId),
    Service(ServiceId),
}

fn referents(policy: &Policy, namespace: &str) -> Vec<Referent> {
    let parents = refs(&policy.spec, "parentRefs").chain(policy.spec.get("targetRef"));
    let referent = |it: &Value| {
        let (kind, name) = (text(it, "kind")?, text(it, "name")?);
        let namespace = text(it, "namespace").unwrap_or(namespace);
        // Linkerd compares kinds without letter case.
        if kind.eq_ignore_ascii_case("Server") {
            Some(Referent::Server(PolicyId::new(Kind::Server.policy_prefix(), namespace, name)))
        } else if kind.eq_ignore_ascii_case("Service") {
            Some(Referent::Service(ServiceId::new(namespace, name)))
        } else {
            None
        }
    };
    parents.filter_map(referent).collect()
}

fn refs<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(of: &'a Value, field: &str) -> Option<&'a str> {
    of.get(field)?.as_str()
}
