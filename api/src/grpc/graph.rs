//! GetMeshGraph and GetCallGraph.

use super::{MeshContext, body::Reply};
use crate::{
    answer::{self, BOTH, CALLEES, CALLERS, CallGraphQuestion, GraphQuestion, Refusal},
    encode::{Detail, message::Head},
    view::Format,
};
use linkerd_mcp_graph::query::walk::{Direction, Hop};
use linkerd_mcp_proto::v1;
use tonic::Status;

/// Field `graph` of [`v1::GetMeshGraphResponse`] and of [`v1::GetCallGraphResponse`].
const GRAPH: u32 = 1;
const CALL_GRAPH: u32 = 3;

pub(super) async fn get_mesh_graph(
    service: &MeshContext,
    request: v1::GetMeshGraphRequest,
) -> Result<Reply, Status> {
    let detail = Detail::from(request.view());
    let v1::GetMeshGraphRequest { namespace, view: _, from, to } = request;
    let view = service.replica.view().ok_or(Refusal::NotReady)?;
    let question = GraphQuestion { namespace, from, to, detail };
    let body = answer::graph(&view, &question, Format::Protobuf, &service.metrics).await?;
    let freshness =
        v1::MeshGraph { freshness: Some(service.replica.freshness(&view)), ..v1::MeshGraph::default() };
    let response = v1::GetMeshGraphResponse::default();
    Ok(Reply::One(Head::new(&freshness, body.len()).inside(GRAPH, &response).before(body)))
}

pub(super) fn get_call_graph(
    service: &MeshContext,
    request: &v1::GetCallGraphRequest,
) -> Result<Reply, Status> {
    let view = service.replica.view().ok_or(Refusal::NotReady)?;
    let directions = match request.direction() {
        v1::Direction::Unspecified => BOTH,
        v1::Direction::Callers => CALLERS,
        v1::Direction::Callees => CALLEES,
    };
    let (root, namespace) = (request.root.clone(), String::new());
    let question = CallGraphQuestion { root, namespace, depth: request.depth, directions };
    let (root, calls, part) = answer::calls(&view, &question)?;
    let body = view.body_of(part, Format::Protobuf, Detail::Full, &service.metrics);
    let freshness =
        v1::MeshGraph { freshness: Some(service.replica.freshness(&view)), ..v1::MeshGraph::default() };
    let response = v1::GetCallGraphResponse {
        root: root.to_string(),
        edges: calls.hops.iter().map(hop).collect(),
        graph: None,
        truncated: calls.truncated,
    };
    Ok(Reply::One(Head::new(&freshness, body.len()).inside(CALL_GRAPH, &response).before(body)))
}

fn hop(hop: &Hop) -> v1::CallGraphEdge {
    let direction = match hop.direction {
        Direction::Callers => v1::Direction::Callers,
        Direction::Callees => v1::Direction::Callees,
    };
    v1::CallGraphEdge { edge_id: hop.edge.to_string(), depth: hop.depth, direction: direction.into() }
}
