//! What the server offers besides the tools of the mesh: resources, prompts, completion, subscriptions.
//!
//! An [`Offer`] is one source of them, and [`Server`](super::server::Server) asks all there are: lists are joined, and
//! one thing is answered by the first offer that has it. To plug one in: a line in [`offers`].

use super::{Context, prompt::Prompts, resource::Resources, tool_list::ToolList};
use crate::authorization::Granted;
use futures::future::BoxFuture;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        GetPromptRequestParams, GetPromptResponse, Prompt, ReadResourceRequestParams, ReadResourceResponse,
        Reference, Resource, ResourceTemplate, ServerCapabilities, SubscriptionFilter, Tool as Definition,
    },
    service::{Peer, RequestContext, SubscriptionContext},
};
use std::{fmt, sync::Arc};

/// What was asked, by whom, and how to tell them something before the answer.
pub(crate) type Asked = RequestContext<RoleServer>;

/// An answer to come.
pub(crate) type Reply<'a, T> = BoxFuture<'a, Result<T, ErrorData>>;

/// One source. Every method has an answer for what it does not have: nothing.
pub(crate) trait Offer: fmt::Debug + Send + Sync + 'static {
    /// True when whoever is known may use it: it has nothing of the mesh, and no rows in the table of rights.
    fn is_open(&self) -> bool {
        false
    }

    /// Adds what it can to what clients are told.
    fn announce(&self, _capabilities: &mut ServerCapabilities) {}

    /// Tools that do not come out of the table.
    fn tools(&self) -> &[Definition] {
        &[]
    }

    /// One of [`Offer::tools`] is called.
    fn call(&self, request: CallToolRequestParams, _asked: Asked) -> Reply<'_, CallToolResponse> {
        unknown("tool", &request.name)
    }

    /// At most a thousand, always in the same order: what there are many of has a template too.
    fn resources(&self, _asked: &Asked) -> Vec<Resource> {
        Vec::new()
    }

    /// Forms of the URIs of what there are many of.
    fn templates(&self) -> Vec<ResourceTemplate> {
        Vec::new()
    }

    /// True when the URI is one of its own, whether there is something behind it or not.
    fn has_resource(&self, _uri: &str) -> bool {
        false
    }

    /// Something for which [`Offer::has_resource`] is true is read. Caching hints that are left out become private and
    /// zero.
    fn read(&self, request: ReadResourceRequestParams, _asked: Asked) -> Reply<'_, ReadResourceResponse> {
        Box::pin(std::future::ready(Err(no_resource(&request.uri))))
    }

    /// All of its prompts.
    fn prompts(&self) -> &[Prompt] {
        &[]
    }

    /// One of [`Offer::prompts`] is wanted.
    fn prompt(&self, request: GetPromptRequestParams, _asked: Asked) -> Reply<'_, GetPromptResponse> {
        unknown("prompt", &request.name)
    }

    /// True when it completes arguments of this prompt or template.
    fn completes(&self, _of: &Reference) -> bool {
        false
    }

    /// What an argument could be, for what [`Offer::completes`] is true of.
    fn complete(&self, _request: CompleteRequestParams, _asked: Asked) -> Reply<'_, CompleteResult> {
        Box::pin(std::future::ready(Ok(CompleteResult::default())))
    }

    /// The part of a subscription that it can serve. What was not announced is taken away by rmcp.
    fn accept(&self, _requested: &SubscriptionFilter) -> SubscriptionFilter {
        SubscriptionFilter::new()
    }

    /// Sends notifications of what it accepted until the subscription is cancelled, or returns when it has none to send.
    /// An error ends the subscription.
    fn listen(&self, _subscription: Arc<SubscriptionContext>, _granted: Arc<Granted>) -> Reply<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// A client of a revision with sessions wants to hear of changes of a URI for which [`Offer::has_resource`] is true.
    fn subscribe(&self, uri: String, _asked: Asked) -> Reply<'_, ()> {
        Box::pin(std::future::ready(Err(no_resource(&uri))))
    }

    /// It does not want to any more.
    fn unsubscribe(&self, _uri: String, _asked: Asked) -> Reply<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// A client of a revision with sessions has opened one, and may be told of things from now on.
    fn opened(&self, _session: &Peer<RoleServer>) {}

    /// True when `logging/setLevel` means something to it: announced as `logging`, which the protocol is giving up.
    fn logs(&self) -> bool {
        false
    }
}

/// Everything that is plugged in. Adding one is a line here.
pub(crate) fn offers(context: &Context) -> Vec<Arc<dyn Offer>> {
    vec![
        Arc::new(Resources::new(context.clone())),
        Arc::new(Prompts::new(context.clone())),
        Arc::new(ToolList::new(context.settings.clone())),
        #[cfg(feature = "conformance")]
        Arc::new(super::conformance::Fixtures::new()),
    ]
}

/// The context as the caller may see it. What was granted has been put with the request; without it, nothing is answered.
pub(crate) fn granted(context: &Context, asked: &Asked) -> Result<Context, ErrorData> {
    let granted = asked.extensions.get::<Arc<Granted>>();
    let granted =
        granted.ok_or_else(|| ErrorData::internal_error("nothing was granted to this request", None))?;
    Ok(context.scoped(granted))
}

/// There is no resource behind the URI. The code is that of 2026-07-28 in rmcp's hands, or the older one.
pub(crate) fn no_resource(uri: &str) -> ErrorData {
    let uri = super::text::data(uri);
    let data = serde_json::json!({ "uri": uri });
    ErrorData::resource_not_found(
        "there is no such resource; resources/list and its templates say what there is",
        Some(data),
    )
}

fn unknown<'a, T: Send + 'a>(what: &str, name: &str) -> Reply<'a, T> {
    let message = format!("there is no {what} {}", super::text::data(name));
    Box::pin(std::future::ready(Err(ErrorData::invalid_params(message, None))))
}
