//! May this client make this call, and why?

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::{
    access,
    answer::Refusal,
    mcp::text::{data, is_visible, longer, quoted},
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "check_access",
    title: "May this client make this call?",
    description: "Decides, as Linkerd's proxies would, whether a client may call a Service or workload: allowed, \
                  denied, audited or no matching route, with every policy object that decided it and the smallest \
                  changes that would flip the answer. Use it for \"can A reach B\" and \"why is A refused by B\". \
                  For what is denied right now use explain_denials.",
    set: Toolset::Policy,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Checked>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Arguments {
    /// The client: `namespace/deployment/name`, `namespace/serviceaccount/name`, a mesh identity, or an IP address for
    /// one without a proxy. Example: `shop/deployment/web`.
    from: String,
    /// The server with its port: `namespace/service:port` or `namespace/deployment/name:port`. Example: `shop/cart:80`.
    to: String,
    /// Where names without a namespace are.
    namespace: Option<String>,
    /// HTTP method, with `path`; leave both out for any request. A gRPC call is POST.
    method: Option<String>,
    /// HTTP path, with `method`. A gRPC call is `/package.Service/Method`.
    path: Option<String>,
    /// IP address of the client, where networks are part of a policy.
    address: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Checked {
    /// The client that was meant.
    from: String,
    /// The server that was meant.
    to: String,
    /// `allow`, `deny`, `audit` or `unmatched_route`.
    decision: String,
    /// True when it is not the same for all pods, ports or requests; `decision` is then the strictest.
    mixed: bool,
    /// One for each kind of pod and port behind the server.
    accesses: Vec<Access>,
    /// How many more of them there are.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
    /// What was assumed, and what cannot be known from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Access {
    /// The workload that answers.
    workload: String,
    /// Its port.
    port: u32,
    /// Who calls.
    client: String,
    /// As above, for this one.
    decision: String,
    /// Why, in the order in which the proxy comes to them.
    reasons: Vec<String>,
    /// Ids of the objects that decided, or `default:<name>` for Linkerd's defaults.
    objects: Vec<String>,
    /// The smallest changes that would flip the decision; each was tried on the mesh as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Change {
    /// What to do.
    what: String,
    /// What happens to the call then.
    becomes: String,
    /// Objects to apply, as YAML; absent when it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// Ids of objects to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removes: Vec<String>,
}

/// Pods of one question that are alike are one; more than these are rarely read.
const MAX_ACCESSES: usize = 4;
const MAX_CHANGES: usize = 2;
const MAX_MANIFEST: usize = 1_200;
const MAX_REASONS: usize = 6;
/// The most characters of a sentence, and the most objects of a change.
pub(super) const MAX_SENTENCE: usize = 400;
const MAX_OBJECTS: usize = 5;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let question = v1::CheckAccessRequest {
        from: arguments.from,
        to: arguments.to,
        namespace: arguments.namespace.unwrap_or_default(),
        method: arguments.method.unwrap_or_default(),
        path: arguments.path.unwrap_or_default(),
        address: arguments.address.unwrap_or_default(),
        ..Default::default()
    };
    let found = view.ask(move |mesh| access::check_access(mesh, &question)).await.map_err(Refusal::Access)?;
    Ok(call.dated(&view, checked(&found)))
}

fn checked(found: &v1::CheckAccessResponse) -> Checked {
    Checked {
        from: data(&found.from),
        to: data(&found.to),
        decision: word(found.decision()),
        mixed: found.mixed,
        accesses: found.accesses.iter().take(MAX_ACCESSES).map(access).collect(),
        more: found.accesses.len().saturating_sub(MAX_ACCESSES),
        notes: found.notes.iter().map(|note| data(note)).collect(),
    }
}

fn access(it: &v1::Access) -> Access {
    Access {
        workload: data(&it.workload),
        port: it.port,
        client: data(&it.client),
        decision: word(it.decision()),
        reasons: it.reasons.iter().take(MAX_REASONS).map(|reason| data(&reason.text)).collect(),
        objects: objects(it),
        changes: it.flips.iter().take(MAX_CHANGES).map(Change::of).collect(),
    }
}

/// Ids of what decided, each once, in the order in which the proxy comes to them.
pub(super) fn objects(access: &v1::Access) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for id in access.reasons.iter().flat_map(|it| &it.origins) {
        let id = data(id);
        if named.len() < MAX_REASONS && !named.contains(&id) {
            named.push(id);
        }
    }
    named
}

/// As in the text of the CLI and the names of the requirement: `allow`, `deny`, …
pub(super) fn word(decision: v1::Decision) -> String {
    let name = decision.as_str_name();
    name.strip_prefix("DECISION_").unwrap_or(name).to_ascii_lowercase()
}

// === impl Change ===

impl Change {
    pub(super) fn of(flip: &v1::Flip) -> Self {
        // A name with invisible characters would not come through a model as it is, so it is not offered to be applied.
        let fits = !flip.manifest.is_empty() && flip.manifest.len() <= MAX_MANIFEST;
        Self {
            what: longer(&flip.text, MAX_SENTENCE),
            becomes: word(flip.becomes()),
            manifest: (fits && is_visible(&flip.manifest)).then(|| flip.manifest.clone()),
            removes: flip.removes.iter().take(MAX_OBJECTS).map(|id| data(id)).collect(),
        }
    }

    /// Lines, of which those of the manifest begin with a bar.
    pub(super) fn lines(&self) -> String {
        let mut text = format!("  to make it {}: {}\n", self.becomes, quoted(&self.what));
        for line in self.manifest.iter().flat_map(|it| it.lines()) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "    | {line}");
        }
        text
    }
}

// === impl Checked ===

impl Output for Checked {
    fn text(&self) -> String {
        let mut text =
            format!("{}: {} -> {}", self.decision.to_uppercase(), quoted(&self.from), quoted(&self.to));
        text.push_str(if self.mixed { " (not for all pods, ports or requests alike)\n" } else { "\n" });
        for it in &self.accesses {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{} {} port {} from {}",
                it.decision,
                quoted(&it.workload),
                it.port,
                quoted(&it.client)
            );
            for reason in &it.reasons {
                let _ = writeln!(text, "  because {}", quoted(reason));
            }
            for change in &it.changes {
                text.push_str(&change.lines());
            }
        }
        if self.more > 0 {
            let _ = writeln!(text, "{} more of the same question: name one workload and port.", self.more);
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}
