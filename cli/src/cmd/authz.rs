//! `linkerd-mcp authz`: which authorizations let traffic in to a resource, and how much, as `linkerd viz authz` shows it.

mod resource;
mod table;

use crate::{
    args::{Globals, manifests::ManifestArgs},
    output::policy,
    source::{Asked, say_freshness},
    terminal,
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{ListAccessRequest, ListAccessResponse};
use resource::Resource;

const AFTER_HELP: &str = "\
RESOURCE is TYPE/NAME, TYPE NAME, or TYPE for all of that type in the namespace: deploy/web, sts db, po, svc/cart,
ns/shop. ROUTE `*` is every route. A row [UNAUTHORIZED] has the calls that nothing let in. What is not known is `-`.

Examples:
  linkerd-mcp authz deploy/web -n shop
  linkerd-mcp authz deploy -n shop -o wide
  linkerd-mcp authz ns/shop";

/// Arguments of `authz`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AuthzArgs {
    /// What is called: TYPE/NAME, TYPE NAME or TYPE
    #[arg(value_name = "RESOURCE", required = true, num_args = 1..=2)]
    resource: Vec<String>,

    /// Namespace of the resource [default: that of the kubeconfig context; with -f or --api-addr every one]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    manifests: ManifestArgs,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns; rows of several workloads are added up
    Table,
    /// A row for each port
    Wide,
    /// The message ListAccessResponse, with its ports alone
    Json,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: AuthzArgs) -> anyhow::Result<()> {
    let resource = Resource::read(&args.resource)?;
    let asked = Asked::open(globals, &args.manifests, args.namespace.as_deref()).await?;
    asked.say_ignored();
    // Calls are none of this answer.
    let mut request = ListAccessRequest { limit: 1, ..ListAccessRequest::default() };
    match &resource {
        Resource::Named(name) => request.to = crate::name::id(name, asked.namespace.as_deref())?,
        Resource::All(_) => request.namespace = asked.one_namespace()?,
        Resource::Namespace(name) => request.namespace.clone_from(name),
    }
    let mut answer = asked.list(request).await?;
    answer.calls.clear();
    answer.truncated = false;
    answer.ports.retain(|port| resource.includes(port));
    terminal::data(args.output.print(&answer).as_bytes())?;
    if answer.ports.is_empty() && args.output != Format::Json {
        terminal::say("Nothing of that type has ports there.");
    }
    answer.notes.iter().for_each(|note| terminal::say(note));
    say_freshness(answer.freshness.as_ref());
    asked.complete()
}

// === impl Format ===

impl Format {
    fn print(self, answer: &ListAccessResponse) -> String {
        match self {
            Self::Table => table::print(&answer.ports),
            Self::Wide => table::print_wide(&answer.ports),
            Self::Json => policy::json(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_tables_are_as_checked_in() {
        let mut answer = sample::policy::listed();
        answer.calls.clear();
        golden::compare("authz.txt", &Format::Table.print(&answer));
        golden::compare("authz-wide.txt", &Format::Wide.print(&answer));
        golden::compare("authz.json", &Format::Json.print(&answer));
    }

    #[test]
    fn no_ports_are_no_table() {
        assert_eq!(Format::Table.print(&ListAccessResponse::default()), "");
        assert_eq!(Format::Wide.print(&ListAccessResponse::default()), "");
    }
}
