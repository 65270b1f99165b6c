//! The least policy that lets in what is seen.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, check_access::MAX_SENTENCE, effect::Effect, input,
    output,
};
use crate::mcp::text::{data, is_visible, longer, number, quoted};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "propose_policy",
    title: "Propose policy from traffic",
    description: "Proposes the least policy for a workload or namespace that lets in the calls that are seen: a Server \
                  for each port, the identities of its callers, and an AuthorizationPolicy, as a manifest for \
                  plan_policy. Says which calls it covers, which it leaves out and why, and whether enforcing it is safe \
                  by what is seen. Without enforce it refuses nothing and counts what it would refuse: begin with that.",
    set: Toolset::Changes,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Proposed>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// The workload or Service that is to be protected. Example: `shop/deployment/cart`.
    target: Option<String>,
    /// Alone: everything in this namespace. Else: where a name without a namespace is.
    namespace: Option<String>,
    /// True for policy that refuses what it does not list; left out, it lets in and counts.
    enforce: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Proposed {
    /// True when nothing that is seen now would be refused by enforcing.
    ready: bool,
    /// What speaks against enforcing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blockers: Vec<String>,
    /// For plan_policy; absent when it is too long for here, and then a narrower target helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// Calls that it lets in, the most frequent first.
    covered: Vec<Flow>,
    covered_count: usize,
    /// Calls that it does not, with the reason.
    left_out: Vec<Flow>,
    left_out_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Flow {
    from: String,
    workload: String,
    port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Why it is left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    because: String,
}

/// A manifest must come through whole or not at all.
const MAX_MANIFEST: usize = 4_000;
const MAX_FLOWS: usize = 6;
const MAX_NOTES: usize = 5;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let request = v1::ProposePolicyRequest {
        target: arguments.target.unwrap_or_default(),
        namespace: arguments.namespace.unwrap_or_default(),
        enforce: arguments.enforce,
    };
    let view = call.view()?;
    let proposed = call.changes().propose(call.caller()?, request).await?;
    Ok(call.dated(&view, Proposed::of(&proposed)))
}

// === impl Proposed ===

impl Proposed {
    fn of(it: &v1::ProposePolicyResponse) -> Self {
        let flows = |flows: &[v1::ProposedFlow]| flows.iter().take(MAX_FLOWS).map(Flow::of).collect();
        let sentences =
            |all: &[String]| all.iter().take(MAX_NOTES).map(|it| longer(it, MAX_SENTENCE)).collect();
        let fits = it.manifest.len() <= MAX_MANIFEST && is_visible(&it.manifest);
        Self {
            ready: it.ready,
            blockers: sentences(&it.blockers),
            manifest: fits.then(|| it.manifest.clone()),
            covered: flows(&it.covered),
            covered_count: it.covered.len(),
            left_out: flows(&it.left_out),
            left_out_count: it.left_out.len(),
            notes: sentences(&it.notes),
        }
    }
}

impl Output for Proposed {
    fn text(&self) -> String {
        let ready = if self.ready { "READY to enforce" } else { "NOT READY to enforce" };
        let mut text = format!(
            "{ready}, by what is seen: lets in {} calls, leaves out {}\n",
            self.covered_count, self.left_out_count
        );
        for it in &self.blockers {
            // Writing to a String does not fail.
            let _ = writeln!(text, "against it: {}", quoted(it));
        }
        for (what, flows) in [("lets in", &self.covered), ("leaves out", &self.left_out)] {
            for it in flows {
                let rps = it.rps.map(|rps| format!(" {rps} rps")).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "{what} {} -> {}:{}{rps}",
                    quoted(&it.from),
                    quoted(&it.workload),
                    it.port
                );
                if !it.because.is_empty() {
                    let _ = writeln!(text, "  because {}", quoted(&it.because));
                }
            }
        }
        match &self.manifest {
            // It stands in the data; twice would be most of the answer.
            Some(_) => text.push_str("The manifest is in `manifest`: pass it to plan_policy as it is.\n"),
            None => text.push_str("The manifest is too long for here: ask for one workload at a time.\n"),
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}

// === impl Flow ===

impl Flow {
    fn of(it: &v1::ProposedFlow) -> Self {
        Self {
            from: data(&it.from),
            workload: data(&it.workload),
            port: it.port,
            rps: it.rps.map(number),
            because: longer(&it.text, MAX_SENTENCE),
        }
    }
}
