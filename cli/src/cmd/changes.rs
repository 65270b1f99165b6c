//! `linkerd-mcp changes`: what was changed through linkerd-mcp, by whom, and what came of it.

use super::plan::text::indented;
use crate::{
    args::Globals,
    client,
    output::{
        columns::{self, Lean},
        policy,
        text::{clean, clean_line},
    },
    terminal::{self, Spinner},
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{Change, ListChangesRequest, ListChangesResponse};

const AFTER_HELP: &str = "\
Examples:
  linkerd-mcp changes -n shop
  linkerd-mcp changes c-2026-11-01-7f3a";

const COLUMNS: [(&str, Lean); 5] = [
    ("CHANGE", Lean::Left),
    ("AT", Lean::Left),
    ("BY", Lean::Left),
    ("OUTCOME", Lean::Left),
    ("OBJECTS", Lean::Left),
];

/// Arguments of `changes`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ChangesArgs {
    /// Only this change, with all that is known of it
    #[arg(value_name = "CHANGE")]
    change: Option<String>,

    /// Only changes of objects of this namespace [default: that of the kubeconfig context; all with --api-addr]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Changes in all namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,

    /// The most changes, the newest first
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row each; one change with its differences
    Table,
    /// The message ListChangesResponse
    Json,
}

/// Asks and prints.
pub(crate) async fn run(globals: &Globals, args: ChangesArgs) -> anyhow::Result<()> {
    let mesh = client::connect(globals).await?;
    let namespace = match (args.all_namespaces, &args.change) {
        (true, _) | (_, Some(_)) => None,
        (false, None) => args.namespace.or_else(|| mesh.namespace.clone()),
    };
    let single = args.change.is_some();
    let request = ListChangesRequest {
        namespace: namespace.unwrap_or_default(),
        limit: args.limit,
        change_id: args.change.unwrap_or_default(),
    };
    let answer = {
        let _spinner = Spinner::start("Asking what was changed");
        mesh.list_changes(request).await?
    };
    let printed = match args.output {
        Format::Table if single => answer.changes.iter().map(whole).collect(),
        Format::Table => table(&answer),
        Format::Json => policy::json(&answer),
    };
    terminal::data(printed.as_bytes())?;
    if answer.changes.is_empty() {
        terminal::say("Nothing was changed through linkerd-mcp, as far back as is known.");
    }
    if answer.truncated {
        terminal::say("There are more: ask for them with --limit, or narrow with -n.");
    }
    if let Some(since) = &answer.since {
        terminal::say(&format!("What was before {since} is no longer known."));
    }
    answer.notes.iter().for_each(|note| terminal::say(note));
    Ok(())
}

/// A row each; empty for none.
fn table(answer: &ListChangesResponse) -> String {
    if answer.changes.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = answer.changes.iter().map(row).collect();
    columns::print(&COLUMNS, &rows)
}

fn row(change: &Change) -> Vec<String> {
    vec![
        clean(&change.change_id),
        at(change),
        clean(&change.by),
        clean(&change.outcome),
        policy::list(change.objects.iter().map(|object| clean(&object.id))),
    ]
}

fn at(change: &Change) -> String {
    change.at.as_ref().map_or_else(|| policy::NONE.to_owned(), ToString::to_string)
}

/// One change with all that is known of it.
fn whole(change: &Change) -> String {
    let mut out = format!("change {}\n", clean(&change.change_id));
    let by = match change.proof.as_str() {
        "" => clean(&change.by),
        proof => format!("{} (by {})", clean(&change.by), clean(proof)),
    };
    for (what, text) in [
        ("at", &at(change)),
        ("by", &by),
        ("reason", &change.reason),
        ("outcome", &change.outcome),
        ("plan", &change.plan_id),
        ("payload", &change.payload_sha256),
        ("undoes", &change.undoes),
        ("undone by", &change.undone_by),
    ] {
        if !text.is_empty() {
            out.push_str(&format!("{:<10} {}\n", format!("{what}:"), clean_line(text)));
        }
    }
    if let Some(until) = &change.guarded_until {
        out.push_str(&format!("{:<10} until {until}\n", "watched:"));
    }
    if !change.text.is_empty() {
        out.push_str(&format!("{}\n", clean_line(&change.text)));
    }
    for object in &change.objects {
        out.push_str(&format!("  {} {}\n", clean(&object.id), clean(&object.action)));
        if !object.error.is_empty() {
            out.push_str(&format!("    {}\n", clean_line(&object.error)));
        }
    }
    out.push_str(&indented(&change.diff));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn changes_are_as_checked_in() {
        let answer = sample::change::listed();
        golden::compare("changes.txt", &table(&answer));
        golden::compare("changes.json", &policy::json(&answer));
        golden::compare("change.txt", &whole(&answer.changes[0]));
        assert_eq!(table(&ListChangesResponse::default()), "");
    }
}
