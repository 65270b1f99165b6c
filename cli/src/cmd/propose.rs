//! `linkerd-mcp propose`: the least policy that lets in what is seen.

use crate::{
    args::Globals,
    client, name,
    output::{
        number,
        policy::{self, client as caller, port},
        text::clean_line,
    },
    source::say_freshness,
    terminal::{self, Spinner},
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{ProposePolicyRequest, ProposePolicyResponse, ProposedFlow};

const AFTER_HELP: &str = "\
stdout has manifests, stderr what they cover, what they leave out, and whether enforcing them is safe by what is seen.
Without --enforce nothing is refused: what would be is let in, logged and counted.

Examples:
  linkerd-mcp propose deploy/web -n shop
  linkerd-mcp propose -n shop | linkerd-mcp plan -f -
  linkerd-mcp propose deploy/web -n shop --enforce > policy.yaml";

/// Arguments of `propose`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ProposeArgs {
    /// The workload or Service; without it the whole namespace
    #[arg(value_name = "WORKLOAD")]
    target: Option<String>,

    /// Namespace to look in [default: that of the kubeconfig context]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Propose policy that refuses what it does not list
    #[arg(long)]
    enforce: bool,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "yaml")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Manifests
    Yaml,
    /// The message ProposePolicyResponse
    Json,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: ProposeArgs) -> anyhow::Result<()> {
    let mesh = client::connect(globals).await?;
    let namespace = args.namespace.or_else(|| mesh.namespace.clone());
    let mut request = ProposePolicyRequest { enforce: args.enforce, ..ProposePolicyRequest::default() };
    match &args.target {
        Some(target) => request.target = name::id(target, namespace.as_deref())?,
        None => match namespace {
            Some(namespace) => request.namespace = namespace,
            None => {
                return Err(crate::args::Usage("name a workload, or a namespace with -n".to_owned()).into());
            }
        },
    }
    let answer = {
        let _spinner = Spinner::start("Looking at who calls");
        mesh.propose_policy(request).await?
    };
    let printed = match args.output {
        // Made by the API, from names in the cluster: the lines cannot move the cursor.
        Format::Yaml => answer.manifest.lines().map(|line| format!("{}\n", clean_line(line))).collect(),
        Format::Json => policy::json(&answer),
    };
    terminal::data(printed.as_bytes())?;
    terminal::say(&report(&answer));
    answer.notes.iter().for_each(|note| terminal::say(note));
    say_freshness(answer.freshness.as_ref());
    Ok(())
}

/// What is covered, what is left out, and whether enforcing is safe.
fn report(answer: &ProposePolicyResponse) -> String {
    let mut out = String::new();
    for (what, flows) in [("lets in", &answer.covered), ("leaves out", &answer.left_out)] {
        flows.iter().for_each(|flow| out.push_str(&line(what, flow)));
    }
    match answer.ready {
        true => out.push_str("Ready to enforce, by what is seen now.\n"),
        false => out.push_str("Not ready to enforce:\n"),
    }
    answer.blockers.iter().for_each(|blocker| out.push_str(&format!("  {}\n", clean_line(blocker))));
    out
}

fn line(what: &str, flow: &ProposedFlow) -> String {
    let rps = flow.rps.map(|rps| format!(" ({} rps)", number::rate(Some(rps)))).unwrap_or_default();
    let why = if flow.text.is_empty() { String::new() } else { format!(": {}", clean_line(&flow.text)) };
    format!("{what} {} -> {}{rps}{why}\n", caller(&flow.from, ""), port(&flow.workload, flow.port, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn a_proposal_is_as_checked_in() {
        let answer = sample::change::proposed();
        golden::compare("propose.txt", &report(&answer));
        golden::compare("propose.json", &policy::json(&answer));
    }
}
