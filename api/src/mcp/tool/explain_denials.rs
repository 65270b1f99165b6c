//! What is denied now, why, and what would let it in.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed,
    check_access::{Change, MAX_SENTENCE, objects, word},
    effect::Effect,
    input, output,
};
use crate::{
    access,
    answer::Refusal,
    mcp::{
        page::{Detail, Page, Paging},
        text::{data, longer, number, quoted},
    },
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "explain_denials",
    title: "What is denied now, and why",
    description: "Explains what Linkerd's policies deny right now, the most frequent first: which calls, how many per \
                  second, which Server, route or missing authorization refuses them, and the smallest change that would \
                  let them in, with a manifest that was tried on the mesh as it is. Also calls answered with 404 because \
                  no route takes them. Use it for \"why is X denied\" and \"what would break\". To ask about a call that \
                  is not made now use check_access.",
    set: Toolset::Policy,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Explained>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// Only what this Service or workload denies. Example: `shop/cart`.
    to: Option<String>,
    /// Only what is denied to this client. Example: `shop/deployment/web`.
    from: Option<String>,
    /// Alone: what is denied in this namespace. Else: where names without a namespace are.
    namespace: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Explained {
    denials: Vec<Denial>,
    #[serde(flatten)]
    page: Page,
    /// What cannot be known from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Denial {
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
    /// Answered with 404 per second because no route took them.
    #[serde(skip_serializing_if = "Option::is_none")]
    unrouted_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_per_s: Option<f64>,
    /// What happens and why, in sentences.
    text: String,
    /// What the policies say, for each port and kind of pod that may answer.
    cases: Vec<Case>,
    /// How many more cases there are; they differ in pods or ports. Ask check_access for all of them.
    #[serde(skip_serializing_if = "is_zero")]
    more_cases: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Case {
    workload: String,
    port: u32,
    /// `allow`, `deny`, `audit` or `unmatched_route`.
    decision: String,
    /// Ids of the objects that decided, or `default:<name>`.
    objects: Vec<String>,
    /// The smallest change that would let the call in.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Change>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let question = v1::ExplainDenialsRequest {
        to: arguments.to.unwrap_or_default(),
        from: arguments.from.unwrap_or_default(),
        namespace: arguments.namespace.unwrap_or_default(),
    };
    let paging = arguments.paging;
    let cases = match paging.detail {
        Detail::Concise => 1,
        Detail::Full => 4,
    };
    let found = view.ask(move |mesh| {
        access::show_denials(mesh, &question, |found, explain| {
            paging.rows(&asked, found, |it| Denial::of(&explain(it, cases), cases))
        })
    });
    let (shown, notes) = found.await.map_err(Refusal::Access)?;
    let (denials, page) = shown?;
    let notes = notes.iter().map(|note| data(note)).collect();
    Ok(call.dated(&view, Explained { denials, page, notes }))
}

// === impl Denial ===

impl Denial {
    fn of(it: &v1::Denial, cases: usize) -> Self {
        let some = |rate: Option<f64>| rate.filter(|it| *it > 0.0).map(number);
        // Those that are refused say why; pods that let the call in are news only where there are no others.
        let mut accesses: Vec<&v1::Access> = it.accesses.iter().collect();
        accesses.sort_by_key(|it| matches!(it.decision(), v1::Decision::Allow | v1::Decision::Audit));
        Self {
            from: data(&it.src),
            to: data(&it.dst),
            denied_per_s: some(it.denied_per_s),
            unrouted_per_s: some(it.unrouted_per_s),
            allowed_per_s: some(it.allowed_per_s),
            text: longer(&it.text, 2 * MAX_SENTENCE),
            cases: accesses.iter().take(cases).map(|it| Case::of(it)).collect(),
            more_cases: accesses.len().saturating_sub(cases),
        }
    }
}

// === impl Case ===

impl Case {
    fn of(it: &v1::Access) -> Self {
        Self {
            workload: data(&it.workload),
            port: it.port,
            decision: word(it.decision()),
            objects: objects(it),
            fix: it.flips.first().map(Change::of),
        }
    }
}

// === impl Explained ===

impl Output for Explained {
    fn text(&self) -> String {
        if self.denials.is_empty() {
            let nothing = "Nothing is denied or unrouted now. Only calls that are being made are seen here; ask \
                           check_access about others.\n";
            let notes: String = self.notes.iter().map(|note| format!("Note: {}\n", quoted(note))).collect();
            return nothing.to_owned() + &notes;
        }
        let mut text = String::new();
        for it in &self.denials {
            // Writing to a String does not fail.
            let _ = write!(text, "{} -> {}", quoted(&it.from), quoted(&it.to));
            for (what, rate) in [
                ("DENIED", it.denied_per_s),
                ("404 for want of a route", it.unrouted_per_s),
                ("let in", it.allowed_per_s),
            ] {
                if let Some(rate) = rate {
                    let _ = write!(text, ", {what} {rate}/s");
                }
            }
            let _ = writeln!(text, "\n  {}", quoted(&it.text));
            for case in &it.cases {
                let objects: Vec<_> = case.objects.iter().map(|id| quoted(id)).collect();
                let (workload, port) = (quoted(&case.workload), case.port);
                let _ =
                    writeln!(text, "  {} by {workload} port {port}: {}", case.decision, objects.join(", "));
                if let Some(fix) = &case.fix {
                    text.push_str(&fix.lines());
                }
            }
            if it.more_cases > 0 {
                let _ = writeln!(text, "  and {} more ports or kinds of pods", it.more_cases);
            }
        }
        text.push_str(&self.page.text("choose with to, from or namespace"));
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}
