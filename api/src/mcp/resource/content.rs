//! What stands in each resource. Edges and the overview are what the tools say of them.

use super::{
    few::{few, ids, shown},
    uri::Uri,
};
use crate::{
    mcp::{
        Context,
        ask::{ask, part},
        freshness::Freshness,
        text::data,
    },
    view::View,
};
use linkerd_mcp_graph::{
    id::{ObjectId, PolicyId, ServiceId, WorkloadId},
    kind::Kind,
    model::{Graph, Meshed, Policy},
    query::edges::of_namespace,
};
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most bytes of the spec of a policy, and of its status.
const SPEC: usize = 16_000;
const STATUS: usize = 4_000;

/// The content, dated; none when there is nothing behind the URI.
pub(super) async fn content(
    context: &Context,
    view: &View,
    uri: &Uri,
    changed: Option<String>,
) -> Option<Value> {
    let mut content = match uri {
        Uri::Graph => graph(context).await,
        Uri::Namespace(name) => namespace(context, view, name).await?,
        Uri::Service(id) => service(context, view, id).await?,
        Uri::Workload(id) => workload(context, view, id).await?,
        Uri::Policy(id) => policy(view, id)?,
    };
    content["uri"] = uri.to_string().into();
    if let Some(changed) = changed {
        content["last_changed"] = changed.into();
    }
    content["freshness"] = serde_json::to_value(Freshness::of(&context.replica, view)).unwrap_or_default();
    Some(content)
}

async fn graph(context: &Context) -> Value {
    let overview = ask(context, "get_mesh_overview", object(json!({"detail": "concise", "limit": 50}))).await;
    let mut content = overview.and_then(Result::ok).map(part).unwrap_or_else(|| json!({}));
    content["busiest"] = calls(context, json!({})).await;
    content
}

async fn namespace(context: &Context, view: &View, name: &str) -> Option<Value> {
    let graph = &*view.graph;
    // Something may run where the Namespace itself is not readable.
    let services: Vec<_> = graph.services.iter().filter(|(id, _)| id.namespace() == name).collect();
    let mut workloads: Vec<_> = graph.workloads.iter().filter(|(id, _)| id.namespace() == name).collect();
    let policies = policies_of(graph, name);
    let calls_here = of_namespace(graph, &view.index, name);
    let empty = services.is_empty() && workloads.is_empty() && policies.is_empty() && calls_here.is_empty();
    if !graph.namespaces.contains_key(name) && empty {
        return None;
    }
    let meshed = workloads.iter().filter(|(_, it)| it.meshed == Meshed::All).count();
    // What is not meshed first: that is what one looks for.
    workloads.sort_by_key(|(id, it)| (it.meshed == Meshed::All, (*id).clone()));
    Some(json!({
        "namespace": data(name),
        "workloads_meshed": meshed,
        "services": few(&services, services.len(), |(id, it)| json!({
            "name": data(id.name()), "meshed": it.meshed, "ports": it.ports.len(),
        })),
        "workloads": few(&workloads, workloads.len(), |(id, it)| json!({
            "kind": data(id.kind()), "name": data(id.name()), "meshed": it.meshed, "pods": it.pods,
        })),
        "policies": ids(&policies),
        "calls": calls(context, json!({"namespace": name})).await,
    }))
}

async fn service(context: &Context, view: &View, id: &ServiceId) -> Option<Value> {
    let it = view.graph.services.get(id)?;
    let mut content = json!({
        "service": data(id.as_str()),
        "meshed": it.meshed,
        "ports": few(&it.ports, it.ports.len(), |port| json!({
            "port": port.port, "name": data(&port.name), "protocol": data(&port.protocol), "opaque": port.opaque,
        })),
        "workloads": ids(&it.workloads),
        "service_profile": it.service_profile,
        "callers": calls(context, json!({"to": id.as_str()})).await,
        "callees": calls(context, json!({"from": id.as_str()})).await,
    });
    if let Some(mirror) = &it.mirror_of {
        content["mirror_of"] = data(mirror).into();
    }
    Some(content)
}

async fn workload(context: &Context, view: &View, id: &WorkloadId) -> Option<Value> {
    let it = view.graph.workloads.get(id)?;
    let mut content = json!({
        "workload": data(id.as_str()),
        "meshed": it.meshed,
        "pods": it.pods,
        "pods_meshed": it.pods_meshed,
        "pods_ready": it.pods_ready,
        "service_account": data(&it.service_account),
        "ports": few(&it.ports, it.ports.len(), |port| json!({
            "port": port.port, "name": data(&port.name), "protocol": data(&port.protocol),
        })),
        "services": ids(&it.services),
        "servers": ids(&it.servers),
        "policies": ids(&it.policies),
        "callers": calls(context, json!({"to": id.as_str()})).await,
        "callees": calls(context, json!({"from": id.as_str()})).await,
    });
    if let Some(identity) = &it.identity {
        content["identity"] = data(identity).into();
    }
    if let Some(policy) = &it.default_inbound_policy {
        content["default_inbound_policy"] = data(policy).into();
    }
    Some(content)
}

fn policy(view: &View, id: &PolicyId) -> Option<Value> {
    let graph = &*view.graph;
    let it = find(graph, id)?;
    let bears_on: Vec<&WorkloadId> = graph
        .workloads
        .iter()
        .filter(|(_, it)| it.servers.contains(id) || it.policies.contains(id))
        .map(|(id, _)| id)
        .collect();
    let (spec, cut) = shown(&it.spec, SPEC);
    let mut content = json!({
        "policy": data(id.as_str()),
        "kind": it.kind.row().name,
        "api_version": data(&it.api_version),
        "spec": spec,
        "workloads": ids(&bears_on),
    });
    if cut {
        content["spec_cut"] = true.into();
    }
    if !it.status.is_null() {
        content["status"] = shown(&it.status, STATUS).0;
    }
    if let Some(created) = it.created_ms {
        content["created"] = super::date(created).into();
    }
    Some(content)
}

/// The policy object or route with this id, in the map where it is.
fn find<'a>(graph: &'a Graph, id: &PolicyId) -> Option<&'a Arc<Policy>> {
    if id.kind() == Kind::AuthorizationPolicy.policy_prefix() {
        graph.auth_policies.get(&ObjectId::new(id.namespace(), id.name()))
    } else {
        graph.policies.get(id)
    }
}

/// Ids of all policy objects and routes of a namespace.
pub(crate) fn policies_of(graph: &Graph, namespace: &str) -> Vec<PolicyId> {
    policies(graph).filter(|id| id.namespace() == namespace).collect()
}

/// Ids of all policy objects and routes, by kind.
pub(crate) fn policies(graph: &Graph) -> impl Iterator<Item = PolicyId> + '_ {
    let prefix = Kind::AuthorizationPolicy.policy_prefix();
    let authorizations = graph.auth_policies.keys();
    let authorizations = authorizations.map(move |id| PolicyId::new(prefix, id.namespace(), id.name()));
    authorizations.chain(graph.policies.keys().cloned())
}

/// Edges as find_edges lists them, the busiest first.
async fn calls(context: &Context, which: Value) -> Value {
    let mut arguments = object(which);
    arguments.insert("sort".to_owned(), "rps".into());
    arguments.insert("limit".to_owned(), 30.into());
    ask(context, "find_edges", arguments).await.and_then(Result::ok).map(part).unwrap_or_default()
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}
