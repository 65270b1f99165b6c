//! Policies, routes, the ServiceProfile and the EgressNetwork as objects.

use super::{metadata, time};
use crate::graph::{fact::Key, kind::Kind};
use crate::simulate::mesh::{Clients, EgressNetwork, Grant, Mesh, Server, Service, identity};
use serde_json::{Value, json};

pub(super) fn all(mesh: &Mesh) -> Vec<(Kind, Value)> {
    let mut objects: Vec<_> = mesh.servers.iter().flat_map(|of| server(mesh, of)).collect();
    objects.extend(mesh.services.iter().filter_map(|of| route(mesh, of)));
    objects.extend(mesh.services.iter().filter(|of| of.profile).map(profile));
    objects.extend(mesh.egress_networks.iter().map(egress_network));
    objects
}

/// A Server with everything that hangs on it.
pub(in crate::simulate) fn server(mesh: &Mesh, of: &Server) -> Vec<(Kind, Value)> {
    let workload = &mesh.workloads[of.workload];
    let namespace = workload.namespace.as_str();
    let port = workload.ports.iter().find(|port| port.number == of.port);
    let mut objects = vec![(
        Kind::Server,
        json!({
            "apiVersion": "policy.linkerd.io/v1beta3",
            "kind": "Server",
            "metadata": metadata(namespace, &of.name, of.created_s),
            "spec": {
                "podSelector": {"matchLabels": {"app": workload.name}},
                "port": port.map_or_else(|| json!(of.port), |port| json!(port.name)),
                "proxyProtocol": of.protocol,
                "accessPolicy": "deny",
            },
        }),
    )];
    if let Some(name) = &of.route {
        objects.push((Kind::LinkerdHTTPRoute, inbound_route(namespace, name, of)));
    }
    for grant in &of.grants {
        objects.extend(authentication(namespace, grant, of.created_s));
        objects.push((Kind::AuthorizationPolicy, authorization(namespace, grant, of)));
    }
    objects
}

/// The keys of what [`server`] makes.
pub(in crate::simulate) fn server_keys(mesh: &Mesh, of: &Server) -> Vec<(Kind, Key)> {
    let namespace = &mesh.workloads[of.workload].namespace;
    let key = |name: &str| Key::new(namespace.as_str(), name);
    let mut keys = vec![(Kind::Server, key(&of.name))];
    keys.extend(of.route.iter().map(|name| (Kind::LinkerdHTTPRoute, key(name))));
    for grant in &of.grants {
        keys.push((Kind::AuthorizationPolicy, key(&grant.name)));
        match grant.clients {
            Clients::Identities(_) => keys.push((Kind::MeshTLSAuthentication, key(&grant.name))),
            Clients::Network(_) => keys.push((Kind::NetworkAuthentication, key(&grant.name))),
            Clients::Account(..) => {}
        }
    }
    keys
}

fn authorization(namespace: &str, grant: &Grant, server: &Server) -> Value {
    let reference = match &grant.clients {
        Clients::Identities(_) => {
            json!({"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": grant.name})
        }
        Clients::Network(_) => {
            json!({"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": grant.name})
        }
        Clients::Account(namespace, name) => {
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    };
    json!({
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata(namespace, &grant.name, server.created_s),
        "spec": {
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": server.name},
            "requiredAuthenticationRefs": [reference],
        },
    })
}

fn authentication(namespace: &str, grant: &Grant, second: u64) -> Option<(Kind, Value)> {
    let metadata = metadata(namespace, &grant.name, second);
    match &grant.clients {
        Clients::Account(..) => None,
        Clients::Identities(accounts) => {
            let identities: Vec<String> =
                accounts.iter().map(|(namespace, account)| identity(namespace, account)).collect();
            // The CRD wants at least one; nobody has this name.
            let identities =
                if identities.is_empty() { vec!["nobody.invalid".to_owned()] } else { identities };
            Some((
                Kind::MeshTLSAuthentication,
                json!({
                    "apiVersion": "policy.linkerd.io/v1alpha1",
                    "kind": "MeshTLSAuthentication",
                    "metadata": metadata,
                    "spec": {"identities": identities},
                }),
            ))
        }
        Clients::Network(block) => Some((
            Kind::NetworkAuthentication,
            json!({
                "apiVersion": "policy.linkerd.io/v1alpha1",
                "kind": "NetworkAuthentication",
                "metadata": metadata,
                "spec": {"networks": [{"cidr": format!("{}/24", crate::simulate::mesh::address_in(*block, 0))}]},
            }),
        )),
    }
}

fn inbound_route(namespace: &str, name: &str, server: &Server) -> Value {
    let parent = json!({"group": "policy.linkerd.io", "kind": "Server", "name": server.name});
    json!({
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "HTTPRoute",
        "metadata": metadata(namespace, name, server.created_s),
        "spec": {
            "parentRefs": [parent],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
        },
        "status": accepted(&parent, server.created_s),
    })
}

fn accepted(parent: &Value, second: u64) -> Value {
    json!({"parents": [{
        "controllerName": "linkerd.io/policy-controller",
        "parentRef": parent,
        "conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": time(second + 1),
        }],
    }]})
}

fn route(mesh: &Mesh, of: &Service) -> Option<(Kind, Value)> {
    let route = of.route.as_ref()?;
    let parent = json!({"group": "", "kind": "Service", "name": of.name, "port": of.port});
    let backend = |(index, weight): &(usize, u32)| {
        let service = &mesh.services[*index];
        json!({"group": "", "kind": "Service", "name": service.name, "port": service.port, "weight": weight})
    };
    let backends: Vec<Value> = route.backends.iter().map(backend).collect();
    let (kind, name) =
        if route.grpc { (Kind::GRPCRoute, "GRPCRoute") } else { (Kind::GatewayHTTPRoute, "HTTPRoute") };
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": name,
        "metadata": metadata(&of.namespace, &route.name, 0),
        "spec": {"parentRefs": [parent], "rules": [{"backendRefs": backends}]},
        "status": accepted(&parent, 0),
    });
    Some((kind, object))
}

fn profile(of: &Service) -> (Kind, Value) {
    let name = format!("{}.{}.svc.cluster.local", of.name, of.namespace);
    let routes = json!([
        {"name": "GET /authors.json", "condition": {"method": "GET", "pathRegex": "/authors\\.json"}},
        {"name": "GET /authors/{id}.json", "condition": {"method": "GET", "pathRegex": "/authors/[^/]*\\.json"}},
    ]);
    let object = json!({
        "apiVersion": "linkerd.io/v1alpha2",
        "kind": "ServiceProfile",
        "metadata": metadata(&of.namespace, &name, 0),
        "spec": {"routes": routes},
    });
    (Kind::ServiceProfile, object)
}

fn egress_network(of: &EgressNetwork) -> (Kind, Value) {
    let object = json!({
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": "EgressNetwork",
        "metadata": metadata(&of.namespace, &of.name, 0),
        "spec": {"trafficPolicy": "Allow", "networks": [{"cidr": of.cidr}]},
        "status": {"conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": time(1),
        }]},
    });
    (Kind::EgressNetwork, object)
}
