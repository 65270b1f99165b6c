//! What proxies are told about a Service's endpoints, against what the graph says, when somebody asks.

use super::{AskError, DestinationController};
use crate::{
    access::{self, port},
    graph::{
        id::ServiceId,
        model::Graph,
        policy::ask::{Callee, Unanswerable},
        query::destination::{Endpoint, Hint, Told, mismatches},
    },
    view::View,
};
use linkerd_mcp_proto::v1;
use std::net::SocketAddr;

/// The most endpoints of an answer; differences are told of all.
const MAX_ENDPOINTS: usize = 1_000;

/// The answer, without its freshness.
///
/// # Errors
///
/// When the question names no port of a Service.
pub(crate) fn question(
    graph: &Graph,
    asked: &v1::CompareEndpointsRequest,
) -> Result<(ServiceId, u16), access::Error> {
    if asked.service.is_empty() {
        return Err(access::Error::Missing {
            field: "service",
            hint: "a Service as `namespace/name`, with `:port` at its end where it has several",
        });
    }
    let (id, asked_port) = match Callee::resolve(graph, &asked.service, port(asked.port)?, None)? {
        Callee::Service(id, port) => (id, port),
        other => return Err(access::Error::NoService(other.to_string())),
    };
    let ports: Vec<u16> = graph
        .services
        .get(&id)
        .map(|service| service.ports.iter().map(|port| port.port).collect())
        .unwrap_or_default();
    match (asked_port, &ports[..]) {
        (Some(port), known) if known.contains(&port) => Ok((id, port)),
        (Some(port), _) => Err(Unanswerable::NoServicePort { service: id, port, ports }.into()),
        (None, [only]) => Ok((id, *only)),
        (None, _) => Err(access::Error::WhichPort { service: id, ports }),
    }
}

/// Asks the controller, and holds its answer against the view.
///
/// # Errors
///
/// When the controller gives no answer.
pub(crate) async fn compare(
    view: &View,
    controller: &DestinationController,
    (service, port): (ServiceId, u16),
    client_namespace: &str,
) -> Result<v1::CompareEndpointsResponse, AskError> {
    let client_namespace = match client_namespace {
        "" => service.namespace(),
        namespace => namespace,
    };
    let told = controller.get(&service, port, Some(client_namespace)).await?;
    Ok(answer(&view.graph, &service, &told))
}

fn answer(graph: &Graph, service: &ServiceId, told: &Told) -> v1::CompareEndpointsResponse {
    let mut differences: Vec<String> =
        mismatches(graph, service, told).iter().map(ToString::to_string).collect();
    if !told.complete && told.exists {
        differences.push(
            "the controller's answer went on or broke off before it was quiet: there may be more endpoints"
                .to_owned(),
        );
    }
    if told.endpoints.len() > MAX_ENDPOINTS {
        let more = told.endpoints.len() - MAX_ENDPOINTS;
        differences.push(format!("{more} more endpoints are not listed; they are compared all the same"));
    }
    let endpoints = told.endpoints.iter().take(MAX_ENDPOINTS);
    v1::CompareEndpointsResponse {
        freshness: None,
        endpoints: endpoints.map(|(address, endpoint)| endpoint_of(*address, endpoint)).collect(),
        differences,
    }
}

fn endpoint_of(address: SocketAddr, endpoint: &Endpoint) -> v1::ToldEndpoint {
    v1::ToldEndpoint {
        address: address.to_string(),
        weight: endpoint.weight,
        identity: endpoint.identity.as_deref().unwrap_or_default().to_owned(),
        protocol_hint: match endpoint.hint {
            Hint::None => String::new(),
            Hint::H2 => "h2".to_owned(),
            Hint::Opaque => "opaque".to_owned(),
        },
        pod: endpoint.labels.get("pod").map(ToString::to_string).unwrap_or_default(),
        workload: endpoint.owner().unwrap_or_default(),
        zone: endpoint.zone.as_deref().unwrap_or_default().to_owned(),
    }
}
