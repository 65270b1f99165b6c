//! The mesh now against itself some minutes ago.

use super::{Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, input, output};
use crate::{
    answer::Refusal,
    mcp::{
        change::Changes,
        history::{EVERY, Moment},
        page::Detail,
        share::Share,
    },
    view::View,
};
use linkerd_mcp_graph::query::{Node, check_namespace, compare::Difference, resolve_node};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, time::Duration};

pub(super) const TOOL: Tool = Tool {
    name: "compare_traffic",
    title: "What changed in the last minutes",
    description: "Compares the mesh now with what it was some minutes ago, at most an hour: calls that appeared or \
                  vanished, mutual TLS lost or gained, policies added, changed or removed, denials that began, and the \
                  largest changes of success rate, latency and request rate. Use it for \"what changed\", \"since when \
                  is X slow\", \"did my change help\". What happened in between and is over is not seen.",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Compared>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// How many minutes ago to compare with [default: 10].
    #[schemars(range(min = 1, max = 60))]
    minutes: Option<u32>,
    /// Only what lies in this namespace or calls into it.
    namespace: Option<String>,
    /// Only calls from or to this workload or Service. Example: `shop/cart`.
    name: Option<String>,
    /// `concise` or `full`.
    detail: Detail,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Compared {
    /// How many seconds back the history of this server reaches. It begins anew when the server does.
    history_s: u64,
    /// Present when what was asked for is not answered, or not in full: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    /// What is different; absent when there is nothing to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
}

const NO_HISTORY: &str = "This server has not been running for a minute, so there is nothing to compare with yet. Ask again in a minute.";
const SHORT: &str =
    "The history does not reach back so far: this is held against the oldest that is known, see since_s.";

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let wanted = EVERY * arguments.minutes.unwrap_or(10);
    let history = call.context.history.clone();
    let moment = history.ago(wanted);
    let about = About::resolve(&view, &arguments)?;
    let found = moment.as_deref().map(|moment| about.difference(&view, moment));
    let changes = moment
        .as_deref()
        .zip(found.as_ref())
        .map(|(moment, found)| Changes::of(found, moment, &mut Share::of(arguments.detail), 20));
    let compared = Compared {
        history_s: history.reach().unwrap_or_default().as_secs(),
        note: note(moment.as_deref(), wanted),
        changes,
    };
    Ok(call.dated(&view, compared))
}

fn note(moment: Option<&Moment>, wanted: Duration) -> Option<&'static str> {
    match moment {
        None => Some(NO_HISTORY),
        Some(moment) => (moment.age() + EVERY < wanted).then_some(SHORT),
    }
}

/// What is compared.
enum About {
    Node(Node),
    Namespace(String),
    Mesh,
}

// === impl About ===

impl About {
    fn resolve(view: &View, arguments: &Arguments) -> Result<Self, Refusal> {
        let namespace = arguments.namespace.as_deref();
        if let Some(namespace) = namespace {
            check_namespace(&view.graph, namespace)?;
        }
        Ok(match (&arguments.name, namespace) {
            (Some(name), namespace) => Self::Node(resolve_node(&view.graph, name, namespace)?),
            (None, Some(namespace)) => Self::Namespace(namespace.to_owned()),
            (None, None) => Self::Mesh,
        })
    }

    fn difference(&self, view: &View, before: &Moment) -> Difference {
        match self {
            Self::Node(node) => before.compare_node(view, node),
            Self::Namespace(namespace) => before.compare_in(view, namespace),
            Self::Mesh => before.compare(view),
        }
    }
}

// === impl Compared ===

impl Output for Compared {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(note) = self.note {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{note}");
        }
        if let Some(changes) = &self.changes {
            text.push_str(&changes.text());
        }
        let _ = writeln!(text, "History reaches back {} s.", self.history_s);
        text
    }
}
