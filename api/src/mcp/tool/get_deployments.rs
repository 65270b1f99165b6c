//! Deployments as Kubernetes has them now: how far they are rolled out.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::mcp::{
    kubernetes::listed::{Arguments, Extent, listed},
    text::data,
};
use k8s_openapi::api::apps::v1::Deployment;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "get_deployments",
    title: "Deployments",
    description: "Lists Deployments of a namespace as Kubernetes has them now: wanted, updated, ready and available \
                  replicas, images, and why a rollout does not go on. Those that are not complete come first.",
    set: Toolset::Kubernetes,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Deployments>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Serialize, JsonSchema)]
struct Deployments {
    deployments: Vec<DeploymentRow>,
    #[serde(flatten)]
    extent: Extent,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct DeploymentRow {
    namespace: String,
    name: String,
    /// Replicas that are wanted.
    wanted: i32,
    /// Of these, from the newest template.
    updated: i32,
    ready: i32,
    available: i32,
    /// Why it is not complete, as Kubernetes gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Images of its containers.
    images: Vec<String>,
    /// The annotation `linkerd.io/inject` of its pods: `enabled`, `disabled` or `ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    inject: Option<String>,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let listed = listed::<Deployment>(&mut call, TOOL.name).await?;
    let mut rows: Vec<DeploymentRow> = listed.objects.iter().map(DeploymentRow::of).collect();
    rows.sort_by_key(|it| (it.complete(), it.namespace.clone(), it.name.clone()));
    let (deployments, extent) = listed.page(&rows, Clone::clone)?;
    Ok(call.dated(&listed.view, Deployments { deployments, extent }))
}

// === impl DeploymentRow ===

impl DeploymentRow {
    fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let status = deployment.status.clone().unwrap_or_default();
        let unmet = status
            .conditions
            .iter()
            .flatten()
            .find(|it| (it.type_ == "ReplicaFailure") == (it.status == "True") && it.status != "Unknown");
        let template = spec.template.metadata.unwrap_or_default();
        let pods = spec.template.spec.unwrap_or_default();
        let text = |text: &Option<String>| text.as_deref().map(data);
        Self {
            namespace: text(&deployment.metadata.namespace).unwrap_or_default(),
            name: text(&deployment.metadata.name).unwrap_or_default(),
            wanted: spec.replicas.unwrap_or(1),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            problem: unmet.map(|it| {
                let why = it.message.as_deref().or(it.reason.as_deref()).unwrap_or("no reason given");
                data(&format!("{}: {why}", it.type_))
            }),
            images: pods.containers.iter().filter_map(|it| text(&it.image)).collect(),
            inject: template.annotations.and_then(|it| it.get("linkerd.io/inject").map(|it| data(it))),
        }
    }

    fn complete(&self) -> bool {
        self.problem.is_none() && self.available >= self.wanted && self.updated >= self.wanted
    }
}

// === impl Deployments ===

impl Output for Deployments {
    fn text(&self) -> String {
        if self.deployments.is_empty() {
            return "No Deployments are like that.\n".to_owned();
        }
        let mut text = String::new();
        for it in &self.deployments {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "{}/{} {}/{} available, {} updated",
                it.namespace, it.name, it.available, it.wanted, it.updated
            );
            let _ = match &it.problem {
                Some(problem) => writeln!(text, ", PROBLEM {problem:?}"),
                None => writeln!(text),
            };
        }
        text + &self.extent.text("Deployments")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_that_does_not_go_on_says_why() {
        let deployment = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"replicas": 2, "selector": {}, "template": {
                "metadata": {"annotations": {"linkerd.io/inject": "enabled"}},
                "spec": {"containers": [{"name": "web", "image": "web:2"}]}}},
            "status": {"availableReplicas": 1, "updatedReplicas": 1, "conditions": [
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
                {"type": "Available", "status": "False", "message": "Deployment does not have minimum availability."}]},
        });
        let row = DeploymentRow::of(&serde_json::from_value(deployment).unwrap());
        assert!(!row.complete());
        assert_eq!(row.problem.as_deref(), Some("Available: Deployment does not have minimum availability."));
        assert_eq!((row.images, row.inject.as_deref()), (vec!["web:2".to_owned()], Some("enabled")));
    }
}
