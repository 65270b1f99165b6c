//! Why was this denied?

use super::{Argument, Choice, Prompt, Source, Step};
use serde_json::json;

pub(super) const PROMPT: Prompt = Prompt {
    name: "investigate_denial",
    title: "Why is this call denied?",
    description: "Explains why a client is refused by a server, by which policy, and the smallest change that would let it in.",
    arguments: &[
        Argument {
            name: "from",
            description: "The client: `namespace/kind/name`, `namespace/serviceaccount/name`, a mesh identity or an IP address",
            required: true,
            choice: Choice::Client,
        },
        Argument {
            name: "to",
            description: "The server with its port: `namespace/service:port`, as in shop/cart:80",
            required: true,
            choice: Choice::Server,
        },
    ],
    task: "Explain why calls from `asked.from` to `asked.to` are denied, or show that they are not.",
    sources: |given| {
        let both = [("from", "from"), ("to", "to")];
        vec![
            Source::Tool {
                label: "decided",
                tool: "check_access",
                arguments: given.to(json!({}), &both),
                blames: &["from", "to"],
            },
            Source::Tool {
                label: "denied_now",
                tool: "explain_denials",
                arguments: given.to(json!({"limit": 10}), &both),
                blames: &[],
            },
            // A port is part of the name for check_access and not for this; without an answer it is left out.
            Source::Tool {
                label: "calls",
                tool: "find_edges",
                arguments: json!({"from": given.required("from"), "only": "denied", "limit": 10}),
                blames: &[],
            },
        ]
    },
    steps: &[
        Step::think(
            "`decided` is what policy says, `denied_now` and `calls` are what proxies counted. When they disagree, say \
             so: policy may have changed within the window, or proxies do not have it yet.",
        ),
        Step::think("Name the policy object or default that decides, and quote its reason."),
        Step::think(
            "If the client has no mesh identity (not meshed, or not mutual TLS), that is the cause: no identity that is \
             allowed can match. Do not propose to allow everybody.",
        ),
        Step::think(
            "Propose the smallest of the `changes` that lets in this client only, with its manifest, and say what else it \
             would let in. Do not apply anything.",
        ),
        Step::call("list_access", "See with list_access who else may call the server, before and after."),
        Step::call(
            "get_policies",
            "Read the objects themselves with get_policies when a reason is not clear.",
        ),
    ],
};
