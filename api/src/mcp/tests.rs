//! Every tool on the same meshes: what it answers, that this is what its schema says, that it fits a model's context, and
//! that nothing in a cluster gets out of its field.

use super::{
    Context,
    history::History,
    metrics::McpMetrics,
    tool::{Answer, Call, Reply, TOOLS, Tool, ToolError, Toolset, effect::Effect},
};
use crate::{
    audit::Trace,
    authorization::{Authorization, Granted},
    caller::Principal,
    change::{self, Changes, metrics::ChangeMetrics},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
    rights::Scope,
    view::View,
};
use linkerd_mcp_graph::{
    feed::{Event, Position, Snapshot, Subscription},
    metrics::Metrics,
    model::Tls,
    query::Index,
    status::MetricsStatus,
};
use mesh::{AS_OF_MS, Mesh, mk_hostile, mk_mesh, name, workload};
use prometheus_client::registry::Registry;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use std::{collections::BTreeSet, convert::Infallible, path::Path, sync::Arc, time::Duration};

mod changing;
mod hostile;
mod limited;
mod mesh;
mod schema;

/// Gives one snapshot, and nothing more.
struct Once(Option<Snapshot>);

impl Subscription for Once {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Event, Infallible> {
        match self.0.take() {
            Some(snapshot) => Ok(Event::Snapshot(snapshot)),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

const AT: Position = Position { epoch: 7, seq: 1 };

/// What tools answer from: this mesh now, and `before` ten minutes ago.
async fn context(mesh: &Mesh, before: Option<&Mesh>) -> Context {
    let history = History::default();
    if let Some(Mesh { graph, metrics }) = before {
        let (index, as_of_ms) = (Index::of(graph), AS_OF_MS - 600_000);
        let (graph, metrics) = (Arc::new(graph.clone()), Arc::new(metrics.clone()));
        history.take(&View::new(graph, metrics, AT, as_of_ms, index));
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    let (graph, metrics) = (Arc::new(mesh.graph.clone()), Arc::new(mesh.metrics.clone()));
    let snapshot = Snapshot { position: AT, as_of_ms: AS_OF_MS, graph, metrics };
    let mut ticks = replica.ticks();
    let follower = replica.clone();
    tokio::spawn(async move { follower.follow(Once(Some(snapshot))).await });
    ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    let options = super::Options::default();
    let metrics = McpMetrics::register(&mut Registry::default());
    let settings = options.settings(&metrics).await.unwrap();
    let subscriptions = super::subscription::Subscriptions::new(metrics.subscriptions);
    let budget = super::budget::Budget::new(options.outside);
    let changes =
        Changes::new(change::Options::default(), replica.clone(), ChangeMetrics::default()).unwrap();
    Context {
        replica,
        changes,
        authorization: Authorization::machine(),
        granted: Some(Arc::new(Granted {
            who: Principal::machine(),
            scope: Scope::All,
            trace: Trace::new(),
        })),
        prometheus: None,
        kubernetes: None,
        settings,
        budget,
        history,
        subscriptions,
    }
}

fn tool(name: &str) -> Tool {
    *TOOLS.iter().find(|tool| tool.name == name).unwrap()
}

/// An answer, with its data as values.
#[derive(Debug)]
struct Heard {
    structured: Value,
    text: String,
}

async fn ask(context: &Context, name: &str, arguments: Value) -> Result<Heard, ToolError> {
    let tool = tool(name);
    let arguments: Option<JsonObject> = arguments.as_object().cloned();
    let call = Call { context: context.clone(), arguments, schema: (tool.input)(), person: None };
    let Answer { structured, text } = (tool.run)(call).await.and_then(Reply::answer)?;
    let heard = Heard { structured: structured.value(), text };
    assert_eq!(serde_json::from_str::<Value>(structured.json().get()).unwrap(), heard.structured, "{name}");
    Ok(heard)
}

/// Questions to every tool that have an answer on every mesh of [`mk_mesh`], each with the name of its golden.
fn questions() -> Vec<(&'static str, &'static str, Value)> {
    let (hub, hub_workload) = (name(0), workload(0));
    vec![
        ("get_mesh_overview", "get_mesh_overview", json!({})),
        ("find_problems", "find_problems", json!({})),
        ("find_problems_of_a_namespace", "find_problems", json!({"namespace": "team-000", "limit": 3})),
        ("get_graph", "get_graph", json!({})),
        ("get_graph_by_service", "get_graph", json!({"by": "service", "sort": "errors"})),
        ("get_graph_by_workload", "get_graph", json!({"by": "workload", "sort": "latency", "limit": 200})),
        ("get_graph_from", "get_graph", json!({"from": workload(1), "depth": 2})),
        ("get_graph_between", "get_graph", json!({"from": workload(1), "to": name(3), "depth": 8})),
        ("describe_workload", "describe_workload", json!({"name": hub_workload})),
        ("describe_service", "describe_workload", json!({"name": hub})),
        ("describe_external", "describe_workload", json!({"name": "external:bank.example:443"})),
        ("find_edges", "find_edges", json!({})),
        ("find_edges_denied", "find_edges", json!({"only": "denied"})),
        ("compare_traffic", "compare_traffic", json!({})),
        ("compare_traffic_of_a_service", "compare_traffic", json!({"name": hub, "minutes": 60})),
        ("check_access", "check_access", json!({"from": workload(1), "to": format!("{hub}:80")})),
        ("list_access_to", "list_access", json!({"to": hub})),
        ("list_access_from", "list_access", json!({"from": workload(2), "only": "with_traffic"})),
        ("list_access_in", "list_access", json!({"namespace": "team-000"})),
        ("explain_denials", "explain_denials", json!({})),
        ("get_policies", "get_policies", json!({"target": hub})),
        ("get_policies_in", "get_policies", json!({"namespace": "team-000"})),
        ("propose_policy", "propose_policy", json!({"target": hub})),
        ("propose_policy_to_enforce", "propose_policy", json!({"target": workload(1), "enforce": true})),
        ("simulate_policy", "simulate_policy", json!({"manifest": FEWER, "namespace": "team-000"})),
        ("simulate_policy_without", "simulate_policy", json!({"delete": ["server/team-000/service-0"]})),
        ("plan_policy", "plan_policy", json!({"manifest": FEWER, "namespace": "team-000"})),
        ("list_changes", "list_changes", json!({})),
    ]
}

/// Lets fewer into the first service than are.
const FEWER: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: service-0-clients}
spec: {identityRefs: [{kind: ServiceAccount, name: service-9}]}
";

/// A mesh as it was before some things happened to it.
fn earlier(mesh: &Mesh) -> Mesh {
    let Mesh { mut graph, metrics } = mesh.clone();
    let plain: Vec<_> = graph.edges.iter().filter(|(_, it)| matches!(it.tls, Tls::No { .. })).collect();
    let plain: Vec<_> = plain.into_iter().map(|(id, _)| id.clone()).step_by(2).collect();
    for id in &plain {
        mesh::edge(&mut graph, id.as_str(), Tls::Mutual);
    }
    let gone: Vec<_> = graph.edges.keys().step_by(9).cloned().collect();
    for id in &gone {
        graph.edges.remove(id);
    }
    mesh::edge(&mut graph, &format!("{}->{}:81", workload(2), name(0)), Tls::Mutual);
    let policies: Vec<_> = graph.policies.keys().step_by(3).cloned().collect();
    for id in &policies {
        graph.policies.remove(id);
    }
    let mut rows: Vec<_> = metrics.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
    for (_, row) in rows.iter_mut().step_by(2) {
        row.rps = row.rps.map(|it| it / 3.0);
        row.p99_ms = row.p99_ms.map(|it| it * 5.0);
        row.success_rate = row.success_rate.map(|it| it - 0.3);
        row.denied = row.denied.map(|_| 0.0);
    }
    let status = MetricsStatus { as_of_ms: Some(AS_OF_MS - 600_000), ..metrics.status };
    let metrics = Metrics::new(status, rows);
    Mesh { graph, metrics }
}

/// Compares with a file in `golden`; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mcp/tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    if wanted != text {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/golden");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        panic!("target/golden/{name} differs from {}; UPDATE_GOLDEN=1 accepts it", path.display());
    }
}

#[tokio::test(start_paused = true)]
async fn every_tool_answers_as_its_golden_has_it() {
    let mesh = mk_mesh(10);
    let context = context(&mesh, Some(&earlier(&mesh))).await;
    for (golden, tool, arguments) in questions() {
        let answer = ask(&context, tool, arguments.clone()).await.unwrap();
        let structured = serde_json::to_string_pretty(&answer.structured).unwrap();
        assert_golden(
            &format!("{golden}.txt"),
            &format!("{tool} {arguments}\n\n{}\n\n{structured}\n", answer.text),
        );
    }
}

/// Those that ask Prometheus and Kubernetes have tests of their own: `test/tests/mcp_reads.rs`. Those that change something
/// answer nothing before a person has said yes: `changing.rs` here, and `test/tests/change_callers`.
#[test]
fn every_tool_that_answers_by_the_graph_is_asked_something_here_and_by_an_attacker() {
    let ours = |tool: &&Tool| !matches!(tool.set, Toolset::Prometheus | Toolset::Kubernetes);
    let all: BTreeSet<&str> = TOOLS.iter().filter(ours).map(|tool| tool.name).collect();
    let asked: BTreeSet<&str> = hostile::questions("x").iter().map(|(tool, _)| *tool).collect();
    assert_eq!(asked, all, "`questions` in tests/hostile.rs");
    let changes: BTreeSet<&str> =
        TOOLS.iter().filter(|tool| tool.effect == Effect::Changes).map(|tool| tool.name).collect();
    assert_eq!(changes, ["apply_plan", "rollback_change"].into());
    let asked: BTreeSet<&str> = questions().iter().map(|(_, tool, _)| *tool).collect();
    assert_eq!(asked, all.difference(&changes).copied().collect(), "`questions` here");
}

/// What a model has room for: 2,000 tokens of 3.5 bytes.
const MOST: usize = 7_000;

async fn assert_fits(what: &str, context: &Context) {
    for (golden, name, arguments) in questions() {
        let answer = ask(context, name, arguments).await.unwrap_or_else(|error| panic!("{golden}: {error}"));
        let wrong = schema::problems(&answer.structured, &(tool(name).output)());
        assert!(wrong.is_empty(), "{golden} on {what}: {wrong:#?}");
        let (structured, text) = (answer.structured.to_string().len(), answer.text.len());
        println!("{what} {golden}: {structured} bytes, as text {text}");
        assert!(structured <= MOST && text <= MOST, "{golden} on {what}: {structured} bytes, as text {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_what_their_schemas_say_and_fit_a_model_however_large_the_mesh() {
    for services in [10, 1_000, 10_000] {
        let mesh = mk_mesh(services);
        let context = context(&mesh, Some(&earlier(&mesh))).await;
        assert_fits(&format!("{services} services"), &context).await;
    }
}

#[tokio::test(start_paused = true)]
async fn full_answers_are_larger_and_bounded_too() {
    let mesh = mk_mesh(200);
    let context = context(&mesh, Some(&earlier(&mesh))).await;
    for (golden, name, mut arguments) in questions() {
        if !(tool(name).input)()["properties"].as_object().unwrap().contains_key("detail") {
            continue;
        }
        arguments["detail"] = json!("full");
        let answer = ask(&context, name, arguments).await.unwrap();
        let wrong = schema::problems(&answer.structured, &(tool(name).output)());
        assert!(wrong.is_empty(), "{golden}: {wrong:#?}");
        let (structured, text) = (answer.structured.to_string().len(), answer.text.len());
        assert!(structured <= 4 * MOST && text <= 4 * MOST, "{golden}: {structured} bytes, as text {text}");
    }
}

/// What a model is told of the tools before it asks anything: at most 8,000 tokens of 3.5 bytes.
#[test]
fn what_tools_say_of_themselves_fits_a_model_too() {
    let (mut told, mut all) = (0, 0);
    for tool in TOOLS {
        let definition = serde_json::to_value(tool.definition()).unwrap();
        for part in ["name", "description", "inputSchema"] {
            told += definition[part].to_string().len();
        }
        all += definition.to_string().len();
        assert!(tool.description.len() < 2_048, "{}: clients cut longer descriptions", tool.name);
    }
    assert!(told < 28_000, "{told} bytes");
    assert!(all < 110_000, "{all} bytes with the schemas of answers");
}

#[tokio::test(start_paused = true)]
async fn cursors_lead_through_a_list_without_losing_a_row() {
    let context = context(&mk_mesh(60), None).await;
    for (name, list) in
        [("find_problems", "problems"), ("get_graph", "edges"), ("explain_denials", "denials")]
    {
        let mut arguments = match name {
            "get_graph" => json!({"by": "workload"}),
            _ => json!({}),
        };
        let (mut seen, mut total) = (0, None);
        loop {
            let answer = ask(&context, name, arguments.clone()).await.unwrap().structured;
            seen += answer[list].as_array().unwrap().len();
            assert!(total.is_none_or(|it| it == answer["total"]), "{name}");
            total = Some(answer["total"].clone());
            match answer.get("next_cursor") {
                Some(next) => arguments["cursor"] = next.clone(),
                None => break,
            }
        }
        assert_eq!(Some(json!(seen)), total, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_just_started_says_that_it_has_nothing_to_compare_with() {
    let context = context(&mk_mesh(10), None).await;
    let answer = ask(&context, "compare_traffic", json!({})).await.unwrap();
    assert!(answer.text.starts_with("This server has not been running for a minute"), "{}", answer.text);
    assert_eq!(answer.structured.get("changes"), None);
    let wrong = ask(&context, "compare_traffic", json!({"name": "team-000/nobody"})).await.unwrap_err();
    assert_eq!(wrong.status(), "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_question_about_nothing_says_what_there_is_instead() {
    let context = context(&mk_mesh(10), None).await;
    for (tool, arguments, told) in [
        ("describe_workload", json!({}), "`name` is required"),
        ("describe_workload", json!({"name": "team-000/service-11"}), "did you mean"),
        ("get_policies", json!({}), "name a `target`"),
        ("list_access", json!({}), "name what to list"),
        ("get_graph", json!({"depth": 9}), "`depth` is 9, but must be from 1 to 8"),
        ("get_graph", json!({"depth": 2}), "it needs `from` or `to`"),
        ("find_problems", json!({"namespace": "team-00"}), "did you mean team-000?"),
    ] {
        let error = ask(&context, tool, arguments).await.unwrap_err().to_string();
        assert!(error.contains(told), "{tool}: {error}");
    }
}
