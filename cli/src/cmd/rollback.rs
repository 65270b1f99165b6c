//! `linkerd-mcp rollback`: what was there before a change is put back.

use super::apply::{Format, done};
use crate::{
    args::Globals,
    client,
    output::policy,
    terminal::{self, Spinner},
};
use clap::Args;
use linkerd_mcp_proto::v1::RollbackChangeRequest;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Objects that somebody has changed since are left as they are, and it says so. A rollback is itself a change, so it can
be undone the same way.

Exit codes:
  0  everything is as it was before the change
  1  not; what is printed says why
  2  there is no answer

Examples:
  linkerd-mcp rollback c-2026-11-01-7f3a
  linkerd-mcp changes -n shop";

/// Arguments of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RollbackArgs {
    /// The change, as `linkerd-mcp apply` and `linkerd-mcp changes` print it
    #[arg(value_name = "CHANGE")]
    change: String,

    /// Why, for the audit log and the event
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: RollbackArgs) -> anyhow::Result<ExitCode> {
    let mesh = client::connect(globals).await?;
    let answer = {
        let _spinner = Spinner::start("Putting back what was there");
        let request = RollbackChangeRequest { change_id: args.change, reason: args.reason };
        mesh.rollback_change(request).await?
    };
    let printed = match args.output {
        Format::Table => done(&answer.change_id, &answer.text, &answer.objects),
        Format::Json => policy::json(&answer),
    };
    terminal::data_if_read(printed.as_bytes())?;
    Ok(ExitCode::from(u8::from(!answer.accepted)))
}
