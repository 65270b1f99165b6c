//! Questions that Linkerd's own controllers have a part in, for gRPC and HTTP alike.

use crate::{
    access,
    answer::Refusal,
    linkerd::{Controllers, endpoints, enforced},
    replica::Replica,
};
use linkerd_mcp_graph::policy::lint::CODES;
use linkerd_mcp_proto::v1;

/// What is likely not meant about policies; on demand with what is enforced otherwise than written.
pub(crate) async fn lint_policies(
    replica: &Replica,
    linkerd: Option<&Controllers>,
    asked: v1::LintPoliciesRequest,
) -> Result<v1::LintPoliciesResponse, Refusal> {
    let view = replica.view().ok_or(Refusal::NotReady)?;
    let namespace = asked.namespace.clone();
    let controllers = match asked.enforced {
        true => Some(linkerd.ok_or(Refusal::NoControllers)?),
        false => None,
    };
    let mut response = view.ask(move |mesh| access::lint_policies(mesh, &asked)).await?;
    response.findings.retain(|it| CODES.iter().all(|row| row.name != it.code || view.can_find(row.code)));
    if let Some(controllers) = controllers {
        let only = (!namespace.is_empty()).then_some(namespace.as_str());
        let compared = enforced::lint(replica, &controllers.policy, only).await?;
        // Drift is an error, and errors come first.
        response.findings.splice(0..0, compared.findings);
        response.compared = compared.ports;
        response.notes.extend(compared.notes);
    }
    response.freshness = Some(replica.freshness(&view));
    Ok(response)
}

/// What proxies are told about a Service's endpoints, against what the graph says.
pub(crate) async fn compare_endpoints(
    replica: &Replica,
    linkerd: Option<&Controllers>,
    asked: v1::CompareEndpointsRequest,
) -> Result<v1::CompareEndpointsResponse, Refusal> {
    let view = replica.view().ok_or(Refusal::NotReady)?;
    let question = endpoints::question(&view.graph, &asked)?;
    let controller = &linkerd.ok_or(Refusal::NoControllers)?.destination;
    let mut response = endpoints::compare(&view, controller, question, &asked.client_namespace).await?;
    response.freshness = Some(replica.freshness(&view));
    Ok(response)
}
