//! Denials for people.

use crate::output::{
    flip, number, place,
    policy::{client, word},
    text::clean_line,
};
use linkerd_mcp_proto::v1::{Denial, ExplainDenialsResponse, Flip};

/// Each denial with its numbers, why, and the smallest change; empty for none.
pub(super) fn print(answer: &ExplainDenialsResponse) -> String {
    let denials: Vec<String> = answer.denials.iter().map(denial).collect();
    denials.join("\n")
}

fn denial(denial: &Denial) -> String {
    let src = match denial.src.strip_prefix("identity:") {
        Some(identity) => place::identity(identity, ""),
        None => client(&denial.src, ""),
    };
    let mut numbers = vec![format!("denied {}/s", number::rate(denial.denied_per_s))];
    for (name, rate) in [("answered with 404", denial.unrouted_per_s), ("allowed", denial.allowed_per_s)] {
        numbers.extend(rate.map(|rate| format!("{name} {}/s", number::rate(Some(rate)))));
    }
    let mut out = format!("{src} -> {}: {}\n", place::short(&denial.dst, ""), numbers.join(", "));
    if !denial.text.is_empty() {
        out.push_str(&format!("  {}\n", clean_line(&denial.text)));
    }
    let mut flips: Vec<&Flip> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for access in &denial.accesses {
        let place = format!("{}:{}", client(&access.workload, ""), access.port);
        let mut why = format!("  {} at {place}:\n", word(access.decision()));
        for reason in &access.reasons {
            why.push_str(&format!("    - {}\n", clean_line(&reason.text)));
        }
        // Pods that are not alike may still be decided alike; and the sentence gives the reasons where it can.
        let in_sentence = access.reasons.iter().all(|reason| denial.text.contains(&reason.text));
        if !in_sentence && !told.contains(&why) {
            out.push_str(&why);
            told.push(why);
        }
        flips.extend(access.flips.first().filter(|flip| !flips.contains(flip)));
    }
    out.extend(flips.into_iter().map(flip::print));
    out
}
