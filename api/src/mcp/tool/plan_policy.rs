//! What a change of policy would do, and the plan for it. `simulate_policy` is the same without a plan.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed,
    check_access::{MAX_SENTENCE, word},
    effect::Effect,
    input, output,
};
use crate::mcp::text::{data, longer, number, quoted};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "plan_policy",
    title: "Plan a change of policy",
    description: "Says what a change of Linkerd policy would do, and makes a plan of it that apply_plan can carry out \
                  once, within five minutes. Nothing is written. The objects are tried on the API server, checked for \
                  what Linkerd's own validation lets pass (missing targets, locked-out probes, shadowed Servers, objects \
                  that GitOps manages), and every call that is seen now is judged before and after. Show the person what \
                  it would deny before you apply it. To get a first manifest use propose_policy.",
    set: Toolset::Changes,
    effect: Effect::Plans,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Planned>,
    run: |call| boxed(run(call, false)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Arguments {
    /// The objects as they shall be, whole, as one YAML or JSON stream: AuthorizationPolicy, MeshTLSAuthentication,
    /// NetworkAuthentication, Server, HTTPRoute, GRPCRoute.
    manifest: Option<String>,
    /// Objects to delete, as get_policies names them. Example: `server/shop/web`.
    delete: Vec<String>,
    /// The namespace of objects that name none.
    namespace: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Planned {
    /// True when the change may be applied; else `concerns` with `refuses` say why not.
    applicable: bool,
    /// For apply_plan; absent when it may not be applied, or was only simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// Until when the plan is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    objects: Vec<Object>,
    /// How many more objects there are.
    #[serde(skip_serializing_if = "is_zero")]
    more_objects: usize,
    /// What is likely not meant, the gravest first.
    concerns: Vec<Concern>,
    #[serde(skip_serializing_if = "is_zero")]
    more_concerns: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    impact: Option<Impact>,
    /// What was assumed, and what cannot be known from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Object {
    id: String,
    /// `create`, `update`, `delete` or `unchanged`.
    action: String,
    /// What is different, line by line as in a patch; shortened when it is long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diff: Vec<String>,
    /// What else manages it: change it in that tool's repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_by: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Concern {
    code: String,
    /// True when the change is refused because of it.
    refuses: bool,
    text: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
    objects: Vec<String>,
}

/// What becomes of the calls that are seen now.
#[derive(Debug, Serialize, JsonSchema)]
struct Impact {
    newly_denied: Vec<Flow>,
    newly_allowed: Vec<Flow>,
    /// How many there are of each, listed or not.
    newly_denied_count: u32,
    newly_allowed_count: u32,
    /// Calls per second of all of them; absent when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    newly_denied_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newly_allowed_rps: Option<f64>,
    /// Flows decided as before.
    unchanged: u32,
    /// Flows that cannot be judged, which is no sign that they are safe.
    unknown_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
    /// Pairs of known workloads and ports that could call afterwards and cannot now, traffic or not.
    gained_count: u32,
    lost_count: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Flow {
    from: String,
    workload: String,
    port: u32,
    /// `allow`, `deny`, `audit` or `unmatched_route`.
    before: String,
    after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Why it is decided so afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

const MAX_OBJECTS: usize = 6;
const MAX_DIFF_LINES: usize = 24;
const MAX_DIFF_LINE: usize = 120;
const MAX_CONCERNS: usize = 6;
const MAX_FLOWS: usize = 6;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Plans, or only simulates.
pub(super) async fn run(mut call: Call, simulate_only: bool) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let request = v1::PlanChangeRequest {
        manifest: arguments.manifest.unwrap_or_default(),
        removes: arguments.delete,
        namespace: arguments.namespace.unwrap_or_default(),
        // To take fields over from others is for people.
        force: false,
        simulate_only,
    };
    let view = call.view()?;
    let planned = call.changes().plan(call.caller()?, request).await?;
    Ok(call.dated(&view, Planned::of(&planned)))
}

// === impl Planned ===

impl Planned {
    fn of(it: &v1::PlanChangeResponse) -> Self {
        Self {
            applicable: !it.concerns.iter().any(|concern| concern.refuses),
            plan: (!it.plan.is_empty()).then(|| data(&it.plan)),
            expires: it.expires.as_ref().map(ToString::to_string),
            objects: it.objects.iter().take(MAX_OBJECTS).map(Object::of).collect(),
            more_objects: it.objects.len().saturating_sub(MAX_OBJECTS),
            concerns: it.concerns.iter().take(MAX_CONCERNS).map(Concern::of).collect(),
            more_concerns: it.concerns.len().saturating_sub(MAX_CONCERNS),
            impact: it.impact.as_ref().map(Impact::of),
            notes: it.notes.iter().take(MAX_CONCERNS).map(|note| longer(note, MAX_SENTENCE)).collect(),
        }
    }
}

impl Output for Planned {
    fn text(&self) -> String {
        let mut text = match (self.applicable, &self.plan) {
            (false, _) => "REFUSED: this change may not be applied as it is\n".to_owned(),
            (true, Some(plan)) => format!("PLANNED, nothing is written yet: apply_plan with plan {plan}\n"),
            (true, None) => "SIMULATED: nothing is written, and there is no plan to apply\n".to_owned(),
        };
        for it in &self.objects {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{} {}", it.action, quoted(&it.id));
            if let Some(owner) = &it.managed_by {
                let _ = writeln!(text, "  managed by {}", quoted(owner));
            }
            for line in &it.diff {
                let _ = writeln!(text, "  | {line}");
            }
        }
        if let Some(it) = &self.impact {
            text.push_str(&it.lines());
        }
        for it in &self.concerns {
            let word = if it.refuses { "refused" } else { "concern" };
            let _ = writeln!(text, "{word} {}: {}", it.code, quoted(&it.text));
            if !it.fix.is_empty() {
                let _ = writeln!(text, "  fix: {}", quoted(&it.fix));
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}

// === impl Object ===

impl Object {
    fn of(it: &v1::PlannedObject) -> Self {
        let lines = it.diff.lines().count();
        let mut diff: Vec<String> =
            it.diff.lines().take(MAX_DIFF_LINES).map(|line| longer(line, MAX_DIFF_LINE)).collect();
        if lines > MAX_DIFF_LINES {
            diff.push(format!("… {} more lines", lines - MAX_DIFF_LINES));
        }
        Self {
            id: data(&it.id),
            action: data(&it.action),
            diff,
            managed_by: (!it.owner.is_empty()).then(|| data(&it.owner)),
        }
    }
}

// === impl Concern ===

impl Concern {
    fn of(it: &v1::Concern) -> Self {
        Self {
            code: data(&it.code),
            refuses: it.refuses,
            text: longer(&it.text, MAX_SENTENCE),
            fix: longer(&it.fix, MAX_SENTENCE),
            objects: it.objects.iter().take(MAX_OBJECTS).map(|id| data(id)).collect(),
        }
    }
}

// === impl Impact ===

impl Impact {
    fn of(it: &v1::Impact) -> Self {
        let flows = |flows: &[v1::ImpactFlow]| flows.iter().take(MAX_FLOWS).map(Flow::of).collect();
        let unknown =
            |it: &v1::UnknownFlow| format!("{}: {}", data(&it.edge_id), longer(&it.text, MAX_SENTENCE));
        Self {
            newly_denied: flows(&it.newly_denied),
            newly_allowed: flows(&it.newly_allowed),
            newly_denied_count: it.newly_denied_count,
            newly_allowed_count: it.newly_allowed_count,
            newly_denied_rps: it.newly_denied_rps.map(number),
            newly_allowed_rps: it.newly_allowed_rps.map(number),
            unchanged: it.unchanged,
            unknown_count: it.unknown_count,
            unknown: it.unknown.iter().take(MAX_FLOWS / 2).map(unknown).collect(),
            gained_count: it.gained_count,
            lost_count: it.lost_count,
        }
    }

    fn lines(&self) -> String {
        let of = |count: u32, rps: Option<f64>| match rps {
            Some(rps) => format!("{count} ({rps} rps)"),
            None => count.to_string(),
        };
        let mut text = format!(
            "of the calls seen now: {} newly denied, {} newly allowed, {} as before, {} cannot be judged\n",
            of(self.newly_denied_count, self.newly_denied_rps),
            of(self.newly_allowed_count, self.newly_allowed_rps),
            self.unchanged,
            self.unknown_count,
        );
        for it in self.newly_denied.iter().chain(&self.newly_allowed) {
            let rps = it.rps.map(|rps| format!(" {rps} rps")).unwrap_or_default();
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "  {} -> {}:{} {} becomes {}{rps}",
                quoted(&it.from),
                quoted(&it.workload),
                it.port,
                it.before,
                it.after
            );
            if let Some(because) = &it.because {
                let _ = writeln!(text, "    because {}", quoted(because));
            }
        }
        for it in &self.unknown {
            let _ = writeln!(text, "  cannot be judged: {}", quoted(it));
        }
        if self.gained_count + self.lost_count > 0 {
            let _ = writeln!(
                text,
                "traffic or not: {} permissions gained, {} lost",
                self.gained_count, self.lost_count
            );
        }
        text
    }
}

// === impl Flow ===

impl Flow {
    fn of(it: &v1::ImpactFlow) -> Self {
        Self {
            from: data(&it.from),
            workload: data(&it.workload),
            port: it.port,
            before: word(it.before()),
            after: word(it.after()),
            rps: it.rps.map(number),
            because: it.reasons.last().map(|reason| longer(&reason.text, MAX_SENTENCE)),
        }
    }
}
