//! Tools that change policy, to their end: called as a client without sessions calls them, on an API server that says what
//! an attacker has written.

use super::{Context, Mesh, TOOLS, context, hostile, json, mk_hostile, schema, tool};
use crate::{
    authorization::Authorization,
    change::{self, Changes, metrics::ChangeMetrics},
    mcp::{self, metrics::McpMetrics, tool::effect::Effect},
};
use axum::{Router, body::Body};
use http::{Method, Request, Response};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Which requests the API server refuses, with the text of the attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuses {
    Nothing,
    Tries,
    Writes,
}

/// Objects by path.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// An API server that stores what it gets.
fn api_server(text: &str, refuses: Refuses, objects: &Objects) -> kube::Client {
    let (text, objects) = (text.to_owned(), objects.clone());
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (text, objects) = (text.clone(), objects.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body: Value =
                serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
            let tried = parts.uri.query().unwrap_or_default().contains("dryRun=All");
            let (code, answer) =
                answer(&text, refuses, &objects, &parts.method, parts.uri.path(), tried, body);
            let bytes = answer.to_string().into_bytes();
            let response = Response::builder().status(code).body(kube::client::Body::from(bytes)).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    kube::Client::new(service, "default")
}

fn answer(
    text: &str,
    refuses: Refuses,
    objects: &Objects,
    method: &Method,
    path: &str,
    tried: bool,
    mut body: Value,
) -> (u16, Value) {
    let failure = |code: u16, message: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code});
        (code, status)
    };
    let mut objects = objects.lock();
    let refused = if tried { Refuses::Tries } else { Refuses::Writes };
    match *method {
        Method::GET => match objects.get(path) {
            Some(object) => (200, object.clone()),
            None => {
                let mut status = failure(404, "not found").1;
                status["details"] = json!({"name": "x", "kind": "x"});
                (404, status)
            }
        },
        Method::PATCH if refuses == refused => failure(422, text),
        Method::PATCH => {
            for (field, value) in [
                ("uid", json!("1")),
                ("resourceVersion", json!("7")),
                ("generation", json!(1)),
                ("creationTimestamp", json!("2026-01-01T00:00:00Z")),
            ] {
                body["metadata"][field] = value;
            }
            if !tried {
                objects.insert(path.to_owned(), body.clone());
            }
            (200, body)
        }
        Method::DELETE => {
            objects.remove(path);
            (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        }
        // Events.
        _ => (201, body),
    }
}

/// One who calls tools, and says yes where that is asked.
struct Person(Router);

impl Person {
    async fn new(mesh: &Mesh, cluster: kube::Client) -> Self {
        let base = context(mesh, None).await;
        let options = change::Options { kubernetes: Some(cluster), ..change::Options::default() };
        let changes = Changes::new(options, base.replica.clone(), ChangeMetrics::default()).unwrap();
        let context = Context { authorization: Authorization::machine(), granted: None, changes, ..base };
        let metrics = McpMetrics::register(&mut Registry::default());
        Self(mcp::route(context, metrics, CancellationToken::new()))
    }

    async fn call(&self, tool: &str, arguments: &Value, said: Option<Value>) -> Value {
        let mut params = json!({"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        }});
        if let Some(said) = said {
            params["inputResponses"] = json!({"confirm": said});
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
        let answer: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Is asked, reads the question, and types the word.
    async fn confirm(&self, what: &str, tool: &str, arguments: &Value) -> Value {
        let asked = self.call(tool, arguments, None).await;
        let message = asked["inputRequests"]["confirm"]["params"]["message"].as_str();
        let message = message.unwrap_or_else(|| panic!("{what}: {asked}"));
        let hidden = message.chars().find(|it| hostile::hides(*it) && *it != '\n');
        assert_eq!(hidden, None, "{what}: {message:?}");
        for line in message.lines() {
            assert!(line.matches('"').count() % 2 == 0, "{what}: a quote is open in {line:?}");
        }
        assert!(message.len() < 6_000, "{what}: a question of {} bytes", message.len());
        let (_, word) = message.rsplit_once("\nType ").unwrap();
        let word = word.strip_suffix(" to do it.").unwrap();
        let said = json!({"action": "accept", "content": {"type_to_confirm": word}});
        self.call(tool, arguments, Some(said)).await
    }
}

/// An answer that is none of failure, as a program reads it; both its forms keep text of others in its fields.
fn contained(what: &str, name: &str, result: &Value, seen: &mut usize) -> Value {
    assert_eq!(result["isError"], false, "{what}: {result}");
    let structured = result["structuredContent"].clone();
    hostile::assert_structured(what, &structured, seen);
    let wrong = schema::problems(&structured, &(tool(name).output)());
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    let text = result["content"][0]["text"].as_str().unwrap();
    hostile::assert_text(what, text);
    let (bytes, text) = (structured.to_string().len(), text.len());
    assert!(bytes <= 28_000 && text <= 28_000, "{what}: {bytes} bytes, as text {text}");
    structured
}

/// The text of a failure.
fn failure(what: &str, result: &Value) -> String {
    assert_eq!(result["isError"], true, "{what}: {result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.chars().find(|it| hostile::hides(*it) && *it != '\n'), None, "{what}: {text:?}");
    assert!(text.len() < 10_000, "{what}: {} bytes", text.len());
    text.to_owned()
}

/// Lets one more client in.
const ONE_MORE: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: one-more}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: victim}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: web}]
";

const PATH: &str = "/apis/policy.linkerd.io/v1alpha1/namespaces/shop/authorizationpolicies/one-more";

#[tokio::test(start_paused = true)]
async fn what_an_api_server_and_a_reason_say_stays_in_fields_of_data() {
    let asked = json!({"manifest": ONE_MORE, "namespace": "shop"});
    let mut seen = 0;
    for text in hostile::corpus() {
        let what = text.chars().take(40).collect::<String>();
        let mesh = mk_hostile(&text);
        let objects = Objects::default();
        let reason: String = text.chars().take(60).collect();
        let before = seen;

        let person = Person::new(&mesh, api_server(&text, Refuses::Tries, &objects)).await;
        let result = person.call("plan_policy", &asked, None).await;
        let planned = contained(&what, "plan_policy", &result, &mut seen);
        assert_eq!((&planned["applicable"], &planned["plan"]), (&json!(false), &Value::Null), "{planned}");

        let person = Person::new(&mesh, api_server(&text, Refuses::Writes, &objects)).await;
        let result = person.call("plan_policy", &asked, None).await;
        let planned = contained(&what, "plan_policy", &result, &mut seen);
        let plan = json!({"plan": planned["plan"], "reason": reason});
        let result = person.confirm(&what, "apply_plan", &plan).await;
        let applied = contained(&what, "apply_plan", &result, &mut seen);
        assert_eq!(applied["accepted"], false, "{applied}");
        let one = json!({"change_id": applied["change_id"]});
        for arguments in [json!({}), one.clone()] {
            let result = person.call("list_changes", &arguments, None).await;
            let listed = contained(&what, "list_changes", &result, &mut seen);
            assert_eq!(listed["changes"][0]["outcome"], "failed", "{listed}");
        }
        failure(&what, &person.confirm(&what, "rollback_change", &one).await);
        assert!(seen >= before + 5, "{what}: nothing was shown");

        let person = Person::new(&mesh, api_server(&text, Refuses::Nothing, &objects)).await;
        let result = person.call("plan_policy", &asked, None).await;
        let planned = contained(&what, "plan_policy", &result, &mut seen);
        let plan = json!({"plan": planned["plan"], "reason": reason});
        let result = person.confirm(&what, "apply_plan", &plan).await;
        let applied = contained(&what, "apply_plan", &result, &mut seen);
        assert_eq!(applied["accepted"], true, "{applied}");
        let left = objects.lock()[PATH].clone();
        // Somebody writes to it: the refusal to undo shows what is different.
        let mut other = left.clone();
        other["metadata"]["resourceVersion"] = json!("8");
        other["metadata"]["generation"] = json!(2);
        other["metadata"]["labels"] = json!({"note": text});
        other["spec"]["targetRef"]["name"] = json!(text);
        objects.lock().insert(PATH.to_owned(), other);
        let one = json!({"change_id": applied["change_id"]});
        let said = failure(&what, &person.confirm(&what, "rollback_change", &one).await);
        assert!(said.contains("cannot be undone as it was"), "{what}: {said}");
        objects.lock().insert(PATH.to_owned(), left);
        let result = person.confirm(&what, "rollback_change", &one).await;
        let undone = contained(&what, "rollback_change", &result, &mut seen);
        assert_eq!(undone["accepted"], true, "{undone}");
        assert!(objects.lock().is_empty());
    }
    println!("{seen} fields with text of an attacker");
    let changes = TOOLS.iter().filter(|tool| tool.effect == Effect::Changes).count();
    assert_eq!(changes, 2, "a tool that is not called here");
}
