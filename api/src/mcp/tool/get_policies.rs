//! The policies and routes of a target or a namespace, and what Linkerd makes of them.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, describe_workload::list, effect::Effect, input,
    list_access::PortRow, output,
};
use crate::{
    access,
    answer::Refusal,
    mcp::{
        page::{Detail, Page, Paging},
        share::{Rows, Share},
        text::{data, longer, quoted},
    },
};
use linkerd_mcp_graph::{
    model::Policy,
    policy::{
        ask::Mesh,
        lint::{Finding, lint},
    },
    query::{
        Node,
        bearing::{self, PolicyRef},
        check_namespace, resolve_node,
    },
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt::Write as _};

pub(super) const TOOL: Tool = Tool {
    name: "get_policies",
    title: "Policies and routes",
    description: "Shows the policy objects and routes that bear on a workload or Service, or those of a namespace: each \
                  with its spec, what Linkerd resolves them to on every port (which Server decides, to whom it is open), \
                  and what lint finds wrong with them. Use it for \"which policies apply to X\", \"why does this policy \
                  do nothing\", and before changing one.",
    set: Toolset::Policy,
    effect: Effect::Reads,
    open_world: true,
    input: input::<Arguments>,
    output: output::<Shown>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// What the policies bear on: `namespace/service`, `namespace/deployment/name` or `external:host:port`. Example:
    /// `shop/cart`.
    target: Option<String>,
    /// Alone: all objects of this namespace. Else: where a name without a namespace is.
    namespace: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// Ports as Linkerd resolves them; only on the first page.
    ports: Rows<PortRow>,
    /// What is likely not meant, the gravest first; only on the first page.
    findings: Rows<FindingRow>,
    policies: Vec<PolicyRow>,
    #[serde(flatten)]
    page: Page,
    /// Why ports are not resolved, where they are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct PolicyRow {
    /// `kind/namespace/name`.
    id: String,
    api_version: String,
    /// The spec as JSON; cut where it ends with `…`.
    spec: String,
    /// Conditions of its status that are not true, as `type: reason`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_true: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FindingRow {
    /// Which check.
    code: &'static str,
    /// `info`, `warning` or `error`.
    severity: &'static str,
    /// What it is about, the object to look at first.
    objects: Vec<String>,
    /// What is wrong.
    text: String,
    /// What to do.
    fix: String,
}

/// What is asked of the mesh, owned by the answer.
struct Found {
    policies: Vec<(String, std::sync::Arc<Policy>)>,
    ports: Vec<v1::PortAccess>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// Shares of an answer, in percent.
const PORTS: usize = 25;
const FINDINGS: usize = 25;
/// The most characters of a spec in a concise answer, and in a full one.
const SPEC: (usize, usize) = (500, 4_000);
const MAX_SENTENCE: usize = 300;
const MAX_OBJECTS: usize = 3;
const MAX_CONDITIONS: usize = 4;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let Arguments { target, namespace, paging } = call.arguments()?;
    if target.is_none() && namespace.is_none() {
        let hint = "name a `target`, such as shop/cart, or a `namespace`";
        return Err(ToolError::Arguments(hint.to_owned()));
    }
    let view = call.view()?;
    let first = paging.is_first();
    let found = view.ask(move |mesh| find(mesh, target.as_deref(), namespace.as_deref(), first)).await?;
    let mut share = Share::of(paging.detail);
    let notes: Vec<String> = found.notes.iter().map(|note| data(note)).collect();
    share.spend(&notes);
    let findings = share.rows(FINDINGS, &found.findings, FindingRow::of);
    let ports = share.rows(PORTS, &found.ports, PortRow::of);
    let detail = paging.detail;
    let row = |(id, policy): &(String, std::sync::Arc<Policy>)| PolicyRow::of(id, policy, detail);
    let (policies, page) = paging.rows_within(share.left(), &asked, &found.policies, row)?;
    Ok(call.dated(&view, Shown { ports, findings, policies, page, notes }))
}

fn find(
    mesh: &Mesh<'_>,
    target: Option<&str>,
    namespace: Option<&str>,
    first: bool,
) -> Result<Found, Refusal> {
    if let Some(namespace) = namespace {
        check_namespace(mesh.graph, namespace)?;
    }
    let node = target.map(|target| resolve_node(mesh.graph, target, namespace)).transpose()?;
    let policies: Vec<PolicyRef<'_>> = match (&node, namespace) {
        (Some(node), _) => bearing::bearing_on(mesh.graph, node),
        (None, Some(namespace)) => bearing::of_namespace(mesh.graph, namespace),
        (None, None) => Vec::new(),
    };
    let mut found =
        Found { policies: Vec::new(), ports: Vec::new(), findings: Vec::new(), notes: Vec::new() };
    if first {
        found.findings = findings(mesh, node.as_ref(), namespace, &policies);
        let question = v1::ListAccessRequest {
            to: node.as_ref().map(ToString::to_string).unwrap_or_default(),
            namespace: if node.is_some() { String::new() } else { namespace.unwrap_or_default().to_owned() },
            limit: 1,
            ..v1::ListAccessRequest::default()
        };
        match access::list_access(mesh, &question) {
            Ok(listed) => found.ports = listed.ports,
            // That there is nobody to decide about is no reason to hide the objects.
            Err(error) => found.notes.push(error.to_string()),
        }
    }
    found.policies = policies.into_iter().map(|(id, policy)| (id.to_string(), policy.clone())).collect();
    Ok(found)
}

/// Findings that name one of the policies, or the node or its workloads.
fn findings(
    mesh: &Mesh<'_>,
    node: Option<&Node>,
    namespace: Option<&str>,
    policies: &[PolicyRef<'_>],
) -> Vec<Finding> {
    let Some(node) = node else { return lint(mesh, namespace) };
    let mut about: BTreeSet<String> = policies.iter().map(|(id, _)| id.to_string()).collect();
    about.insert(node.to_string());
    if let Node::Service(id) = node
        && let Some(service) = mesh.graph.services.get(id)
    {
        about.extend(service.workloads.iter().map(ToString::to_string));
    }
    let mut found = lint(mesh, node.namespace());
    // Ports are named as `workload:port`.
    let concerns = |object: &String| {
        about.contains(object) || object.rsplit_once(':').is_some_and(|(name, _)| about.contains(name))
    };
    found.retain(|finding| finding.objects.iter().any(concerns));
    found
}

// === impl PolicyRow ===

impl PolicyRow {
    fn of(id: &str, policy: &Policy, detail: Detail) -> Self {
        let room = match detail {
            Detail::Concise => SPEC.0,
            Detail::Full => SPEC.1,
        };
        Self {
            id: data(id),
            api_version: data(&policy.api_version),
            spec: longer(&policy.spec.to_string(), room),
            not_true: not_true(policy),
        }
    }
}

/// Conditions of controllers, at the top of the status or of each parent.
fn not_true(policy: &Policy) -> Vec<String> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut conditions = list(&policy.status["conditions"]);
    for parent in list(&policy.status["parents"]) {
        conditions.extend(list(&parent["conditions"]));
    }
    let told = conditions.iter().filter(|it| it["status"] != "True").map(|it| {
        let word = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
        data(&format!("{}: {}", word("type"), word("reason")))
    });
    told.take(MAX_CONDITIONS).collect()
}

// === impl FindingRow ===

impl FindingRow {
    fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.as_str(),
            severity: finding.severity.as_str(),
            objects: finding.objects.iter().take(MAX_OBJECTS).map(|id| data(id)).collect(),
            text: longer(&finding.text, MAX_SENTENCE),
            fix: longer(&finding.fix, MAX_SENTENCE),
        }
    }
}

// === impl Shown ===

impl Output for Shown {
    fn text(&self) -> String {
        let mut text = String::new();
        for it in &self.findings.rows {
            let objects: Vec<_> = it.objects.iter().map(|id| quoted(id)).collect();
            // Writing to a String does not fail.
            let _ = writeln!(text, "{} {}: {}", it.severity.to_uppercase(), it.code, objects.join(", "));
            let _ = writeln!(text, "  {}\n  fix: {}", quoted(&it.text), quoted(&it.fix));
        }
        text.push_str(&self.findings.rest());
        for port in &self.ports.rows {
            text.push_str(&port.lines());
        }
        text.push_str(&self.ports.rest());
        for it in &self.policies {
            let _ = writeln!(text, "{} {}", quoted(&it.id), quoted(&it.spec));
            list(&mut text, "  not true", &it.not_true, 0);
        }
        if self.policies.is_empty() {
            text.push_str("No policy object or route bears on it: the default policy decides.\n");
        }
        text.push_str(&self.page.text("name a target"));
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}
