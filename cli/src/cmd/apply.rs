//! `linkerd-mcp apply`: what was planned is done, once.

use crate::{
    args::{Globals, Usage},
    client,
    output::{
        policy,
        text::{clean, clean_line},
    },
    terminal::{self, Spinner},
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{AppliedObject, ApplyPlanRequest, ApplyPlanResponse, Guard};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
A plan is used up by this, whatever comes of it; when something has changed since, plan again. With --guard the flows
that the change touches are watched, and the change is undone when more of them are denied than before.

Exit codes:
  0  every object was written
  1  not; what is printed says which, and what was put back
  2  there is no answer: whether it was done is in `linkerd-mcp changes`

Examples:
  linkerd-mcp apply p-f3a9.2bq7
  linkerd-mcp apply p-f3a9.2bq7 --guard 5m --reason 'OPS-1234: lock down cart'";

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ApplyArgs {
    /// The plan, as `linkerd-mcp plan` printed it
    #[arg(value_name = "PLAN")]
    plan: String,

    /// Why, for the audit log and the event
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Watch for so long and undo the change when the calls it touches suffer, such as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    guard: Option<u32>,

    /// With --guard: undo when this many more calls a second are denied than before [default: 1]
    #[arg(long, value_name = "RPS", requires = "guard")]
    guard_denied_rps: Option<f64>,

    /// With --guard: undo when fewer than this share of the calls succeed, between 0 and 1
    #[arg(long, value_name = "SHARE", requires = "guard")]
    guard_success_rate: Option<f64>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Sentences
    Table,
    /// The message
    Json,
}

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: ApplyArgs) -> anyhow::Result<ExitCode> {
    let guard = args.guard.map(|seconds| Guard {
        seconds,
        denied_rps: args.guard_denied_rps,
        success_rate: args.guard_success_rate,
    });
    let mesh = client::connect(globals).await?;
    let answer = {
        let _spinner = Spinner::start("Applying the plan");
        mesh.apply_plan(ApplyPlanRequest { plan: args.plan, reason: args.reason, guard }).await?
    };
    let printed = match args.output {
        Format::Table => print(&answer),
        Format::Json => policy::json(&answer),
    };
    terminal::data_if_read(printed.as_bytes())?;
    if answer.accepted {
        terminal::say(&format!("To undo it: linkerd-mcp rollback {}", answer.change_id));
    }
    Ok(ExitCode::from(u8::from(!answer.accepted)))
}

fn print(answer: &ApplyPlanResponse) -> String {
    let mut out = done(&answer.change_id, &answer.text, &answer.objects);
    if let Some(until) = &answer.guarded_until {
        out.push_str(&format!("watched until {until}\n"));
    }
    out
}

/// What happened to each object, as `kubectl apply` says it.
pub(super) fn done(change: &str, text: &str, objects: &[AppliedObject]) -> String {
    let mut out = String::new();
    for object in objects {
        out.push_str(&format!("{} {}\n", clean(&object.id), past(&object.action)));
        if !object.error.is_empty() {
            out.push_str(&format!("  {}\n", clean_line(&object.error)));
        }
    }
    if !text.is_empty() {
        out.push_str(&format!("{}\n", clean_line(text)));
    }
    if !change.is_empty() {
        out.push_str(&format!("change {}\n", clean(change)));
    }
    out
}

fn past(action: &str) -> String {
    match action {
        "create" => "created".to_owned(),
        "update" => "configured".to_owned(),
        "delete" => "deleted".to_owned(),
        other => clean(other),
    }
}

/// `90s`, `10m`, `1h`, or seconds.
fn seconds(typed: &str) -> Result<u32, Usage> {
    let (digits, unit) = match typed.char_indices().find(|(_, it)| !it.is_ascii_digit()) {
        Some((at, _)) => typed.split_at(at),
        None => (typed, "s"),
    };
    let each = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    each.zip(digits.parse::<u32>().ok())
        .and_then(|(each, count)| count.checked_mul(each))
        .filter(|seconds| (30..=3_600).contains(seconds))
        .ok_or_else(|| Usage(format!("`{typed}` is no time between 30s and 1h, such as 90s or 10m")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn what_was_done_is_as_checked_in() {
        golden::compare("apply.txt", &print(&sample::change::applied()));
        golden::compare("apply-failed.txt", &print(&sample::change::failed()));
        golden::compare("apply.json", &policy::json(&sample::change::applied()));
    }

    #[test]
    fn a_guard_takes_between_half_a_minute_and_an_hour() {
        let good: Vec<u32> = ["30", "90s", "10m", "1h"].into_iter().map(|it| seconds(it).unwrap()).collect();
        assert_eq!(good, [30, 90, 600, 3_600]);
        for typed in ["", "29s", "61m", "2h", "5d", "m", "-1m", "99999999999h", "1.5m"] {
            assert!(seconds(typed).is_err(), "{typed}");
        }
    }
}
