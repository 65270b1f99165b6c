//! `linkerd-mcp check`, which `linkerd check` runs too.

use crate::{
    args::Globals,
    check::{
        self, Category,
        look::{Scope, look},
        report::Report,
    },
    terminal::{self, Spinner},
};
use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};
use linkerd_mcp_controller::args::duration::GoDuration;
use std::{process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};

/// As Linkerd's checks do.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
Exit codes:
  0  no check failed; warnings do not count
  1  a check failed
  2  the command line is not understood; flags that are not known are ignored

Examples:
  linkerd-mcp check --pre
  linkerd-mcp check --proxy -n shop
  linkerd-mcp check --wait=0s -o json";

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckArgs {
    /// With --proxy, the namespace whose proxies to check [default: all]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    /// Check whether linkerd-mcp can be installed
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false", hide_default_value = true, hide_possible_values = true, value_name = "BOOL",
        value_parser = BoolishValueParser::new())]
    pre: bool,

    /// Check the proxies of the mesh too
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false", hide_default_value = true, hide_possible_values = true, value_name = "BOOL",
        value_parser = BoolishValueParser::new())]
    proxy: bool,

    /// How long to wait for what may still be starting, as in 30s or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5m0s")]
    wait: GoDuration,
}

/// What the report is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Every check with its mark
    Table,
    /// As `linkerd check` reads it
    Json,
    /// Only what is not well
    Short,
}

/// Checks until nothing is left to wait for, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: CheckArgs) -> anyhow::Result<ExitCode> {
    let report = report(globals, &args).await;
    let printed = match args.output {
        Format::Table => report.table(false),
        Format::Short => report.table(true),
        Format::Json => report.json()?,
    };
    terminal::data_if_read(printed.as_bytes())?;
    Ok(ExitCode::from(u8::from(!report.success())))
}

async fn report(globals: &Globals, args: &CheckArgs) -> Report {
    let scope = Scope {
        globals,
        pre: args.pre,
        proxy: args.proxy,
        namespace: args.namespace.as_deref(),
        documents: None,
    };
    let categories = args.categories();
    let deadline = Instant::now() + args.wait.0;
    let spinner = Spinner::start("Looking at the cluster");
    loop {
        let report = check::judge(&categories, &look(scope).await);
        if !report.waits || Instant::now() + RETRY_INTERVAL > deadline {
            return report;
        }
        spinner.say(&format!("Waiting: {}", report.first_error().unwrap_or_default()));
        sleep(RETRY_INTERVAL).await;
    }
}

// === impl CheckArgs ===

impl CheckArgs {
    fn categories(&self) -> Vec<Category> {
        match (self.pre, self.proxy) {
            (true, _) => vec![check::PRE],
            (false, false) => vec![check::INSTALLED],
            (false, true) => vec![check::INSTALLED, check::DATA_PLANE],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, tolerant},
        cmd::Command,
    };

    fn parse(args: &[&str]) -> (Globals, CheckArgs) {
        let Cli { globals, command } = tolerant::parse([&["linkerd-mcp"], args].concat()).unwrap();
        let Command::Check(args) = command else { panic!("not check") };
        (globals, args)
    }

    #[test]
    fn the_command_line_of_linkerd_check_is_understood() {
        // Word for word what it runs without flags of its own.
        let (globals, args) = parse(&[
            "check",
            "--as-group=[]",
            "--linkerd-namespace=linkerd",
            "--proxy=false",
            "--verbose=false",
            "--wait=5m0s",
            "--output=json",
        ]);
        assert!(!globals.names_a_cluster() && !globals.verbose && !args.proxy && !args.pre);
        assert_eq!((args.output, args.wait.0), (Format::Json, Duration::from_secs(300)));
        let (globals, args) = parse(&[
            "check",
            "--api-addr=127.0.0.1:8086",
            "--context=kind",
            "--as=alice",
            "--as-group=[dev,ops]",
            "--kubeconfig=/tmp/config",
            "--linkerd-namespace=l5d",
            "--verbose=true",
            "--namespace=shop",
            "--proxy=true",
            "--wait=1h2m3.5s",
            "--output=json",
        ]);
        assert_eq!(globals.groups(), ["dev", "ops"]);
        assert_eq!((args.namespace.as_deref(), args.proxy), (Some("shop"), true));
        assert_eq!(args.wait.0, Duration::from_millis(3_723_500));
    }

    #[test]
    fn flags_of_a_newer_linkerd_are_ignored_and_the_others_still_count() {
        let (_, args) =
            parse(&["check", "--crds", "--new-flag=x", "--other", "value", "--output=json", "-n", "shop"]);
        assert_eq!((args.output, args.namespace.as_deref()), (Format::Json, Some("shop")));
        let (_, args) = parse(&["--context", "kind", "check", "-z", "-o", "short"]);
        assert_eq!(args.output, Format::Short);
    }

    #[test]
    fn a_flag_that_is_known_still_needs_a_value_that_makes_sense() {
        for args in [
            &["check", "--wait=soon"][..],
            &["check", "--output=xml"][..],
            &["check", "--new", "--proxy=maybe"][..],
            &["check", "stray"][..],
            &["graph", "--new-flag"][..],
        ] {
            assert!(tolerant::parse([&["linkerd-mcp"], args].concat()).is_err(), "{args:?}");
        }
    }

    #[test]
    fn the_categories_follow_the_flags() {
        let names = |args: &[&str]| parse(args).1.categories().iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(&["check"]), ["linkerd-mcp"]);
        assert_eq!(names(&["check", "--proxy"]), ["linkerd-mcp", "linkerd-mcp-data-plane"]);
        assert_eq!(names(&["check", "--pre"]), ["pre-linkerd-mcp"]);
    }
}
