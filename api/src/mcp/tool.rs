//! The table of what a model can ask, and what one tool is.
//!
//! To add one: a file in `tool/` that has a `TOOL`, and a line in [`TOOLS`]. Its description is compiled in: nothing
//! from a cluster ever stands in what we say ourselves.

use super::{
    Context, arguments,
    consent::{self, Consent, Question},
    freshness::Freshness,
    offer::Asked,
    page::BadCursor,
    schema,
    text::data,
};
use crate::{
    access,
    answer::Refusal,
    caller::Principal,
    change::{self, Changes},
    view::View,
};
use effect::Effect;
use futures::future::BoxFuture;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, InputResponses, JsonObject, Tool as Definition,
    ToolAnnotations,
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, Value, to_raw_value};
use std::{fmt, future::Future, sync::Arc};

mod apply_plan;
mod check_access;
mod compare_traffic;
mod describe_resource;
mod describe_workload;
pub(crate) mod effect;
mod explain_denials;
mod find_edges;
mod find_problems;
mod get_deployments;
mod get_graph;
mod get_mesh_overview;
mod get_pods;
mod get_policies;
mod get_services;
mod list_access;
mod list_changes;
mod plan_policy;
mod propose_policy;
mod query_prometheus;
mod rollback_change;
mod simulate_policy;

/// Every tool, in the order in which clients see them.
pub(crate) const TOOLS: &[Tool] = &[
    get_mesh_overview::TOOL,
    find_problems::TOOL,
    get_graph::TOOL,
    describe_workload::TOOL,
    find_edges::TOOL,
    compare_traffic::TOOL,
    check_access::TOOL,
    list_access::TOOL,
    explain_denials::TOOL,
    get_policies::TOOL,
    query_prometheus::TOOL,
    get_pods::TOOL,
    get_services::TOOL,
    get_deployments::TOOL,
    describe_resource::TOOL,
    propose_policy::TOOL,
    simulate_policy::TOOL,
    plan_policy::TOOL,
    apply_plan::TOOL,
    rollback_change::TOOL,
    list_changes::TOOL,
];

/// Tools that are switched on and off together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Toolset {
    /// The graph: who calls whom, how fast, what is wrong.
    Mesh,
    /// Who may call whom, and why.
    Policy,
    /// Prometheus' own language, over the series of Linkerd's proxies.
    Prometheus,
    /// Single objects of Kubernetes.
    Kubernetes,
    /// Changing policy: plan, simulate, apply, undo.
    Changes,
}

/// One tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// Verb and noun.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// What it answers, then when to use it. Clients cut after 2,048 bytes.
    pub(crate) description: &'static str,
    pub(crate) set: Toolset,
    /// What a call leaves behind.
    pub(crate) effect: Effect,
    /// True when its answers carry text that others wrote, other than names.
    pub(crate) open_world: bool,
    pub(crate) input: fn() -> Arc<JsonObject>,
    pub(crate) output: fn() -> Arc<JsonObject>,
    pub(crate) run: fn(Call) -> BoxFuture<'static, Result<Reply, ToolError>>,
}

/// One call: what it is answered from and with what arguments.
pub(crate) struct Call {
    pub(crate) context: Context,
    pub(crate) arguments: Option<JsonObject>,
    /// Of the tool that is called.
    pub(crate) schema: Arc<JsonObject>,
    /// The way to the person at the client; only for tools that change something.
    pub(crate) person: Option<Box<Person>>,
}

/// The way to the person at the client.
pub(crate) struct Person {
    /// The request that is answered.
    pub(crate) asked: Asked,
    /// What was answered when they were asked before.
    pub(crate) responses: Option<InputResponses>,
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Answer(Answer),
    /// The client has to ask its user, and call again.
    Ask(CallToolResponse),
}

/// An answer as programs read it, and as a model does.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) structured: Box<dyn Structured>,
    pub(crate) text: String,
}

/// Data that becomes JSON in the form that is wanted, so that none is made in vain.
pub(crate) trait Structured: fmt::Debug + Send {
    /// As values.
    fn value(&self) -> Value;
    /// As text.
    fn json(&self) -> Box<RawValue>;
}

/// What a tool answers: data with a schema, and the same in short lines.
pub(crate) trait Output: fmt::Debug + Serialize + JsonSchema + Send + 'static {
    /// Short lines, in which text of others stands quoted or as a name.
    fn text(&self) -> String;
}

/// An answer with how fresh it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Dated<T> {
    #[serde(flatten)]
    pub(crate) answer: T,
    /// How fresh this is.
    pub(crate) freshness: Freshness,
}

/// Why a tool has no answer. The model reads it, so it says what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The arguments are wrong.
    #[error("{0}")]
    Arguments(String),
    /// There is no such thing, or not now.
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Cursor(#[from] BadCursor),
    /// Not here, however often it is asked.
    #[error("{0}")]
    NotConfigured(&'static str),
    /// What is asked beside the mesh gave nothing of use.
    #[error("{0}")]
    Upstream(&'static str),
    /// Prometheus did not answer, or refused the expression.
    #[error("{}", crate::chain::chain(.0))]
    Prometheus(#[from] linkerd_mcp_prometheus::Error),
    /// Kubernetes did not answer, or refused.
    #[error("{0}")]
    Kubernetes(#[from] super::kubernetes::Error),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(#[from] crate::authorization::Refused),
    /// Too much is under way.
    #[error("{0}")]
    Busy(#[from] super::budget::Busy),
    /// The person at the client did not say yes.
    #[error("{0}")]
    Unconfirmed(#[from] consent::Refused),
    /// Nothing was planned, applied or undone.
    #[error("{0}")]
    Change(#[from] change::Refusal),
    /// It took too long.
    #[error("this took longer than 30 s and was given up; narrow the question")]
    Timeout,
    /// Nobody waits for the answer any more.
    #[error("the call was cancelled")]
    Cancelled,
}

impl<T: Output> Structured for Dated<T> {
    fn value(&self) -> Value {
        serde_json::to_value(self).expect("answers have text keys")
    }

    fn json(&self) -> Box<RawValue> {
        to_raw_value(self).expect("answers have text keys")
    }
}

// === impl ToolError ===

impl ToolError {
    /// One word for metrics and logs.
    pub(crate) fn status(&self) -> &'static str {
        use crate::answer::Fault;
        match self {
            Self::Arguments(_) | Self::Cursor(_) => "invalid_arguments",
            Self::Timeout => "timeout",
            Self::Busy(_) => "busy",
            Self::Forbidden(refused) => refused.status(),
            Self::Kubernetes(error) => error.status(),
            Self::NotConfigured(_) => "not_configured",
            Self::Upstream(_) => "unavailable",
            // Prometheus says so of an expression that it cannot evaluate.
            Self::Prometheus(linkerd_mcp_prometheus::Error::Status { status: 400 | 422, .. }) => {
                "invalid_arguments"
            }
            Self::Prometheus(_) => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Change(refusal) => refusal.code(),
            Self::Refused(refusal) => match refusal.fault() {
                Fault::Unavailable => "unavailable",
                Fault::Precondition => "not_configured",
                Fault::NotFound => "not_found",
                Fault::Invalid | Fault::TooLarge => "invalid_arguments",
            },
        }
    }

    /// What the model is told.
    pub(crate) fn result(&self) -> CallToolResult {
        let hint = match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Change(refusal) => refusal.hint(),
            _ => "",
        };
        // It may repeat names from the cluster, or what the model wrote.
        let mut text: String = data_lines(&self.to_string());
        if !hint.is_empty() {
            text.push_str("\nHint: ");
            text.push_str(hint);
        }
        CallToolResult::error(vec![ContentBlock::text(text)])
    }
}

impl From<access::Error> for ToolError {
    fn from(error: access::Error) -> Self {
        Self::Refused(Refusal::Access(error))
    }
}

/// Longer than one field of data, but bounded and as visible.
fn data_lines(text: &str) -> String {
    text.split('\n').take(8).map(data_line).collect::<Vec<_>>().join("\n")
}

fn data_line(line: &str) -> String {
    let chars: Vec<char> = line.chars().take(1_000).collect();
    chars.chunks(200).map(|chunk| data(&chunk.iter().collect::<String>())).collect()
}

// === impl Tool ===

impl Tool {
    /// As clients are told of it.
    pub(crate) fn definition(&self) -> Definition {
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(self.effect == Effect::Reads)
            .destructive(self.effect == Effect::Changes)
            .idempotent(self.effect == Effect::Reads)
            .open_world(self.open_world);
        Definition::new(self.name, self.description, (self.input)())
            .with_title(self.title)
            .with_raw_output_schema((self.output)())
            .with_annotations(annotations)
    }
}

// === impl Call ===

impl Call {
    /// The arguments.
    pub(crate) fn arguments<A: DeserializeOwned>(&mut self) -> Result<A, ToolError> {
        arguments::read(self.arguments.take(), &self.schema).map_err(ToolError::Arguments)
    }

    /// Asks the person at the client, or reads what they said.
    pub(crate) async fn consent(&self, question: &Question) -> Result<Consent, consent::Refused> {
        let Some(person) = &self.person else { return Err(consent::Refused::CannotAsk) };
        consent::consent(&person.asked, person.responses.as_ref(), question).await
    }

    /// Who asks.
    ///
    /// # Errors
    ///
    /// When nothing was granted to anybody, which only a defect makes so.
    pub(crate) fn caller(&self) -> Result<&Principal, ToolError> {
        match &self.context.granted {
            Some(granted) => Ok(&granted.who),
            None => Err(ToolError::Change(change::Refusal::Nobody)),
        }
    }

    /// How policy is changed.
    pub(crate) fn changes(&self) -> &Changes {
        &self.context.changes
    }

    /// The mesh as it is now.
    pub(crate) fn view(&self) -> Result<Arc<View>, ToolError> {
        Ok(self.context.replica.view().ok_or(Refusal::NotReady)?)
    }

    /// The answer with how fresh the mesh was that it is about.
    pub(crate) fn dated<T: Output>(&self, view: &View, answer: T) -> Answer {
        let freshness = Freshness::of(&self.context.replica, view);
        let text = format!("{}{}", answer.text(), freshness.text());
        Answer { structured: Box::new(Dated { answer, freshness }), text }
    }
}

/// What a cursor is good for: the arguments without those that only say how much.
pub(crate) fn asked(call: &Call) -> String {
    let mut arguments = call.arguments.clone().unwrap_or_default();
    for name in ["cursor", "limit", "detail"] {
        arguments.remove(name);
    }
    Value::Object(arguments).to_string()
}

/// For [`Tool::run`]: boxes a future.
pub(crate) fn boxed<R: Into<Reply>>(
    run: impl Future<Output = Result<R, ToolError>> + Send + 'static,
) -> BoxFuture<'static, Result<Reply, ToolError>> {
    Box::pin(async move { run.await.map(Into::into) })
}

// === impl Reply ===

impl Reply {
    /// The answer, for those who can ask nobody.
    pub(crate) fn answer(self) -> Result<Answer, ToolError> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Ask(_) => Err(consent::Refused::CannotAsk.into()),
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// For [`Tool::input`].
pub(crate) fn input<A: JsonSchema>() -> Arc<JsonObject> {
    schema::input::<A>()
}

/// For [`Tool::output`].
pub(crate) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    schema::output::<Dated<T>>()
}

// === impl Toolset ===

impl Toolset {
    /// As configuration and logs have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Policy => "policy",
            Self::Prometheus => "prometheus",
            Self::Kubernetes => "kubernetes",
            Self::Changes => "changes",
        }
    }
}
