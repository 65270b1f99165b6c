//! A model plans; a person says yes. In both eras nothing but the word, typed, changes anything, and nobody can say it in
//! another's session.

use super::{
    bench::{Bench, LANDED, told},
    lines,
    model::{Model, Session, With, noes, text, typed, word},
};
use linkerd_mcp_test::web::THREE;
use serde_json::{Value, json};

const UNDONE: [&str; 3] = [
    "delete servers/web 200",
    "delete authorizationpolicies/web 200",
    "delete meshtlsauthentications/clients 200",
];

fn asks(bench: &Bench) -> Value {
    json!({"manifest": THREE, "namespace": bench.namespace})
}

/// The plan in the answer of plan_policy.
fn planned(result: &Value) -> Value {
    assert_eq!(result["isError"], false, "{result}");
    assert!(result["structuredContent"]["plan"].is_string(), "{result}");
    json!({"plan": result["structuredContent"]["plan"], "reason": "a test"})
}

/// The change in the answer of apply_plan or rollback_change, which was accepted.
fn changed(result: &Value) -> Value {
    assert_eq!(result["structuredContent"]["accepted"], true, "{result}");
    json!({"change_id": result["structuredContent"]["change_id"]})
}

/// Asks for a change that a person has to confirm; gives the word to type.
async fn asked(model: &Model, tool: &str, arguments: &Value) -> String {
    let result = model.call(tool, arguments, With::default()).await;
    assert_eq!(result["resultType"], "input_required", "{result}");
    let asked = &result["inputRequests"]["confirm"];
    assert_eq!(asked["method"], "elicitation/create", "{result}");
    word(&asked["params"])
}

/// That without the word, typed by a person who was asked, the tool does nothing.
async fn nothing_without_a_yes(
    bench: &Bench,
    model: &Model,
    others: &[&Model],
    tool: &str,
    arguments: &Value,
) {
    let before = bench.writes();
    let word = asked(model, tool, arguments).await;
    for (what, said, told) in noes(&word) {
        let result = model.call(tool, arguments, With { said: Some(said), ..With::default() }).await;
        let said = text(&result, true);
        assert!(said.contains("nothing was changed") && said.contains(told), "{tool} {what}: {said}");
    }
    // A client that cannot ask, with and without an answer that nobody gave.
    for said in [None, Some(typed(&word))] {
        let result = model.call(tool, arguments, With { mute: true, said, ..With::default() }).await;
        assert!(text(&result, true).contains("this client cannot ask its user"), "{tool}: {result}");
    }
    for other in others {
        for said in [None, Some(typed(&word))] {
            let result = other.call(tool, arguments, With { said, ..With::default() }).await;
            text(&result, true);
        }
    }
    assert_eq!(bench.writes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sessions_the_tool_says_what_to_ask_and_is_called_again_with_the_answer() {
    let bench = Bench::new("stateless").await;
    let (model, other, viewer) = (
        Model::new(&bench, "editor").await,
        Model::new(&bench, "other").await,
        Model::new(&bench, "viewer").await,
    );
    let mut watch = bench.watch().await;
    let plan = planned(&model.call("plan_policy", &asks(&bench), With::default()).await);
    nothing_without_a_yes(&bench, &model, &[&other, &viewer], "apply_plan", &plan).await;
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The controls: the same plan was good all the time, and so is the change.
    let yes = |word: &str| With { said: Some(typed(word)), ..With::default() };
    let word = asked(&model, "apply_plan", &plan).await;
    let change = changed(&model.call("apply_plan", &plan, yes(&word)).await);
    told(&mut watch, Some(8080)).await;
    assert_eq!(bench.writes(), LANDED);
    let again = model.call("apply_plan", &plan, yes(&word)).await;
    assert!(text(&again, true).contains("this plan is not known"), "{again}");

    nothing_without_a_yes(&bench, &model, &[&viewer], "rollback_change", &change).await;
    assert_eq!(bench.writes(), LANDED);
    let word = asked(&model, "rollback_change", &change).await;
    changed(&model.call("rollback_change", &change, yes(&word)).await);
    told(&mut watch, None).await;
    assert_eq!(bench.writes()[3..], UNDONE);
}

/// The same over sessions.
async fn nothing_without_a_yes_in(bench: &Bench, session: &Session<'_>, tool: &str, arguments: &Value) {
    let before = bench.writes();
    for at in 0..noes("p-1").len() {
        let (mut what, mut told) = ("", "");
        let answer = |word: &str| {
            let (said, answer, expected) = noes(word).swap_remove(at);
            (what, told) = (said, expected);
            answer
        };
        let result = session.confirmed(tool, arguments, answer).await;
        let said = text(&result, true);
        assert!(said.contains("nothing was changed") && said.contains(told), "{tool} {what}: {said}");
    }
    // A client that cannot ask is not asked.
    let mute = session.model.open(false).await;
    let result = mute.result(tool, arguments).await;
    assert!(text(&result, true).contains("this client cannot ask its user"), "{tool}: {result}");
    assert_eq!(bench.writes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_session_the_person_is_asked_while_the_call_waits_and_nobody_else_can_answer() {
    // R46 where it would hurt: an answer to a question that is open.
    let bench = Bench::new("session").await;
    let (model, other) = (Model::new(&bench, "editor").await, Model::new(&bench, "other").await);
    let mut watch = bench.watch().await;
    let session = model.open(true).await;
    let plan = planned(&session.result("plan_policy", &asks(&bench)).await);
    nothing_without_a_yes_in(&bench, &session, "apply_plan", &plan).await;

    let (status, mut events) = session.call("apply_plan", &plan, None).await;
    assert_eq!(status, 200);
    let question = events.question().await;
    let yes = typed(&word(&question.params));
    // Another editor has the id of the session and the question, and knows the word.
    let stolen = other.with(&session);
    assert_eq!(stolen.answer(&question, &yes).await, 404);
    assert_eq!(stolen.call("apply_plan", &plan, None).await.0, 404);
    let own = other.open(true).await;
    own.answer(&question, &yes).await;
    let result = own.result("apply_plan", &plan).await;
    assert!(text(&result, true).contains("this plan is not known"), "{result}");
    // The call would have come to its end by now if one of these were an answer to it.
    let listed = session.result("list_changes", &json!({"namespace": bench.namespace})).await;
    assert_eq!(listed["structuredContent"]["changes"], json!([]), "{listed}");
    assert_eq!(bench.writes(), Vec::<String>::new());
    // The control: the one who was asked says the same.
    assert_eq!(session.answer(&question, &yes).await, 202);
    let change = changed(&events.result().await);
    told(&mut watch, Some(8080)).await;
    assert_eq!(bench.writes(), LANDED);

    nothing_without_a_yes_in(&bench, &session, "rollback_change", &change).await;
    changed(&session.confirmed("rollback_change", &change, typed).await);
    told(&mut watch, None).await;
    assert_eq!(bench.writes()[3..], UNDONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_the_audit_log_about_a_change_have_the_trace_of_the_call() {
    let bench = Bench::new("traced").await;
    let model = Model::new(&bench, "editor").await;
    let traces = [1, 2, 3, 4, 6, 7].map(|at| format!("{at:x}{}", &bench_trace(&bench)[1..]));
    let parents = traces.each_ref().map(|trace| format!("00-{trace}-00f067aa0ba902b7-01"));
    let with = |at: usize, said| With { said, traceparent: Some(&parents[at]), ..With::default() };
    let plan = planned(&model.call("plan_policy", &asks(&bench), with(0, None)).await);
    let no = json!({"action": "decline"});
    let id = asked(&model, "apply_plan", &plan).await;
    text(&model.call("apply_plan", &plan, with(4, Some(no.clone()))).await, true);
    let change = changed(&model.call("apply_plan", &plan, with(1, Some(typed(&id)))).await);
    let word = asked(&model, "rollback_change", &change).await;
    text(&model.call("rollback_change", &change, with(5, Some(no))).await, true);
    changed(&model.call("rollback_change", &change, with(2, Some(typed(&word)))).await);
    let again = model.call("apply_plan", &plan, with(3, Some(typed(&word)))).await;
    text(&again, true);
    let said = |trace: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines::of(trace).iter().map(|it| (text(&it["method"]), text(&it["verdict"]))).collect()
    };
    let pair = |method: &str, verdict: &str| (method.to_owned(), verdict.to_owned());
    assert_eq!(said(&traces[0]), [pair("plan_policy", "allowed"), pair("PlanChange", "done")]);
    assert_eq!(said(&traces[1]), [pair("apply_plan", "allowed"), pair("ApplyPlan", "done")]);
    assert_eq!(said(&traces[2]), [pair("rollback_change", "allowed"), pair("RollbackChange", "done")]);
    assert_eq!(said(&traces[3]), [pair("apply_plan", "allowed"), pair("ApplyPlan", "refused")]);
    // A person's no is a decision too.
    for (at, tool, method, name, id) in [
        (4, "apply_plan", "ApplyPlan", "plan_id", &json!(id)),
        (5, "rollback_change", "RollbackChange", "change_id", &change["change_id"]),
    ] {
        assert_eq!(said(&traces[at]), [pair(tool, "allowed"), pair(method, "refused")]);
        let line = &lines::of(&traces[at])[1];
        assert_eq!(
            (&line[name], line["reason"].as_str()),
            (id, Some("nothing was changed: the user declined"))
        );
    }
    let line = &lines::of(&traces[1])[1];
    assert_eq!(line["change_id"], change["change_id"]);
    assert_eq!(line["user"], format!("system:serviceaccount:{}:editor", bench.namespace));

    // A client may say it in the request itself, and the header comes first.
    let (own, other) = (format!("8{}", &traces[0][1..]), format!("9{}", &traces[0][1..]));
    let [in_meta, in_header] = [&own, &other].map(|trace| format!("00-{trace}-00f067aa0ba902b7-01"));
    let with = With { own_traceparent: Some(&in_meta), ..With::default() };
    planned(&model.call("plan_policy", &asks(&bench), with).await);
    let both = With { own_traceparent: Some(&in_meta), traceparent: Some(&in_header), ..With::default() };
    planned(&model.call("plan_policy", &asks(&bench), both).await);
    for trace in [own, other] {
        assert_eq!(said(&trace), [pair("plan_policy", "allowed"), pair("PlanChange", "done")]);
    }

    // Over a session too.
    let session = model.open(true).await;
    let (trace, parent) = (format!("5{}", &traces[0][1..]), parents[0].replacen("-1", "-5", 1));
    let (_, mut events) = session.call("plan_policy", &asks(&bench), Some(&parent)).await;
    planned(&events.result().await);
    assert_eq!(said(&trace), [pair("plan_policy", "allowed"), pair("PlanChange", "done")]);
}

/// A trace that no other test has.
fn bench_trace(bench: &Bench) -> String {
    let bytes = bench.namespace.bytes().cycle().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
