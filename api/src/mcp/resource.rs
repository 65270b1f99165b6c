//! The mesh as resources: the graph, namespaces, workloads, Services and policies, each with a URI of its own.
//!
//! Tools are enough for a model; resources are for people who put something into a conversation, and for clients that
//! want to be told when something happens to it.

use super::{
    Context,
    completion::{self, Choice},
    gate::session_of,
    offer::{Asked, Offer, Reply, granted, no_resource},
    server::caller,
    subscription::{self, TooMany, queue::Topic},
};
use crate::{answer::Refusal, authorization::Granted, rights::Scope};
use rmcp::{
    ErrorData,
    model::{
        CacheScope, CompleteRequestParams, CompleteResult, ErrorCode, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Reference, Resource, ResourceContents, ResourceTemplate,
        ResourcesCapability, ServerCapabilities, SubscriptionFilter,
    },
    service::SubscriptionContext,
};
use std::sync::Arc;
use uri::Uri;

pub(crate) mod content;
pub(crate) mod few;
pub(crate) mod list;
pub(crate) mod uri;

/// How long what was read may be shown again. Numbers change every 15 s, and everything may.
const TTL_MS: u64 = 5_000;

/// A code of our own: it may be there in a moment.
const UNAVAILABLE: ErrorCode = ErrorCode(-31_001);

/// A code of our own, as the gate has it: there is too much of something.
const REFUSED: ErrorCode = ErrorCode(-31_000);

/// What can be read of the mesh, and watched.
#[derive(Debug)]
pub(crate) struct Resources {
    context: Context,
}

// === impl Resources ===

impl Resources {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    fn watch(&self, uri: &str, asked: &Asked) -> Result<(), ErrorData> {
        let topic = topic(uri)?;
        // Only a session can be told later.
        let session = session(asked).ok_or_else(|| {
            ErrorData::invalid_request("subscribing needs a session: begin with initialize", None)
        })?;
        let context = granted(&self.context, asked)?;
        let (scope, subscriptions) = (context.replica.scope(), &context.subscriptions);
        subscriptions.subscribe(&caller(asked), scope, &session, &asked.peer, topic).map_err(too_many)
    }

    async fn content(&self, uri: &str, asked: &Asked) -> Result<ReadResourceResponse, ErrorData> {
        let parsed: Uri = uri.parse().map_err(|_| no_resource(uri))?;
        let context = granted(&self.context, asked)?;
        let view = context.replica.view().ok_or_else(not_ready)?;
        let content = content::content(&context, &view, &parsed, changed(&context, &parsed)).await;
        let content = content.ok_or_else(|| no_resource(uri))?;
        let contents = ResourceContents::text(content.to_string(), uri).with_mime_type("application/json");
        let result =
            ReadResourceResult::new(vec![contents]).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Private);
        Ok(ReadResourceResponse::Complete(result))
    }
}

impl Offer for Resources {
    fn announce(&self, capabilities: &mut ServerCapabilities) {
        let resources = capabilities.resources.get_or_insert_with(ResourcesCapability::default);
        resources.subscribe = Some(true);
        resources.list_changed = Some(true);
        capabilities.completions.get_or_insert_default();
    }

    fn resources(&self, asked: &Asked) -> Vec<Resource> {
        // One who may read none has none.
        let Ok(context) = granted(&self.context, asked) else { return Vec::new() };
        list::all(context.replica.view().as_deref(), |uri| changed(&context, uri))
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        list::templates()
    }

    fn has_resource(&self, uri: &str) -> bool {
        uri.starts_with(uri::SCHEME)
    }

    fn read(&self, request: ReadResourceRequestParams, asked: Asked) -> Reply<'_, ReadResourceResponse> {
        Box::pin(async move { self.content(&request.uri, &asked).await })
    }

    fn completes(&self, of: &Reference) -> bool {
        matches!(of, Reference::Resource(template) if variables(&template.uri).is_some())
    }

    fn complete(&self, request: CompleteRequestParams, asked: Asked) -> Reply<'_, CompleteResult> {
        let variables = match &request.r#ref {
            Reference::Resource(template) => variables(&template.uri).unwrap_or_default(),
            _ => &[],
        };
        let answer = granted(&self.context, &asked)
            .and_then(|context| completion::answer(context.replica.view().as_deref(), variables, &request));
        Box::pin(std::future::ready(answer))
    }

    fn accept(&self, requested: &SubscriptionFilter) -> SubscriptionFilter {
        subscription::accepted(requested)
    }

    fn listen(&self, stream: Arc<SubscriptionContext>, granted: Arc<Granted>) -> Reply<'_, ()> {
        Box::pin(async move {
            let topics = subscription::topics(stream.accepted());
            if topics.is_empty() {
                return Ok(());
            }
            let caller = caller(stream.request_context());
            let place = self.context.subscriptions.open(&caller, &granted.scope, topics).map_err(too_many)?;
            subscription::tell_stream(&place, &stream).await;
            Ok(())
        })
    }

    fn subscribe(&self, uri: String, asked: Asked) -> Reply<'_, ()> {
        Box::pin(std::future::ready(self.watch(&uri, &asked)))
    }

    fn unsubscribe(&self, uri: String, asked: Asked) -> Reply<'_, ()> {
        let ended = topic(&uri).map(|topic| {
            if let Some(session) = session(&asked) {
                self.context.subscriptions.unsubscribe(&session, &topic);
            }
        });
        Box::pin(std::future::ready(ended))
    }
}

/// When something last happened to a resource. Of the whole mesh only for those who see it: otherwise it would tell when
/// something happened elsewhere.
fn changed(context: &Context, uri: &Uri) -> Option<String> {
    let tells = *uri != Uri::Graph || *context.replica.scope() == Scope::All;
    tells.then(|| context.subscriptions.changed(uri)).flatten()
}

/// The row of the table of rights that a URI falls under; none for one that is none of ours.
pub(crate) fn row_of(uri: &str) -> Option<&'static str> {
    uri.parse::<Uri>().ok().map(|uri| uri.template())
}

fn topic(uri: &str) -> Result<Topic, ErrorData> {
    uri.parse().map(Topic::Updated).map_err(|_| no_resource(uri))
}

/// The session that a request came in.
fn session(asked: &Asked) -> Option<String> {
    asked.extensions.get::<http::request::Parts>().and_then(|parts| session_of(&parts.headers))
}

fn too_many(error: TooMany) -> ErrorData {
    ErrorData::new(REFUSED, error.to_string(), None)
}

/// What the variables of a template are chosen from.
fn variables(template: &str) -> Option<&'static [(&'static str, Choice)]> {
    match template {
        uri::NAMESPACES => Some(&[("namespace", Choice::Namespace)]),
        uri::SERVICES => Some(&[("namespace", Choice::Namespace), ("name", Choice::ServiceName)]),
        uri::WORKLOADS => Some(&[
            ("namespace", Choice::Namespace),
            ("kind", Choice::WorkloadKind),
            ("name", Choice::WorkloadName),
        ]),
        uri::POLICIES => Some(&[
            ("kind", Choice::PolicyKind),
            ("namespace", Choice::PolicyNamespace),
            ("name", Choice::PolicyName),
        ]),
        _ => None,
    }
}

/// There is nothing to answer from yet.
pub(crate) fn not_ready() -> ErrorData {
    let refusal = Refusal::NotReady;
    ErrorData::new(UNAVAILABLE, refusal.to_string(), Some(serde_json::json!({"hint": refusal.hint()})))
}

/// Milliseconds since the Unix epoch as RFC 3339, in UTC.
pub(crate) fn date(ms: i64) -> String {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos }.to_string()
}
