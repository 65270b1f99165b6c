//! What changed?

use super::{Argument, Choice, Prompt, Source, Step};
use serde_json::json;

pub(super) const PROMPT: Prompt = Prompt {
    name: "summarize_changes",
    title: "What changed in the mesh?",
    description: "Sums up the last minutes: calls that began or ended, mutual TLS lost or gained, denials, policy, and what \
                  traffic did then.",
    arguments: &[Argument {
        name: "minutes",
        description: "How far to look back, from 1 to 60",
        required: true,
        choice: Choice::Of(&["5", "15", "30", "60"]),
    }],
    task: "Sum up what changed in the mesh in the last `asked.minutes` minutes for somebody who was away.",
    sources: |given| {
        let minutes: Option<u32> = given.required("minutes").parse().ok();
        let Some(minutes) = minutes.filter(|it| (1..=60).contains(it)) else {
            return vec![Source::Refused("`minutes` must be a whole number from 1 to 60")];
        };
        vec![
            Source::Journal { label: "happened", minutes },
            Source::Tool {
                label: "traffic",
                tool: "compare_traffic",
                arguments: json!({"minutes": minutes}),
                blames: &[],
            },
            Source::Tool {
                label: "problems",
                tool: "find_problems",
                arguments: json!({"limit": 10}),
                blames: &[],
            },
            Source::Tool {
                label: "failing",
                tool: "find_edges",
                arguments: json!({"only": "failing", "limit": 8}),
                blames: &[],
            },
            Source::Tool {
                label: "denied",
                tool: "find_edges",
                arguments: json!({"only": "denied", "limit": 8}),
                blames: &[],
            },
        ]
    },
    steps: &[
        Step::think(
            "Begin with what matters to users: what fails or is denied now and did not before. Then mutual TLS that was \
             lost, then policy, then new and vanished calls.",
        ),
        Step::think(
            "`happened` has what was noticed with its time, the newest first; `not_known_before` says from when on.",
        ),
        Step::think(
            "Put together what happened at the same time at the same place: a policy that changed just before denials \
             began is probably their cause, but say that it is a guess.",
        ),
        Step::think(
            "Say how far back the data really reaches when that is less than what was asked, and what was not seen at all.",
        ),
        Step::call(
            "explain_denials",
            "If denials began, ask explain_denials for the cause before you name one.",
        ),
        Step::think(
            "At most ten lines, the most important first. If nothing of note happened, say just that.",
        ),
    ],
};
