//! What the chart renders is taken by a real API server: every object by its schema, every pod by Pod Security.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams, ValidationDirective},
    core::{ApiResource, GroupVersionKind},
    discovery::{Scope, pinned_kind},
};
use linkerd_mcp_test::{manifests, mesh, rig::shared_kubernetes};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Kinds that come with other projects, whose definitions the test's API server does not have: their objects are not
/// held against a schema here.
const NOT_SERVED: [&str; 4] = ["Gateway", "PodMonitor", "PrometheusRule", "ServiceMonitor"];

/// Every set of values, and what only Helm renders.
fn renderings() -> Vec<(String, Vec<Value>)> {
    let mut all = manifests::installed().unwrap();
    all.push(("Helm's Job".to_owned(), manifests::namespace_metadata().unwrap()));
    all
}

/// The pod templates among these, each once, with the set that has it first.
fn templates(renderings: &[(String, Vec<Value>)]) -> BTreeMap<String, (String, Value)> {
    let mut templates = BTreeMap::new();
    for (name, objects) in renderings {
        for object in objects {
            let Some(template) = object.pointer("/spec/template/spec").map(|_| &object["spec"]["template"])
            else {
                continue;
            };
            let from = format!("{name}, {} {}", object["kind"], object["metadata"]["name"]);
            templates.entry(template["spec"].to_string()).or_insert((from, template.clone()));
        }
    }
    templates
}

/// What the API server says to a pod from this template; nothing when it takes it.
async fn refusal(client: &Client, namespace: &str, template: &Value) -> Option<String> {
    let mut pod = template.clone();
    pod["metadata"]["name"] = json!("tried");
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let answer = Api::<Pod>::namespaced(client.clone(), namespace).create(&dry, &pod).await;
    answer.err().map(|error| error.to_string())
}

/// A namespace that enforces this Pod Security Standard.
async fn enforcing(standard: &str) -> String {
    let kubernetes = shared_kubernetes().await.unwrap();
    let labels = [("pod-security.kubernetes.io/enforce", standard)];
    kubernetes.apiserver.namespace(standard, &labels).await.unwrap()
}

#[tokio::test]
async fn every_pod_of_every_set_of_values_is_admitted_where_restricted_is_enforced() {
    let client = shared_kubernetes().await.unwrap().client().await.unwrap();
    let namespace = enforcing("restricted").await;
    let templates = templates(&renderings());
    let components: BTreeSet<String> = templates
        .values()
        .map(|(_, template)| template["metadata"]["labels"]["component"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["mcp-api", "mcp-controller", "mcp-namespace-metadata", "mcp-redis"];
    assert_eq!(components, expected.map(str::to_owned).into());
    assert!(templates.len() > 30, "only {} templates", templates.len());
    // A priority class has to exist for a pod that has it.
    let classes = templates.values().filter_map(|(_, it)| it["spec"]["priorityClassName"].as_str());
    let classes: Vec<Value> = classes
        .filter(|name| !name.starts_with("system-"))
        .map(|name| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1,
            })
        })
        .collect();
    mesh::apply(&client, &manifests::yaml(&classes)).await.unwrap();
    for (from, template) in templates.values() {
        assert_eq!(refusal(&client, &namespace, template).await, None, "{from}");
    }
}

#[tokio::test]
async fn a_pod_that_is_less_strict_than_ours_is_refused_there() {
    let client = shared_kubernetes().await.unwrap().client().await.unwrap();
    let namespace = enforcing("restricted").await;
    let baseline = enforcing("baseline").await;
    let privileged = enforcing("privileged").await;
    let ours = manifests::install(&[]).unwrap();
    let of = |name: &str| {
        let named = |it: &&Value| it["kind"] == "Deployment" && it["metadata"]["name"] == name;
        ours.iter().find(named).unwrap()["spec"]["template"].clone()
    };
    let loosenings = [
        ("/spec/securityContext/runAsUser", json!(0), "runAsUser=0"),
        ("/spec/securityContext/seccompProfile", json!({"type": "Unconfined"}), "seccompProfile"),
        (
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            "allowPrivilegeEscalation",
        ),
        ("/spec/containers/0/securityContext/capabilities", json!({}), "unrestricted capabilities"),
        ("/spec/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
    ];
    for name in ["mcp-controller", "mcp-api", "mcp-redis"] {
        assert_eq!(refusal(&client, &namespace, &of(name)).await, None, "{name}");
        for (pointer, value, why) in &loosenings {
            let mut template = of(name);
            *template.pointer_mut(pointer).unwrap_or_else(|| panic!("{name} has no {pointer}")) =
                value.clone();
            let said = refusal(&client, &namespace, &template).await.unwrap_or_default();
            assert!(said.contains("violates PodSecurity") && said.contains(why), "{name} {pointer}: {said}");
        }
        // What Linkerd adds without its CNI plugin: an init container that may set up the network.
        let mut injected = of(name);
        injected["spec"]["initContainers"] = json!([{
            "name": "linkerd-init", "image": "init",
            "securityContext": {
                "allowPrivilegeEscalation": false, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]);
        let said = refusal(&client, &namespace, &injected).await.unwrap_or_default();
        assert!(said.contains("NET_ADMIN"), "{name}: {said}");
        let said = refusal(&client, &baseline, &injected).await.unwrap_or_default();
        assert!(said.contains("NET_ADMIN"), "{name}: {said}");
        assert_eq!(refusal(&client, &privileged, &injected).await, None, "{name}");
    }
}

/// Applies objects without changing anything, and refuses fields that no schema has.
struct DryRun {
    client: Client,
    kinds: HashMap<GroupVersionKind, (ApiResource, Scope)>,
    seen: BTreeSet<String>,
}

impl DryRun {
    /// What the API server says to this object; nothing when it takes it, or has taken the same before.
    async fn refusal(&mut self, object: &Value) -> Option<String> {
        if !self.seen.insert(object.to_string()) {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
        if !self.kinds.contains_key(&kind) {
            match pinned_kind(&self.client, &kind).await {
                Ok((resource, capabilities)) => {
                    self.kinds.insert(kind.clone(), (resource, capabilities.scope))
                }
                Err(error) => return Some(format!("not served: {error}")),
            };
        }
        let (resource, scope) = &self.kinds[&kind];
        let api: Api<DynamicObject> = match scope {
            Scope::Namespaced => {
                Api::namespaced_with(self.client.clone(), &text(&object["metadata"]["namespace"]), resource)
            }
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
        };
        let mut params = PatchParams::apply("linkerd-mcp-test").validation(ValidationDirective::Strict);
        params.dry_run = true;
        let name = text(&object["metadata"]["name"]);
        api.patch(&name, &params, &Patch::Apply(object)).await.err().map(|error| error.to_string())
    }
}

#[tokio::test]
async fn every_object_of_every_set_of_values_fits_the_schema_of_the_api_server() {
    let client = shared_kubernetes().await.unwrap().client().await.unwrap();
    let renderings = renderings();
    let namespaces: BTreeSet<&str> = renderings
        .iter()
        .flat_map(|(_, objects)| objects)
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .collect();
    let namespaces: Vec<Value> = namespaces
        .into_iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    mesh::apply(&client, &manifests::yaml(&namespaces)).await.unwrap();
    let mut dry = DryRun { client, kinds: HashMap::new(), seen: BTreeSet::new() };
    let mut not_served = BTreeSet::new();
    for (name, objects) in &renderings {
        for object in objects {
            let kind = object["kind"].as_str().unwrap();
            if NOT_SERVED.contains(&kind) {
                not_served.insert(kind);
                continue;
            }
            let refusal = dry.refusal(object).await;
            assert_eq!(refusal, None, "{name}, {kind} {}", object["metadata"]["name"]);
        }
    }
    // Whoever is on the list is there for a reason.
    assert_eq!(not_served, NOT_SERVED.into());
    assert!(dry.seen.len() > 150, "only {} objects", dry.seen.len());

    // The control: what is misspelt is refused, by name, in a kind of Kubernetes and in one of Linkerd.
    let first = |kind: &str| renderings[0].1.iter().find(|it| it["kind"] == kind).unwrap().clone();
    let mut deployment = first("Deployment");
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = json!({});
    let said = dry.refusal(&deployment).await.unwrap_or_default();
    assert!(said.contains("redinessProbe"), "{said}");
    let mut server = first("Server");
    server["spec"]["proxyProtocoll"] = json!("HTTP/2");
    let said = dry.refusal(&server).await.unwrap_or_default();
    assert!(said.contains("proxyProtocoll"), "{said}");
    let mut server = first("Server");
    server["spec"].as_object_mut().unwrap().remove("port");
    let said = dry.refusal(&server).await.unwrap_or_default();
    assert!(said.contains("spec.port: Required value"), "{said}");
}
