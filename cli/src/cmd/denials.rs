//! `linkerd-mcp denials`: what is being denied now, why, and what to do.

mod text;

use crate::{
    args::{Globals, manifests::ManifestArgs},
    name,
    output::policy,
    source::{Asked, say_freshness},
    terminal,
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::ExplainDenialsRequest;

const AFTER_HELP: &str = "\
It goes by what the proxies count, so it needs a mesh; `can` asks manifests.

Examples:
  linkerd-mcp denials -n shop
  linkerd-mcp denials svc/cart -n shop
  linkerd-mcp denials --from deploy/web -n shop";

/// Arguments of `denials`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DenialsArgs {
    /// Only what this Service or workload denies
    #[arg(value_name = "TO")]
    to: Option<String>,

    /// Only what is denied to this workload, ServiceAccount or identity
    #[arg(long, value_name = "FROM")]
    from: Option<String>,

    /// Namespace to look at [default: that of the kubeconfig context; all of them with --api-addr]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Look at all namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Sentences
    Table,
    /// The message ExplainDenialsResponse
    Json,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: DenialsArgs) -> anyhow::Result<()> {
    let asked = Asked::open(globals, &ManifestArgs::default(), args.namespace.as_deref()).await?;
    let namespace = if args.all_namespaces { None } else { asked.namespace.as_deref() };
    let mut request = ExplainDenialsRequest::default();
    if let Some(to) = &args.to {
        request.to = name::target(to, namespace)?;
    }
    if let Some(from) = &args.from {
        request.from = name::client(from, namespace)?;
    }
    if args.to.is_none() && args.from.is_none() {
        request.namespace = namespace.unwrap_or_default().to_owned();
    }
    let answer = asked.denials(request).await?;
    let printed = match args.output {
        Format::Table => text::print(&answer),
        Format::Json => policy::json(&answer),
    };
    terminal::data(printed.as_bytes())?;
    if answer.denials.is_empty() {
        terminal::say("Nothing is seen being denied.");
    }
    answer.notes.iter().for_each(|note| terminal::say(note));
    say_freshness(answer.freshness.as_ref());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_denials_are_as_checked_in() {
        let answer = sample::policy::explained();
        golden::compare("denials.txt", &text::print(&answer));
        golden::compare("denials.json", &policy::json(&answer));
    }

    #[test]
    fn what_the_sentence_says_already_is_not_said_again() {
        let mut answer = sample::policy::explained();
        answer.denials.truncate(1);
        let reasons = answer.denials[0].accesses[0].reasons.clone();
        answer.denials[0].text = format!("Why: {}; {}.", reasons[0].text, reasons[1].text);
        let printed = text::print(&answer);
        assert!(!printed.contains("\n    - "), "{printed}");
        assert!(printed.contains("To have it allowed: "), "{printed}");
        answer.denials[0].text = format!("Why: {}.", reasons[0].text);
        assert!(text::print(&answer).contains("\n    - "));
    }
}
