//! Policy objects and routes by what they bear on.

use super::{Node, edges::under};
use crate::{
    id::{ObjectId, PolicyId, WorkloadId},
    kind::{KINDS, Kind},
    model::{Graph, Policy},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A policy object or route with its id.
pub type PolicyRef<'a> = (PolicyId, &'a Arc<Policy>);

/// Kinds of routes.
const ROUTES: [Kind; 5] =
    [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute, Kind::TLSRoute, Kind::TCPRoute];

/// What bears on calls to `node`, ordered by kind and id.
///
/// These are Servers that select its pods, the authorizations on those and what they refer to, rate limits, and routes
/// of its Servers and Services. For something outside the cluster it is its EgressNetwork with the routes on it.
pub fn bearing_on<'a>(graph: &'a Graph, node: &Node) -> Vec<PolicyRef<'a>> {
    let (workloads, mut parents): (Vec<&WorkloadId>, Parents<'_>) = match node {
        Node::Workload(id) => {
            let services = graph.workloads.get(id).map(|it| it.services.iter()).into_iter().flatten();
            (vec![id], services.map(|id| ("service", id.namespace(), id.name())).collect())
        }
        Node::Service(id) => {
            let workloads = graph.services.get(id).map(|it| it.workloads.iter()).into_iter().flatten();
            (workloads.collect(), [("service", id.namespace(), id.name())].into())
        }
        Node::External(id) => {
            let network = graph.externals.get(id).and_then(|it| it.egress_network.as_ref());
            (vec![], network.map(|id| ("egressnetwork", id.namespace(), id.name())).into_iter().collect())
        }
    };
    let mut ids: BTreeSet<PolicyId> = BTreeSet::new();
    for workload in workloads.into_iter().filter_map(|id| graph.workloads.get(id)) {
        parents.extend(workload.servers.iter().map(|id| ("server", id.namespace(), id.name())));
        ids.extend(workload.servers.iter().chain(&workload.policies).cloned());
    }
    for (kind, namespace, name) in &parents {
        if *kind == "egressnetwork" {
            ids.insert(PolicyId::new(Kind::EgressNetwork.policy_prefix(), namespace, name));
        }
    }
    let authentications: Vec<PolicyId> =
        ids.iter().filter_map(|id| policy(graph, id)).flat_map(|it| referred(&it)).collect();
    ids.extend(authentications);
    for kind in ROUTES {
        let routes = under_prefix(graph, kind.policy_prefix());
        ids.extend(routes.filter(|(id, route)| attaches(id, route, &parents)).map(|(id, _)| id.clone()));
    }
    for (kind, namespace, name) in &parents {
        if *kind == "server" {
            let prefix = format!("{}/{namespace}", Kind::HTTPLocalRateLimitPolicy.policy_prefix());
            let limits = under_prefix(graph, &prefix);
            let of_server = limits.filter(|(_, it)| it.spec["targetRef"]["name"].as_str() == Some(*name));
            ids.extend(of_server.map(|(id, _)| id.clone()));
        }
    }
    ids.iter().filter_map(|id| policy(graph, id)).collect()
}

/// Every policy object and route of a namespace, ordered by kind and id.
pub fn of_namespace<'a>(graph: &'a Graph, namespace: &str) -> Vec<PolicyRef<'a>> {
    let authorizations = under(&graph.auth_policies, namespace, '/').map(|(id, policy)| named(id, policy));
    let prefixes: BTreeSet<&str> = KINDS.iter().map(|row| row.kind.policy_prefix()).collect();
    let others = prefixes
        .into_iter()
        .filter(|prefix| !prefix.is_empty())
        .flat_map(|prefix| under_prefix(graph, &format!("{prefix}/{namespace}")))
        .map(|(id, policy)| (id.clone(), policy));
    let all: BTreeMap<PolicyId, &Arc<Policy>> = authorizations.chain(others).collect();
    all.into_iter().collect()
}

/// True when there is such an object.
pub fn is_known(graph: &Graph, id: &PolicyId) -> bool {
    policy(graph, id).is_some()
}

/// True for routes, which say where calls go; all other policy objects say who may call.
pub fn is_route(kind: Kind) -> bool {
    ROUTES.contains(&kind)
}

/// Kind in lower case, namespace and name of what routes name as their parents.
type Parents<'a> = BTreeSet<(&'static str, &'a str, &'a str)>;

fn under_prefix<'a>(
    graph: &'a Graph,
    prefix: &str,
) -> impl Iterator<Item = (&'a PolicyId, &'a Arc<Policy>)> + use<'a> {
    under(&graph.policies, prefix, '/')
}

fn named<'a>(id: &ObjectId, policy: &'a Arc<Policy>) -> PolicyRef<'a> {
    let prefix = Kind::AuthorizationPolicy.policy_prefix();
    (PolicyId::new(prefix, id.namespace(), id.name()), policy)
}

/// AuthorizationPolicies are in a map of their own.
fn policy<'a>(graph: &'a Graph, id: &PolicyId) -> Option<PolicyRef<'a>> {
    if id.kind() == Kind::AuthorizationPolicy.policy_prefix() {
        let id = ObjectId::new(id.namespace(), id.name());
        return graph.auth_policies.get(&id).map(|policy| named(&id, policy));
    }
    graph.policies.get(id).map(|policy| (id.clone(), policy))
}

/// The authentications that an AuthorizationPolicy requires.
fn referred((id, policy): &PolicyRef<'_>) -> Vec<PolicyId> {
    let refs = policy.spec["requiredAuthenticationRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |it: &Value| {
        let kind = it["kind"].as_str()?;
        let prefix = [Kind::MeshTLSAuthentication, Kind::NetworkAuthentication]
            .map(Kind::policy_prefix)
            .into_iter()
            .find(|prefix| prefix.eq_ignore_ascii_case(kind))?;
        let namespace = it["namespace"].as_str().unwrap_or(id.namespace());
        Some(PolicyId::new(prefix, namespace, it["name"].as_str()?))
    };
    refs.iter().filter_map(of).collect()
}

fn attaches(id: &PolicyId, route: &Policy, parents: &Parents<'_>) -> bool {
    let refs = route.spec["parentRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
    refs.iter().any(|it| {
        let kind = it["kind"].as_str().unwrap_or_default();
        let namespace = it["namespace"].as_str().unwrap_or(id.namespace());
        let name = it["name"].as_str().unwrap_or_default();
        ["server", "service", "egressnetwork"]
            .into_iter()
            .any(|known| known.eq_ignore_ascii_case(kind) && parents.contains(&(known, namespace, name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{ServiceId, Text},
        model::{External, Service, Workload},
    };
    use serde_json::json;

    fn mk_policy(kind: Kind, spec: Value) -> Arc<Policy> {
        Arc::new(Policy {
            kind,
            api_version: Text::from("v1"),
            created_ms: None,
            labels: Arc::default(),
            spec: Arc::new(spec),
            status: Arc::default(),
        })
    }

    fn mk_graph() -> Graph {
        let mut graph = Graph::default();
        let workload = Workload {
            services: vec![ServiceId::new("shop", "cart")],
            servers: vec!["server/shop/cart".parse().unwrap()],
            policies: vec!["authorizationpolicy/shop/cart".parse().unwrap()],
            ..Workload::default()
        };
        let cart: WorkloadId = "shop/deployment/cart".parse().unwrap();
        let service = Service { workloads: vec![cart.clone()], ..Service::default() };
        graph.workloads.insert(cart, Arc::new(workload));
        graph.services.insert(ServiceId::new("shop", "cart"), Arc::new(service));
        let clients = json!({"kind": "MeshTLSAuthentication", "name": "clients", "namespace": "auth"});
        let policy = mk_policy(Kind::AuthorizationPolicy, json!({"requiredAuthenticationRefs": [clients]}));
        graph.auth_policies.insert(ObjectId::new("shop", "cart"), policy);
        let route = |parent: Value| mk_policy(Kind::GatewayHTTPRoute, json!({"parentRefs": [parent]}));
        let limit = |server: &str| {
            mk_policy(
                Kind::HTTPLocalRateLimitPolicy,
                json!({"targetRef": {"kind": "Server", "name": server}}),
            )
        };
        let policies = [
            ("server/shop/cart", mk_policy(Kind::Server, json!({}))),
            ("server/shop/other", mk_policy(Kind::Server, json!({}))),
            ("meshtlsauthentication/auth/clients", mk_policy(Kind::MeshTLSAuthentication, json!({}))),
            ("meshtlsauthentication/shop/unused", mk_policy(Kind::MeshTLSAuthentication, json!({}))),
            ("httplocalratelimitpolicy/shop/cart", limit("cart")),
            ("httplocalratelimitpolicy/shop/other", limit("other")),
            ("egressnetwork/shop/bank", mk_policy(Kind::EgressNetwork, json!({}))),
            (
                "httproute.gateway.networking.k8s.io/web/consumer",
                route(json!({"kind": "Service", "name": "cart", "namespace": "shop"})),
            ),
            (
                "httproute.gateway.networking.k8s.io/shop/server",
                route(json!({"kind": "server", "name": "cart"})),
            ),
            (
                "httproute.gateway.networking.k8s.io/web/namesake",
                route(json!({"kind": "Service", "name": "cart"})),
            ),
            (
                "httproute.gateway.networking.k8s.io/shop/egress",
                route(json!({"kind": "EgressNetwork", "name": "bank"})),
            ),
        ];
        for (id, policy) in policies {
            graph.policies.insert(id.parse().unwrap(), policy);
        }
        let external = External { egress_network: Some(ObjectId::new("shop", "bank")) };
        graph.externals.insert("bank.example:443".parse().unwrap(), Arc::new(external));
        graph
    }

    fn ids(policies: &[PolicyRef<'_>]) -> Vec<String> {
        policies.iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn what_bears_on_a_service_and_on_its_workload_is_found_by_every_kind_of_reference() {
        let graph = mk_graph();
        let expected = [
            "authorizationpolicy/shop/cart",
            "httplocalratelimitpolicy/shop/cart",
            "httproute.gateway.networking.k8s.io/shop/server",
            "httproute.gateway.networking.k8s.io/web/consumer",
            "meshtlsauthentication/auth/clients",
            "server/shop/cart",
        ];
        assert_eq!(ids(&bearing_on(&graph, &Node::Service(ServiceId::new("shop", "cart")))), expected);
        let workload = Node::Workload("shop/deployment/cart".parse().unwrap());
        assert_eq!(ids(&bearing_on(&graph, &workload)), expected);
    }

    #[test]
    fn outside_the_cluster_the_egress_network_bears_on_calls() {
        let external = Node::External("bank.example:443".parse().unwrap());
        let expected = ["egressnetwork/shop/bank", "httproute.gateway.networking.k8s.io/shop/egress"];
        assert_eq!(ids(&bearing_on(&mk_graph(), &external)), expected);
    }

    #[test]
    fn a_namespace_has_the_objects_that_lie_in_it() {
        let graph = mk_graph();
        assert_eq!(ids(&of_namespace(&graph, "auth")), ["meshtlsauthentication/auth/clients"]);
        assert_eq!(of_namespace(&graph, "shop").len(), 9);
        assert!(of_namespace(&graph, "sho").is_empty());
    }
}
