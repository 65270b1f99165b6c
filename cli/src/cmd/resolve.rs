//! `linkerd-mcp resolve`: what Linkerd's policy controller answers for each port of workloads, in a mesh or in
//! manifests.

mod offline;
mod table;

use crate::{
    args::{Globals, manifests::ManifestArgs},
    client, name,
    output::{policy, text::clean_json},
    source::say_freshness,
    terminal::{self, Spinner},
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{ResolvePolicyRequest, ResolvedPort};
use serde_json::{Value, json};

/// Arguments of `resolve`.
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Only this workload, as in web, deploy/web or shop/pod/web-0
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,

    /// Namespace to look at [default: that of the kubeconfig context; all of them with --api-addr]; with -f that of
    /// objects that do not name one [default: default]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    Table,
    /// One array, an answer for each port
    Json,
}

/// One port of one workload.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    namespace: String,
    /// The name of the field with the name: `pod`, `external_workload`, or `workload` for what is made of a template.
    field: &'static str,
    name: String,
    /// The workload, as in `deploy/web`.
    workload: String,
    port: u32,
    /// Whether anything is said of this port.
    known: bool,
    status: String,
    /// In the form of the policy controller's own answers.
    server: Option<Value>,
}

/// Asks manifests where there are any, else the API.
pub(crate) async fn run(globals: &Globals, args: &ResolveArgs) -> anyhow::Result<()> {
    if args.manifests.given() {
        return offline::run(globals, args);
    }
    let mesh = client::connect(globals).await?;
    let namespace = args.namespace.clone().or_else(|| mesh.namespace.clone());
    let mut request = ResolvePolicyRequest::default();
    match &args.workload {
        Some(workload) => request.workload = name::id(workload, namespace.as_deref())?,
        None => request.namespace = namespace.unwrap_or_default(),
    }
    let spinner = Spinner::start("Asking what Linkerd makes of policies");
    let answer = mesh.resolve_policy(request).await?;
    drop(spinner);
    let rows = answer.ports.iter().map(Row::of).collect::<Result<Vec<_>, _>>()?;
    terminal::data(args.output.print(&rows).as_bytes())?;
    if rows.is_empty() {
        terminal::say("There are no workloads there.");
    }
    say_freshness(answer.freshness.as_ref());
    Ok(())
}

// === impl Format ===

impl Format {
    fn print(self, rows: &[Row]) -> String {
        match self {
            Self::Table => table::print(rows),
            Self::Json => {
                let answers: Vec<Value> = rows.iter().map(Row::to_json).collect();
                let text = serde_json::to_string_pretty(&answers);
                format!("{}\n", clean_json(&text.expect("answers have text keys")))
            }
        }
    }
}

// === impl Row ===

impl Row {
    /// A port as the API tells it.
    fn of(port: &ResolvedPort) -> anyhow::Result<Self> {
        let namespace = policy::namespace_of(&port.workload);
        let external = port.workload.split('/').nth(1).is_some_and(|kind| kind.starts_with("external"));
        let server = match port.server_json.as_str() {
            "" => None,
            json => Some(serde_json::from_str(json).map_err(|error| {
                anyhow::Error::new(error).context("the API answered with a server that is no JSON")
            })?),
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            field: if external { "external_workload" } else { "pod" },
            name: port.pod.clone(),
            workload: policy::client(&port.workload, namespace),
            port: port.port,
            known: port.known,
            status: port.status.clone(),
            server,
        })
    }

    /// The form in which the policy controller's own answers are recorded.
    fn to_json(&self) -> Value {
        let mut answer = json!({
            "namespace": self.namespace,
            self.field: self.name,
            "port": self.port,
            "status": self.status,
        });
        if let Some(server) = &self.server {
            answer["server"] = server.clone();
        }
        answer
    }
}

#[cfg(test)]
mod tests;
