//! `linkerd-mcp`, run as `linkerd mcp …` too: parse, dispatch, exit code.

mod args;
mod check;
mod client;
mod cmd;
mod embedded;
mod install;
mod name;
mod offline;
mod output;
mod relay;
mod source;
mod terminal;

#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;

use args::{Usage, tolerant};
use output::text::clean_line;
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// Every log filter of ours is read from here.
const LOG_VARIABLE: &str = "LINKERD_MCP_LOG";

fn main() -> ExitCode {
    let cli = match tolerant::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal),
    };
    log_to_stderr(cli.globals.verbose, cli.command.serves());
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start the runtime"), 1),
    };
    let unanswered = cli.command.unanswered();
    let answer = runtime.block_on(cmd::run(&cli.globals, cli.command));
    // Whatever still runs is of no use to an answer that is out.
    runtime.shutdown_background();
    match answer {
        Ok(answer) => answer,
        // Where 0 means something it is not said because of a pipe, and be it the network's.
        Err(error) if unanswered == 1 && terminal::reader_went_away(&error) => ExitCode::SUCCESS,
        Err(error) => failed(&error, unanswered),
    }
}

/// Prints what clap has to say: help and version to stdout, refusals to stderr.
fn refused(refusal: &clap::Error) -> ExitCode {
    // A reader of the help that goes away is no failure.
    let _ = refusal.print();
    ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2))
}

/// Prints the error, each of its causes once, and what to do about it. The exit code is `code`, but for a command line
/// that makes no sense.
fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    // On one line each: an answer from elsewhere cannot add lines that look like ours.
    let mut said = clean_line(&error.to_string());
    terminal::say(&format!("error: {said}"));
    for cause in error.chain().skip(1) {
        let cause = clean_line(&cause.to_string());
        if !said.contains(&cause) {
            terminal::say(&format!("  because: {cause}"));
            said = cause;
        }
    }
    if let Some(hint) = error.chain().find_map(|cause| cause.downcast_ref::<client::Error>()?.hint()) {
        terminal::say(&format!("hint: {hint}"));
    }
    ExitCode::from(if error.is::<Usage>() { 2 } else { code })
}

/// A question is answered or refused in so many words, and logs would say it twice; what serves logs what it does.
fn log_to_stderr(verbose: bool, serves: bool) {
    let default = match (verbose, serves) {
        (true, true) => "debug,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info",
        (true, false) => "warn,linkerd_mcp=debug,kube_client=debug",
        (false, true) => "info,kube_client=warn",
        (false, false) => "off",
    };
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
