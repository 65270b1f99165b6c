//! Why is this slow?

use super::{Argument, Choice, Prompt, Source, Step};
use serde_json::json;

pub(super) const PROMPT: Prompt = Prompt {
    name: "investigate_slowness",
    title: "Why is this slow?",
    description: "Finds where the time goes of a workload or Service: its own, or that of what it calls.",
    arguments: &[Argument {
        name: "workload",
        description: "What is slow: `namespace/kind/name`, or `namespace/name` of a Service, as in shop/deployment/web",
        required: true,
        choice: Choice::WorkloadOrService,
    }],
    task: "Find out why the workload or Service under `asked.workload` is slow, and say where the time goes.",
    sources: |given| {
        let workload = [("workload", "name")];
        let slowest = json!({"sort": "latency_p99", "limit": 12});
        vec![
            Source::Tool {
                label: "callers",
                tool: "find_edges",
                arguments: given.to(slowest.clone(), &[("workload", "to")]),
                blames: &["workload"],
            },
            Source::Tool {
                label: "callees",
                tool: "find_edges",
                arguments: given.to(slowest, &[("workload", "from")]),
                blames: &["workload"],
            },
            Source::Tool {
                label: "described",
                tool: "describe_workload",
                arguments: given.to(json!({}), &workload),
                blames: &["workload"],
            },
            Source::Tool {
                label: "a_quarter_of_an_hour_ago",
                tool: "compare_traffic",
                arguments: given.to(json!({"minutes": 15}), &workload),
                blames: &[],
            },
        ]
    },
    steps: &[
        Step::think(
            "Look at `freshness` first. Stale numbers, or pods without metrics, may hide the cause: say so.",
        ),
        Step::think(
            "Compare p50 and p99 of `callers`: all of them slow means that it is slow itself or waits for something; one \
             slow caller means that the cause is on the side of that caller, or in the calls that only it makes.",
        ),
        Step::think(
            "Compare with p99 of `callees`. A callee about as slow as the callers see it is where to look next; when all \
             callees are fast, the time is spent in the workload itself.",
        ),
        Step::think(
            "Look for what makes calls slow without being slow: errors and retries, denials, a success rate below one, no \
             mutual TLS where there was some, few ready pods for the rate.",
        ),
        Step::call(
            "find_edges",
            "Follow a slow callee with find_edges, `from` = the callee and `sort` = latency_p99, until its own callees \
             are fast.",
        ),
        Step::call(
            "compare_traffic",
            "Find out since when with compare_traffic: what changed about then, in rate, errors or policy?",
        ),
        Step::think(
            "Say where the time goes, with the numbers that show it and their date; what remains unknown; and what to \
             do next.",
        ),
    ],
};
