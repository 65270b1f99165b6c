//! Fixtures of the official conformance suite (`@modelcontextprotocol/conformance`): what its scenarios expect a server
//! to have, so that our transport, gate and limits can be judged by it. Only with the feature `conformance`, which
//! nothing that is released has.
//!
//! Names, texts and forms are the suite's own; `test/run mcp` runs it.

use super::offer::{Asked, Offer, Reply};
use crate::authorization::Granted;
use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
        GetPromptRequestParams, GetPromptResponse, Prompt, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Reference, Resource, ResourceTemplate, ServerCapabilities, SubscriptionFilter,
        Tool as Definition,
    },
    service::SubscriptionContext,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

mod content;
mod legacy;
mod prompts;
mod rounds;
mod tools;

/// A resource that may be watched.
const WATCHED: &str = "test://watched-resource";

/// Which lists have changed, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Changes {
    tools: u64,
    prompts: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Fixtures {
    tools: Vec<Definition>,
    prompts: Vec<Prompt>,
    changes: watch::Sender<Changes>,
    states: rounds::States,
}

// === impl Fixtures ===

impl Fixtures {
    pub(crate) fn new() -> Self {
        Self {
            tools: typed(tools::definitions()),
            prompts: typed(prompts::definitions()),
            changes: watch::Sender::default(),
            states: rounds::States::new(),
        }
    }

    async fn answer(
        &self,
        request: CallToolRequestParams,
        asked: Asked,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = &*request.name;
        match name {
            "test_trigger_tool_change" => self.changes.send_modify(|it| it.tools += 1),
            "test_trigger_prompt_change" => self.changes.send_modify(|it| it.prompts += 1),
            _ => {}
        }
        if name.starts_with("test_input_required_") {
            return rounds::call(&self.states, request, &asked);
        }
        if let Some(result) = content::call(name) {
            return Ok(CallToolResponse::Complete(complete(result)));
        }
        legacy::call(&request, &asked).await
    }

    fn contents(uri: &str) -> Option<Value> {
        let text = |kind: &str, text: &str| json!({"uri": uri, "mimeType": kind, "text": text});
        if let Some(id) = uri.strip_prefix("test://template/").and_then(|it| it.strip_suffix("/data")) {
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            return Some(text("application/json", &data.to_string()));
        }
        match uri {
            "test://static-text" => {
                Some(text("text/plain", "This is the content of the static text resource."))
            }
            "test://static-binary" => {
                Some(json!({"uri": uri, "mimeType": "image/png", "blob": content::PNG}))
            }
            WATCHED => Some(text("text/plain", "Watched resource content")),
            _ => None,
        }
    }
}

impl Offer for Fixtures {
    fn is_open(&self) -> bool {
        true
    }

    fn announce(&self, capabilities: &mut ServerCapabilities) {
        // What it shares with others is announced by them too, and stays.
        capabilities.completions.get_or_insert_default();
        capabilities.logging.get_or_insert_default();
        capabilities.prompts.get_or_insert_default().list_changed = Some(true);
        capabilities.tools.get_or_insert_default().list_changed = Some(true);
        let resources = capabilities.resources.get_or_insert_default();
        (resources.subscribe, resources.list_changed) = (Some(true), Some(true));
    }

    fn tools(&self) -> &[Definition] {
        &self.tools
    }

    fn call(&self, request: CallToolRequestParams, asked: Asked) -> Reply<'_, CallToolResponse> {
        Box::pin(self.answer(request, asked))
    }

    fn resources(&self, _: &Asked) -> Vec<Resource> {
        let one = |uri: &str, name: &str, kind: &str| json!({"uri": uri, "name": name, "mimeType": kind});
        typed(json!([
            one("test://static-text", "Static text", "text/plain"),
            one("test://static-binary", "Static picture", "image/png"),
            one(WATCHED, "Watched", "text/plain"),
        ]))
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        let uri = "test://template/{id}/data";
        typed(json!([{"uriTemplate": uri, "name": "Template", "mimeType": "application/json"}]))
    }

    fn has_resource(&self, uri: &str) -> bool {
        uri.starts_with("test://")
    }

    fn read(&self, request: ReadResourceRequestParams, _: Asked) -> Reply<'_, ReadResourceResponse> {
        let contents = Self::contents(&request.uri).ok_or_else(|| super::offer::no_resource(&request.uri));
        let result = contents.map(|it| complete::<ReadResourceResult>(json!({"contents": [it]})));
        Box::pin(std::future::ready(result.map(ReadResourceResponse::Complete)))
    }

    fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    fn prompt(&self, request: GetPromptRequestParams, _: Asked) -> Reply<'_, GetPromptResponse> {
        Box::pin(std::future::ready(prompts::get(&request)))
    }

    fn completes(&self, of: &Reference) -> bool {
        match of {
            Reference::Prompt(prompt) => prompt.name.starts_with("test_"),
            Reference::Resource(template) => template.uri.starts_with("test://"),
            _ => false,
        }
    }

    fn complete(&self, request: CompleteRequestParams, _: Asked) -> Reply<'_, CompleteResult> {
        let values = ["paris", "park", "party"].map(str::to_owned).into_iter();
        let values = values.filter(|it| it.starts_with(&request.argument.value)).collect();
        let info = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None));
        Box::pin(std::future::ready(info.map(CompleteResult::new)))
    }

    fn accept(&self, requested: &SubscriptionFilter) -> SubscriptionFilter {
        requested.clone()
    }

    fn listen(&self, subscription: Arc<SubscriptionContext>, _: Arc<Granted>) -> Reply<'_, ()> {
        Box::pin(async move {
            let mut changes = self.changes.subscribe();
            let mut told = *changes.borrow_and_update();
            while changes.changed().await.is_ok() {
                let now = *changes.borrow_and_update();
                // One that was not asked for is refused by the sink, and one that cannot be sent ends the request.
                if now.tools != told.tools {
                    let _ = subscription.sink().notify_tool_list_changed().await;
                }
                if now.prompts != told.prompts {
                    let _ = subscription.sink().notify_prompt_list_changed().await;
                }
                told = now;
            }
            Ok(())
        })
    }

    fn subscribe(&self, _: String, _: Asked) -> Reply<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn logs(&self) -> bool {
        true
    }
}

/// A fixture in the form that rmcp has for it.
fn typed<T: DeserializeOwned>(fixture: Value) -> T {
    serde_json::from_value(fixture).expect("a fixture has the protocol's form")
}

/// A result as 2026-07-28 has it; to older clients rmcp says less.
fn complete<T: DeserializeOwned>(mut result: Value) -> T {
    result["resultType"] = "complete".into();
    typed(result)
}

/// A result that is one text.
fn text(said: &str) -> Value {
    json!({"content": [{"type": "text", "text": said}]})
}
