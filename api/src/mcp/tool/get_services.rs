//! Services as Kubernetes has them now.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::mcp::{
    kubernetes::listed::{Arguments, Extent, listed},
    text::data,
};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::util::intstr::IntOrString};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

pub(super) const TOOL: Tool = Tool {
    name: "get_services",
    title: "Services",
    description: "Lists Services of a namespace as Kubernetes has them now: type, addresses, ports with the container \
                  ports they lead to, and selector. For who calls a Service and how fast use describe_workload.",
    set: Toolset::Kubernetes,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Services>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Serialize, JsonSchema)]
struct Services {
    services: Vec<ServiceRow>,
    #[serde(flatten)]
    extent: Extent,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct ServiceRow {
    namespace: String,
    name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    kind: String,
    /// Its address in the cluster; `None` for one without.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_ip: Option<String>,
    /// As in `http 80->8080/TCP`.
    ports: Vec<String>,
    /// Labels of the pods it leads to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    selector: BTreeMap<String, String>,
    /// Where an ExternalName leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_name: Option<String>,
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let listed = listed::<Service>(&mut call, TOOL.name).await?;
    let (services, extent) = listed.page(&listed.objects, ServiceRow::of)?;
    Ok(call.dated(&listed.view, Services { services, extent }))
}

// === impl ServiceRow ===

impl ServiceRow {
    fn of(service: &Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let ports = spec.ports.unwrap_or_default().into_iter().map(|it| {
            let target = match it.target_port {
                Some(IntOrString::Int(number)) => number.to_string(),
                Some(IntOrString::String(name)) => name,
                None => it.port.to_string(),
            };
            let name = it.name.map(|name| name + " ").unwrap_or_default();
            data(&format!("{name}{}->{target}/{}", it.port, it.protocol.as_deref().unwrap_or("TCP")))
        });
        let text = |text: &Option<String>| text.as_deref().map(data);
        let selector = spec.selector.unwrap_or_default();
        Self {
            namespace: text(&service.metadata.namespace).unwrap_or_default(),
            name: text(&service.metadata.name).unwrap_or_default(),
            kind: text(&spec.type_).unwrap_or_else(|| "ClusterIP".to_owned()),
            cluster_ip: text(&spec.cluster_ip),
            ports: ports.collect(),
            selector: selector.iter().map(|(name, value)| (data(name), data(value))).collect(),
            external_name: text(&spec.external_name),
        }
    }
}

// === impl Services ===

impl Output for Services {
    fn text(&self) -> String {
        if self.services.is_empty() {
            return "No Services are like that.\n".to_owned();
        }
        let mut text = String::new();
        for it in &self.services {
            // Writing to a String does not fail.
            let _ = write!(text, "{}/{} {} {}", it.namespace, it.name, it.kind, it.ports.join(", "));
            let _ = match &it.external_name {
                Some(name) => writeln!(text, " leads to {name:?}"),
                None => writeln!(text),
            };
        }
        text + &self.extent.text("Services")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_say_where_they_lead() {
        let service = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [
                {"name": "http", "port": 80, "targetPort": "web"}, {"port": 53, "protocol": "UDP"}]},
        });
        let row = ServiceRow::of(&serde_json::from_value(service).unwrap());
        assert_eq!(row.ports, ["http 80->web/TCP", "53->53/UDP"]);
        assert_eq!((row.kind.as_str(), row.cluster_ip.as_deref()), ("ClusterIP", Some("10.0.0.1")));
    }
}
