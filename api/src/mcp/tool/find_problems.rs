//! What is wrong with the mesh, ranked.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, check_access::MAX_SENTENCE, effect::Effect,
    find_edges::EdgeRow, input, output,
};
use crate::{
    answer::Refusal,
    mcp::{
        page::{Page, Paging},
        text::{data, longer, quoted},
    },
    view::View,
};
use linkerd_mcp_graph::{
    id::PolicyId,
    query::{
        Node, check_namespace,
        problems::{About, Kind, Problem, Seen, problems},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _};

pub(super) const TOOL: Tool = Tool {
    name: "find_problems",
    title: "What is wrong in the mesh",
    description: "Finds and ranks what is wrong now: failing and denied calls, lost or missing mutual TLS, calls far \
                  slower than others, calls answered 404 for want of a route, Services without pods, pods not ready, \
                  policies that lint finds at fault, workloads partly meshed, pods without metrics, and stale data \
                  itself. Each with its evidence and the next call to make. Use it first for \"is anything wrong\" and \
                  \"why is the site slow or down\".",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Found>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// Only what lies in this namespace or calls into it, and what bears on everything.
    namespace: Option<String>,
    /// Only problems of this kind.
    only: Option<Only>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Only {
    StaleData,
    DeniedCalls,
    FailingCalls,
    NoEndpoints,
    PodsNotReady,
    LostMtls,
    UnroutedCalls,
    PolicyFinding,
    NoMtls,
    SlowCalls,
    PartlyMeshed,
    UnscrapedPods,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// The gravest first; of those that are equally grave, some of each kind.
    problems: Vec<Row>,
    #[serde(flatten)]
    page: Page,
    /// How many there are of each kind, in all.
    kinds: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Row {
    /// What kind of problem, such as `failing_calls`.
    problem: &'static str,
    /// `error`, `warning` or `info`.
    severity: &'static str,
    /// Where: a Service, workload, destination, policy object, or the mesh.
    about: String,
    /// What was seen.
    evidence: String,
    /// The call that has the most of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<EdgeRow>,
    /// What is known besides, as data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    /// The tool to call next.
    next: Next,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Next {
    tool: &'static str,
    arguments: BTreeMap<&'static str, String>,
}

/// The most pods, or kinds of objects, that are named.
const MAX_NAMED: usize = 5;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let Arguments { namespace, only, paging } = call.arguments()?;
    let view = call.view()?;
    if let Some(namespace) = &namespace {
        check_namespace(&view.graph, namespace).map_err(Refusal::Name)?;
    }
    let feed = call.context.replica.freshness(&view).feed.unwrap_or_default();
    let no_feed_ms = (!feed.connected).then_some(feed.age_ms);
    let (inside, history) = (view.clone(), call.context.history.clone());
    let found = view.ask(move |mesh| {
        let findings = inside.findings(mesh, namespace.as_deref());
        let lost_mtls = history.mtls_lost(&inside);
        let seen = Seen {
            graph: mesh.graph,
            metrics: mesh.metrics,
            findings: &findings,
            lost_mtls: &lost_mtls,
            no_feed_ms,
            namespace: namespace.as_deref(),
        };
        let mut all = problems(&seen);
        let mut kinds = BTreeMap::new();
        for it in &all {
            *kinds.entry(it.kind.as_str()).or_default() += 1;
        }
        all.retain(|it| only.is_none_or(|only| only.kind() == it.kind));
        let (problems, page) = paging.rows(&asked, &all, |it| Row::of(&inside, it))?;
        Ok::<_, ToolError>(Found { problems, page, kinds })
    });
    let found = found.await?;
    Ok(call.dated(&view, found))
}

// === impl Only ===

impl Only {
    fn kind(self) -> Kind {
        match self {
            Self::StaleData => Kind::StaleData,
            Self::DeniedCalls => Kind::DeniedCalls,
            Self::FailingCalls => Kind::FailingCalls,
            Self::NoEndpoints => Kind::NoEndpoints,
            Self::PodsNotReady => Kind::PodsNotReady,
            Self::LostMtls => Kind::LostMtls,
            Self::UnroutedCalls => Kind::UnroutedCalls,
            Self::PolicyFinding => Kind::PolicyFinding,
            Self::NoMtls => Kind::NoMtls,
            Self::SlowCalls => Kind::SlowCalls,
            Self::PartlyMeshed => Kind::PartlyMeshed,
            Self::UnscrapedPods => Kind::UnscrapedPods,
        }
    }
}

// === impl Row ===

impl Row {
    fn of(view: &View, it: &Problem<'_>) -> Self {
        let name = match &it.about {
            About::Mesh => "the mesh".to_owned(),
            About::Calls { to, .. } => to.to_string(),
            About::Service(id) => id.to_string(),
            About::Workload(id) => id.to_string(),
            About::Finding(finding) => finding.objects.first().cloned().unwrap_or_default(),
        };
        Self {
            problem: it.kind.as_str(),
            severity: it.severity.as_str(),
            about: data(&name),
            evidence: it.evidence.clone(),
            worst: match &it.about {
                About::Calls { worst, .. } => Some(EdgeRow::of(view, *worst)),
                _ => None,
            },
            details: details(view, it),
            next: Next::of(it, &name),
        }
    }
}

fn details(view: &View, it: &Problem<'_>) -> Vec<String> {
    let status = &view.metrics.status;
    match (it.kind, &it.about) {
        (_, About::Finding(finding)) => {
            vec![longer(&finding.text, MAX_SENTENCE), longer(&finding.fix, MAX_SENTENCE)]
        }
        (Kind::StaleData, _) => {
            let reason = (!status.reason.is_empty()).then(|| data(&status.reason));
            let kinds = view.graph.status.not_synced().take(MAX_NAMED);
            let kinds =
                kinds.map(|(kind, state)| data(&format!("{kind} {}: {}", state.name(), state.detail())));
            reason.into_iter().chain(kinds).collect()
        }
        (Kind::UnscrapedPods, _) => status.unscraped.iter().take(MAX_NAMED).map(|it| data(it)).collect(),
        _ => Vec::new(),
    }
}

// === impl Next ===

impl Next {
    fn of(it: &Problem<'_>, name: &str) -> Self {
        let next = |tool, arguments: &[(&'static str, &str)]| Self {
            tool,
            arguments: arguments.iter().map(|(name, value)| (*name, data(value))).collect(),
        };
        match it.kind {
            Kind::StaleData | Kind::UnscrapedPods => next("get_mesh_overview", &[]),
            Kind::DeniedCalls => next("explain_denials", &[("to", name)]),
            Kind::UnroutedCalls => match &it.about {
                About::Calls { to: Node::External(_), .. } => next("find_edges", &[("to", name)]),
                _ => next("get_policies", &[("target", name)]),
            },
            Kind::LostMtls => next("compare_traffic", &[("name", name)]),
            Kind::NoMtls => next("find_edges", &[("to", name), ("only", "no_mtls")]),
            Kind::SlowCalls => next("find_edges", &[("to", name), ("sort", "latency_p99")]),
            Kind::PolicyFinding => match namespace(name) {
                Some(namespace) => next("get_policies", &[("namespace", namespace)]),
                None => next("get_mesh_overview", &[]),
            },
            Kind::FailingCalls | Kind::NoEndpoints | Kind::PodsNotReady | Kind::PartlyMeshed => {
                next("describe_workload", &[("name", name)])
            }
        }
    }
}

/// Of a policy object (`kind/namespace/name`), or of a workload (`namespace/kind/name`) with a port or without.
fn namespace(object: &str) -> Option<&str> {
    let known = |prefix: &str| {
        let kinds = linkerd_mcp_graph::kind::KINDS.iter();
        kinds.map(|row| row.kind.policy_prefix()).any(|it| !it.is_empty() && it == prefix)
    };
    match object.split('/').collect::<Vec<_>>().as_slice() {
        [kind, namespace, _] if known(kind) && object.parse::<PolicyId>().is_ok() => Some(namespace),
        [namespace, _, _] | [namespace, _] => Some(namespace),
        _ => None,
    }
}

// === impl Found ===

impl Output for Found {
    fn text(&self) -> String {
        if self.kinds.is_empty() {
            return "Nothing is wrong as far as can be seen here.\n".to_owned();
        }
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let mut text = format!("There are {}.\n", kinds.join(", "));
        for it in &self.problems {
            // Writing to a String does not fail.
            let severity = it.severity.to_uppercase();
            let _ = writeln!(text, "{severity} {}: {}: {}", it.problem, quoted(&it.about), it.evidence);
            if let Some(worst) = &it.worst {
                let _ = writeln!(text, "  worst: {}", worst.line());
            }
            for detail in &it.details {
                let _ = writeln!(text, "  {}", quoted(detail));
            }
            let arguments: Vec<String> =
                it.next.arguments.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
            let _ = writeln!(text, "  next: {} {}", it.next.tool, arguments.join(" "));
        }
        text + &self.page.text("choose with namespace or only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_can_be_chosen_by_its_name() {
        for kind in
            ["stale_data", "denied_calls", "failing_calls", "no_endpoints", "pods_not_ready", "lost_mtls"]
                .into_iter()
                .chain(["unrouted_calls", "policy_finding", "no_mtls", "slow_calls", "partly_meshed"])
                .chain(["unscraped_pods"])
        {
            let only: Only = serde_json::from_value(kind.into()).unwrap();
            assert_eq!(only.kind().as_str(), kind);
        }
    }

    #[test]
    fn the_namespace_of_what_a_finding_is_about_is_found_in_both_orders() {
        assert_eq!(namespace("server/shop/cart"), Some("shop"));
        assert_eq!(namespace("shop/deployment/cart:80"), Some("shop"));
        assert_eq!(namespace("default:deny"), None);
    }
}
