//! `linkerd-mcp lint`: policies that are likely not meant as they are.

mod text;

use crate::{
    args::{Globals, manifests::ManifestArgs},
    output::policy,
    source::{Asked, say_freshness},
    terminal,
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{LintPoliciesRequest, LintPoliciesResponse, Severity};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes:
  0  nothing as grave as --fail-on
  1  something is
  2  cannot be answered: an API that cannot be reached, a document that cannot be read, ...

Examples:
  linkerd-mcp lint -A
  linkerd-mcp lint -n shop --enforced
  kustomize build overlays/prod | linkerd-mcp lint -f - --fail-on warning";

/// Arguments of `lint`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LintArgs {
    /// Namespace to look at [default: that of the kubeconfig context; with -f or --api-addr every one]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Look at all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,

    /// Also ask Linkerd's policy controller what it enforces, and compare: -o json has both sides
    #[arg(long, conflicts_with = "filename")]
    enforced: bool,

    /// The least severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "error")]
    fail_on: FailOn,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    manifests: ManifestArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Findings with what to do
    Table,
    /// The message LintPoliciesResponse
    Json,
}

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: LintArgs) -> anyhow::Result<ExitCode> {
    // With -A and manifests, -n still says where objects without a namespace are.
    if args.all_namespaces && args.namespace.is_some() && !args.manifests.given() {
        return Err(crate::args::Usage("give -n or -A, not both".to_owned()).into());
    }
    let asked = Asked::open(globals, &args.manifests, args.namespace.as_deref()).await?;
    let namespace = match args.all_namespaces {
        true => String::new(),
        false => asked.namespace.clone().unwrap_or_default(),
    };
    let answer = asked.lint(LintPoliciesRequest { namespace, enforced: args.enforced }).await?;
    let printed = match args.output {
        Format::Table => text::print(&answer),
        Format::Json => policy::json(&answer),
    };
    terminal::data_if_read(printed.as_bytes())?;
    terminal::say(&text::summary(&answer, args.enforced));
    answer.notes.iter().for_each(|note| terminal::say(note));
    say_freshness(answer.freshness.as_ref());
    asked.complete()?;
    Ok(ExitCode::from(u8::from(args.fail_on.fails(&answer))))
}

// === impl FailOn ===

impl FailOn {
    fn fails(self, answer: &LintPoliciesResponse) -> bool {
        let least = match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
            Self::Never => return false,
        };
        // A severity of a newer API is not taken lightly.
        let severity = |it: Severity| if it == Severity::Unspecified { Severity::Error } else { it };
        answer.findings.iter().any(|finding| severity(finding.severity()) >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Cli, cmd::Command, golden, sample};
    use clap::Parser;

    #[test]
    fn the_findings_are_as_checked_in() {
        let answer = sample::policy::linted();
        golden::compare("lint.txt", &text::print(&answer));
        golden::compare("lint.json", &policy::json(&answer));
        assert_eq!(text::summary(&answer, false), "1 error, 1 warning, 1 note in 12 policy objects.");
        assert_eq!(
            text::summary(&LintPoliciesResponse { objects: 1, compared: 3, ..Default::default() }, true),
            "No findings in 1 policy object. 3 ports were compared with what Linkerd enforces."
        );
    }

    #[test]
    fn both_sides_of_drift_are_for_programs_and_the_sentence_for_people() {
        let mut answer = sample::policy::linted();
        answer.findings.insert(0, sample::policy::drift());
        answer.compared = 7;
        golden::compare("lint-enforced.txt", &text::print(&answer));
        golden::compare("lint-enforced.json", &policy::json(&answer));
    }

    #[test]
    fn the_exit_code_goes_by_the_gravest_finding() {
        let mut answer = sample::policy::linted();
        let fails = |answer: &LintPoliciesResponse| {
            [FailOn::Error, FailOn::Warning, FailOn::Info, FailOn::Never].map(|it| it.fails(answer))
        };
        assert_eq!(fails(&answer), [true, true, true, false]);
        answer.findings.remove(0);
        assert_eq!(fails(&answer), [false, true, true, false]);
        answer.findings.remove(0);
        assert_eq!(fails(&answer), [false, false, true, false]);
        answer.findings[0].severity = 77;
        assert_eq!(fails(&answer), [true, true, true, false]);
        answer.findings.clear();
        assert_eq!(fails(&answer), [false; 4]);
    }

    #[test]
    fn what_is_enforced_is_not_asked_of_manifests() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["linkerd-mcp", "lint"], args].concat());
        assert!(parse(&["--enforced", "-f", "-"]).is_err());
        let Command::Lint(args) = parse(&["-A", "--fail-on", "never"]).unwrap().command else {
            panic!("not lint")
        };
        assert_eq!((args.fail_on, args.all_namespaces), (FailOn::Never, true));
    }
}
