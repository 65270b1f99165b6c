//! Edits after which everything is as before.

use super::{Concern, Scene};
use crate::change::edit::Verb;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let edits = scene.trial.edits;
    let mut concerns = Vec::new();
    for edit in edits.iter().filter(|edit| edit.verb() == Verb::Nothing) {
        let text =
            format!("There is no {} to delete. Look for its name, or leave it out of the change.", edit.id());
        concerns.push(Concern::refuse("not-there", [edit.id()], text));
    }
    let same: Vec<_> = edits
        .iter()
        .filter(|edit| edit.is_same() && edit.verb() != Verb::Nothing)
        .map(|edit| edit.id())
        .collect();
    let all = same.len() == edits.len();
    if all {
        let text = "Everything is already as the change asks for: there is nothing to apply.";
        concerns.push(Concern::refuse("no-change", &same, text));
    } else if !same.is_empty() {
        let text = "These objects are already as the change asks for; they can be left out of it.";
        concerns.push(Concern::warn("no-change", &same, text));
    }
    if !all && concerns.is_empty() && scene.impact.is_nothing() {
        let text = "No port of a workload that runs now is served otherwise after the change, and nobody gains or loses \
                    a permission. That may be meant for pods that are yet to come; otherwise look at selectors, ports \
                    and names.";
        concerns.push(Concern::warn("no-effect", edits.iter().map(|edit| edit.id()), text));
    }
    concerns
}
