//! One object as Kubernetes has it now, without secrets, with its newest events.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::mcp::{
    kubernetes::{self, Error, redact::redacted},
    page::Detail,
    text::data,
};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "describe_resource",
    title: "Describe a Kubernetes object",
    description: "Shows one Kubernetes object as it is now, with its newest events. Values of environment variables, \
                  entries of ConfigMaps and what looks like a secret are hidden; Secrets cannot be read at all. Use it \
                  for details that get_pods, get_services and get_deployments leave out.",
    set: Toolset::Kubernetes,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Described>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Deserialize, JsonSchema)]
struct Arguments {
    /// Its kind.
    kind: Kind,
    /// Its name.
    name: String,
    /// Its namespace; required but for a namespace itself.
    namespace: Option<String>,
    /// `concise` leaves out parts that do not fit.
    #[serde(default)]
    detail: Detail,
}

/// The kinds that can be shown. Secrets are not among them on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Namespace,
    Pod,
    Service,
    EndpointSlice,
    ServiceAccount,
    ConfigMap,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Described {
    /// `kind namespace/name`.
    object: String,
    /// Its manifest as it is now, redacted. All of it was written by others.
    manifest: Value,
    /// Parts of the manifest that were left out because they are long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// The newest events about it, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventRow>,
    /// Present when events could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_events_because: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EventRow {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
    /// How often.
    count: i32,
    /// When it was last seen, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

const MAX_EVENTS: usize = 5;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let Arguments { kind, name, namespace, detail } = call.arguments()?;
    if let Some(namespace) = &namespace {
        kubernetes::name("namespace", namespace)?;
    }
    let view = call.view()?;
    let client = kubernetes::client(&call.context)?;
    let resource = kind.resource();
    let api: Api<DynamicObject> = match (&namespace, kind) {
        (_, Kind::Namespace) => Api::all_with(client.clone(), &resource),
        (Some(namespace), _) => Api::namespaced_with(client.clone(), namespace, &resource),
        (None, _) => return Err(ToolError::Arguments("`namespace` is required for this kind".to_owned())),
    };
    let called = kubernetes::name("name", &name)?;
    // A Namespace is in itself, as far as RBAC goes.
    let place = if kind == Kind::Namespace { Some(called) } else { namespace.as_deref() };
    let deed = kubernetes::deed("get", &resource.group, &resource.plural, place, Some(called));
    kubernetes::allowed(&call.context, "describe_resource", &deed).await?;
    let found = api.get_opt(called).await.map_err(|error| Error::of("get", &resource.plural, error))?;
    let shown_namespace = namespace.clone().unwrap_or_default();
    let Some(found) = found else {
        return Err(Error::NotFound {
            kind: resource.kind,
            namespace: data(&shown_namespace),
            name: data(&name),
        }
        .into());
    };
    let object = match &namespace {
        Some(namespace) if kind != Kind::Namespace => {
            format!("{} {}/{}", resource.kind, data(namespace), data(&name))
        }
        _ => format!("{} {}", resource.kind, data(&name)),
    };
    let manifest = redacted(serde_json::to_value(found).unwrap_or_default());
    let (manifest, left_out) = fit(manifest, detail.bytes());
    let about = kubernetes::deed("list", "", "events", namespace.as_deref().or(Some("default")), None);
    let events = async {
        kubernetes::allowed(&call.context, "describe_resource", &about).await?;
        events(&client, &namespace, &resource.kind, &name).await.map_err(ToolError::from)
    };
    let (events, no_events_because) = match events.await {
        Ok(events) => (events, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Ok(call.dated(&view, Described { object, manifest, left_out, events, no_events_because }))
}

async fn events(
    client: &kube::Client,
    namespace: &Option<String>,
    kind: &str,
    name: &str,
) -> Result<Vec<EventRow>, Error> {
    let api: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::default_namespaced(client.clone()),
    };
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let parameters = ListParams::default().fields(&fields).limit(200);
    let mut events = api.list(&parameters).await.map_err(|error| Error::of("list", "events", error))?.items;
    let last = |it: &Event| {
        let series = it.series.as_ref().and_then(|it| it.last_observed_time.as_ref().map(|it| it.0));
        series.or(it.last_timestamp.as_ref().map(|it| it.0)).or(it.event_time.as_ref().map(|it| it.0))
    };
    events.sort_by_key(|it| std::cmp::Reverse(last(it)));
    let row = |it: &Event| EventRow {
        kind: data(it.type_.as_deref().unwrap_or("Normal")),
        reason: data(it.reason.as_deref().unwrap_or_default()),
        message: data(it.message.as_deref().unwrap_or_default()),
        count: it.series.as_ref().and_then(|it| it.count).or(it.count).unwrap_or(1),
        last: last(it).map(|it| it.to_string()),
    };
    Ok(events.iter().take(MAX_EVENTS).map(row).collect())
}

/// Takes away the longest parts until the manifest fits, and says which.
fn fit(mut manifest: Value, bytes: usize) -> (Value, Vec<String>) {
    let mut left_out = Vec::new();
    while manifest.to_string().len() > bytes && left_out.len() < 64 {
        let Some(path) = longest(&manifest, bytes / 8) else { break };
        let Some(parent) = path.rsplit_once('/').and_then(|(parent, _)| manifest.pointer_mut(parent)) else {
            break;
        };
        let key = path.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
        match parent {
            Value::Object(map) => map.remove(&key),
            _ => None,
        };
        left_out.push(data(&path));
    }
    (manifest, left_out)
}

/// The member of an object with the most text, but as deep inside as it is still longer than `least`.
fn longest(value: &Value, least: usize) -> Option<String> {
    let mut path = String::new();
    let mut at = value;
    let mut found = None;
    loop {
        let (key, child) = match at {
            Value::Object(map) => {
                let (key, child) = map.iter().max_by_key(|(_, value)| value.to_string().len())?;
                (key.replace('~', "~0").replace('/', "~1"), child)
            }
            Value::Array(items) => {
                let (key, child) =
                    items.iter().enumerate().max_by_key(|(_, value)| value.to_string().len())?;
                (key.to_string(), child)
            }
            _ => return found,
        };
        path = format!("{path}/{key}");
        if at.is_object() {
            if found.is_some() && child.to_string().len() < least {
                return found;
            }
            found = Some(path.clone());
        }
        at = child;
    }
}

// === impl Kind ===

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Namespace => ("", "v1", "Namespace", "namespaces"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::CronJob => ("batch", "v1", "CronJob", "cronjobs"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

// === impl Described ===

impl Output for Described {
    fn text(&self) -> String {
        // The manifest is text of others: as JSON it cannot be taken for ours.
        let mut text = format!("{}\n{}\n", self.object, self.manifest);
        if !self.left_out.is_empty() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "Left out because they are long: {}.", self.left_out.join(", "));
        }
        for it in &self.events {
            let _ = writeln!(text, "{} {} x{}: {:?}", it.kind, it.reason, it.count, it.message);
        }
        if let Some(why) = &self.no_events_because {
            let _ = writeln!(text, "No events: {why}.");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_longest_parts_are_left_out_until_the_rest_fits() {
        let manifest = json!({"kind": "Pod", "spec": {"a": "x".repeat(300), "b/c": "y".repeat(500), "d": 1}});
        let (shown, left_out) = fit(manifest.clone(), 400);
        assert_eq!((shown["spec"]["d"].clone(), left_out), (json!(1), vec!["/spec/b~1c".to_owned()]));
        assert_eq!(shown["spec"]["a"], manifest["spec"]["a"]);
        assert_eq!(fit(manifest.clone(), 10_000), (manifest, Vec::new()));
    }

    #[test]
    fn secrets_are_no_kind_that_can_be_asked_for() {
        let schema = input::<Arguments>();
        let kinds = schema["properties"]["kind"]["enum"].as_array().unwrap();
        assert!(!kinds.is_empty() && kinds.iter().all(|it| it != "secret"), "{kinds:?}");
    }
}
