//! `linkerd-mcp who-can`: who may call this, what may this call, and who may call whom in a namespace.

mod grid;
mod table;

use crate::{
    args::{Globals, manifests::ManifestArgs},
    name,
    output::policy,
    source::{Asked, say_freshness},
    terminal,
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{ListAccessRequest, ListAccessResponse};

const AFTER_HELP: &str = "\
With TO: who is let in on each of its ports, by what, and which of the known workloads that is.
With --from: what this client may call; with TO as well, of the ports of TO.
With neither: a grid of the namespace, callers down, ports across.

Examples:
  linkerd-mcp who-can svc/cart:80 -n shop
  linkerd-mcp who-can --from deploy/web -n shop
  linkerd-mcp who-can -n shop
  linkerd-mcp who-can cart -n shop -f manifests/ --all";

/// The most rows one answer has.
const LIMIT: u32 = 100_000;

/// Arguments of `who-can`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WhoCanArgs {
    /// What is called, a Service or workload; all its ports unless one is named
    #[arg(value_name = "TO[:PORT]")]
    to: Option<String>,

    /// What this client may call: a workload, a ServiceAccount, a mesh identity or an IP address
    #[arg(long, value_name = "FROM")]
    from: Option<String>,

    /// Namespace of names without one [default: that of the kubeconfig context; with -f or --api-addr every one]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Also the workloads that may not
    #[arg(long)]
    all: bool,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    manifests: ManifestArgs,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// The message ListAccessResponse
    Json,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: WhoCanArgs) -> anyhow::Result<()> {
    let asked = Asked::open(globals, &args.manifests, args.namespace.as_deref()).await?;
    asked.say_ignored();
    let namespace = asked.namespace.as_deref();
    let mut request = ListAccessRequest { limit: LIMIT, ..ListAccessRequest::default() };
    if let Some(to) = &args.to {
        request.to = name::target(to, namespace)?;
    }
    if let Some(from) = &args.from {
        request.from = name::client(from, namespace)?;
    }
    let whole = args.to.is_none() && args.from.is_none();
    if whole {
        request.namespace = asked.one_namespace()?;
    }
    let answer = asked.list(request.clone()).await?;
    terminal::data(args.print(&answer, &request).as_bytes())?;
    args.say(&answer, whole);
    say_freshness(answer.freshness.as_ref());
    asked.complete()
}

// === impl WhoCanArgs ===

impl WhoCanArgs {
    fn print(&self, answer: &ListAccessResponse, request: &ListAccessRequest) -> String {
        let wide = self.output == Format::Wide;
        match self.output {
            Format::Json => policy::json(answer),
            _ if !request.namespace.is_empty() => grid::print(answer, &request.namespace),
            _ => {
                // A client of which all is asked stands still; what it calls moves.
                let home = match (answer.calls.first(), self.from.is_some()) {
                    (Some(call), true) => policy::namespace_of(&call.from),
                    (Some(call), false) => policy::namespace_of(&call.workload),
                    (None, _) => answer.ports.first().map_or("", |port| policy::namespace_of(&port.workload)),
                };
                let ports = table::ports(&answer.ports, home, wide);
                let calls = table::calls(&answer.calls, home, self.all);
                let between = if ports.is_empty() || calls.is_empty() { "" } else { "\n" };
                format!("{ports}{between}{calls}")
            }
        }
    }

    /// What the output leaves out.
    fn say(&self, answer: &ListAccessResponse, whole: bool) {
        answer.notes.iter().for_each(|note| terminal::say(note));
        if answer.truncated {
            terminal::say("Not all calls are shown: there are too many for one answer. Name TO or --from.");
        }
        if self.output == Format::Json {
            return;
        }
        if whole && answer.ports.is_empty() {
            terminal::say("Nothing there has ports.");
        }
        let hidden = table::denied(&answer.calls);
        if !whole && !self.all && hidden > 0 {
            let (calls, verb) = if hidden == 1 { ("call", "is") } else { ("calls", "are") };
            terminal::say(&format!("{hidden} {calls} of known workloads {verb} denied; --all shows them."));
        }
    }
}

#[cfg(test)]
mod tests;
