//! `check` takes flags that it does not know: `linkerd check` of another version may forward some.

use super::Cli;
use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::ffi::OsString;

/// The command that is so tolerant.
const TOLERANT: &str = "check";

/// Parses a command line, the first word of which is the program.
///
/// # Errors
/// What clap says of it.
pub(crate) fn parse(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Cli, clap::Error> {
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    loop {
        let refusal = match Cli::try_parse_from(&args) {
            Ok(cli) => return Ok(cli),
            Err(refusal) => refusal,
        };
        // Each round takes a word away, so there are not more rounds than words.
        match unknown_flag(&args, &refusal) {
            Some(place) if is_tolerant(&args) => {
                args.remove(place);
                // What follows may be its value; another flag is not, and no other word is expected here.
                if args
                    .get(place)
                    .is_some_and(|next| !next.to_string_lossy().starts_with('-') && next != TOLERANT)
                {
                    args.remove(place);
                }
            }
            _ => return Err(refusal),
        }
    }
}

/// Where the flag is that clap does not know.
fn unknown_flag(args: &[OsString], refusal: &clap::Error) -> Option<usize> {
    if refusal.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(name)) = refusal.get(ContextKind::InvalidArg) else { return None };
    let flag = name.split('=').next().filter(|flag| flag.starts_with('-'))?;
    args.iter().position(|arg| {
        let arg = arg.to_string_lossy();
        arg == flag
            || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=') || !flag.starts_with("--"))
    })
}

fn is_tolerant(args: &[OsString]) -> bool {
    let lenient = Cli::command().ignore_errors(true).try_get_matches_from(args);
    lenient.is_ok_and(|matches| matches.subcommand_name() == Some(TOLERANT))
}
