//! `linkerd-mcp resolve`: what Linkerd's policy controller would answer for each port of the workloads in manifests.

mod table;

use crate::{
    args::Globals,
    name,
    offline::{Defaults, Manifests, Workload, with_causes},
    terminal,
};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use linkerd_mcp_graph::policy::{Answer, DefaultPolicy, Policies, PolicyCluster, Ports, Target, WorkloadKey};
use serde_json::{Value, json};
use std::{path::PathBuf, str::FromStr};

/// A port of which nothing is said anywhere: it stands for all others.
const ANY_OTHER: u32 = 9_999;

/// Arguments of `resolve`.
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Only this workload, as in web, deploy/web or shop/pod/web-0
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,

    /// File or directory of manifests, YAML or JSON, or - for stdin; may be repeated
    #[arg(long, short = 'f', value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,

    /// Namespace of objects that do not name one
    #[arg(long, short = 'n', value_name = "NAMESPACE", default_value = "default")]
    namespace: String,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What the control plane is told by its flags; without ours, what its chart tells it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of the control plane")]
struct ClusterArgs {
    /// Networks of the cluster, separated by commas
    #[arg(long, value_name = "CIDRS")]
    cluster_networks: Option<Networks>,

    /// Policy of workloads that do not name one
    #[arg(long, value_name = "POLICY")]
    default_policy: Option<DefaultPolicy>,

    /// Domain in mesh identities
    #[arg(long, value_name = "DOMAIN")]
    identity_domain: Option<String>,

    /// Domain of Services' DNS names
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,

    /// Namespace of the control plane [default: that of --linkerd-namespace]
    #[arg(long, value_name = "NAMESPACE")]
    control_plane_namespace: Option<String>,

    /// Networks that probes come from, separated by commas; empty for none
    #[arg(long, value_name = "CIDRS")]
    probe_networks: Option<Networks>,

    /// Ports that the injector makes opaque in pods that it makes of templates
    #[arg(long, value_name = "PORTS")]
    default_opaque_ports: Option<Ports>,

    /// Compute which routes Linkerd accepts, instead of believing the status that it wrote into them
    #[arg(long)]
    ignore_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    Table,
    /// One array, an answer for each port
    Json,
}

/// CIDRs between commas.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Networks(Vec<IpNet>);

/// One port of one workload.
#[derive(Debug)]
struct Row<'a> {
    workload: &'a Workload,
    port: u32,
    /// Whether anything is said of this port.
    known: bool,
    answer: Answer,
}

/// Reads, resolves and prints. What cannot be read is told and does not keep the rest from being resolved.
pub(crate) fn run(globals: &Globals, args: &ResolveArgs) -> anyhow::Result<()> {
    let cluster = args.cluster.settings(globals);
    let defaults = Defaults {
        namespace: args.namespace.clone(),
        opaque_ports: cluster.default_opaque_ports.clone(),
        control_plane: cluster.control_plane_namespace.to_string(),
    };
    let manifests = Manifests::read(&args.filename, &defaults);
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
fn chosen<'a>(all: &'a [Workload], wanted: Option<&str>) -> anyhow::Result<Vec<&'a Workload>> {
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

fn rows<'a>(manifests: &Manifests, policies: &Policies, workloads: &[&'a Workload]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for workload in workloads {
        let Some(target) = Target::find(&manifests.facts, &workload.key) else { continue };
        let known = target.ports(policies.objects());
        let mut ports = known.clone();
        ports.insert(ANY_OTHER);
        rows.extend(ports.into_iter().map(|port| Row {
            workload,
            port,
            known: known.contains(&port),
            answer: policies.answer(&manifests.facts, &workload.key, port),
        }));
    }
    rows
}

// === impl Format ===

impl Format {
    fn print(self, rows: &[Row<'_>]) -> String {
        match self {
            Self::Table => table::print(rows),
            Self::Json => {
                let answers: Vec<Value> = rows.iter().map(Row::to_json).collect();
                let text = serde_json::to_string_pretty(&answers);
                format!("{}\n", crate::output::text::clean_json(&text.expect("answers have text keys")))
            }
        }
    }
}

// === impl Row ===

impl Row<'_> {
    /// The form in which the policy controller's own answers are recorded. What is made of a template is named after
    /// it, as `workload`.
    fn to_json(&self) -> Value {
        let key = self.workload.key.key();
        let field = match (&self.workload.key, &*self.workload.kind) {
            (WorkloadKey::ExternalWorkload(_), _) => "external_workload",
            (WorkloadKey::Pod(_), "pod") => "pod",
            (WorkloadKey::Pod(_), _) => "workload",
        };
        let mut answer = json!({
            "namespace": key.namespace,
            field: key.name,
            "port": self.port,
            "status": self.answer.status(),
        });
        if let Some(server) = self.answer.server() {
            answer["server"] = json!(server);
        }
        answer
    }
}

// === impl ClusterArgs ===

impl ClusterArgs {
    fn settings(&self, globals: &Globals) -> PolicyCluster {
        let chart = PolicyCluster::default();
        let text = |flag: &Option<String>, chart| flag.as_deref().map_or(chart, Into::into);
        PolicyCluster {
            cluster_networks: self.cluster_networks.clone().map_or(chart.cluster_networks, |nets| nets.0),
            default_policy: self.default_policy.unwrap_or(chart.default_policy),
            identity_domain: text(&self.identity_domain, chart.identity_domain),
            cluster_domain: text(&self.cluster_domain, chart.cluster_domain),
            control_plane_namespace: text(
                &self.control_plane_namespace,
                globals.linkerd_namespace.as_str().into(),
            ),
            probe_networks: self.probe_networks.clone().map_or(chart.probe_networks, |nets| nets.0),
            default_opaque_ports: self.default_opaque_ports.clone().unwrap_or(chart.default_opaque_ports),
            trust_status: !self.ignore_status,
        }
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let net = |part: &str| part.parse().map_err(|_| format!("`{part}` is no CIDR such as 10.0.0.0/8"));
        parts.map(net).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests;
