//! `resolve` of manifests.

use super::{ResolveArgs, Row};
use crate::{
    args::Globals,
    name,
    offline::{Defaults, Manifests, Workload, with_causes},
    source::DEFAULT_NAMESPACE,
    terminal,
};
use linkerd_mcp_graph::policy::{Policies, Target, WorkloadKey};
use serde_json::json;

/// A port of which nothing is said anywhere: it stands for all others.
const ANY_OTHER: u32 = 9_999;

/// Reads, resolves and prints. What cannot be read is told and does not keep the rest from being resolved.
pub(super) fn run(globals: &Globals, args: &ResolveArgs) -> anyhow::Result<()> {
    let cluster = args.manifests.cluster.settings(globals);
    let defaults = Defaults {
        namespace: args.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        opaque_ports: cluster.default_opaque_ports.clone(),
        control_plane: cluster.control_plane_namespace.to_string(),
    };
    let manifests = Manifests::read(&args.manifests.filename, &defaults);
    let policies = Policies::read(&manifests.facts, &cluster);
    for fault in &manifests.faults {
        terminal::say(fault);
    }
    for ignored in policies.ignored() {
        terminal::say(&format!("Linkerd ignores {}: {}", ignored.id, with_causes(&ignored.fault)));
    }
    let workloads = chosen(&manifests.workloads, args.workload.as_deref())?;
    let rows = rows(&manifests, &policies, &workloads);
    terminal::data(args.output.print(&rows).as_bytes())?;
    match manifests.faults.len() {
        0 if workloads.is_empty() => anyhow::bail!(
            "the manifests hold no Pod, ExternalWorkload or workload with a pod template ({} other objects)",
            manifests.others
        ),
        0 => Ok(()),
        1 => anyhow::bail!("one document could not be read; what is printed is resolved without it"),
        count => {
            anyhow::bail!("{count} documents could not be read; what is printed is resolved without them")
        }
    }
}

/// The workloads that are asked for.
pub(super) fn chosen<'a>(all: &'a [Workload], wanted: Option<&str>) -> anyhow::Result<Vec<&'a Workload>> {
    let Some(wanted) = wanted else { return Ok(all.iter().collect()) };
    let chosen: Vec<&Workload> = all.iter().filter(|workload| is_named(workload, wanted)).collect();
    if chosen.is_empty() {
        let there: Vec<String> = all.iter().take(20).map(ToString::to_string).collect();
        let more = if all.len() > there.len() { ", …" } else { "" };
        anyhow::bail!("the manifests hold no workload `{wanted}`; they hold {}{more}", or_nothing(&there));
    }
    Ok(chosen)
}

fn or_nothing(there: &[String]) -> String {
    if there.is_empty() { "none at all".to_owned() } else { there.join(", ") }
}

/// `name`, `kind/name`, `namespace/name` or `namespace/kind/name`; kinds as kubectl takes them.
fn is_named(workload: &Workload, wanted: &str) -> bool {
    let (namespace, name) = (&*workload.key.key().namespace, &*workload.name);
    let kinds =
        [workload.kind.clone(), format!("{}s", workload.kind), name::short_kind(&workload.kind).to_owned()];
    let is_kind = |text: &str| kinds.contains(&text.to_ascii_lowercase());
    match *wanted.split('/').collect::<Vec<_>>() {
        [only] => only == name,
        [first, last] => last == name && (is_kind(first) || first == namespace),
        [first, kind, last] => first == namespace && is_kind(kind) && last == name,
        _ => false,
    }
}

pub(super) fn rows(manifests: &Manifests, policies: &Policies, workloads: &[&Workload]) -> Vec<Row> {
    let mut rows = Vec::new();
    for workload in workloads {
        let Some(target) = Target::find(&manifests.facts, &workload.key) else { continue };
        let known = target.ports(policies.objects());
        let mut ports = known.clone();
        ports.insert(ANY_OTHER);
        rows.extend(ports.into_iter().map(|port| {
            let answer = policies.answer(&manifests.facts, &workload.key, port);
            Row {
                namespace: workload.key.key().namespace.to_string(),
                field: field(workload),
                name: workload.key.key().name.to_string(),
                workload: format!("{}/{}", name::short_kind(&workload.kind), workload.name),
                port,
                known: known.contains(&port),
                status: answer.status().to_owned(),
                server: answer.server().map(|server| json!(server)),
            }
        }));
    }
    rows
}

/// What is made of a template is named after it.
pub(super) fn field(workload: &Workload) -> &'static str {
    match (&workload.key, &*workload.kind) {
        (WorkloadKey::ExternalWorkload(_), _) => "external_workload",
        (WorkloadKey::Pod(_), "pod") => "pod",
        (WorkloadKey::Pod(_), _) => "workload",
    }
}
