//! A change of policy after which a call is decided differently.

use super::{
    policy::lets_in,
    text::{clean, clean_line},
};
use linkerd_mcp_proto::v1::{Decision, Flip};

/// What to do, and what the sentence does not name of it. The manifest only where it lets something in: nobody asks how to lock out who is let in.
pub(crate) fn print(flip: &Flip) -> String {
    let mut out = match flip.becomes() {
        Decision::Allow => "To have it allowed: ",
        Decision::Audit => "To have it let in and logged: ",
        Decision::Deny => "It would be denied after this change: ",
        Decision::UnmatchedRoute => "It would be answered with 404 after this change: ",
        Decision::Unspecified => "It would be decided otherwise after this change: ",
    }
    .to_owned();
    out.push_str(&clean_line(&flip.text));
    out.push('\n');
    for id in flip.removes.iter().filter(|id| !flip.text.contains(*id)) {
        out.push_str(&format!("  removes {}\n", clean(id)));
    }
    if lets_in(flip.becomes()) {
        for line in flip.manifest.trim_end().lines() {
            out.push_str(format!("    {}", clean_line(line)).trim_end());
            out.push('\n');
        }
    }
    out
}
