//! One who has rights in one namespace, at every question of every surface: nothing of other namespaces comes out but the
//! names of the far ends of its own calls, and what is hidden looks like what is not there.

use super::{Mesh, context, earlier, mk_mesh, name, questions, workload};
use crate::{
    authorization::Authorization,
    caller::{Principal, Proof},
    change::{self, Changes, metrics::ChangeMetrics},
    grpc::MeshContext,
    http::Json,
    mcp::{self, Context, metrics::McpMetrics, prompt::PROMPTS},
    metrics::ApiMetrics,
    rights::{
        Rights, Verdict,
        table::{Door, Surface, TABLE},
    },
};
use axum::{Router, body::Body};
use bytes::{BufMut as _, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use linkerd_mcp_graph::model::Graph;
use linkerd_mcp_proto::v1;
use prometheus_client::registry::Registry;
use prost::Message;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Service as _, ServiceExt as _};

/// The namespace of services 20 to 39.
const OWN: &str = "team-001";
const HERE: usize = 25;
const THERE: usize = 1;

/// Everywhere for `admin`, in [`OWN`] for `own`, nowhere for others; `mute` cannot be decided about.
fn authorization() -> Authorization {
    Authorization::new(Rights::decided_by(|who, deed| {
        let name = who.user.rsplit(':').next().unwrap_or_default();
        let verdict = match name {
            "admin" => Verdict::Allowed,
            "own" if deed.namespace.as_deref() == Some(OWN) => Verdict::Allowed,
            "mute" => Verdict::Undecided("down".to_owned()),
            _ => Verdict::Denied,
        };
        Box::pin(std::future::ready(verdict))
    }))
}

fn who(name: &str) -> Principal {
    Principal::service_account("people", name, name, Proof::Token)
}

/// All surfaces over one mesh.
struct Scene {
    grpc: MeshContext,
    http: Router,
    mcp: Router,
}

impl Scene {
    async fn new(mesh: &Mesh) -> Self {
        let base = context(mesh, Some(&earlier(mesh))).await;
        let rights = authorization().rights().clone();
        let options = change::Options { rights, anybody: false, ..change::Options::default() };
        let changes = Changes::new(options, base.replica.clone(), ChangeMetrics::default()).unwrap();
        let context = Context { authorization: authorization(), granted: None, changes, ..base };
        let (replica, authorization) = (context.replica.clone(), context.authorization.clone());
        let metrics = ApiMetrics::register(&mut Registry::default());
        let json = Json {
            replica: replica.clone(),
            authorization: authorization.clone(),
            metrics: metrics.clone(),
            linkerd: None,
            changes: context.changes.clone(),
            boot: 1,
        };
        let grpc = MeshContext {
            replica,
            authorization,
            metrics,
            linkerd: None,
            changes: context.changes.clone(),
            bookmarks: Duration::from_secs(5),
            max_watchers: 10,
            places: Arc::new(Semaphore::new(10)),
        };
        let mcp_metrics = McpMetrics::register(&mut Registry::default());
        let mcp = mcp::route(context, mcp_metrics, CancellationToken::new());
        Self { grpc, http: crate::http::routes(json, Router::new()), mcp }
    }

    /// The status and all bytes of the answer, as text.
    async fn grpc(&self, who: Option<&str>, method: &str, message: &impl Message) -> (i32, String) {
        let message = message.encode_to_vec();
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap());
        body.extend_from_slice(&message);
        let mut request = Request::post(format!("/mcp.v1.MeshContext/{method}"))
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(Full::new(body.freeze())))
            .unwrap();
        if let Some(name) = who {
            request.extensions_mut().insert(self::who(name));
        }
        let response = self.grpc.clone().call(request).await.unwrap();
        let (head, mut body) = response.into_parts();
        let mut status = head.headers.get("grpc-status").cloned();
        let mut text =
            head.headers.get("grpc-message").map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
        // A watch does not end: its first messages are enough.
        let within = Duration::from_secs(1);
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(within, body.frame()).await {
            match frame.into_data() {
                Ok(data) => text.push_str(&String::from_utf8_lossy(&data)),
                Err(frame) => status = frame.trailers_ref().and_then(|it| it.get("grpc-status").cloned()),
            }
        }
        (status.map_or(0, |it| it.to_str().unwrap().parse().unwrap()), text)
    }

    /// `route` as the table of rights has it, or a path.
    async fn http(&self, who: Option<&str>, route: &str) -> (u16, String) {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        let path = path.replace("{id}", "c-1");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        if let Some(name) = who {
            request.extensions_mut().insert(self::who(name));
        }
        let response = self.http.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn mcp(&self, who: Option<&str>, method: &str, mut params: Value) -> (u16, Value) {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let name = params["name"].as_str().or_else(|| params["uri"].as_str()).unwrap_or_default().to_owned();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .header("mcp-name", name)
            .body(Body::from(body.to_string()))
            .unwrap();
        if let Some(name) = who {
            request.extensions_mut().insert(self::who(name));
        }
        let response = self.mcp.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
        let answer = serde_json::from_slice(&body);
        (status, answer.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body))))
    }

    async fn tool(&self, who: Option<&str>, tool: &str, arguments: Value) -> Value {
        self.mcp(who, "tools/call", json!({"name": tool, "arguments": arguments})).await.1
    }

    /// Every reading question of every surface, with what it is asked about: a service of one's own, and a hidden one.
    async fn everything(&self, caller: &str) -> Vec<(String, String)> {
        let caller = Some(caller);
        let mut answers = Vec::new();
        for at in [HERE, THERE] {
            let (service, runs) = (name(at), workload(at));
            let namespace = service.split('/').next().unwrap().to_owned();
            let graph = |namespace: &str, from: &str| v1::GetMeshGraphRequest {
                namespace: namespace.to_owned(),
                from: from.to_owned(),
                ..Default::default()
            };
            let watch = |namespace: &str| v1::WatchMeshGraphRequest {
                namespace: namespace.to_owned(),
                ..Default::default()
            };
            let calls = v1::GetCallGraphRequest { root: service.clone(), depth: 5, ..Default::default() };
            let check = v1::CheckAccessRequest {
                from: workload(HERE),
                to: format!("{service}:80"),
                ..Default::default()
            };
            let list = v1::ListAccessRequest { to: service.clone(), ..Default::default() };
            let listed = v1::ListAccessRequest { namespace: namespace.clone(), ..Default::default() };
            let denials = v1::ExplainDenialsRequest::default();
            let lint = v1::LintPoliciesRequest::default();
            let resolve = v1::ResolvePolicyRequest::default();
            // What would become of the calls of all who are seen, and who could call then.
            let plan = |simulate_only| v1::PlanChangeRequest {
                manifest: only_one(&service),
                simulate_only,
                ..Default::default()
            };
            let proposal = v1::ProposePolicyRequest { target: runs.clone(), ..Default::default() };
            let proposals = v1::ProposePolicyRequest { namespace: namespace.clone(), ..Default::default() };
            let mut put =
                |what: &str, answer: (i32, String)| answers.push((format!("grpc {what} {at}"), answer.1));
            put("graph", self.grpc(caller, "GetMeshGraph", &graph("", "")).await);
            put("graph of", self.grpc(caller, "GetMeshGraph", &graph(&namespace, "")).await);
            put("graph from", self.grpc(caller, "GetMeshGraph", &graph("", &runs)).await);
            put("calls", self.grpc(caller, "GetCallGraph", &calls).await);
            put("watch", self.grpc(caller, "WatchMeshGraph", &watch("")).await);
            put("watch of", self.grpc(caller, "WatchMeshGraph", &watch(&namespace)).await);
            put("check", self.grpc(caller, "CheckAccess", &check).await);
            put("list", self.grpc(caller, "ListAccess", &list).await);
            put("list of", self.grpc(caller, "ListAccess", &listed).await);
            put("denials", self.grpc(caller, "ExplainDenials", &denials).await);
            put("lint", self.grpc(caller, "LintPolicies", &lint).await);
            put("resolve", self.grpc(caller, "ResolvePolicy", &resolve).await);
            put("plan", self.grpc(caller, "PlanChange", &plan(false)).await);
            put("simulate", self.grpc(caller, "PlanChange", &plan(true)).await);
            put("propose", self.grpc(caller, "ProposePolicy", &proposal).await);
            put("propose of", self.grpc(caller, "ProposePolicy", &proposals).await);
            for path in [
                "/v1/graph".to_owned(),
                format!("/v1/graph?namespace={namespace}"),
                format!("/v1/callgraph?root={service}&depth=5"),
                format!("/v1/access?from={}&to={service}:80", workload(HERE)),
                format!("/v1/access/list?to={service}"),
                "/v1/denials".to_owned(),
                "/v1/lint".to_owned(),
                "/v1/policy".to_owned(),
            ] {
                answers.push((format!("http {path}"), self.http(caller, &path).await.1));
            }
            for uri in [
                "mesh://graph".to_owned(),
                format!("mesh://namespaces/{namespace}"),
                format!("mesh://services/{service}"),
                format!("mesh://workloads/{runs}"),
            ] {
                let answer = self.mcp(caller, "resources/read", json!({"uri": uri})).await.1;
                answers.push((format!("resource {uri}"), without_echo(answer, &uri)));
            }
            for prompt in PROMPTS {
                let arguments = prompt_arguments(prompt.name(), &service, &namespace);
                let params = json!({"name": prompt.name(), "arguments": arguments});
                let answer = self.mcp(caller, "prompts/get", params).await.1;
                answers.push((format!("prompt {} {at}", prompt.name()), without_echo(answer, &service)));
            }
        }
        for (golden, tool, arguments) in questions() {
            answers.push((
                format!("tool {golden}"),
                without_echo(self.tool(caller, tool, arguments.clone()).await, &arguments.to_string()),
            ));
        }
        let list = self.mcp(caller, "resources/list", json!({})).await.1;
        answers.push(("resources/list".to_owned(), list.to_string()));
        for (template, argument) in
            [("mesh://namespaces/{namespace}", "namespace"), ("mesh://services/{namespace}/{name}", "name")]
        {
            let params = json!({
                "ref": {"type": "ref/resource", "uri": template},
                "argument": {"name": argument, "value": ""},
            });
            let answer = self.mcp(caller, "completion/complete", params).await.1;
            answers.push((format!("completion {template}"), answer.to_string()));
        }
        answers
    }
}

fn prompt_arguments(prompt: &str, service: &str, namespace: &str) -> Value {
    match prompt {
        "investigate_slowness" => json!({"workload": service}),
        "investigate_denial" => json!({"from": workload(HERE), "to": format!("{service}:80")}),
        "check_default_deny_readiness" | "check_mtls_coverage" => json!({"namespace": namespace}),
        _ => json!({}),
    }
}

/// A Server of its own for one service, and a policy that lets in one client and nobody else.
fn only_one(service: &str) -> String {
    let (namespace, name) = service.split_once('/').unwrap();
    format!(
        "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {name}-new, namespace: {namespace}}}
spec: {{podSelector: {{matchLabels: {{app: {name}}}}}, port: 8080, proxyProtocol: HTTP/1}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}-new, namespace: {namespace}}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: {name}-new}}
  requiredAuthenticationRefs: [{{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: {name}-new}}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: {name}-new, namespace: {namespace}}}
spec: {{identityRefs: [{{kind: ServiceAccount, name: {name}}}]}}
"
    )
}

/// An answer without what the caller said itself: an error repeats the name that was asked for.
fn without_echo(answer: Value, asked: &str) -> String {
    let text = answer.to_string();
    let mut names: Vec<String> = names(asked).into_iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let is_error = answer["error"].is_object() || answer["result"]["isError"] == true;
    if is_error { names.iter().fold(text, |text, name| text.replace(name, "ASKED")) } else { text }
}

/// What is named of namespaces that are not one's own, as `namespace/name`.
fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for namespace in ["team-000/", "team-002/"] {
        for (at, _) in text.match_indices(namespace) {
            let rest = &text[at + namespace.len()..];
            let rest = rest.strip_prefix("deployment/").unwrap_or(rest);
            let name: String = rest
                .chars()
                .take_while(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || *it == '-')
                .collect();
            // In the id of an edge an arrow follows.
            let name = name.trim_end_matches('-');
            if !name.is_empty() {
                found.insert(format!("{namespace}{name}"));
            }
        }
        // The same as an identity.
        let of = format!(".{}.serviceaccount.", namespace.trim_end_matches('/'));
        for (at, _) in text.match_indices(&of) {
            let is_name = |it: &char| it.is_ascii_lowercase() || it.is_ascii_digit() || *it == '-';
            let name: String = text[..at].chars().rev().take_while(is_name).collect();
            found.insert(format!("{namespace}{}", name.chars().rev().collect::<String>()));
        }
    }
    found
}

/// The far ends of edges that begin or end in [`OWN`].
fn far_ends(graph: &Graph) -> BTreeSet<String> {
    let own = |namespace: Option<&str>| namespace == Some(OWN);
    let edges = graph.edges.values().filter(|it| own(it.src.namespace()) || own(it.dst.namespace()));
    edges.flat_map(|it| names(&format!("{} {}", it.src, it.dst))).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_of_other_namespaces_comes_out_of_any_surface_but_the_names_of_far_ends() {
    let mesh = mk_mesh(60);
    let scene = Scene::new(&mesh).await;
    let allowed = far_ends(&mesh.graph);
    let mut answered = 0;
    for (what, text) in scene.everything("own").await {
        let told: Vec<String> = names(&text).difference(&allowed).cloned().collect();
        assert_eq!(told, Vec::<String>::new(), "{what}: {text}");
        answered += usize::from(text.contains("team-001/"));
    }
    assert!(answered > 30, "only {answered} answers were about anything");
    // The control: who may see everything is told of others by most of these questions.
    let all = scene.everything("admin").await;
    let telling = all.iter().filter(|(_, text)| names(text).difference(&allowed).next().is_some()).count();
    assert!(telling > 30, "only {telling} of {} answers could have told anything", all.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_hidden_looks_like_what_is_not_there() {
    let scene = Scene::new(&mk_mesh(60)).await;
    let pairs = [
        (name(THERE), "team-009/service-1".to_owned()),
        (workload(THERE), "team-009/deployment/service-1".to_owned()),
    ];
    for (hidden, missing) in pairs {
        let mut answers = Vec::new();
        for it in [&hidden, &missing] {
            let namespace = it.split('/').next().unwrap();
            let blank = |text: String| text.replace(it.as_str(), "IT").replace(namespace, "NS");
            let (status, text) = scene.http(Some("own"), &format!("/v1/callgraph?root={it}")).await;
            let resource = if it.contains("deployment") { "workloads" } else { "services" };
            let read = json!({"uri": format!("mesh://{resource}/{it}")});
            answers.push([
                format!("{status} {}", blank(text)),
                blank(scene.tool(Some("own"), "describe_workload", json!({"name": it})).await.to_string()),
                blank(scene.mcp(Some("own"), "resources/read", read).await.1.to_string()),
                blank(scene.http(Some("own"), &format!("/v1/graph?namespace={namespace}")).await.1),
            ]);
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_to_one_with_rights_in_some_namespaces_says_that_it_is_limited() {
    let scene = Scene::new(&mk_mesh(60)).await;
    let (_, json) = scene.http(Some("own"), "/v1/graph").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["freshness"]["limited_to"], json!([OWN]));
    let answer = scene.tool(Some("own"), "get_mesh_overview", json!({})).await;
    assert_eq!(answer["result"]["structuredContent"]["freshness"]["limited_to"], json!([OWN]));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("LIMITED to what you may see: team-001"), "{text}");
    let (_, whole) = scene.http(Some("admin"), "/v1/graph").await;
    assert!(!whole.contains("limited_to"), "{whole}");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_right_or_is_not_known_or_not_decided_about_gets_nothing_from_any_row() {
    let scene = Scene::new(&mk_mesh(20)).await;
    let needs = |surface| {
        TABLE.iter().filter(move |row| row.surface == surface && matches!(row.door, Door::Needs(_)))
    };
    for (caller, code, status, tool) in [
        (Some("nobody"), 7, 403, "may not"),
        (None, 16, 401, "it is not known who asks"),
        (Some("mute"), 14, 503, "could not be decided"),
    ] {
        for row in needs(Surface::Grpc) {
            let method = row.name.rsplit('/').next().unwrap();
            let (found, text) = scene.grpc(caller, method, &v1::GetMeshGraphRequest::default()).await;
            assert_eq!(found, code, "{method} for {caller:?}: {text}");
        }
        for row in needs(Surface::Http) {
            let (found, text) = scene.http(caller, row.name).await;
            assert!(found == status && text.contains(tool), "{} for {caller:?}: {found} {text}", row.name);
        }
        for row in needs(Surface::Tool).filter(|row| super::TOOLS.iter().any(|it| it.name == row.name)) {
            let (found, answer) =
                scene.mcp(caller, "tools/call", json!({"name": row.name, "arguments": {}})).await;
            let text = answer.to_string();
            let absent = text.contains("there is no tool");
            assert!(absent || text.contains(tool), "{} for {caller:?}: {found} {text}", row.name);
        }
        for row in needs(Surface::Resource) {
            let uri = match row.name {
                "mesh://graph" => "mesh://graph".to_owned(),
                name => name
                    .replace("{namespace}", "team-000")
                    .replace("{kind}", "deployment")
                    .replace("{name}", "service-0"),
            };
            let (_, answer) = scene.mcp(caller, "resources/read", json!({"uri": uri})).await;
            assert!(answer.to_string().contains(tool), "{uri} for {caller:?}: {answer}");
        }
        for row in needs(Surface::Prompt) {
            let arguments = prompt_arguments(row.name, &name(0), "team-000");
            let (_, answer) =
                scene.mcp(caller, "prompts/get", json!({"name": row.name, "arguments": arguments})).await;
            assert!(answer.to_string().contains(tool), "{} for {caller:?}: {answer}", row.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_show_what_the_caller_may_use_and_no_more() {
    let scene = Scene::new(&mk_mesh(20)).await;
    for (list, of) in [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        let (_, all) = scene.mcp(Some("admin"), list, json!({})).await;
        let (_, none) = scene.mcp(Some("nobody"), list, json!({})).await;
        assert!(!all["result"][of].as_array().unwrap().is_empty(), "{list}: {all}");
        assert_eq!(none["result"][of], json!([]), "{list}");
        let (_, unsure) = scene.mcp(Some("mute"), list, json!({})).await;
        assert_eq!(unsure["error"]["code"], -31_001, "{list}: {unsure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_one_who_sees_more_is_no_tag_for_one_who_sees_less() {
    let scene = Scene::new(&mk_mesh(20)).await;
    let tag = async |caller: &str| {
        let mut request = Request::get("/v1/graph").header("host", "localhost").body(Body::empty()).unwrap();
        request.extensions_mut().insert(who(caller));
        let response = scene.http.clone().oneshot(request).await.unwrap();
        response.headers().get("etag").cloned()
    };
    // Nothing of its own is here, so that it sees an empty mesh, and is refused.
    assert_eq!(tag("own").await, None);
    let larger = Scene::new(&mk_mesh(60)).await;
    let of = async |caller: &str| {
        let mut request = Request::get("/v1/graph").header("host", "localhost").body(Body::empty()).unwrap();
        request.extensions_mut().insert(who(caller));
        larger.http.clone().oneshot(request).await.unwrap().headers().get("etag").cloned().unwrap()
    };
    assert_ne!(of("own").await, of("admin").await);
}
