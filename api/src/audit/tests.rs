use super::*;
use crate::caller::Proof;
use std::io::Write;
use tracing_subscriber::fmt::MakeWriter;

/// What was logged while `write` ran, a JSON object a line.
fn logged(level: tracing::Level, write: impl FnOnce()) -> Vec<serde_json::Value> {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
    let sink = Sink::default();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(level).with_writer(sink.clone()).finish();
    tracing::subscriber::with_default(subscriber, write);
    let bytes = sink.0.lock().clone();
    let lines = String::from_utf8(bytes).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn who(name: &str) -> Principal {
    let identity = format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local");
    Principal::of_identity(&identity, "linkerd.cluster.local", Proof::Mesh)
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn headers(traceparent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", traceparent.parse().unwrap());
    headers
}

#[test]
fn a_line_has_who_what_where_why_and_the_hash_and_not_what_was_sent() {
    let trace = Trace::of(&headers(&format!("00-{TRACE}-00f067aa0ba902b7-01")));
    let need = crate::rights::table::row(Surface::Tool, "apply_plan").unwrap();
    let crate::rights::table::Door::Needs(need) = need.door else { panic!("it needs a right") };
    let record = Record::new(Surface::Tool, "apply_plan", Outcome::Refused, trace)
        .by(&who("web"))
        .needing(need)
        .within(["shop"])
        .because("RBAC does not grant it")
        .plan("p-1", "ab12")
        .versions(["server/shop/web@17"]);
    let lines = logged(tracing::Level::INFO, || Audit::default().write(&record));
    let mut line = lines[0].clone();
    line.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        line,
        serde_json::json!({
            "level": "INFO",
            "target": "linkerd_mcp::audit",
            "fields": {
                "message": "refused a caller what it asked",
                "verdict": "refused",
                "user": "system:serviceaccount:shop:web",
                "identity": "web.shop.serviceaccount.identity.linkerd.cluster.local",
                "proof": "mesh",
                "surface": "tool",
                "method": "apply_plan",
                "verb": "create",
                "resource": "changes",
                "namespaces": "shop",
                "reason": "RBAC does not grant it",
                "trace_id": TRACE,
                "plan_id": "p-1",
                "payload_sha256": "ab12",
                "resource_versions": "server/shop/web@17",
            },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn one_callers_refusals_are_bounded_and_the_next_line_says_how_many_were_left_out() {
    let (audit, trace) = (Audit::default(), Trace::new());
    let refused = |name: &str| {
        audit.write(&Record::new(Surface::Grpc, "x", Outcome::Refused, trace).by(&who(name)));
    };
    let flood = logged(tracing::Level::INFO, || (0..100).for_each(|_| refused("greedy")));
    assert_eq!((flood.len(), audit.0.left_out.get()), (10, 90));
    let other = logged(tracing::Level::INFO, || refused("other"));
    assert_eq!(other.len(), 1, "one caller's flood does not hide another's");
    let allowed = logged(tracing::Level::INFO, || {
        audit.write(&Record::new(Surface::Grpc, "x", Outcome::Done, trace).by(&who("greedy")));
    });
    assert_eq!(allowed.len(), 1, "what was done is always written");
    tokio::time::advance(WINDOW).await;
    let later = logged(tracing::Level::INFO, || refused("greedy"));
    assert_eq!(later[0]["fields"]["left_out"], 90);
}

#[test]
fn the_callers_that_are_counted_are_bounded() {
    let audit = Audit::default();
    for at in 0..3 * MAX_CALLERS {
        audit.take(&format!("caller-{at}").into());
    }
    assert!(audit.0.spent.lock().len() <= MAX_CALLERS + 1);
}

#[test]
fn allowed_reads_are_only_written_when_debug_asks_for_them() {
    let record = || Record::new(Surface::Http, "/v1/graph", Outcome::Allowed, Trace::new()).by(&who("web"));
    let audit = Audit::default();
    assert!(logged(tracing::Level::INFO, || audit.note(record, Outcome::Allowed)).is_empty());
    assert_eq!(logged(tracing::Level::DEBUG, || audit.note(record, Outcome::Allowed)).len(), 1);
}

#[test]
fn text_of_others_cannot_forge_a_line() {
    let forged = Principal::of_identity("x\nINFO allowed \u{1b}[2J", "y", Proof::Certificate);
    let record = Record::new(Surface::Grpc, "x", Outcome::Refused, Trace::new()).by(&forged);
    let lines = logged(tracing::Level::INFO, || Audit::default().write(&record));
    let user = lines[0]["fields"]["user"].as_str().unwrap();
    assert!(lines.len() == 1 && !user.contains(['\n', '\u{1b}']), "{user}");
}

#[test]
fn a_trace_that_is_not_right_is_replaced_and_never_passed_on() {
    for wrong in [
        "",
        "00",
        &format!("01-{TRACE}-00f067aa0ba902b7-01"),
        &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        &format!("00-{TRACE}-{}-01", "0".repeat(16)),
        &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
        &format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]),
    ] {
        let trace = Trace::of(&headers(wrong)).to_string();
        assert!(trace != TRACE && trace.len() == 32, "{wrong}");
    }
    let mut twice = headers(&format!("00-{TRACE}-00f067aa0ba902b7-01"));
    twice.append("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01").parse().unwrap());
    assert_ne!(Trace::of(&twice).to_string(), TRACE);
}
