//! `linkerd-mcp plan`: what a change of policy would do, and the plan to apply.

pub(super) mod text;

use crate::{
    args::{Globals, Usage},
    client,
    output::policy,
    source::{DEFAULT_NAMESPACE, say_freshness},
    terminal::{self, Spinner},
};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{PlanChangeRequest, PlanChangeResponse};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

const AFTER_HELP: &str = "\
Nothing is written. The plan that is printed is good for one `linkerd-mcp apply`, by whoever planned, for five minutes.
Each flow that is seen now is judged by the policies before and after.

Exit codes:
  0  the change can be applied (also: nothing would change)
  1  it is refused; what is printed says why
  2  there is no answer: an API that cannot be reached, a manifest that cannot be read, ...

Examples:
  linkerd-mcp plan -f policy.yaml
  linkerd-mcp plan --delete server/shop/web --delete authorizationpolicy/shop/web
  linkerd-mcp propose deploy/web -n shop | linkerd-mcp plan -f - --simulate";

/// The most bytes of manifests: more is refused by the API too, without being sent here.
const MAX_MANIFEST: u64 = 1 << 20;

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanArgs {
    /// File with the objects as they shall be, YAML or JSON, or - for stdin; may be repeated
    #[arg(long, short = 'f', value_name = "FILE", required_unless_present = "delete")]
    filename: Vec<PathBuf>,

    /// Object to delete, as `kind/namespace/name` or `kind/name`; may be repeated
    #[arg(long, value_name = "OBJECT")]
    delete: Vec<String>,

    /// Namespace of objects that name none [default: that of the kubeconfig context]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Take over fields that something else manages, as kubectl apply --server-side --force-conflicts does
    #[arg(long)]
    force_conflicts: bool,

    /// Only say what would happen, and make no plan
    #[arg(long)]
    simulate: bool,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What is different, and a table of what becomes of the calls
    Table,
    /// The message PlanChangeResponse
    Json,
    /// The plan alone, for scripts
    Name,
}

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: PlanArgs) -> anyhow::Result<ExitCode> {
    let manifest = read(&args.filename)?;
    let mesh = client::connect(globals).await?;
    let namespace = args.namespace.or_else(|| mesh.namespace.clone());
    let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let removes = args.delete.iter().map(|it| removed(it, &namespace)).collect::<Result<Vec<_>, _>>()?;
    let request = PlanChangeRequest {
        manifest,
        removes,
        namespace,
        force: args.force_conflicts,
        simulate_only: args.simulate,
    };
    let answer = {
        let _spinner = Spinner::start("Trying the change");
        mesh.plan_change(request).await?
    };
    let printed = match args.output {
        Format::Table => text::print(&answer),
        Format::Json => policy::json(&answer),
        Format::Name if answer.plan.is_empty() => String::new(),
        Format::Name => format!("{}\n", crate::output::text::clean(&answer.plan)),
    };
    terminal::data_if_read(printed.as_bytes())?;
    answer.notes.iter().for_each(|note| terminal::say(note));
    say_freshness(answer.freshness.as_ref());
    terminal::say(&next(&answer, args.simulate));
    Ok(ExitCode::from(u8::from(refused(&answer))))
}

/// True when the change may not be applied.
fn refused(answer: &PlanChangeResponse) -> bool {
    answer.concerns.iter().any(|concern| concern.refuses)
}

/// What can be done now.
fn next(answer: &PlanChangeResponse, simulated: bool) -> String {
    if refused(answer) {
        return "This cannot be applied: mend what is marked `refused`, and plan again.".to_owned();
    }
    if answer.plan.is_empty() {
        return match simulated {
            true => "This was only simulated: leave out --simulate for a plan to apply.".to_owned(),
            false => "There is nothing to apply.".to_owned(),
        };
    }
    let until = answer.expires.as_ref().map(|at| format!(", until {at}")).unwrap_or_default();
    format!("To do this{until}: linkerd-mcp apply {}", answer.plan)
}

/// The files one after the other, as one YAML stream. A file may be JSON: that is YAML too.
fn read(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut stream = String::new();
    for file in files {
        let text = one(file).with_context(|| format!("cannot read {}", file.display()))?;
        if !stream.is_empty() {
            stream.push_str("\n---\n");
        }
        stream.push_str(&text);
    }
    if stream.len() as u64 > MAX_MANIFEST {
        return Err(Usage("the manifests are larger than 1 MiB: plan fewer at a time".to_owned()).into());
    }
    Ok(stream)
}

fn one(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    // One byte more than may be, so that too much is noticed and never held.
    if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_MANIFEST + 1).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?.take(MAX_MANIFEST + 1).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// `kind/name` in the namespace, or `kind/namespace/name`.
fn removed(typed: &str, namespace: &str) -> Result<String, Usage> {
    match typed.split('/').collect::<Vec<_>>()[..] {
        [kind, name] if !kind.is_empty() && !name.is_empty() => Ok(format!("{kind}/{namespace}/{name}")),
        [kind, namespace, name] if ![kind, namespace, name].contains(&"") => Ok(typed.to_owned()),
        _ => {
            Err(Usage(format!("`{typed}` names no object: write kind/namespace/name, as in server/shop/web")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Cli, golden, sample};
    use clap::Parser;

    #[test]
    fn a_plan_is_as_checked_in() {
        let answer = sample::change::planned();
        golden::compare("plan.txt", &text::print(&answer));
        golden::compare("plan.json", &policy::json(&answer));
        golden::compare("plan-refused.txt", &text::print(&sample::change::refused()));
    }

    #[test]
    fn it_says_what_can_be_done_now() {
        let planned = sample::change::planned();
        assert_eq!(
            next(&planned, false),
            "To do this, until 2026-11-01T12:05:00Z: linkerd-mcp apply p-7.secret"
        );
        assert!(next(&sample::change::refused(), false).starts_with("This cannot be applied"));
        let nothing = PlanChangeResponse::default();
        assert_eq!(next(&nothing, false), "There is nothing to apply.");
        assert!(next(&nothing, true).starts_with("This was only simulated"));
        assert!(!refused(&planned) && refused(&sample::change::refused()));
    }

    #[test]
    fn an_object_to_delete_has_a_kind_and_a_name() {
        assert_eq!(removed("server/web", "shop").unwrap(), "server/shop/web");
        assert_eq!(removed("server/other/web", "shop").unwrap(), "server/other/web");
        for typed in ["web", "server/", "a/b/c/d", "/shop/web", ""] {
            assert!(removed(typed, "shop").is_err(), "{typed}");
        }
    }

    #[test]
    fn files_are_one_stream_and_too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.yaml"), dir.path().join("two.json"));
        std::fs::write(&one, "kind: Server").unwrap();
        std::fs::write(&two, "{}").unwrap();
        assert_eq!(read(&[one.clone(), two]).unwrap(), "kind: Server\n---\n{}");
        std::fs::write(&one, vec![b'#'; 2 << 20]).unwrap();
        assert!(read(&[one]).unwrap_err().to_string().contains("larger than 1 MiB"));
        let missing = read(&[dir.path().join("none.yaml")]).unwrap_err();
        assert!(format!("{missing:#}").contains("cannot read"), "{missing:#}");
    }

    #[test]
    fn it_wants_something_to_change() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["linkerd-mcp", "plan"], args].concat());
        assert!(parse(&[]).is_err());
        assert!(parse(&["-f", "a.yaml"]).is_ok());
        assert!(parse(&["--delete", "server/web"]).is_ok());
    }
}
