//! A mesh as one sees it who may see some of its namespaces.
//!
//! What is shown: everything in these namespaces; every edge that begins or ends in one of them, because it is their own
//! traffic; what these edges lead to outside the cluster; and of other namespaces' policy what decides here, because
//! without it every answer about these namespaces would be wrong: authentications that a policy in one of them requires,
//! and the EgressNetworks that hold for all. Of the far end of an edge its name is shown and what its proxy proved to ours,
//! and nothing else: not what is behind it, not its policies.

use super::{Index, Part};
use crate::{
    id::{PolicyId, Text},
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, External, Graph, Policy, Workload},
    status::MetricsStatus,
};
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// The namespace whose EgressNetworks are for all clients, with the routes that belong to them.
const EGRESS: &str = "linkerd-egress";

/// The part of a mesh that may be seen. Costs what that part weighs.
pub fn limited(
    graph: &Graph,
    index: &Index,
    metrics: &Metrics,
    namespaces: &BTreeSet<Text>,
) -> (Graph, Metrics) {
    let seen = |namespace: &str| namespaces.contains(namespace);
    let mut shown =
        Graph { status: graph.status.clone(), cluster: graph.cluster.clone(), ..Graph::default() };
    for namespace in namespaces {
        let part = Part::of_namespace(graph, index, namespace);
        shown.namespaces.extend(graph.namespaces.get_key_value(namespace).map(owned));
        shown.services.extend(part.services.into_iter().map(owned));
        shown.auth_policies.extend(part.auth_policies.into_iter().map(owned));
        shown.policies.extend(part.policies.into_iter().map(owned));
        shown.externals.extend(part.externals.into_iter().map(|(id, it)| (id.clone(), external(it, seen))));
        shown.edges.extend(part.edges.into_iter().map(|(id, it)| (id.clone(), edge(it, seen))));
        shown.workloads.extend(part.workloads.into_iter().map(owned));
    }
    for id in shown.auth_policies.values().flat_map(|policy| authentications(policy)).collect::<Vec<_>>() {
        if let Some((id, policy)) = graph.policies.get_key_value(&id) {
            shown.policies.insert(id.clone(), policy.clone());
        }
    }
    shown.policies.extend(Part::of_namespace(graph, index, EGRESS).policies.into_iter().map(owned));
    let policies = &shown.policies;
    let known = |id: &PolicyId| seen(id.namespace()) || policies.contains_key(id);
    shown.workloads = shown.workloads.iter().map(|(id, it)| (id.clone(), workload(it, known))).collect();
    let numbers = numbers(metrics, &shown.edges, seen);
    (shown, numbers)
}

fn owned<K: Clone, V>((id, it): (&K, &Arc<V>)) -> (K, Arc<V>) {
    (id.clone(), it.clone())
}

/// Without what is behind an end that may not be seen.
fn edge(edge: &Arc<Edge>, seen: impl Fn(&str) -> bool) -> Arc<Edge> {
    let workloads = edge.workloads.iter().chain(&edge.candidates).all(|id| seen(id.namespace()));
    if workloads && edge.backends.iter().all(|id| seen(id.namespace())) {
        return edge.clone();
    }
    let mut edge = Edge::clone(edge);
    edge.workloads.retain(|id| seen(id.namespace()));
    edge.candidates.retain(|id| seen(id.namespace()));
    edge.backends.retain(|id| seen(id.namespace()));
    Arc::new(edge)
}

fn external(external: &Arc<External>, seen: impl Fn(&str) -> bool) -> Arc<External> {
    match &external.egress_network {
        Some(network) if !seen(network.namespace()) => Arc::new(External { egress_network: None }),
        _ => external.clone(),
    }
}

fn workload(workload: &Arc<Workload>, known: impl Fn(&PolicyId) -> bool) -> Arc<Workload> {
    if workload.servers.iter().chain(&workload.policies).all(&known) {
        return workload.clone();
    }
    let mut workload = Workload::clone(workload);
    workload.servers.retain(&known);
    workload.policies.retain(&known);
    Arc::new(workload)
}

/// Authentications of other namespaces that an AuthorizationPolicy requires.
fn authentications(policy: &Policy) -> impl Iterator<Item = PolicyId> + '_ {
    let refs = policy.spec["requiredAuthenticationRefs"].as_array().into_iter().flatten();
    refs.filter_map(|it| {
        let kind = match it["kind"].as_str()? {
            "MeshTLSAuthentication" => Kind::MeshTLSAuthentication,
            "NetworkAuthentication" => Kind::NetworkAuthentication,
            _ => return None,
        };
        Some(PolicyId::new(kind.policy_prefix(), it["namespace"].as_str()?, it["name"].as_str()?))
    })
}

fn numbers(
    metrics: &Metrics,
    edges: &OrdMap<crate::id::EdgeId, Arc<Edge>>,
    seen: impl Fn(&str) -> bool,
) -> Metrics {
    let row = |edge: &Edge, row: &EdgeMetrics| {
        let mut row = row.clone();
        if !edge.dst.namespace().is_none_or(&seen) {
            row.authorized_by = Arc::default();
        }
        row
    };
    let rows = edges.iter().filter_map(|(id, edge)| metrics.get(id).map(|it| (id.clone(), row(edge, it))));
    let (ids, rows): (Vec<_>, Vec<_>) = rows.unzip();
    let known = metrics.status.unscraped.iter();
    let unscraped: Vec<String> =
        known.filter(|pod| pod.split('/').next().is_some_and(&seen)).cloned().collect();
    let status = MetricsStatus {
        // Those that are named: there may be more, and how many of them are in these namespaces is not known.
        unscraped_count: u32::try_from(unscraped.len()).unwrap_or(u32::MAX),
        unscraped,
        // Counted for the whole cluster only.
        mislabelled_count: 0,
        ..metrics.status.clone()
    };
    Metrics { status, ids: ids.into(), rows: rows.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{EdgeId, ObjectId},
        tests::arbitrary,
    };
    use proptest::prelude::*;
    use serde_json::json;

    fn only(names: &[&str]) -> BTreeSet<Text> {
        names.iter().map(|name| Text::from(*name)).collect()
    }

    fn policy(kind: Kind, spec: serde_json::Value) -> Arc<Policy> {
        Arc::new(Policy {
            kind,
            api_version: "policy.linkerd.io/v1alpha1".into(),
            created_ms: None,
            labels: Arc::default(),
            spec: Arc::new(spec),
            status: Arc::default(),
        })
    }

    #[test]
    fn what_decides_in_a_namespace_is_shown_with_it_wherever_it_is() {
        let mut graph = Graph::default();
        let requires = json!({"requiredAuthenticationRefs": [
            {"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "gate", "namespace": "edge"},
            {"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "gone", "namespace": "edge"},
            {"kind": "ServiceAccount", "name": "web", "namespace": "edge"},
        ]});
        graph
            .auth_policies
            .insert(ObjectId::new("shop", "cart"), policy(Kind::AuthorizationPolicy, requires));
        for (id, kind) in [
            ("meshtlsauthentication/edge/gate", Kind::MeshTLSAuthentication),
            ("meshtlsauthentication/edge/other", Kind::MeshTLSAuthentication),
            ("server/edge/gate", Kind::Server),
            ("egressnetwork/linkerd-egress/all", Kind::EgressNetwork),
            ("server/shop/cart", Kind::Server),
        ] {
            graph.policies.insert(id.parse().unwrap(), policy(kind, json!({})));
        }
        let (shown, _) = limited(&graph, &Index::of(&graph), &Metrics::default(), &only(&["shop"]));
        let policies: Vec<String> = shown.policies.keys().map(ToString::to_string).collect();
        assert_eq!(
            policies,
            ["egressnetwork/linkerd-egress/all", "meshtlsauthentication/edge/gate", "server/shop/cart"]
        );
    }

    proptest! {
        #[test]
        fn nothing_of_another_namespace_is_shown_but_the_names_of_far_ends(
            (graph, metrics) in arbitrary::measured(),
        ) {
            let here = only(&["shop"]);
            let (shown, numbers) = limited(&graph, &Index::of(&graph), &metrics, &here);
            let seen = |namespace: &str| namespace == "shop";
            for (id, edge) in &shown.edges {
                let ends = [edge.src.namespace(), edge.dst.namespace()];
                prop_assert!(ends.into_iter().flatten().any(seen), "{id}");
                let behind = edge.workloads.iter().chain(&edge.candidates).map(|id| id.namespace());
                prop_assert!(behind.chain(edge.backends.iter().map(|id| id.namespace())).all(seen), "{id}");
                let hidden = edge.dst.namespace().is_some_and(|it| !seen(it));
                let names = numbers.get(id).is_some_and(|it| !it.authorized_by.is_empty());
                prop_assert!(!(hidden && names), "{id}");
            }
            prop_assert!(shown.services.keys().all(|id| seen(id.namespace())));
            prop_assert!(shown.workloads.keys().all(|id| seen(id.namespace())));
            prop_assert!(shown.auth_policies.keys().all(|id| seen(id.namespace())));
            prop_assert!(shown.namespaces.keys().all(|name| seen(name)));
            let called = |id: &crate::id::ExternalId| {
                shown.edges.values().any(|edge| super::super::Node::of_destination(&edge.dst).key() == id.as_str())
            };
            prop_assert!(shown.externals.keys().all(called));
            prop_assert!(numbers.ids.iter().all(|id: &EdgeId| shown.edges.contains_key(id)));
        }

        #[test]
        fn of_its_own_namespaces_nothing_is_missing((graph, metrics) in arbitrary::measured()) {
            let here = only(&["shop", "kube-system"]);
            let index = Index::of(&graph);
            let (shown, numbers) = limited(&graph, &index, &metrics, &here);
            let seen = |namespace: &str| here.contains(namespace);
            prop_assert_eq!(
                shown.services.len(),
                graph.services.keys().filter(|id| seen(id.namespace())).count()
            );
            prop_assert_eq!(
                shown.workloads.len(),
                graph.workloads.keys().filter(|id| seen(id.namespace())).count()
            );
            let touches = |edge: &Edge| {
                [edge.src.namespace(), edge.dst.namespace()].into_iter().flatten().any(seen)
            };
            let edges: Vec<&EdgeId> =
                graph.edges.iter().filter(|(_, edge)| touches(edge)).map(|(id, _)| id).collect();
            prop_assert_eq!(shown.edges.keys().collect::<Vec<_>>(), edges.clone());
            for id in edges {
                prop_assert_eq!(numbers.get(id).map(|it| it.rps), metrics.get(id).map(|it| it.rps));
            }
            for (id, service) in &shown.services {
                prop_assert_eq!(Some(service), graph.services.get(id));
            }
        }
    }
}
